// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Completion queues beyond the ordinary: extended ones, timestamps, those that
 * ignore overruns, moderated events, resizing, long ones.
 *
 *	a ── sends, writes, reads ──▶ b
 *	│
 *	scq: the completion queue at hand
 *
 * Completions of writes tell their length, which is made of wr_id: an entry
 * that is torn shows.
 */
#include "cgroup.h"
#include "common.h"

#include <rdma/ib_user_verbs.h>

#include "../../kernel/uapi/tide-abi.h"

#define BUF		(64 * KIB)
#define DEPTH		128		/* of the send queue */

static struct side a, b;
static struct ibv_cq *usual_scq;	/* a's, which this puts others in place of */
static uint8_t *out, *in;
static struct ibv_mr *mr_out, *mr_in;

static void open_sides(void)
{
	side_open(&a, 4 * DEPTH);
	side_open(&b, 4 * DEPTH);
	usual_scq = a.scq;
	out = map_memory(BUF);
	in = map_memory(BUF);
	random_fill(out, BUF);
	mr_out = reg(a.pd, out, BUF, ALL_RIGHTS);
	mr_in = reg(b.pd, in, BUF, ALL_RIGHTS);
}

static void close_sides(void)
{
	dereg(mr_out);
	dereg(mr_in);
	munmap(out, BUF);
	munmap(in, BUF);
	side_drop_qp(&a);
	side_drop_qp(&b);
	a.scq = usual_scq;
	side_close(&a);
	side_close(&b);
}

/* Completion queues */

static struct ibv_cq_ex *try_cq(int cqe, uint64_t wc_flags, uint32_t flags)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = cqe,
		.channel = a.channel,
		.wc_flags = wc_flags,
		.comp_mask = flags ? IBV_CQ_INIT_ATTR_MASK_FLAGS : 0,
		.flags = flags,
	};

	errno = 0;
	return ibv_create_cq_ex(a.ctx, &attr);
}

static struct ibv_cq *plain(struct ibv_cq_ex *cq)
{
	return ibv_cq_ex_to_cq(cq);
}

static void drop_cq(struct ibv_cq *cq)
{
	side_drop_qp(&a);
	errno = ibv_destroy_cq(cq);
	must(!errno);
	a.scq = usual_scq;
}

/* Fresh queue pairs, with a's sends completing on a new queue. */
static struct ibv_cq_ex *connect_with(int cqe, uint64_t wc_flags,
				      uint32_t flags)
{
	struct ibv_cq_ex *cq = try_cq(cqe, wc_flags, flags);

	must(cq);
	side_drop_qp(&a);
	side_drop_qp(&b);
	a.scq = plain(cq);
	reconnect(&a, &b, DEPTH, &usual_conn);
	return cq;
}

/* Work */

static uint32_t length_of_wr(uint64_t wr_id)
{
	return wr_id * 7 % INLINE_CAP + 1;
}

static int try_write(uint64_t wr_id, int flags)
{
	struct ibv_sge sge = sge_of(mr_out, out + wr_id % 977,
				    length_of_wr(wr_id));
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)in + wr_id % 1009,
					mr_in->rkey);

	wr.wr_id = wr_id;
	wr.send_flags |= IBV_SEND_INLINE | flags;
	return try_send(a.qp, &wr);
}

static void do_write(uint64_t wr_id)
{
	errno = try_write(wr_id, 0);
	must(!errno);
}

static bool take_event(unsigned int ms)
{
	struct ibv_cq *cq;
	void *context;

	if (!wait_readable(a.channel->fd, ms))
		return false;
	must(!ibv_get_cq_event(a.channel, &cq, &context));
	ibv_ack_cq_events(cq, 1);
	return true;
}

static void arm(struct ibv_cq *cq, int solicited_only)
{
	must(!ibv_req_notify_cq(cq, solicited_only));
}

/*
 * Leave a completion that is there on return: somebody else may be at the
 * queue, and post_send() then leaves the work to that one.
 */
static void complete_write(struct ibv_cq *cq, uint64_t wr_id)
{
	arm(cq, 0);
	do_write(wr_id);
	must(take_event(SOON_MS));
}

static bool is_whole(const struct ibv_wc *wc)
{
	return wc->status == IBV_WC_SUCCESS &&
	       wc->opcode == IBV_WC_RDMA_WRITE &&
	       wc->qp_num == a.qp->qp_num &&
	       wc->byte_len == length_of_wr(wc->wr_id);
}

static void expect_writes(struct ibv_cq *cq, uint64_t from, uint64_t to)
{
	struct ibv_wc wc;

	for (; from < to; from++) {
		if (!expect(wait_wc(cq, &wc, SOON_MS), "nothing completes"))
			return;
		expect_eq(wc.wr_id, from, "completion");
		expect(is_whole(&wc), "completion %llu is not whole",
		       (unsigned long long)wc.wr_id);
	}
}

static void expect_empty(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	expect_eq(ibv_poll_cq(cq, 1, &wc), 0, "of an empty queue");
}

/* What the device says of itself */

