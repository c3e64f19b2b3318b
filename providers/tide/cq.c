// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Completion queues: the kernel fills them, polling and arming them are
 * nothing but memory accesses.
 */
#include <stdlib.h>
#include <string.h>

#include "compat.h"
#include "tide.h"

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

/*
 * The next completion of a queue that ignores overruns, copied and whole; or
 * NULL.  Where the kernel has overtaken us, we go on with the oldest that is
 * left, and with ever newer ones if the kernel is as fast as that: this ends.
 */
static const struct tide_cqe *take_copy(struct tide_cq *cq)
{
	struct tide_ring *ring = &cq->ring;
	uint32_t skip, lost;

	for (skip = 0; skip <= ring->count && tide_ring_ready(ring);
	     skip = 2 * skip + 1) {
		memcpy(&cq->copy, tide_ring_slot(ring, ring->index),
		       sizeof(cq->copy));
		lost = tide_ring_overtaken(ring);
		if (!lost) {
			ring->index++;
			return &cq->copy;
		}
		ring->index += lost + (skip < ring->count ? skip : 0);
	}
	return NULL;
}

/* How many fill_wc() was done for; or, of a ring full of garbage, -1. */
static int poll_in_place(struct tide_cq *cq, int num_entries, struct ibv_wc *wc)
{
	struct tide_context *ctx = to_tide_context(cq->vcq.cq.context);
	struct tide_ring *ring = &cq->ring;
	uint32_t ready = tide_ring_ready(ring);
	const struct tide_cqe *cqe;
	int n;

	if (ready > ring->count)
		return -1;

	for (n = 0; n < num_entries && n < ready; n++) {
		cqe = tide_ring_slot(ring, ring->index++);
		fill_wc(&wc[n], cqe);
		free_entries(ctx, cqe);
	}
	return n;
}

static int poll_copies(struct tide_cq *cq, int num_entries, struct ibv_wc *wc)
{
	struct tide_context *ctx = to_tide_context(cq->vcq.cq.context);
	const struct tide_cqe *cqe;
	int n;

	for (n = 0; n < num_entries && (cqe = take_copy(cq)); n++) {
		fill_wc(&wc[n], cqe);
		free_entries(ctx, cqe);
	}
	return n;
}

int tide_poll_cq(struct ibv_cq *ibcq, int num_entries, struct ibv_wc *wc)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	int n;

	tide_lock(&cq->lock);
	n = cq->ignores_overrun ? poll_copies(cq, num_entries, wc) :
				  poll_in_place(cq, num_entries, wc);
	if (n > 0)
		tide_ring_take(&cq->ring);
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

/*
 * Extended polling.  The queue is locked from the start to the end; until then
 * the entries are not given back, so they are read where they are.
 */

static struct tide_cq *to_tide_cq_ex(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq(ibv_cq_ex_to_cq(ibcq));
}

static void come_to(struct tide_cq *cq, const struct tide_cqe *cqe)
{
	cq->cqe = cqe;
	cq->vcq.cq_ex.wr_id = cqe->wr_id;
	cq->vcq.cq_ex.status = cqe->status;
	free_entries(to_tide_context(cq->vcq.cq.context), cqe);
}

static int next_poll(struct ibv_cq_ex *ibcq)
{
	struct tide_cq *cq = to_tide_cq_ex(ibcq);
	struct tide_ring *ring = &cq->ring;
	uint32_t ready = tide_ring_ready(ring);

	if (!ready)
		return ENOENT;
	if (ready > ring->count)
		return EIO;

	come_to(cq, tide_ring_slot(ring, ring->index++));
	return 0;
}

static int next_poll_copy(struct ibv_cq_ex *ibcq)
{
	struct tide_cq *cq = to_tide_cq_ex(ibcq);
	const struct tide_cqe *cqe = take_copy(cq);

	if (!cqe)
		return ENOENT;

	come_to(cq, cqe);
	return 0;
}

static inline __attribute__((always_inline)) int
start(struct ibv_cq_ex *ibcq, const struct ibv_poll_cq_attr *attr,
      int (*next)(struct ibv_cq_ex *ibcq))
{
	struct tide_cq *cq = to_tide_cq_ex(ibcq);
	int err;

	if (attr->comp_mask)
		return EINVAL;

	tide_lock(&cq->lock);
	err = next(ibcq);
	if (err)
		tide_unlock(&cq->lock);
	return err;
}

static int start_poll(struct ibv_cq_ex *ibcq, struct ibv_poll_cq_attr *attr)
{
	return start(ibcq, attr, next_poll);
}

static int start_poll_copy(struct ibv_cq_ex *ibcq,
			   struct ibv_poll_cq_attr *attr)
{
	return start(ibcq, attr, next_poll_copy);
}

