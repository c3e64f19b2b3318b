// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * How fast small requests are posted and their completions polled, by both
 * interfaces, with a thread domain and without.  perf/post runs it and tells
 * what the table means.
 *
 *   post-bench [-r ROUNDS] [-t MICROSECONDS] [-p PORT] [-g GID_INDEX] DEVICE
 *
 * One thread writes 8 bytes, inline, from one queue pair to another of the
 * same process.  The ways to do so take turns, round after round, each for a
 * moment only, and are held against each other round by round: what disturbs
 * the machine disturbs all of them.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS	10000
#define MAX_LIST	32
#define DEPTH		64

static const int lists[] = { 1, MAX_LIST };

#define LISTS		2

/* Odd ones are extended, those from 2 on have a thread domain. */
enum way { POST, WR, POST_TD, WR_TD, WAYS };

struct port {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	int number;
	int gid_index;
	union ibv_gid gid;
};

/* What it takes to go one way; without a queue pair it cannot be gone. */
struct lane {
	struct ibv_td *td;
	struct ibv_pd *pd;
	struct ibv_cq_ex *cq;
	struct ibv_qp *qp, *peer;
	struct ibv_qp_ex *qpx;
};

static struct port port = { .number = 1, .gid_index = -1 };
static struct lane lanes[WAYS];
static uint64_t target[MAX_LIST];
static uint64_t payload;

/* Requests a second, of each round. */
static double rates[LISTS][WAYS][MAX_ROUNDS];

static void fail(const char *what)
{
	fprintf(stderr, "post-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Setting up */

static void open_port(const char *name)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_device **list = ibv_get_device_list(NULL);
	int i;

	for (i = 0; list && list[i] && !port.ctx; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			port.ctx = ibv_open_device(list[i]);
	if (!port.ctx)
		fail(name);
	ibv_free_device_list(list);

	/* The first IPv4 address, unless somebody knows better. */
	for (i = 0; port.gid_index < 0 && i < 256; i++)
		if (!ibv_query_gid(port.ctx, port.number, i, &port.gid) &&
		    !memcmp(port.gid.raw, mapped, sizeof(mapped)))
			port.gid_index = i;
	if (port.gid_index < 0)
		port.gid_index = 0;
	if (ibv_query_gid(port.ctx, port.number, port.gid_index, &port.gid))
		fail("ibv_query_gid");

	port.pd = ibv_alloc_pd(port.ctx);
	if (!port.pd)
		fail("ibv_alloc_pd");
	port.mr = ibv_reg_mr(port.pd, target, sizeof(target),
			     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!port.mr)
		fail("ibv_reg_mr");
}

static struct ibv_pd *make_domain(struct lane *lane)
{
	struct ibv_td_init_attr td = {};
	struct ibv_parent_domain_init_attr parent = { .pd = port.pd };

	lane->td = ibv_alloc_td(port.ctx, &td);
	parent.td = lane->td;
	return lane->td ? ibv_alloc_parent_domain(port.ctx, &parent) : NULL;
}

static void make_cq(struct lane *lane, enum way way)
{
	struct ibv_cq_init_attr_ex attr = { .cqe = 2 * DEPTH };

	if (way >= POST_TD) {
		attr.comp_mask = IBV_CQ_INIT_ATTR_MASK_PD;
		attr.parent_domain = lane->pd;
	} else if (way == POST) {
		lane->cq = (void *)ibv_create_cq(port.ctx, attr.cqe, NULL, NULL,
						 0);
		return;
	}
	lane->cq = ibv_create_cq_ex(port.ctx, &attr);
}

static struct ibv_qp *make_qp(struct lane *lane, bool extended)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = ibv_cq_ex_to_cq(lane->cq),
		.recv_cq = ibv_cq_ex_to_cq(lane->cq),
		.cap = {
			.max_send_wr = DEPTH,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = sizeof(payload),
		},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = lane->pd,
	};

	if (extended) {
		attr.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
		attr.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE;
	}
	return ibv_create_qp_ex(port.ctx, &attr);
}

static void connect_qp(struct ibv_qp *qp, uint32_t dest)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = port.number,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};

	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			  IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		fail("to INIT");
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = dest,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = port.number,
			.grh = {
				.dgid = port.gid,
				.sgid_index = port.gid_index,
				.hop_limit = 64,
			},
		},
	};
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
			  IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		fail("to RTR");
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
			  IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			  IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		fail("to RTS");
}

