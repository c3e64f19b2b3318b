// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Atomic writes: eight bytes that the owner's CPU sees all of or none of, and
 * after all that was written before; and what they may not be asked for.
 */
#include "extended.h"

#define SIZE		(64 * KIB)

static struct owner owner;
static uint64_t memory;			/* the owner's, SIZE bytes of it */
static uint8_t model[SIZE];

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* In the owner's process */

static struct ibv_mr *own_mr;
static struct ibv_dm *own_dm;
static struct ibv_mw *own_mw;

static long own_register(const long *arg)
{
	own_mr = ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

static long own_deregister(const long *arg)
{
	(void)arg;
	return ibv_dereg_mr(own_mr);
}

static long own_put(const long *arg)
{
	*(uint64_t *)arg[0] = arg[1];
	return 0;
}

static long own_get(const long *arg)
{
	return __atomic_load_n((uint64_t *)arg[0], __ATOMIC_ACQUIRE);
}

/*
 * Until the word at arg[0] is arg[1]; then whether the bytes from arg[3] to
 * there are a pattern.
 */
static long own_await(const long *arg)
{
	uint64_t end = now_ms() + SOON_MS;
	size_t len = arg[0] - arg[3];

	while (own_get(arg) != arg[1])
		if (now_ms() > end)
			return -1;
	return pattern_check((void *)arg[3], len, arg[2]) == len;
}

/* Whether every value seen has eight times the same byte. */
static long own_watch(const long *arg)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t end = now_ms() + 10 * SOON_MS, value = 0, last = 0;
	long changes = 0;

	while (value != 0xff * ones) {
		value = own_get(arg);
		if (value % ones || now_ms() > end)
			return -1;
		changes += value != last;
		last = value;
	}
	return changes;
}

static long own_alloc_dm(const long *arg)
{
	struct ibv_alloc_dm_attr attr = { .length = SIZE };

	own_dm = ibv_alloc_dm(own.ctx, &attr);
	must(own_dm);
	own_mr = ibv_reg_dm_mr(own.pd, own_dm, arg[0], SIZE - arg[0],
			       ALL_RIGHTS | IBV_ACCESS_ZERO_BASED);
	must(own_mr);
	return own_mr->rkey;
}

static long own_dm_word(const long *arg)
{
	uint64_t word;

	must(!ibv_memcpy_from_dm(&word, own_dm, arg[0], 8));
	return word;
}

static long own_free_dm(const long *arg)
{
	(void)arg;
	must(!ibv_dereg_mr(own_mr));
	return ibv_free_dm(own_dm);
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

/* What the requester does */

static void reconnect_me(void)
{
	connect_extended(&owner, SEND_OPS, &usual_conn);
}

static uint32_t begin(int access)
{
	long key;

	memory = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	must((long)memory > 0);
	key = ask(&owner, own_register, memory, SIZE, access);
	must(key > 0);
	reconnect_me();
	return key;
}

static void end(void)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	ask(&owner, own_unmap, memory, SIZE);
}

static void post_word(uint64_t addr, uint32_t key, uint64_t value)
{
	struct ibv_qp_ex *qpx = wr_begin(IBV_SEND_SIGNALED);

	ibv_wr_atomic_write(qpx, key, addr, &value);
	value = ~value;			/* it is ours again */
	errno = ibv_wr_complete(qpx);
	must(!errno);
}

static int write_word(uint64_t addr, uint32_t key, uint64_t value)
{
	struct ibv_wc wc;

	post_word(addr, key, value);
	if (!wait_wc(me.scq, &wc, SOON_MS))
		return -1;
	expect_eq(wc.wr_id, 1, "wr_id");
	if (wc.status == IBV_WC_SUCCESS)
		expect_eq(wc.opcode, IBV_WC_ATOMIC_WRITE, "opcode");
	return wc.status;
}

/* Not a byte changes; the queue pairs are new then. */
static void expect_refused(uint64_t addr, uint32_t key, int status)
{
	ask(&owner, own_fill, memory, SIZE, 3);
	expect_eq(write_word(addr, key, random_u64()), status, "at %#llx",
		  (unsigned long long)addr);
	expect_eq(ask(&owner, own_check, memory, SIZE, 3), SIZE, "the memory");
	expect_eq(ask(&owner, own_event, SOON_MS),
		  status == IBV_WC_REM_ACCESS_ERR ? IBV_EVENT_QP_ACCESS_ERR :
		  IBV_EVENT_QP_REQ_ERR, "the owner's event");
	reconnect_me();
}

