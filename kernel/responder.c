// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * responder.c - executing operations that arrive at a queue pair, by the
 * rules of IBTA 9.7 and 9.8 (reliable and unreliable service) and 9.9 (errors).
 */
#include "compat.h"
#include "flush.h"
#include "mw.h"
#include "responder.h"
#include "sg.h"
#include "xrc.h"

static bool op_is_send(const struct tide_op *op)
{
	return op->opcode == IB_WR_SEND || op->opcode == IB_WR_SEND_WITH_IMM ||
	       op->opcode == IB_WR_SEND_WITH_INV;
}

static bool op_takes_receive(const struct tide_op *op)
{
	return op_is_send(op) || op->opcode == IB_WR_RDMA_WRITE_WITH_IMM;
}

/* The rights that both the queue pair and the region have to give. */
static int op_rights(const struct tide_op *op)
{
	switch (op->opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
	case IB_WR_ATOMIC_WRITE:
		return IB_ACCESS_REMOTE_WRITE;
	case IB_WR_RDMA_READ:
		return IB_ACCESS_REMOTE_READ;
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		return IB_ACCESS_REMOTE_ATOMIC;
	case IB_WR_FLUSH:
		return tide_flush_rights(op->flush);
	default:
		return 0;
	}
}

/* All but sends and writes occupy one of the responder's resources. */
static bool op_needs_resource(const struct tide_op *op)
{
	return op->opcode != IB_WR_RDMA_WRITE &&
	       op->opcode != IB_WR_RDMA_WRITE_WITH_IMM;
}

/* What accesses eight bytes, and these at once. */
static bool op_is_of_word(const struct tide_op *op)
{
	return op->opcode == IB_WR_ATOMIC_CMP_AND_SWP ||
	       op->opcode == IB_WR_ATOMIC_FETCH_AND_ADD ||
	       op->opcode == IB_WR_ATOMIC_WRITE;
}

/* The operation's access to the memory that it names. */
static struct tide_access op_access(const struct tide_qp *qp,
				    const struct tide_op *op, int rights,
				    u32 done)
{
	return (struct tide_access) {
		.key = op->rkey,
		.qpn = qp->qpn,
		.rights = rights,
		.addr = op->remote_addr + done,
		.pd_id = op->pd_id,
		.epoch = op->epoch,
	};
}

static enum tide_verdict resp_nak(struct tide_qp *qp,
				  enum tide_verdict verdict,
				  enum ib_event_type event)
{
	/* Who need not answer drops what it does not want (IBTA 9.9.3). */
	if (!tide_qp_is_reliable(qp) && event != IB_EVENT_QP_FATAL)
		return verdict;
	tide_count(qp, TIDE_CNT_LOCAL_ERRORS, 1);
	tide_qp_event(qp, event);
	tide_qp_error(qp);
	return verdict;
}

/**
 * tide_resp_invalid - what has come makes no sense
 * @qp: the responder, in error on return if it is reliable
 *
 * Return: what to tell the requester.
 */
enum tide_verdict tide_resp_invalid(struct tide_qp *qp)
{
	return resp_nak(qp, TIDE_NAK_INVALID, IB_EVENT_QP_REQ_ERR);
}

/* An XRC target has no completion queue: that is with the receives. */
static void complete_recv(struct tide_qp *qp, struct tide_cqe *cqe,
			  bool solicited)
{
	if (qp->type != IB_QPT_XRC_TGT) {
		tide_qp_complete(qp, tide_qp_recv_cq(qp), cqe, solicited);
		return;
	}
	cqe->qpn = qp->qpn;
	if (!tide_srq_complete(qp->resp.srq, cqe, solicited))
		tide_qp_lost_completion(qp);
}

static void resp_complete(struct tide_qp *qp, const struct tide_op *op,
			  enum ib_wc_status status)
{
	struct tide_cqe cqe = {
		.wr_id = qp->resp.recv.wr_id,
		.status = status,
		.opcode = op_is_send(op) ? IB_WC_RECV :
					   IB_WC_RECV_RDMA_WITH_IMM,
		.byte_len = op->length,
		.src_qp = op->src_qpn,
		.consumer = qp->resp.recv.entry,
	};

	if (op->opcode == IB_WR_SEND_WITH_INV) {
		cqe.flags = TIDE_CQE_WITH_INV;
		cqe.invalidated_rkey = op->invalidate_rkey;
	} else if (op->opcode != IB_WR_SEND) {
		cqe.flags = TIDE_CQE_WITH_IMM;
		cqe.imm_data = op->imm_data;
	}
	if (op->has_grh) {
		cqe.flags |= TIDE_CQE_GRH;
		cqe.sl = op->sl;
		cqe.vlan_id = op->vlan_id;
	}
	qp->resp.receiving = false;
	complete_recv(qp, &cqe, op->solicited);
}

