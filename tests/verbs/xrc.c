// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * XRC: domains, shared receive queues and queue pairs of both kinds; who may
 * name what; and what becomes of the rest when one of several processes goes.
 *
 *	a: requester                b: a member of the domain
 *	ini[i] ── requests, ──▶ tgt[i] ──┬──▶ srq[0] ──▶ b.rcq
 *		  each with a number     ├──▶ srq[1] ──▶ b.scq
 *	                                 └──▶ another member's (own)
 */
#include "uffd.h"

#define SRQS		2
#define PAIRS		3
#define DEPTH		16
#define SLOTS		64
#define SLOT		(8 * KIB)
#define AREA		(SLOTS * SLOT)

/* What waits does so until it is woken, or for ever. */
#define WATCH_MS	50

static int domain_fd;
static struct side a, b;
static struct ibv_xrcd *xrcd;
static struct ibv_srq *srq[SRQS];
static uint32_t srqn[SRQS];
static struct ibv_qp *ini[PAIRS], *tgt[PAIRS];
static uint8_t *outbox, *inbox;
static struct ibv_mr *mr_out[KINDS], *mr_in[KINDS];
static enum kind kind;

/* Objects */

static struct ibv_xrcd *try_xrcd(struct ibv_context *ctx, int fd, int oflags)
{
	struct ibv_xrcd_init_attr attr = {
		.comp_mask = IBV_XRCD_INIT_ATTR_FD | IBV_XRCD_INIT_ATTR_OFLAGS,
		.fd = fd,
		.oflags = oflags,
	};

	errno = 0;
	return ibv_open_xrcd(ctx, &attr);
}

static struct ibv_xrcd *join(struct ibv_context *ctx)
{
	struct ibv_xrcd *joined = try_xrcd(ctx, domain_fd, O_CREAT);

	must(joined);
	return joined;
}

static void leave(struct ibv_xrcd *joined)
{
	errno = ibv_close_xrcd(joined);
	must(!errno);
}

static struct ibv_srq_init_attr_ex srq_init(struct ibv_pd *pd,
					    struct ibv_xrcd *of,
					    struct ibv_cq *cq)
{
	return (struct ibv_srq_init_attr_ex) {
		.attr = { .max_wr = DEPTH, .max_sge = 4 },
		.comp_mask = IBV_SRQ_INIT_ATTR_TYPE | IBV_SRQ_INIT_ATTR_PD |
			     IBV_SRQ_INIT_ATTR_XRCD | IBV_SRQ_INIT_ATTR_CQ,
		.srq_type = IBV_SRQT_XRC,
		.pd = pd,
		.xrcd = of,
		.cq = cq,
	};
}

static struct ibv_srq *make_srq(struct ibv_pd *pd, struct ibv_xrcd *of,
				struct ibv_cq *cq)
{
	struct ibv_srq_init_attr_ex init = srq_init(pd, of, cq);
	struct ibv_srq *made = ibv_create_srq_ex(pd->context, &init);

	must(made);
	return made;
}

static uint32_t number_of(struct ibv_srq *of)
{
	uint32_t number = 0;

	must(!ibv_get_srq_num(of, &number));
	return number;
}

static void drop_srq(struct ibv_srq *dropped)
{
	errno = ibv_destroy_srq(dropped);
	must(!errno);
}

static void remake_srq(int i)
{
	srq[i] = make_srq(b.pd, xrcd, i ? b.scq : b.rcq);
	srqn[i] = number_of(srq[i]);
}

static struct ibv_qp_init_attr_ex ini_init(const struct side *side)
{
	return (struct ibv_qp_init_attr_ex) {
		.qp_type = IBV_QPT_XRC_SEND,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = side->pd,
		.send_cq = side->scq,
		.cap = {
			.max_send_wr = DEPTH,
			.max_send_sge = 4,
			.max_inline_data = INLINE_CAP,
		},
	};
}

static struct ibv_qp *make_ini(const struct side *side)
{
	struct ibv_qp_init_attr_ex init = ini_init(side);
	struct ibv_qp *qp = ibv_create_qp_ex(side->ctx, &init);

	must(qp);
	return qp;
}

static struct ibv_qp *make_tgt(struct ibv_context *ctx, struct ibv_xrcd *of)
{
	struct ibv_qp_init_attr_ex init = {
		.qp_type = IBV_QPT_XRC_RECV,
		.comp_mask = IBV_QP_INIT_ATTR_XRCD,
		.xrcd = of,
	};
	struct ibv_qp *qp = ibv_create_qp_ex(ctx, &init);

	must(qp);
	return qp;
}

static struct ibv_qp *try_open_qp(struct ibv_xrcd *of, uint32_t qpn,
				  enum ibv_qp_type type)
{
	struct ibv_qp_open_attr attr = {
		.comp_mask = IBV_QP_OPEN_ATTR_NUM | IBV_QP_OPEN_ATTR_XRCD |
			     IBV_QP_OPEN_ATTR_TYPE,
		.qp_num = qpn,
		.xrcd = of,
		.qp_type = type,
	};

	errno = 0;
	return ibv_open_qp(of->context, &attr);
}

static void drop_qp(struct ibv_qp **qp)
{
	if (!*qp)
		return;
	errno = ibv_destroy_qp(*qp);
	must(!errno);
	*qp = NULL;
}

/* One device, one address: only the number of the peer is needed. */
static void connect_qp(struct ibv_qp *qp, const struct side *side,
		       uint32_t peer, const struct conn *conn)
{
	struct address address = { peer, side->gid };

	errno = qp_to_init(qp, conn->access);
	must(!errno);
	errno = qp_to_rtr(qp, side->gid_index, &address, conn);
	must(!errno);
	errno = qp_to_rts(qp, conn);
	must(!errno);
}

static void make_pair(int i)
{
	ini[i] = make_ini(&a);
	tgt[i] = make_tgt(b.ctx, xrcd);
	connect_qp(tgt[i], &b, ini[i]->qp_num, &usual_conn);
	connect_qp(ini[i], &a, tgt[i]->qp_num, &usual_conn);
}

static void drop_pair(int i)
{
	drop_qp(&ini[i]);
	drop_qp(&tgt[i]);
}

static void remake_pair(int i)
{
	drop_pair(i);
	make_pair(i);
	while (wait_event(b.ctx, NULL, 0) >= 0)
		;
}

