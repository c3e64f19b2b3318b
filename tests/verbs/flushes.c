// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Flushes: which are executed, and change nothing; which are refused, and by
 * whom; and that no region promises to keep what it cannot keep.
 *
 * Persistence itself is tested where there is persistent memory, /dev/dax0.0.
 */
#include "extended.h"

#include <fcntl.h>

#define SIZE		(64 * KIB)
#define RIGHTS		(ALL_RIGHTS | ACCESS_FLUSH_GLOBAL)
#define QP_RIGHTS	(RIGHTS | ACCESS_FLUSH_PERSISTENT)
#define DAX		"/dev/dax0.0"
#define DAX_SIZE	(4 * MIB)

enum { GLOBAL = 1, PERSISTENT = 2 };
enum { RANGE, REGION };

static struct owner owner;
static uint64_t memory;			/* the owner's, SIZE bytes of it */

/* In the owner's process */

static struct ibv_mr *own_mr;

static long own_register(const long *arg)
{
	errno = 0;
	own_mr = ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

#ifdef HAVE_WR_FLUSH

static struct ibv_dm *own_dm;
static struct ibv_mw *own_mw;

static long own_deregister(const long *arg)
{
	(void)arg;
	return ibv_dereg_mr(own_mr);
}

static long own_rereg(const long *arg)
{
	return ibv_rereg_mr(own_mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			    arg[0]) ? errno : 0;
}

static long own_register_dm(const long *arg)
{
	struct ibv_alloc_dm_attr attr = { .length = SIZE };

	own_dm = ibv_alloc_dm(own.ctx, &attr);
	must(own_dm);
	own_mr = ibv_reg_dm_mr(own.pd, own_dm, 0, SIZE,
			       arg[0] | IBV_ACCESS_ZERO_BASED);
	return own_mr ? (long)own_mr->rkey : -errno;
}

static long own_free_dm(const long *arg)
{
	(void)arg;
	return ibv_free_dm(own_dm);
}

/* The key, or the status less than zero. */
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
		own_mr, arg[0], arg[1], arg[2],
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

static long own_present(const long *arg)
{
	unsigned char vec[SIZE / PAGE];
	size_t i, n = 0;

	must(!mincore((void *)arg[0], SIZE, vec));
	for (i = 0; i < SIZE / PAGE; i++)
		n += vec[i] & 1;
	return n;
}

static long own_map_dax(const long *arg)
{
	int fd = open(DAX, O_RDWR);
	void *mem;

	(void)arg;
	if (fd < 0)
		return -errno;
	mem = mmap(NULL, DAX_SIZE, RW, MAP_SHARED, fd, 0);
	close(fd);
	return mem == MAP_FAILED ? -errno : (long)mem;
}

/* What the requester does */

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

static void connect_me(void)
{
	connect_extended(&owner, SEND_OPS | SEND_OP_FLUSH, &usual_conn);
	must(!ask(&owner, own_allow, QP_RIGHTS));
}

static uint32_t begin(int access)
{
	long key;

	memory = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	must((long)memory > 0);
	key = ask(&owner, own_register, memory, SIZE, access);
	if (key <= 0)
		bail("register: %ld", key);
	connect_me();
	return key;
}

static void end(void)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	ask(&owner, own_unmap, memory, SIZE);
}

static int try_flush(uint64_t addr, uint32_t key, size_t len, int type,
		     int level)
{
	struct ibv_qp_ex *qpx = wr_begin(IBV_SEND_SIGNALED);

	ibv_wr_flush(qpx, key, addr, len, type, level);
	return ibv_wr_complete(qpx);
}

static int flush(uint64_t addr, uint32_t key, size_t len, int type, int level)
{
	struct ibv_wc wc;

	errno = try_flush(addr, key, len, type, level);
	must(!errno);
	if (!wait_wc(me.scq, &wc, SOON_MS))
		return -1;
	expect_eq(wc.wr_id, 1, "wr_id");
	if (wc.status == IBV_WC_SUCCESS)
		expect_eq(wc.opcode, IBV_WC_FLUSH, "opcode");
	return wc.status;
}

static void expect_done(uint64_t addr, uint32_t key, size_t len, int type,
			int level)
{
	expect_eq(flush(addr, key, len, type, level), IBV_WC_SUCCESS,
		  "%zu bytes at %#llx, type %d, level %d", len,
		  (unsigned long long)addr, type, level);
}

