// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * lane.c - packets that wait for memory, and the worker that brings it in.
 */
#include <linux/slab.h>

#include "lane.h"
#include "module.h"
#include "pager.h"
#include "qp.h"
#include "requester.h"
#include "wire.h"

static bool lane_is_of_requests(const struct tide_lane *lane)
{
	return lane == &lane->qp->wire->requests;
}

static struct tide_waiting *waiting_alloc(struct tide_lane *lane)
{
	if (lane->own_used)
		return kmalloc(sizeof(struct tide_waiting),
			       GFP_ATOMIC | __GFP_NOWARN);
	lane->own_used = true;
	return &lane->own;
}

/* Packets of one buffer share what that takes. */
static u32 size_of(const struct tide_waiting *waiting)
{
	const struct sk_buff *skb = waiting->arrival.skb;

	return skb->truesize / max_t(u32, 1, skb_shinfo(skb)->gso_segs);
}

static void enqueue(struct tide_lane *lane, struct tide_waiting *waiting,
		    struct list_head *behind)
{
	list_add(&waiting->node, behind);
	lane->length++;
	lane->size += size_of(waiting);
}

static void dequeue(struct tide_lane *lane, struct tide_waiting *waiting)
{
	list_del(&waiting->node);
	lane->length--;
	lane->size -= size_of(waiting);
}

static void waiting_free(struct tide_lane *lane, struct tide_waiting *waiting)
{
	consume_skb(waiting->arrival.skb);
	if (waiting == &lane->own)
		lane->own_used = false;
	else
		kfree(waiting);
}

/**
 * tide_lane_append - have a packet wait
 * @lane: the lane
 * @arrival: the packet
 *
 * Context: any but hard interrupts, under tide_qp.lock.
 *
 * Return: false if there is no room, and it is lost.
 */
bool tide_lane_append(struct tide_lane *lane,
		      const struct tide_arrival *arrival)
{
	struct tide_waiting *waiting;

	if (lane->length >= TIDE_LANE_MAX || lane->size >= TIDE_LANE_SIZE)
		return false;
	waiting = waiting_alloc(lane);
	if (!waiting)
		return false;
	waiting->arrival = *arrival;
	skb_get(waiting->arrival.skb);
	enqueue(lane, waiting, lane->queue.prev);
	return true;
}

/* Run the worker.  Context: any. */
void tide_lane_kick(struct tide_lane *lane)
{
	tide_qp_get(lane->qp);
	if (!queue_work(tide_wq, &lane->work))
		tide_qp_put(lane->qp);
}

/**
 * tide_lane_fault - note what the packet being executed lacks
 * @lane: its lane
 * @fault: the memory; its reference on the region becomes the lane's
 * @ahead: bytes from there on that those behind it will want
 *
 * Context: under tide_qp.lock.
 */
void tide_lane_fault(struct tide_lane *lane, const struct tide_fault *fault,
		     u32 ahead)
{
	lane->fault = *fault;
	lane->fault.around = min(ahead, TIDE_LANE_AHEAD);
	lane->fault_of = lane->qp->resp.incarnation;
}

/* Forget all behind that one. */
static void drop_behind(struct tide_lane *lane, struct list_head *last)
{
	struct tide_waiting *waiting;

	while (last->next != &lane->queue) {
		waiting = list_entry(last->next, struct tide_waiting, node);
		dequeue(lane, waiting);
		waiting_free(lane, waiting);
	}
}

/**
 * tide_lane_clear - forget whoever waits
 * @lane: of a queue pair that executes no more for now
 *
 * What a pager has to give back is left to the worker, which is told.
 *
 * Context: under tide_qp.lock.
 */
void tide_lane_clear(struct tide_lane *lane)
{
	drop_behind(lane, &lane->queue);
	lane->page_error = false;
	tide_lane_kick(lane);
}

/**
 * tide_lane_sends - what was composed is sent before what the lane composes
 * @lane: the lane
 *
 * Context: softirq, under tide_qp.lock.
 *
 * Return: whether there is somebody who has to wait for that, be it who tells
 * of a receive: then tide_lane_sent() has to follow.
 */
