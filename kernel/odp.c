// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * odp.c - faults: how pages come into the mirror of an address space, and how
 * they are pinned where that cannot be.  The rules are in mirror.c.
 */
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/hugetlb_inline.h>
#include <linux/ktime.h>
#include <linux/magic.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "module.h"
#include "odp.h"
#include "trace.h"

/*
 * Races that a fault may lose against invalidations before its caller has to
 * pin the pages instead (M3).
 */
#define MAX_LOST_RACES		2

/* How often a fault looks for a moment without invalidations, and how long. */
#define MAX_PAUSES	10
#define PAUSE_US	100

/*
 * How long a fault of few bytes that must not wait tries to catch such a
 * moment: less than it takes to have somebody else wait for it.  For many bytes
 * one moment would not do; pinned pages do.
 */
#define CATCH_NS	(50 * NSEC_PER_USEC)

/* Pages that one step of a fault looks at, or makes. */
#define STEP_PAGES	(TIDE_LEAF_PAGES < 64 ? TIDE_LEAF_PAGES : 64)
#define STEP_SIZE	(STEP_PAGES << PAGE_SHIFT)

/*
 * Leaves brought in ahead of sequential access.  It may be all for nothing,
 * and of memory that a process is allowed little of.
 */
#define MAX_AHEAD	4U

/**
 * struct visit - being at work in an address space
 * @mm: kept in use
 * @memcg: its owner's, to which what is made for it is charged
 * @previous: what else would be charged
 */
struct visit {
	struct mm_struct *mm;
	struct mem_cgroup *memcg;
	struct mem_cgroup *previous;
};

/**
 * struct step - looking at some page tables, all of one leaf
 * @leaf: the leaf to fill, with a reference
 * @start: address of the first page
 * @end: behind the last one
 * @fault: make pages that are missing
 * @write: writable ones
 * @wait: for whoever changes the address space
 * @brief: not more than the first page is wanted
 * @made: pages that were not in the leaf before
 */
struct step {
	struct tide_leaf *leaf;
	unsigned long start;
	unsigned long end;
	bool fault;
	bool write;
	bool wait;
	bool brief;
	unsigned int made;
};

/* False when the process that it belonged to has gone. */
static bool visit_begin(struct visit *visit, const struct tide_mirror *mirror)
{
	if (!mmget_not_zero(mirror->mm))
		return false;
	visit->mm = mirror->mm;
	visit->memcg = get_mem_cgroup_from_mm(mirror->mm);
	visit->previous = set_active_memcg(visit->memcg);
	return true;
}

static void visit_end(struct visit *visit)
{
	set_active_memcg(visit->previous);
	mem_cgroup_put(visit->memcg);
	mmput_async(visit->mm);
}

#ifdef CONFIG_MEMCG
static bool memcg_has_room(struct mem_cgroup *memcg, unsigned long pages)
{
	unsigned long max;

	for (; memcg; memcg = parent_mem_cgroup(memcg)) {
		max = min(READ_ONCE(memcg->memory.max),
			  READ_ONCE(memcg->memory.high));
		if (page_counter_read(&memcg->memory) + pages > max)
			return false;
	}
	return true;
}
#else
static bool memcg_has_room(struct mem_cgroup *memcg, unsigned long pages)
{
	return true;
}
#endif

/**
 * tide_odp_has_room - whether a process may have so much more memory
 * @mirror: of its address space
 * @len: bytes
 *
 * Context: any.
 *
 * Return: false when other memory of its control group would have to go for it.
 */
bool tide_odp_has_room(const struct tide_mirror *mirror, unsigned long len)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mirror->mm);
	bool has = memcg_has_room(memcg, len >> PAGE_SHIFT);

	mem_cgroup_put(memcg);
	return has;
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

/* Whether one huge page is all of the leaf. */
static bool is_huge(unsigned long pfn)
{
	return pfn & HMM_PFN_VALID &&
	       hmm_pfn_to_map_order(pfn) >= TIDE_LEAF_SHIFT - PAGE_SHIFT;
}

