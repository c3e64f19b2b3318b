// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Memory windows of both types: what they allow and whom, how they are bound
 * and invalidated, and that nothing else changes a byte.
 */
#include "owner.h"

#define SIZE		(64 * KIB)
#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)
#define WINDOWS		2

#define WINDOW_RIGHTS	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | \
			 IBV_ACCESS_REMOTE_ATOMIC)
#define BINDABLE	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND)

/* How to post: ibv_bind_mw() or ibv_post_send(), or ibv_wr_*(). */
enum way { CLASSIC, EXTENDED, WAYS };

static const char * const way_name[WAYS] = { "posted", "by ibv_wr_*()" };

static struct owner owner;
static uint64_t memory;			/* the owner's, SIZE bytes of it */

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* In the owner's process */

static struct ibv_mr *own_mr;
static struct ibv_mw *own_mw[WINDOWS];
static struct ibv_pd *own_spare_pd;

static long own_register(const long *arg)
{
	own_mr = ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]);
	return own_mr ? 0 : errno;
}

static long own_deregister(const long *arg)
{
	(void)arg;
	return ibv_dereg_mr(own_mr);
}

static long own_rereg(const long *arg)
{
	return ibv_rereg_mr(own_mr, arg[0], own.pd, own_mr->addr,
			    arg[0] & IBV_REREG_MR_CHANGE_TRANSLATION ?
			    own_mr->length : 0, arg[1]) ? errno : 0;
}

static long own_alloc(const long *arg)
{
	own_mw[arg[0]] = ibv_alloc_mw(own.pd, arg[1]);
	return own_mw[arg[0]] ? (long)own_mw[arg[0]]->rkey : -errno;
}

static long own_dealloc(const long *arg)
{
	return ibv_dealloc_mw(own_mw[arg[0]]);
}

static long own_status(const long *arg)
{
	struct ibv_wc wc;

	if (!wait_wc(own.scq, &wc, SOON_MS))
		return -1;
	if (wc.status == IBV_WC_SUCCESS && wc.opcode != arg[0])
		return -2;
	return wc.status;
}

/* Extended queue pairs have both interfaces. */
static long own_make_qp_ex(const long *arg)
{
	struct ibv_qp_init_attr classic = qp_init(&own, arg[0]);
	struct ibv_qp_init_attr_ex init = {
		.send_cq = classic.send_cq,
		.recv_cq = classic.recv_cq,
		.cap = classic.cap,
		.qp_type = classic.qp_type,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = own.pd,
		.send_ops_flags = IBV_QP_EX_WITH_BIND_MW |
				  IBV_QP_EX_WITH_LOCAL_INV |
				  IBV_QP_EX_WITH_SEND_WITH_INV,
	};

	side_drop_qp(&own);
	own.qp = ibv_create_qp_ex(own.ctx, &init);
	must(own.qp);
	return own.qp->qp_num;
}

static int bind_extended(struct ibv_mw *mw, uint32_t rkey,
			 const struct ibv_mw_bind_info *info)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(own.qp);

	ibv_wr_start(qp);
	qp->wr_id = 0;
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_bind_mw(qp, mw, rkey, info);
	return ibv_wr_complete(qp);
}

static int bind_classic(struct ibv_mw *mw, uint32_t rkey,
			const struct ibv_mw_bind_info *info)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_mw = { mw, rkey, *info },
	};

	return try_send(own.qp, &wr);
}

static int bind_type_1(struct ibv_mw *mw, const struct ibv_mw_bind_info *info)
{
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = *info,
	};

	return ibv_bind_mw(own.qp, mw, &bind);
}

/*
 * Bind window arg[0] to arg[2] bytes at arg[1], with rights arg[3]; if it is
 * of type 2, with key arg[4], the way arg[5].
 */
static long own_post_bind(const long *arg)
{
	struct ibv_mw *mw = own_mw[arg[0]];
	struct ibv_mw_bind_info info = {
		.mr = arg[2] ? own_mr : NULL,
		.addr = arg[2] ? arg[1] : 0,
		.length = arg[2],
		.mw_access_flags = arg[3],
	};

	if (mw->type == IBV_MW_TYPE_1)
		return bind_type_1(mw, &info);
	info.mr = own_mr;
	return (arg[5] == EXTENDED ? bind_extended : bind_classic)(mw, arg[4],
								  &info);
}

