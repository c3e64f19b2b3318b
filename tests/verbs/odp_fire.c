// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory under fire: two processes write to, read from and send to
 * each other's memory, which somebody invalidates all the time.
 *
 *	process ◀── writes, reads, sends, atomics ──▶ process
 *	   ▲                                             ▲
 *	nuisance, CPU atomics                       the same
 *
 * As long as the data is kept, no request may fail, hang or see a wrong byte.
 */
#include "owner.h"
#include "storage.h"

#include <sys/stat.h>

/* An arena: what the peer writes, what we write from, what we read back to. */
#define TARGET		0
#define SOURCE		(1 * MIB)
#define BACK		(2 * MIB)
#define WORDS		(3 * MIB)
#define RECEIVES	(3 * MIB + 64 * KIB)
#define ARENA		(4 * MIB)

#define SLOTS		8
#define SLOT		(MIB / SLOTS)
#define RECVS		16
#define RECV_SIZE	(12 * KIB + 5)

#define RW		(PROT_READ | PROT_WRITE)

enum backing { ANONYMOUS, MEMFD, EXT4 };

struct nuisance {
	const char *name;
	void (*step)(void);
	enum backing backing;
	bool needs_swap;
};

/* What a process tells the other one of itself. */
struct hello {
	pid_t pid;
	struct address address;
	uint64_t arena;
	uint32_t key;
};

static struct side side;
static struct ibv_mr *region;
static uint8_t *arena;
static int arena_fd = -1;
static struct hello peer;
static uint8_t *target_model;		/* of the peer's */
static uint64_t added_here, added_there;
static volatile bool stop;
static uint64_t sent, received, rounds;

/* Nuisances; each step is a moment's work */

static uint8_t *some_pages(size_t *len)
{
	size_t first = random_below(ARENA / PAGE);
	size_t num = 1 + random_below(random_below(2) ? 4 : 512);

	if (num > ARENA / PAGE - first)
		num = ARENA / PAGE - first;
	*len = num * PAGE;
	return arena + first * PAGE;
}

static void nothing(void)
{
	sleep_ms(1);
}

static void toggle_exec(void)
{
	must(!mprotect(arena, ARENA, RW | PROT_EXEC));
	must(!mprotect(arena, ARENA, RW));
}

static void toggle_exec_of_pages(void)
{
	size_t len;
	uint8_t *at = some_pages(&len);

	must(!mprotect(at, len, RW | (random_below(2) ? PROT_EXEC : 0)));
	if (!random_below(64))
		must(!mprotect(arena, ARENA, RW));
}

static void fork_and_go(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (random_below(2))
			memset(arena, 0xee, MIB);
		_exit(0);
	}
	waitpid(pid, &status, 0);
}

static void page_out(void)
{
	size_t len;
	uint8_t *at = some_pages(&len);

	madvise(at, len, MADV_PAGEOUT);
}

static void write_protect(void)
{
	must(tell_kernel("/proc/self/clear_refs", "4"));
}

static void collapse_and_split(void)
{
	size_t len;
	uint8_t *at = some_pages(&len);

	madvise(arena, ARENA, MADV_HUGEPAGE);
	madvise(arena, ARENA, MADV_COLLAPSE);
	must(!mprotect(at, len, RW | PROT_EXEC));
	must(!mprotect(at, len, RW));
}

static void compact(void)
{
	tell_kernel("/proc/sys/vm/compact_memory", "1");
}

static void merge_same(void)
{
	madvise(arena, ARENA, MADV_MERGEABLE);
	sleep_ms(20);
	if (!random_below(4))
		madvise(arena, ARENA, MADV_UNMERGEABLE);
}

static void sync_and_forget(void)
{
	if (random_below(2))
		msync(arena, ARENA, random_below(2) ? MS_SYNC : MS_ASYNC);
	else
		fsync(arena_fd);
	if (!random_below(4))
		tell_kernel("/proc/sys/vm/drop_caches", "1");
}

