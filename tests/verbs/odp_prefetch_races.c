// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ibv_advise_mr() about pages that somebody has to provide, and about what is
 * going: nobody waits for it who has not asked to, and who waits can be
 * killed.
 */
#include "prefetch.h"
#include "uffd.h"

#define SIZE		(5 * MIB)
#define AT		(MIB + 77)
#define LEN		(3 * MIB + 1000)

static pthread_t advisor;
static long advisor_arg[OWNER_ARGS];

static void *advise_in_thread(void *unused)
{
	long ret = own_prefetch(advisor_arg);

	(void)unused;
	say_done();
	return (void *)ret;
}

static long own_start_prefetch(const long *arg)
{
	memcpy(advisor_arg, arg, sizeof(advisor_arg));
	return pthread_create(&advisor, NULL, advise_in_thread, NULL);
}

static long own_end_prefetch(const long *arg)
{
	void *ret;

	(void)arg;
	must(!pthread_join(advisor, &ret));
	return (long)ret;
}

static struct region missing_open(void)
{
	struct region region = region_map(8 * PAGE, ODP);

	no_news();
	expect_eq(ask(&owner, uffd_open, region.addr, 8 * PAGE,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	return region;
}

static void waits_for_handler(int advice)
{
	struct region region = missing_open(), other = region_map(SIZE, ODP);
	int i;

	ask(&owner, own_start_prefetch, advice, FLUSH, region.rkey,
	    region.addr + PAGE + 5, 3 * PAGE - 10);
	for (i = 1; i < 4; i++) {
		uint64_t page = region.addr + i * PAGE;

		expect_eq(ask(&owner, uffd_wait, SOON_MS), page, "page");
		write_pattern(&other, AT, 9000, i);
		expect_read_pattern(&other, AT, 9000, i, "others meanwhile");
		expect(!is_done(), "it did not wait");
		expect_eq(ask(&owner, uffd_copy, page, i), 0, "copy");
	}
	expect_eq(ask(&owner, own_end_prefetch), 0, "advise");
	for (i = 1; i < 4; i++)
		expect_read_pattern(&region, i * PAGE, PAGE, i, "a page");
	ask(&owner, uffd_close);
	region_drop(&other);
	region_drop(&region);
}

/* Nobody waits: not who asks, nor who deregisters. */
static void waits_for_nobody(void)
{
	struct region region = missing_open();
	uint64_t start = now_ms();

	expect_eq(prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, ASYNC,
			   0, 8 * PAGE), 0, "advise");
	expect_soon(start, "an advice");
	sleep_ms(50);
	start = now_ms();
	region_dereg(&region);
	expect_soon(start, "dereg");
	ask(&owner, uffd_close);
	region_drop(&region);
}

static void pages_of_others(void)
{
	if (!have_uffd()) {
		skip("there is no userfaultfd here");
		goto out;
	}
	waits_for_handler(IBV_ADVISE_MR_ADVICE_PREFETCH);
	waits_for_handler(IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE);
	waits_for_nobody();
out:
	point("pages that a handler provides");
}

/* Who waits for one that never comes can be killed, as can who does not. */
static void killed(int flags)
{
	struct region region;
	uint64_t start;

	owner_open(&owner, false);
	region = missing_open();
	if (flags == FLUSH) {
		ask(&owner, own_start_prefetch,
		    IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, FLUSH, region.rkey,
		    region.addr, PAGE);
		expect_eq(ask(&owner, uffd_wait, SOON_MS), region.addr, "page");
	} else {
		prefetch(&region, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, ASYNC,
			 0, 8 * PAGE);
	}
	start = now_ms();
	kill_child(&owner.child);
	expect_soon(start, "its end");
	me_close();
	point("killed after advice, %s", flags ? "waiting" : "not waiting");
}

/* Advice about what is going */

static long own_advise_all(const long *arg)
{
	uint32_t key = __atomic_load_n(&news->key, __ATOMIC_SEQ_CST);
	int how = random_below(2 * ARRAY_SIZE(advices)), ret;
	struct ibv_sge sge = { arg[0], SIZE, key };

	ret = ibv_advise_mr(own.pd, advices[how / 2].advice,
			    how & 1 ? FLUSH : ASYNC, &sge, 1);
	expect(!ret || ret == EFAULT || ret == ENOENT, "advise: %d", ret);
	return ret;
}

static long own_map_again(const long *arg)
{
	sleep_us(random_below(2000));
	must(!munmap((void *)arg[0], SIZE));
	sleep_us(random_below(2000));
	must(mmap((void *)arg[0], SIZE, RW, ANON | MAP_FIXED, -1, 0) ==
	     (void *)arg[0]);
	return 0;
}

static bool all_happened(const long *nag)
{
	int i;

	for (i = 0; i < 3; i++)
		if (ask(&owner, own_nag_rounds, nag[i]) <= 3)
			return false;
	return true;
}

static void goes(bool by_exit)
{
	uint64_t end;
	struct region region;
	long nag[3];
	int i;

	owner_open(&owner, false);
	no_news();
	region = region_map(SIZE, ODP);
	news->key = region.rkey;
	nag[0] = ask(&owner, own_nag, (long)own_advise_all, region.addr);
	nag[1] = ask(&owner, own_nag, (long)own_advise_all, region.addr);
	nag[2] = ask(&owner, own_nag, (long)own_map_again, region.addr);
	end = now_ms() + length_of(700, 20000);
	while (now_ms() < end || (!all_happened(nag) &&
				  now_ms() < end + SOON_MS)) {
		struct region next = region_reg(region.addr, SIZE, ODP);

		news->key = next.rkey;
		region_dereg(&region);
		region = next;
	}
	if (by_exit) {
		kill_child(&owner.child);
		me_close();
	} else {
		for (i = 0; i < 3; i++)
			expect(ask(&owner, own_nag_stop, nag[i]) > 3,
			       "nothing happened");
		write_pattern(&region, AT, LEN, 1);
		expect_eq(ask(&owner, own_check, region.addr + AT, LEN, 1),
			  LEN, "bytes");
		region_drop(&region);
		owner_close(&owner);
	}
	point("advice about what is going, and then %s", by_exit ?
	      "the process is killed" : "stays");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	news_open();
	owner_open(&owner, false);
	pages_of_others();
	owner_close(&owner);
	if (have_uffd()) {
		killed(FLUSH);
		killed(ASYNC);
	}
	goes(false);
	goes(true);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