/* The status, or -1000 less an errno. */
static long own_bind(const long *arg)
{
	const long opcode[OWNER_ARGS] = { IBV_WC_BIND_MW };
	struct ibv_mw *mw = own_mw[arg[0]];
	uint32_t key = mw->rkey;
	long ret = own_post_bind(arg);

	if (ret)
		return -1000 - ret;
	ret = own_status(opcode);
	if (ret == IBV_WC_SUCCESS && mw->type == IBV_MW_TYPE_2)
		mw->rkey = arg[4];
	if (ret)
		mw->rkey = key;
	return ret;
}

static long own_key(const long *arg)
{
	return own_mw[arg[0]]->rkey;
}

static long own_invalidate(const long *arg)
{
	const long opcode[OWNER_ARGS] = { IBV_WC_LOCAL_INV };
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_LOCAL_INV,
		.send_flags = IBV_SEND_SIGNALED,
		.invalidate_rkey = arg[0],
	};
	struct ibv_qp_ex *qp;
	int err;

	if (arg[1] == CLASSIC) {
		err = try_send(own.qp, &wr);
	} else {
		qp = ibv_qp_to_qp_ex(own.qp);
		ibv_wr_start(qp);
		qp->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_local_inv(qp, arg[0]);
		err = ibv_wr_complete(qp);
	}
	return err ? -1000 - err : own_status(opcode);
}

static long own_receive(const long *arg)
{
	struct ibv_sge sge = sge_of(own_mr, (void *)arg[0], arg[1]);

	return try_recv(own.qp, 0, &sge, 1);
}

/* The status of a receive that is to invalidate arg[0], with arg[1] bytes. */
static long own_poll_invalidated(const long *arg)
{
	struct ibv_wc wc;

	if (!wait_wc(own.rcq, &wc, SOON_MS))
		return -1;
	if (wc.status == IBV_WC_SUCCESS &&
	    (wc.wc_flags != IBV_WC_WITH_INV || wc.byte_len != arg[1] ||
	     wc.invalidated_rkey != arg[0] || wc.opcode != IBV_WC_RECV))
		return -2;
	return wc.status;
}

/* A region, or a window, of another protection domain */
static long own_bind_foreign(const long *arg)
{
	struct ibv_mr *mr = own_mr;
	struct ibv_mw *mw = own_mw[1];
	long bind[OWNER_ARGS] = { 1, (long)own_mr->addr, SIZE, WINDOW_RIGHTS };
	long ret;

	own_spare_pd = ibv_alloc_pd(own.ctx);
	must(own_spare_pd);
	if (arg[0])
		own_mw[1] = ibv_alloc_mw(own_spare_pd, IBV_MW_TYPE_2);
	else
		own_mr = reg(own_spare_pd, mr->addr, SIZE,
			     BINDABLE | ALL_RIGHTS);
	must(own_mw[1] && own_mr);
	bind[4] = ibv_inc_rkey(own_mw[1]->rkey);
	ret = own_bind(bind);
	if (arg[0])
		errno = ibv_dealloc_mw(own_mw[1]);
	else
		errno = ibv_dereg_mr(own_mr);
	must(!errno);
	errno = ibv_dealloc_pd(own_spare_pd);
	must(!errno);
	own_mr = mr;
	own_mw[1] = mw;
	return ret;
}

/* What the requester does */

static void connect_extended(void)
{
	struct address peer;

	side_drop_qp(&me);
	side_make_qp(&me, 64);
	peer.gid = me.gid;
	peer.qpn = ask(&owner, own_make_qp_ex, 64);
	ask(&owner, own_connect, me.qp->qp_num);
	side_connect(&me, &peer, &usual_conn);
}

static void begin(int access)
{
	memory = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	must((long)memory > 0);
	must(!ask(&owner, own_register, memory, SIZE, access));
	connect_extended();
}

static void end(void)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	ask(&owner, own_unmap, memory, SIZE);
}

static uint32_t window_alloc(int index, enum ibv_mw_type type)
{
	long key = ask(&owner, own_alloc, index, type);

	must(key > 0);
	return key;
}

static void window_dealloc(int index)
{
	expect_eq(ask(&owner, own_dealloc, index), 0, "dealloc");
}

