// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * qp.c - queue pairs: creation, states, destruction.
 */
#include <linux/slab.h>
#include <linux/xarray.h>
#include <rdma/uverbs_ioctl.h>

#include "context.h"
#include "datagram.h"
#include "device.h"
#include "gsi.h"
#include "kverbs.h"
#include "mr.h"
#include "mw.h"
#include "qp.h"
#include "requester.h"
#include "responder.h"
#include "stats.h"
#include "wire.h"
#include "xrc.h"

/*
 * All queue pairs of all devices: the local carrier finds a peer by its
 * number alone, whatever device it is on.  0, 1 and the last one are special on
 * the wire.
 */
static DEFINE_XARRAY_ALLOC(qps);
static u32 next_qpn;

#define FIRST_QPN	16
#define LAST_QPN	0xfffffe
#define MAX_QPN		0xffffff

/**
 * tide_qp_peek - a queue pair by its number
 * @qpn: the number
 *
 * Context: any; under rcu_read_lock(), for as long as it is used.
 *
 * Return: the queue pair, which may be on its way out, or NULL.
 */
struct tide_qp *tide_qp_peek(u32 qpn)
{
	return xa_load(&qps, qpn);
}

/**
 * tide_qp_find - a queue pair by its number
 * @qpn: the number
 *
 * Context: any.
 *
 * Return: the queue pair with a reference, or NULL.
 */
struct tide_qp *tide_qp_find(u32 qpn)
{
	struct tide_qp *qp;

	rcu_read_lock();
	qp = xa_load(&qps, qpn);
	if (qp && !refcount_inc_not_zero(&qp->ref))
		qp = NULL;
	rcu_read_unlock();
	return qp;
}

/**
 * tide_qp_next - walk over all queue pairs
 * @qpn: where to go on, 0 at first; updated
 *
 * Return: the next one with a reference, or NULL.
 */
struct tide_qp *tide_qp_next(unsigned long *qpn)
{
	struct tide_qp *qp;

	rcu_read_lock();
	do {
		qp = xa_find_after(&qps, qpn, LAST_QPN, XA_PRESENT);
	} while (qp && !refcount_inc_not_zero(&qp->ref));
	rcu_read_unlock();
	return qp;
}

/* One more reference, for one who has one. */
void tide_qp_get(struct tide_qp *qp)
{
	refcount_inc(&qp->ref);
}

static void drop_queues(struct tide_qp *qp)
{
	tide_ring_destroy(&qp->req.sq);
	tide_ring_destroy(&qp->resp.rq);
	if (qp->resp.srq)
		tide_srq_put(qp->resp.srq);
}

static void drop_parts(struct tide_qp *qp)
{
	tide_kqp_destroy(qp);
	tide_datagrams_destroy(qp->dgs);
	tide_wire_destroy(qp);
	drop_queues(qp);
}

/* Drop a reference.  Context: any. */
void tide_qp_put(struct tide_qp *qp)
{
	if (!refcount_dec_and_test(&qp->ref))
		return;
	WARN_ON(qp->req.pager || qp->req.hold[TIDE_DST].nr ||
		qp->req.hold[TIDE_SRC].nr || qp->req.waiter.srq);
	drop_parts(qp);
	kfree_rcu(qp, rcu);
}

/**
 * tide_qp_event - raise an asynchronous event
 * @qp: the queue pair, locked and not destroyed
 * @type: the event
 */
void tide_qp_event(struct tide_qp *qp, enum ib_event_type type)
{
	struct ib_event event = {
		.device = qp->ibqp->device,
		.element.qp = qp->ibqp,
		.event = type,
	};

	if (qp->ibqp->event_handler)
		qp->ibqp->event_handler(&event, qp->ibqp->qp_context);
}

/**
 * tide_qp_lost_completion - a completion queue takes no more
 * @qp: the queue pair that it was for, locked and not destroyed; it is in error
 *	on return
 */
void tide_qp_lost_completion(struct tide_qp *qp)
{
	if (qp->state == IB_QPS_ERR)
		return;
	tide_qp_event(qp, IB_EVENT_QP_FATAL);
	tide_qp_error(qp);
}

