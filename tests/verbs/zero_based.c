// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Regions whose addresses are not those of the memory: from zero on, or from
 * anywhere, as far into a page as it may be.  And regions with no memory.
 */
#include "owner.h"

#define SIZE		(256 * KIB)
#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

static struct owner owner;
static uint64_t memory;			/* the owner's, SIZE bytes of it */

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* In the owner's process */

static struct ibv_mr *own_mr;
static struct ibv_mw *own_mw;

/* arg[1] bytes at arg[0], which begin at arg[3]. */
static long own_register(const long *arg)
{
	errno = 0;
	own_mr = arg[2] & IBV_ACCESS_ZERO_BASED ?
		 ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]) :
		 ibv_reg_mr_iova(own.pd, (void *)arg[0], arg[1], arg[3],
				 arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

/* The function itself: with the macro a flag can be told from a variable. */
static long own_register_by_call(const long *arg)
{
	own_mr = (ibv_reg_mr)(own.pd, (void *)arg[0], arg[1], arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

static long own_deregister(const long *arg)
{
	(void)arg;
	return ibv_dereg_mr(own_mr);
}

static long own_rereg(const long *arg)
{
	return ibv_rereg_mr(own_mr, arg[0], own.pd, (void *)arg[1], arg[2],
			    arg[3]) ? errno : 0;
}

static long own_bind(const long *arg)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;

	own_mw = ibv_alloc_mw(own.pd, IBV_MW_TYPE_2);
	must(own_mw);
	wr.bind_mw.mw = own_mw;
	wr.bind_mw.rkey = ibv_inc_rkey(own_mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info) {
		own_mr, arg[0], arg[1],
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
	};
	must(!try_send(own.qp, &wr));
	must(wait_wc(own.scq, &wc, SOON_MS));
	return wc.status ? -(long)wc.status : (long)wr.bind_mw.rkey;
}

static long own_unbind(const long *arg)
{
	(void)arg;
	return ibv_dealloc_mw(own_mw);
}

static long own_receive(const long *arg)
{
	struct ibv_sge sge = { arg[0], arg[1], own_mr->lkey };

	return try_recv(own.qp, 0, &sge, 1);
}

/* Write from there to the requester. */
static long own_write(const long *arg)
{
	struct ibv_sge sge = { arg[0], arg[1], own_mr->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, arg[2],
					arg[3]);
	struct ibv_wc wc;

	post_send(own.qp, &wr);
	return wait_wc(own.scq, &wc, SOON_MS) ? (long)wc.status : -1;
}

/* What the requester does */

static uint32_t begin(size_t at, size_t len, int access, uint64_t iova)
{
	long key;

	memory = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	must((long)memory > 0);
	key = ask(&owner, own_register, memory + at, len, access, iova);
	if (key < 0)
		bail("register: %s", strerror(-key));
	owner_connect(&owner);
	return key;
}

static void end(void)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	ask(&owner, own_unmap, memory, SIZE);
}

/* @len bytes that begin at memory + @at are @addr. */
static void expect_works(uint32_t key, uint64_t addr, size_t at, size_t len)
{
	uint64_t seed = random_u64();
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		ask(&owner, own_fill, memory, SIZE, seed);
		pattern_fill(buf[kind], len, seed + 1);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind, addr,
			      key, len);
		expect_eq(ask(&owner, own_check, memory, at, seed), at,
			  "before");
		expect_eq(ask(&owner, own_check, memory + at, len, seed + 1),
			  len, "what was written");
		memset(buf[kind], 0, len);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, addr,
			      key, len);
		expect_eq(pattern_check(buf[kind], len, seed + 1), len,
			  "what was read");
	}
}

static void expect_refused(uint32_t key, enum ibv_wr_opcode opcode,
			   uint64_t addr, size_t len, int status)
{
	ask(&owner, own_fill, memory, SIZE, 5);
	expect_access(status, opcode, PINNED, addr, key, len);
	expect_eq(ask(&owner, own_check, memory, SIZE, 5), SIZE, "the memory");
	owner_connect(&owner);
}

/* Points */

