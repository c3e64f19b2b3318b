// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Device memory: what can be had of it, copies, regions and windows on it,
 * atomics, and who pays.
 */
#include "owner.h"

#include <sys/resource.h>

#define SIZE		(100 * KIB + 12)	/* of device memory */
#define ACCESS		(ALL_RIGHTS | IBV_ACCESS_ZERO_BASED)

static struct owner owner;

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* In the owner's process */

static struct ibv_dm *own_dm;
static struct ibv_mr *own_mr;
static uint8_t scratch[SIZE];

static long own_alloc(const long *arg)
{
	struct ibv_alloc_dm_attr attr = {
		.length = arg[0],
		.log_align_req = arg[1],
		.comp_mask = arg[2],
	};

	errno = 0;
	own_dm = ibv_alloc_dm(own.ctx, &attr);
	return own_dm ? 0 : errno;
}

static long own_free(const long *arg)
{
	(void)arg;
	return ibv_free_dm(own_dm);
}

static long own_copy_to(const long *arg)
{
	return ibv_memcpy_to_dm(own_dm, arg[0], scratch, arg[1]);
}

static long own_copy_from(const long *arg)
{
	return ibv_memcpy_from_dm(scratch, own_dm, arg[0], arg[1]);
}

/* All of it: @arg[1] bytes at @arg[0] of one pattern, the rest of another. */
static long own_fill_memory(const long *arg)
{
	pattern_fill(scratch, SIZE, arg[2]);
	pattern_fill(scratch + arg[0], arg[1], arg[2] + 1);
	return ibv_memcpy_to_dm(own_dm, 0, scratch, SIZE);
}

/* How many of its bytes are not so. */
static long own_check_memory(const long *arg)
{
	static uint8_t wanted[SIZE];

	memset(scratch, 0, SIZE);
	if (ibv_memcpy_from_dm(scratch, own_dm, 0, SIZE))
		return -1;
	pattern_fill(wanted, SIZE, arg[2]);
	pattern_fill(wanted + arg[0], arg[1], arg[3]);
	return SIZE - first_difference(scratch, wanted, SIZE);
}

static long own_is_zero(const long *arg)
{
	(void)arg;
	memset(scratch, 1, SIZE);
	return !ibv_memcpy_from_dm(scratch, own_dm, 0, SIZE) &&
	       zero_check(scratch, SIZE) == SIZE;
}

static long own_register(const long *arg)
{
	errno = 0;
	own_mr = ibv_reg_dm_mr(own.pd, own_dm, arg[0], arg[1], arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

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

static long own_receive(const long *arg)
{
	struct ibv_sge sge = { arg[0], arg[1], own_mr->lkey };

	return try_recv(own.qp, 0, &sge, 1);
}

static long own_send(const long *arg)
{
	struct ibv_sge sge = { arg[0], arg[1], own_mr->lkey };
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;

	if (try_send(own.qp, &wr))
		return -1;
	return wait_wc(own.scq, &wc, SOON_MS) ? (long)wc.status : -2;
}

static long own_word(const long *arg)
{
	uint64_t word = 0;

	return ibv_memcpy_from_dm(&word, own_dm, arg[0], 8) ? -1 : (long)word;
}

/* What the requester does */

static uint32_t begin(uint64_t offset, uint64_t length, int access)
{
	long key;

	must(!ask(&owner, own_alloc, SIZE, 3));
	key = ask(&owner, own_register, offset, length, access);
	must(key > 0);
	return key;
}

static void end(void)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	expect_eq(ask(&owner, own_free), 0, "free");
}

/* @len bytes of device memory from @at on are at @addr for the requester. */
static void expect_works(uint32_t key, uint64_t addr, size_t at, size_t len)
{
	uint64_t seed = random_below(1 << 20);
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		must(!ask(&owner, own_fill_memory, at, len, seed));
		memset(buf[kind], 0, len + 1);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, addr,
			      key, len);
		expect_eq(pattern_check(buf[kind], len, seed + 1), len,
			  "what was read");
		expect_eq(buf[kind][len], 0, "behind it");
		pattern_fill(buf[kind], len, seed + 2);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind, addr,
			      key, len);
		expect_eq(ask(&owner, own_check_memory, at, len, seed,
			      seed + 2), 0, "all of the memory");
	}
}