bool tide_lane_sends(struct tide_lane *lane)
{
	bool followed = lane->length || lane->qp->wire->rx.awaits_receive;

	if (!followed || lane->sending)
		return false;
	lane->sending = true;
	return true;
}

/* It is sent.  Context: softirq, no locks. */
void tide_lane_sent(struct tide_lane *lane)
{
	spin_lock_bh(&lane->qp->lock);
	lane->sending = false;
	spin_unlock_bh(&lane->qp->lock);
	tide_lane_kick(lane);
}

/**
 * tide_lane_recheck - what the first one wants may not be allowed any more
 * @lane: the lane
 *
 * Context: under tide_qp.lock.
 */
void tide_lane_recheck(struct tide_lane *lane)
{
	if (!lane->length)
		return;
	lane->recheck = true;
	tide_lane_kick(lane);
}

static enum tide_verdict execute(struct tide_lane *lane,
				 const struct tide_arrival *arrival,
				 struct tide_outbox *out)
{
	return lane_is_of_requests(lane) ?
	       tide_wire_serve(lane->qp, arrival, out) :
	       tide_wire_respond(lane->qp, arrival);
}

/* Whether the first one is still the one that the worker works for. */
static bool is_expected(const struct tide_lane *lane)
{
	return lane->length && lane->works_for == lane->qp->resp.incarnation;
}

/* Execute the first one, or as much of it as can be.  The qp is locked. */
static void execute_first(struct tide_lane *lane, struct tide_outbox *out)
{
	struct tide_waiting *first = list_first_entry(&lane->queue,
							 struct tide_waiting,
						 node);
	enum tide_verdict verdict;

	/* Whatever ends the queue pair now clears the rest. */
	dequeue(lane, first);
	verdict = execute(lane, &first->arrival, out);
	if (verdict != TIDE_FAULT)
		lane->lost = 0;
	if (verdict == TIDE_FAULT || verdict == TIDE_MORE) {
		enqueue(lane, first, &lane->queue);
	} else {
		waiting_free(lane, first);
	}
}

/* Send the answers; false when nobody waits. */
static bool send(struct tide_lane *lane, struct tide_outbox *out)
{
	bool more;

	tide_outbox_send(out);
	spin_lock_bh(&lane->qp->lock);
	lane->sending = false;
	more = lane->length;
	spin_unlock_bh(&lane->qp->lock);
	return more;
}

/*
 * Go on with the first one, unless it is known already what it lacks.  *fault
 * becomes that, and *wanted whether it still does.  False when nobody waits, or
 * only for its time to come; or when somebody else sends answers, who kicks the
 * lane then.
 */
static bool step(struct tide_lane *lane, struct tide_fault *fault,
		 bool *wanted)
{
	struct tide_qp *qp = lane->qp;
	struct tide_outbox out;
	struct tide_hold hold;
	bool more, held;

	out.num = 0;
	fault->region = NULL;
	spin_lock_bh(&qp->lock);
	if (lane->sending) {
		spin_unlock_bh(&qp->lock);
		return false;
	}
	lane->page_error &= is_expected(lane);
	if (lane->length && !lane->fault.region)
		execute_first(lane, &out);
	lane->page_error = false;
	*fault = lane->fault;
	lane->fault.region = NULL;
	lane->works_for = lane->fault_of;
	*wanted = is_expected(lane);
	more = lane->length;
	if (!more && lane_is_of_requests(lane))
		tide_wire_acknowledge(qp, &out);
	/* Then its timer goes on with it. */
	held = lane_is_of_requests(lane) && qp->wire->rx.read.held;
	/* What comes next may be executed elsewhere, without them. */
	hold = lane->hold;
	lane->hold.nr = 0;
	lane->sending = out.num;
	spin_unlock_bh(&qp->lock);
	tide_odp_release(&hold);
	if (out.num)
		more = send(lane, &out);
	return more && !held;
}