static uint64_t raw_clock(struct ibv_context *ctx)
{
	struct ibv_values_ex values = {
		.comp_mask = IBV_VALUES_MASK_RAW_CLOCK,
	};

	errno = ibv_query_rt_values_ex(ctx, &values);
	must(!errno && values.comp_mask == IBV_VALUES_MASK_RAW_CLOCK);
	return values.raw_clock.tv_sec * 1000000000ULL +
	       values.raw_clock.tv_nsec;
}

static void capabilities(void)
{
	struct ibv_values_ex values = { .comp_mask = 1U << 31 };
	struct ibv_device_attr_ex attr = {};
	uint64_t before, after, began, took;

	must(!ibv_query_device_ex(a.ctx, NULL, &attr));
	expect_eq(attr.completion_timestamp_mask, -1, "all bits count");
	expect_eq(attr.hca_core_clock, 1000000, "the clock counts");
	expect_eq(attr.cq_mod_caps.max_cq_count, 65535, "moderation");
	expect_eq(attr.cq_mod_caps.max_cq_period, 65535, "moderation");
	began = now_us();
	before = raw_clock(a.ctx);
	sleep_ms(20);
	after = raw_clock(a.ctx);
	took = now_us() - began + 1;
	expect(after - before >= 20000000 && after - before <= took * 1000,
	       "%llu us are %llu ns", (unsigned long long)took,
	       (unsigned long long)(after - before));
	expect_eq(ibv_query_rt_values_ex(a.ctx, &values), EINVAL,
		  "a value that nobody knows");
	point("the device's clock, and what it says of it");
}

static void expect_no_cq(int error, struct ibv_cq_init_attr_ex attr,
			 const char *what)
{
	struct ibv_cq_ex *cq;

	errno = 0;
	cq = ibv_create_cq_ex(a.ctx, &attr);
	expect(!cq && errno == error, "%s: %s", what, strerror(errno));
	if (cq)
		ibv_destroy_cq(plain(cq));
}

static void bad_attributes(void)
{
	struct ibv_device_attr device;
	int i;

	must(!ibv_query_device(a.ctx, &device));
	for (i = 8; i < 64; i++)
		if (i != 11)
			expect_no_cq(EOPNOTSUPP, (struct ibv_cq_init_attr_ex) {
				.cqe = 8, .wc_flags = 1ULL << i,
			}, "a field that there is not");
	for (i = 2; i < 32; i++) {
		expect_no_cq(EOPNOTSUPP, (struct ibv_cq_init_attr_ex) {
			.cqe = 8, .comp_mask = 1U << i,
		}, "an attribute that there is not");
		expect_no_cq(EOPNOTSUPP, (struct ibv_cq_init_attr_ex) {
			.cqe = 8, .comp_mask = IBV_CQ_INIT_ATTR_MASK_FLAGS,
			.flags = 1U << i,
		}, "a flag that there is not");
	}
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) { .cqe = 0 },
		     "no entry");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) { .cqe = -1 },
		     "less than none");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) {
		.cqe = device.max_cqe + 1,
	}, "too many entries");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) {
		.cqe = 8, .comp_vector = a.ctx->num_comp_vectors,
	}, "a vector too many");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) {
		.cqe = 8, .comp_vector = -1,
	}, "a vector too few");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) {
		.cqe = 8, .comp_mask = IBV_CQ_INIT_ATTR_MASK_PD,
	}, "no parent domain");
	expect_no_cq(EINVAL, (struct ibv_cq_init_attr_ex) {
		.cqe = 8, .comp_mask = IBV_CQ_INIT_ATTR_MASK_PD,
		.parent_domain = a.pd,
	}, "a domain that is no parent");
	point("extended queues that cannot be");
}

static void vectors(void)
{
	struct ibv_cq *cq;
	int i;

	for (i = 0; i < a.ctx->num_comp_vectors; i++) {
		cq = ibv_create_cq(a.ctx, 1, NULL, a.channel, i);
		expect(cq, "vector %d: %s", i, strerror(errno));
		if (cq)
			ibv_destroy_cq(cq);
	}
	expect(!ibv_create_cq(a.ctx, 1, NULL, a.channel, i) && errno == EINVAL,
	       "a vector too many: %s", strerror(errno));
	point("completion vectors");
}

/* Of great length */

static void longest(void)
{
	struct ibv_device_attr device;
	struct ibv_cq *cq;

	must(!ibv_query_device(a.ctx, &device));
	expect_eq(device.max_cqe, 4194303, "entries");
	cq = plain(connect_with(device.max_cqe, 0, 0));
	expect(cq->cqe >= device.max_cqe, "%d entries", cq->cqe);
	do_write(1);
	do_write(2);
	expect_writes(cq, 1, 3);
	drop_cq(cq);
	point("the longest queue");
}

/* With less memory than the longest queue takes; says what that came to. */
static void with_little(int fd, void *arg __attribute__((unused)))
{
	struct ibv_device_attr device;
	struct ibv_context *ctx;
	struct ibv_cq *cq;
	int error = 0;

	must(cgroup_enter(getpid()));
	ctx = device_open();
	must(!ibv_query_device(ctx, &device));
	cq = ibv_create_cq(ctx, device.max_cqe, NULL, NULL, 0);
	if (!cq)
		error = errno;
	must(!cq || !ibv_destroy_cq(cq));
	cq = ibv_create_cq(ctx, 65536, NULL, NULL, 0);
	must(cq && !ibv_destroy_cq(cq) && !ibv_close_device(ctx));
	say(fd, &error, sizeof(error));
}

