// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Datagrams: every byte of them and of the header in front, where they go and
 * where they get lost, what a failed send leads to; receivers whose memory is
 * not there; multicast.
 */
#include "counters.h"
#include "unreliable.h"

#define DEPTH		64
#define SIZE		(16 * PAGE)
#define RW		(PROT_READ | PROT_WRITE)
#define IN_INBOX	1024		/* what a receiver's inbox holds */

static struct side a, b;
static struct ibv_ah *ah;		/* to both of them, which have one GID */
static uint8_t *mem_a[KINDS], *mem_b[KINDS];
static struct ibv_mr *mr_a[KINDS], *mr_b[KINDS];

static void open_all(void)
{
	enum kind kind;

	ud_open(&a, DEPTH);
	ud_open(&b, DEPTH);
	ah = ah_to(&a, &b.gid, a.gid_index);
	for (kind = 0; kind < KINDS; kind++) {
		mem_a[kind] = map_memory(SIZE);
		mem_b[kind] = map_memory(SIZE);
		mr_a[kind] = reg(a.pd, mem_a[kind], SIZE, IBV_ACCESS_LOCAL_WRITE |
				 kind_access(kind));
		mr_b[kind] = reg(b.pd, mem_b[kind], SIZE, IBV_ACCESS_LOCAL_WRITE |
				 kind_access(kind));
	}
}

static void close_all(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		dereg(mr_a[kind]);
		dereg(mr_b[kind]);
		must(!munmap(mem_a[kind], SIZE));
		must(!munmap(mem_b[kind], SIZE));
	}
	ah_drop(ah);
	side_close(&a);
	side_close(&b);
}

/* Fresh queue pairs: nothing is posted to them. */
static void renew(void)
{
	side_drop_qp(&a);
	side_drop_qp(&b);
	a.qp = ud_make(&a, DEPTH, NULL);
	b.qp = ud_make(&b, DEPTH, NULL);
}

static struct ibv_send_wr to_b(struct ibv_sge *sge, uint64_t wr_id)
{
	return ud_wr(ah, b.qp->qp_num, sge, wr_id);
}

/* A receive of so many bytes at the start of b's memory. */
static void recv_b(enum kind kind, uint64_t wr_id, uint32_t len)
{
	struct ibv_sge sge = sge_of(mr_b[kind], mem_b[kind], len);

	post_recv(b.qp, wr_id, &sge, 1);
}

/* A datagram from a to b, of pinned memory; it is @seed's. */
static void send_b(uint64_t seed, uint32_t len)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], len);
	struct ibv_send_wr wr = to_b(&sge, seed);

	pattern_fill(mem_a[PINNED], len, seed);
	ud_send(&a, &wr);
}

static void expect_got_b(enum kind kind, uint64_t wr_id, uint64_t seed,
			 uint32_t len)
{
	struct ibv_wc wc;

	if (!expect_wc_at(__FILE__, __LINE__, b.rcq, wr_id, IBV_WC_SUCCESS,
			  &wc))
		return;
	expect_eq(wc.byte_len, GRH + len, "byte_len");
	expect_eq(pattern_check(mem_b[kind] + GRH, len, seed), len, "data");
}

/* What can be asked */

static void capabilities(void)
{
	struct ibv_device_attr_ex attr = {};

	must(!ibv_query_device_ex(a.ctx, NULL, &attr));
	expect_eq(attr.odp_caps.per_transport_caps.ud_odp_caps,
		  IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
		  IBV_ODP_SUPPORT_SRQ_RECV, "on demand");
	expect(attr.orig_attr.max_ah > 0, "no address handles");
	expect(attr.orig_attr.max_mcast_grp > 0, "no multicast groups");
	expect(attr.orig_attr.max_mcast_qp_attach > 0, "nobody in groups");
	point("what the device says of datagrams");
}

static void states(void)
{
	struct ibv_qp_init_attr init = qp_init(&a, 8);
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS };
	struct ibv_qp *qp;

	init.qp_type = IBV_QPT_UD;
	qp = ibv_create_qp(a.pd, &init);
	must(qp);
	expect_eq(qp_to_init(qp, 0), EINVAL, "INIT without a Q_Key");
	expect_eq(ud_to_init(qp, QKEY), 0, "INIT");
	attr.ah_attr.port_num = 1;
	attr.qp_state = IBV_QPS_RTR;
	expect_eq(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV), EINVAL,
		  "RTR with an address");
	expect_eq(ud_to_rts(qp), 0, "RTS");
	attr.qkey = 0x77;
	expect_eq(ibv_modify_qp(qp, &attr, IBV_QP_QKEY), 0, "another Q_Key");
	must(!ibv_query_qp(qp, &attr, IBV_QP_QKEY | IBV_QP_STATE, &init));
	expect_eq(attr.qp_state, IBV_QPS_RTS, "state");
	expect_eq(attr.qkey, 0x77, "Q_Key");
	expect_eq(init.qp_type, IBV_QPT_UD, "type");
	expect_eq(qp_to(qp, IBV_QPS_RESET), 0, "RESET");
	must(!ibv_query_qp(qp, &attr, IBV_QP_QKEY, &init));
	expect_eq(attr.qkey, 0, "Q_Key after RESET");
	must(!ibv_destroy_qp(qp));
	point("states and attributes");
}

/* Bytes */

