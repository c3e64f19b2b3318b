// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * dcqcn.c - the rate of a sender that was told of congestion.
 */
#include "dcqcn.h"

/*
 * How much one notification counts in alpha, and one period without: 1/64.  A
 * period is a little longer than the time between two cuts.  Hardware has
 * shorter ones, and 1/256: so it forgets as slowly.
 */
#define GAIN_SHIFT	6
#define ALPHA_PERIOD	220000

/* Rounds on the way back to where it was. */
#define RECOVERY_ROUNDS	3

/* Then, by one round: 5 Mbit/s, and multiples of 100 Mbit/s. */
#define STEP		625000ULL
#define LEAP		12500000ULL

/* @alpha * (1 - 1/64)^@periods */
static __u32 decayed(__u32 alpha, __u64 periods)
{
	__u64 factor = (1ULL << 32) - (1ULL << (32 - GAIN_SHIFT));

	for (; periods && alpha; periods >>= 1) {
		if (periods & 1)
			alpha = alpha * factor >> 32;
		/* Less than one, so that the square fits. */
		factor = factor * factor >> 32;
	}
	return alpha;
}

static void decay(struct tide_dcqcn *dcqcn, __u64 now)
{
	__u64 periods;

	if (now < dcqcn->alpha_at + ALPHA_PERIOD)
		return;
	periods = (now - dcqcn->alpha_at) / ALPHA_PERIOD;
	dcqcn->alpha = decayed(dcqcn->alpha, periods);
	dcqcn->alpha_at += periods * ALPHA_PERIOD;
}

static void cut(struct tide_dcqcn *dcqcn, __u64 now)
{
	__u64 less = dcqcn->rate * dcqcn->alpha / (2 * TIDE_DCQCN_ALL);

	dcqcn->target = dcqcn->rate;
	dcqcn->rate -= less;
	if (dcqcn->rate < TIDE_DCQCN_LEAST)
		dcqcn->rate = TIDE_DCQCN_LEAST;
	dcqcn->alpha -= dcqcn->alpha >> GAIN_SHIFT;
	dcqcn->alpha += TIDE_DCQCN_ALL >> GAIN_SHIFT;
	dcqcn->alpha_at = now;
	dcqcn->cut_at = now;
	dcqcn->round_at = now;
	dcqcn->rounds = 0;
	dcqcn->leaps = 0;
	dcqcn->bytes = 0;
}

void tide_dcqcn_begin(struct tide_dcqcn *dcqcn, __u64 now)
{
	dcqcn->rate = TIDE_DCQCN_FREE;
	dcqcn->alpha = TIDE_DCQCN_ALL;
	cut(dcqcn, now);
}

bool tide_dcqcn_cut(struct tide_dcqcn *dcqcn, __u64 now)
{
	if (now < dcqcn->cut_at + TIDE_DCQCN_CUT_GAP)
		return false;
	decay(dcqcn, now);
	cut(dcqcn, now);
	return true;
}

/*
 * A round is over.  To go up by more than a step takes more than time: who has
 * sent nothing cannot have been told.
 */
static void raise(struct tide_dcqcn *dcqcn)
{
	if (dcqcn->rounds < RECOVERY_ROUNDS) {
		dcqcn->rounds++;
	} else {
		dcqcn->target += STEP;
		if (dcqcn->bytes >= TIDE_DCQCN_LEAP_BYTES) {
			dcqcn->bytes = 0;
			dcqcn->target += LEAP * dcqcn->leaps++;
		}
	}
	dcqcn->rate = (dcqcn->rate + dcqcn->target + 1) / 2;
}

static bool is_limited(const struct tide_dcqcn *dcqcn)
{
	return dcqcn->rate < TIDE_DCQCN_FREE;
}

bool tide_dcqcn_advance(struct tide_dcqcn *dcqcn, __u64 now)
{
	if (now > dcqcn->round_at + TIDE_DCQCN_FORGOTTEN)
		return false;
	while (is_limited(dcqcn) &&
	       now >= dcqcn->round_at + TIDE_DCQCN_ROUND_NS) {
		dcqcn->round_at += TIDE_DCQCN_ROUND_NS;
		raise(dcqcn);
	}
	return is_limited(dcqcn);
}

void tide_dcqcn_sent(struct tide_dcqcn *dcqcn, __u32 bytes)
{
	dcqcn->bytes += bytes;
}
