// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * copy.c - moving bytes between two places.
 *
 * A view is what one side of a copy looks like while its pages cannot go
 * away: a pinned region's because deregistration waits, an on-demand
 * region's because its leaf is locked (M1).
 */
#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/uaccess.h>

#include "copy.h"
#include "mr.h"

/**
 * struct view - the pages of one side
 * @kaddr: kernel memory, or NULL
 * @mr: the region, in use until view_close()
 * @leaf: the leaf of @va, not locked by view_open(); or NULL, and then
 * @entries: of what is pinned, or NULL
 * @base: address that @entries begin with
 * @va: address of the first byte
 * @need: what an entry has to have
 * @user: the process's own page tables are used
 * @null: there is no memory; what is read is zeros at @kaddr, and what is
 *	written is lost
 */
struct view {
	void *kaddr;
	struct tide_mr *mr;
	struct tide_leaf *leaf;
	unsigned long *entries;
	unsigned long base;
	unsigned long va;
	unsigned long need;
	bool user;
	bool null;
};

/*
 * How many bytes of the caller's own are accessed through its page tables.
 * That saves the leaf; but the kernel's copies from and to processes are
 * slower than those of its own memory.
 */
#define DIRECT_MAX	512

/* What an access notes in the entry if it is not there yet. */
#define NOTED		(TIDE_ENTRY_DIRTY | TIDE_ENTRY_YOUNG)

#define NEED_TO_READ	(TIDE_ENTRY_READ | TIDE_ENTRY_YOUNG)
#define NEED_TO_WRITE	(TIDE_ENTRY_READ | TIDE_ENTRY_WRITE | NOTED)

static bool view_writes(const struct view *view)
{
	return view->need & TIDE_ENTRY_WRITE;
}

static bool hold_covers(const struct tide_hold *hold, struct tide_mr *mr,
			unsigned long va, bool write)
{
	return hold && hold->nr && hold->mirror == mr->region->mirror &&
	       va >= hold->va && va - hold->va < hold->nr * PAGE_SIZE &&
	       (hold->write || !write);
}

static void view_open_on_demand(struct view *view, const struct tide_side *side,
				u32 *len)
{
	struct tide_mirror *mirror = view->mr->region->mirror;
	struct tide_hold *hold = side->hold;
	unsigned long end;

	if (side->direct && *len <= DIRECT_MAX &&
	    tide_mirror_is_current(mirror)) {
		view->user = true;
		return;
	}
	if (hold_covers(hold, view->mr, view->va, view_writes(view))) {
		view->entries = hold->entries;
		view->base = hold->va;
		end = hold->va + hold->nr * PAGE_SIZE;
	} else {
		view->leaf = tide_mirror_leaf(mirror, view->va, side->leaf);
		if (view->leaf && tide_leaf_contended(view->leaf))
			view->leaf = NULL;
		if (view->leaf && !READ_ONCE(view->leaf->used))
			WRITE_ONCE(view->leaf->used, true);
		end = (view->va | (TIDE_LEAF_SIZE - 1)) + 1;
	}
	*len = min_t(unsigned long, *len, end - view->va);
}

/*
 * Find the memory of @side, and shorten *len to what one view can show.
 * Under rcu_read_lock().
 */
static bool view_open(struct view *view, const struct tide_side *side,
		      bool write, u32 *len)
{
	struct tide_mr *mr;

	/* All of it is named: to clear it first is what costs. */
	*view = (struct view) {
		.kaddr = side->kaddr,
		.mr = NULL,
		.leaf = NULL,
		.entries = NULL,
		.base = 0,
		.va = 0,
		.need = write ? NEED_TO_WRITE : NEED_TO_READ,
		.user = false,
		.null = false,
	};
	if (side->kaddr)
		return true;

	mr = tide_mr_get(&side->access, *len);
	if (!mr)
		return false;
	view->mr = mr;
	view->va = mr->va + (side->access.addr - mr->iova);
	if (mr->region) {
		view_open_on_demand(view, side, len);
	} else if (mr->kernel) {
		view->kaddr = (void *)view->va;
	} else if (likely(mr->entries)) {
		view->entries = mr->entries;
		view->base = mr->va & PAGE_MASK;
	} else {
		view->kaddr = page_address(ZERO_PAGE(0));
		view->null = true;
		if (!write)
			*len = min_t(u32, *len, PAGE_SIZE);
	}
	return true;
}