/* Post by ibv_wr_*() what a work request says. */
static void send_extended(struct ibv_qp *ibqp, const struct ibv_send_wr *wr)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(ibqp);

	must(qp);
	ibv_wr_start(qp);
	qp->wr_id = wr->wr_id;
	qp->wr_flags = wr->send_flags & ~IBV_SEND_INLINE;
	if (wr->opcode == IBV_WR_SEND)
		ibv_wr_send(qp);
	else
		ibv_wr_send_imm(qp, wr->imm_data);
	ibv_wr_set_ud_addr(qp, wr->wr.ud.ah, wr->wr.ud.remote_qpn,
			   wr->wr.ud.remote_qkey);
	if (wr->send_flags & IBV_SEND_INLINE)
		ibv_wr_set_inline_data(qp, (void *)wr->sg_list[0].addr,
				       wr->sg_list[0].length);
	else
		ibv_wr_set_sge_list(qp, wr->num_sge, wr->sg_list);
	errno = ibv_wr_complete(qp);
	must(!errno);
}

static struct ibv_qp *make_extended(void)
{
	struct ibv_qp_init_attr classic = qp_init(&a, DEPTH);
	struct ibv_qp_init_attr_ex init = {
		.send_cq = classic.send_cq,
		.recv_cq = classic.recv_cq,
		.cap = classic.cap,
		.qp_type = IBV_QPT_UD,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = a.pd,
		.send_ops_flags = IBV_QP_EX_WITH_SEND |
				  IBV_QP_EX_WITH_SEND_WITH_IMM,
	};
	struct ibv_qp *qp = ibv_create_qp_ex(a.ctx, &init);

	must(qp);
	ud_ready(qp);
	init.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE;
	errno = 0;
	expect(!ibv_create_qp_ex(a.ctx, &init) && errno == EOPNOTSUPP,
	       "writes on a queue pair for datagrams: %d", errno);
	return qp;
}

static void expect_completion(const struct ibv_wc *wc,
			      const struct ibv_send_wr *wr, uint32_t len)
{
	expect_eq(wc->opcode, IBV_WC_RECV, "opcode");
	expect_eq(wc->byte_len, GRH + len, "byte_len");
	expect_eq(wc->src_qp, a.qp->qp_num, "src_qp");
	expect_eq(wc->qp_num, b.qp->qp_num, "qp_num");
	expect_eq(wc->sl, SL_IPV4, "sl");
	expect_eq(wc->slid, 0, "slid");
	expect_eq(wc->pkey_index, 0, "pkey_index");
	expect_eq(wc->wc_flags, IBV_WC_GRH |
		  (has_imm(wr->opcode) ? IBV_WC_WITH_IMM : 0), "wc_flags");
	if (has_imm(wr->opcode))
		expect_eq(wc->imm_data, wr->imm_data, "immediate data");
}

/*
 * One datagram from odd places to odd places, cut differently on both sides,
 * also within the header.  Nothing around changes.
 */
static void transfer(enum kind kind, enum ibv_wr_opcode opcode, uint32_t len,
		     bool is_inline, bool extended)
{
	uint8_t *src = mem_a[kind] + 1001, *dst = mem_b[kind] + PAGE - 17;
	uint32_t cut = len / 3, total = GRH + len;
	struct ibv_sge from[2] = {
		sge_of(mr_a[kind], src, cut),
		sge_of(mr_a[kind], src + cut, len - cut),
	};
	struct ibv_sge to[3] = {
		sge_of(mr_b[kind], dst, 13),
		sge_of(mr_b[kind], dst + 13, 40),
		sge_of(mr_b[kind], dst + 53, total),
	};
	struct ibv_send_wr wr = to_b(from, len);
	struct ibv_wc wc;

	wr.opcode = opcode;
	wr.imm_data = htonl(0xabcd0000 + len);
	wr.num_sge = 2;
	if (is_inline) {
		from[0].length = len;
		wr.num_sge = 1;
		wr.send_flags |= IBV_SEND_INLINE;
	}
	random_fill(mem_a[kind], SIZE);
	memset(mem_b[kind], 0, SIZE);
	post_recv(b.qp, len, to, 3);
	if (extended)
		send_extended(a.qp, &wr);
	else
		post_send(a.qp, &wr);
	expect_wc(a.scq, len, IBV_WC_SUCCESS);
	if (!expect_wc_at(__FILE__, __LINE__, b.rcq, len, IBV_WC_SUCCESS, &wc))
		return;
	expect_completion(&wc, &wr, len);
	expect_eq(zero_check(dst, 20), 20, "in front of the IPv4 header");
	expect_ipv4(dst, &a.gid, &b.gid, HOPS);
	expect_same(dst + GRH, src, len, "data");
	expect_eq(zero_check(mem_b[kind], PAGE - 17), PAGE - 17, "in front");
	expect_eq(zero_check(dst + total, PAGE), PAGE, "behind");
}

static void bytes(enum kind kind, bool extended)
{
	static const uint32_t sizes[] = { 0, 1, 17, 333, 512, 1000, 1023, MTU };
	size_t i;

	renew();
	if (extended) {
		side_drop_qp(&a);
		a.qp = make_extended();
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		transfer(kind, IBV_WR_SEND, sizes[i], false, extended);
		transfer(kind, IBV_WR_SEND_WITH_IMM, sizes[i], false, extended);
		if (sizes[i] > INLINE_CAP)
			continue;
		transfer(kind, IBV_WR_SEND, sizes[i], true, extended);
		transfer(kind, IBV_WR_SEND_WITH_IMM, sizes[i], true, extended);
	}
	point("%s: every byte, %s", kind_name[kind],
	      extended ? "by ibv_wr_*()" : "posted");
}

