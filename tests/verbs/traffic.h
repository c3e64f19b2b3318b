/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * traffic.h - random requests against a region whose every byte is known,
 * while threads of its owner do to the memory what should not matter.
 *
 *	requester ─ writes, reads, atomics ─▶ region ◀─ trouble, by threads
 *	   model: what each byte is                     of the owner's process
 *
 * Some trouble destroys what is there, and is for pages that the requester
 * gives away for it: it takes them back afterwards, and from then on they
 * have to keep what is written to them.
 */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include "region.h"

#define TRAFFIC_PAGES	(64 * MIB / PAGE)
#define TROUBLES	4
#define BATCH		6
#define SLOT		(BUF_SIZE / BATCH)

/* Who may do what to a page. */
enum turn { OURS, GIVEN, TAKEN, THROWN };

/* A moment's work on the owner's memory. */
typedef void (*trouble_step)(uint8_t *mem, size_t size);

/* What throws pages away: they are then as at first, if perhaps not at once. */
typedef void (*trouble_throw)(uint8_t *mem, size_t len);

/* Seen by both processes. */
struct trouble {
	bool stop;
	unsigned long rounds[TROUBLES];
	uint8_t turn[TRAFFIC_PAGES];
};

static struct trouble *trouble;
static uint8_t *batch_wanted;		/* what requests should read */

/* The owner's threads */

struct trouble_thread {
	pthread_t thread;
	int number;
	trouble_step step;
	trouble_throw throw;
	uint8_t *mem;
	size_t size;
};

static struct trouble_thread trouble_threads[TROUBLES];
static int num_troubles;

static inline bool trouble_stops(void)
{
	return __atomic_load_n(&trouble->stop, __ATOMIC_ACQUIRE);
}

static inline int turn_of(size_t page)
{
	return __atomic_load_n(&trouble->turn[page], __ATOMIC_ACQUIRE);
}

static inline void set_turn(size_t page, size_t num, enum turn turn)
{
	while (num--)
		__atomic_store_n(&trouble->turn[page++], turn,
				 __ATOMIC_RELEASE);
}

/* The first page from @page on that is in @turn, or @pages. */
static inline size_t find_turn(size_t page, size_t pages, enum turn turn)
{
	while (page < pages && turn_of(page) != (int)turn)
		page++;
	return page;
}

/* How many from @page on are. */
static inline size_t count_turn(size_t page, size_t pages, enum turn turn)
{
	size_t end = page;

	while (end < pages && turn_of(end) == (int)turn)
		end++;
	return end - page;
}

/* Of the pages that were given, throw some away. */
static inline void throw_some(const struct trouble_thread *thread)
{
	size_t pages = thread->size / PAGE, page, num;

	page = find_turn(random_below(pages), pages, GIVEN);
	if (page == pages)
		page = find_turn(0, pages, GIVEN);
	num = count_turn(page, pages, GIVEN);
	if (!num) {
		sleep_us(200);
		return;
	}
	set_turn(page, num, TAKEN);
	thread->throw(thread->mem + page * PAGE, num * PAGE);
	set_turn(page, num, THROWN);
}

static inline void *trouble_run(void *arg)
{
	const struct trouble_thread *thread = arg;

	random_seed(getpid() + thread->number);
	while (!trouble_stops()) {
		if (thread->throw)
			throw_some(thread);
		else
			thread->step(thread->mem, thread->size);
		trouble->rounds[thread->number]++;
	}
	return NULL;
}

/* Start one more: the step or the throw, on so much memory. */
static inline long own_trouble(const long *arg)
{
	struct trouble_thread *thread = &trouble_threads[num_troubles];

	must(num_troubles < TROUBLES);
	*thread = (struct trouble_thread) {
		.number = num_troubles,
		.step = (trouble_step)arg[0],
		.throw = (trouble_throw)arg[1],
		.mem = (uint8_t *)arg[2],
		.size = arg[3],
	};
	must(!pthread_create(&thread->thread, NULL, trouble_run, thread));
	num_troubles++;
	return 0;
}

static inline long own_no_trouble(const long *arg)
{
	(void)arg;
	while (num_troubles)
		pthread_join(trouble_threads[--num_troubles].thread, NULL);
	return 0;
}

/* The requester's side */

