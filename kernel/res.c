// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * res.c - driver detail for rdma res show -dd.
 */
#include <net/netlink.h>
#include <rdma/rdma_netlink.h>
#include <rdma/restrack.h>

#include "cq.h"
#include "device.h"
#include "mr.h"
#include "qp.h"
#include "res.h"

static int put_ring(struct sk_buff *msg, const char *size, const char *posted,
		    const struct tide_ring *ring)
{
	if (!ring->mem)
		return 0;
	return rdma_nl_put_driver_u32(msg, size, ring->mask + 1) ?:
	       rdma_nl_put_driver_u32(msg, posted, tide_ring_posted(ring));
}

static struct nlattr *begin(struct sk_buff *msg)
{
	return nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
}

static int end(struct sk_buff *msg, struct nlattr *table, int ret)
{
	if (ret) {
		nla_nest_cancel(msg, table);
		return -EMSGSIZE;
	}
	nla_nest_end(msg, table);
	return 0;
}

static int put_recv_queue(struct sk_buff *msg,
			  const struct tide_responder *resp)
{
	if (resp->srq)
		return 0;
	return put_ring(msg, "rq_size", "rq_posted", &resp->rq);
}

int tide_fill_res_qp_entry(struct sk_buff *msg, struct ib_qp *ibqp)
{
	struct tide_qp *qp = to_tide_qp(ibqp);
	struct nlattr *table = begin(msg);
	int ret;

	if (!table)
		return -EMSGSIZE;
	ret = put_ring(msg, "sq_size", "sq_posted", &qp->req.sq) ?:
	      put_recv_queue(msg, &qp->resp) ?:
	      rdma_nl_put_driver_u32(msg, "max_inline", qp->max_inline);
	return end(msg, table, ret);
}

int tide_fill_res_srq_entry(struct sk_buff *msg, struct ib_srq *ibsrq)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	struct nlattr *table = begin(msg);
	int ret;

	if (!table)
		return -EMSGSIZE;
	ret = rdma_nl_put_driver_u32(msg, "max_wr", READ_ONCE(srq->max_wr)) ?:
	      rdma_nl_put_driver_u32(msg, "posted", tide_srq_posted(srq)) ?:
	      rdma_nl_put_driver_u32(msg, "limit", READ_ONCE(srq->limit)) ?:
	      rdma_nl_put_driver_u32(msg, "error", READ_ONCE(srq->error));
	return end(msg, table, ret);
}

int tide_fill_res_cq_entry(struct sk_buff *msg, struct ib_cq *ibcq)
{
	struct tide_cq *cq = to_tide_cq(ibcq);
	struct nlattr *table = begin(msg);
	u32 unpolled, size;
	int ret;

	if (!table)
		return -EMSGSIZE;
	unpolled = tide_cq_unpolled(cq, &size);
	ret = rdma_nl_put_driver_u32(msg, "cqn", cq->cqn) ?:
	      rdma_nl_put_driver_u32(msg, "size", size) ?:
	      rdma_nl_put_driver_u32(msg, "unpolled", unpolled) ?:
	      rdma_nl_put_driver_u32(msg, "overflowed", cq->overflowed);
	return end(msg, table, ret);
}

static const char *backing(const struct tide_mr *mr)
{
	if (mr->region)
		return "on-demand";
	if (mr->kernel)
		return "kernel";
	if (!mr->entries)
		return "null";
	return mr->umem ? "pinned" : "device";
}

int tide_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct tide_dev *dev = to_tide_dev(ibmr->device);
	struct nlattr *table = begin(msg);
	struct tide_mr *mr;
	int ret;

	if (!table)
		return -EMSGSIZE;
	/* Keeps it from being registered anew. */
	mutex_lock(&dev->stats_lock);
	mr = to_tide_ibmr(ibmr)->mr;
	ret = rdma_nl_put_driver_string(msg, "backing", backing(mr)) ?:
	      rdma_nl_put_driver_u64_hex(msg, "iova", mr->iova) ?:
	      rdma_nl_put_driver_u32_hex(msg, "access", mr->access);
	mutex_unlock(&dev->stats_lock);
	return end(msg, table, ret);
}
