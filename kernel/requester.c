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
#include <linux/wait_bit.h>

#include "compat.h"
#include "datagram.h"
#include "flush.h"
#include "local.h"
#include "module.h"
#include "mw.h"
#include "pager.h"
#include "prefetch.h"
#include "requester.h"
#include "responder.h"
#include "sg.h"
#include "timing.h"
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

/*
 * How long what need not arrive waits for a page of its receiver's.  The
 * requester of a reliable connection waits as long as its peer is there.
 */
#define UNRELIABLE_PATIENCE	HZ

static const struct {
	enum ib_wc_status status;
	enum tide_counter counter;
} failures[] = {
	[TIDE_RNR] = { IB_WC_RNR_RETRY_EXC_ERR, TIDE_CNT_RNR_EXCEEDED },
	[TIDE_SILENT] = { IB_WC_RETRY_EXC_ERR, TIDE_CNT_RETRY_EXCEEDED },
	[TIDE_NAK_INVALID] = { IB_WC_REM_INV_REQ_ERR, TIDE_CNT_REMOTE_ERRORS },
	[TIDE_NAK_ACCESS] = { IB_WC_REM_ACCESS_ERR, TIDE_CNT_REMOTE_ERRORS },
	[TIDE_NAK_OP] = { IB_WC_REM_OP_ERR, TIDE_CNT_REMOTE_ERRORS },
	[TIDE_LOCAL_PROT] = { IB_WC_LOC_PROT_ERR, TIDE_CNT_LOCAL_ERRORS },
	[TIDE_LOCAL_LEN] = { IB_WC_LOC_LEN_ERR, TIDE_CNT_LOCAL_ERRORS },
	[TIDE_LOCAL_QP_OP] = { IB_WC_LOC_QP_OP_ERR, TIDE_CNT_LOCAL_ERRORS },
	[TIDE_LOCAL_BIND] = { IB_WC_MW_BIND_ERR, TIDE_CNT_LOCAL_ERRORS },
	[TIDE_BAD_RESPONSE] = { IB_WC_BAD_RESP_ERR, TIDE_CNT_REMOTE_ERRORS },
};

static enum ib_wc_opcode wc_opcode(u8 opcode)
{
	switch (opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
		return IB_WC_RDMA_WRITE;
	case IB_WR_RDMA_READ:
		return IB_WC_RDMA_READ;
	case IB_WR_ATOMIC_CMP_AND_SWP:
		return IB_WC_COMP_SWAP;
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		return IB_WC_FETCH_ADD;
	case IB_WR_ATOMIC_WRITE:
		return IB_WC_ATOMIC_WRITE;
	case IB_WR_FLUSH:
		return IB_WC_FLUSH;
	case IB_WR_BIND_MW:
		return IB_WC_BIND_MW;
	case IB_WR_LOCAL_INV:
		return IB_WC_LOCAL_INV;
	default:
		return IB_WC_SEND;
	}
}

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

/*
 * Whether the requester has to go on waiting for its pager.  If not, what the
 * pager has pinned is the requester's, for its next copy.  For the memory of
 * a responder that has gone nobody has to wait: the next step finds out.
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

static void stop_waiting(struct tide_requester *req)
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
	stop_waiting(req);
}

/**
 * tide_req_complete - complete the oldest work request and free its entry
 * @qp: the queue pair, locked and not destroyed
 * @request: the request
 * @status: what came of it
 */
void tide_req_complete(struct tide_qp *qp, const struct tide_request *request,
		       enum ib_wc_status status)
{
	struct tide_ring *sq = &qp->req.sq;
	struct tide_send_wqe *slot = tide_ring_entry(sq, sq->index);
	struct tide_cqe cqe = {
		.wr_id = request->wr_id,
		.status = status,
		.opcode = wc_opcode(request->opcode),
		.byte_len = request->length,
		.src_qp = qp->attr.dest_qp_num,
		.consumer = sq->index + 1,
	};

