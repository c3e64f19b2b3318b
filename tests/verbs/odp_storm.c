// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Storms of invalidations: a thread switches PROT_EXEC on and off as fast as
 * it can, on the very pages under traffic or near them.  How fast the traffic
 * goes on is compared with the traffic of the same moment without a storm.
 * Limit: 600
 *
 *	requester ── writes, reads ──▶ | leaf with traffic | next leaf |
 *	                                  ▲ mprotect()        ▲ madvise()
 */
#include "nag.h"

#define LEAF		(2 * MIB)
#define LIST		8
#define SLICE_US	30000
/*
 * Neither is the start of a page.  They are some pages apart: with the same
 * place in two leaves an emulated TLB has but one entry for both.
 */
#define THERE_AT	77
#define HERE_AT		(40 * PAGE + 1001)

static struct owner self = { .here = true };

/* What the other thread does; all of it takes one CPU */

static long spin(const long *arg)
{
	int i;

	for (i = 0; i < 100; i++)
		getppid();
	return arg[0];
}

static long toggle_exec(const long *arg)
{
	must(!mprotect((void *)arg[0], LEAF, RW | PROT_EXEC));
	must(!mprotect((void *)arg[0], LEAF, RW));
	return 0;
}

/* Only the pages under traffic. */
static long toggle_exec_of_pages(const long *arg)
{
	void *pages = (void *)(arg[1] & ~(PAGE - 1));
	size_t len = arg[1] + arg[2] - (long)pages;

	must(!mprotect(pages, len, RW | PROT_EXEC));
	must(!mprotect(pages, len, RW));
	return 0;
}

static long throw_away_next(const long *arg)
{
	uint8_t *next = (uint8_t *)arg[0] + LEAF;

	next[random_below(LEAF)] = 1;
	must(!madvise(next, LEAF, MADV_DONTNEED));
	return 0;
}

static long toggle_next(const long *arg)
{
	return toggle_exec((const long []){ arg[0] + LEAF });
}

enum storm {
	CALM, LEAF_TOGGLED, PAGES_TOGGLED, NEXT_THROWN, NEXT_TOGGLED, STORMS
};

/*
 * While mprotect() is at it, nobody can find out what pages there are; for 512
 * small pages it is at it most of the time.
 */
static const struct {
	const char *name;
	owner_function step;
	unsigned int divisor;		/* of the traffic: so much is left */
} storms[STORMS] = {
	{ "nothing", spin, 1 },
	{ "PROT_EXEC of all 2 MiB", toggle_exec, 25 },
	{ "PROT_EXEC of the pages", toggle_exec_of_pages, 5 },
	{ "MADV_DONTNEED 2 MiB away", throw_away_next, 2 },
	{ "PROT_EXEC 2 MiB away", toggle_next, 2 },
};

static const struct {
	enum ibv_wr_opcode opcode;
	uint32_t len;
} ops[] = {
	{ IBV_WR_RDMA_WRITE, 64 * KIB },
	{ IBV_WR_RDMA_READ, 64 * KIB },
	{ IBV_WR_RDMA_WRITE, 8 },
	{ IBV_WR_RDMA_READ, 8 },
};

/* Whose memory the storm is in: the owner's, or the requester's own. */
enum place { REMOTE, LOCAL, PLACES };

struct rate {
	uint64_t best;			/* requests in a second */
	uint64_t rounds;
};

/* Memory that starts with a leaf, and goes on with the next one. */
static long own_map_leaves(const long *arg)
{
	uint8_t *mem = map_memory(3 * LEAF);
	uint8_t *leaf = (void *)(((uintptr_t)mem + LEAF - 1) & ~(LEAF - 1));

	(void)arg;
	if (leaf > mem)
		must(!munmap(mem, leaf - mem));
	must(!munmap(leaf + 2 * LEAF, mem + LEAF - leaf));
	return (long)leaf;
}

struct ends {
	struct region there;
	uint8_t *here;
	struct ibv_mr *mr;
};

static void one_list(const struct ends *ends, enum ibv_wr_opcode opcode,
		     uint32_t len)
{
	struct ibv_sge sge = sge_of(ends->mr, ends->here + HERE_AT, len);
	struct ibv_send_wr wr[LIST];
	int i;

	for (i = 0; i < LIST; i++) {
		wr[i] = rdma_wr(opcode, &sge, ends->there.addr + THERE_AT,
				ends->there.rkey);
		wr[i].next = i < LIST - 1 ? &wr[i + 1] : NULL;
	}
	post_send(me.qp, wr);
	for (i = 0; i < LIST; i++)
		expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "%s",
			  opcode_name(opcode));
}

