// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What must be refused: by the right side, with the right status (IBTA 9.7.4,
 * 9.9.2, 9.9.3), with what follows flushed in order, and with not one byte
 * changed that should not be.
 */
#include "common.h"

#define ARENA		(16 * PAGE)
#define REGION_AT	(2 * PAGE + 8)	/* region in an arena, not its guards */
#define REGION_LEN	(5 * PAGE + 5)
#define LOCAL_LEN	(7 * PAGE + 5)
#define GOOD_AT		(REGION_AT + 3)	/* written by the requests before */
#define GOOD_LEN	13U
#define DEPTH		16

/* Memory of each kind at each side, and what it should contain. */
struct arena {
	uint8_t *mem;
	uint8_t *model;
	struct ibv_mr *mr;
};

static struct side a, b;
static struct arena at_a[KINDS], at_b[KINDS];
static enum kind local, remote;

static void arena_open(struct arena *arena, struct ibv_pd *pd, size_t len,
		       enum kind kind)
{
	arena->mem = map_memory(ARENA);
	arena->model = map_memory(ARENA);
	random_fill(arena->model, ARENA);
	memcpy(arena->mem, arena->model, ARENA);
	arena->mr = reg(pd, arena->mem + REGION_AT, len,
			ALL_RIGHTS | kind_access(kind));
}

static struct ibv_mr *mr_a(void)
{
	return at_a[local].mr;
}

static struct ibv_mr *mr_b(void)
{
	return at_b[remote].mr;
}

static uint64_t region_b(void)
{
	return (uintptr_t)at_b[remote].mem + REGION_AT;
}

static struct ibv_sge local_sge(uint32_t len)
{
	return sge_of(mr_a(), at_a[local].mem + REGION_AT + 1, len);
}

/* What should come of a bad request. */
struct outcome {
	enum ibv_wc_status requester;
	int event;			/* the responder's, or -1 */
	bool responder_fails;		/* its state becomes ERR */
	enum ibv_wc_status receive;	/* of the first receive */
};

static const struct outcome access_error = {
	IBV_WC_REM_ACCESS_ERR, IBV_EVENT_QP_ACCESS_ERR, true,
	IBV_WC_WR_FLUSH_ERR,
};

static const struct outcome invalid_request = {
	IBV_WC_REM_INV_REQ_ERR, IBV_EVENT_QP_REQ_ERR, true,
	IBV_WC_WR_FLUSH_ERR,
};

static const struct outcome local_prot = { IBV_WC_LOC_PROT_ERR, -1, false, 0 };
static const struct outcome local_len = { IBV_WC_LOC_LEN_ERR, -1, false, 0 };

static const struct outcome receive_too_small = {
	IBV_WC_REM_INV_REQ_ERR, -1, true, IBV_WC_LOC_LEN_ERR,
};

static const struct outcome receive_denied = {
	IBV_WC_REM_OP_ERR, -1, true, IBV_WC_LOC_PROT_ERR,
};

/* A good write, which is executed only ahead of the bad request. */
static struct ibv_send_wr good_write(struct ibv_sge *sge, uint64_t wr_id)
{
	struct ibv_send_wr wr;

	*sge = sge_of(mr_a(), at_a[local].mem + REGION_AT + 100, GOOD_LEN);
	wr = rdma_wr(IBV_WR_RDMA_WRITE, sge,
		     (uintptr_t)at_b[remote].mem + GOOD_AT, mr_b()->rkey);
	wr.wr_id = wr_id;
	return wr;
}

static void expect_untouched(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		expect_same(at_a[kind].mem, at_a[kind].model, ARENA,
			    "the requester's memory");
		expect_same(at_b[kind].mem, at_b[kind].model, ARENA,
			    "the responder's memory");
	}
}

static void expect_responder(const struct outcome *outcome, int receives)
{
	void *element = NULL;
	int event, i;

	if (outcome->responder_fails)
		expect(wait_state(b.qp, IBV_QPS_ERR, SOON_MS),
		       "the responder is not in error");
	else
		expect_eq(qp_state(b.qp), IBV_QPS_RTS, "responder's state");

	event = wait_event(b.ctx, &element, outcome->event < 0 ? 0 : SOON_MS);
	expect_eq(event, outcome->event, "responder's event");
	if (event >= 0)
		expect(element == b.qp, "the event is about another QP");

	for (i = 0; i < receives && outcome->responder_fails; i++)
		expect_wc(b.rcq, 100 + i,
			  i ? IBV_WC_WR_FLUSH_ERR : outcome->receive);
	expect(is_quiet(b.rcq, 0), "a receive has completed");
	expect(is_quiet(b.scq, 0), "the responder's send queue completed");
}

