// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mirror.c - the mirror of an address space: what it consists of, and how
 * invalidations empty it.
 *
 * The rules, which the code refers to by number:
 *
 * M1  no byte of a page is used after the invalidation that covers it has
 *     returned;
 * M2  an invalidation allocates nothing and waits for nothing that a fault
 *     holds;
 * M3  neither correctness nor progress depends on how many invalidations
 *     there are;
 * M4  what was written is never lost: a page is dirtied before it is let go;
 * M5  two leaves are locked in the order of their addresses, one leaf once;
 * M6  a process's exit waits for nobody's progress, and its address space is
 *     not kept alive by its regions.
 *
 * There is one plain MMU notifier for the address space, not an interval
 * notifier for each leaf: those make whoever begins to look at page tables,
 * and whoever frees a leaf, wait for a moment without invalidations, and that
 * need not come (M3).
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "mirror.h"
#include "module.h"
#include "region.h"
#include "trace.h"

/* How long a leaf stays empty before it is freed. */
#define REAP_DELAY		(HZ)

/*
 * How long a mirror without regions is kept: making one takes all locks of the
 * address space, and a process may register and deregister in a loop.
 */
#define KEEP_TIME		(2 * HZ)

/* Pages whose dirtying is deferred until the leaf lock is dropped. */
#define DIRTY_BATCH		32

static LIST_HEAD(mirrors);
static DEFINE_MUTEX(mirrors_lock);

static atomic64_t last_generation = ATOMIC64_INIT(0);

/* Mirrors and leaves not yet freed. */
static atomic_t nr_mirrors = ATOMIC_INIT(0);
static atomic_long_t nr_leaves = ATOMIC_LONG_INIT(0);

/**
 * struct sweep - clearing entries of a leaf, in batches
 * @leaf: the leaf, locked by turns
 * @slot: the first entry not yet looked at
 * @end: the first not to be looked at
 * @cleared: which were there
 * @nr: how many of them
 * @dirty: pages to be dirtied once the lock is dropped, each with a reference
 * @nr_dirty: how many of these
 * @lock_pages: dirty pages are to be locked, and stay if they cannot be
 */
struct sweep {
	struct tide_leaf *leaf;
	unsigned int slot;
	unsigned int end;
	DECLARE_BITMAP(cleared, TIDE_LEAF_PAGES);
	unsigned int nr;
	struct page *dirty[DIRTY_BATCH];
	unsigned int nr_dirty;
	bool lock_pages;
};

static void leaf_free_rcu(struct rcu_head *rcu)
{
	struct tide_leaf *leaf = container_of(rcu, struct tide_leaf, rcu);

	free_page((unsigned long)leaf->entries);
	kfree(leaf);
	atomic_long_dec(&nr_leaves);
}

/* Have the reaper look at an empty leaf.  The leaf lock is held. */
static void leaf_check_idle(struct tide_leaf *leaf)
{
	struct tide_mirror *mirror = leaf->mirror;

	if (leaf->present || leaf->idle)
		return;
	leaf->idle = true;
	llist_add(&leaf->reap, &mirror->idle);
	queue_delayed_work(tide_wq, &mirror->reaper, REAP_DELAY);
}

/*
 * Whether a page that was written through us need not be dirtied (M4).  A file
 * system that has to know of writes before they happen has dirtied it itself;
 * if it has cleaned it since, that took our entry away, and to dirty it later
 * would be wrong.
 */
static bool is_dirty(unsigned long entry)
{
	/* What was written comes before that. */
	smp_mb();
	return PageDirty(virt_to_page((void *)(entry & PAGE_MASK)));
}

/* Clear one entry, which may be all the leaf's. */
static bool sweep_entry(struct sweep *sweep, unsigned long *slot)
{
	unsigned long entry = *slot;

	if (entry & TIDE_ENTRY_DIRTY && !is_dirty(entry)) {
		struct page *page = virt_to_page((void *)(entry & PAGE_MASK));

		if (sweep->lock_pages && !trylock_page(page))
			return false;
		get_page(page);
		sweep->dirty[sweep->nr_dirty++] = page;
	}
	*slot = 0;
	sweep->leaf->present--;
	return true;
}