static void from_zero(enum kind kind)
{
	const int access = ALL_RIGHTS | IBV_ACCESS_ZERO_BASED |
			   kind_access(kind);
	uint32_t key = begin(4093, 77777, access, 0);

	expect_works(key, 0, 4093, 77777);
	expect_works(key, 3, 4096, 5000);
	expect_works(key, 77776, 4093 + 77776, 1);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory + 4093, 8,
		       IBV_WC_REM_ACCESS_ERR);
	expect_refused(key, IBV_WR_RDMA_READ, 1, 77777, IBV_WC_REM_ACCESS_ERR);
	expect_refused(key, IBV_WR_RDMA_WRITE, -1, 2, IBV_WC_REM_ACCESS_ERR);
	/* Aligned is where it is, and what it is called. */
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, 0, 8,
		       IBV_WC_REM_ACCESS_ERR);
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, 3, 8,
		       IBV_WC_REM_INV_REQ_ERR);
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_ACCESS, 0, 0,
		      access), 0, "rights");
	expect_works(key, 1, 4094, 1000);
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_TRANSLATION,
		      memory + 1001, 20000, 0), 0, "translation");
	expect_works(key, 0, 1001, 20000);
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_ACCESS, 0, 0,
		      ALL_RIGHTS | kind_access(kind)), 0, "rights alone");
	expect_works(key, 0, 1001, 20000);
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_TRANSLATION |
		      IBV_REREG_MR_CHANGE_ACCESS, memory + 1001, 20000,
		      ALL_RIGHTS | kind_access(kind)), 0, "from there on");
	expect_works(key, memory + 1001, 1001, 20000);
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_TRANSLATION |
		      IBV_REREG_MR_CHANGE_ACCESS, memory + 1002, 20000,
		      access), 0, "from zero on again");
	expect_works(key, 0, 1002, 20000);
	end();

	key = begin(4088, 4096, access, 0);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_FETCH_AND_ADD, kind, 8,
		      key, 8);
	end();
	point("from zero on, %s, %s", kind_name[kind], where());
}

static void by_call(enum kind kind)
{
	long key;

	begin(0, PAGE, ALL_RIGHTS, 0);
	ask(&owner, own_deregister);
	key = ask(&owner, own_register_by_call, memory + 9, 9999, ALL_RIGHTS |
		  IBV_ACCESS_ZERO_BASED | kind_access(kind));
	must(key > 0);
	expect_works(key, 9, 18, 9000);
	end();
	point("from zero on, by the function, %s, %s", kind_name[kind],
	      where());
}

static void from_anywhere(enum kind kind)
{
	static const struct { size_t at, len; uint64_t iova; } places[] = {
		{ 0, SIZE, 0 }, { 0, SIZE, 1 }, { 1, SIZE - 1, 0 },
		{ 4095, 100000, 4097 }, { 77, 200001, 0x123456789abcdef },
		{ 5, 9000, -9000ULL }, { 4000, 200, 1ULL << 63 },
	};
	uint32_t key;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t iova = places[i].iova;
		size_t at = places[i].at, len = places[i].len;

		key = begin(at, len, ALL_RIGHTS | IBV_ACCESS_MW_BIND |
			    kind_access(kind), iova);
		expect_works(key, iova, at, len);
		expect_works(key, iova + len / 3, at + len / 3, len / 2);
		expect_refused(key, IBV_WR_RDMA_WRITE, iova + 1, len,
			       IBV_WC_REM_ACCESS_ERR);
		expect_refused(key, IBV_WR_RDMA_READ, iova - 1, 2,
			       IBV_WC_REM_ACCESS_ERR);
		end();
	}
	point("from anywhere on, %s, %s", kind_name[kind], where());
}

