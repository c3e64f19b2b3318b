// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Several on-demand regions over the same memory: each has rights and an end
 * of its own, whatever the others have brought in.  Requests by a key that has
 * gone fail, those by the others do not notice.
 */
#include "nag.h"

#define SIZE		(4 * MIB)

static const int on_demand = IBV_ACCESS_ON_DEMAND;

/* One of several regions goes */

/* Slots, which the two keys take in turns. */
#define SLOT		(3 * PAGE + 301)
#define SLOTS		(SIZE / SLOT)

static long own_dereg_later(const long *arg)
{
	long ret;

	a_while();
	say_begun();
	ret = ibv_dereg_mr((struct ibv_mr *)arg[0]);
	say_done();
	return ret;
}

/* A write by one key, read back by another one. */
static int write_slot(const struct region *region, uint32_t key, int slot,
		      uint64_t seed)
{
	size_t len = SLOT - random_below(300);
	uint64_t addr = region->addr + slot * SLOT;
	enum kind kind = random_below(KINDS);
	int status;

	pattern_fill(buf[kind], len, seed);
	status = do_access(IBV_WR_RDMA_WRITE, kind, addr, key, len);
	if (status)
		return status;
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, !kind, addr,
		      region->rkey, len);
	expect_eq(pattern_check(buf[!kind], len, seed), len, "read back");
	return 0;
}

/* Which of them is read with is the one that stays. */
static void one_goes(void)
{
	struct region stays = region_map(SIZE, ODP);
	struct region goes = region_reg(stays.addr, SIZE, ODP);
	uint64_t end = now_ms() + SOON_MS, seed = 1;
	int status = 0;

	no_news();
	tell(&owner, own_dereg_later, goes.mr);
	while (!status && now_ms() < end) {
		bool was_done = is_done();

		expect_eq(write_slot(&stays, stays.rkey,
				     2 * random_below(SLOTS / 2), seed++), 0,
			  "by the key that stays");
		status = write_slot(&stays, goes.rkey,
				    2 * random_below(SLOTS / 2) + 1, seed++);
		expect(!was_done || status, "a key works that has gone");
		expect(!status || has_begun(), "a key has gone too soon");
	}
	expect_eq(status, IBV_WC_REM_ACCESS_ERR, "by the key that goes");
	expect_eq(owner_answer(&owner), 0, "dereg");
	owner_reconnect();
	expect_eq(write_slot(&stays, stays.rkey, 1, seed), 0, "afterwards");
	expect_eq(write_slot(&stays, goes.rkey, 1, seed),
		  IBV_WC_REM_ACCESS_ERR, "afterwards, by the other key");
	owner_reconnect();
	region_drop(&stays);
}

static void some_go(void)
{
	int i;

	for (i = 0; i < length_of(15, 300); i++)
		one_goes();
	point("one of two regions is deregistered under traffic");
}

/* Regions that come and go */

static long own_churn(const long *arg)
{
	static struct ibv_mr *kept[8];
	static unsigned int n;
	size_t at = random_below(SIZE / 2), len = 1 + random_below(SIZE / 2);
	struct ibv_mr **mr = &kept[n++ % ARRAY_SIZE(kept)];

	if (*mr)
		must(!ibv_dereg_mr(*mr));
	*mr = NULL;
	if (arg[1])		/* none is to be left */
		return 0;
	*mr = ibv_reg_mr(own.pd, (uint8_t *)arg[0] + at, len, ALL_RIGHTS |
			 (n % 4 ? IBV_ACCESS_ON_DEMAND : 0));
	must(*mr);
	return 0;
}

static void churn(void)
{
	struct region region = region_map(SIZE, ODP);
	uint64_t end = now_ms() + length_of(1000, 20000), seed = 1;
	long nag = ask(&owner, own_nag, (long)own_churn, region.addr, false);
	int i;

	while (now_ms() < end ||
	       (ask(&owner, own_nag_rounds, nag) <= 20 &&
		now_ms() < end + SOON_MS))
		if (!expect_eq(write_slot(&region, region.rkey,
					  random_below(SLOTS), seed++), 0,
			       "while regions come and go"))
			break;
	expect(ask(&owner, own_nag_stop, nag) > 20, "few came and went");
	for (i = 0; i < 8; i++)
		ask(&owner, own_churn, region.addr, true);
	region_drop(&region);
	point("regions registered and deregistered over one under traffic");
}

