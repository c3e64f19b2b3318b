// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Send queues, filled through ibv_post_send() or ibv_wr_*().
 *
 * Either way a list is begun, which takes the lock; its entries are staged in
 * the ring, where the kernel does not look yet; and the list is ended, which
 * makes them the kernel's and rings the doorbell once.
 */
#include <string.h>

#include "compat.h"
#include "tide.h"

/* Opcodes up to this one are those that ibv_post_send() knows. */
#define LAST_POSTED	IBV_WR_SEND_WITH_INV

/* Such an opcode's flag in send_ops_flags. */
#define OP(opcode)	(UINT64_C(1) << (opcode))

static_assert(OP(IBV_WR_RDMA_WRITE) == (uint64_t)IBV_QP_EX_WITH_RDMA_WRITE,
	      "opcode and flag");
static_assert(OP(IBV_WR_SEND_WITH_IMM) ==
		      (uint64_t)IBV_QP_EX_WITH_SEND_WITH_IMM,
	      "opcode and flag");
static_assert(OP(IBV_WR_ATOMIC_FETCH_AND_ADD) ==
		      (uint64_t)IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD,
	      "opcode and flag");
static_assert(OP(IBV_WR_SEND_WITH_INV) ==
		      (uint64_t)IBV_QP_EX_WITH_SEND_WITH_INV,
	      "opcode and flag");

static const uint64_t inline_ops = OP(IBV_WR_SEND) | OP(IBV_WR_SEND_WITH_IMM) |
				   OP(IBV_WR_SEND_WITH_INV) |
				   OP(IBV_WR_RDMA_WRITE) |
				   OP(IBV_WR_RDMA_WRITE_WITH_IMM);

/* What moves no data. */
static const uint64_t own_ops = OP(IBV_WR_BIND_MW) | OP(IBV_WR_LOCAL_INV);

static inline uint64_t op_flag(unsigned int opcode)
{
	switch (opcode) {
	case IBV_WR_FLUSH:
		return IBV_QP_EX_WITH_FLUSH;
	case IBV_WR_ATOMIC_WRITE:
		return IBV_QP_EX_WITH_ATOMIC_WRITE;
	default:
		return opcode <= LAST_POSTED ? OP(opcode) : 0;
	}
}

uint64_t tide_supported_send_ops(const struct tide_context *ctx,
				 enum ibv_qp_type type)
{
	uint64_t ops;

	switch (type) {
	case IBV_QPT_RC:
	case IBV_QPT_XRC_SEND:
		ops = inline_ops | own_ops | OP(IBV_WR_RDMA_READ) |
		      OP(IBV_WR_ATOMIC_CMP_AND_SWP) |
		      OP(IBV_WR_ATOMIC_FETCH_AND_ADD) |
		      IBV_QP_EX_WITH_ATOMIC_WRITE;
		if (ctx->features & TIDE_FEATURE_FLUSH)
			ops |= IBV_QP_EX_WITH_FLUSH;
		return ops;
	case IBV_QPT_UC:
		return (inline_ops & ~OP(IBV_WR_SEND_WITH_INV)) | own_ops;
	case IBV_QPT_UD:
		return OP(IBV_WR_SEND) | OP(IBV_WR_SEND_WITH_IMM);
	default:
		return 0;
	}
}

/* Lists */

static void begin_list(struct tide_qp *qp)
{
	tide_lock(&qp->sq.lock);
	qp->list_start = qp->sq.ring.index;
	qp->list_error = qp->vqp.qp.state < IBV_QPS_RTS ? EINVAL : 0;
}

/* The lock goes first: the doorbell's own thread may carry out the work. */
static int end_list(struct tide_qp *qp)
{
	struct tide_context *ctx = to_tide_context(qp->vqp.qp.context);
	bool staged = qp->sq.ring.index != qp->list_start;
	uint32_t qpn = qp->vqp.qp.qp_num;

	if (staged)
		tide_ring_put(&qp->sq.ring);
	tide_unlock(&qp->sq.lock);

	return staged ? tide_doorbell(ctx, TIDE_DOORBELL_SEND, qpn) : 0;
}

static void drop_list(struct tide_qp *qp)
{
	qp->sq.ring.index = qp->list_start;
	tide_unlock(&qp->sq.lock);
}

