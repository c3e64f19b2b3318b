// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * A process that does everything to its rings, its doorbell and its command
 * file that a process can do; and two others whose traffic must not notice.
 *
 *	attacker: rings scribbled over, doorbells rung, objects churned,
 *		  ioctls and mmaps at random, forks
 *	victim ◀── verified writes, reads and sends ──▶ its owner
 */
#include "unreliable.h"

#include "../../kernel/uapi/tide-abi.h"

#include <sys/ioctl.h>

#define REGION		(256 * KIB)
#define MAX_RINGS	64
#define PAIRS		4		/* of the attacker's queue pairs */
#define SHARED		1		/* the one whose receives are shared */
#define DEPTH		64

/* What the victim tells of itself: an attacker may well guess it. */
struct prey {
	uint32_t qpn[2];
	uint64_t addr[KINDS];
	uint32_t key[KINDS];
};

static struct prey prey;
static struct child victim_child;

/* The victim */

static struct owner owner;
static long victim_mr[KINDS];

static void victim_open(void)
{
	enum kind kind;

	owner_open(&owner, false);
	for (kind = 0; kind < KINDS; kind++) {
		prey.addr[kind] = ask(&owner, own_map, 0, REGION, PROT_READ |
				      PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				      -1, 0);
		victim_mr[kind] = ask(&owner, own_reg, prey.addr[kind], REGION,
				      ALL_RIGHTS | kind_access(kind));
		prey.key[kind] = ask(&owner, own_rkey, victim_mr[kind]);
	}
	prey.qpn[0] = me.qp->qp_num;
	prey.qpn[1] = me.qp->qp_num + 1;
}

static bool victim_send(enum kind kind, uint64_t at, size_t len, uint64_t seed)
{
	ask(&owner, own_recv, prey.addr[kind] + at, len, victim_mr[kind]);
	return expect_access(IBV_WC_SUCCESS, IBV_WR_SEND, kind, 0, 0, len) &&
	       expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS,
			 "the victim's receive") &&
	       expect_eq(ask(&owner, own_check, prey.addr[kind] + at, len,
			     seed), (long)len, "what the victim received");
}

/* Write, or send, and read back. */
static bool victim_round(void)
{
	size_t len = 1 + random_below(random_below(4) ? 3000 : REGION - 1);
	uint64_t at = random_below(REGION - len + 1);
	uint64_t seed = random_u64() >> 1;
	enum kind kind = random_below(KINDS);

	pattern_fill(buf[kind], len, seed);
	if (random_below(2)) {
		if (!victim_send(kind, at, len, seed))
			return false;
	} else if (!expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
				  prey.addr[kind] + at, prey.key[kind], len)) {
		return false;
	}
	memset(buf[kind], 0, len);
	return expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind,
			     prey.addr[kind] + at, prey.key[kind], len) &&
	       expect_eq(pattern_check(buf[kind], len, seed), len,
			 "what the victim reads back");
}

static void victim_close(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++)
		ask(&owner, own_dereg, victim_mr[kind]);
	owner_close(&owner);
}

/* The victim goes on until it is told to end. */
static void victim(int fd, void *arg)
{
	uint64_t progress = 0;

	(void)arg;
	victim_open();
	say(fd, &prey, sizeof(prey));
	while (victim_round()) {
		progress++;
		if (!wait_readable(fd, 0))
			continue;
		hear_byte(fd);
		say(fd, &progress, sizeof(progress));
		if (!try_hear(fd, &progress, 1, 3 * SOON_MS))
			break;
	}
	victim_close();
}

/* How many rounds the victim has done; it has to have got on. */
static uint64_t victim_progress(void)
{
	uint64_t progress = 0;

	say_byte(victim_child.fd);
	expect(try_hear(victim_child.fd, &progress, sizeof(progress),
			SOON_MS), "the victim is stuck, or has failed");
	try_say(victim_child.fd, "", 1);
	return progress;
}

/* The attacker's queue pairs and rings */

struct ring_map {
	uint8_t *at;
	size_t size;
};

static struct side sides[2];
static const enum ibv_qp_type type[PAIRS] = {
	IBV_QPT_RC, IBV_QPT_RC, IBV_QPT_UC, IBV_QPT_UD,
};
static struct ibv_qp *qps[PAIRS][2];
static struct ibv_ah *ah;		/* of side 0 */
static struct ibv_srq *srq;		/* on side 1 */
static volatile uint32_t srqn;
static uint8_t *memory;
static struct ibv_mr *mr[KINDS];
static struct ring_map rings[MAX_RINGS];
static unsigned int num_rings;
static int doors[2];
static unsigned int num_doors;
static pthread_mutex_t rings_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile bool stop;
static volatile uint64_t longest_call_ms;
static volatile uint64_t calls, scribbles;
static unsigned int connects, failures;