static void expect_requester(const struct outcome *outcome)
{
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
	expect_wc(a.scq, 2, outcome->requester);
	expect_wc(a.scq, 3, IBV_WC_WR_FLUSH_ERR);
	expect_wc(a.scq, 4, IBV_WC_WR_FLUSH_ERR);
	expect_wc(a.rcq, 90, IBV_WC_WR_FLUSH_ERR);
	expect(is_quiet(a.scq, 0), "one completion too many");
	expect(wait_state(a.qp, IBV_QPS_ERR, SOON_MS),
	       "the requester is not in error");
	expect_eq(wait_event(a.ctx, NULL, 0), -1, "requester's event");
}

/* Post a good request, the bad one, a silent and two more good ones. */
static void run(struct ibv_send_wr *bad, const struct outcome *outcome,
		int receives)
{
	struct ibv_sge sge[3];
	struct ibv_send_wr before = good_write(&sge[0], 1);
	struct ibv_send_wr after = good_write(&sge[1], 3);
	struct ibv_send_wr last = good_write(&sge[2], 4);

	memcpy(at_b[remote].model + GOOD_AT, at_a[local].model + REGION_AT + 100,
	       GOOD_LEN);
	after.wr.rdma.remote_addr += 100;
	last.wr.rdma.remote_addr += 200;
	after.send_flags = 0;
	bad->wr_id = 2;
	before.next = bad;
	bad->next = &after;
	after.next = &last;

	post_recv(a.qp, 90, NULL, 0);
	post_send(a.qp, &before);
	expect_requester(outcome);
	expect_responder(outcome, receives);
	expect_untouched();
}

/* The same with fresh queue pairs and receives that would do. */
static void run_fresh(struct ibv_send_wr *bad, const struct outcome *outcome)
{
	struct ibv_sge sge = sge_of(mr_b(), (void *)region_b(), REGION_LEN);

	reconnect(&a, &b, DEPTH, &usual_conn);
	post_recv(b.qp, 100, &sge, 1);
	post_recv(b.qp, 101, &sge, 1);
	run(bad, outcome, 2);
}

static const enum ibv_wr_opcode remote_ops[] = {
	IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ,
	IBV_WR_ATOMIC_CMP_AND_SWP, IBV_WR_ATOMIC_FETCH_AND_ADD,
};

static int right_of(enum ibv_wr_opcode opcode)
{
	if (is_atomic(opcode))
		return IBV_ACCESS_REMOTE_ATOMIC;
	return opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_REMOTE_READ :
					    IBV_ACCESS_REMOTE_WRITE;
}

/* An access of @opcode to @addr; atomics are rounded down to eight bytes. */
static struct ibv_send_wr access_wr(enum ibv_wr_opcode opcode,
				    struct ibv_sge *sge, uint64_t addr,
				    uint32_t rkey, uint32_t len)
{
	*sge = local_sge(is_atomic(opcode) ? 8 : len);
	if (is_atomic(opcode))
		return atomic_wr(opcode, sge, addr & ~7ULL, rkey, 1, 2);
	return rdma_wr(opcode, sge, addr, rkey);
}

static void try_access(enum ibv_wr_opcode opcode, uint64_t addr, uint32_t rkey,
		       uint32_t len, const struct outcome *outcome)
{
	struct ibv_sge sge;
	struct ibv_send_wr wr = access_wr(opcode, &sge, addr, rkey, len);

	run_fresh(&wr, outcome);
}