static void ipv6(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_send_wr wr = to_b(&sge, 1);
	union ibv_gid gid;
	struct ibv_wc wc;
	int index = find_gid6(a.ctx, &gid);

	renew();
	must(index >= 0);
	wr.wr.ud.ah = ah_to(&a, &gid, index);
	wr.wr.ud.remote_qpn = b.qp->qp_num;
	pattern_fill(mem_a[PINNED], 100, 6);
	recv_b(PINNED, 1, SIZE);
	ud_send(&a, &wr);
	if (expect_wc_at(__FILE__, __LINE__, b.rcq, 1, IBV_WC_SUCCESS, &wc)) {
		expect_eq(wc.sl, SL_IPV6, "sl");
		expect_ipv6(mem_b[PINNED], &gid, &gid);
		expect_eq(pattern_check(mem_b[PINNED] + GRH, 100, 6), 100,
			  "data");
	}
	ah_drop(wr.wr.ud.ah);
	point("between IPv6 addresses");
}

/* Answer by what was received, whichever the addresses are. */
static void answer(const union ibv_gid *gid, int index)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 9);
	struct ibv_send_wr wr = to_b(&sge, 1);
	struct ibv_ah *there, *back;
	struct ibv_wc wc;

	renew();
	there = ah_to(&a, gid, index);
	wr.wr.ud.ah = there;
	wr.wr.ud.remote_qpn = b.qp->qp_num;
	recv_b(PINNED, 1, SIZE);
	ud_send(&a, &wr);
	must(expect_wc_at(__FILE__, __LINE__, b.rcq, 1, IBV_WC_SUCCESS, &wc));
	back = ibv_create_ah_from_wc(b.pd, &wc, (void *)mem_b[PINNED], 1);
	if (expect(back, "no address from a completion: %s", strerror(errno))) {
		post_recv(a.qp, 2, &sge, 0);
		sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
		post_recv(a.qp, 3, &sge, 1);
		wr = ud_wr(back, wc.src_qp, NULL, 2);
		ud_send(&b, &wr);
		expect(is_quiet(a.rcq, 20), "no room for the header");
		side_drop_qp(&a);
		a.qp = ud_make(&a, DEPTH, NULL);
		post_recv(a.qp, 3, &sge, 1);
		wr.wr.ud.remote_qpn = a.qp->qp_num;
		ud_send(&b, &wr);
		expect_wc(a.rcq, 3, IBV_WC_SUCCESS);
		ah_drop(back);
	}
	ah_drop(there);
}

static void answers(void)
{
	union ibv_gid gid;
	int index;

	answer(&a.gid, a.gid_index);
	index = find_gid6(a.ctx, &gid);
	answer(&gid, index);
	point("an address from a completion");
}

static void to_itself(void)
{
	struct ibv_sge from = sge_of(mr_a[ODP], mem_a[ODP] + 3, 500);
	struct ibv_sge to = sge_of(mr_a[ODP], mem_a[ODP] + 3 * PAGE + 5, 540);
	struct ibv_send_wr wr;

	renew();
	wr = ud_wr(ah, a.qp->qp_num, &from, 1);
	must(!madvise(mem_a[ODP], SIZE, MADV_DONTNEED));
	pattern_fill(mem_a[ODP] + 3, 500, 8);
	post_recv(a.qp, 1, &to, 1);
	ud_send(&a, &wr);
	expect_wc(a.rcq, 1, IBV_WC_SUCCESS);
	expect_eq(pattern_check(mem_a[ODP] + 3 * PAGE + 5 + GRH, 500, 8), 500,
		  "data");
	point("to itself");
}

static void shared_queue(void)
{
	struct ibv_srq_init_attr init = { .attr = { 16, 4, 0 } };
	struct ibv_srq *srq = ibv_create_srq(b.pd, &init);
	struct ibv_sge sge = sge_of(mr_b[ODP], mem_b[ODP], GRH + 100);
	struct ibv_sge small = sge_of(mr_b[ODP], mem_b[ODP], GRH + 99);
	struct ibv_qp *other;
	struct ibv_wc wc;

	must(srq);
	renew();
	side_drop_qp(&b);
	b.qp = ud_make(&b, DEPTH, srq);
	other = ud_make(&b, DEPTH, srq);
	send_b(1, 100);
	expect(is_quiet(b.rcq, 20), "there was nothing posted");
	must(!try_srq_recv(srq, 1, &small, 1));
	must(!try_srq_recv(srq, 2, &sge, 1));
	send_b(2, 100);
	expect(is_quiet(b.rcq, 20), "the first receive is too small");
	send_b(3, 99);
	expect_got_b(ODP, 1, 3, 99);
	sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	must(!madvise(mem_b[ODP], SIZE, MADV_DONTNEED));
	pattern_fill(mem_a[PINNED], 100, 4);
	ud_send(&a, &(struct ibv_send_wr){
		.wr_id = 4, .opcode = IBV_WR_SEND, .sg_list = &sge,
		.num_sge = 1, .send_flags = IBV_SEND_SIGNALED,
		.wr.ud = { ah, other->qp_num, QKEY },
	});
	if (expect_wc_at(__FILE__, __LINE__, b.rcq, 2, IBV_WC_SUCCESS, &wc)) {
		expect_eq(wc.qp_num, other->qp_num, "the other's");
		expect_eq(pattern_check(mem_b[ODP] + GRH, 100, 4), 100, "data");
	}
	must(!ibv_destroy_qp(other));
	side_drop_qp(&b);
	must(!ibv_destroy_srq(srq));
	b.qp = ud_make(&b, DEPTH, NULL);
	point("shared receive queue");
}

/* What gets lost */