static void open_all(void)
{
	int i;

	side_open(&a, 256);
	side_open(&b, 256);
	outbox = map_memory(AREA);
	inbox = map_memory(AREA);
	for (i = 0; i < (int)KINDS; i++) {
		mr_out[i] = reg(a.pd, outbox, AREA,
				ALL_RIGHTS | kind_access(i));
		mr_in[i] = reg(b.pd, inbox, AREA, ALL_RIGHTS |
			       IBV_ACCESS_MW_BIND | kind_access(i));
	}
	xrcd = join(b.ctx);
	for (i = 0; i < SRQS; i++)
		remake_srq(i);
	for (i = 0; i < PAIRS; i++)
		make_pair(i);
}

static void close_all(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		drop_pair(i);
	for (i = 0; i < SRQS; i++)
		drop_srq(srq[i]);
	leave(xrcd);
	for (i = 0; i < (int)KINDS; i++) {
		dereg(mr_out[i]);
		dereg(mr_in[i]);
	}
	must(!munmap(outbox, AREA));
	must(!munmap(inbox, AREA));
	side_close(&a);
	side_close(&b);
}

/* Messages */

static struct ibv_cq *cq_of(int i)
{
	return i ? b.scq : b.rcq;
}

/* A slot begins at an odd address, and is in two pieces of odd lengths. */
static uint8_t *slot_at(int slot)
{
	return inbox + slot * SLOT + 1 + slot % 61;
}

#define SLOT_LEN	(SLOT - 100)
#define FIRST_LEN	1021

static int try_slot(int i, int slot)
{
	struct ibv_sge sge[] = {
		sge_of(mr_in[kind], slot_at(slot), FIRST_LEN),
		sge_of(mr_in[kind], slot_at(slot) + FIRST_LEN,
		       SLOT_LEN - FIRST_LEN),
	};

	memset(slot_at(slot), 0, SLOT_LEN);
	return try_srq_recv(srq[i], slot, sge, 2);
}

static void post_slot(int i, int slot)
{
	errno = try_slot(i, slot);
	must(!errno);
}

static size_t length_of_message(uint64_t seed)
{
	return 1 + pattern(seed, 7) * 31UL % SLOT_LEN;
}

/* All of message @seed follows from that. */
static void send_as(enum ibv_wr_opcode opcode, int pair, uint32_t number,
		    uint64_t seed)
{
	uint8_t *data = outbox + seed % SLOTS * SLOT + seed % 3;
	struct ibv_sge sge = sge_of(mr_out[kind], data,
				    length_of_message(seed));
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, 0, 0);

	pattern_fill(data, sge.length, seed);
	wr.wr_id = seed;
	wr.imm_data = htonl(seed);
	wr.qp_type.xrc.remote_srqn = number;
	post_send(ini[pair], &wr);
}

static void send_message(int pair, uint32_t number, uint64_t seed)
{
	send_as(IBV_WR_SEND, pair, number, seed);
}

static bool message_is_in(const uint8_t *slot, uint64_t seed)
{
	size_t len = length_of_message(seed);

	return expect_eq(pattern_check(slot, len, seed), len, "message") &&
	       expect_eq(zero_check(slot + len, SLOT_LEN - len),
			 SLOT_LEN - len, "what is behind the message");
}

/* That message @seed of a pair comes next to a queue, and where. */
static void expect_arrival(int i, int pair, uint64_t seed, int slot)
{
	struct ibv_wc wc;

	if (!expect(wait_wc(cq_of(i), &wc, SOON_MS), "message %u has not come",
		    (unsigned int)seed))
		return;
	expect_eq(wc.status, IBV_WC_SUCCESS, "receive");
	expect_eq(wc.wr_id, slot, "slot");
	expect_eq(wc.qp_num, tgt[pair]->qp_num, "queue pair");
	expect_eq(wc.src_qp, ini[pair]->qp_num, "sender");
	expect_eq(wc.byte_len, length_of_message(seed), "length");
	message_is_in(slot_at(slot), seed);
}

static void expect_through(int i, int pair, uint64_t seed, int slot)
{
	expect_arrival(i, pair, seed, slot);
	expect_wc(a.scq, seed, IBV_WC_SUCCESS);
}

/* A message there and back again. */
static void exchange(int i, int pair, uint64_t seed)
{
	post_slot(i, seed % SLOTS);
	send_message(pair, srqn[i], seed);
	expect_through(i, pair, seed, seed % SLOTS);
}

static void expect_event_of(enum ibv_event_type type, void *of)
{
	void *element = NULL;

	expect_eq(wait_event(b.ctx, &element, SOON_MS), type, "event");
	expect(element == of, "the event is somebody else's");
}

/* That what @pair has just asked for was refused, for good. */
static void expect_refusal(int pair, uint64_t wr_id)
{
	expect_wc(a.scq, wr_id, IBV_WC_REM_ACCESS_ERR);
	expect_event_of(IBV_EVENT_QP_ACCESS_ERR, tgt[pair]);
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, tgt[pair]);
	expect_eq(qp_state(ini[pair]), IBV_QPS_ERR, "the requester's state");
	expect_eq(qp_state(tgt[pair]), IBV_QPS_ERR, "the target's state");
}

/* Making things, and refusing to */

static void capabilities(void)
{
	const uint32_t all = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
			     IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ |
			     IBV_ODP_SUPPORT_ATOMIC | IBV_ODP_SUPPORT_SRQ_RECV;
	struct ibv_device_attr_ex attr;

	must(!ibv_query_device_ex(b.ctx, NULL, &attr));
	expect(attr.orig_attr.device_cap_flags & IBV_DEVICE_XRC, "no XRC");
	expect_eq(attr.xrc_odp_caps & all, all, "on demand");
	point("capabilities");
}

static void domains(void)
{
	int other = memfd_create("other", MFD_CLOEXEC);
	struct ibv_xrcd *first, *second;

	must(other >= 0);
	expect(!try_xrcd(b.ctx, other, 0) && errno == EAGAIN,
	       "there is none: %s", strerror(errno));
	first = try_xrcd(b.ctx, other, O_CREAT | O_EXCL);
	must(first);
	expect(!try_xrcd(a.ctx, other, O_CREAT | O_EXCL) && errno == EINVAL,
	       "one there is already: %s", strerror(errno));
	second = try_xrcd(a.ctx, other, 0);
	expect(second, "the same: %s", strerror(errno));
	expect_eq(ibv_close_xrcd(first), 0, "closing");
	first = try_xrcd(b.ctx, other, 0);
	expect(first, "the same again: %s", strerror(errno));
	expect_eq(ibv_close_xrcd(first), 0, "closing");
	expect_eq(ibv_close_xrcd(second), 0, "closing the last");
	expect(!try_xrcd(b.ctx, other, 0) && errno == EAGAIN,
	       "there is none left: %s", strerror(errno));
	must(!close(other));
	expect(!try_xrcd(b.ctx, other, O_CREAT) && errno == EBADF,
	       "no file: %s", strerror(errno));
	first = try_xrcd(b.ctx, -1, O_CREAT);
	expect(first, "one of nobody else's: %s", strerror(errno));
	expect_eq(ibv_close_xrcd(first), 0, "closing");
	point("domains");
}

