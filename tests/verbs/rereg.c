// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Regions registered anew: their memory, protection domain, rights and kind,
 * in all combinations.  The key stays.  What was the region's and is not any
 * more is not touched, what fails changes nothing, and an operation under way
 * sees one memory only.
 */
#include "owner.h"

#include <rdma/ib_user_verbs.h>

#define SIZE		(64 * KIB)
#define RACE_SIZE	(2 * MIB)
#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

#define TRANSLATION	IBV_REREG_MR_CHANGE_TRANSLATION
#define DOMAIN		IBV_REREG_MR_CHANGE_PD
#define RIGHTS		IBV_REREG_MR_CHANGE_ACCESS

static struct owner owner;

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* In the owner's process */

static struct ibv_pd *spare_pd;
static struct ibv_mr *own_mr;

static long own_register(const long *arg)
{
	own_mr = ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]);
	return own_mr ? (long)own_mr->rkey : -errno;
}

static long own_receive(const long *arg)
{
	struct ibv_sge sge = sge_of(own_mr, (void *)arg[0], arg[1]);

	return try_recv(own.qp, 0, &sge, 1);
}

static long own_deregister(const long *arg)
{
	(void)arg;
	return ibv_dereg_mr(own_mr);
}

static long own_alloc_spare_pd(const long *arg)
{
	(void)arg;
	spare_pd = ibv_alloc_pd(own.ctx);
	return spare_pd ? 0 : -errno;
}

static long own_free_spare_pd(const long *arg)
{
	(void)arg;
	return ibv_dealloc_pd(spare_pd);
}

/* By libibverbs; the error is errno, or 0. */
static long own_rereg(const long *arg)
{
	uint32_t key = own_mr->rkey;
	int ret;

	errno = 0;
	ret = ibv_rereg_mr(own_mr, arg[0], arg[4] ? spare_pd : own.pd,
			   (void *)arg[1], arg[2], arg[3]);
	if (ret)
		return errno ?: -1;
	return own_mr->rkey == key && own_mr->lkey == key ? 0 : -2;
}

/* By the kernel's own interface, where addresses need not be the memory's. */
static long own_rereg_at(const long *arg)
{
	struct ib_uverbs_rereg_mr_resp resp = {};
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_rereg_mr cmd;
	} request = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(request) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.cmd = {
			.response = (uintptr_t)&resp,
			.mr_handle = own_mr->handle,
			.flags = arg[0],
			.start = arg[1],
			.length = arg[2],
			.hca_va = arg[3],
			.pd_handle = own.pd->handle,
			.access_flags = arg[4],
		},
	};

	if (arg[5])
		sleep_us(arg[5]);
	if (write(own.ctx->cmd_fd, &request, sizeof(request)) !=
	    sizeof(request))
		return errno;
	return resp.rkey == own_mr->rkey && resp.lkey == own_mr->lkey ? 0 : -2;
}

/* Of the requester's: what the region is now */
struct region {
	uint64_t addr;
	size_t size;
	uint32_t key;
};

static uint64_t map(size_t size)
{
	long addr = ask(&owner, own_map, 0, size, RW, ANON, -1, 0);

	must(addr > 0);
	return addr;
}

static struct region region_make(uint64_t addr, size_t size, int access)
{
	long key = ask(&owner, own_register, addr, size, access);

	must(key > 0);
	return (struct region) { addr, size, key };
}

static void region_drop(struct region *region)
{
	expect_eq(ask(&owner, own_deregister), 0, "dereg");
	expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PINNED,
		      region->addr, region->key, 8);
	owner_connect(&owner);
}

static void expect_rereg(int flags, uint64_t addr, size_t size, int access,
			 bool spare)
{
	expect_eq(ask(&owner, own_rereg, flags, addr, size, access, spare), 0,
		  "rereg %#x", flags);
}

