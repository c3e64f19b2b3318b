// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Shared receive queues: their life, their limits, whose turn it is, and what
 * becomes of a receive when its queue pair ends.
 *
 *	qa[0] ── sends ──▶ qb[0] ─┐
 *	qa[1] ── sends ──▶ qb[1] ─┼─ srq: slots of the inbox
 *	 ...                ...  ─┘
 *
 * Side a sends, side b receives.
 *
 * Limit: 600
 */
#include "uffd.h"

#define QPS		4
#define DEPTH		64
#define SLOTS		256
#define SLOT		(8 * KIB)
#define SENDS		16		/* of each queue pair, under way */

/* What waits does so until it is woken, or for ever. */
#define WATCH_MS	50

static struct side a, b;
static struct ibv_qp *qa[QPS], *qb[QPS];
static struct ibv_srq *srq;
static uint8_t *outbox, *inbox;		/* QPS * SENDS, and SLOTS */
static struct ibv_mr *mr_out[KINDS], *mr_in[KINDS];
static enum kind kind;

/* Queues and queue pairs */

static struct ibv_srq *try_srq(struct ibv_pd *pd, uint32_t wr, uint32_t sge)
{
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = wr, .max_sge = sge },
	};

	errno = 0;
	return ibv_create_srq(pd, &init);
}

static struct ibv_srq *make_srq(uint32_t wr)
{
	struct ibv_srq *made = try_srq(b.pd, wr, SGE_MAX);

	must(made);
	return made;
}

static int modify_srq(int mask, uint32_t wr, uint32_t limit)
{
	struct ibv_srq_attr attr = { .max_wr = wr, .srq_limit = limit };

	return ibv_modify_srq(srq, &attr, mask);
}

static struct ibv_srq_attr query_srq(void)
{
	struct ibv_srq_attr attr;

	errno = ibv_query_srq(srq, &attr);
	must(!errno);
	return attr;
}

static void drop_srq(void)
{
	errno = ibv_destroy_srq(srq);
	must(!errno);
	srq = NULL;
}

static struct ibv_qp *make_shared_qp(struct ibv_cq *rcq)
{
	struct ibv_qp_init_attr init = qp_init(&b, SENDS);
	struct ibv_qp *qp;

	init.srq = srq;
	init.recv_cq = rcq;
	qp = ibv_create_qp(b.pd, &init);
	must(qp);
	return qp;
}

static void connect_pair(int i, const struct conn *conn)
{
	a.qp = qa[i];
	b.qp = qb[i];
	connect_sides(&a, &b, conn);
	a.qp = b.qp = NULL;
}

static void make_pair(int i, const struct conn *conn)
{
	a.qp = NULL;
	side_make_qp(&a, SENDS);
	qa[i] = a.qp;
	qb[i] = make_shared_qp(b.rcq);
	connect_pair(i, conn);
}

static void drop_qp(struct ibv_qp **qp)
{
	if (!*qp)
		return;
	errno = ibv_destroy_qp(*qp);
	must(!errno);
	*qp = NULL;
}

/* A queue with @wr receives at least, and all pairs on it. */
static void open_pairs(uint32_t wr, const struct conn *conn)
{
	int i;

	srq = make_srq(wr);
	for (i = 0; i < QPS; i++)
		make_pair(i, conn);
}

static void close_pairs(void)
{
	int i;

	for (i = 0; i < QPS; i++) {
		drop_qp(&qa[i]);
		drop_qp(&qb[i]);
	}
	drop_srq();
	while (wait_event(b.ctx, NULL, 0) >= 0)
		;
}

static void open_sides(void)
{
	int k;

	side_open(&a, 1024);
	side_open(&b, 1024);
	outbox = map_memory(QPS * SENDS * SLOT);
	inbox = map_memory(SLOTS * SLOT);
	for (k = 0; k < (int)KINDS; k++) {
		mr_out[k] = reg(a.pd, outbox, QPS * SENDS * SLOT,
				ALL_RIGHTS | kind_access(k));
		mr_in[k] = reg(b.pd, inbox, SLOTS * SLOT,
			       ALL_RIGHTS | kind_access(k));
	}
}

static void close_sides(void)
{
	int k;

	for (k = 0; k < (int)KINDS; k++) {
		dereg(mr_out[k]);
		dereg(mr_in[k]);
	}
	must(!munmap(outbox, QPS * SENDS * SLOT));
	must(!munmap(inbox, SLOTS * SLOT));
	side_close(&a);
	side_close(&b);
}

/* Messages */

/* A slot begins at an odd address, and is in two pieces of odd lengths. */
static uint8_t *slot_at(int slot)
{
	return inbox + slot * SLOT + 1 + slot % 61;
}

#define SLOT_LEN	(SLOT - 100)
#define FIRST_LEN	1021

static int try_slot(int slot)
{
	struct ibv_sge sge[] = {
		sge_of(mr_in[kind], slot_at(slot), FIRST_LEN),
		sge_of(mr_in[kind], slot_at(slot) + FIRST_LEN,
		       SLOT_LEN - FIRST_LEN),
	};

	memset(slot_at(slot), 0, SLOT_LEN);
	return try_srq_recv(srq, slot, sge, 2);
}

static void post_slot(int slot)
{
	errno = try_slot(slot);
	must(!errno);
}

/* Message @n of pair @i: all of it follows from these two. */
static uint64_t seed_of(int i, unsigned int n)
{
	return (uint64_t)i << 32 | n;
}