/*
 * Clear entries up to the end or until a batch of written pages is full, and
 * keep those: once their entries are cleared, another invalidation of the
 * same range has nothing to wait for.  The leaf lock is held.
 */
static void sweep_batch(struct sweep *sweep)
{
	struct tide_leaf *leaf = sweep->leaf;

	sweep->nr_dirty = 0;
	if (leaf->huge && sweep_entry(sweep, &leaf->huge)) {
		bitmap_fill(sweep->cleared, TIDE_LEAF_PAGES);
		sweep->nr = TIDE_LEAF_PAGES;
	}
	if (leaf->huge || !leaf->present)
		sweep->slot = sweep->end;
	for (; sweep->slot < sweep->end && sweep->nr_dirty < DIRTY_BATCH;
	     sweep->slot++) {
		if (!leaf->entries[sweep->slot] ||
		    !sweep_entry(sweep, &leaf->entries[sweep->slot]))
			continue;
		__set_bit(sweep->slot, sweep->cleared);
		sweep->nr++;
	}
}

/*
 * Clear all of it.  Pages are dirtied with the leaf lock dropped: a file
 * system's locks are not safe against softirqs, and this one is taken there.
 */
static void sweep_all(struct sweep *sweep, void (*dirty)(struct page *page))
{
	struct tide_leaf *leaf = sweep->leaf;
	unsigned int i;

	do {
		atomic_inc(&leaf->sweepers);
		tide_leaf_lock(leaf);
		leaf->seq++;
		sweep_batch(sweep);
		leaf_check_idle(leaf);
		tide_leaf_unlock(leaf);
		atomic_dec(&leaf->sweepers);

		for (i = 0; i < sweep->nr_dirty; i++)
			dirty(sweep->dirty[i]);
	} while (sweep->slot < sweep->end);
}

static void sweep_init(struct sweep *sweep, struct tide_leaf *leaf,
		       unsigned int slot, unsigned int end)
{
	sweep->leaf = leaf;
	sweep->slot = slot;
	sweep->end = end;
	sweep->nr = 0;
	sweep->lock_pages = false;
	bitmap_zero(sweep->cleared, TIDE_LEAF_PAGES);
}

/*
 * A page was written through us (M4).  Whoever invalidates it may hold its
 * lock, or wait for who does, so this must not wait for it.
 */
static void dirty_invalidated(struct page *page)
{
	bool locked = trylock_page(page);

	set_page_dirty(page);
	if (locked)
		unlock_page(page);
	put_page(page);
}

static void leaf_invalidate(struct tide_leaf *leaf, unsigned long start,
			    unsigned long last)
{
	unsigned long base = tide_leaf_start(leaf);
	struct sweep sweep;

	start = max(start, base);
	last = min(last, base + TIDE_LEAF_SIZE - 1);
	sweep_init(&sweep, leaf, tide_leaf_slot(start),
		   tide_leaf_slot(last) + 1);
	sweep_all(&sweep, dirty_invalidated);
	if (sweep.nr)
		tide_regions_invalidated(leaf->mirror, base, sweep.cleared);
	trace_tide_invalidate(leaf->mirror->mm, start, last, sweep.nr);
}

/* Empty all leaves of an address range. */
static void mirror_invalidate(struct tide_mirror *mirror, unsigned long start,
			      unsigned long last, bool blockable)
{
	unsigned long index = start >> TIDE_LEAF_SHIFT;
	unsigned long last_index = last >> TIDE_LEAF_SHIFT;
	struct tide_leaf *leaf;

	for (;; index++) {
		rcu_read_lock();
		leaf = xa_find(&mirror->leaves, &index, last_index, XA_PRESENT);
		if (leaf)
			leaf_invalidate(leaf, start, last);
		rcu_read_unlock();
		if (!leaf || index == last_index)
			break;
		/* One of very many, perhaps, when a process ends. */
		if (blockable)
			cond_resched();
	}
}

/* Whether an invalidation that is noted by itself is of this leaf. */
bool tide_leaf_in_wide(const struct tide_leaf *leaf)
{
	struct tide_wide *wide = &leaf->mirror->wide;
	bool in = false;
	int i;

	spin_lock(&wide->lock);
	for (i = 0; i < TIDE_WIDE; i++)
		in |= leaf->index >= wide->range[i].first &&
		      leaf->index <= wide->range[i].last;
	spin_unlock(&wide->lock);
	return in;
}

