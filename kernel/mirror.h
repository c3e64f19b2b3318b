/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mirror.h - the mirror of an address space, on which on-demand regions are
 * windows.
 *
 * One mirror serves all on-demand regions of a process.  It has a leaf for
 * each 2 MiB that was ever touched: an entry per page, a lock, and an MMU
 * interval notifier.  An entry that is there may be used under the leaf's
 * lock; the notifier takes it away under the same lock before the page goes.
 */
#ifndef TIDE_MIRROR_H
#define TIDE_MIRROR_H

#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define TIDE_LEAF_SHIFT		21
#define TIDE_LEAF_SIZE		(1UL << TIDE_LEAF_SHIFT)
#define TIDE_LEAF_PAGES		(TIDE_LEAF_SIZE >> PAGE_SHIFT)

/*
 * An entry is a page's address in the kernel, where 64-bit kernels have all
 * memory, and in its low bits: it may be read, it may be written, and it was
 * written through us.  Zero: not there.  Pages that are pinned are described
 * in the same way, with all the bits that an access might look for.
 */
#define TIDE_ENTRY_READ		BIT(0)
#define TIDE_ENTRY_WRITE	BIT(1)
#define TIDE_ENTRY_DIRTY_BIT	2
#define TIDE_ENTRY_DIRTY	BIT(TIDE_ENTRY_DIRTY_BIT)

static inline unsigned long tide_pinned_entry(struct page *page)
{
	return (unsigned long)page_address(page) | TIDE_ENTRY_READ |
	       TIDE_ENTRY_WRITE | TIDE_ENTRY_DIRTY;
}

struct tide_mirror;

/**
 * struct tide_leaf - the mirror of 2 MiB of an address space
 * @notifier: tells of pages about to go
 * @mirror: the mirror it belongs to
 * @lock: readers use entries, writers change them; taken inside tide_qp.lock.
 *	Two leaves are locked in the order of their addresses in memory
 * @writers: who holds or waits for @lock to change entries
 * @present: entries that are not zero; under @lock
 * @idle: on the mirror's list of leaves to look at, or not in the mirror;
 *	under @lock
 * @ref: one for the mirror, one for each fault under way
 * @entries: a page of them
 * @reap: on the mirror's list
 * @rcu: frees it
 */
struct tide_leaf {
	struct mmu_interval_notifier notifier;
	struct tide_mirror *mirror;
	rwlock_t lock;
	atomic_t writers;
	unsigned int present;
	bool idle;
	refcount_t ref;
	unsigned long *entries;
	struct llist_node reap;
	struct rcu_head rcu;
};

/**
 * struct tide_mirror - the mirror of one address space
 * @node: in the list of all mirrors
 * @mm: the address space; its memory is not kept, only the structure (M6)
 * @ref: regions, and faults under way
 * @ending: not in the list any more
 * @making: one leaf is made at a time
 * @leaves: struct tide_leaf by address >> TIDE_LEAF_SHIFT
 * @generation: another one whenever a leaf has gone; no mirror ever has had it
 * @anchor: sees all invalidations begin
 * @watch: sees them end too
 * @invalidating: how many there are at this moment
 * @epoch: MMU notifiers' number for the time since there was none
 * @idle: leaves that became empty
 * @reaper: frees them
 * @wq: for pagers that wait for this address space; made for the first one
 * @teardown: frees the mirror, after it has not been used for some time
 */
struct tide_mirror {
	struct list_head node;
	struct mm_struct *mm;
	refcount_t ref;
	bool ending;
	struct mutex making;
	struct xarray leaves;
	u64 generation;
	struct mmu_interval_notifier anchor;
	struct mmu_notifier watch;
	atomic_t invalidating;
	unsigned long epoch;
	struct llist_head idle;
	struct delayed_work reaper;
	struct workqueue_struct *wq;
	struct delayed_work teardown;
};

/**
 * struct tide_leaf_cache - the leaf that somebody has found last
 * @generation: of the mirror, when it was found; zero: there is none
 * @index: where in the mirror
 * @leaf: the leaf
 *
 * One thread at a time uses it.
 */
struct tide_leaf_cache {
	u64 generation;
	unsigned long index;
	struct tide_leaf *leaf;
};

void tide_mirrors_wait_gone(void);
struct tide_mirror *tide_mirror_get_current(void);
bool tide_mirror_is_current(const struct tide_mirror *mirror);
int tide_mirror_queue(struct tide_mirror *mirror, struct work_struct *work);
struct tide_mirror *tide_mirror_ref(struct tide_mirror *mirror);
void tide_mirror_put(struct tide_mirror *mirror);

struct tide_leaf *tide_mirror_leaf(struct tide_mirror *mirror,
				   unsigned long va,
				   struct tide_leaf_cache *cache);

struct tide_leaf *tide_leaf_get(struct tide_mirror *mirror, unsigned long va);
void tide_leaf_put(struct tide_leaf *leaf);

/* For changing entries; readers stay away meanwhile. */
static inline void tide_leaf_lock(struct tide_leaf *leaf)
	__acquires(&leaf->lock)
{
	atomic_inc(&leaf->writers);
	write_lock_bh(&leaf->lock);
}

static inline void tide_leaf_unlock(struct tide_leaf *leaf)
	__releases(&leaf->lock)
{
	write_unlock_bh(&leaf->lock);
	atomic_dec(&leaf->writers);
}

/*
 * Whether a reader should come back later.  With bottom halves off readers
 * overtake a waiting writer, and enough of them would keep an invalidation
 * waiting forever (M2): so they treat the leaf as empty, and meet the
 * invalidation in tide_odp_fault().
 */
static inline bool tide_leaf_contended(const struct tide_leaf *leaf)
{
	return atomic_read(&leaf->writers);
}

/*
 * Whether MMU notifiers would have who asks wait: there were invalidations
 * all the time since this leaf had one.
 */
static inline bool tide_leaf_is_invalidating(const struct tide_leaf *leaf)
{
	const struct tide_mirror *mirror = leaf->mirror;

	return atomic_read(&mirror->invalidating) &&
	       READ_ONCE(leaf->notifier.invalidate_seq) ==
	       READ_ONCE(mirror->epoch);
}

static inline unsigned int tide_leaf_slot(unsigned long va)
{
	return (va & (TIDE_LEAF_SIZE - 1)) >> PAGE_SHIFT;
}

#endif /* TIDE_MIRROR_H */
