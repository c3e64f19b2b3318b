// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What a process does to its address space while others use it, and when that
 * takes effect: requests fail after the memory has gone and not before, a
 * child never sees what came after its fork, the owner's exit ends all.
 *
 * The owner says in shared memory when it begins, and when it has done it; so
 * for every request it is known what may come of it.
 */
#include "nag.h"

#define SIZE		(4 * MIB)

/* Memory that goes, or is replaced, after a while */

struct change {
	const char *name;
	owner_function function;	/* does it, and says so */
	bool fails;			/* requests do, afterwards */
	size_t gone;			/* from here on */
	uint64_t becomes;		/* pattern; 0: zeroes */
};

#define BEFORE	1
#define AFTER	2

static uint8_t *elsewhere;		/* the owner's */
static int other_fd = -1;

static long own_unmap_all(const long *arg)
{
	a_while();
	say_begun();
	must(!munmap((void *)arg[0], SIZE));
	say_done();
	return 0;
}

static long own_unmap_half(const long *arg)
{
	a_while();
	say_begun();
	must(!munmap((uint8_t *)arg[0] + SIZE / 2, SIZE / 2));
	say_done();
	return 0;
}

static long own_make_unreadable(const long *arg)
{
	a_while();
	say_begun();
	must(!mprotect((uint8_t *)arg[0] + SIZE / 2, SIZE / 2, PROT_NONE));
	say_done();
	return 0;
}

static long own_shrink(const long *arg)
{
	a_while();
	say_begun();
	must(mremap((void *)arg[0], SIZE, SIZE / 2, 0) == (void *)arg[0]);
	say_done();
	return 0;
}

static long move_away(const long *arg, int flags)
{
	void *here = (void *)arg[0];

	elsewhere = mmap(NULL, SIZE, PROT_NONE, ANON, -1, 0);
	must(elsewhere != MAP_FAILED);
	a_while();
	say_begun();
	must(mremap(here, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED | flags,
		    elsewhere) == elsewhere);
	say_done();
	return (long)elsewhere;
}

static long own_move_away(const long *arg)
{
	return move_away(arg, 0);
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

static long own_move_back(const long *arg)
{
	void *to = (void *)arg[1];

	return mremap((void *)arg[0], SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		      to) == to ? 0 : -errno;
}

static long own_move_pages_away(const long *arg)
{
	return move_away(arg, MREMAP_DONTUNMAP);
}

static long own_map_over(const long *arg)
{
	a_while();
	say_begun();
	must(mmap((void *)arg[0], SIZE, RW, ANON | MAP_FIXED, -1, 0) ==
	     (void *)arg[0]);
	say_done();
	return 0;
}

static long own_map_other_over(const long *arg)
{
	void *other;

	other_fd = memfd_create("other", MFD_CLOEXEC);
	must(other_fd >= 0 && !ftruncate(other_fd, SIZE));
	other = mmap(NULL, SIZE, RW, MAP_SHARED, other_fd, 0);
	must(other != MAP_FAILED);
	pattern_fill(other, SIZE, AFTER);
	a_while();
	say_begun();
	must(mmap((void *)arg[0], SIZE, RW, MAP_SHARED | MAP_FIXED, other_fd,
		  0) == (void *)arg[0]);
	say_done();
	must(!munmap(other, SIZE) && !close(other_fd));
	return 0;
}

static const struct change changes[] = {
	{ "munmap()", own_unmap_all, true, 0, 0 },
	{ "munmap() of a half", own_unmap_half, true, SIZE / 2, 0 },
	{ "mprotect(PROT_NONE) of a half", own_make_unreadable, true,
	  SIZE / 2, 0 },
	{ "mremap() to half the size", own_shrink, true, SIZE / 2, 0 },
	{ "mremap() to elsewhere", own_move_away, true, 0, 0 },
	{ "MREMAP_DONTUNMAP", own_move_pages_away, false, 0, 0 },
	{ "mmap() over it", own_map_over, false, 0, 0 },
	{ "mmap() of a file over it", own_map_other_over, false, 0, AFTER },
};

static uint8_t was[SIZE], becomes[SIZE];

static void expect_bytes(const struct change *change, size_t at, size_t len,
			 bool done_before, bool begun_after)
{
	const uint8_t *seen = buf[ODP];
	size_t i;

	for (i = 0; i < len; i++) {
		bool old = seen[i] == was[at + i];
		bool new = seen[i] == becomes[at + i];

		if (at + i < change->gone && old)
			continue;
		if ((old && !done_before) || (new && begun_after))
			continue;
		expect(false, "byte %zu is %02x, not %02x%s%s", at + i,
		       seen[i], was[at + i], done_before ? ", done" : "",
		       begun_after ? ", begun" : "");
		return;
	}
	expect(true, "all bytes");
}

/* One read, of a range that the change may or may not touch. */
static bool read_once(const struct change *change, const struct region *region)
{
	size_t len = 1 + random_below(random_below(2) ? 64 : 128 * KIB);
	size_t at = random_below(SIZE - len + 1);
	bool done_before = is_done(), begun_after, hit;
	int status;

	hit = at + len > change->gone;
	status = do_access(IBV_WR_RDMA_READ, ODP, region->addr + at,
			   region->rkey, len);
	begun_after = has_begun();
	if (status == IBV_WC_SUCCESS) {
		expect(!(hit && change->fails && done_before),
		       "%zu bytes at %zu were read after they had gone", len,
		       at);
		expect_bytes(change, at, len, done_before, begun_after);
		return true;
	}
	expect_eq(status, IBV_WC_REM_ACCESS_ERR, "status");
	expect(hit && change->fails && begun_after,
	       "%zu bytes at %zu could not be read%s", len, at,
	       hit ? ", too soon" : ", which are there");
	return false;
}

/* What has gone stays so, for new queue pairs too; what is left stays. */
static void expect_gone(const struct change *change,
			const struct region *region)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE,
		IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	size_t i, at = change->gone;

	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		expect_access(IBV_WC_REM_ACCESS_ERR, opcodes[i], PINNED,
			      region->addr + at + i * PAGE, region->rkey, 8);
		owner_reconnect();
	}
	if (!at)
		return;
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, region->addr,
		      region->rkey, at);
	expect_same(buf[PINNED], was, at, "what is left");
}

