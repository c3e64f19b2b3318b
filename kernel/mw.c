// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mw.c - memory windows.
 *
 * What is behind a window's key is a struct tide_mr, as with regions, whose
 * memory is borrowed from the region.  To bind it puts another in its place.
 * To invalidate one of type 2 only takes its rights away: whoever accesses it
 * holds the lock of its queue pair, so nobody does.
 *
 * Who is bound to what changes under tide_mrs_lock().
 */
#include <linux/slab.h>

#include "device.h"
#include "keys.h"
#include "mr.h"
#include "mw.h"

/* The rights a window can give. */
#define WINDOW_RIGHTS	(IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ | \
			 IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_FLUSH_GLOBAL | \
			 IB_ACCESS_FLUSH_PERSISTENT)

/* The rights for which the region has to allow local writes. */
#define WRITE_RIGHTS	(IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC)

/* Programs pass what they have registered the region with. */
#define BIND_ACCESS	(WINDOW_RIGHTS | IB_ACCESS_LOCAL_WRITE | \
			 IB_ZERO_BASED)

static bool same_index(u32 a, u32 b)
{
	return a >> TIDE_KEY_TAG_BITS == b >> TIDE_KEY_TAG_BITS;
}

/* One of type 2 has to be free. */
static bool window_allows(const struct tide_mr *window,
			  const struct tide_qp *qp,
			  const struct tide_bind *bind)
{
	if (!window || !window->window || window->pd_id != qp->pd_id ||
	    !same_index(bind->mw_rkey, bind->rkey) ||
	    bind->access & ~BIND_ACCESS)
		return false;
	if (window->window == IB_MW_TYPE_1)
		return window->key == bind->mw_rkey &&
		       !(bind->access & IB_ZERO_BASED);
	return !window->parent && bind->length;
}

static bool region_allows(const struct tide_mr *mr, const struct tide_qp *qp,
			  const struct tide_bind *bind)
{
	return mr && !mr->window && mr->key == bind->mr_lkey &&
	       mr->pd_id == qp->pd_id && mr->access & IB_ACCESS_MW_BIND &&
	       (mr->access & IB_ACCESS_LOCAL_WRITE ||
		!(bind->access & WRITE_RIGHTS)) &&
	       !(bind->access & ~mr->access & IB_ACCESS_FLUSH_PERSISTENT) &&
	       tide_mr_has_range(mr, bind->addr, bind->length);
}

/* Make @window a window on @mr. */
static void borrow(struct tide_mr *window, struct tide_mr *mr,
		   const struct tide_bind *bind)
{
	window->access = bind->access & WINDOW_RIGHTS;
	window->iova = bind->access & IB_ZERO_BASED ? 0 : bind->addr;
	window->length = bind->length;
	window->va = mr->va + (bind->addr - mr->iova);
	window->region = mr->region;
	if (mr->entries)
		window->entries = mr->entries +
				  ((window->va >> PAGE_SHIFT) -
				   (mr->va >> PAGE_SHIFT));
	window->parent = mr;
	mr->windows++;
}

/* Give back what was borrowed, when nobody accesses it any more. */
static void give_back(struct tide_mr *window)
{
	if (!window->parent)
		return;
	window->parent->windows--;
	window->parent = NULL;
	list_del_init(&window->of_qp);
}

/* Put away a window that cannot be found any more. */
static void put_away(struct tide_mr *window)
{
	tide_mr_wait_idle(window);
	tide_mrs_lock();
	give_back(window);
	tide_mrs_unlock();
	kfree_rcu(window, rcu);
}

/* Put @fresh in a window's place; returns that, or NULL if it may not be. */
static struct tide_mr *supplant(struct tide_qp *qp,
				const struct tide_bind *bind,
				struct tide_mr *fresh)
{
	struct tide_mr *old = tide_mr_find(bind->mw_rkey), *mr = NULL;

	if (!window_allows(old, qp, bind))
		return NULL;
	if (bind->length) {
		mr = tide_mr_find(bind->mr_lkey);
		if (!region_allows(mr, qp, bind))
			return NULL;
	}
	fresh->ibdev = old->ibdev;
	fresh->window = old->window;
	fresh->pd_id = old->pd_id;
	fresh->key = bind->rkey;
	if (mr)
		borrow(fresh, mr, bind);
	if (fresh->window == IB_MW_TYPE_2) {
		fresh->qpn = qp->qpn;
		list_add(&fresh->of_qp, &qp->windows);
	}
	tide_mr_replace(fresh, true);
	return old;
}

