// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * local.c - the local carrier.
 */
#include "compat.h"
#include "local.h"
#include "requester.h"
#include "responder.h"
#include "sg.h"

#define PSN_MASK	0xffffff

/*
 * No sequence number is counted here, but both sides have to mean the same
 * connection: a queue pair that was reset and connected anew has others, as
 * has whoever got a number that was somebody else's.  Where there is nobody to
 * answer, each message begins with the number that it has (IBTA 9.8.2).
 */
static bool in_sequence(const struct tide_qp *qp, const struct tide_qp *peer)
{
	return !tide_qp_is_reliable(qp) ||
	       !((peer->attr.rq_psn ^ qp->attr.sq_psn) & PSN_MASK);
}

/*
 * Whether two queue pairs are connected to each other.  The peer's lock is
 * held.
 */
static bool connected(const struct tide_qp *qp, const struct tide_qp *peer)
{
	enum ib_qp_type answering = qp->type == IB_QPT_XRC_INI ?
				    IB_QPT_XRC_TGT : qp->type;

	return peer->ibqp && tide_qp_may_receive(peer) &&
	       peer->type == answering &&
	       peer->attr.dest_qp_num == qp->qpn &&
	       in_sequence(qp, peer) &&
	       peer->net_cookie == qp->net_cookie &&
	       !memcmp(&peer->sgid, &qp->dgid, sizeof(qp->dgid)) &&
	       !memcmp(&peer->dgid, &qp->sgid, sizeof(qp->sgid));
}

/* The requester's side of moving payload. */
static struct tide_side own_side(struct tide_qp *qp, int rights, u32 *len)
{
	struct tide_requester *req = &qp->req;

	if (req->inline_data)
		return (struct tide_side) {
			.kaddr = req->inline_data + req->done,
		};
	return tide_sg_side(&req->sg, qp->pd_id, rights, len);
}

/* Add what the requester knows of a side's pages. */
static void equip(struct tide_requester *req, struct tide_side *side,
		  enum tide_side_index index)
{
	side->hold = &req->hold[index];
	side->leaf = &req->leaf[index];
}

static void own_moved(struct tide_qp *qp, u32 len)
{
	struct tide_requester *req = &qp->req;

	if (!req->inline_data)
		tide_sg_advance(&req->sg, len);
	req->done += len;
	tide_count(qp, TIDE_CNT_TX_BYTES, len);
}

/* Nothing was copied: @error is tide_copy()'s, @remote the responder's side. */
static enum tide_verdict stopped(struct tide_qp *qp, struct tide_qp *peer,
				 int error, enum tide_side_index remote)
{
	struct tide_requester *req = &qp->req;

	if (error == -EFAULT)
		return TIDE_FAULT;
	if (req->stop.side == remote)
		return tide_resp_denied(peer, &req->op);
	return TIDE_LOCAL_PROT;
}

/* Move the next piece of payload. */
static enum tide_verdict move(struct tide_qp *qp, struct tide_qp *peer)
{
	struct tide_requester *req = &qp->req;
	bool read = req->op.opcode == IB_WR_RDMA_READ;
	enum tide_side_index remote = read ? TIDE_SRC : TIDE_DST;
	u32 len = req->op.length - req->done;
	struct tide_side side[TIDE_SIDES];
	int ret;

	side[remote] = tide_resp_side(peer, &req->op, req->done, &len);
	side[!remote] = own_side(qp, read ? IB_ACCESS_LOCAL_WRITE : 0, &len);
	equip(req, &side[TIDE_DST], TIDE_DST);
	equip(req, &side[TIDE_SRC], TIDE_SRC);
	/* Unless that has just failed. */
	side[!remote].direct = !req->lost[!remote];

	ret = tide_copy(&side[TIDE_DST], &side[TIDE_SRC], len, &req->stop);
	if (ret < 0)
		return stopped(qp, peer, ret, remote);
	own_moved(qp, ret);
	tide_resp_moved(peer, &req->op, ret);
	return req->done < req->op.length ? TIDE_MORE : TIDE_DONE;
}

static enum tide_atomic which_atomic(u8 opcode)
{
	switch (opcode) {
	case IB_WR_ATOMIC_CMP_AND_SWP:
		return TIDE_COMPARE_SWAP;
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		return TIDE_FETCH_ADD;
	default:
		return TIDE_STORE;
	}
}

/* TIDE_MORE when there is a result to be delivered. */
static enum tide_verdict execute_atomic(struct tide_qp *qp,
					struct tide_qp *peer)
{
	struct tide_requester *req = &qp->req;
	const struct tide_op *op = &req->op;
	enum tide_atomic atomic = which_atomic(op->opcode);
	u32 len = sizeof(u64);
	struct tide_side side = tide_resp_side(peer, op, 0, &len);
	enum tide_verdict verdict;
	int ret;

	equip(req, &side, TIDE_DST);
	ret = tide_atomic(&side, atomic, op->compare_add, op->swap,
			  &req->result, &req->stop);
	if (ret)
		return stopped(qp, peer, ret, TIDE_DST);
	tide_resp_moved(peer, op, len);
	verdict = tide_resp_finish(peer, op);
	if (atomic == TIDE_STORE) {
		tide_count(qp, TIDE_CNT_TX_BYTES, len);
		return verdict;
	}
	req->executed = true;
	return TIDE_MORE;
}

static enum tide_verdict flush(struct tide_qp *qp, struct tide_qp *peer)
{
	struct tide_requester *req = &qp->req;
	enum tide_verdict verdict;
	u32 len;

