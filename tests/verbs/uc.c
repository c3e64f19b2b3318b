// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Unreliable connections: every byte, what is refused, what gets lost, and
 * that nobody learns of it; what a failed send leads to; a receiver whose
 * memory is not there.
 */
#include "counters.h"
#include "unreliable.h"

#define DEPTH		16
#define SIZE		(2 * MIB)
#define RW		(PROT_READ | PROT_WRITE)

static struct side a, b;
static uint8_t *mem_a[KINDS], *mem_b[KINDS];
static struct ibv_mr *mr_a[KINDS], *mr_b[KINDS];

static void open_all(void)
{
	enum kind kind;

	side_open(&a, 4 * DEPTH);
	side_open(&b, 4 * DEPTH);
	for (kind = 0; kind < KINDS; kind++) {
		mem_a[kind] = map_memory(SIZE);
		mem_b[kind] = map_memory(SIZE);
		mr_a[kind] = reg(a.pd, mem_a[kind], SIZE,
				 ALL_RIGHTS | kind_access(kind));
		mr_b[kind] = reg(b.pd, mem_b[kind], SIZE,
				 ALL_RIGHTS | kind_access(kind));
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
	side_close(&a);
	side_close(&b);
}

/* No packet has to have the number that the other side begins with. */
static void uc_connect(struct side *side, const struct side *peer, int access)
{
	struct address there = side_address(peer);

	errno = qp_to_init(side->qp, access);
	must(!errno);
	errno = uc_to_rtr(side->qp, side->gid_index, &there, 1000);
	must(!errno);
	errno = unreliable_to_rts(side->qp);
	must(!errno);
}

static void uc_make(struct side *side, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = qp_init(side, DEPTH);

	side_drop_qp(side);
	init.qp_type = IBV_QPT_UC;
	init.srq = srq;
	side->qp = ibv_create_qp(side->pd, &init);
	must(side->qp);
}

/* Fresh queue pairs, connected. */
static void renew(void)
{
	uc_make(&a, NULL);
	uc_make(&b, NULL);
	uc_connect(&a, &b, ALL_RIGHTS);
	uc_connect(&b, &a, ALL_RIGHTS);
}

/* What can be asked */

static void capabilities(void)
{
	struct ibv_device_attr_ex attr = {};

	must(!ibv_query_device_ex(a.ctx, NULL, &attr));
	expect_eq(attr.odp_caps.per_transport_caps.uc_odp_caps,
		  IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
		  IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_SRQ_RECV,
		  "on demand");
	point("what the device says of unreliable connections");
}

static void states(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS, .retry_cnt = 1 };
	struct ibv_qp_init_attr init;
	struct address there;

	uc_make(&a, NULL);
	uc_make(&b, NULL);
	there = side_address(&b);
	expect_eq(qp_to_init(a.qp, ALL_RIGHTS), 0, "INIT");
	expect_eq(qp_to_rtr(a.qp, a.gid_index, &there, &usual_conn), EINVAL,
		  "RTR with what only reliable connections have");
	expect_eq(uc_to_rtr(a.qp, a.gid_index, &there, 0), 0, "RTR");
	expect_eq(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN |
				IBV_QP_RETRY_CNT), EINVAL, "RTS with retries");
	expect_eq(unreliable_to_rts(a.qp), 0, "RTS");
	must(!ibv_query_qp(a.qp, &attr, IBV_QP_STATE, &init));
	expect_eq(attr.qp_state, IBV_QPS_RTS, "state");
	expect_eq(attr.dest_qp_num, b.qp->qp_num, "peer");
	expect_eq(init.qp_type, IBV_QPT_UC, "type");
	point("states and attributes");
}

static void refused(void)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_READ, IBV_WR_SEND_WITH_INV,
		IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_ATOMIC_CMP_AND_SWP,
	};
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 8);
	struct ibv_send_wr wr;
	size_t i;

	renew();
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		wr = rdma_wr(opcodes[i], &sge, (uintptr_t)mem_b[PINNED],
			     mr_b[PINNED]->rkey);
		expect_eq(try_send(a.qp, &wr), EINVAL, "opcode %d", opcodes[i]);
	}
	point("what unreliable connections cannot do is refused");
}

/* Bytes */

