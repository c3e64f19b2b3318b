// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * region.c - windows on mirrors, and what is counted for each.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "region.h"

static const char * const counter_names[TIDE_ODP_COUNTERS] = {
	[TIDE_ODP_FAULTS] = "odp_faults",
	[TIDE_ODP_FAULTED_PAGES] = "odp_faulted_pages",
	[TIDE_ODP_FAULT_NS] = "odp_fault_time_ns",
	[TIDE_ODP_INVALIDATIONS] = "odp_invalidations",
	[TIDE_ODP_INVALIDATED_PAGES] = "odp_invalidated_pages",
	[TIDE_ODP_LOST_RACES] = "odp_lost_races",
	[TIDE_ODP_FALLBACK_PINS] = "odp_fallback_pins",
	[TIDE_ODP_PREFETCHES] = "odp_prefetches",
	[TIDE_ODP_PREFETCHED_PAGES] = "odp_prefetched_pages",
};

/* As ports have it; behind the prefix, as regions do. */
const char *tide_odp_counter_name(enum tide_odp_counter counter)
{
	return counter_names[counter];
}

/**
 * tide_region_open_current - a window on the caller's address space
 * @va: its first address
 * @len: bytes, at least one
 *
 * Context: process; sleeps.
 *
 * Return: the region, for tide_region_close(); or an ERR_PTR() of -ENOMEM or
 * -ERESTARTNOINTR.
 */
struct tide_region *tide_region_open_current(unsigned long va,
					     unsigned long len)
{
	struct tide_mirror *mirror;
	struct tide_region *region;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return ERR_PTR(-ENOMEM);
	mirror = tide_mirror_get_current();
	if (IS_ERR(mirror)) {
		kfree(region);
		return ERR_CAST(mirror);
	}
	refcount_set(&region->ref, 1);
	region->mirror = mirror;
	region->node.start = va;
	region->node.last = va + len - 1;
	tide_region_init_prefetch(region);
	write_lock(&mirror->regions_lock);
	interval_tree_insert(&region->node, &mirror->regions);
	write_unlock(&mirror->regions_lock);
	return region;
}

/**
 * tide_region_close - nobody will access it any more
 * @region: the region; faults and prefetches that are under way soon end
 *
 * Context: process.
 */
void tide_region_close(struct tide_region *region)
{
	struct tide_mirror *mirror = region->mirror;

	WRITE_ONCE(region->closed, true);
	tide_waiter_cancel(&region->following);
	write_lock(&mirror->regions_lock);
	interval_tree_remove(&region->node, &mirror->regions);
	write_unlock(&mirror->regions_lock);
	tide_region_put(region);
}

void tide_region_put(struct tide_region *region)
{
	if (!refcount_dec_and_test(&region->ref))
		return;
	tide_mirror_put(region->mirror);
	kfree(region);
}

/*
 * A process may have any number of regions over the same memory.  Whoever
 * invalidates that, and may be anybody, counts for some of them only.
 */
#define MAX_COUNTED	32

/* How many of the pages cleared are a region's. */
static unsigned int count_cleared(const struct interval_tree_node *node,
				  unsigned long base,
				  const unsigned long *cleared)
{
	const unsigned long last = base + TIDE_LEAF_SIZE - 1;
	unsigned int slot = tide_leaf_slot(max(node->start, base));
	unsigned int end = tide_leaf_slot(min(node->last, last)) + 1;
	unsigned int nr = 0;

	if (end - slot == TIDE_LEAF_PAGES)
		return bitmap_weight(cleared, TIDE_LEAF_PAGES);
	for (slot = find_next_bit(cleared, end, slot); slot < end;
	     slot = find_next_bit(cleared, end, slot + 1))
		nr++;
	return nr;
}

/**
 * tide_regions_invalidated - count what an invalidation took from regions
 * @mirror: whose
 * @base: address of the leaf's first page
 * @cleared: a bit for each page that was there
 *
 * Context: an invalidation (M2).
 */
void tide_regions_invalidated(struct tide_mirror *mirror, unsigned long base,
			      const unsigned long *cleared)
{
	const unsigned long last = base + TIDE_LEAF_SIZE - 1;
	unsigned int nr, left = MAX_COUNTED;
	struct interval_tree_node *node;
	struct tide_region *region;

	read_lock(&mirror->regions_lock);
	for (node = interval_tree_iter_first(&mirror->regions, base, last);
	     node && left--;
	     node = interval_tree_iter_next(node, base, last)) {
		region = container_of(node, struct tide_region, node);
		nr = count_cleared(node, base, cleared);
		if (!nr)
			continue;
		tide_region_count(region, TIDE_ODP_INVALIDATIONS, 1);
		tide_region_count(region, TIDE_ODP_INVALIDATED_PAGES, nr);
	}
	read_unlock(&mirror->regions_lock);
}
