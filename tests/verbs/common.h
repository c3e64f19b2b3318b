/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * common.h - what the verbs tests share: a side of a connection, work
 * requests, waiting for completions and events, patterns, children.
 *
 * The device is the program's argument, else TIDE_DEV, else tide0.
 */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tap.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096UL
#define KIB		1024UL
#define MIB		(1024UL * 1024UL)

/*
 * How long anything may take that should happen at once: the guest is slow,
 * and may have to share its machine.
 */
#define SOON_MS		30000

/*
 * What might take for ever, did not.  Nothing shorter can be told from a guest
 * that stood still.
 */
#define expect_soon(start, what)					\
	({								\
		uint64_t took_ = now_ms() - (start);			\
		expect(took_ < SOON_MS, "%s took %llu ms", what,	\
		       (unsigned long long)took_);			\
	})

#define ALL_RIGHTS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

/* Pinned and on demand: every test of memory runs for both. */
enum kind { PINNED, ODP, KINDS };

static const char * const kind_name[KINDS] = { "pinned", "on demand" };

static inline int kind_access(enum kind kind)
{
	return kind == ODP ? IBV_ACCESS_ON_DEMAND : 0;
}

/* Random numbers: xorshift64*, every thread its own. */

static __thread uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
	random_state = (tap->seed ^ (seed * 0x9e3779b97f4a7c15ULL)) | 1;
}

static inline uint64_t random_u64(void)
{
	if (!random_state)
		random_seed(1);
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dULL;
}

/* From 0 to @below - 1. */
static inline uint64_t random_below(uint64_t below)
{
	return (random_u64() >> 11) % below;
}

static inline void random_fill(void *buffer, size_t len)
{
	uint8_t *p = buffer;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t value = random_u64();

		memcpy(p, &value, 8);
	}
	while (len--)
		*p++ = random_u64() >> 32;
}

/* Memory, page by page as mmap() gives it. */

static inline void *map_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static inline size_t first_difference(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;
	size_t i = 0;

	while (i < len && x[i] == y[i])
		i++;
	return i;
}

/* Two buffers that should be the same, to the byte. */
static inline bool expect_same_at(const char *file, int line, const void *seen,
				  const void *wanted, size_t len,
				  const char *what)
{
	size_t at = 0;

	if (memcmp(seen, wanted, len))
		at = first_difference(seen, wanted, len);
	else
		at = len;
	return tap_expect(at == len, file, line,
			  "%s: byte %zu of %zu is %02x, not %02x", what, at,
			  len, at < len ? ((const uint8_t *)seen)[at] : 0,
			  at < len ? ((const uint8_t *)wanted)[at] : 0);
}

#define expect_same(seen, wanted, len, what)				\
	expect_same_at(__FILE__, __LINE__, seen, wanted, len, what)

/* The device */

static inline const char *device_name(void)
{
	const char *name = tap_argument ? tap_argument : getenv("TIDE_DEV");

	return name && *name ? name : "tide0";
}

static inline struct ibv_context *device_open(void)
{
	struct ibv_context *ctx = NULL;
	struct ibv_device **list;
	int i;

	list = ibv_get_device_list(NULL);
	must(list);
	for (i = 0; list[i] && !ctx; i++)
		if (!strcmp(ibv_get_device_name(list[i]), device_name()))
			ctx = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	if (!ctx)
		bail("cannot open %s: %s", device_name(), strerror(errno));
	return ctx;
}

/* The first GID that is an IPv4 address. */
static inline int find_gid(struct ibv_context *ctx, union ibv_gid *gid)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	int i;

	for (i = 0; i < 64; i++)
		if (!ibv_query_gid(ctx, 1, i, gid) &&
		    !memcmp(gid->raw, mapped, sizeof(mapped)))
			return i;
	bail("%s has no IPv4 address", device_name());
}

/* One side of a connection */

struct side {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *scq;
	struct ibv_cq *rcq;
	struct ibv_qp *qp;
	int gid_index;
	union ibv_gid gid;
};

struct address {
	uint32_t qpn;
	union ibv_gid gid;
};