static size_t length_of_message(int i, unsigned int n)
{
	return 1 + pattern(seed_of(i, n), 7) * 31UL % SLOT_LEN;
}

static enum ibv_wr_opcode opcode_of(unsigned int n)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM,
	};

	return opcodes[n % ARRAY_SIZE(opcodes)];
}

/* At most SENDS of a pair at a time. */
static void send_as(enum ibv_wr_opcode opcode, int i, unsigned int n)
{
	uint8_t *data = outbox + (i * SENDS + n % SENDS) * SLOT;
	size_t len = length_of_message(i, n);
	struct ibv_sge sge = sge_of(mr_out[kind], data, len);
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, 0, 0);

	if (opcode == IBV_WR_RDMA_WRITE_WITH_IMM)
		wr.num_sge = 0;
	pattern_fill(data, len, seed_of(i, n));
	wr.wr_id = n;
	wr.imm_data = htonl(n);
	post_send(qa[i], &wr);
}

static void send_message(int i, unsigned int n)
{
	send_as(IBV_WR_SEND, i, n);
}

static int pair_of(uint32_t qpn)
{
	int i;

	for (i = 0; i < QPS; i++)
		if (qb[i] && qb[i]->qp_num == qpn)
			return i;
	expect(false, "a completion of a queue pair that is none");
	return 0;
}

/* That what came to pair @i into @wc's slot is message @n. */
static bool expect_message(const struct ibv_wc *wc, int i, unsigned int n)
{
	uint8_t *slot = slot_at(wc->wr_id);
	size_t len = length_of_message(i, n), same;

	if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
		len = 0;
	same = pattern_check(slot, len, seed_of(i, n));
	return expect_eq(wc->status, IBV_WC_SUCCESS, "receive") &&
	       expect_eq(wc->qp_num, qb[i]->qp_num, "queue pair") &&
	       expect_eq(wc->byte_len, len, "length") &&
	       expect_eq(same, len, "message %u of pair %d", n, i) &&
	       expect_eq(zero_check(slot + len, SLOT_LEN - len),
			 SLOT_LEN - len, "what is behind message %u", n) &&
	       expect(!(wc->wc_flags & IBV_WC_WITH_IMM) ||
		      wc->imm_data == htonl(n), "immediate data");
}

/* That message @n of pair @i comes next, and into @slot. */
static void expect_arrival(int i, unsigned int n, int slot)
{
	struct ibv_wc wc;

	if (!expect(wait_wc(b.rcq, &wc, SOON_MS), "message %u of %d has not "
		    "arrived", n, i))
		return;
	expect_eq(wc.wr_id, slot, "slot of message %u", n);
	expect_message(&wc, i, n);
	expect_wc(a.scq, n, IBV_WC_SUCCESS);
}

static void expect_event_of(enum ibv_event_type type, void *of)
{
	void *element = NULL;

	expect_eq(wait_event(b.ctx, &element, SOON_MS), type, "event");
	expect(element == of, "the event is somebody else's");
}

static void expect_no_event(void)
{
	expect_eq(wait_event(b.ctx, NULL, WATCH_MS), -1, "event");
}

/* Objects */

static void attributes(void)
{
	struct ibv_device_attr attr;
	struct ibv_srq_attr got;
	uint32_t wr, sge;

	must(!ibv_query_device(b.ctx, &attr));
	wr = attr.max_srq_wr;
	sge = attr.max_srq_sge;
	expect(attr.max_srq > 0 && wr >= 1024 && sge >= SGE_MAX, "limits");
	expect(attr.device_cap_flags & IBV_DEVICE_SRQ_RESIZE, "no resizing");

	expect(!try_srq(b.pd, 0, 1) && errno == EINVAL, "no receives");
	expect(!try_srq(b.pd, wr + 1, 1) && errno == EINVAL, "max_wr + 1");
	expect(!try_srq(b.pd, 1, sge + 1) && errno == EINVAL, "max_sge + 1");
	srq = try_srq(b.pd, wr, sge);
	must(srq);
	got = query_srq();
	expect(got.max_wr >= wr && got.max_sge >= sge && !got.srq_limit,
	       "it has %u, %u, %u", got.max_wr, got.max_sge, got.srq_limit);
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, wr + 1, 0), EINVAL, "resize");
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 0, 0), EINVAL, "resize");
	drop_srq();
	srq = try_srq(b.pd, 10, 0);
	must(srq);
	expect_eq(try_srq_recv(srq, 0, NULL, 0), 0, "a receive of nothing");
	drop_srq();
	point("attributes, and their limits");
}

static void extended(void)
{
	struct ibv_srq_init_attr_ex init = {
		.attr = { .max_wr = 10, .max_sge = 2 },
		.comp_mask = IBV_SRQ_INIT_ATTR_PD | IBV_SRQ_INIT_ATTR_TYPE,
		.srq_type = IBV_SRQT_BASIC,
		.pd = b.pd,
	};
	struct ibv_srq *other = try_srq(b.pd, 1, 1);
	uint32_t number[2] = {};

	must(other);
	srq = ibv_create_srq_ex(b.ctx, &init);
	must(srq);
	expect(init.attr.max_wr >= 10 && init.attr.max_sge >= 2, "attributes");
	expect_eq(ibv_get_srq_num(srq, &number[0]), 0, "number");
	expect_eq(ibv_get_srq_num(other, &number[1]), 0, "number");
	expect(number[0] != number[1], "both have the number %u", number[0]);
	must(!ibv_destroy_srq(other));
	drop_srq();

	init.srq_type = IBV_SRQT_XRC;
	errno = 0;
	expect(!ibv_create_srq_ex(b.ctx, &init), "an XRC queue of no domain");
	expect_eq(errno, EINVAL, "errno");
	point("ibv_create_srq_ex()");
}