static void in_use(void)
{
	struct ibv_cq *cq = ibv_create_cq(b.ctx, 4, NULL, NULL, 0);
	struct ibv_xrcd *own_xrcd = try_xrcd(b.ctx, -1, O_CREAT);
	struct ibv_srq *made;
	struct ibv_qp *qp;

	must(cq && own_xrcd);
	made = make_srq(b.pd, own_xrcd, cq);
	expect_eq(ibv_close_xrcd(own_xrcd), EBUSY, "a domain with a queue");
	expect_eq(ibv_destroy_cq(cq), EBUSY, "a completion queue in use");
	qp = make_tgt(b.ctx, own_xrcd);
	drop_srq(made);
	expect_eq(ibv_close_xrcd(own_xrcd), EBUSY, "a domain with a target");
	drop_qp(&qp);
	expect_eq(ibv_close_xrcd(own_xrcd), 0, "closing");
	expect_eq(ibv_destroy_cq(cq), 0, "destroying");
	point("what is in use");
}

static void bad_queues(void)
{
	struct ibv_srq_init_attr_ex good = srq_init(b.pd, xrcd, b.rcq), init;
	struct ibv_qp_init_attr rc = qp_init(&b, 4);

	init = good;
	init.comp_mask &= ~IBV_SRQ_INIT_ATTR_XRCD;
	expect(!ibv_create_srq_ex(b.ctx, &init) && errno == EINVAL,
	       "no domain: %s", strerror(errno));
	init = good;
	init.comp_mask &= ~IBV_SRQ_INIT_ATTR_CQ;
	expect(!ibv_create_srq_ex(b.ctx, &init) && errno == EINVAL,
	       "no completion queue: %s", strerror(errno));
	init = good;
	init.attr.max_wr = 0;
	expect(!ibv_create_srq_ex(b.ctx, &init) && errno == EINVAL,
	       "no receives: %s", strerror(errno));
	init = good;
	init.srq_type = IBV_SRQT_TM;
	expect(!ibv_create_srq_ex(b.ctx, &init) && errno == EOPNOTSUPP,
	       "tag matching: %s", strerror(errno));
	rc.srq = srq[0];
	expect(!ibv_create_qp(b.pd, &rc) && errno == EINVAL,
	       "an RC queue pair: %s", strerror(errno));
	expect(srqn[0] != srqn[1] && srqn[0], "they have the same number");
	point("shared receive queues that cannot be");
}

static void bad_queue_pairs(void)
{
	struct ibv_qp_init_attr_ex init = ini_init(&a);
	struct ibv_qp_init_attr got;
	struct ibv_qp_attr attr;

	init.comp_mask = 0;
	expect(!ibv_create_qp_ex(a.ctx, &init), "XRC_SEND without a PD");
	init = ini_init(&a);
	init.cap.max_send_wr = 0x7fffffff;
	expect(!ibv_create_qp_ex(a.ctx, &init) && errno == EINVAL,
	       "too many requests: %s", strerror(errno));
	init = ini_init(&a);
	init.qp_type = IBV_QPT_XRC_RECV;
	expect(!ibv_create_qp_ex(a.ctx, &init) && errno == EINVAL,
	       "XRC_RECV without a domain: %s", strerror(errno));
	must(!ibv_query_qp(ini[0], &attr, IBV_QP_CAP, &got));
	expect(attr.cap.max_send_wr >= DEPTH && !attr.cap.max_recv_wr &&
	       !attr.cap.max_recv_sge, "room of XRC_SEND");
	must(!ibv_query_qp(tgt[0], &attr, IBV_QP_CAP, &got));
	expect(!attr.cap.max_send_wr && !attr.cap.max_recv_wr &&
	       !attr.cap.max_inline_data, "room of XRC_RECV");
	point("queue pairs that cannot be");
}

static void bad_posts(void)
{
	struct ibv_sge sge = sge_of(mr_out[PINNED], outbox, 8);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	struct ibv_qp *opened;

	wr.qp_type.xrc.remote_srqn = srqn[0];
	expect_eq(try_send(tgt[0], &wr), EINVAL, "a send on a target");
	expect_eq(try_recv(tgt[0], 0, &sge, 1), EINVAL, "a receive there");
	expect_eq(try_recv(tgt[0], 0, NULL, 0), EINVAL, "one of nothing");
	expect_eq(try_recv(ini[0], 0, &sge, 1), EINVAL, "one on XRC_SEND");
	expect_eq(try_recv(ini[0], 0, NULL, 0), EINVAL, "one of nothing");
	opened = try_open_qp(xrcd, tgt[0]->qp_num, IBV_QPT_XRC_RECV);
	must(opened);
	expect_eq(try_send(opened, &wr), EINVAL, "a send on one opened");
	expect_eq(try_recv(opened, 0, &sge, 1), EINVAL, "a receive there");
	drop_qp(&opened);
	exchange(0, 0, 1);
	point("requests where there is no queue for them");
}

static void bad_opens(void)
{
	struct ibv_xrcd *other = try_xrcd(b.ctx, -1, O_CREAT);

	must(other);
	expect(!try_open_qp(xrcd, 0xffffff, IBV_QPT_XRC_RECV) &&
	       errno == EINVAL, "none: %s", strerror(errno));
	expect(!try_open_qp(xrcd, ini[0]->qp_num, IBV_QPT_XRC_RECV) &&
	       errno == EINVAL, "XRC_SEND: %s", strerror(errno));
	expect(!try_open_qp(xrcd, tgt[0]->qp_num, IBV_QPT_XRC_SEND) &&
	       errno == EINVAL, "as XRC_SEND: %s", strerror(errno));
	expect(!try_open_qp(other, tgt[0]->qp_num, IBV_QPT_XRC_RECV) &&
	       errno == EINVAL, "by another domain: %s", strerror(errno));
	leave(other);
	point("queue pairs that cannot be opened");
}

/* Data */

static void messages(void)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM,
	};
	unsigned int n;

	for (n = 0; n < 4 * DEPTH; n++) {
		post_slot(n % 2, n % SLOTS);
		send_as(opcodes[n / 2 % 2], n % PAIRS, srqn[n % 2], n);
		expect_through(n % 2, n % PAIRS, n, n % SLOTS);
	}
	/* Whoever asks, each queue's receives are taken in order. */
	for (n = 0; n < DEPTH; n++)
		post_slot(n % 2, n);
	for (n = 0; n < DEPTH; n++) {
		send_message(n % PAIRS, srqn[n % 2], n);
		expect_through(n % 2, n % PAIRS, n, n);
	}
	expect(is_quiet(b.rcq, 0) && is_quiet(b.scq, 0), "something else");
	point("messages, %s", kind_name[kind]);
}