static struct ibv_qp *make_extended(void)
{
	struct ibv_qp_init_attr classic = qp_init(&a, DEPTH);
	struct ibv_qp_init_attr_ex init = {
		.send_cq = classic.send_cq,
		.recv_cq = classic.recv_cq,
		.cap = classic.cap,
		.qp_type = IBV_QPT_UC,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = a.pd,
		.send_ops_flags = IBV_QP_EX_WITH_SEND |
				  IBV_QP_EX_WITH_SEND_WITH_IMM |
				  IBV_QP_EX_WITH_RDMA_WRITE |
				  IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM,
	};
	struct ibv_qp *qp = ibv_create_qp_ex(a.ctx, &init);

	must(qp);
	init.send_ops_flags = IBV_QP_EX_WITH_RDMA_READ;
	errno = 0;
	expect(!ibv_create_qp_ex(a.ctx, &init) && errno == EOPNOTSUPP,
	       "reads on an unreliable connection: %d", errno);
	return qp;
}

static void post_extended(const struct ibv_send_wr *wr)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(a.qp);

	ibv_wr_start(qp);
	qp->wr_id = wr->wr_id;
	qp->wr_flags = wr->send_flags & ~IBV_SEND_INLINE;
	switch (wr->opcode) {
	case IBV_WR_SEND:
		ibv_wr_send(qp);
		break;
	case IBV_WR_SEND_WITH_IMM:
		ibv_wr_send_imm(qp, wr->imm_data);
		break;
	case IBV_WR_RDMA_WRITE:
		ibv_wr_rdma_write(qp, wr->wr.rdma.rkey,
				  wr->wr.rdma.remote_addr);
		break;
	default:
		ibv_wr_rdma_write_imm(qp, wr->wr.rdma.rkey,
				      wr->wr.rdma.remote_addr, wr->imm_data);
	}
	if (wr->send_flags & IBV_SEND_INLINE)
		ibv_wr_set_inline_data(qp, (void *)wr->sg_list->addr,
				       wr->sg_list->length);
	else
		ibv_wr_set_sge_list(qp, wr->num_sge, wr->sg_list);
	errno = ibv_wr_complete(qp);
	must(!errno);
}

static void expect_received(const struct ibv_send_wr *wr, uint32_t len)
{
	struct ibv_wc wc;

	if (!expect_wc_at(__FILE__, __LINE__, b.rcq, len, IBV_WC_SUCCESS, &wc))
		return;
	expect_eq(wc.opcode, is_send(wr->opcode) ? IBV_WC_RECV :
		  IBV_WC_RECV_RDMA_WITH_IMM, "opcode");
	expect_eq(wc.byte_len, len, "byte_len");
	expect_eq(wc.qp_num, b.qp->qp_num, "qp_num");
	expect_eq(wc.wc_flags, has_imm(wr->opcode) ? IBV_WC_WITH_IMM : 0,
		  "wc_flags");
	if (has_imm(wr->opcode))
		expect_eq(wc.imm_data, wr->imm_data, "immediate data");
}

static void transfer(enum kind kind, enum ibv_wr_opcode opcode, uint32_t len,
		     bool is_inline, bool extended)
{
	uint8_t *src = mem_a[kind] + 1001, *dst = mem_b[kind] + 2 * PAGE - 77;
	struct ibv_sge from[2] = {
		sge_of(mr_a[kind], src, is_inline ? len : len / 3),
		sge_of(mr_a[kind], src + len / 3, len - len / 3),
	};
	struct ibv_sge to = sge_of(mr_b[kind], dst, len);
	struct ibv_send_wr wr = rdma_wr(opcode, from, (uintptr_t)dst,
					mr_b[kind]->rkey);

	wr.num_sge = is_inline ? 1 : 2;
	wr.send_flags |= is_inline ? IBV_SEND_INLINE : 0;
	wr.imm_data = htonl(0x12340000 ^ len);
	wr.wr_id = len;
	random_fill(src, len);
	memset(mem_b[kind], 0, len + 4 * PAGE);
	if (is_send(opcode) || has_imm(opcode))
		post_recv(b.qp, len, is_send(opcode) ? &to : NULL,
			  is_send(opcode));
	if (extended)
		post_extended(&wr);
	else
		post_send(a.qp, &wr);
	expect_wc(a.scq, len, IBV_WC_SUCCESS);
	if (is_send(opcode) || has_imm(opcode))
		expect_received(&wr, len);
	expect_same(dst, src, len, opcode_name(opcode));
	expect_eq(zero_check(mem_b[kind], 2 * PAGE - 77), 2 * PAGE - 77,
		  "in front");
	expect_eq(zero_check(dst + len, PAGE), PAGE, "behind");
}