/**
 * tide_qp_complete - report a completion
 * @qp: the queue pair, locked and not destroyed
 * @cq: where to
 * @cqe: the completion; whose it is, is filled in here
 * @solicited: as for tide_cq_post()
 *
 * A completion queue that takes no more puts the queue pair in error.
 */
void tide_qp_complete(struct tide_qp *qp, struct tide_cq *cq,
		      struct tide_cqe *cqe, bool solicited)
{
	cqe->qpn = qp->qpn;
	cqe->handle = qp->handle;
	if (!tide_cq_post(cq, cqe, solicited))
		tide_qp_lost_completion(qp);
}

/* Have the queue pair at the other end, if it is here, look again. */
void tide_qp_kick_peer(struct tide_qp *qp)
{
	struct tide_qp *peer = tide_qp_find(qp->attr.dest_qp_num);

	if (!peer)
		return;
	if (READ_ONCE(peer->attr.dest_qp_num) == qp->qpn)
		tide_req_kick(peer);
	tide_qp_put(peer);
}

/**
 * tide_qp_receives_posted - receives were posted while somebody waited for them
 * @qp: the queue pair
 *
 * Context: process; no locks.
 */
void tide_qp_receives_posted(struct tide_qp *qp)
{
	tide_resp_doorbell(qp);
	tide_wire_receives_posted(qp);
}

/**
 * tide_qp_error - enter the error state
 * @qp: the queue pair, locked and not destroyed
 *
 * Receives are flushed at once, sends by the requester.
 */
void tide_qp_error(struct tide_qp *qp)
{
	if (qp->state == IB_QPS_ERR)
		return;
	WRITE_ONCE(qp->state, IB_QPS_ERR);
	if (qp->dgs)
		tide_inbox_clear(&qp->dgs->inbox);
	tide_wire_clear(qp);
	tide_resp_flush(qp);
	if (qp->resp.srq || qp->type == IB_QPT_XRC_TGT)
		tide_qp_event(qp, IB_EVENT_QP_LAST_WQE_REACHED);
	tide_req_kick(qp);
	tide_qp_kick_peer(qp);
}

/* From outside the verbs: enter the error state, and flush all at once. */
static void force_error(struct tide_qp *qp)
{
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && qp->state != IB_QPS_RESET)
		tide_qp_error(qp);
	spin_unlock_bh(&qp->lock);
	/* The sends now, not when the worker comes. */
	tide_req_doorbell(qp);
}

/*
 * How long a device that goes waits for sends under way to be flushed too.
 * Usually that is at once; but their threads may have been preempted, or be
 * waiting for a page.
 */
#define FLUSH_TIME	HZ

static void flush_shared(struct tide_qp *qp)
{
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && qp->resp.srq && qp->state == IB_QPS_ERR)
		tide_resp_flush_shared(qp);
	spin_unlock_bh(&qp->lock);
}

/**
 * tide_qps_error_of_device - let programs see the end of what they posted
 * @dev: the device, which goes
 *
 * The kernel's own users are told otherwise, and in their turn.
 *
 * Context: process; the caller holds the device.
 */
void tide_qps_error_of_device(struct tide_dev *dev)
{
	unsigned long until = jiffies + FLUSH_TIME;
	unsigned long qpn = 0;
	struct tide_qp *qp;

	while ((qp = tide_qp_next(&qpn))) {
		if (qp->dev == dev && !qp->kernel)
			force_error(qp);
		tide_qp_put(qp);
	}
	qpn = 0;
	while ((qp = tide_qp_next(&qpn))) {
		if (qp->dev == dev && !qp->kernel) {
			tide_req_settle(qp, until);
			flush_shared(qp);
		}
		tide_qp_put(qp);
	}
}

/* The network namespace that a device's netdev was in may go. */
void tide_qps_forget_routes(struct tide_dev *dev)
{
	unsigned long qpn = 0;
	struct tide_qp *qp;

	while ((qp = tide_qp_next(&qpn))) {
		if (qp->dev == dev)
			tide_wire_forget_routes(qp);
		tide_qp_put(qp);
	}
}

