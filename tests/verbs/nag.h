/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * nag.h - threads of an owner's that do the same thing over and over, and
 * what the owner says of itself without being asked.
 */
#ifndef NAG_H
#define NAG_H

#include "region.h"

/* What the owner says: memory that both processes see. */
static struct news {
	unsigned int begun;
	unsigned int done;
	uint64_t addr;
	uint32_t key;
	unsigned int go_on;
} *news;

/* Before there is an owner. */
static inline void news_open(void)
{
	news = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(news != MAP_FAILED);
}

static inline struct region region_reg_with(uint64_t addr, size_t size,
					    int access)
{
	struct region region = { .addr = addr, .size = size };

	region.mr = ask(&owner, own_reg, addr, size, access);
	if (region.mr)
		region.rkey = ask(&owner, own_rkey, region.mr);
	return region;
}

/* The memory stays. */
static inline void region_dereg(struct region *region)
{
	if (region->mr)
		expect_eq(ask(&owner, own_dereg, region->mr), 0, "dereg");
	region->mr = 0;
}

/*
 * When a thing is done to memory under traffic: the owner says so before and
 * after, and so it is known for each request what may come of it.
 */

static inline void say_begun(void)
{
	__atomic_add_fetch(&news->begun, 1, __ATOMIC_SEQ_CST);
}

static inline void say_done(void)
{
	__atomic_add_fetch(&news->done, 1, __ATOMIC_SEQ_CST);
}

static inline bool has_begun(void)
{
	return __atomic_load_n(&news->begun, __ATOMIC_SEQ_CST);
}

static inline bool is_done(void)
{
	return __atomic_load_n(&news->done, __ATOMIC_SEQ_CST);
}

static inline void no_news(void)
{
	memset(news, 0, sizeof(*news));
}

/* Some part of the time that a test's traffic lasts. */
static inline void a_while(void)
{
	sleep_us(random_below(20000));
}

/* The other side's QP has had an error; new ones for both. */
static inline void owner_reconnect(void)
{
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);
}

/*
 * Threads of the owner's that do the same thing over and over until they are
 * told to stop; then they tell how often they did it.
 */

#define NAGS	4

struct nag {
	pthread_t thread;
	owner_function step;		/* NULL: there is none */
	long arg[OWNER_ARGS];
	bool stop;
	long rounds;
};

static struct nag nags[NAGS];

static inline void *nag_run(void *arg)
{
	struct nag *nag = arg;

	random_seed(getpid() + (nag - nags) * 7919);
	while (!__atomic_load_n(&nag->stop, __ATOMIC_ACQUIRE)) {
		nag->step(nag->arg);
		__atomic_add_fetch(&nag->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Start one: what it does is the first argument, and gets those after it. */
static inline long own_nag(const long *arg)
{
	int i = 0;

	while (nags[i].step)
		i++;
	must(i < NAGS);
	memset(&nags[i], 0, sizeof(nags[i]));
	nags[i].step = (owner_function)arg[0];
	memcpy(nags[i].arg, arg + 1, (OWNER_ARGS - 1) * sizeof(*arg));
	must(!pthread_create(&nags[i].thread, NULL, nag_run, &nags[i]));
	return i;
}

/* How often it was done, until now. */
static inline long own_nag_rounds(const long *arg)
{
	return __atomic_load_n(&nags[arg[0]].rounds, __ATOMIC_RELAXED);
}

static inline long own_nag_stop(const long *arg)
{
	struct nag *nag = &nags[arg[0]];

	__atomic_store_n(&nag->stop, true, __ATOMIC_RELEASE);
	must(!pthread_join(nag->thread, NULL));
	nag->step = NULL;
	return nag->rounds;
}

#endif /* NAG_H */
