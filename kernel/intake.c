// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * intake.c - bursts that are taken apart on another CPU.
 */
#include <linux/rcupdate.h>

#include "intake.h"
#include "module.h"

/* What may wait. More than that is lost, as it would be in a socket. */
#define MAX_SIZE	SZ_16M

/* Whose memory nobody else counts any more. */
static bool append(struct tide_intake *intake, struct sk_buff *skb)
{
	if (intake->size + skb->truesize > MAX_SIZE)
		return false;
	intake->size += skb->truesize;
	__skb_queue_tail(&intake->queue, skb);
	return true;
}

/**
 * tide_intake_put - take a buffer in, now or soon
 * @intake: where to
 * @skb: the buffer, which becomes the intake's
 *
 * What is no burst is received at once, if nothing is ahead of it.
 *
 * Context: softirq.
 */
void tide_intake_put(struct tide_intake *intake, struct sk_buff *skb)
{
	bool now, fits = true, kick = false;

	spin_lock(&intake->queue.lock);
	now = !intake->busy && !skb_is_gso(skb);
	if (!now) {
		fits = append(intake, skb);
		kick = !intake->busy;
		intake->busy = true;
	}
	spin_unlock(&intake->queue.lock);
	if (now)
		intake->receive(intake->owner, skb);
	else if (!fits)
		kfree_skb(skb);
	if (kick)
		queue_work(tide_wq, &intake->work);
}

static struct sk_buff *next(struct tide_intake *intake)
{
	struct sk_buff *skb;

	spin_lock(&intake->queue.lock);
	skb = __skb_dequeue(&intake->queue);
	if (skb)
		intake->size -= skb->truesize;
	else
		intake->busy = false;
	spin_unlock(&intake->queue.lock);
	return skb;
}

static bool receive_next(struct tide_intake *intake)
{
	struct sk_buff *skb;

	local_bh_disable();
	rcu_read_lock();
	skb = next(intake);
	if (skb)
		intake->receive(intake->owner, skb);
	rcu_read_unlock();
	local_bh_enable();
	return skb;
}

static void intake_work(struct work_struct *work)
{
	struct tide_intake *intake = container_of(work, struct tide_intake,
						  work);

	while (receive_next(intake))
		cond_resched();
}

void tide_intake_init(struct tide_intake *intake,
		      void (*receive)(void *owner, struct sk_buff *skb),
		      void *owner)
{
	intake->receive = receive;
	intake->owner = owner;
	skb_queue_head_init(&intake->queue);
	INIT_WORK(&intake->work, intake_work);
}

/* Wait until all is received; no more comes.  Sleeps. */
void tide_intake_drain(struct tide_intake *intake)
{
	flush_work(&intake->work);
}
