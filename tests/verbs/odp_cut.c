// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Reads of memory on demand of which a page is missing: what is there is
 * answered before that is brought in, be it as little as one packet.  Nothing
 * of that is taken for damaged.
 */
#include <sys/mman.h>

#include "pair.h"

#define SIZE		(64 * KIB)
#define READ		(16 * KIB)
#define ROUNDS		40

static uint8_t *there, got[SIZE], expected[SIZE];
static struct ibv_mr *mr_there, *mr_got;

static void read_from(size_t at, size_t len)
{
	struct ibv_sge sge = sge_of(mr_got, got, len);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_READ, &sge,
					(uintptr_t)there + at, mr_there->rkey);

	wr.wr_id = 1;
	memset(got, 0xee, len);
	post_send(a.qp, &wr);
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
	expect_same(got, expected + at, len, "what was read");
}

/* A page goes, and with it what was in it. */
static void lose(size_t page)
{
	must(!madvise(there + page, PAGE, MADV_DONTNEED));
	memset(expected + page, 0, PAGE);
}

static void fill(size_t page)
{
	random_fill(expected + page, PAGE);
	memcpy(there + page, expected + page, PAGE);
}

/* Reads that begin so many bytes before a page that is missing. */
static void cut_behind(size_t before)
{
	long damaged = counter("rx_icrc_errors");
	size_t page;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		page = PAGE * (1 + random_below(SIZE / PAGE / 2));
		/* By now it is known that they come whole. */
		read_from(0, SIZE);
		lose(page);
		read_from(page - before, READ);
		fill(page);
	}
	expect_eq(counter("rx_icrc_errors"), damaged, "packets with bad ICRCs");
	point("a page is missing %zu bytes behind the first", before);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	open_sides(true);
	connected(&usual_conn);
	there = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(there != MAP_FAILED);
	must(!madvise(there, SIZE, MADV_NOHUGEPAGE));
	random_fill(expected, SIZE);
	memcpy(there, expected, SIZE);
	mr_there = reg(b.pd, there, SIZE, ALL_RIGHTS | kind_access(ODP));
	mr_got = reg(a.pd, got, SIZE, ALL_RIGHTS);

	cut_behind(0);
	cut_behind(1024);
	cut_behind(1500);
	cut_behind(2048);
	cut_behind(3072);

	dereg(mr_got);
	dereg(mr_there);
	munmap(there, SIZE);
	close_sides(true);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(120, 120), test);
}
