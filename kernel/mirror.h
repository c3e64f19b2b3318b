/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mirror.h - the mirror of an address space, on which on-demand regions are
 * windows.
 *
 * One mirror serves all on-demand regions of a process.  It has a leaf for
 * each 2 MiB that was ever touched: what its pages are, and a lock.  An entry
 * that is there may be used under the leaf's lock; an MMU notifier takes it
 * away under the same lock before the page goes.
 */
#ifndef TIDE_MIRROR_H
#define TIDE_MIRROR_H

#include <linux/interval_tree.h>
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
 * memory, and in its low bits: it may be read, it may be written, it was
 * written through us, and it was used through us since somebody asked.  Zero:
 * not there.  Pages that are pinned are described in the same way, with all
 * the bits that an access might look for.
 */
#define TIDE_ENTRY_READ		BIT(0)
#define TIDE_ENTRY_WRITE	BIT(1)
#define TIDE_ENTRY_DIRTY	BIT(2)
#define TIDE_ENTRY_YOUNG	BIT(3)

static inline unsigned long tide_pinned_entry(struct page *page)
{
	return (unsigned long)page_address(page) | TIDE_ENTRY_READ |
	       TIDE_ENTRY_WRITE | TIDE_ENTRY_DIRTY | TIDE_ENTRY_YOUNG;
}

struct tide_mirror;

/**
 * struct tide_leaf - the mirror of 2 MiB of an address space
 * @mirror: the mirror it belongs to
 * @index: and where in it
 * @lock: readers use entries, writers change them; taken inside tide_qp.lock.
 *	Two leaves are locked in the order of their addresses in memory
 * @writers: who holds or waits for @lock to change entries
 * @present: entries that are not zero; under @lock
 * @idle: on the mirror's list of leaves to look at, or not in the mirror;
 *	under @lock
 * @used: since the shrinker has looked at it
 * @ref: one for the mirror, one for each fault under way
 * @huge: the entry for all of it, if one huge page is; then @entries are none
 * @entries: a page of them, made when the first is needed
 * @reap: on the mirror's list
 * @rcu: frees it
 */
struct tide_leaf {
	struct tide_mirror *mirror;
	unsigned long index;
	rwlock_t lock;
	atomic_t writers;
	unsigned int present;
	bool idle;
	bool used;
	refcount_t ref;
	unsigned long huge;
	unsigned long *entries;
	struct llist_node reap;
	struct rcu_head rcu;
};

/* Leaves share the counts of their invalidations. */
#define TIDE_INVALIDATIONS	64

/**
 * struct tide_invalidations - those of every 64th leaf
 * @active: how many are under way
 * @seq: how many have begun
 */
struct tide_invalidations {
	atomic_t active;
	atomic_t seq;
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
 * @watch: tells of pages about to go
 * @invalidations: by the leaf's index
 * @regions_lock: covers @regions; nothing else is taken under it
 * @regions: struct tide_region by address
 * @hand: where the shrinker goes on
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
	struct mmu_notifier watch;
	struct tide_invalidations invalidations[TIDE_INVALIDATIONS];
	rwlock_t regions_lock;
	struct rb_root_cached regions;
	unsigned long hand;
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

int tide_mirrors_init(void);
void tide_mirrors_exit(void);
struct tide_mirror *tide_mirror_get_current(void);
bool tide_mirror_is_current(const struct tide_mirror *mirror);
int tide_mirror_queue(struct tide_mirror *mirror, struct work_struct *work);
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

/* How often a reader looks whether a writer has finished. */
#define TIDE_LEAF_SPINS		256

/*
 * Whether a reader should come back later.  With bottom halves off readers
 * overtake a waiting writer, and enough of them would keep an invalidation
 * waiting forever (M2): so they give it some time, and then treat the leaf as
 * empty and meet the invalidation in tide_odp_fault().
 */
static inline bool tide_leaf_contended(const struct tide_leaf *leaf)
{
	unsigned int spins = TIDE_LEAF_SPINS;

	while (unlikely(atomic_read(&leaf->writers))) {
		if (!spins--)
			return true;
		cpu_relax();
	}
	return false;
}

static inline unsigned int tide_leaf_slot(unsigned long va)
{
	return (va & (TIDE_LEAF_SIZE - 1)) >> PAGE_SHIFT;
}

static inline unsigned long tide_leaf_start(const struct tide_leaf *leaf)
{
	return leaf->index << TIDE_LEAF_SHIFT;
}

static inline struct tide_invalidations *
tide_leaf_invalidations(const struct tide_leaf *leaf)
{
	return &leaf->mirror->invalidations[leaf->index % TIDE_INVALIDATIONS];
}

/* Whether what the page tables say there is about to change. */
static inline bool tide_leaf_is_invalidating(const struct tide_leaf *leaf)
{
	return atomic_read(&tide_leaf_invalidations(leaf)->active);
}

/**
 * tide_leaf_read_begin - begin to look at page tables
 * @leaf: the leaf that is to be filled from them; in the mirror
 * @seq: for tide_leaf_read_retry()
 *
 * Either we see an invalidation here, or it sees the leaf: it counts, has a
 * barrier, and looks for leaves.
 *
 * Return: false during an invalidation.
 */
static inline bool tide_leaf_read_begin(const struct tide_leaf *leaf, int *seq)
{
	smp_mb();
	*seq = atomic_read(&tide_leaf_invalidations(leaf)->seq);
	smp_rmb();
	if (tide_leaf_is_invalidating(leaf))
		return false;
	/* The page tables come after that. */
	smp_rmb();
	return true;
}

/*
 * Whether what was seen since may not hold any more.  Under the leaf's lock,
 * which an invalidation takes after it has counted itself.
 */
static inline bool tide_leaf_read_retry(const struct tide_leaf *leaf, int seq)
{
	return tide_leaf_is_invalidating(leaf) ||
	       atomic_read(&tide_leaf_invalidations(leaf)->seq) != seq;
}

#endif /* TIDE_MIRROR_H */
