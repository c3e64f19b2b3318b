// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Queue pairs: creation, states, end.
 */
#include <stdlib.h>
#include <string.h>

#include "tide.h"

/*
 * Tells ibv_qp_to_qp_ex() that the queue pair has an ibv_wr_*() interface.
 * struct ibv_qp_ex, which comp_mask follows, has grown within interface
 * version 34: libraries from before wr_flush (rdma-core 44 is one) look for
 * comp_mask where newer ones have that pointer.  There is room for both:
 * whoever asks for flushes, and so gets the pointer, has a newer library.
 */
static void set_extended(struct verbs_qp *vqp)
{
	const size_t old_comp_mask =
		offsetof(struct verbs_qp, qp_ex.wr_atomic_write) +
		sizeof(vqp->qp_ex.wr_atomic_write);
	const uint32_t mask = VERBS_QP_EX;

	memcpy((char *)vqp + old_comp_mask, &mask, sizeof(mask));
	vqp->comp_mask |= mask;
}

static int map_rings(struct tide_qp *qp,
		     const struct tide_abi_create_qp_resp *resp)
{
	struct ibv_context *context = qp->vqp.qp.context;
	int err;

	err = tide_ring_map(&qp->sq.ring, context, &resp->sq);
	if (err)
		return err;

	err = tide_ring_map(&qp->rq.ring, context, &resp->rq);
	if (err)
		tide_ring_unmap(&qp->sq.ring);
	return err;
}

static void init_locks(struct tide_qp *qp,
		       const struct ibv_qp_init_attr_ex *attr)
{
	bool needed;

	if (attr->comp_mask & IBV_QP_INIT_ATTR_PD)
		qp->parent = tide_parent_get(attr->pd);
	needed = !tide_thread_domain(qp->parent);
	tide_lock_init(&qp->sq.lock, needed);
	tide_lock_init(&qp->rq.lock, needed);
	if (attr->srq)
		tide_srq_share(to_tide_srq(attr->srq),
			       to_tide_cq(attr->recv_cq));
}

/* @attr has no comp_mask bits that the kernel does not know. */
static int create_qp(struct tide_qp *qp, struct ibv_context *context,
		     struct ibv_qp_init_attr_ex *attr)
{
	struct tide_create_qp_resp resp = {};
	struct tide_create_qp cmd = {
		.drv_payload.handle = qp->handle,
	};
	int err;

	err = ibv_cmd_create_qp_ex(context, &qp->vqp, attr, &cmd.ibv_cmd,
				   sizeof(cmd), &resp.ibv_resp, sizeof(resp));
	if (err)
		return err;

	/* Of an XRC_RECV queue pair the response says nothing: it has none. */
	err = map_rings(qp, &resp.drv_payload);
	if (err) {
		ibv_cmd_destroy_qp(&qp->vqp.qp);
		return err;
	}

	init_locks(qp, attr);
	qp->sq.max_sge = attr->cap.max_send_sge;
	qp->rq.max_sge = attr->cap.max_recv_sge;
	qp->max_inline = attr->cap.max_inline_data;
	qp->sq_sig_all = attr->sq_sig_all;
	qp->send_ops = tide_supported_send_ops(to_tide_context(context),
					       attr->qp_type);
	return 0;
}

static bool supported(const struct tide_context *ctx,
		      const struct ibv_qp_init_attr_ex *attr)
{
	if (!check_comp_mask(attr->comp_mask,
			     IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_XRCD |
			     IBV_QP_INIT_ATTR_CREATE_FLAGS |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS))
		return false;

	if (attr->comp_mask & IBV_QP_INIT_ATTR_CREATE_FLAGS &&
	    attr->create_flags)
		return false;

	return !(attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) ||
	       check_comp_mask(attr->send_ops_flags,
			       tide_supported_send_ops(ctx, attr->qp_type));
}

struct ibv_qp *tide_create_qp_ex(struct ibv_context *context,
				 struct ibv_qp_init_attr_ex *attr)
{
	struct tide_context *ctx = to_tide_context(context);
	struct ibv_qp_init_attr_ex core_attr = *attr;
	struct tide_qp *qp;
	int err;

	if (!supported(ctx, attr)) {
		errno = EOPNOTSUPP;
		return NULL;
	}

	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return NULL;

	err = tide_table_add(&ctx->qps, qp, &qp->handle);
	if (err)
		goto err_free;

	core_attr.comp_mask &= ~IBV_QP_INIT_ATTR_CREATE_FLAGS;
	err = create_qp(qp, context, &core_attr);
	if (err)
		goto err_remove;