/* Each region is the only one, and gone after one use. */
static void one_by_one(void)
{
	uint64_t addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	struct region region;
	uint32_t stale = 0;
	int i;

	for (i = 0; i < length_of(100, 3000); i++) {
		region = region_reg(addr, SIZE, ODP);
		expect(region.rkey != stale, "a key is given out again");
		expect_eq(write_slot(&region, region.rkey, i % SLOTS, i + 1),
			  0, "by a new key");
		stale = region.rkey;
		region_dereg(&region);
		if (i % 10)
			continue;
		expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, ODP,
			      addr, stale, 8);
		owner_reconnect();
	}
	region_drop(&region);
	point("the only region, again and again");
}

/* Rights */

static const int rights[] = {
	0,
	IBV_ACCESS_LOCAL_WRITE,
	IBV_ACCESS_REMOTE_READ,
	IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
	IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	ALL_RIGHTS,
};

static const struct {
	enum ibv_wr_opcode opcode;
	int right;
} uses[] = {
	{ IBV_WR_RDMA_READ, IBV_ACCESS_REMOTE_READ },
	{ IBV_WR_RDMA_WRITE, IBV_ACCESS_REMOTE_WRITE },
	{ IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_ACCESS_REMOTE_ATOMIC },
	{ IBV_WR_ATOMIC_CMP_AND_SWP, IBV_ACCESS_REMOTE_ATOMIC },
};

/* Through a region with all rights the page is there, to be written. */
static void use_with(int i, const struct region *all,
		     const struct region *some, int right)
{
	bool may = right & uses[i].right;
	uint64_t at = 3 * PAGE + 8 * random_below(500);
	const uint64_t ours = 0x1111;
	uint64_t value;

	memcpy(buf[PINNED], &ours, 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED,
		      all->addr + at, all->rkey, 8);
	memset(buf[ODP], 0x77, 8);
	expect_access(may ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR,
		      uses[i].opcode, ODP, some->addr + at, some->rkey, 8);
	if (!may)
		owner_reconnect();
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, all->addr + at,
		      all->rkey, 8);
	memcpy(&value, buf[PINNED], 8);
	if (may && uses[i].opcode == IBV_WR_RDMA_WRITE)
		expect_eq(value, 0x7777777777777777, "written");
	else if (may && uses[i].opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		expect_eq(value, ours + 1, "added to");
	else
		expect_eq(value, ours, "not changed");
	if (may && uses[i].opcode != IBV_WR_RDMA_WRITE)
		expect_eq(*(uint64_t *)buf[ODP], ours, "what it was");
	else
		expect_eq(*(uint64_t *)buf[ODP], 0x7777777777777777, "here");
}

/* A receive, and so a local write. */
static void receive_with(const struct region *some, int right)
{
	bool may = right & IBV_ACCESS_LOCAL_WRITE;
	uint64_t addr = some->addr + 7 * PAGE + 5;

	ask(&owner, own_fill, addr, 1000, 1);
	expect_eq(ask(&owner, own_recv, addr, 1000, some->mr), 0, "post_recv");
	pattern_fill(buf[PINNED], 1000, 2);
	expect_access(may ? IBV_WC_SUCCESS : IBV_WC_REM_OP_ERR, IBV_WR_SEND,
		      PINNED, 0, 0, 1000);
	expect_eq(ask(&owner, own_poll_recv), may ? IBV_WC_SUCCESS :
		  IBV_WC_LOC_PROT_ERR, "receive");
	expect_eq(ask(&owner, own_check, addr, 1000, may ? 2 : 1), 1000,
		  "bytes");
	if (!may)
		owner_connect(&owner);
}