static void find_rings(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[256];

	must(file);
	num_rings = 0;
	while (fgets(line, sizeof(line), file) && num_rings < MAX_RINGS) {
		if (!strstr(line, "/dev/infiniband/uverbs") ||
		    sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		rings[num_rings++] = (struct ring_map) { (uint8_t *)start,
							 end - start };
	}
	fclose(file);
}

static void find_doors(void)
{
	char path[64], link[64];
	int fd;

	num_doors = 0;
	for (fd = 0; fd < 256 && num_doors < ARRAY_SIZE(doors); fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		if (strstr(link, "[tide]"))
			doors[num_doors++] = fd;
	}
}

static int make_ready(int i, int n, const struct address *peer)
{
	struct ibv_qp *qp = qps[i][n];

	if (type[i] == IBV_QPT_UD)
		return ud_to_init(qp, QKEY) ?: ud_to_rts(qp);
	if (type[i] == IBV_QPT_UC)
		return qp_to_init(qp, ALL_RIGHTS) ?:
		       uc_to_rtr(qp, sides[n].gid_index, peer, 0) ?:
		       unreliable_to_rts(qp);
	return qp_to_init(qp, ALL_RIGHTS) ?:
	       qp_to_rtr(qp, sides[n].gid_index, peer, &usual_conn) ?:
	       qp_to_rts(qp, &usual_conn);
}

/* Connect a pair; it may fail, for what is in the rings counts at once. */
static void connect_pair(int i)
{
	struct address peer;
	int n;

	for (n = 0; n < 2; n++) {
		peer = (struct address) { qps[i][!n]->qp_num, sides[n].gid };
		if (make_ready(i, n, &peer))
			failures++;
		else
			connects++;
	}
}

static void make_srq(void)
{
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = DEPTH, .max_sge = SGE_MAX },
	};
	uint32_t number;

	srq = ibv_create_srq(sides[1].pd, &init);
	must(srq);
	must(!ibv_get_srq_num(srq, &number));
	srqn = number;
}

static void make_pair(int i)
{
	struct ibv_qp_init_attr init;
	int n;

	if (i == SHARED)
		make_srq();
	for (n = 0; n < 2; n++) {
		init = qp_init(&sides[n], DEPTH);
		init.qp_type = type[i];
		init.srq = i == SHARED && n == 1 ? srq : NULL;
		qps[i][n] = ibv_create_qp(sides[n].pd, &init);
		must(qps[i][n]);
	}
	connect_pair(i);
}

static void drop_pair(int i)
{
	int n;

	for (n = 0; n < 2; n++)
		must(!ibv_destroy_qp(qps[i][n]));
	if (i == SHARED)
		must(!ibv_destroy_srq(srq));
}

static void attacker_open(void)
{
	int i;

	memory = map_memory(REGION);
	for (i = 0; i < 2; i++)
		side_open(&sides[i], 256);
	for (i = 0; i < (int)KINDS; i++)
		mr[i] = reg(sides[i].pd, memory, REGION,
			    ALL_RIGHTS | kind_access(i));
	ah = ah_to(&sides[0], &sides[1].gid, sides[0].gid_index);
	for (i = 0; i < PAIRS; i++)
		make_pair(i);
	find_rings();
	find_doors();
	expect_eq(num_doors, 2, "doorbells");
	expect_eq(num_rings, 4 + 4 * PAIRS, "rings");
}

static void attacker_close(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		drop_pair(i);
	ah_drop(ah);
	for (i = 0; i < 2; i++) {
		dereg(mr[i]);
		side_close(&sides[i]);
	}
}

static uint32_t any_word(uint32_t now)
{
	switch (random_below(6)) {
	case 0: return 0;
	case 1: return UINT32_MAX - random_below(3);
	case 2: return random_u64();
	case 3: return now + DEPTH;
	default: return now + random_below(9) - 4;
	}
}

static uint32_t any_key(void)
{
	switch (random_below(4)) {
	case 0: return prey.key[random_below(KINDS)];
	case 1: return random_u64();
	default: return mr[random_below(KINDS)]->rkey;
	}
}

static uint64_t any_addr(void)
{
	switch (random_below(4)) {
	case 0: return prey.addr[random_below(KINDS)] + random_below(REGION);
	case 1: return random_u64();
	default: return (uintptr_t)memory + random_below(REGION);
	}
}

static uint32_t any_length(void)
{
	switch (random_below(4)) {
	case 0: return 0;
	case 1: return random_u64();
	default: return random_below(10000);
	}
}

