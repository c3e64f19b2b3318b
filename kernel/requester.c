// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * requester.c - working off send queues, in order.
 *
 * One thread at a time runs a send queue: the one that set RUNNING.  Whoever
 * finds it set leaves AGAIN behind, and the runner looks once more before it
 * goes.  A queue that has to wait for something is simply not run until a
 * doorbell, a timer, a peer or a pager kicks it.
 */
#include <linux/delay.h>
#include <linux/sched/isolation.h>
#include <linux/wait_bit.h>

#include "compat.h"
#include "datagram.h"
#include "local.h"
#include "module.h"
#include "mw.h"
#include "requester.h"
#include "sg.h"
#include "wire.h"

#define RUNNING	BIT(0)
#define AGAIN	BIT(1)

/*
 * What one doorbell, or one turn of the worker, may copy before the rest is
 * left to the (next turn of the) worker: ibv_post_send() is to return
 * promptly.  Every work request counts for some bytes of its own.
 */
#define BUDGET		(4 << 20)
#define SOFTIRQ_BUDGET	(512 << 10)
#define REQUEST_COST	4096

/* The current operation has come to its end, good or bad. */
static void req_end(struct tide_qp *qp, enum tide_verdict verdict)
{
	struct tide_requester *req = &qp->req;
	struct tide_request request = tide_req_current(req);

	tide_req_drop(req);
	spin_lock_bh(&qp->lock);
	if (tide_req_may_complete(qp)) {
		if (verdict == TIDE_DONE) {
			if (!tide_opcode_is_own(req->op.opcode))
				tide_count(qp, TIDE_CNT_TX_MSGS, 1);
			tide_req_complete(qp, &request, IB_WC_SUCCESS);
		} else {
			tide_req_fail(qp, &request, verdict);
		}
	}
	spin_unlock_bh(&qp->lock);
}

/**
 * tide_req_drained - SQD was reached and nothing is under way
 * @qp: the queue pair, locked and not destroyed
 */
void tide_req_drained(struct tide_qp *qp)
{
	if (!qp->drain_event)
		return;
	qp->drain_event = false;
	tide_qp_event(qp, IB_EVENT_SQ_DRAINED);
}

/*
 * Take the next work request off the send queue; false when there is none
 * that may be worked on.  qp->lock is held.
 */
static bool req_fetch(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	struct tide_request request;
	enum tide_verdict verdict;

	if (!tide_req_posted(qp))
		return false;
	verdict = tide_req_load(qp, req->sq.index);
	if (verdict == TIDE_DONE) {
		req->busy = true;
		return true;
	}
	request = tide_req_current(req);
	tide_req_fail(qp, &request, verdict);
	return false;
}

/* What to do next: true when an operation is ready for a step. */
static bool req_next(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	bool ready = false;

	if (req->busy && tide_qp_may_finish_sends(qp))
		return !tide_req_pager_pending(qp);

	if (req->busy)
		tide_req_drop(req);
	/* Whoever changes the state comes by once more. */
	else if (READ_ONCE(qp->state) == IB_QPS_RTS &&
		 !tide_ring_posted(&req->sq))
		return false;
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && qp->state == IB_QPS_RTS)
		ready = req_fetch(qp);
	if (qp->ibqp && qp->state == IB_QPS_SQD)
		tide_req_drained(qp);
	if (qp->ibqp && (qp->state == IB_QPS_ERR || qp->state == IB_QPS_SQE))
		tide_req_flush(qp);
	spin_unlock_bh(&qp->lock);
	return ready;
}

/* Execute an operation of the queue pair's own side. */
enum tide_verdict tide_req_own_step(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	int ret;

	if (req->op.opcode == IB_WR_BIND_MW) {
		ret = tide_mw_bind(qp, &req->bind);
	} else {
		spin_lock_bh(&qp->lock);
		ret = tide_mw_invalidate(qp, qp->pd_id,
					 req->op.invalidate_rkey);
		spin_unlock_bh(&qp->lock);
	}
	return ret ? TIDE_LOCAL_BIND : TIDE_DONE;
}

static enum tide_verdict carry_out(struct tide_qp *qp)
{
	if (tide_opcode_is_own(qp->req.op.opcode))
		return tide_req_own_step(qp);
	return qp->dgs ? tide_datagram_step(qp) : tide_local_step(qp);
}

