// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * odp.c - faults: how pages come into the mirror of an address space, and how
 * they are pinned where that cannot be.  The rules are in mirror.c.
 */
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/hugetlb_inline.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>
#include <linux/workqueue.h>

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

	tide_leaf_lock(leaf);
	if (mmu_interval_read_retry(&leaf->notifier, window->notifier_seq)) {
		ret = -EBUSY;
	} else {
		leaf_fill(leaf, tide_leaf_slot(window->start),
			  window->hmm_pfns, FAULT_WINDOW);
		if ((leaf->entries[tide_leaf_slot(fault->va)] & need) != need)
			ret = -EFAULT;
	}
	tide_leaf_unlock(leaf);
	return ret;
}

/*
 * mmu_interval_read_begin() waits, if the leaf was invalidated, for a moment
 * in which nothing is, and that need not come (M3).  So do not begin then, but
 * look a few times for a better moment.
 */
static bool is_quiet(const struct tide_leaf *leaf, bool wait)
{
	unsigned int pauses = wait ? MAX_PAUSES : 0;

	while (tide_leaf_is_invalidating(leaf)) {
		if (!pauses--)
			return false;
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	}
	return true;
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

	for (races = 0; ret == -EBUSY && races < MAX_LOST_RACES &&
	     is_quiet(leaf, wait); races++)
		ret = leaf_fault(leaf, fault, &window, wait);
	return ret;
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

	if (!mmget_not_zero(mm))
		return -EFAULT;
	leaf = tide_leaf_get(fault->mirror, fault->va);
	if (IS_ERR(leaf)) {
		ret = PTR_ERR(leaf);
		goto out;
	}
	ret = fault_window(leaf, fault, wait);
	tide_leaf_put(leaf);
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
 * Return: 0; -EFAULT: they are not there, or not without waiting; -ENOMEM.
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
		return nr == -ENOMEM ? -ENOMEM : -EFAULT;
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
