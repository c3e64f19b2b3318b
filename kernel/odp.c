// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * odp.c - the mirror of an address space: faults in, invalidations out.
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
#include <linux/delay.h>
#include <linux/hugetlb_inline.h>
#include <linux/llist.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "module.h"
#include "odp.h"

/*
 * Races that a fault may lose against invalidations before its caller has to
 * pin the pages instead (M3).
 */
#define MAX_LOST_RACES		2

/* How often a fault looks for a moment without invalidations, and how long. */
#define MAX_PAUSES	10
#define PAUSE_US	100

/* Pages looked at by one fault; those not asked for are only snapshotted. */
#define FAULT_WINDOW		(TIDE_LEAF_PAGES < 64 ? TIDE_LEAF_PAGES : 64)

/* How long a leaf stays empty before it is freed. */
#define REAP_DELAY		(HZ)

/* Pages whose dirtying is deferred until the leaf lock is dropped. */
#define DIRTY_BATCH		32

/**
 * struct tide_mirror - the mirror of one address space
 * @node: in the list of all mirrors
 * @mm: the address space; its memory is not kept, only the structure (M6)
 * @ref: regions, and faults under way
 * @leaves: struct tide_leaf by address >> TIDE_LEAF_SHIFT
 * @generation: another one whenever a leaf has gone; no mirror ever has had it
 * @anchor: makes the address space one that has interval notifiers.  That
 *	takes its locks, so it is done in its own process
 * @watch: counts
 * @invalidating: invalidations that go on at this moment
 * @idle: leaves that became empty
 * @reaper: frees them
 * @wq: for pagers that wait for this address space; made for the first one
 * @teardown: frees the mirror
 */
struct tide_mirror {
	struct list_head node;
	struct mm_struct *mm;
	refcount_t ref;
	struct xarray leaves;
	u64 generation;
	struct mmu_interval_notifier anchor;
	struct mmu_notifier watch;
	atomic_t invalidating;
	struct llist_head idle;
	struct delayed_work reaper;
	struct workqueue_struct *wq;
	struct work_struct teardown;
};

static LIST_HEAD(mirrors);
static DEFINE_MUTEX(mirrors_lock);

static atomic64_t last_generation = ATOMIC64_INIT(0);

/* Mirrors not yet freed. */
static atomic_t nr_mirrors = ATOMIC_INIT(0);

/* For changing entries; readers stay away meanwhile. */
static void leaf_lock(struct tide_leaf *leaf)
	__acquires(&leaf->lock)
{
	atomic_inc(&leaf->writers);
	write_lock_bh(&leaf->lock);
}

static void leaf_unlock(struct tide_leaf *leaf)
	__releases(&leaf->lock)
{
	write_unlock_bh(&leaf->lock);
	atomic_dec(&leaf->writers);
}

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
		leaf_lock(leaf);
		if (!begun)
			mmu_interval_set_seq(notifier, seq);
		begun = true;
		slot = leaf_clear(leaf, slot, end, dirty, &nr_dirty);
		leaf_check_idle(leaf);
		leaf_unlock(leaf);

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
		leaf_lock(leaf);
		slot = leaf_clear(leaf, slot, TIDE_LEAF_PAGES, dirty,
				  &nr_dirty);
		leaf_unlock(leaf);

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
	leaf_lock(leaf);
	if (!leaf->present)
		gone = refcount_dec_if_one(&leaf->ref);
	leaf->idle = gone;
	leaf_unlock(leaf);
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

static void mirror_reap(struct work_struct *work)
{
	struct tide_mirror *mirror =
		container_of(to_delayed_work(work), struct tide_mirror, reaper);
	struct llist_node *idle;
	struct tide_leaf *leaf, *next;

	/* The teardown has begun, waits for us, and frees all of them. */
	if (!refcount_read(&mirror->ref))
		return;
	idle = llist_del_all(&mirror->idle);
	llist_for_each_entry_safe(leaf, next, idle, reap)
		reap_leaf(mirror, leaf);
}

/* Free a mirror that nobody refers to, and all its leaves. */
static void mirror_teardown(struct work_struct *work)
{
	struct tide_mirror *mirror =
		container_of(work, struct tide_mirror, teardown);
	struct tide_leaf *leaf;
	unsigned long index;

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
	wait_var_event(&nr_mirrors, !atomic_read(&nr_mirrors));
}