/**
 * tide_mw_bind - bind a window to a region, or to nothing
 * @qp: the queue pair, in a step of its requester
 * @bind: the request
 *
 * Context: process; sleeps.
 *
 * Return: 0; -EINVAL when that is not allowed; -ENOMEM.
 */
int tide_mw_bind(struct tide_qp *qp, const struct tide_bind *bind)
{
	static const struct tide_mr nothing;
	struct tide_mr *fresh, *old;

	fresh = tide_mr_alloc(&nothing);
	if (!fresh)
		return -ENOMEM;
	tide_mrs_lock();
	old = supplant(qp, bind, fresh);
	tide_mrs_unlock();
	if (!old) {
		kfree(fresh);
		return -EINVAL;
	}
	put_away(old);
	return 0;
}

/* A window that is free already is as whoever invalidates it wants it. */
static bool invalidation_allowed(const struct tide_mr *window,
				 const struct tide_qp *qp, u64 pd_id, u32 rkey)
{
	return window && window->window == IB_MW_TYPE_2 &&
	       window->key == rkey && window->pd_id == pd_id &&
	       (!window->parent || window->qpn == qp->qpn);
}

/* Whether tide_mw_invalidate() would succeed now. */
bool tide_mw_may_invalidate(const struct tide_qp *qp, u64 pd_id, u32 rkey)
{
	bool may;

	tide_mrs_lock();
	may = invalidation_allowed(tide_mr_find(rkey), qp, pd_id, rkey);
	tide_mrs_unlock();
	return may;
}

/* Nobody accesses it, nor will. */
static void make_free(struct tide_mr *window)
{
	WRITE_ONCE(window->access, 0);
	give_back(window);
}

/**
 * tide_mw_invalidate - take back what a window of type 2 allowed
 * @qp: the queue pair it is bound on, locked
 * @pd_id: its protection domain
 * @rkey: its key
 *
 * Return: 0, or -EINVAL when there is no such window.
 */
int tide_mw_invalidate(struct tide_qp *qp, u64 pd_id, u32 rkey)
{
	struct tide_mr *window;
	int ret = -EINVAL;

	tide_mrs_lock();
	window = tide_mr_find(rkey);
	if (invalidation_allowed(window, qp, pd_id, rkey)) {
		make_free(window);
		ret = 0;
	}
	tide_mrs_unlock();
	return ret;
}

/**
 * tide_mws_release - invalidate all windows that are bound on a queue pair
 * @qp: the queue pair; it takes no more operations, and begins none
 */
void tide_mws_release(struct tide_qp *qp)
{
	struct tide_mr *window, *next;

	tide_mrs_lock();
	list_for_each_entry_safe(window, next, &qp->windows, of_qp)
		make_free(window);
	tide_mrs_unlock();
}

int tide_alloc_mw(struct ib_mw *ibmw, struct ib_udata *udata)
{
	const struct tide_mr like = {
		.ibdev = ibmw->device,
		.pd_id = to_tide_pd(ibmw->pd)->id,
		.window = ibmw->type,
	};
	struct tide_dev *dev = to_tide_dev(ibmw->device);
	struct tide_mr *window;
	int ret = -ENOMEM;

	if (!atomic_add_unless(&dev->num_mws, 1, TIDE_MAX_MW))
		return -ENOMEM;
	window = tide_mr_alloc(&like);
	if (!window)
		goto err_count;
	ret = tide_mr_assign_key(window);
	if (ret)
		goto err_window;
	ibmw->rkey = window->key;
	return 0;

err_window:
	kfree(window);
err_count:
	atomic_dec(&dev->num_mws);
	return ret;
}

int tide_dealloc_mw(struct ib_mw *ibmw)
{
	struct tide_mr *window;

	tide_mrs_lock();
	window = tide_mr_find(ibmw->rkey);
	tide_mr_erase(window);
	/* Its queue pair may go now, and does not know it any more. */
	list_del_init(&window->of_qp);
	tide_mrs_unlock();
	put_away(window);
	atomic_dec(&to_tide_dev(ibmw->device)->num_mws);
	return 0;
}
