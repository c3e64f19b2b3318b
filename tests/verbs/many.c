// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Thousands of objects at once, made, used and destroyed by several threads.
 *
 * What it takes is said at the end, for who compares devices: see
 * tests/scenarios/many.
 * Limit: 600
 */
#include "common.h"

#include <sys/resource.h>

#define THREADS		8
#define QPS		2000
#define REGIONS		100000
#define QPS_EACH	(QPS / THREADS)
#define REGIONS_EACH	(REGIONS / THREADS)
#define PAGES		64

static struct ibv_context *ctx;
static struct ibv_pd *pd;
static union ibv_gid gid;
static int gid_index;
static pthread_barrier_t barrier;

struct worker {
	pthread_t thread;
	int number;
	uint8_t *mem;
	struct ibv_cq *cq[QPS_EACH];
	struct ibv_qp *qp[QPS_EACH];
	struct ibv_mr *mr[REGIONS_EACH];
};

static struct worker workers[THREADS];

/* What all threads do at the same time, and how long it took them. */
enum phase { MAKE_CQS, MAKE_QPS, MAKE_REGIONS, USE, DROP_REGIONS, DROP_QPS,
	     DROP_CQS, PHASES };

static const char * const phase_name[PHASES] = {
	"create_cq", "create_qp", "reg_mr", "use", "dereg_mr", "destroy_qp",
	"destroy_cq",
};

static uint64_t phase_us[PHASES];

static void make_cqs(struct worker *w)
{
	int i;

	for (i = 0; i < QPS_EACH; i++) {
		w->cq[i] = ibv_create_cq(ctx, 4, NULL, NULL, 0);
		must(w->cq[i]);
	}
}

static void make_qps(struct worker *w)
{
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 2, .max_recv_wr = 2, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	int i;

	for (i = 0; i < QPS_EACH; i++) {
		init.send_cq = w->cq[i];
		init.recv_cq = w->cq[i];
		w->qp[i] = ibv_create_qp(pd, &init);
		must(w->qp[i]);
	}
}

/* Of any size, at odd addresses, on top of each other. */
static void make_regions(struct worker *w)
{
	const bool odp = !strncmp(device_name(), "tide", 4);
	size_t at, len;
	int i;

	for (i = 0; i < REGIONS_EACH; i++) {
		at = random_below(PAGE * (PAGES - 1));
		len = 1 + random_below(PAGE);
		w->mr[i] = reg(pd, w->mem + at, len, ALL_RIGHTS |
			       kind_access(odp && i % 2 ? ODP : PINNED));
	}
}

/* Each queue pair writes to itself, from one of the regions to another. */
static void use(struct worker *w)
{
	const struct ibv_mr *from, *to;
	struct ibv_send_wr wr;
	struct address self = { .gid = gid };
	struct side side = { .gid_index = gid_index };
	struct ibv_sge sge;
	int i;

	for (i = 0; i < QPS_EACH; i++) {
		from = w->mr[random_below(REGIONS_EACH)];
		to = w->mr[random_below(REGIONS_EACH)];
		memset(w->mem, 0, PAGES * PAGE);
		*(uint8_t *)from->addr = i + 1;

		side.qp = w->qp[i];
		self.qpn = w->qp[i]->qp_num;
		side_connect(&side, &self, &usual_conn);
		sge = sge_of(from, from->addr, 1);
		wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, (uintptr_t)to->addr,
			     to->rkey);
		post_send(w->qp[i], &wr);
		expect_wc(w->cq[i], 0, IBV_WC_SUCCESS);
		expect_eq(*(uint8_t *)to->addr, (uint8_t)(i + 1), "byte");
	}
}

static void drop_regions(struct worker *w)
{
	int i;

	for (i = 0; i < REGIONS_EACH; i++)
		dereg(w->mr[i]);
}

static void drop_qps(struct worker *w)
{
	int i;

	for (i = 0; i < QPS_EACH; i++) {
		errno = ibv_destroy_qp(w->qp[i]);
		must(!errno);
	}
}

static void drop_cqs(struct worker *w)
{
	int i;

	for (i = 0; i < QPS_EACH; i++) {
		errno = ibv_destroy_cq(w->cq[i]);
		must(!errno);
	}
}

static void (* const phase_run[PHASES])(struct worker *) = {
	make_cqs, make_qps, make_regions, use, drop_regions, drop_qps,
	drop_cqs,
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	uint64_t started;
	int i;

	random_seed(w->number);
	w->mem = map_memory(PAGES * PAGE);
	for (i = 0; i < PHASES; i++) {
		pthread_barrier_wait(&barrier);
		started = now_us();
		phase_run[i](w);
		pthread_barrier_wait(&barrier);
		if (!w->number)
			phase_us[i] = now_us() - started;
	}
	must(!munmap(w->mem, PAGES * PAGE));
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* No two of them alike. */
static void expect_distinct(uint32_t *number, size_t n, const char *what)
{
	size_t i;

	qsort(number, n, sizeof(*number), compare);
	for (i = 1; i < n; i++)
		if (!expect(number[i] != number[i - 1], "%s %#x twice", what,
			    number[i]))
			return;
}

static void watch(void)
{
	static uint32_t qpn[QPS], key[REGIONS];
	int i, t;

	for (i = 0; i < PHASES; i++) {
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		if (i != MAKE_REGIONS)
			continue;
		for (t = 0; t < QPS; t++)
			qpn[t] = workers[t / QPS_EACH].qp[t % QPS_EACH]->qp_num;
		expect_distinct(qpn, QPS, "QPN");
		for (t = 0; t < REGIONS; t++)
			key[t] = workers[t / REGIONS_EACH].
				 mr[t % REGIONS_EACH]->rkey;
		expect_distinct(key, REGIONS, "rkey");
	}
}

static void lift_limits(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

	must(!setrlimit(RLIMIT_MEMLOCK, &none));
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	int i;

	lift_limits();
	ctx = device_open();
	gid_index = find_gid(ctx, &gid);
	pd = ibv_alloc_pd(ctx);
	must(pd);
	must(!pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (i = 0; i < THREADS; i++) {
		workers[i].number = i;
		must(!pthread_create(&workers[i].thread, NULL, worker_run,
				     &workers[i]));
	}
	watch();
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	must(!ibv_dealloc_pd(pd));
	must(!ibv_close_device(ctx));
	for (i = 0; i < PHASES; i++)
		diag("%s %llu us", phase_name[i],
		     (unsigned long long)phase_us[i]);
	point("%d queue pairs and completion queues, %d regions", QPS,
	      REGIONS);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 560, test);
}