static void end_poll(struct ibv_cq_ex *ibcq)
{
	struct tide_cq *cq = to_tide_cq_ex(ibcq);

	tide_ring_take(&cq->ring);
	tide_unlock(&cq->lock);
}

static enum ibv_wc_opcode read_opcode(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->opcode;
}

static uint32_t read_vendor_err(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->vendor_err;
}

static uint32_t read_byte_len(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->byte_len;
}

/* The key that was invalidated is in the same place. */
static __be32 read_imm_data(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->imm_data;
}

static uint32_t read_qp_num(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->qpn;
}

static uint32_t read_src_qp(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->src_qp;
}

static unsigned int read_wc_flags(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->flags;
}

static uint32_t read_slid(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->slid;
}

static uint8_t read_sl(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->sl;
}

static uint8_t read_dlid_path_bits(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->dlid_path_bits;
}

static uint64_t read_completion_ts(struct ibv_cq_ex *ibcq)
{
	return to_tide_cq_ex(ibcq)->cqe->timestamp;
}

/* As the clock on the wall has it now, or had it at the last completion. */
static uint64_t read_completion_wallclock_ns(struct ibv_cq_ex *ibcq)
{
	struct tide_cq *cq = to_tide_cq_ex(ibcq);

	return cq->cqe->timestamp +
	       __atomic_load_n(&cq->ring.head->wall_offset, __ATOMIC_RELAXED);
}

static void set_poll_ops(struct tide_cq *cq, uint64_t wc_flags)
{
	struct ibv_cq_ex *ibcq = &cq->vcq.cq_ex;

	ibcq->start_poll = cq->ignores_overrun ? start_poll_copy : start_poll;
	ibcq->next_poll = cq->ignores_overrun ? next_poll_copy : next_poll;
	ibcq->end_poll = end_poll;

	ibcq->read_opcode = read_opcode;
	ibcq->read_vendor_err = read_vendor_err;
	ibcq->read_byte_len = read_byte_len;
	ibcq->read_imm_data = read_imm_data;
	ibcq->read_qp_num = read_qp_num;
	ibcq->read_src_qp = read_src_qp;
	ibcq->read_wc_flags = read_wc_flags;
	ibcq->read_slid = read_slid;
	ibcq->read_sl = read_sl;
	ibcq->read_dlid_path_bits = read_dlid_path_bits;
	if (wc_flags & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP)
		ibcq->read_completion_ts = read_completion_ts;
	if (wc_flags & IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK)
		ibcq->read_completion_wallclock_ns =
			read_completion_wallclock_ns;
}

#define SUPPORTED_WC_FLAGS						\
	(IBV_WC_STANDARD_FLAGS | IBV_WC_EX_WITH_COMPLETION_TIMESTAMP |	\
	 IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK)

#define SUPPORTED_FLAGS							\
	(IBV_CREATE_CQ_ATTR_SINGLE_THREADED |				\
	 IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN)

/* The flags, if there are any. */
static uint32_t flags_of(const struct ibv_cq_init_attr_ex *attr)
{
	return attr->comp_mask & IBV_CQ_INIT_ATTR_MASK_FLAGS ? attr->flags : 0;
}

static int check_attr(const struct ibv_cq_init_attr_ex *attr)
{
	if (!check_comp_mask(attr->comp_mask, IBV_CQ_INIT_ATTR_MASK_FLAGS |
						      IBV_CQ_INIT_ATTR_MASK_PD))
		return EOPNOTSUPP;
	if (attr->wc_flags & ~(uint64_t)SUPPORTED_WC_FLAGS)
		return EOPNOTSUPP;
	if (flags_of(attr) & ~SUPPORTED_FLAGS)
		return EOPNOTSUPP;
	return 0;
}

/* A completion queue takes a parent domain and no other. */
static int set_parent(struct tide_cq *cq,
		      const struct ibv_cq_init_attr_ex *attr)
{
	if (!(attr->comp_mask & IBV_CQ_INIT_ATTR_MASK_PD))
		return 0;

	cq->parent = tide_parent_get(attr->parent_domain);
	return cq->parent ? 0 : EINVAL;
}

static void init_locks(struct tide_cq *cq, uint32_t flags)
{
	bool needed = !(flags & IBV_CREATE_CQ_ATTR_SINGLE_THREADED) &&
		      !tide_thread_domain(cq->parent);

	tide_lock_init(&cq->lock, needed);
	tide_lock_init(&cq->arm_lock, needed);
	pthread_mutex_init(&cq->resize_lock, NULL);
}

