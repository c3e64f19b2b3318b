// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Thread domains and parent domains: their life, every verb that takes a
 * protection domain, and queues without locks.
 */
#include "common.h"

#define BUF		(64 * KIB)
#define DEPTH		64
#define THREADS		4

static struct side a;
static uint8_t *out, *in;

static struct ibv_td *make_td(struct ibv_context *ctx)
{
	struct ibv_td_init_attr attr = {};
	struct ibv_td *td = ibv_alloc_td(ctx, &attr);

	must(td);
	return td;
}

static struct ibv_pd *make_parent(struct ibv_context *ctx, struct ibv_pd *pd,
				  struct ibv_td *td)
{
	struct ibv_parent_domain_init_attr attr = { .pd = pd, .td = td };
	struct ibv_pd *parent = ibv_alloc_parent_domain(ctx, &attr);

	must(parent);
	return parent;
}

static void drop_pd(struct ibv_pd *pd)
{
	errno = ibv_dealloc_pd(pd);
	must(!errno);
}

static void drop_td(struct ibv_td *td)
{
	errno = ibv_dealloc_td(td);
	must(!errno);
}

static struct ibv_cq *make_cq(struct ibv_pd *parent, uint32_t flags)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = 4 * DEPTH,
		.comp_mask = (parent ? IBV_CQ_INIT_ATTR_MASK_PD : 0) |
			     IBV_CQ_INIT_ATTR_MASK_FLAGS,
		.flags = flags,
		.parent_domain = parent,
	};
	struct ibv_cq_ex *cq = ibv_create_cq_ex(a.ctx, &attr);

	must(cq);
	return ibv_cq_ex_to_cq(cq);
}

static struct ibv_srq *make_srq(struct ibv_pd *pd)
{
	struct ibv_srq_init_attr attr = {
		.attr = { .max_wr = DEPTH, .max_sge = 1 },
	};
	struct ibv_srq *srq = ibv_create_srq(pd, &attr);

	must(srq);
	return srq;
}

static struct ibv_qp *make_qp(struct ibv_pd *pd, struct ibv_cq *cq,
			      struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = qp_init(&a, DEPTH);
	struct ibv_qp *qp;

	init.send_cq = cq;
	init.recv_cq = cq;
	init.srq = srq;
	qp = ibv_create_qp(pd, &init);
	must(qp);
	return qp;
}

static void drop_qp(struct ibv_qp *qp)
{
	errno = ibv_destroy_qp(qp);
	must(!errno);
}

static void drop_cq(struct ibv_cq *cq)
{
	errno = ibv_destroy_cq(cq);
	must(!errno);
}

static void drop_srq(struct ibv_srq *srq)
{
	errno = ibv_destroy_srq(srq);
	must(!errno);
}

static void connect_qps(struct ibv_qp *x, struct ibv_qp *y)
{
	struct side sx = a, sy = a;

	sx.qp = x;
	sy.qp = y;
	connect_sides(&sx, &sy, &usual_conn);
}

/* Their life */

static int allocated;

static void *count_alloc(struct ibv_pd *pd, void *context, size_t size,
			 size_t alignment, uint64_t type)
{
	(void)pd, (void)context, (void)size, (void)alignment, (void)type;
	allocated++;
	return IBV_ALLOCATOR_USE_DEFAULT;
}

static void count_free(struct ibv_pd *pd, void *context, void *ptr,
		       uint64_t type)
{
	(void)pd, (void)context, (void)ptr, (void)type;
	allocated--;
}

static void bad_attributes(void)
{
	struct ibv_parent_domain_init_attr parent = { .pd = a.pd };
	struct ibv_td_init_attr td = { .comp_mask = 1 };

	expect(!ibv_alloc_td(a.ctx, &td) && errno == EINVAL,
	       "a thread domain with something unknown: %s", strerror(errno));
	parent.comp_mask = 1 << 30;
	expect(!ibv_alloc_parent_domain(a.ctx, &parent) && errno == EINVAL,
	       "a parent domain with something unknown: %s", strerror(errno));
	parent.comp_mask = 0;
	parent.pd = NULL;
	expect(!ibv_alloc_parent_domain(a.ctx, &parent) && errno == EINVAL,
	       "one without a protection domain: %s", strerror(errno));
	point("domains that cannot be");
}

