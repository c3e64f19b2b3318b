// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory of huge pages: transparent ones that are made, split and
 * made again under traffic, and those of hugetlbfs, of which there may be none
 * left: that is an error, and no more than that.
 *
 * Long: twenty seconds for each kind of trouble, not one.
 */
#include "situation.h"

#define HUGE		(2 * MIB)
#define SIZE		(8 * MIB)

/* Where a region starts that is to have no huge page's end for its own. */
#define ODD		(HUGE - 3 * PAGE)

/* Memory, in the owner's process */

static void *own_base;
static size_t own_size;

/* Aligned to huge pages, and @more than was asked for. */
static uint8_t *map_aligned(size_t size, size_t more)
{
	uint8_t *mem;

	own_size = size + more + HUGE;
	own_base = map_memory(own_size);
	mem = own_base;
	return mem + (-(uintptr_t)mem & (HUGE - 1));
}

static long own_unmap_base(const long *arg)
{
	(void)arg;
	return munmap(own_base, own_size);
}

static void unmap_base(const struct traffic *t, bool mapped)
{
	(void)t;
	if (!mapped)
		expect_eq(ask(&owner, own_unmap_base), 0, "munmap");
}

static long own_map_transparent(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE) + ODD;

	return madvise(mem, arg[0], MADV_HUGEPAGE) ? -errno : (long)mem;
}

static long own_map_small(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE) + ODD;

	return madvise(mem, arg[0], MADV_NOHUGEPAGE) ? -errno : (long)mem;
}

static long own_map_shared_aligned(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE);

	mem = mmap(mem, arg[0] + HUGE, RW, MAP_SHARED | MAP_ANONYMOUS |
		   MAP_FIXED, -1, 0);
	return mem == MAP_FAILED ? -errno : (long)mem + (long)ODD;
}

static bool put_huge(uint8_t *mem, size_t size, int flags)
{
	return mmap(mem, size, RW, flags | MAP_ANONYMOUS | MAP_HUGETLB |
		    MAP_FIXED, -1, 0) == mem;
}

static long own_map_huge_private(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE);

	return put_huge(mem, arg[0] + HUGE, MAP_PRIVATE) ? (long)mem +
		(long)ODD : -errno;
}

static long own_map_huge_shared(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE);

	return put_huge(mem, arg[0] + HUGE, MAP_SHARED) ? (long)mem +
		(long)ODD : -errno;
}

/* Small ones, a huge one, small ones, two huge ones, and a small one. */
static long own_map_mixed(const long *arg)
{
	uint8_t *mem = map_aligned(arg[0], HUGE);

	if (!put_huge(mem + HUGE, HUGE, MAP_PRIVATE) ||
	    !put_huge(mem + 3 * HUGE, HUGE, MAP_SHARED))
		return -errno;
	return (long)mem + (long)ODD;
}

/* Trouble */

/* All that there is between two ends of huge pages. */
static void collapse(uint8_t *mem, size_t size)
{
	uintptr_t start = ((uintptr_t)mem + HUGE - 1) & -HUGE;
	uintptr_t end = ((uintptr_t)mem + size) & -HUGE;
	size_t num = (end - start) / HUGE, first = random_below(num);

	madvise((void *)start, end - start, MADV_HUGEPAGE);
	madvise((void *)(start + first * HUGE), HUGE, MADV_COLLAPSE);
}

/* For khugepaged to find. */
static void want_huge(uint8_t *mem, size_t size)
{
	madvise(mem, size, MADV_HUGEPAGE);
	sleep_ms(20);
}

static void protect_some(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	must(!mprotect(at, len, RW | PROT_EXEC));
	must(!mprotect(at, len, RW));
	sleep_us(200);
}