static void queue_pairs(void)
{
	struct ibv_qp_init_attr init = qp_init(&b, 4), got;
	struct ibv_qp_attr attr;
	struct ibv_sge sge = sge_of(mr_in[PINNED], inbox, 10);

	srq = make_srq(16);
	init.srq = srq;
	init.cap.max_recv_wr = 0x7fffffff;
	init.cap.max_recv_sge = 12345;
	qb[0] = ibv_create_qp(b.pd, &init);
	must(qb[0]);
	must(!qp_to_init(qb[0], ALL_RIGHTS));
	expect_eq(try_recv(qb[0], 0, &sge, 1), EINVAL, "a receive of its own");
	must(!ibv_query_qp(qb[0], &attr, IBV_QP_CAP, &got));
	expect(got.srq == srq, "it does not know its queue");
	expect(!attr.cap.max_recv_wr && !attr.cap.max_recv_sge,
	       "it has %u receives of %u", attr.cap.max_recv_wr,
	       attr.cap.max_recv_sge);
	expect_eq(ibv_destroy_srq(srq), EBUSY, "destroying it while in use");
	expect_eq(try_slot(0), 0, "a receive after that");
	drop_qp(&qb[0]);
	drop_srq();
	point("queue pairs that share");
}

/* All that may be had; the last one refused leaves no trace. */
static void as_many_as_there_are(void)
{
	struct ibv_device_attr attr;
	struct ibv_srq **all;
	int i, n;

	must(!ibv_query_device(b.ctx, &attr));
	all = calloc(attr.max_srq, sizeof(*all));
	must(all);
	for (n = 0; n < attr.max_srq; n++) {
		all[n] = try_srq(b.pd, 1, 1);
		if (!all[n])
			break;
	}
	expect_eq(n, attr.max_srq, "queues there are");
	expect(!try_srq(b.pd, 1, 1) && errno == ENOMEM, "one more: %s",
	       strerror(errno));
	for (i = 0; i < n; i++)
		must(!ibv_destroy_srq(all[i]));
	free(all);
	srq = try_srq(b.pd, 1, 1);
	must(srq);
	drop_srq();
	point("max_srq queues");
}

/* Data */

static void every_byte(void)
{
	unsigned int n, rounds = 60;
	int i;

	open_pairs(DEPTH, &usual_conn);
	for (n = 0; n < rounds; n++) {
		i = random_below(QPS);
		post_slot(n % SLOTS);
		send_as(opcode_of(n), i, n);
		expect_arrival(i, n, n % SLOTS);
	}
	/* Receives in the order posted, whoever needs one. */
	for (n = 0; n < DEPTH / 2; n++)
		post_slot(n);
	for (n = 0; n < DEPTH / 2; n++) {
		send_message(n % 3, n);
		expect_arrival(n % 3, n, n);
	}
	expect(is_quiet(b.rcq, 0), "something else arrived");
	close_pairs();
	point("messages of %d queue pairs, %s", QPS, kind_name[kind]);
}

static void bad_message(const char *what, enum ibv_wc_status here,
			enum ibv_wc_status there)
{
	send_message(0, 0);
	expect_wc(a.scq, 0, there);
	expect_wc(b.rcq, 7, here);
	expect_eq(qp_state(qb[0]), IBV_QPS_ERR, "%s: state", what);
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, qb[0]);
	/* Nobody else's business. */
	post_slot(1);
	send_message(1, 1);
	expect_arrival(1, 1, 1);
	close_pairs();
}

static void bad_receives(void)
{
	struct ibv_sge sge = sge_of(mr_in[PINNED], inbox, 1);

	open_pairs(DEPTH, &usual_conn);
	expect_eq(try_srq_recv(srq, 7, &sge, SGE_MAX + 1), EINVAL,
		  "max_sge + 1");
	expect_eq(try_srq_recv(srq, 7, NULL, 0), 0, "an empty receive");
	bad_message("too small", IBV_WC_LOC_LEN_ERR, IBV_WC_REM_INV_REQ_ERR);

	open_pairs(DEPTH, &usual_conn);
	sge.length = SLOT;
	sge.lkey ^= 0x5500;
	expect_eq(try_srq_recv(srq, 7, &sge, 1), 0, "a wrong key");
	bad_message("a wrong key", IBV_WC_LOC_PROT_ERR, IBV_WC_REM_OP_ERR);
	point("receives that do not fit");
}

