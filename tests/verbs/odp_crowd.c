// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Many queue pairs fault at the same time, each in memory that nobody has
 * touched before; and some wait for a page that does not come, which is
 * nothing to the others.
 *
 *	8 threads with 8 queue pairs each ──▶ disjoint pieces of one region
 */
#include "nag.h"
#include "uffd.h"

#define QPS		64
#define THREADS		8
#define EACH		(QPS / THREADS)
#define PIECE		(48 * PAGE)	/* of memory, for a queue pair */
#define LIST		4
#define STRIDE		(12 * PAGE)	/* LIST of them in a piece */

static struct shared {
	uint32_t here[QPS];		/* queue pairs' numbers */
	uint32_t there[QPS];
} *shared;

static struct ibv_qp *own_qps[QPS];
static struct ibv_qp *qps[QPS];
static struct side crowd[THREADS];	/* each with queues of its own */
static uint8_t *local[THREADS];
static struct ibv_mr *local_mr[THREADS];
static struct region region;
static uint64_t round_number;

static void connect_one(struct ibv_qp *qp, const struct side *side,
			uint32_t number)
{
	struct side one = *side;
	struct address peer = { number, side->gid };

	one.qp = qp;
	side_connect(&one, &peer, &usual_conn);
}

static long own_crowd_make(const long *arg)
{
	struct ibv_qp_init_attr init = qp_init(&own, 16);
	int i;

	(void)arg;
	for (i = 0; i < QPS; i++) {
		own_qps[i] = ibv_create_qp(own.pd, &init);
		must(own_qps[i]);
		shared->there[i] = own_qps[i]->qp_num;
	}
	return 0;
}

static long own_crowd_connect(const long *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < QPS; i++)
		connect_one(own_qps[i], &own, shared->here[i]);
	return 0;
}

static long own_crowd_drop(const long *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < QPS; i++)
		must(!ibv_destroy_qp(own_qps[i]));
	return 0;
}