static void wrong_keys(enum ibv_wr_opcode opcode)
{
	uint32_t key = mr_b()->rkey;
	const uint32_t keys[] = {
		key ^ 1, key ^ 0x80, key ^ 0x100, key ^ 0x80000000, 0, 1,
		0xffffffff, mr_a()->rkey,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		try_access(opcode, region_b() + 40, keys[i], 33,
			   &access_error);
}

static void stale_key(enum ibv_wr_opcode opcode)
{
	struct ibv_mr *mr = reg(b.pd, (void *)region_b(), REGION_LEN,
				ALL_RIGHTS | kind_access(remote));
	uint32_t key = mr->rkey;

	dereg(mr);
	try_access(opcode, region_b() + 40, key, 33, &access_error);
}

static void other_domain(enum ibv_wr_opcode opcode)
{
	struct ibv_pd *pd = ibv_alloc_pd(b.ctx);
	struct ibv_mr *mr;

	must(pd);
	mr = reg(pd, (void *)region_b(), REGION_LEN,
		 ALL_RIGHTS | kind_access(remote));
	try_access(opcode, region_b() + 40, mr->rkey, 33, &access_error);
	dereg(mr);
	must(!ibv_dealloc_pd(pd));
}

static void missing_right(enum ibv_wr_opcode opcode)
{
	int rights = ALL_RIGHTS & ~right_of(opcode);
	struct ibv_mr *mr = reg(b.pd, (void *)region_b(), REGION_LEN,
				rights | kind_access(remote));

	try_access(opcode, region_b() + 40, mr->rkey, 33, &access_error);
	dereg(mr);
}

static void out_of_bounds(enum ibv_wr_opcode opcode)
{
	uint64_t start = region_b(), end = start + REGION_LEN;
	const struct {
		uint64_t addr;
		uint32_t len;
	} ranges[] = {
		{ start - 1, 33 },		/* begins too early */
		{ start - 1, 1 },
		{ start - 4 * PAGE, 33 },
		{ start - REGION_LEN, REGION_LEN },
		{ start - 1, REGION_LEN },
		{ end - 32, 33 },		/* ends too late */
		{ end, 1 },
		{ end + 3 * PAGE, 33 },
		{ start + 1, REGION_LEN },
		{ start, REGION_LEN + 1 },
		{ UINT64_MAX, 1 },		/* at the end of all addresses */
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 10, 33 },
		{ start + (1ULL << 32), 33 },	/* cut to 32 bits it fits */
		{ start + (1ULL << 63), 33 },
		{ 0, 33 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		try_access(opcode, ranges[i].addr, mr_b()->rkey, ranges[i].len,
			   &access_error);
}

static void atomic_out_of_bounds(enum ibv_wr_opcode opcode)
{
	uint64_t start = region_b(), end = start + REGION_LEN;
	const uint64_t addrs[] = {
		start - 8, start - PAGE, end & ~7ULL, (end | 7) + 1,
		end + PAGE, UINT64_MAX - 7, start + (1ULL << 32),
		start + (1ULL << 63), 0,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++)
		try_access(opcode, addrs[i], mr_b()->rkey, 8, &access_error);
}

static void misaligned(enum ibv_wr_opcode opcode)
{
	unsigned int off;

	for (off = 1; off < 8; off++) {
		struct ibv_sge sge = local_sge(8);
		struct ibv_send_wr wr = atomic_wr(opcode, &sge,
						  region_b() + off,
						  mr_b()->rkey, 1, 2);

		run_fresh(&wr, &invalid_request);
	}
}

/* An atomic's result needs eight bytes. */
static void short_result(enum ibv_wr_opcode opcode)
{
	unsigned int len;

	for (len = 0; len < 8; len += 7) {
		struct ibv_sge sge = local_sge(len);
		struct ibv_send_wr wr = atomic_wr(opcode, &sge, region_b(),
						  mr_b()->rkey, 1, 2);

		run_fresh(&wr, &local_len);
	}
}

static void qp_without_right(enum ibv_wr_opcode opcode)
{
	int rights = ALL_RIGHTS & ~right_of(opcode);
	struct ibv_sge sge;
	struct ibv_send_wr wr = access_wr(opcode, &sge, region_b() + 40,
					  mr_b()->rkey, 33);
	struct outcome outcome = invalid_request;
	struct conn conn = usual_conn;

	/* Without the right to write the good request ahead is none. */
	if (right_of(opcode) == IBV_ACCESS_REMOTE_WRITE)
		return;
	conn.access = rights;
	reconnect(&a, &b, DEPTH, &conn);
	post_recv(b.qp, 100, NULL, 0);
	run(&wr, &outcome, 1);
}

/* The same for writes, ahead of which there is nothing. */
static void qp_without_write(enum ibv_wr_opcode opcode)
{
	struct ibv_sge sge = local_sge(33);
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, region_b() + 40,
					mr_b()->rkey);
	struct conn conn = usual_conn;

	conn.access = ALL_RIGHTS & ~IBV_ACCESS_REMOTE_WRITE;
	reconnect(&a, &b, DEPTH, &conn);
	post_recv(b.qp, 100, NULL, 0);
	post_send(a.qp, &wr);
	expect_wc(a.scq, 0, IBV_WC_REM_INV_REQ_ERR);
	expect_responder(&invalid_request, 1);
	expect_untouched();
}

static void remote_point(const char *what, void (*test)(enum ibv_wr_opcode),
			 bool (*applies)(enum ibv_wr_opcode))
{
	size_t i;

	for (remote = 0; remote < KINDS; remote++) {
		for (i = 0; i < ARRAY_SIZE(remote_ops); i++) {
			local = i & 1 ? remote : !remote;
			if (applies(remote_ops[i]))
				test(remote_ops[i]);
		}
		point("%s, %s", what, kind_name[remote]);
	}
}

static bool always(enum ibv_wr_opcode opcode)
{
	(void)opcode;
	return true;
}

static bool moves_bytes(enum ibv_wr_opcode opcode)
{
	return !is_atomic(opcode);
}

static bool writes(enum ibv_wr_opcode opcode)
{
	return right_of(opcode) == IBV_ACCESS_REMOTE_WRITE;
}

static void remote_memory(void)
{
	remote_point("a wrong key", wrong_keys, always);
	remote_point("a stale key", stale_key, always);
	remote_point("a key of another domain", other_domain, always);
	remote_point("a region without the right", missing_right, always);
	remote_point("out of bounds", out_of_bounds, moves_bytes);
	remote_point("atomics out of bounds", atomic_out_of_bounds, is_atomic);
	remote_point("misaligned atomics", misaligned, is_atomic);
	remote_point("too little room for a result", short_result, is_atomic);
	remote_point("a QP without the right", qp_without_right, always);
	remote_point("a QP without the right to write", qp_without_write,
		     writes);
}

/* The requester's own memory */

static const enum ibv_wr_opcode all_ops[] = {
	IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE,
	IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ,
	IBV_WR_ATOMIC_CMP_AND_SWP, IBV_WR_ATOMIC_FETCH_AND_ADD,
};

static bool stores_locally(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_RDMA_READ || is_atomic(opcode);
}

/* A request whose first element is good, and whose second is @bad. */
static void try_local(enum ibv_wr_opcode opcode, struct ibv_sge bad)
{
	struct ibv_sge list[] = { local_sge(4), bad };
	struct ibv_send_wr wr;

	if (is_atomic(opcode))
		wr = atomic_wr(opcode, list, region_b() + 40, mr_b()->rkey, 1,
			       2);
	else
		wr = rdma_wr(opcode, list, region_b() + 40, mr_b()->rkey);
	wr.num_sge = 2;
	run_fresh(&wr, &local_prot);

	wr.sg_list = &list[1];
	wr.num_sge = 1;
	run_fresh(&wr, &local_prot);
}

static void try_local_key(enum ibv_wr_opcode opcode, uint32_t lkey)
{
	struct ibv_sge sge = local_sge(33);

	sge.lkey = lkey;
	try_local(opcode, sge);
}

static void local_wrong_key(enum ibv_wr_opcode opcode)
{
	try_local_key(opcode, mr_a()->lkey ^ 1);
	try_local_key(opcode, mr_a()->lkey ^ 0x100);
	try_local_key(opcode, mr_b()->lkey);
	try_local_key(opcode, 0);
}

static void local_other_key(enum ibv_wr_opcode opcode)
{
	struct ibv_pd *pd = ibv_alloc_pd(a.ctx);
	struct ibv_mr *mr;
	uint32_t key;

	must(pd);
	mr = reg(pd, at_a[local].mem, ARENA, ALL_RIGHTS | kind_access(local));
	try_local_key(opcode, mr->lkey);
	dereg(mr);
	must(!ibv_dealloc_pd(pd));

	mr = reg(a.pd, at_a[local].mem, ARENA, ALL_RIGHTS | kind_access(local));
	key = mr->lkey;
	dereg(mr);
	try_local_key(opcode, key);
}

static void local_bounds(enum ibv_wr_opcode opcode)
{
	struct ibv_sge sge = local_sge(33);
	uint64_t start = (uintptr_t)at_a[local].mem + REGION_AT;
	uint64_t end = start + LOCAL_LEN;
	const uint64_t addrs[] = {
		start - 1, end - 3, end, UINT64_MAX, UINT64_MAX - 7, 0,
		start + (1ULL << 32),
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++) {
		sge.addr = addrs[i];
		try_local(opcode, sge);
	}
}

static void local_read_only(enum ibv_wr_opcode opcode)
{
	struct ibv_mr *mr = reg(a.pd, at_a[local].mem, ARENA,
				IBV_ACCESS_REMOTE_READ | kind_access(local));

	try_local_key(opcode, mr->lkey);
	dereg(mr);
}

/* Thirty-two elements of 64 MiB and a byte are more than a message may be. */
static void too_long(enum ibv_wr_opcode opcode)
{
	const size_t len = 64 * MIB + 1;
	struct ibv_sge list[SGE_MAX];
	struct ibv_send_wr wr = rdma_wr(opcode, list, region_b(),
					mr_b()->rkey);
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct ibv_mr *mr;
	int i;

	must(mem != MAP_FAILED);
	mr = reg(a.pd, mem, len, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	for (i = 0; i < SGE_MAX; i++)
		list[i] = sge_of(mr, mem, len);
	wr.num_sge = SGE_MAX;
	run_fresh(&wr, &local_len);

	/* Not too long for a message, but for the region at the other side. */
	wr.num_sge = SGE_MAX - 1;
	if (!is_send(opcode))
		run_fresh(&wr, &access_error);
	dereg(mr);
	must(!munmap(mem, len));
}

static void local_point(const char *what, void (*test)(enum ibv_wr_opcode),
			bool (*applies)(enum ibv_wr_opcode))
{
	size_t i;

	for (local = 0; local < KINDS; local++) {
		for (i = 0; i < ARRAY_SIZE(all_ops); i++) {
			remote = i & 1 ? local : !local;
			if (applies(all_ops[i]))
				test(all_ops[i]);
		}
		point("%s, %s", what, kind_name[local]);
	}
}

static void local_memory(void)
{
	local_point("a wrong local key", local_wrong_key, always);
	local_point("a stale local key, one of another domain", local_other_key,
		    always);
	local_point("out of local bounds", local_bounds, always);
	local_point("a destination without LOCAL_WRITE", local_read_only,
		    stores_locally);
	local_point("too long a message", too_long, moves_bytes);
}

/* Receives */

static void try_receive(enum ibv_wr_opcode opcode, struct ibv_sge *list,
			int num_sge, const struct outcome *outcome)
{
	struct ibv_sge sge = local_sge(99);
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, 0, 0);

	reconnect(&a, &b, DEPTH, &usual_conn);
	post_recv(b.qp, 100, list, num_sge);
	post_recv(b.qp, 101, NULL, 0);
	run(&wr, outcome, 2);
}

static void receive_key(enum ibv_wr_opcode opcode, uint32_t lkey)
{
	struct ibv_sge list[] = {
		sge_of(mr_b(), (void *)(region_b() + 7), 50),
		sge_of(mr_b(), (void *)(region_b() + 70), 50),
	};

	list[1].lkey = lkey;
	try_receive(opcode, list, 2, &receive_denied);
	list[0] = list[1];
	list[0].length = 120;
	try_receive(opcode, list, 1, &receive_denied);
}

static void receive_short(enum ibv_wr_opcode opcode)
{
	struct ibv_sge list[] = {
		sge_of(mr_b(), (void *)(region_b() + 7), 98),
		sge_of(mr_b(), (void *)(region_b() + 150), 0),
	};

	try_receive(opcode, list, 2, &receive_too_small);
	try_receive(opcode, list, 0, &receive_too_small);
}

static void receive_bad_key(enum ibv_wr_opcode opcode)
{
	struct ibv_pd *pd = ibv_alloc_pd(b.ctx);
	struct ibv_mr *mr;
	uint32_t key;

	receive_key(opcode, mr_b()->lkey ^ 1);
	receive_key(opcode, mr_b()->lkey ^ 0x100);
	receive_key(opcode, mr_a()->lkey);

	must(pd);
	mr = reg(pd, (void *)region_b(), REGION_LEN,
		 ALL_RIGHTS | kind_access(remote));
	receive_key(opcode, mr->lkey);
	dereg(mr);
	must(!ibv_dealloc_pd(pd));

	mr = reg(b.pd, (void *)region_b(), REGION_LEN,
		 ALL_RIGHTS | kind_access(remote));
	key = mr->lkey;
	dereg(mr);
	receive_key(opcode, key);
}

static void receive_bounds(enum ibv_wr_opcode opcode)
{
	uint64_t end = region_b() + REGION_LEN;
	const uint64_t addrs[] = {
		region_b() - 1, end - 98, end, UINT64_MAX - 9, 0,
	};
	struct ibv_sge sge = sge_of(mr_b(), NULL, 99);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++) {
		sge.addr = addrs[i];
		try_receive(opcode, &sge, 1, &receive_denied);
	}
}