static void inline_and_extended(void)
{
	struct ibv_qp_init_attr_ex init = ini_init(&a);
	struct ibv_qp_ex *qpx;
	struct ibv_qp *qp;
	uint8_t data[77];

	init.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
	init.send_ops_flags = IBV_QP_EX_WITH_SEND_WITH_IMM |
			      IBV_QP_EX_WITH_RDMA_WRITE |
			      IBV_QP_EX_WITH_RDMA_READ |
			      IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD;
	qp = ibv_create_qp_ex(a.ctx, &init);
	must(qp);
	drop_pair(0);
	ini[0] = qp;
	tgt[0] = make_tgt(b.ctx, xrcd);
	connect_qp(tgt[0], &b, qp->qp_num, &usual_conn);
	connect_qp(qp, &a, tgt[0]->qp_num, &usual_conn);
	qpx = ibv_qp_to_qp_ex(qp);
	must(qpx);

	pattern_fill(data, sizeof(data), 5);
	post_slot(1, 3);
	ibv_wr_start(qpx);
	qpx->wr_id = 9;
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_rdma_write(qpx, mr_in[kind]->rkey, (uintptr_t)slot_at(4));
	ibv_wr_set_xrc_srqn(qpx, srqn[0]);
	ibv_wr_set_inline_data(qpx, data, sizeof(data));
	qpx->wr_id = 10;
	ibv_wr_send_imm(qpx, htonl(3));
	ibv_wr_set_xrc_srqn(qpx, srqn[1]);
	ibv_wr_set_inline_data(qpx, data, sizeof(data));
	expect_eq(ibv_wr_complete(qpx), 0, "ibv_wr_complete()");
	expect_wc(a.scq, 9, IBV_WC_SUCCESS);
	expect_wc(a.scq, 10, IBV_WC_SUCCESS);
	expect_wc(b.scq, 3, IBV_WC_SUCCESS);
	expect_same(slot_at(3), data, sizeof(data), "message");
	expect_same(slot_at(4), data, sizeof(data), "what was written");
	remake_pair(0);
	point("ibv_wr_set_xrc_srqn(), and inline data");
}

/* The memory that reads, writes and atomics are about. */
#define FAR		(3 * SLOT + 5)
#define FAR_LEN		(2 * PAGE + 77)

static void access_far(enum ibv_wr_opcode opcode, uint32_t number,
		       uint32_t rkey)
{
	struct ibv_sge sge = sge_of(mr_out[kind], outbox + 3, FAR_LEN);
	struct ibv_send_wr wr;

	if (is_atomic(opcode)) {
		sge.length = 8;
		wr = atomic_wr(opcode, &sge, (uintptr_t)inbox + FAR + 3, rkey,
			       7, 11);
	} else {
		wr = rdma_wr(opcode, &sge, (uintptr_t)inbox + FAR, rkey);
	}
	wr.imm_data = htonl(77);
	wr.qp_type.xrc.remote_srqn = number;
	post_send(ini[0], &wr);
}

