// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Receivers that are not ready (IBTA 9.7.5.2.8): how long a sender waits, what
 * brings it on, and how it ends.
 */
#include "pair.h"

/* Codes of the RNR timer, and what they mean in microseconds. */
#define RNR_655_MS	0
#define RNR_80_US	6
#define RNR_82_MS	26

static uint64_t rnr_us(int code)
{
	switch (code) {
	case RNR_655_MS: return 655360;
	case RNR_80_US: return 80;
	default: return 81920;
	}
}

static const enum ibv_wr_opcode receiving[] = {
	IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM,
};

static void no_retry(void)
{
	struct conn conn = usual_conn;
	uint64_t start;
	size_t i;

	conn.rnr_retry = 0;
	conn.min_rnr_timer = RNR_655_MS;
	for (i = 0; i < ARRAY_SIZE(receiving); i++) {
		connected(&conn);
		start = now_us();
		post(receiving[i], 0);
		expect_end_after(0, IBV_WC_RNR_RETRY_EXC_ERR, start, 0);
		expect_eq(qp_state(b.qp), IBV_QPS_RTS, "responder's state");
		expect_eq(wait_event(b.ctx, NULL, 0), -1, "responder's event");
		receive(0);
		expect(is_quiet(b.rcq, 20), "a receive was used");
	}
	point("no retries");
}

/* Whatever is queued behind is flushed. */
static void retries(int retry, int timer)
{
	struct conn conn = usual_conn;
	uint64_t start;

	conn.rnr_retry = retry;
	conn.min_rnr_timer = timer;
	connected(&conn);
	start = now_us();
	post(IBV_WR_SEND, 0);
	post(IBV_WR_RDMA_WRITE, 1);
	expect_end_after(0, IBV_WC_RNR_RETRY_EXC_ERR, start,
			 retry * rnr_us(timer));
	expect_wc(a.scq, 1, IBV_WC_WR_FLUSH_ERR);
	expect_eq(qp_state(b.qp), IBV_QPS_RTS, "responder's state");
	expect_eq(dst[1][0], 0, "what was behind");
	point("%d retries, %llu us apart", retry,
	      (unsigned long long)rnr_us(timer));
}

/*
 * Each message has all of its retries.  False when this thread was held up for
 * too long to post in time.
 */
static bool post_in_time(void)
{
	uint64_t start;
	bool waited;
	int i;

	for (i = 0; i < 3; i++) {
		start = now_us();
		post(receiving[i], i);
		waited = is_quiet(a.scq, 150);
		receive(i);
		if (now_us() - start > rnr_us(RNR_655_MS) * 8 / 10)
			return false;
		expect(waited, "it did not wait");
		expect_arrived(i);
	}
	return true;
}

static void posted_in_time(void)
{
	struct conn conn = usual_conn;
	int tries = 50;

	conn.rnr_retry = 1;
	conn.min_rnr_timer = RNR_655_MS;
	do {
		connected(&conn);
	} while (!post_in_time() && --tries);
	expect(tries, "it takes half a second to post");
	expect_eq(qp_state(a.qp), IBV_QPS_RTS, "state");
	point("a receive posted in time");
}

static void forever(void)
{
	int i;

	connected(&usual_conn);
	for (i = 0; i < 10; i++)
		post(receiving[i % 3], i);
	expect(is_quiet(a.scq, 1500), "a sender did not wait");
	for (i = 0; i < 5; i++)
		receive(i);
	for (i = 0; i < 5; i++)
		expect_arrived(i);
	expect(is_quiet(a.scq, 200), "the rest did not wait");
	for (i = 5; i < 10; i++) {
		receive(i);
		expect_arrived(i);
	}
	point("waiting for ever");
}

/* A sender that waits is woken, even when it would ask again much later. */
static void woken(void)
{
	struct conn conn = usual_conn;
	uint64_t start, took, best = UINT64_MAX;
	int i;

	conn.min_rnr_timer = RNR_655_MS;
	connected(&conn);
	for (i = 0; i < 16; i++) {
		post(IBV_WR_SEND, i);
		sleep_ms(10);
		start = now_us();
		receive(i);
		expect_arrived(i);
		took = now_us() - start;
		best = took < best ? took : best;
	}
	expect(best < 100000, "at best it took %llu us to wake a sender",
	       (unsigned long long)best);
	point("a sender that waits is woken");
}

