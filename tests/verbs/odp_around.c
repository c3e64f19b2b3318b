// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What faults bring in that nobody has asked for yet: much of it where memory
 * is accessed in sequence, but never more than was accessed; and nothing where
 * it is not.
 */
#include "counters.h"

#define SIZE		(64 * MIB)
#define MESSAGE		(64 * KIB)
#define USED		(12 * MIB)
#define SPARSE		40

/* For what is brought in while accesses go on. */
#define SETTLE_US	300000

static long pages_there(const struct region *region)
{
	return ask(&owner, own_rss, region->addr) * 1024 / (long)PAGE;
}

/* Fresh memory of small pages, and queue pairs that have seen nothing. */
static struct region fresh(void)
{
	struct region region = region_map(SIZE, ODP);

	expect_eq(ask(&owner, own_advise, region.addr, SIZE,
		      MADV_NOHUGEPAGE), 0, "madvise");
	owner_connect(&owner);
	return region;
}

/* What is brought in ahead comes from another thread. */
static void settle(const struct region *region)
{
	uint64_t end = now_ms() + SOON_MS;
	long before;

	do {
		before = pages_there(region);
		usleep(SETTLE_US);
	} while (pages_there(region) != before && now_ms() < end);
}

static void go_through(const struct region *region, size_t size)
{
	size_t at;

	for (at = 0; at < size; at += MESSAGE)
		write_pattern(region, at, MESSAGE, at);
}

static void expect_all(const struct region *region, size_t size)
{
	size_t at;

	for (at = 0; at < size; at += MESSAGE)
		expect_read_pattern(region, at, MESSAGE, at, "written before");
}

static void sequence(void)
{
	struct region region = fresh();
	long faults = counter("odp_faults");

	go_through(&region, USED);
	faults = counter("odp_faults") - faults;
	expect(faults < 30, "%ld faults for %ld messages", faults,
	       (long)(USED / MESSAGE));
	settle(&region);
	expect(pages_there(&region) <= (long)(2 * USED / PAGE),
	       "%ld pages are there, %ld were accessed", pages_there(&region),
	       (long)(USED / PAGE));
	expect_all(&region, USED);
	expect_read_zero(&region, USED, MIB, "not written");
	region_drop(&region);
	point("access in sequence, %s", where());
}

/* The last bytes of a region may be in the middle of a leaf, or of a page. */
static void end_of_region(void)
{
	size_t used = 5 * MIB + MESSAGE;
	long addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	struct region region;

	expect_eq(ask(&owner, own_advise, addr, SIZE, MADV_NOHUGEPAGE), 0,
		  "madvise");
	region = region_reg(addr, used, ODP);
	owner_connect(&owner);
	go_through(&region, used);
	settle(&region);
	expect_eq(pages_there(&region), used / PAGE, "pages");
	expect_all(&region, used);
	region_drop(&region);
	ask(&owner, own_unmap, addr, SIZE);
	point("access in sequence up to the region's end, %s", where());
}

/* Pages far apart, forwards or backwards, after a sequence or not. */
static void sparse(bool backwards, bool after)
{
	struct region region = fresh();
	long before, n = 0;
	size_t i, at;

	if (after) {
		go_through(&region, 4 * MIB);
		/* Until that is forgotten. */
		for (i = 0; i < 6; i++)
			write_pattern(&region, 60 * MIB - i * 130 * PAGE, 8, i);
		settle(&region);
	}
	before = pages_there(&region);
	for (i = 0; i < SPARSE; i++) {
		at = 30 * MIB + (backwards ? SPARSE - i : i) * 67 * PAGE;
		write_pattern(&region, at + 100, 8, i);
		n++;
	}
	settle(&region);
	expect_eq(pages_there(&region) - before, n, "pages");
	region_drop(&region);
	point("sparse access, %s%s, %s", backwards ? "backwards" : "forwards",
	      after ? ", after a sequence" : "", where());
}

static void around(bool here)
{
	owner_open(&owner, here);
	sequence();
	end_of_region();
	sparse(false, false);
	sparse(true, false);
	sparse(false, true);
	owner_close(&owner);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	around(false);
	around(true);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