/* The keys are of the queue's protection domain, not of the queue pair's. */
static void other_domain(void)
{
	struct ibv_pd *theirs = ibv_alloc_pd(b.ctx), *ours = b.pd;
	struct ibv_mr *mr;
	struct ibv_sge sge;
	struct ibv_wc wc;

	must(theirs);
	mr = reg(theirs, inbox, SLOT, IBV_ACCESS_LOCAL_WRITE);
	sge = sge_of(mr, slot_at(0), SLOT_LEN);
	b.pd = theirs;
	srq = make_srq(4);
	b.pd = ours;
	make_pair(0, &usual_conn);
	memset(slot_at(0), 0, SLOT_LEN);
	must(!try_srq_recv(srq, 0, &sge, 1));
	send_message(0, 5);
	expect_arrival(0, 5, 0);
	must(!try_srq_recv(srq, 9, &(struct ibv_sge){ (uintptr_t)inbox, SLOT,
						    mr_in[0]->lkey }, 1));
	send_message(0, 6);
	expect_wc(b.rcq, 9, IBV_WC_LOC_PROT_ERR);
	expect(wait_wc(a.scq, &wc, SOON_MS), "no completion");
	close_pairs();
	dereg(mr);
	must(!ibv_dealloc_pd(theirs));
	point("keys of the queue's domain");
}

/* Room */

/* Slots from @first on, until there is no room: how many went in. */
static unsigned int post_all(int first)
{
	unsigned int n = 0;
	int ret;

	while (!(ret = try_slot((first + n) % SLOTS)) && n < 100000)
		n++;
	expect_eq(ret, ENOMEM, "one too many");
	return n;
}

static void a_list_too_long(unsigned int room)
{
	struct ibv_recv_wr wr[8] = {}, *bad = NULL;
	unsigned int i;

	for (i = 0; i < 8; i++) {
		wr[i].wr_id = i;
		wr[i].next = i < 7 ? &wr[i + 1] : NULL;
	}
	expect_eq(ibv_post_srq_recv(srq, wr, &bad), ENOMEM, "a long list");
	expect(bad == &wr[room], "what is said to have failed");
}

/* A receive is outstanding until its completion has been polled. */
static void room(void)
{
	struct ibv_cq *other = ibv_create_cq(b.ctx, 64, NULL, NULL, 0);
	unsigned int max, n;
	struct ibv_wc wc;

	must(other);
	srq = make_srq(13);
	make_pair(0, &usual_conn);
	make_pair(1, &usual_conn);
	drop_qp(&qb[1]);
	qb[1] = make_shared_qp(other);
	must(!qp_to(qa[1], IBV_QPS_RESET));
	connect_pair(1, &usual_conn);
	max = query_srq().max_wr;
	expect(max >= 13, "room for %u", max);
	expect_eq(post_all(0), max, "receives posted");

	/* Every other one completes where it is polled last. */
	for (n = 0; n < 8; n++) {
		send_message(n % 2, n);
		expect_wc(a.scq, n, IBV_WC_SUCCESS);
	}
	expect_eq(try_slot(SLOTS - 1), ENOMEM, "nothing was polled");
	for (n = 1; n < 8; n += 2) {
		must(wait_wc(other, &wc, SOON_MS));
		expect_eq(wc.wr_id, n, "slot");
		expect_message(&wc, 1, n);
	}
	a_list_too_long(4);
	for (n = 0; n < 8; n += 2) {
		must(wait_wc(b.rcq, &wc, SOON_MS));
		expect_eq(wc.wr_id, n, "slot");
		expect_message(&wc, 0, n);
	}
	expect_eq(post_all(0), 4, "receives posted");

	/* What a queue pair had not polled is free when it has gone. */
	for (n = 8; n < 11; n++) {
		send_message(0, n);
		expect_wc(a.scq, n, IBV_WC_SUCCESS);
	}
	expect_eq(try_slot(SLOTS - 1), ENOMEM, "nothing was polled");
	drop_qp(&qb[0]);
	expect_eq(post_all(0), 3, "receives posted");
	close_pairs();
	must(!ibv_destroy_cq(other));
	point("room");
}

/* Limits */

static void limit(void)
{
	struct conn conn = usual_conn;
	int i;

	open_pairs(DEPTH, &conn);
	for (i = 0; i < 10; i++)
		post_slot(i);
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, query_srq().max_wr + 1), EINVAL,
		  "a limit of more than there can be");
	expect_eq(modify_srq(1 << 7, 1, 1) != 0, 1, "an unknown attribute");
	expect_eq(query_srq().srq_limit, 0, "limit");
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, 7), 0, "arm");
	expect_eq(query_srq().srq_limit, 7, "limit");
	for (i = 0; i < 3; i++) {
		send_message(i, i);
		expect_arrival(i, i, i);
	}
	expect_no_event();
	send_message(3, 3);
	expect_arrival(3, 3, 3);
	expect_event_of(IBV_EVENT_SRQ_LIMIT_REACHED, srq);
	expect_eq(query_srq().srq_limit, 0, "limit");
	send_message(0, 4);
	expect_arrival(0, 4, 4);
	expect_no_event();

	/* Once more; and taken back. */
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, 5), 0, "arm");
	expect_no_event();
	send_message(0, 5);
	expect_arrival(0, 5, 5);
	expect_event_of(IBV_EVENT_SRQ_LIMIT_REACHED, srq);
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, 4), 0, "arm");
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, 0), 0, "disarm");
	for (i = 6; i < 10; i++) {
		send_message(0, i);
		expect_arrival(0, i, i);
	}
	expect_no_event();

	/* Who arms it too late is told when somebody wants a receive. */
	expect_eq(modify_srq(IBV_SRQ_LIMIT, 0, 1), 0, "arm");
	expect_no_event();
	send_message(1, 10);
	expect_event_of(IBV_EVENT_SRQ_LIMIT_REACHED, srq);
	post_slot(10);
	expect_arrival(1, 10, 10);
	close_pairs();
	point("the limit");
}