/*
 * Whether there is no room.  Requests that complete in silence give their
 * entries back when they have been carried out.
 */
static bool sq_is_full(struct tide_wq *sq)
{
	const struct tide_send_wqe *wqe;

	if (!tide_wq_full(sq))
		return false;

	while (sq->freed != sq->ring.index &&
	       tide_ring_passed(&sq->ring, sq->freed)) {
		wqe = tide_ring_slot(&sq->ring, sq->freed);
		if (wqe->flags & TIDE_SEND_SIGNALED)
			break;
		sq->freed++;
	}
	return tide_wq_full(sq);
}

/* The same; what has been given back is looked at only when it is needed. */
static inline bool sq_full(struct tide_wq *sq)
{
	return unlikely(sq->ring.index - sq->freed >= sq->ring.count) &&
	       sq_is_full(sq);
}

/* Entries; qp->wqe is the one being staged */

static inline __attribute__((always_inline)) int start_wqe(struct tide_qp *qp, uint64_t wr_id, unsigned int opcode,
		     unsigned int flags)
{
	struct tide_ring *ring = &qp->sq.ring;
	struct tide_send_wqe *wqe;

	if (!(qp->send_ops & op_flag(opcode)))
		return EINVAL;
	if (sq_full(&qp->sq))
		return ENOMEM;

	wqe = tide_ring_slot(ring, ring->index);
	wqe->wr_id = wr_id;
	wqe->opcode = opcode;
	flags &= TIDE_SEND_FENCE | TIDE_SEND_SIGNALED | TIDE_SEND_SOLICITED;
	wqe->flags = flags | (qp->sq_sig_all ? TIDE_SEND_SIGNALED : 0);
	wqe->num_sge = 0;
	wqe->inline_length = 0;
	wqe->remote_srqn = 0;

	qp->wqe = wqe;
	return 0;
}

static void set_remote(struct tide_qp *qp, uint64_t addr, uint32_t rkey)
{
	struct tide_send_wqe *wqe = qp->wqe;

	wqe->rdma.remote_addr = addr;
	wqe->rdma.rkey = rkey;
}

static void set_operands(struct tide_qp *qp, uint64_t compare_add,
			 uint64_t swap)
{
	qp->wqe->rdma.compare_add = compare_add;
	qp->wqe->rdma.swap = swap;
}

static void set_ud(struct tide_qp *qp, struct ibv_ah *ah, uint32_t remote_qpn,
		   uint32_t remote_qkey)
{
	qp->wqe->ud.ah = to_tide_ah(ah)->number;
	qp->wqe->ud.remote_qpn = remote_qpn;
	qp->wqe->ud.remote_qkey = remote_qkey;
}

static int set_bind(struct tide_qp *qp, const struct ibv_mw *mw, uint32_t rkey,
		    const struct ibv_mw_bind_info *info)
{
	if (!info->mr && info->length)
		return EINVAL;

	qp->wqe->bind = (struct tide_bind){
		.addr = info->addr,
		.length = info->length,
		.mr_lkey = info->mr ? info->mr->lkey : 0,
		.mw_rkey = mw->rkey,
		.rkey = rkey,
		.access = info->mw_access_flags,
	};
	return 0;
}

static inline int set_sges(struct tide_qp *qp, size_t num_sge,
			   const struct ibv_sge *sges)
{
	if (num_sge > qp->sq.max_sge)
		return EINVAL;

	memcpy(qp->wqe + 1, sges, num_sge * sizeof(*sges));
	qp->wqe->num_sge = num_sge;
	return 0;
}

static inline int start_inline(struct tide_qp *qp)
{
	struct tide_send_wqe *wqe = qp->wqe;

	if (unlikely(!(inline_ops & OP(wqe->opcode))))
		return EINVAL;

	wqe->flags |= TIDE_SEND_INLINE;
	return 0;
}

/* The shortest messages are what inline data is for: without a call. */
static inline void copy_inline(char *to, const char *from, size_t length)
{
	if (length >= 8 && length <= 16) {
		memcpy(to + length - 8, from + length - 8, 8);
		memcpy(to, from, 8);
	} else {
		memcpy(to, from, length);
	}
}

static inline int add_inline(struct tide_qp *qp, const void *data,
			     size_t length)
{
	struct tide_send_wqe *wqe = qp->wqe;
	uint32_t done = wqe->inline_length;

	if (unlikely(length > qp->max_inline - done))
		return EINVAL;

	wqe->inline_length = done + length;
	copy_inline((char *)(wqe + 1) + done, data, length);
	return 0;
}