	attr->cap = core_attr.cap;
	if (attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) {
		set_extended(&qp->vqp);
		tide_set_wr_ops(&qp->vqp.qp_ex, attr->send_ops_flags);
	}
	return &qp->vqp.qp;

err_remove:
	tide_table_remove(&ctx->qps, qp->handle);
err_free:
	free(qp);
	errno = err;
	return NULL;
}

struct ibv_qp *tide_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct ibv_qp_init_attr_ex attr_ex = {
		.qp_context = attr->qp_context,
		.send_cq = attr->send_cq,
		.recv_cq = attr->recv_cq,
		.srq = attr->srq,
		.cap = attr->cap,
		.qp_type = attr->qp_type,
		.sq_sig_all = attr->sq_sig_all,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = pd,
	};
	struct ibv_qp *ibqp;

	ibqp = tide_create_qp_ex(pd->context, &attr_ex);
	if (ibqp)
		attr->cap = attr_ex.cap;
	return ibqp;
}

/* One more handle of an XRC_RECV queue pair, which somebody else has made. */
struct ibv_qp *tide_open_qp(struct ibv_context *context,
			    struct ibv_qp_open_attr *attr)
{
	static const struct tide_abi_create_qp_resp no_rings;
	struct tide_context *ctx = to_tide_context(context);
	struct ib_uverbs_create_qp_resp resp;
	struct ibv_open_qp cmd = {};
	struct tide_qp *qp;
	int err;

	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return NULL;

	err = tide_table_add(&ctx->qps, qp, &qp->handle);
	if (err)
		goto err_free;

	err = ibv_cmd_open_qp(context, &qp->vqp, sizeof(qp->vqp), attr, &cmd,
			      sizeof(cmd), &resp, sizeof(resp));
	if (err)
		goto err_remove;

	map_rings(qp, &no_rings);
	tide_lock_init(&qp->sq.lock, true);
	tide_lock_init(&qp->rq.lock, true);
	return &qp->vqp.qp;

err_remove:
	tide_table_remove(&ctx->qps, qp->handle);
err_free:
	free(qp);
	errno = err;
	return NULL;
}

/* XRC queue pairs lack one completion queue, or both. */
static void forget_completions(struct ibv_qp *ibqp)
{
	struct tide_qp *qp = to_tide_qp(ibqp);

	if (ibqp->recv_cq)
		tide_cq_forget_qp(to_tide_cq(ibqp->recv_cq), qp);
	if (ibqp->send_cq && ibqp->send_cq != ibqp->recv_cq)
		tide_cq_forget_qp(to_tide_cq(ibqp->send_cq), qp);
}

static void restart_queue(struct tide_wq *wq)
{
	tide_lock(&wq->lock);
	tide_ring_restart(&wq->ring);
	wq->freed = 0;
	__atomic_store_n(&wq->polled, 0, __ATOMIC_RELAXED);
	tide_unlock(&wq->lock);
}

int tide_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	struct ibv_modify_qp cmd = {};
	int ret;

	ret = ibv_cmd_modify_qp(ibqp, attr, mask, &cmd, sizeof(cmd));
	if (ret)
		return ret;

	if (mask & IBV_QP_STATE && attr->qp_state == IBV_QPS_RESET) {
		/*
		 * Before the queues restart, lest somebody posts to them or
		 * polls what was posted before.
		 */
		ibqp->state = IBV_QPS_RESET;
		forget_completions(ibqp);
		restart_queue(&qp->sq);
		restart_queue(&qp->rq);
	}
	return 0;
}

int tide_query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		  struct ibv_qp_init_attr *init_attr)
{
	struct ibv_query_qp cmd;

	return ibv_cmd_query_qp(ibqp, attr, mask, init_attr, &cmd, sizeof(cmd));
}

int tide_destroy_qp(struct ibv_qp *ibqp)
{
	struct tide_context *ctx = to_tide_context(ibqp->context);
	struct tide_qp *qp = to_tide_qp(ibqp);
	int ret;

	ret = ibv_cmd_destroy_qp(ibqp);
	if (ret)
		return ret;

	forget_completions(ibqp);
	tide_table_remove(&ctx->qps, qp->handle);
	tide_ring_unmap(&qp->sq.ring);
	tide_ring_unmap(&qp->rq.ring);
	tide_lock_destroy(&qp->sq.lock);
	tide_lock_destroy(&qp->rq.lock);
	tide_parent_put(qp->parent);
	free(qp);
	return 0;
}