	verdict = tide_resp_flush_some(peer, &req->op, &len);
	req->done += len;
	return verdict == TIDE_DONE ? tide_resp_finish(peer, &req->op) :
				      verdict;
}

/*
 * Deliver an atomic's result.  That is nobody's business but the requester's
 * own, and must not execute it again.
 */
static enum tide_verdict deliver_result(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	u32 len = sizeof(req->result) - req->done;
	struct tide_side src = { .kaddr = (void *)&req->result + req->done };
	struct tide_side dst = tide_sg_side(&req->sg, qp->pd_id,
					    IB_ACCESS_LOCAL_WRITE, &len);
	int ret;

	equip(req, &dst, TIDE_DST);
	local_bh_disable();
	ret = tide_copy(&dst, &src, len, &req->stop);
	local_bh_enable();
	if (ret < 0)
		return ret == -EFAULT ? TIDE_FAULT : TIDE_LOCAL_PROT;
	own_moved(qp, ret);
	return req->done < sizeof(req->result) ? TIDE_MORE : TIDE_DONE;
}

/**
 * tide_local_is_remote - whose memory one side of the current copy is
 * @req: the requester; an operation is busy
 * @side: the side
 *
 * Return: true if it is the responder's, false if the requester's own.
 */
bool tide_local_is_remote(const struct tide_requester *req,
			  enum tide_side_index side)
{
	if (req->executed)
		return false;
	return side == (req->op.opcode == IB_WR_RDMA_READ ? TIDE_SRC :
							    TIDE_DST);
}

/* The memory that a fault was to bring in is not there. */
static enum tide_verdict page_error(struct tide_qp *qp, struct tide_qp *peer)
{
	struct tide_requester *req = &qp->req;

	if (tide_local_is_remote(req, req->page_error))
		return tide_resp_denied(peer, &req->op);
	return TIDE_LOCAL_PROT;
}

/* The peer's lock is held, and it is connected to us. */
static enum tide_verdict step(struct tide_qp *qp, struct tide_qp *peer)
{
	struct tide_requester *req = &qp->req;
	enum tide_verdict verdict;

	/* It was reset in between; nobody will say so once more. */
	if (req->begun && !tide_resp_expects(peer, &req->op)) {
		if (!tide_qp_is_reliable(qp))
			return TIDE_SILENT;
		tide_req_restart(req);
	}
	if (!req->begun) {
		verdict = tide_resp_begin(peer, &req->op);
		if (verdict != TIDE_DONE)
			return verdict;
		req->sg.epoch = req->op.epoch;
		req->begun = true;
	}
	if (req->page_error != TIDE_SIDES)
		return page_error(qp, peer);

	switch (req->op.opcode) {
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
	case IB_WR_ATOMIC_WRITE:
		return execute_atomic(qp, peer);
	case IB_WR_FLUSH:
		return flush(qp, peer);
	}
	if (req->done < req->op.length) {
		verdict = move(qp, peer);
		if (verdict != TIDE_DONE)
			return verdict;
	}
	return tide_resp_finish(peer, &req->op);
}

/*
 * The requester of what need not arrive is not told why it has not.  The peer,
 * if there is one, is locked.
 */
static enum tide_verdict unanswered(struct tide_qp *qp, struct tide_qp *peer,
				    enum tide_verdict verdict)
{
	switch (verdict) {
	case TIDE_SILENT:
		tide_count(qp, TIDE_CNT_TX_DROPS, 1);
		return TIDE_DONE;
	case TIDE_RNR:
	case TIDE_NAK_INVALID:
	case TIDE_NAK_ACCESS:
	case TIDE_NAK_OP:
		tide_count(peer, TIDE_CNT_RX_DROPS, 1);
		return TIDE_DONE;
	default:
		return verdict;
	}
}

/**
 * tide_local_is_connected - whether there is a peer here that would answer
 * @qp: the requester's queue pair, with the run bit; an operation was begun
 *
 * Context: process; takes the peer's tide_qp.lock.
 */
bool tide_local_is_connected(struct tide_qp *qp)
{
	struct tide_qp *peer = tide_qp_find(qp->attr.dest_qp_num);
	bool answers;

	if (!peer)
		return false;
	spin_lock_bh(&peer->lock);
	answers = connected(qp, peer) &&
		  tide_resp_expects(peer, &qp->req.op);
	spin_unlock_bh(&peer->lock);
	tide_qp_put(peer);
	return answers;
}

/**
 * tide_local_step - carry the current operation a step further
 * @qp: the requester's queue pair, with the run bit; an operation is busy
 *
 * Context: process; takes the peer's tide_qp.lock; does not sleep.
 *
 * Return: TIDE_SILENT when there is no such peer here that would answer.
 */
enum tide_verdict tide_local_step(struct tide_qp *qp)
{
	bool reliable = tide_qp_is_reliable(qp);
	enum tide_verdict verdict = TIDE_SILENT;
	struct tide_qp *peer;

	if (qp->req.executed)
		return qp->req.page_error == TIDE_SIDES ? deliver_result(qp) :
							  TIDE_LOCAL_PROT;

	peer = tide_qp_find(qp->attr.dest_qp_num);
	if (!peer)
		return reliable ? TIDE_SILENT :
				  unanswered(qp, NULL, TIDE_SILENT);
	spin_lock_bh(&peer->lock);
	if (connected(qp, peer) && !qp->req.abandoned)
		verdict = step(qp, peer);
	if (!reliable)
		verdict = unanswered(qp, peer, verdict);
	if (verdict == TIDE_RNR)
		qp->req.rnr_timer = peer->attr.min_rnr_timer;
	spin_unlock_bh(&peer->lock);
	tide_qp_put(peer);
	return verdict;
}
