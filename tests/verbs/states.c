// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The life of queue pairs and completion queues: states and what can be done
 * in each, attributes, full queues, flushes, events.
 */
#include "common.h"

#define DEPTH		16
#define LEN		77

static struct side a, b;
static uint8_t src[LEN], dst[64][LEN];
static struct ibv_mr *mr_a, *mr_b;

static const char * const state_name[] = {
	"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR",
};

static struct ibv_send_wr send_wr(enum ibv_wr_opcode opcode,
				  struct ibv_sge *sge, int i)
{
	struct ibv_send_wr wr;

	*sge = sge_of(mr_a, src, LEN);
	wr = rdma_wr(opcode, sge, (uintptr_t)dst[i], mr_b->rkey);
	wr.wr_id = i;
	return wr;
}

static int post(enum ibv_wr_opcode opcode, int i)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = send_wr(opcode, &sge, i);

	return try_send(a.qp, &wr);
}

static int receive(int i)
{
	struct ibv_sge sge = sge_of(mr_b, dst[i], LEN);

	return try_recv(b.qp, i, &sge, 1);
}

static void connected(void)
{
	reconnect(&a, &b, DEPTH, &usual_conn);
	memset(dst, 0, sizeof(dst));
}

/* Traffic both ways of moving bytes; all is well. */
static void expect_traffic(void)
{
	expect_eq(receive(1), 0, "post_recv");
	expect_eq(post(IBV_WR_SEND, 1), 0, "post_send");
	expect_eq(post(IBV_WR_RDMA_WRITE, 2), 0, "post_send");
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
	expect_wc(a.scq, 2, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	expect_same(dst[1], src, LEN, "what was sent");
	expect_same(dst[2], src, LEN, "what was written");
	memset(dst, 0, sizeof(dst));
}

/* Transitions */

static int step_to(enum ibv_qp_state state)
{
	struct address peer = side_address(&b);

	switch (state) {
	case IBV_QPS_INIT:
		return qp_to_init(a.qp, ALL_RIGHTS);
	case IBV_QPS_RTR:
		return qp_to_rtr(a.qp, a.gid_index, &peer, &usual_conn);
	case IBV_QPS_RTS:
		return qp_to_rts(a.qp, &usual_conn);
	default:
		return qp_to(a.qp, state);
	}
}

/* From RESET to any state by the shortest way. */
static void walk_to(enum ibv_qp_state state)
{
	static const enum ibv_qp_state way[] = {
		IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPS_SQD,
	};
	size_t i;

	must(!qp_to(a.qp, IBV_QPS_RESET));
	if (state == IBV_QPS_ERR)
		must(!step_to(IBV_QPS_INIT));
	if (state == IBV_QPS_RESET || state == IBV_QPS_ERR) {
		must(!qp_to(a.qp, state));
		return;
	}
	for (i = 0; i < ARRAY_SIZE(way); i++) {
		errno = step_to(way[i]);
		must(!errno);
		if (way[i] == state)
			return;
	}
}

static bool is_legal(enum ibv_qp_state from, enum ibv_qp_state to)
{
	if (to == IBV_QPS_RESET)
		return true;
	if (to == IBV_QPS_ERR)
		return from != IBV_QPS_RESET;
	switch (from) {
	case IBV_QPS_RESET: return to == IBV_QPS_INIT;
	case IBV_QPS_INIT: return to == IBV_QPS_INIT || to == IBV_QPS_RTR;
	case IBV_QPS_RTR: return to == IBV_QPS_RTS;
	case IBV_QPS_RTS: return to == IBV_QPS_SQD;
	case IBV_QPS_SQD: return to == IBV_QPS_SQD;
	default: return false;
	}
}

static int try_step(enum ibv_qp_state from, enum ibv_qp_state to)
{
	/* These take fewer attributes than the way up does. */
	if ((from == IBV_QPS_SQD || from == IBV_QPS_RTS) && to == IBV_QPS_RTS)
		return qp_to(a.qp, to);
	return step_to(to);
}

static void transitions(void)
{
	static const enum ibv_qp_state starts[] = {
		IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS,
		IBV_QPS_SQD, IBV_QPS_ERR,
	};
	enum ibv_qp_state from, to;
	bool legal;
	size_t i;
	int ret;

	connected();
	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		from = starts[i];
		for (to = IBV_QPS_RESET; to <= IBV_QPS_ERR; to++) {
			/* IBTA allows it, Linux does not. */
			if (from == IBV_QPS_RESET && to == IBV_QPS_ERR)
				continue;
			walk_to(from);
			legal = is_legal(from, to) ||
				(to == IBV_QPS_RTS && (from == IBV_QPS_RTS ||
						       from == IBV_QPS_SQD));
			ret = try_step(from, to);
			expect(ret == (legal ? 0 : EINVAL), "%s to %s: %s",
			       state_name[from], state_name[to],
			       strerror(ret));
			expect(qp_state(a.qp) == (legal ? to : from),
			       "then it is in %s", state_name[qp_state(a.qp)]);
		}
	}
	connected();
	expect_traffic();
	point("transitions");
}