static void expect_lost(const char *what, const char *where)
{
	static long last[2];
	long now[2] = { counter("tx_drops"), counter("rx_drops") };
	int at = !strcmp(where, "rx_drops");

	expect(is_quiet(b.rcq, 5), "%s was received", what);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "%s: the sender's state", what);
	expect_eq(qp_state(b.qp), IBV_QPS_RTS, "%s: the receiver's", what);
	if (*where)
		expect_eq(now[at], last[at] + 1, "%s: %s", what, where);
	memcpy(last, now, sizeof(last));
}

static void losses(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_send_wr wr;
	struct ibv_qp *rc;
	struct ibv_qp_init_attr init = qp_init(&b, 8);
	struct ibv_ah *other;
	union ibv_gid gid;
	int index;

	renew();
	expect_lost("nothing", "");
	send_b(1, 100);
	expect_lost("without a receive", "rx_drops");
	recv_b(PINNED, 1, GRH + 99);
	send_b(1, 100);
	expect_lost("too long for its receive", "rx_drops");

	wr = to_b(&sge, 2);
	wr.wr.ud.remote_qkey = QKEY + 1;
	ud_send(&a, &wr);
	expect_lost("wrong Q_Key", "rx_drops");
	wr = to_b(&sge, 2);
	wr.wr.ud.remote_qpn = 0xfffffe;
	ud_send(&a, &wr);
	expect_lost("no such queue pair", "tx_drops");
	wr.wr.ud.remote_qpn = 0xffffff;
	ud_send(&a, &wr);
	expect_lost("the number of multicast", "tx_drops");
	rc = ibv_create_qp(b.pd, &init);
	must(rc);
	must(!qp_to_init(rc, ALL_RIGHTS));
	wr.wr.ud.remote_qpn = rc->qp_num;
	ud_send(&a, &wr);
	expect_lost("to another transport", "tx_drops");
	must(!ibv_destroy_qp(rc));

	/* Of the link, but nobody's. */
	index = find_gid6(a.ctx, &gid);
	gid.raw[15] ^= 0x40;
	other = ibv_create_ah(a.pd, &(struct ibv_ah_attr){
		.is_global = 1, .port_num = 1,
		.grh = { .dgid = gid, .sgid_index = index, .hop_limit = 1 },
	});
	if (other) {
		wr = to_b(&sge, 3);
		wr.wr.ud.ah = other;
		ud_send(&a, &wr);
		expect_lost("to another address", "tx_drops");
		ah_drop(other);
	}

	/* The receive that was too small is there still. */
	send_b(5, 99);
	expect_got_b(PINNED, 1, 5, 99);
	point("what gets lost is lost in silence, and counted");
}

static void controlled_qkey(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_qp_attr attr = { .qkey = 0x80000000 };
	struct ibv_send_wr wr;

	renew();
	recv_b(PINNED, 1, SIZE);
	wr = to_b(&sge, 1);
	wr.wr.ud.remote_qkey = 0x80000000 | QKEY | 0x123;
	ud_send(&a, &wr);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	/* As root; else it is refused. */
	if (!ibv_modify_qp(b.qp, &attr, IBV_QP_QKEY)) {
		recv_b(PINNED, 2, SIZE);
		wr.wr.ud.remote_qkey = 0x80000000;
		ud_send(&a, &wr);
		expect(is_quiet(b.rcq, 20), "a controlled Q_Key by its value");
	}
	point("Q_Keys with the highest bit");
}

/* The receiver's own mistakes */

static void wrong_receive(void)
{
	struct ibv_sge sge = sge_of(mr_b[PINNED], mem_b[PINNED], SIZE);

	renew();
	sge.lkey ^= 0x100;
	post_recv(b.qp, 1, &sge, 1);
	recv_b(PINNED, 2, SIZE);
	send_b(1, 100);
	expect_wc(b.rcq, 1, IBV_WC_LOC_PROT_ERR);
	expect_wc(b.rcq, 2, IBV_WC_WR_FLUSH_ERR);
	expect(wait_state(b.qp, IBV_QPS_ERR, SOON_MS), "not in error");
	send_b(2, 100);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "the sender's state");
	point("a receive with a wrong key is the receiver's error");
}

static void memory_gone(void)
{
	uint8_t *mem = map_memory(4 * PAGE);
	struct ibv_mr *mr = reg(b.pd, mem, 4 * PAGE, IBV_ACCESS_LOCAL_WRITE |
				IBV_ACCESS_ON_DEMAND);
	struct ibv_sge sge = sge_of(mr, mem + PAGE - 50, 2 * PAGE);

	renew();
	must(!munmap(mem + PAGE, PAGE));
	post_recv(b.qp, 1, &sge, 1);
	recv_b(PINNED, 2, SIZE);
	send_b(1, 1000);
	expect_wc(b.rcq, 1, IBV_WC_LOC_PROT_ERR);
	expect_wc(b.rcq, 2, IBV_WC_WR_FLUSH_ERR);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "the sender's state");
	dereg(mr);
	must(!munmap(mem, PAGE));
	must(!munmap(mem + 2 * PAGE, 2 * PAGE));
	point("on demand: a receive whose memory is gone");
}

/* Sends that fail */

