// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * waiting.c - what the operation of a requester waits for: pages, a receive of
 * its peer's, the peer.
 */
#include "compat.h"
#include "local.h"
#include "pager.h"
#include "prefetch.h"
#include "requester.h"
#include "timing.h"

/*
 * How long what need not arrive waits for a page of its receiver's.  The
 * requester of a reliable connection waits as long as its peer is there.
 */
#define UNRELIABLE_PATIENCE	HZ

static void release_holds(struct tide_requester *req)
{
	tide_odp_release(&req->hold[TIDE_DST]);
	tide_odp_release(&req->hold[TIDE_SRC]);
}

/* Whether it waits for a page, but not for ever. */
static bool may_abandon(const struct tide_requester *req)
{
	const struct tide_qp *qp = container_of(req, struct tide_qp, req);

	return req->pager && !tide_qp_is_reliable(qp) &&
	       tide_local_is_remote(req, req->stop.side);
}

static unsigned long abandoned_at(const struct tide_requester *req)
{
	return tide_pager_started(req->pager) + UNRELIABLE_PATIENCE;
}

/*
 * Have the timer fire when the next thing is due: the end of a wait, or the
 * end of a pin's time.
 */
static void arm_timer(struct tide_requester *req)
{
	unsigned long held_until, due = 0;

	if (req->wait != TIDE_WAIT_NONE)
		due = req->deadline;
	else if (may_abandon(req))
		due = abandoned_at(req) + 1;
	if (req->pager && (req->hold[TIDE_DST].nr || req->hold[TIDE_SRC].nr)) {
		held_until = tide_pager_started(req->pager) +
			     TIDE_MAX_HOLD_AGE + 1;
		if (!due || time_before(held_until, due))
			due = held_until;
	}
	if (due)
		mod_timer(&req->timer, due);
}

static void pager_drop(struct tide_requester *req)
{
	if (req->pager)
		tide_pager_drop(req->pager);
	req->pager = NULL;
}

/*
 * What one side has pinned, while a pager works for the other, has to last for
 * some time, or two sides that both need pagers would undo each other's work
 * for ever (M3); but not so long that the copy goes to memory which the
 * process gave up long ago, or that it cannot be moved.
 */
static void expire_holds(struct tide_requester *req)
{
	if (time_after(jiffies, tide_pager_started(req->pager) +
				TIDE_MAX_HOLD_AGE))
		release_holds(req);
}

/**
 * tide_req_pager_pending - whether to go on waiting for a pager
 * @qp: the queue pair, by who runs it
 *
 * If not, what the pager has pinned is the requester's, for its next copy.  For
 * the memory of a responder that has gone nobody has to wait: the next step
 * finds out.
 */
bool tide_req_pager_pending(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	enum tide_side_index side = req->stop.side;

	if (!req->pager)
		return false;
	expire_holds(req);
	if (tide_pager_is_done(req->pager)) {
		if (tide_pager_take(req->pager, &req->hold[side]))
			req->page_error = side;
	} else if (may_abandon(req) &&
		   time_after(jiffies, abandoned_at(req))) {
		req->abandoned = true;
	} else if (!tide_local_is_remote(req, side) ||
		   tide_local_is_connected(qp)) {
		arm_timer(req);
		return true;
	}
	pager_drop(req);
	return false;
}

static void stop_timer(struct tide_requester *req)
{
	if (req->wait == TIDE_WAIT_NONE)
		return;
	req->wait = TIDE_WAIT_NONE;
	timer_delete(&req->timer);
}

void tide_req_stop_waiting(struct tide_requester *req)
{
	tide_srq_leave(&req->waiter);
	stop_timer(req);
}

/* Forget the current operation, if there is one. */
void tide_req_drop(struct tide_requester *req)
{
	pager_drop(req);
	req->busy = false;
	release_holds(req);
	tide_req_stop_waiting(req);
}

static u64 wait_ns(const struct tide_qp *qp, enum tide_wait wait)
{
	if (wait == TIDE_WAIT_RNR)
		return tide_rnr_timer_ns(qp->req.rnr_timer) *
		       qp->attr.rnr_retry;
	return tide_ack_timeout_ns(qp->attr.timeout) *
	       (qp->attr.retry_cnt + 1);
}