static const struct nuisance nuisances[] = {
	{ "nothing", nothing, ANONYMOUS, false },
	{ "PROT_EXEC on and off", toggle_exec, ANONYMOUS, false },
	{ "PROT_EXEC on and off, for some pages", toggle_exec_of_pages,
	  ANONYMOUS, false },
	{ "forks", fork_and_go, ANONYMOUS, false },
	{ "write protection for soft dirty bits", write_protect, ANONYMOUS,
	  false },
	{ "huge pages made and split", collapse_and_split, ANONYMOUS, false },
	{ "compaction", compact, ANONYMOUS, false },
	{ "merging of same pages", merge_same, ANONYMOUS, false },
	{ "swapping", page_out, ANONYMOUS, true },
	{ "swapping of shared memory", page_out, MEMFD, true },
	{ "PROT_EXEC, for some pages of shared memory", toggle_exec_of_pages,
	  MEMFD, false },
	{ "PROT_EXEC on and off, of a file", toggle_exec, EXT4, false },
	{ "writing back of a file", sync_and_forget, EXT4, false },
	{ "PROT_EXEC, for some pages of a file", toggle_exec_of_pages, EXT4,
	  false },
};

static void *run_nuisance(void *arg)
{
	const struct nuisance *nuisance = arg;

	random_seed(getpid() + 1);
	while (!stop) {
		nuisance->step();
		rounds++;
	}
	return NULL;
}

/* The CPU's part of a sum that the peer adds to as well. */
static void *run_adder(void *arg)
{
	uint64_t *word = (uint64_t *)(arena + WORDS + 8);

	(void)arg;
	while (!stop) {
		__atomic_fetch_add(word, 3, __ATOMIC_RELAXED);
		added_here += 3;
		if (!(added_here & 63))
			sleep_us(50);
	}
	return NULL;
}

/* Traffic */

static struct ibv_send_wr slot_wr(enum ibv_wr_opcode opcode,
				  struct ibv_sge *sge, uint8_t *here,
				  size_t there, uint32_t len)
{
	*sge = sge_of(region, here, len);
	return rdma_wr(opcode, sge, peer.arena + there, peer.key);
}

/* Write to some slots of the peer's and read them back. */
static bool write_and_read(void)
{
	struct ibv_sge sge[2 * SLOTS];
	struct ibv_send_wr wr[2 * SLOTS];
	size_t at[SLOTS], len[SLOTS];
	int num = 1 + random_below(SLOTS), i;

	for (i = 0; i < num; i++) {
		len[i] = 1 + random_below(random_below(8) ? 6000 : SLOT);
		at[i] = i * SLOT + random_below(SLOT - len[i] + 1);
		random_fill(arena + SOURCE + at[i], len[i]);
		memcpy(target_model + at[i], arena + SOURCE + at[i], len[i]);
		wr[i] = slot_wr(IBV_WR_RDMA_WRITE, &sge[i],
				arena + SOURCE + at[i], TARGET + at[i],
				len[i]);
		wr[i].send_flags = 0;
		wr[i].next = &wr[i + 1];
		wr[num + i] = slot_wr(IBV_WR_RDMA_READ, &sge[num + i],
				      arena + BACK + at[i], TARGET + at[i],
				      len[i]);
		wr[num + i].wr_id = i;
		wr[num + i].next = i < num - 1 ? &wr[num + i + 1] : NULL;
	}
	post_send(side.qp, wr);
	for (i = 0; i < num; i++) {
		if (!expect_wc(side.scq, i, IBV_WC_SUCCESS))
			return false;
		if (!expect_same(arena + BACK + at[i], arena + SOURCE + at[i],
				 len[i], "what was read back"))
			return false;
	}
	return true;
}

/* A message of a length and with bytes that its number tells. */
static uint32_t message_len(uint64_t number)
{
	return 8 + number * 7919 % (RECV_SIZE - 7);
}

static void message_fill(uint8_t *at, uint64_t number)
{
	memcpy(at, &number, 8);
	pattern_fill(at + 8, message_len(number) - 8, number);
}

static bool send_message(void)
{
	uint8_t *at = arena + SOURCE + random_below(MIB - RECV_SIZE);
	struct ibv_sge sge = sge_of(region, at, message_len(sent));
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

	message_fill(at, sent++);
	wr.wr_id = 1000;
	post_send(side.qp, &wr);
	return true;
}

static void post_receive(uint64_t i)
{
	struct ibv_sge sge = sge_of(region, arena + RECEIVES + i * RECV_SIZE,
				    RECV_SIZE);

	post_recv(side.qp, i, &sge, 1);
}

static bool check_message(const struct ibv_wc *wc)
{
	const uint8_t *at = arena + RECEIVES + wc->wr_id * RECV_SIZE;
	uint64_t number;

	memcpy(&number, at, 8);
	return expect(wc->status == IBV_WC_SUCCESS, "receive: %s",
		      ibv_wc_status_str(wc->status)) &&
	       expect_eq(number, received, "message") &&
	       expect_eq(wc->byte_len, message_len(number), "length") &&
	       expect_eq(pattern_check(at + 8, wc->byte_len - 8, number),
			 wc->byte_len - 8, "bytes as sent");
}