static void expect_refused(uint32_t key, enum ibv_wr_opcode opcode,
			   uint64_t addr, size_t len)
{
	must(!ask(&owner, own_fill_memory, 0, SIZE, 4));
	pattern_fill(buf[PINNED], len, 9);
	expect_access(IBV_WC_REM_ACCESS_ERR, opcode, PINNED, addr, key, len);
	expect_eq(pattern_check(buf[PINNED], len, 9), len,
		  "the requester's bytes");
	expect_eq(ask(&owner, own_check_memory, 0, SIZE, 4, 5), 0,
		  "the owner's bytes");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "the owner's event");
	owner_connect(&owner);
}

/* Points */

static void capabilities(void)
{
	struct ibv_device_attr_ex attr;

	must(!ibv_query_device_ex(me.ctx, NULL, &attr));
	expect(attr.max_dm_size >= MIB, "max_dm_size is %llu",
	       (unsigned long long)attr.max_dm_size);
	expect_eq(ask(&owner, own_alloc, attr.max_dm_size), 0, "all of it");
	expect_eq(ask(&owner, own_free), 0, "free");
	expect_eq(ask(&owner, own_alloc, attr.max_dm_size + 1), EINVAL,
		  "more");
	expect_eq(ask(&owner, own_alloc, -1), EINVAL, "far more");
	expect_eq(ask(&owner, own_alloc, 0), EINVAL, "nothing");
	expect_eq(ask(&owner, own_alloc, PAGE, 12), 0, "aligned to a page");
	expect_eq(ask(&owner, own_free), 0, "free");
	expect_eq(ask(&owner, own_alloc, PAGE, 13), EINVAL, "to two pages");
	expect_eq(ask(&owner, own_alloc, PAGE, 64), EINVAL, "to the world");
	expect_eq(ask(&owner, own_alloc, PAGE, 0, 1), EINVAL, "a mask");
	point("what can be had");
}

static void copies(void)
{
	static const struct {
		uint64_t offset;
		uint64_t len;
		int error;
	} wrong[] = {
		{ 0, SIZE + 4, EFAULT }, { 4, SIZE, EFAULT },
		{ SIZE, 4, EFAULT }, { SIZE + 4, 0, EFAULT },
		{ -4, 8, EFAULT }, { 8, -4, EFAULT },
		{ 3, 4, EINVAL }, { 4, 3, EINVAL }, { 1, 0, EINVAL },
	};
	unsigned int i;

	must(!ask(&owner, own_alloc, SIZE));
	expect(ask(&owner, own_is_zero), "it is not zero at first");
	must(!ask(&owner, own_fill_memory, 4000, 10004, 6));
	expect_eq(ask(&owner, own_check_memory, 4000, 10004, 6, 7), 0,
		  "what was copied there");
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		expect_eq(ask(&owner, own_copy_to, wrong[i].offset,
			      wrong[i].len), wrong[i].error, "to, %u", i);
		expect_eq(ask(&owner, own_copy_from, wrong[i].offset,
			      wrong[i].len), wrong[i].error, "from, %u", i);
	}
	expect_eq(ask(&owner, own_check_memory, 4000, 10004, 6, 7), 0,
		  "what was there");
	expect_eq(ask(&owner, own_free), 0, "free");

	must(!ask(&owner, own_alloc, SIZE));
	expect(ask(&owner, own_is_zero), "it is somebody else's");
	expect_eq(ask(&owner, own_free), 0, "free");
	point("copies, %s", where());
}

static void registrations(void)
{
	static const struct {
		uint64_t offset;
		uint64_t len;
		int access;
		int error;
	} wrong[] = {
		{ 0, SIZE + 1, ACCESS, EINVAL },
		{ 1, SIZE, ACCESS, EINVAL },
		{ SIZE + 1, 0, ACCESS, EINVAL },
		{ -1UL, 2, ACCESS, EINVAL },
		{ 2, -1UL, ACCESS, EINVAL },
		{ 0, SIZE, ALL_RIGHTS, EINVAL },
		{ 0, SIZE, IBV_ACCESS_ZERO_BASED | IBV_ACCESS_REMOTE_WRITE,
		  EINVAL },
		{ 0, SIZE, ACCESS | IBV_ACCESS_ON_DEMAND, EOPNOTSUPP },
		{ 0, SIZE, ACCESS | IBV_ACCESS_HUGETLB, EOPNOTSUPP },
	};
	unsigned int i;

	must(!ask(&owner, own_alloc, SIZE));
	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		expect_eq(ask(&owner, own_register, wrong[i].offset,
			      wrong[i].len, wrong[i].access),
			  -wrong[i].error, "region %u", i);
	expect(ask(&owner, own_register, SIZE, 0, ACCESS) > 0, "an empty one");
	expect_eq(ask(&owner, own_free), EBUSY, "a region is on it");
	expect_eq(ask(&owner, own_rereg, ACCESS), EINVAL, "rereg");
	end();
	point("what can be registered, %s", where());
}