static void in_use(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(a.ctx);
	struct ibv_td *td = make_td(a.ctx);
	struct ibv_pd *one, *two, *outer;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_qp *qp;

	must(pd);
	one = make_parent(a.ctx, pd, td);
	two = make_parent(a.ctx, pd, td);
	expect_eq(ibv_dealloc_td(td), EBUSY, "with two parents");
	expect_eq(ibv_dealloc_pd(pd), EBUSY, "with two parents");
	drop_pd(one);
	expect_eq(ibv_dealloc_td(td), EBUSY, "with one parent");
	expect_eq(ibv_dealloc_pd(pd), EBUSY, "with one parent");

	outer = make_parent(a.ctx, two, NULL);
	expect_eq(ibv_dealloc_pd(two), EBUSY, "with one around it");
	drop_pd(outer);
	cq = make_cq(two, 0);
	expect_eq(ibv_dealloc_pd(two), EBUSY, "with a completion queue");
	srq = make_srq(two);
	qp = make_qp(two, cq, srq);
	drop_qp(qp);
	expect_eq(ibv_dealloc_pd(two), EBUSY, "with two queues");
	drop_cq(cq);
	expect_eq(ibv_dealloc_pd(two), EBUSY, "with a shared receive queue");
	drop_srq(srq);
	qp = make_qp(two, a.scq, NULL);
	expect_eq(ibv_dealloc_pd(two), EBUSY, "with a queue pair");
	drop_qp(qp);
	drop_pd(two);
	drop_pd(pd);
	drop_td(td);
	point("domains that are in use");
}

static void allocators(void)
{
	struct ibv_parent_domain_init_attr attr = {
		.pd = a.pd,
		.comp_mask = IBV_PARENT_DOMAIN_INIT_ATTR_ALLOCATORS |
			     IBV_PARENT_DOMAIN_INIT_ATTR_PD_CONTEXT,
		.alloc = count_alloc,
		.free = count_free,
		.pd_context = &allocated,
	};
	struct ibv_pd *parent = ibv_alloc_parent_domain(a.ctx, &attr);
	struct ibv_qp *qp;

	must(parent);
	qp = make_qp(parent, a.scq, NULL);
	drop_qp(qp);
	drop_pd(parent);
	expect_eq(allocated, 0, "queues are the kernel's memory");
	point("allocators of one's own");
}

/* Every verb that takes a protection domain */

/* One queue pair of each domain, so that both are told apart or not. */
static void write_across(struct ibv_pd *local, struct ibv_pd *remote,
			 const struct ibv_mr *from, const struct ibv_mr *to,
			 enum ibv_wc_status status, const char *what)
{
	struct ibv_qp *x = make_qp(local, a.scq, NULL);
	struct ibv_qp *y = make_qp(remote, a.rcq, NULL);
	struct ibv_sge sge = sge_of(from, out + 3, 4099);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)in + 5, to->rkey);

	connect_qps(x, y);
	random_fill(out, BUF);
	memset(in, 0, BUF);
	post_send(x, &wr);
	expect_wc(a.scq, 0, status);
	if (!status)
		expect_same(in + 5, out + 3, 4099, what);
	drop_qp(x);
	drop_qp(y);
}

static void regions(struct ibv_pd *parent, enum kind kind)
{
	int access = ALL_RIGHTS | kind_access(kind);
	struct ibv_mr *mine = reg(parent, out, BUF, access);
	struct ibv_mr *plain = reg(a.pd, in, BUF, access);
	struct ibv_pd *other = ibv_alloc_pd(a.ctx);

	must(other);
	write_across(parent, a.pd, mine, plain, IBV_WC_SUCCESS, "there");
	write_across(a.pd, parent, mine, plain, IBV_WC_SUCCESS, "back");
	write_across(other, parent, mine, plain, IBV_WC_LOC_PROT_ERR, "");
	write_across(parent, other, mine, plain, IBV_WC_REM_ACCESS_ERR, "");
	if (kind == PINNED) {
		must(!ibv_rereg_mr(plain, IBV_REREG_MR_CHANGE_PD, other, NULL,
				   0, 0));
		write_across(parent, parent, mine, plain,
			     IBV_WC_REM_ACCESS_ERR, "");
		must(!ibv_rereg_mr(plain, IBV_REREG_MR_CHANGE_PD, parent, NULL,
				   0, 0));
		write_across(parent, a.pd, mine, plain, IBV_WC_SUCCESS,
			     "registered anew");
	}
	dereg(mine);
	dereg(plain);
	drop_pd(other);
}