/*
 * So is one whose message is behind a long one that takes its receive in the
 * end only.
 */
static void woken_behind(void)
{
	static uint8_t from[64 * KIB], to[64 * KIB];
	struct ibv_mr *mr_from = reg(a.pd, from, sizeof(from), ALL_RIGHTS);
	struct ibv_mr *mr_to = reg(b.pd, to, sizeof(to), ALL_RIGHTS);
	struct ibv_sge sge = sge_of(mr_from, from, sizeof(from));
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE_WITH_IMM, &sge,
					(uintptr_t)to, mr_to->rkey);
	struct conn conn = usual_conn;
	uint64_t start, took, best = UINT64_MAX;
	int i;

	random_fill(from, sizeof(from));
	wr.wr_id = 0;
	conn.min_rnr_timer = RNR_655_MS;
	connected(&conn);
	for (i = 0; i < 8; i++) {
		receive(0);
		post_send(a.qp, &wr);
		post(IBV_WR_SEND, 1);
		expect_wc(a.scq, 0, IBV_WC_SUCCESS);
		expect_wc(b.rcq, 100, IBV_WC_SUCCESS);
		expect_same(to, from, sizeof(from), "what was written");
		sleep_ms(20);
		start = now_us();
		receive(1);
		expect_arrived(1);
		took = now_us() - start;
		best = took < best ? took : best;
	}
	expect(best < 100000, "at best it took %llu us to wake a sender",
	       (unsigned long long)best);
	dereg(mr_from);
	dereg(mr_to);
	point("a sender that waits behind a long message is woken");
}

/* Race posts of receives against senders that are about to wait. */
static void *post_receives(void *arg)
{
	int i, n = *(int *)arg;

	for (i = 0; i < n; i++) {
		struct ibv_sge sge = sge_of(mr_b, dst[i % 16], LEN);

		while (try_recv(b.qp, i, &sge, 1))
			sched_yield();
		if (!random_below(4))
			sleep_us(random_below(50));
	}
	return NULL;
}

static void no_lost_wakeup(void)
{
	int n = length_of(5000, 200000), sent = 0, done = 0, got = 0;
	pthread_t thread;
	struct ibv_wc wc;
	uint64_t last;

	connected(&usual_conn);
	must(!pthread_create(&thread, NULL, post_receives, &n));
	last = now_ms();
	while (got < n && now_ms() - last < SOON_MS) {
		while (sent < n && sent - done < 16) {
			post(IBV_WR_SEND, sent++ % 16);
			if (random_below(8))
				break;
		}
		while (ibv_poll_cq(a.scq, 1, &wc) == 1) {
			expect_eq(wc.status, IBV_WC_SUCCESS, "send");
			done++;
		}
		while (ibv_poll_cq(b.rcq, 1, &wc) == 1) {
			expect_eq(wc.wr_id, got, "receive");
			got++;
			last = now_ms();
		}
	}
	expect_eq(got, n, "messages that arrived");
	if (got < n)
		qp_to(b.qp, IBV_QPS_ERR);
	pthread_join(thread, NULL);
	point("no wake-up is lost");
}

/*
 * A sender that has many messages, and a receiver that has few receives. What
 * is sent for nothing would be in vain, and come in the wrong order.
 */
static void paced(void)
{
	long vain = counter("out_of_sequence");
	struct conn conn = usual_conn;
	int i, n = 400;

	conn.min_rnr_timer = RNR_655_MS;
	connected(&conn);
	receive(0);
	post(IBV_WR_SEND, 0);
	expect_arrived(0);
	for (i = 0; i < 16; i++)
		post(IBV_WR_SEND, i);
	for (i = 0; i < n; i++) {
		if (!random_below(3))
			sleep_us(random_below(500));
		receive(i % 16);
		expect_arrived(i % 16);
		post(IBV_WR_SEND, i % 16);
	}
	vain = counter("out_of_sequence") - vain;
	expect(vain < n / 10, "%ld packets were sent in vain", vain);
	point("no more is sent than there are receives for");
}

