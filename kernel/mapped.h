/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mapped.h - kernel memory that a process maps: the rings of queues, and
 * device memory.
 */
#ifndef TIDE_MAPPED_H
#define TIDE_MAPPED_H

#include <linux/kref.h>
#include <rdma/ib_verbs.h>

/**
 * struct tide_mapped - memory
 * @ref: one for its owner, one for the entry in the context's table of
 *	mappings, which an mmap() under way keeps alive
 * @vaddr: the memory, from vmalloc
 * @size: bytes, whole pages
 * @entry: in the context's table
 * @published: whether @entry is in the table
 *
 * Pages that are mapped live on after this has been freed, so a process that
 * never unmaps them harms nobody.
 */
struct tide_mapped {
	struct kref ref;
	void *vaddr;
	size_t size;
	struct rdma_user_mmap_entry entry;
	bool published;
};

struct tide_mapped *tide_mapped_alloc(size_t size);
void tide_mapped_put(struct tide_mapped *mapped);
int tide_mapped_publish(struct tide_mapped *mapped,
			struct ib_ucontext *ucontext, u64 *offset);
void tide_mapped_unpublish(struct tide_mapped *mapped);

int tide_mapped_mmap(struct ib_ucontext *ucontext, struct vm_area_struct *vma);
void tide_mapped_mmap_free(struct rdma_user_mmap_entry *entry);

#endif /* TIDE_MAPPED_H */