/* Turns */

/* In line once that is counted: another thread may be at the queue pair. */
static void wait_for_receive(int i, unsigned int n)
{
	long before = counter("rnr_waits");

	send_message(i, n);
	expect(wait_counter("rnr_waits", before + 1) && is_quiet(a.scq, 0),
	       "pair %d did not wait", i);
}

/* Woken one by one, first come first. */
static void turns(void)
{
	int i, round;

	open_pairs(DEPTH, &usual_conn);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < QPS; i++)
			wait_for_receive((i + round) % QPS, round);
		for (i = 0; i < QPS; i++) {
			post_slot(i);
			expect_arrival((i + round) % QPS, round, i);
			expect(is_quiet(b.rcq, 5), "two for one");
		}
	}
	close_pairs();
	point("turns");
}

static void leave_by_error(int i)
{
	must(!qp_to(qa[i], IBV_QPS_ERR));
}

static void leave_by_reset(int i)
{
	must(!qp_to(qa[i], IBV_QPS_RESET));
}

static void leave_by_end(int i)
{
	drop_qp(&qa[i]);
}

static void receiver_in_error(int i)
{
	must(!qp_to(qb[i], IBV_QPS_ERR));
}

static void receiver_reset(int i)
{
	must(!qp_to(qb[i], IBV_QPS_RESET));
}

static void receiver_destroyed(int i)
{
	drop_qp(&qb[i]);
}

static const struct {
	const char *name;
	void (*leave)(int i);
	bool completes;			/* what the sender had posted */
	bool forgets;			/* what the receiver had not polled */
} departures[] = {
	{ "fails", leave_by_error, true, false },
	{ "is reset", leave_by_reset, false, false },
	{ "is destroyed", leave_by_end, false, false },
	{ "has its receiver fail", receiver_in_error, true, false },
	{ "has its receiver reset", receiver_reset, true, true },
	{ "has its receiver destroyed", receiver_destroyed, true, true },
};

#define FIRST_OF_RECEIVERS	3

/* That a sender gives up, somehow, or has long been told to. */
static void expect_failure(void)
{
	struct ibv_wc wc;

	if (expect(wait_wc(a.scq, &wc, SOON_MS), "the sender has not ended"))
		expect(wc.status != IBV_WC_SUCCESS, "a message arrived");
}

/* Who goes while waiting takes nobody's turn with it. */
static void goes(unsigned int which)
{
	int i;

	open_pairs(DEPTH, &usual_conn);
	for (i = 0; i < QPS; i++)
		wait_for_receive(i, 1);
	for (i = 0; i < QPS; i += 2) {
		departures[which].leave(i);
		if (departures[which].completes)
			expect_failure();
	}
	post_slot(3);
	expect_arrival(1, 1, 3);
	post_slot(4);
	expect_arrival(3, 1, 4);
	post_slot(5);
	expect(is_quiet(b.rcq, 20), "somebody took another");
	send_message(1, 2);
	expect_arrival(1, 2, 5);
	close_pairs();
	point("a sender in line %s", departures[which].name);
}

/*
 * Receives are posted at the moment when a sender goes.  Messages are so short
 * that they arrive at once or not at all: no receive is left half filled.
 */

#define SHORT_LEN	39

static void post_short(int slot)
{
	struct ibv_sge sge = sge_of(mr_in[kind], slot_at(slot), SHORT_LEN);

	memset(slot_at(slot), 0, SHORT_LEN);
	must(!try_srq_recv(srq, slot, &sge, 1));
}

static void send_short(int i)
{
	uint8_t *data = outbox + i * SENDS * SLOT;
	struct ibv_sge sge = sge_of(mr_out[kind], data, SHORT_LEN);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

	pattern_fill(data, SHORT_LEN, i);
	post_send(qa[i], &wr);
}

static void expect_short(unsigned int which)
{
	struct ibv_wc wc;
	int i;

	if (!expect(wait_wc(b.rcq, &wc, SOON_MS), "a receive was not used "
		    "when a sender in line %s", departures[which].name))
		return;
	expect_eq(wc.status, IBV_WC_SUCCESS, "status");
	i = pair_of(wc.qp_num);
	expect_eq(pattern_check(slot_at(wc.wr_id), SHORT_LEN, i), SHORT_LEN,
		  "message of pair %d", i);
}

static void *post_soon(void *arg)
{
	sleep_us(*(uint64_t *)arg);
	post_short(1);
	post_short(2);
	return NULL;
}

static void goes_now(unsigned int which)
{
	/* A receive that was used by who went may have gone with it. */
	unsigned int used = departures[which].forgets ? 1 : 2;
	uint64_t us = random_below(400);
	pthread_t thread;
	int i;

	open_pairs(DEPTH, &usual_conn);
	for (i = 0; i < QPS; i++)
		send_short(i);
	sleep_us(random_below(2000));
	must(!pthread_create(&thread, NULL, post_soon, &us));
	sleep_us(random_below(400));
	departures[which].leave(0);
	pthread_join(thread, NULL);
	while (used--)
		expect_short(which);
	close_pairs();
}

static void goes_just_then(void)
{
	unsigned int round;

	for (round = 0; round < 300; round++)
		goes_now(round % ARRAY_SIZE(departures));
	point("senders that go when their turn comes");
}

