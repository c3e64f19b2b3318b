// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Programs that fork: ibv_fork_init() was called, children come and go, write
 * to what they have inherited, close it, or keep it; and the parent's traffic
 * goes on, with the parent's bytes.
 */
#include "common.h"

#define LEN	3000U
#define SIZE	(8 * PAGE)
#define ROUNDS	20

static struct side a, b;
static uint8_t *memory;			/* registered, and what is around it */
static struct ibv_mr *mr[KINDS];

/* Not at the start of a page, nor alone in it. */
static uint8_t *buffer(enum kind kind, int which)
{
	return memory + 100 + (2 * kind + which) * (LEN + 57);
}

static void transfer(enum kind kind, uint8_t value)
{
	uint8_t *from = buffer(kind, 0), *to = buffer(kind, 1);
	struct ibv_sge sge = sge_of(mr[kind], from, LEN);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)to, mr[kind]->rkey);

	memset(from, value, LEN);
	memset(to, ~value, LEN);
	post_send(a.qp, &wr);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_same(to, from, LEN, "what was written");
}

/* Not to registered pages: libibverbs may keep them from children. */
static void writes(void)
{
	memset(memory + SIZE, 0xee, SIZE);
}

static void closes_the_device(void)
{
	ibv_close_device(a.ctx);
}

static void keeps_all(void)
{
	sleep_ms(300);
}

static void executes_another(void)
{
	execlp("true", "true", NULL);
}

static void with_children(void (*what)(void), const char *description)
{
	int i, status, children = 0;

	for (i = 0; i < ROUNDS; i++) {
		enum kind kind = i % KINDS;
		pid_t pid = fork();

		must(pid >= 0);
		if (!pid) {
			what();
			_exit(0);
		}
		transfer(kind, i);
		transfer(!kind, i + 100);
		children++;
	}
	while (children--)
		expect(wait(&status) > 0 && WIFEXITED(status) &&
		       !WEXITSTATUS(status), "a child ended with %#x", status);
	transfer(PINNED, 7);
	transfer(ODP, 8);
	point("children: one %s", description);
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	expect_eq(ibv_fork_init(), 0, "fork_init");
	memory = map_memory(2 * SIZE);
	side_open(&a, 64);
	/* Two queue pairs of one device, and all regions in one domain. */
	b = a;
	reconnect(&a, &b, 16, &usual_conn);
	for (kind = 0; kind < KINDS; kind++)
		mr[kind] = reg(a.pd, buffer(kind, 0), 2 * LEN + 57,
			       ALL_RIGHTS | kind_access(kind));
	point("regions of a process that may fork");

	with_children(writes, "that writes to what it has inherited");
	with_children(closes_the_device, "that closes the device");
	with_children(keeps_all, "that keeps everything for a while");
	with_children(executes_another, "that executes another program");

	for (kind = 0; kind < KINDS; kind++)
		dereg(mr[kind]);
	side_drop_qp(&b);
	side_close(&a);
	munmap(memory, 2 * SIZE);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