/* ibv_post_send() */

static int set_inline_sges(struct tide_qp *qp, size_t num_sge,
			   const struct ibv_sge *sges)
{
	size_t i;
	int err;

	if (num_sge > qp->sq.max_sge)
		return EINVAL;

	err = start_inline(qp);
	for (i = 0; i < num_sge && !err; i++)
		err = add_inline(qp, (void *)(uintptr_t)sges[i].addr,
				 sges[i].length);
	return err;
}

static int set_payload(struct tide_qp *qp, const struct ibv_send_wr *wr)
{
	if (wr->send_flags & IBV_SEND_INLINE)
		return set_inline_sges(qp, wr->num_sge, wr->sg_list);
	return set_sges(qp, wr->num_sge, wr->sg_list);
}

static int stage_wr(struct tide_qp *qp, const struct ibv_send_wr *wr)
{
	int err;

	if (wr->opcode > LAST_POSTED)
		return EINVAL;
	err = start_wqe(qp, wr->wr_id, wr->opcode, wr->send_flags);
	if (err)
		return err;

	qp->wqe->imm_data = wr->imm_data;
	if (qp->vqp.qp.qp_type == IBV_QPT_XRC_SEND)
		qp->wqe->remote_srqn = wr->qp_type.xrc.remote_srqn;

	switch (wr->opcode) {
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
	case IBV_WR_RDMA_READ:
		set_remote(qp, wr->wr.rdma.remote_addr, wr->wr.rdma.rkey);
		break;
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		set_remote(qp, wr->wr.atomic.remote_addr, wr->wr.atomic.rkey);
		set_operands(qp, wr->wr.atomic.compare_add, wr->wr.atomic.swap);
		break;
	case IBV_WR_BIND_MW:
		if (wr->bind_mw.mw->type != IBV_MW_TYPE_2)
			return EINVAL;
		err = set_bind(qp, wr->bind_mw.mw, wr->bind_mw.rkey,
			       &wr->bind_mw.bind_info);
		break;
	default:
		break;
	}

	if (qp->vqp.qp.qp_type == IBV_QPT_UD)
		set_ud(qp, wr->wr.ud.ah, wr->wr.ud.remote_qpn,
		       wr->wr.ud.remote_qkey);
	if (!(own_ops & OP(wr->opcode)))
		err = set_payload(qp, wr);
	if (err)
		return err;

	qp->sq.ring.index++;
	return 0;
}

int tide_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr,
		   struct ibv_send_wr **bad_wr)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	struct ibv_send_wr *first = wr;
	int err, ret;

	begin_list(qp);
	err = qp->list_error;
	while (wr && !err) {
		err = stage_wr(qp, wr);
		if (!err)
			wr = wr->next;
	}
	ret = end_list(qp);

	if (err)
		*bad_wr = wr;
	if (ret)
		*bad_wr = first;
	return ret ? ret : err;
}

/* ibv_bind_mw(), for windows of type 1; the next tag makes the next key */

int tide_bind_mw(struct ibv_qp *ibqp, struct ibv_mw *mw,
		 struct ibv_mw_bind *bind)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	uint32_t rkey = ibv_inc_rkey(mw->rkey);
	int err, ret;

	if (bind->bind_info.mw_access_flags & IBV_ACCESS_ZERO_BASED)
		return EINVAL;

	begin_list(qp);
	err = qp->list_error;
	if (!err)
		err = start_wqe(qp, bind->wr_id, IBV_WR_BIND_MW,
				bind->send_flags);
	if (!err)
		err = set_bind(qp, mw, rkey, &bind->bind_info);
	if (!err) {
		qp->sq.ring.index++;
		mw->rkey = rkey;
	}
	ret = end_list(qp);
	return ret ? ret : err;
}

/*
 * ibv_wr_*(): nothing but ibv_wr_complete() can report an error, so the first
 * one is kept, and what follows it is ignored.
 */

static struct tide_qp *to_tide_qp_ex(struct ibv_qp_ex *qpx)
{
	return container_of(qpx, struct tide_qp, vqp.qp_ex);
}