static void crowd_open(void)
{
	struct ibv_qp_init_attr init;
	int t, i;

	ask(&owner, own_crowd_make);
	for (t = 0; t < THREADS; t++) {
		side_open(&crowd[t], 256);
		local[t] = map_memory(EACH * PIECE);
		local_mr[t] = reg(crowd[t].pd, local[t], EACH * PIECE,
				  ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	}
	for (i = 0; i < QPS; i++) {
		struct side *side = &crowd[i / EACH];

		init = qp_init(side, 16);
		qps[i] = ibv_create_qp(side->pd, &init);
		must(qps[i]);
		shared->here[i] = qps[i]->qp_num;
	}
	ask(&owner, own_crowd_connect);
	for (i = 0; i < QPS; i++)
		connect_one(qps[i], &crowd[i / EACH], shared->there[i]);
}

static void crowd_close(void)
{
	int t, i;

	for (i = 0; i < QPS; i++)
		must(!ibv_destroy_qp(qps[i]));
	for (t = 0; t < THREADS; t++) {
		dereg(local_mr[t]);
		must(!munmap(local[t], EACH * PIECE));
		side_close(&crowd[t]);
	}
	ask(&owner, own_crowd_drop);
}

/* Work of one queue pair, none of which has been touched at its far end. */

static uint64_t seed_of(int qp, int i)
{
	return round_number * 1000 + qp * LIST + i + 1;
}

/* In the piece: not at the start of a page, and over several. */
static size_t place(int qp, int i)
{
	return i * STRIDE + 100 + qp * 7;
}

static uint32_t length(int qp, int i)
{
	return 1 + (qp * 977 + i * 7919) % (STRIDE - 100 - QPS * 7);
}

static void start(int qp, enum ibv_wr_opcode opcode)
{
	uint8_t *here = local[qp / EACH] + qp % EACH * PIECE;
	uint64_t there = region.addr + qp * PIECE;
	struct ibv_send_wr wr[LIST];
	struct ibv_sge sge[LIST];
	int i;

	for (i = 0; i < LIST; i++) {
		uint32_t len = length(qp, i);

		if (opcode == IBV_WR_RDMA_WRITE)
			pattern_fill(here + place(qp, i), len, seed_of(qp, i));
		sge[i] = sge_of(local_mr[qp / EACH], here + place(qp, i), len);
		wr[i] = rdma_wr(opcode, &sge[i], there + place(qp, i),
				region.rkey);
		wr[i].wr_id = qp;
		wr[i].next = i < LIST - 1 ? &wr[i + 1] : NULL;
	}
	post_send(qps[qp], wr);
}

/* All that was posted by a thread, in the order that it comes in. */
static void finish(int t, int num)
{
	struct ibv_wc wc;

	for (num *= LIST; num; num--) {
		if (!expect(wait_wc(crowd[t].scq, &wc, 2 * SOON_MS),
			    "%d requests of thread %d do not complete", num, t))
			return;
		expect_eq(wc.status, IBV_WC_SUCCESS, "of QP %d",
			  (int)wc.wr_id);
	}
}

struct job {
	enum ibv_wr_opcode opcode;
	int first;			/* those before it do nothing */
};

static struct job job;
static pthread_barrier_t all_ready;

static void *work(void *arg)
{
	int t = (uintptr_t)arg, qp, num = 0;

	pthread_barrier_wait(&all_ready);
	for (qp = t * EACH; qp < (t + 1) * EACH; qp++) {
		if (qp < job.first)
			continue;
		start(qp, job.opcode);
		num++;
	}
	finish(t, num);
	return NULL;
}

static void all_work(enum ibv_wr_opcode opcode, int first)
{
	pthread_t threads[THREADS];
	uintptr_t t;

	job = (struct job) { opcode, first };
	for (t = 0; t < THREADS; t++)
		must(!pthread_create(&threads[t], NULL, work, (void *)t));
	for (t = 0; t < THREADS; t++)
		must(!pthread_join(threads[t], NULL));
}

static long own_crowd_check(const long *arg)
{
	int qp, i, good = 0;

	round_number = arg[1];
	for (qp = arg[2]; qp < QPS; qp++) {
		uint8_t *there = (uint8_t *)arg[0] + qp * PIECE;

		for (i = 0; i < LIST; i++) {
			uint32_t len = length(qp, i);
			uint8_t *mem = there + place(qp, i);

			good += pattern_check(mem, len, seed_of(qp, i)) ==
				len && !mem[-1] && !mem[len];
		}
	}
	return good;
}

static void expect_read_back(int first)
{
	int qp, i;

	for (qp = first; qp < QPS; qp++) {
		uint8_t *here = local[qp / EACH] + qp % EACH * PIECE;

		for (i = 0; i < LIST; i++)
			expect_eq(pattern_check(here + place(qp, i),
						length(qp, i), seed_of(qp, i)),
				  length(qp, i), "QP %d, %d, read", qp, i);
	}
}

/* Written to fresh memory, and read back to fresh memory. */
static void one_round(int first)
{
	int t;

	round_number++;
	ask(&owner, own_advise, region.addr + first * PIECE,
	    (QPS - first) * PIECE, MADV_DONTNEED);
	for (t = 0; t < THREADS; t++)
		must(!madvise(local[t], EACH * PIECE, MADV_DONTNEED));
	all_work(IBV_WR_RDMA_WRITE, first);
	expect_eq(ask(&owner, own_crowd_check, region.addr, round_number,
		      first), (QPS - first) * LIST, "pieces as written");
	for (t = 0; t < THREADS; t++)
		must(!madvise(local[t], EACH * PIECE, MADV_DONTNEED));
	all_work(IBV_WR_RDMA_READ, first);
	expect_read_back(first);
}

static void first_touches(void)
{
	int i;

	region = region_map(QPS * PIECE, ODP);
	for (i = 0; i < length_of(4, 100); i++)
		one_round(0);
	region_drop(&region);
	point("%d queue pairs touch memory for the first time", QPS);
}

/* Some wait for pages that come after all others are done. */
static void some_wait(int waiting)
{
	struct ibv_wc wc;
	uint64_t page;
	int qp, i;

	if (!have_uffd()) {
		skip("there is no userfaultfd here");
		goto out;
	}
	region = region_map(QPS * PIECE, ODP);
	expect_eq(ask(&owner, uffd_open, region.addr, waiting * PIECE,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	round_number++;
	for (qp = 0; qp < waiting; qp++) {
		struct ibv_sge sge = sge_of(local_mr[qp / EACH],
					    local[qp / EACH], 8);
		struct ibv_send_wr wr;

		wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
			     region.addr + qp * PIECE + 11, region.rkey);
		wr.wr_id = qp;
		wr.send_flags = 0;
		post_send(qps[qp], &wr);
	}
	expect(ask(&owner, uffd_wait, SOON_MS) > 0, "nobody waits");
	for (i = 0; i < 3; i++)
		one_round(waiting);
	for (i = 0; i < THREADS; i++)
		expect(is_quiet(crowd[i].scq, 20), "somebody did not wait");

	/* They were unsignalled: something that is not tells of their end. */
	for (qp = 0; qp < waiting; qp++) {
		struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_READ, NULL,
						region.addr, region.rkey);

		page = region.addr + qp * PIECE;
		expect_eq(ask(&owner, uffd_copy, page, qp + 1), 0, "copy");
		wr.wr_id = qp;
		post_send(qps[qp], &wr);
		expect(wait_wc(crowd[qp / EACH].scq, &wc, SOON_MS) &&
		       wc.wr_id == (uint64_t)qp && !wc.status,
		       "QP %d does not go on", qp);
		expect_eq(ask(&owner, own_check, page, 11, qp + 1), 11,
			  "before what was written");
		expect_eq(ask(&owner, own_check_zero, page + 11, 8), 8,
			  "what was written");
	}
	ask(&owner, uffd_close);
	region_drop(&region);
out:
	point("%d of %d wait for a page", waiting, QPS);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	must(!pthread_barrier_init(&all_ready, NULL, THREADS));
	owner_open(&owner, false);
	crowd_open();
	first_touches();
	some_wait(1);
	some_wait(QPS / 2);
	crowd_close();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