static void device_memory(struct ibv_pd *parent)
{
	struct ibv_alloc_dm_attr attr = { .length = PAGE };
	struct ibv_dm *dm = ibv_alloc_dm(a.ctx, &attr);
	struct ibv_mr *mr;

	must(dm);
	mr = ibv_reg_dm_mr(parent, dm, 0, PAGE, IBV_ACCESS_ZERO_BASED |
			   IBV_ACCESS_LOCAL_WRITE);
	expect(mr, "device memory: %s", strerror(errno));
	if (mr)
		dereg(mr);
	must(!ibv_free_dm(dm));
}

static void windows_and_addresses(struct ibv_pd *parent)
{
	struct ibv_ah_attr attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = {
			.dgid = a.gid,
			.sgid_index = a.gid_index,
			.hop_limit = 64,
		},
	};
	struct ibv_mw *mw = ibv_alloc_mw(parent, IBV_MW_TYPE_2);
	struct ibv_ah *ah = ibv_create_ah(parent, &attr);
	struct ibv_mr *mr = reg(parent, in, BUF, ALL_RIGHTS |
				IBV_ACCESS_MW_BIND);
	struct ibv_qp *x = make_qp(a.pd, a.scq, NULL);
	struct ibv_qp *y = make_qp(parent, a.rcq, NULL);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
	};

	expect(ah, "an address handle: %s", strerror(errno));
	must(mw);
	connect_qps(x, y);
	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info) {
		mr, (uintptr_t)in, BUF, IBV_ACCESS_REMOTE_WRITE,
	};
	post_send(x, &wr);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	drop_qp(x);
	drop_qp(y);
	must(!ibv_dealloc_mw(mw));
	dereg(mr);
	if (ah)
		must(!ibv_destroy_ah(ah));
}

static void advice(struct ibv_pd *parent)
{
	struct ibv_mr *mr = reg(parent, in, BUF, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	struct ibv_sge sge = sge_of(mr, in, BUF);

	expect_eq(ibv_advise_mr(parent, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1), 0,
		  "advice");
	dereg(mr);
}

static void every_verb(void)
{
	struct ibv_td *td = make_td(a.ctx);
	struct ibv_pd *parent = make_parent(a.ctx, a.pd, td);
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++)
		regions(parent, kind);
	device_memory(parent);
	windows_and_addresses(parent);
	advice(parent);
	drop_pd(parent);
	drop_td(td);
	point("a parent domain is the protection domain in it");
}

/* Threads, each with a domain of its own, and no locks */

struct worker {
	pthread_t thread;
	int number;
	int rounds;
};

static void *work_alone(void *arg)
{
	struct worker *worker = arg;
	struct ibv_td *td = make_td(a.ctx);
	struct ibv_pd *parent = make_parent(a.ctx, a.pd, td);
	struct ibv_cq *cq = make_cq(parent, worker->number & 1 ?
				    IBV_CREATE_CQ_ATTR_SINGLE_THREADED : 0);
	struct ibv_srq *srq = make_srq(parent);
	struct ibv_qp *x = make_qp(parent, cq, NULL);
	struct ibv_qp *y = make_qp(parent, cq, srq);
	uint8_t *mem = map_memory(2 * PAGE);
	struct ibv_mr *mr = reg(parent, mem, 2 * PAGE, ALL_RIGHTS);
	struct ibv_sge from, to;
	struct ibv_send_wr wr;
	struct ibv_wc wc;
	int i, n, len;

	connect_qps(x, y);
	for (i = 0; i < worker->rounds; i++) {
		len = random_below(PAGE - 16) + 1;
		random_fill(mem, len);
		to = sge_of(mr, mem + PAGE + 7, len);
		must(!try_srq_recv(srq, 2 * i + 1, &to, 1));
		from = sge_of(mr, mem, len);
		wr = rdma_wr(IBV_WR_SEND, &from, 0, 0);
		wr.wr_id = 2 * i;
		post_send(x, &wr);
		for (n = 0; n < 2; n++) {
			if (!expect(wait_wc(cq, &wc, SOON_MS), "no completion"))
				break;
			expect(!wc.status && wc.wr_id / 2 == (uint64_t)i,
			       "completion of %llu: %s",
			       (unsigned long long)wc.wr_id,
			       ibv_wc_status_str(wc.status));
		}
		expect_same(mem + PAGE + 7, mem, len, "what was sent");
	}
	drop_qp(x);
	drop_qp(y);
	drop_srq(srq);
	drop_cq(cq);
	dereg(mr);
	munmap(mem, 2 * PAGE);
	drop_pd(parent);
	drop_td(td);
	return NULL;
}