/* Modify with one attribute that is wrong. */
static void refused(struct ibv_qp_attr attr, int mask, const char *what)
{
	enum ibv_qp_state before = qp_state(a.qp);
	int ret = ibv_modify_qp(a.qp, &attr, mask);

	/* The core has its own word for an address that is none. */
	expect(ret == EINVAL || ret == EOPNOTSUPP || ret == ENODATA, "%s: %s",
	       what, strerror(ret));
	expect_eq(qp_state(a.qp), before, "state after %s", what);
}

static struct ibv_qp_attr rtr_attr(void)
{
	return (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = b.qp->qp_num,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1, .grh = {
			.dgid = b.gid, .sgid_index = a.gid_index } },
	};
}

#define INIT_MASK	(IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | \
			 IBV_QP_ACCESS_FLAGS)
#define RTR_MASK	(IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |	\
			 IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |		\
			 IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER)
#define RTS_MASK	(IBV_QP_STATE | IBV_QP_TIMEOUT |		\
			 IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |		\
			 IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC)

static void bad_init(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1 };

	walk_to(IBV_QPS_RESET);
	refused(attr, INIT_MASK & ~IBV_QP_PORT, "INIT without a port");
	refused(attr, INIT_MASK & ~IBV_QP_ACCESS_FLAGS, "INIT without rights");
	refused(attr, INIT_MASK | IBV_QP_TIMEOUT, "INIT with a timeout");
	attr.port_num = 2;
	refused(attr, INIT_MASK, "another port");
	attr.port_num = 1;
	attr.pkey_index = 7;
	refused(attr, INIT_MASK, "another partition key");
}

static void bad_rtr(void)
{
	static const int masks[] = {
		IBV_QP_AV, IBV_QP_PATH_MTU, IBV_QP_DEST_QPN, IBV_QP_RQ_PSN,
		IBV_QP_MAX_DEST_RD_ATOMIC, IBV_QP_MIN_RNR_TIMER,
	};
	struct ibv_qp_attr attr;
	size_t i;

	walk_to(IBV_QPS_INIT);
	for (i = 0; i < ARRAY_SIZE(masks); i++)
		refused(rtr_attr(), RTR_MASK & ~masks[i],
			"RTR without all attributes");
	refused(rtr_attr(), RTR_MASK | IBV_QP_SQ_PSN, "RTR with a send PSN");
	attr = rtr_attr();
	attr.path_mtu = 9;
	refused(attr, RTR_MASK, "an MTU that is none");
	attr = rtr_attr();
	attr.min_rnr_timer = 32;
	refused(attr, RTR_MASK, "an RNR timer of six bits");
	attr = rtr_attr();
	attr.max_dest_rd_atomic = 255;
	refused(attr, RTR_MASK, "more resources than there are");
	attr = rtr_attr();
	attr.ah_attr.grh.sgid_index = 200;
	refused(attr, RTR_MASK, "an address that is none");
	attr = rtr_attr();
	attr.ah_attr.is_global = 0;
	refused(attr, RTR_MASK, "no global address");
	attr = rtr_attr();
	attr.cur_qp_state = IBV_QPS_RESET;
	refused(attr, RTR_MASK | IBV_QP_CUR_STATE, "from a state it is not in");
}

static void bad_rts(void)
{
	const struct ibv_qp_attr good = {
		.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 7,
		.rnr_retry = 7, .max_rd_atomic = 4,
	};
	struct ibv_qp_attr attr;

	walk_to(IBV_QPS_RTR);
	refused(good, RTS_MASK & ~IBV_QP_TIMEOUT, "RTS without a timeout");
	refused(good, RTS_MASK & ~IBV_QP_SQ_PSN, "RTS without a send PSN");
	refused(good, RTS_MASK | IBV_QP_DEST_QPN, "RTS to elsewhere");
	attr = good;
	attr.timeout = 32;
	refused(attr, RTS_MASK, "a timeout of six bits");
	attr = good;
	attr.retry_cnt = 8;
	refused(attr, RTS_MASK, "a retry count of four bits");
	attr = good;
	attr.rnr_retry = 8;
	refused(attr, RTS_MASK, "an RNR retry count of four bits");
	attr = good;
	attr.max_rd_atomic = 255;
	refused(attr, RTS_MASK, "more reads than there may be");
}