/* What the device does not have, it cannot be measured with. */
static void open_lane(enum way way)
{
	struct lane *lane = &lanes[way];

	lane->pd = way >= POST_TD ? make_domain(lane) : port.pd;
	if (!lane->pd)
		return;
	make_cq(lane, way);
	if (!lane->cq)
		return;
	lane->qp = make_qp(lane, way & 1);
	if (!lane->qp)
		return;
	lane->peer = make_qp(lane, false);
	if (!lane->peer)
		fail("ibv_create_qp_ex");
	connect_qp(lane->qp, lane->peer->qp_num);
	connect_qp(lane->peer, lane->qp->qp_num);
	if (way & 1)
		lane->qpx = ibv_qp_to_qp_ex(lane->qp);
}

static void close_lane(struct lane *lane)
{
	if (lane->peer)
		ibv_destroy_qp(lane->peer);
	if (lane->qp)
		ibv_destroy_qp(lane->qp);
	if (lane->cq)
		ibv_destroy_cq(ibv_cq_ex_to_cq(lane->cq));
	if (lane->pd && lane->pd != port.pd)
		ibv_dealloc_pd(lane->pd);
	if (lane->td)
		ibv_dealloc_td(lane->td);
}

/* Measuring: a list is posted, and polled for until all of it is done */

static void check(uint64_t wr_id, enum ibv_wc_status status, uint64_t wanted)
{
	if (!status && wr_id == wanted)
		return;
	fprintf(stderr, "post-bench: completion %llu: %s\n",
		(unsigned long long)wr_id, ibv_wc_status_str(status));
	exit(1);
}

static void post_and_poll(struct lane *lane, int n)
{
	struct ibv_sge sge = { (uintptr_t)&payload, sizeof(payload), 0 };
	struct ibv_send_wr wrs[MAX_LIST], *bad;
	struct ibv_wc wc[MAX_LIST];
	int i, done, got;

	for (i = 0; i < n; i++) {
		wrs[i].wr_id = i;
		wrs[i].next = i < n - 1 ? &wrs[i + 1] : NULL;
		wrs[i].sg_list = &sge;
		wrs[i].num_sge = 1;
		wrs[i].opcode = IBV_WR_RDMA_WRITE;
		wrs[i].send_flags = IBV_SEND_INLINE | IBV_SEND_SIGNALED;
		wrs[i].wr.rdma.remote_addr = (uintptr_t)&target[i];
		wrs[i].wr.rdma.rkey = port.mr->rkey;
	}
	errno = ibv_post_send(lane->qp, wrs, &bad);
	if (errno)
		fail("ibv_post_send");
	for (done = 0; done < n; done += got) {
		got = ibv_poll_cq(ibv_cq_ex_to_cq(lane->cq), n - done, wc);
		if (got < 0)
			fail("ibv_poll_cq");
		for (i = 0; i < got; i++)
			check(wc[i].wr_id, wc[i].status, done + i);
	}
}

static void poll_extended(struct ibv_cq_ex *cq, int n)
{
	struct ibv_poll_cq_attr attr = {};
	int done = 0, err;

	while (done < n) {
		err = ibv_start_poll(cq, &attr);
		if (err == ENOENT)
			continue;
		if (err)
			fail("ibv_start_poll");
		do
			check(cq->wr_id, cq->status, done);
		while (++done < n && !ibv_next_poll(cq));
		ibv_end_poll(cq);
	}
}

static void wr_and_poll(struct lane *lane, int n)
{
	struct ibv_qp_ex *qpx = lane->qpx;
	int i;

	ibv_wr_start(qpx);
	for (i = 0; i < n; i++) {
		qpx->wr_id = i;
		qpx->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_rdma_write(qpx, port.mr->rkey, (uintptr_t)&target[i]);
		ibv_wr_set_inline_data(qpx, &payload, sizeof(payload));
	}
	errno = ibv_wr_complete(qpx);
	if (errno)
		fail("ibv_wr_complete");
	poll_extended(lane->cq, n);
}

/* Requests a second, for a while. */
static double run(enum way way, int n, uint64_t ns)
{
	uint64_t began = now_ns(), took, count = 0;
	int at_once = n == 1 ? 16 : 1;
	int i;

	payload++;
	do {
		for (i = 0; i < at_once; i++) {
			if (way & 1)
				wr_and_poll(&lanes[way], n);
			else
				post_and_poll(&lanes[way], n);
		}
		count += at_once * n;
		took = now_ns() - began;
	} while (took < ns);
	for (i = 0; i < n; i++) {
		if (target[i] != payload) {
			fprintf(stderr, "post-bench: the data are wrong\n");
			exit(1);
		}
	}
	return count * 1e9 / took;
}