static unsigned int fill_huge(struct tide_leaf *leaf, unsigned int slot,
			      unsigned long pfn)
{
	unsigned long entry = make_entry(pfn);
	unsigned long old = leaf->huge;

	if (!entry)
		return 0;
	entry -= (unsigned long)slot << PAGE_SHIFT;
	leaf->huge = entry | (old & (TIDE_ENTRY_DIRTY | TIDE_ENTRY_YOUNG));
	if (old)
		return 0;
	leaf->present++;
	return TIDE_LEAF_PAGES;
}

static unsigned int fill_small(struct tide_leaf *leaf, unsigned int slot,
			       const unsigned long *pfns, unsigned int nr)
{
	unsigned int i, made = 0;

	for (i = 0; i < nr; i++, slot++) {
		unsigned long old = leaf->entries[slot];
		unsigned long entry = make_entry(pfns[i]);

		if (!entry)
			continue;
		leaf->entries[slot] = entry |
			(old & (TIDE_ENTRY_DIRTY | TIDE_ENTRY_YOUNG));
		if (!old)
			made++;
	}
	leaf->present += made;
	return made;
}

/* Returns how many pages were not there before.  The leaf is locked. */
static unsigned int leaf_fill(struct tide_leaf *leaf, unsigned int slot,
			      const unsigned long *pfns, unsigned int nr)
{
	if (leaf->huge || (is_huge(pfns[0]) && !leaf->present))
		return is_huge(pfns[0]) ? fill_huge(leaf, slot, pfns[0]) : 0;
	return leaf->entries ? fill_small(leaf, slot, pfns, nr) : 0;
}

/* How many pages from @slot on are there as needed.  The leaf is locked. */
static unsigned int leaf_count(const struct tide_leaf *leaf, unsigned int slot,
			       unsigned int nr, unsigned long need)
{
	unsigned int i;

	if (leaf->huge)
		return (leaf->huge & need) == need ? nr : 0;
	if (!leaf->entries)
		return 0;
	for (i = 0; i < nr; i++)
		if ((leaf->entries[slot + i] & need) != need)
			break;
	return i;
}

/*
 * How many of @len bytes lie in one mapping whose faults wait for nothing but
 * memory.  A file's pages may come from a server that never answers, FUSE's
 * and userfaultfd's from a process.  Droppable memory for which there is none
 * has its faults succeed without a page, and hmm_range_fault() would not come
 * back.  The mmap lock is held.
 */
static unsigned long prompt_bytes(struct mm_struct *mm, unsigned long va,
				  unsigned long len)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);

	if (!vma || userfaultfd_armed(vma) ||
	    vma->vm_flags & TIDE_VM_DROPPABLE)
		return 0;
	if (!vma_is_anonymous(vma) && !is_vm_hugetlb_page(vma) &&
	    !(vma->vm_file && shmem_mapping(vma->vm_file->f_mapping)))
		return 0;
	return min(len, vma->vm_end - va);
}

