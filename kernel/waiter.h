/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * waiter.h - a worker's wait that somebody else may end.
 *
 * A worker that brings in pages may wait for a process that never does its
 * part, and meanwhile keeps the address space, and so all that a process has
 * left behind.  Whoever is not interested any more ends that by the only thing
 * that ends a page fault: a signal that kills.
 */
#ifndef TIDE_WAITER_H
#define TIDE_WAITER_H

#include <linux/sched/signal.h>
#include <linux/spinlock.h>

/**
 * struct tide_waiter - a wait
 * @lock: covers the others
 * @task: who waits, while it does
 * @cancelled: nobody is interested any more
 */
struct tide_waiter {
	spinlock_t lock;
	struct task_struct *task;
	bool cancelled;
};

static inline void tide_waiter_init(struct tide_waiter *waiter)
{
	spin_lock_init(&waiter->lock);
}

/* Say who may be killed from now on; false when it is too late for that. */
static inline bool tide_waiter_set(struct tide_waiter *waiter,
				   struct task_struct *task)
{
	bool may;

	spin_lock(&waiter->lock);
	waiter->task = task;
	may = !waiter->cancelled;
	spin_unlock(&waiter->lock);
	return may;
}

/**
 * tide_waiter_begin - the current worker is about to wait
 * @waiter: its wait; tide_waiter_end() has to follow
 *
 * Return: false when it need not.
 */
static inline bool tide_waiter_begin(struct tide_waiter *waiter)
{
	allow_kernel_signal(SIGKILL);
	return tide_waiter_set(waiter, current);
}

static inline void tide_waiter_end(struct tide_waiter *waiter)
{
	tide_waiter_set(waiter, NULL);
	disallow_signal(SIGKILL);
	flush_signals(current);
}

/* End the wait, or have it not begin.  Any process context. */
static inline void tide_waiter_cancel(struct tide_waiter *waiter)
{
	spin_lock(&waiter->lock);
	waiter->cancelled = true;
	if (waiter->task)
		send_sig(SIGKILL, waiter->task, 1);
	spin_unlock(&waiter->lock);
}

#endif /* TIDE_WAITER_H */