/* Write into the middle of it: there and nowhere else something changes. */
static void expect_writable(const struct region *region, enum kind kind)
{
	uint64_t at = 1 + random_below(region->size / 2);
	uint64_t len = 1 + random_below(region->size / 2 - 1);
	uint64_t end = at + len, rest = region->size - end;
	uint64_t seed = random_u64();

	ask(&owner, own_fill, region->addr, at, seed);
	ask(&owner, own_fill, region->addr + at, len, seed + 1);
	ask(&owner, own_fill, region->addr + end, rest, seed + 2);
	pattern_fill(buf[kind], len, seed + 3);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
		      region->addr + at, region->key, len);
	expect_eq(ask(&owner, own_check, region->addr, at, seed), at,
		  "before what was written");
	expect_eq(ask(&owner, own_check, region->addr + at, len, seed + 3),
		  len, "what was written");
	expect_eq(ask(&owner, own_check, region->addr + end, rest, seed + 2),
		  rest, "behind what was written");
}

static void expect_readable(const struct region *region, enum kind kind)
{
	uint64_t seed = random_u64();

	ask(&owner, own_fill, region->addr, region->size, seed);
	memset(buf[kind], 0, region->size);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, region->addr,
		      region->key, region->size);
	expect_eq(pattern_check(buf[kind], region->size, seed), region->size,
		  "what was read");
}

static void expect_works(const struct region *region)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		expect_writable(region, kind);
		expect_readable(region, kind);
	}
}

/* An access that changes nothing; it ends both queue pairs. */
static void expect_refused(const struct region *region,
			   enum ibv_wr_opcode opcode, uint64_t addr, size_t len)
{
	uint64_t seed = random_u64();

	ask(&owner, own_fill, addr, len, seed);
	pattern_fill(buf[PINNED], len, seed + 1);
	expect_access(IBV_WC_REM_ACCESS_ERR, opcode, PINNED, addr, region->key,
		      len);
	expect_eq(pattern_check(buf[PINNED], len, seed + 1), len,
		  "the requester's bytes");
	expect_eq(ask(&owner, own_check, addr, len, seed), len,
		  "the owner's bytes");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "the owner's event");
	owner_connect(&owner);
}

/* What its owner throws away is gone for on-demand memory only. */
static void expect_kind(const struct region *region, enum kind kind)
{
	uint64_t at = region->addr + PAGE;

	ask(&owner, own_fill, at, PAGE, 1);
	ask(&owner, own_advise, at, PAGE, MADV_DONTNEED);
	memset(buf[PINNED], 0x55, PAGE);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, at,
		      region->key, PAGE);
	if (kind == ODP)
		expect_eq(zero_check(buf[PINNED], PAGE), PAGE, "on demand");
	else
		expect_eq(pattern_check(buf[PINNED], PAGE, 1), PAGE,
			  "pinned");
	/* Pinned pages and the process's are two things from now on. */
	expect_rereg(TRANSLATION, region->addr, region->size, 0, false);
}

/* Points */

static void translation(enum kind from, enum kind to)
{
	uint64_t here = map(SIZE), there = map(3 * SIZE);
	struct region region = region_make(here, SIZE,
					   ALL_RIGHTS | kind_access(from));
	int flags = TRANSLATION | (from == to ? 0 : RIGHTS);
	int access = from == to ? 0 : ALL_RIGHTS | kind_access(to);

	expect_works(&region);
	expect_rereg(flags, there + 77, 2 * SIZE + 1, access, false);
	region.addr = there + 77;
	region.size = 2 * SIZE + 1;
	expect_works(&region);
	expect_refused(&region, IBV_WR_RDMA_WRITE, here, SIZE);
	expect_refused(&region, IBV_WR_RDMA_READ, here + 5, 1);
	expect_refused(&region, IBV_WR_RDMA_WRITE, region.addr - 1, 2);
	expect_refused(&region, IBV_WR_RDMA_WRITE,
		       region.addr + region.size - 1, 2);
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, 3 * SIZE);
	point("from %s memory to other that is %s, %s", kind_name[from],
	      kind_name[to], where());
}