	if (status != IB_WC_SUCCESS)
		slot->flags |= TIDE_SEND_SIGNALED;
	tide_ring_taken(sq);
	if (request->signaled || status != IB_WC_SUCCESS)
		tide_qp_complete(qp, tide_qp_send_cq(qp), &cqe, false);
}

/**
 * tide_req_current - the request that is being worked on
 * @req: the requester, by who runs it
 */
struct tide_request tide_req_current(const struct tide_requester *req)
{
	return (struct tide_request) {
		.wr_id = req->wr_id,
		.length = req->op.length,
		.opcode = req->op.opcode,
		.signaled = req->signaled,
	};
}

/* Complete everything that is queued.  qp->lock is held. */
void tide_req_flush(struct tide_qp *qp)
{
	struct tide_ring *sq = &qp->req.sq;
	const struct tide_send_wqe *slot;
	u32 posted = tide_ring_posted(sq);
	struct tide_request request = {};

	if (tide_ring_garbage(sq, posted))
		return;
	/* What is posted from now on comes with a doorbell of its own. */
	while (posted--) {
		slot = tide_ring_entry(sq, sq->index);
		request.wr_id = READ_ONCE(slot->wr_id);
		request.opcode = READ_ONCE(slot->opcode);
		tide_req_complete(qp, &request, IB_WC_WR_FLUSH_ERR);
	}
}

/**
 * tide_req_fail - the oldest work request has failed
 * @qp: the queue pair, locked and not destroyed
 * @request: the request
 * @verdict: why
 *
 * What is not reliable goes on receiving, and may send again when it was told
 * to (IBTA 10.3.1).
 */
void tide_req_fail(struct tide_qp *qp, const struct tide_request *request,
		   enum tide_verdict verdict)
{
	tide_count(qp, failures[verdict].counter, 1);
	tide_req_complete(qp, request, failures[verdict].status);
	if (tide_qp_is_reliable(qp)) {
		tide_qp_error(qp);
	} else if (tide_qp_may_finish_sends(qp)) {
		WRITE_ONCE(qp->state, IB_QPS_SQE);
		tide_req_flush(qp);
	}
}

/*
 * Whether who has executed a work request may complete it; the qp is locked.
 * In error too, which a queue pair that talks to itself enters as the responder
 * first.  In any other state the entry was reset.
 */
bool tide_req_may_complete(const struct tide_qp *qp)
{
	return qp->ibqp && (tide_qp_may_finish_sends(qp) ||
			    qp->state == IB_QPS_ERR);
}

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

/* Whether a queue pair of this type may do this (IBTA 11.4.1.1). */
static bool opcode_is_known(const struct tide_qp *qp, u8 opcode)
{
	switch (opcode) {
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_IMM:
		return true;
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
	case IB_WR_BIND_MW:
	case IB_WR_LOCAL_INV:
		return !qp->dgs;
	case IB_WR_SEND_WITH_INV:
	case IB_WR_RDMA_READ:
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
	case IB_WR_ATOMIC_WRITE:
	case IB_WR_FLUSH:
		return tide_qp_is_reliable(qp);
	default:
		return false;
	}
}

static bool opcode_reads(u8 opcode)
{
	return opcode == IB_WR_RDMA_READ ||
	       opcode == IB_WR_ATOMIC_CMP_AND_SWP ||
	       opcode == IB_WR_ATOMIC_FETCH_AND_ADD;
}

/* What has all that it takes in the work request. */
static bool opcode_has_no_payload(u8 opcode)
{
	return opcode == IB_WR_ATOMIC_WRITE || opcode == IB_WR_FLUSH;
}

