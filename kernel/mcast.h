/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mcast.h - multicast groups: which queue pairs get what is sent to one.
 */
#ifndef TIDE_MCAST_H
#define TIDE_MCAST_H

#include <rdma/ib_verbs.h>

#define TIDE_MAX_MCAST_GRP	8192
#define TIDE_MAX_MCAST_QPS	256

struct tide_dev;
struct tide_qp;

u32 tide_mcast_walk(const struct tide_dev *dev, const union ib_gid *mgid,
		    void (*visit)(struct tide_qp *qp, const void *arg),
		    const void *arg);

void tide_mcast_walk_netdev(struct net *net, int ifindex,
			    const union ib_gid *source,
			    const union ib_gid *mgid,
			    void (*visit)(struct tide_qp *qp, const void *arg),
			    const void *arg);
int tide_attach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid);
int tide_detach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid);

#endif /* TIDE_MCAST_H */