static void writes_and_reads(int i)
{
	uint64_t *word = (uint64_t *)(inbox + FAR + 3), result;
	struct ibv_wc wc;

	pattern_fill(outbox + 3, FAR_LEN, 1);
	memset(inbox + FAR, 0, FAR_LEN + 9);
	access_far(IBV_WR_RDMA_WRITE, srqn[i], mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(inbox + FAR, FAR_LEN, 1), FAR_LEN, "write");
	expect_eq(zero_check(inbox + FAR + FAR_LEN, 9), 9, "what is behind");

	pattern_fill(outbox + 3, FAR_LEN, 2);
	must(!try_srq_recv(srq[i], 12, NULL, 0));
	access_far(IBV_WR_RDMA_WRITE_WITH_IMM, srqn[i], mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect(wait_wc(cq_of(i), &wc, SOON_MS), "no receive");
	expect(wc.wr_id == 12 && wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM &&
	       wc.wc_flags & IBV_WC_WITH_IMM && wc.imm_data == htonl(77) &&
	       wc.byte_len == FAR_LEN && wc.qp_num == tgt[0]->qp_num,
	       "another receive");
	expect_eq(pattern_check(inbox + FAR, FAR_LEN, 2), FAR_LEN, "write");

	pattern_fill(inbox + FAR, FAR_LEN, 3);
	access_far(IBV_WR_RDMA_READ, srqn[i], mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(outbox + 3, FAR_LEN, 3), FAR_LEN, "read");

	*word = 7;
	access_far(IBV_WR_ATOMIC_CMP_AND_SWP, srqn[i], mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	memcpy(&result, outbox + 3, 8);
	expect(*word == 11 && result == 7, "compare and swap");
	access_far(IBV_WR_ATOMIC_FETCH_AND_ADD, srqn[i], mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	memcpy(&result, outbox + 3, 8);
	expect(*word == 18 && result == 11, "fetch and add");
}

static void memory(void)
{
	writes_and_reads(0);
	writes_and_reads(1);
	expect(is_quiet(b.rcq, 0) && is_quiet(b.scq, 0), "something else");
	point("writes, reads, atomics, %s", kind_name[kind]);
}

/* A target has no protection domain: that of the queue named is what counts. */
static void protection_domains(void)
{
	struct ibv_pd *theirs = ibv_alloc_pd(b.ctx);
	struct ibv_srq *of_theirs;
	struct ibv_sge sge;
	struct ibv_mr *mr;

	must(theirs);
	mr = reg(theirs, inbox, AREA, ALL_RIGHTS | kind_access(kind));
	of_theirs = make_srq(theirs, xrcd, b.rcq);
	pattern_fill(outbox + 3, FAR_LEN, 8);
	access_far(IBV_WR_RDMA_WRITE, number_of(of_theirs), mr->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(inbox + FAR, FAR_LEN, 8), FAR_LEN, "write");

	pattern_fill(outbox + 3, FAR_LEN, 9);
	access_far(IBV_WR_RDMA_WRITE, srqn[0], mr->rkey);
	expect_refusal(0, 0);
	expect_eq(pattern_check(inbox + FAR, FAR_LEN, 8), FAR_LEN, "memory");
	remake_pair(0);
	access_far(IBV_WR_RDMA_READ, number_of(of_theirs), mr_in[kind]->rkey);
	expect_refusal(0, 0);
	remake_pair(0);

	/* Receives' keys too. */
	sge = sge_of(mr_in[kind], slot_at(0), SLOT_LEN);
	must(!try_srq_recv(of_theirs, 5, &sge, 1));
	send_message(0, number_of(of_theirs), 2);
	expect_wc(a.scq, 2, IBV_WC_REM_OP_ERR);
	expect_wc(b.rcq, 5, IBV_WC_LOC_PROT_ERR);
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, tgt[0]);
	remake_pair(0);

	drop_srq(of_theirs);
	dereg(mr);
	must(!ibv_dealloc_pd(theirs));
	exchange(0, 0, 3);
	point("whose protection domain counts, %s", kind_name[kind]);
}

static void send_with_invalidate(uint32_t rkey)
{
	struct ibv_sge sge = sge_of(mr_out[kind], outbox, 50);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND_WITH_INV, &sge, 0, 0);

	wr.invalidate_rkey = rkey;
	wr.qp_type.xrc.remote_srqn = srqn[0];
	post_slot(0, 0);
	post_send(ini[0], &wr);
}

/* XRC_SEND binds windows of its own domain; targets reach those of type 1. */
static void windows(void)
{
	struct ibv_mw *mw = ibv_alloc_mw(b.pd, IBV_MW_TYPE_1);
	struct ibv_mw *free_mw = ibv_alloc_mw(b.pd, IBV_MW_TYPE_2);
	struct ibv_mw_bind bind = {
		.wr_id = 4,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = {
			.mr = mr_in[kind],
			.addr = (uintptr_t)inbox + FAR,
			.length = FAR_LEN,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
		},
	};
	struct ibv_qp *qp = make_ini(&b);
	struct ibv_wc wc;

	must(mw && free_mw);
	connect_qp(qp, &b, tgt[0]->qp_num, &usual_conn);
	expect_eq(ibv_bind_mw(qp, mw, &bind), 0, "ibv_bind_mw()");
	expect_wc(b.scq, 4, IBV_WC_SUCCESS);
	pattern_fill(outbox + 3, FAR_LEN, 4);
	access_far(IBV_WR_RDMA_WRITE, srqn[1], mw->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(inbox + FAR, FAR_LEN, 4), FAR_LEN, "write");

	send_with_invalidate(free_mw->rkey);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect(wait_wc(b.rcq, &wc, SOON_MS), "no receive");
	expect(wc.wc_flags & IBV_WC_WITH_INV &&
	       wc.invalidated_rkey == free_mw->rkey, "what was invalidated");
	send_with_invalidate(mr_in[kind]->rkey);
	expect_wc(a.scq, 0, IBV_WC_REM_ACCESS_ERR);
	expect_wc(b.rcq, 0, IBV_WC_REM_INV_REQ_ERR);
	remake_pair(0);

	drop_qp(&qp);
	must(!ibv_dealloc_mw(mw) && !ibv_dealloc_mw(free_mw));
	point("memory windows, %s", kind_name[kind]);
}

/* Whom a request may name */

static void refused(const char *what, uint32_t number)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	unsigned int i;

	memset(inbox + FAR, 0, FAR_LEN);
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		if (is_send(opcodes[i]))
			send_message(0, number, 0);
		else
			access_far(opcodes[i], number, mr_in[0]->rkey);
		expect_refusal(0, 0);
		expect_eq(zero_check(inbox + FAR, FAR_LEN), FAR_LEN, "%s: %s",
			  what, opcode_name(opcodes[i]));
		remake_pair(0);
	}
	exchange(0, 0, 1);
	exchange(1, 1, 2);
	point("to name %s", what);
}

static void wrong_names(void)
{
	struct ibv_xrcd *other = try_xrcd(b.ctx, -1, O_CREAT);
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = 4, .max_sge = 4 },
	};
	struct ibv_srq *basic = ibv_create_srq(b.pd, &init), *elsewhere;
	uint32_t gone;

	must(other && basic);
	elsewhere = make_srq(b.pd, other, b.rcq);
	refused("nobody", 0);
	refused("none", 0xfffffff1);
	refused("a queue that is not for XRC", number_of(basic));
	refused("a queue of another domain", number_of(elsewhere));
	gone = number_of(elsewhere);
	drop_srq(elsewhere);
	refused("a queue that has gone", gone);
	drop_srq(basic);
	leave(other);
}

/* Connections are between one XRC_SEND and one XRC_RECV. */
static void wrong_types(void)
{
	struct conn impatient = usual_conn;
	struct address at;

	impatient.retry_cnt = 1;
	drop_pair(0);
	side_make_qp(&b, 4);
	ini[0] = make_ini(&a);
	at = (struct address) { ini[0]->qp_num, a.gid };
	side_connect(&b, &at, &impatient);
	connect_qp(ini[0], &a, b.qp->qp_num, &impatient);
	send_message(0, srqn[0], 1);
	expect_wc(a.scq, 1, IBV_WC_RETRY_EXC_ERR);
	side_drop_qp(&b);

	/* Reset, and RC asks where XRC should. */
	drop_qp(&ini[0]);
	side_make_qp(&a, 4);
	tgt[0] = make_tgt(b.ctx, xrcd);
	connect_qp(tgt[0], &b, a.qp->qp_num, &impatient);
	at = (struct address) { tgt[0]->qp_num, b.gid };
	side_connect(&a, &at, &impatient);
	ini[0] = a.qp;
	send_message(0, srqn[0], 2);
	expect_wc(a.scq, 2, IBV_WC_RETRY_EXC_ERR);
	ini[0] = NULL;
	side_drop_qp(&a);
	drop_qp(&tgt[0]);
	make_pair(0);
	point("queue pairs of types that do not go together");
}

/* Waiting */

static void expect_waiting(void)
{
	expect(is_quiet(a.scq, WATCH_MS), "it did not wait");
}

static void line(void)
{
	long before = counter("rnr_waits");
	int i, came[PAIRS] = {};
	struct ibv_wc wc;

	for (i = 0; i < PAIRS; i++) {
		send_message(i, srqn[0], 10 + i);
		expect(wait_counter("rnr_waits", before + i + 1), "pair %d", i);
	}
	expect_waiting();
	/* One who waits for one queue has no use for another's. */
	post_slot(1, 1);
	expect_waiting();
	post_slot(0, 2);
	expect_through(0, 0, 10, 2);
	post_slot(0, 3);
	post_slot(0, 4);
	for (i = 1; i < PAIRS; i++) {
		expect(wait_wc(b.rcq, &wc, SOON_MS), "no receive");
		came[wc.qp_num == tgt[2]->qp_num ? 2 : 1]++;
		expect(wait_wc(a.scq, &wc, SOON_MS) &&
		       wc.status == IBV_WC_SUCCESS, "no completion");
	}
	expect(came[1] == 1 && came[2] == 1, "who it was");
	send_message(1, srqn[1], 20);
	expect_through(1, 1, 20, 1);
	point("a line at a queue");
}

