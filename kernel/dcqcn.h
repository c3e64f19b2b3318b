/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * dcqcn.h - how fast a sender may go that was told of congestion: DCQCN, as
 * in "Congestion Control for Large-Scale RDMA Deployments" (SIGCOMM 2015).
 *
 * Pure arithmetic, built by the unit tests too.  Rates are in bytes per second,
 * times in nanoseconds.  No timer runs: what time has brought about is made up
 * for when somebody asks.
 *
 * A notification cuts the rate by up to a half, the more the more there were
 * of late.  Then it goes half-way back to what it was before, round by round:
 * that is fast recovery.  From there on it goes up by steps, additive increase,
 * and by longer and longer leaps if so much is sent that it would have been
 * told: hyper increase.
 */
#ifndef TIDE_DCQCN_H
#define TIDE_DCQCN_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif

/*
 * From where on a rate is no limit: 100 Gbit/s.  What the link is said to do is
 * no guide, as virtual ones say anything, and the bottleneck may be elsewhere.
 * This is more than a queue pair of software composes, and above it a limit
 * would be one in name only.
 */
#define TIDE_DCQCN_FREE		12500000000ULL

/* A queue pair goes on at 1 Mbit/s, whatever it is told. */
#define TIDE_DCQCN_LEAST	125000ULL

/*
 * The least between two cuts, and a round.  Both are longer than hardware's, as
 * what goes from host to host by software takes longer, and comes in batches:
 * the answer to a cut has to show before the next, and before it is undone.
 */
#define TIDE_DCQCN_CUT_GAP	200000ULL
#define TIDE_DCQCN_ROUND_NS	4000000ULL

/* What has to be sent, too, so that the rate goes up by a leap. */
#define TIDE_DCQCN_LEAP_BYTES	(128U << 10)

/* Who has not been there for so long begins anew. */
#define TIDE_DCQCN_FORGOTTEN	1000000000ULL

/**
 * struct tide_dcqcn - a limited sender
 * @rate: what it may send
 * @target: what @rate is on the way to
 * @alpha: how congested it is: TIDE_DCQCN_ALL is as much as can be
 * @alpha_at: since when @alpha decays
 * @cut_at: when @rate was last cut
 * @round_at: when the current round has begun
 * @rounds: of those on the way back, how many are over
 * @leaps: since then, how often bytes have come together for one
 * @bytes: sent since the last leap, or cut
 */
struct tide_dcqcn {
	__u64 rate;
	__u64 target;
	__u32 alpha;
	__u64 alpha_at;
	__u64 cut_at;
	__u64 round_at;
	__u32 rounds;
	__u32 leaps;
	__u64 bytes;
};

#define TIDE_DCQCN_ALL		(1U << 20)

/**
 * tide_dcqcn_begin - the first notification
 * @dcqcn: becomes a sender that was not limited, and is from now on
 * @now: the time
 */
void tide_dcqcn_begin(struct tide_dcqcn *dcqcn, __u64 now);

/**
 * tide_dcqcn_cut - one more notification
 * @dcqcn: the sender
 * @now: the time
 *
 * Return: false if it came so soon that it tells nothing new.
 */
bool tide_dcqcn_cut(struct tide_dcqcn *dcqcn, __u64 now);

/**
 * tide_dcqcn_advance - time has passed
 * @dcqcn: the sender
 * @now: the time
 *
 * Return: false if the sender is not limited any more.
 */
bool tide_dcqcn_advance(struct tide_dcqcn *dcqcn, __u64 now);

/**
 * tide_dcqcn_sent - something was sent
 * @dcqcn: the sender
 * @bytes: how much
 */
void tide_dcqcn_sent(struct tide_dcqcn *dcqcn, __u32 bytes);

#endif /* TIDE_DCQCN_H */
