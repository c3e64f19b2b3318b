// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Lists of requests, of which one cannot be posted: what is before it is
 * posted by ibv_post_send(), and nothing at all by ibv_wr_*(); what is behind
 * it never is.
 */
#include "extended.h"

#define SLOTS		128
#define SLOT		64		/* bytes that a request writes */
#define SIZE		(SLOTS * SLOT)
#define DEPTH		16

static struct owner owner;
static uint8_t *memory;
static struct ibv_mr *mr;
static struct ibv_mw *mw[2];		/* of both types */
static uint32_t max_inline;

/* Ways for a request to be wrong */

enum wrong {
	MANY_SGES, LESS_THAN_NO_SGES, LONG_INLINE, LONG_INLINE_LIST,
	INLINE_READ, INLINE_ATOMIC, OPCODE_OF_OTHERS, NO_OPCODE, WINDOW_TYPE,
	WINDOW_WITHOUT_REGION, WRONGS,
};

static const char * const wrong_name[WRONGS] = {
	"too many elements", "less than no elements", "too much inline data",
	"too much inline data in pieces", "an inline read",
	"an inline atomic", "an opcode of other queue pairs", "no opcode",
	"a window of type 1", "a window without a region",
};

static struct ibv_sge sges[SGE_MAX + 1];

static void make_wrong(struct ibv_send_wr *wr, enum wrong wrong)
{
	int i;

	for (i = 0; i <= SGE_MAX; i++)
		sges[i] = sge_of(buf_mr[PINNED], buf[PINNED], 1);
	*wr = rdma_wr(IBV_WR_RDMA_WRITE, sges, (uintptr_t)memory, mr->rkey);
	switch (wrong) {
	case MANY_SGES:
		wr->num_sge = SGE_MAX + 1;
		break;
	case LESS_THAN_NO_SGES:
		wr->num_sge = -1;
		break;
	case LONG_INLINE:
		sges[0].length = max_inline + 1;
		wr->send_flags |= IBV_SEND_INLINE;
		break;
	case LONG_INLINE_LIST:
		sges[0].length = max_inline;
		wr->num_sge = 2;
		wr->send_flags |= IBV_SEND_INLINE;
		break;
	case INLINE_READ:
		wr->opcode = IBV_WR_RDMA_READ;
		wr->send_flags |= IBV_SEND_INLINE;
		break;
	case INLINE_ATOMIC:
		sges[0].length = 8;
		*wr = atomic_wr(IBV_WR_ATOMIC_FETCH_AND_ADD, sges,
				(uintptr_t)memory, mr->rkey, 1, 1);
		wr->send_flags |= IBV_SEND_INLINE;
		break;
	case OPCODE_OF_OTHERS:
		wr->opcode = IBV_WR_TSO;
		break;
	case NO_OPCODE:
		wr->opcode = 100;
		break;
	default:
		wr->opcode = IBV_WR_BIND_MW;
		wr->bind_mw.mw = mw[wrong == WINDOW_WITHOUT_REGION];
		wr->bind_mw.rkey = ibv_inc_rkey(wr->bind_mw.mw->rkey);
		wr->bind_mw.bind_info = (struct ibv_mw_bind_info) {
			wrong == WINDOW_WITHOUT_REGION ? NULL : mr,
			(uintptr_t)memory, PAGE, IBV_ACCESS_REMOTE_READ,
		};
		break;
	}
}