/* As above, by whole huge pages: nothing else is allowed. */
static void protect_huge(uint8_t *mem, size_t size)
{
	uintptr_t start = ((uintptr_t)mem + HUGE - 1) & -HUGE;
	size_t num = (((uintptr_t)mem + size) & -HUGE) / HUGE - start / HUGE;
	uint8_t *at = (void *)(start + random_below(num) * HUGE);

	must(!mprotect(at, HUGE, RW | PROT_EXEC));
	must(!mprotect(at, HUGE, RW));
	sleep_us(200);
}

/* A child that looks at the memory, and goes a little later. */
static void fork_and_look(uint8_t *mem, size_t size)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		size_t zero = zero_check(mem + random_below(size), 1);

		sleep_us(random_below(3000));
		_exit(zero);
	}
	waitpid(pid, &status, 0);
}

static void throw_dontneed(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_DONTNEED));
}

/* Unmapped in the middle of a huge page, and mapped again. */
static void throw_unmap(uint8_t *mem, size_t len)
{
	must(!munmap(mem, len));
	must(mmap(mem, len, RW, ANON | MAP_FIXED, -1, 0) == mem);
}

static void throw_remove(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_REMOVE));
}

static const struct situation situations[] = {
	{ "huge pages made by MADV_COLLAPSE, split by mprotect()",
	  own_map_small, SIZE, { collapse, protect_some },
	  .evidence = "thp_collapse_alloc", .also = unmap_base },
	{ "huge pages made, and split by swapping", own_map_transparent, SIZE,
	  { collapse, page_out }, .evidence = "thp_split_page",
	  .needs_swap = true, .also = unmap_base },
	{ "huge pages made by khugepaged, split by MADV_DONTNEED",
	  own_map_small, SIZE, { want_huge }, throw_dontneed, .races = true,
	  .evidence = "thp_split_pmd", .also = unmap_base },
	{ "huge pages made, and split by munmap()", own_map_transparent, SIZE,
	  { collapse }, throw_unmap, .evidence = "thp_split_pmd",
	  .also = unmap_base },
	{ "huge pages made and split, shared with children",
	  own_map_transparent, SIZE, { collapse, fork_and_look },
	  throw_dontneed, .evidence = "thp_split_pmd", .also = unmap_base },
	{ "huge pages of shared memory, and pages removed",
	  own_map_shared_aligned, SIZE, { collapse, protect_some },
	  throw_remove, .races = true, .also = unmap_base },
	{ "hugetlbfs, private", own_map_huge_private, SIZE,
	  { protect_huge, fork_and_look }, .also = unmap_base },
	{ "hugetlbfs, shared", own_map_huge_shared, SIZE,
	  { protect_huge, fork_and_look }, .also = unmap_base },
	{ "small pages beside those of hugetlbfs", own_map_mixed, SIZE,
	  { page_out, protect_huge, fork_and_look }, .needs_swap = true,
	  .also = unmap_base },
};

/* Huge pages that are touched remotely before anybody else does */
static void first_touch(void)
{
	long before = vmstat("thp_fault_alloc");
	long addr = ask(&owner, own_map_transparent, SIZE);
	struct region region = region_reg(addr, SIZE, ODP);
	size_t at, rest;

	must(region.mr);
	for (at = 3 * PAGE; at < SIZE - 9; at += HUGE) {
		write_pattern(&region, at - 5, 14, at);
		expect_eq(ask(&owner, own_check, addr + at - 5, 14, at), 14,
			  "seen by the CPU");
		rest = SIZE - at - 9;
		expect_read_zero(&region, at + 9, rest < HUGE ? rest :
				 HUGE - 14, "the rest of a huge page");
	}
	expect_eq(ask(&owner, own_check_zero, addr, 3 * PAGE - 5),
		  3 * PAGE - 5, "in front of the first");
	expect(vmstat("thp_fault_alloc") > before, "there is no huge page");
	region_drop(&region);
	ask(&owner, own_unmap_base);
	point("huge pages that are first touched remotely");
}

/* None left */