static void bad_attributes(void)
{
	connected();
	bad_init();
	bad_rtr();
	bad_rts();
	point("attributes that are refused");
}

/* Queries */

#define EVERYTHING	(2 * IBV_QP_DEST_QPN - 1)

static void query(struct ibv_qp_attr *attr, struct ibv_qp_init_attr *init)
{
	memset(attr, 0x5a, sizeof(*attr));
	memset(init, 0x5a, sizeof(*init));
	expect_eq(ibv_query_qp(a.qp, attr, EVERYTHING, init), 0, "query");
}

static void expect_caps(const struct ibv_qp_cap *cap)
{
	expect(cap->max_send_wr >= DEPTH && cap->max_send_wr < 4 * DEPTH &&
	       cap->max_recv_wr >= DEPTH && cap->max_recv_wr < 4 * DEPTH &&
	       cap->max_send_sge >= SGE_MAX && cap->max_recv_sge >= SGE_MAX &&
	       cap->max_inline_data >= INLINE_CAP,
	       "caps are %u %u %u %u %u", cap->max_send_wr, cap->max_recv_wr,
	       cap->max_send_sge, cap->max_recv_sge, cap->max_inline_data);
}

static void expect_path(const struct ibv_ah_attr *ah)
{
	expect_eq(ah->is_global, 1, "path");
	expect_eq(ah->port_num, 1, "path");
	expect_eq(ah->grh.sgid_index, a.gid_index, "path");
	expect_eq(ah->grh.hop_limit, 64, "path");
	expect_same(ah->grh.dgid.raw, b.gid.raw, 16, "the peer's address");
}

static void queries(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	connected();
	query(&attr, &init);
	expect_eq(attr.qp_state, IBV_QPS_RTS, "query");
	expect_eq(attr.cur_qp_state, IBV_QPS_RTS, "query");
	expect_eq(attr.path_mtu, IBV_MTU_1024, "query");
	expect_eq(attr.rq_psn, 0x1234, "query");
	expect_eq(attr.sq_psn, 0x1234, "query");
	expect_eq(attr.dest_qp_num, b.qp->qp_num, "query");
	expect_eq(attr.qp_access_flags, ALL_RIGHTS, "query");
	expect_eq(attr.pkey_index, 0, "query");
	expect_eq(attr.port_num, 1, "query");
	expect_eq(attr.sq_draining, 0, "query");
	expect_eq(attr.timeout, usual_conn.timeout, "query");
	expect_eq(attr.retry_cnt, usual_conn.retry_cnt, "query");
	expect_eq(attr.rnr_retry, usual_conn.rnr_retry, "query");
	expect_eq(attr.min_rnr_timer, usual_conn.min_rnr_timer, "query");
	expect_eq(attr.max_rd_atomic, usual_conn.rd_atomic, "query");
	expect_eq(attr.max_dest_rd_atomic, usual_conn.rd_atomic, "query");
	expect_path(&attr.ah_attr);
	expect_caps(&attr.cap);
	expect_caps(&init.cap);
	expect(init.send_cq == a.scq && init.recv_cq == a.rcq && !init.srq,
	       "the queues are others");
	expect_eq(init.qp_type, IBV_QPT_RC, "query");
	expect_eq(init.sq_sig_all, 0, "query");
	point("queries");
}

static void modify_live(void)
{
	struct ibv_qp_attr attr = {
		.qp_access_flags = IBV_ACCESS_REMOTE_READ,
		.min_rnr_timer = 3,
	};
	struct ibv_qp_init_attr init;

	connected();
	expect_eq(ibv_modify_qp(a.qp, &attr, IBV_QP_ACCESS_FLAGS |
				IBV_QP_MIN_RNR_TIMER), 0, "in RTS");
	query(&attr, &init);
	expect_eq(attr.qp_access_flags, IBV_ACCESS_REMOTE_READ, "rights");
	expect_eq(attr.min_rnr_timer, 3, "RNR timer");
	expect_eq(attr.qp_state, IBV_QPS_RTS, "state");

	must(!qp_to(a.qp, IBV_QPS_SQD));
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_SQD, .timeout = 11, .retry_cnt = 3,
		.rnr_retry = 2, .max_rd_atomic = 1,
	};
	expect_eq(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
				IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				IBV_QP_MAX_QP_RD_ATOMIC), 0, "in SQD");
	must(!qp_to(a.qp, IBV_QPS_RTS));
	query(&attr, &init);
	expect_eq(attr.timeout, 11, "timeout");
	expect_eq(attr.retry_cnt, 3, "retries");
	expect_eq(attr.rnr_retry, 2, "RNR retries");
	expect_eq(attr.max_rd_atomic, 1, "reads");
	expect_traffic();
	point("attributes changed in RTS and SQD");
}