static void regions(void)
{
	uint32_t key = begin(0, SIZE, ACCESS);

	expect_works(key, 0, 0, SIZE);
	expect_works(key, 4093, 4093, 77777);
	expect_works(key, SIZE - 1, SIZE - 1, 1);
	expect_refused(key, IBV_WR_RDMA_WRITE, SIZE - 1, 2);
	expect_refused(key, IBV_WR_RDMA_READ, 1, SIZE);
	expect_refused(key, IBV_WR_RDMA_WRITE, SIZE, 1);
	expect_refused(key, IBV_WR_RDMA_WRITE, -1, 2);
	expect_eq(ask(&owner, own_free), EBUSY, "a region is on it");
	expect_works(key, 1, 1, SIZE - 2);
	end();

	/* Part of it, which begins anywhere */
	key = begin(8191, 30000, ACCESS);
	expect_works(key, 0, 8191, 30000);
	expect_works(key, 5000, 13191, 25000);
	expect_refused(key, IBV_WR_RDMA_WRITE, 1, 30000);
	expect_refused(key, IBV_WR_RDMA_READ, -1, 2);
	end();

	key = begin(0, SIZE, IBV_ACCESS_ZERO_BASED | IBV_ACCESS_REMOTE_READ);
	expect_refused(key, IBV_WR_RDMA_WRITE, 0, SIZE);
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, 0, 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, 0, key, SIZE);
	end();
	expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, PINNED, 0, key,
		      1);
	owner_connect(&owner);
	point("regions, %s", where());
}

static void sends(void)
{
	struct ibv_sge sge = sge_of(buf_mr[ODP], buf[ODP], 50001);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};

	begin(4, SIZE - 4, IBV_ACCESS_ZERO_BASED | IBV_ACCESS_LOCAL_WRITE);
	must(!ask(&owner, own_fill_memory, 0, 0, 20));
	must(!ask(&owner, own_receive, 4001, 50001));
	pattern_fill(buf[ODP], 50001, 21);
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "a send to it");
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "the receive");
	expect_eq(ask(&owner, own_check_memory, 4005, 50001, 20, 21), 0,
		  "what was received");

	memset(buf[ODP], 0, 50001);
	post_recv(me.qp, 1, &sge, 1);
	expect_eq(ask(&owner, own_send, 4001, 50001), IBV_WC_SUCCESS,
		  "a send from it");
	expect_wc(me.rcq, 1, IBV_WC_SUCCESS);
	expect_eq(pattern_check(buf[ODP], 50001, 21), 50001,
		  "what was received");
	expect_eq(ask(&owner, own_send, SIZE - 4, 1), IBV_WC_LOC_PROT_ERR,
		  "a send of what is behind it");
	owner_connect(&owner);
	end();
	point("sends and receives, %s", where());
}

static void atomics(void)
{
	uint32_t key = begin(16, SIZE - 16, ACCESS);
	uint64_t *found = (uint64_t *)buf[PINNED];
	struct ibv_sge sge = sge_of(buf_mr[PINNED], found, 8);
	struct ibv_send_wr wr;
	uint64_t i;

	for (i = 0; i < 1000; i++) {
		wr = atomic_wr(IBV_WR_ATOMIC_FETCH_AND_ADD, &sge, 4088, key,
			       3, 0);
		post_send(me.qp, &wr);
		if (!expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "add") ||
		    !expect_eq(*found, 3 * i, "what was there"))
			break;
	}
	expect_eq(ask(&owner, own_word, 4104), 3000, "the sum");
	wr = atomic_wr(IBV_WR_ATOMIC_CMP_AND_SWP, &sge, 4088, key, 3000, 7);
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "swap");
	wr = atomic_wr(IBV_WR_ATOMIC_CMP_AND_SWP, &sge, 4088, key, 3000, 8);
	post_send(me.qp, &wr);
	expect_eq(end_access(SOON_MS), IBV_WC_SUCCESS, "swap");
	expect_eq(*found, 7, "what was there");
	expect_eq(ask(&owner, own_word, 4104), 7, "what is there");
	end();

	/* Across a page, where only the region is aligned */
	key = begin(4, SIZE - 4, ACCESS);
	expect_refused(key, IBV_WR_ATOMIC_FETCH_AND_ADD, 4088, 8);
	end();
	point("atomics, %s", where());
}