/* The queue pairs are new then. */
static void expect_refused(uint64_t addr, uint32_t key, size_t len, int type,
			   int level, int status)
{
	expect_eq(flush(addr, key, len, type, level), status,
		  "%zu bytes at %#llx, type %d, level %d", len,
		  (unsigned long long)addr, type, level);
	if (status != IBV_WC_LOC_LEN_ERR && status != IBV_WC_LOC_QP_OP_ERR)
		expect_eq(ask(&owner, own_event, SOON_MS),
			  status == IBV_WC_REM_ACCESS_ERR ?
			  IBV_EVENT_QP_ACCESS_ERR : IBV_EVENT_QP_REQ_ERR,
			  "the owner's event");
	connect_me();
}

/* Points */

static void capabilities(void)
{
	struct ibv_device_attr_ex attr;

	must(!ibv_query_device_ex(me.ctx, NULL, &attr));
	expect(attr.device_cap_flags_ex & CAP_FLUSH_GLOBAL, "global");
	expect(attr.device_cap_flags_ex & CAP_FLUSH_PERSISTENT, "persistent");
	expect(attr.odp_caps.per_transport_caps.rc_odp_caps & 1 << 6,
	       "on demand");
	point("what the device says");
}

static void ranges(enum kind kind)
{
	uint32_t key = begin(RIGHTS | kind_access(kind));
	size_t at, len;
	int i;

	ask(&owner, own_fill, memory, SIZE, 5);
	for (i = 0; i < 100; i++) {
		at = random_below(SIZE);
		len = random_below(SIZE - at + 1);
		expect_done(memory + at, key, len, GLOBAL, RANGE);
	}
	expect_done(memory, key, SIZE, GLOBAL, RANGE);
	expect_done(memory + SIZE, key, 0, GLOBAL, RANGE);
	/* Where, and how much, is of no interest then. */
	expect_done(memory, key, SIZE, GLOBAL, REGION);
	expect_done(0, key, 0, GLOBAL, REGION);
	expect_done(UINT64_MAX, key, SIZE_MAX, GLOBAL, REGION);
	expect_eq(ask(&owner, own_check, memory, SIZE, 5), SIZE, "the memory");

	if (kind == ODP) {
		ask(&owner, own_advise, memory, SIZE, MADV_DONTNEED);
		expect_done(memory, key, SIZE, GLOBAL, RANGE);
		expect_done(memory, key, SIZE, GLOBAL, REGION);
		expect_eq(ask(&owner, own_present, memory), 0,
			  "pages brought in");
	}
	end();
	point("what is flushed, %s, %s", kind_name[kind], where());
}

static void wrong_places(enum kind kind)
{
	const int error = IBV_WC_REM_ACCESS_ERR;
	uint32_t key = begin(RIGHTS | kind_access(kind));

	expect_refused(memory, key, SIZE + 1, GLOBAL, RANGE, error);
	expect_refused(memory - 1, key, 2, GLOBAL, RANGE, error);
	expect_refused(memory + SIZE - 1, key, 2, GLOBAL, RANGE, error);
	expect_refused(memory + SIZE + 1, key, 0, GLOBAL, RANGE, error);
	expect_refused(memory, key ^ 1, 1, GLOBAL, RANGE, error);
	expect_refused(memory, key ^ 0x100, 0, GLOBAL, RANGE, error);
	expect_refused(memory, key ^ 1, 1, GLOBAL, REGION, error);
	expect_refused(memory, key, 1, PERSISTENT, RANGE, error);
	expect_refused(memory, key, 0, PERSISTENT, RANGE, error);
	expect_refused(memory, key, 1, GLOBAL | PERSISTENT, REGION, error);
	expect_refused(memory, key, (1UL << 31) + 1, GLOBAL, RANGE,
		       IBV_WC_LOC_LEN_ERR);
	expect_refused(memory, key, 1UL << 32, GLOBAL, RANGE,
		       IBV_WC_LOC_LEN_ERR);
	end();

	key = begin(ALL_RIGHTS | kind_access(kind));
	expect_refused(memory, key, SIZE, GLOBAL, RANGE, error);
	expect_refused(memory, key, SIZE, GLOBAL, REGION, error);
	end();

	/* That right is enough. */
	key = begin(ACCESS_FLUSH_GLOBAL | kind_access(kind));
	expect_done(memory, key, SIZE, GLOBAL, RANGE);
	end();
	expect_refused(memory, key, 1, GLOBAL, RANGE, error);
	expect_refused(memory, key, 1, GLOBAL, REGION, error);
	point("what is refused, %s, %s", kind_name[kind], where());
}

