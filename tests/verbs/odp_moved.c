// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory whose pages the kernel exchanges for others, under traffic:
 * one page for many that are the same (KSM), and another page for one that
 * stands in the way (compaction) or seems broken (soft offline).
 *
 * Long: twenty seconds for each kind of trouble, not one.
 */
#include "situation.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define SIZE		(4 * MIB)
#define KSM		"/sys/kernel/mm/ksm/"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

/* Pages that are the same */

static bool have_ksm;

static void ksm_on(void)
{
	have_ksm = change_setting(KSM "sleep_millisecs", "1") &&
		   change_setting(KSM "pages_to_scan", "4000") &&
		   change_setting(KSM "run", "1");
}

/* What is stopped keeps what it has merged, unless it is told to undo that. */
static void ksm_off(void)
{
	if (have_ksm)
		tell_kernel(KSM "run", "2");
}

static long ksm_sharing(void)
{
	char line[64] = "";

	hear_kernel(KSM "pages_sharing", line, sizeof(line));
	return atol(line);
}

static long own_map_mergeable(const long *arg)
{
	long addr = own_map_anonymous(arg);

	memset((void *)addr, 0, arg[0]);
	return madvise((void *)addr, arg[0], MADV_MERGEABLE) ? -errno : addr;
}

/* All the same again. */
static void throw_zero(uint8_t *mem, size_t len)
{
	memset(mem, 0, len);
}

static void merge_and_split(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	madvise(at, len, MADV_MERGEABLE);
	sleep_ms(20);
	if (!random_below(4))
		madvise(at, len, MADV_UNMERGEABLE);
}

static const struct situation merging[] = {
	{ "same pages merged", own_map_mergeable, SIZE, { merge_and_split },
	  throw_zero, .races = true, .evidence = "cow_ksm" },
	{ "same pages merged, and swapped out", own_map_mergeable, SIZE,
	  { merge_and_split, page_out }, throw_zero, .evidence = "pswpout",
	  .needs_swap = true },
};

#define SAME		64UL

static long own_fill_same(const long *arg)
{
	size_t i;

	for (i = 0; i < SAME; i++)
		pattern_fill((uint8_t *)arg[0] + i * PAGE, PAGE, arg[1]);
	return madvise((void *)arg[0], SAME * PAGE, MADV_MERGEABLE) ? -errno :
								      0;
}

static bool wait_merged(long more_than)
{
	uint64_t end = now_ms() + 3 * SOON_MS;

	while (ksm_sharing() <= more_than && now_ms() < end)
		sleep_ms(20);
	return ksm_sharing() > more_than;
}

/* All pages are as @wanted, and all of their twins as they were. */
static void check_twins(const struct region *region, long twin,
			const uint8_t *wanted, uint64_t seed)
{
	size_t i;

	expect_read(region, 0, SAME * PAGE, wanted, "pages that were merged");
	for (i = 0; i < SAME; i++)
		expect_eq(ask(&owner, own_check, twin + i * PAGE, PAGE, seed),
			  PAGE, "the twin of page %zu", i);
}

/* A write to one page of many that are one is a write to that page alone. */
static void write_merged(void)
{
	struct region region = region_map(SAME * PAGE, ODP);
	long twin = ask(&owner, own_map_anonymous, SAME * PAGE);
	uint8_t *wanted = map_memory(SAME * PAGE);
	size_t i;

	must(twin > 0);
	for (i = 0; i < SAME; i++)
		pattern_fill(wanted + i * PAGE, PAGE, 5);
	expect_eq(ask(&owner, own_fill_same, region.addr, 5), 0, "madvise");
	expect_eq(ask(&owner, own_fill_same, twin, 5), 0, "madvise");
	expect(wait_merged(SAME), "only %ld pages are merged", ksm_sharing());
	check_twins(&region, twin, wanted, 5);
	for (i = 0; i < SAME && !tap->failures; i += 1 + random_below(7)) {
		size_t at = i * PAGE + random_below(PAGE - 99);

		write_pattern(&region, at, 99, i);
		pattern_fill(wanted + at, 99, i);
		check_twins(&region, twin, wanted, 5);
	}
	munmap(wanted, SAME * PAGE);
	ask(&owner, own_unmap, twin, SAME * PAGE);
	region_drop(&region);
	point("one page written of many that are one");
}