static void wr_start(struct ibv_qp_ex *qpx)
{
	begin_list(to_tide_qp_ex(qpx));
}

static int wr_complete(struct ibv_qp_ex *qpx)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);
	int err = qp->list_error;

	if (!err)
		return end_list(qp);

	drop_list(qp);
	return err;
}

static void wr_abort(struct ibv_qp_ex *qpx)
{
	drop_list(to_tide_qp_ex(qpx));
}

/* Each builder has a copy, in which much is known beforehand. */
static inline __attribute__((always_inline)) bool
wr_build(struct ibv_qp_ex *qpx, unsigned int opcode)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	int err = qp->list_error;

	if (unlikely(err))
		return false;

	err = start_wqe(qp, qpx->wr_id, opcode, qpx->wr_flags);
	if (unlikely(err)) {
		qp->list_error = err;
		return false;
	}

	qp->sq.ring.index++;
	return true;
}

static void wr_send(struct ibv_qp_ex *qpx)
{
	wr_build(qpx, IBV_WR_SEND);
}

static void wr_send_imm(struct ibv_qp_ex *qpx, __be32 imm_data)
{
	if (wr_build(qpx, IBV_WR_SEND_WITH_IMM))
		to_tide_qp_ex(qpx)->wqe->imm_data = imm_data;
}

static void wr_send_inv(struct ibv_qp_ex *qpx, uint32_t invalidate_rkey)
{
	if (wr_build(qpx, IBV_WR_SEND_WITH_INV))
		to_tide_qp_ex(qpx)->wqe->invalidate_rkey = invalidate_rkey;
}

static void wr_local_inv(struct ibv_qp_ex *qpx, uint32_t invalidate_rkey)
{
	if (wr_build(qpx, IBV_WR_LOCAL_INV))
		to_tide_qp_ex(qpx)->wqe->invalidate_rkey = invalidate_rkey;
}

static void wr_bind_mw(struct ibv_qp_ex *qpx, struct ibv_mw *mw, uint32_t rkey,
		       const struct ibv_mw_bind_info *info)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (wr_build(qpx, IBV_WR_BIND_MW))
		qp->list_error = mw->type == IBV_MW_TYPE_2 ?
				 set_bind(qp, mw, rkey, info) : EINVAL;
}

static void wr_rdma_write(struct ibv_qp_ex *qpx, uint32_t rkey,
			  uint64_t remote_addr)
{
	if (wr_build(qpx, IBV_WR_RDMA_WRITE))
		set_remote(to_tide_qp_ex(qpx), remote_addr, rkey);
}

static void wr_rdma_write_imm(struct ibv_qp_ex *qpx, uint32_t rkey,
			      uint64_t remote_addr, __be32 imm_data)
{
	if (!wr_build(qpx, IBV_WR_RDMA_WRITE_WITH_IMM))
		return;

	set_remote(to_tide_qp_ex(qpx), remote_addr, rkey);
	to_tide_qp_ex(qpx)->wqe->imm_data = imm_data;
}

static void wr_rdma_read(struct ibv_qp_ex *qpx, uint32_t rkey,
			 uint64_t remote_addr)
{
	if (wr_build(qpx, IBV_WR_RDMA_READ))
		set_remote(to_tide_qp_ex(qpx), remote_addr, rkey);
}

static void wr_atomic_cmp_swp(struct ibv_qp_ex *qpx, uint32_t rkey,
			      uint64_t remote_addr, uint64_t compare,
			      uint64_t swap)
{
	if (!wr_build(qpx, IBV_WR_ATOMIC_CMP_AND_SWP))
		return;

	set_remote(to_tide_qp_ex(qpx), remote_addr, rkey);
	set_operands(to_tide_qp_ex(qpx), compare, swap);
}

static void wr_atomic_fetch_add(struct ibv_qp_ex *qpx, uint32_t rkey,
				uint64_t remote_addr, uint64_t add)
{
	if (!wr_build(qpx, IBV_WR_ATOMIC_FETCH_AND_ADD))
		return;

	set_remote(to_tide_qp_ex(qpx), remote_addr, rkey);
	set_operands(to_tide_qp_ex(qpx), add, 0);
}

static void wr_set_ud_addr(struct ibv_qp_ex *qpx, struct ibv_ah *ah,
			   uint32_t remote_qpn, uint32_t remote_qkey)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (!qp->list_error)
		set_ud(qp, ah, remote_qpn, remote_qkey);
}