/* The receive at hand cannot take the message (IBTA 9.9.3.2). */
static enum tide_verdict resp_fail_receive(struct tide_qp *qp,
					   const struct tide_op *op,
					   enum ib_wc_status status,
					   enum tide_verdict verdict)
{
	tide_count(qp, TIDE_CNT_LOCAL_ERRORS, 1);
	resp_complete(qp, op, status);
	tide_qp_error(qp);
	return verdict;
}

/* Have every receive that is posted from now on announced. */
static void ask_for_doorbell(struct tide_qp *qp)
{
	WRITE_ONCE(qp->resp.rq.head->wake, 1);
	/* Pairs with the poster: producer first, then wake. */
	smp_mb();
}

/* How many receives are posted; if none, ask to be told of the next. */
static u32 resp_posted(struct tide_qp *qp)
{
	u32 posted = tide_ring_posted(&qp->resp.rq);

	if (posted)
		return posted;
	ask_for_doorbell(qp);
	return tide_ring_posted(&qp->resp.rq);
}

/**
 * tide_resp_receives - how many receives a queue pair has
 * @qp: the responder, locked
 *
 * Return: TIDE_RECEIVES_UNKNOWN if they are not its own alone.
 */
u32 tide_resp_receives(const struct tide_qp *qp)
{
	const struct tide_ring *rq = &qp->resp.rq;
	u32 posted = tide_ring_posted(rq);

	return !rq->mem || qp->resp.srq || tide_ring_garbage(rq, posted) ?
	       TIDE_RECEIVES_UNKNOWN : posted;
}

/**
 * tide_resp_await_receive - have tide_resp_doorbell() called for a receive
 * @qp: the responder, locked
 *
 * Return: whether there is one already.
 */
bool tide_resp_await_receive(struct tide_qp *qp)
{
	return tide_resp_receives(qp) != TIDE_RECEIVES_UNKNOWN &&
	       resp_posted(qp);
}

/* Take the next receive off the queue pair's own queue; as tide_srq_take(). */
static int resp_take_own(struct tide_qp *qp, const struct tide_op *op)
{
	struct tide_responder *resp = &qp->resp;
	u32 posted = op->waiter ? resp_posted(qp) :
				  tide_ring_posted(&resp->rq);
	bool makes_sense;

	if (!posted)
		return -EAGAIN;
	if (tide_ring_garbage(&resp->rq, posted))
		return -EIO;
	makes_sense = tide_recv_load(&resp->recv,
				     tide_ring_entry(&resp->rq, resp->rq.index),
				     qp->max_recv_sge);
	tide_ring_taken(&resp->rq);
	resp->recv.entry = resp->rq.index;
	return makes_sense ? 0 : -EINVAL;
}

/* Have a receive at hand, copied before it is looked at. */
static enum tide_verdict resp_take_receive(struct tide_qp *qp,
					   const struct tide_op *op)
{
	struct tide_responder *resp = &qp->resp;
	int ret;

	/* Left half filled by a requester that was reset: start over. */
	if (resp->receiving) {
		tide_sg_rewind(&resp->recv.sg);
		return TIDE_DONE;
	}

	ret = resp->srq ? tide_srq_take(resp->srq, op->waiter, &resp->recv) :
			  resp_take_own(qp, op);
	if (ret == -EAGAIN)
		return TIDE_RNR;
	if (ret == -EIO)
		return resp_nak(qp, TIDE_NAK_OP, IB_EVENT_QP_FATAL);
	resp->receiving = true;
	if (ret)
		return resp_fail_receive(qp, op, IB_WC_LOC_QP_OP_ERR,
					 TIDE_NAK_OP);
	return TIDE_DONE;
}

/*
 * The message does not fit the receive at hand.  If it can be dropped, the
 * receive is for the next one.
 */
static enum tide_verdict resp_too_long(struct tide_qp *qp,
				       const struct tide_op *op)
{
	struct tide_responder *resp = &qp->resp;

	if (tide_qp_is_reliable(qp))
		return resp_fail_receive(qp, op, IB_WC_LOC_LEN_ERR,
					 TIDE_NAK_INVALID);
	if (resp->srq) {
		tide_srq_give_back(resp->srq, resp->recv.entry);
		resp->receiving = false;
	}
	return TIDE_NAK_INVALID;
}