static void threads(void)
{
	struct worker workers[THREADS];
	int i;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker) { .number = i, .rounds = 200 };
		must(!pthread_create(&workers[i].thread, NULL, work_alone,
				     &workers[i]));
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	point("threads, each with a domain");
}

/*
 * A shared receive queue without a lock, and who polls what it receives is
 * another thread: posting and giving back must not meet.
 */

static struct ibv_cq *shared_cq;
static bool stop_polling;
static long polled;

static void *poll_elsewhere(void *unused)
{
	struct ibv_wc wc;

	(void)unused;
	while (!__atomic_load_n(&stop_polling, __ATOMIC_ACQUIRE)) {
		if (ibv_poll_cq(shared_cq, 1, &wc) != 1)
			continue;
		expect_eq(wc.status, IBV_WC_SUCCESS, "status");
		__atomic_fetch_add(&polled, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void send_to_other(struct ibv_srq *srq, struct ibv_qp *x,
			  struct ibv_cq *cq, long rounds)
{
	uint64_t end = now_ms() + 3 * SOON_MS;
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, NULL, 0, 0);
	long posted = 0;
	struct ibv_wc wc;
	int err;

	while (posted < rounds && now_ms() < end) {
		err = try_srq_recv(srq, posted, NULL, 0);
		if (err == ENOMEM) {
			sched_yield();
			continue;
		}
		must(!err);
		post_send(x, &wr);
		posted++;
		while (!ibv_poll_cq(cq, 1, &wc) && now_ms() < end)
			;
		expect_eq(wc.status, IBV_WC_SUCCESS, "status");
	}
	while (__atomic_load_n(&polled, __ATOMIC_ACQUIRE) < posted &&
	       now_ms() < end)
		sched_yield();
	expect_eq(polled, rounds, "all that was sent");
}

/* As many may be posted now as at first. */
static void expect_all_slots(struct ibv_srq *srq)
{
	int n = 0;

	while (n <= DEPTH && !try_srq_recv(srq, n, NULL, 0))
		n++;
	expect_eq(n, DEPTH, "slots");
}

static void shared_across_threads(void)
{
	struct ibv_td *td = make_td(a.ctx);
	struct ibv_pd *parent = make_parent(a.ctx, a.pd, td);
	struct ibv_cq *cq = make_cq(parent, 0);
	struct ibv_srq *srq = make_srq(parent);
	struct ibv_qp *x = make_qp(parent, cq, NULL), *y;
	pthread_t thread;

	shared_cq = make_cq(NULL, 0);
	polled = 0;
	y = make_qp(a.pd, shared_cq, srq);
	connect_qps(x, y);
	must(!pthread_create(&thread, NULL, poll_elsewhere, NULL));
	send_to_other(srq, x, cq, 20000);
	__atomic_store_n(&stop_polling, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	expect_all_slots(srq);
	drop_qp(x);
	drop_qp(y);
	drop_srq(srq);
	drop_cq(cq);
	drop_cq(shared_cq);
	drop_pd(parent);
	drop_td(td);
	point("receives of a domain, polled by another thread");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	side_open(&a, 4 * DEPTH);
	out = map_memory(BUF);
	in = map_memory(BUF);
	bad_attributes();
	in_use();
	allocators();
	every_verb();
	threads();
	shared_across_threads();
	munmap(out, BUF);
	munmap(in, BUF);
	side_close(&a);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