/**
 * tide_qps_error_of_context - end what goes on with a process that has gone
 * @context_id: of its context
 *
 * Context: process; no locks.
 */
void tide_qps_error_of_context(u64 context_id)
{
	unsigned long qpn = 0;
	struct tide_qp *qp;

	while ((qp = tide_qp_next(&qpn))) {
		if (qp->context_id == context_id)
			force_error(qp);
		tide_qp_put(qp);
	}
}

static bool type_sends(enum ib_qp_type type)
{
	return type != IB_QPT_XRC_TGT;
}

static bool type_receives(enum ib_qp_type type)
{
	return type != IB_QPT_XRC_INI && type != IB_QPT_XRC_TGT;
}

static bool send_caps_are_valid(const struct ib_qp_cap *cap)
{
	return cap->max_send_wr <= TIDE_MAX_QP_WR &&
	       cap->max_send_sge <= TIDE_MAX_SGE &&
	       cap->max_inline_data <= TIDE_MAX_INLINE;
}

static bool recv_caps_are_valid(const struct ib_qp_cap *cap)
{
	return cap->max_recv_wr <= TIDE_MAX_QP_WR &&
	       cap->max_recv_sge <= TIDE_MAX_SGE;
}

/*
 * The core makes XRC targets as if for the kernel.  What the kernel's users
 * would do with other types takes fast registration, which there is none of.
 */
static bool type_is_supported(enum ib_qp_type type, bool kernel)
{
	if (kernel)
		return type == IB_QPT_GSI || type == IB_QPT_XRC_TGT;
	return type == IB_QPT_RC || type == IB_QPT_UC || type == IB_QPT_UD ||
	       type == IB_QPT_XRC_INI;
}

static int check_init_attr(const struct ib_qp_init_attr *init, bool kernel)
{
	enum ib_qp_type type = init->qp_type;

	if (!type_is_supported(type, kernel) || init->create_flags)
		return -EOPNOTSUPP;
	if (type_sends(type) &&
	    (!init->send_cq || !send_caps_are_valid(&init->cap)))
		return -EINVAL;
	if (type_receives(type) &&
	    (!init->recv_cq ||
	     (!init->srq && !recv_caps_are_valid(&init->cap))))
		return -EINVAL;
	return 0;
}

static int make_send_queue(struct tide_qp *qp, struct ib_qp_cap *cap)
{
	u32 payload = max_t(u32, cap->max_inline_data,
			    cap->max_send_sge * sizeof(struct tide_sge));
	int ret;

	ret = tide_ring_init(&qp->req.sq, cap->max_send_wr,
			     sizeof(struct tide_send_wqe) + payload);
	if (ret)
		return ret;
	cap->max_send_wr = qp->req.sq.mask + 1;
	cap->max_inline_data = payload;
	qp->max_send_sge = cap->max_send_sge;
	qp->max_inline = payload;
	return 0;
}

static int make_recv_queue(struct tide_qp *qp, struct ib_qp_cap *cap)
{
	int ret;

	ret = tide_ring_init(&qp->resp.rq, cap->max_recv_wr,
			     sizeof(struct tide_recv_wqe) +
			     cap->max_recv_sge * sizeof(struct tide_sge));
	if (ret)
		return ret;
	cap->max_recv_wr = qp->resp.rq.mask + 1;
	qp->max_recv_sge = cap->max_recv_sge;
	return 0;
}