static void receive_read_only(enum ibv_wr_opcode opcode)
{
	struct ibv_mr *mr = reg(b.pd, (void *)region_b(), REGION_LEN,
				IBV_ACCESS_REMOTE_READ | kind_access(remote));

	receive_key(opcode, mr->lkey);
	dereg(mr);
}

static void receive_point(const char *what, void (*test)(enum ibv_wr_opcode))
{
	for (remote = 0; remote < KINDS; remote++) {
		for (local = 0; local < KINDS; local++) {
			test(IBV_WR_SEND);
			test(IBV_WR_SEND_WITH_IMM);
		}
		point("%s, %s", what, kind_name[remote]);
	}
}

static void receives(void)
{
	receive_point("too small a receive", receive_short);
	receive_point("a receive with a wrong key", receive_bad_key);
	receive_point("a receive out of bounds", receive_bounds);
	receive_point("a receive without LOCAL_WRITE", receive_read_only);
}

/* What the call itself refuses */

static void refused_send(struct ibv_send_wr *wr, int wanted, const char *what)
{
	struct ibv_sge sge;
	struct ibv_send_wr good = good_write(&sge, 7), *bad = NULL;
	int ret;

	good.next = wr;
	ret = ibv_post_send(a.qp, &good, &bad);
	expect(ret == wanted, "%s: %s", what, strerror(ret));
	expect(bad == wr, "%s: the wrong request is called bad", what);
	expect_wc(a.scq, 7, IBV_WC_SUCCESS);
	expect(is_quiet(a.scq, 0), "%s: something completed", what);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "state after %s", what);
}