static void scribble_head(struct ring_map *ring)
{
	volatile uint32_t *word =
		(uint32_t *)(ring->at + 64 * random_below(4));

	*word = any_word(*word);
}

static void scribble_bytes(struct ring_map *ring)
{
	size_t len = 1 + random_below(100);

	random_fill(ring->at + random_below(ring->size - len), len);
}

/* An entry that looks like one, in a ring that may be another kind of ring. */
static void scribble_entry(struct ring_map *ring)
{
	static const size_t strides[] = { 576, 528 };
	size_t stride = strides[random_below(2)];
	size_t room = (ring->size - TIDE_RING_ENTRIES) / stride;
	uint8_t *at;
	struct tide_send_wqe *wqe;
	struct tide_sge *sge;
	int i;

	if (!room)
		return;
	at = ring->at + TIDE_RING_ENTRIES + random_below(room) * stride;
	wqe = (struct tide_send_wqe *)at;
	wqe->opcode = random_below(14);
	wqe->flags = random_below(2) ? TIDE_SEND_SIGNALED : random_u64();
	wqe->num_sge = random_below(8) ? random_below(5) : random_u64();
	wqe->inline_length = random_below(8) ? random_below(600) :
					       random_u64();
	wqe->rdma.remote_addr = any_addr();
	wqe->rdma.rkey = any_key();
	sge = (struct tide_sge *)(wqe + 1);
	for (i = 0; i < 4; i++)
		sge[i] = (struct tide_sge) { any_addr(), any_length(),
					     any_key() };
}

static void *scribbler(void *arg)
{
	(void)arg;
	random_seed(3);
	while (!stop) {
		int i;

		pthread_mutex_lock(&rings_lock);
		for (i = 0; i < 20 && num_rings; i++) {
			struct ring_map *ring =
				&rings[random_below(num_rings)];

			switch (random_below(4)) {
			case 0: scribble_bytes(ring); break;
			case 1: scribble_entry(ring); break;
			default: scribble_head(ring); break;
			}
			scribbles++;
		}
		pthread_mutex_unlock(&rings_lock);
		if (!random_below(50))
			sched_yield();
	}
	return NULL;
}

static int ring_door(int door, unsigned long which, unsigned long qpn)
{
	uint64_t start = now_ms();
	int ret = ioctl(door, which, qpn);

	start = now_ms() - start;
	if (start > longest_call_ms)
		longest_call_ms = start;
	calls++;
	return ret;
}

static void *ringer(void *arg)
{
	(void)arg;
	random_seed(4);
	while (!stop) {
		struct ibv_qp *qp = qps[random_below(PAIRS)][random_below(2)];
		int door = doors[random_below(num_doors)];

		switch (random_below(8)) {
		case 0: ring_door(door, TIDE_DOORBELL_SRQ, srqn); break;
		case 1: ring_door(door, TIDE_SRQ_SWITCH, srqn); break;
		case 2: ring_door(door, TIDE_DOORBELL_RECV, qp->qp_num); break;
		default: ring_door(door, TIDE_DOORBELL_SEND, qp->qp_num);
		}
	}
	return NULL;
}

/* Out of whatever state it got into, and back to work. */
static void revive(int i)
{
	int n;

	for (n = 0; n < 2; n++)
		must(!qp_to(qps[i][n], IBV_QPS_RESET));
	connect_pair(i);
}

static void remake(int i)
{
	pthread_mutex_lock(&rings_lock);
	drop_pair(i);
	make_pair(i);
	find_rings();
	pthread_mutex_unlock(&rings_lock);
}

/* To a ring that may be the kernel's already, or not, when this ends. */
static void resize(void)
{
	struct ibv_srq_attr attr = { .max_wr = DEPTH << random_below(5) };
	struct ibv_modify_cq_attr moderation = {
		.attr_mask = IBV_CQ_ATTR_MODERATE,
		.moderate = { random_below(8), random_below(1000) },
	};
	struct ibv_cq *cq = sides[random_below(2)].rcq;

	pthread_mutex_lock(&rings_lock);
	ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR);
	ibv_modify_cq(cq, &moderation);
	ibv_resize_cq(cq, DEPTH << random_below(5));
	find_rings();
	pthread_mutex_unlock(&rings_lock);
}

static void drain_events(void)
{
	int i;

	for (i = 0; i < 2; i++)
		while (wait_event(sides[i].ctx, NULL, 0) >= 0)
			;
}