static void expect_sqe(enum ibv_wc_status status, const char *what)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.cur_qp_state = IBV_QPS_SQE,
	};
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_send_wr wr = to_b(&sge, 9);

	expect_wc(a.scq, 1, status);
	expect_wc(a.scq, 2, IBV_WC_WR_FLUSH_ERR);
	expect_eq(qp_state(a.qp), IBV_QPS_SQE, "%s: state", what);
	post_send(a.qp, &wr);
	expect_wc(a.scq, 9, IBV_WC_WR_FLUSH_ERR);

	/* It still receives. */
	post_recv(a.qp, 10, &sge, 1);
	wr = ud_wr(ah, a.qp->qp_num, NULL, 0);
	sge = sge_of(mr_b[PINNED], mem_b[PINNED], 30);
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.wr.ud.ah = ah_to(&b, &a.gid, b.gid_index);
	ud_send(&b, &wr);
	expect_wc(a.rcq, 10, IBV_WC_SUCCESS);
	ah_drop(wr.wr.ud.ah);

	expect_eq(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_CUR_STATE),
		  0, "%s: back to RTS", what);
	recv_b(PINNED, 11, SIZE);
	send_b(12, 500);
	expect_got_b(PINNED, 11, 12, 500);
}

/* Two sends, the first of which is wrong. */
static void fail(struct ibv_send_wr *wr, enum ibv_wc_status status,
		 const char *what)
{
	struct ibv_sge good = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_send_wr next = to_b(&good, 2);

	wr->wr_id = 1;
	wr->next = &next;
	wr->send_flags = 0;
	next.send_flags = 0;
	post_send(a.qp, wr);
	expect_sqe(status, what);
}

static void failures(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], MTU + 1);
	struct ibv_pd *other_pd = ibv_alloc_pd(a.ctx);
	struct ibv_ah *other;
	struct ibv_send_wr wr;
	uint8_t *mem;
	struct ibv_mr *mr;

	renew();
	wr = to_b(&sge, 1);
	fail(&wr, IBV_WC_LOC_LEN_ERR, "longer than the MTU");
	sge.length = 100;
	sge.lkey ^= 0x100;
	wr = to_b(&sge, 1);
	fail(&wr, IBV_WC_LOC_PROT_ERR, "wrong key");

	mem = map_memory(2 * PAGE);
	mr = reg(a.pd, mem, 2 * PAGE, IBV_ACCESS_ON_DEMAND);
	must(!munmap(mem + PAGE, PAGE));
	sge = sge_of(mr, mem + PAGE - 10, 20);
	wr = to_b(&sge, 1);
	fail(&wr, IBV_WC_LOC_PROT_ERR, "memory that is gone");
	dereg(mr);
	must(!munmap(mem, PAGE));

	must(other_pd);
	other = ibv_create_ah(other_pd, &(struct ibv_ah_attr){
		.is_global = 1, .port_num = 1,
		.grh = { .dgid = b.gid, .sgid_index = a.gid_index },
	});
	must(other);
	sge = sge_of(mr_a[PINNED], mem_a[PINNED], 10);
	wr = to_b(&sge, 1);
	wr.wr.ud.ah = other;
	fail(&wr, IBV_WC_LOC_QP_OP_ERR, "another domain's address");
	ah_drop(other);
	must(!ibv_dealloc_pd(other_pd));
	point("a send that fails: SQE, and back");
}

static void refused(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND_WITH_INV,
		IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_LOCAL_INV, IBV_WR_BIND_MW,
	};
	struct ibv_send_wr wr;
	size_t i;

	renew();
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		wr = to_b(&sge, 1);
		wr.opcode = opcodes[i];
		expect_eq(try_send(a.qp, &wr), EINVAL, "opcode %d", opcodes[i]);
	}
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "state");
	point("what is not for datagrams is refused");
}

/* An address that goes while sends that name it are queued. */
static void address_goes(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_ah *going = ah_to(&a, &b.gid, a.gid_index);
	struct ibv_send_wr wr;

	renew();
	must(!qp_to(a.qp, IBV_QPS_SQD));
	wr = to_b(&sge, 1);
	wr.wr.ud.ah = going;
	post_send(a.qp, &wr);
	wr.wr_id = 2;
	post_send(a.qp, &wr);
	ah_drop(going);
	expect(is_quiet(a.scq, 20), "it is not to send yet");
	must(!qp_to(a.qp, IBV_QPS_RTS));
	expect_sqe(IBV_WC_LOC_QP_OP_ERR, "no address any more");
	point("an address handle destroyed before its use");
}

static void many_addresses(void)
{
	static struct ibv_ah *ahs[300];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ahs); i++)
		ahs[i] = ah_to(&a, &b.gid, a.gid_index);
	renew();
	recv_b(PINNED, 1, SIZE);
	for (i = 0; i < ARRAY_SIZE(ahs) - 1; i++)
		ah_drop(ahs[i]);
	{
		struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 1);
		struct ibv_send_wr wr = to_b(&sge, 1);

		wr.wr.ud.ah = ahs[i];
		ud_send(&a, &wr);
	}
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	ah_drop(ahs[i]);
	point("many address handles");
}

/* Receivers whose memory is not there */

static uint8_t *missing;		/* SIZE bytes under userfaultfd */
static struct ibv_mr *missing_mr;

static void missing_open(void)
{
	missing = map_memory(SIZE);
	missing_mr = reg(b.pd, missing, SIZE, IBV_ACCESS_LOCAL_WRITE |
			 IBV_ACCESS_ON_DEMAND);
	must(!uffd_open((long []){ (long)missing, SIZE,
				   UFFDIO_REGISTER_MODE_MISSING }));
}

static void missing_close(void)
{
	uffd_close(NULL);
	dereg(missing_mr);
	must(!munmap(missing, SIZE));
}

/* A receive across the boundary of the first two missing pages. */
static void recv_missing(uint64_t wr_id)
{
	struct ibv_sge sge = sge_of(missing_mr, missing + PAGE - 500, 2000);

	post_recv(b.qp, wr_id, &sge, 1);
}