/* By lkey, and windows on it. */
static void local_use(enum kind kind)
{
	struct ibv_sge sge = sge_of(buf_mr[kind], buf[kind], 30001);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	long key;

	begin(777, 50000, ALL_RIGHTS | IBV_ACCESS_MW_BIND | kind_access(kind),
	      11);
	ask(&owner, own_fill, memory, SIZE, 1);
	memset(buf[PINNED], 0, 30001);
	expect_eq(ask(&owner, own_write, 11, 30001, (long)buf[PINNED],
		      buf_mr[PINNED]->rkey), IBV_WC_SUCCESS, "from it");
	expect_eq(ask(&owner, own_fill, memory + 777, 30001, 2), 0, "fill");
	expect_eq(ask(&owner, own_write, 11, 30001, (long)buf[PINNED],
		      buf_mr[PINNED]->rkey), IBV_WC_SUCCESS, "from it");
	expect_eq(pattern_check(buf[PINNED], 30001, 2), 30001,
		  "what was written");

	pattern_fill(buf[kind], 30001, 3);
	must(!ask(&owner, own_receive, 12, 30001));
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "to it");
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "the receive");
	expect_eq(ask(&owner, own_check, memory + 778, 30001, 3), 30001,
		  "what was received");

	key = ask(&owner, own_bind, 5011, 7777);
	must(key > 0);
	expect_works(key, 5011, 5777, 7777);
	expect_refused(key, IBV_WR_RDMA_WRITE, 5010, 2, IBV_WC_REM_ACCESS_ERR);
	expect_eq(ask(&owner, own_unbind), 0, "dealloc");
	end();
	point("by the owner, and through windows, %s, %s", kind_name[kind],
	      where());
}

static void wrong_addresses(enum kind kind)
{
	const int access = ALL_RIGHTS | kind_access(kind);

	begin(0, PAGE, access, 0);
	ask(&owner, own_deregister);
	expect_eq(ask(&owner, own_register, memory, SIZE, access,
		      -(long)SIZE + 1), -EINVAL, "around the end");
	expect_eq(ask(&owner, own_register, memory, 2, access, -1L), -EINVAL,
		  "around the end, barely");
	if (kind == ODP)
		expect_eq(ask(&owner, own_register, 0, -1, access, 1), -EINVAL,
			  "all memory there is, from one on");
	begin(0, PAGE, access | IBV_ACCESS_HUGETLB |
	      IBV_ACCESS_RELAXED_ORDERING, 0);
	end();
	point("what cannot be registered, %s, %s", kind_name[kind], where());
}

/* No memory */

static struct ibv_mr *null_mr;

/* Among other elements: what is in its place is zero, or goes nowhere. */
static void null_elements(enum kind kind)
{
	const size_t a = 3001, b = kind == ODP ? 99999 : 5, c = 4001;
	uint32_t key = begin(0, SIZE, ALL_RIGHTS | kind_access(kind), 0);
	struct ibv_sge list[] = {
		sge_of(buf_mr[kind], buf[kind], a),
		{ random_u64() >> 1, b, null_mr->lkey },
		sge_of(buf_mr[kind], buf[kind] + a, c),
	};
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, list, 7, key);
	struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, list, 0, 0);

	wr.num_sge = send.num_sge = 3;
	ask(&owner, own_fill, memory, SIZE, 1);
	pattern_fill(buf[kind], a, 2);
	pattern_fill(buf[kind] + a, c, 3);
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a write");
	expect_eq(ask(&owner, own_check, memory + 7, a, 2), a, "first");
	expect_eq(ask(&owner, own_check_zero, memory + 7 + a, b), b, "second");
	expect_eq(ask(&owner, own_check, memory + 7 + a + b, c, 3), c, "third");

	ask(&owner, own_fill, memory + 7, a, 4);
	ask(&owner, own_fill, memory + 7 + a, b, 5);
	ask(&owner, own_fill, memory + 7 + a + b, c, 6);
	wr.opcode = IBV_WR_RDMA_READ;
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a read");
	expect_eq(pattern_check(buf[kind], a, 4), a, "first");
	expect_eq(pattern_check(buf[kind] + a, c, 6), c, "third");

	/* Received, and still zero after all that. */
	post_recv(me.qp, 1, list, 3);
	expect_eq(ask(&owner, own_fill, memory, a + b + c, 7), 0, "fill");
	must(!ask(&owner, own_receive, 0, SIZE));
	memset(buf[kind], 0xee, a + c);
	post_send(me.qp, &send);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a send");
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "the receive");
	expect_eq(ask(&owner, own_check_zero, memory + a, b), b, "zeros");
	end();
	point("no memory among other elements, %s, %s", kind_name[kind],
	      where());
}

