// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ibv_advise_mr(): what it brings in, what it leaves alone, what it refuses.
 */
#include "counters.h"
#include "prefetch.h"
#include "storage.h"

#define SIZE		(5 * MIB)
#define AT		(MIB + 77)
#define LEN		(3 * MIB + 1000)	/* over the end of a leaf */
#define PIECES		16

/* How many of its pages a process finds there. */
static long own_resident(const long *arg)
{
	size_t first = arg[0] / PAGE, i;
	size_t n = (arg[0] + arg[1] + PAGE - 1) / PAGE - first;
	unsigned char *there = malloc(n);
	long found = 0;

	must(there && !mincore((void *)(first * PAGE), n * PAGE, there));
	for (i = 0; i < n; i++)
		found += there[i] & 1;
	free(there);
	return found;
}

static size_t pages_of(uint64_t addr, size_t len)
{
	return (addr + len + PAGE - 1) / PAGE - addr / PAGE;
}

static void expect_no_faults(long before, const char *what)
{
	expect(before >= 0, "there is no counter of faults");
	expect_eq(counter("odp_faults") - before, 0, "faults %s", what);
}

/* Whatever was advised, the bytes are right. */
static void right_bytes(int i, int flags)
{
	struct region region = region_map(SIZE, ODP);
	int advice = advices[i].advice;

	ask(&owner, own_fill, region.addr + 2 * MIB, MIB, 1);
	expect_eq(prefetch(&region, advice, flags, AT, LEN), 0, "advise");
	expect_read_pattern(&region, 2 * MIB, MIB, 1, "what was there");
	expect_read_zero(&region, AT, MIB - 77, "what was not");
	write_pattern(&region, AT, LEN, 2);
	expect_eq(prefetch(&region, advice, flags, AT, LEN), 0, "advise");
	expect_eq(ask(&owner, own_check, region.addr + AT, LEN, 2), LEN,
		  "what was written");
	ask(&owner, own_advise, region.addr, SIZE, MADV_DONTNEED);
	expect_eq(prefetch(&region, advice, flags, AT, LEN), 0, "advise");
	expect_read_zero(&region, AT, LEN, "what was thrown away");
	region_drop(&region);
	point("%s, %s", advices[i].name, flags ? "at once" : "some time");
}

/* Fresh memory becomes the process's own, and nothing faults afterwards. */
static void makes_pages(void)
{
	struct region region = region_map(SIZE, ODP);
	size_t pages = pages_of(region.addr + AT, LEN);
	long before, prefetched = counter("odp_prefetched_pages");

	expect_eq(ask(&owner, own_resident, region.addr, SIZE), 0, "pages");
	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			   FLUSH, AT, LEN), 0, "advise");
	expect_eq(ask(&owner, own_resident, region.addr + AT, LEN), pages,
		  "pages");
	expect(ask(&owner, own_rss, region.addr) >= (long)(pages * 4),
	       "there are only %ld KiB", ask(&owner, own_rss, region.addr));
	expect(counter("odp_prefetched_pages") - prefetched >= (long)pages,
	       "prefetches are not counted");

	/* The requester's own memory faults too, unless it is pinned. */
	before = counter("odp_faults");
	pattern_fill(buf[PINNED], LEN, 1);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED,
		      region.addr + AT, region.rkey, LEN);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
		      region.addr + AT, region.rkey, LEN);
	expect_no_faults(before, "after PREFETCH_WRITE");
	expect_eq(pattern_check(buf[PINNED], LEN, 1), LEN, "bytes");
	expect_eq(ask(&owner, own_check, region.addr + AT, LEN, 1), LEN,
		  "bytes there");
	region_drop(&region);
	point("PREFETCH_WRITE makes pages");
}