static void too_long_for_memory(void)
{
	struct child child;
	int error = 0;

	if (!cgroup_make("64M", "0")) {
		skip("memory cannot be limited here");
	} else {
		child = spawn(with_little, NULL);
		hear(child.fd, &error, sizeof(error));
		expect_eq(error, ENOMEM, "the longest queue");
		expect_child(&child, "who has little memory");
		expect_eq(cgroup_event("oom_kill"), 0, "killed for it");
		cgroup_remove();
	}
	point("more than there is memory for");
}

/* Extended polling */

/* As struct ibv_wc, read field by field. */
static void read_fields(struct ibv_cq_ex *cq, struct ibv_wc *wc)
{
	*wc = (struct ibv_wc) {
		.wr_id = cq->wr_id,
		.status = cq->status,
		.opcode = ibv_wc_read_opcode(cq),
		.vendor_err = ibv_wc_read_vendor_err(cq),
		.byte_len = ibv_wc_read_byte_len(cq),
		.imm_data = ibv_wc_read_imm_data(cq),
		.qp_num = ibv_wc_read_qp_num(cq),
		.src_qp = ibv_wc_read_src_qp(cq),
		.wc_flags = ibv_wc_read_wc_flags(cq),
		.slid = ibv_wc_read_slid(cq),
		.sl = ibv_wc_read_sl(cq),
		.dlid_path_bits = ibv_wc_read_dlid_path_bits(cq),
	};
}

static bool start(struct ibv_cq_ex *cq)
{
	struct ibv_poll_cq_attr attr = {};
	int ret = ibv_start_poll(cq, &attr);

	expect(!ret || ret == ENOENT, "polling begins with %d", ret);
	return !ret;
}

static bool wait_start(struct ibv_cq_ex *cq)
{
	uint64_t end = now_ms() + SOON_MS;

	while (!start(cq)) {
		if (now_ms() > end)
			return expect(false, "nothing completes");
		sched_yield();
	}
	return true;
}

/* The next one, which may not be there yet. */
static bool wait_next(struct ibv_cq_ex *cq)
{
	uint64_t end = now_ms() + SOON_MS;

	while (ibv_next_poll(cq)) {
		if (now_ms() > end)
			return expect(false, "no more completes");
		sched_yield();
	}
	return true;
}

static void expect_next(struct ibv_cq_ex *cq, const struct ibv_wc *wanted,
			bool first)
{
	struct ibv_wc wc;

	if (!first && !wait_next(cq))
		return;
	read_fields(cq, &wc);
	expect_eq(wc.wr_id, wanted->wr_id, "wr_id");
	expect_eq(wc.status, wanted->status, "status");
	expect_eq(wc.qp_num, wanted->qp_num, "queue pair");
	expect_eq(wc.slid + wc.sl + wc.dlid_path_bits, 0, "path");
	if (wc.status)
		return;
	expect_eq(wc.opcode, wanted->opcode, "opcode");
	expect_eq(wc.byte_len, wanted->byte_len, "length");
	expect_eq(wc.wc_flags, wanted->wc_flags, "flags");
	if (wc.wc_flags & IBV_WC_WITH_IMM)
		expect_eq(wc.imm_data, wanted->imm_data, "immediate data");
}

static void one_of_each(void)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_READ,
		IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_SEND,
		IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	struct ibv_sge from, to = sge_of(mr_in, in, BUF);
	struct ibv_send_wr wr;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		if (opcodes[i] != IBV_WR_RDMA_WRITE)
			post_recv(b.qp, i, &to, 1);
		from = sge_of(mr_out, out + 8 * i, 8);
		wr = is_atomic(opcodes[i]) ?
		     atomic_wr(opcodes[i], &from, (uintptr_t)in, mr_in->rkey,
			       1, 0) :
		     rdma_wr(opcodes[i], &from, (uintptr_t)in, mr_in->rkey);
		wr.wr_id = 100 + i;
		wr.imm_data = htonl(0x1000 + i);
		post_send(a.qp, &wr);
	}
}