/* The attacker's own use of its queue pairs; it may fail or not. */
static void use(int i)
{
	struct ibv_sge sge = sge_of(mr[0], memory, any_length() % REGION);
	struct ibv_send_wr wr = rdma_wr(random_below(5), &sge, any_addr(),
					any_key());
	struct ibv_wc wc[8];
	int n;

	if (type[i] == IBV_QPT_UD) {
		wr.wr.ud.ah = ah;
		wr.wr.ud.remote_qpn = qps[i][1]->qp_num;
		wr.wr.ud.remote_qkey = QKEY;
	}
	for (n = 0; n < 8; n++)
		try_send(qps[i][0], &wr);
	sge.lkey = mr[1]->lkey;
	for (n = 0; n < 8; n++)
		i == SHARED ? try_srq_recv(srq, n, &sge, 1) :
			      try_recv(qps[i][1], n, &sge, 1);
	for (n = 0; n < 2; n++) {
		ibv_poll_cq(sides[n].scq, 8, wc);
		ibv_poll_cq(sides[n].rcq, 8, wc);
		ibv_req_notify_cq(sides[n].scq, 0);
	}
}

static bool much_was_done(void)
{
	return calls > 100 && scribbles > 1000 && connects > failures;
}

static void attack_rings(int fd, void *arg)
{
	uint64_t end = now_ms() + length_of(4000, 60000);
	pthread_t threads[2];

	(void)arg;
	attacker_open();
	must(!pthread_create(&threads[0], NULL, scribbler, NULL));
	must(!pthread_create(&threads[1], NULL, ringer, NULL));
	while (now_ms() < end ||
	       (!much_was_done() && now_ms() < end + SOON_MS)) {
		int i = random_below(PAIRS);

		use(i);
		sleep_us(random_below(3000));
		if (random_below(2))
			revive(i);
		if (!random_below(8))
			remake(i);
		if (!random_below(8))
			resize();
		drain_events();
	}
	stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	expect(much_was_done(), "little was done: %u connected, %u not",
	       connects, failures);
	expect(longest_call_ms < SOON_MS, "a doorbell took %llu ms",
	       (unsigned long long)longest_call_ms);
	attacker_close();
	say_byte(fd);
}

/*
 * A ring that always has more: while the kernel empties it, somebody fills
 * it.  The kernel has to stop some time, again and again.
 */
static volatile unsigned int rung[2];

static void *treadmill(void *arg)
{
	unsigned int i;

	(void)arg;
	while (!stop) {
		for (i = 0; i < num_rings; i++) {
			struct tide_ring_head *head = (void *)rings[i].at;

			/* Full rings of work, empty ones of completions. */
			if (i & 1)
				head->producer = head->consumer + DEPTH;
			else
				head->consumer = head->producer;
		}
	}
	return NULL;
}

static void *treadmill_ringer(void *arg)
{
	int i = (uintptr_t)arg & 1;
	unsigned long which = (uintptr_t)arg & 2 ? TIDE_DOORBELL_RECV :
						   TIDE_DOORBELL_SEND;

	while (!stop) {
		ring_door(doors[i], which, qps[0][i]->qp_num);
		rung[i]++;
	}
	return NULL;
}

/* Sort rings: work at odd places, completions at even ones. */
static void sort_rings(void)
{
	struct ring_map work[MAX_RINGS], done[MAX_RINGS];
	unsigned int num_work = 0, num_done = 0, i;

	for (i = 0; i < num_rings; i++) {
		if (rings[i].size == 256 * sizeof(struct tide_cqe) + PAGE)
			done[num_done++] = rings[i];
		else
			work[num_work++] = rings[i];
	}
	must(num_work && num_done);
	for (i = 0; i < MAX_RINGS; i++)
		rings[i] = i & 1 ? work[i / 2 % num_work] :
				   done[i / 2 % num_done];
	num_rings = MAX_RINGS;
}

static void attack_treadmill(int fd, void *arg)
{
	uint64_t end = now_ms() + length_of(3000, 20000);
	pthread_t threads[3];
	uintptr_t i;

	(void)arg;
	attacker_open();
	sort_rings();
	must(!qp_to(qps[0][0], IBV_QPS_ERR));
	must(!qp_to(qps[0][1], IBV_QPS_ERR));
	must(!pthread_create(&threads[0], NULL, treadmill, NULL));
	for (i = 0; i < 2; i++)
		must(!pthread_create(&threads[1 + i], NULL, treadmill_ringer,
				     (void *)(i * 3)));
	while (now_ms() < end || ((rung[0] < 100 || rung[1] < 100) &&
				  now_ms() < end + SOON_MS))
		sleep_ms(10);
	expect(rung[0] >= 100 && rung[1] >= 100,
	       "only %u and %u doorbells have returned", rung[0], rung[1]);
	stop = true;
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	attacker_close();
	say_byte(fd);
}

/* Entries that are wrong in one thing, put into the rings by hand */

#define SEND_STRIDE	(sizeof(struct tide_send_wqe) + INLINE_CAP)
#define RECV_STRIDE	(sizeof(struct tide_recv_wqe) + \
			 SGE_MAX * sizeof(struct tide_sge))

