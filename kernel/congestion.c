// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * congestion.c - telling of congestion, and sending less when told.
 *
 * What is limited is what a queue pair sends, be it requests or what was read.
 * Each burst has its price in time, and when that is over the next may be sent.
 */
#include <linux/ktime.h>
#include <linux/module.h>
#include <net/inet_ecn.h>

#include "compat.h"
#include "congestion.h"
#include "device.h"
#include "requester.h"
#include "wire.h"

/* The least time between two CNPs of a queue pair. */
#define CNP_GAP		(50 * NSEC_PER_USEC)

/* What may leave at once is as much as may in 1/4096 of a second. */
#define BURST_SHIFT	12

/* Timers are late, which is made up for, up to this. */
#define LATE		(250 * NSEC_PER_USEC)

/* Nanoseconds in fixed point: 1 Mbit/s fits, and so do 400 Gbit/s. */
#define PRICE_SHIFT	20

static bool congestion_control = true;
module_param(congestion_control, bool, 0644);
MODULE_PARM_DESC(congestion_control, "connections to other hosts heed congestion: packets may be marked by ECN, and are answered by CNPs, by which senders slow down (DCQCN)");

static bool is_on(void)
{
	return READ_ONCE(congestion_control);
}

static enum hrtimer_restart try_again(struct hrtimer *timer)
{
	struct tide_wire *wire = container_of(timer, struct tide_wire,
					      congestion.timer);

	if (READ_ONCE(wire->rx.read.held))
		tide_lane_kick(&wire->requests);
	tide_req_softirq(wire->requests.qp);
	return HRTIMER_NORESTART;
}

/**
 * tide_congestion_init - with the rest of what a connection needs
 * @congestion: zeroes
 */
void tide_congestion_init(struct tide_congestion *congestion)
{
	tide_hrtimer_setup(&congestion->timer, try_again, CLOCK_MONOTONIC,
			   HRTIMER_MODE_ABS_SOFT);
}

/* A connection begins.  The queue pair is locked. */
void tide_congestion_start(struct tide_congestion *congestion)
{
	WRITE_ONCE(congestion->limited, false);
	congestion->told_at = 0;
}

/*
 * Nothing will be sent any more, so the timer is not started again.  Context:
 * process, no locks.
 */
void tide_congestion_shutdown(struct tide_congestion *congestion)
{
	hrtimer_cancel(&congestion->timer);
}

/* What packets of connections have in ECN's bits of the IP header. */
u8 tide_congestion_ecn(void)
{
	return is_on() ? INET_ECN_ECT_0 : INET_ECN_NOT_ECT;
}

/**
 * tide_congestion_met - a packet has come that was marked
 * @qp: the queue pair it was for, locked
 * @out: takes a CNP, if it is time for one
 */
void tide_congestion_met(struct tide_qp *qp, struct tide_outbox *out)
{
	struct tide_congestion *congestion = &qp->wire->congestion;
	struct tide_packet packet = tide_wire_packet(qp, 0, 0);
	u64 now = ktime_get_ns();

	tide_count(qp, TIDE_CNT_ECN_MARKED, 1);
	if (!is_on() || (congestion->told_at &&
			 now < congestion->told_at + CNP_GAP))
		return;
	packet.opcode = TIDE_CNP_OPCODE;
	packet.becn = true;
	if (!tide_wire_reply(qp, out, &packet))
		return;
	congestion->told_at = now;
	tide_count(qp, TIDE_CNT_CNPS_SENT, 1);
}

/* Prices follow from the rate; this is where divisions are. */
static void price(struct tide_congestion *congestion)
{
	u64 rate = congestion->dcqcn.rate;

	if (congestion->priced == rate)
		return;
	congestion->priced = rate;
	congestion->price = (NSEC_PER_SEC << PRICE_SHIFT) / rate;
	WRITE_ONCE(congestion->burst, rate >> BURST_SHIFT);
}

static void begin(struct tide_congestion *congestion, u64 now)
{
	tide_dcqcn_begin(&congestion->dcqcn, now);
	congestion->next = now;
	price(congestion);
	WRITE_ONCE(congestion->limited, true);
}

/**
 * tide_congestion_told - a CNP has come from the peer
 * @qp: the queue pair, locked
 */
void tide_congestion_told(struct tide_qp *qp)
{
	struct tide_congestion *congestion = &qp->wire->congestion;
	u64 now = ktime_get_ns();
	bool heeded = is_on() && tide_qp_may_receive(qp);

	if (heeded && congestion->limited &&
	    tide_dcqcn_advance(&congestion->dcqcn, now)) {
		heeded = tide_dcqcn_cut(&congestion->dcqcn, now);
		price(congestion);
	} else if (heeded) {
		begin(congestion, now);
	}
	tide_count(qp, heeded ? TIDE_CNT_CNPS_HANDLED : TIDE_CNT_CNPS_IGNORED,
		   1);
}

bool tide_congestion_may_send_limited(struct tide_congestion *congestion)
{
	u64 now = ktime_get_ns();

	if (!is_on() || !tide_dcqcn_advance(&congestion->dcqcn, now)) {
		WRITE_ONCE(congestion->limited, false);
		return true;
	}
	price(congestion);
	if (now >= congestion->next)
		return true;
	if (!hrtimer_is_queued(&congestion->timer))
		hrtimer_start(&congestion->timer,
			      ns_to_ktime(congestion->next),
			      HRTIMER_MODE_ABS_SOFT);
	return false;
}

void tide_congestion_sent_limited(struct tide_congestion *congestion, u32 bytes)
{
	u64 now = ktime_get_ns();

	congestion->next = max(congestion->next, now - LATE) +
			   (bytes * congestion->price >> PRICE_SHIFT);
	tide_dcqcn_sent(&congestion->dcqcn, bytes);
}