/* Replace one range by another; false when there is no such one. */
static bool wide_replace(struct tide_wide *wide, unsigned long first,
			 unsigned long last, unsigned long new_first,
			 unsigned long new_last, int add)
{
	int i;

	spin_lock(&wide->lock);
	for (i = 0; i < TIDE_WIDE; i++) {
		if (wide->range[i].first != first ||
		    wide->range[i].last != last)
			continue;
		wide->range[i].first = new_first;
		wide->range[i].last = new_last;
		atomic_add(add, &wide->nr);
		break;
	}
	spin_unlock(&wide->lock);
	return i < TIDE_WIDE;
}

/* No leaf is between these two. */
#define NO_FIRST	1UL
#define NO_LAST		0UL

static void narrow_add(struct tide_mirror *mirror, unsigned long first,
		       unsigned long last, int add)
{
	unsigned long nr = min(last - first + 1, (unsigned long)TIDE_NARROW);

	for (; nr; nr--, first++)
		atomic_add(add, &mirror->narrow[first % TIDE_NARROW]);
}

/*
 * Of two invalidations of the same range one may be noted and the other one
 * counted: then it does not matter which of them ends which.
 */
static void invalidation_begin(struct tide_mirror *mirror, unsigned long first,
			       unsigned long last)
{
	if (last - first < TIDE_NARROW ||
	    !wide_replace(&mirror->wide, NO_FIRST, NO_LAST, first, last, 1))
		narrow_add(mirror, first, last, 1);
}

static void invalidation_end(struct tide_mirror *mirror, unsigned long first,
			     unsigned long last)
{
	if (last - first < TIDE_NARROW ||
	    !wide_replace(&mirror->wide, first, last, NO_FIRST, NO_LAST, -1))
		narrow_add(mirror, first, last, -1);
}

static int watch_start(struct mmu_notifier *watch,
		       const struct mmu_notifier_range *range)
{
	struct tide_mirror *mirror =
		container_of(watch, struct tide_mirror, watch);
	unsigned long last = range->end - 1;

	if (range->start > last)
		return 0;
	invalidation_begin(mirror, range->start >> TIDE_LEAF_SHIFT,
			   last >> TIDE_LEAF_SHIFT);
	/* Pairs with tide_leaf_read_begin(). */
	smp_mb();
	mirror_invalidate(mirror, range->start, last,
			  mmu_notifier_range_blockable(range));
	return 0;
}

static void watch_end(struct mmu_notifier *watch,
		      const struct mmu_notifier_range *range)
{
	struct tide_mirror *mirror =
		container_of(watch, struct tide_mirror, watch);
	unsigned long last = range->end - 1;

	if (range->start > last)
		return;
	/* What has changed comes before that. */
	smp_mb();
	invalidation_end(mirror, range->start >> TIDE_LEAF_SHIFT,
			 last >> TIDE_LEAF_SHIFT);
}

/* The address space ends; there are no faults any more. */
static void watch_release(struct mmu_notifier *watch, struct mm_struct *mm)
{
	mirror_invalidate(container_of(watch, struct tide_mirror, watch),
			  0, ULONG_MAX, true);
}

/* Whether an entry was used; and forget that, if @clear. */
static bool entry_is_young(unsigned long *slot, bool clear)
{
	if (!(READ_ONCE(*slot) & TIDE_ENTRY_YOUNG))
		return false;
	if (clear)
		atomic_long_andnot(TIDE_ENTRY_YOUNG, (atomic_long_t *)slot);
	return true;
}

static bool leaf_is_young(struct tide_leaf *leaf, unsigned long start,
			  unsigned long last, bool clear)
{
	unsigned int slot, end;
	bool young = false;

	/* Readers set the bit under the same lock. */
	read_lock_bh(&leaf->lock);
	if (leaf->huge) {
		young = entry_is_young(&leaf->huge, clear);
	} else if (leaf->present) {
		end = tide_leaf_slot(last) + 1;
		for (slot = tide_leaf_slot(start); slot < end; slot++)
			young |= entry_is_young(&leaf->entries[slot], clear);
	}
	read_unlock_bh(&leaf->lock);
	return young;
}