static void view_close(struct view *view)
{
	if (view->mr)
		tide_mr_put(view->mr);
}

/* Add to an entry what it lacks, if that is only what accesses note. */
static bool note_access(const struct view *view, unsigned long *slot,
			unsigned long entry)
{
	unsigned long lacks = view->need & ~entry;

	if (lacks & ~NOTED)
		return false;
	atomic_long_or(lacks, (atomic_long_t *)slot);
	return true;
}

/*
 * The entry for an address: a leaf's, a page's.  *size becomes that of the
 * memory that it is for.
 */
static unsigned long *view_slot(const struct view *view, unsigned long va,
				unsigned long *size)
{
	*size = PAGE_SIZE;
	if (!view->leaf)
		return view->entries ?
		       &view->entries[(va - view->base) >> PAGE_SHIFT] : NULL;
	if (!view->leaf->huge)
		return view->leaf->entries ?
		       &view->leaf->entries[tide_leaf_slot(va)] : NULL;
	*size = TIDE_LEAF_SIZE;
	return &view->leaf->huge;
}

/*
 * Where the bytes from @offset on are; shortens *len to the end of their
 * page.  NULL when they are not there with the rights needed.  The leaf, if
 * there is one, is locked.
 */
static void *view_at(const struct view *view, u32 offset, u32 *len)
{
	unsigned long va = view->va + offset;
	unsigned long *slot, entry, size;

	if (view->kaddr)
		return view->kaddr + offset;
	if (view->user)
		return (void *)va;
	slot = view_slot(view, va, &size);
	if (!slot)
		return NULL;
	entry = READ_ONCE(*slot);
	if (unlikely(view->need & ~entry) && !note_access(view, slot, entry))
		return NULL;
	va &= size - 1;
	*len = min_t(u32, *len, size - va);
	return (void *)(entry & PAGE_MASK) + va;
}

/* Copy a piece; what is left is missing on a side of the caller's own. */
static u32 copy_piece(const struct view *dst, void *to, const struct view *src,
		      void *from, u32 len)
{
	u32 left = 0;

	if (unlikely(dst->null))
		return 0;
	if (likely(!dst->user && !src->user)) {
		memcpy(to, from, len);
		return 0;
	}
	pagefault_disable();
	if (src->user)
		left = __copy_from_user_inatomic(to, (void __user *)from, len);
	else
		left = __copy_to_user_inatomic((void __user *)to, from, len);
	pagefault_enable();
	return left;
}

/*
 * Copy until @len bytes are through or some are missing, on the side that
 * @missing then tells.
 */
static u32 copy_views(const struct view *dst, const struct view *src, u32 len,
		      enum tide_side_index *missing)
{
	u32 offset, piece, left;
	void *to, *from;

	for (offset = 0; offset < len; offset += piece) {
		piece = len - offset;
		*missing = TIDE_DST;
		to = view_at(dst, offset, &piece);
		if (!to)
			break;
		*missing = TIDE_SRC;
		from = view_at(src, offset, &piece);
		if (!from)
			break;
		left = copy_piece(dst, to, src, from, piece);
		if (left) {
			*missing = src->user ? TIDE_SRC : TIDE_DST;
			return offset + piece - left;
		}
	}
	return offset;
}

/* A view need not have a leaf. */
static void lock_leaf(struct tide_leaf *leaf)
	__acquires(&leaf->lock)
{
	if (leaf)
		read_lock(&leaf->lock);
	else
		__acquire(&leaf->lock);
}

static void unlock_leaf(struct tide_leaf *leaf)
	__releases(&leaf->lock)
{
	if (leaf)
		read_unlock(&leaf->lock);
	else
		__release(&leaf->lock);
}

/*
 * Lock the leaves of both views: in the order of their addresses, and once if
 * it is the same (M5).
 */
static void lock_leaves(struct tide_leaf *a, struct tide_leaf *b)
	__acquires(&a->lock) __acquires(&b->lock)
{
	lock_leaf(min(a, b));
	lock_leaf(a == b ? NULL : max(a, b));
}

static void unlock_leaves(struct tide_leaf *a, struct tide_leaf *b)
	__releases(&a->lock) __releases(&b->lock)
{
	unlock_leaf(a);
	unlock_leaf(a == b ? NULL : b);
}