/* What can be posted when */

static void expect_posts(enum ibv_qp_state state, int send, int recv)
{
	walk_to(state);
	expect(post(IBV_WR_RDMA_WRITE, 0) == send, "post_send in %s",
	       state_name[state]);
	expect(try_recv(a.qp, 0, NULL, 0) == recv, "post_recv in %s",
	       state_name[state]);
}

static void posts(void)
{
	connected();
	expect_posts(IBV_QPS_RESET, EINVAL, EINVAL);
	expect_posts(IBV_QPS_INIT, EINVAL, 0);
	expect_posts(IBV_QPS_RTR, EINVAL, 0);
	expect(is_quiet(a.scq, 20) && is_quiet(a.rcq, 0), "posts completed");
	expect_posts(IBV_QPS_RTS, 0, 0);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_posts(IBV_QPS_SQD, 0, 0);
	expect(is_quiet(a.scq, 20) && is_quiet(a.rcq, 0), "posts completed");
	expect_posts(IBV_QPS_ERR, 0, 0);
	expect_wc(a.scq, 0, IBV_WC_WR_FLUSH_ERR);
	expect_wc(a.rcq, 0, IBV_WC_WR_FLUSH_ERR);
	point("posts in each state");
}

/* In ERR, and on the way there, all is flushed in order. */

static void expect_flushed(struct ibv_cq *cq, int n)
{
	int i;

	for (i = 0; i < n; i++)
		expect_wc(cq, i, IBV_WC_WR_FLUSH_ERR);
	expect(is_quiet(cq, 10), "one completion too many");
}

static void flushes(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr;
	int i;

	connected();
	for (i = 0; i < 10; i++) {
		wr = send_wr(i ? IBV_WR_RDMA_WRITE : IBV_WR_SEND, &sge, i);
		wr.send_flags = i & 1 ? 0 : IBV_SEND_SIGNALED;
		expect_eq(try_send(a.qp, &wr), 0, "post_send");
		expect_eq(try_recv(a.qp, i, NULL, 0), 0, "post_recv");
	}
	must(!qp_to(a.qp, IBV_QPS_ERR));
	expect_flushed(a.scq, 10);
	expect_flushed(a.rcq, 10);

	for (i = 0; i < 3 * DEPTH; i++) {
		expect_eq(post(IBV_WR_SEND, i), 0, "post_send");
		expect_eq(try_recv(a.qp, i, NULL, 0), 0, "post_recv");
		expect_wc(a.scq, i, IBV_WC_WR_FLUSH_ERR);
		expect_wc(a.rcq, i, IBV_WC_WR_FLUSH_ERR);
	}
	expect_eq(dst[1][0], 0, "memory behind a flushed write");
	expect_eq(qp_state(b.qp), IBV_QPS_RTS, "the peer's state");
	point("flushes");
}

static void resets(void)
{
	struct address at_a, at_b;
	int i;

	connected();
	for (i = 0; i < 5; i++) {
		expect_traffic();
		/* Left behind: sends that wait, receives, completions. */
		expect_eq(post(IBV_WR_SEND, 30), 0, "post_send");
		expect_eq(post(IBV_WR_SEND, 31), 0, "post_send");
		expect_eq(try_recv(a.qp, 32, NULL, 0), 0, "post_recv");
		must(!qp_to(a.qp, i & 1 ? IBV_QPS_ERR : IBV_QPS_RESET));
		must(!qp_to(a.qp, IBV_QPS_RESET));
		must(!qp_to(b.qp, IBV_QPS_RESET));
		expect(is_quiet(a.scq, 20), "a completion after a reset");
		expect(is_quiet(a.rcq, 0), "a completion after a reset");
		at_a = side_address(&a);
		at_b = side_address(&b);
		side_connect(&a, &at_b, &usual_conn);
		side_connect(&b, &at_a, &usual_conn);
	}
	expect_traffic();
	point("reset, and connected again");
}

