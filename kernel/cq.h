/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cq.h - completion queues.
 */
#ifndef TIDE_CQ_H
#define TIDE_CQ_H

#include <linux/hrtimer.h>
#include <rdma/ib_verbs.h>

#include "compat.h"
#include "ring.h"

#define TIDE_MAX_CQ		32768
#define TIDE_MAX_CQE		((1 << 22) - 1)
#define TIDE_MAX_CQ_COUNT	U16_MAX
#define TIDE_MAX_CQ_PERIOD	U16_MAX

/* What hca_core_clock is: timestamps are nanoseconds, and it is in kHz. */
#define TIDE_CLOCK_KHZ		(NSEC_PER_SEC / 1000)

/**
 * struct tide_moderation - events that wait for company
 * @count: completions that are worth an event; less than two: they all are
 * @period: how long they wait to be as many, in microseconds; 0: not at all
 * @waiting: how many do
 * @timer: fires when the first of them has waited that long
 */
struct tide_moderation {
	u16 count;
	u16 period;
	u16 waiting;
	struct hrtimer timer;
};

/**
 * struct tide_cq - a completion queue
 * @ibcq: the core's part
 * @lock: serialises producers and all that follows; taken with bottom halves
 *	off, inside tide_qp.lock
 * @ring: the entries, of which the kernel is the producer
 * @next: the ring to be switched to; not there unless it was offered
 * @timestamps: completions tell when they were
 * @ignores_overrun: what finds no room takes that of the oldest entry
 * @overflowed: an entry found no room; the queue stays in error until it is
 *	destroyed
 * @moderation: of its events
 * @cqn: its number
 * @poll_lock: of a kernel user's queue: serialises who polls; interrupts off
 */
struct tide_cq {
	struct ib_cq ibcq;
	spinlock_t lock;
	struct tide_ring ring;
	struct tide_ring next;
	bool timestamps;
	bool ignores_overrun;
	bool overflowed;
	struct tide_moderation moderation;
	u32 cqn;
	spinlock_t poll_lock;
};

static inline struct tide_cq *to_tide_cq(struct ib_cq *ibcq)
{
	return container_of(ibcq, struct tide_cq, ibcq);
}

bool tide_cq_post(struct tide_cq *cq, const struct tide_cqe *cqe,
		  bool solicited);
u32 tide_cq_unpolled(struct tide_cq *cq, u32 *size);
int tide_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		   TIDE_CREATE_CQ_ARG);
int tide_modify_cq(struct ib_cq *ibcq, u16 count, u16 period);
int tide_resize_cq(struct ib_cq *ibcq, tide_resize_cqe_t cqe,
		   struct ib_udata *udata);
int tide_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);

#endif /* TIDE_CQ_H */
