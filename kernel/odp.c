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
#include <linux/hugetlb_inline.h>
#include <linux/llist.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "module.h"
#include "odp.h"

/*
 * Races that a fault may lose against invalidations before its caller has to
 * pin the pages instead (M3).
 */
#define MAX_LOST_RACES		4

/* Pages looked at by one fault; those not asked for are only snapshotted. */
#define FAULT_WINDOW		64

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
 * @idle: leaves that became empty
 * @reaper: frees them
 */
struct tide_mirror {
	struct list_head node;
	struct mm_struct *mm;
	refcount_t ref;
	struct xarray leaves;
	struct llist_head idle;
	struct delayed_work reaper;
};

static LIST_HEAD(mirrors);
static DEFINE_MUTEX(mirrors_lock);

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
 * is full, and take note of those.  The leaf lock is held.
 */
static unsigned int leaf_clear(struct tide_leaf *leaf, unsigned int slot,
			       unsigned int end, struct page **dirty,
			       unsigned int *nr_dirty)
{
	for (; slot < end && *nr_dirty < DIRTY_BATCH; slot++) {
		unsigned long entry = leaf->entries[slot];

		if (!entry)
			continue;
		if (entry & TIDE_ENTRY_DIRTY)
			dirty[(*nr_dirty)++] =
				virt_to_page((void *)(entry & PAGE_MASK));
		leaf->entries[slot] = 0;
		leaf->present--;
	}
	return slot;
}

/*
 * Pages are dirtied with the leaf lock dropped: a file system's locks are not
 * safe against softirqs, and this one is taken there.  The pages cannot go
 * away before we return (M4).
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
			set_page_dirty(dirty[i]);
	} while (slot < end);
	return true;
}

static const struct mmu_interval_notifier_ops leaf_notifier_ops = {
	.invalidate = leaf_invalidate,
};

/*
 * Empty a leaf that nobody uses any more, outside any invalidation: the pages
 * may go as soon as their entries are cleared, so hold them meanwhile.
 */
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
		for (i = 0; i < nr_dirty; i++)
			get_page(dirty[i]);
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
	if (gone)
		__xa_erase(&mirror->leaves, index);
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

	/* tide_mirror_put() has begun, waits for us, and frees all of them. */
	if (!refcount_read(&mirror->ref))
		return;
	idle = llist_del_all(&mirror->idle);
	llist_for_each_entry_safe(leaf, next, idle, reap)
		reap_leaf(mirror, leaf);
}

static struct tide_mirror *mirror_create(struct mm_struct *mm)
{
	struct tide_mirror *mirror;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mmgrab(mm);
	mirror->mm = mm;
	refcount_set(&mirror->ref, 1);
	xa_init(&mirror->leaves);
	init_llist_head(&mirror->idle);
	INIT_DELAYED_WORK(&mirror->reaper, mirror_reap);
	list_add(&mirror->node, &mirrors);
	return mirror;
}

/**
 * tide_mirror_get_current - the mirror of the caller's address space
 *
 * Context: process; sleeps.
 *
 * Return: the mirror with a reference, or ERR_PTR(-ENOMEM).
 */
struct tide_mirror *tide_mirror_get_current(void)
{
	struct tide_mirror *mirror;

	mutex_lock(&mirrors_lock);
	list_for_each_entry(mirror, &mirrors, node) {
		if (mirror->mm == current->mm) {
			refcount_inc(&mirror->ref);
			goto out;
		}
	}
	mirror = mirror_create(current->mm);
out:
	mutex_unlock(&mirrors_lock);
	return mirror;
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
 * Context: process; the last one sleeps.
 */
void tide_mirror_put(struct tide_mirror *mirror)
{
	struct tide_leaf *leaf;
	unsigned long index;

	if (!refcount_dec_and_mutex_lock(&mirror->ref, &mirrors_lock))
		return;
	list_del(&mirror->node);
	mutex_unlock(&mirrors_lock);

	/*
	 * A reaper that runs now was started before the reference went; one
	 * started later, by an invalidation, does nothing.
	 */
	cancel_delayed_work_sync(&mirror->reaper);
	xa_for_each(&mirror->leaves, index, leaf) {
		leaf_empty(leaf);
		leaf_free(leaf);
	}
	cancel_delayed_work_sync(&mirror->reaper);
	xa_destroy(&mirror->leaves);
	mmdrop(mirror->mm);
	kfree(mirror);
}

/**
 * tide_mirror_leaf - the leaf that mirrors an address
 * @mirror: the mirror
 * @va: the address
 *
 * Context: under rcu_read_lock(), for as long as the leaf is used.
 *
 * Return: the leaf, or NULL when nothing there was ever touched.
 */
struct tide_leaf *tide_mirror_leaf(struct tide_mirror *mirror,
				   unsigned long va)
{
	return xa_load(&mirror->leaves, va >> TIDE_LEAF_SHIFT);
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
		leaf = tide_mirror_leaf(mirror, va);
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
		if (!ret)
			return leaf;
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
 * from a process.  The mmap lock is held.
 */
static unsigned long prompt_bytes(struct mm_struct *mm, unsigned long va,
				  unsigned long len)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);

	if (!vma)
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

/*
 * One attempt to make the pages wanted and to look at those around them;
 * -EBUSY when an invalidation came between.  These are two steps, because
 * hmm_range_fault() that finds one page missing makes all that follow it in
 * its range.
 */
static int leaf_fault(struct tide_leaf *leaf, const struct tide_fault *fault,
		      struct hmm_range *window)
{
	unsigned long need = TIDE_ENTRY_READ |
			     (fault->write ? TIDE_ENTRY_WRITE : 0);
	struct mm_struct *mm = leaf->mirror->mm;
	int ret;

	window->notifier_seq = mmu_interval_read_begin(&leaf->notifier);
	mmap_read_lock(mm);
	ret = make_pages(leaf, fault, window);
	if (!ret)
		ret = hmm_range_fault(window);
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

static int fault_window(struct tide_leaf *leaf, const struct tide_fault *fault)
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
		ret = leaf_fault(leaf, fault, &window);
	return ret;
}

/**
 * tide_odp_fault - bring missing pages into the mirror
 * @fault: which
 *
 * Brings in at least the first page.  Does not wait for anybody: not for a
 * file system, not for a userfaultfd handler.  What needs that fails as what
 * is not there at all does; tide_odp_hold() can tell them apart.
 *
 * Context: process, no locks; sleeps.
 *
 * Return: 0; -EBUSY when invalidations won too often; -EPERM for writing what
 * is read-only; -EFAULT; -ENOMEM.
 */
int tide_odp_fault(const struct tide_fault *fault)
{
	struct mm_struct *mm = fault->mirror->mm;
	struct tide_leaf *leaf;
	int ret;

	if (!mmget_not_zero(mm))
		return -EFAULT;
	leaf = leaf_get(fault->mirror, fault->va);
	if (IS_ERR(leaf)) {
		ret = PTR_ERR(leaf);
		goto out;
	}
	ret = fault_window(leaf, fault);
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

	mmap_read_lock(mm);
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
		hold->kaddr[nr] = page_address(hold->pages[nr]);
	return 0;
}

/**
 * tide_odp_release - let go of what tide_odp_hold() pinned, if anything
 * @hold: the pages
 *
 * Context: process, no locks; sleeps.
 */
void tide_odp_release(struct tide_hold *hold)
{
	if (hold->nr)
		unpin_user_pages_dirty_lock(hold->pages, hold->nr, hold->write);
	hold->nr = 0;
}
