// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * flush.c - global visibility and persistence of what was written.
 */
#include <linux/ioport.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "compat.h"
#include "copy.h"
#include "flush.h"

/* The rights that a flush takes, of the queue pair and of the region. */
int tide_flush_rights(u32 flush)
{
	int rights = 0;

	if (flush & TIDE_FLUSH_GLOBAL)
		rights |= IB_ACCESS_FLUSH_GLOBAL;
	if (flush & TIDE_FLUSH_PERSISTENT)
		rights |= IB_ACCESS_FLUSH_PERSISTENT;
	return rights;
}

/**
 * tide_flush_begin - find out what is to be flushed
 * @op: the flush; its address and what is left become those of the region, if
 *	it is of all of that
 * @access: its access
 *
 * The key has to be right even if there is not a byte to flush.
 *
 * Context: any.
 *
 * Return: false when that is not allowed.
 */
bool tide_flush_begin(struct tide_op *op, struct tide_access *access)
{
	if (tide_flush_is_of_range(op->flush))
		return tide_mr_allows(access, op->left);
	op->left = tide_mr_whole(access);
	op->remote_addr = access->addr;
	return op->left;
}

static void write_back(const struct tide_mr *mr, unsigned long va, u32 len)
{
	const unsigned long *entry =
		&mr->entries[(va - (mr->va & PAGE_MASK)) >> PAGE_SHIFT];
	u32 piece;

	for (; len; len -= piece, va += piece, entry++) {
		piece = min_t(u32, len, PAGE_SIZE - offset_in_page(va));
		arch_wb_cache_pmem((void *)(*entry & PAGE_MASK) +
				   offset_in_page(va), piece);
	}
}

/**
 * tide_flush_some - flush as much as is done at a time
 * @op: the flush; its address and what is left move on
 * @access: its access from there on
 *
 * Context: any.
 *
 * Return: bytes flushed; -EACCES when that is not allowed any more.
 */
int tide_flush_some(struct tide_op *op, const struct tide_access *access)
{
	u32 len = min_t(u64, op->left, TIDE_COPY_MAX);
	struct tide_mr *mr;

	if (!(op->flush & TIDE_FLUSH_PERSISTENT)) {
		op->left = 0;
		len = 0;
	}
	if (len) {
		mr = tide_mr_get(access, len);
		if (!mr)
			return -EACCES;
		write_back(mr, mr->va + (access->addr - mr->iova), len);
		tide_mr_put(mr);
		op->remote_addr += len;
		op->left -= len;
	}
	/* Before the requester is told. */
	wmb();
	return len;
}

static bool page_is(unsigned long entry, unsigned long what)
{
	return region_intersects(__pa(entry & PAGE_MASK), PAGE_SIZE,
				 IORESOURCE_MEM, what) == REGION_INTERSECTS;
}

/* As the firmware says, or an administrator. */
static bool page_is_persistent(unsigned long entry)
{
	return page_is(entry, IORES_DESC_PERSISTENT_MEMORY) ||
	       page_is(entry, IORES_DESC_PERSISTENT_MEMORY_LEGACY);
}

/* Whether pages that are pinned are persistent memory.  Context: process. */
bool tide_pages_are_persistent(const unsigned long *entries, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		if (!page_is_persistent(entries[i]))
			return false;
		cond_resched();
	}
	return true;
}