static uint32_t inline_cap(void)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	errno = ibv_query_qp(a.qp, &attr, IBV_QP_CAP, &init);
	must(!errno);
	expect(init.cap.max_inline_data >= INLINE_CAP, "inline is only %u",
	       init.cap.max_inline_data);
	return init.cap.max_inline_data;
}

static void refused_sends(void)
{
	struct ibv_sge list[SGE_MAX + 1], sge = local_sge(8);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, list, region_b(),
					mr_b()->rkey);
	int i;

	for (i = 0; i <= SGE_MAX; i++)
		list[i] = local_sge(i);
	wr.num_sge = SGE_MAX + 1;
	refused_send(&wr, EINVAL, "too many elements");
	wr.num_sge = -1;
	refused_send(&wr, EINVAL, "less than no elements");

	wr = rdma_wr(IBV_WR_TSO, &sge, region_b(), mr_b()->rkey);
	refused_send(&wr, EINVAL, "an opcode of other queue pairs");
	wr.opcode = 200;
	refused_send(&wr, EINVAL, "no opcode");

	wr = rdma_wr(IBV_WR_RDMA_READ, &sge, region_b(), mr_b()->rkey);
	wr.send_flags |= IBV_SEND_INLINE;
	refused_send(&wr, EINVAL, "an inline read");

	sge.length = inline_cap() + 1;
	wr.opcode = IBV_WR_RDMA_WRITE;
	refused_send(&wr, EINVAL, "too much inline data");
}