struct traffic {
	struct region region;
	uint8_t *model;
	uint8_t *ground;	/* what pages become that are thrown away */
	bool lazy;		/* what is thrown away may stay as it was */
	bool races;		/* what is being thrown away is written to */
	bool throws;
	int troubles;
	unsigned long batches;
	unsigned long retaken;
};

/* Before the owner is forked. */
static inline void traffic_init(void)
{
	trouble = mmap(NULL, sizeof(*trouble), RW, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	must(trouble != MAP_FAILED);
	batch_wanted = map_memory(BUF_SIZE);
}

/* On memory of the owner's, that is a pattern or zero. */
static inline struct traffic traffic_open(long addr, size_t size,
					  uint64_t seed)
{
	struct traffic t = { .region = region_reg(addr, size, ODP) };

	must(t.region.mr && size <= TRAFFIC_PAGES * PAGE);
	t.model = map_memory(size);
	t.ground = map_memory(size);
	if (seed) {
		pattern_fill(t.ground, size, seed);
		memcpy(t.model, t.ground, size);
	}
	memset(trouble, 0, sizeof(*trouble));
	return t;
}

static inline void traffic_forget(struct traffic *t)
{
	munmap(t->model, t->region.size);
	munmap(t->ground, t->region.size);
}

/* Bytes of a random run of pages in @turn, or none. */
static inline size_t some_bytes(const struct traffic *t, enum turn turn,
				size_t max, size_t *at)
{
	size_t pages = t->region.size / PAGE, page, run, len;

	page = find_turn(random_below(pages), pages, turn);
	run = count_turn(page, pages, turn) * PAGE;
	*at = 0;
	if (!run)
		return 0;
	*at = random_below(run);
	len = 1 + random_below(max);
	if (len > run - *at)
		len = run - *at;
	*at += page * PAGE;
	return len;
}

/* Several requests at once, the answers to which are known beforehand. */
struct batch {
	int num;
	enum kind kind;
	struct ibv_send_wr wr[BATCH];
	struct ibv_sge sge[BATCH];
	const uint8_t *wanted[BATCH];
};

static inline void batch_add(struct batch *b, const struct traffic *t,
			     enum ibv_wr_opcode opcode, size_t at, size_t len)
{
	uint8_t *here = buf[b->kind] + b->num * SLOT + (at & 63);
	uint8_t *wanted = batch_wanted + b->num * SLOT;
	uint64_t sum, add = random_u64();

	memcpy(wanted, t->model + at, len);
	b->sge[b->num] = sge_of(buf_mr[b->kind], here, len);
	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		b->wr[b->num] = atomic_wr(opcode, &b->sge[b->num],
					  t->region.addr + at, t->region.rkey,
					  add, 0);
		memcpy(&sum, t->model + at, 8);
		sum += add;
		memcpy(t->model + at, &sum, 8);
	} else {
		b->wr[b->num] = rdma_wr(opcode, &b->sge[b->num],
					t->region.addr + at, t->region.rkey);
	}
	if (opcode == IBV_WR_RDMA_WRITE) {
		random_fill(here, len);
		memcpy(t->model + at, here, len);
		wanted = NULL;
	}
	/* A write may overtake a read, but for this. */
	b->wr[b->num].send_flags |= IBV_SEND_FENCE;
	b->wr[b->num].wr_id = b->num;
	b->wanted[b->num] = wanted;
	if (b->num)
		b->wr[b->num - 1].next = &b->wr[b->num];
	b->num++;
}

static inline void batch_add_some(struct batch *b, const struct traffic *t)
{
	size_t at, len = some_bytes(t, OURS, random_below(6) ? 6000 :
				    SLOT - 64, &at);
	int what = random_below(5);

	if (!len)
		return;
	if (what)
		batch_add(b, t, what < 3 ? IBV_WR_RDMA_READ :
			  IBV_WR_RDMA_WRITE, at, len);
	else
		batch_add(b, t, IBV_WR_ATOMIC_FETCH_AND_ADD, at & ~7UL, 8);
}

static inline bool batch_run(struct batch *b)
{
	int i;

	if (!b->num)
		return true;
	post_send(me.qp, b->wr);
	for (i = 0; i < b->num; i++) {
		if (!expect_wc(me.scq, i, IBV_WC_SUCCESS))
			return false;
		if (b->wanted[i] &&
		    !expect_same((void *)b->sge[i].addr, b->wanted[i],
				 b->sge[i].length, "memory under traffic"))
			return false;
	}
	return true;
}

