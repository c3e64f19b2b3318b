/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * extended.h - an owner of memory, as in owner.h, whose requester posts by
 * ibv_wr_*().
 *
 * HAVE_WR_FLUSH is there if the library knows flushes.
 */
#ifndef EXTENDED_H
#define EXTENDED_H

#include "owner.h"

#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

/* Numbers that older libraries and kernels do not know. */
#define SEND_OP_FLUSH		(UINT64_C(1) << 11)
#define ACCESS_FLUSH_GLOBAL	(1 << 8)
#define ACCESS_FLUSH_PERSISTENT	(1 << 9)
#define CAP_FLUSH_GLOBAL	(UINT64_C(1) << 38)
#define CAP_FLUSH_PERSISTENT	(UINT64_C(1) << 39)
#define CAP_ATOMIC_WRITE	(UINT64_C(1) << 40)

/* All that a reliable connection can do. */
#define SEND_OPS							\
	(IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM |		\
	 IBV_QP_EX_WITH_SEND_WITH_INV | IBV_QP_EX_WITH_RDMA_WRITE |	\
	 IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_RDMA_READ | \
	 IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |				\
	 IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD |				\
	 IBV_QP_EX_WITH_ATOMIC_WRITE | IBV_QP_EX_WITH_LOCAL_INV |	\
	 IBV_QP_EX_WITH_BIND_MW)

static inline struct ibv_qp *try_qp_ex(const struct side *side, int wr,
				       uint64_t ops)
{
	struct ibv_qp_init_attr classic = qp_init(side, wr);
	struct ibv_qp_init_attr_ex init = {
		.send_cq = classic.send_cq,
		.recv_cq = classic.recv_cq,
		.cap = classic.cap,
		.qp_type = classic.qp_type,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = side->pd,
		.send_ops_flags = ops,
	};

	return ibv_create_qp_ex(side->ctx, &init);
}

/* Fresh queue pairs; @theirs is for the owner's. */
static inline void connect_extended(struct owner *owner, uint64_t ops,
				    const struct conn *mine)
{
	struct address peer;

	side_drop_qp(&me);
	me.qp = try_qp_ex(&me, 64, ops);
	must(me.qp);
	peer.gid = me.gid;
	peer.qpn = ask(owner, own_make_qp, 64);
	ask(owner, own_connect, me.qp->qp_num);
	side_connect(&me, &peer, mine);
}

/* What the owner's queue pair allows. */
static inline long own_allow(const long *arg)
{
	struct ibv_qp_attr attr = { .qp_access_flags = arg[0] };

	return ibv_modify_qp(own.qp, &attr, IBV_QP_ACCESS_FLAGS);
}

/* A queue pair that takes no more than arg[1] reads and atomics. */
static inline long own_connect_narrow(const long *arg)
{
	struct address peer = { arg[0], own.gid };
	struct conn conn = usual_conn;

	conn.rd_atomic = arg[1];
	side_connect(&own, &peer, &conn);
	return 0;
}

static inline uint64_t device_caps(struct ibv_context *ctx)
{
	struct ibv_device_attr_ex attr;

	errno = ibv_query_device_ex(ctx, NULL, &attr);
	must(!errno);
	return attr.device_cap_flags_ex;
}

static inline struct ibv_qp_ex *wr_begin(unsigned int flags)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(me.qp);

	must(qpx);
	ibv_wr_start(qpx);
	qpx->wr_id = 1;
	qpx->wr_flags = flags;
	return qpx;
}

#endif /* EXTENDED_H */
