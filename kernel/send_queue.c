// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * send_queue.c - work requests: whether they make sense, and what becomes of
 * them.
 */
#include "datagram.h"
#include "flush.h"
#include "requester.h"
#include "sg.h"

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
	tide_req_forget_losses(req);
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