/* A new mapping at the same place. */
static void expect_new(const struct region *region)
{
	expect_eq(ask(&owner, own_map, region->addr, SIZE, RW,
		      ANON | MAP_FIXED, -1, 0), region->addr, "mmap");
	ask(&owner, own_fill, region->addr + 5, SIZE - 5, 3);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, region->addr + 5,
		      region->rkey, SIZE - 5);
	expect_eq(pattern_check(buf[ODP], SIZE - 5, 3), SIZE - 5,
		  "bytes of the new mapping");
	pattern_fill(buf[PINNED], SIZE - 9, 4);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED,
		      region->addr + 9, region->rkey, SIZE - 9);
	expect_eq(ask(&owner, own_check, region->addr + 9, SIZE - 9, 4),
		  SIZE - 9, "bytes written to the new mapping");
}

/* Where it is now, it can be seen too; and back at its old place. */
static void expect_moved(const struct change *change,
			 const struct region *region, uint64_t to)
{
	struct region moved = region_reg(to, SIZE, ODP);

	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, to, moved.rkey,
		      SIZE);
	expect_same(buf[ODP], was, SIZE, "memory at its new place");
	if (change->fails) {
		no_news();
		expect_eq(ask(&owner, own_move_back, to, region->addr), 0,
			  "mremap");
		expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, PINNED,
			      to, moved.rkey, 8);
		owner_reconnect();
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
			      region->addr, region->rkey, SIZE);
		expect_same(buf[PINNED], was, SIZE, "memory moved back");
	}
	region_drop(&moved);
}

static void change_round(const struct change *change)
{
	struct region region = region_map(SIZE, ODP);
	uint64_t end = now_ms() + SOON_MS;
	unsigned int failures = tap->failures;
	int after = 0;
	long answer;

	no_news();
	if (change->becomes)
		pattern_fill(becomes, SIZE, change->becomes);
	else
		memset(becomes, 0, SIZE);
	ask(&owner, own_fill, region.addr, SIZE, BEFORE);
	tell(&owner, change->function, region.addr);
	while (after < 10 && now_ms() < end && tap->failures == failures) {
		after += is_done();
		if (read_once(change, &region))
			continue;
		break;
	}
	answer = owner_answer(&owner);
	if (qp_state(me.qp) != IBV_QPS_RTS)
		owner_reconnect();
	if (change->function == own_move_away ||
	    change->function == own_move_pages_away)
		expect_moved(change, &region, answer);
	else if (change->fails)
		expect_gone(change, &region);
	expect_new(&region);
	region_drop(&region);
}