static void expect_one_of_each(struct ibv_cq_ex *scq, struct ibv_cq_ex *rcq)
{
	static const enum ibv_wc_opcode sent[] = {
		IBV_WC_RDMA_WRITE, IBV_WC_SEND, IBV_WC_RDMA_READ,
		IBV_WC_RDMA_WRITE, IBV_WC_SEND, IBV_WC_FETCH_ADD,
	};
	struct ibv_wc wc;
	size_t i;

	must(wait_start(scq));
	for (i = 0; i < ARRAY_SIZE(sent); i++)
		expect_next(scq, &(struct ibv_wc) {
			.wr_id = 100 + i, .opcode = sent[i], .byte_len = 8,
			.qp_num = a.qp->qp_num,
		}, !i);
	expect_eq(ibv_next_poll(scq), ENOENT, "after the last");
	ibv_end_poll(scq);
	expect(!start(scq), "there is more");

	must(wait_start(rcq));
	for (i = 1; i < 5; i += i == 1 ? 2 : 1)
		expect_next(rcq, &(struct ibv_wc) {
			.wr_id = i == 1 ? 1 : i - 1,
			.opcode = i == 3 ? IBV_WC_RECV_RDMA_WITH_IMM :
					   IBV_WC_RECV,
			.byte_len = 8, .qp_num = b.qp->qp_num,
			.wc_flags = i == 4 ? 0 : IBV_WC_WITH_IMM,
			.imm_data = htonl(0x1000 + i),
		}, i == 1);
	ibv_end_poll(rcq);
	/* Receives 3 to 5 are left. */
	expect_eq(ibv_poll_cq(plain(rcq), 1, &wc), 0, "polled as usual");
}

static void expect_flushed(struct ibv_cq_ex *scq)
{
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, NULL, 0, 0);
	struct ibv_sge sge = sge_of(mr_out, out, 8);

	wr.wr_id = 200;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	post_send(a.qp, &wr);
	wr.wr_id = 201;
	post_send(a.qp, &wr);
	must(wait_start(scq));
	expect_next(scq, &(struct ibv_wc) {
		.wr_id = 200, .status = IBV_WC_REM_ACCESS_ERR,
		.qp_num = a.qp->qp_num,
	}, true);
	ibv_end_poll(scq);
	must(wait_start(scq));
	expect_next(scq, &(struct ibv_wc) {
		.wr_id = 201, .status = IBV_WC_WR_FLUSH_ERR,
		.qp_num = a.qp->qp_num,
	}, true);
	ibv_end_poll(scq);
}

static void fields(uint32_t flags, const char *what)
{
	struct ibv_poll_cq_attr bad = { .comp_mask = 1 };
	struct ibv_cq_ex *scq, *rcq;
	struct ibv_cq *usual_rcq = b.rcq;
	struct ibv_cq_init_attr_ex attr = {
		.cqe = DEPTH,
		.wc_flags = IBV_WC_STANDARD_FLAGS,
		.comp_mask = IBV_CQ_INIT_ATTR_MASK_FLAGS,
		.flags = flags,
	};

	rcq = ibv_create_cq_ex(b.ctx, &attr);
	must(rcq);
	b.rcq = plain(rcq);
	scq = connect_with(DEPTH, IBV_WC_STANDARD_FLAGS, flags);
	expect(!start(scq), "a new queue is not empty");
	expect_eq(ibv_start_poll(scq, &bad), EINVAL, "an attribute");
	one_of_each();
	expect_one_of_each(scq, rcq);
	one_of_each();
	side_drop_qp(&b);
	must(wait_start(scq));
	ibv_end_poll(scq);
	must(wait_start(scq));
	expect_eq(scq->wr_id, 101, "a batch of one");
	ibv_end_poll(scq);
	reconnect(&a, &b, DEPTH, &usual_conn);
	expect(!start(scq), "what has gone left completions");
	expect_flushed(scq);
	drop_cq(plain(scq));
	side_drop_qp(&b);
	must(!ibv_destroy_cq(plain(rcq)));
	b.rcq = usual_rcq;
	point("the fields of completions, %s", what);
}

/* Timestamps */

#define BOTH_CLOCKS	(IBV_WC_EX_WITH_COMPLETION_TIMESTAMP | \
			 IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK)

static uint64_t wall_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void timestamps(uint64_t which)
{
	struct ibv_cq_ex *cq = connect_with(DEPTH, which, 0);
	uint64_t raw[2], wall[2], last = 0;
	int i;

	for (i = 0; i < 50; i++) {
		raw[0] = raw_clock(a.ctx);
		wall[0] = wall_clock();
		do_write(i);
		do_write(i + 1);
		must(wait_start(cq));
		must(wait_next(cq));
		wall[1] = wall_clock();
		raw[1] = raw_clock(a.ctx);
		if (which & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP) {
			uint64_t ts = ibv_wc_read_completion_ts(cq);

			expect(ts >= raw[0] && ts <= raw[1] && ts >= last,
			       "%llu is not between %llu and %llu",
			       (unsigned long long)ts,
			       (unsigned long long)raw[0],
			       (unsigned long long)raw[1]);
			last = ts;
		}
		if (which & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK) {
			uint64_t ns = ibv_wc_read_completion_wallclock_ns(cq);

			/* The two clocks are not read in one go. */
			expect(ns + 1000 >= wall[0] && ns <= wall[1] + 1000,
			       "%llu is not between %llu and %llu",
			       (unsigned long long)ns,
			       (unsigned long long)wall[0],
			       (unsigned long long)wall[1]);
		}
		ibv_end_poll(cq);
	}
	drop_cq(plain(cq));
}

static void set_wall_clock(int64_t by)
{
	uint64_t ns = wall_clock() + by;
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };

	must(!clock_settime(CLOCK_REALTIME, &ts));
}