/* The owner's CPU, too, sees what there is. */
static inline bool peek_some(const struct traffic *t)
{
	unsigned int failures = tap->failures;
	size_t at, len = some_bytes(t, OURS, 3 * PAGE, &at);

	if (len)
		expect_memory(t->region.addr + at, t->model + at, len,
			      "memory seen by the CPU");
	return tap->failures == failures;
}

/* Pages that are given away, and what becomes of them */

static inline void give_some(const struct traffic *t)
{
	size_t at, len = some_bytes(t, OURS, 32 * PAGE, &at), page, num;

	if (!len)
		return;
	page = at / PAGE;
	num = (at + len - 1) / PAGE - page + 1;
	if (!t->lazy)
		memcpy(t->model + page * PAGE, t->ground + page * PAGE,
		       num * PAGE);
	set_turn(page, num, GIVEN);
}

static inline bool write_random(struct traffic *t, size_t at, size_t len)
{
	enum kind kind = any_kind();

	random_fill(buf[kind], len);
	memcpy(t->model + at, buf[kind], len);
	return expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
			     t->region.addr + at, t->region.rkey, len);
}

/* Write to what may be thrown away meanwhile, or not. */
static inline bool race_some(struct traffic *t)
{
	size_t at, len = some_bytes(t, GIVEN, 2 * PAGE, &at);

	return !len || !t->races || write_random(t, at, len);
}

/*
 * Pages that were thrown away are as at first, or as they were, but not half of
 * each; and what was written since, @len bytes at @at, is there.
 */
static inline bool check_thrown(const struct traffic *t, const uint8_t *seen,
				size_t first, size_t end, size_t at, size_t len)
{
	size_t i;

	for (; first < end; first++) {
		bool old = false, fresh = false;

		for (i = first * PAGE; i < (first + 1) * PAGE; i++, seen++) {
			bool written = i >= at && i < at + len;

			if (*seen == t->model[i])
				old |= *seen != t->ground[i] && !written;
			else if (*seen != t->ground[i] || written)
				return expect(false,
					      "byte %zu, %s, is %02x, not %02x",
					      i, written ? "written since" :
					      "thrown away", *seen,
					      t->model[i]);
			else
				fresh = true;
		}
		if (old && fresh && !t->races)
			return expect(false, "half of page %zu is thrown away",
				      first);
	}
	return true;
}

static inline const uint8_t *read_pages(const struct traffic *t, size_t first,
					size_t end)
{
	size_t len = (end - first) * PAGE;
	enum kind kind = any_kind();

	memset(buf[kind], 0x55, len);
	return expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind,
			     t->region.addr + first * PAGE, t->region.rkey,
			     len) ? buf[kind] : NULL;
}

/* From now on they keep what is written to them, and what they are else. */
static inline bool take_back_some(struct traffic *t)
{
	size_t at, len = some_bytes(t, THROWN, 16 * PAGE, &at);
	size_t first = at / PAGE, end = (at + len - 1) / PAGE + 1;
	const uint8_t *seen;

	if (!len)
		return true;
	if (random_below(2)) {
		seen = read_pages(t, first, end);
		if (!seen || !check_thrown(t, seen, first, end, 0, 0))
			return false;
	}
	if (!write_random(t, at, len))
		return false;
	seen = read_pages(t, first, end);
	if (!seen || !check_thrown(t, seen, first, end, at, len))
		return false;
	memcpy(t->model + first * PAGE, seen, (end - first) * PAGE);
	set_turn(first, end - first, OURS);
	t->retaken += end - first;
	return true;
}

static inline bool traffic_step(struct traffic *t)
{
	struct batch b = { .kind = any_kind() };
	int num = 1 + random_below(BATCH);

	if (t->throws)
		give_some(t);
	while (num--)
		batch_add_some(&b, t);
	t->batches++;
	return batch_run(&b) && race_some(t) && take_back_some(t) &&
	       (random_below(4) || peek_some(t));
}

static inline bool traffic_suffices(const struct traffic *t)
{
	int i;

	for (i = 0; i < t->troubles; i++)
		if (trouble->rounds[i] < 10)
			return false;
	return t->batches >= 20 && (!t->throws || t->retaken >= 20);
}

