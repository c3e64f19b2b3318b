// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Completion queues: the kernel fills them, polling and arming them are
 * nothing but memory accesses.
 */
#include <stdlib.h>

#include "tide.h"

struct ibv_cq *tide_create_cq(struct ibv_context *context, int cqe,
			      struct ibv_comp_channel *channel, int comp_vector)
{
	struct tide_create_cq_resp resp = {};
	struct tide_create_cq cmd = {};
	struct tide_cq *cq;
	int err;

	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return NULL;

	err = ibv_cmd_create_cq(context, cqe, channel, comp_vector, &cq->vcq.cq,
				&cmd.ibv_cmd, sizeof(cmd), &resp.ibv_resp,
				sizeof(resp));
	if (err)
		goto err_free;

	err = tide_ring_map(&cq->ring, context, &resp.drv_payload.ring);
	if (err)
		goto err_destroy;

	tide_lock_init(&cq->lock, true);
	return &cq->vcq.cq;

err_destroy:
	ibv_cmd_destroy_cq(&cq->vcq.cq);
err_free:
	free(cq);
	errno = err;
	return NULL;
}

int tide_destroy_cq(struct ibv_cq *ibcq)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	int ret;

	ret = ibv_cmd_destroy_cq(ibcq);
	if (ret)
		return ret;

	tide_ring_unmap(&cq->ring);
	tide_lock_destroy(&cq->lock);
	free(cq);
	return 0;
}

/*
 * A slot of a queue that has gone meanwhile is nobody's: numbers are not used
 * again so soon.
 */
static void free_xrc_slot(struct tide_context *ctx, const struct tide_cqe *cqe)
{
	struct tide_srq *srq = tide_table_find(&ctx->xrc_srqs, cqe->handle);

	if (srq && srq->srqn == cqe->srqn)
		tide_srq_free_slot(srq, cqe->slot);
}

/* The receive's entry may be used again, or all up to it. */
static void free_recv(struct tide_qp *qp, const struct tide_cqe *cqe)
{
	if (qp->vqp.qp.srq)
		tide_srq_free_slot(to_tide_srq(qp->vqp.qp.srq), cqe->slot);
	else
		__atomic_store_n(&qp->rq.polled, cqe->consumer,
				 __ATOMIC_RELEASE);
}

/* The entries that this completion is the last to tell of are free. */
static void free_entries(struct tide_context *ctx, const struct tide_cqe *cqe)
{
	struct tide_qp *qp;

	if (cqe->srqn) {
		free_xrc_slot(ctx, cqe);
		return;
	}
	qp = tide_table_find(&ctx->qps, cqe->handle);
	if (!qp)
		return;

	if (cqe->opcode & IBV_WC_RECV)
		free_recv(qp, cqe);
	else
		__atomic_store_n(&qp->sq.polled, cqe->consumer,
				 __ATOMIC_RELEASE);
}

static void fill_wc(struct ibv_wc *wc, const struct tide_cqe *cqe)
{
	wc->wr_id = cqe->wr_id;
	wc->status = cqe->status;
	wc->opcode = cqe->opcode;
	wc->vendor_err = cqe->vendor_err;
	wc->byte_len = cqe->byte_len;
	if (cqe->flags & TIDE_CQE_WITH_INV)
		wc->invalidated_rkey = cqe->invalidated_rkey;
	else
		wc->imm_data = cqe->imm_data;
	wc->qp_num = cqe->qpn;
	wc->src_qp = cqe->src_qp;
	wc->wc_flags = cqe->flags;
	wc->pkey_index = cqe->pkey_index;
	wc->slid = cqe->slid;
	wc->sl = cqe->sl;
	wc->dlid_path_bits = cqe->dlid_path_bits;
}

int tide_poll_cq(struct ibv_cq *ibcq, int num_entries, struct ibv_wc *wc)
{
	struct tide_context *ctx = to_tide_context(ibcq->context);
	struct tide_cq *cq = to_tide_cq(ibcq);
	struct tide_ring *ring = &cq->ring;
	const struct tide_cqe *cqe;
	uint32_t ready;
	int n;

	tide_lock(&cq->lock);
	ready = tide_ring_ready(ring);
	if (ready > ring->count) {
		tide_unlock(&cq->lock);
		return -1;
	}

	for (n = 0; n < num_entries && n < ready; n++) {
		cqe = tide_ring_slot(ring, ring->index++);
		fill_wc(&wc[n], cqe);
		free_entries(ctx, cqe);
	}
	if (n)
		tide_ring_take(ring);
	tide_unlock(&cq->lock);

	return n;
}

/*
 * Waits until nobody polls who may have begun before.  Nobody who begins later
 * finds what is in no table any more.
 */
void tide_cq_wait_polled(struct tide_cq *cq)
{
	tide_lock(&cq->lock);
	tide_unlock(&cq->lock);
}

int tide_req_notify_cq(struct ibv_cq *ibcq, int solicited_only)
{
	tide_ring_arm(&to_tide_cq(ibcq)->ring, solicited_only ?
			      TIDE_CQ_ARM_SOLICITED : TIDE_CQ_ARM_NEXT);
	return 0;
}

/*
 * Drops the completions of a queue pair that the kernel will not write any
 * more for.  The others move up, newest first, to the end of what is ready:
 * these slots are ours until the consumer index has passed them, whatever the
 * kernel appends meanwhile.
 */
void tide_cq_forget_qp(struct tide_cq *cq, struct tide_qp *qp)
{
	struct tide_ring *ring = &cq->ring;
	struct tide_cqe *cqe, *to;
	uint32_t ready, kept, i;

	tide_lock(&cq->lock);
	ready = tide_ring_ready(ring);
	if (ready <= ring->count) {
		kept = ring->index + ready;
		for (i = kept; i != ring->index;) {
			cqe = tide_ring_slot(ring, --i);
			if (cqe->qpn == qp->vqp.qp.qp_num) {
				if (cqe->opcode & IBV_WC_RECV)
					free_recv(qp, cqe);
				continue;
			}
			to = tide_ring_slot(ring, --kept);
			*to = *cqe;
		}
		ring->index = kept;
		tide_ring_take(ring);
	}
	tide_unlock(&cq->lock);
}