static void bytes(enum kind kind, bool extended)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM,
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM,
	};
	static const uint32_t sizes[] = { 0, 1, 333, 4097, 70001, 1000003 };
	size_t i, j;

	renew();
	if (extended) {
		side_drop_qp(&a);
		a.qp = make_extended();
		uc_make(&b, NULL);
		uc_connect(&a, &b, ALL_RIGHTS);
		uc_connect(&b, &a, ALL_RIGHTS);
	}
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			transfer(kind, opcodes[i], sizes[j], false, extended);
			if (sizes[j] <= INLINE_CAP)
				transfer(kind, opcodes[i], sizes[j], true,
					 extended);
		}
	}
	point("%s: every byte, %s", kind_name[kind],
	      extended ? "by ibv_wr_*()" : "posted");
}

/* What gets lost */

/* Of which nothing is heard at either side. */
static void expect_lost(struct ibv_send_wr *wr, const char *what)
{
	static uint64_t id = 500;
	void *element;

	wr->wr_id = ++id;
	post_send(a.qp, wr);
	expect_wc(a.scq, id, IBV_WC_SUCCESS);
	expect(is_quiet(b.rcq, 5), "%s was received", what);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "%s: the sender's state", what);
	expect_eq(wait_event(b.ctx, &element, 0), -1, "%s: an event", what);
}

static void losses(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_sge to = sge_of(mr_b[PINNED], mem_b[PINNED], 99);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	struct ibv_send_wr write = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					   (uintptr_t)mem_b[PINNED],
					   mr_b[PINNED]->rkey);
	long rx = counter("rx_drops");

	renew();
	memset(mem_b[PINNED], 0, PAGE);
	expect_lost(&send, "without a receive");
	post_recv(b.qp, 1, &to, 1);
	expect_lost(&send, "too long for its receive");
	write.wr.rdma.rkey ^= 0x100;
	expect_lost(&write, "wrong key");
	write.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	expect_lost(&write, "wrong key, with immediate data");
	write.wr.rdma.rkey ^= 0x100;
	write.wr.rdma.remote_addr += SIZE;
	expect_lost(&write, "out of bounds");
	write.opcode = IBV_WR_RDMA_WRITE;
	expect_lost(&write, "out of bounds");
	expect_eq(zero_check(mem_b[PINNED], PAGE), PAGE, "memory");
	expect_eq(qp_state(b.qp), IBV_QPS_RTS, "the receiver's state");
	expect_eq(counter("rx_drops"), rx + 6, "rx_drops");

	/* The receive that was too small is there still. */
	sge.length = 99;
	pattern_fill(mem_a[PINNED], 99, 3);
	post_send(a.qp, &send);
	expect_wc(a.scq, send.wr_id, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	expect_eq(pattern_check(mem_b[PINNED], 99, 3), 99, "data");
	point("what gets lost is lost in silence, and counted");
}

static void nobody_there(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	struct ibv_send_wr write = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					   (uintptr_t)mem_b[PINNED],
					   mr_b[PINNED]->rkey);
	long tx;

	uc_make(&a, NULL);
	uc_make(&b, NULL);
	uc_connect(&a, &b, ALL_RIGHTS);
	tx = counter("tx_drops");
	expect_lost(&send, "to one in RESET");
	uc_connect(&b, &a, IBV_ACCESS_LOCAL_WRITE);
	expect_lost(&write, "to one that gives no rights");
	must(!qp_to(b.qp, IBV_QPS_ERR));
	expect_lost(&send, "to one in error");
	side_drop_qp(&b);
	expect_lost(&send, "to one that is not there");
	expect_eq(counter("tx_drops"), tx + 3, "tx_drops");
	point("where nobody is, messages are lost");
}

static void wrong_receive(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_sge to = sge_of(mr_b[PINNED], mem_b[PINNED], 100);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

	renew();
	to.lkey ^= 0x100;
	post_recv(b.qp, 1, &to, 1);
	post_send(a.qp, &send);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_LOC_PROT_ERR);
	expect_eq(qp_state(b.qp), IBV_QPS_ERR, "the receiver's state");
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "the sender's");
	point("a receive with a wrong key is the receiver's error");
}