static inline void side_open(struct side *side, int cqe)
{
	memset(side, 0, sizeof(*side));
	side->ctx = device_open();
	side->gid_index = find_gid(side->ctx, &side->gid);
	side->pd = ibv_alloc_pd(side->ctx);
	must(side->pd);
	side->channel = ibv_create_comp_channel(side->ctx);
	must(side->channel);
	side->scq = ibv_create_cq(side->ctx, cqe, NULL, side->channel, 0);
	must(side->scq);
	side->rcq = ibv_create_cq(side->ctx, cqe, NULL, side->channel, 0);
	must(side->rcq);
}

#define SGE_MAX		32
#define INLINE_CAP	512

static inline struct ibv_qp_init_attr qp_init(const struct side *side, int wr)
{
	return (struct ibv_qp_init_attr) {
		.send_cq = side->scq,
		.recv_cq = side->rcq,
		.cap = {
			.max_send_wr = wr,
			.max_recv_wr = wr,
			.max_send_sge = SGE_MAX,
			.max_recv_sge = SGE_MAX,
			.max_inline_data = INLINE_CAP,
		},
		.qp_type = IBV_QPT_RC,
	};
}

static inline void side_make_qp(struct side *side, int wr)
{
	struct ibv_qp_init_attr init = qp_init(side, wr);

	side->qp = ibv_create_qp(side->pd, &init);
	must(side->qp);
}

static inline struct address side_address(const struct side *side)
{
	return (struct address) { side->qp->qp_num, side->gid };
}

/* What a connection is made with; change it before side_connect(). */
struct conn {
	int access;
	uint8_t timeout;
	uint8_t retry_cnt;
	uint8_t rnr_retry;
	uint8_t min_rnr_timer;
	uint8_t rd_atomic;
};

/* Two thirds of a second until a silent peer is given up. */
static const struct conn usual_conn = {
	.access = ALL_RIGHTS,
	.timeout = 14,
	.retry_cnt = 7,
	.rnr_retry = 7,
	.min_rnr_timer = 12,
	.rd_atomic = 16,
};

static inline int qp_to_init(struct ibv_qp *qp, int access)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = access,
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			     IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static inline int qp_to_rtr(struct ibv_qp *qp, int gid_index,
			    const struct address *peer, const struct conn *conn)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qpn,
		.rq_psn = 0x1234,
		.max_dest_rd_atomic = conn->rd_atomic,
		.min_rnr_timer = conn->min_rnr_timer,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = {
				.dgid = peer->gid,
				.sgid_index = gid_index,
				.hop_limit = 64,
			},
		},
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
			     IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
			     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
			     IBV_QP_MIN_RNR_TIMER);
}

static inline int qp_to_rts(struct ibv_qp *qp, const struct conn *conn)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = conn->timeout,
		.retry_cnt = conn->retry_cnt,
		.rnr_retry = conn->rnr_retry,
		.sq_psn = 0x1234,
		.max_rd_atomic = conn->rd_atomic,
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
			     IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static inline int qp_to(struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}

static inline void side_connect(struct side *side, const struct address *peer,
				const struct conn *conn)
{
	errno = qp_to_init(side->qp, conn->access);
	must(!errno);
	errno = qp_to_rtr(side->qp, side->gid_index, peer, conn);
	must(!errno);
	errno = qp_to_rts(side->qp, conn);
	must(!errno);
}

static inline enum ibv_qp_state qp_state(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	errno = ibv_query_qp(qp, &attr, IBV_QP_STATE, &init);
	must(!errno);
	return attr.qp_state;
}

static inline void side_drop_qp(struct side *side)
{
	if (!side->qp)
		return;
	errno = ibv_destroy_qp(side->qp);
	must(!errno);
	side->qp = NULL;
}

static inline void side_close(struct side *side)
{
	side_drop_qp(side);
	errno = ibv_destroy_cq(side->scq);
	must(!errno);
	errno = ibv_destroy_cq(side->rcq);
	must(!errno);
	errno = ibv_destroy_comp_channel(side->channel);
	must(!errno);
	errno = ibv_dealloc_pd(side->pd);
	must(!errno);
	must(!ibv_close_device(side->ctx));
}

/* Both sides in one process; each has a context of its own. */

