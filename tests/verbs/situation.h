/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * situation.h - a table's line for each thing that may happen to memory while
 * there is traffic: what memory it is, and what happens to it.
 */
#ifndef SITUATION_H
#define SITUATION_H

#include "storage.h"
#include "traffic.h"

/* What may happen to memory */
struct situation {
	const char *name;
	owner_function map;		/* of so much memory; its address */
	size_t size;
	trouble_step steps[TROUBLES - 1];
	trouble_throw throw;
	bool lazy;
	bool races;
	const char *evidence;		/* a counter of the kernel's that rises */
	bool needs_swap;
	uint64_t seed;			/* what the memory is at first, or 0 */
	void (*before)(struct traffic *t);
	void (*also)(const struct traffic *t, bool mapped);
};

/* Whether that has happened which is said to happen, if that can be told. */
static inline bool situation_arose(const struct situation *s, long before)
{
	return !s->evidence || before < 0 || vmstat(s->evidence) > before;
}

static inline void situation_in(struct traffic *t, const struct situation *s,
				long before)
{
	uint64_t end;
	int i;

	if (s->before)
		s->before(t);
	t->lazy = s->lazy;
	t->races = s->races;
	if (s->throw)
		trouble_add(t, NULL, s->throw);
	for (i = 0; i < TROUBLES - 1 && s->steps[i]; i++)
		trouble_add(t, s->steps[i], NULL);
	end = now_ms() + 2 * SOON_MS;
	if (traffic_run(t, length_of(700, 20000))) {
		while (!situation_arose(s, before) && now_ms() < end &&
		       traffic_run(t, 100))
			;
		settle(t);
	}
	trouble_end(t);
	if (!tap->failures)
		traffic_check(t);
}

static inline void situation(const struct situation *s)
{
	long before = s->evidence ? vmstat(s->evidence) : -1;
	struct traffic t;
	long addr;

	if (s->needs_swap && !have_swap) {
		skip("there is no swap");
		goto out;
	}
	addr = ask(&owner, s->map, s->size);
	if (addr < 0) {
		skip("there is no such memory here");
		goto out;
	}
	t = traffic_open(addr, s->size, s->seed);
	situation_in(&t, s, before);
	if (s->also && !tap->failures)
		s->also(&t, true);
	region_drop(&t.region);
	if (s->also && !tap->failures)
		s->also(&t, false);
	traffic_forget(&t);
	expect(tap->failures || situation_arose(s, before),
	       "%s stays at %ld: nothing was tested", s->evidence, before);
out:
	point("%s", s->name);
	if (tap->failed)
		owner_connect(&owner);
}

/* Part of the memory, at random */
static inline uint8_t *some_pages(uint8_t *mem, size_t size, size_t *len)
{
	size_t first = random_below(size / PAGE);
	size_t num = 1 + random_below(random_below(2) ? 4 : 512);

	if (num > size / PAGE - first)
		num = size / PAGE - first;
	*len = num * PAGE;
	return mem + first * PAGE;
}

static inline void page_out(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	madvise(at, len, MADV_PAGEOUT);
	sleep_us(random_below(1000));
}

static inline void make_cold(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	madvise(at, len, MADV_COLD);
	sleep_us(random_below(1000));
}

static inline long own_map_anonymous(const long *arg)
{
	return own_map((const long [OWNER_ARGS]){ 0, arg[0], RW, ANON, -1 });
}

static inline long own_map_shared(const long *arg)
{
	return own_map((const long [OWNER_ARGS]){ 0, arg[0], RW, MAP_SHARED |
						  MAP_ANONYMOUS, -1 });
}

#endif /* SITUATION_H */