static void failures(void)
{
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_sge bad = sge_of(mr_a[PINNED], mem_a[PINNED], 100);
	struct ibv_sge to = sge_of(mr_b[PINNED], mem_b[PINNED], 100);
	struct ibv_send_wr next = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &bad, 0, 0);

	renew();
	bad.lkey ^= 0x100;
	post_recv(b.qp, 1, &to, 1);
	wr.next = &next;
	wr.wr_id = 1;
	next.wr_id = 2;
	post_send(a.qp, &wr);
	expect_wc(a.scq, 1, IBV_WC_LOC_PROT_ERR);
	expect_wc(a.scq, 2, IBV_WC_WR_FLUSH_ERR);
	expect_eq(qp_state(a.qp), IBV_QPS_SQE, "state");
	post_recv(a.qp, 3, &sge, 1);
	wr = rdma_wr(IBV_WR_SEND, &to, 0, 0);
	post_send(b.qp, &wr);
	expect_wc(b.scq, 0, IBV_WC_SUCCESS);
	expect_wc(a.rcq, 3, IBV_WC_SUCCESS);
	expect_eq(qp_to(a.qp, IBV_QPS_RTS), 0, "back to RTS");
	post_send(a.qp, &next);
	expect_wc(a.scq, 2, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	point("a send that fails: SQE, and back");
}

static void shared_queue(void)
{
	struct ibv_srq_init_attr init = { .attr = { 16, 4, 0 } };
	struct ibv_srq *srq = ibv_create_srq(b.pd, &init);
	struct ibv_sge sge = sge_of(mr_a[PINNED], mem_a[PINNED], 5000);
	struct ibv_sge to = sge_of(mr_b[ODP], mem_b[ODP] + 1, 5000);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

	must(srq);
	uc_make(&a, NULL);
	uc_make(&b, srq);
	uc_connect(&a, &b, ALL_RIGHTS);
	uc_connect(&b, &a, ALL_RIGHTS);
	expect_lost(&send, "without a receive");
	must(!try_srq_recv(srq, 1, &to, 1));
	sge.length++;
	expect_lost(&send, "too long for its receive");
	sge.length--;
	must(!madvise(mem_b[ODP], SIZE, MADV_DONTNEED));
	pattern_fill(mem_a[PINNED], 5000, 4);
	post_send(a.qp, &send);
	expect_wc(a.scq, send.wr_id, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
	expect_eq(pattern_check(mem_b[ODP] + 1, 5000, 4), 5000, "data");
	side_drop_qp(&b);
	must(!ibv_destroy_srq(srq));
	point("shared receive queue");
}

/* Memory that somebody provides, or does not */

/* Soon enough; false when this thread was held up for too long to tell. */
static bool page_late(bool provided)
{
	bool told = true;
	uint8_t *missing = map_memory(4 * PAGE);
	struct ibv_mr *mr = reg(b.pd, missing, 4 * PAGE, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	struct ibv_sge sge = sge_of(mr_a[ODP], mem_a[ODP], 3000);
	struct ibv_sge to = sge_of(mr, missing + 100, 3000);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	uint64_t start;

	renew();
	must(!uffd_open((long []){ (long)missing, 4 * PAGE,
				   UFFDIO_REGISTER_MODE_MISSING }));
	pattern_fill(mem_a[ODP], 3000, 9);
	post_recv(b.qp, 1, &to, 1);
	start = now_ms();
	post_send(a.qp, &send);
	expect_eq(uffd_wait((long []){ SOON_MS }), (long)missing, "fault");
	if (provided) {
		must(!uffd_copy((long []){ (long)missing, 99 }));
		told = now_ms() - start < 500;
		expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	} else {
		expect_wc(a.scq, 0, IBV_WC_SUCCESS);
		expect(now_ms() - start >= 900, "given up too soon");
		expect(is_quiet(b.rcq, 20), "it was received");
		/* The receive is for the next one. */
		must(!uffd_copy((long []){ (long)missing, 99 }));
		pattern_fill(mem_a[ODP], 3000, 9);
		post_send(a.qp, &send);
		expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	}
	if (told) {
		expect_wc(b.rcq, 1, IBV_WC_SUCCESS);
		expect_eq(pattern_check(missing + 100, 3000, 9), 3000, "data");
	}
	uffd_close(NULL);
	dereg(mr);
	must(!munmap(missing, 4 * PAGE));
	return told;
}

static void late_page(bool provided)
{
	int tries = 50;

	while (!page_late(provided) && --tries)
		;
	expect(tries, "it takes half a second to provide a page");
	point("a receiver's page that somebody provides%s",
	      provided ? "" : " too late");
}

static void run(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	open_all();
	capabilities();
	states();
	refused();
	for (kind = 0; kind < KINDS; kind++) {
		bytes(kind, false);
		bytes(kind, true);
	}
	losses();
	nobody_there();
	uc_make(&b, NULL);
	wrong_receive();
	failures();
	shared_queue();
	late_page(true);
	late_page(false);
	close_all();
	expect_no_leftovers(&before);
	point("nothing is left");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