/* Make the queues, and tell in @init what came of it. */
static int make_queues(struct tide_qp *qp, struct ib_qp_init_attr *init)
{
	bool receives = type_receives(init->qp_type);
	struct ib_qp_cap *cap = &init->cap;
	int ret;

	tide_ring_init_none(&qp->req.sq);
	tide_ring_init_none(&qp->resp.rq);
	if (type_sends(init->qp_type)) {
		ret = make_send_queue(qp, cap);
		if (ret)
			return ret;
	} else {
		cap->max_send_wr = 0;
		cap->max_send_sge = 0;
		cap->max_inline_data = 0;
	}
	if (receives && !init->srq) {
		ret = make_recv_queue(qp, cap);
		if (ret)
			goto err_sq;
	} else {
		cap->max_recv_wr = 0;
		cap->max_recv_sge = 0;
	}
	if (receives && init->srq) {
		qp->resp.srq = to_tide_srq(init->srq);
		tide_srq_get(qp->resp.srq);
	}
	return 0;

err_sq:
	tide_ring_destroy(&qp->req.sq);
	return ret;
}

/* Whose it is; an XRC target is nobody's. */
static void set_owner(struct tide_qp *qp, const struct ib_qp_init_attr *init,
		      struct tide_ucontext *context)
{
	if (qp->type == IB_QPT_XRC_TGT) {
		qp->xrcd_id = to_tide_xrcd(init->xrcd)->id;
		return;
	}
	if (context)
		qp->context_id = tide_context_id(context);
	qp->pd_id = to_tide_pd(qp->ibqp->pd)->id;
}

/* Make what only some have; drop_parts() undoes it, all or some. */
static int make_others(struct tide_qp *qp, enum ib_qp_type type)
{
	if (type == IB_QPT_UD || type == IB_QPT_GSI) {
		qp->dgs = tide_datagrams_create(qp);
		if (!qp->dgs)
			return -ENOMEM;
	}
	return type == IB_QPT_GSI ? tide_kqp_init(qp) : 0;
}

static struct tide_qp *qp_alloc(struct ib_qp *ibqp,
				struct ib_qp_init_attr *init,
				struct tide_ucontext *context)
{
	struct tide_dev *dev = to_tide_dev(ibqp->device);
	struct tide_qp *qp;
	int ret;

	qp = kzalloc(sizeof(*qp), GFP_KERNEL_ACCOUNT);
	if (!qp)
		return ERR_PTR(-ENOMEM);
	qp->type = init->qp_type;
	ret = make_queues(qp, init);
	if (ret)
		goto err_qp;
	ret = make_others(qp, init->qp_type);
	if (ret)
		goto err_parts;

	refcount_set(&qp->ref, 1);
	spin_lock_init(&qp->lock);
	mutex_init(&qp->modify);
	INIT_LIST_HEAD(&qp->windows);
	qp->ibqp = ibqp;
	qp->dev = dev;
	qp->state = IB_QPS_RESET;
	set_owner(qp, init, context);
	qp->net_cookie = dev_net(dev->ndev)->net_cookie;
	qp->sig_all = init->sq_sig_type == IB_SIGNAL_ALL_WR;
	qp->attr.cap = init->cap;
	tide_req_init(qp);
	return qp;

err_parts:
	drop_parts(qp);
err_qp:
	kfree(qp);
	return ERR_PTR(ret);
}

static int qp_publish(struct tide_qp *qp, struct ib_udata *udata,
		      struct tide_ucontext *context)
{
	struct tide_abi_create_qp_resp resp = { .qpn = qp->qpn };
	int ret;

	ret = tide_ring_publish(&qp->req.sq, &context->ibuc, &resp.sq);
	if (ret)
		return ret;
	if (qp->resp.rq.mem)
		ret = tide_ring_publish(&qp->resp.rq, &context->ibuc,
					&resp.rq);
	if (ret)
		goto err_sq;
	ret = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (ret)
		goto err_rq;
	return 0;

err_rq:
	tide_ring_unpublish(&qp->resp.rq);
err_sq:
	tide_ring_unpublish(&qp->req.sq);
	return ret;
}

/* What a process asks for. */
static int load_create(struct tide_abi_create_qp *req, struct ib_udata *udata)
{
	int ret;

	if (udata->inlen < sizeof(*req) ||
	    udata->outlen < sizeof(struct tide_abi_create_qp_resp))
		return -EINVAL;
	ret = ib_copy_from_udata(req, udata, sizeof(*req));
	if (ret)
		return ret;
	return req->reserved ? -EINVAL : 0;
}