/* Send queue drained */

static int drain(struct ibv_qp *qp, bool notify)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_SQD,
		.en_sqd_async_notify = notify,
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE |
			     IBV_QP_EN_SQD_ASYNC_NOTIFY);
}

static bool is_draining(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	query(&attr, &init);
	return attr.sq_draining;
}

static void drained(void)
{
	struct ibv_sge sge;
	void *element = NULL;

	connected();
	expect_eq(drain(a.qp, true), 0, "to SQD");
	expect_eq(wait_event(a.ctx, &element, SOON_MS), IBV_EVENT_SQ_DRAINED,
		  "event");
	expect(element == a.qp, "the event is another QP's");
	expect(!is_draining(), "an empty queue is being drained");

	/* It answers, and sends nothing. */
	sge = sge_of(mr_b, dst[9], LEN);
	memset(dst[9], 7, LEN);
	post_send(b.qp, &(struct ibv_send_wr){
		.opcode = IBV_WR_RDMA_WRITE, .sg_list = &sge, .num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { (uintptr_t)src, mr_a->rkey } });
	expect_wc(b.scq, 0, IBV_WC_SUCCESS);
	expect_eq(post(IBV_WR_RDMA_WRITE, 3), 0, "post_send");
	expect(is_quiet(a.scq, 50), "something was sent");
	must(!qp_to(a.qp, IBV_QPS_RTS));
	expect_wc(a.scq, 3, IBV_WC_SUCCESS);
	expect_traffic();
	expect_eq(drain(a.qp, false), 0, "to SQD");
	expect_eq(wait_event(a.ctx, NULL, 50), -1, "event nobody asked for");
	point("SQD, of an idle queue");
}

static void draining(void)
{
	long before = counter("rnr_waits");

	connected();
	expect_eq(post(IBV_WR_SEND, 1), 0, "post_send");
	expect_eq(post(IBV_WR_RDMA_WRITE, 2), 0, "post_send");
	expect(wait_counter("rnr_waits", before + 1), "it is not under way");
	expect_eq(drain(a.qp, true), 0, "to SQD");
	expect_eq(wait_event(a.ctx, NULL, 50), -1, "event, too early");
	expect(is_draining(), "it is not being drained");
	expect_eq(receive(1), 0, "post_recv");
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	expect_eq(wait_event(a.ctx, NULL, SOON_MS), IBV_EVENT_SQ_DRAINED,
		  "event");
	expect(!is_draining(), "it is being drained");
	expect(is_quiet(a.scq, 50), "the next request was sent");
	must(!qp_to(a.qp, IBV_QPS_RTS));
	expect_wc(a.scq, 2, IBV_WC_SUCCESS);
	expect_traffic();
	point("SQD, of a queue with a request under way");
}

/* Full queues */

static void full_queues(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	int posted = 0, received = 0, i;

	connected();
	query(&attr, &init);
	while (!post(IBV_WR_SEND, posted % 64) && posted < 1000)
		posted++;
	expect_eq(posted, init.cap.max_send_wr, "sends posted");
	expect_eq(post(IBV_WR_SEND, 0), ENOMEM, "one more");
	while (received < 1000 && !try_recv(a.qp, received, NULL, 0))
		received++;
	expect_eq(received, init.cap.max_recv_wr, "receives posted");
	expect_eq(try_recv(a.qp, 0, NULL, 0), ENOMEM, "one more");

	/* One goes, one comes. */
	for (i = 0; i < posted; i++) {
		expect_eq(receive(i % 64), 0, "post_recv");
		expect_wc(a.scq, i % 64, IBV_WC_SUCCESS);
		expect_wc(b.rcq, i % 64, IBV_WC_SUCCESS);
	}
	expect_eq(post(IBV_WR_RDMA_WRITE, 5), 0, "room again");
	expect_wc(a.scq, 5, IBV_WC_SUCCESS);
	point("full queues");
}

/*
 * There is room as soon as what completes in silence is done, and another thread
 * may be at it.
 */
static void post_patiently(struct ibv_send_wr *wr)
{
	uint64_t end = now_ms() + SOON_MS;
	int err;

	while ((err = try_send(a.qp, wr)) == ENOMEM && now_ms() < end)
		sched_yield();
	expect_eq(err, 0, "post_send");
}

/* All that was posted is done. */
static void finish_all(void)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = send_wr(IBV_WR_RDMA_WRITE, &sge, 6);

	post_patiently(&wr);
	expect_wc(a.scq, 6, IBV_WC_SUCCESS);
}