static void changes_under_reads(void)
{
	size_t i;
	int n;

	pattern_fill(was, SIZE, BEFORE);
	for (i = 0; i < ARRAY_SIZE(changes); i++) {
		for (n = 0; n < length_of(4, 100); n++)
			change_round(&changes[i]);
		point("%s under traffic", changes[i].name);
	}
}

/*
 * Memory that others read before the process has ever touched it: zeroes, and
 * then what the CPU has written, page by page.
 */

#define SOME_PAGES	4

static long own_write_pages(const long *arg)
{
	uint8_t *mem = (void *)arg[0];
	size_t i;

	for (i = 0; i < SIZE / PAGE; i++) {
		say_begun();
		pattern_fill(mem + i * PAGE, PAGE, i + 1);
		say_done();
		if (!(i % 16))
			sleep_us(300);
	}
	return 0;
}

/* What pages from @first on are, some of which are being written. */
static void expect_pages(size_t first, size_t done, size_t begun)
{
	const uint8_t *seen = buf[ODP];
	size_t i, page;

	for (i = 0; i < SOME_PAGES * PAGE; i++) {
		page = first + i / PAGE;
		if (seen[i] == pattern(page + 1, i % PAGE) && page < begun)
			continue;
		if (!seen[i] && page >= done)
			continue;
		expect(false, "byte %zu of page %zu is %02x, %zu are done",
		       i % PAGE, page, seen[i], done);
		return;
	}
	expect(true, "all bytes");
}

static void zero_pages(bool huge)
{
	struct region region = region_map(SIZE, ODP);
	size_t last = SIZE / PAGE - SOME_PAGES, done, first;
	unsigned int failures = tap->failures;

	no_news();
	ask(&owner, own_advise, region.addr, SIZE, huge ? MADV_HUGEPAGE :
							  MADV_NOHUGEPAGE);
	tell(&owner, own_write_pages, region.addr);
	do {
		done = __atomic_load_n(&news->done, __ATOMIC_SEQ_CST);
		first = done + random_below(6);
		first = first < 4 ? 0 : first - 4 > last ? last : first - 4;
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP,
			      region.addr + first * PAGE, region.rkey,
			      SOME_PAGES * PAGE);
		expect_pages(first, done,
			     __atomic_load_n(&news->begun, __ATOMIC_SEQ_CST));
	} while (done < SIZE / PAGE && tap->failures == failures);
	expect_eq(owner_answer(&owner), 0, "all pages are written");
	region_drop(&region);
	point("%s read before the CPU writes them", huge ? "huge zero pages" :
							   "zero pages");
}

/* Memory that grows under traffic: what is there stays, and more comes. */

static long own_map_to_grow(const long *arg)
{
	uint8_t *mem = mmap(NULL, SIZE, RW, ANON, -1, 0);

	(void)arg;
	must(mem != MAP_FAILED && !munmap(mem + SIZE / 2, SIZE / 2));
	return (long)mem;
}

static long own_grow(const long *arg)
{
	a_while();
	say_begun();
	must(mremap((void *)arg[0], SIZE / 2, SIZE, 0) == (void *)arg[0]);
	say_done();
	return 0;
}

static void grow_round(void)
{
	const struct change none = { .gone = SIZE };
	long addr = ask(&owner, own_map_to_grow);
	struct region region = region_reg(addr, SIZE, ODP);
	uint64_t end = now_ms() + SOON_MS;
	struct region half = region;
	size_t at;

	no_news();
	ask(&owner, own_fill, addr, SIZE / 2, BEFORE);
	expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, PINNED,
		      addr + SIZE / 2 - 5, region.rkey, 10);
	owner_reconnect();
	tell(&owner, own_grow, addr);
	do {
		at = random_below(SIZE / 2 - 3000);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP,
			      half.addr + at, half.rkey, 3000);
		expect_bytes(&none, at, 3000, false, false);
	} while (!is_done() && now_ms() < end);
	expect_eq(owner_answer(&owner), 0, "mremap");
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, addr,
		      region.rkey, SIZE);
	expect_same(buf[PINNED], was, SIZE / 2, "what was there");
	expect_eq(zero_check(buf[PINNED] + SIZE / 2, SIZE / 2), SIZE / 2,
		  "what is new");
	region_drop(&region);
}

