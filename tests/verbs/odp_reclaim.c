// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory that is given back to the kernel, or that the kernel takes,
 * under traffic: what is thrown away becomes zero, or stays with MADV_FREE
 * until somebody wants the page, and what was written remotely after that is
 * never lost.
 *
 * Long: twenty seconds for each, not one.
 */
#include "situation.h"

#include <sys/swap.h>

#define SIZE	(4 * MIB)

static void throw_dontneed(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_DONTNEED));
}

/* Freed, and perhaps at once wanted by the kernel. */
static void throw_free(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_FREE));
	if (random_below(2))
		madvise(mem, len, MADV_PAGEOUT);
}

static void throw_remove(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_REMOVE));
}

/* A child shares the pages while they are thrown away. */
static void throw_forked(uint8_t *mem, size_t len)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		sleep_us(random_below(2000));
		_exit(0);
	}
	must(!madvise(mem, len, MADV_DONTNEED));
	waitpid(pid, &status, 0);
}

/* Everything that was swapped out comes back. */
static void swap_back(uint8_t *mem, size_t size)
{
	(void)mem, (void)size;
	sleep_ms(30);
	if (!swapoff("/dev/zram0"))
		must(!swapon("/dev/zram0", 0));
}

static void page_out_all(uint8_t *mem, size_t size)
{
	madvise(mem, size, MADV_PAGEOUT);
	sleep_ms(1);
}

static long own_map_huge(const long *arg)
{
	long addr = own_map_anonymous(arg);

	if (addr > 0 && madvise((void *)addr, arg[0], MADV_HUGEPAGE))
		return -errno;
	return addr;
}

static const struct situation with_swap[] = {
	{ "cold, and swapped out and in", own_map_anonymous, SIZE,
	  { page_out, make_cold, page_out_all }, .evidence = "pswpout",
	  .needs_swap = true },
	{ "swapped out, and swap turned off", own_map_anonymous, SIZE,
	  { page_out, swap_back }, .evidence = "pswpin", .needs_swap = true },
	{ "MADV_DONTNEED, and swapped out", own_map_anonymous, SIZE,
	  { page_out, make_cold }, throw_dontneed, .races = true,
	  .evidence = "pswpout", .needs_swap = true },
	{ "MADV_DONTNEED, shared with children", own_map_anonymous, SIZE,
	  { page_out }, throw_forked, .evidence = "pswpout",
	  .needs_swap = true },
	{ "MADV_FREE, and swapped out", own_map_anonymous, SIZE,
	  { make_cold, page_out }, throw_free, .lazy = true,
	  .evidence = "pglazyfreed", .needs_swap = true },
	{ "MADV_FREE while it is written to", own_map_anonymous, SIZE,
	  { page_out }, throw_free, .lazy = true, .races = true,
	  .evidence = "pglazyfreed", .needs_swap = true },
	{ "MADV_FREE of parts of huge pages", own_map_huge, SIZE,
	  { page_out }, throw_free, .lazy = true,
	  .evidence = "pglazyfreed", .needs_swap = true },
	{ "MADV_REMOVE of shared memory, and swapped out", own_map_shared,
	  SIZE, { page_out, page_out_all }, throw_remove, .races = true,
	  .evidence = "pswpout", .needs_swap = true },
};

static const struct situation without_swap[] = {
	{ "MADV_FREE without swap", own_map_anonymous, SIZE, { page_out },
	  throw_free, .lazy = true },
	{ "MADV_DONTNEED without swap", own_map_anonymous, SIZE,
	  { make_cold }, throw_dontneed, .races = true },
};

/* The requester's own memory is taken from it, too. */

static volatile bool keep_buffer;

static void *take_buffer(void *arg)
{
	(void)arg;
	random_seed(4711);
	while (!keep_buffer)
		page_out(buf[ODP], BUF_SIZE);
	return NULL;
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	pthread_t thread;
	size_t i;

	traffic_init();
	owner_open(&owner, false);
	for (i = 0; i < ARRAY_SIZE(without_swap); i++)
		situation(&without_swap[i]);
	swap_on();
	must(!pthread_create(&thread, NULL, take_buffer, NULL));
	for (i = 0; i < ARRAY_SIZE(with_swap); i++)
		situation(&with_swap[i]);
	keep_buffer = true;
	pthread_join(thread, NULL);
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
	swap_off();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
