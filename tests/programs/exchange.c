// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * exchange - two processes that read, write and change each other's memory at
 * random places, in random lengths, and send each other messages, all at once;
 * each compares every byte that it gets, and in the end all of its memory.
 *
 *	exchange [OPTION...] DEVICE GID-INDEX SOCKET serve|join
 *
 * What is not RDMA between the two goes by SOCKET, a Unix socket's path, which
 * no lossy network and no network namespace is in the way of.
 *
 *	-c rc|uc|ud	the transport: over UC and UD only messages, some of
 *			which may be lost, come twice or overtake others, but
 *			none may be changed, cut or mixed up
 *	-o		memory on demand
 *	-m MTU		path MTU, 1024 unless given
 *	-s BYTES	the longest transfer, 20000 unless given
 *	-n NUMBER	of requests that each side makes, 300 unless given
 *	-u FILE		make requests until there is this file, instead
 *	-T TIMEOUT	as in ibv_modify_qp(): 4.096 us * 2^TIMEOUT, 16 unless
 *			given
 *	-R RETRIES	likewise, 7 unless given
 *	-r RETRIES	likewise, after RNR NAKs
 *	-w MS		what the client changes and reads is on demand, and each
 *			page of it comes so late
 *	-a		what changes memory that is being read is not requested
 *			before it is read, rather than wait for that by a fence:
 *			rxe waits for ever if it has to send such a request again
 *
 * Exits with 0 if all was well, 1 if not, and 3 if a request failed, whose
 * status is told.  Before the first request it tells its queue pair's number,
 * its Q_Key, and the packet sequence numbers that both sides begin with.
 */
#include <stddef.h>
#include <sys/un.h>

#include "../verbs/uffd.h"

#define TARGET		(256 * KIB)	/* what the peer writes to and reads */
#define DEPTH		16		/* requests at a time */
#define RECEIVES	8		/* fewer, so that some come too early */
#define DATAGRAMS	64
#define CREDIT		16		/* messages, of those that may be lost */
#define LONGEST		(64 * KIB)
#define GRH		40
#define AROUND		64		/* untouched, before and behind */
#define SLOT		(LONGEST + GRH + 3 * AROUND)
#define UNTOUCHED	0xa5
#define QKEY		0x11223344

struct hello {
	uint32_t qpn;
	uint32_t psn;
	union ibv_gid gid;
	uint64_t seed;
	uint64_t target;
	uint32_t rkey;
};

struct request {
	enum ibv_wr_opcode opcode;
	uint8_t *local;
	uint32_t len;
	uint64_t at;			/* in the target */
	uint64_t original;		/* what an atomic has to return */
	uint8_t expected[LONGEST];	/* what a read has to */
};

/* Options. */
static enum ibv_qp_type transport = IBV_QPT_RC;
static enum kind memory_kind = PINNED;
static uint32_t mtu = 1024;
static uint32_t longest = 20000;
static uint64_t number = 300;
static const char *until;		/* a file's path, or none */
static uint8_t ack_timeout = 16;
static uint8_t retries = 7;
static uint8_t rnr_retries = 7;
static unsigned int lateness;		/* in ms, or 0 */
static bool avoids_fences;
static bool serves;

static struct tap results;
static struct side side;
static struct hello mine, peers;
static struct ibv_ah *ah;
static int control;

static uint8_t *target;			/* the peer's to change */
static uint8_t *model;			/* what the peer's has to hold */
static uint8_t *slots;			/* of requests, then of receives */
static struct ibv_mr *target_mr, *slots_mr;
static struct request *requests;	/* by number, modulo DEPTH */
static uint64_t posted, completed, signaled;
static uint64_t sent;			/* messages */
static uint64_t received, receives;	/* messages; and posted for them */
static uint64_t credited;		/* that the peer has told of */
static uint64_t total = UINT64_MAX;	/* that it sends in all, when told */