/*
 * Who posts until there is no room, and polls then, overflows no completion
 * queue that has room for all that may be outstanding.
 */
static void outstanding(void)
{
	struct ibv_send_wr silent = { .opcode = IBV_WR_RDMA_WRITE };
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	int depth, i;

	connected();
	query(&attr, &init);
	depth = init.cap.max_send_wr;
	for (i = 0; i < depth; i++)
		expect_eq(post(IBV_WR_RDMA_WRITE, i % 64), 0, "post_send");
	expect_eq(post(IBV_WR_RDMA_WRITE, 0), ENOMEM, "done, not polled");
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(post(IBV_WR_RDMA_WRITE, depth % 64), 0, "one was polled");
	expect_eq(post(IBV_WR_RDMA_WRITE, 0), ENOMEM, "only one");
	for (i = 1; i <= depth; i++)
		expect_wc(a.scq, i % 64, IBV_WC_SUCCESS);

	/* What completes in silence is not waited for. */
	for (i = 0; i < 3 * depth; i++)
		post_patiently(&silent);
	finish_all();
	expect_eq(post(IBV_WR_RDMA_WRITE, 7), 0, "signalled");
	for (i = 1; i < depth; i++)
		expect_eq(try_send(a.qp, &silent), 0, "unsignalled");
	expect_eq(try_send(a.qp, &silent), ENOMEM, "not polled");
	expect_wc(a.scq, 7, IBV_WC_SUCCESS);
	expect_eq(try_send(a.qp, &silent), 0, "polled");

	depth = init.cap.max_recv_wr;
	for (i = 0; i < depth; i++) {
		expect_eq(receive(i % 64), 0, "post_recv");
		expect_eq(post(IBV_WR_SEND, i % 64), 0, "post_send");
		expect_wc(a.scq, i % 64, IBV_WC_SUCCESS);
	}
	expect_eq(receive(0), ENOMEM, "received, not polled");
	for (i = 0; i < depth; i++)
		expect_wc(b.rcq, i % 64, IBV_WC_SUCCESS);
	expect_eq(receive(0), 0, "polled");

	/* In error even what was to be silent completes. */
	finish_all();
	must(!qp_to(a.qp, IBV_QPS_ERR));
	for (i = 0; i < depth; i++)
		expect_eq(try_send(a.qp, &silent), 0, "flushed");
	expect_eq(try_send(a.qp, &silent), ENOMEM, "flushed, not polled");
	point("outstanding until polled");
}

static void cq_overflow(void)
{
	struct ibv_cq *small = ibv_create_cq(a.ctx, 4, NULL, NULL, 0);
	struct ibv_cq *usual = a.scq;
	void *element = NULL;
	int i, event;

	must(small);
	a.scq = small;
	connected();
	for (i = 0; i < small->cqe; i++)
		expect_eq(post(IBV_WR_RDMA_WRITE, i), 0, "post_send");
	expect_eq(wait_event(a.ctx, NULL, 20), -1, "a full queue is none");
	expect_eq(post(IBV_WR_RDMA_WRITE, i), 0, "post_send");
	event = wait_event(a.ctx, &element, SOON_MS);
	expect(event == IBV_EVENT_CQ_ERR && element == small,
	       "event %d, of another queue", event);
	expect_eq(wait_event(a.ctx, &element, SOON_MS), IBV_EVENT_QP_FATAL,
		  "event of the QP");
	expect(element == a.qp, "the event is another QP's");
	expect(wait_state(a.qp, IBV_QPS_ERR, SOON_MS), "the QP goes on");
	side_drop_qp(&a);
	a.scq = usual;
	expect_eq(ibv_destroy_cq(small), 0, "destroy_cq");
	connected();
	expect_traffic();
	point("a completion queue that overflows");
}

static void everything_signalled(void)
{
	struct ibv_qp_init_attr init = qp_init(&a, DEPTH);
	struct ibv_sge sge;
	struct ibv_send_wr wr;

	side_drop_qp(&a);
	side_drop_qp(&b);
	side_make_qp(&b, DEPTH);
	init.sq_sig_all = 1;
	a.qp = ibv_create_qp(a.pd, &init);
	must(a.qp);
	connect_sides(&a, &b, &usual_conn);
	wr = send_wr(IBV_WR_RDMA_WRITE, &sge, 6);
	wr.send_flags = 0;
	post_send(a.qp, &wr);
	expect_wc(a.scq, 6, IBV_WC_SUCCESS);
	point("sq_sig_all");
}