static void gives_up(void)
{
	struct conn conn = usual_conn;

	conn.rnr_retry = 1;
	drop_pair(0);
	ini[0] = make_ini(&a);
	tgt[0] = make_tgt(b.ctx, xrcd);
	connect_qp(tgt[0], &b, ini[0]->qp_num, &conn);
	connect_qp(ini[0], &a, tgt[0]->qp_num, &conn);
	send_message(0, srqn[0], 1);
	expect_wc(a.scq, 1, IBV_WC_RNR_RETRY_EXC_ERR);
	expect_eq(qp_state(tgt[0]), IBV_QPS_RTS, "the target's state");
	remake_pair(0);
	point("too long without a receive");
}

static void destroyed_in_wait(void)
{
	struct ibv_wc wc;
	int i;

	send_message(0, srqn[1], 1);
	send_message(1, srqn[1], 2);
	send_message(2, srqn[0], 3);
	expect_waiting();
	drop_srq(srq[1]);
	for (i = 0; i < 2; i++)
		expect(wait_wc(a.scq, &wc, SOON_MS) && wc.wr_id < 3 &&
		       wc.status == IBV_WC_REM_ACCESS_ERR, "no refusal");
	expect_eq(qp_state(tgt[0]), IBV_QPS_ERR, "state");
	expect_eq(qp_state(tgt[1]), IBV_QPS_ERR, "state");
	expect_waiting();
	post_slot(0, 5);
	expect_through(0, 2, 3, 5);
	remake_srq(1);
	remake_pair(0);
	remake_pair(1);
	exchange(1, 0, 1);
	point("a queue that goes while requesters wait for it");
}

/* Half done */

static uint8_t *missing;			/* a page to be provided */

/* A message whose first part arrives, and whose last is in a missing page. */
static void begin_message(uint32_t number, struct ibv_mr *mr)
{
	struct ibv_sge sge[] = {
		sge_of(mr_out[kind], outbox, 3001),
		sge_of(mr, missing, 100),
	};
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, sge, 0, 0);

	wr.num_sge = 2;
	wr.wr_id = 6;
	wr.qp_type.xrc.remote_srqn = number;
	pattern_fill(outbox, 3001, 6);
	post_send(ini[0], &wr);
	expect_eq(uffd_wait((const long []){ SOON_MS }), (long)missing,
		  "the page waited for");
}

static void provide_page(void)
{
	must(!uffd_copy((const long []){ (long)missing, 6 }));
}

/* Not before it was used, or it is waited for once more. */
static void take_page_away(void)
{
	must(!madvise(missing, PAGE, MADV_DONTNEED));
}

/* What the requester leaves is the queue's again, whatever it asks for next. */
static void half_and_another(struct ibv_mr *mr)
{
	post_slot(1, 7);
	begin_message(srqn[1], mr);
	must(!qp_to(ini[0], IBV_QPS_RESET));
	connect_qp(ini[0], &a, tgt[0]->qp_num, &usual_conn);
	exchange(0, 0, 8);
	memset(slot_at(7), 0, SLOT_LEN);
	send_message(1, srqn[1], 9);
	expect_through(1, 1, 9, 7);
	point("a message half through, and then one to another queue");
}

static void half_and_destroyed(struct ibv_mr *mr)
{
	post_slot(1, 7);
	begin_message(srqn[1], mr);
	drop_srq(srq[1]);
	memset(slot_at(7), 0, SLOT_LEN);
	provide_page();
	expect_refusal(0, 6);
	take_page_away();
	expect_eq(zero_check(slot_at(7), SLOT_LEN), SLOT_LEN,
		  "what was the queue's");
	expect(is_quiet(b.scq, 0), "a completion of what has gone");
	remake_srq(1);
	remake_pair(0);
	exchange(1, 0, 1);
	point("a message half through to a queue that goes");
}

/* Nobody provides the page: there is nobody to wait for it. */
static void written_and_destroyed(struct ibv_mr *mr)
{
	struct ibv_sge sge = sge_of(mr_out[kind], outbox, 50);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)missing + 9, mr->rkey);

	wr.wr_id = 6;
	wr.qp_type.xrc.remote_srqn = srqn[1];
	post_send(ini[0], &wr);
	expect_eq(uffd_wait((const long []){ SOON_MS }), (long)missing,
		  "the page waited for");
	expect_waiting();
	drop_srq(srq[1]);
	expect_refusal(0, 6);
	remake_srq(1);
	remake_pair(0);
	point("a write that waits for a page when its queue goes");
}

