/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * srq.h - shared receive queues.
 *
 * A queue's entries are completed in any order, so an entry of its ring is two
 * things: a slot, with a work request in it; and a place in the line of those
 * posted, which names the slot that is next.  See uapi/tide-abi.h.
 *
 * Requesters that found nothing posted stand in line too.  When receives are
 * posted, as many of the first are woken, and each has a receive promised that
 * nobody else may take.  Whoever leaves the line, for whatever reason, has it
 * looked at once more, so a promise that was not needed serves the next.
 *
 * A queue outlives its verbs object for as long as a queue pair has it, or
 * somebody stands in line.
 *
 * Those for XRC have a completion queue of their own.  They can be closed while
 * queue pairs use them; see xrc.h.
 */
#ifndef TIDE_SRQ_H
#define TIDE_SRQ_H

#include <linux/list.h>
#include <linux/refcount.h>
#include <rdma/ib_verbs.h>

#include "ring.h"

#define TIDE_MAX_SRQ	16384
#define TIDE_MAX_SRQ_WR	32768

struct tide_recv;

/**
 * struct tide_srq - a shared receive queue
 * @ref: the verbs object, queue pairs, waiters, and users of the moment
 * @rcu: frees it
 * @lock: protects all that is not constant; taken with bottom halves off,
 *	inside tide_qp.lock
 * @ibsrq: the core's part; NULL once closed, when the completion queue and all
 *	else that the core owns must not be touched
 * @srqn: its number
 * @handle: the process's name for it, for completions
 * @context_id: of the process that may ring for it; see context.h
 * @pd_id: its protection domain, which counts for its receives
 * @xrcd_id: its XRC domain; 0 is none
 * @max_sge: elements of a receive
 * @max_wr: receives that may be outstanding; the process keeps to it
 * @limit: an event is due when fewer are posted; 0 for never
 * @error: the ring was found to be garbage
 * @ring: the receives
 * @next: a larger ring, which the process is filling
 * @given_back: a receive was given back since @next was made
 * @waiters: who waits, first come first
 * @promised: receives posted that are for waiters who were woken
 */
struct tide_srq {
	refcount_t ref;
	struct rcu_head rcu;
	spinlock_t lock;
	struct ib_srq *ibsrq;
	u32 srqn;
	u32 handle;
	u64 context_id;
	u64 pd_id;
	u64 xrcd_id;
	u32 max_sge;
	u32 max_wr;
	u32 limit;
	bool error;
	struct tide_ring ring;
	struct tide_ring next;
	bool given_back;
	struct list_head waiters;
	u32 promised;
};

/**
 * struct tide_srq_waiter - a requester's place in a line
 * @srq: the queue, held; NULL when there is none. Written by who runs the
 *	requester
 * @node: in its list of waiters, or empty; under its lock
 * @promised: a receive is promised; under its lock
 */
struct tide_srq_waiter {
	struct tide_srq *srq;
	struct list_head node;
	bool promised;
};

/* The core's object; it only points to the real one. */
struct tide_ibsrq {
	struct ib_srq ibsrq;
	struct tide_srq *srq;
};

static inline struct tide_srq *to_tide_srq(struct ib_srq *ibsrq)
{
	return container_of(ibsrq, struct tide_ibsrq, ibsrq)->srq;
}

/* It may be closed any time unless its lock is held. */
static inline bool tide_srq_is_open(const struct tide_srq *srq)
{
	return READ_ONCE(srq->ibsrq);
}

struct tide_srq *tide_srq_find_xrc(u32 srqn, u64 xrcd_id);
void tide_srq_get(struct tide_srq *srq);
void tide_srq_put(struct tide_srq *srq);

int tide_srq_take(struct tide_srq *srq, struct tide_srq_waiter *waiter,
		  struct tide_recv *recv);
bool tide_srq_drain(struct tide_srq *srq, struct tide_recv *recv);
void tide_srq_give_back(struct tide_srq *srq, u32 slot);
void tide_srq_leave(struct tide_srq_waiter *waiter);
bool tide_srq_complete(struct tide_srq *srq, struct tide_cqe *cqe,
		       bool solicited);
void tide_srqs_close_of_context(u64 context_id);
void tide_srqs_flush_of_device(struct ib_device *ibdev);
long tide_srq_ring(u64 context_id, unsigned int cmd, u32 srqn);
u32 tide_srq_posted(struct tide_srq *srq);

int tide_create_srq(struct ib_srq *ibsrq, struct ib_srq_init_attr *init,
		    struct ib_udata *udata);
int tide_modify_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr,
		    enum ib_srq_attr_mask mask, struct ib_udata *udata);
int tide_query_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr);
int tide_destroy_srq(struct ib_srq *ibsrq, struct ib_udata *udata);

#endif /* TIDE_SRQ_H */
