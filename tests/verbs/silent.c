// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Peers that are silent (IBTA 9.7.6.1.3): how long a sender waits for them, and
 * how it ends.
 */
#include "pair.h"

static void side_connect_to(uint32_t qpn, const union ibv_gid *gid,
			    const struct conn *conn)
{
	struct address peer = { qpn, *gid };

	side_drop_qp(&a);
	side_make_qp(&a, DEPTH);
	side_connect(&a, &peer, conn);
}

static const struct {
	uint8_t timeout;
	uint8_t retry_cnt;
} patience[] = { { 14, 0 }, { 16, 1 }, { 10, 7 }, { 13, 7 }, { 1, 0 } };

static void nobody_there(const char *what, uint32_t qpn,
			 const union ibv_gid *gid)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
	};
	struct conn conn = usual_conn;
	uint64_t start;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(patience); i++) {
		conn.timeout = patience[i].timeout;
		conn.retry_cnt = patience[i].retry_cnt;
		side_connect_to(qpn, gid, &conn);
		start = now_us();
		post(opcodes[i % 3], 0);
		post(IBV_WR_RDMA_WRITE, 1);
		expect_end_after(0, IBV_WC_RETRY_EXC_ERR, start, ack_us(&conn));
		expect_wc(a.scq, 1, IBV_WC_WR_FLUSH_ERR);
	}
	point("%s", what);
}

static void silent_peers(void)
{
	union ibv_gid elsewhere = a.gid;

	elsewhere.raw[15] ^= 0x4c;
	side_drop_qp(&b);
	side_make_qp(&b, DEPTH);
	nobody_there("a queue pair in RESET", b.qp->qp_num, &b.gid);
	must(!qp_to_init(b.qp, ALL_RIGHTS));
	nobody_there("a queue pair in INIT", b.qp->qp_num, &b.gid);
	nobody_there("another host", b.qp->qp_num, &elsewhere);
	connected(&usual_conn);
	nobody_there("a queue pair connected elsewhere", b.qp->qp_num, &b.gid);
	side_drop_qp(&b);
	nobody_there("a queue pair that is none", 0xfffff0, &a.gid);
}

/* With a timeout of 0 there is no end, but the peer may come yet. */
static void late_peer(int timeout, unsigned int ms)
{
	struct conn conn = usual_conn;
	struct address mine;

	conn.timeout = timeout;
	side_drop_qp(&b);
	side_make_qp(&b, DEPTH);
	side_connect_to(b.qp->qp_num, &b.gid, &conn);
	memset(dst, 0, sizeof(dst));
	post(IBV_WR_SEND, 0);
	post(IBV_WR_RDMA_WRITE, 1);
	expect(is_quiet(a.scq, ms), "it did not wait");
	mine = side_address(&a);
	must(!qp_to_init(b.qp, ALL_RIGHTS));
	receive(0);
	must(!qp_to_rtr(b.qp, b.gid_index, &mine, &conn));
	expect_arrived(0);
	expect_wc(a.scq, 1, IBV_WC_SUCCESS);
	expect_same(dst[1], src[1], LEN, "what was written");
	point("a peer that comes after %u ms, timeout %d", ms, timeout);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	random_fill(src, sizeof(src));
	open_sides(true);
	silent_peers();
	late_peer(0, 1200);
	late_peer(20, 300);

	close_sides(true);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(120, 120), test);
}