/* Bind, with the next tag; returns the key. */
static uint32_t window_bind(int index, uint64_t addr, uint64_t len, int access,
			    enum way way)
{
	uint32_t key = ask(&owner, own_key, index);

	expect_eq(ask(&owner, own_bind, index, addr, len, access,
		      ibv_inc_rkey(key), way), IBV_WC_SUCCESS, "bind");
	return ask(&owner, own_key, index);
}

static uint32_t alloc_bound(int index, enum ibv_mw_type type, int access)
{
	window_alloc(index, type);
	return window_bind(index, memory, SIZE, access, CLASSIC);
}

/* All of the memory as it was, but for @len bytes at @at. */
static void expect_untouched(uint64_t seed, size_t at, size_t len)
{
	expect_eq(ask(&owner, own_check, memory, at, seed), at, "before");
	expect_eq(ask(&owner, own_check, memory + at + len, SIZE - at - len,
		      seed + 1), SIZE - at - len, "behind");
}

static void fill_around(uint64_t seed, size_t at, size_t len)
{
	ask(&owner, own_fill, memory, at, seed);
	ask(&owner, own_fill, memory + at, len, seed + 2);
	ask(&owner, own_fill, memory + at + len, SIZE - at - len, seed + 1);
}

/* Through a window on @len bytes at memory + @at, which begin at @addr. */
static void expect_works(uint32_t key, uint64_t addr, size_t at, size_t len)
{
	uint64_t seed = random_u64();
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		fill_around(seed, at, len);
		memset(buf[kind], 0, len);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, addr, key,
			      len);
		expect_eq(pattern_check(buf[kind], len, seed + 2), len,
			  "what was read");
		pattern_fill(buf[kind], len, seed + 3);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind, addr,
			      key, len);
		expect_eq(ask(&owner, own_check, memory + at, len, seed + 3),
			  len, "what was written");
		expect_untouched(seed, at, len);
	}
}

/* Not a byte on either side changes; the queue pairs are new then. */
static void expect_refused(uint32_t key, enum ibv_wr_opcode opcode,
			   uint64_t addr, size_t len)
{
	uint64_t seed = random_u64();

	fill_around(seed, 0, SIZE);
	pattern_fill(buf[PINNED], len, seed);
	expect_access(IBV_WC_REM_ACCESS_ERR, opcode, PINNED, addr, key, len);
	expect_eq(pattern_check(buf[PINNED], len, seed), len,
		  "the requester's bytes");
	expect_eq(ask(&owner, own_check, memory, SIZE, seed + 2), SIZE,
		  "the owner's bytes");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "the owner's event");
	connect_extended();
}

/* Points */

static void capabilities(void)
{
	struct ibv_device_attr attr;

	must(!ibv_query_device(me.ctx, &attr));
	expect(attr.max_mw >= 1000, "max_mw is %d", attr.max_mw);
	expect(attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW, "type 1");
	expect(attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B, "2B");
	expect(!(attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2A), "2A");
	errno = 0;
	expect(!ibv_alloc_mw(me.pd, 3) && errno == EINVAL, "type 3: %d", errno);
	point("what the device says");
}

static void type_1(enum kind kind)
{
	uint32_t first, key;

	begin(BINDABLE | kind_access(kind));
	first = window_alloc(0, IBV_MW_TYPE_1);
	expect_refused(first, IBV_WR_RDMA_WRITE, memory, SIZE);
	expect_refused(first, IBV_WR_RDMA_READ, memory, 1);

	key = window_bind(0, memory + 4001, 9999, WINDOW_RIGHTS, CLASSIC);
	expect(key != first && key >> 8 == first >> 8, "%#x, then %#x", first,
	       key);
	expect_works(key, memory + 4001, 4001, 9999);
	expect_works(key, memory + 4001 + 77, 4001 + 77, 5000);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_FETCH_AND_ADD, PINNED,
		      memory + 4008, key, 8);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory + 4000, 2);
	expect_refused(key, IBV_WR_RDMA_READ, memory + 4001 + 9998, 2);
	expect_refused(key, IBV_WR_RDMA_WRITE, 0, 9999);
	expect_refused(first, IBV_WR_RDMA_WRITE, memory + 4001, 1);

	/* Bound to something else, and other rights. */
	first = key;
	key = window_bind(0, memory + 1, 333, IBV_ACCESS_REMOTE_READ, CLASSIC);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, memory + 1,
		      key, 333);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory + 1, 1);
	expect_refused(first, IBV_WR_RDMA_READ, memory + 4001, 1);
	first = key;
	key = window_bind(0, memory, SIZE, IBV_ACCESS_REMOTE_WRITE, CLASSIC);
	expect_refused(key, IBV_WR_RDMA_READ, memory, 1);
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, memory, 8);

	first = key;
	key = window_bind(0, 0, 0, 0, CLASSIC);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory, 1);
	expect_refused(first, IBV_WR_RDMA_WRITE, memory, 1);
	key = window_bind(0, memory, SIZE, WINDOW_RIGHTS, CLASSIC);
	expect_works(key, memory, 0, SIZE);
	window_dealloc(0);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory, 1);
	end();
	point("type 1, on %s memory, %s", kind_name[kind], where());
}