/* The domain that receives' keys belong to. */
static u64 recv_pd_id(const struct tide_qp *qp)
{
	return qp->resp.srq ? qp->resp.srq->pd_id : qp->pd_id;
}

/* Whether the receive at hand can take a send as it is known to be. */
static enum tide_verdict check_receive(struct tide_qp *qp,
				       const struct tide_op *op)
{
	const struct tide_sg *sg = &qp->resp.recv.sg;

	if (tide_sg_length(sg) < op->length)
		return resp_too_long(qp, op);
	if (!tide_sg_allowed(sg, recv_pd_id(qp), op->length,
			     IB_ACCESS_LOCAL_WRITE))
		return resp_fail_receive(qp, op, IB_WC_LOC_PROT_ERR,
					 TIDE_NAK_OP);
	return TIDE_DONE;
}

static enum tide_verdict check_invalidation(struct tide_qp *qp,
					    const struct tide_op *op)
{
	if (tide_mw_may_invalidate(qp, op->pd_id, op->invalidate_rkey))
		return TIDE_DONE;
	return resp_fail_receive(qp, op, IB_WC_REM_INV_REQ_ERR,
				 TIDE_NAK_ACCESS);
}

static enum tide_verdict begin_send(struct tide_qp *qp,
				    const struct tide_op *op)
{
	enum tide_verdict verdict = resp_take_receive(qp, op);

	if (verdict == TIDE_DONE)
		verdict = check_receive(qp, op);
	if (verdict == TIDE_DONE && op->opcode == IB_WR_SEND_WITH_INV)
		verdict = check_invalidation(qp, op);
	return verdict;
}

/*
 * Who is not ready to send yet may learn from this that the other side is
 * (IBTA 11.6.3.2).
 */
static void resp_established(struct tide_qp *qp)
{
	if (qp->resp.established)
		return;
	qp->resp.established = true;
	if (qp->state == IB_QPS_RTR && !qp->dgs)
		tide_qp_event(qp, IB_EVENT_COMM_EST);
}

/**
 * tide_resp_begin - accept an operation, or not
 * @qp: the responder
 * @op: the operation
 *
 * When it is refused for good, the responder is in error on return. Not a
 * byte is changed before all of the operation has been checked.
 */
enum tide_verdict tide_resp_begin(struct tide_qp *qp, struct tide_op *op)
{
	int rights = op_rights(op);
	struct tide_access access;

	op->responder = qp->resp.incarnation;
	op->epoch = tide_mr_epoch();
	resp_established(qp);
	op->pd_id = qp->pd_id;
	if (qp->type == IB_QPT_XRC_TGT && !tide_xrc_aim(qp, op))
		return resp_nak(qp, TIDE_NAK_ACCESS, IB_EVENT_QP_ACCESS_ERR);
	if (op_is_send(op))
		return begin_send(qp, op);

	if (rights & ~qp->attr.qp_access_flags ||
	    (op_needs_resource(op) && !qp->attr.max_dest_rd_atomic))
		return resp_nak(qp, TIDE_NAK_INVALID, IB_EVENT_QP_REQ_ERR);
	if (op_is_of_word(op) &&
	    !IS_ALIGNED(op->remote_addr, sizeof(u64)))
		return resp_nak(qp, TIDE_NAK_INVALID, IB_EVENT_QP_REQ_ERR);
	access = op_access(qp, op, rights, 0);
	if (op->opcode == IB_WR_FLUSH)
		return tide_flush_begin(op, &access) ? TIDE_DONE :
						       tide_resp_denied(qp, op);
	/* Where no byte is accessed, no key is checked (IBTA o9-21). */
	if (op->length && !tide_mr_allows(&access, op->length))
		return tide_resp_denied(qp, op);
	return op_takes_receive(op) ? resp_take_receive(qp, op) : TIDE_DONE;
}

/**
 * tide_resp_may_read - whether a read may be answered once more
 * @qp: the responder, which stays out of error; of an XRC target, the shared
 *	receive queue may become the one that is named
 * @op: the read; what it was begun with is filled in
 */
bool tide_resp_may_read(struct tide_qp *qp, struct tide_op *op)
{
	int rights = op_rights(op);
	struct tide_access access;

	op->responder = qp->resp.incarnation;
	op->epoch = tide_mr_epoch();
	op->pd_id = qp->pd_id;
	if (qp->type == IB_QPT_XRC_TGT && !tide_xrc_aim(qp, op))
		return false;
	if (rights & ~qp->attr.qp_access_flags)
		return false;
	access = op_access(qp, op, rights, 0);
	return !op->length || tide_mr_allows(&access, op->length);
}