static void not_ready(void)
{
	struct conn conn = usual_conn;
	struct ibv_wc wc;
	int i;

	conn.rnr_retry = 0;
	open_pairs(DEPTH, &conn);
	send_message(0, 0);
	expect_wc(a.scq, 0, IBV_WC_RNR_RETRY_EXC_ERR);
	expect_eq(qp_state(qb[0]), IBV_QPS_RTS, "responder's state");
	post_slot(0);
	send_message(1, 1);
	expect_arrival(1, 1, 0);
	close_pairs();

	conn.rnr_retry = 2;
	conn.min_rnr_timer = 26;	/* 82 ms */
	open_pairs(DEPTH, &conn);
	send_message(0, 0);
	send_message(1, 1);
	for (i = 0; i < 2; i++) {
		must(wait_wc(a.scq, &wc, SOON_MS));
		expect_eq(wc.status, IBV_WC_RNR_RETRY_EXC_ERR, "status");
	}
	post_slot(0);
	send_message(2, 2);
	expect_arrival(2, 2, 0);
	close_pairs();
	point("senders that do not wait for ever");
}

/* Ends */

static void error_flushes_nothing(void)
{
	int i;

	open_pairs(DEPTH, &usual_conn);
	for (i = 0; i < 5; i++)
		post_slot(i);
	must(!qp_to(qb[0], IBV_QPS_ERR));
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, qb[0]);
	must(!qp_to(qb[0], IBV_QPS_ERR));
	expect_no_event();
	expect(is_quiet(b.rcq, 20), "a receive was flushed");
	for (i = 0; i < 5; i++) {
		send_message(1 + i % 3, i);
		expect_arrival(1 + i % 3, i, i);
	}
	must(!qp_to(qb[0], IBV_QPS_RESET));
	must(!qp_to(qa[0], IBV_QPS_RESET));
	connect_pair(0, &usual_conn);
	post_slot(6);
	send_message(0, 6);
	expect_arrival(0, 6, 6);
	must(!qp_to(qb[0], IBV_QPS_ERR));
	expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, qb[0]);
	close_pairs();
	point("a queue pair in error");
}

/* A message that begins to arrive in slot 0, and waits for a page there. */
static void begin_arrival(uint8_t *page, struct ibv_mr *mr)
{
	struct ibv_sge sge[] = {
		sge_of(mr_in[ODP], slot_at(0), FIRST_LEN),
		sge_of(mr, page, PAGE),
	};
	struct ibv_sge all = sge_of(mr_out[ODP], outbox, FIRST_LEN + PAGE);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &all, 0, 0);

	pattern_fill(outbox, FIRST_LEN + PAGE, 77);
	must(!madvise(page, PAGE, MADV_DONTNEED));
	must(!try_srq_recv(srq, 0, sge, 2));
	post_slot(1);
	post_send(qa[0], &wr);
	expect_eq(uffd_wait((const long [1]){ SOON_MS }), (long)page, "fault");
}

/* The other pair gets the receives: the first of them is whole again. */
static void end_arrival(uint8_t *page, bool given_back)
{
	struct ibv_sge all = sge_of(mr_out[ODP], outbox, FIRST_LEN + PAGE);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &all, 0, 0);

	must(!uffd_copy((const long [2]){ (long)page, 5 }));
	if (given_back) {
		pattern_fill(outbox, FIRST_LEN + PAGE, 78);
		post_send(qa[1], &wr);
		expect_wc(a.scq, 0, IBV_WC_SUCCESS);
		expect_wc(b.rcq, 0, IBV_WC_SUCCESS);
		expect_eq(pattern_check(slot_at(0), FIRST_LEN, 78), FIRST_LEN,
			  "the first piece");
		expect_same(page, outbox + FIRST_LEN, PAGE, "the second piece");
	}
	send_message(1, 2);
	expect_arrival(1, 2, 1);
}

static void half_filled(unsigned int which, uint8_t *page, struct ibv_mr *mr)
{
	bool error = departures[which].leave == receiver_in_error;
	unsigned int max;

	open_pairs(8, &usual_conn);
	begin_arrival(page, mr);
	departures[which].leave(0);
	if (error) {
		expect_wc(b.rcq, 0, IBV_WC_WR_FLUSH_ERR);
		expect_event_of(IBV_EVENT_QP_LAST_WQE_REACHED, qb[0]);
	}
	expect_failure();
	end_arrival(page, !error);
	max = query_srq().max_wr;
	expect_eq(post_all(0), max, "room after all that");
	close_pairs();
	point("a half filled receive, of a sender that %s",
	      departures[which].name);
}