static bool anchor_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
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

	ret = mmu_interval_notifier_insert(&mirror->anchor, mm, 0, PAGE_SIZE,
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
	xa_init(&mirror->leaves);
	mirror->generation = atomic64_inc_return(&last_generation);
	init_llist_head(&mirror->idle);
	INIT_DELAYED_WORK(&mirror->reaper, mirror_reap);
	INIT_WORK(&mirror->teardown, mirror_teardown);
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
			refcount_inc(&mirror->ref);
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
	if (!found)
		list_add(&mirror->node, &mirrors);
	mutex_unlock(&mirrors_lock);
	if (!found)
		return mirror;
	queue_work(tide_release_wq, &mirror->teardown);
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
			wq = alloc_workqueue("tide-pager", WQ_UNBOUND, 0);
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
	list_del(&mirror->node);
	mutex_unlock(&mirrors_lock);
	queue_work(tide_release_wq, &mirror->teardown);
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

/*
 * Get the leaf of @va with a reference, made if there was none.  The address
 * space has users; no lock is held.
 */
static struct tide_leaf *leaf_get(struct tide_mirror *mirror, unsigned long va)
{
	struct tide_leaf *leaf;
	int ret;

	for (;;) {
		rcu_read_lock();
		leaf = tide_mirror_leaf(mirror, va, NULL);
		if (leaf && !refcount_inc_not_zero(&leaf->ref))
			leaf = NULL;
		rcu_read_unlock();
		if (leaf)
			return leaf;

		leaf = leaf_create(mirror, va);
		if (IS_ERR(leaf))
			return leaf;
		ret = xa_insert(&mirror->leaves, va >> TIDE_LEAF_SHIFT, leaf,
				GFP_KERNEL);
		if (!ret) {
			leaf_lock(leaf);
			leaf->idle = false;
			leaf_unlock(leaf);
			return leaf;
		}
		leaf_free(leaf);
		if (ret != -EBUSY)
			return ERR_PTR(ret);
	}
}

/* The tree's reference keeps the count from reaching zero here. */
static void leaf_put(struct tide_leaf *leaf)
{
	rcu_read_lock();
	refcount_dec(&leaf->ref);
	leaf_lock(leaf);
	leaf_check_idle(leaf);
	leaf_unlock(leaf);
	rcu_read_unlock();
}

/*
 * memfd_secret() takes its pages out of the kernel's map: they are not for us,
 * as they are not for get_user_pages().  The page is mapped by its owner.
 */
static bool page_is_secret(struct page *page)
{
	struct address_space *mapping = folio_mapping(page_folio(page));

	return mapping && mapping->host &&
	       mapping->host->i_sb->s_magic == SECRETMEM_MAGIC;
}

/* The entry for what hmm_range_fault() has found; 0 if there is none. */
static unsigned long make_entry(unsigned long pfn)
{
	unsigned long entry;
	struct page *page;

	if (!(pfn & HMM_PFN_VALID))
		return 0;
	page = hmm_pfn_to_page(pfn);
	if (page_is_secret(page))
		return 0;
	entry = (unsigned long)page_address(page) | TIDE_ENTRY_READ;
	if (pfn & HMM_PFN_WRITE)
		entry |= TIDE_ENTRY_WRITE;
	return entry;
}

static void leaf_fill(struct tide_leaf *leaf, unsigned int slot,
		      const unsigned long *pfns, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++, slot++) {
		unsigned long old = leaf->entries[slot];
		unsigned long entry = make_entry(pfns[i]);

		if (!entry)
			continue;
		if (!old)
			leaf->present++;
		leaf->entries[slot] = entry | (old & TIDE_ENTRY_DIRTY);
	}
}

/*
 * How many of @len bytes lie in one mapping whose faults wait for nothing but
 * memory.  A file's pages may come from a server that never answers, FUSE's
 * and userfaultfd's from a process.  The mmap lock is held.
 */
static unsigned long prompt_bytes(struct mm_struct *mm, unsigned long va,
				  unsigned long len)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);

	if (!vma || userfaultfd_armed(vma))
		return 0;
	if (!vma_is_anonymous(vma) && !is_vm_hugetlb_page(vma) &&
	    !(vma->vm_file && shmem_mapping(vma->vm_file->f_mapping)))
		return 0;
	return min(len, vma->vm_end - va);
}