/* Both are here; credit that nobody wants any more may come before. */
static void meet(void)
{
	char bytes[2];

	say_byte(control);
	do {
		if (!wait_readable(control, 3 * SOON_MS) ||
		    recv(control, bytes, sizeof(bytes), 0) <= 0)
			bail("the other process has gone");
	} while (bytes[0] == 'c');
}

static void give_credit(void)
{
	say(control, "c", 2);
}

static void connect_control(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	uint64_t end = now_ms() + SOON_MS;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	must(fd >= 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	if (serves) {
		must(!bind(fd, (struct sockaddr *)&name, sizeof(name)));
		must(!listen(fd, 1));
		control = accept(fd, NULL, NULL);
		must(control >= 0);
		close(fd);
		unlink(path);
		return;
	}
	while (connect(fd, (struct sockaddr *)&name, sizeof(name))) {
		if (now_ms() > end)
			bail("%s: %s", path, strerror(errno));
		sleep_ms(20);
	}
	control = fd;
}

/* What is set up */

static void *bring_pages(void *arg)
{
	const long poll_ms = 1000;

	(void)arg;
	for (;;) {
		struct uffdio_zeropage page = { .range.len = PAGE };
		long at = uffd_wait(&poll_ms);

		if (at == -1)
			continue;
		sleep_ms(lateness);
		page.range.start = at;
		/* It may have been asked for twice. */
		if (ioctl(uffd, UFFDIO_ZEROPAGE, &page) && errno != EEXIST)
			bail("UFFDIO_ZEROPAGE: %s", strerror(errno));
	}
	return NULL;
}

static void make_late(void)
{
	const long range[] = { (long)target, TARGET,
			       UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	must(!uffd_open(range));
	must(!pthread_create(&thread, NULL, bring_pages, NULL));
}

static void make_memory(void)
{
	size_t all = SLOT * (DEPTH + DATAGRAMS);
	bool late = lateness && serves;

	target = map_memory(TARGET);
	if (late)
		make_late();
	model = map_memory(TARGET);
	slots = map_memory(all);
	requests = map_memory(DEPTH * sizeof(*requests));
	target_mr = reg(side.pd, target, TARGET,
			ALL_RIGHTS | kind_access(late ? ODP : memory_kind));
	slots_mr = reg(side.pd, slots, all,
		       IBV_ACCESS_LOCAL_WRITE | kind_access(memory_kind));
}

static void make_qp(void)
{
	struct ibv_qp_init_attr init = {
		.send_cq = side.scq,
		.recv_cq = side.rcq,
		.qp_type = transport,
		.cap = {
			.max_send_wr = DEPTH,
			.max_recv_wr = DATAGRAMS,
			.max_send_sge = 4,
			.max_recv_sge = 2,
			.max_inline_data = 64,
		},
	};

	side.qp = ibv_create_qp(side.pd, &init);
	must(side.qp);
}

static enum ibv_mtu mtu_value(void)
{
	enum ibv_mtu value = IBV_MTU_256;

	while (value < IBV_MTU_4096 && 128U << value < mtu)
		value++;
	return value;
}

static struct ibv_ah_attr path_to_peer(void)
{
	return (struct ibv_ah_attr) {
		.is_global = 1,
		.port_num = 1,
		.grh = {
			.dgid = peers.gid,
			.sgid_index = side.gid_index,
			.hop_limit = 64,
		},
	};
}

static void connect_qp(void)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu_value(),
		.dest_qp_num = peers.qpn,
		.rq_psn = peers.psn,
		.max_dest_rd_atomic = 4,
		/* Few retries last as long as a page may take, too. */
		.min_rnr_timer = rnr_retries < 7 ? 26 : 12,
		.ah_attr = path_to_peer(),
	};
	int mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
		   IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;

	if (transport == IBV_QPT_RC)
		mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	errno = qp_to_init(side.qp, transport == IBV_QPT_UC ?
			   IBV_ACCESS_REMOTE_WRITE : ALL_RIGHTS);
	must(!errno);
	errno = ibv_modify_qp(side.qp, &attr, mask);
	must(!errno);

	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = ack_timeout,
		.retry_cnt = retries,
		.rnr_retry = rnr_retries,
		.sq_psn = mine.psn,
		.max_rd_atomic = 4,
	};
	mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
	if (transport == IBV_QPT_RC)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			IBV_QP_MAX_QP_RD_ATOMIC;
	errno = ibv_modify_qp(side.qp, &attr, mask);
	must(!errno);
}

