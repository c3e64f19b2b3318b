// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Many threads on few objects: eight post to four queue pairs that share a
 * completion queue and a protection domain, others poll, and the books have
 * to balance; objects are changed and destroyed while others use them.
 */
#include "common.h"

#include "../../kernel/uapi/tide-abi.h"

#include <sys/ioctl.h>

#define QPS		4
#define THREADS		8
#define POLLERS		3
#define DEPTH		64
#define SLOT		(2 * KIB)	/* of each thread, for each QP */
#define RECV_LEN	40U

static struct side a, b;
static struct ibv_qp *qa[QPS], *qb[QPS];
static uint8_t *src, *dst, *inbox;
static struct ibv_mr *mr_src, *mr_dst, *mr_inbox;

static unsigned int posts_per_thread;
static unsigned int sent[QPS], send_done[QPS], received[QPS];
static unsigned int last_seen[QPS][THREADS];
static uint64_t last_value[QPS][THREADS];
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile bool stop;

static void open_all(int wr)
{
	int i;

	side_open(&a, 4096);
	side_open(&b, 4096);
	src = map_memory(THREADS * SLOT);
	dst = map_memory(QPS * THREADS * SLOT);
	inbox = map_memory(QPS * DEPTH * RECV_LEN);
	mr_src = reg(a.pd, src, THREADS * SLOT, ALL_RIGHTS);
	mr_dst = reg(b.pd, dst, QPS * THREADS * SLOT, ALL_RIGHTS |
		     IBV_ACCESS_ON_DEMAND);
	mr_inbox = reg(b.pd, inbox, QPS * DEPTH * RECV_LEN, ALL_RIGHTS);
	for (i = 0; i < QPS; i++) {
		a.qp = b.qp = NULL;
		reconnect(&a, &b, wr, &usual_conn);
		qa[i] = a.qp;
		qb[i] = b.qp;
	}
	a.qp = b.qp = NULL;
}

static void close_all(void)
{
	int i;

	for (i = 0; i < QPS; i++)
		must(!ibv_destroy_qp(qa[i]) && !ibv_destroy_qp(qb[i]));
	dereg(mr_src);
	dereg(mr_dst);
	dereg(mr_inbox);
	side_close(&a);
	side_close(&b);
	munmap(src, THREADS * SLOT);
	munmap(dst, QPS * THREADS * SLOT);
	munmap(inbox, QPS * DEPTH * RECV_LEN);
}

static int index_of(struct ibv_qp **qps, uint32_t qpn)
{
	int i;

	for (i = 0; i < QPS; i++)
		if (qps[i]->qp_num == qpn)
			return i;
	expect(false, "a completion of a queue pair that is none");
	return 0;
}

/* wr_id: who posted it, and the number of the post on that queue pair */
static uint64_t make_id(int thread, unsigned int number)
{
	return (uint64_t)thread << 32 | number;
}

static void post_inbox(int i, int slot)
{
	struct ibv_sge sge = sge_of(mr_inbox, inbox + (i * DEPTH + slot) *
				    RECV_LEN, RECV_LEN);

	while (try_recv(qb[i], slot, &sge, 1))
		sched_yield();
}

/* Write a value to our own place, or send it. */
static bool post_one(int thread, int i, unsigned int number)
{
	uint8_t *mine = src + thread * SLOT;
	uint64_t value = make_id(thread, number);
	bool send = !random_below(4);
	struct ibv_sge sge = sge_of(mr_src, mine, send ? 8 : RECV_LEN);
	struct ibv_send_wr wr = rdma_wr(send ? IBV_WR_SEND : IBV_WR_RDMA_WRITE,
					&sge, (uintptr_t)dst +
					(i * THREADS + thread) * SLOT,
					mr_dst->rkey);
	uint64_t end = now_ms() + 2 * SOON_MS;
	int ret;

	/* Inline: our buffer is ours again at once. */
	memcpy(mine, &value, 8);
	memset(mine + 8, number, RECV_LEN - 8);
	wr.wr_id = value;
	wr.send_flags |= IBV_SEND_INLINE;
	while ((ret = try_send(qa[i], &wr)) == ENOMEM && now_ms() < end)
		sched_yield();
	if (!send && !ret)
		last_value[i][thread] = value;
	return expect(!ret, "post_send: %s", strerror(ret));
}