static void null_alone(void)
{
	static const uint64_t addrs[] = { 0, 1, 1ULL << 40, -SIZE - 1 };
	uint32_t key = begin(0, SIZE, ALL_RIGHTS, 0);
	struct ibv_sge sge = { 0, SIZE, null_mr->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, 0, key);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++) {
		sge.addr = addrs[i];
		ask(&owner, own_fill, memory, SIZE, i);
		wr.opcode = IBV_WR_RDMA_READ;
		post_send(me.qp, &wr);
		expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a read");
		wr.opcode = IBV_WR_RDMA_WRITE;
		post_send(me.qp, &wr);
		expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a write");
		expect_eq(ask(&owner, own_check_zero, memory, SIZE), SIZE,
			  "zeros");
	}
	sge.length = 8;
	wr = atomic_wr(IBV_WR_ATOMIC_FETCH_AND_ADD, &sge, 0, key, 5, 0);
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "an atomic");
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, 0, key, 8);
	expect_eq(*(uint64_t *)buf[PINNED], 5, "the sum");
	end();
	point("no memory alone, %s", where());
}

static void null_limits(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(me.ctx);
	struct ibv_mr *mr = ibv_alloc_null_mr(pd);
	uint32_t key = begin(0, SIZE, ALL_RIGHTS, 0);
	struct ibv_sge sge = { 0, 100, 0 };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, 0, key);
	struct ibv_mw *mw;

	must(pd && mr);
	expect(mr->length == SIZE_MAX && !mr->addr && mr->pd == pd, "it");
	expect_eq(ibv_dealloc_pd(pd), EBUSY, "its domain");
	sge.lkey = mr->lkey;
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_LOC_PROT_ERR,
		  "another domain's");
	owner_connect(&owner);

	/* Neither moved, nor bound to. */
	expect(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, pd, NULL, 0,
			    IBV_ACCESS_LOCAL_WRITE), "rereg");
	mw = ibv_alloc_mw(me.pd, IBV_MW_TYPE_2);
	must(mw);
	wr = (struct ibv_send_wr) {
		.opcode = IBV_WR_BIND_MW,
		.bind_mw = { mw, ibv_inc_rkey(mw->rkey), { null_mr, 0, 4096,
			     IBV_ACCESS_REMOTE_READ } },
	};
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_MW_BIND_ERR, "bind");
	owner_connect(&owner);
	expect_eq(ibv_dealloc_mw(mw), 0, "dealloc");
	expect_eq(ibv_dereg_mr(mr), 0, "dereg");
	expect_eq(ibv_dealloc_pd(pd), 0, "its domain then");
	end();
	point("what no memory cannot be used for, %s", where());
}

/* An inline write to it, through the requester's queue pair. */
static long own_poke(const long *arg)
{
	uint64_t value = 1;
	struct ibv_sge sge = { (uintptr_t)&value, 8, 0 };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, 0, arg[0]);
	struct ibv_wc wc;

	wr.send_flags |= IBV_SEND_INLINE;
	post_send(own.qp, &wr);
	return wait_wc(own.scq, &wc, SOON_MS) ? (long)wc.status : -1;
}

static void null_remotely(void)
{
	begin(0, PAGE, ALL_RIGHTS, 0);
	expect(!null_mr->rkey, "it has a key for others");
	expect_eq(ask(&owner, own_poke, null_mr->lkey), IBV_WC_REM_ACCESS_ERR,
		  "its local key");
	owner_connect(&owner);
	expect_eq(ask(&owner, own_poke, 0), IBV_WC_REM_ACCESS_ERR, "no key");
	owner_connect(&owner);
	end();
	point("no memory for others, %s", where());
}

static void alone(void)
{
	enum kind kind;

	null_mr = ibv_alloc_null_mr(me.pd);
	must(null_mr);
	for (kind = 0; kind < KINDS; kind++) {
		from_zero(kind);
		by_call(kind);
		from_anywhere(kind);
		local_use(kind);
		wrong_addresses(kind);
		null_elements(kind);
	}
	null_alone();
	null_limits();
	null_remotely();
	dereg(null_mr);
}

static void run(void)
{
	struct leftovers before = count_leftovers();

	owner_open(&owner, true);
	alone();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