static void wr_set_xrc_srqn(struct ibv_qp_ex *qpx, uint32_t remote_srqn)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (!qp->list_error)
		qp->wqe->remote_srqn = remote_srqn;
}

static void wr_atomic_write(struct ibv_qp_ex *qpx, uint32_t rkey,
			    uint64_t remote_addr, const void *value)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (!wr_build(qpx, IBV_WR_ATOMIC_WRITE))
		return;

	set_remote(qp, remote_addr, rkey);
	memcpy(&qp->wqe->rdma.value, value, sizeof(qp->wqe->rdma.value));
}

static void wr_flush(struct ibv_qp_ex *qpx, uint32_t rkey, uint64_t remote_addr,
		     size_t length, uint8_t type, uint8_t level)
{
	const uint8_t types = TIDE_FLUSH_GLOBAL | TIDE_FLUSH_PERSISTENT;
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (!wr_build(qpx, IBV_WR_FLUSH))
		return;

	if (!type || type & ~types || level > 1) {
		qp->list_error = EINVAL;
		return;
	}
	set_remote(qp, remote_addr, rkey);
	qp->wqe->rdma.flush = type | level << TIDE_FLUSH_LEVEL_SHIFT;
	qp->wqe->rdma.length = length;
}

static void wr_set_sge_list(struct ibv_qp_ex *qpx, size_t num_sge,
			    const struct ibv_sge *sges)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);

	if (!qp->list_error)
		qp->list_error = set_sges(qp, num_sge, sges);
}

static void wr_set_sge(struct ibv_qp_ex *qpx, uint32_t lkey, uint64_t addr,
		       uint32_t length)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);
	const struct ibv_sge sge = {
		.addr = addr,
		.length = length,
		.lkey = lkey,
	};

	if (likely(!qp->list_error))
		qp->list_error = set_sges(qp, 1, &sge);
}

static void wr_set_inline_data_list(struct ibv_qp_ex *qpx, size_t num_buf,
				    const struct ibv_data_buf *bufs)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);
	size_t i;

	if (!qp->list_error)
		qp->list_error = start_inline(qp);
	for (i = 0; i < num_buf && !qp->list_error; i++)
		qp->list_error = add_inline(qp, bufs[i].addr, bufs[i].length);
}

static void wr_set_inline_data(struct ibv_qp_ex *qpx, void *addr, size_t length)
{
	struct tide_qp *qp = to_tide_qp_ex(qpx);
	struct tide_send_wqe *wqe = qp->wqe;

	if (unlikely(qp->list_error))
		return;

	if (unlikely(start_inline(qp) || length > qp->max_inline)) {
		qp->list_error = EINVAL;
		return;
	}
	wqe->inline_length = length;
	copy_inline((char *)(wqe + 1), addr, length);
}

void tide_set_wr_ops(struct ibv_qp_ex *qpx, uint64_t send_ops)
{
	qpx->wr_start = wr_start;
	qpx->wr_complete = wr_complete;
	qpx->wr_abort = wr_abort;

	qpx->wr_send = wr_send;
	qpx->wr_send_imm = wr_send_imm;
	qpx->wr_send_inv = wr_send_inv;
	qpx->wr_bind_mw = wr_bind_mw;
	qpx->wr_local_inv = wr_local_inv;
	qpx->wr_rdma_write = wr_rdma_write;
	qpx->wr_rdma_write_imm = wr_rdma_write_imm;
	qpx->wr_rdma_read = wr_rdma_read;
	qpx->wr_atomic_cmp_swp = wr_atomic_cmp_swp;
	qpx->wr_atomic_fetch_add = wr_atomic_fetch_add;
	qpx->wr_atomic_write = wr_atomic_write;
	if (send_ops & IBV_QP_EX_WITH_FLUSH)
		tide_set_wr_flush(qpx, wr_flush);

	qpx->wr_set_xrc_srqn = wr_set_xrc_srqn;
	qpx->wr_set_sge = wr_set_sge;
	qpx->wr_set_sge_list = wr_set_sge_list;
	qpx->wr_set_inline_data = wr_set_inline_data;
	qpx->wr_set_inline_data_list = wr_set_inline_data_list;
	qpx->wr_set_ud_addr = wr_set_ud_addr;
}