static void *poster(void *arg)
{
	int thread = (uintptr_t)arg;
	unsigned int numbers[QPS] = {}, n;

	random_seed(100 + thread);
	for (n = 0; n < posts_per_thread; n++) {
		int i = random_below(QPS);

		if (!post_one(thread, i, ++numbers[i]))
			break;
		__atomic_add_fetch(&sent[i], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* One thread's requests on one queue pair complete in order. */
static void account_send(const struct ibv_wc *wc)
{
	int i = index_of(qa, wc->qp_num);
	unsigned int thread = wc->wr_id >> 32;

	expect_eq(wc->status, IBV_WC_SUCCESS, "send");
	if (!expect(thread < THREADS, "a completion of nobody's"))
		return;
	expect_eq((uint32_t)wc->wr_id, last_seen[i][thread] + 1, "order");
	last_seen[i][thread] = wc->wr_id;
	send_done[i]++;
}

static void account_receive(const struct ibv_wc *wc)
{
	int i = index_of(qb, wc->qp_num);

	expect_eq(wc->status, IBV_WC_SUCCESS, "receive");
	expect_eq(wc->byte_len, 8, "length");
	post_inbox(i, wc->wr_id);
	received[i]++;
}

/*
 * Several threads poll the same queues, each some at a time.  Polling and
 * accounting are one step here, so that the order can be told.
 */
static void *poller(void *arg)
{
	int batch = 1 + 5 * (uintptr_t)arg, n, i;
	struct ibv_wc wc[16];

	while (!stop) {
		pthread_mutex_lock(&order_lock);
		n = ibv_poll_cq(a.scq, batch, wc);
		expect(n >= 0, "poll_cq");
		for (i = 0; i < n; i++)
			account_send(&wc[i]);
		n = ibv_poll_cq(b.rcq, batch, wc);
		expect(n >= 0, "poll_cq");
		for (i = 0; i < n; i++)
			account_receive(&wc[i]);
		pthread_mutex_unlock(&order_lock);
		sched_yield();
	}
	return NULL;
}

static unsigned int sum(const unsigned int *counts)
{
	unsigned int total = 0;
	int i;

	for (i = 0; i < QPS; i++)
		total += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
	return total;
}

static void check_values(void)
{
	int i, thread;
	uint64_t value;

	for (i = 0; i < QPS; i++) {
		expect_eq(send_done[i], sent[i], "completions of one QP");
		for (thread = 0; thread < THREADS; thread++) {
			memcpy(&value, dst + (i * THREADS + thread) * SLOT, 8);
			expect_eq(value, last_value[i][thread],
				  "the last value written");
		}
	}
}

static void books(void)
{
	pthread_t posters[THREADS], pollers[POLLERS];
	uint64_t end;
	uintptr_t t;
	int i;

	posts_per_thread = length_of(1500, 50000);
	open_all(DEPTH);
	for (t = 0; t < QPS * DEPTH; t++)
		post_inbox(t / DEPTH, t % DEPTH);
	for (t = 0; t < POLLERS; t++)
		must(!pthread_create(&pollers[t], NULL, poller, (void *)t));
	for (t = 0; t < THREADS; t++)
		must(!pthread_create(&posters[t], NULL, poster, (void *)t));
	for (t = 0; t < THREADS; t++)
		pthread_join(posters[t], NULL);

	end = now_ms() + SOON_MS;
	while (sum(send_done) < sum(sent) && now_ms() < end)
		sleep_ms(1);
	stop = true;
	for (t = 0; t < POLLERS; t++)
		pthread_join(pollers[t], NULL);
	expect_eq(sum(sent), THREADS * posts_per_thread, "posts");
	expect(sum(received) > sum(sent) / 8, "few receives");
	check_values();
	for (i = 0; i < QPS; i++)
		expect_eq(qp_state(qa[i]), IBV_QPS_RTS, "state");
	close_all();
	point("eight threads on four queue pairs");
}

/* Polling by several threads at once: nothing twice, nothing lost */

static unsigned int polled[DEPTH * 64];

static void *poll_freely(void *arg)
{
	struct ibv_wc wc[7];
	int n, i;

	(void)arg;
	while (!stop) {
		n = ibv_poll_cq(a.scq, 1 + random_below(7), wc);
		for (i = 0; i < n; i++)
			__atomic_add_fetch(&polled[wc[i].wr_id], 1,
					   __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool all_polled(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(polled); i++)
		if (!__atomic_load_n(&polled[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

static void concurrent_polls(void)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED };
	pthread_t pollers[POLLERS];
	uintptr_t t;
	int i, n, wrong = 0;

	stop = false;
	open_all(DEPTH);
	for (t = 0; t < POLLERS; t++)
		must(!pthread_create(&pollers[t], NULL, poll_freely, NULL));
	for (n = 0; n < (int)ARRAY_SIZE(polled); n++) {
		wr.wr_id = n;
		while (try_send(qa[n % QPS], &wr))
			sched_yield();
	}
	/* The queue pairs' last ones may come in any order. */
	for (i = 0; i < SOON_MS / 5 && !all_polled(); i++)
		sleep_ms(5);
	sleep_ms(50);
	stop = true;
	for (t = 0; t < POLLERS; t++)
		pthread_join(pollers[t], NULL);
	for (n = 0; n < (int)ARRAY_SIZE(polled); n++)
		wrong += polled[n] != 1;
	expect_eq(wrong, 0, "completions lost or seen twice");
	close_all();
	point("threads that poll the same queue");
}

/* States changed while others post */

static void *post_always(void *arg)
{
	struct ibv_sge sge = sge_of(mr_src, src, RECV_LEN);
	int i = (uintptr_t)arg % QPS;
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)dst, mr_dst->rkey);
	struct ibv_wc wc[16];

	random_seed((uintptr_t)arg);
	while (!stop) {
		wr.send_flags = random_below(2) ? IBV_SEND_SIGNALED : 0;
		try_send(qa[i], &wr);
		try_recv(qb[i], 0, NULL, 0);
		ibv_poll_cq(a.scq, 16, wc);
		ibv_poll_cq(b.rcq, 16, wc);
	}
	return NULL;
}

static void cycle(int i)
{
	struct address at_a, at_b;

	a.qp = qa[i];
	b.qp = qb[i];
	must(!qp_to(a.qp, IBV_QPS_ERR));
	if (random_below(2))
		sleep_us(random_below(2000));
	must(!qp_to(a.qp, IBV_QPS_RESET));
	must(!qp_to(b.qp, IBV_QPS_RESET));
	at_a = side_address(&a);
	at_b = side_address(&b);
	side_connect(&a, &at_b, &usual_conn);
	side_connect(&b, &at_a, &usual_conn);
	a.qp = b.qp = NULL;
}

/* After all that a queue pair is as good as new. */
static void expect_works(int i)
{
	struct ibv_sge sge = sge_of(mr_src, src, RECV_LEN);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)dst, mr_dst->rkey);
	struct ibv_wc wc;

	cycle(i);
	while (ibv_poll_cq(a.scq, 1, &wc) == 1)
		;
	wr.wr_id = 4711;
	memset(src, 0x40 + i, RECV_LEN);
	post_send(qa[i], &wr);
	expect_wc(a.scq, 4711, IBV_WC_SUCCESS);
	expect_same(dst, src, RECV_LEN, "what was written");
}

static void states_changed(void)
{
	uint64_t end;
	pthread_t threads[THREADS];
	unsigned int cycles = 0;
	uintptr_t t;
	int i;

	stop = false;
	open_all(DEPTH);
	for (t = 0; t < THREADS; t++)
		must(!pthread_create(&threads[t], NULL, post_always,
				     (void *)t));
	end = now_ms() + length_of(2000, 30000);
	while (now_ms() < end) {
		cycle(cycles++ % QPS);
		sleep_us(random_below(3000));
	}
	stop = true;
	for (t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	for (i = 0; i < QPS; i++)
		expect_works(i);
	while (wait_event(a.ctx, NULL, 0) >= 0)
		;
	close_all();
	point("states changed while others post");
}

/* Objects made and destroyed, and the context closed, while doorbells ring */

static int door = -1;
static volatile uint32_t qpns[QPS];
static volatile unsigned int rings;

static void *ring(void *arg)
{
	(void)arg;
	while (!stop) {
		int ret = ioctl(door, random_below(2) ? TIDE_DOORBELL_SEND :
				TIDE_DOORBELL_RECV, qpns[random_below(QPS)]);

		if (ret && errno != EINVAL && errno != EIO)
			expect(false, "a doorbell: %s", strerror(errno));
		rings++;
	}
	return NULL;
}

/* The doorbell of the context opened last. */
static int find_door(void)
{
	char path[64], link[64];
	int fd, found = -1;

	for (fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		if (strstr(link, "[tide]"))
			found = fd;
	}
	return found;
}

static void destroyed_in_use(void)
{
	uint64_t end = now_ms() + SOON_MS;
	pthread_t threads[2];
	int round, i, first;

	stop = false;
	for (round = 0; round < length_of(10, 200) ||
	     (rings <= 1000 && now_ms() < end); round++) {
		side_open(&a, 64);
		/* The number stays a doorbell's, or nobody's. */
		first = fcntl(find_door(), F_DUPFD_CLOEXEC, 200);
		must(first >= 0);
		if (door >= 0) {
			must(dup3(first, door, O_CLOEXEC) == door);
			close(first);
		} else {
			door = first;
			for (i = 0; i < 2; i++)
				must(!pthread_create(&threads[i], NULL, ring,
						     NULL));
		}
		for (i = 0; i < 3 * QPS; i++) {
			side_drop_qp(&a);
			side_make_qp(&a, 8);
			qpns[i % QPS] = a.qp->qp_num;
			must(!qp_to_init(a.qp, ALL_RIGHTS));
			if (i & 1)
				must(!qp_to(a.qp, IBV_QPS_ERR));
		}
		side_close(&a);
		sleep_ms(2);
	}
	stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	errno = 0;
	expect(ioctl(door, TIDE_DOORBELL_SEND, qpns[0]) && errno == EIO,
	       "a doorbell of a closed context: %s", strerror(errno));
	expect(rings > 1000, "it rang only %u times", rings);
	close(door);
	point("contexts closed while their doorbells ring");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	books();
	concurrent_polls();
	states_changed();
	destroyed_in_use();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