static void post_a_send(void)
{
	post_send(qps[0][0], &(struct ibv_send_wr){
		.opcode = IBV_WR_RDMA_WRITE });
}

static void post_a_recv(void)
{
	post_recv(qps[0][1], 0, NULL, 0);
}

static void post_a_shared_recv(void)
{
	must(!try_srq_recv(srq, 0, NULL, 0));
}

/*
 * Which ring for work of this size is that of a queue: the one whose producer
 * moves when something is posted there.
 */
static struct tide_ring_head *which_ring(size_t stride, void (*post)(void))
{
	size_t size = TIDE_RING_ENTRIES + DEPTH * stride;
	struct tide_ring_head *head;
	uint32_t before[MAX_RINGS];
	unsigned int i;

	size = (size + PAGE - 1) & ~(PAGE - 1);
	for (i = 0; i < num_rings; i++) {
		head = (void *)rings[i].at;
		before[i] = head->producer;
	}
	post();
	for (i = 0; i < num_rings; i++) {
		head = (void *)rings[i].at;
		if (rings[i].size == size && head->producer != before[i])
			return head;
	}
	bail("there is no such ring");
}

static void *entry_at(struct tide_ring_head *ring, size_t stride)
{
	return (char *)ring + TIDE_RING_ENTRIES +
	       ring->producer % DEPTH * stride;
}

/* A write of 10 bytes that would be good. */
static struct tide_send_wqe *make_entry(struct tide_ring_head *ring)
{
	struct tide_send_wqe *wqe = entry_at(ring, SEND_STRIDE);
	struct tide_sge *sge = (void *)(wqe + 1);

	memset(wqe, 0, SEND_STRIDE);
	wqe->wr_id = 5;
	wqe->opcode = IBV_WR_RDMA_WRITE;
	wqe->num_sge = 1;
	wqe->rdma.remote_addr = (uintptr_t)memory + 1000;
	wqe->rdma.rkey = mr[1]->rkey;
	*sge = (struct tide_sge) { (uintptr_t)memory, 10, mr[0]->lkey };
	return wqe;
}

static void bad_opcode(struct tide_send_wqe *wqe)
{
	wqe->opcode = 99;
}

static void bad_num_sge(struct tide_send_wqe *wqe)
{
	wqe->num_sge = SGE_MAX + 1;
}

static void bad_inline_length(struct tide_send_wqe *wqe)
{
	wqe->flags = TIDE_SEND_INLINE;
	wqe->inline_length = INLINE_CAP + 1;
}

static void bad_inline_read(struct tide_send_wqe *wqe)
{
	wqe->opcode = IBV_WR_RDMA_READ;
	wqe->flags = TIDE_SEND_INLINE;
	wqe->inline_length = 8;
}

static const struct {
	const char *name;
	void (*spoil)(struct tide_send_wqe *wqe);
} spoilt[] = {
	{ "an unknown opcode", bad_opcode },
	{ "too many elements", bad_num_sge },
	{ "too much inline data", bad_inline_length },
	{ "an inline read", bad_inline_read },
};

/* A pair, good as new, and with nothing to be heard of it. */
static void refresh(int i)
{
	struct ibv_wc wc;
	int n;

	revive(i);
	for (n = 0; n < 2; n++) {
		while (ibv_poll_cq(sides[n].scq, 1, &wc) == 1)
			;
		while (ibv_poll_cq(sides[n].rcq, 1, &wc) == 1)
			;
	}
	drain_events();
}

static void ring_send(void)
{
	expect_eq(ring_door(doors[0], TIDE_DOORBELL_SEND, qps[0][0]->qp_num),
		  0, "doorbell");
}

static void bad_sends(struct tide_ring_head *sq)
{
	struct tide_send_wqe *wqe;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(spoilt); i++) {
		refresh(0);
		make_entry(sq);
		sq->producer++;
		wqe = make_entry(sq);
		wqe->wr_id = 6;
		spoilt[i].spoil(wqe);
		sq->producer++;
		make_entry(sq)->wr_id = 7;
		sq->producer++;
		ring_send();
		/* The good one is not signalled. */
		expect_wc(sides[0].scq, 6, IBV_WC_LOC_QP_OP_ERR);
		expect_wc(sides[0].scq, 7, IBV_WC_WR_FLUSH_ERR);
		expect_eq(qp_state(qps[0][0]), IBV_QPS_ERR, "%s",
			  spoilt[i].name);
		expect_eq(qp_state(qps[0][1]), IBV_QPS_RTS, "%s: the peer",
			  spoilt[i].name);
	}
}