static void open_datagrams(void)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = QKEY,
		.sq_psn = mine.psn,
	};
	struct ibv_ah_attr path = path_to_peer();

	errno = ibv_modify_qp(side.qp, &attr, IBV_QP_STATE | IBV_QP_PORT |
			      IBV_QP_PKEY_INDEX | IBV_QP_QKEY);
	must(!errno);
	errno = qp_to(side.qp, IBV_QPS_RTR);
	must(!errno);
	attr.qp_state = IBV_QPS_RTS;
	errno = ibv_modify_qp(side.qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN);
	must(!errno);
	ah = ibv_create_ah(side.pd, &path);
	must(ah);
}

/* Sequence numbers come round to zero soon. */
static void introduce(void)
{
	mine.qpn = side.qp->qp_num;
	mine.psn = 0xffffff - random_below(2000);
	mine.gid = side.gid;
	mine.seed = tap->seed;
	mine.target = (uintptr_t)target;
	mine.rkey = target_mr->rkey;
	say(control, &mine, sizeof(mine));
	hear(control, &peers, sizeof(peers));
	if (!serves)
		tap->seed = peers.seed;
}

static void set_up(const char *index, const char *path)
{
	side_open(&side, 2 * DEPTH + DATAGRAMS);
	side.gid_index = atoi(index);
	must(!ibv_query_gid(side.ctx, 1, side.gid_index, &side.gid));
	make_memory();
	make_qp();
	connect_control(path);
	introduce();
	if (transport == IBV_QPT_UD)
		open_datagrams();
	else
		connect_qp();
	printf("qpn 0x%06x qkey 0x%08x sends from psn 0x%06x receives from psn 0x%06x\n",
	       mine.qpn, QKEY, mine.psn, peers.psn);
	fflush(stdout);
}

/*
 * What is in a message follows from its number and from who sends it, so that
 * the receiver knows.
 */

static uint32_t some_length(uint32_t most)
{
	uint32_t packets = most / mtu;

	switch (random_below(8)) {
	case 0:
		return random_below(9);
	case 1:
	case 2:
		return random_below(65);
	case 3:
	case 4:
		if (packets)
			return random_below(packets) * mtu + mtu - 1 +
				random_below(2);
	}
	return random_below(most + 1);
}

static bool reliable(void)
{
	return transport == IBV_QPT_RC;
}

static uint32_t longest_message(void)
{
	if (reliable())
		return longest;
	return transport == IBV_QPT_UD ? mtu : 3 * mtu;
}

static enum ibv_wr_opcode message(bool servers, uint64_t n, uint8_t *data,
				  uint32_t *len)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM,
	};
	enum ibv_wr_opcode opcode;
	uint64_t state = random_state;

	random_seed(2 * n + servers + 1000);
	opcode = opcodes[random_below(reliable() ? 3 : 2)];
	*len = some_length(longest_message());
	if (!reliable() && *len < sizeof(n))
		*len = sizeof(n);
	random_fill(data, *len);
	if (!reliable())
		memcpy(data, &n, sizeof(n));
	random_state = state;
	return opcode;
}

/* Requests */

static uint8_t *slot(unsigned int i)
{
	return slots + i * SLOT;
}