static inline bool traffic_run(struct traffic *t, unsigned int ms)
{
	uint64_t start = now_ms();
	bool good = true;

	while (good && (now_ms() - start < ms ||
			(!traffic_suffices(t) &&
			 now_ms() - start < ms + 2 * SOON_MS)))
		good = traffic_step(t);
	return good && expect(traffic_suffices(t),
			      "too few: %lu batches, %lu pages, rounds %lu %lu %lu %lu",
			      t->batches, t->retaken, trouble->rounds[0],
			      trouble->rounds[1], trouble->rounds[2],
			      trouble->rounds[3]);
}

static inline void trouble_add(struct traffic *t, trouble_step step,
			       trouble_throw throw)
{
	t->throws |= !!throw;
	t->troubles++;
	ask(&owner, own_trouble, (long)step, (long)throw, t->region.addr,
	    t->region.size);
}

/* Nothing is thrown away any more; what was, is taken back. */
static inline bool settle(struct traffic *t)
{
	size_t pages = t->region.size / PAGE;
	uint64_t end = now_ms() + SOON_MS;
	bool good = true;

	while (good && find_turn(0, pages, GIVEN) +
		       find_turn(0, pages, TAKEN) +
		       find_turn(0, pages, THROWN) < 3 * pages)
		good = take_back_some(t) &&
		       expect(now_ms() < end, "pages are not thrown away");
	return good;
}

static inline void trouble_end(struct traffic *t)
{
	__atomic_store_n(&trouble->stop, true, __ATOMIC_RELEASE);
	ask(&owner, own_no_trouble);
	t->troubles = 0;
	t->throws = false;
}

/* All of it, remotely and by the CPU. */
static inline void traffic_check(const struct traffic *t)
{
	size_t at, len;

	for (at = 0; at < t->region.size; at += len) {
		len = t->region.size - at;
		if (len > MIB - 9)
			len = MIB - 9;
		expect_read(&t->region, at, len, t->model + at,
			    "memory after the traffic");
		expect_memory(t->region.addr + at, t->model + at, len,
			      "memory seen by the CPU after the traffic");
	}
}

/*
 * Batches until one fails; its status, or 0.  @old is the model before it: only
 * one request of a batch writes, so memory is like the one or the other.  What
 * is wrong may be a single page: now and then a write begins at @suspect.
 */
static inline int batches_until_error(struct traffic *t, uint8_t *old,
				      size_t suspect)
{
	uint64_t end = now_ms() + SOON_MS;
	int status = 0, writer, i;
	size_t at, len;

	while (!status && now_ms() < end) {
		struct batch b = { .kind = any_kind() };

		memcpy(old, t->model, t->region.size);
		writer = random_below(BATCH);
		for (i = 0; i < BATCH; i++) {
			len = some_bytes(t, OURS, SLOT - 64, &at);
			if (i == writer && !random_below(8) &&
			    len <= t->region.size - suspect)
				at = suspect;
			batch_add(&b, t, i == writer ? IBV_WR_RDMA_WRITE :
				  IBV_WR_RDMA_READ, at, len);
		}
		post_send(me.qp, b.wr);
		for (i = 0; i < b.num && !status; i++)
			status = end_access(SOON_MS);
	}
	return status;
}

/*
 * After batches_until_error().  Behind @end there is nothing, except perhaps on
 * its page: where a file ends on a page, the kernel promises no more.
 */
static inline void check_either(struct traffic *t, const uint8_t *old,
				size_t end)
{
	size_t size = t->region.size, i;
	uint8_t *seen = map_memory(size);

	for (i = 0; i < size; i += MIB) {
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
			      t->region.addr + i, t->region.rkey, MIB);
		memcpy(seen + i, buf[PINNED], MIB);
	}
	for (i = 0; i < size; i++) {
		bool kept = seen[i] == old[i] || seen[i] == t->model[i];

		if (i < end ? !kept : seen[i] &&
		    (!kept || i >= (end | (PAGE - 1)) + 1))
			break;
	}
	expect_eq(i, size, "bytes after an error");
	memcpy(t->model, seen, size);
	munmap(seen, size);
}

#endif /* TRAFFIC_H */