/**
 * tide_resp_extend - a message turns out to be longer
 * @qp: the responder
 * @op: a send that was begun
 * @len: bytes more than it was believed to have
 *
 * Where messages come in pieces, how long a send is shows at its end.
 */
enum tide_verdict tide_resp_extend(struct tide_qp *qp, struct tide_op *op,
				   u32 len)
{
	if (len > TIDE_MAX_MSG - op->length)
		return resp_too_long(qp, op);
	op->length += len;
	return check_receive(qp, op);
}

/**
 * tide_resp_turn - a message turns out to have more to tell
 * @qp: the responder
 * @op: a send or write that was begun; of the opcode that it turned out to
 *	have, with what that takes
 *
 * Return: as tide_resp_begin(); on TIDE_RNR it may be called once more.
 */
enum tide_verdict tide_resp_turn(struct tide_qp *qp, struct tide_op *op)
{
	if (op->opcode == IB_WR_SEND_WITH_INV)
		return check_invalidation(qp, op);
	if (op->opcode == IB_WR_RDMA_WRITE_WITH_IMM)
		return resp_take_receive(qp, op);
	return TIDE_DONE;
}

/**
 * tide_resp_expects - whether an operation that was begun can go on
 * @qp: the responder
 * @op: the operation
 *
 * Return: false when the responder was reset in between, or the shared receive
 * queue that an XRC request names was closed.
 */
bool tide_resp_expects(struct tide_qp *qp, const struct tide_op *op)
{
	if (qp->type == IB_QPT_XRC_TGT && !qp->resp.srq)
		return false;
	return op->responder == qp->resp.incarnation &&
	       (!op_takes_receive(op) || qp->resp.receiving);
}

/**
 * tide_resp_broken_off - an operation that was begun cannot go on
 * @qp: the responder, which does not expect it; in error on return if it is
 *	reliable
 *
 * Return: what to tell the requester.
 */
enum tide_verdict tide_resp_broken_off(struct tide_qp *qp)
{
	if (qp->type == IB_QPT_XRC_TGT && !qp->resp.srq)
		return resp_nak(qp, TIDE_NAK_ACCESS, IB_EVENT_QP_ACCESS_ERR);
	return tide_resp_invalid(qp);
}

/**
 * tide_resp_side - the responder's side of moving payload
 * @qp: the responder
 * @op: an operation that was begun
 * @done: bytes moved so far
 * @len: bytes that come next, more than none; shortened to what is in one
 *	piece
 */
struct tide_side tide_resp_side(struct tide_qp *qp, const struct tide_op *op,
				u32 done, u32 *len)
{
	if (op_is_send(op))
		return tide_sg_side(&qp->resp.recv.sg, recv_pd_id(qp),
				    IB_ACCESS_LOCAL_WRITE, len);
	return (struct tide_side) {
		.kaddr = NULL,
		.access = op_access(qp, op, op_rights(op), done),
		.hold = NULL,
		.leaf = NULL,
		.direct = false,
	};
}

/**
 * tide_resp_ahead - how many bytes in one piece an operation may still move
 * @qp: the responder
 * @op: an operation that was begun
 * @done: bytes moved so far
 */
u32 tide_resp_ahead(const struct tide_qp *qp, const struct tide_op *op,
		    u32 done)
{
	return op_is_send(op) ? tide_sg_left(&qp->resp.recv.sg) :
				op->length - done;
}

/**
 * tide_resp_flush_some - carry out some of a flush
 * @qp: the responder
 * @op: a flush that was begun
 * @len: becomes how many bytes that was, or none
 *
 * Return: TIDE_DONE when there is no more; TIDE_MORE; or what to tell the
 * requester.
 */
enum tide_verdict tide_resp_flush_some(struct tide_qp *qp, struct tide_op *op,
				       u32 *len)
{
	struct tide_access access = op_access(qp, op, op_rights(op), 0);
	int ret = tide_flush_some(op, &access);

	*len = max(ret, 0);
	if (ret < 0)
		return tide_resp_denied(qp, op);
	return op->left ? TIDE_MORE : TIDE_DONE;
}

/* @len bytes of what tide_resp_side() showed have been moved. */
void tide_resp_moved(struct tide_qp *qp, const struct tide_op *op, u32 len)
{
	if (op_is_send(op))
		tide_sg_advance(&qp->resp.recv.sg, len);
	tide_count(qp, TIDE_CNT_RX_BYTES, len);
}

