/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * congestion.h - congestion control of connections to other hosts: who gets
 * packets that were marked on their way says so, by a CNP (IBTA annex
 * A17.9.3), and who is told sends less.
 *
 * All of it is under tide_qp.lock.  A queue pair that was not told lately is
 * not limited, and only looks whether it is.
 */
#ifndef TIDE_CONGESTION_H
#define TIDE_CONGESTION_H

#include <linux/hrtimer.h>

#include "dcqcn.h"
#include "emit.h"

struct tide_outbox;
struct tide_qp;

/**
 * struct tide_congestion - a queue pair's part in it
 * @limited: what follows up to @timer is valid
 * @dcqcn: how fast it may send
 * @priced: the rate that the next two were made of
 * @price: of a byte, in nanoseconds, in fixed point
 * @burst: bytes that may leave at once
 * @next: when something may be sent again
 * @timer: fires then, if something is to be
 * @told_at: when the peer was last told
 */
struct tide_congestion {
	bool limited;
	struct tide_dcqcn dcqcn;
	u64 priced;
	u64 price;
	u32 burst;
	u64 next;
	struct hrtimer timer;
	u64 told_at;
};

void tide_congestion_init(struct tide_congestion *congestion);
void tide_congestion_start(struct tide_congestion *congestion);
void tide_congestion_shutdown(struct tide_congestion *congestion);
u8 tide_congestion_ecn(void);
void tide_congestion_met(struct tide_qp *qp, struct tide_outbox *out);
void tide_congestion_told(struct tide_qp *qp);
bool tide_congestion_may_send_limited(struct tide_congestion *congestion);
void tide_congestion_sent_limited(struct tide_congestion *congestion,
				  u32 bytes);

/**
 * tide_congestion_may_send - whether a burst may be sent now
 * @congestion: of a queue pair that is locked
 *
 * Return: true; or false if it has to wait.  Then the timer has whoever sends
 * try again.
 */
static inline bool tide_congestion_may_send(struct tide_congestion *congestion)
{
	return !congestion->limited ||
	       tide_congestion_may_send_limited(congestion);
}

/**
 * tide_congestion_sent - a burst is being sent
 * @congestion: of a queue pair that is locked
 * @bytes: how much that is
 */
static inline void tide_congestion_sent(struct tide_congestion *congestion,
					u32 bytes)
{
	if (congestion->limited)
		tide_congestion_sent_limited(congestion, bytes);
}

/* Whether a queue pair sends more slowly than it could. */
static inline bool
tide_congestion_is_limiting(const struct tide_congestion *congestion)
{
	return READ_ONCE(congestion->limited);
}

/* How many packets with @mtu bytes of payload a burst may have. */
static inline u32
tide_congestion_packets(const struct tide_congestion *congestion, u32 mtu)
{
	if (!tide_congestion_is_limiting(congestion))
		return TIDE_BURST_PACKETS;
	return clamp(READ_ONCE(congestion->burst) / mtu, 1U,
		     (u32)TIDE_BURST_PACKETS);
}

#endif /* TIDE_CONGESTION_H */
