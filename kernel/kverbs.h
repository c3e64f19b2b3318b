/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * kverbs.h - the verbs as users inside the kernel have them.
 *
 * The queues of such a user are the same rings as a process's, in memory that
 * nobody maps, and what is told here of producers and consumers in processes
 * is done by kverbs.c.  A work request can be posted where nothing may sleep,
 * so it is always a worker that works on it.
 *
 * The one such user that is provided for is the core's agent for management
 * datagrams, by the queue pair that gsi.h tells of.
 */
#ifndef TIDE_KVERBS_H
#define TIDE_KVERBS_H

#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

#include "ah.h"

struct tide_cq;
struct tide_qp;

/**
 * struct tide_kqp - what a kernel user's queue pair has more than a process's
 * @qp: the queue pair
 * @send_lock: serialises who posts sends; interrupts off
 * @recv_lock: and receives
 * @flush: flushes receives that were posted in the error state
 * @node: in the list of all that there are; gsi.c's
 * @rcu: frees it
 * @av: where the sends go, entry by entry: their users may destroy an address
 *	handle before the worker has come to them
 */
struct tide_kqp {
	struct tide_qp *qp;
	spinlock_t send_lock;
	spinlock_t recv_lock;
	struct work_struct flush;
	struct list_head node;
	struct rcu_head rcu;
	struct tide_av av[];
};

int tide_kqp_init(struct tide_qp *qp);
void tide_kqp_destroy(struct tide_qp *qp);
int tide_kcq_init(struct tide_cq *cq, const struct ib_cq_init_attr *attr);

int tide_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		   const struct ib_send_wr **bad_wr);
int tide_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		   const struct ib_recv_wr **bad_wr);
int tide_poll_cq(struct ib_cq *ibcq, int num_entries, struct ib_wc *wc);
int tide_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);

#endif /* TIDE_KVERBS_H */
