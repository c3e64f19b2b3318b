// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * pager.c - bringing in pages on a queue pair's behalf.
 *
 * A thread that rings a doorbell waits for nothing but its own process: not
 * for another one's mmap lock and invalidations, not for a file system, not
 * for a userfaultfd handler.  Pagers wait for all of these.  They run on a
 * workqueue of the address space that they wait for, so that those whose
 * waits do not end hold up nobody but each other.
 */
#include <linux/slab.h>

#include "pager.h"
#include "qp.h"
#include "waiter.h"

/**
 * struct tide_pager - a wait for pages
 * @work: does the waiting
 * @ref: the one of who has started it, and the work's
 * @qp: for whom
 * @then: called afterwards
 * @started: when, in jiffies
 * @fault: the pages
 * @pin: to be pinned, not only brought in
 * @ret: what came of it; valid once @done
 * @hold: the pages again, if they were pinned; valid once @done
 * @done: the wait is over
 * @waiter: the wait itself, which ends when the pager is dropped
 */
struct tide_pager {
	struct work_struct work;
	refcount_t ref;
	struct tide_qp *qp;
	void (*then)(struct tide_qp *qp);
	unsigned long started;
	struct tide_fault fault;
	bool pin;
	int ret;
	struct tide_hold hold;
	bool done;
	struct tide_waiter waiter;
};

static void pager_put(struct tide_pager *pager)
{
	if (!refcount_dec_and_test(&pager->ref))
		return;
	tide_odp_release(&pager->hold);
	tide_region_put(pager->fault.region);
	kfree(pager);
}

static int try_bring_in(struct tide_pager *pager)
{
	int ret = -EBUSY;

	if (!pager->pin)
		ret = tide_odp_fault(&pager->fault, true, true);
	if (ret == -EBUSY || ret == -EFAULT)
		ret = tide_odp_hold(&pager->fault, &pager->hold, true);
	return ret;
}

/* That there is no memory is not the fault of who has given access to it. */
static int bring_in(struct tide_pager *pager)
{
	int ret;

	while ((ret = try_bring_in(pager)) == -ENOMEM) {
		if (schedule_timeout_killable(TIDE_MEMORY_PAUSE))
			return -EINTR;
	}
	return ret;
}

static void pager_run(struct work_struct *work)
{
	struct tide_pager *pager = container_of(work, struct tide_pager, work);
	void (*then)(struct tide_qp *qp) = pager->then;
	struct tide_qp *qp = pager->qp;

	pager->ret = -EFAULT;
	if (tide_waiter_begin(&pager->waiter))
		pager->ret = bring_in(pager);
	tide_waiter_end(&pager->waiter);
	smp_store_release(&pager->done, true);
	pager_put(pager);
	then(qp);
	tide_qp_put(qp);
}

/**
 * tide_pager_start - have pages brought in
 * @qp: the queue pair
 * @fault: the pages
 * @pin: pin them, for the next copy
 * @then: called when that is done; may be called before this returns
 *
 * Context: process, no locks; sleeps for memory only.
 *
 * Return: the pager, for tide_pager_drop(); or ERR_PTR(-ENOMEM).
 */
struct tide_pager *tide_pager_start(struct tide_qp *qp,
				    const struct tide_fault *fault, bool pin,
				    void (*then)(struct tide_qp *qp))
{
	struct tide_pager *pager;
	int ret;

	pager = kzalloc(sizeof(*pager), GFP_KERNEL);
	if (!pager)
		return ERR_PTR(-ENOMEM);
	INIT_WORK(&pager->work, pager_run);
	refcount_set(&pager->ref, 2);
	tide_waiter_init(&pager->waiter);
	pager->qp = qp;
	pager->then = then;
	pager->started = jiffies;
	pager->fault = *fault;
	pager->pin = pin;

	tide_qp_get(qp);
	tide_region_get(fault->region);
	ret = tide_mirror_queue(fault->region->mirror, &pager->work);
	if (ret < 0) {
		tide_region_put(fault->region);
		tide_qp_put(qp);
		kfree(pager);
		return ERR_PTR(ret);
	}
	return pager;
}

/**
 * tide_pager_drop - be interested in a pager no more
 * @pager: the pager; if it is still at it, its wait ends
 *
 * Context: process, no locks.
 */
void tide_pager_drop(struct tide_pager *pager)
{
	tide_waiter_cancel(&pager->waiter);
	pager_put(pager);
}

bool tide_pager_is_done(struct tide_pager *pager)
{
	return smp_load_acquire(&pager->done);
}

/* When it was started, in jiffies. */
unsigned long tide_pager_started(const struct tide_pager *pager)
{
	return pager->started;
}

/**
 * tide_pager_take - what came of it
 * @pager: a pager that is done
 * @hold: becomes what it has pinned, if anything
 *
 * Return: 0 or a negative errno.
 */
int tide_pager_take(struct tide_pager *pager, struct tide_hold *hold)
{
	if (pager->hold.nr)
		swap(*hold, pager->hold);
	return pager->ret;
}