/* Check such a request; it occupies the responder's resources too (A19). */
static enum tide_verdict check_without_payload(struct tide_qp *qp,
					       const struct tide_send_wqe *wqe)
{
	struct tide_op *op = &qp->req.op;

	if (!qp->attr.max_rd_atomic)
		return TIDE_LOCAL_QP_OP;
	if (op->opcode == IB_WR_ATOMIC_WRITE) {
		op->length = sizeof(op->value);
		return TIDE_DONE;
	}
	if (!tide_flush_makes_sense(wqe->rdma.flush))
		return TIDE_LOCAL_QP_OP;
	if (tide_flush_is_of_range(wqe->rdma.flush) &&
	    op->left > TIDE_MAX_MSG)
		return TIDE_LOCAL_LEN;
	op->flush = wqe->rdma.flush;
	return TIDE_DONE;
}

/* Check what a work request asks of its own side. */
static enum tide_verdict check_local(struct tide_qp *qp, u64 length)
{
	struct tide_requester *req = &qp->req;
	bool reads = opcode_reads(req->op.opcode);

	if (length > TIDE_MAX_MSG)
		return TIDE_LOCAL_LEN;
	if (reads && !qp->attr.max_rd_atomic)
		return TIDE_LOCAL_QP_OP;
	if (reads && req->op.opcode != IB_WR_RDMA_READ) {
		if (length < sizeof(u64))
			return TIDE_LOCAL_LEN;
		length = sizeof(u64);
	}
	req->op.length = length;
	if (!req->inline_data &&
	    !tide_sg_allowed(&req->sg, qp->pd_id, length,
			     reads ? IB_ACCESS_LOCAL_WRITE : 0))
		return TIDE_LOCAL_PROT;
	return TIDE_DONE;
}

static void forget_losses(struct tide_requester *req)
{
	memset(req->lost, 0, sizeof(req->lost));
}

/* Take over a work request: from the copy @wqe, its payload from @slot. */
static enum tide_verdict load_request(struct tide_qp *qp,
				      const struct tide_send_wqe *wqe,
				      const struct tide_send_wqe *slot)
{
	struct tide_requester *req = &qp->req;

	req->wr_id = wqe->wr_id;
	req->signaled = qp->sig_all || wqe->flags & TIDE_SEND_SIGNALED;
	req->begun = false;
	req->executed = false;
	req->done = 0;
	req->extra = 0;
	forget_losses(req);
	req->page_error = TIDE_SIDES;
	req->abandoned = false;
	req->inline_data = NULL;
	req->op = (struct tide_op) {
		.opcode = wqe->opcode,
		.solicited = wqe->flags & TIDE_SEND_SOLICITED,
		.imm_data = wqe->imm_data,
		.invalidate_rkey = wqe->invalidate_rkey,
		.srqn = wqe->remote_srqn,
		.rkey = wqe->rdma.rkey,
		.remote_addr = wqe->rdma.remote_addr,
		.compare_add = wqe->rdma.compare_add,
		.swap = wqe->rdma.swap,
		.src_qpn = qp->qpn,
		.waiter = tide_qp_is_reliable(qp) ? &req->waiter : NULL,
	};
	req->fence = wqe->flags & TIDE_SEND_FENCE;

	if (!opcode_is_known(qp, wqe->opcode))
		return TIDE_LOCAL_QP_OP;
	if (tide_opcode_is_own(wqe->opcode)) {
		req->bind = wqe->bind;
		return TIDE_DONE;
	}
	if (opcode_has_no_payload(wqe->opcode))
		return check_without_payload(qp, wqe);
	if (wqe->flags & TIDE_SEND_INLINE) {
		if (wqe->inline_length > qp->max_inline ||
		    opcode_reads(wqe->opcode))
			return TIDE_LOCAL_QP_OP;
		req->inline_data = (void *)(slot + 1);
		return check_local(qp, wqe->inline_length);
	}
	if (wqe->num_sge > qp->max_send_sge)
		return TIDE_LOCAL_QP_OP;
	tide_sg_load(&req->sg, slot + 1, wqe->num_sge);
	return check_local(qp, tide_sg_length(&req->sg));
}

