// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * intake.c - buffers on their way from a socket to queue pairs.
 */
#include <linux/rcupdate.h>

#include "intake.h"
#include "module.h"

/* What may wait.  More than that is lost, as it would be in a socket. */
#define MAX_SIZE	SZ_8M

/* How many buffers one softirq works off in a row. */
#define MAX_AT_ONCE	16

/**
 * tide_intake_put - have a buffer wait
 * @intake: where
 * @skb: the buffer, which becomes the intake's
 *
 * Context: softirq.
 *
 * Return: true if nobody works them off: then the caller has to, by
 * tide_intake_run().
 */
bool tide_intake_put(struct tide_intake *intake, struct sk_buff *skb)
{
	bool fits, mine;

	spin_lock(&intake->queue.lock);
	/* The socket does not count it any more. */
	fits = intake->size + skb->truesize <= MAX_SIZE;
	mine = fits && !intake->busy;
	if (fits) {
		__skb_queue_tail(&intake->queue, skb);
		intake->size += skb->truesize;
		intake->busy = true;
	}
	spin_unlock(&intake->queue.lock);
	if (!fits)
		kfree_skb(skb);
	return mine;
}

/* NULL when nobody waits: then this was the last, and nobody is at it. */
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

static bool next_is_long(struct tide_intake *intake)
{
	const struct sk_buff *skb;
	bool is_long;

	spin_lock(&intake->queue.lock);
	skb = skb_peek(&intake->queue);
	is_long = skb && skb_is_gso(skb);
	spin_unlock(&intake->queue.lock);
	return is_long;
}

static bool receive_next(struct tide_intake *intake)
{
	struct sk_buff *skb = next(intake);

	if (skb)
		intake->receive(intake->owner, skb);
	return skb;
}

/**
 * tide_intake_run - work off who waits, or have them worked off
 * @intake: where; tide_intake_put() has said that it is the caller's
 *
 * Context: softirq, under rcu_read_lock().
 */
void tide_intake_run(struct tide_intake *intake)
{
	int n;

	for (n = 0; n < MAX_AT_ONCE && !next_is_long(intake); n++)
		if (!receive_next(intake))
			return;
	queue_work(tide_wq, &intake->work);
}

static bool receive_in_process(struct tide_intake *intake)
{
	bool more;

	local_bh_disable();
	rcu_read_lock();
	more = receive_next(intake);
	rcu_read_unlock();
	local_bh_enable();
	return more;
}

static void intake_work(struct work_struct *work)
{
	struct tide_intake *intake = container_of(work, struct tide_intake,
						  work);

	while (receive_in_process(intake))
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
