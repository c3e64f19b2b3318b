// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What registering memory costs, what it is counted against, and that
 * deregistration is the end of every access.
 */
#include "common.h"

#include <sys/resource.h>

#define TIB		(1UL << 40)
#define TRIES		30
#define NOBODY		65534

static struct side a, b;

static void *map_sparse(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(mem != MAP_FAILED);
	return mem;
}

/* In microseconds. */
static uint64_t cost_of(void *mem, size_t size)
{
	uint64_t start = now_us(), took;
	struct ibv_mr *mr = reg(a.pd, mem, size, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);

	took = now_us() - start;
	dereg(mr);
	return took;
}

enum { SMALL, FULL, LARGE, COSTS };

static bool costs_the_same(const uint64_t *cost)
{
	return cost[FULL] <= 2 * cost[SMALL] + 20 &&
	       cost[LARGE] <= 2 * cost[SMALL] + 20;
}

/* In turns, the best of which count, and more of them where that is needed. */
static void cost(void)
{
	static const size_t sizes[COSTS] = { MIB, 64 * MIB, TIB };
	uint64_t best[COSTS] = { UINT64_MAX, UINT64_MAX, UINT64_MAX }, took;
	char *mem = map_sparse(TIB);
	int i, n;

	memset(mem, 1, 64 * MIB);
	for (n = 0; n < TRIES || (n < 100 * TRIES && !costs_the_same(best)); n++)
		for (i = 0; i < COSTS; i++) {
			took = cost_of(mem, sizes[i]);
			best[i] = took < best[i] ? took : best[i];
		}
	expect(costs_the_same(best), "it does not");
	must(!munmap(mem, TIB));
	point("any size costs the same on demand: %llu, %llu, %llu us",
	      (unsigned long long)best[SMALL], (unsigned long long)best[FULL],
	      (unsigned long long)best[LARGE]);
}