static void clock_is_set(void)
{
	set_wall_clock(3600 * 1000000000LL);
	timestamps(BOTH_CLOCKS);
	set_wall_clock(-3600 * 1000000000LL);
	timestamps(BOTH_CLOCKS);
	point("the wall clock is set");
}

/* Where the process's clock is not the kernel's. */
static void in_time_namespace(int fd, void *arg __attribute__((unused)))
{
	int offsets;

	must(!unshare(CLONE_NEWTIME));
	offsets = open("/proc/self/timens_offsets", O_WRONLY);
	must(offsets >= 0);
	must(dprintf(offsets, "monotonic 12345 678\n") > 0);
	close(offsets);
	if (!fork()) {
		open_sides();
		timestamps(BOTH_CLOCKS);
		close_sides();
		say_byte(fd);
		_exit(0);
	}
	wait(NULL);
}

static void time_namespace(void)
{
	struct child child = spawn(in_time_namespace, NULL);

	hear_byte(child.fd);
	expect_child(&child, "who has another clock");
	point("timestamps in a time namespace");
}

/* Overruns */

static void wait_unpolled_full(struct ibv_cq_ex *cq, int size)
{
	struct ibv_wc wc[DEPTH];
	int i, n;

	/* In rounds, so that the queue comes around at every place. */
	for (i = 0; i < DEPTH; i++)
		complete_write(plain(cq), i);
	n = ibv_poll_cq(plain(cq), DEPTH, wc);
	expect_eq(n, size, "completions left");
	for (i = 0; i < n; i++) {
		expect_eq(wc[i].wr_id, DEPTH - size + i, "the newest");
		expect(is_whole(&wc[i]), "completion %d is not whole", i);
	}
}

static void overrun_ex(struct ibv_cq_ex *cq, int size)
{
	int i;

	for (i = 0; i < DEPTH; i++)
		complete_write(plain(cq), i);
	must(wait_start(cq));
	for (i = 0; i < size; i++) {
		expect_eq(cq->wr_id, DEPTH - size + i, "the newest");
		if (i < size - 1)
			expect(!ibv_next_poll(cq), "there is no next");
	}
	expect_eq(ibv_next_poll(cq), ENOENT, "after the last");
	ibv_end_poll(cq);
}

static void overrun(int size)
{
	struct ibv_cq_ex *cq = connect_with(size, IBV_WC_STANDARD_FLAGS,
					    IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN);
	int i;

	expect_eq(cq->cqe, size, "size");
	for (i = 0; i < 5; i++) {
		wait_unpolled_full(cq, size);
		overrun_ex(cq, size);
		do_write(i);
		expect_writes(plain(cq), i, i + 1);
		expect_empty(plain(cq));
	}
	/* One queue pair goes, the completions of the other one stay. */
	for (i = 0; i < DEPTH; i++)
		do_write(i);
	reconnect(&a, &b, DEPTH, &usual_conn);
	expect_empty(plain(cq));
	do_write(7);
	expect_writes(plain(cq), 7, 8);
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "state");
	expect_eq(wait_event(a.ctx, NULL, 0), -1, "events");
	drop_cq(plain(cq));
	point("a queue of %d that ignores overruns", size);
}

struct writer {
	pthread_t thread;
	uint64_t from, to;
};

static void *write_all(void *arg)
{
	struct writer *writer = arg;
	uint64_t id = writer->from;
	uint64_t end = now_ms() + 3 * SOON_MS;

	while (id < writer->to && now_ms() < end) {
		int err = try_write(id, 0);

		if (!err)
			id++;
		else if (!expect(err == ENOMEM, "posting: %s", strerror(err)))
			break;
		else
			sched_yield();
	}
	writer->to = id;
	return NULL;
}

static void start_writer(struct writer *writer, uint64_t from, uint64_t to)
{
	*writer = (struct writer) { .from = from, .to = to };
	must(!pthread_create(&writer->thread, NULL, write_all, writer));
}

/* The kernel overtakes who polls, all the time. */
static void overrun_while_polling(int size)
{
	struct ibv_cq_ex *cq = connect_with(size, IBV_WC_STANDARD_FLAGS,
					    IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN);
	uint64_t last = 0, seen = 0, end = now_ms() + 4 * SOON_MS;
	struct writer writer;
	struct ibv_wc wc;

	start_writer(&writer, 1, 20000);
	/* What was posted last may be completed after its thread is done. */
	while (last < 19999 && now_ms() < end) {
		while (ibv_poll_cq(plain(cq), 1, &wc) == 1) {
			expect(is_whole(&wc), "completion %llu is torn",
			       (unsigned long long)wc.wr_id);
			expect(wc.wr_id > last, "%llu comes after %llu",
			       (unsigned long long)wc.wr_id,
			       (unsigned long long)last);
			last = wc.wr_id;
			seen++;
		}
	}
	pthread_join(writer.thread, NULL);
	expect_eq(last, 19999, "the last one");
	diag("%llu of 19999 were polled", (unsigned long long)seen);
	drop_cq(plain(cq));
	point("a queue of %d that overruns while it is polled", size);
}

