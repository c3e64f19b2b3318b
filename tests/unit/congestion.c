// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The rate of a sender that is told of congestion: how it falls, how it comes
 * back, where it ends, and that no time and no rate is too much for it.
 */
#include "../../kernel/dcqcn.c"
#include "tap.h"

#define US		1000ULL
#define MS		(1000 * US)
#define SECOND		(1000 * MS)
#define MBIT		125000ULL
#define GBIT		(1000 * MBIT)
#define PACKET		4096

static struct tide_dcqcn sender;
static __u64 now;

/* Notifications come as fast as they count, until the rate is no more. */
static void cut_to(__u64 rate)
{
	int cuts = 1;

	tide_dcqcn_begin(&sender, now);
	for (; sender.rate > rate && cuts < 1000; cuts++) {
		now += TIDE_DCQCN_CUT_GAP;
		tide_dcqcn_cut(&sender, now);
	}
}

/*
 * Send for a time, never faster than the link; false when there is no limit
 * any more.
 */
static bool send_for(__u64 ns, __u64 link)
{
	__u64 end = now + ns, rate;
	bool limited = true;

	while (limited && now < end) {
		rate = sender.rate < link ? sender.rate : link;
		tide_dcqcn_sent(&sender, PACKET);
		now += PACKET * SECOND / rate;
		limited = tide_dcqcn_advance(&sender, now);
	}
	return limited;
}

static void falls(void)
{
	__u64 before;
	int i;

	now = SECOND;
	tide_dcqcn_begin(&sender, now);
	ok(sender.rate == TIDE_DCQCN_FREE / 2, "the first notification halves");
	ok(sender.target == TIDE_DCQCN_FREE, "and is to be made up for");

	before = sender.rate;
	ok(!tide_dcqcn_cut(&sender, now + TIDE_DCQCN_CUT_GAP - 1) &&
	   sender.rate == before, "one right behind it tells nothing new");
	ok(tide_dcqcn_cut(&sender, now + TIDE_DCQCN_CUT_GAP) &&
	   sender.rate < before * 51 / 100 && sender.rate >= before / 2,
	   "a later one halves again");

	/* alpha's half-life is 44 periods. */
	now += TIDE_DCQCN_CUT_GAP + 44 * 220 * US;
	before = sender.rate;
	tide_dcqcn_cut(&sender, now);
	ok(sender.rate > before * 74 / 100 && sender.rate < before * 76 / 100,
	   "the longer there was none the less it takes");

	for (i = 0; i < 1000; i++) {
		now += TIDE_DCQCN_CUT_GAP;
		tide_dcqcn_cut(&sender, now);
	}
	ok(sender.rate == TIDE_DCQCN_LEAST, "there is a least");
	ok(sender.alpha <= TIDE_DCQCN_ALL &&
	   sender.alpha > TIDE_DCQCN_ALL * 99ULL / 100,
	   "alpha comes to all, and no further");
}

static void rounds(unsigned int number)
{
	now += number * TIDE_DCQCN_ROUND_NS;
	tide_dcqcn_advance(&sender, now);
}

static void recovers(void)
{
	__u64 target;

	now = SECOND;
	cut_to(GBIT);
	target = sender.target;
	tide_dcqcn_advance(&sender, now + TIDE_DCQCN_ROUND_NS - 1);
	ok(sender.rate < GBIT && sender.target == target,
	   "nothing happens before a round is over");
	rounds(3);
	ok(sender.target == target && sender.rate > target * 93 / 100 &&
	   sender.rate <= target, "three rounds bring back most of what was");
	rounds(2);
	ok(sender.target == target + 2 * 5 * MBIT, "then it goes up by steps");

	tide_dcqcn_sent(&sender, TIDE_DCQCN_LEAP_BYTES - 1);
	rounds(1);
	ok(sender.target == target + 3 * 5 * MBIT,
	   "as long as little is sent");
	tide_dcqcn_sent(&sender, 1);
	rounds(2);
	ok(sender.target == target + 5 * 5 * MBIT, "so at first");
	tide_dcqcn_sent(&sender, TIDE_DCQCN_LEAP_BYTES);
	rounds(2);
	ok(sender.target == target + (7 * 5 + 100) * MBIT,
	   "and then by leaps, when enough was sent");
	tide_dcqcn_sent(&sender, TIDE_DCQCN_LEAP_BYTES);
	rounds(1);
	ok(sender.target == target + (8 * 5 + 100 + 200) * MBIT,
	   "which become longer");

	target = sender.rate;
	now += 200 * US;
	tide_dcqcn_cut(&sender, now);
	ok(sender.target == target && !sender.rounds && !sender.leaps &&
	   !sender.bytes, "a notification begins all of it anew");
}