static void type_2(enum kind kind, enum way way)
{
	uint32_t first, key;

	begin(BINDABLE | kind_access(kind));
	first = window_alloc(0, IBV_MW_TYPE_2);
	expect_refused(first, IBV_WR_RDMA_WRITE, memory, SIZE);
	key = window_bind(0, memory + 4095, 30001, WINDOW_RIGHTS, way);
	expect_eq(key, ibv_inc_rkey(first), "the key");
	expect_works(key, memory + 4095, 4095, 30001);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_CMP_AND_SWP, PINNED,
		      memory + 4096, key, 8);
	expect_eq(ask(&owner, own_invalidate, key, way), IBV_WC_SUCCESS,
		  "invalidate");
	expect_eq(ask(&owner, own_invalidate, key, way), IBV_WC_SUCCESS,
		  "invalidate what is free");
	expect_refused(key, IBV_WR_RDMA_WRITE, memory + 4095, 1);

	/* Its queue pair is another now. */
	key = window_bind(0, memory, 4001, WINDOW_RIGHTS, way);
	expect_works(key, memory, 0, 4001);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory, 4002);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory, 1);
	window_dealloc(0);
	end();
	point("type 2, on %s memory, %s, %s", kind_name[kind], way_name[way],
	      where());
}

static void zero_based(enum kind kind)
{
	uint32_t key;

	begin(BINDABLE | kind_access(kind));
	window_alloc(0, IBV_MW_TYPE_2);
	key = window_bind(0, memory + 8191, 20000, WINDOW_RIGHTS |
			  IBV_ACCESS_ZERO_BASED, CLASSIC);
	expect_works(key, 0, 8191, 20000);
	expect_works(key, 5, 8196, 19995);
	expect_refused(key, IBV_WR_RDMA_WRITE, 1, 20000);
	key = window_bind(0, memory + 8191, 20000, WINDOW_RIGHTS |
			  IBV_ACCESS_ZERO_BASED, CLASSIC);
	expect_refused(key, IBV_WR_RDMA_WRITE, memory + 8191, 1);
	key = window_bind(0, memory + 4091, 20000, WINDOW_RIGHTS |
			  IBV_ACCESS_ZERO_BASED, CLASSIC);
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, 0, 8);
	key = window_bind(0, memory + 4088, 20000, WINDOW_RIGHTS |
			  IBV_ACCESS_ZERO_BASED, CLASSIC);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_FETCH_AND_ADD, PINNED, 0,
		      key, 8);
	window_dealloc(0);

	window_alloc(0, IBV_MW_TYPE_1);
	expect_eq(ask(&owner, own_bind, 0, memory, SIZE, WINDOW_RIGHTS |
		      IBV_ACCESS_ZERO_BASED), -1000 - EINVAL, "type 1");
	window_dealloc(0);
	end();
	point("addresses from zero on, %s, %s", kind_name[kind], where());
}

/* A send that invalidates, and the receive */
static int send_invalidate(uint32_t key, enum kind kind, size_t len, int flags)
{
	struct ibv_sge sge = sge_of(buf_mr[kind], buf[kind], len);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND_WITH_INV,
		.sg_list = &sge,
		.num_sge = len ? 1 : 0,
		.send_flags = IBV_SEND_SIGNALED | flags,
		.invalidate_rkey = key,
	};

	post_send(me.qp, &wr);
	return end_access(SOON_MS);
}