/* Points */

static void capabilities(void)
{
	struct ibv_device_attr_ex attr;

	must(!ibv_query_device_ex(me.ctx, NULL, &attr));
	expect(attr.device_cap_flags_ex & CAP_ATOMIC_WRITE, "the device");
	expect(attr.odp_caps.per_transport_caps.rc_odp_caps & 1 << 7,
	       "on demand");
	point("what the device says");
}

/* Anywhere, in memory that was never touched. */
static void values(enum kind kind)
{
	uint32_t key = begin(ALL_RIGHTS | kind_access(kind));
	uint64_t at, value;
	int i;

	memset(model, 0, SIZE);
	for (i = 0; i < 600; i++) {
		at = random_below(SIZE / 8) * 8;
		value = random_u64();
		memcpy(model + at, &value, 8);
		if (!expect_eq(write_word(memory + at, key, value),
			       IBV_WC_SUCCESS, "a word"))
			break;
		if (kind == ODP && !random_below(20)) {
			at = random_below(SIZE / PAGE) * PAGE;
			ask(&owner, own_advise, memory + at, PAGE,
			    MADV_DONTNEED);
			memset(model + at, 0, PAGE);
		}
	}
	memset(buf[PINNED], 1, SIZE);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, memory, key,
		      SIZE);
	expect_same(buf[PINNED], model, SIZE, "the memory");
	at = random_below(SIZE / 8) * 8;
	expect_eq(ask(&owner, own_get, memory + at),
		  (long)*(uint64_t *)(model + at), "as the CPU sees it");
	end();
	point("words, %s, %s", kind_name[kind], where());
}

/* A long write, and an atomic one that says that it is there. */
static void order(enum kind kind)
{
	uint32_t key = begin(ALL_RIGHTS | kind_access(kind));
	const size_t len = SIZE - 16;
	struct ibv_qp_ex *qpx;
	uint64_t value;
	int i;

	for (i = 1; i <= 50; i++) {
		pattern_fill(buf[kind], len, i);
		value = i;
		tell(&owner, own_await, memory + SIZE - 8, i, i, memory + 8);
		qpx = wr_begin(0);
		ibv_wr_rdma_write(qpx, key, memory + 8);
		ibv_wr_set_sge(qpx, buf_mr[kind]->lkey, (uintptr_t)buf[kind],
			       len);
		qpx->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_atomic_write(qpx, key, memory + SIZE - 8, &value);
		errno = ibv_wr_complete(qpx);
		must(!errno);
		expect_wc(me.scq, 1, IBV_WC_SUCCESS);
		if (!expect_eq(owner_answer(&owner), 1, "round %d", i))
			break;
	}
	end();
	point("after what was written before, %s", kind_name[kind]);
}

static void torn(enum kind kind)
{
	uint32_t key = begin(ALL_RIGHTS | kind_access(kind));
	int rounds = length_of(3000, 300000), i;
	long changes;

	ask(&owner, own_put, memory + PAGE - 8, 0);
	tell(&owner, own_watch, memory + PAGE - 8);
	for (i = 0; i <= rounds; i++) {
		uint64_t byte = i < rounds ? random_below(255) : 255;

		if (!expect_eq(write_word(memory + PAGE - 8, key,
					  byte * 0x0101010101010101),
			       IBV_WC_SUCCESS, "a word"))
			break;
	}
	changes = owner_answer(&owner);
	expect(changes > 0, "what the CPU saw: %ld", changes);
	point("all at once, %s", kind_name[kind]);
	end();
}

static void wrong_places(enum kind kind)
{
	uint32_t key = begin(ALL_RIGHTS | kind_access(kind));
	int off;

	for (off = 1; off < 8; off++)
		expect_refused(memory + 40 + off, key, IBV_WC_REM_INV_REQ_ERR);
	expect_refused(memory + SIZE, key, IBV_WC_REM_ACCESS_ERR);
	expect_refused(memory - 8, key, IBV_WC_REM_ACCESS_ERR);
	expect_refused(memory, key ^ 0x100, IBV_WC_REM_ACCESS_ERR);
	expect_refused(memory, key ^ 1, IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_deregister);
	expect_refused(memory, key, IBV_WC_REM_ACCESS_ERR);

	/* A region that ends within a word. */
	key = ask(&owner, own_register, memory, 4004,
		  ALL_RIGHTS | kind_access(kind));
	expect_refused(memory + 4000, key, IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_deregister);

	key = ask(&owner, own_register, memory, SIZE, kind_access(kind) |
		  (ALL_RIGHTS & ~IBV_ACCESS_REMOTE_WRITE));
	expect_refused(memory, key, IBV_WC_REM_ACCESS_ERR);
	end();
	point("what is refused, %s, %s", kind_name[kind], where());
}