static void bad_producer(struct tide_ring_head *sq)
{
	void *element = NULL;

	refresh(0);
	make_entry(sq);
	sq->producer = DEPTH + 1;
	ring_send();
	expect_eq(wait_event(sides[0].ctx, &element, SOON_MS),
		  IBV_EVENT_QP_FATAL, "more entries than there are");
	expect(element == qps[0][0], "the event is another QP's");
	expect_eq(qp_state(qps[0][0]), IBV_QPS_ERR, "state");
	expect(is_quiet(sides[0].scq, 20), "something completed");
}

/* A message meets a receive queue with something wrong. */
static void send_to(int i)
{
	struct ibv_sge sge = sge_of(mr[0], memory, 10);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

	post_send(qps[i][0], &wr);
	expect_wc(sides[0].scq, 0, IBV_WC_REM_OP_ERR);
	expect_eq(qp_state(qps[i][1]), IBV_QPS_ERR, "the responder's state");
}

static void bad_receives(struct tide_ring_head *rq)
{
	struct tide_recv_wqe *wqe;

	refresh(0);
	wqe = entry_at(rq, RECV_STRIDE);
	wqe->wr_id = 8;
	wqe->num_sge = SGE_MAX + 1;
	rq->producer++;
	send_to(0);
	expect_wc(sides[1].rcq, 8, IBV_WC_LOC_QP_OP_ERR);

	refresh(0);
	rq->producer = DEPTH + 1;
	send_to(0);
	expect_eq(wait_event(sides[1].ctx, NULL, SOON_MS), IBV_EVENT_QP_FATAL,
		  "more receives than there are");
}

static void expect_events(const int *types)
{
	for (; *types >= 0; types++)
		expect_eq(wait_event(sides[1].ctx, NULL, SOON_MS), *types,
			  "event");
	expect_eq(wait_event(sides[1].ctx, NULL, 20), -1, "event");
}

/* One is posted. */
static void bad_shared_receives(struct tide_ring_head *ring)
{
	static const int bad_entry[] = { IBV_EVENT_QP_LAST_WQE_REACHED, -1 };
	static const int bad_queue[] = {
		IBV_EVENT_SRQ_ERR, IBV_EVENT_QP_FATAL,
		IBV_EVENT_QP_LAST_WQE_REACHED, -1,
	};
	struct tide_recv_wqe *wqe = (void *)((char *)ring + TIDE_RING_ENTRIES);

	/* A slot that there is not stands for one that there is. */
	refresh(SHARED);
	wqe->slot = 1000 * DEPTH + 5;
	wqe = (void *)((char *)wqe + 5 * RECV_STRIDE);
	wqe->wr_id = 8;
	wqe->num_sge = SGE_MAX + 1;
	send_to(SHARED);
	expect_wc(sides[1].rcq, 8, IBV_WC_LOC_QP_OP_ERR);
	expect_events(bad_entry);

	/* That is the end of it, but it is said once. */
	refresh(SHARED);
	ring->producer = ring->consumer + DEPTH + 1;
	send_to(SHARED);
	expect_events(bad_queue);
	refresh(SHARED);
	ring->producer = ring->consumer;
	send_to(SHARED);
	expect_events(bad_queue + 1);
}

static void attack_entries(int fd, void *arg)
{
	struct tide_ring_head *sq, *rq, *shared;

	(void)arg;
	attacker_open();
	sq = which_ring(SEND_STRIDE, post_a_send);
	rq = which_ring(RECV_STRIDE, post_a_recv);
	shared = which_ring(RECV_STRIDE, post_a_shared_recv);
	bad_sends(sq);
	bad_producer(sq);
	bad_receives(rq);
	bad_shared_receives(shared);
	attacker_close();
	say_byte(fd);
}

/* The doorbell's descriptor, used in all other ways */

static void expect_no_door(int door, unsigned long cmd, unsigned long arg)
{
	int ret;

	errno = 0;
	ret = ioctl(door, cmd, arg);
	expect(ret == -1 && (errno == EINVAL || errno == ENOTTY),
	       "ioctl %#lx of %#lx returned %d, %s", cmd, arg, ret,
	       strerror(errno));
}

static void foreign_queue_pairs(int door)
{
	int i;

	for (i = 0; i < 2; i++) {
		expect_no_door(door, TIDE_DOORBELL_SEND, prey.qpn[i]);
		expect_no_door(door, TIDE_DOORBELL_RECV, prey.qpn[i]);
	}
	expect_no_door(door, TIDE_DOORBELL_SEND, 0);
	expect_no_door(door, TIDE_DOORBELL_SEND, 0xffffff);
	expect_no_door(door, TIDE_DOORBELL_SEND, UINT32_MAX);
	expect_no_door(door, TIDE_DOORBELL_SEND,
		       qps[0][0]->qp_num + (1UL << 32));
	expect_no_door(door, TIDE_DOORBELL_SEND, UINT64_MAX);
}