/* The pages that @fault asks for and that can be made promptly. */
static int make_pages(struct tide_leaf *leaf, const struct tide_fault *fault,
		      struct hmm_range *window)
{
	unsigned long start = fault->va & PAGE_MASK;
	unsigned long len = min(fault->va + fault->len, window->end) - start;
	struct hmm_range wanted = {
		.notifier = &leaf->notifier,
		.notifier_seq = window->notifier_seq,
		.start = start,
		.hmm_pfns = window->hmm_pfns,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (fault->write ? HMM_PFN_REQ_WRITE : 0),
	};

	len = prompt_bytes(leaf->mirror->mm, start, len);
	if (!len)
		return 0;
	wanted.end = PAGE_ALIGN(start + len);
	return hmm_range_fault(&wanted);
}

/* get_user_pages() writes to no shadow stack, nor do we. */
static void spare_shadow_stacks(struct mm_struct *mm, struct hmm_range *window)
{
	VMA_ITERATOR(vmas, mm, window->start);
	struct vm_area_struct *vma;
	unsigned long va, end;

	for_each_vma_range(vmas, vma, window->end) {
		if (!(vma->vm_flags & TIDE_VM_SHADOW_STACK))
			continue;
		va = max(vma->vm_start, window->start);
		end = min(vma->vm_end, window->end);
		for (; va < end; va += PAGE_SIZE)
			window->hmm_pfns[(va - window->start) >> PAGE_SHIFT] &=
				~HMM_PFN_WRITE;
	}
}

/*
 * Doorbells wait for no other thread's mapping and unmapping, which may wait
 * for anything; pagers do, and can be killed.
 */
static int lock_mm(struct mm_struct *mm, bool wait)
{
	if (wait)
		return mmap_read_lock_killable(mm);
	return mmap_read_trylock(mm) ? 0 : -EFAULT;
}

/*
 * One attempt to make the pages wanted and to look at those around them;
 * -EBUSY when an invalidation came between.  These are two steps, because
 * hmm_range_fault() that finds one page missing makes all that follow it in
 * its range.
 */
static int leaf_fault(struct tide_leaf *leaf, const struct tide_fault *fault,
		      struct hmm_range *window, bool wait)
{
	unsigned long need = TIDE_ENTRY_READ |
			     (fault->write ? TIDE_ENTRY_WRITE : 0);
	struct mm_struct *mm = leaf->mirror->mm;
	int ret;

	window->notifier_seq = mmu_interval_read_begin(&leaf->notifier);
	ret = lock_mm(mm, wait);
	if (ret)
		return ret;
	ret = make_pages(leaf, fault, window);
	if (!ret)
		ret = hmm_range_fault(window);
	if (!ret)
		spare_shadow_stacks(mm, window);
	mmap_read_unlock(mm);
	if (ret)
		return ret;

	leaf_lock(leaf);
	if (mmu_interval_read_retry(&leaf->notifier, window->notifier_seq)) {
		ret = -EBUSY;
	} else {
		leaf_fill(leaf, tide_leaf_slot(window->start),
			  window->hmm_pfns, FAULT_WINDOW);
		if ((leaf->entries[tide_leaf_slot(fault->va)] & need) != need)
			ret = -EFAULT;
	}
	leaf_unlock(leaf);
	return ret;
}

static int fault_window(struct tide_leaf *leaf, const struct tide_fault *fault,
			bool wait)
{
	const unsigned long size = FAULT_WINDOW << PAGE_SHIFT;
	unsigned long start = round_down(fault->va, size);
	unsigned long pfns[FAULT_WINDOW];
	struct hmm_range window = {
		.notifier = &leaf->notifier,
		.start = start,
		.end = start + size,
		.hmm_pfns = pfns,
	};
	unsigned int races;
	int ret = -EBUSY;

	for (races = 0; ret == -EBUSY && races < MAX_LOST_RACES; races++)
		ret = leaf_fault(leaf, fault, &window, wait);
	return ret;
}

/*
 * mmu_interval_read_begin() waits for a moment in which nothing is being
 * invalidated, which need not come (M3).  So do not begin without one.
 */
static bool is_quiet(struct tide_mirror *mirror, bool wait)
{
	unsigned int pauses = wait ? MAX_PAUSES : 0;

	while (atomic_read(&mirror->invalidating)) {
		if (!pauses--)
			return false;
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	}
	return true;
}

