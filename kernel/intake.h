/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * intake.h - buffers on their way from a socket to queue pairs.
 *
 * Those of one queue pair pass one after the other, in the order in which they
 * came, whatever CPUs they came in on: who brings the first works off all that
 * come meanwhile.  What is long work is left to a worker: a burst that comes
 * whole has come from this machine, and the CPU that it comes in on is the one
 * that composes the next.  To check and copy it takes as long as to compose it,
 * so another CPU does that, if there is one to spare.
 */
#ifndef TIDE_INTAKE_H
#define TIDE_INTAKE_H

#include <linux/skbuff.h>
#include <linux/workqueue.h>

/**
 * struct tide_intake - buffers that wait
 * @receive: what to do with a buffer, which it takes over; bottom halves are
 *	off, as in softirq
 * @owner: for it
 * @queue: who waits; its lock protects what follows
 * @size: bytes of memory that they take
 * @busy: somebody works them off
 * @work: does that, if it is long
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
bool tide_intake_put(struct tide_intake *intake, struct sk_buff *skb);
void tide_intake_run(struct tide_intake *intake);
void tide_intake_drain(struct tide_intake *intake);

#endif /* TIDE_INTAKE_H */