static void rights(enum kind kind)
{
	const int odp = kind_access(kind);
	struct region region = region_make(map(SIZE), SIZE, odp);

	expect_refused(&region, IBV_WR_RDMA_READ, region.addr, SIZE);
	expect_rereg(RIGHTS, 0, 0, IBV_ACCESS_REMOTE_READ | odp, false);
	expect_refused(&region, IBV_WR_RDMA_WRITE, region.addr + 9, 99);
	expect_rereg(RIGHTS, 0, 0, IBV_ACCESS_LOCAL_WRITE |
		     IBV_ACCESS_REMOTE_WRITE | odp, false);
	expect_writable(&region, kind);
	expect_refused(&region, IBV_WR_RDMA_READ, region.addr, SIZE);
	expect_refused(&region, IBV_WR_ATOMIC_FETCH_AND_ADD, region.addr, 8);
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS | odp, false);
	expect_works(&region);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_FETCH_AND_ADD, kind,
		      region.addr, region.key, 8);
	region_drop(&region);
	ask(&owner, own_unmap, region.addr, SIZE);
	point("rights, %s, %s", kind_name[kind], where());
}

static void kinds(void)
{
	struct region region = region_make(map(SIZE), SIZE, ALL_RIGHTS);

	expect_kind(&region, PINNED);
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND, false);
	expect_kind(&region, ODP);
	expect_works(&region);
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS, false);
	expect_kind(&region, PINNED);
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, region.addr, SIZE);
	point("pinned, on demand and pinned again, %s", where());
}

static void domains(enum kind kind)
{
	const int odp = kind_access(kind);
	uint64_t here = map(SIZE), there = map(SIZE);
	struct region region = region_make(here, SIZE, ALL_RIGHTS | odp);

	must(!ask(&owner, own_alloc_spare_pd));
	expect_rereg(DOMAIN, 0, 0, 0, true);
	expect_refused(&region, IBV_WR_RDMA_WRITE, here, SIZE);
	expect_eq(ask(&owner, own_free_spare_pd), EBUSY, "in use");
	expect_rereg(DOMAIN, 0, 0, 0, false);
	expect_works(&region);
	expect_rereg(DOMAIN, 0, 0, 0, false);
	expect_works(&region);
	expect_rereg(DOMAIN | RIGHTS | TRANSLATION, there, SIZE,
		     ALL_RIGHTS | kind_access(!kind), true);
	expect_refused(&region, IBV_WR_RDMA_WRITE, here, SIZE);
	expect_refused(&region, IBV_WR_RDMA_WRITE, there, SIZE);
	expect_rereg(DOMAIN | RIGHTS, 0, 0, ALL_RIGHTS | odp, false);
	expect_eq(ask(&owner, own_free_spare_pd), 0, "not in use");
	region.addr = there;
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, SIZE);
	point("protection domains, %s, %s", kind_name[kind], where());
}

/* The owner's receives and sends name regions too. */
static void local_keys(enum kind kind)
{
	uint64_t here = map(SIZE), there = map(SIZE);
	struct region region = region_make(here, SIZE,
					   ALL_RIGHTS | kind_access(kind));
	struct ibv_sge sge = sge_of(buf_mr[PINNED], buf[PINNED], 100);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};
	int i;

	for (i = 0; i < 2; i++) {
		ask(&owner, own_fill, here, SIZE, 5);
		must(!ask(&owner, own_receive, here + 3, 100));
		if (i)
			expect_rereg(TRANSLATION, there, SIZE, 0, false);
		pattern_fill(buf[PINNED], 100, 6);
		post_send(me.qp, &wr);
		expect_eq(end_access(SOON_MS),
			  i ? IBV_WC_REM_OP_ERR : IBV_WC_SUCCESS, "a send");
		expect_eq(ask(&owner, own_poll_recv),
			  i ? IBV_WC_LOC_PROT_ERR : IBV_WC_SUCCESS,
			  "a receive");
	}
	expect_eq(ask(&owner, own_check, here, SIZE, 5), SIZE, "the memory");
	owner_connect(&owner);
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, SIZE);
	point("receives that were posted before, %s", kind_name[kind]);
}