static inline void connect_sides(struct side *a, struct side *b,
				 const struct conn *conn)
{
	struct address at_a = side_address(a), at_b = side_address(b);

	side_connect(a, &at_b, conn);
	side_connect(b, &at_a, conn);
}

/* Fresh queue pairs, connected. */
static inline void reconnect(struct side *a, struct side *b, int wr,
			     const struct conn *conn)
{
	side_drop_qp(a);
	side_drop_qp(b);
	side_make_qp(a, wr);
	side_make_qp(b, wr);
	connect_sides(a, b, conn);
}

/* Regions */

static inline struct ibv_mr *reg(struct ibv_pd *pd, void *addr, size_t len,
				 int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, len, access);

	must(mr);
	return mr;
}

static inline void dereg(struct ibv_mr *mr)
{
	errno = ibv_dereg_mr(mr);
	must(!errno);
}

static inline struct ibv_sge sge_of(const struct ibv_mr *mr, const void *addr,
				    uint32_t len)
{
	return (struct ibv_sge) { (uintptr_t)addr, len, mr->lkey };
}

/* Work requests */

static inline struct ibv_send_wr rdma_wr(enum ibv_wr_opcode opcode,
					 struct ibv_sge *sge,
					 uint64_t remote_addr, uint32_t rkey)
{
	return (struct ibv_send_wr) {
		.opcode = opcode,
		.sg_list = sge,
		.num_sge = sge ? 1 : 0,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { remote_addr, rkey },
	};
}

static inline struct ibv_send_wr atomic_wr(enum ibv_wr_opcode opcode,
					   struct ibv_sge *sge,
					   uint64_t remote_addr, uint32_t rkey,
					   uint64_t compare_add, uint64_t swap)
{
	return (struct ibv_send_wr) {
		.opcode = opcode,
		.sg_list = sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.atomic = { remote_addr, compare_add, swap, rkey },
	};
}

