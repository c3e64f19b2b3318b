// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * prefetch.c - bringing in pages before they are accessed: on advice
 * (ibv_advise_mr), and where access is sequential.
 *
 * Advice that nobody waits for is followed by one worker for each region, in
 * order: however much of it there is, it takes no more than that.
 */
#include <linux/slab.h>

#include "device.h"
#include "mr.h"
#include "odp.h"
#include "prefetch.h"
#include "trace.h"

/**
 * struct tide_advice - advice for one range of a region
 * @node: on the region's list
 * @region: with a reference
 * @va: the first byte
 * @len: bytes
 * @kind: what to do; or, if there was no advice,
 * @ahead: an access is expected, of which
 * @write: says whether it writes
 */
struct tide_advice {
	struct list_head node;
	struct tide_region *region;
	unsigned long va;
	u64 len;
	enum ib_uverbs_advise_mr_advice kind;
	bool ahead;
	bool write;
};

static enum tide_bring_in how(enum ib_uverbs_advise_mr_advice kind)
{
	return kind == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT ?
	       TIDE_BRING_PRESENT : TIDE_BRING_ALL;
}

static int follow(const struct tide_advice *advice)
{
	struct tide_region *region = advice->region;
	unsigned int pages = 0;
	long ret = 0;

	if (advice->len)
		ret = tide_odp_bring_in(region, advice->va, advice->len,
					how(advice->kind), advice->write);
	if (ret > 0)
		pages = ret;
	tide_region_count(region, TIDE_ODP_PREFETCHES, 1);
	tide_region_count(region, TIDE_ODP_PREFETCHED_PAGES, pages);
	trace_tide_prefetch(region->mirror->mm, advice->va, advice->len,
			    advice->kind, pages, min(ret, 0L));
	return min(ret, 0L);
}

/* Nobody has asked for it, so nobody is to wait for it. */
static void go_ahead(const struct tide_advice *advice)
{
	long ret = tide_odp_bring_in(advice->region, advice->va, advice->len,
				     TIDE_BRING_PROMPT, advice->write);

	if (ret > 0)
		tide_region_count(advice->region, TIDE_ODP_FAULTED_PAGES, ret);
}

static void advice_free(struct tide_advice *advice)
{
	tide_region_put(advice->region);
	kfree(advice);
}

/* The oldest advice, off the list; or NULL, and the work is done. */
static struct tide_advice *next_advice(struct tide_region *region)
{
	struct tide_advice *advice;

	spin_lock(&region->advice_lock);
	advice = list_first_entry_or_null(&region->advice, struct tide_advice,
					  node);
	if (advice)
		list_del(&advice->node);
	spin_unlock(&region->advice_lock);
	return advice;
}

static void follow_all(struct work_struct *work)
{
	struct tide_region *region =
		container_of(work, struct tide_region, follower);
	struct tide_advice *advice;

	while ((advice = next_advice(region))) {
		if (tide_waiter_begin(&region->following)) {
			if (advice->ahead)
				go_ahead(advice);
			else
				follow(advice);
		}
		tide_waiter_end(&region->following);
		advice_free(advice);
	}
	tide_region_put(region);
}

/* Have it followed some time; it is the region's from here on. */
static int follow_later(struct tide_advice *advice)
{
	struct tide_region *region = tide_region_get(advice->region);
	int ret;

	spin_lock(&region->advice_lock);
	list_add_tail(&advice->node, &region->advice);
	spin_unlock(&region->advice_lock);
	ret = tide_mirror_queue(region->mirror, &region->follower);
	if (ret > 0)
		return 0;
	/* Nobody will be at it for want of memory; or somebody is already. */
	if (ret < 0) {
		advice = next_advice(region);
		if (advice)
			advice_free(advice);
	}
	tide_region_put(region);
	return ret;
}

