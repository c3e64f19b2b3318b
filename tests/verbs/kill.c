// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * A process is killed under full load: it is gone at once, the other side
 * learns of it in bounded time, and nothing is left of either.
 */
#include "common.h"

#define ARENA		(8 * MIB)
#define HALF		(ARENA / 2)
#define DEPTH		64
#define OUTSTANDING	24
#define RECV_SIZE	(64 * KIB)

/* Peers are given up after a fifteenth of a second. */
#define TIMEOUT		11

enum load { MIXED, SENDS_TO_NOBODY, LONG_READS, CHURN, LOADS };

static const char * const load_name[LOADS] = {
	"mixed load", "sends without receives", "long reads",
	"objects made and destroyed",
};

struct plan {
	enum load load;
	enum kind kind;
};

struct hello {
	struct address address;
	uint64_t arena;
	uint32_t key;
};

/* What the survivor tells. */
struct verdict {
	uint64_t learned_us;
	int status;			/* of the first error */
	bool rest_flushed;
	uint64_t completed;
};

static struct side side;
static struct hello peer;
static uint8_t *arena;
static struct ibv_mr *mr;
static int outstanding;
static uint64_t next_id, oldest_id;

static void meet(int fd, const struct plan *plan)
{
	struct conn conn = usual_conn;
	struct hello mine;

	arena = map_memory(ARENA);
	side_open(&side, 512);
	side_make_qp(&side, DEPTH);
	mr = reg(side.pd, arena, ARENA, ALL_RIGHTS | kind_access(plan->kind));
	mine = (struct hello) { side_address(&side), (uintptr_t)arena,
				mr->rkey };
	say(fd, &mine, sizeof(mine));
	hear(fd, &peer, sizeof(peer));
	conn.timeout = TIMEOUT;
	side_connect(&side, &peer.address, &conn);
}

static void post_receive(void)
{
	struct ibv_sge sge = sge_of(mr, arena + random_below(HALF), RECV_SIZE);

	if (try_recv(side.qp, 0, &sge, 1))
		expect(false, "post_recv");
}

static struct ibv_send_wr random_wr(enum load load, struct ibv_sge *sge)
{
	size_t len = 1 + random_below(random_below(4) ? 5000 : 300000);
	enum ibv_wr_opcode opcode = IBV_WR_RDMA_WRITE;
	struct ibv_send_wr wr;

	if (load == SENDS_TO_NOBODY)
		opcode = IBV_WR_SEND;
	else if (load == LONG_READS)
		opcode = IBV_WR_RDMA_READ;
	else if (random_below(2))
		opcode = random_below(2) ? IBV_WR_RDMA_READ : IBV_WR_SEND;
	if (load == LONG_READS)
		len = HALF;
	if (opcode == IBV_WR_SEND && len > RECV_SIZE)
		len = RECV_SIZE;
	*sge = sge_of(mr, arena + HALF + random_below(HALF - len + 1), len);
	wr = rdma_wr(opcode, sge, peer.arena + random_below(HALF - len + 1),
		     peer.key);
	wr.wr_id = next_id++;
	return wr;
}

static void fill_queue(enum load load)
{
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	while (outstanding < OUTSTANDING) {
		wr = random_wr(load, &sge);
		post_send(side.qp, &wr);
		outstanding++;
	}
}

static void serve_receives(void)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(side.rcq, 1, &wc) == 1 &&
	       wc.status == IBV_WC_SUCCESS)
		post_receive();
}

/* Everything else is flushed, in order. */
static bool rest_is_flushed(void)
{
	struct ibv_wc wc;

	while (outstanding) {
		if (!wait_wc(side.scq, &wc, SOON_MS) ||
		    wc.status != IBV_WC_WR_FLUSH_ERR ||
		    wc.wr_id != oldest_id)
			return false;
		oldest_id++;
		outstanding--;
	}
	return is_quiet(side.scq, 20) && qp_state(side.qp) == IBV_QPS_ERR;
}

/* Make and destroy while the peer works; it goes on when we are killed. */
static void churn(void)
{
	struct ibv_qp_init_attr init = qp_init(&side, 4);
	struct ibv_mr *other = reg(side.pd, arena, ARENA, ALL_RIGHTS);
	struct ibv_qp *qp = ibv_create_qp(side.pd, &init);
	struct ibv_cq *cq = ibv_create_cq(side.ctx, 8, NULL, NULL, 0);

	must(qp && cq);
	must(!qp_to_init(qp, ALL_RIGHTS));
	must(!ibv_destroy_qp(qp));
	must(!ibv_destroy_cq(cq));
	dereg(other);
}