static void implicit(void)
{
	const int access = ALL_RIGHTS | IBV_ACCESS_ON_DEMAND;
	uint64_t here = map(SIZE), there = map(SIZE);
	struct region region = region_make(here, SIZE, ALL_RIGHTS);
	struct region other = { there, SIZE, region.key };

	expect_eq(ask(&owner, own_rereg_at, TRANSLATION | RIGHTS, 0, -1, 0,
		      access), 0, "explicit to implicit");
	expect_works(&region);
	expect_works(&other);
	expect_rereg(RIGHTS, 0, 0,
		     IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND, false);
	expect_refused(&region, IBV_WR_RDMA_WRITE, here, SIZE);
	expect_readable(&other, ODP);
	expect_rereg(RIGHTS, 0, 0, access, false);
	expect_works(&other);
	expect_eq(ask(&owner, own_rereg, RIGHTS, 0, 0, ALL_RIGHTS), EINVAL,
		  "all of an address space cannot be pinned");
	expect_works(&other);
	expect_rereg(TRANSLATION, there, SIZE, 0, false);
	expect_works(&other);
	expect_refused(&region, IBV_WR_RDMA_WRITE, here, SIZE);
	expect_eq(ask(&owner, own_rereg_at, TRANSLATION, 0, -1, 0, 0), 0,
		  "implicit again");
	expect_works(&region);
	expect_rereg(TRANSLATION | RIGHTS, here, SIZE, ALL_RIGHTS, false);
	expect_works(&region);
	expect_refused(&region, IBV_WR_RDMA_WRITE, there, SIZE);
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, SIZE);
	point("implicit regions, %s", where());
}

/* Failures leave what was */
static void failures(enum kind kind)
{
	const int odp = kind_access(kind);
	uint64_t here = map(SIZE), hole = map(SIZE), only = map(SIZE);
	struct region region = region_make(here, SIZE, ALL_RIGHTS | odp);
	const struct {
		int flags;
		uint64_t addr;
		uint64_t size;
		int access;
		int error;
	} wrong[] = {
		{ 0, 0, 0, 0, EINVAL },
		{ 8, 0, 0, 0, EINVAL },
		{ TRANSLATION, 0, SIZE, 0, EINVAL },
		{ TRANSLATION, here, 0, 0, EINVAL },
		{ 0, 0, 0, ALL_RIGHTS, EINVAL },
		{ TRANSLATION, here, -PAGE, 0, EINVAL },
		{ TRANSLATION | RIGHTS, hole, SIZE, ALL_RIGHTS, EFAULT },
		{ TRANSLATION | RIGHTS, only, SIZE, ALL_RIGHTS, EFAULT },
		{ TRANSLATION | RIGHTS, 1L << 56, SIZE,
		  ALL_RIGHTS | IBV_ACCESS_ON_DEMAND, EINVAL },
		{ RIGHTS, 0, 0, IBV_ACCESS_REMOTE_WRITE | odp, EINVAL },
		{ RIGHTS, 0, 0, IBV_ACCESS_REMOTE_ATOMIC | odp, EINVAL },
		{ RIGHTS, 0, 0, IBV_ACCESS_ZERO_BASED | odp, EOPNOTSUPP },
	};
	unsigned int i;

	ask(&owner, own_unmap, hole, SIZE);
	ask(&owner, own_protect, only, SIZE, PROT_READ);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		expect_eq(ask(&owner, own_rereg, wrong[i].flags, wrong[i].addr,
			      wrong[i].size, wrong[i].access), wrong[i].error,
			  "error %u", i);
		expect_works(&region);
	}
	expect_eq(ask(&owner, own_rereg_at, TRANSLATION, here, SIZE, here + 1,
		      0), EINVAL, "another offset in the page");
	expect_eq(ask(&owner, own_rereg_at, 0, here, SIZE, here, 0), EINVAL,
		  "nothing to be changed");
	expect_eq(ask(&owner, own_rereg_at, 8, here, SIZE, here, 0),
		  EOPNOTSUPP, "an unknown flag");
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, only, SIZE);
	point("what fails leaves the region as it was, %s, %s",
	      kind_name[kind], where());
}

/* Read-only memory may be registered, and written to when it is not any more */
static void read_only(void)
{
	struct region region = { .addr = map(SIZE), .size = SIZE };

	ask(&owner, own_protect, region.addr, SIZE, PROT_READ);
	region = region_make(region.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	expect_eq(ask(&owner, own_rereg, RIGHTS, 0, 0, ALL_RIGHTS), EFAULT,
		  "the process may not write");
	ask(&owner, own_protect, region.addr, SIZE, RW);
	expect_readable(&region, PINNED);
	expect_refused(&region, IBV_WR_RDMA_WRITE, region.addr, 1);
	/* Pinned anew: what was pinned was not for writing. */
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS, false);
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, region.addr, SIZE);
	point("rights that the memory did not have, %s", where());
}

