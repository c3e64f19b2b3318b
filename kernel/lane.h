/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * lane.h - packets of a connection that have come while memory is not there.
 *
 * They wait in the order in which they came.  A worker brings in the memory
 * that the first one lacks, and executes them.  What finds no room is lost,
 * and sent again by who is not told that it has arrived.
 */
#ifndef TIDE_LANE_H
#define TIDE_LANE_H

#include <linux/list.h>
#include <linux/workqueue.h>

#include "arrival.h"
#include "odp.h"

/* How much may wait: several windows of a requester; and of memory. */
#define TIDE_LANE_MAX	1024
#define TIDE_LANE_SIZE	SZ_8M

/* What is brought in with what is missing, if it will be wanted too. */
#define TIDE_LANE_AHEAD	(64U << 10)

struct tide_qp;

/**
 * struct tide_waiting - a packet that waits
 * @node: in the lane
 * @arrival: the packet, with a reference to its buffer
 */
struct tide_waiting {
	struct list_head node;
	struct tide_arrival arrival;
};

/**
 * struct tide_lane - a queue pair's requests, or its responses
 * @qp: the queue pair
 * @queue: who waits; under tide_qp.lock, as what follows
 * @length: how many
 * @size: bytes of memory that they take
 * @own: for the first to wait, of which part may be executed: there has to be
 *	room for it
 * @own_used: it is in @queue, or being executed
 * @fault: what keeps the first from going on, if there is a region
 * @fault_of: the responder's incarnation when that was found
 * @sending: what was composed in answer is not sent yet; what comes next must
 *	not be answered before
 * @paging: a pager is at it, which may take long
 * @page_error: the memory that the first one lacked is not there
 * @recheck: the first may be refused by now: it is executed once more, whether
 *	that memory is there or not
 * @leaf: the leaf used last
 * @hold: pages pinned for the next copy of the first that waits
 * @work: goes on with them; owns what follows
 * @works_for: the incarnation that memory is being brought in for
 * @lost: faults in a row after which a page was missing again
 * @pager: waits for a page that somebody has to provide, or NULL
 */
struct tide_lane {
	struct tide_qp *qp;
	struct list_head queue;
	unsigned int length;
	u32 size;
	struct tide_waiting own;
	bool own_used;
	struct tide_fault fault;
	u32 fault_of;
	bool sending;
	bool paging;
	bool page_error;
	bool recheck;
	struct tide_leaf_cache leaf;
	struct tide_hold hold;
	struct work_struct work;
	u32 works_for;
	unsigned int lost;
	struct tide_pager *pager;
};

/* Whether what comes has to wait behind others.  tide_qp.lock is held. */
static inline bool tide_lane_is_busy(const struct tide_lane *lane)
{
	return lane->length || lane->fault.region || lane->sending;
}

void tide_lane_init(struct tide_lane *lane, struct tide_qp *qp);
void tide_lane_destroy(struct tide_lane *lane);
bool tide_lane_append(struct tide_lane *lane,
		      const struct tide_arrival *arrival);
void tide_lane_kick(struct tide_lane *lane);
void tide_lane_clear(struct tide_lane *lane);
bool tide_lane_sends(struct tide_lane *lane);
void tide_lane_sent(struct tide_lane *lane);
void tide_lane_recheck(struct tide_lane *lane);
void tide_lane_fault(struct tide_lane *lane, const struct tide_fault *fault,
		     u32 ahead);

#endif /* TIDE_LANE_H */