static void provide(uint64_t page)
{
	expect_eq(uffd_wait((long []){ SOON_MS }),
		  (long)(missing + page * PAGE), "fault");
	must(!uffd_copy((long []){ (long)(missing + page * PAGE), 99 }));
}

static void receiver_waits(void)
{
	uint64_t start, i;

	missing_open();
	renew();
	recv_missing(0);
	for (i = 1; i <= 3; i++) {
		struct ibv_sge sge = sge_of(mr_b[ODP],
					    mem_b[ODP] + i * 2000, 2000);

		post_recv(b.qp, i, &sge, 1);
	}
	start = now_ms();
	for (i = 0; i < 4; i++)
		send_b(i + 1, 1000);
	expect_soon(start, "sending");
	expect(is_quiet(b.rcq, 50), "something overtook");
	provide(0);
	expect(is_quiet(b.rcq, 50), "half of it is missing yet");
	provide(1);
	expect_wc(b.rcq, 0, IBV_WC_SUCCESS);
	expect_eq(pattern_check(missing + PAGE - 500 + GRH, 1000, 1), 1000,
		  "the first datagram");
	for (i = 1; i <= 3; i++) {
		expect_wc(b.rcq, i, IBV_WC_SUCCESS);
		expect_eq(pattern_check(mem_b[ODP] + i * 2000 + GRH, 1000,
					i + 1), 1000, "datagram %d", (int)i);
	}
	missing_close();
	point("a receiver that waits for its page: in order, and nobody else");
}

static void inbox_overflows(void)
{
	long drops = counter("rx_drops");
	struct ibv_sge sge;
	struct ibv_wc wc;
	uint64_t i;

	missing_open();
	renew();
	recv_missing(0);
	for (i = 1; i < DEPTH; i++) {
		sge = sge_of(mr_b[PINNED], mem_b[PINNED] + i * 100, 100);
		post_recv(b.qp, i, &sge, 1);
	}
	for (i = 0; i < IN_INBOX + 10; i++)
		send_b(i, 10);
	expect_eq(counter("rx_drops"), drops + 10, "drops");
	provide(0);
	for (i = 0; i < DEPTH && i < IN_INBOX; i++) {
		if (!expect_wc_at(__FILE__, __LINE__, b.rcq, i, IBV_WC_SUCCESS,
				  &wc))
			break;
		if (i)
			expect_eq(pattern_check(mem_b[PINNED] + i * 100 + GRH,
						10, i), 10, "data");
	}
	missing_close();
	point("what finds no room in the inbox is lost");
}

/* It does not wait any more: @end is what happens to it. */
static void end_waiting(void (*end)(void), const char *what)
{
	missing_open();
	renew();
	recv_missing(7);
	recv_b(PINNED, 8, SIZE);
	send_b(1, 1000);
	send_b(2, 1000);
	expect(uffd_wait((long []){ SOON_MS }) >= 0, "no fault");
	end();
	send_b(3, 1000);
	missing_close();
	point("a receiver that waits for its page is %s", what);
}

static void end_by_error(void)
{
	must(!qp_to(b.qp, IBV_QPS_ERR));
	expect_wc(b.rcq, 7, IBV_WC_WR_FLUSH_ERR);
	expect_wc(b.rcq, 8, IBV_WC_WR_FLUSH_ERR);
}

/* Reset, and used again while the old wait may still be on. */
static void end_by_reset(void)
{
	must(!qp_to(b.qp, IBV_QPS_RESET));
	ud_ready(b.qp);
	recv_b(ODP, 9, SIZE);
	must(!madvise(mem_b[ODP], SIZE, MADV_DONTNEED));
	send_b(4, 1000);
	expect_got_b(ODP, 9, 4, 1000);
	expect(is_quiet(b.rcq, 20), "something of before");
}

static void end_by_destruction(void)
{
	side_drop_qp(&b);
	b.qp = ud_make(&b, DEPTH, NULL);
	expect(is_quiet(b.rcq, 20), "a completion");
}

/* Another process receives, and is killed while it waits. */
static void wait_and_die(int fd, void *arg)
{
	struct side mine;
	uint32_t qpn;
	struct ibv_sge sge;

	(void)arg;
	ud_open(&mine, 8);
	missing = map_memory(SIZE);
	missing_mr = reg(mine.pd, missing, SIZE, IBV_ACCESS_LOCAL_WRITE |
			 IBV_ACCESS_ON_DEMAND);
	must(!uffd_open((long []){ (long)missing, SIZE,
				   UFFDIO_REGISTER_MODE_MISSING }));
	sge = sge_of(missing_mr, missing + 10, 2000);
	post_recv(mine.qp, 1, &sge, 1);
	qpn = mine.qp->qp_num;
	say(fd, &qpn, sizeof(qpn));
	uffd_wait((long []){ SOON_MS });
	say_byte(fd);
	pause();
}

static void receiver_dies(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct child child;
	struct ibv_send_wr wr;
	uint32_t qpn;
	int i;

	renew();
	child = spawn(wait_and_die, NULL);
	hear(child.fd, &qpn, sizeof(qpn));
	wr = ud_wr(ah, qpn, &sge, 1);
	for (i = 0; i < 10; i++)
		ud_send(&a, &wr);
	hear_byte(child.fd);
	kill_child(&child);
	ud_send(&a, &wr);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "the sender's state");
	point("a receiver that waits for its page is killed");
}

/* Several senders, one receiver, and mappings that come and go */

#define SENDERS		3
#define ROUNDS		300