static bool is_read(const struct request *request)
{
	return request->opcode == IBV_WR_RDMA_READ;
}

static bool changes_target(const struct request *request)
{
	return is_atomic(request->opcode) ||
	       request->opcode == IBV_WR_RDMA_WRITE ||
	       request->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
}

/*
 * A read whose answer is lost is made again, and would see what came behind
 * it: such a request has to wait for it, by a fence.
 */
static bool disturbs_read(const struct request *request)
{
	uint64_t i;

	for (i = completed; changes_target(request) && i < posted; i++) {
		const struct request *other = &requests[i % DEPTH];

		if (is_read(other) && request->at < other->at + other->len &&
		    other->at < request->at + request->len)
			return true;
	}
	return false;
}

/* In up to four pieces. */
static int pieces(struct ibv_sge *sge, uint8_t *data, uint32_t len)
{
	int n = 0;

	while (n < 3 && len > 1 && random_below(3)) {
		uint32_t piece = random_below(len) + 1;

		sge[n++] = sge_of(slots_mr, data, piece);
		data += piece;
		len -= piece;
	}
	if (len || random_below(2))
		sge[n++] = sge_of(slots_mr, data, len);
	return n;
}

static void atomic(struct request *request, struct ibv_send_wr *wr)
{
	uint64_t value;

	memcpy(&value, model + request->at, sizeof(value));
	request->original = value;
	wr->wr.atomic.compare_add = random_u64();
	if (request->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		value += wr->wr.atomic.compare_add;
	} else {
		wr->wr.atomic.swap = random_u64();
		if (random_below(2)) {
			wr->wr.atomic.compare_add = value;
			value = wr->wr.atomic.swap;
		}
	}
	wr->wr.atomic.remote_addr = peers.target + request->at;
	wr->wr.atomic.rkey = peers.rkey;
	memcpy(model + request->at, &value, sizeof(value));
}

static void one_sided(struct request *request, struct ibv_send_wr *wr)
{
	wr->wr.rdma.remote_addr = peers.target + request->at;
	wr->wr.rdma.rkey = peers.rkey;
	if (is_read(request))
		memcpy(request->expected, model + request->at, request->len);
	else
		memcpy(model + request->at, request->local, request->len);
}

static void choose(struct request *request)
{
	static const enum ibv_wr_opcode others[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE,
		IBV_WR_RDMA_READ, IBV_WR_ATOMIC_FETCH_AND_ADD,
		IBV_WR_ATOMIC_CMP_AND_SWP,
	};

	memset(slot(posted % DEPTH), UNTOUCHED, SLOT);
	request->local = slot(posted % DEPTH) + AROUND + random_below(AROUND);
	if (!reliable() || !random_below(3)) {
		request->opcode = message(serves, sent, request->local,
					  &request->len);
		sent++;
	} else {
		request->opcode = others[random_below(ARRAY_SIZE(others))];
		request->len = some_length(longest);
		if (request->opcode == IBV_WR_RDMA_WRITE)
			random_fill(request->local, request->len);
	}
	request->at = random_below(TARGET - LONGEST);
	if (is_atomic(request->opcode)) {
		request->local = slot(posted % DEPTH) + AROUND;
		request->len = sizeof(request->original);
		request->at &= ~7ULL;
	}
}

static void untouched(const uint8_t *from, const uint8_t *to, const char *what)
{
	for (; from < to; from++)
		if (*from != UNTOUCHED) {
			expect(0, "a byte beside %s has become %02x", what,
			       *from);
			return;
		}
}

static void completes(uint64_t n)
{
	const struct request *request = &requests[n % DEPTH];
	const uint8_t *begin = slot(n % DEPTH);

	if (is_read(request)) {
		expect_same(request->local, request->expected, request->len,
			    "what was read");
		untouched(begin, request->local, "what was read");
		untouched(request->local + request->len, begin + SLOT,
			  "what was read");
	} else if (is_atomic(request->opcode)) {
		expect_same(request->local, &request->original,
			    sizeof(request->original),
			    "what an atomic returned");
		untouched(request->local + request->len, begin + SLOT,
			  "what an atomic returned");
	} else {
		expect(true, "sent");
	}
}