/* The same by ibv_wr_*(), where there is such a thing. */
static bool build_wrong(struct ibv_qp_ex *qpx, enum wrong wrong)
{
	const struct ibv_data_buf bufs[] = {
		{ buf[PINNED], max_inline }, { buf[PINNED], 1 },
	};
	const struct ibv_mw_bind_info info = {
		wrong == WINDOW_WITHOUT_REGION ? NULL : mr,
		(uintptr_t)memory, PAGE, IBV_ACCESS_REMOTE_READ,
	};
	uint64_t addr = (uintptr_t)memory;
	struct ibv_mw *window = mw[wrong == WINDOW_WITHOUT_REGION];

	switch (wrong) {
	case MANY_SGES:
		ibv_wr_rdma_write(qpx, mr->rkey, addr);
		ibv_wr_set_sge_list(qpx, SGE_MAX + 1, sges);
		return true;
	case LESS_THAN_NO_SGES:
		ibv_wr_rdma_write(qpx, mr->rkey, addr);
		ibv_wr_set_sge_list(qpx, -1, sges);
		return true;
	case LONG_INLINE:
		ibv_wr_rdma_write(qpx, mr->rkey, addr);
		ibv_wr_set_inline_data(qpx, buf[PINNED], max_inline + 1);
		return true;
	case LONG_INLINE_LIST:
		ibv_wr_rdma_write(qpx, mr->rkey, addr);
		ibv_wr_set_inline_data_list(qpx, 2, bufs);
		return true;
	case INLINE_READ:
		ibv_wr_rdma_read(qpx, mr->rkey, addr);
		ibv_wr_set_inline_data(qpx, buf[PINNED], 1);
		return true;
	case INLINE_ATOMIC:
		ibv_wr_atomic_fetch_add(qpx, mr->rkey, addr, 1);
		ibv_wr_set_inline_data_list(qpx, 1, &bufs[1]);
		return true;
	case WINDOW_TYPE:
	case WINDOW_WITHOUT_REGION:
		ibv_wr_bind_mw(qpx, window, ibv_inc_rkey(window->rkey), &info);
		return true;
	default:
		return false;
	}
}

/* What is written: slot i gets i + 1. */

static void clear(void)
{
	int i;

	memset(memory, 0, SIZE);
	for (i = 0; i < SLOTS; i++)
		memset(buf[PINNED] + i * SLOT, i + 1, SLOT);
}

static bool is_written(int i)
{
	return !memcmp(memory + i * SLOT, buf[PINNED] + i * SLOT, SLOT);
}

static void expect_writes(int first, int num)
{
	int i;

	for (i = 0; i < SLOTS; i++) {
		bool wanted = i >= first && i < first + num;

		expect(is_written(i) == wanted, "request %d was %sexecuted", i,
		       wanted ? "not " : "");
		if (!wanted)
			expect_eq(zero_check(memory + i * SLOT, SLOT), SLOT,
				  "slot %d", i);
	}
	expect_eq(qp_state(me.qp), IBV_QPS_RTS, "state");
}

static struct ibv_send_wr good(struct ibv_sge *sge, int i)
{
	struct ibv_send_wr wr;

	*sge = sge_of(buf_mr[PINNED], buf[PINNED] + i * SLOT, SLOT);
	wr = rdma_wr(IBV_WR_RDMA_WRITE, sge, (uintptr_t)memory + i * SLOT,
		     mr->rkey);
	wr.wr_id = i;
	return wr;
}

static void build_good(struct ibv_qp_ex *qpx, int i)
{
	qpx->wr_id = i;
	ibv_wr_rdma_write(qpx, mr->rkey, (uintptr_t)memory + i * SLOT);
	if (i & 1)
		ibv_wr_set_inline_data(qpx, buf[PINNED] + i * SLOT, SLOT);
	else
		ibv_wr_set_sge(qpx, buf_mr[PINNED]->lkey,
			       (uintptr_t)buf[PINNED] + i * SLOT, SLOT);
}

static void expect_completions(int first, int num)
{
	for (; num; num--, first++)
		expect_wc(me.scq, first, IBV_WC_SUCCESS);
	expect(is_quiet(me.scq, 0), "something else completed");
}

/* Points */

static void posted(void)
{
	struct ibv_send_wr list[5], *bad;
	struct ibv_sge sge[5];
	enum wrong wrong;
	int at, i;

	for (wrong = 0; wrong < WRONGS; wrong++) {
		for (at = 0; at < 5; at += 2) {
			clear();
			for (i = 0; i < 5; i++) {
				list[i] = good(&sge[i], i);
				if (i == at)
					make_wrong(&list[i], wrong);
				list[i].next = i < 4 ? &list[i + 1] : NULL;
			}
			bad = NULL;
			expect_eq(ibv_post_send(me.qp, list, &bad), EINVAL,
				  "%s", wrong_name[wrong]);
			expect(bad == &list[at], "%s: not the bad one",
			       wrong_name[wrong]);
			expect_completions(0, at);
			expect_writes(0, at);
		}
	}
	point("lists for ibv_post_send()");
}

