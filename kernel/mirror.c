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
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "mirror.h"
#include "module.h"

/* How long a leaf stays empty before it is freed. */
#define REAP_DELAY		(HZ)

/*
 * How long a mirror without regions is kept: making one takes all locks of the
 * address space, and a process may register and deregister in a loop.
 */
#define KEEP_TIME		(2 * HZ)

/* Before what would have to wait for invalidations is tried again. */
#define BUSY_TIME		(HZ / 20)

/* Pages whose dirtying is deferred until the leaf lock is dropped. */
#define DIRTY_BATCH		32

static LIST_HEAD(mirrors);
static DEFINE_MUTEX(mirrors_lock);

static atomic64_t last_generation = ATOMIC64_INIT(0);

/* Mirrors not yet freed. */
static atomic_t nr_mirrors = ATOMIC_INIT(0);

static void leaf_free_rcu(struct rcu_head *rcu)
{
	struct tide_leaf *leaf = container_of(rcu, struct tide_leaf, rcu);

	free_page((unsigned long)leaf->entries);
	kfree(leaf);
}

/* Free a leaf that is out of the tree, or never was in it.  Sleeps. */
static void leaf_free(struct tide_leaf *leaf)
{
	mmu_interval_notifier_remove(&leaf->notifier);
	call_rcu(&leaf->rcu, leaf_free_rcu);
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
 * Clear entries from @slot on, up to @end or until a batch of written pages
 * is full, and keep those: once their entries are cleared, another
 * invalidation of the same range has nothing to wait for.  The leaf lock is
 * held.
 */
static unsigned int leaf_clear(struct tide_leaf *leaf, unsigned int slot,
			       unsigned int end, struct page **dirty,
			       unsigned int *nr_dirty)
{
	for (; slot < end && *nr_dirty < DIRTY_BATCH; slot++) {
		unsigned long entry = leaf->entries[slot];

		if (!entry)
			continue;
		if (entry & TIDE_ENTRY_DIRTY) {
			struct page *page =
				virt_to_page((void *)(entry & PAGE_MASK));

			get_page(page);
			dirty[(*nr_dirty)++] = page;
		}
		leaf->entries[slot] = 0;
		leaf->present--;
	}
	return slot;
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

/*
 * Pages are dirtied with the leaf lock dropped: a file system's locks are not
 * safe against softirqs, and this one is taken there.
 */
static bool leaf_invalidate(struct mmu_interval_notifier *notifier,
			    const struct mmu_notifier_range *range,
			    unsigned long seq)
{
	struct tide_leaf *leaf =
		container_of(notifier, struct tide_leaf, notifier);
	unsigned long base = notifier->interval_tree.start;
	unsigned long start = max(range->start, base);
	unsigned long last = min(range->end - 1, base + TIDE_LEAF_SIZE - 1);
	unsigned int slot = tide_leaf_slot(start);
	unsigned int end = tide_leaf_slot(last) + 1;
	struct page *dirty[DIRTY_BATCH];
	unsigned int nr_dirty, i;
	bool begun = false;

	do {
		nr_dirty = 0;
		tide_leaf_lock(leaf);
		if (!begun)
			mmu_interval_set_seq(notifier, seq);
		begun = true;
		slot = leaf_clear(leaf, slot, end, dirty, &nr_dirty);
		leaf_check_idle(leaf);
		tide_leaf_unlock(leaf);

		for (i = 0; i < nr_dirty; i++)
			dirty_invalidated(dirty[i]);
	} while (slot < end);
	/* One of very many, perhaps, when a process ends. */
	if (mmu_notifier_range_blockable(range))
		cond_resched();
	return true;
}

static const struct mmu_interval_notifier_ops leaf_notifier_ops = {
	.invalidate = leaf_invalidate,
};

/* Empty a leaf that nobody uses any more, outside any invalidation. */
static void leaf_empty(struct tide_leaf *leaf)
{
	struct page *dirty[DIRTY_BATCH];
	unsigned int slot = 0;
	unsigned int nr_dirty, i;

	do {
		nr_dirty = 0;
		tide_leaf_lock(leaf);
		slot = leaf_clear(leaf, slot, TIDE_LEAF_PAGES, dirty,
				  &nr_dirty);
		tide_leaf_unlock(leaf);

		for (i = 0; i < nr_dirty; i++) {
			set_page_dirty_lock(dirty[i]);
			put_page(dirty[i]);
		}
	} while (slot < TIDE_LEAF_PAGES);
}

/* Free a leaf if it is still empty and no fault is about to fill it. */
static void reap_leaf(struct tide_mirror *mirror, struct tide_leaf *leaf)
{
	unsigned long index =
		leaf->notifier.interval_tree.start >> TIDE_LEAF_SHIFT;
	bool gone = false;

	xa_lock(&mirror->leaves);
	tide_leaf_lock(leaf);
	if (!leaf->present)
		gone = refcount_dec_if_one(&leaf->ref);
	leaf->idle = gone;
	tide_leaf_unlock(leaf);
	if (gone) {
		__xa_erase(&mirror->leaves, index);
		/* After that: pairs with tide_mirror_leaf(). */
		smp_store_release(&mirror->generation,
				  atomic64_inc_return(&last_generation));
	}
	xa_unlock(&mirror->leaves);

	if (gone)
		leaf_free(leaf);
}

/* Whether taking a leaf out would have to wait. */
static bool mirror_is_busy(const struct tide_mirror *mirror)
{
	return atomic_read(&mirror->invalidating) &&
	       atomic_read(&mirror->mm->mm_users);
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
	if (mirror_is_busy(mirror)) {
		queue_delayed_work(tide_wq, &mirror->reaper, REAP_DELAY);
		return;
	}
	idle = llist_del_all(&mirror->idle);
	llist_for_each_entry_safe(leaf, next, idle, reap)
		reap_leaf(mirror, leaf);
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
	if (mirror_is_busy(mirror)) {
		queue_delayed_work(tide_release_wq, &mirror->teardown,
				   BUSY_TIME);
		return;
	}

	/* The pager that had the last reference may be at its end yet. */
	if (mirror->wq)
		destroy_workqueue(mirror->wq);
	/*
	 * A reaper that runs now was started before the reference went; one
	 * started later, by an invalidation, does nothing.
	 */
	cancel_delayed_work_sync(&mirror->reaper);
	xa_for_each(&mirror->leaves, index, leaf) {
		leaf_empty(leaf);
		leaf_free(leaf);
		cond_resched();
	}
	cancel_delayed_work_sync(&mirror->reaper);
	xa_destroy(&mirror->leaves);
	mmu_notifier_unregister(&mirror->watch, mirror->mm);
	mmu_interval_notifier_remove(&mirror->anchor);
	mmdrop(mirror->mm);
	kfree(mirror);
	if (atomic_dec_and_test(&nr_mirrors))
		wake_up_var(&nr_mirrors);
}

/* For the module's end: no region is left, and none will come. */
void tide_mirrors_wait_gone(void)
{
	struct tide_mirror *mirror;

	mutex_lock(&mirrors_lock);
	list_for_each_entry(mirror, &mirrors, node)
		mod_delayed_work(tide_release_wq, &mirror->teardown, 0);
	mutex_unlock(&mirrors_lock);
	wait_var_event(&nr_mirrors, !atomic_read(&nr_mirrors));
}

static bool anchor_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	WRITE_ONCE(container_of(notifier, struct tide_mirror, anchor)->epoch,
		   seq);
	return true;
}

static const struct mmu_interval_notifier_ops anchor_ops = {
	.invalidate = anchor_invalidate,
};

static int watch_start(struct mmu_notifier *watch,
		       const struct mmu_notifier_range *range)
{
	atomic_inc(&container_of(watch, struct tide_mirror,
				 watch)->invalidating);
	return 0;
}

static void watch_end(struct mmu_notifier *watch,
		      const struct mmu_notifier_range *range)
{
	atomic_dec(&container_of(watch, struct tide_mirror,
				 watch)->invalidating);
}

static const struct mmu_notifier_ops watch_ops = {
	.invalidate_range_start = watch_start,
	.invalidate_range_end = watch_end,
};

/* Both take all locks of the address space, unless a signal is pending. */
static int mirror_listen(struct tide_mirror *mirror, struct mm_struct *mm)
{
	int ret;

	ret = mmu_interval_notifier_insert(&mirror->anchor, mm, 0, ULONG_MAX,
					   &anchor_ops);
	if (ret)
		return ret;
	mirror->watch.ops = &watch_ops;
	ret = mmu_notifier_register(&mirror->watch, mm);
	if (ret)
		mmu_interval_notifier_remove(&mirror->anchor);
	return ret;
}

static struct tide_mirror *mirror_create(struct mm_struct *mm)
{
	struct tide_mirror *mirror;
	int ret;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL_ACCOUNT);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	ret = mirror_listen(mirror, mm);
	if (ret) {
		kfree(mirror);
		return ERR_PTR(ret == -EINTR ? -ERESTARTNOINTR : ret);
	}
	mmgrab(mm);
	mirror->mm = mm;
	refcount_set(&mirror->ref, 1);
	mutex_init(&mirror->making);
	xa_init(&mirror->leaves);
	mirror->generation = atomic64_inc_return(&last_generation);
	init_llist_head(&mirror->idle);
	INIT_DELAYED_WORK(&mirror->reaper, mirror_reap);
	INIT_DELAYED_WORK(&mirror->teardown, mirror_teardown);
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
 * Return: 0 or -ENOMEM.
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
	queue_work(wq, work);
	return 0;
}