/**
 * tide_odp_fault - bring missing pages into the mirror
 * @fault: which
 * @wait: wait for whoever changes the address space
 *
 * Brings in at least the first page.  Does not wait for a file system, nor
 * for a userfaultfd handler.  What needs that fails as what is not there at
 * all does; tide_odp_hold() can tell them apart.
 *
 * Context: process, no locks; sleeps.
 *
 * Return: 0; -EBUSY when invalidations won too often; -EPERM for writing what
 * is read-only; -EFAULT; -ENOMEM; with @wait -EINTR.
 */
int tide_odp_fault(const struct tide_fault *fault, bool wait)
{
	struct mm_struct *mm = fault->mirror->mm;
	struct tide_leaf *leaf;
	int ret;

	if (!is_quiet(fault->mirror, wait))
		return -EBUSY;
	if (!mmget_not_zero(mm))
		return -EFAULT;
	leaf = leaf_get(fault->mirror, fault->va);
	if (IS_ERR(leaf)) {
		ret = PTR_ERR(leaf);
		goto out;
	}
	ret = fault_window(leaf, fault, wait);
	leaf_put(leaf);
out:
	mmput_async(mm);
	return ret;
}

/* Pin as many of the pages from @start on as there are, up to @len bytes. */
static long pin_pages(struct mm_struct *mm, unsigned long start,
		      unsigned long len, struct tide_hold *hold, bool wait)
{
	int locked = 1;
	long nr = 0;

	if (lock_mm(mm, wait))
		return 0;
	if (!wait)
		len = prompt_bytes(mm, start, len);
	len = min(len, TIDE_HOLD_PAGES * PAGE_SIZE);
	if (len)
		nr = tide_pin_user_pages_remote(mm, start,
						DIV_ROUND_UP(len, PAGE_SIZE),
						hold->write ? FOLL_WRITE : 0,
						hold->pages,
						wait ? &locked : NULL);
	if (locked)
		mmap_read_unlock(mm);
	return nr;
}

/**
 * tide_odp_hold - pin missing pages for the length of one copy (M3)
 * @fault: which; at least the first of them
 * @hold: where to note them, for tide_odp_release()
 * @wait: wait for whoever has to provide them, however long it takes
 *
 * Context: process, no locks; sleeps.  With @wait, a worker that nobody waits
 * for (M6).
 *
 * Return: 0, or -EFAULT: they are not there, or not without waiting.
 */
int tide_odp_hold(const struct tide_fault *fault, struct tide_hold *hold,
		  bool wait)
{
	struct mm_struct *mm = fault->mirror->mm;
	unsigned long start = fault->va & PAGE_MASK;
	long nr;

	if (!mmget_not_zero(mm))
		return -EFAULT;
	hold->va = start;
	hold->mirror = fault->mirror;
	hold->write = fault->write;
	nr = pin_pages(mm, start, fault->va + fault->len - start, hold, wait);
	mmput_async(mm);
	if (nr <= 0)
		return -EFAULT;
	hold->nr = nr;
	while (nr--)
		hold->entries[nr] = tide_pinned_entry(hold->pages[nr]);
	return 0;
}

struct late_release {
	struct work_struct work;
	unsigned int nr;
	struct page *pages[TIDE_HOLD_PAGES];
};

static void release_late(struct work_struct *work)
{
	struct late_release *late =
		container_of(work, struct late_release, work);

	unpin_user_pages_dirty_lock(late->pages, late->nr, true);
	kfree(late);
}

/* Whether a written page could be dirtied without waiting for its lock. */
static bool dirtied(struct page *page)
{
	if (PageDirty(page))
		return true;
	if (!trylock_page(page))
		return false;
	set_page_dirty(page);
	unlock_page(page);
	return true;
}

/**
 * tide_odp_release - let go of what tide_odp_hold() pinned, if anything
 * @hold: the pages
 *
 * Context: process, no locks; sleeps for memory only.
 */
void tide_odp_release(struct tide_hold *hold)
{
	struct late_release *late;
	unsigned int i, nr = 0;

	for (i = 0; i < hold->nr; i++) {
		if (hold->write && !dirtied(hold->pages[i]))
			hold->pages[nr++] = hold->pages[i];
		else
			unpin_user_page(hold->pages[i]);
	}
	hold->nr = 0;
	if (!nr)
		return;

	late = kmalloc(sizeof(*late), GFP_KERNEL | __GFP_NOFAIL);
	INIT_WORK(&late->work, release_late);
	late->nr = nr;
	memcpy(late->pages, hold->pages, nr * sizeof(*late->pages));
	queue_work(tide_release_wq, &late->work);
}