/*
 * Whether pages were used through us, as their accessed bits say of the CPU.
 * At most one huge page is asked for at a time; under page table locks.
 */
static bool mirror_is_young(struct mmu_notifier *watch, unsigned long start,
			    unsigned long end, bool clear)
{
	struct tide_mirror *mirror =
		container_of(watch, struct tide_mirror, watch);
	unsigned long next, last = end - 1;
	struct tide_leaf *leaf;
	bool young = false;

	rcu_read_lock();
	for (; start <= last; start = next + 1) {
		next = min(last, start | (TIDE_LEAF_SIZE - 1));
		leaf = xa_load(&mirror->leaves, start >> TIDE_LEAF_SHIFT);
		if (leaf)
			young |= leaf_is_young(leaf, start, next, clear);
		if (next == ULONG_MAX)
			break;
	}
	rcu_read_unlock();
	return young;
}

static tide_young_t watch_clear_young(struct mmu_notifier *watch,
				      struct mm_struct *mm,
				      unsigned long start, unsigned long end)
{
	return mirror_is_young(watch, start, end, true);
}

static tide_young_t watch_test_young(struct mmu_notifier *watch,
				     struct mm_struct *mm,
				     unsigned long address)
{
	return mirror_is_young(watch, address, address + 1, false);
}

static const struct mmu_notifier_ops watch_ops = {
	.release = watch_release,
	.invalidate_range_start = watch_start,
	.invalidate_range_end = watch_end,
	.clear_flush_young = watch_clear_young,
	.clear_young = watch_clear_young,
	.test_young = watch_test_young,
};

/* Nobody uses the leaf any more, and nobody invalidates it. */
static void dirty_unused(struct page *page)
{
	set_page_dirty_lock(page);
	put_page(page);
}

/* Empty a leaf that nobody uses any more, outside any invalidation. */
static void leaf_empty(struct tide_leaf *leaf)
{
	struct sweep sweep;

	sweep_init(&sweep, leaf, 0, TIDE_LEAF_PAGES);
	sweep_all(&sweep, dirty_unused);
}

/* Free a leaf if it is still empty and no fault is about to fill it. */
static void reap_leaf(struct tide_mirror *mirror, struct tide_leaf *leaf)
{
	bool gone = false;

	xa_lock(&mirror->leaves);
	tide_leaf_lock(leaf);
	if (!leaf->present)
		gone = refcount_dec_if_one(&leaf->ref);
	leaf->idle = gone;
	tide_leaf_unlock(leaf);
	if (gone) {
		__xa_erase(&mirror->leaves, leaf->index);
		/* After that: pairs with tide_mirror_leaf(). */
		smp_store_release(&mirror->generation,
				  atomic64_inc_return(&last_generation));
	}
	xa_unlock(&mirror->leaves);

	if (gone)
		call_rcu(&leaf->rcu, leaf_free_rcu);
}

static void mirror_reap(struct work_struct *work)
{
	struct tide_mirror *mirror =
		container_of(to_delayed_work(work), struct tide_mirror, reaper);
	struct llist_node *idle;
	struct tide_leaf *leaf, *next;

	/* The teardown waits for us, and frees all of them. */
	if (READ_ONCE(mirror->ending))
		return;
	idle = llist_del_all(&mirror->idle);
	llist_for_each_entry_safe(leaf, next, idle, reap)
		reap_leaf(mirror, leaf);
}

static void dirty_locked(struct page *page)
{
	set_page_dirty(page);
	unlock_page(page);
	put_page(page);
}

/*
 * Empty a leaf that was not used since it was looked at last.  Nobody
 * invalidates it, so its pages may be truncated unless they are locked; and
 * memory is short, so this waits for no lock.
 */
static bool leaf_age(struct tide_leaf *leaf)
{
	struct sweep sweep;

	if (READ_ONCE(leaf->used)) {
		WRITE_ONCE(leaf->used, false);
		return false;
	}
	sweep_init(&sweep, leaf, 0, TIDE_LEAF_PAGES);
	sweep.lock_pages = true;
	sweep_all(&sweep, dirty_locked);
	return READ_ONCE(leaf->idle);
}