/* The part of a region that follows advice. */
void tide_region_init_prefetch(struct tide_region *region)
{
	spin_lock_init(&region->advice_lock);
	INIT_LIST_HEAD(&region->advice);
	INIT_WORK(&region->follower, follow_all);
	tide_waiter_init(&region->following);
}

static int advice_init(struct tide_advice *advice, const struct ib_sge *sge,
		       u64 pd_id, enum ib_uverbs_advise_mr_advice kind)
{
	advice->kind = kind;
	advice->ahead = false;
	advice->write = kind == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE;
	advice->len = sge->length;
	return tide_mr_find_region(sge->lkey, pd_id, sge->addr, sge->length,
				   advice->write, &advice->region, &advice->va);
}

/**
 * tide_prefetch_ahead - have leaves brought in behind that of a fault
 * @fault: the fault
 * @len: bytes of them, as far as there are so many in the region
 *
 * If nothing comes of it, another fault will.  Where the process has all the
 * memory that it may have, what is in use would have to go for what may be:
 * nothing is brought in.
 *
 * Context: process, no locks.
 */
void tide_prefetch_ahead(const struct tide_fault *fault, unsigned long len)
{
	unsigned long va = (fault->va | (TIDE_LEAF_SIZE - 1)) + 1;
	struct tide_region *region = fault->region;
	struct tide_advice *advice;

	if (va >= tide_region_end(region) ||
	    !list_empty_careful(&region->advice) ||
	    !tide_odp_has_room(region->mirror, len))
		return;
	advice = kzalloc(sizeof(*advice), GFP_NOWAIT | __GFP_NOWARN);
	if (!advice)
		return;
	advice->region = tide_region_get(region);
	advice->va = va;
	advice->len = min(len, tide_region_end(region) - va);
	advice->ahead = true;
	advice->write = fault->write;
	follow_later(advice);
}

static int advise_now(const struct ib_sge *sge, u64 pd_id,
		      enum ib_uverbs_advise_mr_advice kind)
{
	struct tide_advice advice;
	int ret;

	ret = advice_init(&advice, sge, pd_id, kind);
	if (ret)
		return ret;
	ret = follow(&advice);
	tide_region_put(advice.region);
	return ret;
}

static int advise_later(const struct ib_sge *sge, u64 pd_id,
			enum ib_uverbs_advise_mr_advice kind)
{
	struct tide_advice *advice;
	int ret;

	advice = kzalloc(sizeof(*advice), GFP_KERNEL_ACCOUNT);
	if (!advice)
		return -ENOMEM;
	ret = advice_init(advice, sge, pd_id, kind);
	if (ret) {
		kfree(advice);
		return ret;
	}
	return follow_later(advice);
}

/* Nothing is begun before all of it makes sense. */
static int check_advice(const struct ib_sge *sge, u32 num_sge, u64 pd_id,
			enum ib_uverbs_advise_mr_advice kind)
{
	struct tide_advice advice;
	int ret = 0;

	for (; num_sge && !ret; num_sge--, sge++) {
		ret = advice_init(&advice, sge, pd_id, kind);
		if (!ret)
			tide_region_put(advice.region);
	}
	return ret;
}

int tide_advise_mr(struct ib_pd *ibpd, enum ib_uverbs_advise_mr_advice advice,
		   u32 flags, struct ib_sge *sge, u32 num_sge,
		   struct uverbs_attr_bundle *attrs)
{
	u64 pd_id = to_tide_pd(ibpd)->id;
	int ret;

	switch (advice) {
	case IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH:
	case IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE:
	case IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT:
		break;
	default:
		return -EOPNOTSUPP;
	}
	ret = check_advice(sge, num_sge, pd_id, advice);
	for (; num_sge && !ret; num_sge--, sge++)
		ret = flags & IB_UVERBS_ADVISE_MR_FLAG_FLUSH ?
		      advise_now(sge, pd_id, advice) :
		      advise_later(sge, pd_id, advice);
	return ret;
}