static void wrong_queue_pairs(void)
{
	uint32_t key = begin(RIGHTS);
	struct conn none = usual_conn;
	struct address peer;

	must(!ask(&owner, own_allow, ALL_RIGHTS | ACCESS_FLUSH_PERSISTENT));
	expect_refused(memory, key, 1, GLOBAL, RANGE, IBV_WC_REM_INV_REQ_ERR);
	must(!ask(&owner, own_allow, RIGHTS));
	expect_refused(memory, key, 1, GLOBAL | PERSISTENT, RANGE,
		       IBV_WC_REM_INV_REQ_ERR);

	none.rd_atomic = 0;
	connect_extended(&owner, SEND_OPS | SEND_OP_FLUSH, &none);
	expect_refused(memory, key, 1, GLOBAL, RANGE, IBV_WC_LOC_QP_OP_ERR);

	side_drop_qp(&me);
	me.qp = try_qp_ex(&me, 16, SEND_OPS | SEND_OP_FLUSH);
	must(me.qp);
	peer = (struct address) { ask(&owner, own_make_qp, 16), me.gid };
	ask(&owner, own_connect_narrow, me.qp->qp_num, 0);
	must(!ask(&owner, own_allow, QP_RIGHTS));
	side_connect(&me, &peer, &usual_conn);
	expect_refused(memory, key, 1, GLOBAL, RANGE, IBV_WC_REM_INV_REQ_ERR);
	end();
	point("queue pairs that do not allow it, %s", where());
}

static void wrong_requests(void)
{
	static const struct { int type, level; } wrong[] = {
		{ 0, RANGE }, { 0, REGION }, { 4, RANGE }, { 5, RANGE },
		{ 255, RANGE }, { GLOBAL, 2 }, { GLOBAL, 255 },
		{ GLOBAL | 16, RANGE },
	};
	uint32_t key = begin(RIGHTS);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_FLUSH, NULL, memory, key);
	struct ibv_send_wr *bad = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		expect_eq(try_flush(memory, key, 1, wrong[i].type,
				    wrong[i].level), EINVAL, "request %zu", i);
	expect_eq(ibv_post_send(me.qp, &wr, &bad), EINVAL, "ibv_post_send()");
	expect(bad == &wr, "the bad request");
	expect(is_quiet(me.scq, 0), "something has completed");
	expect_done(memory, key, SIZE, GLOBAL, RANGE);
	end();
	point("what cannot be posted, %s", where());
}

/* In a list with what it is for. */
static void lists(void)
{
	uint32_t key = begin(RIGHTS);
	struct ibv_qp_ex *qpx;
	uint64_t value;
	int i;

	for (i = 1; i < 30; i++) {
		pattern_fill(buf[PINNED], SIZE, i);
		value = i;
		qpx = wr_begin(0);
		ibv_wr_rdma_write(qpx, key, memory);
		ibv_wr_set_sge(qpx, buf_mr[PINNED]->lkey,
			       (uintptr_t)buf[PINNED], SIZE);
		ibv_wr_flush(qpx, key, memory, SIZE, GLOBAL, RANGE);
		qpx->wr_flags = IBV_SEND_SIGNALED | IBV_SEND_FENCE;
		ibv_wr_atomic_write(qpx, key, memory + 8, &value);
		errno = ibv_wr_complete(qpx);
		must(!errno);
		expect_wc(me.scq, 1, IBV_WC_SUCCESS);
		expect_eq(ask(&owner, own_check, memory, 8, i), 8, "before");
		memcpy(buf[ODP], &value, 8);
	}
	expect(is_quiet(me.scq, 0), "one completion too many");
	end();
	point("a write, a flush and an atomic write, %s", where());
}

static void windows(enum kind kind)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND |
			   kind_access(kind);
	long key;

	begin(access);
	key = ask(&owner, own_bind, memory + 5, 777,
		  IBV_ACCESS_REMOTE_WRITE | ACCESS_FLUSH_GLOBAL);
	must(key > 0);
	expect_done(memory + 5, key, 777, GLOBAL, RANGE);
	expect_done(0, key, 0, GLOBAL, REGION);
	expect_refused(memory + 4, key, 777, GLOBAL, RANGE,
		       IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_unbind);

	key = ask(&owner, own_bind, memory, SIZE, IBV_ACCESS_REMOTE_WRITE);
	must(key > 0);
	expect_refused(memory, key, 1, GLOBAL, RANGE, IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_unbind);

	/* The region has to be persistent. */
	expect_eq(ask(&owner, own_bind, memory, SIZE, ACCESS_FLUSH_PERSISTENT),
		  -(long)IBV_WC_MW_BIND_ERR, "bind");
	connect_me();
	ask(&owner, own_unbind);
	end();
	point("windows, %s, %s", kind_name[kind], where());
}