static void refused_receives(void)
{
	struct ibv_sge list[SGE_MAX + 1] = {};

	expect_eq(try_recv(b.qp, 1, list, SGE_MAX + 1), EINVAL,
		  "too many elements to receive");
	expect_eq(try_recv(b.qp, 1, list, -1), EINVAL,
		  "less than no elements to receive");
}

static void refused_posts(void)
{
	local = remote = PINNED;
	reconnect(&a, &b, DEPTH, &usual_conn);
	memcpy(at_b[remote].model + GOOD_AT, at_a[local].model + REGION_AT + 100,
	       GOOD_LEN);
	refused_sends();
	refused_receives();
	expect_untouched();
	point("posts that are refused");
}

static void refused_reg(void *addr, size_t len, int access, const char *what)
{
	struct ibv_mr *mr = ibv_reg_mr(a.pd, addr, len, access);

	expect(!mr && errno, "%s was registered", what);
	if (mr)
		ibv_dereg_mr(mr);
}

static void refused_registrations(enum kind kind)
{
	int how = kind_access(kind);
	char *mem = map_memory(2 * PAGE);

	refused_reg(mem, 0, ALL_RIGHTS | how, "nothing");
	refused_reg(mem, PAGE, how | IBV_ACCESS_REMOTE_WRITE,
		    "a region for others only to write");
	refused_reg(mem, PAGE, how | IBV_ACCESS_REMOTE_ATOMIC,
		    "a region for others' atomics only");
	refused_reg((void *)-PAGE, 2 * PAGE, ALL_RIGHTS | how,
		    "a region around the end of addresses");
	refused_reg(mem, SIZE_MAX - PAGE, ALL_RIGHTS | how,
		    "a region of all but a page");
	refused_reg((void *)0xffff888000000000, PAGE, ALL_RIGHTS | how,
		    "the kernel's memory");
	refused_reg(mem, PAGE, how | 1 << 19, "an unknown right");
	if (kind == PINNED) {
		must(!munmap(mem, PAGE));
		refused_reg(mem, 2 * PAGE, ALL_RIGHTS, "a hole");
		must(!mprotect(mem + PAGE, PAGE, PROT_READ));
		refused_reg(mem + PAGE, PAGE, ALL_RIGHTS,
			    "read-only memory, to be written");
	}
	point("registrations that are refused, %s", kind_name[kind]);
}