static void *take_mappings_away(void *stop)
{
	random_seed(5);
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
		uint8_t *page = mem_b[ODP] + random_below(16) * PAGE;

		must(!mprotect(page, PAGE, RW | PROT_EXEC));
		must(!mprotect(page, PAGE, RW));
		sched_yield();
	}
	return NULL;
}

struct sender {
	struct ibv_qp *qp;
	unsigned int sent;
	unsigned int seen;
};

/* Number @i, which tells itself. */
static void send_number(struct sender *sender)
{
	uint32_t data[100];
	struct ibv_sge sge = { (uintptr_t)data, sizeof(data), 0 };
	struct ibv_send_wr wr = to_b(&sge, 0);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(data); i++)
		data[i] = sender->sent;
	sender->sent++;
	wr.send_flags |= IBV_SEND_INLINE;
	post_send(sender->qp, &wr);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
}

static void post_place(uint64_t place)
{
	struct ibv_sge sge = sge_of(mr_b[ODP], mem_b[ODP] + place * 1000, 440);

	post_recv(b.qp, place, &sge, 1);
}

static void see_number(struct sender *senders, const struct ibv_wc *wc)
{
	uint8_t *at = mem_b[ODP] + wc->wr_id * 1000 + GRH;
	uint32_t first, last;
	int i;

	memcpy(&first, at, 4);
	memcpy(&last, at + 396, 4);
	expect_eq(first, last, "a torn datagram");
	for (i = 0; i < SENDERS; i++) {
		if (wc->src_qp != senders[i].qp->qp_num)
			continue;
		expect(first + 1 > senders[i].seen, "%u after %u", first,
		       senders[i].seen);
		senders[i].seen = first + 1;
	}
	post_place(wc->wr_id);
}

/*
 * How long to wait for the next one: not at all, unless the receiver, on a busy
 * machine, has hardly come to run.
 */
static unsigned int patience(unsigned int got, int round)
{
	if (round == ROUNDS - 1)
		return 300;
	return got < SENDERS * (round + 1) / 5U ? 100 : 0;
}

static void storm(void)
{
	struct sender senders[SENDERS] = {};
	unsigned int got = 0;
	pthread_t thread;
	bool stop = false;
	struct ibv_wc wc;
	int i, round;

	renew();
	for (i = 0; i < SENDERS; i++)
		senders[i].qp = ud_make(&a, DEPTH, NULL);
	for (i = 0; i < 60; i++)
		post_place(i);
	must(!pthread_create(&thread, NULL, take_mappings_away, &stop));
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < SENDERS; i++)
			send_number(&senders[i]);
		while (wait_wc(b.rcq, &wc, patience(got, round))) {
			expect_eq(wc.status, IBV_WC_SUCCESS, "a receive");
			see_number(senders, &wc);
			got++;
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	must(!pthread_join(thread, NULL));
	expect(got > SENDERS * ROUNDS / 10, "only %u have come", got);
	diag("%u of %u have come", got, SENDERS * ROUNDS);
	for (i = 0; i < SENDERS; i++)
		must(!ibv_destroy_qp(senders[i].qp));
	point("several senders, and mappings that come and go");
}

/* Multicast */

#define MEMBERS		3

static union ibv_gid group_gid(uint8_t last)
{
	return (union ibv_gid) {
		.raw = { [10] = 0xff, 0xff, 239, 1, 2, last },
	};
}

static int attach(struct ibv_qp *qp, const union ibv_gid *mgid)
{
	return ibv_attach_mcast(qp, mgid, 0);
}

static int detach(struct ibv_qp *qp, const union ibv_gid *mgid)
{
	return ibv_detach_mcast(qp, mgid, 0);
}

static void groups(void)
{
	union ibv_gid mgid = group_gid(1), other = group_gid(2);
	struct ibv_qp_init_attr init = qp_init(&a, 8);
	struct ibv_qp *rc;

	renew();
	rc = ibv_create_qp(a.pd, &init);
	must(rc);
	expect_eq(attach(rc, &mgid), EINVAL, "another transport");
	must(!ibv_destroy_qp(rc));
	expect_eq(attach(a.qp, &a.gid), EINVAL, "no group's address");
	expect_eq(detach(a.qp, &mgid), EINVAL, "not attached");
	expect_eq(attach(a.qp, &mgid), 0, "attached");
	expect_eq(attach(a.qp, &mgid), 0, "attached again");
	expect_eq(attach(a.qp, &other), 0, "another group");
	expect_eq(ibv_destroy_qp(a.qp), EBUSY, "destroyed while attached");
	expect_eq(detach(a.qp, &mgid), 0, "detached");
	expect_eq(detach(a.qp, &mgid), EINVAL, "detached again");
	expect_eq(detach(b.qp, &other), EINVAL, "somebody else's");
	/* The same, by two LIDs, which say nothing on Ethernet. */
	expect_eq(ibv_attach_mcast(a.qp, &mgid, 0xc001), 0, "by a LID");
	expect_eq(ibv_attach_mcast(a.qp, &mgid, 0xc002), 0, "by another");
	expect_eq(ibv_detach_mcast(a.qp, &mgid, 0xc001), 0, "one");
	expect_eq(ibv_detach_mcast(a.qp, &mgid, 0xc002), 0, "the other");
	expect_eq(detach(a.qp, &other), 0, "the last one");
	point("attached and detached");
}