/* Look at up to *nr leaves of a mirror; returns how many are empty now. */
static unsigned long mirror_shrink(struct tide_mirror *mirror,
				   unsigned long *nr)
{
	unsigned long freed = 0;
	struct tide_leaf *leaf;

	for (; *nr; --*nr) {
		rcu_read_lock();
		leaf = xa_find(&mirror->leaves, &mirror->hand, ULONG_MAX,
			       XA_PRESENT);
		if (leaf && leaf_age(leaf))
			freed++;
		rcu_read_unlock();
		mirror->hand = leaf ? mirror->hand + 1 : 0;
		if (!leaf)
			break;
	}
	if (freed)
		mod_delayed_work(tide_wq, &mirror->reaper, 0);
	return freed;
}

static unsigned long count_leaves(struct shrinker *shrinker,
				  struct shrink_control *control)
{
	return atomic_long_read(&nr_leaves) ?: SHRINK_EMPTY;
}

static unsigned long shrink_leaves(struct shrinker *shrinker,
				   struct shrink_control *control)
{
	unsigned long nr = control->nr_to_scan, freed = 0;
	struct tide_mirror *mirror;
	LIST_HEAD(done);

	/* Dirtying pages is the file systems' business. */
	if (!(control->gfp_mask & __GFP_FS) || !mutex_trylock(&mirrors_lock))
		return SHRINK_STOP;
	while (nr && !list_empty(&mirrors)) {
		mirror = list_first_entry(&mirrors, struct tide_mirror, node);
		freed += mirror_shrink(mirror, &nr);
		list_move_tail(&mirror->node, &done);
	}
	list_splice_tail(&done, &mirrors);
	mutex_unlock(&mirrors_lock);
	return freed;
}

static struct tide_shrinker shrinker = {
	.count = count_leaves,
	.scan = shrink_leaves,
};

/* Once, at module load: 0 or -ENOMEM. */
int __init tide_mirrors_init(void)
{
	return tide_shrinker_register(&shrinker, "tide-leaf");
}

/* Take a mirror out of the list, unless it is used again. */
static bool mirror_end(struct tide_mirror *mirror)
{
	mutex_lock(&mirrors_lock);
	if (!mirror->ending && !refcount_read(&mirror->ref)) {
		list_del(&mirror->node);
		WRITE_ONCE(mirror->ending, true);
		/* Who came here before us may have asked for it again. */
		cancel_delayed_work(&mirror->teardown);
	}
	mutex_unlock(&mirrors_lock);
	return mirror->ending;
}

/* Free a mirror that nobody has used for some time, and all its leaves. */
static void mirror_teardown(struct work_struct *work)
{
	struct tide_mirror *mirror = container_of(to_delayed_work(work),
						  struct tide_mirror, teardown);
	struct tide_leaf *leaf;
	unsigned long index;

	if (!mirror_end(mirror))
		return;

	/* The pager that had the last reference may be at its end yet. */
	if (mirror->wq)
		destroy_workqueue(mirror->wq);
	/*
	 * A reaper that runs now was started before the reference went; one
	 * started later does nothing.
	 */
	cancel_delayed_work_sync(&mirror->reaper);
	xa_for_each(&mirror->leaves, index, leaf) {
		leaf_empty(leaf);
		cond_resched();
	}
	mmu_notifier_unregister(&mirror->watch, mirror->mm);
	cancel_delayed_work_sync(&mirror->reaper);
	xa_for_each(&mirror->leaves, index, leaf)
		call_rcu(&leaf->rcu, leaf_free_rcu);
	xa_destroy(&mirror->leaves);
	kfree(mirror);
	if (atomic_dec_and_test(&nr_mirrors))
		wake_up_var(&nr_mirrors);
}

/* For the module's end: no region is left, and none will come. */
void tide_mirrors_exit(void)
{
	struct tide_mirror *mirror;

	mutex_lock(&mirrors_lock);
	list_for_each_entry(mirror, &mirrors, node)
		mod_delayed_work(tide_release_wq, &mirror->teardown, 0);
	mutex_unlock(&mirrors_lock);
	wait_var_event(&nr_mirrors, !atomic_read(&nr_mirrors));
	tide_shrinker_unregister(&shrinker);
}