/* One more reference, for one who has one. */
struct tide_mirror *tide_mirror_ref(struct tide_mirror *mirror)
{
	refcount_inc(&mirror->ref);
	return mirror;
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
				     unsigned long va)
{
	unsigned long start = va & ~(TIDE_LEAF_SIZE - 1);
	struct tide_leaf *leaf;
	int ret = -ENOMEM;

	leaf = kzalloc(sizeof(*leaf), GFP_KERNEL_ACCOUNT);
	if (!leaf)
		return ERR_PTR(-ENOMEM);
	leaf->entries = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!leaf->entries)
		goto err_leaf;
	leaf->mirror = mirror;
	/* Its notifier works before it is in the mirror, or if it never is. */
	leaf->idle = true;
	rwlock_init(&leaf->lock);
	refcount_set(&leaf->ref, 2);

	ret = mmu_interval_notifier_insert(&leaf->notifier, mirror->mm, start,
					   TIDE_LEAF_SIZE, &leaf_notifier_ops);
	if (ret)
		goto err_entries;
	return leaf;

err_entries:
	free_page((unsigned long)leaf->entries);
err_leaf:
	kfree(leaf);
	return ERR_PTR(ret);
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
	struct tide_leaf *leaf = leaf_create(mirror, va);
	int ret;

	if (IS_ERR(leaf))
		return leaf;
	/* One that is being reaped leaves under the tree's lock. */
	ret = xa_insert(&mirror->leaves, va >> TIDE_LEAF_SHIFT, leaf,
			GFP_KERNEL);
	if (ret) {
		leaf_free(leaf);
		return ERR_PTR(ret);
	}
	tide_leaf_lock(leaf);
	leaf->idle = false;
	tide_leaf_unlock(leaf);
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
	/* Who came second would have to get rid of its leaf, and wait. */
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
	tide_leaf_lock(leaf);
	leaf_check_idle(leaf);
	tide_leaf_unlock(leaf);
	rcu_read_unlock();
}