static bool serve_receives(void)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(side.rcq, 1, &wc) == 1) {
		if (!check_message(&wc))
			return false;
		received++;
		post_receive(wc.wr_id);
	}
	return true;
}

/* Wait for a send, and receive meanwhile: the peer may wait for that. */
static bool finish_send(void)
{
	uint64_t end = now_ms() + 2 * SOON_MS;
	struct ibv_wc wc;

	while (!ibv_poll_cq(side.scq, 1, &wc)) {
		if (!serve_receives() ||
		    !expect(now_ms() < end, "a send does not complete"))
			return false;
		sched_yield();
	}
	return expect(wc.status == IBV_WC_SUCCESS && wc.wr_id == 1000,
		      "send: %s", ibv_wc_status_str(wc.status));
}

/* One word that only we add to, and one that the peer's CPU adds to. */
static bool add(void)
{
	uint64_t *old = (uint64_t *)(arena + WORDS + 64);
	struct ibv_sge sge = sge_of(region, old, 8);
	struct ibv_send_wr wr = atomic_wr(IBV_WR_ATOMIC_FETCH_AND_ADD, &sge,
					  peer.arena + WORDS, peer.key, 5, 0);
	static uint64_t sum;

	post_send(side.qp, &wr);
	if (!expect_wc(side.scq, 0, IBV_WC_SUCCESS) ||
	    !expect_eq(*old, sum, "what the peer's word was"))
		return false;
	sum += 5;

	wr.wr.atomic.remote_addr += 8;
	wr.wr.atomic.compare_add = 1;
	post_send(side.qp, &wr);
	added_there++;
	return expect_wc(side.scq, 0, IBV_WC_SUCCESS);
}

static void traffic(uint64_t end)
{
	bool good = true;

	while (good && (now_ms() < end ||
			(!rounds && now_ms() < end + SOON_MS))) {
		switch (random_below(4)) {
		case 0:
		case 1:
			good = write_and_read();
			break;
		case 2:
			good = send_message() && finish_send();
			break;
		default:
			good = add();
			break;
		}
		good = good && serve_receives();
	}
}

/* Nobody touches any memory any more. */
static void check_peer(void)
{
	struct iovec local = { arena + BACK, MIB };
	struct iovec remote = { (void *)(peer.arena + TARGET), MIB };

	must(process_vm_readv(peer.pid, &local, 1, &remote, 1, 0) ==
	     (ssize_t)MIB);
	expect_same(arena + BACK, target_model, MIB, "the peer's memory");
}

/* What the file has, if the arena is one. */
static void check_file(void)
{
	uint8_t *seen = map_memory(ARENA);

	must(!fsync(arena_fd));
	must(tell_kernel("/proc/sys/vm/drop_caches", "3"));
	must(pread(arena_fd, seen, ARENA, 0) == (ssize_t)ARENA);
	expect_same(seen, arena, ARENA, "the file");
	munmap(seen, ARENA);
}

static void open_arena(enum backing backing)
{
	char path[64];

	snprintf(path, sizeof(path), EXT4_DIR "/fire.%d", getpid());
	if (backing == MEMFD)
		arena_fd = memfd_create("fire", 0);
	if (backing == EXT4)
		arena_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (backing != ANONYMOUS) {
		must(arena_fd >= 0 && !ftruncate(arena_fd, ARENA));
		unlink(path);
	}
	arena = mmap(NULL, ARENA, RW, backing == ANONYMOUS ?
		     MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, arena_fd, 0);
	must(arena != MAP_FAILED);
	target_model = map_memory(MIB);
}