static void overflow(void)
{
	struct ibv_cq_ex *cq = connect_with(4, 0, 0);
	void *element = NULL;
	int i;

	for (i = 0; i < 6; i++)
		try_write(i, 0);
	expect_eq(wait_event(a.ctx, &element, SOON_MS), IBV_EVENT_CQ_ERR,
		  "event");
	expect(element == cq, "another queue");
	expect(wait_state(a.qp, IBV_QPS_ERR, SOON_MS), "no error");
	side_drop_qp(&a);
	while (wait_event(a.ctx, NULL, 0) >= 0)
		;
	drop_cq(plain(cq));
	point("one that does not ignore them");
}

/* Moderation */

static int moderate(struct ibv_cq *cq, uint16_t count, uint16_t period)
{
	struct ibv_modify_cq_attr attr = {
		.attr_mask = IBV_CQ_ATTR_MODERATE,
		.moderate = { count, period },
	};

	return ibv_modify_cq(cq, &attr);
}

#define LONG_US		65535
#define TRIES		100		/* to be quicker than that */

/* Three of four, and whether that was quick enough to tell anything. */
static bool three_of_four(struct ibv_cq *cq)
{
	uint64_t began = now_us();
	bool event;
	int i;

	arm(cq, 0);
	for (i = 0; i < 3; i++)
		do_write(i);
	event = take_event(5);
	if (event && now_us() - began >= LONG_US) {
		expect_writes(cq, 0, 3);
		return false;
	}
	return expect(!event, "three of four make an event");
}

static void moderation_counts(struct ibv_cq *cq)
{
	int tries = TRIES;

	must(!moderate(cq, 4, LONG_US));
	while (!three_of_four(cq) && !tap->failures && --tries)
		;
	must(tries);
	do_write(3);
	expect(take_event(SOON_MS), "four of four make none");
	expect_writes(cq, 0, 4);
	do_write(4);
	expect(!take_event(100), "an event that nobody asked for");
	arm(cq, 0);
	expect_writes(cq, 4, 5);
	expect(!take_event(100), "an event of what came before");
	do_write(5);
	expect(take_event(SOON_MS), "an event was lost");
	expect_writes(cq, 5, 6);
}

static void moderation_waits(struct ibv_cq *cq)
{
	uint64_t took;

	must(!moderate(cq, 65535, LONG_US));
	arm(cq, 0);
	took = now_us();
	do_write(0);
	expect(take_event(SOON_MS), "the last completion makes no event");
	took = now_us() - took;
	expect(took >= LONG_US, "the event comes after %llu us",
	       (unsigned long long)took);
	expect_writes(cq, 0, 1);
}

static void moderation_of_solicited(struct ibv_cq *cq)
{
	int i;

	must(!moderate(cq, 3, LONG_US));
	arm(cq, 1);
	for (i = 0; i < 6; i++)
		do_write(i);
	expect(!take_event(100), "unsolicited ones count");
	expect_writes(cq, 0, 6);
	/* Errors do, as solicited ones. */
	must(!qp_to(a.qp, IBV_QPS_ERR));
	for (i = 0; i < 3; i++)
		do_write(i);
	expect(take_event(LONG_US / 1000 + SOON_MS), "errors make no event");
	reconnect(&a, &b, DEPTH, &usual_conn);
}

/* How long after a change the event comes that was to come much later. */
static uint64_t event_after_change(struct ibv_cq *cq)
{
	uint64_t began;

	must(!moderate(cq, 10, LONG_US));
	arm(cq, 0);
	do_write(0);
	began = now_us();
	must(!moderate(cq, 0, 0));
	expect(take_event(SOON_MS), "no event");
	began = now_us() - began;
	expect_writes(cq, 0, 1);
	return began;
}

static void moderation_changes(struct ibv_cq *cq)
{
	int tries = TRIES;

	while (event_after_change(cq) > LONG_US / 2 && !tap->failures &&
	       --tries)
		;
	expect(tries, "it waits for what was before");
	arm(cq, 0);
	do_write(1);
	expect(take_event(SOON_MS), "no event without moderation");
	expect_writes(cq, 1, 2);
	must(!moderate(cq, 10, 0));
	arm(cq, 0);
	do_write(2);
	expect(take_event(SOON_MS), "no event without a period");
	expect_writes(cq, 2, 3);
}

static void moderation(void)
{
	struct ibv_cq *cq = plain(connect_with(DEPTH, 0, 0));
	struct ibv_modify_cq_attr attr = { .moderate = { 4, 4 } };

	expect_eq(ibv_modify_cq(cq, &attr), EINVAL, "nothing is asked for");
	attr.attr_mask = 1 << 1;
	expect_eq(ibv_modify_cq(cq, &attr), EINVAL, "something unknown");
	moderation_counts(cq);
	moderation_waits(cq);
	moderation_of_solicited(cq);
	moderation_changes(cq);
	must(!moderate(cq, 10, LONG_US));
	arm(cq, 0);
	do_write(0);
	drop_cq(cq);
	expect(!take_event(2 * LONG_US / 1000), "an event of the dead");
	point("moderated events");
}

