// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * xrc.c - XRC domains, and which shared receive queue a target uses.
 */
#include "srq.h"
#include "wire.h"
#include "xrc.h"

int tide_alloc_xrcd(struct ib_xrcd *ibxrcd, struct ib_udata *udata)
{
	static atomic64_t next_id = ATOMIC64_INIT(0);

	to_tide_xrcd(ibxrcd)->id = atomic64_inc_return(&next_id);
	return 0;
}

int tide_dealloc_xrcd(struct ib_xrcd *ibxrcd, struct ib_udata *udata)
{
	return 0;
}

/* Use no queue any more; a receive half filled goes back.  qp->lock is held. */
static void leave_srq(struct tide_qp *qp)
{
	struct tide_responder *resp = &qp->resp;

	if (!resp->srq)
		return;
	if (resp->receiving)
		tide_srq_give_back(resp->srq, resp->recv.entry);
	resp->receiving = false;
	tide_srq_put(resp->srq);
	resp->srq = NULL;
}

/**
 * tide_xrc_aim - use the shared receive queue that a request names
 * @qp: the target, its lock held
 * @op: the request; its protection domain is filled in
 *
 * Return: false when the target's domain has no such queue; then the target
 * uses the one that it did before.
 */
bool tide_xrc_aim(struct tide_qp *qp, struct tide_op *op)
{
	struct tide_srq *srq = qp->resp.srq;

	if (!srq || srq->srqn != op->srqn || !tide_srq_is_open(srq)) {
		srq = tide_srq_find_xrc(op->srqn, qp->xrcd_id);
		if (!srq)
			return false;
		op->pd_id = srq->pd_id;
		/* A read that is answered again, in the middle of a message. */
		if (op->opcode == IB_WR_RDMA_READ &&
		    (qp->resp.receiving || tide_wire_is_receiving(qp))) {
			tide_srq_put(srq);
			return true;
		}
		leave_srq(qp);
		qp->resp.srq = srq;
	}
	op->pd_id = srq->pd_id;
	return true;
}

static void leave_if_closed(struct tide_qp *qp)
{
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && qp->resp.srq && !tide_srq_is_open(qp->resp.srq)) {
		leave_srq(qp);
		/* What it asked for is refused, if it is not through. */
		tide_qp_kick_peer(qp);
		tide_wire_recheck(qp);
	}
	spin_unlock_bh(&qp->lock);
}

/**
 * tide_xrc_leave_closed - have no target use queues that were closed
 *
 * On return nothing is received from them, nor accessed on their account.
 *
 * Context: process; no locks.
 */
void tide_xrc_leave_closed(void)
{
	unsigned long qpn = 0;
	struct tide_qp *qp;

	while ((qp = tide_qp_next(&qpn))) {
		if (qp->type == IB_QPT_XRC_TGT)
			leave_if_closed(qp);
		tide_qp_put(qp);
	}
}