static void meet(int fd, enum backing backing)
{
	struct hello mine;
	int i;

	open_arena(backing);
	side_open(&side, 256);
	side_make_qp(&side, 64);
	region = reg(side.pd, arena, ARENA, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	mine = (struct hello) { getpid(), side_address(&side),
				(uintptr_t)arena, region->rkey };
	say(fd, &mine, sizeof(mine));
	hear(fd, &peer, sizeof(peer));
	side_connect(&side, &peer.address, &usual_conn);
	for (i = 0; i < RECVS; i++)
		post_receive(i);
	say_byte(fd);
	hear_byte(fd);
}

/* Receive until we are told that the peer sends no more. */
static void linger(int fd)
{
	say_byte(fd);
	while (!wait_readable(fd, 0) && serve_receives())
		sched_yield();
	hear_byte(fd);
	serve_receives();
}

static void check_sum(int fd)
{
	uint64_t theirs;

	say(fd, &added_there, sizeof(added_there));
	hear(fd, &theirs, sizeof(theirs));
	expect_eq(*(uint64_t *)(arena + WORDS + 8), added_here + theirs,
		  "sum of the CPU's and the peer's additions");
}

static void fighter(int fd, void *arg)
{
	const struct nuisance *nuisance = arg;
	pthread_t trouble, adder;

	meet(fd, nuisance->backing);
	must(!pthread_create(&trouble, NULL, run_nuisance, arg));
	must(!pthread_create(&adder, NULL, run_adder, NULL));
	traffic(now_ms() + length_of(600, 20000));
	linger(fd);
	stop = true;
	pthread_join(trouble, NULL);
	pthread_join(adder, NULL);
	check_sum(fd);
	check_peer();
	if (nuisance->backing == EXT4)
		check_file();
	expect(rounds, "nothing was invalidated");
	say_byte(fd);
	hear_byte(fd);
	side_drop_qp(&side);
	dereg(region);
	side_close(&side);
}

/* Hand on what each has to tell the other. */
static void relay(struct child *child, void *what, size_t len)
{
	char other[256];

	hear(child[0].fd, what, len);
	hear(child[1].fd, other, len);
	say(child[0].fd, other, len);
	say(child[1].fd, what, len);
}

static void fight(const struct nuisance *nuisance)
{
	struct child child[2];
	char message[256];
	long swapped = vmstat("pswpout");
	int i;

	if ((nuisance->needs_swap && !have_swap) ||
	    (nuisance->backing == EXT4 && !have_ext4)) {
		skip("neither swap nor file system");
		point("%s", nuisance->name);
		return;
	}
	for (i = 0; i < 2; i++)
		child[i] = spawn(fighter, (void *)nuisance);
	relay(child, message, sizeof(struct hello));
	relay(child, message, 1);	/* connected */
	relay(child, message, 1);	/* nothing more is sent */
	relay(child, message, sizeof(uint64_t));
	relay(child, message, 1);	/* checked */
	for (i = 0; i < 2; i++)
		expect_child(&child[i], "a process under fire");
	expect(!nuisance->needs_swap || vmstat("pswpout") > swapped,
	       "nothing was swapped");
	point("%s", nuisance->name);
}

/* Memory that is thrown away while it is written */

struct thrown {
	unsigned int begun;
	unsigned int ended;
	uint64_t longest_us;
	bool stop;
};

static struct owner owner;
static struct thrown *thrown;

static void throw_away_until_told(uint8_t *mem, bool remove)
{
	while (!__atomic_load_n(&thrown->stop, __ATOMIC_ACQUIRE)) {
		size_t first = random_below(ARENA / PAGE);
		size_t num = 1 + random_below(ARENA / PAGE - first);
		uint64_t start = now_us();

		__atomic_add_fetch(&thrown->begun, 1, __ATOMIC_SEQ_CST);
		must(!madvise(mem + first * PAGE, num * PAGE, remove ?
			      MADV_REMOVE : MADV_DONTNEED));
		__atomic_add_fetch(&thrown->ended, 1, __ATOMIC_SEQ_CST);
		if (now_us() - start > thrown->longest_us)
			thrown->longest_us = now_us() - start;
		if (!random_below(8))
			sleep_us(random_below(3000));
	}
}

static void *throw_away_too(void *arg)
{
	const long *args = arg;

	random_seed(77);
	throw_away_until_told((void *)args[0], args[1]);
	return NULL;
}

/* By two threads, which throw the same pages away at the same time. */
static long own_throw_away(const long *arg)
{
	pthread_t other;

	must(!pthread_create(&other, NULL, throw_away_too, (void *)arg));
	throw_away_until_told((void *)arg[0], arg[1]);
	pthread_join(other, NULL);
	return 0;
}

/* Bytes may have become zero, and stay so; nothing else ever. */
static bool check_thrown(const uint8_t *before, const uint8_t *after,
			 size_t len, bool whole)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (after[i] != before[i] && (whole || after[i]))
			return expect(false, "byte %zu of %zu is %02x, not %02x",
				      i, len, after[i], before[i]);
	return true;
}