static struct tide_mirror *mirror_create(struct mm_struct *mm)
{
	struct tide_mirror *mirror;
	int ret, i;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL_ACCOUNT);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mirror->mm = mm;
	refcount_set(&mirror->ref, 1);
	mutex_init(&mirror->making);
	xa_init(&mirror->leaves);
	mirror->generation = atomic64_inc_return(&last_generation);
	spin_lock_init(&mirror->wide.lock);
	for (i = 0; i < TIDE_WIDE; i++)
		mirror->wide.range[i].first = NO_FIRST;
	rwlock_init(&mirror->regions_lock);
	mirror->regions = RB_ROOT_CACHED;
	init_llist_head(&mirror->idle);
	INIT_DELAYED_WORK(&mirror->reaper, mirror_reap);
	INIT_DELAYED_WORK(&mirror->teardown, mirror_teardown);
	mirror->watch.ops = &watch_ops;

	/* Takes all locks of the address space, unless a signal is pending. */
	ret = mmu_notifier_register(&mirror->watch, mm);
	if (ret) {
		kfree(mirror);
		return ERR_PTR(ret == -EINTR ? -ERESTARTNOINTR : ret);
	}
	atomic_inc(&nr_mirrors);
	return mirror;
}

/* One more reference to the mirror of @mm; NULL if there is none. */
static struct tide_mirror *mirror_find(struct mm_struct *mm)
{
	struct tide_mirror *mirror;

	lockdep_assert_held(&mirrors_lock);
	list_for_each_entry(mirror, &mirrors, node) {
		if (mirror->mm == mm) {
			if (!refcount_inc_not_zero(&mirror->ref))
				refcount_set(&mirror->ref, 1);
			return mirror;
		}
	}
	return NULL;
}

/**
 * tide_mirror_get_current - the mirror of the caller's address space
 *
 * Context: process; sleeps.
 *
 * Return: the mirror with a reference, or an ERR_PTR() of -ENOMEM or
 * -ERESTARTNOINTR.
 */
struct tide_mirror *tide_mirror_get_current(void)
{
	struct tide_mirror *mirror, *found;

	mutex_lock(&mirrors_lock);
	mirror = mirror_find(current->mm);
	mutex_unlock(&mirrors_lock);
	if (mirror)
		return mirror;

	/* Not under the lock: this waits for the process's own mmap lock. */
	mirror = mirror_create(current->mm);
	if (IS_ERR(mirror))
		return mirror;
	mutex_lock(&mirrors_lock);
	found = mirror_find(current->mm);
	list_add_tail(&mirror->node, &mirrors);
	mutex_unlock(&mirrors_lock);
	if (!found)
		return mirror;
	tide_mirror_put(mirror);
	return found;
}

/* Whether it mirrors the caller's address space. */
bool tide_mirror_is_current(const struct tide_mirror *mirror)
{
	return mirror->mm == current->mm;
}

/**
 * tide_mirror_queue - run a work that waits for this address space
 * @mirror: the mirror, to which the work has a reference
 * @work: the work
 *
 * Context: process; sleeps for memory.
 *
 * Return: 1; 0 when it is queued already; -ENOMEM.
 */
int tide_mirror_queue(struct tide_mirror *mirror, struct work_struct *work)
{
	struct workqueue_struct *wq = smp_load_acquire(&mirror->wq);

	if (!wq) {
		mutex_lock(&mirrors_lock);
		wq = mirror->wq;
		if (!wq) {
			wq = alloc_workqueue("tide-pager", WQ_UNBOUND,
					     WQ_UNBOUND_MAX_ACTIVE);
			smp_store_release(&mirror->wq, wq);
		}
		mutex_unlock(&mirrors_lock);
	}
	if (!wq)
		return -ENOMEM;
	return queue_work(wq, work);
}

/**
 * tide_mirror_put - drop a reference
 * @mirror: the mirror
 *
 * What is left of a mirror goes later: it may be large, its pages may be
 * another process's, and some of them locked (M6).
 *
 * Context: process.
 */
