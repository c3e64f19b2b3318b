// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Shared receive queues.  The free slots are in the ring too, after those that
 * are posted: see struct tide_recv_wqe.
 */
#include <stdlib.h>
#include <string.h>

#include "tide.h"

static uint32_t *slot_at(const struct tide_ring *ring, uint32_t place)
{
	struct tide_recv_wqe *wqe = tide_ring_slot(ring, place);

	return &wqe->slot;
}

/* The kernel's part of it is made. */
static int init_srq(struct tide_srq *srq, struct ibv_pd *pd,
		    const struct tide_abi_create_srq_resp *resp,
		    const struct ibv_srq_attr *attr)
{
	int err;

	err = tide_ring_map(&srq->ring, srq->vsrq.srq.context, &resp->ring);
	if (err)
		return err;

	srq->parent = tide_parent_get(pd);
	tide_lock_init(&srq->lock, !tide_thread_domain(srq->parent));
	pthread_mutex_init(&srq->resize_lock, NULL);
	srq->srqn = resp->srqn;
	srq->max_sge = attr->max_sge;
	srq->max_wr = attr->max_wr;
	srq->freed = srq->ring.count;
	return 0;
}

struct ibv_srq *tide_create_srq(struct ibv_pd *pd,
				struct ibv_srq_init_attr *attr)
{
	struct tide_create_srq_resp resp = {};
	struct tide_create_srq cmd = {};
	struct tide_srq *srq;
	int err;

	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;

	err = ibv_cmd_create_srq(pd, &srq->vsrq.srq, attr, &cmd.ibv_cmd,
				 sizeof(cmd), &resp.ibv_resp, sizeof(resp));
	if (err)
		goto err_free;

	err = init_srq(srq, pd, &resp.drv_payload, &attr->attr);
	if (err)
		goto err_destroy;

	return &srq->vsrq.srq;

err_destroy:
	ibv_cmd_destroy_srq(&srq->vsrq.srq);
err_free:
	free(srq);
	errno = err;
	return NULL;
}

static int create_xrc_srq(struct tide_srq *srq,
			  struct ibv_srq_init_attr_ex *attr)
{
	struct tide_create_srq_ex_resp resp = {};
	struct tide_create_srq_ex cmd = {
		.drv_payload.handle = srq->handle,
	};
	int err;

	err = ibv_cmd_create_srq_ex(attr->pd->context, &srq->vsrq, attr,
				    &cmd.ibv_cmd, sizeof(cmd), &resp.ibv_resp,
				    sizeof(resp));
	if (err)
		return err;

	err = init_srq(srq, attr->pd, &resp.drv_payload, &attr->attr);
	if (err) {
		ibv_cmd_destroy_srq(&srq->vsrq.srq);
		return err;
	}
	tide_srq_share(srq, to_tide_cq(attr->cq));
	return 0;
}

static bool is_xrc(const struct tide_srq *srq)
{
	return srq->vsrq.srq_type == IBV_SRQT_XRC;
}

/* Basic ones that have nothing extended libibverbs makes by itself. */
struct ibv_srq *tide_create_srq_ex(struct ibv_context *context,
				   struct ibv_srq_init_attr_ex *attr)
{
	const uint32_t needed = IBV_SRQ_INIT_ATTR_TYPE | IBV_SRQ_INIT_ATTR_PD |
				IBV_SRQ_INIT_ATTR_XRCD | IBV_SRQ_INIT_ATTR_CQ;
	struct tide_context *ctx = to_tide_context(context);
	struct tide_srq *srq;
	int err;

	if (!(attr->comp_mask & IBV_SRQ_INIT_ATTR_TYPE) ||
	    attr->srq_type != IBV_SRQT_XRC) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (attr->comp_mask != needed) {
		errno = EINVAL;
		return NULL;
	}

	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;

	err = tide_table_add(&ctx->xrc_srqs, srq, &srq->handle);
	if (err)
		goto err_free;

	err = create_xrc_srq(srq, attr);
	if (err)
		goto err_remove;

	return &srq->vsrq.srq;

err_remove:
	tide_table_remove(&ctx->xrc_srqs, srq->handle);
err_free:
	free(srq);
	errno = err;
	return NULL;
}

/* Its completions are left for whoever polls, and free nothing. */
static void remove_xrc_srq(struct tide_srq *srq)
{
	struct tide_context *ctx = to_tide_context(srq->vsrq.srq.context);

	tide_table_remove(&ctx->xrc_srqs, srq->handle);
	tide_cq_wait_polled(to_tide_cq(srq->vsrq.cq));
}

int tide_destroy_srq(struct ibv_srq *ibsrq)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	int ret;

	ret = ibv_cmd_destroy_srq(ibsrq);
	if (ret)
		return ret;

	if (is_xrc(srq))
		remove_xrc_srq(srq);
	tide_ring_unmap(&srq->ring);
	tide_lock_destroy(&srq->lock);
	pthread_mutex_destroy(&srq->resize_lock);
	tide_parent_put(srq->parent);
	free(srq);
	return 0;
}

int tide_query_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr)
{
	struct ibv_query_srq cmd;

	return ibv_cmd_query_srq(ibsrq, attr, &cmd, sizeof(cmd));
}

int tide_get_srq_num(struct ibv_srq *ibsrq, uint32_t *srq_num)
{
	*srq_num = to_tide_srq(ibsrq)->srqn;
	return 0;
}

/* Posted, or not polled yet; @srq is locked. */
static uint32_t outstanding(const struct tide_srq *srq)
{
	return srq->ring.count - (srq->freed - srq->ring.index);
}

/*
 * Who polls completions of its receives gives slots back.  Where that may be
 * another thread than the one of the queue's thread domain, it takes a lock
 * from now on: this is that thread, as it makes a queue pair on the queue.
 */