static bool write_thrown(uint64_t addr, uint32_t key)
{
	static uint8_t wrote[ARENA], seen[ARENA];
	size_t len = 1 + random_below(random_below(4) ? 9000 : MIB);
	size_t at = random_below(ARENA - len);
	enum kind kind = random_below(KINDS);
	unsigned int ended = thrown->ended, begun = thrown->begun;
	bool whole;

	pattern_fill(buf[kind], len, random_u64());
	memcpy(wrote, buf[kind], len);
	if (!expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind, addr + at,
			   key, len) ||
	    !expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, addr + at,
			   key, len))
		return false;
	whole = begun == ended && thrown->begun == begun;
	memcpy(seen, buf[kind], len);
	if (!check_thrown(wrote, seen, len, whole))
		return false;
	return expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind, addr + at,
			     key, len) &&
	       check_thrown(seen, buf[kind], len, false);
}

static void throw_away(bool remove)
{
	uint64_t start = now_ms(), ms = length_of(1500, 20000);
	unsigned int flags = remove ? MAP_SHARED : MAP_PRIVATE;
	long addr, mr;
	uint32_t key, writes = 0;

	memset(thrown, 0, sizeof(*thrown));
	owner_open(&owner, false);
	addr = ask(&owner, own_map, 0, ARENA, RW, flags | MAP_ANONYMOUS, -1, 0);
	mr = ask(&owner, own_reg, addr, ARENA,
		 ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	key = ask(&owner, own_rkey, mr);
	say(owner.child.fd, &(struct owner_question){
		own_throw_away, { addr, remove } },
	    sizeof(struct owner_question));
	while (write_thrown(addr, key) && (now_ms() - start < ms ||
	       ((thrown->ended < 50 || writes < 50) &&
		now_ms() - start < ms + SOON_MS)))
		writes++;
	__atomic_store_n(&thrown->stop, true, __ATOMIC_RELEASE);
	owner_answer(&owner);
	expect(thrown->ended >= 50 && writes >= 50,
	       "thrown away only %u times, for %u writes", thrown->ended,
	       writes);
	expect(thrown->longest_us < SOON_MS * 1000ULL, "once it took %llu us",
	       (unsigned long long)thrown->longest_us);
	ask(&owner, own_dereg, mr);
	owner_close(&owner);
	point("memory thrown away by %s", remove ? "MADV_REMOVE" :
						   "MADV_DONTNEED");
}

/* Memory that is unmapped while it is used */

static long own_unmap_later(const long *arg)
{
	uint8_t *mem = (void *)arg[0];
	size_t first = random_below(ARENA / PAGE);

	sleep_us(random_below(20000));
	if (random_below(2))
		return munmap(mem, ARENA) ? -errno : 0;
	return munmap(mem + first * PAGE, PAGE) ? -errno : 0;
}

/* Lists of writes and reads all over until one fails. */
static int use_until_error(uint64_t addr, uint32_t key)
{
	uint64_t end = now_ms() + SOON_MS;
	struct ibv_sge sge[8];
	struct ibv_send_wr wr[8];
	int status = 0, i;

	while (!status && now_ms() < end) {
		for (i = 0; i < 8; i++) {
			size_t len = 1 + random_below(2 * MIB);

			sge[i] = sge_of(buf_mr[i & 1], buf[i & 1], len);
			wr[i] = rdma_wr(i & 2 ? IBV_WR_RDMA_WRITE :
					IBV_WR_RDMA_READ, &sge[i],
					addr + random_below(ARENA - len), key);
			wr[i].next = i < 7 ? &wr[i + 1] : NULL;
		}
		post_send(me.qp, wr);
		for (i = 0; i < 8 && !status; i++)
			status = end_access(SOON_MS);
	}
	return status;
}

static void unmap_round(void)
{
	long addr = ask(&owner, own_map, 0, ARENA, RW,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long mr = ask(&owner, own_reg, addr, ARENA,
		      ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	uint32_t key = ask(&owner, own_rkey, mr);

	tell(&owner, own_unmap_later, addr);
	expect_eq(use_until_error(addr, key), IBV_WC_REM_ACCESS_ERR,
		  "the first error");
	expect_eq(owner_answer(&owner), 0, "munmap");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);

	/* The same place, mapped again. */
	expect_eq(ask(&owner, own_map, addr, ARENA, RW, MAP_PRIVATE |
		      MAP_ANONYMOUS | MAP_FIXED, -1, 0), addr, "mmap");
	pattern_fill(buf[ODP], MIB + 7, 1);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, ODP, addr + 9, key,
		      MIB + 7);
	expect_eq(ask(&owner, own_check, addr + 9, MIB + 7, 1), MIB + 7,
		  "bytes of the new mapping");
	expect_eq(ask(&owner, own_check_zero, addr + MIB + 16, MIB), MIB,
		  "zeroes behind");
	ask(&owner, own_dereg, mr);
	ask(&owner, own_unmap, addr, ARENA);
}

static void unmap_in_use(void)
{
	int i;

	owner_open(&owner, false);
	for (i = 0; i < length_of(10, 200); i++)
		unmap_round();
	owner_close(&owner);
	point("memory unmapped while it is used, and mapped again");
}

/*
 * Two queue pairs that both are the first to touch 2 MiB, again and again,
 * while these are thrown away.
 */

#define FRESH		(2 * MIB)
#define FRESH_ROUNDS	64

static struct side fresh[2][2];
static struct ibv_mr *fresh_src[2], *fresh_dst[2];
static pthread_barrier_t fresh_round;

static void *touch_first(void *arg)
{
	int who = (uintptr_t)arg, i;

	for (i = 0; i < FRESH_ROUNDS; i++) {
		struct ibv_sge sge = sge_of(fresh_src[who],
					    fresh_src[who]->addr, 8);
		struct ibv_send_wr wr =
			rdma_wr(IBV_WR_RDMA_WRITE, &sge, i * FRESH + who * 8 +
				(uintptr_t)fresh_dst[who]->addr,
				fresh_dst[who]->rkey);

		pthread_barrier_wait(&fresh_round);
		post_send(fresh[who][0].qp, &wr);
		expect_wc(fresh[who][0].scq, 0, IBV_WC_SUCCESS);
	}
	return NULL;
}

static void fresh_open(int who, uint8_t *mem)
{
	struct side *a = &fresh[who][0], *b = &fresh[who][1];

	side_open(a, 16);
	side_open(b, 16);
	reconnect(a, b, 8, &usual_conn);
	fresh_src[who] = reg(a->pd, buf[PINNED], PAGE, ALL_RIGHTS);
	fresh_dst[who] = reg(b->pd, mem, FRESH_ROUNDS * FRESH, ALL_RIGHTS |
			     IBV_ACCESS_ON_DEMAND);
}

static void fresh_close(int who)
{
	dereg(fresh_src[who]);
	dereg(fresh_dst[who]);
	side_close(&fresh[who][0]);
	side_close(&fresh[who][1]);
}

static void first_touches(void)
{
	size_t size = FRESH_ROUNDS * FRESH;
	pthread_t thread[2];
	uint8_t *mem;
	uintptr_t who;
	int i;

	mem = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_NORESERVE, -1, 0);
	must(mem != MAP_FAILED);
	buf[PINNED] = map_memory(PAGE);
	must(!pthread_barrier_init(&fresh_round, NULL, 3));
	for (who = 0; who < 2; who++) {
		fresh_open(who, mem);
		must(!pthread_create(&thread[who], NULL, touch_first,
				     (void *)who));
	}
	for (i = 0; i < FRESH_ROUNDS; i++) {
		int n;

		pthread_barrier_wait(&fresh_round);
		for (n = 0; n < 20; n++)
			must(!madvise(mem + i * FRESH, FRESH, MADV_DONTNEED));
	}
	for (who = 0; who < 2; who++)
		pthread_join(thread[who], NULL);
	/* Leaves that are empty are looked at after a second. */
	sleep_ms(1500);
	for (who = 0; who < 2; who++)
		fresh_close(who);
	munmap(buf[PINNED], PAGE);
	munmap(mem, size);
	point("first touches by two at once");
}

static void ksm(bool on)
{
	static bool was;

	if (on) {
		tell_kernel("/sys/kernel/mm/ksm/sleep_millisecs", "1");
		tell_kernel("/sys/kernel/mm/ksm/pages_to_scan", "2000");
		was = tell_kernel("/sys/kernel/mm/ksm/run", "1");
	} else if (was) {
		tell_kernel("/sys/kernel/mm/ksm/run", "0");
	}
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	thrown = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(thrown != MAP_FAILED);
	drop_caches();
	swap_on();
	ext4_mount();
	ksm(true);
	for (i = 0; i < ARRAY_SIZE(nuisances); i++)
		fight(&nuisances[i]);
	ksm(false);
	throw_away(false);
	throw_away(true);
	unmap_in_use();
	for (i = 0; i < (size_t)length_of(1, 20); i++)
		first_touches();
	expect_no_leftovers(&before);
	point("nothing is left behind");
	swap_off();
	ext4_umount();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