static void half_done(void)
{
	struct ibv_mr *mr_a, *mr_b;

	if (!have_uffd()) {
		skip("no userfaultfd");
		point("what is half done");
		return;
	}
	missing = map_memory(PAGE);
	must(!uffd_open((const long []){ (long)missing, PAGE,
					 UFFDIO_REGISTER_MODE_MISSING }));
	mr_a = reg(a.pd, missing, PAGE, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	mr_b = reg(b.pd, missing, PAGE, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	half_and_another(mr_a);
	half_and_destroyed(mr_a);
	written_and_destroyed(mr_b);
	dereg(mr_a);
	dereg(mr_b);
	uffd_close(NULL);
	must(!munmap(missing, PAGE));
}

/* As other shared receive queues */

static void limit(void)
{
	struct ibv_srq_attr attr = { .srq_limit = 2 };
	int n;

	for (n = 0; n < 3; n++)
		post_slot(0, n);
	expect_eq(ibv_modify_srq(srq[0], &attr, IBV_SRQ_LIMIT), 0, "limit");
	send_message(0, srqn[0], 0);
	expect_through(0, 0, 0, 0);
	expect_eq(wait_event(b.ctx, NULL, WATCH_MS), -1, "event");
	send_message(1, srqn[0], 1);
	expect_through(0, 1, 1, 1);
	expect_event_of(IBV_EVENT_SRQ_LIMIT_REACHED, srq[0]);
	send_message(1, srqn[0], 2);
	expect_through(0, 1, 2, 2);
	point("a limit");
}

static void room(void)
{
	struct ibv_srq_attr attr = { .max_wr = 3 * DEPTH };
	int n, max;

	for (n = 0; n < DEPTH; n++)
		post_slot(0, n);
	expect_eq(try_slot(0, n), ENOMEM, "one too many");
	send_message(0, srqn[0], 0);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(try_slot(0, n), ENOMEM, "nothing was polled");
	expect_arrival(0, 0, 0, 0);
	expect_eq(try_slot(0, n), 0, "one was polled");

	expect_eq(ibv_modify_srq(srq[0], &attr, IBV_SRQ_MAX_WR), 0, "resize");
	must(!ibv_query_srq(srq[0], &attr));
	max = attr.max_wr;
	expect(max >= 3 * DEPTH && max <= SLOTS, "room for %d", max);
	for (n = DEPTH + 1; n <= max; n++)
		expect_eq(try_slot(0, n % SLOTS), 0, "receive %d", n);
	expect_eq(try_slot(0, 0), ENOMEM, "one too many");
	for (n = 1; n <= max; n++) {
		send_message(n % PAIRS, srqn[0], n);
		expect_through(0, n % PAIRS, n, n % SLOTS);
	}
	point("room, and more of it");
}

/* Its completions stay, and free nothing of what comes after. */
static void destroyed_before_polled(void)
{
	int n;

	post_slot(1, 0);
	send_message(0, srqn[1], 5);
	expect_wc(a.scq, 5, IBV_WC_SUCCESS);
	drop_srq(srq[1]);
	remake_srq(1);
	expect_arrival(1, 0, 5, 0);
	for (n = 0; n < DEPTH; n++)
		post_slot(1, n);
	expect_eq(try_slot(1, n), ENOMEM, "one too many");
	drop_srq(srq[1]);
	remake_srq(1);
	point("a queue that goes before its completions are polled");
}

static void overflow(void)
{
	struct ibv_cq *cq = ibv_create_cq(b.ctx, 1, NULL, NULL, 0);
	struct ibv_srq *small;
	int n, type;

	must(cq);
	small = make_srq(b.pd, xrcd, cq);
	for (n = 0; n <= cq->cqe; n++) {
		must(!try_srq_recv(small, n, NULL, 0));
		access_far(IBV_WR_RDMA_WRITE_WITH_IMM, number_of(small),
			   mr_in[0]->rkey);
		expect(!is_quiet(a.scq, SOON_MS), "no completion");
	}
	expect(wait_state(tgt[0], IBV_QPS_ERR, SOON_MS), "no error");
	type = wait_event(b.ctx, NULL, SOON_MS);
	expect_eq(type, IBV_EVENT_CQ_ERR, "event");
	expect_event_of(IBV_EVENT_QP_FATAL, tgt[0]);
	drop_srq(small);
	must(!ibv_destroy_cq(cq));
	remake_pair(0);
	exchange(0, 0, 1);
	point("a completion queue that overflows");
}

/* The members of a domain; all that begins with own_ happens in others */

static struct ibv_xrcd *own_xrcd;
static struct ibv_srq *own_srq;
static uint8_t *own_memory;
static struct ibv_mr *own_mr;

static long own_join(const long *arg)
{
	side_open(&own, 64);
	own_xrcd = join(own.ctx);
	own_srq = make_srq(own.pd, own_xrcd, own.rcq);
	own_memory = map_memory(AREA);
	own_mr = reg(own.pd, own_memory, AREA, ALL_RIGHTS | arg[0]);
	return number_of(own_srq);
}

static long own_leave(const long *arg)
{
	(void)arg;
	drop_qp(&own.qp);
	drop_srq(own_srq);
	leave(own_xrcd);
	dereg(own_mr);
	must(!munmap(own_memory, AREA));
	side_close(&own);
	return 0;
}

static long own_open_tgt(const long *arg)
{
	own.qp = try_open_qp(own_xrcd, arg[0], IBV_QPT_XRC_RECV);
	return own.qp ? 0 : errno;
}

static long own_make_tgt(const long *arg)
{
	own.qp = make_tgt(own.ctx, own_xrcd);
	connect_qp(own.qp, &own, arg[0], &usual_conn);
	return own.qp->qp_num;
}

static long own_drop_tgt(const long *arg)
{
	(void)arg;
	drop_qp(&own.qp);
	return 0;
}

static long own_tgt_to(const long *arg)
{
	return qp_to(own.qp, arg[0]);
}

static long own_post(const long *arg)
{
	struct ibv_sge sge = sge_of(own_mr, own_memory + arg[0] * SLOT + 7,
				    SLOT_LEN);

	memset(own_memory + arg[0] * SLOT, 0, SLOT);
	return try_srq_recv(own_srq, arg[0], &sge, 1);
}

/* That message @arg[0] comes next, into slot @arg[1]. */
static long own_expect(const long *arg)
{
	struct ibv_wc wc;

	if (!wait_wc(own.rcq, &wc, SOON_MS))
		return -1;
	expect_eq(wc.status, IBV_WC_SUCCESS, "receive");
	expect_eq(wc.wr_id, arg[1], "slot");
	expect_eq(wc.qp_num, arg[2], "queue pair");
	return message_is_in(own_memory + wc.wr_id * SLOT + 7, arg[0]);
}

static long own_where(const long *arg)
{
	(void)arg;
	return (long)own_memory;
}

static long own_key(const long *arg)
{
	(void)arg;
	return own_mr->rkey;
}

static long own_miss(const long *arg)
{
	(void)arg;
	return uffd_open((const long []){ (long)own_memory, AREA,
					  UFFDIO_REGISTER_MODE_MISSING });
}

static long own_uffd(const long *arg)
{
	(void)arg;
	return uffd;
}

/* Receive whatever comes, until killed. */
static long own_receive_forever(const long *arg)
{
	struct ibv_wc wc;
	long slot;

	(void)arg;
	for (slot = 0; slot < DEPTH; slot++)
		must(!own_post(&slot));
	for (;;) {
		if (ibv_poll_cq(own.rcq, 1, &wc) != 1)
			continue;
		slot = wc.wr_id;
		must(!own_post(&slot));
	}
	return 0;
}

static struct owner new_member(void)
{
	return (struct owner) { .child = spawn(owner_serve, NULL) };
}

static void member_ends(struct owner *member)
{
	ask(member, own_leave);
	shutdown(member->child.fd, SHUT_WR);
	expect_child(&member->child, "the member");
}

/* Message @seed to a queue of another member's. */
static void exchange_with(struct owner *member, uint32_t number, int pair,
			  long qpn, uint64_t seed)
{
	expect_eq(ask(member, own_post, seed % SLOTS), 0, "receive");
	send_message(pair, number, seed);
	expect_wc(a.scq, seed, IBV_WC_SUCCESS);
	expect_eq(ask(member, own_expect, seed, seed % SLOTS, qpn), 1,
		  "what arrived");
}

/* Whoever polls need not have the queue pair open. */
static void another_process(void)
{
	struct owner member = new_member();
	uint32_t number;
	int n;

	open_all();
	number = ask(&member, own_join, kind_access(kind));
	for (n = 0; n < 3 * DEPTH; n++) {
		exchange_with(&member, number, n % PAIRS,
			      tgt[n % PAIRS]->qp_num, n);
		exchange(n % 2, n % PAIRS, n);
	}
	expect_eq(ask(&member, own_open_tgt, tgt[0]->qp_num), 0, "opening");
	expect_eq(ask(&member, own_tgt_to, IBV_QPS_ERR), 0, "error");
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, tgt[0]);
	expect_eq(qp_state(tgt[0]), IBV_QPS_ERR, "state");
	send_message(0, srqn[0], 1);
	expect_wc(a.scq, 1, IBV_WC_RETRY_EXC_ERR);
	member_ends(&member);
	remake_pair(0);
	exchange(0, 0, 2);
	close_all();
	point("a queue of another process, %s", kind_name[kind]);
}

/* A queue pair lives for as long as somebody has it open. */
static void creator_goes(bool killed)
{
	struct owner member = new_member();
	uint32_t number;
	long qpn;

	open_all();
	drop_pair(0);
	ini[0] = make_ini(&a);
	number = ask(&member, own_join, kind_access(kind));
	qpn = ask(&member, own_make_tgt, ini[0]->qp_num);
	connect_qp(ini[0], &a, qpn, &usual_conn);
	exchange_with(&member, number, 0, qpn, 1);
	tgt[0] = try_open_qp(xrcd, qpn, IBV_QPT_XRC_RECV);
	must(tgt[0]);
	expect_eq(tgt[0]->qp_num, qpn, "number");
	exchange(0, 0, 2);
	if (killed) {
		kill_child(&member.child);
	} else {
		ask(&member, own_drop_tgt);
		exchange_with(&member, number, 0, qpn, 3);
		member_ends(&member);
	}
	exchange(1, 0, 4);
	expect_eq(qp_state(tgt[0]), IBV_QPS_RTS, "state");
	drop_qp(&tgt[0]);
	send_message(0, srqn[0], 5);
	expect_wc(a.scq, 5, IBV_WC_RETRY_EXC_ERR);
	close_all();
	point("who made a queue pair %s it", killed ? "is killed with" :
	      "closes");
}

/* Only who asks for what was the other's is told. */
static void sharer_is_killed(void)
{
	struct owner member = new_member();
	uint32_t number;

	open_all();
	number = ask(&member, own_join, kind_access(kind));
	must(!ask(&member, own_open_tgt, tgt[0]->qp_num));
	exchange_with(&member, number, 0, tgt[0]->qp_num, 1);
	send_message(1, number, 2);
	expect_waiting();
	kill_child(&member.child);
	expect_refusal(1, 2);
	exchange(0, 0, 3);
	send_message(0, number, 4);
	expect_refusal(0, 4);
	remake_pair(0);
	remake_pair(1);
	exchange(0, 0, 5);
	close_all();
	point("a process with a queue is killed, %s", kind_name[kind]);
}

/* A descriptor of another process's, which so does not end with that. */
static int hold_of(pid_t pid, int fd)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), held;

	must(pidfd >= 0);
	held = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	must(held >= 0);
	must(!close(pidfd));
	return held;
}

