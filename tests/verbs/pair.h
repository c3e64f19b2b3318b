/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * pair.h - two sides, of which one sends to the other, and how that ends.  The
 * guest is slow and emulated: things may be late, never early.
 */
#ifndef PAIR_H
#define PAIR_H

#include "common.h"

#define LEN		333
#define DEPTH		32

static struct side a, b;
static uint8_t src[16][LEN], dst[16][LEN];
static struct ibv_mr *mr_a, *mr_b;

static inline uint64_t ack_us(const struct conn *conn)
{
	return (conn->retry_cnt + 1) * (4096ULL << conn->timeout) / 1000;
}

static inline void open_sides(bool both)
{
	if (both) {
		side_open(&a, 256);
		mr_a = reg(a.pd, src, sizeof(src), ALL_RIGHTS);
	}
	side_open(&b, 256);
	mr_b = reg(b.pd, dst, sizeof(dst), ALL_RIGHTS);
}

static inline void close_sides(bool both)
{
	if (both) {
		dereg(mr_a);
		side_close(&a);
	}
	dereg(mr_b);
	side_close(&b);
}

static inline void connected(const struct conn *conn)
{
	reconnect(&a, &b, DEPTH, conn);
	memset(dst, 0, sizeof(dst));
}

static inline void post(enum ibv_wr_opcode opcode, int i)
{
	struct ibv_sge sge = sge_of(mr_a, src[i], LEN);
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, (uintptr_t)dst[i],
					mr_b->rkey);

	wr.wr_id = i;
	post_send(a.qp, &wr);
}

static inline void receive(int i)
{
	struct ibv_sge sge = sge_of(mr_b, dst[i], LEN);

	post_recv(b.qp, 100 + i, &sge, 1);
}

static inline void expect_arrived(int i)
{
	expect_wc(a.scq, i, IBV_WC_SUCCESS);
	expect_wc(b.rcq, 100 + i, IBV_WC_SUCCESS);
	expect_same(dst[i], src[i], LEN, "what arrived");
}

#define MISSED_TICKS_US	30000

/*
 * That request @i ends in @status, @us after @start, or later.  An emulated CPU
 * that was given no time makes up for all of its ticks at once, and a timer that
 * was started in between is early by that.
 */
static inline void expect_end_after(int i, enum ibv_wc_status status,
				    uint64_t start, uint64_t us)
{
	uint64_t took;

	expect_wc(a.scq, i, status);
	took = now_us() - start;
	expect(took + MISSED_TICKS_US >= us * 8 / 10, "it ended after %llu us, not %llu",
	       (unsigned long long)took, (unsigned long long)us);
	expect(wait_state(a.qp, IBV_QPS_ERR, SOON_MS), "no error");
}

#endif /* PAIR_H */