static int create_cq(struct tide_cq *cq, struct ibv_context *context,
		     const struct ibv_cq_init_attr_ex *attr)
{
	struct tide_create_cq_resp resp = {};
	struct tide_create_cq cmd = {};
	int err;

	err = tide_cmd_create_cq_ex(context, attr, &cq->vcq, &cmd.ibv_cmd,
				    sizeof(cmd), &resp.ibv_resp, sizeof(resp),
				    0);
	if (err)
		return err;

	err = tide_ring_map(&cq->ring, context, &resp.drv_payload.ring);
	if (err)
		ibv_cmd_destroy_cq(&cq->vcq.cq);
	return err;
}

struct ibv_cq_ex *tide_create_cq_ex(struct ibv_context *context,
				    struct ibv_cq_init_attr_ex *attr)
{
	struct tide_cq *cq;
	int err;

	err = check_attr(attr);
	if (err)
		goto err;

	err = ENOMEM;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		goto err;

	err = set_parent(cq, attr);
	if (err)
		goto err_free;

	err = create_cq(cq, context, attr);
	if (err)
		goto err_parent;

	cq->ignores_overrun = flags_of(attr) &
			      IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN;
	init_locks(cq, flags_of(attr));
	set_poll_ops(cq, attr->wc_flags);
	return &cq->vcq.cq_ex;

err_parent:
	tide_parent_put(cq->parent);
err_free:
	free(cq);
err:
	errno = err;
	return NULL;
}

struct ibv_cq *tide_create_cq(struct ibv_context *context, int cqe,
			      struct ibv_comp_channel *channel, int comp_vector)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = cqe,
		.channel = channel,
		.comp_vector = comp_vector,
	};
	struct ibv_cq_ex *cq = tide_create_cq_ex(context, &attr);

	return cq ? ibv_cq_ex_to_cq(cq) : NULL;
}

int tide_modify_cq(struct ibv_cq *ibcq, struct ibv_modify_cq_attr *attr)
{
	struct ibv_modify_cq cmd;

	return ibv_cmd_modify_cq(ibcq, attr, &cmd, sizeof(cmd));
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
	tide_lock_destroy(&cq->arm_lock);
	pthread_mutex_destroy(&cq->resize_lock);
	tide_parent_put(cq->parent);
	free(cq);
	return 0;
}

int tide_req_notify_cq(struct ibv_cq *ibcq, int solicited_only)
{
	struct tide_cq *cq = to_tide_cq(ibcq);

	tide_lock(&cq->arm_lock);
	tide_ring_arm(&cq->ring, solicited_only ? TIDE_CQ_ARM_SOLICITED :
						  TIDE_CQ_ARM_NEXT);
	tide_unlock(&cq->arm_lock);
	return 0;
}

/*
 * Drops what is ready of a queue pair: the others move up, newest first, to
 * the end.
 */
static void move_up(struct tide_ring *ring, uint32_t ready, struct tide_qp *qp,
		    bool ignores_overrun)
{
	uint32_t kept = ring->index + ready;
	struct tide_cqe cqe, *to;
	uint32_t i;

	for (i = kept; i != ring->index;) {
		memcpy(&cqe, tide_ring_slot(ring, --i), sizeof(cqe));
		if (ignores_overrun && tide_ring_overtaken(ring))
			return;
		if (cqe.qpn == qp->vqp.qp.qp_num) {
			if (cqe.opcode & IBV_WC_RECV)
				free_recv(qp, &cqe);
			continue;
		}
		to = tide_ring_slot(ring, --kept);
		*to = cqe;
	}
	ring->index = kept;
}

/*
 * Of a queue that ignores overruns: the kernel may have written to the slots
 * meanwhile, and we to its entries.  Then all of them are lost.
 */
static void move_up_unless_overtaken(struct tide_ring *ring,
				     struct tide_qp *qp)
{
	uint32_t ready = tide_ring_ready(ring);
	uint32_t first, kept;

	if (ready > ring->count) {
		ring->index += ready - ring->count;
		ready = ring->count;
	}
	first = ring->index;
	move_up(ring, ready, qp, true);
	kept = ring->index;

	ring->index = first;
	if (tide_ring_overtaken(ring))
		tide_ring_drop_all(ring);
	else
		ring->index = kept;
}

/*
 * Drops the completions of a queue pair that the kernel will not write any
 * more for.  The slots of what is ready are ours until the consumer index has
 * passed them, whatever the kernel appends meanwhile.
 */
void tide_cq_forget_qp(struct tide_cq *cq, struct tide_qp *qp)
{
	struct tide_ring *ring = &cq->ring;
	uint32_t ready;

	tide_lock(&cq->lock);
	ready = tide_ring_ready(ring);
	if (cq->ignores_overrun)
		move_up_unless_overtaken(ring, qp);
	else if (ready <= ring->count)
		move_up(ring, ready, qp, false);
	tide_ring_take(ring);
	tide_unlock(&cq->lock);
}
