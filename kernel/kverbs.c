// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kverbs.c - the verbs as users inside the kernel have them.
 *
 * The core lets processes reach these operations too, by commands that other
 * providers' libraries use: they are refused for whatever has its ring in a
 * process.
 */
#include <linux/slab.h>

#include "cq.h"
#include "datagram.h"
#include "gid.h"
#include "kverbs.h"
#include "module.h"
#include "qp.h"
#include "requester.h"
#include "responder.h"

/*
 * Receives that are posted in the error state are flushed by a worker: whoever
 * posts them may have interrupts off.
 */
static void flush_receives(struct work_struct *work)
{
	struct tide_kqp *kqp = container_of(work, struct tide_kqp, flush);
	struct tide_qp *qp = kqp->qp;

	tide_qp_receives_posted(qp);
	tide_qp_put(qp);
}

/**
 * tide_kqp_init - the kernel user's part of creating a queue pair
 * @qp: the queue pair, with its rings
 *
 * Return: 0 or -ENOMEM.
 */
int tide_kqp_init(struct tide_qp *qp)
{
	struct tide_kqp *kqp;

	kqp = kzalloc(struct_size(kqp, av, qp->req.sq.mask + 1), GFP_KERNEL);
	if (!kqp)
		return -ENOMEM;
	kqp->qp = qp;
	spin_lock_init(&kqp->send_lock);
	spin_lock_init(&kqp->recv_lock);
	INIT_WORK(&kqp->flush, flush_receives);
	qp->kernel = kqp;
	return 0;
}

/* With the queue pair's last reference; or if it never was initialised. */
void tide_kqp_destroy(struct tide_qp *qp)
{
	if (qp->kernel)
		kfree_rcu(qp->kernel, rcu);
}

static bool ring_is_full(const struct tide_ring *ring)
{
	u32 consumer = smp_load_acquire(&ring->head->consumer);

	return ring->head->producer - consumer > ring->mask;
}

static void put_elements(struct tide_sge *to, const struct ib_sge *from,
			 u32 num)
{
	for (; num--; to++, from++)
		*to = (struct tide_sge) {
			.addr = from->addr,
			.length = from->length,
			.lkey = from->lkey,
		};
}

static int put_send(struct tide_qp *qp, const struct ib_send_wr *wr)
{
	struct tide_ring *sq = &qp->req.sq;
	u32 index = sq->head->producer;
	struct tide_send_wqe *wqe = tide_ring_entry(sq, index);

	if (wr->opcode != IB_WR_SEND || wr->num_sge > qp->max_send_sge ||
	    wr->send_flags & ~(IB_SEND_SIGNALED | IB_SEND_SOLICITED))
		return -EINVAL;
	if (ring_is_full(sq))
		return -ENOMEM;
	qp->kernel->av[index & sq->mask] = *to_tide_ah(ud_wr(wr)->ah)->av;
	*wqe = (struct tide_send_wqe) {
		.wr_id = wr->wr_id,
		.opcode = IB_WR_SEND,
		.flags = wr->send_flags,
		.num_sge = wr->num_sge,
		.ud.remote_qpn = ud_wr(wr)->remote_qpn,
		.ud.remote_qkey = ud_wr(wr)->remote_qkey,
	};
	put_elements((void *)(wqe + 1), wr->sg_list, wr->num_sge);
	smp_store_release(&sq->head->producer, index + 1);
	return 0;
}

static bool takes_sends(enum ib_qp_state state)
{
	return state != IB_QPS_RESET && state != IB_QPS_INIT &&
	       state != IB_QPS_RTR;
}

int tide_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		   const struct ib_send_wr **bad_wr)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	unsigned long flags;
	int ret = 0;

	*bad_wr = wr;
	if (!qp->kernel)
		return -EOPNOTSUPP;
	if (!takes_sends(READ_ONCE(qp->state)))
		return -EINVAL;
	spin_lock_irqsave(&qp->kernel->send_lock, flags);
	for (; wr && !ret; wr = wr->next) {
		*bad_wr = wr;
		ret = put_send(qp, wr);
	}
	spin_unlock_irqrestore(&qp->kernel->send_lock, flags);
	tide_req_kick(qp);
	return ret;
}

static int put_recv(struct tide_qp *qp, const struct ib_recv_wr *wr)
{
	struct tide_ring *rq = &qp->resp.rq;
	u32 index = rq->head->producer;
	struct tide_recv_wqe *wqe = tide_ring_entry(rq, index);

	if (wr->num_sge > qp->max_recv_sge)
		return -EINVAL;
	if (ring_is_full(rq))
		return -ENOMEM;
	*wqe = (struct tide_recv_wqe) {
		.wr_id = wr->wr_id,
		.num_sge = wr->num_sge,
	};
	put_elements((void *)(wqe + 1), wr->sg_list, wr->num_sge);
	smp_store_release(&rq->head->producer, index + 1);
	return 0;
}

/* As a process does that has posted receives. */
static void ring_if_wanted(struct tide_qp *qp)
{
	/* Pairs with the responder: wake first, then producer. */
	smp_mb();
	if (!READ_ONCE(qp->resp.rq.head->wake))
		return;
	tide_qp_get(qp);
	if (!queue_work(tide_wq, &qp->kernel->flush))
		tide_qp_put(qp);
}