/* A request has failed: all others have to, too. */
static void failed(enum ibv_wc_status status, const char *what)
{
	uint64_t end = now_ms() + SOON_MS;
	struct ibv_wc wc;

	printf("a %s ended with %s\n", what, ibv_wc_status_str(status));
	fflush(stdout);
	while (completed < posted && now_ms() < end) {
		if (ibv_poll_cq(side.scq, 1, &wc) != 1) {
			sleep_ms(1);
			continue;
		}
		completed = wc.wr_id + 1;
		if (wc.status != IBV_WC_WR_FLUSH_ERR)
			printf("and then one with %s\n",
			       ibv_wc_status_str(wc.status));
	}
	if (completed < posted)
		printf("and %llu never did\n",
		       (unsigned long long)(posted - completed));
	exit(3);
}

static bool poll_requests(void)
{
	struct ibv_wc wc;
	int n = ibv_poll_cq(side.scq, 1, &wc);

	must(n >= 0);
	if (!n)
		return false;
	if (wc.status) {
		completed = wc.wr_id + 1;
		failed(wc.status, "request");
	}
	expect(wc.wr_id >= completed && wc.wr_id < posted,
	       "completion of %llu", (unsigned long long)wc.wr_id);
	while (completed <= wc.wr_id)
		completes(completed++);
	return true;
}

/* Messages that come */

static unsigned int receive_slots(void)
{
	return reliable() ? RECEIVES : DATAGRAMS;
}

static void post_receive(void)
{
	uint8_t *at = slot(DEPTH + receives % receive_slots());
	struct ibv_sge sge[2];
	struct ibv_recv_wr *bad, wr = {
		.wr_id = receives, .sg_list = sge, .num_sge = 2,
	};
	uint32_t first = random_below(longest);

	memset(at, UNTOUCHED, SLOT);
	sge[0] = sge_of(slots_mr, at + AROUND, first);
	sge[1] = sge_of(slots_mr, at + AROUND + first, LONGEST + GRH - first);
	errno = ibv_post_recv(side.qp, &wr, &bad);
	must(!errno);
	receives++;
}

/* The number of the message, as far as this is known. */
static uint64_t number_in(const uint8_t *data)
{
	uint64_t n = received;

	if (!reliable())
		memcpy(&n, data, sizeof(n));
	return n;
}

static void arrived(const struct ibv_wc *wc)
{
	static uint8_t wanted[LONGEST];
	uint32_t grh = transport == IBV_QPT_UD ? GRH : 0, len, filled;
	uint8_t *at = slot(DEPTH + wc->wr_id % receive_slots()) + AROUND;
	uint64_t n = number_in(at + grh);
	enum ibv_wr_opcode opcode = message(!serves, n, wanted, &len);

	expect_eq(wc->byte_len, len + grh, "message %llu",
		  (unsigned long long)n);
	expect_eq(wc->opcode, opcode == IBV_WR_RDMA_WRITE_WITH_IMM ?
		  IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV, "message %llu",
		  (unsigned long long)n);
	expect_eq(!!(wc->wc_flags & IBV_WC_WITH_IMM), opcode != IBV_WR_SEND,
		  "message %llu", (unsigned long long)n);
	if (opcode != IBV_WR_SEND)
		expect_eq(ntohl(wc->imm_data), n, "message %llu",
			  (unsigned long long)n);
	if (grh)
		expect_eq(wc->src_qp, peers.qpn, "message %llu",
			  (unsigned long long)n);
	filled = grh;
	if (opcode != IBV_WR_RDMA_WRITE_WITH_IMM) {
		expect_same(at + grh, wanted, len, "a message");
		filled += len;
	}
	/* A longer one may have begun there, and have been lost. */
	if (transport == IBV_QPT_UC)
		filled = LONGEST + GRH;
	untouched(at - AROUND, at, "a message");
	untouched(at + filled, at - AROUND + SLOT, "a message");
	received++;
}