static long port_counter(const char *name)
{
	char command[160], number[40];

	snprintf(command, sizeof(command),
		 "rdma statistic show link %s/1 | grep -o '%s [0-9]*' | "
		 "cut -d' ' -f2", device_name(), name);
	read_command(command, number, sizeof(number));
	return atol(number);
}

/* What is counted and accounted */
static void sums(void)
{
	uint64_t here = map(SIZE), there = map(SIZE);
	long pinned = ask(&owner, own_locked_kb);
	struct region region = region_make(here, SIZE, ALL_RIGHTS);
	long faults = port_counter("odp_faults"), now;

	expect_eq(ask(&owner, own_locked_kb) - pinned, SIZE / KIB, "pinned");
	expect_rereg(TRANSLATION, there, SIZE, 0, false);
	expect_eq(ask(&owner, own_locked_kb) - pinned, SIZE / KIB, "moved");
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND, false);
	expect_eq(ask(&owner, own_locked_kb), pinned, "on demand");
	region.addr = there;
	expect_writable(&region, PINNED);
	now = port_counter("odp_faults");
	expect(now > faults, "no faults: %ld before, now %ld", faults, now);
	expect_rereg(TRANSLATION, here, SIZE, 0, false);
	expect_eq(port_counter("odp_faults"), now, "moved");
	expect_rereg(RIGHTS, 0, 0, ALL_RIGHTS, false);
	expect_eq(port_counter("odp_faults"), now, "pinned");
	expect_eq(ask(&owner, own_locked_kb) - pinned, SIZE / KIB, "pinned");
	region_drop(&region);
	expect_eq(port_counter("odp_faults"), now, "deregistered");
	expect_eq(ask(&owner, own_locked_kb), pinned, "deregistered");
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, SIZE);
	point("counters, and memory that is locked, %s", where());
}

/* A child has the region by inheritance, but its memory is another */
static long own_fork_rereg(const long *arg)
{
	const long wrong[OWNER_ARGS] = {
		RIGHTS, 0, 0, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND,
	};
	const long right[OWNER_ARGS] = {
		RIGHTS, 0, 0, IBV_ACCESS_REMOTE_READ,
	};
	pid_t pid = fork();
	int status;

	(void)arg;
	if (!pid) {
		if (own_rereg(wrong) != EPERM)
			_exit(1);
		_exit(own_rereg(right) ? 2 : 0);
	}
	return wait_child(pid, SOON_MS, &status) ? status : -1;
}

static void inherited(void)
{
	struct region region = region_make(map(SIZE), SIZE, ALL_RIGHTS);

	expect_eq(ask(&owner, own_fork_rereg), 0, "the child");
	expect_refused(&region, IBV_WR_RDMA_WRITE, region.addr, SIZE);
	expect_rereg(TRANSLATION | RIGHTS, region.addr, SIZE, ALL_RIGHTS,
		     false);
	expect_works(&region);
	region_drop(&region);
	ask(&owner, own_unmap, region.addr, SIZE);
	point("by a child");
}

/* Races, between processes */

/*
 * One long operation, while the region moves from one memory to the other:
 * all of it is in one of them, and when it fails, what there is of it.
 */
static int race_once(const uint64_t *memory, int now, const struct region *at,
		     enum kind kind, uint64_t seed)
{
	long check[2], fresh[2];
	int status, i;