static void remote_invalidation(enum kind kind)
{
	static const struct {
		size_t len;
		int flags;
	} sends[] = { { 0, 0 }, { 333, IBV_SEND_INLINE }, { 33333, 0 } };
	unsigned int i;
	uint32_t key;

	begin(BINDABLE | kind_access(kind));
	window_alloc(0, IBV_MW_TYPE_2);
	for (i = 0; i < ARRAY_SIZE(sends); i++) {
		key = window_bind(0, memory, SIZE, WINDOW_RIGHTS, CLASSIC);
		expect_works(key, memory, 0, SIZE);
		fill_around(i * 5, 7, sends[i].len);
		pattern_fill(buf[kind], sends[i].len, 9);
		must(!ask(&owner, own_receive, memory + 7, SIZE - 7));
		expect_eq(send_invalidate(key, kind, sends[i].len,
					  sends[i].flags), IBV_WC_SUCCESS,
			  "the send");
		expect_eq(ask(&owner, own_poll_invalidated, key, sends[i].len),
			  IBV_WC_SUCCESS, "the receive");
		expect_eq(ask(&owner, own_check, memory + 7, sends[i].len, 9),
			  sends[i].len, "what was sent");
		expect_untouched(i * 5, 7, sends[i].len);
		expect_refused(key, IBV_WR_RDMA_WRITE, memory, 1);
	}
	window_dealloc(0);
	end();
	point("sends that invalidate, %s, %s", kind_name[kind], where());
}

/* Nothing is received, and nothing invalidated. */
static void expect_send_refused(uint32_t key)
{
	fill_around(3, 0, SIZE);
	must(!ask(&owner, own_receive, memory, SIZE));
	expect_eq(send_invalidate(key, PINNED, 100, 0), IBV_WC_REM_ACCESS_ERR,
		  "the send of %#x", key);
	expect_eq(ask(&owner, own_poll_invalidated, key, 100),
		  IBV_WC_REM_INV_REQ_ERR, "the receive");
	expect_eq(ask(&owner, own_check, memory, SIZE, 5), SIZE,
		  "the owner's bytes");
	connect_extended();
}

static long own_region_key(const long *arg)
{
	(void)arg;
	return own_mr->rkey;
}

static void wrong_invalidations(void)
{
	uint32_t one, two, region;
	int i;

	begin(BINDABLE | ALL_RIGHTS);
	region = ask(&owner, own_region_key);
	one = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
	two = alloc_bound(1, IBV_MW_TYPE_2, WINDOW_RIGHTS);
	expect_send_refused(region);
	expect_send_refused(one);
	expect_send_refused(two ^ 1);
	expect_send_refused(two ^ 0x100);
	for (i = 0; i < 4; i++) {
		const uint32_t keys[] = { region, one, two ^ 1, two ^ 0x100 };

		expect_eq(ask(&owner, own_invalidate, keys[i], i & 1),
			  IBV_WC_MW_BIND_ERR, "invalidation of key %d", i);
		connect_extended();
	}
	expect_works(one, memory, 0, SIZE);
	expect_works(region, memory, 0, SIZE);
	window_dealloc(0);
	window_dealloc(1);
	end();
	point("what cannot be invalidated, %s", where());
}

/* The requester's queue pair goes, and the window stays what it was. */
static void expect_bind_refused(int index, uint64_t addr, uint64_t len,
				int access, uint32_t rkey)
{
	expect_eq(ask(&owner, own_bind, index, addr, len, access, rkey,
		      CLASSIC), IBV_WC_MW_BIND_ERR,
		  "bind window %d to %#llx + %#llx with %#x", index,
		  (unsigned long long)addr, (unsigned long long)len, access);
	connect_extended();
}