void tide_srq_share(struct tide_srq *srq, const struct tide_cq *cq)
{
	if (tide_thread_domain(srq->parent) != tide_thread_domain(cq->parent))
		srq->lock.needed = true;
}

void tide_srq_free_slot(struct tide_srq *srq, uint32_t slot)
{
	tide_lock(&srq->lock);
	*slot_at(&srq->ring, srq->freed++) = slot;
	tide_unlock(&srq->lock);
}

/* @srq is locked. */
static int stage_wr(struct tide_srq *srq, const struct ibv_recv_wr *wr)
{
	struct tide_ring *ring = &srq->ring;

	if ((uint32_t)wr->num_sge > srq->max_sge)
		return EINVAL;
	if (outstanding(srq) >= srq->max_wr)
		return ENOMEM;

	tide_fill_recv(tide_ring_slot(ring, *slot_at(ring, ring->index)), wr);
	ring->index++;
	return 0;
}

int tide_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr,
		       struct ibv_recv_wr **bad_wr)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	struct ibv_recv_wr *first = wr;
	bool wake = false;
	int err = 0, ret;

	tide_lock(&srq->lock);
	while (wr && !err) {
		err = stage_wr(srq, wr);
		if (!err)
			wr = wr->next;
	}
	if (wr != first) {
		tide_ring_put(&srq->ring);
		wake = tide_ring_wants_wake(&srq->ring);
	}
	tide_unlock(&srq->lock);

	if (err)
		*bad_wr = wr;
	if (!wake)
		return err;

	ret = tide_doorbell(to_tide_context(ibsrq->context), TIDE_DOORBELL_SRQ,
			    srq->srqn);
	if (ret)
		*bad_wr = first;
	return ret ? ret : err;
}

/*
 * Copies everything to a larger ring, which then has more free slots; @srq is
 * locked.  The kernel takes receives meanwhile, which does not matter.
 */
static void fill_ring(const struct tide_srq *srq, struct tide_ring *to)
{
	const struct tide_ring *from = &srq->ring;
	uint32_t place = tide_ring_consumer(from);
	uint32_t i;

	for (i = 0; i < from->count; i++)
		memcpy(tide_ring_slot(to, i), tide_ring_slot(from, i),
		       from->stride);
	/* Another number than this it is only if something scribbled on it. */
	if (srq->freed - place > from->count)
		place = srq->freed - from->count;
	for (; place != srq->freed; place++)
		*slot_at(to, place) = *slot_at(from, place);
	for (i = from->count; i < to->count; i++)
		*slot_at(to, place++) = i;
	to->index = from->index;
	tide_ring_put(to);
}

/*
 * @srq is locked, although this calls the kernel: it does not wait for
 * anything there, and nobody may post or poll until both sides have switched.
 */
static int switch_ring(struct tide_srq *srq, struct tide_ring *ring)
{
	struct tide_context *ctx = to_tide_context(srq->vsrq.srq.context);
	int err;

	/* Again only when a queue pair with a receive half filled has gone. */
	do {
		fill_ring(srq, ring);
		err = tide_doorbell(ctx, TIDE_SRQ_SWITCH, srq->srqn);
	} while (err == EAGAIN);
	return err;
}

/* Moves to the ring that the kernel has made. */
static int grow(struct tide_srq *srq, const struct tide_abi_ring *abi)
{
	struct tide_ring old = {}, ring = {};
	int err;

	err = tide_ring_map(&ring, srq->vsrq.srq.context, abi);
	if (err)
		return err;

	tide_lock(&srq->lock);
	err = switch_ring(srq, &ring);
	if (!err) {
		old = srq->ring;
		srq->freed += ring.count - old.count;
		srq->ring = ring;
	}
	tide_unlock(&srq->lock);
	tide_ring_unmap(err ? &ring : &old);
	return err;
}

/* Lowers what may be outstanding, unless more is. */
static int lower(struct tide_srq *srq, uint32_t max_wr)
{
	int err = 0;

	tide_lock(&srq->lock);
	if (outstanding(srq) > max_wr)
		err = EINVAL;
	else if (max_wr < srq->max_wr)
		srq->max_wr = max_wr;
	tide_unlock(&srq->lock);
	return err;
}

static void set_max_wr(struct tide_srq *srq, uint32_t max_wr)
{
	tide_lock(&srq->lock);
	srq->max_wr = max_wr;
	tide_unlock(&srq->lock);
}

static int modify(struct tide_srq *srq, struct ibv_srq_attr *attr, int mask,
		  struct tide_abi_ring *ring)
{
	struct tide_modify_srq cmd = {
		.drv_payload.ring = (uintptr_t)ring,
	};

	return ibv_cmd_modify_srq(&srq->vsrq.srq, attr, mask, &cmd.ibv_cmd,
				  sizeof(cmd));
}

/* One at a time, which resize_lock sees to. */
static int resize(struct tide_srq *srq, struct ibv_srq_attr *attr, int mask)
{
	struct tide_abi_ring ring = {};
	uint32_t before = srq->max_wr;
	int err;

	err = lower(srq, attr->max_wr);
	if (err)
		return err;

	err = modify(srq, attr, mask, &ring);
	if (!err && ring.mmap_size)
		err = grow(srq, &ring);
	set_max_wr(srq, err ? before : ring.count);
	return err;
}

int tide_modify_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr, int mask)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	int err;

	if (!(mask & IBV_SRQ_MAX_WR))
		return modify(srq, attr, mask, NULL);

	pthread_mutex_lock(&srq->resize_lock);
	err = resize(srq, attr, mask);
	pthread_mutex_unlock(&srq->resize_lock);
	return err;
}
