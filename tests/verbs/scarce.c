// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Memory runs out in the middle of making things: each allocation of the
 * kernel's fails in its turn.  What was made until then is undone, the error
 * says so, and nothing is left.
 *
 * Takes a kernel with fault injection, which Debian's are not.
 *
 * Limit: 600
 */
#include "common.h"

#define INJECTION	"/sys/kernel/debug/failslab/"
#define MAX_NTH		400

static bool write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, what, strlen(what)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The @nth allocation of this thread from now on fails; 0: none does. */
static void fail_nth(int nth)
{
	static int fd = -1;
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	/* Opened once: that would be what fails. */
	if (fd < 0)
		fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	must(pwrite(fd, text, len, 0) == len);
}

static struct side side;
static uint8_t *mem;

static void *make_pd(void)
{
	return ibv_alloc_pd(side.ctx);
}

static int end_pd(void *pd)
{
	return ibv_dealloc_pd(pd);
}

static void *make_cq(void)
{
	return ibv_create_cq(side.ctx, 100, NULL, NULL, 0);
}

static int end_cq(void *cq)
{
	return ibv_destroy_cq(cq);
}

static void *make_qp(void)
{
	struct ibv_qp_init_attr init = qp_init(&side, 100);

	return ibv_create_qp(side.pd, &init);
}

static int end_qp(void *qp)
{
	return ibv_destroy_qp(qp);
}

static void *make_srq(void)
{
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = 10, .max_sge = 4 },
	};

	return ibv_create_srq(side.pd, &init);
}

static int end_srq(void *srq)
{
	return ibv_destroy_srq(srq);
}

static void *make_grown_srq(void)
{
	struct ibv_srq_attr attr = { .max_wr = 100 };
	struct ibv_srq *srq = make_srq();
	int error;

	if (!srq)
		return NULL;
	error = ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR);
	if (!error)
		return srq;
	fail_nth(0);
	must(!ibv_destroy_srq(srq));
	errno = error;
	return NULL;
}

static void *make_pinned(void)
{
	return ibv_reg_mr(side.pd, mem, MIB, ALL_RIGHTS);
}

static void *make_on_demand(void)
{
	return ibv_reg_mr(side.pd, mem, MIB, ALL_RIGHTS |
			  IBV_ACCESS_ON_DEMAND);
}

static int end_mr(void *mr)
{
	return ibv_dereg_mr(mr);
}

struct thing {
	const char *name;
	void *(*make)(void);
	int (*end)(void *thing);
};

static const struct thing things[] = {
	{ "a protection domain", make_pd, end_pd },
	{ "a completion queue", make_cq, end_cq },
	{ "a queue pair", make_qp, end_qp },
	{ "a shared receive queue", make_srq, end_srq },
	{ "one that is made larger", make_grown_srq, end_srq },
	{ "a pinned region", make_pinned, end_mr },
	{ "an on-demand region", make_on_demand, end_mr },
};

/* How often it failed before there was nothing left that could. */
static int make_with_failures(const struct thing *thing)
{
	int nth, failed = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		void *made;
		int error;

		fail_nth(nth);
		made = thing->make();
		error = errno;
		fail_nth(0);
		if (made) {
			expect_eq(thing->end(made), 0, "its end");
			continue;
		}
		expect(error == ENOMEM, "errno is %s", strerror(error));
		failed++;
	}
	return failed;
}

/* Requests go on when a page cannot be had at once. */
static void transfers(void)
{
	struct side peer;
	struct ibv_mr *mr;
	struct ibv_sge sge;
	struct ibv_send_wr wr;
	int nth;

	side_open(&peer, 16);
	reconnect(&side, &peer, 16, &usual_conn);
	mr = reg(side.pd, mem, MIB, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	for (nth = 1; nth < 60; nth++) {
		struct ibv_mr *to = reg(peer.pd, mem + MIB, MIB, ALL_RIGHTS |
					IBV_ACCESS_ON_DEMAND);

		must(!madvise(mem, 2 * MIB, MADV_DONTNEED));
		memset(mem, nth, MIB);
		sge = sge_of(mr, mem, MIB);
		wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
			     (uintptr_t)mem + MIB, to->rkey);
		fail_nth(nth);
		post_send(side.qp, &wr);
		fail_nth(0);
		expect_wc(side.scq, wr.wr_id, IBV_WC_SUCCESS);
		expect_same(mem + MIB, mem, MIB, "what was written");
		dereg(to);
	}
	dereg(mr);
	side_drop_qp(&side);
	side_close(&peer);
	point("requests when memory is short");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	if (access("/proc/thread-self/fail-nth", W_OK) ||
	    !write_file(INJECTION "task-filter", "N")) {
		skip("this kernel has no fault injection");
		point("memory that runs out");
		return;
	}
	write_file(INJECTION "ignore-gfp-wait", "N");
	write_file(INJECTION "verbose", "0");
	mem = map_memory(2 * MIB);
	side_open(&side, 100);
	for (i = 0; i < ARRAY_SIZE(things); i++) {
		int failed = make_with_failures(&things[i]);

		expect(failed >= 2, "it failed only %d times", failed);
		point("%s when memory runs out, %d times", things[i].name,
		      failed);
	}
	transfers();
	side_close(&side);
	munmap(mem, 2 * MIB);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(560, 600), test);
}