/* Let its user find it: the process the rings, the others the number. */
static int qp_announce(struct tide_qp *qp, struct ib_udata *udata,
		       struct tide_ucontext *context)
{
	qp->ibqp->qp_num = qp->qpn;
	if (context)
		return qp_publish(qp, udata, context);
	if (qp->type == IB_QPT_GSI) {
		qp->ibqp->qp_num = TIDE_GSI_QPN;
		tide_gsi_add(qp);
	}
	return 0;
}

/* As tide_claim(); an XRC target is a process's, whatever the core says. */
static bool claim(struct tide_dev *dev, enum ib_qp_type type,
		  const struct ib_udata *udata)
{
	if (type == IB_QPT_XRC_TGT)
		return atomic_add_unless(&dev->num_qps, 1, TIDE_MAX_QP);
	return tide_claim(&dev->num_qps, TIDE_MAX_QP, udata);
}

/* Undo claim(). */
static void give_back(struct tide_dev *dev, enum ib_qp_type type,
		      const struct ib_udata *udata)
{
	if (type == IB_QPT_XRC_TGT)
		atomic_dec(&dev->num_qps);
	else
		tide_give_back(&dev->num_qps, udata);
}

int tide_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		   struct ib_udata *udata)
{
	struct tide_dev *dev = to_tide_dev(ibqp->device);
	struct tide_ucontext *context = NULL;
	struct tide_abi_create_qp req = {};
	struct tide_qp *qp;
	int ret;

	ret = check_init_attr(init, !udata);
	if (ret)
		return ret;
	if (udata) {
		context = tide_udata_context(udata);
		ret = load_create(&req, udata);
		if (ret)
			return ret;
	}
	if (!claim(dev, init->qp_type, udata))
		return -ENOMEM;
	qp = qp_alloc(ibqp, init, context);
	if (IS_ERR(qp)) {
		ret = PTR_ERR(qp);
		goto err_count;
	}
	qp->handle = req.handle;
	ret = xa_alloc_cyclic(&qps, &qp->qpn, qp,
			      XA_LIMIT(FIRST_QPN, LAST_QPN), &next_qpn,
			      GFP_KERNEL);
	if (ret < 0)
		goto err_qp;
	ret = qp_announce(qp, udata, context);
	if (ret)
		goto err_number;

	container_of(ibqp, struct tide_ibqp, ibqp)->qp = qp;
	return 0;

err_number:
	xa_erase(&qps, qp->qpn);
err_qp:
	spin_lock_bh(&qp->lock);
	qp->ibqp = NULL;
	spin_unlock_bh(&qp->lock);
	tide_req_shutdown(qp);
	tide_qp_put(qp);
err_count:
	give_back(dev, init->qp_type, udata);
	return ret;
}

static bool attr_is_valid(const struct ib_qp_attr *attr, int mask)
{
	if (mask & IB_QP_ALT_PATH || mask & IB_QP_PATH_MIG_STATE)
		return false;
	if (mask & IB_QP_PORT && attr->port_num != 1)
		return false;
	if (mask & IB_QP_PKEY_INDEX && attr->pkey_index != 0)
		return false;
	if (mask & IB_QP_PATH_MTU && (attr->path_mtu < IB_MTU_256 ||
				      attr->path_mtu > IB_MTU_4096))
		return false;
	if (mask & IB_QP_TIMEOUT && attr->timeout > 31)
		return false;
	if (mask & IB_QP_RETRY_CNT && attr->retry_cnt > 7)
		return false;
	if (mask & IB_QP_RNR_RETRY && attr->rnr_retry > 7)
		return false;
	if (mask & IB_QP_MIN_RNR_TIMER && attr->min_rnr_timer > 31)
		return false;
	if (mask & IB_QP_MAX_QP_RD_ATOMIC &&
	    attr->max_rd_atomic > TIDE_MAX_RD_ATOMIC)
		return false;
	if (mask & IB_QP_MAX_DEST_RD_ATOMIC &&
	    attr->max_dest_rd_atomic > TIDE_MAX_RD_ATOMIC)
		return false;
	if (mask & IB_QP_DEST_QPN && attr->dest_qp_num > MAX_QPN)
		return false;
	return true;
}

