// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory of a process that may have less memory than it has mapped,
 * or that the kernel kills because there is none left.
 *
 * With swap all of it can be used remotely.  Without, the owner is killed, and
 * nobody else: the requester gets an error in bounded time, whoever is
 * connected to others notices nothing, and nothing is left.
 *
 * Long: twenty seconds of traffic, not one, and more owners killed.
 */
#include "cgroup.h"
#include "situation.h"

#define LIMIT		"12M"
#define SIZE		(24 * MIB)

/* Two that have nothing to do with it */

static struct side other[2];
static struct ibv_mr *other_mr[2];
static uint8_t *other_mem[2];

static void others_open(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		side_open(&other[i], 64);
		other_mem[i] = map_memory(MIB);
		other_mr[i] = reg(other[i].pd, other_mem[i], MIB, ALL_RIGHTS |
				  IBV_ACCESS_ON_DEMAND);
	}
	reconnect(&other[0], &other[1], 16, &usual_conn);
}

static void others_close(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		dereg(other_mr[i]);
		side_close(&other[i]);
		munmap(other_mem[i], MIB);
	}
}

static bool others_work(void)
{
	size_t len = 1 + random_below(50000), at = random_below(MIB - len);
	struct ibv_sge sge = sge_of(other_mr[0], other_mem[0] + at, len);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)other_mem[1] + at,
					other_mr[1]->rkey);

	random_fill(other_mem[0] + at, len);
	post_send(other[0].qp, &wr);
	return expect_wc(other[0].scq, 0, IBV_WC_SUCCESS) &&
	       expect_same(other_mem[1] + at, other_mem[0] + at, len,
			   "memory of others");
}

static volatile bool others_stop;
static unsigned long others_done;

static void *others_run(void *arg)
{
	(void)arg;
	random_seed(77);
	while (!others_stop && others_work()) {
		others_done++;
		sleep_us(500);
	}
	return NULL;
}

/* More memory than there is allowed, with swap */

static long own_map_limited(const long *arg)
{
	must(cgroup_enter(getpid()));
	return own_map_anonymous(arg);
}

static long own_map_limited_shared(const long *arg)
{
	must(cgroup_enter(getpid()));
	return own_map_shared(arg);
}

static void reclaim(uint8_t *mem, size_t size)
{
	(void)mem, (void)size;
	tell_kernel(CGROUP "memory.reclaim", "2M");
	sleep_ms(1);
}

/* Every page, so that there is really too much. */
static void touch_all(struct traffic *t)
{
	size_t at;

	for (at = 0; at + MIB <= t->region.size; at += MIB)
		if (!write_random(t, at + 5, MIB - 9))
			return;
}

static const struct situation limited[] = {
	{ "more memory than allowed", own_map_limited, SIZE, { make_cold },
	  .evidence = "pswpin", .needs_swap = true, .before = touch_all },
	{ "more shared memory than allowed", own_map_limited_shared, SIZE,
	  { make_cold }, .evidence = "pswpin", .needs_swap = true,
	  .before = touch_all },
	{ "less memory than allowed, and reclaimed", own_map_limited, 6 * MIB,
	  { reclaim }, .evidence = "pswpin", .needs_swap = true,
	  .before = touch_all },
};

static void enough_with_swap(void)
{
	size_t i;

	swap_on();
	access_ms = 4 * SOON_MS;
	for (i = 0; i < ARRAY_SIZE(limited); i++) {
		must(cgroup_make(LIMIT, "max"));
		owner_open(&owner, false);
		situation(&limited[i]);
		owner_close(&owner);
		cgroup_remove();
	}
	access_ms = SOON_MS;
	swap_off();
}

/* No more memory, and the owner is killed */

/* All over it, until there is an error; its status, or 0. */
static int use_until_error(const struct region *region)
{
	uint64_t end = now_ms() + 3 * SOON_MS;
	size_t len = MIB - 9, at = 0;
	int status = 0;

	random_fill(buf[ODP], len);
	while (!status && now_ms() < end) {
		status = do_access(at & 4 ? IBV_WR_RDMA_READ :
				   IBV_WR_RDMA_WRITE, ODP, region->addr + at,
				   region->rkey, len);
		at = at + 2 * len > region->size ? 0 : at + len;
	}
	return status;
}

static volatile uint64_t died;		/* when the owner did */

static void *watch_owner(void *arg)
{
	siginfo_t info;

	(void)arg;
	if (!waitid(P_PID, owner.child.pid, &info, WEXITED | WNOWAIT) &&
	    info.si_code == CLD_KILLED && info.si_status == SIGKILL)
		died = now_ms();
	return NULL;
}

/* What a requester may be told when its responder dies. */
static bool is_plausible(int status)
{
	return status == IBV_WC_RETRY_EXC_ERR ||
	       status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_OP_ERR;
}

static void expect_killed(const struct region *region)
{
	int status = use_until_error(region);
	uint64_t learned = now_ms(), end = learned + SOON_MS;

	expect(is_plausible(status), "the first error is %d", status);
	while (!died && now_ms() < end)
		sleep_ms(1);
	expect(died, "the owner is not killed");
	expect(learned < died + SOON_MS, "its peer knows after %lld ms",
	       (long long)(learned - died));
}

static long own_enter(const long *arg)
{
	(void)arg;
	return cgroup_enter(getpid());
}

/* An owner is killed, somehow. */
static void killed(size_t size, bool limited_to, void *(*killer)(void *))
{
	pthread_t watcher, others, by;
	struct region region;

	died = 0;
	others_stop = false;
	others_done = 0;
	owner_open(&owner, false);
	if (limited_to)
		must(ask(&owner, own_enter));
	region = region_map(size, ODP);
	must(!pthread_create(&watcher, NULL, watch_owner, NULL));
	must(!pthread_create(&others, NULL, others_run, NULL));
	must(!pthread_create(&by, NULL, killer, NULL));
	expect_killed(&region);
	kill(owner.child.pid, SIGKILL);
	pthread_join(by, NULL);
	pthread_join(watcher, NULL);
	others_stop = true;
	pthread_join(others, NULL);
	expect(others_done, "others did nothing meanwhile");
	kill_child(&owner.child);
	me_close();
}

static void *nobody(void *arg)
{
	return arg;
}

static void killed_by_limit(void)
{
	int i;

	for (i = 0; i < length_of(2, 30); i++) {
		must(cgroup_make(LIMIT, "0"));
		killed(SIZE, true, nobody);
		expect(cgroup_event("oom_kill") > 0, "it was not the limit");
		cgroup_remove();
	}
	point("more memory than allowed, without swap");
}

/* The kernel is told to look for somebody to kill; we made it easy. */
static void *kill_somebody(void *arg)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj",
		 owner.child.pid);
	must(tell_kernel(path, "1000"));
	sleep_us(100000 + random_below(100000));
	must(tell_kernel("/proc/sysrq-trigger", "f"));
	return arg;
}

static void killed_by_oom(void)
{
	int i;

	for (i = 0; i < length_of(2, 30); i++)
		killed(8 * MIB, false, kill_somebody);
	point("killed because the machine has no memory");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	traffic_init();
	if (!cgroup_make("max", "max")) {
		skip("memory cannot be limited here");
		point("limited memory");
	} else {
		cgroup_remove();
		others_open();
		enough_with_swap();
		killed_by_limit();
		killed_by_oom();
		others_close();
	}
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