/* Traffic for a while, and then a look at all its bytes. */
static void measure(const struct ends *ends, int op, struct rate *rate)
{
	unsigned int failures = tap->failures;
	enum ibv_wr_opcode opcode = ops[op].opcode;
	uint64_t seed = random_u64() >> 1, start, now, requests = 0;
	bool reads = opcode == IBV_WR_RDMA_READ;
	uint32_t len = ops[op].len;

	pattern_fill(ends->here, HERE_AT, seed + reads);
	ask(&owner, own_fill, ends->there.addr, THERE_AT, seed + !reads);
	if (reads)
		ask(&owner, own_fill, ends->there.addr + THERE_AT, len,
		    seed + 2);
	else
		pattern_fill(ends->here + HERE_AT, len, seed + 2);
	start = now_us();
	do {
		one_list(ends, opcode, len);
		requests += LIST;
		now = now_us();
	} while (now - start < SLICE_US && tap->failures == failures);
	requests = requests * 1000000 / (now - start);
	if (requests > rate->best)
		rate->best = requests;

	expect_eq(pattern_check(ends->here + HERE_AT, len, seed + 2), len,
		  "bytes here");
	expect_eq(ask(&owner, own_check, ends->there.addr + THERE_AT, len,
		      seed + 2), len, "bytes there");
	expect_eq(ask(&owner, own_check, ends->there.addr, THERE_AT,
		      seed + !reads), THERE_AT, "bytes before them, there");
	expect_eq(pattern_check(ends->here, HERE_AT, seed + reads),
		  HERE_AT,
		  "bytes before them, here");
}

static void slice(const struct ends *ends, enum place place, int op,
		  enum storm storm, struct rate *rate)
{
	struct owner *whose = place == LOCAL ? &self : &owner;
	long leaf, at, nag;

	leaf = place == LOCAL ? (long)ends->here : (long)ends->there.addr;
	at = leaf + (place == LOCAL ? HERE_AT : THERE_AT);
	nag = ask(whose, own_nag, (long)storms[storm].step, leaf, at,
		  ops[op].len);

	measure(ends, op, rate);
	rate->rounds += ask(whose, own_nag_stop, nag);
}

static bool is_fast_enough(const struct rate *rate, enum storm storm)
{
	return rate[storm].rounds > 50 &&
	       rate[storm].best * storms[storm].divisor >= rate[CALM].best;
}

static bool are_fast_enough(const struct rate *rate)
{
	enum storm storm;

	for (storm = 0; storm < STORMS; storm++)
		if (!is_fast_enough(rate, storm))
			return false;
	return true;
}

/*
 * In turns, the best of which count, and more of them where that is needed: a
 * CPU that is not there while mprotect() is at work holds up all.
 */
static void weather(const struct ends *ends, enum place place, int op)
{
	int few = length_of(5, 100), many = length_of(40, 300), i;
	unsigned int failures = tap->failures;
	struct rate rate[STORMS] = {};
	enum storm storm;

	for (i = 0; i < few || (i < many && !are_fast_enough(rate)); i++)
		for (storm = 0; storm < STORMS && tap->failures == failures;
		     storm++)
			slice(ends, place, op, storm, &rate[storm]);
	for (storm = 0; storm < STORMS; storm++) {
		diag("%7llu/s, %6llu steps of %s",
		     (unsigned long long)rate[storm].best,
		     (unsigned long long)rate[storm].rounds,
		     storms[storm].name);
		expect(is_fast_enough(rate, storm), "%s leaves %llu of %llu/s",
		       storms[storm].name,
		       (unsigned long long)rate[storm].best,
		       (unsigned long long)rate[CALM].best);
	}
	point("%s of %u bytes, storms at %s end", opcode_name(ops[op].opcode),
	      ops[op].len, place == LOCAL ? "this" : "the other");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	enum place place;
	struct ends ends;
	size_t op;

	owner_open(&owner, false);
	ends.there = region_reg(ask(&owner, own_map_leaves), 2 * LEAF,
				ODP);
	ends.here = (void *)ask(&self, own_map_leaves);
	ends.mr = reg(me.pd, ends.here, 2 * LEAF, ALL_RIGHTS |
		      IBV_ACCESS_ON_DEMAND);
	for (place = 0; place < PLACES; place++)
		for (op = 0; op < ARRAY_SIZE(ops); op++)
			weather(&ends, place, op);
	dereg(ends.mr);
	must(!munmap(ends.here, 2 * LEAF));
	region_drop(&ends.there);
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(560, 1800), test);
}