/**
 * tide_resp_denied - the responder's memory cannot be accessed
 * @qp: the responder, in error on return
 * @op: the operation that tried
 *
 * Return: what to tell the requester.
 */
enum tide_verdict tide_resp_denied(struct tide_qp *qp,
				   const struct tide_op *op)
{
	if (op_is_send(op))
		return resp_fail_receive(qp, op, IB_WC_LOC_PROT_ERR,
					 TIDE_NAK_OP);
	return resp_nak(qp, TIDE_NAK_ACCESS, IB_EVENT_QP_ACCESS_ERR);
}

/**
 * tide_resp_finish - all of the operation has been executed
 * @qp: the responder
 * @op: the operation
 *
 * Completes the receive, if it takes one.
 */
enum tide_verdict tide_resp_finish(struct tide_qp *qp,
				   const struct tide_op *op)
{
	if (op_takes_receive(op)) {
		/* If it has been deallocated meanwhile, that will do too. */
		if (op->opcode == IB_WR_SEND_WITH_INV)
			tide_mw_invalidate(qp, op->pd_id, op->invalidate_rkey);
		resp_complete(qp, op, IB_WC_SUCCESS);
	}
	tide_count(qp, TIDE_CNT_RX_MSGS, 1);
	return TIDE_DONE;
}

/**
 * tide_resp_reset - forget all receives
 * @qp: the queue pair, its lock held
 *
 * A shared one is not lost by that: the queue gets it back.
 */
void tide_resp_reset(struct tide_qp *qp)
{
	struct tide_responder *resp = &qp->resp;

	if (resp->srq && resp->receiving)
		tide_srq_give_back(resp->srq, resp->recv.entry);
	else if (!resp->srq)
		tide_ring_reset(&resp->rq);
	resp->receiving = false;
	resp->established = false;
	resp->incarnation++;
}

static void flush_one(struct tide_qp *qp, u64 wr_id, u32 entry)
{
	struct tide_cqe cqe = {
		.wr_id = wr_id,
		.status = IB_WC_WR_FLUSH_ERR,
		.opcode = IB_WC_RECV,
		.consumer = entry,
	};

	complete_recv(qp, &cqe, false);
}

/**
 * tide_resp_flush - complete all receives of a queue pair in error
 * @qp: the queue pair, its lock held
 *
 * From then on every further receive is announced by a doorbell.  Those of a
 * shared queue are not the queue pair's, but for the one that it has at hand.
 */
void tide_resp_flush(struct tide_qp *qp)
{
	struct tide_responder *resp = &qp->resp;
	const struct tide_recv_wqe *slot;
	u32 posted;
	u64 wr_id;

	if (resp->receiving)
		flush_one(qp, resp->recv.wr_id, resp->recv.entry);
	resp->receiving = false;
	if (resp->srq)
		return;

	ask_for_doorbell(qp);
	posted = tide_ring_posted(&resp->rq);
	if (tide_ring_garbage(&resp->rq, posted))
		return;
	/* Not until there are none: the process may post without end. */
	while (posted--) {
		slot = tide_ring_entry(&resp->rq, resp->rq.index);
		wr_id = READ_ONCE(slot->wr_id);
		tide_ring_taken(&resp->rq);
		flush_one(qp, wr_id, resp->rq.index);
	}
}

/**
 * tide_resp_flush_shared - complete all receives of the shared queue too
 * @qp: a queue pair in error, its lock held, whose device goes
 *
 * Whoever polls for one of them would wait for ever.
 */
void tide_resp_flush_shared(struct tide_qp *qp)
{
	struct tide_srq *srq = qp->resp.srq;
	u32 left = TIDE_MAX_SRQ_WR;
	struct tide_recv recv;

	while (left-- && tide_srq_drain(srq, &recv))
		flush_one(qp, recv.wr_id, recv.entry);
}

/**
 * tide_resp_doorbell - of tide_qp_receives_posted(), what is the responder's
 * @qp: the queue pair
 *
 * Context: process; no locks.
 */
void tide_resp_doorbell(struct tide_qp *qp)
{
	if (qp->resp.srq)
		return;
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && qp->state == IB_QPS_ERR) {
		tide_resp_flush(qp);
	} else if (qp->ibqp) {
		WRITE_ONCE(qp->resp.rq.head->wake, 0);
		tide_qp_kick_peer(qp);
	}
	spin_unlock_bh(&qp->lock);
}