/**
 * tide_req_load_buffers - the buffers that a work request names
 * @qp: the queue pair, locked and not destroyed
 * @index: of the entry
 * @sg: becomes what they are
 *
 * Return: false if that makes no sense.
 */
bool tide_req_load_buffers(struct tide_qp *qp, u32 index, struct tide_sg *sg)
{
	const struct tide_send_wqe *slot = tide_ring_entry(&qp->req.sq, index);
	u32 num = READ_ONCE(slot->num_sge);

	if (num > qp->max_send_sge)
		return false;
	tide_sg_load(sg, slot + 1, num);
	return true;
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

/**
 * tide_req_posted - how many work requests are not completed
 * @qp: the queue pair, locked and not destroyed; in error on return if its
 *	send queue makes no sense
 */
u32 tide_req_posted(struct tide_qp *qp)
{
	u32 posted = tide_ring_posted(&qp->req.sq);

	if (!tide_ring_garbage(&qp->req.sq, posted))
		return posted;
	tide_qp_event(qp, IB_EVENT_QP_FATAL);
	tide_qp_error(qp);
	return 0;
}

/**
 * tide_req_load - take over a work request
 * @qp: the queue pair, locked and not destroyed, by who has the run bit
 * @index: of the entry, which is posted
 *
 * Return: TIDE_DONE, or what is wrong with it.
 */
enum tide_verdict tide_req_load(struct tide_qp *qp, u32 index)
{
	const struct tide_send_wqe *slot = tide_ring_entry(&qp->req.sq, index);
	struct tide_send_wqe wqe;
	enum tide_verdict verdict;

	memcpy(&wqe, slot, sizeof(wqe));
	/* From here on it is the copy that counts, to the compiler too. */
	barrier();
	verdict = load_request(qp, &wqe, slot);
	if (verdict == TIDE_DONE && qp->dgs)
		verdict = tide_datagram_load(qp, &wqe);
	return verdict;
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

/*
 * The operation cannot go on by itself.  All the retries that the queue pair
 * is allowed make one deadline: until then somebody's kick brings the
 * operation back, and nothing polls.  False when the time is over.
 */
static bool req_wait(struct tide_qp *qp, enum tide_wait wait)
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

/*
 * Bring in the pages that the last step lacked; false when there was not even
 * memory to have that done, and the timer comes back to it.  Sleeps.
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

void tide_req_progressed(struct tide_requester *req)
{
	forget_losses(req);
	release_holds(req);
	stop_waiting(req);
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
		stop_waiting(req);
		return tide_req_page_in(qp);
	case TIDE_RNR:
		if (req_wait(qp, TIDE_WAIT_RNR))
			return false;
		break;
	case TIDE_SILENT:
		if (!tide_qp_may_finish_sends(qp))
			return true;
		tide_req_restart(req);
		if (req_wait(qp, TIDE_WAIT_ACK))
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

static void req_work(struct work_struct *work)
{
	struct tide_qp *qp = container_of(work, struct tide_qp, req.work);

	req_enter(qp, BUDGET, true);
	tide_qp_put(qp);
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
 * tide_req_softirq - work off the send queue where a packet has come in
 * @qp: the queue pair; its peer is far
 *
 * What takes process context is left to the worker.  So is much payload, to one
 * on the CPU that it was posted on: this one has what comes in to see to.
 *
 * Context: softirq, no locks.
 */
void tide_req_softirq(struct tide_qp *qp)
{
	int cpu = READ_ONCE(qp->req.cpu);

	if (!tide_wire_has_much(qp) || cpu == smp_processor_id()) {
		req_enter(qp, SOFTIRQ_BUDGET, false);
		return;
	}
	tide_qp_get(qp);
	if (!queue_work_on(cpu, tide_send_wq, &qp->req.work))
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