static bool poll_receives(void)
{
	struct ibv_wc wc;
	int n = ibv_poll_cq(side.rcq, 1, &wc);

	must(n >= 0);
	if (!n)
		return false;
	if (wc.status)
		failed(wc.status, "receive");
	arrived(&wc);
	post_receive();
	if (!reliable() && received % CREDIT == 0)
		give_credit();
	return true;
}

/* All of it */

static bool work(void)
{
	bool any = poll_requests();

	return poll_receives() || any;
}

/* Who polls without end takes the time away from who is to do the work. */
static void wait_a_little(bool any)
{
	static unsigned int idle;

	idle = any ? 0 : idle + 1;
	if (idle > 20)
		sleep_us(200);
	else if (idle)
		sched_yield();
}

static void post(void)
{
	struct request *request = &requests[posted % DEPTH];
	struct ibv_send_wr *bad, wr = { .wr_id = posted };
	struct ibv_sge sge[4];

	choose(request);
	while (avoids_fences && disturbs_read(request))
		wait_a_little(work());
	wr.opcode = request->opcode;
	if (disturbs_read(request))
		wr.send_flags |= IBV_SEND_FENCE;
	if (is_atomic(request->opcode))
		atomic(request, &wr);
	else if (is_read(request) || changes_target(request))
		one_sided(request, &wr);
	if (transport == IBV_QPT_UD) {
		wr.wr.ud.ah = ah;
		wr.wr.ud.remote_qpn = peers.qpn;
		wr.wr.ud.remote_qkey = QKEY;
	}
	wr.imm_data = htonl(sent - 1);
	wr.sg_list = sge;
	if (is_atomic(request->opcode)) {
		sge[0] = sge_of(slots_mr, request->local, request->len);
		wr.num_sge = 1;
	} else {
		wr.num_sge = pieces(sge, request->local, request->len);
	}

	if (!is_read(request) && !is_atomic(request->opcode) && request->len <= 64 &&
	    random_below(2))
		wr.send_flags |= IBV_SEND_INLINE;
	if (!random_below(2))
		wr.send_flags |= IBV_SEND_SOLICITED;
	/* What has no completion is known to be done by one behind it. */
	if (random_below(2) || posted - signaled >= DEPTH / 4 ||
	    (avoids_fences && is_read(request))) {
		wr.send_flags |= IBV_SEND_SIGNALED;
		signaled = posted;
	}
	errno = ibv_post_send(side.qp, &wr, &bad);
	must(!errno);
	posted++;
}

static void last_is_signaled(void)
{
	if (signaled + 1 == posted)
		return;
	post();
	if (signaled + 1 != posted)
		last_is_signaled();
}

/* Credit, or how many messages there have been. */
static bool poll_control(void)
{
	uint64_t said = 0;
	ssize_t len;

	if (!wait_readable(control, 0))
		return false;
	len = recv(control, &said, sizeof(said), MSG_PEEK);
	if (len == 1)		/* it waits in meet() */
		return false;
	if (len == sizeof(said))
		total = said;
	else if (len == 2)
		credited += CREDIT;
	else
		bail("the other process has gone");
	recv(control, &said, sizeof(said), 0);
	return true;
}

/*
 * Messages that nothing else holds back are as many as the peer has room for.
 * Those that are lost bring no credit.
 */
static bool may_post(void)
{
	static uint64_t since;

	if (posted >= completed + DEPTH - 4)
		return false;
	if (reliable() || sent < credited + DATAGRAMS) {
		since = 0;
		return true;
	}
	if (!since)
		since = now_ms();
	if (now_ms() > since + 100)
		credited = sent - DATAGRAMS / 2;
	return false;
}