/* The first one only warms up. */
static void measure(int rounds, uint64_t ns)
{
	int round, i, l, way;

	for (round = -1; round < rounds; round++)
		for (l = 0; l < LISTS; l++)
			for (i = 0; i < WAYS; i++) {
				way = (i + round + 1) % WAYS;
				if (lanes[way].qp)
					rates[l][way][round < 0 ? 0 : round] =
						run(way, lists[l], ns);
			}
}

/* Telling */

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The median, and the bounds that it is within with a probability of 95 %. */
static void median(double *values, int n, double *low, double *mid,
		   double *high)
{
	int off = 0;

	while (off * off < n)
		off++;
	qsort(values, n, sizeof(*values), by_value);
	*mid = values[n / 2];
	*low = values[n / 2 > off ? n / 2 - off : 0];
	*high = values[n / 2 + off < n ? n / 2 + off : n - 1];
}

static void tell_ratio(const char *what, int l, enum way a, enum way b,
		       int rounds)
{
	static double ratios[MAX_ROUNDS];
	double low, mid, high;
	int i;

	if (!lanes[a].qp || !lanes[b].qp)
		return;
	for (i = 0; i < rounds; i++)
		ratios[i] = rates[l][a][i] / rates[l][b][i];
	median(ratios, rounds, &low, &mid, &high);
	printf("| %-50s | %4d | %5.3f | %5.3f to %5.3f |\n", what, lists[l],
	       mid, low, high);
}

static void tell_ratios(int rounds)
{
	int l;

	printf("\n| %-50s | list | ratio | 95 %%           |\n", "");
	printf("|----------------------------------------------------"
	       "|-----:|------:|----------------|\n");
	for (l = 0; l < LISTS; l++) {
		tell_ratio("ibv_wr_* / ibv_post_send, no thread domain", l, WR,
			   POST, rounds);
		tell_ratio("ibv_wr_* / ibv_post_send, thread domain", l, WR_TD,
			   POST_TD, rounds);
		tell_ratio("thread domain / none, ibv_post_send", l, POST_TD,
			   POST, rounds);
		tell_ratio("thread domain / none, ibv_wr_*", l, WR_TD, WR,
			   rounds);
	}
}

static void tell_rates(int rounds)
{
	static const char * const names[WAYS] = {
		"ibv_post_send, ibv_poll_cq",
		"ibv_wr_*, ibv_start_poll",
		"ibv_post_send, ibv_poll_cq, thread domain",
		"ibv_wr_*, ibv_start_poll, thread domain",
	};
	static double sorted[MAX_ROUNDS];
	double low, mid, high;
	int l, way;

	printf("| %-50s | list | requests/s |\n", "");
	printf("|----------------------------------------------------"
	       "|-----:|-----------:|\n");
	for (l = 0; l < LISTS; l++)
		for (way = 0; way < WAYS; way++) {
			if (!lanes[way].qp) {
				printf("| %-50s | %4d | %10s |\n", names[way],
				       lists[l], "not there");
				continue;
			}
			memcpy(sorted, rates[l][way],
			       rounds * sizeof(*sorted));
			median(sorted, rounds, &low, &mid, &high);
			printf("| %-50s | %4d | %10.0f |\n", names[way],
			       lists[l], mid);
		}
}

static int number(const char *text, int max)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 0 || n > max) {
		fprintf(stderr, "post-bench: not a number up to %d: %s\n", max,
			text);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	int rounds = 1000, us = 1500, way, opt;

	while ((opt = getopt(argc, argv, "r:t:p:g:")) != -1) {
		if (opt == 'r')
			rounds = number(optarg, MAX_ROUNDS);
		else if (opt == 't')
			us = number(optarg, 10000000);
		else if (opt == 'p')
			port.number = number(optarg, 255);
		else if (opt == 'g')
			port.gid_index = number(optarg, 65535);
		else
			return 2;
	}
	if (argc - optind != 1 || !rounds || !us) {
		fprintf(stderr, "usage: post-bench [-r ROUNDS] [-t MICROSECONDS] [-p PORT] [-g GID_INDEX] DEVICE\n");
		return 2;
	}
	open_port(argv[optind]);
	for (way = 0; way < WAYS; way++)
		open_lane(way);
	measure(rounds, us * 1000ull);
	tell_rates(rounds);
	tell_ratios(rounds);
	for (way = 0; way < WAYS; way++)
		close_lane(&lanes[way]);
	ibv_dereg_mr(port.mr);
	ibv_dealloc_pd(port.pd);
	ibv_close_device(port.ctx);
	return 0;
}