static void wrong_binds(void)
{
	uint32_t key, two;

	begin(BINDABLE | ALL_RIGHTS);
	key = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
	two = window_alloc(1, IBV_MW_TYPE_2);
	expect_bind_refused(0, memory - 1, SIZE, WINDOW_RIGHTS, 0);
	expect_bind_refused(0, memory + 1, SIZE, WINDOW_RIGHTS, 0);
	expect_bind_refused(0, memory + 8, -8, WINDOW_RIGHTS, 0);
	expect_bind_refused(0, -8, 16, WINDOW_RIGHTS, 0);
	expect_bind_refused(0, memory, SIZE, IBV_ACCESS_MW_BIND, 0);
	expect_bind_refused(0, memory, SIZE, 1 << 30, 0);
	expect_bind_refused(1, memory, 0, WINDOW_RIGHTS, two);
	expect_bind_refused(1, memory, SIZE, WINDOW_RIGHTS, two ^ 0x100);
	expect_bind_refused(1, memory + 1, SIZE, WINDOW_RIGHTS |
			    IBV_ACCESS_ZERO_BASED, two);
	expect_eq(ask(&owner, own_bind_foreign, 0), IBV_WC_MW_BIND_ERR,
		  "another domain's region");
	connect_extended();
	expect_eq(ask(&owner, own_bind_foreign, 1), IBV_WC_MW_BIND_ERR,
		  "another domain's window");
	connect_extended();
	expect_works(key, memory, 0, SIZE);

	two = window_bind(1, memory, SIZE, WINDOW_RIGHTS, CLASSIC);
	expect_eq(ask(&owner, own_bind, 1, memory, SIZE, WINDOW_RIGHTS,
		      ibv_inc_rkey(two), CLASSIC), IBV_WC_MW_BIND_ERR,
		  "bind what is bound");
	connect_extended();
	window_dealloc(0);
	window_dealloc(1);
	end();

	begin(ALL_RIGHTS);
	window_alloc(0, IBV_MW_TYPE_1);
	expect_bind_refused(0, memory, SIZE, WINDOW_RIGHTS, 0);
	window_dealloc(0);
	end();

	begin(IBV_ACCESS_MW_BIND);
	window_alloc(0, IBV_MW_TYPE_1);
	expect_bind_refused(0, memory, SIZE, IBV_ACCESS_REMOTE_WRITE, 0);
	expect_bind_refused(0, memory, SIZE, IBV_ACCESS_REMOTE_ATOMIC, 0);
	key = window_bind(0, memory, SIZE, IBV_ACCESS_REMOTE_READ, CLASSIC);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, memory, key,
		      SIZE);
	window_dealloc(0);
	end();
	point("what cannot be bound, %s", where());
}

/* A region lasts as long as windows are bound to it. */
static void busy_regions(void)
{
	const int access = IBV_REREG_MR_CHANGE_ACCESS;
	uint32_t key, two;

	begin(BINDABLE | ALL_RIGHTS);
	key = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
	two = alloc_bound(1, IBV_MW_TYPE_2, WINDOW_RIGHTS);
	expect_eq(ask(&owner, own_deregister), EBUSY, "both bound");
	expect_eq(ask(&owner, own_rereg, access, BINDABLE), EBUSY, "rights");
	expect_eq(ask(&owner, own_rereg, IBV_REREG_MR_CHANGE_TRANSLATION, 0),
		  EBUSY, "translation");
	expect_works(key, memory, 0, SIZE);
	expect_works(two, memory, 0, SIZE);
	window_bind(0, 0, 0, 0, CLASSIC);
	expect_eq(ask(&owner, own_deregister), EBUSY, "one bound");
	expect_eq(ask(&owner, own_invalidate, two, CLASSIC), IBV_WC_SUCCESS,
		  "invalidate");
	expect_eq(ask(&owner, own_rereg, access, BINDABLE), 0, "none bound");
	window_bind(1, memory, SIZE, WINDOW_RIGHTS, CLASSIC);
	expect_eq(ask(&owner, own_deregister), EBUSY, "bound again");
	/* Its queue pair goes. */
	connect_extended();
	window_bind(0, memory, SIZE, WINDOW_RIGHTS, CLASSIC);
	window_dealloc(0);
	end();
	window_dealloc(1);
	point("regions that windows are bound to, %s", where());
}

/* What is no lkey */
static void local_use(void)
{
	uint32_t one, two;
	struct ibv_sge sge;
	struct ibv_send_wr wr;
	int i;

	must(owner.here);
	begin(BINDABLE | ALL_RIGHTS);
	for (i = 0; i < 2; i++) {
		one = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
		two = alloc_bound(1, IBV_MW_TYPE_2, WINDOW_RIGHTS);
		sge = (struct ibv_sge) { memory, 100, i ? one : two };
		wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, (uintptr_t)buf[PINNED],
			     buf_mr[PINNED]->rkey);
		memset(buf[PINNED], 0, 100);
		fill_around(1, 0, SIZE);
		post_send(own.qp, &wr);
		expect_wc(own.scq, 0, IBV_WC_LOC_PROT_ERR);
		expect_eq(zero_check(buf[PINNED], 100), 100, "not written");
		connect_extended();
		window_dealloc(0);
		window_dealloc(1);
	}
	end();
	point("windows are for remote access only");
}