/* Pages that stand in the way */

static void compact(uint8_t *mem, size_t size)
{
	(void)mem, (void)size;
	tell_kernel("/proc/sys/vm/compact_memory", "1");
	sleep_ms(1);
}

/* Every other page is free, so that there is something to be done. */
static void make_holes(uint8_t *mem, size_t size)
{
	uint8_t *other = map_memory(size);
	size_t at;

	must(!madvise(other, size, MADV_NOHUGEPAGE));
	for (at = 0; at < size; at += PAGE)
		other[at] = mem[at] = 0;
	munmap(other, size);
}

static long own_map_scattered(const long *arg)
{
	long addr = own_map_anonymous(arg);

	must(addr > 0 && !madvise((void *)addr, arg[0], MADV_NOHUGEPAGE));
	make_holes((uint8_t *)addr, arg[0]);
	return addr;
}

/* Pages thrown away, and others that come between the new ones. */
static void throw_scattered(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_DONTNEED));
	make_holes(mem, len);
}

/* The page frame behind an address, or 0. */
static uint64_t frame_of(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd >= 0 && pread(fd, &entry, 8, (uintptr_t)addr / PAGE * 8) != 8)
		entry = 0;
	if (fd >= 0)
		close(fd);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* The kernel takes the data elsewhere; the page that is left is no worse. */
static void seem_broken(uint8_t *mem, size_t size)
{
	uint8_t *page = mem + random_below(size / PAGE) * PAGE;
	uint64_t frame = frame_of(page);
	char word[32];

	snprintf(word, sizeof(word), "%#llx", (unsigned long long)frame);
	if (frame && !madvise(page, PAGE, MADV_SOFT_OFFLINE))
		tell_kernel(UNPOISON, word);
	sleep_ms(2);
}

static long own_map_breakable(const long *arg)
{
	return access(UNPOISON, W_OK) ? -errno : own_map_anonymous(arg);
}

static long own_map_breakable_shared(const long *arg)
{
	return access(UNPOISON, W_OK) ? -errno : own_map_shared(arg);
}

static const struct situation moving[] = {
	{ "compaction", own_map_scattered, SIZE, { compact }, throw_scattered,
	  .evidence = "pgmigrate_success" },
	{ "compaction, and swapping", own_map_scattered, SIZE,
	  { compact, page_out }, throw_scattered,
	  .evidence = "pgmigrate_success", .needs_swap = true },
	{ "soft offline", own_map_breakable, SIZE, { seem_broken },
	  .evidence = "pgmigrate_success" },
	{ "soft offline of shared memory", own_map_breakable_shared, SIZE,
	  { seem_broken, page_out }, .evidence = "pgmigrate_success" },
};

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	traffic_init();
	drop_caches();
	swap_on();
	ksm_on();
	if (system("modprobe -q hwpoison-inject"))
		diag("broken pages cannot be mended");
	owner_open(&owner, false);
	if (have_ksm)
		write_merged();
	for (i = 0; i < ARRAY_SIZE(merging) && have_ksm; i++)
		situation(&merging[i]);
	if (!have_ksm) {
		skip("this kernel merges no pages");
		point("same pages merged");
	}
	ksm_off();
	for (i = 0; i < ARRAY_SIZE(moving); i++)
		situation(&moving[i]);
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
	if (system("modprobe -qr hwpoison-inject"))
		diag("hwpoison-inject stays loaded");
	restore_settings();
	swap_off();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