/* Objects that others use, and what is too much */

static void in_use(void)
{
	connected();
	expect_eq(ibv_destroy_cq(a.scq), EBUSY, "a CQ in use");
	expect_eq(ibv_dealloc_pd(a.pd), EBUSY, "a PD in use");
	expect_traffic();
	point("objects in use stay");
}

static void refused_qp(struct ibv_qp_cap cap, const char *what)
{
	struct ibv_qp_init_attr init = qp_init(&a, DEPTH);
	struct ibv_qp *qp;

	init.cap = cap;
	errno = 0;
	qp = ibv_create_qp(a.pd, &init);
	expect(!qp && errno == EINVAL, "%s: %s", what, strerror(errno));
	if (qp)
		ibv_destroy_qp(qp);
}

static void limits(void)
{
	const struct ibv_qp_cap cap = qp_init(&a, DEPTH).cap;
	struct ibv_qp_init_attr init = qp_init(&a, DEPTH);
	struct ibv_device_attr dev;
	struct ibv_qp_cap much;
	struct ibv_qp *qp;

	must(!ibv_query_device(a.ctx, &dev));
	much = cap;
	much.max_send_wr = dev.max_qp_wr + 1;
	refused_qp(much, "too many sends");
	much = cap;
	much.max_recv_wr = UINT32_MAX;
	refused_qp(much, "too many receives");
	much = cap;
	much.max_send_sge = dev.max_sge + 1;
	refused_qp(much, "too many elements to send");
	much = cap;
	much.max_recv_sge = dev.max_sge + 1;
	refused_qp(much, "too many elements to receive");
	much = cap;
	much.max_inline_data = UINT32_MAX;
	refused_qp(much, "too much inline data");
	expect(!ibv_create_cq(a.ctx, dev.max_cqe + 1, NULL, NULL, 0),
	       "too long a completion queue");
	expect(!ibv_create_cq(a.ctx, 0, NULL, NULL, 0),
	       "a completion queue for nothing");

	init.cap.max_send_wr = dev.max_qp_wr;
	init.cap.max_recv_wr = dev.max_qp_wr;
	qp = ibv_create_qp(a.pd, &init);
	expect(qp, "the largest queue pair: %s", strerror(errno));
	if (qp)
		ibv_destroy_qp(qp);
	point("limits");
}

/* Completion events */

static bool got_cq_event(struct side *side, struct ibv_cq *wanted,
			 unsigned int ms)
{
	struct ibv_cq *cq;
	void *context;

	if (!wait_readable(side->channel->fd, ms))
		return false;
	must(!ibv_get_cq_event(side->channel, &cq, &context));
	ibv_ack_cq_events(cq, 1);
	return cq == wanted;
}

static void send_one(bool solicited, bool answer)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = send_wr(IBV_WR_SEND, &sge, 1);

	if (solicited)
		wr.send_flags |= IBV_SEND_SOLICITED;
	if (answer)
		expect_eq(receive(1), 0, "post_recv");
	post_send(a.qp, &wr);
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
}

static void cq_events(void)
{
	connected();
	send_one(true, true);
	expect(!got_cq_event(&b, b.rcq, 20), "an event nobody asked for");

	/* Only what comes after the request counts. */
	must(!ibv_req_notify_cq(b.rcq, 0));
	expect(!got_cq_event(&b, b.rcq, 20), "an event of the past");
	send_one(false, true);
	expect(got_cq_event(&b, b.rcq, SOON_MS), "no event");
	send_one(false, true);
	expect(!got_cq_event(&b, b.rcq, 20), "a second event");

	must(!ibv_req_notify_cq(b.rcq, 1));
	send_one(false, true);
	expect(!got_cq_event(&b, b.rcq, 20), "an event not solicited");
	send_one(true, true);
	expect(got_cq_event(&b, b.rcq, SOON_MS), "no solicited event");

	/* A request for all events includes one for solicited ones. */
	must(!ibv_req_notify_cq(b.rcq, 0));
	must(!ibv_req_notify_cq(b.rcq, 1));
	send_one(false, true);
	expect(got_cq_event(&b, b.rcq, SOON_MS), "no event");

	/* Errors are always solicited. */
	must(!ibv_req_notify_cq(b.rcq, 1));
	expect_eq(receive(2), 0, "post_recv");
	must(!qp_to(b.qp, IBV_QPS_ERR));
	expect(got_cq_event(&b, b.rcq, SOON_MS), "no event for an error");
	must(!ibv_req_notify_cq(a.scq, 0));
	must(!qp_to(a.qp, IBV_QPS_ERR));
	expect_eq(post(IBV_WR_SEND, 1), 0, "post_send");
	expect(got_cq_event(&a, a.scq, SOON_MS), "no event for a send");
	point("completion events");
}