/* What can happen to the receiver of a sender that waits for ever. */

static void receiver_reset(void)
{
	must(!qp_to(b.qp, IBV_QPS_RESET));
}

static void receiver_error(void)
{
	must(!qp_to(b.qp, IBV_QPS_ERR));
}

static void receiver_destroyed(void)
{
	side_drop_qp(&b);
}

static void receiver_gone(const char *how, void (*go)(void))
{
	uint64_t start;

	connected(&usual_conn);
	post(IBV_WR_SEND, 0);
	expect(is_quiet(a.scq, 100), "the sender did not wait");
	start = now_us();
	go();
	expect_end_after(0, IBV_WC_RETRY_EXC_ERR, start, ack_us(&usual_conn));
	point("the receiver of a waiting sender is %s", how);
}

/* The sender stops waiting. */
static void sender_stops(enum ibv_qp_state state)
{
	connected(&usual_conn);
	post(IBV_WR_SEND, 0);
	post(IBV_WR_SEND, 1);
	expect(is_quiet(a.scq, 50), "the sender did not wait");
	if (state == IBV_QPS_UNKNOWN)
		side_drop_qp(&a);
	else
		must(!qp_to(a.qp, state));
	if (state == IBV_QPS_ERR) {
		expect_wc(a.scq, 0, IBV_WC_WR_FLUSH_ERR);
		expect_wc(a.scq, 1, IBV_WC_WR_FLUSH_ERR);
	}
	expect(is_quiet(a.scq, 50), "something completed");
	receive(0);
	expect(is_quiet(b.rcq, 50), "a message arrived nonetheless");
	point("a sender that waits %s", state == IBV_QPS_ERR ? "fails" :
	      state == IBV_QPS_RESET ? "is reset" : "is destroyed");
}

static void doomed_sender(int fd, void *arg)
{
	struct address peer, mine;
	struct ibv_sge sge;
	struct ibv_send_wr wr;

	(void)arg;
	side_open(&a, 16);
	side_make_qp(&a, DEPTH);
	mine = side_address(&a);
	hear(fd, &peer, sizeof(peer));
	say(fd, &mine, sizeof(mine));
	side_connect(&a, &peer, &usual_conn);
	sge = sge_of(reg(a.pd, src, sizeof(src), ALL_RIGHTS), src, LEN);
	wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);
	hear_byte(fd);
	post_send(a.qp, &wr);
	say_byte(fd);
	pause();
}

/* The child is made before there is anything to inherit. */
static void sender_killed(void)
{
	struct child child = spawn(doomed_sender, NULL);
	struct address mine, peer;
	uint64_t start;

	open_sides(false);
	side_make_qp(&b, DEPTH);
	mine = side_address(&b);
	say(child.fd, &mine, sizeof(mine));
	hear(child.fd, &peer, sizeof(peer));
	side_connect(&b, &peer, &usual_conn);
	say_byte(child.fd);
	hear_byte(child.fd);
	sleep_ms(20);
	start = now_ms();
	kill_child(&child);
	expect_soon(start, "the sender's end");
	receive(0);
	expect(is_quiet(b.rcq, 50), "a message arrived nonetheless");
	expect_eq(qp_state(b.qp), IBV_QPS_RTS, "the receiver's state");
	close_sides(false);
	point("a sender that waits is killed");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	int timers[] = { RNR_80_US, RNR_82_MS };

	random_fill(src, sizeof(src));
	sender_killed();
	open_sides(true);
	no_retry();
	retries(1, timers[1]);
	retries(3, timers[1]);
	retries(6, timers[1]);
	retries(6, timers[0]);
	retries(1, RNR_655_MS);
	posted_in_time();
	forever();
	woken();
	woken_behind();
	no_lost_wakeup();
	paced();
	receiver_gone("reset", receiver_reset);
	receiver_gone("in error", receiver_error);
	receiver_gone("destroyed", receiver_destroyed);
	sender_stops(IBV_QPS_ERR);
	sender_stops(IBV_QPS_RESET);
	sender_stops(IBV_QPS_UNKNOWN);
	close_sides(true);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