static void half_filled_receives(void)
{
	uint8_t *page = map_memory(PAGE);
	struct ibv_mr *mr = reg(b.pd, page, PAGE, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	unsigned int i;

	must(!uffd_open((const long [3]){ (long)page, PAGE,
					  UFFDIO_REGISTER_MODE_MISSING }));
	for (i = FIRST_OF_RECEIVERS; i < ARRAY_SIZE(departures); i++)
		half_filled(i, page, mr);
	uffd_close(NULL);
	dereg(mr);
	must(!munmap(page, PAGE));
}

/* Sizes */

static void resize_at_rest(void)
{
	unsigned int i, max;
	struct ibv_wc wc;

	open_pairs(8, &usual_conn);
	for (i = 0; i < 5; i++)
		post_slot(i);
	/* One is not polled before the queue has another ring. */
	send_message(0, 0);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_eq(modify_srq(IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT, 100, 10000),
		  EINVAL, "a limit above the new size");
	expect_eq(query_srq().max_wr, 8, "size");
	expect_eq(modify_srq(IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT, 100, 3), 0,
		  "more");
	max = query_srq().max_wr;
	expect(max >= 100, "it has %u receives", max);
	expect_eq(query_srq().srq_limit, 3, "limit");
	expect_eq(post_all(5), max - 5, "receives posted");

	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 16, 0), EINVAL, "too few");
	expect_eq(query_srq().max_wr, max, "size");
	for (i = 1; i < max - 4; i++) {
		send_message(i % QPS, i);
		expect_wc(a.scq, i, IBV_WC_SUCCESS);
	}
	for (i = 0; i < max - 4; i++) {
		must(wait_wc(b.rcq, &wc, SOON_MS));
		expect_eq(wc.wr_id, i, "slot");
		expect_message(&wc, i % QPS, i);
	}
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 2, 0), EINVAL, "below the limit");
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 8, 0), 0, "fewer");
	expect_eq(query_srq().max_wr, 8, "size");
	expect_eq(post_all(0), 4, "receives posted");
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 40, 0), 0, "more again");
	max = query_srq().max_wr;
	expect_eq(post_all(10), max - 8, "receives posted");
	close_pairs();
	point("resizing a queue with receives in all states");
}

/* A sender in line is in that of the new ring. */
static void resize_while_waiting(void)
{
	open_pairs(4, &usual_conn);
	wait_for_receive(0, 0);
	wait_for_receive(1, 1);
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 300, 0), 0, "more");
	expect(is_quiet(b.rcq, 20), "a message arrived");
	post_slot(0);
	expect_arrival(0, 0, 0);
	post_slot(1);
	expect_arrival(1, 1, 1);
	close_pairs();
	point("resizing a queue that senders wait for");
}

/* Traffic: a thread for each sender, others for completions and receives */

#define MESSAGES	20000

struct flow {
	pthread_t thread;
	unsigned int sent;
	unsigned int done;
	unsigned int arrived;
	uint8_t seen[MESSAGES];
};

static struct flow flows[QPS];
static unsigned int messages;		/* that each sends */
static unsigned int least;		/* of any, when one was through */
static volatile bool stop;