/* Who sleeps after every event, and polls until there is nothing. */
static void nothing_is_lost(void)
{
	struct ibv_cq *cq = plain(connect_with(4 * DEPTH, 0, 0));
	uint64_t next = 1, events = 0;
	struct writer writer;
	struct ibv_wc wc;

	must(!moderate(cq, 8, 300));
	arm(cq, 0);
	start_writer(&writer, 1, 3000);
	while (next < 3000) {
		if (!expect(take_event(SOON_MS), "asleep for ever at %llu",
			    (unsigned long long)next))
			break;
		events++;
		arm(cq, 0);
		while (ibv_poll_cq(cq, 1, &wc) == 1)
			expect_eq(wc.wr_id, next++, "completion");
	}
	pthread_join(writer.thread, NULL);
	expect(events < 2999, "every completion makes an event");
	diag("%llu events for 2999 completions", (unsigned long long)events);
	take_event(10);
	drop_cq(cq);
	point("nothing is lost by waiting");
}

/* Resizing */

static int rings_mapped(void)
{
	char line[256];
	int n = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	must(maps);
	while (fgets(line, sizeof(line), maps))
		n += !!strstr(line, "uverbs");
	fclose(maps);
	return n;
}

static void expect_resize(struct ibv_cq *cq, int cqe)
{
	expect_eq(ibv_resize_cq(cq, cqe), 0, "resizing");
	expect(cq->cqe >= cqe && cq->cqe < 2 * cqe, "%d entries, not %d",
	       cq->cqe, cqe);
}

static void resize_in_use(void)
{
	struct ibv_cq *cq = plain(connect_with(16, 0, 0));
	struct ibv_device_attr device;
	int mapped = rings_mapped();
	int i;

	must(!ibv_query_device(a.ctx, &device));
	expect_eq(ibv_resize_cq(cq, 0), EINVAL, "to nothing");
	expect_eq(ibv_resize_cq(cq, -1), EINVAL, "to less");
	expect_eq(ibv_resize_cq(cq, device.max_cqe + 1), EINVAL, "to more");
	expect_eq(cq->cqe, 16, "after that");

	for (i = 0; i < 10; i++)
		complete_write(cq, i);
	expect_eq(ibv_resize_cq(cq, 8), EINVAL, "below what is there");
	expect_eq(ibv_resize_cq(cq, 9), EINVAL, "just below it");
	expect_eq(cq->cqe, 16, "after that");
	expect_resize(cq, 10);
	expect_resize(cq, 100);
	for (; i < 100; i++)
		do_write(i);
	expect_writes(cq, 0, 95);
	expect_resize(cq, 5);
	for (; i < 103; i++)
		do_write(i);
	expect_writes(cq, 95, 103);
	expect_empty(cq);
	expect_resize(cq, 1);
	do_write(103);
	expect_writes(cq, 103, 104);
	expect_resize(cq, device.max_cqe);
	do_write(104);
	expect_writes(cq, 104, 105);
	expect_resize(cq, 2);
	expect_eq(rings_mapped(), mapped, "rings");
	expect_eq(wait_event(a.ctx, NULL, 0), -1, "events");
	drop_cq(cq);
	point("resizing, with completions in it");
}