static void many_members(void)
{
	union ibv_gid mgid = group_gid(3);
	struct ibv_device_attr attr;
	static struct ibv_qp *qps[257];
	unsigned int i, n;

	must(!ibv_query_device(a.ctx, &attr));
	must(attr.max_mcast_qp_attach < (int)ARRAY_SIZE(qps));
	n = attr.max_mcast_qp_attach;
	for (i = 0; i <= n; i++)
		qps[i] = ud_make(&a, 1, NULL);
	for (i = 0; i < n; i++)
		must(!attach(qps[i], &mgid));
	expect_eq(attach(qps[n], &mgid), ENOMEM, "one more than there may be");
	must(!detach(qps[0], &mgid));
	expect_eq(attach(qps[n], &mgid), 0, "in another's place");
	for (i = 1; i <= n; i++)
		must(!detach(qps[i], &mgid));
	for (i = 0; i <= n; i++)
		must(!ibv_destroy_qp(qps[i]));
	point("as many members as there may be");
}

static void multicast(enum kind kind)
{
	union ibv_gid mgid = group_gid(4);
	struct ibv_ah *to_group = ah_to(&a, &mgid, a.gid_index);
	struct ibv_sge sge = sge_of(mr_a[kind], mem_a[kind] + 9, 700);
	struct ibv_send_wr wr;
	struct ibv_qp *qps[MEMBERS];
	struct ibv_wc wc;
	int i, seen = 0;

	renew();
	/* The sender is a member, two of b's are; one has another Q_Key. */
	for (i = 0; i < MEMBERS; i++)
		qps[i] = ud_make(&b, 8, NULL);
	must(!ibv_modify_qp(qps[2], &(struct ibv_qp_attr){ .qkey = 1 },
			    IBV_QP_QKEY));
	must(!attach(a.qp, &mgid));
	for (i = 0; i < MEMBERS; i++) {
		struct ibv_sge to = sge_of(mr_b[kind],
					   mem_b[kind] + i * 3001, 800);

		must(!attach(qps[i], &mgid));
		post_recv(qps[i], i, &to, 1);
	}
	recv_b(kind, 77, 10);
	must(!madvise(mem_b[ODP], SIZE, MADV_DONTNEED));
	must(!madvise(mem_a[ODP], SIZE, MADV_DONTNEED));
	pattern_fill(mem_a[kind] + 9, 700, 21);
	{
		struct ibv_sge to = sge_of(mr_a[kind],
					   mem_a[kind] + 2 * PAGE, 800);

		post_recv(a.qp, 5, &to, 1);
	}
	wr = ud_wr(to_group, 0xffffff, &sge, 1);
	ud_send(&a, &wr);
	for (i = 0; i < 2; i++) {
		if (!expect(wait_wc(b.rcq, &wc, SOON_MS), "no completion"))
			break;
		expect_eq(wc.status, IBV_WC_SUCCESS, "status");
		seen |= 1 << wc.wr_id;
		expect_ipv4(mem_b[kind] + wc.wr_id * 3001, &a.gid, &mgid,
			    GROUP_HOPS);
		expect_eq(pattern_check(mem_b[kind] + wc.wr_id * 3001 + GRH,
					700, 21), 700, "data");
	}
	expect_eq(seen, 3, "who got it");
	expect(is_quiet(b.rcq, 20), "somebody else got it");
	expect_wc(a.rcq, 5, IBV_WC_SUCCESS);
	expect_eq(pattern_check(mem_a[kind] + 2 * PAGE + GRH, 700, 21), 700,
		  "the sender's own");
	/* To one of them by number is not multicast. */
	wr.wr.ud.remote_qpn = qps[0]->qp_num;
	ud_send(&a, &wr);
	expect(is_quiet(b.rcq, 20), "by a number of its own");
	must(!detach(a.qp, &mgid));
	for (i = 0; i < MEMBERS; i++) {
		must(!detach(qps[i], &mgid));
		must(!ibv_destroy_qp(qps[i]));
	}
	wr.wr.ud.remote_qpn = 0xffffff;
	ud_send(&a, &wr);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "to nobody");
	ah_drop(to_group);
	point("%s: multicast", kind_name[kind]);
}

/* A member that is killed leaves its groups. */
static void be_member(int fd, void *arg)
{
	union ibv_gid mgid = group_gid(6);
	struct side mine;

	(void)arg;
	ud_open(&mine, 8);
	must(!attach(mine.qp, &mgid));
	say_byte(fd);
	pause();
}

static void member_dies(void)
{
	union ibv_gid mgid = group_gid(6);
	struct ibv_ah *to_group = ah_to(&a, &mgid, a.gid_index);
	struct ibv_send_wr wr = ud_wr(to_group, 0xffffff, NULL, 1);
	struct child child = spawn(be_member, NULL);

	renew();
	hear_byte(child.fd);
	ud_send(&a, &wr);
	kill_child(&child);
	ud_send(&a, &wr);
	ah_drop(to_group);
	point("a member of a group is killed");
}

static void run(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	open_all();
	capabilities();
	states();
	for (kind = 0; kind < KINDS; kind++) {
		bytes(kind, false);
		bytes(kind, true);
	}
	ipv6();
	answers();
	to_itself();
	shared_queue();
	losses();
	controlled_qkey();
	wrong_receive();
	memory_gone();
	failures();
	refused();
	address_goes();
	many_addresses();
	receiver_waits();
	inbox_overflows();
	end_waiting(end_by_error, "in error");
	end_waiting(end_by_reset, "reset");
	end_waiting(end_by_destruction, "destroyed");
	receiver_dies();
	storm();
	groups();
	many_members();
	for (kind = 0; kind < KINDS; kind++)
		multicast(kind);
	member_dies();
	close_all();
	expect_no_leftovers(&before);
	point("nothing is left");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