/* Keys */

#define KEYS	10000

static int compare_u32(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

static unsigned int count_different(uint32_t *values, unsigned int n)
{
	unsigned int different = 1, i;

	qsort(values, n, sizeof(*values), compare_u32);
	for (i = 1; i < n; i++)
		different += values[i] != values[i - 1];
	return different;
}

static void keys(void)
{
	static uint32_t keys[KEYS], steps[KEYS - 1];
	struct ibv_mr *kept[100] = {};
	unsigned int i;

	for (i = 0; i < KEYS; i++) {
		struct ibv_mr *mr = reg(a.pd, at_a[ODP].mem, PAGE,
					ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
		struct ibv_mr **slot = &kept[i % ARRAY_SIZE(kept)];

		keys[i] = mr->rkey;
		if (*slot)
			dereg(*slot);
		*slot = mr;
	}
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		dereg(kept[i]);
	for (i = 0; i < KEYS - 1; i++)
		steps[i] = keys[i + 1] - keys[i];
	expect_eq(count_different(keys, KEYS), KEYS, "different keys");
	expect(count_different(steps, KEYS - 1) > KEYS / 2,
	       "keys follow each other in steps that repeat");
	point("no key is given out twice, or can be told from others");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	side_open(&a, 256);
	side_open(&b, 256);
	for (kind = 0; kind < KINDS; kind++) {
		arena_open(&at_a[kind], a.pd, LOCAL_LEN, kind);
		arena_open(&at_b[kind], b.pd, REGION_LEN, kind);
	}

	remote_memory();
	local_memory();
	receives();
	refused_posts();
	for (kind = 0; kind < KINDS; kind++)
		refused_registrations(kind);
	keys();

	side_drop_qp(&a);
	side_drop_qp(&b);
	for (kind = 0; kind < KINDS; kind++) {
		dereg(at_a[kind].mr);
		dereg(at_b[kind].mr);
	}
	side_close(&a);
	side_close(&b);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