/* One step of the current operation. */
static enum tide_verdict req_step(struct tide_qp *qp)
{
	enum tide_verdict verdict = TIDE_SILENT;

	if (tide_req_step_begin(qp))
		verdict = carry_out(qp);
	tide_req_step_end(qp);
	return verdict;
}

/**
 * tide_req_restart - begin the current operation again with the next attempt
 * @req: the requester, by who runs it
 *
 * What the responder has executed already is not taken back.
 */
void tide_req_restart(struct tide_requester *req)
{
	if (req->executed)
		return;
	req->begun = false;
	req->done = 0;
	req->page_error = TIDE_SIDES;
	tide_sg_rewind(&req->sg);
}

/* Act on the outcome of a step; false when the queue has to wait. */
static bool req_follow(struct tide_qp *qp, enum tide_verdict verdict)
{
	struct tide_requester *req = &qp->req;

	switch (verdict) {
	case TIDE_MORE:
		tide_req_progressed(req);
		return true;
	case TIDE_FAULT:
		tide_req_stop_waiting(req);
		return tide_req_page_in(qp);
	case TIDE_RNR:
		if (tide_req_wait(qp, TIDE_WAIT_RNR))
			return false;
		break;
	case TIDE_SILENT:
		if (!tide_qp_may_finish_sends(qp))
			return true;
		tide_req_restart(req);
		if (tide_req_wait(qp, TIDE_WAIT_ACK))
			return false;
		break;
	default:
		break;
	}
	req_end(qp, verdict);
	return true;
}

/* Run the queue until it is idle or waits; true when the budget ended it. */
static bool req_run(struct tide_qp *qp, s64 *budget, bool may_sleep)
{
	struct tide_requester *req = &qp->req;

	if (tide_qp_is_far(qp))
		return tide_wire_run(qp, budget, may_sleep);
	/* It was connected anew. */
	if (!may_sleep) {
		tide_req_kick(qp);
		return false;
	}
	while (req_next(qp)) {
		u32 done = req->done;
		enum tide_verdict verdict = req_step(qp);

		*budget -= max(req->done, done) - done;
		if (!req_follow(qp, verdict))
			return false;
		if (!req->busy)
			*budget -= REQUEST_COST + req->extra;
		if (*budget < 0)
			return true;
	}
	return false;
}

/* Get the run bit, or leave word for who has it. */
static bool run_begin(atomic_t *run)
{
	return !atomic_cmpxchg(run, 0, RUNNING) ||
	       !(atomic_fetch_or(RUNNING | AGAIN, run) & RUNNING);
}

/* Give the run bit back, unless somebody left word. */
static bool run_end(atomic_t *run)
{
	if (atomic_cmpxchg(run, RUNNING, 0) == RUNNING)
		return true;
	atomic_andnot(AGAIN, run);
	smp_mb__after_atomic();
	return false;
}

/* Run the queue, or have whoever runs it look again. */
static void req_enter(struct tide_qp *qp, s64 budget, bool may_sleep)
{
	atomic_t *run = &qp->req.run;

	if (!run_begin(run))
		return;
	do {
		/* A round costs something even if there is nothing to do. */
		budget -= REQUEST_COST;
		if (req_run(qp, &budget, may_sleep) || budget < 0) {
			atomic_xchg(run, 0);
			tide_req_kick(qp);
			break;
		}
	} while (!run_end(run));
	/* Both ways out are full barriers; pairs with tide_req_reset(). */
	wake_up_var(run);
}

static void work_off(struct tide_qp *qp)
{
	req_enter(qp, BUDGET, true);
	tide_qp_put(qp);
}

static void req_work(struct work_struct *work)
{
	work_off(container_of(work, struct tide_qp, req.work));
}

static void req_work_here(struct work_struct *work)
{
	work_off(container_of(work, struct tide_qp, req.work_here));
}

static void req_timeout(struct timer_list *timer)
{
	tide_req_kick(container_of(timer, struct tide_qp, req.timer));
}

/**
 * tide_req_doorbell - work off the send queue in the caller's thread
 * @qp: the queue pair
 *
 * Context: process, no locks; sleeps in page faults, but for no userfaultfd
 * handler.
 */
void tide_req_doorbell(struct tide_qp *qp)
{
	req_enter(qp, BUDGET, true);
}