static void foreign_srqs(int door)
{
	expect_no_door(door, TIDE_DOORBELL_SRQ, 0);
	expect_no_door(door, TIDE_DOORBELL_SRQ, 0xffffff);
	expect_no_door(door, TIDE_DOORBELL_SRQ, srqn + (1UL << 32));
	/* Nobody has offered a ring. */
	expect_no_door(door, TIDE_SRQ_SWITCH, srqn);
	expect_no_door(door, TIDE_SRQ_SWITCH, 0);
}

static void random_ioctls(int door)
{
	int i;

	for (i = 0; i < 3000; i++) {
		unsigned long cmd = random_below(2) ?
				    _IO(0xb5, random_below(256)) :
				    (uint32_t)random_u64();

		/* These are any file's: FIOCLEX, FIONBIO and so on. */
		if (cmd == TIDE_DOORBELL_SEND || cmd == TIDE_DOORBELL_RECV ||
		    cmd == TIDE_DOORBELL_SRQ ||
		    (cmd >> 8 & 0xff) == 'T' || (cmd >> 8 & 0xff) == 'f')
			continue;
		expect_no_door(door, cmd, random_below(2) ? random_u64() :
			       qps[0][0]->qp_num);
	}
}

static void other_calls(int door)
{
	char byte = 0;

	expect(read(door, &byte, 1) < 0, "a doorbell can be read");
	expect(write(door, &byte, 1) < 0, "a doorbell can be written");
	expect(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, door, 0) == MAP_FAILED,
	       "a doorbell can be mapped");
	expect(fcntl(door, F_GETFD) & FD_CLOEXEC,
	       "a doorbell stays open over exec");
}

static void attack_door(int fd, void *arg)
{
	int i, own;

	(void)arg;
	attacker_open();
	foreign_queue_pairs(doors[0]);
	foreign_queue_pairs(doors[1]);
	foreign_srqs(doors[0]);
	foreign_srqs(doors[1]);
	random_ioctls(doors[0]);
	other_calls(doors[0]);
	/* Each context has a door of its own. */
	for (i = 0; i < 2; i++) {
		own = !ioctl(doors[i], TIDE_DOORBELL_SEND, qps[0][0]->qp_num);
		expect(own != !ioctl(doors[i], TIDE_DOORBELL_SEND,
				     qps[0][1]->qp_num),
		       "a doorbell rings for two contexts");
	}
	expect(!ioctl(doors[0], TIDE_DOORBELL_SRQ, srqn) !=
	       !ioctl(doors[1], TIDE_DOORBELL_SRQ, srqn),
	       "a shared queue has two doorbells, or none");
	attacker_close();
	say_byte(fd);
}

/* The command file's mappings */

static void map_at_random(int fd)
{
	int i;

	for (i = 0; i < 3000; i++) {
		size_t size = PAGE * (1 + random_below(20));
		int flags = random_below(4) ? MAP_SHARED : MAP_PRIVATE;
		void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd,
				PAGE * random_below(random_below(2) ? 64 :
						    1UL << 40));

		if (at == MAP_FAILED)
			continue;
		expect(flags == MAP_SHARED, "a private mapping of a ring");
		random_fill(at, size);
		must(!munmap(at, size));
	}
}

/* Rings half unmapped, made larger, moved, given other rights. */
static void maim_rings(void)
{
	unsigned int i;

	for (i = 0; i < num_rings; i++) {
		struct ring_map *ring = &rings[i];

		expect(mremap(ring->at, ring->size, 2 * ring->size,
			      MREMAP_MAYMOVE) == MAP_FAILED,
		       "a ring has grown");
		mprotect(ring->at, ring->size, PROT_READ);
		mprotect(ring->at, ring->size, PROT_READ | PROT_WRITE);
		madvise(ring->at, ring->size, MADV_DONTNEED);
		if (ring->size > PAGE)
			munmap(ring->at + ring->size - PAGE, PAGE);
	}
}

static void attack_mmap(int fd, void *arg)
{
	int i, n;

	(void)arg;
	attacker_open();
	map_at_random(sides[0].ctx->cmd_fd);
	maim_rings();
	for (i = 0; i < PAIRS; i++)
		for (n = 0; n < 2; n++)
			ring_door(doors[n], TIDE_DOORBELL_SEND,
				  qps[i][n]->qp_num);
	/* The provider does not survive this; the kernel has to. */
	say_byte(fd);
	_exit(0);
}

/* Rings as the memory that requests read and write, those rings' own too */