/* The command itself, as a process may write it to its descriptor. */
static int resize_command(struct ibv_cq *cq, uint32_t cqe,
			  struct tide_abi_resize_cq step, size_t size)
{
	struct {
		struct ib_uverbs_resize_cq_resp core;
		struct tide_abi_resize_cq_resp tide;
	} resp;
	struct {
		struct ib_uverbs_cmd_hdr head;
		struct ib_uverbs_resize_cq core;
		struct tide_abi_resize_cq tide;
	} __attribute__((packed)) cmd = {
		.head = {
			.command = IB_USER_VERBS_CMD_RESIZE_CQ,
			.in_words = (sizeof(cmd) - sizeof(step) + size) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.core = {
			.response = (uintptr_t)&resp,
			.cq_handle = cq->handle,
			.cqe = cqe,
		},
		.tide = step,
	};
	ssize_t len = sizeof(cmd) - sizeof(step) + size;

	return write(cq->context->cmd_fd, &cmd, len) == len ? 0 : errno;
}

static void resize_commands(void)
{
	const struct tide_abi_resize_cq offer = { TIDE_RESIZE_CQ_OFFER, 0 };
	const struct tide_abi_resize_cq move = { TIDE_RESIZE_CQ_SWITCH, 0 };
	struct ibv_cq *cq = plain(connect_with(16, 0, 0));
	int i;

	expect_eq(resize_command(cq, 32, move, sizeof(move)), EINVAL,
		  "to a ring that nobody has offered");
	expect_eq(resize_command(cq, 32, (struct tide_abi_resize_cq) { 2, 0 },
				 sizeof(move)), EINVAL, "an unknown step");
	expect_eq(resize_command(cq, 32, (struct tide_abi_resize_cq) { 0, 1 },
				 sizeof(move)), EINVAL, "what is reserved");
	expect_eq(resize_command(cq, 32, offer, 4), EINVAL, "half a step");
	expect_eq(resize_command(cq, 32, offer, 0), EINVAL, "no step");
	/* Offers that nobody takes, and one that is taken back. */
	for (i = 0; i < 20; i++)
		expect_eq(resize_command(cq, 1 << i, offer, sizeof(offer)), 0,
			  "an offer");
	expect_eq(resize_command(cq, 16, offer, sizeof(offer)), 0, "none");
	expect_eq(resize_command(cq, 32, move, sizeof(move)), EINVAL,
		  "to a ring that is not offered any more");
	/* What has come since does not fit. */
	expect_eq(resize_command(cq, 4, offer, sizeof(offer)), 0, "an offer");
	for (i = 0; i < 5; i++)
		complete_write(cq, i);
	expect_eq(resize_command(cq, 4, move, sizeof(move)), EINVAL,
		  "to a ring that is too small by now");
	expect_writes(cq, 0, 5);
	drop_cq(cq);
	point("the command behind it");
}

static void resize_keeps_arm(void)
{
	struct ibv_cq *cq = plain(connect_with(4, 0, 0));

	arm(cq, 0);
	expect_resize(cq, 64);
	expect(!take_event(10), "resizing makes an event");
	do_write(1);
	expect(take_event(SOON_MS), "it is forgotten what was asked for");
	must(!moderate(cq, 4, LONG_US));
	arm(cq, 0);
	do_write(2);
	expect_resize(cq, 2);
	expect(take_event(SOON_MS), "it is forgotten who waits");
	expect_writes(cq, 1, 3);
	drop_cq(cq);
	point("events across resizing");
}

static void resize_overrun(void)
{
	struct ibv_cq_ex *cq = connect_with(16, IBV_WC_STANDARD_FLAGS,
					    IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN);
	int i;

	for (i = 0; i < 40; i++)
		complete_write(plain(cq), i);
	expect_eq(ibv_resize_cq(plain(cq), 8), EINVAL, "smaller");
	expect_resize(plain(cq), 32);
	for (; i < 50; i++)
		do_write(i);
	expect_writes(plain(cq), 24, 50);
	expect_resize(plain(cq), 4);
	for (; i < 60; i++)
		complete_write(plain(cq), i);
	expect_writes(plain(cq), 56, 60);
	expect_empty(plain(cq));
	drop_cq(plain(cq));
	point("resizing a queue that ignores overruns");
}

struct resizer {
	pthread_t thread;
	struct ibv_cq *cq;
	bool stop;
	int times;
};

/* Never below what may be under way. */
static void *resize_all_the_time(void *arg)
{
	struct resizer *resizer = arg;

	while (!__atomic_load_n(&resizer->stop, __ATOMIC_ACQUIRE)) {
		int cqe = DEPTH << random_below(6);

		expect_eq(ibv_resize_cq(resizer->cq, cqe), 0, "resizing");
		resizer->times++;
	}
	return NULL;
}

static void resize_under_traffic(uint32_t flags, const char *what)
{
	struct ibv_cq_ex *cq = connect_with(DEPTH, IBV_WC_STANDARD_FLAGS,
					    flags);
	struct resizer resizer = { .cq = plain(cq) };
	int mapped = rings_mapped();
	uint64_t next = 1;
	struct writer writer;

	must(!pthread_create(&resizer.thread, NULL, resize_all_the_time,
			     &resizer));
	start_writer(&writer, 1, 6000);
	while (next < 6000) {
		arm(plain(cq), 0);
		if (start(cq)) {
			do {
				expect_eq(cq->wr_id, next, "completion");
				expect_eq(ibv_wc_read_byte_len(cq),
					  length_of_wr(next), "length");
				/* Within a batch too. */
				arm(plain(cq), 0);
				next++;
			} while (!ibv_next_poll(cq));
			ibv_end_poll(cq);
		} else if (!expect(take_event(SOON_MS), "asleep at %llu",
				   (unsigned long long)next)) {
			break;
		}
	}
	pthread_join(writer.thread, NULL);
	__atomic_store_n(&resizer.stop, true, __ATOMIC_RELEASE);
	pthread_join(resizer.thread, NULL);
	diag("resized %d times", resizer.times);
	expect_eq(rings_mapped(), mapped, "rings");
	while (take_event(10))
		;
	drop_cq(plain(cq));
	point("resizing under traffic, %s", what);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	time_namespace();
	open_sides();
	capabilities();
	bad_attributes();
	vectors();
	longest();
	too_long_for_memory();
	fields(0, "usual");
	fields(IBV_CREATE_CQ_ATTR_SINGLE_THREADED, "single-threaded");
	fields(IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN, "ignoring overruns");
	timestamps(IBV_WC_EX_WITH_COMPLETION_TIMESTAMP);
	timestamps(IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK);
	timestamps(BOTH_CLOCKS);
	point("timestamps");
	clock_is_set();
	overrun(8);
	overrun(1);
	overrun(DEPTH);
	overrun_while_polling(1);
	overrun_while_polling(2);
	overrun_while_polling(16);
	overflow();
	moderation();
	nothing_is_lost();
	resize_in_use();
	resize_commands();
	resize_keeps_arm();
	resize_overrun();
	resize_under_traffic(0, "usual");
	resize_under_traffic(IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN,
			     "ignoring overruns");
	close_sides();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