static void make_requests(void)
{
	while (until ? access(until, F_OK) : posted < number) {
		bool any = may_post();

		if (any)
			post();
		if (!reliable())
			any |= poll_control();
		wait_a_little(work() || any);
	}
	last_is_signaled();
	while (completed < posted)
		wait_a_little(work());
}

static bool rest_has_come(uint64_t last)
{
	if (total == UINT64_MAX)
		return false;
	return received == total || (!reliable() && now_ms() > last + 500);
}

/* How many messages there have been is told when there will be no more. */
static void take_the_rest(void)
{
	uint64_t last = now_ms();

	say(control, &sent, sizeof(sent));
	while (!rest_has_come(last)) {
		bool any = poll_control() | poll_receives();

		if (any)
			last = now_ms();
		wait_a_little(any);
	}
	if (reliable())
		expect_eq(received, total, "messages");
	else
		expect(received >= total / 2, "%llu of %llu messages came",
		       (unsigned long long)received,
		       (unsigned long long)total);
}

/* Each tells what the other's memory has to hold. */
static void compare_targets(void)
{
	uint8_t wanted[4 * KIB];
	size_t at;

	for (at = 0; at < TARGET; at += sizeof(wanted)) {
		say(control, model + at, sizeof(wanted));
		hear(control, wanted, sizeof(wanted));
		expect_same(target + at, wanted, sizeof(wanted),
			    "memory in the end");
	}
}

static void nothing_more(void)
{
	struct ibv_wc wc;

	expect(!ibv_poll_cq(side.scq, 1, &wc), "one more completion");
	if (reliable())
		expect(!ibv_poll_cq(side.rcq, 1, &wc), "one more message");
}

static void usage(void)
{
	fprintf(stderr, "the first lines of exchange.c tell how to use it\n");
	exit(2);
}

static void options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "c:om:s:n:u:T:R:r:w:a")) != -1) {
		switch (option) {
		case 'c':
			transport = !strcmp(optarg, "ud") ? IBV_QPT_UD :
				    !strcmp(optarg, "uc") ? IBV_QPT_UC :
				    IBV_QPT_RC;
			break;
		case 'o':
			memory_kind = ODP;
			break;
		case 'm':
			mtu = atoi(optarg);
			break;
		case 's':
			longest = atoi(optarg);
			break;
		case 'n':
			number = atoi(optarg);
			break;
		case 'u':
			until = optarg;
			break;
		case 'T':
			ack_timeout = atoi(optarg);
			break;
		case 'R':
			retries = atoi(optarg);
			break;
		case 'r':
			rnr_retries = atoi(optarg);
			break;
		case 'w':
			lateness = atoi(optarg);
			break;
		case 'a':
			avoids_fences = true;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 4 || !longest || longest > LONGEST)
		usage();
	tap_argument = argv[optind];
	serves = !strcmp(argv[optind + 3], "serve");
}

int main(int argc, char **argv)
{
	unsigned int i;

	tap = &results;
	tap->seed = getenv("TIDE_SEED") ? strtoull(getenv("TIDE_SEED"), NULL, 0)
					: now_us();
	options(argc, argv);
	random_seed(getpid());
	set_up(argv[optind + 1], argv[optind + 2]);
	if (serves)
		diag("TIDE_SEED=%llu", (unsigned long long)tap->seed);
	random_seed(serves);
	for (i = 0; i < receive_slots(); i++)
		post_receive();
	meet();
	make_requests();
	take_the_rest();
	meet();
	compare_targets();
	nothing_more();
	printf("%llu requests, %llu messages came, %u comparisons, %u wrong\n",
	       (unsigned long long)posted, (unsigned long long)received,
	       tap->checks, tap->failures);
	meet();
	return tap->failures ? 1 : 0;
}
