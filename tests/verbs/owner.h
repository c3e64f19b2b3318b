/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * owner.h - a process that owns memory and does to it what it is told, and
 * the requester that accesses this memory meanwhile.
 *
 *	requester (me) ── reads, writes, atomics ──▶ memory of the owner (own)
 *	       └───────────── ask(owner, what) ────▶
 *
 * The owner is a child, or the test's own process.  A child that was forked
 * has all functions where we have them: what it is asked for is a function of
 * the test's, which finds the owner's side in own.
 */
#ifndef OWNER_H
#define OWNER_H

#include "common.h"

#define OWNER_ARGS	6
#define BUF_SIZE	(6 * MIB)

typedef long (*owner_function)(const long *arg);

struct owner {
	bool here;
	struct child child;
};

struct owner_question {
	owner_function function;
	long arg[OWNER_ARGS];
};

static struct side own;			/* in the owner's process */
static struct side me;			/* in the requester's */
static uint8_t *buf[KINDS];		/* the requester's memory */
static struct ibv_mr *buf_mr[KINDS];

static inline long owner_ask(struct owner *owner, owner_function function,
			     const long *arg)
{
	struct owner_question question = { .function = function };
	long answer;

	if (owner->here)
		return function(arg);
	memcpy(question.arg, arg, sizeof(question.arg));
	say(owner->child.fd, &question, sizeof(question));
	hear(owner->child.fd, &answer, sizeof(answer));
	return answer;
}

#define ask(owner, function, ...)					\
	owner_ask(owner, function, (const long [OWNER_ARGS]){ __VA_ARGS__ })

/* Ask, and do not wait for the answer, which owner_answer() gets. */
#define tell(owner, function, ...)					\
	owner_tell(owner, function,					\
		   (const long [OWNER_ARGS]){ __VA_ARGS__ })

static inline void owner_tell(struct owner *owner, owner_function function,
			      const long *arg)
{
	struct owner_question question = { .function = function };

	memcpy(question.arg, arg, sizeof(question.arg));
	say(owner->child.fd, &question, sizeof(question));
}

static inline long owner_answer(struct owner *owner)
{
	long answer;

	hear(owner->child.fd, &answer, sizeof(answer));
	return answer;
}

static inline void owner_serve(int fd, void *arg)
{
	struct owner_question question;
	long answer;

	(void)arg;
	while (recv(fd, &question, sizeof(question), 0) == sizeof(question)) {
		answer = question.function(question.arg);
		say(fd, &answer, sizeof(answer));
	}
}

/* What an owner can do; all of them are called there */

static inline long own_open(const long *arg)
{
	(void)arg;
	side_open(&own, 256);
	return 0;
}

static inline long own_close(const long *arg)
{
	(void)arg;
	side_close(&own);
	return 0;
}

static inline long own_make_qp(const long *arg)
{
	side_drop_qp(&own);
	side_make_qp(&own, arg[0]);
	return own.qp->qp_num;
}

/* One device, one address: only the number is needed. */
static inline long own_connect(const long *arg)
{
	struct address peer = { arg[0], own.gid };

	side_connect(&own, &peer, &usual_conn);
	return 0;
}

static inline long own_map(const long *arg)
{
	void *addr = mmap((void *)arg[0], arg[1], arg[2], arg[3], arg[4],
			  arg[5]);

	return addr == MAP_FAILED ? -errno : (long)addr;
}

static inline long own_unmap(const long *arg)
{
	return munmap((void *)arg[0], arg[1]) ? -errno : 0;
}

static inline long own_protect(const long *arg)
{
	return mprotect((void *)arg[0], arg[1], arg[2]) ? -errno : 0;
}

static inline long own_advise(const long *arg)
{
	return madvise((void *)arg[0], arg[1], arg[2]) ? -errno : 0;
}

static inline long own_reg(const long *arg)
{
	return (long)ibv_reg_mr(own.pd, (void *)arg[0], arg[1], arg[2]);
}

static inline long own_rkey(const long *arg)
{
	return ((struct ibv_mr *)arg[0])->rkey;
}

static inline long own_dereg(const long *arg)
{
	return ibv_dereg_mr((struct ibv_mr *)arg[0]);
}