/* Whom a window is for, among queue pairs of one protection domain */
static void other_queue_pairs(void)
{
	struct side other = me, theirs = own;
	struct ibv_send_wr wr;
	struct ibv_sge sge;
	uint32_t key[2];
	int i;

	must(owner.here);
	begin(BINDABLE);
	key[0] = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
	key[1] = alloc_bound(1, IBV_MW_TYPE_2, WINDOW_RIGHTS);
	for (i = 0; i < 2; i++) {
		side_make_qp(&other, 16);
		side_make_qp(&theirs, 16);
		connect_sides(&other, &theirs, &usual_conn);
		fill_around(7, 0, SIZE);
		pattern_fill(buf[ODP], SIZE, 8);
		sge = sge_of(buf_mr[ODP], buf[ODP], SIZE);
		wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, memory, key[i]);
		post_send(other.qp, &wr);
		expect_wc(me.scq, 0, i ? IBV_WC_REM_ACCESS_ERR :
					 IBV_WC_SUCCESS);
		expect_eq(ask(&owner, own_check, memory, SIZE, i ? 9 : 8),
			  SIZE, "the memory");
		side_drop_qp(&other);
		side_drop_qp(&theirs);
		other.qp = theirs.qp = NULL;
	}
	expect_works(key[1], memory, 0, SIZE);

	/* Nor can another queue pair invalidate it. */
	side_make_qp(&other, 16);
	side_make_qp(&theirs, 16);
	connect_sides(&other, &theirs, &usual_conn);
	wr = (struct ibv_send_wr) {
		.opcode = IBV_WR_LOCAL_INV,
		.send_flags = IBV_SEND_SIGNALED,
		.invalidate_rkey = key[1],
	};
	post_send(theirs.qp, &wr);
	expect_wc(own.scq, 0, IBV_WC_MW_BIND_ERR);
	side_drop_qp(&other);
	side_drop_qp(&theirs);
	expect_works(key[1], memory, 0, SIZE);
	window_dealloc(0);
	window_dealloc(1);
	end();
	point("which queue pairs a window is for");
}

/* What is posted behind a bind comes after it. */
static long own_bind_and_send(const long *arg)
{
	struct ibv_mw *mw = own_mw[1];
	uint32_t key = ibv_inc_rkey(mw->rkey);
	struct ibv_sge sge = { arg[0], sizeof(key), own_mr->lkey };
	struct ibv_send_wr send = {
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.next = &send,
		.bind_mw = { mw, key, { own_mr, arg[0], SIZE,
					WINDOW_RIGHTS } },
	};
	const long opcode[OWNER_ARGS] = { IBV_WC_SEND };
	long ret;

	memcpy((void *)arg[0], &key, sizeof(key));
	ret = try_send(own.qp, &wr);
	mw->rkey = key;
	return ret ? -1000 - ret : own_status(opcode);
}

static void in_order(void)
{
	struct ibv_sge sge = sge_of(buf_mr[PINNED], buf[PINNED], 100);
	uint32_t key;
	int i;

	begin(BINDABLE);
	window_alloc(1, IBV_MW_TYPE_2);
	for (i = 0; i < 20; i++) {
		post_recv(me.qp, i, &sge, 1);
		expect_eq(ask(&owner, own_bind_and_send, memory), 0, "a list");
		expect_wc(me.rcq, i, IBV_WC_SUCCESS);
		memcpy(&key, buf[PINNED], sizeof(key));
		expect_works(key, memory, 0, SIZE);
		expect_eq(ask(&owner, own_invalidate, key, CLASSIC), 0,
			  "invalidate");
	}
	window_dealloc(1);
	end();
	point("a bind and a send in one list, %s", where());
}