static void built(void)
{
	struct ibv_qp_ex *qpx;
	enum wrong wrong;
	int at, i;

	for (wrong = 0; wrong < WRONGS; wrong++) {
		for (at = 0; at < 5; at += 2) {
			bool there = true;

			clear();
			qpx = wr_begin(IBV_SEND_SIGNALED);
			for (i = 0; i < 5 && there; i++) {
				if (i == at)
					there = build_wrong(qpx, wrong);
				else
					build_good(qpx, i);
			}
			if (!there) {
				ibv_wr_abort(qpx);
				break;
			}
			expect_eq(ibv_wr_complete(qpx), EINVAL, "%s",
				  wrong_name[wrong]);
			expect_completions(0, 0);
			expect_writes(0, 0);

			/* That was that list. */
			qpx = wr_begin(IBV_SEND_SIGNALED);
			build_good(qpx, 7);
			build_good(qpx, 8);
			expect_eq(ibv_wr_complete(qpx), 0, "the next list");
			expect_completions(7, 2);
			expect_writes(7, 2);
		}
	}
	point("lists for ibv_wr_complete()");
}

static void aborted(void)
{
	struct ibv_qp_ex *qpx;
	int i, round;

	for (round = 0; round < 3 * DEPTH; round++) {
		clear();
		qpx = wr_begin(IBV_SEND_SIGNALED);
		for (i = 0; i < round % 5; i++)
			build_good(qpx, i);
		if (round & 1)
			build_wrong(qpx, LONG_INLINE);
		ibv_wr_abort(qpx);
		expect_completions(0, 0);
		qpx = wr_begin(IBV_SEND_SIGNALED);
		build_good(qpx, 9);
		expect_eq(ibv_wr_complete(qpx), 0, "a list");
		expect_completions(9, 1);
		expect_writes(9, 1);
	}
	qpx = wr_begin(0);
	expect_eq(ibv_wr_complete(qpx), 0, "an empty list");
	point("lists that are given up");
}

/* Without completions polled there is room for so many, and no more. */
static void full(void)
{
	struct ibv_send_wr list[DEPTH + 2], *bad = NULL;
	struct ibv_sge sge[DEPTH + 2];
	struct ibv_qp_ex *qpx;
	int i, round;

	for (round = 0; round < 3; round++) {
		clear();
		for (i = 0; i < DEPTH + 2; i++) {
			list[i] = good(&sge[i], i);
			list[i].next = i < DEPTH + 1 ? &list[i + 1] : NULL;
		}
		expect_eq(ibv_post_send(me.qp, list, &bad), ENOMEM, "posted");
		expect(bad == &list[DEPTH], "the first there is no room for");
		qpx = wr_begin(IBV_SEND_SIGNALED);
		build_good(qpx, 30);
		build_wrong(qpx, LONG_INLINE);
		expect_eq(ibv_wr_complete(qpx), ENOMEM, "the first error");
		expect_completions(0, DEPTH);
		expect_writes(0, DEPTH);

		clear();
		qpx = wr_begin(IBV_SEND_SIGNALED);
		for (i = 0; i <= DEPTH; i++)
			build_good(qpx, i);
		expect_eq(ibv_wr_complete(qpx), ENOMEM, "built");
		expect_completions(0, 0);
		expect_writes(0, 0);
		qpx = wr_begin(IBV_SEND_SIGNALED);
		for (i = 0; i < DEPTH; i++)
			build_good(qpx, i);
		expect_eq(ibv_wr_complete(qpx), 0, "no more than that");
		expect_completions(0, DEPTH);
		expect_writes(0, DEPTH);
	}

	/* Silent ones give their places back by themselves. */
	for (round = 0; round < 5 * DEPTH; round++) {
		qpx = wr_begin(round % DEPTH ? 0 : IBV_SEND_SIGNALED);
		build_good(qpx, 1);
		expect_eq(ibv_wr_complete(qpx), 0, "request %d", round);
		if (!(round % DEPTH))
			expect_completions(1, 1);
	}
	point("queues that are full");
}

/* What may be asked of a queue pair depends on its state. */
static void states(void)
{
	struct ibv_send_wr wr, *bad = NULL;
	struct ibv_qp_ex *qpx;
	struct ibv_sge sge;

	side_drop_qp(&me);
	me.qp = try_qp_ex(&me, DEPTH, SEND_OPS);
	must(me.qp);
	wr = good(&sge, 0);
	expect_eq(ibv_post_send(me.qp, &wr, &bad), EINVAL, "in RESET");
	expect(bad == &wr, "the bad one");
	qpx = wr_begin(0);
	build_good(qpx, 0);
	expect_eq(ibv_wr_complete(qpx), EINVAL, "in RESET");
	must(!qp_to_init(me.qp, 0));
	qpx = wr_begin(0);
	build_good(qpx, 0);
	expect_eq(ibv_wr_complete(qpx), EINVAL, "in INIT");
	must(!qp_to(me.qp, IBV_QPS_ERR));
	qpx = wr_begin(0);
	build_good(qpx, 4);
	expect_eq(ibv_wr_complete(qpx), 0, "in ERR");
	expect_wc(me.scq, 4, IBV_WC_WR_FLUSH_ERR);
	point("states in which nothing can be posted");
}

