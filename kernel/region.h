/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * region.h - an on-demand region's window on the mirror of an address space.
 */
#ifndef TIDE_REGION_H
#define TIDE_REGION_H

#include <linux/interval_tree.h>
#include <linux/refcount.h>

#include "mirror.h"
#include "waiter.h"

/* What is counted for each on-demand region, and for all of a port. */
enum tide_odp_counter {
	TIDE_ODP_FAULTS,
	TIDE_ODP_FAULTED_PAGES,
	TIDE_ODP_FAULT_NS,
	TIDE_ODP_INVALIDATIONS,
	TIDE_ODP_INVALIDATED_PAGES,
	TIDE_ODP_LOST_RACES,
	TIDE_ODP_FALLBACK_PINS,
	TIDE_ODP_PREFETCHES,
	TIDE_ODP_PREFETCHED_PAGES,
	TIDE_ODP_COUNTERS
};

/**
 * struct tide_region - a window on a mirror
 * @ref: the memory region's, and those of faults and prefetches under way
 * @mirror: the mirror, with a reference
 * @node: from the first address to the last one; in the mirror's tree
 * @closed: the memory region has gone
 * @counts: enum tide_odp_counter
 * @advice_lock: covers @advice
 * @advice: to be followed by
 * @follower: a worker, which has a reference
 * @following: what it waits for
 */
struct tide_region {
	refcount_t ref;
	struct tide_mirror *mirror;
	struct interval_tree_node node;
	bool closed;
	atomic64_t counts[TIDE_ODP_COUNTERS];
	spinlock_t advice_lock;
	struct list_head advice;
	struct work_struct follower;
	struct tide_waiter following;
};

struct tide_region *tide_region_open_current(unsigned long va,
					     unsigned long len);
void tide_region_close(struct tide_region *region);
void tide_region_put(struct tide_region *region);
void tide_regions_invalidated(struct tide_mirror *mirror, unsigned long base,
			      const unsigned long *cleared);
void tide_region_init_prefetch(struct tide_region *region);
const char *tide_odp_counter_name(enum tide_odp_counter counter);

static inline struct tide_region *tide_region_get(struct tide_region *region)
{
	refcount_inc(&region->ref);
	return region;
}

static inline bool tide_region_is_closed(const struct tide_region *region)
{
	return READ_ONCE(region->closed);
}

/* The first address behind it. */
static inline unsigned long tide_region_end(const struct tide_region *region)
{
	return region->node.last + 1;
}

static inline void tide_region_count(struct tide_region *region,
				     enum tide_odp_counter counter, u64 n)
{
	atomic64_add(n, &region->counts[counter]);
}

#endif /* TIDE_REGION_H */