static void comes_back(__u64 rate, __u64 link, __u64 ms)
{
	now = SECOND;
	cut_to(rate);
	send_for(ms * MS, link);
	ok(!tide_dcqcn_advance(&sender, now) || sender.rate >= link,
	   "from %llu to %llu Mbit/s in %llu ms", rate / MBIT, link / MBIT, ms);
	ok(!send_for(SECOND, link), "and then there is no limit");
}

/* One notification in each millisecond: it neither starves nor gets away. */
static void settles(void)
{
	__u64 least = ~0ULL, most = 0;
	int i;

	now = SECOND;
	cut_to(GBIT);
	for (i = 0; i < 2000; i++) {
		if (!send_for(MS, 10 * GBIT))
			break;
		tide_dcqcn_cut(&sender, now);
		if (i < 1000)
			continue;
		least = sender.rate < least ? sender.rate : least;
		most = sender.rate > most ? sender.rate : most;
	}
	ok(i == 2000 && least > TIDE_DCQCN_LEAST && most < 10 * GBIT,
	   "it settles between %llu and %llu kbit/s", least * 8 / 1000,
	   most * 8 / 1000);
}

static void extremes(void)
{
	__u64 jump;

	now = SECOND;
	tide_dcqcn_begin(&sender, now);
	sender.rate = 400 * GBIT;
	sender.alpha = TIDE_DCQCN_ALL;
	tide_dcqcn_cut(&sender, now + MS);
	ok(sender.rate > 200 * GBIT && sender.rate < 220 * GBIT,
	   "400 Gbit/s are not too much");

	cut_to(MBIT);
	sender.rate = MBIT;
	tide_dcqcn_cut(&sender, now + MS);
	ok(sender.rate == MBIT, "1 Mbit/s is not too little");
	tide_dcqcn_sent(&sender, 0xffff0000);
	ok(sender.rate >= MBIT, "nor are four gigabytes at once too much");

	for (jump = 1; jump < 1ULL << 62; jump <<= 1) {
		now = SECOND;
		cut_to(10 * MBIT);
		if (!tide_dcqcn_advance(&sender, now + jump) &&
		    jump < TIDE_DCQCN_FORGOTTEN)
			break;
		now = SECOND;
		cut_to(10 * MBIT);
		tide_dcqcn_cut(&sender, now + jump);
		if (sender.rate < TIDE_DCQCN_LEAST ||
		    sender.rate > TIDE_DCQCN_FREE ||
		    sender.alpha > TIDE_DCQCN_ALL)
			break;
	}
	ok(jump == 1ULL << 62, "time may jump, by 2^62 ns (by %llu)", jump);
	cut_to(10 * MBIT);
	ok(!tide_dcqcn_advance(&sender, now + 2 * TIDE_DCQCN_FORGOTTEN),
	   "what was long ago does not count");
}

int main(void)
{
	falls();
	recovers();
	comes_back(GBIT, 10 * GBIT, 100);
	comes_back(100 * MBIT, 10 * GBIT, 100);
	comes_back(10 * MBIT, 10 * GBIT, 150);
	comes_back(10 * MBIT, 300 * MBIT, 100);
	comes_back(MBIT, 10 * GBIT, 500);
	settles();
	extremes();
	return tap_end();
}