/* The far end of a large region. */
static void far_end(void)
{
	char *mem = map_sparse(TIB), local[64];
	struct ibv_mr *mr = reg(b.pd, mem, TIB, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	struct ibv_mr *mr_local = reg(a.pd, local, sizeof(local), ALL_RIGHTS);
	struct ibv_sge sge = sge_of(mr_local, local, 50);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)mem + TIB - 50, mr->rkey);

	reconnect(&a, &b, 16, &usual_conn);
	memset(local, 7, sizeof(local));
	post_send(a.qp, &wr);
	expect_wc(a.scq, 0, IBV_WC_SUCCESS);
	expect_same(mem + TIB - 50, local, 50, "the last bytes");
	expect_eq(mem[TIB - 51], 0, "the byte before");
	wr.wr.rdma.remote_addr++;
	post_send(a.qp, &wr);
	expect_wc(a.scq, 0, IBV_WC_REM_ACCESS_ERR);
	expect_eq(wait_event(b.ctx, NULL, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event");
	dereg(mr);
	dereg(mr_local);
	must(!munmap(mem, TIB));
	point("the end of 1 TiB");
}

/* The best of the first quarter is compared with the best of the last one. */
static void many(void)
{
	int n = length_of(3000, 30000), i;
	struct ibv_mr **mrs = calloc(n, sizeof(*mrs));
	uint64_t start, took, best[4] = { UINT64_MAX, 0, 0, UINT64_MAX };
	char *mem = map_sparse(64 * MIB);

	must(mrs);
	for (i = 0; i < n; i++) {
		start = now_us();
		mrs[i] = reg(a.pd, mem + i, 32 * MIB, ALL_RIGHTS |
			     IBV_ACCESS_ON_DEMAND);
		took = now_us() - start;
		if (took < best[4 * i / n])
			best[4 * i / n] = took;
	}
	expect(best[3] < 5 * best[0] + 20, "registrations get slower: %llu, "
	       "%llu us", (unsigned long long)best[0],
	       (unsigned long long)best[3]);
	for (i = 0; i < n; i++)
		dereg(mrs[(i * 7919ULL) % n]);
	must(!munmap(mem, 64 * MIB));
	free(mrs);
	point("%d overlapping regions", n);
}

/* Accounting */

/* A line of /proc/self/status, in KiB. */
static long status_kib(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[128];
	long kib = 0;

	must(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			kib = atol(line + strlen(name) + 1);
	fclose(file);
	return kib;
}

static void accounting(void)
{
	char *mem = map_memory(MIB);
	struct ibv_mr *mr;

	mr = reg(a.pd, mem + 5, MIB - 10, ALL_RIGHTS);
	expect_eq(status_kib("VmPin"), 1024, "while it is registered");
	dereg(mr);
	expect_eq(status_kib("VmPin"), 0, "afterwards");
	mr = reg(a.pd, mem, MIB, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	expect_eq(status_kib("VmPin"), 0, "on demand");
	dereg(mr);
	must(!munmap(mem, MIB));
	point("pages that are pinned are counted");
}

/* Whether there was a region, and it could be deregistered. */
static bool dereg_ok(struct ibv_mr *mr)
{
	return mr && !ibv_dereg_mr(mr);
}

/* In a process of its own: there is no way back from being nobody. */
static void limited(int fd, void *arg)
{
	struct rlimit limit = { 64 * KIB, 64 * KIB };
	struct ibv_mr *mr[4];
	char *mem = map_memory(MIB);
	int i;

	(void)arg;
	(void)fd;
	must(!setrlimit(RLIMIT_MEMLOCK, &limit));
	must(!setgid(NOBODY) && !setuid(NOBODY));
	side_open(&a, 16);
	errno = 0;
	expect(!ibv_reg_mr(a.pd, mem, MIB, ALL_RIGHTS) && errno == ENOMEM,
	       "1 MiB: %s", strerror(errno));
	for (i = 0; i < 4; i++) {
		mr[i] = ibv_reg_mr(a.pd, mem, 16 * KIB, ALL_RIGHTS);
		expect(mr[i], "16 KiB: %s", strerror(errno));
	}
	expect(!ibv_reg_mr(a.pd, mem, PAGE, ALL_RIGHTS) && errno == ENOMEM,
	       "the next page: %s", strerror(errno));
	expect(dereg_ok(ibv_reg_mr(a.pd, mem, MIB, ALL_RIGHTS |
				   IBV_ACCESS_ON_DEMAND)),
	       "on demand: %s", strerror(errno));
	dereg(mr[0]);
	mr[0] = ibv_reg_mr(a.pd, mem, 16 * KIB, ALL_RIGHTS);
	expect(mr[0], "16 KiB, given back: %s", strerror(errno));
	for (i = 0; i < 4; i++)
		dereg(mr[i]);
	side_close(&a);
}

static void memlock(void)
{
	struct child child = spawn(limited, NULL);

	expect_child(&child, "nobody");
	point("RLIMIT_MEMLOCK is for what is pinned");
}

/* The end of every access */

#define REGION		(4 * MIB)

struct user {
	uint64_t addr;
	uint32_t rkey;
	int status;
};

/* Keep the region busy until something fails. */
static void *use_region(void *arg)
{
	struct user *user = arg;
	char *mem = map_memory(REGION);
	struct ibv_mr *mr = reg(a.pd, mem, REGION, ALL_RIGHTS);
	struct ibv_sge sge[4];
	struct ibv_send_wr wr[4];
	struct ibv_wc wc;
	int i;

	memset(mem, 0xaa, REGION);
	while (!user->status) {
		for (i = 0; i < 4; i++) {
			sge[i] = sge_of(mr, mem, i & 1 ? 3000 : REGION);
			wr[i] = rdma_wr(i == 3 ? IBV_WR_RDMA_READ :
					IBV_WR_RDMA_WRITE, &sge[i], user->addr,
					user->rkey);
			wr[i].next = i < 3 ? &wr[i + 1] : NULL;
		}
		if (try_send(a.qp, wr))
			user->status = -1;
		for (i = 0; i < 4 && !user->status; i++)
			user->status = wait_wc(a.scq, &wc, SOON_MS) ?
				       (int)wc.status : -1;
	}
	/* Wait for the rest before the memory goes. */
	while (wait_wc(a.scq, &wc, 100))
		;
	dereg(mr);
	munmap(mem, REGION);
	return NULL;
}

/* After deregistration the memory is the owner's alone. */
static void dereg_in_use(enum kind kind, int i)
{
	uint8_t *mem = map_memory(REGION);
	struct ibv_mr *mr = reg(b.pd, mem, REGION, ALL_RIGHTS |
				kind_access(kind));
	struct user user = { (uintptr_t)mem, mr->rkey, 0 };
	pthread_t thread;
	uint64_t start;
	size_t n;

	reconnect(&a, &b, 16, &usual_conn);
	must(!pthread_create(&thread, NULL, use_region, &user));
	sleep_us(5000 + random_below(20000));
	start = now_ms();
	dereg(mr);
	expect_soon(start, "deregistration");
	if (i & 1) {
		/* Somebody else's memory, at the same place. */
		must(mmap(mem, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			  MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mem);
	}
	memset(mem, 0x11, REGION);
	pthread_join(thread, NULL);
	for (n = 0; n < REGION && mem[n] == 0x11; n++)
		;
	expect_eq(n, REGION, "bytes that did not change");
	expect_eq(user.status, IBV_WC_REM_ACCESS_ERR, "the user's error");
	expect_eq(wait_event(b.ctx, NULL, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event");
	must(!munmap(mem, REGION));
}

/* The same for the requester's own region. */
static void dereg_local(enum kind kind)
{
	uint8_t *mem = map_memory(REGION), *far = map_memory(REGION);
	struct ibv_mr *mr = reg(a.pd, mem, REGION, ALL_RIGHTS |
				kind_access(kind));
	struct ibv_mr *mr_far = reg(b.pd, far, REGION, ALL_RIGHTS);
	struct ibv_sge sge = sge_of(mr, mem, REGION);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_READ, &sge,
					(uintptr_t)far, mr_far->rkey);
	int i, status = 0;
	struct ibv_wc wc;
	size_t n;

	reconnect(&a, &b, 16, &usual_conn);
	memset(far, 0xaa, REGION);
	for (i = 0; i < 16; i++)
		post_send(a.qp, &wr);
	dereg(mr);
	memset(mem, 0x11, REGION);
	for (i = 0; i < 16; i++) {
		if (!expect(wait_wc(a.scq, &wc, SOON_MS), "no completion"))
			break;
		if (!status && wc.status)
			status = wc.status;
	}
	expect(!status || status == IBV_WC_LOC_PROT_ERR, "the first error: %s",
	       ibv_wc_status_str(status));
	for (n = 0; n < REGION && mem[n] == 0x11; n++)
		;
	expect_eq(n, REGION, "bytes that did not change");
	dereg(mr_far);
	must(!munmap(mem, REGION) && !munmap(far, REGION));
}

static void ends(enum kind kind)
{
	int i;

	for (i = 0; i < length_of(8, 200); i++) {
		dereg_in_use(kind, i);
		dereg_local(kind);
	}
	point("deregistration ends every access, %s", kind_name[kind]);
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;

	memlock();
	side_open(&a, 64);
	side_open(&b, 64);
	cost();
	far_end();
	many();
	accounting();
	for (kind = 0; kind < KINDS; kind++)
		ends(kind);
	side_close(&a);
	side_close(&b);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