static void stop_for_fault(struct tide_copy_stop *stop,
			   enum tide_side_index side, const struct view *view,
			   u32 len)
{
	stop->side = side;
	stop->fault = (struct tide_fault) {
		.region = tide_region_get(view->mr->region),
		.va = view->va,
		.len = len,
		.write = view_writes(view),
	};
}

/*
 * Copy as much as is there, once both views are open.  What is missing is
 * told in view of all that is @wanted.
 */
static int copy_present(const struct view *dst, const struct view *src,
			u32 len, u32 wanted, struct tide_copy_stop *stop)
{
	enum tide_side_index missing;
	u32 copied;

	lock_leaves(dst->leaf, src->leaf);
	copied = copy_views(dst, src, len, &missing);
	unlock_leaves(dst->leaf, src->leaf);
	if (copied)
		return copied;
	if (stop)
		stop_for_fault(stop, missing, missing == TIDE_DST ? dst : src, wanted);
	return -EFAULT;
}

static void note_side(struct tide_copy_stop *stop, enum tide_side_index side)
{
	if (stop)
		stop->side = side;
}

/**
 * tide_copy - copy bytes from one place to another
 * @dst: where to
 * @src: where from
 * @len: bytes wanted, more than none
 * @stop: filled in when nothing could be copied; or NULL for who could not
 *	bring in what is missing
 *
 * Copies less than asked for where a leaf, or what is present of it, ends,
 * and at most TIDE_COPY_MAX.
 *
 * Context: any with bottom halves off; takes leaf locks; does not sleep.
 *
 * Return: bytes copied, at least one; -EACCES when the side in @stop may not
 * be accessed like this; -EFAULT when pages are missing.
 */
int tide_copy(const struct tide_side *dst, const struct tide_side *src,
	      u32 len, struct tide_copy_stop *stop)
{
	struct view to, from;
	const u32 wanted = len;
	int ret = -EACCES;

	to.mr = NULL;
	from.mr = NULL;
	len = min(len, TIDE_COPY_MAX);
	rcu_read_lock();
	note_side(stop, TIDE_DST);
	if (!view_open(&to, dst, true, &len))
		goto out;
	note_side(stop, TIDE_SRC);
	if (!view_open(&from, src, false, &len))
		goto out;
	ret = copy_present(&to, &from, len, wanted, stop);
out:
	view_close(&from);
	view_close(&to);
	rcu_read_unlock();
	return ret;
}

static u64 atomic_on_page(atomic64_t *word, enum tide_atomic atomic,
			  u64 operand, u64 swap)
{
	switch (atomic) {
	case TIDE_COMPARE_SWAP:
		return atomic64_cmpxchg(word, operand, swap);
	case TIDE_FETCH_ADD:
		return atomic64_fetch_add(operand, word);
	default:
		/* Behind all that was written before. */
		atomic64_set_release(word, operand);
		return 0;
	}
}

/**
 * tide_atomic - an atomic operation on eight bytes of a region
 * @side: where; not kernel memory
 * @atomic: what to do
 * @operand: what to compare with, to add, or to store
 * @swap: what to store if equal
 * @old: what was there before, unless it is only stored to
 * @stop: filled in on error
 *
 * The CPU's own instruction does it, so that it is coherent with the
 * process's atomics on the same word (M7).  It has to be aligned in memory:
 * where addresses begin at zero, theirs tells nothing of that.
 *
 * Context: as tide_copy().
 *
 * Return: 0, -EACCES or -EFAULT as tide_copy(); -EACCES too if it is not
 * aligned.
 */
int tide_atomic(const struct tide_side *side, enum tide_atomic atomic,
		u64 operand, u64 swap, u64 *old, struct tide_copy_stop *stop)
{
	struct view view;
	u32 len = sizeof(u64);
	int ret = -EACCES;
	void *word;

	stop->side = TIDE_DST;
	rcu_read_lock();
	if (!view_open(&view, side, true, &len))
		goto out;
	if (!IS_ALIGNED(view.va, sizeof(u64)))
		goto out_view;

	lock_leaf(view.leaf);
	word = view_at(&view, 0, &len);
	if (word) {
		ret = 0;
		*old = atomic_on_page(word, atomic, operand, swap);
	} else {
		stop_for_fault(stop, TIDE_DST, &view, len);
		ret = -EFAULT;
	}
	unlock_leaf(view.leaf);
out_view:
	view_close(&view);
out:
	rcu_read_unlock();
	return ret;
}