static void grows(void)
{
	int i;

	for (i = 0; i < length_of(4, 100); i++)
		grow_round();
	point("mremap() to twice the size under traffic");
}

/* The owner ends in the middle of first touches */

#define DEPTH		24
#define ENDING		(64 * MIB)

static long own_throw_away(const long *arg)
{
	size_t at = random_below(ENDING / (2 * MIB)) * 2 * MIB;

	return madvise((uint8_t *)arg[0] + at, 2 * MIB, MADV_DONTNEED);
}

static long own_kill(const long *arg)
{
	a_while();
	kill(getpid(), SIGKILL);
	return arg[0];
}

static long own_exit(const long *arg)
{
	(void)arg;
	a_while();
	_exit(0);
}

static long own_exec(const long *arg)
{
	a_while();
	execlp("sleep", "sleep", "0.1", NULL);
	return arg[0];
}

static const struct {
	const char *name;
	owner_function function;
	int status;
} ends[] = {
	{ "is killed", own_kill, SIGKILL },
	{ "exits", own_exit, 0 },
	{ "executes another program", own_exec, 0 },
};

static void start_one(const struct region *region, struct ibv_sge *sge,
		      uint64_t id)
{
	enum kind kind = random_below(KINDS);
	size_t len = 1 + random_below(random_below(4) ? 9000 : 300000);
	struct ibv_send_wr wr;

	*sge = sge_of(buf_mr[kind], buf[kind], len);
	wr = rdma_wr(id & 1 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, sge,
		     region->addr + random_below(ENDING - len), region->rkey);
	wr.wr_id = id;
	post_send(me.qp, &wr);
}

/* The status of the first that fails; the rest is flushed, in order. */
static int first_failure(const struct region *region, uint64_t *completed)
{
	uint64_t next = 0, oldest = 0;
	struct ibv_sge sge;
	struct ibv_wc wc;
	int status = 0;

	while (!status || oldest < next) {
		while (!status && next - oldest < DEPTH)
			start_one(region, &sge, next++);
		if (!expect(wait_wc(me.scq, &wc, SOON_MS),
			    "nothing completes after %llu requests",
			    (unsigned long long)oldest))
			return -1;
		expect_eq(wc.wr_id, oldest++, "completion");
		if (status)
			expect_eq(wc.status, IBV_WC_WR_FLUSH_ERR, "the rest");
		else if (!(status = wc.status))
			++*completed;
	}
	return status;
}

static void end_round(int how)
{
	uint64_t completed = 0, start;
	struct region region;
	int status;

	owner_open(&owner, false);
	region = region_map(ENDING, ODP);
	ask(&owner, own_nag, (long)own_throw_away, region.addr);
	start = now_ms();
	tell(&owner, ends[how].function, 0);
	status = first_failure(&region, &completed);
	expect(status == IBV_WC_RETRY_EXC_ERR ||
	       status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_OP_ERR,
	       "the first error is %s", ibv_wc_status_str(status));
	expect_soon(start, "learning of that");
	expect(wait_child(owner.child.pid, SOON_MS, &status),
	       "the owner does not go");
	expect_eq(status, ends[how].status, "how the owner ended");
	close(owner.child.fd);
	me_close();
}

static void owner_ends(const struct leftovers *before)
{
	size_t how;
	int i;

	for (how = 0; how < ARRAY_SIZE(ends); how++) {
		for (i = 0; i < length_of(3, 60); i++)
			end_round(how);
		expect_no_leftovers(before);
		point("the owner %s under traffic", ends[how].name);
	}
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	news_open();
	owner_open(&owner, false);
	changes_under_reads();
	zero_pages(false);
	zero_pages(true);
	grows();
	owner_close(&owner);
	owner_ends(&before);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