/* What is counted for a region is that region's. */
static void counted(void)
{
	struct region region = region_map(SIZE, ODP), other;
	long pages = pages_of(region.addr + AT, LEN);

	other = region_reg(region.addr, SIZE, ODP);
	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			   FLUSH, AT, LEN), 0, "advise");
	write_pattern(&region, AT, LEN, 1);
	expect(region_counter(&region, "prefetches") >= 1, "prefetches");
	expect(region_counter(&region, "prefetched_pages") >= pages,
	       "prefetched pages");
	expect_eq(region_counter(&region, "faults"), 0, "faults");
	expect_eq(region_counter(&other, "prefetches"), 0, "of the other");

	ask(&owner, own_advise, region.addr, SIZE, MADV_DONTNEED);
	write_pattern(&region, AT, LEN, 2);
	expect(region_counter(&region, "faults") > 0, "faults");
	expect(region_counter(&region, "faulted_pages") > 0, "faulted pages");
	expect_eq(region_counter(&other, "faults"), 0, "of the other");
	region_dereg(&other);
	region_drop(&region);
	point("what is counted for a region");
}

/* Reading makes none. */
static void makes_no_pages(void)
{
	struct region region = region_map(SIZE, ODP);
	long before;

	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH, FLUSH, AT,
			   LEN), 0, "advise");
	expect_eq(ask(&owner, own_rss, region.addr), 0, "KiB");
	before = counter("odp_faults");
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
		      region.addr + AT, region.rkey, LEN);
	expect_no_faults(before, "after PREFETCH");
	expect_eq(zero_check(buf[PINNED], LEN), LEN, "bytes");
	expect_eq(ask(&owner, own_rss, region.addr), 0, "KiB");
	write_pattern(&region, AT, LEN, 2);
	expect_eq(ask(&owner, own_check, region.addr + AT, LEN, 2), LEN,
		  "written afterwards");
	region_drop(&region);
	point("PREFETCH makes no page");
}

static void finds_only(void)
{
	struct region region = region_map(SIZE, ODP);
	long before, rss;

	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT,
			   FLUSH, AT, LEN), 0, "advise");
	expect_eq(ask(&owner, own_rss, region.addr), 0, "KiB");
	expect_eq(ask(&owner, own_resident, region.addr, SIZE), 0, "pages");

	ask(&owner, own_fill, region.addr + 2 * MIB - 9, MIB, 1);
	rss = ask(&owner, own_rss, region.addr);
	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT,
			   FLUSH, AT, LEN), 0, "advise");
	expect_eq(ask(&owner, own_rss, region.addr), rss, "KiB");
	before = counter("odp_faults");
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
		      region.addr + 2 * MIB - 9, region.rkey, MIB);
	expect_no_faults(before, "after NO_FAULT");
	expect_eq(pattern_check(buf[PINNED], MIB, 1), MIB, "bytes");
	region_drop(&region);
	point("PREFETCH_NO_FAULT finds what is there");
}

/* Shared with a child: reading keeps it so, and writing is the parent's. */

static pid_t sharer;

