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
 * @sweepers: those of them that take entries away
 * @seq: how often that was done
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
	atomic_t sweepers;
	unsigned int seq;
	unsigned int present;
	bool idle;
	bool used;
	refcount_t ref;
	unsigned long huge;
	unsigned long *entries;
	struct llist_node reap;
	struct rcu_head rcu;
};

/*
 * Invalidations under way are counted for every 64th leaf.  Those of many
 * leaves would disturb all others, so a few of these are noted by themselves.
 */
#define TIDE_NARROW	64
#define TIDE_WIDE	8

/**
 * struct tide_wide - invalidations of very many leaves under way
 * @lock: covers @range; nothing else is taken under it
 * @nr: how many are noted
 * @range: their first and last leaves; no such range if there is none
 */
struct tide_wide {
	spinlock_t lock;
	atomic_t nr;
	struct {
		unsigned long first;
		unsigned long last;
	} range[TIDE_WIDE];
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
 * @narrow: invalidations under way, by the leaf's index
 * @wide: those that are not counted there
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
	atomic_t narrow[TIDE_NARROW];
	struct tide_wide wide;
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
 * overtake a waiting writer, so they give it some time.  Enough of them would
 * keep an invalidation waiting forever nonetheless (M2): for that they treat
 * the leaf as empty, and meet the invalidation in tide_odp_fault().
 */
static inline bool tide_leaf_contended(const struct tide_leaf *leaf)
{
	unsigned int spins = TIDE_LEAF_SPINS;

	while (unlikely(atomic_read(&leaf->writers))) {
		if (!spins--)
			return atomic_read(&leaf->sweepers);
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

bool tide_leaf_in_wide(const struct tide_leaf *leaf);

/* Whether what the page tables say there is about to change. */
static inline bool tide_leaf_is_invalidating(const struct tide_leaf *leaf)
{
	const struct tide_mirror *mirror = leaf->mirror;

	return atomic_read(&mirror->narrow[leaf->index % TIDE_NARROW]) ||
	       (atomic_read(&mirror->wide.nr) && tide_leaf_in_wide(leaf));
}

/**
 * tide_leaf_read_begin - begin to look at page tables
 * @leaf: the leaf that is to be filled from them; in the mirror
 * @seq: for tide_leaf_read_retry()
 *
 * An invalidation counts itself, has a barrier, and looks for leaves.  So
 * either we see it here, or it sees the leaf and changes its number.
 *
 * Return: false during an invalidation.
 */
static inline bool tide_leaf_read_begin(const struct tide_leaf *leaf,
					unsigned int *seq)
{
	smp_mb();
	*seq = READ_ONCE(leaf->seq);
	smp_rmb();
	if (tide_leaf_is_invalidating(leaf))
		return false;
	/* The page tables come after that. */
	smp_rmb();
	return true;
}

/* Whether what was seen since may not hold any more.  Under the leaf's lock. */
static inline bool tide_leaf_read_retry(const struct tide_leaf *leaf,
					unsigned int seq)
{
	return leaf->seq != seq;
}

#endif /* TIDE_MIRROR_H */
