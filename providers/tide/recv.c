// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Receive queues.  Posting is silent unless the kernel has a sender waiting.
 */
#include <string.h>

#include "tide.h"

static_assert(sizeof(struct tide_sge) == sizeof(struct ibv_sge) &&
	      offsetof(struct tide_sge, length) ==
		      offsetof(struct ibv_sge, length) &&
	      offsetof(struct tide_sge, lkey) == offsetof(struct ibv_sge, lkey),
	      "scatter/gather elements are copied as they are");

/* Writes a work request to its entry. */
void tide_fill_recv(struct tide_recv_wqe *wqe, const struct ibv_recv_wr *wr)
{
	wqe->wr_id = wr->wr_id;
	wqe->num_sge = wr->num_sge;
	memcpy(wqe + 1, wr->sg_list, wr->num_sge * sizeof(struct tide_sge));
}

static int stage_wr(struct tide_wq *rq, const struct ibv_recv_wr *wr)
{
	if ((uint32_t)wr->num_sge > rq->max_sge)
		return EINVAL;
	if (tide_wq_full(rq))
		return ENOMEM;

	tide_fill_recv(tide_ring_slot(&rq->ring, rq->ring.index), wr);
	rq->ring.index++;
	return 0;
}

int tide_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr,
		   struct ibv_recv_wr **bad_wr)
{
	struct tide_wq *rq = &to_tide_qp(ibqp)->rq;
	struct ibv_recv_wr *first = wr;
	bool wake = false;
	int err, ret;

	tide_lock(&rq->lock);
	err = ibqp->state == IBV_QPS_RESET || ibqp->srq || !rq->ring.count ?
		      EINVAL : 0;
	while (wr && !err) {
		err = stage_wr(rq, wr);
		if (!err)
			wr = wr->next;
	}
	if (wr != first) {
		tide_ring_put(&rq->ring);
		wake = tide_ring_wants_wake(&rq->ring);
	}
	tide_unlock(&rq->lock);

	if (err)
		*bad_wr = wr;
	if (!wake)
		return err;

	ret = tide_doorbell(to_tide_context(ibqp->context), TIDE_DOORBELL_RECV,
			    ibqp->qp_num);
	if (ret)
		*bad_wr = first;
	return ret ? ret : err;
}