static long own_share(const long *arg)
{
	sharer = fork();
	must(sharer >= 0);
	if (sharer)
		return sharer;
	while (!__atomic_load_n(&news->go_on, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	_exit(pattern_check((void *)arg[0], arg[1], 1) == (size_t)arg[1] ?
	      0 : 1);
}

static long own_unshare(const long *arg)
{
	int status = -1;

	(void)arg;
	__atomic_store_n(&news->go_on, 1, __ATOMIC_SEQ_CST);
	return wait_child(sharer, SOON_MS, &status) ? status : -1;
}

static void shared(int advice)
{
	struct region region = region_map(SIZE, ODP);

	no_news();
	ask(&owner, own_fill, region.addr, SIZE, 1);
	ask(&owner, own_share, region.addr, SIZE);
	expect_eq(prefetch(&region, advice, FLUSH, AT, LEN), 0, "advise");
	expect_read_pattern(&region, 0, SIZE, 1, "shared with a child");
	write_pattern(&region, AT, LEN, 2);
	expect_eq(ask(&owner, own_unshare), 0, "what the child has");
	expect_eq(ask(&owner, own_check, region.addr + AT, LEN, 2), LEN,
		  "what the parent has");
	region_drop(&region);
}

static void shared_pages(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++)
		shared(advices[i].advice);
	point("pages shared with a child");
}

/* Many ranges of many regions in one call. */

static long own_prefetch_many(const long *arg)
{
	struct ibv_sge sge[PIECES];
	const struct region *region = (void *)arg[2];
	int i;

	for (i = 0; i < PIECES; i++)
		sge[i] = (struct ibv_sge) {
			region[i].addr + 100, region[i].size - 200,
			region[i].rkey,
		};
	return ibv_advise_mr(own.pd, arg[0], arg[1], sge, arg[3]);
}

static struct region *several;		/* both processes see them */

static void many_ranges(int flags)
{
	long before;
	int i;

	for (i = 0; i < PIECES; i++)
		several[i] = region_map((1 + i * 37) * PAGE, ODP);
	expect_eq(ask(&owner, own_prefetch_many,
		      IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, flags,
		      (long)several, PIECES), 0, "advise");
	before = counter("odp_faults");
	for (i = 0; i < PIECES; i++) {
		size_t len = several[i].size - 200;

		pattern_fill(buf[PINNED], len, i + 1);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED,
			      several[i].addr + 100, several[i].rkey, len);
	}
	if (flags == FLUSH)
		expect_no_faults(before, "after all were prefetched");
	for (i = 0; i < PIECES; i++) {
		expect_eq(ask(&owner, own_check, several[i].addr + 100,
			      several[i].size - 200, i + 1),
			  several[i].size - 200, "region %d", i);
	}

	/* One that is wrong among them. */
	several[PIECES - 1].rkey ^= 0x100;
	expect_eq(ask(&owner, own_prefetch_many,
		      IBV_ADVISE_MR_ADVICE_PREFETCH, flags, (long)several,
		      PIECES), ENOENT, "one wrong key");
	for (i = 0; i < PIECES; i++)
		region_drop(&several[i]);
	point("%d ranges of as many regions, %s", PIECES,
	      flags ? "at once" : "some time");
}

static void implicit(void)
{
	long addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0), before;
	struct region all = region_reg_with(0, SIZE_MAX, ALL_RIGHTS |
					    IBV_ACCESS_ON_DEMAND);

	if (!all.mr) {
		expect(false, "there are no implicit regions");
		goto out;
	}
	expect_eq(prefetch(&all, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, FLUSH,
			   addr + AT, LEN), 0, "advise");
	before = counter("odp_faults");
	pattern_fill(buf[PINNED], LEN, 3);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED, addr + AT,
		      all.rkey, LEN);
	expect_no_faults(before, "in an implicit region");
	expect_eq(ask(&owner, own_check, addr + AT, LEN, 3), LEN, "bytes");
	expect_eq(prefetch(&all, IBV_ADVISE_MR_ADVICE_PREFETCH, FLUSH,
			   0xffff888000000000, PAGE), EFAULT, "the kernel's");
	expect_eq(prefetch(&all, IBV_ADVISE_MR_ADVICE_PREFETCH, FLUSH,
			   -100UL, 200), EFAULT, "around the end");
	expect_eq(prefetch(&all, IBV_ADVISE_MR_ADVICE_PREFETCH, FLUSH, 0,
			   PAGE), EFAULT, "the first page");
	region_dereg(&all);
out:
	ask(&owner, own_unmap, addr, SIZE);
	point("an implicit region");
}

/* What is refused */

static long own_prefetch_other_domain(const long *arg)
{
	struct ibv_pd *pd = ibv_alloc_pd(own.ctx);
	struct ibv_sge sge = { arg[3], arg[4], arg[2] };
	long ret;

	must(pd);
	ret = ibv_advise_mr(pd, arg[0], arg[1], &sge, 1);
	must(!ibv_dealloc_pd(pd));
	return ret;
}