/* Byte by byte; the same bytes come from the same seed. */
static inline uint8_t pattern(uint64_t seed, size_t i)
{
	uint64_t x = (i + seed * 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;

	return (x >> 40) | 1;
}

static inline void pattern_fill(void *mem, size_t len, uint64_t seed)
{
	uint8_t *p = mem;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern(seed, i);
}

/* Where memory differs from the pattern, or @len. */
static inline size_t pattern_check(const void *mem, size_t len, uint64_t seed)
{
	const uint8_t *p = mem;
	size_t i = 0;

	while (i < len && p[i] == pattern(seed, i))
		i++;
	return i;
}

static inline size_t zero_check(const void *mem, size_t len)
{
	const uint8_t *p = mem;
	size_t i = 0;

	while (i < len && !p[i])
		i++;
	return i;
}

static inline long own_fill(const long *arg)
{
	pattern_fill((void *)arg[0], arg[1], arg[2]);
	return 0;
}

static inline long own_check(const long *arg)
{
	return pattern_check((void *)arg[0], arg[1], arg[2]);
}

static inline long own_check_zero(const long *arg)
{
	return zero_check((void *)arg[0], arg[1]);
}

static inline long own_recv(const long *arg)
{
	struct ibv_mr *mr = (struct ibv_mr *)arg[2];
	struct ibv_sge sge = sge_of(mr, (void *)arg[0], arg[1]);

	return try_recv(own.qp, 0, &sge, 1);
}

/* The status of the next receive, or -1. */
static inline long own_poll_recv(const long *arg)
{
	struct ibv_wc wc;

	(void)arg;
	return wait_wc(own.rcq, &wc, SOON_MS) ? (long)wc.status : -1;
}

/* What it has pinned, in KiB. */
static inline long own_locked_kb(const long *arg)
{
	char line[100];
	long kb = -1;
	FILE *file = fopen("/proc/self/status", "r");

	(void)arg;
	must(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmPin: %ld", &kb);
	fclose(file);
	return kb;
}

static inline long own_event(const long *arg)
{
	return wait_event(own.ctx, NULL, arg[0]);
}

/* The requester and its owner */

static inline void owner_connect(struct owner *owner)
{
	struct address peer;

	side_drop_qp(&me);
	side_make_qp(&me, 64);
	peer.gid = me.gid;
	peer.qpn = ask(owner, own_make_qp, 64);
	ask(owner, own_connect, me.qp->qp_num);
	side_connect(&me, &peer, &usual_conn);
}

static inline void owner_open(struct owner *owner, bool here)
{
	enum kind kind;

	owner->here = here;
	if (!here)
		owner->child = spawn(owner_serve, NULL);
	ask(owner, own_open);
	side_open(&me, 256);
	for (kind = 0; kind < KINDS; kind++) {
		buf[kind] = map_memory(BUF_SIZE);
		buf_mr[kind] = reg(me.pd, buf[kind], BUF_SIZE,
				   ALL_RIGHTS | kind_access(kind));
	}
	owner_connect(owner);
}

static inline void me_close(void)
{
	enum kind kind;

	side_drop_qp(&me);
	for (kind = 0; kind < KINDS; kind++) {
		dereg(buf_mr[kind]);
		must(!munmap(buf[kind], BUF_SIZE));
	}
	side_close(&me);
}

static inline void owner_close(struct owner *owner)
{
	ask(owner, own_close);
	if (!owner->here) {
		shutdown(owner->child.fd, SHUT_WR);
		expect_child(&owner->child, "the owner");
	}
	me_close();
}

/* Start an access of @addr from or to the start of buf[kind]. */
static inline void start_access(enum ibv_wr_opcode opcode, enum kind kind,
				uint64_t addr, uint32_t rkey, uint32_t len)
{
	struct ibv_sge sge = sge_of(buf_mr[kind], buf[kind], len);
	struct ibv_send_wr wr;

	if (is_atomic(opcode))
		wr = atomic_wr(opcode, &sge, addr, rkey, 1, 0);
	else
		wr = rdma_wr(opcode, &sge, addr, rkey);
	post_send(me.qp, &wr);
}

/* The status of the next completion, or -1 when there is none in time. */
static inline int end_access(unsigned int ms)
{
	struct ibv_wc wc;

	return wait_wc(me.scq, &wc, ms) ? (int)wc.status : -1;
}

/* Where memory is so short that pages go as fast as they come: more. */
static unsigned int access_ms = SOON_MS;

static inline int do_access(enum ibv_wr_opcode opcode, enum kind kind,
			    uint64_t addr, uint32_t rkey, uint32_t len)
{
	int status;

	start_access(opcode, kind, addr, rkey, len);
	status = end_access(SOON_MS);
	if (status < 0)
		show_workers();
	if (status < 0 && access_ms > SOON_MS) {
		diag("an access takes long");
		status = end_access(access_ms - SOON_MS);
	}
	return status;
}

#define expect_access(status, opcode, kind, addr, rkey, len)		\
	expect_eq(do_access(opcode, kind, addr, rkey, len), status,	\
		  "%s", opcode_name(opcode))

#endif /* OWNER_H */
