// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Resizing completion queues.  The kernel makes a ring and switches to it; what
 * was not polled yet is copied here.
 */
#include <string.h>

#include "tide.h"

static int command(struct tide_cq *cq, int cqe, enum tide_resize_cq_step step,
		   struct tide_abi_ring *ring)
{
	struct tide_resize_cq cmd = { .drv_payload.step = step };
	struct tide_resize_cq_resp resp = {};
	int err;

	err = ibv_cmd_resize_cq(&cq->vcq.cq, cqe, &cmd.ibv_cmd, sizeof(cmd),
				&resp.ibv_resp, sizeof(resp));
	if (!err && ring)
		*ring = resp.drv_payload.ring;
	return err;
}

/*
 * The kernel writes to the old ring no more, and to the new one from producer
 * on.  What has been overrun in the old one is not copied, and what may be in
 * the new one while it is copied, is lost.
 */
static void copy_unpolled(struct tide_ring *from, struct tide_ring *to,
			  bool ignores_overrun)
{
	uint32_t ready = tide_ring_ready(from);
	uint32_t end = from->index + ready;

	if (ready > from->count)
		ready = from->count;
	if (ready > to->count)
		ready = to->count;
	to->index = end - ready;
	for (; ready; ready--)
		memcpy(tide_ring_slot(to, end - ready),
		       tide_ring_slot(from, end - ready),
		       sizeof(struct tide_cqe));
	if (ignores_overrun && tide_ring_overtaken(to))
		tide_ring_drop_all(to);
	tide_ring_take(to);
}

/*
 * Locked although this calls the kernel, as in switch_ring() of srq.c: nobody
 * may poll, or ask for events, until both sides have switched.
 */
static int switch_ring(struct tide_cq *cq, int cqe, struct tide_ring *ring)
{
	struct tide_ring old = *ring;
	int err;

	tide_lock(&cq->lock);
	tide_lock(&cq->arm_lock);
	err = command(cq, cqe, TIDE_RESIZE_CQ_SWITCH, NULL);
	if (!err) {
		copy_unpolled(&cq->ring, ring, cq->ignores_overrun);
		old = cq->ring;
		cq->ring = *ring;
	}
	tide_unlock(&cq->arm_lock);
	tide_unlock(&cq->lock);
	tide_ring_unmap(&old);
	return err;
}

/* One at a time, which resize_lock sees to. */
static int resize(struct tide_cq *cq, int cqe)
{
	struct tide_abi_ring abi;
	struct tide_ring ring = {};
	int err;

	err = command(cq, cqe, TIDE_RESIZE_CQ_OFFER, &abi);
	if (err || !abi.mmap_size)
		return err;

	err = tide_ring_map(&ring, cq->vcq.cq.context, &abi);
	return err ? err : switch_ring(cq, cqe, &ring);
}

int tide_resize_cq(struct ibv_cq *ibcq, int cqe)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	int err;

	pthread_mutex_lock(&cq->resize_lock);
	err = resize(cq, cqe);
	pthread_mutex_unlock(&cq->resize_lock);
	return err;
}