static unsigned int count_of(unsigned int *count)
{
	return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

static void *send_flow(void *arg)
{
	struct flow *flow = arg;
	int i = flow - flows;

	random_seed(i + 10);
	while (flow->sent < messages && !stop) {
		if (flow->sent - count_of(&flow->done) < SENDS)
			send_as(IBV_WR_SEND_WITH_IMM, i, flow->sent++);
		else
			sched_yield();
	}
	return NULL;
}

static void *poll_sends(void *arg)
{
	struct ibv_wc wc;
	int i;

	(void)arg;
	while (!stop) {
		if (ibv_poll_cq(a.scq, 1, &wc) != 1) {
			sched_yield();
			continue;
		}
		expect_eq(wc.status, IBV_WC_SUCCESS, "send");
		for (i = 0; qa[i]->qp_num != wc.qp_num; i++)
			;
		__atomic_add_fetch(&flows[i].done, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

/* The first flow that is through: how far are the others? */
static void first_through(void)
{
	unsigned int i, n, min = messages;

	for (i = 0; i < QPS; i++) {
		n = count_of(&flows[i].arrived);
		min = n < min ? n : min;
	}
	__atomic_compare_exchange_n(&least, &(unsigned int){ UINT32_MAX }, min,
				    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void arrived(const struct ibv_wc *wc)
{
	unsigned int n = ntohl(wc->imm_data);
	int i = pair_of(wc->qp_num);
	struct flow *flow = &flows[i];

	if (!expect(n < messages, "message %u", n))
		return;
	expect(!__atomic_exchange_n(&flow->seen[n], 1, __ATOMIC_SEQ_CST),
	       "message %u of %d has arrived twice", n, i);
	expect_message(wc, i, n);
	if (__atomic_add_fetch(&flow->arrived, 1, __ATOMIC_SEQ_CST) == messages)
		first_through();
}

static void *receive_all(void *arg)
{
	struct ibv_wc wc;
	int ret;

	(void)arg;
	while (!stop) {
		if (ibv_poll_cq(b.rcq, 1, &wc) != 1) {
			sched_yield();
			continue;
		}
		if (!expect_eq(wc.status, IBV_WC_SUCCESS, "receive"))
			continue;
		arrived(&wc);
		/* There may be less room for a moment, see resizer(). */
		while ((ret = try_slot(wc.wr_id)) == ENOMEM && !stop)
			sched_yield();
		expect(!ret || stop, "post_srq_recv: %s", strerror(ret));
	}
	return NULL;
}

static bool all_arrived(void)
{
	int i;

	for (i = 0; i < QPS; i++)
		if (count_of(&flows[i].arrived) < messages)
			return false;
	return true;
}

/* @slots are posted again and again; @meanwhile is called until the end. */
static void traffic(int slots, void (*meanwhile)(void))
{
	uint64_t end = now_ms() + length_of(6, 60) * SOON_MS;
	pthread_t pollers[3];
	int i;

	memset(flows, 0, sizeof(flows));
	least = UINT32_MAX;
	stop = false;
	must(!pthread_create(&pollers[0], NULL, poll_sends, NULL));
	must(!pthread_create(&pollers[1], NULL, receive_all, NULL));
	must(!pthread_create(&pollers[2], NULL, receive_all, NULL));
	for (i = 0; i < QPS; i++)
		must(!pthread_create(&flows[i].thread, NULL, send_flow,
				     &flows[i]));
	for (i = 0; i < slots; i++)
		post_slot(i);
	while (!all_arrived() && now_ms() < end)
		meanwhile();
	stop = true;
	for (i = 0; i < 3; i++)
		pthread_join(pollers[i], NULL);
	for (i = 0; i < QPS; i++) {
		pthread_join(flows[i].thread, NULL);
		expect_eq(flows[i].arrived, messages, "messages of pair %d", i);
	}
}

static void nothing(void)
{
	sleep_ms(5);
}

static void flows_with(int slots)
{
	unsigned int best = 0;
	int tries = 0;

	/*
	 * Where receives are scarce everybody has their turn, unless a thread
	 * that sends was not there to take it.
	 */
	do {
		open_pairs(DEPTH, &usual_conn);
		messages = length_of(700, MESSAGES);
		traffic(slots, nothing);
		best = least > best ? least : best;
		close_pairs();
	} while (slots < QPS && best < messages / 4 && ++tries < 8);
	if (slots < QPS) {
		diag("%u of %u messages, %d tries before", best, messages,
		     tries);
		expect(best >= messages / 4, "%u messages of one sender had "
		       "arrived when all %u of another had", best, messages);
	}
	point("traffic with %d receives, %s", slots, kind_name[kind]);
}

/* Larger and smaller; smaller may be too small. */
static void resizer(void)
{
	static unsigned int grown = 16;
	uint32_t wr = 1 + random_below(40);
	int ret;

	if (!random_below(4)) {
		grown = grown < 4096 ? grown * 2 : 16;
		wr = grown;
	}
	ret = modify_srq(IBV_SRQ_MAX_WR, wr, 0);
	expect(!ret || (ret == EINVAL && wr < 40), "resize to %u: %s", wr,
	       strerror(ret));
	sleep_us(random_below(3000));
	expect_eq(modify_srq(IBV_SRQ_MAX_WR, 40, 0), 0, "resize");
}

static void resize_under_traffic(void)
{
	int round;

	for (round = 0; round < 3; round++) {
		open_pairs(16, &usual_conn);
		messages = length_of(400, 5000);
		traffic(14, resizer);
		close_pairs();
	}
	point("resizing under traffic, %s", kind_name[kind]);
}

/* Killed */

/* Children are made before there is anything to inherit. */
static void doomed_owner(int fd, void *arg)
{
	(void)arg;
	open_sides();
	open_pairs(DEPTH, &usual_conn);
	messages = MESSAGES;
	say_byte(fd);
	traffic(random_below(2) ? 2 : 30, nothing);
	pause();
}

static void killed_under_traffic(void)
{
	struct leftovers before = count_leftovers();
	struct child child;
	int round;

	for (round = 0; round < 4; round++) {
		child = spawn(doomed_owner, NULL);
		hear_byte(child.fd);
		sleep_ms(random_below(300));
		kill_child(&child);
	}
	expect_no_leftovers(&before);
	point("killed under traffic");
}

static void doomed_sender(int fd, void *arg)
{
	struct address mine, peer;

	(void)arg;
	open_sides();
	a.qp = NULL;
	side_make_qp(&a, SENDS);
	qa[0] = a.qp;
	mine = side_address(&a);
	hear(fd, &peer, sizeof(peer));
	say(fd, &mine, sizeof(mine));
	side_connect(&a, &peer, &usual_conn);
	hear_byte(fd);
	send_message(0, 0);
	say_byte(fd);
	pause();
}

static void connect_child(struct child *child)
{
	struct address mine, peer;

	b.qp = qb[0] = make_shared_qp(b.rcq);
	mine = side_address(&b);
	say(child->fd, &mine, sizeof(mine));
	hear(child->fd, &peer, sizeof(peer));
	side_connect(&b, &peer, &usual_conn);
	b.qp = NULL;
	say_byte(child->fd);
}

/* The first in line is another process, and does not live to see its turn. */
static void sender_killed(void)
{
	struct child child = spawn(doomed_sender, NULL);

	open_sides();
	srq = make_srq(DEPTH);
	connect_child(&child);
	hear_byte(child.fd);
	make_pair(1, &usual_conn);
	wait_for_receive(1, 1);
	kill_child(&child);
	post_slot(0);
	expect_arrival(1, 1, 0);
	post_slot(1);
	expect(is_quiet(b.rcq, 50), "the dead have sent something");
	close_pairs();
	close_sides();
	point("a sender in line is killed");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	unsigned int which;

	killed_under_traffic();
	sender_killed();
	open_sides();
	attributes();
	extended();
	queue_pairs();
	as_many_as_there_are();
	for (kind = 0; kind < KINDS; kind++)
		every_byte();
	kind = PINNED;
	bad_receives();
	other_domain();
	room();
	limit();
	turns();
	for (which = 0; which < ARRAY_SIZE(departures); which++)
		goes(which);
	goes_just_then();
	not_ready();
	error_flushes_nothing();
	half_filled_receives();
	resize_at_rest();
	resize_while_waiting();
	for (kind = 0; kind < KINDS; kind++) {
		flows_with(2);
		flows_with(30);
		resize_under_traffic();
	}
	kind = PINNED;
	close_sides();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(560, 1200), test);
}