static void write_ring(struct ring_map *ring, uint32_t rkey)
{
	size_t len = 1 + random_below(200);
	uint64_t at = random_below(2) ? random_below(TIDE_RING_ENTRIES) :
					random_below(ring->size - len);
	struct ibv_sge sge = sge_of(mr[0], memory, len);
	struct ibv_send_wr wr = rdma_wr(random_below(2) ? IBV_WR_RDMA_WRITE :
					IBV_WR_RDMA_READ, &sge,
					(uintptr_t)ring->at + at, rkey);

	random_fill(memory, 256);
	if (!random_below(4))
		memset(memory, 0, 256);
	if (try_send(qps[1][0], &wr) ||
	    qp_state(qps[1][0]) != IBV_QPS_RTS ||
	    qp_state(qps[1][1]) != IBV_QPS_RTS) {
		revive(0);
		revive(1);
	}
}

static void attack_self(int fd, void *arg)
{
	struct ibv_mr *ring_mr[MAX_RINGS];
	unsigned int i, n;

	(void)arg;
	attacker_open();
	for (i = 0; i < num_rings; i++)
		ring_mr[i] = ibv_reg_mr(sides[1].pd, rings[i].at,
					rings[i].size, ALL_RIGHTS |
					IBV_ACCESS_ON_DEMAND);
	for (n = 0; n < (unsigned int)length_of(2000, 50000); n++) {
		i = random_below(num_rings);
		if (ring_mr[i])
			write_ring(&rings[i], ring_mr[i]->rkey);
		if (!(n & 63))
			drain_events();
	}
	expect(connects > failures, "little was done");
	for (i = 0; i < num_rings; i++)
		if (ring_mr[i])
			dereg(ring_mr[i]);
	attacker_close();
	say_byte(fd);
}

/* Children that inherit everything */

static void inherit(bool outlive, pid_t parent)
{
	uint64_t end;

	while (outlive && getppid() == parent)
		sleep_ms(1);
	end = now_ms() + 200;
	while (now_ms() < end) {
		struct ibv_qp *qp = qps[random_below(PAIRS)][random_below(2)];
		int i = random_below(num_doors);

		scribble_head(&rings[random_below(num_rings)]);
		scribble_bytes(&rings[random_below(num_rings)]);
		ring_door(doors[i], TIDE_DOORBELL_SEND, qp->qp_num);
		use(random_below(PAIRS));
	}
	_exit(0);
}

/* Memory registered by a child is the child's. */
static void child_registers(void)
{
	uint8_t *mine = map_memory(REGION);
	struct ibv_mr *own = ibv_reg_mr(sides[0].pd, mine, REGION, ALL_RIGHTS |
					IBV_ACCESS_ON_DEMAND);

	if (own)
		ibv_dereg_mr(own);
	inherit(false, 0);
}

static void attack_fork(int fd, void *arg)
{
	pid_t parent = getpid(), pid[3];
	int status, i;

	(void)arg;
	attacker_open();
	for (i = 0; i < 3; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		random_seed(pid[i]);
		if (!pid[i] && i == 2)
			child_registers();
		if (!pid[i])
			inherit(i, parent);
	}
	for (i = 0; i < 50; i++)
		use(random_below(PAIRS));
	must(waitpid(pid[0], &status, 0) == pid[0]);
	must(waitpid(pid[2], &status, 0) == pid[2]);
	say_byte(fd);
	/* The other child stays for a while. */
	_exit(0);
}

static void attack(const char *what, void (*how)(int fd, void *arg))
{
	uint64_t before = victim_progress(), end;
	struct child attacker = spawn(how, NULL);
	char byte;

	if (!expect(try_hear(attacker.fd, &byte, 1, length_of(3, 8) * SOON_MS),
		    "the attacker has not come to its end"))
		tap_show_tasks(attacker.pid);
	expect_child(&attacker, "the attacker");
	end = now_ms() + SOON_MS;
	while (victim_progress() <= before + 5)
		if (!expect(now_ms() < end, "the victim did not get on"))
			break;
	point("%s", what);
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	victim_child = spawn(victim, NULL);
	hear(victim_child.fd, &prey, sizeof(prey));
	sleep_ms(100);

	attack("garbage in the rings", attack_rings);
	attack("a ring that is never empty", attack_treadmill);
	attack("entries that are wrong", attack_entries);
	attack("the doorbell used in other ways", attack_door);
	attack("rings mapped at random, and maimed", attack_mmap);
	attack("rings that requests read and write", attack_self);
	attack("children that inherit everything", attack_fork);

	say_byte(victim_child.fd);
	shutdown(victim_child.fd, SHUT_WR);
	expect_child(&victim_child, "the victim");
	point("the victim's traffic was not disturbed");
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