static void store_path(struct tide_qp *qp, const struct ib_qp_attr *attr)
{
	const struct ib_global_route *grh =
		rdma_ah_read_grh(&attr->ah_attr);

	qp->attr.ah_attr = attr->ah_attr;
	/* The reference is the core's, and lasts only for this call. */
	qp->attr.ah_attr.grh.sgid_attr = NULL;
	qp->sgid = grh->sgid_attr->gid;
	qp->dgid = grh->dgid;
}

#define STORE(bit, field)						\
	do {								\
		if (mask & (bit))					\
			qp->attr.field = attr->field;			\
	} while (0)

static void store_attr(struct tide_qp *qp, const struct ib_qp_attr *attr,
		       int mask)
{
	STORE(IB_QP_PKEY_INDEX, pkey_index);
	STORE(IB_QP_PORT, port_num);
	STORE(IB_QP_PATH_MTU, path_mtu);
	STORE(IB_QP_TIMEOUT, timeout);
	STORE(IB_QP_RETRY_CNT, retry_cnt);
	STORE(IB_QP_RNR_RETRY, rnr_retry);
	STORE(IB_QP_RQ_PSN, rq_psn);
	STORE(IB_QP_SQ_PSN, sq_psn);
	STORE(IB_QP_MAX_QP_RD_ATOMIC, max_rd_atomic);
	STORE(IB_QP_MAX_DEST_RD_ATOMIC, max_dest_rd_atomic);
	STORE(IB_QP_MIN_RNR_TIMER, min_rnr_timer);
	STORE(IB_QP_DEST_QPN, dest_qp_num);
	STORE(IB_QP_QKEY, qkey);
	/* Programs pass whatever they registered memory with. */
	if (mask & IB_QP_ACCESS_FLAGS)
		qp->attr.qp_access_flags =
			attr->qp_access_flags & TIDE_MR_RIGHTS;
	if (mask & IB_QP_AV) {
		store_path(qp, attr);
		tide_wire_set_path(qp, attr);
		/* What was not connected before may be now. */
		tide_req_kick(qp);
		tide_qp_kick_peer(qp);
	}
}

/* The queue pair is locked. */
static void take_out_of_service(struct tide_qp *qp)
{
	WRITE_ONCE(qp->state, IB_QPS_RESET);
	if (qp->dgs)
		tide_inbox_clear(&qp->dgs->inbox);
	tide_wire_clear(qp);
	tide_resp_reset(qp);
}

/* Back to what tide_create_qp() made.  qp->modify is held. */
static int reset_qp(struct tide_qp *qp)
{
	int ret;

	spin_lock_bh(&qp->lock);
	take_out_of_service(qp);
	qp->drain_event = false;
	tide_qp_kick_peer(qp);
	spin_unlock_bh(&qp->lock);

	ret = tide_req_reset(qp);
	if (ret)
		return ret;
	tide_mws_release(qp);

	spin_lock_bh(&qp->lock);
	if (qp->wire)
		tide_wire_tx_forget(qp);
	qp->attr = (struct ib_qp_attr) { .cap = qp->attr.cap };
	spin_unlock_bh(&qp->lock);
	return 0;
}

/* Enter @next, which is not RESET.  The queue pair is locked. */
static void enter_state(struct tide_qp *qp, enum ib_qp_state next,
			const struct ib_qp_attr *attr, int mask)
{
	enum ib_qp_state prev = qp->state;

	if (next == IB_QPS_ERR) {
		tide_qp_error(qp);
		return;
	}
	if (next == IB_QPS_SQD && prev != IB_QPS_SQD)
		qp->drain_event = mask & IB_QP_EN_SQD_ASYNC_NOTIFY &&
				  attr->en_sqd_async_notify;
	if ((next == IB_QPS_RTR && prev == IB_QPS_INIT) ||
	    (next == IB_QPS_RTS && prev == IB_QPS_RTR))
		tide_wire_start(qp, next);
	WRITE_ONCE(qp->state, next);
	/* Somebody may have tried to reach us already. */
	if (next == IB_QPS_RTR && prev != IB_QPS_RTR)
		tide_qp_kick_peer(qp);
	/* For sends that wait, or to find that there are none. */
	if (next != prev && (next == IB_QPS_RTS || next == IB_QPS_SQD))
		tide_req_kick(qp);
}