/* Memory that only the dead could have provided is not waited for. */
static void killed_with_a_page(void)
{
	struct owner member = new_member();
	struct ibv_send_wr wr;
	struct ibv_sge sge;
	uint32_t number;
	uint64_t start;
	int held;

	open_all();
	number = ask(&member, own_join, IBV_ACCESS_ON_DEMAND);
	must(!ask(&member, own_miss));
	held = hold_of(member.child.pid, ask(&member, own_uffd));
	sge = sge_of(mr_out[kind], outbox, 100);
	wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, ask(&member, own_where) + 33,
		     ask(&member, own_key));
	wr.qp_type.xrc.remote_srqn = number;
	post_send(ini[0], &wr);
	expect_waiting();
	start = now_ms();
	kill_child(&member.child);
	expect_refusal(0, 0);
	expect_soon(start, "learning of that");
	must(!close(held));
	remake_pair(0);
	exchange(0, 0, 5);
	close_all();
	point("a process is killed that was waited for");
}

/* Requests for both, until the other is killed; pair 1 has nothing to do. */
static void fire(struct owner *member, uint32_t number)
{
	uint64_t end = now_ms() + 20 + random_below(60);
	bool to_member, alive = true;
	struct ibv_wc wc;
	uint64_t n;

	for (n = 0; alive; n++) {
		if (end && now_ms() > end) {
			kill_child(&member->child);
			end = 0;
		}
		to_member = random_below(3);
		if (!to_member)
			post_slot(0, n % SLOTS);
		send_message(0, to_member ? number : srqn[0], n);
		if (!expect(wait_wc(a.scq, &wc, SOON_MS), "no completion"))
			return;
		alive = wc.status == IBV_WC_SUCCESS;
		if (!to_member)
			expect_arrival(0, 0, n, n % SLOTS);
		expect(alive || (to_member && !end &&
				 wc.status == IBV_WC_REM_ACCESS_ERR),
		       "%s", ibv_wc_status_str(wc.status));
	}
}

static void killed_under_fire(void)
{
	struct owner member[8];
	uint32_t number;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(member); i++)
		member[i] = new_member();
	open_all();
	for (i = 0; i < ARRAY_SIZE(member); i++) {
		number = ask(&member[i], own_join, kind_access(kind));
		must(!ask(&member[i], own_open_tgt, tgt[0]->qp_num));
		tell(&member[i], own_receive_forever);
		fire(&member[i], number);
		remake_pair(0);
		exchange(0, 1, 1);
	}
	close_all();
	point("killed under fire, %s", kind_name[kind]);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	domain_fd = memfd_create("domain", MFD_CLOEXEC);
	must(domain_fd >= 0);
	for (kind = 0; kind < KINDS; kind++) {
		another_process();
		sharer_is_killed();
		killed_under_fire();
	}
	kind = PINNED;
	creator_goes(false);
	creator_goes(true);
	if (have_uffd())
		killed_with_a_page();

	open_all();
	capabilities();
	domains();
	in_use();
	bad_queues();
	bad_queue_pairs();
	bad_posts();
	bad_opens();
	for (kind = 0; kind < KINDS; kind++) {
		messages();
		inline_and_extended();
		memory();
		protection_domains();
		windows();
	}
	kind = PINNED;
	wrong_names();
	wrong_types();
	line();
	gives_up();
	destroyed_in_wait();
	half_done();
	limit();
	room();
	destroyed_before_polled();
	overflow();
	close_all();
	expect_no_leftovers(&before);
	point("nothing is left");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