	for (i = 0; i < 2; i++)
		ask(&owner, own_fill, memory[i], RACE_SIZE, seed + i);
	pattern_fill(buf[kind], RACE_SIZE, seed + 2);
	tell(&owner, own_rereg_at, TRANSLATION, memory[!now], RACE_SIZE, at->addr, 0,
	     1 + random_below(4000));
	status = do_access(IBV_WR_RDMA_WRITE, kind, at->addr, at->key,
			   RACE_SIZE);
	expect_eq(owner_answer(&owner), 0, "rereg");
	for (i = 0; i < 2; i++) {
		check[i] = ask(&owner, own_check, memory[i], RACE_SIZE,
			       seed + i);
		fresh[i] = ask(&owner, own_check, memory[i], RACE_SIZE,
			       seed + 2);
	}
	expect(check[0] == RACE_SIZE || check[1] == RACE_SIZE,
	       "both memories were written to, from %ld and %ld on", check[0],
	       check[1]);
	if (status == IBV_WC_SUCCESS)
		expect(fresh[0] == RACE_SIZE || fresh[1] == RACE_SIZE,
		       "only %ld and %ld bytes were written", fresh[0],
		       fresh[1]);
	else
		expect_eq(status, IBV_WC_REM_ACCESS_ERR, "the write");
	return status;
}

static void race_of_memories(enum kind kind)
{
	uint64_t memory[2] = { map(RACE_SIZE), map(RACE_SIZE) };
	struct region region = region_make(memory[0], RACE_SIZE,
					   ALL_RIGHTS | kind_access(kind));
	int rounds = length_of(25, 500), cut = 0, i;
	unsigned int failures = tap->failures;

	for (i = 0; i < rounds && tap->failures == failures; i++) {
		if (race_once(memory, i & 1, &region, kind, i * 3)) {
			cut++;
			owner_connect(&owner);
		}
	}
	diag("%d of %d writes were cut short", cut, rounds);
	region_drop(&region);
	for (i = 0; i < 2; i++)
		ask(&owner, own_unmap, memory[i], RACE_SIZE);
	point("a long write while its memory changes, %s", kind_name[kind]);
}

/* Again and again, for some time; how often. */

static long own_toggle_rights(const long *arg)
{
	uint64_t end = now_ms() + arg[0];
	long n = 0, ret = 0;

	for (; !ret && now_ms() < end; n++)
		ret = own_rereg((const long [OWNER_ARGS]){
				RIGHTS, 0, 0, arg[1 + (n & 1)] });
	return ret ? -ret : n;
}

static long own_toggle_memory(const long *arg)
{
	uint64_t end = now_ms() + arg[0];
	long n = 0, ret = 0;

	for (; !ret && now_ms() < end; n++)
		ret = own_rereg_at((const long [OWNER_ARGS]){
				   TRANSLATION, arg[1 + (n & 1)], SIZE,
				   arg[1] });
	return ret ? -ret : n;
}

/* As long as an access is allowed before and after, it always is. */
static void race_of_rights(enum kind kind)
{
	const int odp = kind_access(kind);
	struct region region = region_make(map(SIZE), SIZE, ALL_RIGHTS | odp);
	uint64_t end = now_ms() + 1000;
	long n, done = 0;
	int status;

	tell(&owner, own_toggle_rights, 1500, ALL_RIGHTS | odp,
	     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | odp);
	do {
		status = do_access(IBV_WR_RDMA_WRITE, kind, region.addr + 1,
				   region.key, SIZE - 1);
		done++;
	} while (status == IBV_WC_SUCCESS && now_ms() < end);
	expect_eq(status, IBV_WC_SUCCESS, "write %ld", done);
	n = owner_answer(&owner);
	expect(n > 10, "rereg: %ld", n);
	expect(done > 10, "%ld writes", done);
	region_drop(&region);
	ask(&owner, own_unmap, region.addr, SIZE);
	point("writes while rights come and go, %s", kind_name[kind]);
}

