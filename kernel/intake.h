/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * intake.h - bursts that are taken apart on another CPU.
 *
 * A burst that comes whole has come from this machine: the CPU that it comes
 * in on is the one that composes the next.  To check and copy one takes as
 * long as to compose it, so another CPU does that, if there is one to spare.
 */
#ifndef TIDE_INTAKE_H
#define TIDE_INTAKE_H

#include <linux/skbuff.h>
#include <linux/workqueue.h>

/**
 * struct tide_intake - bursts that wait, in the order in which they came
 * @receive: what to do with a buffer, which it takes over; bottom halves are
 *	off, as in softirq
 * @owner: for it
 * @queue: who waits; its lock protects what follows
 * @size: bytes of memory that they take
 * @busy: they are being worked off: what comes has to wait behind them
 * @work: does that
 */
struct tide_intake {
	void (*receive)(void *owner, struct sk_buff *skb);
	void *owner;
	struct sk_buff_head queue;
	u32 size;
	bool busy;
	struct work_struct work;
};

void tide_intake_init(struct tide_intake *intake,
		      void (*receive)(void *owner, struct sk_buff *skb),
		      void *owner);
void tide_intake_put(struct tide_intake *intake, struct sk_buff *skb);
void tide_intake_drain(struct tide_intake *intake);

#endif /* TIDE_INTAKE_H */