/* Work until there is an error; its status.  Mixed work says that it goes on. */
static int work(int fd, enum load load, struct verdict *verdict)
{
	struct ibv_wc wc;

	for (;;) {
		fill_queue(load);
		if (load == CHURN)
			churn();
		serve_receives();
		while (ibv_poll_cq(side.scq, 1, &wc) == 1) {
			oldest_id = wc.wr_id + 1;
			outstanding--;
			if (wc.status != IBV_WC_SUCCESS)
				return wc.status;
			if (!verdict->completed++ && load == MIXED)
				say_byte(fd);
		}
	}
}

static void fighter(int fd, void *arg)
{
	const struct plan *plan = arg;
	struct verdict verdict = {};
	int i;

	meet(fd, plan);
	for (i = 0; i < 32 && plan->load != SENDS_TO_NOBODY; i++)
		post_receive();
	say_byte(fd);
	hear_byte(fd);
	verdict.status = work(fd, plan->load, &verdict);
	verdict.learned_us = now_us();
	verdict.rest_flushed = rest_is_flushed();
	say(fd, &verdict, sizeof(verdict));
	side_drop_qp(&side);
	dereg(mr);
	side_close(&side);
}

static void relay(struct child *child, void *what, size_t len)
{
	char other[256];

	hear(child[0].fd, what, len);
	hear(child[1].fd, other, len);
	say(child[0].fd, other, len);
	say(child[1].fd, what, len);
}

/* What a requester may be told when its responder dies. */
static bool is_plausible(int status)
{
	return status == IBV_WC_RETRY_EXC_ERR ||
	       status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_OP_ERR;
}

static void expect_verdict(struct child *survivor, uint64_t killed_us)
{
	struct verdict verdict;

	if (!expect(try_hear(survivor->fd, &verdict, sizeof(verdict),
			     SOON_MS), "the other side learns of nothing")) {
		tap_show_tasks(survivor->pid);
		kill_child(survivor);
		return;
	}
	expect(is_plausible(verdict.status), "the first error is %s",
	       ibv_wc_status_str(verdict.status));
	expect(verdict.rest_flushed, "the rest was not flushed in order");
	if (tap_long())
		diag("learned after %llu us, of %s",
		     (unsigned long long)(verdict.learned_us - killed_us),
		     ibv_wc_status_str(verdict.status));
	expect_child(survivor, "the survivor");
}

/* Killed in the middle of things, it waits for nobody. */
static void expect_killed(struct child *victim)
{
	int status;

	kill(victim->pid, SIGKILL);
	if (!expect(wait_child(victim->pid, SOON_MS, &status),
		    "the victim does not go"))
		tap_show_tasks(victim->pid);
	close(victim->fd);
}

static void round_of(struct plan *plan, int victim, bool both)
{
	struct child child[2];
	uint64_t killed_us;
	char message[256];
	int i;

	for (i = 0; i < 2; i++)
		child[i] = spawn(fighter, plan);
	relay(child, message, sizeof(struct hello));
	relay(child, message, 1);
	for (i = 0; i < 2 && plan->load == MIXED; i++)
		hear_byte(child[i].fd);
	sleep_us(20000 + random_below(60000));
	killed_us = now_us();
	expect_killed(&child[victim]);
	if (both)
		expect_killed(&child[!victim]);
	else
		expect_verdict(&child[!victim], killed_us);
}

/* What is all children's: it belongs to whoever is left. */
static void both_at_once(struct plan *plan)
{
	round_of(plan, random_below(2), true);
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	struct plan plan;
	int i;

	for (plan.load = 0; plan.load < LOADS; plan.load++) {
		for (plan.kind = 0; plan.kind < KINDS; plan.kind++) {
			for (i = 0; i < length_of(3, 12); i++) {
				round_of(&plan, 0, false);
				round_of(&plan, 1, false);
				both_at_once(&plan);
			}
			expect_no_leftovers(&before);
			point("killed under %s, %s", load_name[plan.load],
			      kind_name[plan.kind]);
		}
	}
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