static long own_reserve_nothing(const long *arg)
{
	return own_map((const long [OWNER_ARGS]){ 0, arg[0], RW, arg[1] |
		       MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1 });
}

static long own_take(const long *arg)
{
	return own_map((const long [OWNER_ARGS]){ 0, arg[0] * HUGE, RW, ANON |
		       MAP_HUGETLB | MAP_POPULATE, -1 });
}

static long free_huge_pages(void)
{
	char line[64] = "";

	hear_kernel("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
		    line, sizeof(line));
	return atol(line);
}

/* The first page is there, the second is not, and can be had later. */
static void use_without_pages(struct region *region, uint64_t hog,
			      size_t hog_size)
{
	size_t at = HUGE - 77;

	expect_denied(IBV_WR_RDMA_WRITE, region, at, 200);
	expect_denied(IBV_WR_RDMA_READ, region, HUGE + 5, 200);
	expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, region, HUGE + 8, 8);
	expect_read_pattern(region, 9, at - 9, 1, "the page that there is");
	expect_eq(ask(&owner, own_unmap, hog, hog_size), 0, "munmap");
	expect_read_zero(region, HUGE, HUGE, "a page of its own");
	write_pattern(region, at, 200, 2);
	expect_eq(ask(&owner, own_check, region->addr + at, 200, 2), 200,
		  "seen by the CPU");
}

static void none_left(int flags)
{
	long addr = ask(&owner, own_reserve_nothing, 2 * HUGE, flags);
	struct region region;
	long num, hog;

	if (addr < 0) {
		skip("there are no huge pages");
		goto out;
	}
	region = region_reg(addr, 2 * HUGE, ODP);
	must(region.mr);
	write_pattern(&region, 9, HUGE - 9, 1);
	num = free_huge_pages();
	hog = ask(&owner, own_take, num);
	must(num > 0 && hog > 0);
	use_without_pages(&region, hog, num * HUGE);
	region_drop(&region);
out:
	point("no huge page is left, %s", flags & MAP_SHARED ? "shared" :
							      "private");
}

/* At the requester's side it is a local error. */
static void none_left_here(void)
{
	struct region region = region_map(HUGE, ODP);
	uint8_t *mem = (void *)own_reserve_nothing((const long []){
						   HUGE, MAP_PRIVATE });
	long num = free_huge_pages(), hog = ask(&owner, own_take, num);
	struct ibv_mr *mr = reg(me.pd, mem, HUGE, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	struct ibv_sge sge = sge_of(mr, mem + 99, 5000);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_READ, &sge, region.addr,
					region.rkey);

	must(num > 0 && hog > 0);
	post_send(me.qp, &wr);
	expect_wc(me.scq, 0, IBV_WC_LOC_PROT_ERR);
	owner_connect(&owner);
	expect_eq(ask(&owner, own_unmap, hog, num * HUGE), 0, "munmap");
	ask(&owner, own_fill, region.addr, 5000, 3);
	post_send(me.qp, &wr);
	expect_wc(me.scq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(mem + 99, 5000, 3), 5000, "what was read");
	expect_eq(zero_check(mem, 99), 99, "in front of it");
	dereg(mr);
	munmap(mem, HUGE);
	region_drop(&region);
	point("no huge page is left at the requester");
}

#define THP	"/sys/kernel/mm/transparent_hugepage/"

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	traffic_init();
	swap_on();
	change_setting(THP "shmem_enabled", "advise");
	change_setting(THP "khugepaged/scan_sleep_millisecs", "10");
	change_setting(THP "khugepaged/alloc_sleep_millisecs", "10");
	change_setting(THP "khugepaged/pages_to_scan", "20000");
	owner_open(&owner, false);
	first_touch();
	for (i = 0; i < ARRAY_SIZE(situations); i++)
		situation(&situations[i]);
	none_left(MAP_PRIVATE);
	none_left(MAP_SHARED);
	none_left_here();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
	restore_settings();
	swap_off();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