/* Keys: none twice among many, and no two with the same index. */
static int compare_keys(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void keys(void)
{
	enum { COUNT = 2000 };
	static uint32_t key[COUNT];
	struct ibv_mw *mw;
	int i, same = 0, next = 0;

	for (i = 0; i < COUNT; i++) {
		mw = ibv_alloc_mw(me.pd, i & 1 ? IBV_MW_TYPE_1 : IBV_MW_TYPE_2);
		must(mw);
		key[i] = mw->rkey >> 8;
		next += i && key[i] == key[i - 1] + 1;
		errno = ibv_dealloc_mw(mw);
		must(!errno);
	}
	qsort(key, COUNT, sizeof(key[0]), compare_keys);
	for (i = 1; i < COUNT; i++)
		same += key[i] == key[i - 1];
	expect_eq(same, 0, "indices given out twice");
	expect(next < 5, "%d indices follow the one before", next);
	point("keys of windows");
}

/* Races, between processes */

/*
 * The owner takes a window away from under a stream of long writes: by
 * invalidation, by another bind, or with the window.  After that nothing
 * changes its memory.
 */
static long own_take_away(const long *arg)
{
	uint32_t key = own_mw[0]->rkey;
	long ret;

	sleep_us(arg[1]);
	if (arg[0] == 0)
		ret = own_invalidate((const long [OWNER_ARGS]){ key });
	else if (arg[0] == 1)
		ret = own_bind((const long [OWNER_ARGS]){ 0 });
	else
		ret = ibv_dealloc_mw(own_mw[0]);
	pattern_fill(own_mr->addr, SIZE, 77);
	return ret;
}

static void race_once(enum kind kind, int how)
{
	static const long mws[] = { IBV_MW_TYPE_2, IBV_MW_TYPE_1,
				    IBV_MW_TYPE_1 };
	uint32_t key = alloc_bound(0, mws[how], WINDOW_RIGHTS);
	int posted, refused = 0;
	struct ibv_wc wc;

	pattern_fill(buf[kind], SIZE, 78);
	say(owner.child.fd, &(struct owner_question) { own_take_away,
	    { how, 1 + random_below(1500) } }, sizeof(struct owner_question));
	for (posted = 0; posted < 30; posted++)
		start_access(IBV_WR_RDMA_WRITE, kind, memory, key, SIZE);
	expect_eq(owner_answer(&owner), 0, "way %d", how);
	while (posted && wait_wc(me.scq, &wc, SOON_MS)) {
		posted--;
		refused += wc.status == IBV_WC_REM_ACCESS_ERR;
		expect(wc.status == IBV_WC_SUCCESS || refused == 1,
		       "a write: %s", ibv_wc_status_str(wc.status));
	}
	expect_eq(posted, 0, "completions");
	expect_eq(ask(&owner, own_check, memory, SIZE, 77), SIZE,
		  "what is in the memory");
	connect_extended();
	if (how != 2)
		window_dealloc(0);
}

static void races(enum kind kind)
{
	int rounds = length_of(20, 400), i;

	begin(BINDABLE | kind_access(kind));
	for (i = 0; i < 3 * rounds; i++)
		race_once(kind, i % 3);
	end();
	point("windows taken away under load, %s", kind_name[kind]);
}

/* A process that goes, with windows of all kinds bound, under load */
static void killed(void)
{
	uint64_t last = now_ms() + SOON_MS;
	uint32_t key, two;
	int status;

	begin(BINDABLE | ALL_RIGHTS);
	key = alloc_bound(0, IBV_MW_TYPE_1, WINDOW_RIGHTS);
	two = alloc_bound(1, IBV_MW_TYPE_2, WINDOW_RIGHTS);
	expect_works(key, memory, 0, SIZE);
	expect_works(two, memory, 0, SIZE);
	kill_child(&owner.child);
	do {
		status = do_access(IBV_WR_RDMA_WRITE, PINNED, memory, two,
				   SIZE);
	} while (status == IBV_WC_SUCCESS && now_ms() < last);
	expect(status > IBV_WC_SUCCESS, "the owner's end: %d", status);
}

static void alone(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		type_1(kind);
		type_2(kind, CLASSIC);
		type_2(kind, EXTENDED);
		zero_based(kind);
		remote_invalidation(kind);
	}
	wrong_invalidations();
	wrong_binds();
	busy_regions();
	in_order();
}

static void run(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	owner_open(&owner, true);
	capabilities();
	alone();
	local_use();
	other_queue_pairs();
	keys();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	for (kind = 0; kind < KINDS; kind++)
		races(kind);
	killed();
	me_close();
	expect_no_leftovers(&before);
	point("an owner that is killed with its windows bound");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