void tide_mirror_put(struct tide_mirror *mirror)
{
	if (!refcount_dec_and_mutex_lock(&mirror->ref, &mirrors_lock))
		return;
	mod_delayed_work(tide_release_wq, &mirror->teardown, KEEP_TIME);
	mutex_unlock(&mirrors_lock);
}

/**
 * tide_mirror_leaf - the leaf that mirrors an address
 * @mirror: the mirror
 * @va: the address
 * @cache: where to look first, and to remember it; or NULL
 *
 * A leaf of the generation that the mirror still has was not taken out of it,
 * or is not freed before the caller's rcu_read_unlock().
 *
 * Context: under rcu_read_lock(), for as long as the leaf is used.
 *
 * Return: the leaf, or NULL when nothing there was ever touched.
 */
struct tide_leaf *tide_mirror_leaf(struct tide_mirror *mirror,
				   unsigned long va,
				   struct tide_leaf_cache *cache)
{
	unsigned long index = va >> TIDE_LEAF_SHIFT;
	struct tide_leaf *leaf;
	u64 generation;

	if (!cache)
		return xa_load(&mirror->leaves, index);

	generation = smp_load_acquire(&mirror->generation);
	if (cache->generation == generation && cache->index == index)
		return cache->leaf;
	leaf = xa_load(&mirror->leaves, index);
	cache->generation = leaf ? generation : 0;
	cache->index = index;
	cache->leaf = leaf;
	return leaf;
}

static struct tide_leaf *leaf_create(struct tide_mirror *mirror,
				     unsigned long index)
{
	struct tide_leaf *leaf = kzalloc(sizeof(*leaf), GFP_KERNEL_ACCOUNT);

	if (!leaf)
		return NULL;
	leaf->mirror = mirror;
	leaf->index = index;
	rwlock_init(&leaf->lock);
	refcount_set(&leaf->ref, 2);
	atomic_long_inc(&nr_leaves);
	return leaf;
}

/* The leaf of @va with a reference, or NULL. */
static struct tide_leaf *leaf_find(struct tide_mirror *mirror, unsigned long va)
{
	struct tide_leaf *leaf;

	rcu_read_lock();
	leaf = tide_mirror_leaf(mirror, va, NULL);
	if (leaf && !refcount_inc_not_zero(&leaf->ref))
		leaf = NULL;
	rcu_read_unlock();
	return leaf;
}

/* A new one, in the mirror; mirror->making is held. */
static struct tide_leaf *leaf_make(struct tide_mirror *mirror, unsigned long va)
{
	unsigned long index = va >> TIDE_LEAF_SHIFT;
	struct tide_leaf *leaf = leaf_create(mirror, index);
	int ret;

	if (!leaf)
		return ERR_PTR(-ENOMEM);
	/* One that is being reaped leaves under the tree's lock. */
	ret = xa_insert(&mirror->leaves, index, leaf, GFP_KERNEL_ACCOUNT);
	if (ret) {
		leaf_free_rcu(&leaf->rcu);
		return ERR_PTR(ret);
	}
	return leaf;
}

/**
 * tide_leaf_get - the leaf that mirrors an address, made if there was none
 * @mirror: the mirror
 * @va: the address
 *
 * Context: process, no locks; the address space has users.
 *
 * Return: the leaf with a reference, for tide_leaf_put(); or an ERR_PTR().
 */
struct tide_leaf *tide_leaf_get(struct tide_mirror *mirror, unsigned long va)
{
	struct tide_leaf *leaf = leaf_find(mirror, va);

	if (leaf)
		return leaf;
	mutex_lock(&mirror->making);
	leaf = leaf_find(mirror, va);
	if (!leaf)
		leaf = leaf_make(mirror, va);
	mutex_unlock(&mirror->making);
	return leaf;
}

/* The tree's reference keeps the count from reaching zero here. */
void tide_leaf_put(struct tide_leaf *leaf)
{
	rcu_read_lock();
	refcount_dec(&leaf->ref);
	if (!READ_ONCE(leaf->present) && !READ_ONCE(leaf->idle)) {
		tide_leaf_lock(leaf);
		leaf_check_idle(leaf);
		tide_leaf_unlock(leaf);
	}
	rcu_read_unlock();
}