static void rights_differ(void)
{
	struct region all = region_map(SIZE, ODP), some;
	size_t i, n;

	for (n = 0; n < ARRAY_SIZE(rights); n++) {
		some = region_reg_with(all.addr, SIZE,
				       rights[n] | on_demand);
		if (!expect(some.mr, "no region with rights %#x", rights[n]))
			continue;
		for (i = 0; i < ARRAY_SIZE(uses); i++)
			use_with(i, &all, &some, rights[n]);
		receive_with(&some, rights[n]);
		region_dereg(&some);
	}
	region_drop(&all);
	point("regions with different rights over the same memory");
}

/* Read-only memory, whatever the region allows; and so again later. */
static void memory_read_only(void)
{
	struct region region = region_map(SIZE, ODP);
	uint64_t at = region.addr + 5 * PAGE;
	int i;

	ask(&owner, own_fill, region.addr, SIZE, 1);
	for (i = 0; i < 5; i++) {
		pattern_fill(buf[ODP], 5000, 2);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, ODP, at + 9,
			      region.rkey, 5000);
		ask(&owner, own_protect, at, 3 * PAGE, PROT_READ);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, at + 9,
			      region.rkey, 5000);
		expect_eq(pattern_check(buf[PINNED], 5000, 2), 5000, "read");
		pattern_fill(buf[ODP], 5000, 3);
		expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, ODP,
			      at + 9, region.rkey, 5000);
		owner_reconnect();
		expect_access(IBV_WC_REM_ACCESS_ERR,
			      IBV_WR_ATOMIC_FETCH_AND_ADD, ODP, at + 8,
			      region.rkey, 8);
		owner_reconnect();
		expect_eq(ask(&owner, own_check, at + 9, 5000, 2), 5000,
			  "read-only memory");
		ask(&owner, own_protect, at, 3 * PAGE, RW);
	}
	region_drop(&region);
	point("memory that is read-only, and is not, in turns");
}

/* Source and destination that overlap */

static const long distances[] = { 1, 13, 4095, 4096, 4097, 9000, 2 * MIB - 7 };

/*
 * Which byte comes first is nobody's promise.  But they are the source's, and
 * around the destination nothing changes.
 */
static void copy_onto_itself(uint8_t *mem, struct ibv_mr *here,
			     struct ibv_mr *there, long distance, size_t len)
{
	size_t at = 3 * PAGE + 77, dst = at + distance, i;
	bool reads = random_below(2);
	struct ibv_sge sge = sge_of(here, mem + (reads ? dst : at), len);
	struct ibv_send_wr wr;

	wr = rdma_wr(reads ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, &sge,
		     (uintptr_t)mem + (reads ? at : dst), there->rkey);
	memset(mem, 0x11, SIZE);
	memset(mem + at, 0x22, len);
	post_send(me.qp, &wr);
	expect_wc(me.scq, 0, IBV_WC_SUCCESS);
	for (i = 0; i < SIZE; i++) {
		bool source = i >= at && i < at + len;
		bool copied = i >= dst && i < dst + len;

		if (mem[i] != (source || copied ? 0x22 : 0x11))
			break;
	}
	expect_eq(i, SIZE, "bytes, %ld apart, %zu of them", distance, len);
}

static void overlaps(void)
{
	struct owner self = { .here = true };
	struct ibv_mr *mr[2];
	uint8_t *mem = map_memory(SIZE);
	size_t d;
	int i;

	owner_open(&self, true);
	for (i = 0; i < 2; i++)
		mr[i] = reg(i ? own.pd : me.pd, mem, SIZE, ALL_RIGHTS |
			    IBV_ACCESS_ON_DEMAND);
	for (d = 0; d < ARRAY_SIZE(distances); d++) {
		size_t max = SIZE - distances[d] - 4 * PAGE;

		for (i = 0; i < 3; i++) {
			size_t len = 1 + random_below(i ? max : 9000);
			size_t step = distances[d];

			copy_onto_itself(mem, mr[0], mr[1], step, len);
		}
	}
	dereg(mr[0]);
	dereg(mr[1]);
	owner_close(&self);
	must(!munmap(mem, SIZE));
	point("a source and a destination that overlap");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	news_open();
	owner_open(&owner, false);
	some_go();
	churn();
	one_by_one();
	rights_differ();
	memory_read_only();
	owner_close(&owner);
	overlaps();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