/* Two threads that sleep until the other one's message comes. */

static int rounds;

static bool sleep_for_receive(struct side *side)
{
	struct ibv_wc wc;

	must(!ibv_req_notify_cq(side->rcq, 0));
	if (ibv_poll_cq(side->rcq, 1, &wc) == 1)
		return expect_eq(wc.status, IBV_WC_SUCCESS, "receive");
	if (!expect(got_cq_event(side, side->rcq, SOON_MS), "a lost wake-up"))
		return false;
	/* The event may be that of a completion polled before. */
	while (ibv_poll_cq(side->rcq, 1, &wc) != 1) {
		must(!ibv_req_notify_cq(side->rcq, 0));
		if (ibv_poll_cq(side->rcq, 1, &wc) == 1)
			break;
		if (!expect(got_cq_event(side, side->rcq, SOON_MS),
			    "a lost wake-up"))
			return false;
	}
	return expect_eq(wc.status, IBV_WC_SUCCESS, "receive");
}

static bool play(struct side *side, bool serve)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND };
	struct ibv_wc wc;

	if (!serve && !sleep_for_receive(side))
		return false;
	if (try_recv(side->qp, 0, NULL, 0) || try_send(side->qp, &wr))
		return expect(false, "a post failed");
	if (ibv_poll_cq(side->scq, 1, &wc))
		return expect(false, "an unsignalled send completed");
	return !serve || sleep_for_receive(side);
}

static void *play_back(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < rounds && play(&b, false); i++)
		;
	return NULL;
}

static void ping_pong(void)
{
	pthread_t thread;
	int i;

	rounds = length_of(4000, 100000);
	connected();
	for (i = 0; i < 2; i++) {
		must(!try_recv(a.qp, 0, NULL, 0));
		must(!try_recv(b.qp, 0, NULL, 0));
	}
	must(!pthread_create(&thread, NULL, play_back, NULL));
	for (i = 0; i < rounds && play(&a, true); i++)
		;
	expect_eq(i, rounds, "rounds");
	pthread_join(thread, NULL);
	point("%d rounds of ping-pong without a lost wake-up", rounds);
}

/*
 * A peer that is in RTR receives; it need not be able to send.  It is told
 * when the first message comes.
 */
static void ready_to_receive(void)
{
	struct address at_a, at_b;
	void *element = NULL;

	side_drop_qp(&a);
	side_drop_qp(&b);
	side_make_qp(&a, DEPTH);
	side_make_qp(&b, DEPTH);
	at_a = side_address(&a);
	at_b = side_address(&b);
	must(!qp_to_init(b.qp, ALL_RIGHTS));
	must(!qp_to_rtr(b.qp, b.gid_index, &at_a, &usual_conn));
	side_connect(&a, &at_b, &usual_conn);
	expect_eq(wait_event(b.ctx, NULL, 50), -1, "event before any message");
	expect_traffic();
	expect_eq(wait_event(b.ctx, &element, SOON_MS), IBV_EVENT_COMM_EST,
		  "event");
	expect(element == b.qp, "the event is another queue pair's");
	expect_traffic();
	expect_eq(wait_event(b.ctx, NULL, 50), -1, "event of the second");
	expect_eq(qp_state(b.qp), IBV_QPS_RTR, "state");

	/* Who can send already need not be told. */
	reconnect(&a, &b, DEPTH, &usual_conn);
	expect_traffic();
	expect_eq(wait_event(b.ctx, NULL, 50), -1, "event in RTS");
	point("a receiver in RTR");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	random_fill(src, sizeof(src));
	side_open(&a, 256);
	side_open(&b, 256);
	mr_a = reg(a.pd, src, sizeof(src), ALL_RIGHTS);
	mr_b = reg(b.pd, dst, sizeof(dst), ALL_RIGHTS);

	transitions();
	bad_attributes();
	queries();
	modify_live();
	posts();
	flushes();
	resets();
	drained();
	draining();
	full_queues();
	outstanding();
	cq_overflow();
	everything_signalled();
	in_use();
	limits();
	cq_events();
	ping_pong();
	ready_to_receive();

	dereg(mr_a);
	dereg(mr_b);
	side_close(&a);
	side_close(&b);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