/* get_user_pages() writes to no shadow stack, nor do we. */
static void spare_shadow_stacks(struct mm_struct *mm, struct hmm_range *range)
{
	VMA_ITERATOR(vmas, mm, range->start);
	struct vm_area_struct *vma;
	unsigned long va, end;

	for_each_vma_range(vmas, vma, range->end) {
		if (!(vma->vm_flags & TIDE_VM_SHADOW_STACK))
			continue;
		va = max(vma->vm_start, range->start);
		end = min(vma->vm_end, range->end);
		for (; va < end; va += PAGE_SIZE)
			range->hmm_pfns[(va - range->start) >> PAGE_SHIFT] &=
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
	return mmap_read_trylock(mm) ? 0 : -EBUSY;
}

/*
 * Read page tables, and make pages that can be made promptly.  Shortens the
 * step to the end of the mapping in which they are made.
 */
static int step_look(struct step *step, unsigned long *pfns, unsigned int *seq)
{
	struct mm_struct *mm = step->leaf->mirror->mm;
	/*
	 * hmm_range_fault() wants an interval notifier, for the address space
	 * and to find out early that it has to be asked again.  This one is
	 * never invalidated; we find that out by ourselves.
	 */
	struct mmu_interval_notifier notifier = { .mm = mm };
	struct hmm_range range = {
		.notifier = &notifier,
		.start = step->start,
		.hmm_pfns = pfns,
	};
	unsigned long prompt = 0;
	int ret;

	ret = lock_mm(mm, step->wait);
	if (ret)
		return ret;
	ret = -EBUSY;
	if (!tide_leaf_read_begin(step->leaf, seq))
		goto out;
	if (step->fault)
		prompt = prompt_bytes(mm, step->start, step->end - step->start);
	if (prompt) {
		step->end = PAGE_ALIGN(step->start + prompt);
		range.default_flags = HMM_PFN_REQ_FAULT |
				      (step->write ? HMM_PFN_REQ_WRITE : 0);
	}
	range.end = step->end;
	ret = hmm_range_fault(&range);
	if (!ret)
		spare_shadow_stacks(mm, &range);
out:
	mmap_read_unlock(mm);
	return ret;
}

static bool any_is_valid(const unsigned long *pfns, unsigned int nr)
{
	while (nr--)
		if (pfns[nr] & HMM_PFN_VALID)
			return true;
	return false;
}

/* A page for entries, if they are needed; NULL if not, or an ERR_PTR(). */
static unsigned long *spare_entries(const struct tide_leaf *leaf,
				    const unsigned long *pfns, unsigned int nr)
{
	void *page;

	if (READ_ONCE(leaf->entries) || is_huge(pfns[0]) ||
	    !any_is_valid(pfns, nr))
		return NULL;
	page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return page ?: ERR_PTR(-ENOMEM);
}

/*
 * Take a step: the pages from its start on that are there afterwards, or
 * -EBUSY when an invalidation came between, or another negative errno.
 */
static long step_take(struct step *step)
{
	unsigned long need = TIDE_ENTRY_READ |
			     (step->write ? TIDE_ENTRY_WRITE : 0);
	unsigned int slot = tide_leaf_slot(step->start);
	struct tide_leaf *leaf = step->leaf;
	unsigned long pfns[STEP_PAGES];
	unsigned int nr, made, seq;
	unsigned long *spare;
	long ret;

	/* hmm_range_fault() takes what is there for requests. */
	memset(pfns, 0, sizeof(pfns));
	ret = step_look(step, pfns, &seq);
	if (ret)
		return ret;
	nr = (step->end - step->start) >> PAGE_SHIFT;
	spare = spare_entries(leaf, pfns, nr);
	if (IS_ERR(spare))
		return PTR_ERR(spare);

	tide_leaf_lock(leaf);
	if (tide_leaf_read_retry(leaf, seq)) {
		ret = -EBUSY;
	} else {
		if (!leaf->entries)
			swap(leaf->entries, spare);
		made = leaf_fill(leaf, slot, pfns, nr);
		step->made += made;
		/* Nobody has, but it is not for the shrinker at once. */
		if (made)
			WRITE_ONCE(leaf->used, true);
		ret = leaf_count(leaf, slot, nr, need);
	}
	tide_leaf_unlock(leaf);
	free_page((unsigned long)spare);
	return ret;
}

/*
 * There may be no moment at all in which nothing is invalidated (M3).  So look
 * a few times for one.
 */
static bool is_quiet(const struct tide_leaf *leaf)
{
	unsigned int pauses = MAX_PAUSES;

	while (tide_leaf_is_invalidating(leaf)) {
		if (!pauses--)
			return false;
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	}
	return true;
}

/* Whether to take a step that was in vain so often. */
static bool may_try(const struct step *step, unsigned int lost, u64 until)
{
	if (step->wait)
		return lost < MAX_LOST_RACES && is_quiet(step->leaf);
	if (step->brief)
		return !lost || ktime_get_ns() < until;
	return lost < MAX_LOST_RACES && !tide_leaf_is_invalidating(step->leaf);
}

/* Take a step until it holds, or -EBUSY when it was in vain too often. */
static long step_insist(struct step *step, struct tide_region *region)
{
	const u64 until = ktime_get_ns() + CATCH_NS;
	const unsigned long end = step->end;
	unsigned int lost = 0;
	long ret = -EBUSY;

	while (may_try(step, lost, until)) {
		step->end = end;
		ret = step_take(step);
		if (ret != -EBUSY)
			break;
		lost++;
		cpu_relax();
	}
	if (ret == -EBUSY)
		lost++;
	if (lost)
		tide_region_count(region, TIDE_ODP_LOST_RACES, lost);
	return ret;
}

/* Bring in what is wanted behind the first page, as far as that goes. */
static void fault_on(struct step *step, unsigned long end)
{
	while (step->end < end) {
		step->start = step->end;
		step->end = min(end, round_up(step->start + 1, STEP_SIZE));
		if (step_take(step) <= 0)
			return;
	}
}

/* See what is there next to a page that was brought in. */
static void fault_look(struct step *step)
{
	step->start = round_down(step->start, STEP_SIZE);
	step->end = step->start + STEP_SIZE;
	step->fault = false;
	step_take(step);
}

/*
 * Where the pages for @len bytes of a fault end: with the leaf or the region at
 * the latest.
 */
static unsigned long fault_end(const struct tide_fault *fault,
			       unsigned long len)
{
	unsigned long leaf_end = (fault->va | (TIDE_LEAF_SIZE - 1)) + 1;
	unsigned long left = min(leaf_end, tide_region_end(fault->region)) -
			     fault->va;

	return PAGE_ALIGN(fault->va + min(left, len));
}

/*
 * The first page comes by itself: it may be a huge one, and for it alone
 * somebody is waiting.  What is wanted comes next.  Of what is not wanted only
 * that is taken which is there, so that one access to sparse memory makes one
 * page.
 */
static int fault_leaf(struct step *step, const struct tide_fault *fault)
{
	unsigned long len = (unsigned long)fault->len + fault->around;
	unsigned long end = fault_end(fault, len);
	long ret;

	step->start = fault->va & PAGE_MASK;
	step->end = step->start + PAGE_SIZE;
	ret = step_insist(step, fault->region);
	if (ret <= 0)
		return ret ?: -EFAULT;
	if (READ_ONCE(step->leaf->huge))
		return 0;
	if (end - step->start < STEP_SIZE) {
		struct step look = *step;

		fault_look(&look);
		step->made = look.made;
	}
	fault_on(step, end);
	return 0;
}

/* Whether all of a leaf is there since it is a huge page. */
static bool is_huge_leaf(struct tide_mirror *mirror, unsigned long page)
{
	struct tide_leaf *leaf;
	bool huge;

	rcu_read_lock();
	leaf = tide_mirror_leaf(mirror, page << PAGE_SHIFT, NULL);
	huge = leaf && READ_ONCE(leaf->huge);
	rcu_read_unlock();
	return huge;
}

/*
 * Whether an access that faults at this page goes on from where it was, or
 * from where a look at what was there has let it come.
 */
static bool is_next(const struct tide_around *around, unsigned long page)
{
	if (page >= around->from && page <= around->next)
		return true;
	return IS_ALIGNED(page, STEP_PAGES) &&
	       page - around->next < STEP_PAGES;
}

/* The same, where that was the end of a huge page. */
static bool is_next_to_huge(const struct tide_around *around,
			    struct tide_mirror *mirror, unsigned long page)
{
	return IS_ALIGNED(page, TIDE_LEAF_PAGES) && page &&
	       page - around->from < TIDE_LEAF_PAGES &&
	       is_huge_leaf(mirror, page - 1);
}

/*
 * Sequential access makes it grow, other access shrink, and gets nothing of it:
 * false for that.
 */
static bool adapt(struct tide_around *around, struct tide_mirror *mirror,
		  unsigned long page, unsigned int wanted)
{
	if (is_next_to_huge(around, mirror, page)) {
		around->pages = TIDE_LEAF_PAGES;
	} else if (!is_next(around, page)) {
		around->pages /= 4;
		around->leaves = 0;
		return false;
	}
	if (around->pages < TIDE_LEAF_PAGES)
		around->pages = min_t(unsigned int, TIDE_LEAF_PAGES,
				      2 * max(around->pages, wanted));
	else if (page >= around->next)
		around->leaves = clamp(2 * around->leaves, 1U, MAX_AHEAD);
	return true;
}

/**
 * tide_odp_look_around - how much more than is wanted should a fault bring in
 * @around: what the last ones of the same access were
 * @fault: the fault, whose share of it is set
 *
 * It is never more than what has been accessed in sequence before.
 *
 * Return: bytes to be brought in from the next leaf on, while the access goes
 * on; most often none.
 */
unsigned long tide_odp_look_around(struct tide_around *around,
				   struct tide_fault *fault)
{
	unsigned long first = fault->va >> PAGE_SHIFT;
	unsigned long end = (fault->va + fault->len - 1) >> PAGE_SHIFT;
	unsigned long leaf_end = (first | (TIDE_LEAF_PAGES - 1)) + 1;
	unsigned int more = 0;
	bool asked;

	end = min(end + 1, leaf_end);
	asked = around->leaves && first >= around->from &&
		first < around->next;
	if (adapt(around, fault->region->mirror, first, end - first))
		more = around->pages;
	fault->around = more << PAGE_SHIFT;
	around->from = min(end + more, leaf_end);
	if (asked)
		return 0;
	around->next = around->from + around->leaves * TIDE_LEAF_PAGES;
	return around->leaves << TIDE_LEAF_SHIFT;
}

/**
 * tide_odp_fault - bring missing pages into the mirror
 * @fault: which
 * @make: make pages that are not there, else take only those that are
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
int tide_odp_fault(const struct tide_fault *fault, bool make, bool wait)
{
	struct tide_region *region = fault->region;
	struct mm_struct *mm = region->mirror->mm;
	struct step step = {
		.fault = make,
		.write = fault->write,
		.wait = wait,
		.brief = offset_in_page(fault->va) + fault->len <= PAGE_SIZE,
	};
	u64 started = ktime_get_ns(), took;
	struct visit visit;
	int ret;

	if (!visit_begin(&visit, region->mirror))
		return -EFAULT;
	step.leaf = tide_leaf_get(region->mirror, fault->va);
	if (IS_ERR(step.leaf)) {
		ret = PTR_ERR(step.leaf);
		goto out;
	}
	ret = fault_leaf(&step, fault);
	tide_leaf_put(step.leaf);
	/* A look that finds nothing is followed by a fault. */
	if (ret && !make)
		goto out;
	took = ktime_get_ns() - started;
	tide_region_count(region, TIDE_ODP_FAULTS, 1);
	tide_region_count(region, TIDE_ODP_FAULTED_PAGES, step.made);
	tide_region_count(region, TIDE_ODP_FAULT_NS, took);
	trace_tide_fault(mm, fault->va, fault->len, fault->write, step.made,
			 took, ret);
out:
	visit_end(&visit);
	return ret;
}