/**
 * tide_req_posted_here - the same, of a thread that posts
 * @qp: the queue pair
 *
 * Context: as tide_req_doorbell().
 */
void tide_req_posted_here(struct tide_qp *qp)
{
	int cpu = raw_smp_processor_id();

	if (READ_ONCE(qp->req.cpu) != cpu)
		WRITE_ONCE(qp->req.cpu, cpu);
	tide_req_doorbell(qp);
}

/**
 * tide_req_softirq - work off the send queue
 * @qp: the queue pair; its peer is far
 *
 * What takes process context is left to the worker.
 *
 * Context: softirq, no locks.
 */
void tide_req_softirq(struct tide_qp *qp)
{
	req_enter(qp, SOFTIRQ_BUDGET, false);
}

/**
 * tide_req_answered - the same, where a response has come in
 * @qp: the queue pair
 *
 * Much payload is left to a worker on the CPU that it was posted on, as this
 * CPU has what comes in to see to.  But that worker may not come to run for
 * long, and is given work only while another response is to come, or a timeout:
 * these will find out.
 *
 * Context: softirq, no locks.
 */
void tide_req_answered(struct tide_qp *qp)
{
	int cpu = READ_ONCE(qp->req.cpu);

	if (!tide_wire_has_much(qp) || cpu == smp_processor_id() ||
	    cpu_is_isolated(cpu)) {
		tide_req_softirq(qp);
		return;
	}
	tide_qp_get(qp);
	if (!queue_work_on(cpu, tide_send_wq, &qp->req.work_here))
		tide_qp_put(qp);
}

/**
 * tide_req_settle - have the send queue worked off, by whom it may be
 * @qp: the queue pair
 * @until: jiffies until when another thread that is at it is waited for
 *
 * Context: process, no locks; sleeps.
 */
void tide_req_settle(struct tide_qp *qp, unsigned long until)
{
	atomic_t *run = &qp->req.run;
	long left = until - jiffies;

	if (left > 0)
		wait_var_event_timeout(run, !atomic_read(run), left);
	req_enter(qp, BUDGET, true);
}

/**
 * tide_req_kick - have a worker look at the send queue
 * @qp: the queue pair
 *
 * Context: any.
 */
void tide_req_kick(struct tide_qp *qp)
{
	tide_qp_get(qp);
	if (!queue_work(tide_wq, &qp->req.work))
		tide_qp_put(qp);
}

/* The requester's part of creating a queue pair; the ring is made already. */
void tide_req_init(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;

	atomic_set(&req->run, 0);
	INIT_LIST_HEAD(&req->waiter.node);
	timer_setup(&req->timer, req_timeout, 0);
	INIT_WORK(&req->work, req_work);
	INIT_WORK(&req->work_here, req_work_here);
}

/**
 * tide_req_reset - forget all sends
 * @qp: a queue pair whose state is RESET already
 *
 * Context: process, no spinlocks; waits for a runner to notice the state,
 * which may have a page fault to finish first.
 *
 * Return: 0, or -EINTR when the caller was killed meanwhile: then nothing
 * can come of the queue pair but its destruction.
 */
int tide_req_reset(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;

	if (wait_var_event_killable(&req->run,
				    !atomic_cmpxchg(&req->run, 0, RUNNING)))
		return -EINTR;
	tide_req_drop(req);
	tide_ring_reset(&req->sq);
	atomic_set_release(&req->run, 0);
	smp_mb();
	wake_up_var(&req->run);
	return 0;
}

/**
 * tide_req_shutdown - stop sending for good
 * @qp: a queue pair whose state is RESET and that has no ibqp any more
 *
 * On return no memory is touched on the queue pair's behalf.  A runner that
 * sleeps in a page fault is not waited for: it finds out later (M6).
 *
 * Context: process, no locks.
 */
void tide_req_shutdown(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;

	timer_shutdown_sync(&req->timer);
	/* Pairs with tide_req_step_begin(). */
	smp_mb();
	while (smp_load_acquire(&req->stepping))
		usleep_range(10, 100);
	/*
	 * Only an operation under way has a pager or pins to give back.  A
	 * runner that begins one meanwhile drops it by itself.
	 */
	if (READ_ONCE(req->busy))
		tide_req_kick(qp);
}