static void refused_keys(int advice, int flags)
{
	struct region region = region_map(SIZE, ODP);
	struct region pinned = region_reg(region.addr, SIZE, PINNED);
	struct region local = region_reg_with(region.addr, SIZE,
					      IBV_ACCESS_ON_DEMAND);
	bool writes = advice == IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE;
	struct region wrong = region;

	wrong.rkey ^= 1;
	expect_eq(prefetch(&wrong, advice, flags, 0, 8), ENOENT, "other tag");
	wrong.rkey ^= 0x4321 << 8;
	expect_eq(prefetch(&wrong, advice, flags, 0, 8), ENOENT, "other key");
	expect_eq(prefetch(&pinned, advice, flags, 0, 8), EINVAL, "pinned");
	expect_eq(prefetch(&local, advice, flags, 0, 8), writes ? EPERM : 0,
		  "no right to write");
	expect_eq(ask(&owner, own_prefetch_other_domain, advice, flags,
		      region.rkey, region.addr, 8), EPERM, "other domain");
	wrong = local;
	region_dereg(&local);
	expect_eq(prefetch(&wrong, advice, flags, 0, 8), ENOENT, "stale key");
	region_dereg(&pinned);
	region_drop(&region);
}

static void refused_ranges(int advice)
{
	struct region region = region_map(SIZE, ODP), part;
	bool only = advice == IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT;

	part = region_reg(region.addr + MIB + 5, MIB, ODP);
	expect_eq(prefetch(&part, advice, FLUSH, 0, MIB), 0, "all of it");
	expect_eq(prefetch(&part, advice, FLUSH, -1, 8), EFAULT, "before it");
	expect_eq(prefetch(&part, advice, FLUSH, MIB - 7, 8), EFAULT, "behind");
	expect_eq(prefetch(&part, advice, FLUSH, MIB, 8), EFAULT, "behind it");
	expect_eq(prefetch(&part, advice, FLUSH, -part.addr - 10, 20), EFAULT,
		  "around the end");
	region_dereg(&part);

	ask(&owner, own_unmap, region.addr + 3 * MIB, PAGE);
	expect_eq(prefetch(&region, advice, ASYNC, 0, SIZE), 0,
		  "a hole, some time");
	if (!only)
		expect_eq(prefetch(&region, advice, FLUSH, 0, SIZE), EFAULT,
			  "a hole");
	ask(&owner, own_map, region.addr + 3 * MIB, PAGE, PROT_READ,
	    ANON | MAP_FIXED, -1, 0);
	if (!only)
		expect_eq(prefetch(&region, advice, FLUSH, 0, SIZE),
			  advice == IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE ?
			  EPERM : 0, "read-only memory");
	region_drop(&region);
}

static void refusals(void)
{
	struct region region = region_map(SIZE, ODP);
	long prefetched = counter("odp_prefetched_pages");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		refused_keys(advices[i].advice, FLUSH);
		refused_keys(advices[i].advice, ASYNC);
		refused_ranges(advices[i].advice);
	}
	expect_eq(prefetch(&region, 77, FLUSH, 0, 8), EOPNOTSUPP,
		  "unknown advice");
	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH, 1 << 5, 0,
			   8), EINVAL, "unknown flag");
	several[0] = region;
	expect_eq(ask(&owner, own_prefetch_many,
		      IBV_ADVISE_MR_ADVICE_PREFETCH, FLUSH, (long)several, 0),
		  EINVAL, "no range");
	prefetched = counter("odp_prefetched_pages") - prefetched;
	expect(prefetched >= 0 && prefetched < 100 * (long)(SIZE / PAGE),
	       "%ld pages are counted", prefetched);
	region_drop(&region);
	point("what is refused");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	leave_pages_alone();
	news_open();
	several = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(several != MAP_FAILED);
	owner_open(&owner, false);
	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		right_bytes(i, ASYNC);
		right_bytes(i, FLUSH);
	}
	makes_pages();
	counted();
	makes_no_pages();
	finds_only();
	shared_pages();
	many_ranges(ASYNC);
	many_ranges(FLUSH);
	implicit();
	refusals();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
	restore_settings();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