/* Whether the worker has to go on waiting for its pager. */
static bool pager_pending(struct tide_lane *lane)
{
	struct tide_qp *qp = lane->qp;
	bool expected, done;

	if (!lane->pager)
		return false;
	done = tide_pager_is_done(lane->pager);
	spin_lock_bh(&qp->lock);
	expected = is_expected(lane);
	if (expected && !done && !lane->recheck) {
		spin_unlock_bh(&qp->lock);
		return true;
	}
	lane->recheck = false;
	lane->paging = false;
	if (expected && done)
		lane->page_error = tide_pager_take(lane->pager, &lane->hold);
	spin_unlock_bh(&qp->lock);
	tide_pager_drop(lane->pager);
	lane->pager = NULL;
	return false;
}

static void kick_requests(struct tide_qp *qp)
{
	tide_lane_kick(&qp->wire->requests);
}

static void kick_responses(struct tide_qp *qp)
{
	tide_lane_kick(&qp->wire->responses);
}

/*
 * A pager has been started: that may take longer than the requester would
 * wait for an acknowledgement.
 */
static void tell_of_paging(struct tide_lane *lane)
{
	struct tide_outbox out;

	out.num = 0;
	spin_lock_bh(&lane->qp->lock);
	lane->paging = lane->length;
	if (lane->paging && lane_is_of_requests(lane) &&
	    tide_qp_is_reliable(lane->qp)) {
		tide_wire_not_ready(lane->qp, &out);
		/* These are sent again, if their requester is told of them. */
		if (!lane->qp->wire->rx.read.active)
			drop_behind(lane, lane->queue.next);
	}
	spin_unlock_bh(&lane->qp->lock);
	tide_outbox_send(&out);
}

/* It is not there.  Who is waiting now may be somebody else, though. */
static void note_error(struct tide_lane *lane, int error)
{
	spin_lock_bh(&lane->qp->lock);
	lane->page_error = error && is_expected(lane);
	spin_unlock_bh(&lane->qp->lock);
}

/* Bring in what is missing, or have a pager do so.  Sleeps. */
static void page_in(struct tide_lane *lane, const struct tide_fault *fault)
{
	bool pin = lane->lost++ >= TIDE_MAX_LOST;
	struct tide_pager *pager;
	int ret = -EBUSY;

	if (!pin)
		ret = tide_odp_fault(fault, false, false);
	if (ret == -EBUSY || ret == -EFAULT || ret == -ENOMEM) {
		pager = tide_pager_start(lane->qp, fault, pin,
					 lane_is_of_requests(lane) ?
					 kick_requests : kick_responses);
		ret = PTR_ERR_OR_ZERO(pager);
		if (!ret)
			lane->pager = pager;
	}
	if (ret == -ENOMEM)
		schedule_timeout_uninterruptible(TIDE_MEMORY_PAUSE);
	else if (lane->pager)
		tell_of_paging(lane);
	else
		note_error(lane, ret);
}

static void lane_work(struct work_struct *work)
{
	struct tide_lane *lane = container_of(work, struct tide_lane, work);
	struct tide_qp *qp = lane->qp;
	struct tide_fault fault;
	bool more = true, wanted;

	while (more && !pager_pending(lane)) {
		/* There may be no end of what comes meanwhile. */
		cond_resched();
		more = step(lane, &fault, &wanted);
		if (!fault.region)
			continue;
		if (wanted)
			page_in(lane, &fault);
		tide_region_put(fault.region);
	}
	tide_wire_receives_posted(qp);
	/* Responses make room for requests. */
	tide_req_doorbell(qp);
	tide_qp_put(qp);
}

void tide_lane_init(struct tide_lane *lane, struct tide_qp *qp)
{
	lane->qp = qp;
	INIT_LIST_HEAD(&lane->queue);
	INIT_WORK(&lane->work, lane_work);
}

/* Nobody waits in it, and nobody will. */
void tide_lane_destroy(struct tide_lane *lane)
{
	WARN_ON(lane->length || lane->fault.region || lane->pager ||
		lane->hold.nr);
}