/*
 * How many of @len bytes one mapping has.  get_user_pages() complains of who
 * asks for what is below a stack, and older ones grow it.
 */
static unsigned long mapped_bytes(struct mm_struct *mm, unsigned long va,
				  unsigned long len)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);

	return vma ? min(len, vma->vm_end - va) : 0;
}

/* Pin as many of the pages from @start on as there are, up to @len bytes. */
static long pin_pages(struct mm_struct *mm, unsigned long start,
		      unsigned long len, struct tide_hold *hold, bool wait)
{
	int locked = 1;
	long nr = 0;

	if (lock_mm(mm, wait))
		return 0;
	len = wait ? mapped_bytes(mm, start, len) :
		     prompt_bytes(mm, start, len);
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
	struct tide_mirror *mirror = fault->region->mirror;
	unsigned long start = fault->va & PAGE_MASK;
	unsigned long len = fault_end(fault, fault->len) - start;
	struct mm_struct *mm = mirror->mm;
	u64 started = ktime_get_ns();
	struct visit visit;
	long nr;

	if (!visit_begin(&visit, mirror))
		return -EFAULT;
	hold->va = start;
	hold->mirror = mirror;
	hold->write = fault->write;
	nr = pin_pages(mm, start, len, hold, wait);
	tide_region_count(fault->region, TIDE_ODP_FALLBACK_PINS, 1);
	tide_region_count(fault->region, TIDE_ODP_FAULT_NS,
			  ktime_get_ns() - started);
	trace_tide_fallback(mm, start, len, fault->write, nr);
	visit_end(&visit);
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

/* Have pages made that somebody else has to provide; how many. */
static long make_late(const struct tide_fault *fault)
{
	struct tide_hold hold = {};
	long nr;
	int ret;

	ret = tide_odp_hold(fault, &hold, true);
	if (ret)
		return fatal_signal_pending(current) ? -EINTR : ret;
	nr = hold.nr;
	tide_odp_release(&hold);
	return nr;
}

/* The next few pages of a prefetch; how many have been dealt with. */
static long bring_in_some(struct step *step, struct tide_region *region,
			  enum tide_bring_in how)
{
	struct tide_fault late = {
		.region = region,
		.va = step->start,
		.len = step->end - step->start,
		.write = step->write,
	};
	const unsigned long end = step->end;
	long ret;

	ret = step_insist(step, region);
	if (how == TIDE_BRING_PRESENT)
		return ret == -EBUSY || ret >= 0 ?
		       (end - step->start) >> PAGE_SHIFT : ret;
	if (ret > 0 || (ret && ret != -EBUSY && ret != -EFAULT))
		return ret;
	if (how == TIDE_BRING_PROMPT)
		return -EFAULT;
	ret = make_late(&late);
	if (ret <= 0)
		return ret;
	/* Whoever makes them go again at once has made the advice worthless. */
	step->end = min(end, step->start + (ret << PAGE_SHIFT));
	step_take(step);
	return ret;
}

/* The first page of a leaf by itself: it may be a huge one. */
static unsigned long step_end(unsigned long start)
{
	if (!tide_leaf_slot(start))
		return start + PAGE_SIZE;
	return round_up(start + 1, STEP_SIZE);
}

/* Bring in pages of one leaf, up to @end. */
static int bring_in_leaf(struct step *step, struct tide_region *region,
			 enum tide_bring_in how, unsigned long end)
{
	long ret = 0;

	while (step->start < end) {
		if (tide_region_is_closed(region))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		step->end = min(end, step_end(step->start));
		ret = bring_in_some(step, region, how);
		if (ret < 0)
			return ret;
		step->start += ret << PAGE_SHIFT;
		/* No step is needed for what the first has shown to be huge. */
		if (READ_ONCE(step->leaf->huge) && ret)
			step->start = max(step->start, end);
		cond_resched();
	}
	return 0;
}

/**
 * tide_odp_bring_in - bring pages into the mirror before they are accessed
 * @region: the region, with a reference
 * @va: the first byte
 * @len: bytes, all of them in the region
 * @how: what to do for those that are missing
 * @write: so that they can be written
 *
 * Context: process, no locks; sleeps, until a signal kills.
 *
 * Return: pages that were not in the mirror before; -EFAULT when something is
 * not there; -EPERM when it cannot be written; -ENOMEM; -EINTR.
 */
long tide_odp_bring_in(struct tide_region *region, unsigned long va,
		       unsigned long len, enum tide_bring_in how, bool write)
{
	const unsigned long end = PAGE_ALIGN(va + len);
	struct step step = {
		.start = va & PAGE_MASK,
		.fault = how != TIDE_BRING_PRESENT,
		.write = write,
		.wait = true,
	};
	unsigned long leaf_end;
	struct visit visit;
	int ret = 0;

	while (!ret && step.start < end) {
		leaf_end = min(end, (step.start | (TIDE_LEAF_SIZE - 1)) + 1);
		if (!visit_begin(&visit, region->mirror))
			return -EFAULT;
		step.leaf = tide_leaf_get(region->mirror, step.start);
		ret = PTR_ERR_OR_ZERO(step.leaf);
		if (!ret) {
			ret = bring_in_leaf(&step, region, how, leaf_end);
			tide_leaf_put(step.leaf);
		}
		visit_end(&visit);
		step.start = leaf_end;
	}
	return ret ? ret : (long)step.made;
}