/* Check and make a transition; RESET is only checked.  qp->lock is held. */
static int transition(struct tide_qp *qp, enum ib_qp_type type,
		      const struct ib_qp_attr *attr, int mask)
{
	enum ib_qp_state cur = qp->state;
	enum ib_qp_state next = mask & IB_QP_STATE ? attr->qp_state : cur;

	if (mask & IB_QP_CUR_STATE && attr->cur_qp_state != cur)
		return -EINVAL;
	if (!ib_modify_qp_is_ok(cur, next, type, mask))
		return -EINVAL;
	if (next == IB_QPS_RESET)
		return 0;
	/* A packet may be in the making, for the old one. */
	if (mask & IB_QP_AV && cur == IB_QPS_SQD && tide_qp_is_far(qp))
		return -EOPNOTSUPP;
	store_attr(qp, attr, mask);
	enter_state(qp, next, attr, mask);
	return 0;
}

int tide_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_udata *udata)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	int ret = 0;

	if (mask & ~IB_QP_ATTR_STANDARD_BITS)
		return -EOPNOTSUPP;
	if (!attr_is_valid(attr, mask))
		return -EINVAL;

	/* The core lets several callers in at once. */
	mutex_lock(&qp->modify);
	if (mask & IB_QP_AV)
		ret = tide_wire_prepare(qp, attr);
	if (ret)
		goto out;
	spin_lock_bh(&qp->lock);
	ret = transition(qp, ibqp->qp_type, attr, mask);
	spin_unlock_bh(&qp->lock);
	if (!ret && mask & IB_QP_STATE && attr->qp_state == IB_QPS_RESET)
		ret = reset_qp(qp);
out:
	mutex_unlock(&qp->modify);
	return ret;
}

int tide_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init)
{
	struct tide_qp *qp = to_tide_qp(ibqp);

	spin_lock_bh(&qp->lock);
	*attr = qp->attr;
	attr->qp_state = qp->state;
	attr->cur_qp_state = qp->state;
	attr->sq_draining = qp->state == IB_QPS_SQD &&
			    (READ_ONCE(qp->req.busy) ||
			     tide_wire_is_waiting(qp));
	attr->path_mig_state = IB_MIG_MIGRATED;
	spin_unlock_bh(&qp->lock);

	*init = (struct ib_qp_init_attr) {
		.event_handler = ibqp->event_handler,
		.qp_context = ibqp->qp_context,
		.send_cq = ibqp->send_cq,
		.recv_cq = ibqp->recv_cq,
		.srq = ibqp->srq,
		.cap = attr->cap,
		.sq_sig_type = qp->sig_all ? IB_SIGNAL_ALL_WR :
					     IB_SIGNAL_REQ_WR,
		.qp_type = ibqp->qp_type,
	};
	return 0;
}

int tide_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct tide_qp *qp = to_tide_qp(ibqp);

	if (qp->kernel)
		tide_gsi_remove(qp);
	spin_lock_bh(&qp->lock);
	qp->ibqp = NULL;
	take_out_of_service(qp);
	tide_qp_kick_peer(qp);
	spin_unlock_bh(&qp->lock);

	/* Retired first: who sums up must not miss it. */
	tide_stats_retire(qp);
	xa_erase(&qps, qp->qpn);
	tide_ring_unpublish(&qp->req.sq);
	tide_ring_unpublish(&qp->resp.rq);
	tide_wire_shutdown(qp);
	tide_req_shutdown(qp);
	tide_wire_forget_routes(qp);
	tide_mws_release(qp);
	tide_qp_put(qp);
	give_back(to_tide_dev(ibqp->device), ibqp->qp_type, udata);
	return 0;
}