int tide_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		   const struct ib_recv_wr **bad_wr)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	unsigned long flags;
	int ret = 0;

	*bad_wr = wr;
	if (!qp->kernel)
		return -EOPNOTSUPP;
	if (READ_ONCE(qp->state) == IB_QPS_RESET)
		return -EINVAL;
	spin_lock_irqsave(&qp->kernel->recv_lock, flags);
	for (; wr && !ret; wr = wr->next) {
		*bad_wr = wr;
		ret = put_recv(qp, wr);
	}
	spin_unlock_irqrestore(&qp->kernel->recv_lock, flags);
	ring_if_wanted(qp);
	return ret;
}

/**
 * tide_kcq_init - make a completion queue for a kernel user
 * @cq: the queue
 * @attr: what the user asks for
 *
 * Return: 0 or a negative errno.
 */
int tide_kcq_init(struct tide_cq *cq, const struct ib_cq_init_attr *attr)
{
	int ret;

	spin_lock_init(&cq->poll_lock);
	ret = tide_ring_init(&cq->ring, attr->cqe, sizeof(struct tide_cqe));
	if (!ret)
		cq->ibcq.cqe = cq->ring.mask + 1;
	return ret;
}

/*
 * The queue pair that a completion is of, as its user knows it; NULL when it
 * was destroyed meanwhile.
 */
static struct ib_qp *completed_qp(const struct tide_cqe *cqe)
{
	struct ib_qp *ibqp = NULL;
	struct tide_qp *qp;

	rcu_read_lock();
	qp = tide_qp_peek(cqe->qpn);
	if (qp)
		ibqp = READ_ONCE(qp->ibqp);
	rcu_read_unlock();
	return ibqp;
}

/*
 * Where the service level would be, completions of datagrams tell of their
 * header; there is no service level on Ethernet.
 */
static struct ib_wc to_wc(const struct tide_cqe *cqe, struct ib_qp *ibqp)
{
	bool grh = cqe->flags & TIDE_CQE_GRH;
	bool vlan = grh && cqe->vlan_id != TIDE_NO_VLAN;

	return (struct ib_wc) {
		.wr_id = cqe->wr_id,
		.status = cqe->status,
		.opcode = cqe->opcode,
		.vendor_err = cqe->vendor_err,
		.byte_len = cqe->byte_len,
		.qp = ibqp,
		.src_qp = cqe->src_qp,
		.wc_flags = (grh ? IB_WC_GRH | IB_WC_WITH_NETWORK_HDR_TYPE :
				   0) | (vlan ? IB_WC_WITH_VLAN : 0),
		.vlan_id = cqe->vlan_id,
		.pkey_index = cqe->pkey_index,
		.port_num = 1,
		.network_hdr_type = cqe->sl == TIDE_SL_HEADER_IPV4 ?
				    RDMA_NETWORK_IPV4 : RDMA_NETWORK_IPV6,
	};
}

/* Take the next completion; -EAGAIN if it is of nobody any more. */
static int take_completion(struct tide_ring *ring, struct ib_wc *wc)
{
	u32 consumer = ring->head->consumer;
	const struct tide_cqe *cqe = tide_ring_entry(ring, consumer);
	struct ib_qp *ibqp = completed_qp(cqe);

	if (ibqp)
		*wc = to_wc(cqe, ibqp);
	smp_store_release(&ring->head->consumer, consumer + 1);
	return ibqp ? 0 : -EAGAIN;
}

static bool ring_is_empty(const struct tide_ring *ring)
{
	return smp_load_acquire(&ring->head->producer) ==
	       ring->head->consumer;
}

static bool cq_is_kernel(const struct tide_cq *cq)
{
	return !cq->ibcq.uobject;
}

int tide_poll_cq(struct ib_cq *ibcq, int num_entries, struct ib_wc *wc)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	unsigned long flags;
	int polled = 0;

	if (!cq_is_kernel(cq))
		return -EOPNOTSUPP;
	spin_lock_irqsave(&cq->poll_lock, flags);
	while (polled < num_entries && !ring_is_empty(&cq->ring))
		if (!take_completion(&cq->ring, &wc[polled]))
			polled++;
	spin_unlock_irqrestore(&cq->poll_lock, flags);
	return polled;
}

int tide_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	u32 how = (flags & IB_CQ_SOLICITED_MASK) == IB_CQ_SOLICITED ?
		  TIDE_CQ_ARM_SOLICITED : TIDE_CQ_ARM_NEXT;
	u32 *arm = &cq->ring.head->arm;
	u32 old;

	if (!cq_is_kernel(cq))
		return -EOPNOTSUPP;
	/* Never lowered; pairs with cq_notify(). */
	old = READ_ONCE(*arm);
	while (old < how && !try_cmpxchg(arm, &old, how))
		;
	smp_mb();
	return flags & IB_CQ_REPORT_MISSED_EVENTS && !ring_is_empty(&cq->ring);
}