/* A window on it */
static struct ibv_mw *own_mw;

static long own_bind(const long *arg)
{
	struct ibv_wc wc;
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW };

	own_mw = ibv_alloc_mw(own.pd, IBV_MW_TYPE_2);
	must(own_mw);
	wr.send_flags = IBV_SEND_SIGNALED;
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

static void windows(void)
{
	long key;

	begin(100, 50000, ACCESS | IBV_ACCESS_MW_BIND);
	key = ask(&owner, own_bind, 4001, 20001);
	expect(key > 0, "bind: %ld", key);
	expect_works(key, 4001, 4101, 20001);
	expect_eq(ask(&owner, own_deregister), EBUSY, "a window is on it");
	expect_refused(key, IBV_WR_RDMA_WRITE, 4000, 2);
	expect_eq(ask(&owner, own_unbind), 0, "dealloc");
	end();
	point("windows, %s", where());
}

/* Who pays: it counts as locked memory. */
static long own_limited(const long *arg)
{
	struct rlimit limit = { 256 * KIB, 256 * KIB };
	long ask_for[OWNER_ARGS] = { 512 * KIB };
	int status;
	pid_t pid = fork();

	(void)arg;
	if (!pid) {
		struct ibv_context *ctx = device_open();

		own.ctx = ctx;
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(1, 1, 1) ||
		    own_alloc(ask_for) != ENOMEM)
			_exit(1);
		ask_for[0] = 128 * KIB;
		if (own_alloc(ask_for) || own_alloc(ask_for))
			_exit(2);
		if (own_alloc(ask_for) != ENOMEM)
			_exit(3);
		_exit(0);
	}
	return wait_child(pid, SOON_MS, &status) ? status : -1;
}

static void payment(void)
{
	long before = ask(&owner, own_locked_kb);

	must(!ask(&owner, own_alloc, 1000 * KIB + 1));
	expect_eq(ask(&owner, own_locked_kb) - before, 1004, "locked");
	expect_eq(ask(&owner, own_free), 0, "free");
	expect_eq(ask(&owner, own_locked_kb), before, "locked then");
	expect_eq(ask(&owner, own_limited), 0, "a process with a limit");
	point("who pays, %s", where());
}

/* What a child inherits, and what is left when the owner is killed */
static long own_fork_copy(const long *arg)
{
	pid_t pid = fork();
	int status;

	(void)arg;
	if (!pid)
		_exit(own_fill_memory((const long [OWNER_ARGS]){ 1, 2, 30 }) ?
		      1 : 0);
	return wait_child(pid, SOON_MS, &status) ? status : -1;
}

static void killed(void)
{
	uint32_t key = begin(0, SIZE, ACCESS);
	uint64_t last = now_ms() + SOON_MS;
	int status;

	expect_eq(ask(&owner, own_fork_copy), 0, "a child");
	expect_eq(ask(&owner, own_check_memory, 1, 2, 30, 31), 0,
		  "what the child copied there");
	kill_child(&owner.child);
	do {
		status = do_access(IBV_WR_RDMA_WRITE, PINNED, 0, key, SIZE);
	} while (status == IBV_WC_SUCCESS && now_ms() < last);
	expect(status > IBV_WC_SUCCESS, "the owner's end: %d", status);
}

static void alone(void)
{
	copies();
	registrations();
	regions();
	sends();
	atomics();
	windows();
	payment();
}

static void run(void)
{
	struct leftovers before = count_leftovers();

	owner_open(&owner, true);
	capabilities();
	alone();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	killed();
	me_close();
	expect_no_leftovers(&before);
	point("an owner that is killed, and its child");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