static inline bool is_atomic(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_ATOMIC_CMP_AND_SWP ||
	       opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

static inline bool is_send(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM;
}

static inline bool has_imm(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_SEND_WITH_IMM ||
	       opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
}

static inline const char *opcode_name(enum ibv_wr_opcode opcode)
{
	switch (opcode) {
	case IBV_WR_SEND: return "send";
	case IBV_WR_SEND_WITH_IMM: return "send with immediate";
	case IBV_WR_RDMA_WRITE: return "write";
	case IBV_WR_RDMA_WRITE_WITH_IMM: return "write with immediate";
	case IBV_WR_RDMA_READ: return "read";
	case IBV_WR_ATOMIC_CMP_AND_SWP: return "compare and swap";
	case IBV_WR_ATOMIC_FETCH_AND_ADD: return "fetch and add";
	default: return "another opcode";
	}
}

static inline enum ibv_wc_opcode wc_opcode(enum ibv_wr_opcode opcode)
{
	switch (opcode) {
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM: return IBV_WC_RDMA_WRITE;
	case IBV_WR_RDMA_READ: return IBV_WC_RDMA_READ;
	case IBV_WR_ATOMIC_CMP_AND_SWP: return IBV_WC_COMP_SWAP;
	case IBV_WR_ATOMIC_FETCH_AND_ADD: return IBV_WC_FETCH_ADD;
	default: return IBV_WC_SEND;
	}
}

static inline int try_send(struct ibv_qp *qp, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	return ibv_post_send(qp, wr, &bad);
}

static inline int try_recv(struct ibv_qp *qp, uint64_t wr_id,
			   struct ibv_sge *sge, int num_sge)
{
	struct ibv_recv_wr wr = {
		.wr_id = wr_id,
		.sg_list = sge,
		.num_sge = num_sge,
	};
	struct ibv_recv_wr *bad;

	return ibv_post_recv(qp, &wr, &bad);
}

static inline int try_srq_recv(struct ibv_srq *srq, uint64_t wr_id,
			       struct ibv_sge *sge, int num_sge)
{
	struct ibv_recv_wr wr = {
		.wr_id = wr_id,
		.sg_list = sge,
		.num_sge = num_sge,
	};
	struct ibv_recv_wr *bad;

	return ibv_post_srq_recv(srq, &wr, &bad);
}

static inline void post_send(struct ibv_qp *qp, struct ibv_send_wr *wr)
{
	errno = try_send(qp, wr);
	must(!errno);
}

static inline void post_recv(struct ibv_qp *qp, uint64_t wr_id,
			     struct ibv_sge *sge, int num_sge)
{
	errno = try_recv(qp, wr_id, sge, num_sge);
	must(!errno);
}

static inline void read_command(const char *command, char *out, size_t size)
{
	FILE *pipe = popen(command, "r");
	size_t n = 0;

	must(pipe);
	while (n < size - 1) {
		size_t got = fread(out + n, 1, size - 1 - n, pipe);

		if (!got)
			break;
		n += got;
	}
	out[n] = 0;
	pclose(pipe);
}

/* What the kernel's threads are doing for us; those that run have no stack. */
static inline void show_workers(void)
{
	char text[4000];

	read_command("for t in $(pgrep kworker); do "
		     "grep -q tide /proc/$t/stack 2>/dev/null && "
		     "cat /proc/$t/comm /proc/$t/stack; done; "
		     "for i in 1 2 3; do ps -eo stat=,comm= | grep ^R; "
		     "grep -E 'pswp|pgscan_direct ' /proc/vmstat; sleep 0.1; "
		     "done", text, sizeof(text));
	tap_show_text("worker", text);
}

/* Completions and events, waited for no longer than @ms */

static inline bool wait_wc(struct ibv_cq *cq, struct ibv_wc *wc,
			   unsigned int ms)
{
	struct patience patience = patience_of(ms);
	int n;

	for (;;) {
		n = ibv_poll_cq(cq, 1, wc);
		if (n == 1)
			return true;
		if (n < 0 || !is_patient(&patience))
			return false;
		sched_yield();
	}
}

/* That nothing completes for a while. */
static inline bool is_quiet(struct ibv_cq *cq, unsigned int ms)
{
	struct ibv_wc wc;

	return !wait_wc(cq, &wc, ms);
}

/* The next completion, which should be of @wr_id and end in @status. */
static inline bool expect_wc_at(const char *file, int line, struct ibv_cq *cq,
				uint64_t wr_id, enum ibv_wc_status status,
				struct ibv_wc *wc)
{
	struct ibv_wc mine;

	if (!wc)
		wc = &mine;
	if (!tap_expect(wait_wc(cq, wc, SOON_MS), file, line,
			"no completion, which should have been %llu: %s",
			(unsigned long long)wr_id, ibv_wc_status_str(status))) {
		show_workers();
		return false;
	}
	return tap_expect(wc->wr_id == wr_id && wc->status == status, file,
			  line, "completion of %llu is %s, not of %llu %s",
			  (unsigned long long)wc->wr_id,
			  ibv_wc_status_str(wc->status),
			  (unsigned long long)wr_id,
			  ibv_wc_status_str(status));
}

#define expect_wc(cq, wr_id, status)					\
	expect_wc_at(__FILE__, __LINE__, cq, wr_id, status, NULL)

static inline bool wait_readable(int fd, unsigned int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct patience patience = patience_of(ms);
	int n;

	do {
		n = poll(&pfd, 1, patience.left < PATIENCE_STEP_MS / 2 ?
			 patience.left : PATIENCE_STEP_MS / 2);
	} while (!n && is_patient(&patience));
	return n == 1;
}

/* The next asynchronous event of a context, or -1. */
static inline int wait_event(struct ibv_context *ctx, void **element,
			     unsigned int ms)
{
	struct ibv_async_event event;

	if (!wait_readable(ctx->async_fd, ms))
		return -1;
	must(!ibv_get_async_event(ctx, &event));
	if (element)
		*element = event.element.qp;
	ibv_ack_async_event(&event);
	return event.event_type;
}

static inline bool wait_state(struct ibv_qp *qp, enum ibv_qp_state state,
			      unsigned int ms)
{
	struct patience patience = patience_of(ms);

	while (qp_state(qp) != state) {
		if (!is_patient(&patience))
			return false;
		sched_yield();
	}
	return true;
}

/*
 * A counter of the port's, or -1.  The core has them summed up again only when
 * the last sums are 10 ms old.
 */
static inline long counter(const char *name)
{
	char path[160];
	long value = -1;
	FILE *file;

	sleep_ms(20);
	snprintf(path, sizeof(path),
		 "/sys/class/infiniband/%s/ports/1/hw_counters/%s",
		 device_name(), name);
	file = fopen(path, "r");
	if (!file)
		return -1;
	if (fscanf(file, "%ld", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

/* Until so much has been counted, which it will be soon. */
static inline bool wait_counter(const char *name, long value)
{
	uint64_t end = now_ms() + SOON_MS;

	while (counter(name) < value)
		if (now_ms() > end)
			return false;
	return true;
}

/* Children, each at the other end of a socket */

struct child {
	pid_t pid;
	int fd;
};

static inline struct child spawn(void (*run)(int fd, void *arg), void *arg)
{
	struct child child;
	int fds[2];

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
	fflush(stdout);
	child.pid = fork();
	must(child.pid >= 0);
	if (!child.pid) {
		close(fds[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		random_seed(getpid());
		run(fds[1], arg);
		_exit(0);
	}
	close(fds[1]);
	child.fd = fds[0];
	return child;
}

static inline bool try_say(int fd, const void *what, size_t len)
{
	return send(fd, what, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* What the other side says; false when it takes too long or has gone. */
static inline bool try_hear(int fd, void *what, size_t len, unsigned int ms)
{
	return wait_readable(fd, ms) &&
	       recv(fd, what, len, 0) == (ssize_t)len;
}

static inline void say(int fd, const void *what, size_t len)
{
	must(try_say(fd, what, len));
}

static inline void hear(int fd, void *what, size_t len)
{
	if (try_hear(fd, what, len, 3 * SOON_MS))
		return;
	tap_show_group(getpgrp());
	bail("the other process says nothing");
}

static inline void say_byte(int fd)
{
	say(fd, "", 1);
}

static inline void hear_byte(int fd)
{
	char byte;

	hear(fd, &byte, 1);
}

/* That a child ends by itself, and well. */
static inline void expect_child(struct child *child, const char *what)
{
	int status = -1;
	bool ended = wait_child(child->pid, 3 * SOON_MS, &status);

	expect(ended, "%s has not ended", what);
	expect(ended && WIFEXITED(status) && !WEXITSTATUS(status),
	       "%s ended with %#x", what, status);
	if (!ended) {
		tap_show_tasks(child->pid);
		kill(child->pid, SIGKILL);
	}
	close(child->fd);
}

static inline void kill_child(struct child *child)
{
	int status;

	kill(child->pid, SIGKILL);
	expect(wait_child(child->pid, 3 * SOON_MS, &status),
	       "process %d cannot be killed", child->pid);
	close(child->fd);
}

/* What is left behind: resources, and references to the module */

struct leftovers {
	char resources[200];
	char module[16];
	char door[16];
};

static inline struct leftovers count_leftovers(void)
{
	struct leftovers now;
	char command[160];

	snprintf(command, sizeof(command), "rdma res show %s", device_name());
	read_command(command, now.resources, sizeof(now.resources));
	read_command("cat /sys/module/tide/refcnt 2>/dev/null", now.module,
		     sizeof(now.module));
	read_command("cat /sys/module/tide_door/refcnt 2>/dev/null", now.door,
		     sizeof(now.door));
	return now;
}

/* Whether all is as it was @before, perhaps a little later. */
static inline void expect_no_leftovers(const struct leftovers *before)
{
	uint64_t end = now_ms() + SOON_MS;
	struct leftovers now;
	bool same;

	do {
		now = count_leftovers();
		same = !strcmp(now.resources, before->resources) &&
		       !strcmp(now.module, before->module) &&
		       !strcmp(now.door, before->door);
	} while (!same && now_ms() < end && (sleep_ms(50), true));
	expect(!strcmp(now.resources, before->resources),
	       "resources are left: %s", now.resources);
	expect(!strcmp(now.module, before->module),
	       "the module has %s users", now.module);
	expect(!strcmp(now.door, before->door),
	       "the doorbell's module has %s users", now.door);
}

#endif /* COMMON_H */