static void device_memory(void)
{
	long key;

	expect_eq(ask(&owner, own_register_dm, RIGHTS |
		      ACCESS_FLUSH_PERSISTENT), -EOPNOTSUPP, "persistent");
	expect_eq(ask(&owner, own_free_dm), 0, "free");
	key = ask(&owner, own_register_dm, RIGHTS);
	must(key > 0);
	expect_done(3, key, SIZE - 3, GLOBAL, RANGE);
	expect_done(0, key, 0, GLOBAL, REGION);
	expect_refused(0, key, 1, PERSISTENT, RANGE, IBV_WC_REM_ACCESS_ERR);
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	expect_eq(ask(&owner, own_free_dm), 0, "free");
	point("device memory, %s", where());
}

static void false_promises(void)
{
	uint64_t addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	const int persistent = RIGHTS | ACCESS_FLUSH_PERSISTENT;

	expect_eq(ask(&owner, own_register, addr, SIZE, persistent), -EINVAL,
		  "ordinary memory");
	expect_eq(ask(&owner, own_register, addr, SIZE, persistent |
		      IBV_ACCESS_ON_DEMAND), -EOPNOTSUPP, "on demand");
	ask(&owner, own_unmap, addr, SIZE);

	begin(RIGHTS);
	expect_eq(ask(&owner, own_rereg, persistent), EINVAL, "rereg");
	expect_done(memory, ask(&owner, own_rkey, (long)own_mr), SIZE, GLOBAL,
		    RANGE);
	end();
	point("what does not keep anything");
}

static void persistence(void)
{
	long addr = ask(&owner, own_map_dax), key;
	const int access = RIGHTS | ACCESS_FLUSH_PERSISTENT;

	if (addr < 0) {
		skip("there is no " DAX);
		return;
	}
	key = ask(&owner, own_register, addr + 5, DAX_SIZE - 5, access |
		  IBV_ACCESS_MW_BIND);
	if (key < 0)
		bail("register: %s", strerror(-key));
	connect_me();
	ask(&owner, own_fill, addr, DAX_SIZE, 9);
	expect_done(addr + 5, key, DAX_SIZE - 5, PERSISTENT, RANGE);
	expect_done(addr + 4095, key, 4098, PERSISTENT | GLOBAL, RANGE);
	expect_done(addr + 77, key, 0, PERSISTENT, RANGE);
	expect_done(0, key, 0, PERSISTENT, REGION);
	expect_eq(ask(&owner, own_check, addr, DAX_SIZE, 9), DAX_SIZE,
		  "the memory");
	expect_refused(addr, key, 1, PERSISTENT, RANGE, IBV_WC_REM_ACCESS_ERR);

	key = ask(&owner, own_bind, addr + 5000, 100001,
		  ACCESS_FLUSH_PERSISTENT);
	if (key < 0)
		bail("bind: %s", ibv_wc_status_str(-key));
	expect_done(addr + 5001, key, 100000, PERSISTENT, RANGE);
	expect_done(0, key, 0, PERSISTENT, REGION);
	ask(&owner, own_unbind);
	ask(&owner, own_deregister);
	ask(&owner, own_unmap, addr, DAX_SIZE);
	point("persistent memory");
}

static void alone(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		ranges(kind);
		wrong_places(kind);
		windows(kind);
	}
	wrong_queue_pairs();
	wrong_requests();
	lists();
	device_memory();
}

static void run(void)
{
	struct leftovers before = count_leftovers();

	owner_open(&owner, true);
	capabilities();
	alone();
	false_promises();
	persistence();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

#else

/* Where the library has none, and so the kernel neither. */
static void run(void)
{
	uint64_t caps;

	owner_open(&owner, true);
	caps = device_caps(me.ctx);
	memory = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	expect(!(caps & (CAP_FLUSH_GLOBAL | CAP_FLUSH_PERSISTENT)), "%#llx",
	       (unsigned long long)caps);
	errno = 0;
	expect(!try_qp_ex(&me, 16, SEND_OPS | SEND_OP_FLUSH) &&
	       errno == EOPNOTSUPP, "a queue pair: %d", errno);
	expect(ask(&owner, own_register, memory, SIZE, RIGHTS) < 0,
	       "a region");
	ask(&owner, own_unmap, memory, SIZE);
	owner_close(&owner);
	point("no flushes");
}

#endif

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