static void wrong_queue_pairs(void)
{
	uint32_t key = begin(ALL_RIGHTS);
	struct conn none = usual_conn;
	struct address peer;

	ask(&owner, own_allow, ALL_RIGHTS & ~IBV_ACCESS_REMOTE_WRITE);
	expect_refused(memory, key, IBV_WC_REM_INV_REQ_ERR);

	side_drop_qp(&me);
	me.qp = try_qp_ex(&me, 16, SEND_OPS);
	must(me.qp);
	peer = (struct address) { ask(&owner, own_make_qp, 16), me.gid };
	ask(&owner, own_connect_narrow, me.qp->qp_num, 0);
	side_connect(&me, &peer, &usual_conn);
	expect_refused(memory, key, IBV_WC_REM_INV_REQ_ERR);

	none.rd_atomic = 0;
	connect_extended(&owner, SEND_OPS, &none);
	expect_eq(write_word(memory, key, 1), IBV_WC_LOC_QP_OP_ERR,
		  "no resources");
	reconnect_me();
	end();
	point("queue pairs that do not allow it, %s", where());
}

static void device_memory(void)
{
	uint32_t key = ask(&owner, own_alloc_dm, 16);

	reconnect_me();
	expect_eq(write_word(4096, key, 0x1122334455667788), IBV_WC_SUCCESS,
		  "a word");
	expect_eq(ask(&owner, own_dm_word, 4112), 0x1122334455667788,
		  "the word");
	ask(&owner, own_free_dm);

	/* Aligned is where it is, not what it is called. */
	key = ask(&owner, own_alloc_dm, 4);
	expect_eq(write_word(4096, key, 1), IBV_WC_REM_ACCESS_ERR,
		  "across words");
	expect_eq(ask(&owner, own_dm_word, 4096), 0, "the word");
	expect_eq(ask(&owner, own_dm_word, 4104), 0, "the next");
	reconnect_me();
	ask(&owner, own_free_dm);
	point("device memory, %s", where());
}

static void windows(enum kind kind)
{
	long key;

	begin(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND | kind_access(kind));
	key = ask(&owner, own_bind, memory + 800, 24, IBV_ACCESS_REMOTE_WRITE);
	must(key > 0);
	expect_eq(write_word(memory + 816, key, 77), IBV_WC_SUCCESS, "a word");
	expect_eq(ask(&owner, own_get, memory + 816), 77, "the word");
	expect_refused(memory + 824, key, IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_unbind);
	key = ask(&owner, own_bind, memory, 4000, IBV_ACCESS_REMOTE_READ |
		  IBV_ACCESS_REMOTE_ATOMIC);
	expect_refused(memory + 816, key, IBV_WC_REM_ACCESS_ERR);
	ask(&owner, own_unbind);
	end();
	point("windows, %s, %s", kind_name[kind], where());
}

/* There is no room in it for the value. */
static void classic_post(void)
{
	uint32_t key = begin(ALL_RIGHTS);
	struct ibv_sge sge = sge_of(buf_mr[PINNED], buf[PINNED], 8);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_ATOMIC_WRITE, &sge, memory, key);
	struct ibv_send_wr *bad = NULL;
	struct ibv_qp_ex *qpx;
	uint64_t value = 5;

	expect_eq(ibv_post_send(me.qp, &wr, &bad), EINVAL, "ibv_post_send()");
	expect(bad == &wr, "the bad request");

	/* It has its data. */
	qpx = wr_begin(IBV_SEND_SIGNALED);
	ibv_wr_atomic_write(qpx, key, memory, &value);
	ibv_wr_set_inline_data(qpx, buf[PINNED], 8);
	expect_eq(ibv_wr_complete(qpx), EINVAL, "more data");
	expect(is_quiet(me.scq, 0), "something has completed");
	expect_eq(ask(&owner, own_get, memory), 0, "the word");
	end();
	point("what cannot be posted, %s", where());
}

static void alone(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		values(kind);
		wrong_places(kind);
		windows(kind);
	}
	wrong_queue_pairs();
	device_memory();
	classic_post();
}

static void run(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	owner_open(&owner, true);
	capabilities();
	alone();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	for (kind = 0; kind < KINDS; kind++) {
		order(kind);
		torn(kind);
	}
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