static bool wait_is_endless(const struct tide_qp *qp, enum tide_wait wait)
{
	if (wait == TIDE_WAIT_RNR)
		return qp->attr.rnr_retry == TIDE_RNR_RETRY_FOREVER;
	return !qp->attr.timeout;
}

/**
 * tide_req_wait - the operation cannot go on by itself
 * @qp: the queue pair, by who runs it
 * @wait: what it waits for
 *
 * All the retries that the queue pair is allowed make one deadline: until then
 * somebody's kick brings the operation back, and nothing polls.
 *
 * Return: false when the time is over.
 */
bool tide_req_wait(struct tide_qp *qp, enum tide_wait wait)
{
	struct tide_requester *req = &qp->req;
	u64 ns;

	release_holds(req);
	if (req->wait == wait) {
		arm_timer(req);
		return !req->deadline || time_before(jiffies, req->deadline);
	}

	/* It keeps its place in line only for what it stands in line for. */
	if (wait != TIDE_WAIT_RNR)
		tide_srq_leave(&req->waiter);
	stop_timer(req);
	ns = wait_ns(qp, wait);
	if (!wait_is_endless(qp, wait) && !ns)
		return false;
	req->wait = wait;
	req->deadline = 0;
	if (!wait_is_endless(qp, wait)) {
		req->deadline = (jiffies + nsecs_to_jiffies(ns) + 1) ?: 1;
		arm_timer(req);
	}
	if (wait == TIDE_WAIT_RNR)
		tide_count(qp, TIDE_CNT_RNR_WAITS, 1);
	return true;
}

/*
 * Bring in pages here: those of the caller's own process, and those of another
 * one that need not be made, since that might wait for it.  -EBUSY and -EFAULT
 * are to be left to a pager.
 */
static int page_in_here(struct tide_qp *qp, const struct tide_fault *fault,
			struct tide_hold *hold, bool pin)
{
	bool own = tide_mirror_is_current(fault->region->mirror);
	int ret = -EBUSY;

	if (!pin)
		ret = tide_odp_fault(fault, own, false);
	if (own && ret == -EBUSY) {
		tide_odp_release(hold);
		ret = tide_odp_hold(fault, hold, false);
	}
	return ret;
}

/**
 * tide_req_page_in - bring in the pages that the last step lacked
 * @qp: the queue pair, by who runs it
 *
 * Context: process, no locks; sleeps.
 *
 * Return: false when there was not even memory to have that done, and the
 * timer comes back to it.
 */
bool tide_req_page_in(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	struct tide_fault *fault = &req->stop.fault;
	enum tide_side_index side = req->stop.side;
	bool pin = req->lost[side]++ >= TIDE_MAX_LOST;
	struct tide_pager *pager;
	unsigned long ahead;
	int ret;

	/* Where invalidations win, more is more to lose. */
	if (req->lost[side] == 1) {
		ahead = tide_odp_look_around(&req->around[side], fault);
		if (ahead)
			tide_prefetch_ahead(fault, ahead);
	}
	ret = page_in_here(qp, fault, &req->hold[side], pin);
	if (ret == -EBUSY || ret == -EFAULT || ret == -ENOMEM) {
		tide_count(qp, TIDE_CNT_FAULT_WAITS, 1);
		pager = tide_pager_start(qp, fault, pin,
					 tide_req_doorbell);
		ret = PTR_ERR_OR_ZERO(pager);
		if (!ret)
			req->pager = pager;
	}
	if (ret == -ENOMEM) {
		release_holds(req);
		mod_timer(&req->timer, jiffies + TIDE_MEMORY_PAUSE);
	} else if (ret) {
		req->page_error = side;
	}
	tide_region_put(fault->region);
	return ret != -ENOMEM;
}

/* A step has moved something. */
void tide_req_progressed(struct tide_requester *req)
{
	tide_req_forget_losses(req);
	release_holds(req);
	tide_req_stop_waiting(req);
}