/* Operations that there are not for this type of queue pair. */
static void operations(void)
{
	static const uint64_t none[] = {
		IBV_QP_EX_WITH_TSO, UINT64_C(1) << 13, UINT64_C(1) << 63,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(none); i++) {
		errno = 0;
		expect(!try_qp_ex(&me, DEPTH, SEND_OPS | none[i]) &&
		       errno == EOPNOTSUPP, "%#llx: %s",
		       (unsigned long long)none[i], strerror(errno));
	}
	point("operations that cannot be had");
}

/* Small messages of every length, in one piece and in several. */
static void inline_data(void)
{
	const int lens[] = { 1, 7, 8, 9, 15, 16, 17, 31, 64 };
	struct ibv_data_buf bufs[3];
	struct ibv_qp_ex *qpx;
	size_t i, len, cut;

	for (len = 0; len <= 70; len++) {
		memset(memory, 0, SIZE);
		random_fill(buf[PINNED], len);
		qpx = wr_begin(IBV_SEND_SIGNALED);
		ibv_wr_rdma_write(qpx, mr->rkey, (uintptr_t)memory + 3);
		ibv_wr_set_inline_data(qpx, buf[PINNED], len);
		must(!ibv_wr_complete(qpx));
		expect_wc(me.scq, 1, IBV_WC_SUCCESS);
		expect_same(memory + 3, buf[PINNED], len, "in one piece");
		expect_eq(zero_check(memory + 3 + len, 100), 100, "behind");
	}
	for (i = 0; i < 200; i++) {
		len = lens[random_below(ARRAY_SIZE(lens))];
		cut = random_below(len + 1);
		random_fill(buf[PINNED], 300);
		memset(memory, 0, SIZE);
		bufs[0] = (struct ibv_data_buf) { buf[PINNED], cut };
		bufs[1] = (struct ibv_data_buf) { buf[PINNED] + cut,
						  len - cut };
		bufs[2] = (struct ibv_data_buf) { buf[PINNED] + len,
						  random_below(200) };
		qpx = wr_begin(IBV_SEND_SIGNALED);
		ibv_wr_rdma_write(qpx, mr->rkey, (uintptr_t)memory + 5);
		ibv_wr_set_inline_data_list(qpx, 3, bufs);
		must(!ibv_wr_complete(qpx));
		expect_wc(me.scq, 1, IBV_WC_SUCCESS);
		len += bufs[2].length;
		expect_same(memory + 5, buf[PINNED], len, "in pieces");
		expect_eq(zero_check(memory + 5 + len, 100), 100, "behind");
	}
	point("inline data of every length");
}

static void connect_small(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	struct address peer;

	side_drop_qp(&me);
	me.qp = try_qp_ex(&me, DEPTH, SEND_OPS);
	must(me.qp);
	must(!ibv_query_qp(me.qp, &attr, IBV_QP_CAP, &init));
	expect_eq(init.cap.max_send_wr, DEPTH, "depth");
	max_inline = init.cap.max_inline_data;
	peer = (struct address) { ask(&owner, own_make_qp, DEPTH), me.gid };
	ask(&owner, own_connect, me.qp->qp_num);
	side_connect(&me, &peer, &usual_conn);
}

static void run(void)
{
	struct leftovers before = count_leftovers();

	owner_open(&owner, true);
	memory = map_memory(SIZE);
	mr = reg(own.pd, memory, SIZE, ALL_RIGHTS);
	mw[0] = ibv_alloc_mw(me.pd, IBV_MW_TYPE_1);
	mw[1] = ibv_alloc_mw(me.pd, IBV_MW_TYPE_2);
	must(mw[0] && mw[1]);
	connect_small();
	posted();
	built();
	aborted();
	full();
	inline_data();
	operations();
	states();
	must(!ibv_dealloc_mw(mw[0]) && !ibv_dealloc_mw(mw[1]));
	dereg(mr);
	munmap(memory, SIZE);
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