/* Once it returns, nothing changes in what was the region's before. */
static void nothing_late(enum kind kind)
{
	uint64_t here = map(SIZE), there = map(SIZE);
	struct region region = region_make(here, SIZE,
					   ALL_RIGHTS | kind_access(kind));
	int rounds = length_of(40, 1000), i;
	struct ibv_wc wc;

	for (i = 0; i < rounds; i++) {
		int posted = 0;

		pattern_fill(buf[kind], SIZE, 2 * i);
		tell(&owner, own_rereg_at, TRANSLATION, there, SIZE, here, 0,
		     1 + random_below(1500));
		while (posted < 20)
			start_access(IBV_WR_RDMA_WRITE, kind, here, region.key,
				     (posted++, SIZE));
		/* Its answer is there, so is the end of what was under way. */
		expect_eq(owner_answer(&owner), 0, "rereg");
		ask(&owner, own_fill, here, SIZE, 2 * i + 1);
		while (posted-- && wait_wc(me.scq, &wc, SOON_MS))
			;
		expect_eq(posted, -1, "completions");
		expect_eq(ask(&owner, own_check, here, SIZE, 2 * i + 1), SIZE,
			  "what was the region's memory");
		if (qp_state(me.qp) != IBV_QPS_RTS)
			owner_connect(&owner);
		expect_eq(ask(&owner, own_rereg_at, TRANSLATION, here, SIZE,
			      here), 0, "back");
	}
	region_drop(&region);
	ask(&owner, own_unmap, here, SIZE);
	ask(&owner, own_unmap, there, SIZE);
	point("nothing comes late, %s", kind_name[kind]);
}

static void killed(void)
{
	uint64_t here = map(SIZE), there = map(SIZE);
	struct region region = region_make(here, SIZE, ALL_RIGHTS);
	uint64_t end;
	int status;

	tell(&owner, own_toggle_memory, 600000, there, here);
	sleep_ms(100);
	kill_child(&owner.child);
	end = now_ms() + SOON_MS;
	do {
		status = do_access(IBV_WR_RDMA_WRITE, PINNED, here, region.key,
				   SIZE);
	} while (status == IBV_WC_SUCCESS && now_ms() < end);
	expect(status > IBV_WC_SUCCESS, "the owner's end: %d", status);
}

static void alone(void)
{
	enum kind kind, to;

	for (kind = 0; kind < KINDS; kind++) {
		for (to = 0; to < KINDS; to++)
			translation(kind, to);
		rights(kind);
		domains(kind);
		failures(kind);
	}
	kinds();
	implicit();
	read_only();
	sums();
}

#define LARGE	(64 * MIB)		/* takes some time to pin */

static struct ibv_mr *windowed;

static void *rereg_large(void *large)
{
	return (void *)(long)ibv_rereg_mr(windowed, TRANSLATION, own.pd, large,
					  LARGE, 0);
}

static struct ibv_mw *bind_window(struct ibv_mr *mr)
{
	struct ibv_mw *mw = ibv_alloc_mw(own.pd, IBV_MW_TYPE_1);
	struct ibv_mw_bind bind = {
		.wr_id = 7,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = { mr, (uintptr_t)mr->addr, mr->length,
			       IBV_ACCESS_REMOTE_READ },
	};

	must(mw);
	errno = ibv_bind_mw(own.qp, mw, &bind);
	must(!errno);
	expect_wc(own.scq, 7, IBV_WC_SUCCESS);
	return mw;
}

/* The region's last window goes while its new memory is being pinned. */
static void window_goes(void)
{
	uint8_t *mem = map_memory(PAGE), *large;
	struct ibv_mw *mw;
	pthread_t thread;
	void *ret;
	int i;

	for (i = 0; i < 8; i++) {
		large = map_memory(LARGE);
		windowed = reg(own.pd, mem, PAGE, ALL_RIGHTS |
			       IBV_ACCESS_MW_BIND);
		mw = bind_window(windowed);
		must(!pthread_create(&thread, NULL, rereg_large, large));
		sleep_us(1000 + 1500 * i);
		errno = ibv_dealloc_mw(mw);
		must(!errno);
		pthread_join(thread, &ret);
		expect_eq((long)ret, 0, "rereg: %s", strerror(errno));
		expect_eq(ibv_dereg_mr(windowed), 0, "dereg");
		munmap(large, LARGE);
	}
	munmap(mem, PAGE);
	point("a window that goes meanwhile");
}

static void run(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	owner_open(&owner, true);
	alone();
	window_goes();
	owner_close(&owner);

	owner_open(&owner, false);
	alone();
	for (kind = 0; kind < KINDS; kind++) {
		local_keys(kind);
		race_of_memories(kind);
		race_of_rights(kind);
		nothing_late(kind);
	}
	inherited();
	killed();
	me_close();
	expect_no_leftovers(&before);
	point("an owner that is killed while it registers anew");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
