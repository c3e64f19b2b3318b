// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mapped.c - kernel memory that a process maps.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "mapped.h"

/*
 * vmalloc_user() would leave it unaccounted; and who may not have so much is
 * told, not the kernel log, and nobody is killed for it.
 */
#define GFP_MAPPED	(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | \
			 __GFP_RETRY_MAYFAIL)

static void mapped_free(struct kref *ref)
{
	struct tide_mapped *mapped =
		container_of(ref, struct tide_mapped, ref);

	vfree(mapped->vaddr);
	kfree(mapped);
}

static void pages_free(struct page **pages, unsigned long n)
{
	while (n--)
		__free_page(pages[n]);
	kvfree(pages);
}

/*
 * On newer kernels a vmalloc() that fails leaves it to a worker to free what
 * it had, and the caller is out of memory for longer than the call lasts.
 */
static void *alloc_pages_vmap(unsigned long n)
{
	struct page **pages;
	unsigned long i;
	void *vaddr;

	pages = kvmalloc_array(n, sizeof(*pages), GFP_MAPPED);
	if (!pages)
		return NULL;
	for (i = 0; i < n; i++) {
		pages[i] = alloc_page(GFP_MAPPED);
		if (!pages[i])
			goto err_pages;
		cond_resched();
	}
	/* From here on vfree() frees the pages, and the array. */
	vaddr = vmap(pages, n, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	if (!vaddr)
		goto err_pages;
	return vaddr;

err_pages:
	pages_free(pages, i);
	return NULL;
}

/**
 * tide_mapped_alloc - allocate memory, all zero
 * @size: bytes; rounded up to whole pages
 *
 * Return: the memory, for tide_mapped_put(), or NULL.
 */
struct tide_mapped *tide_mapped_alloc(size_t size)
{
	struct tide_mapped *mapped;

	mapped = kzalloc(sizeof(*mapped), GFP_KERNEL_ACCOUNT);
	if (!mapped)
		return NULL;
	kref_init(&mapped->ref);
	mapped->size = PAGE_ALIGN(size);
	mapped->vaddr = alloc_pages_vmap(mapped->size >> PAGE_SHIFT);
	if (!mapped->vaddr) {
		kfree(mapped);
		return NULL;
	}
	return mapped;
}

/* Drop the owner's hold on it. */
void tide_mapped_put(struct tide_mapped *mapped)
{
	kref_put(&mapped->ref, mapped_free);
}

/**
 * tide_mapped_publish - let the process map it
 * @mapped: the memory
 * @ucontext: the process's context
 * @offset: becomes the offset for mmap()
 *
 * Return: 0 or a negative errno.
 */
int tide_mapped_publish(struct tide_mapped *mapped,
			struct ib_ucontext *ucontext, u64 *offset)
{
	int ret;

	ret = rdma_user_mmap_entry_insert(ucontext, &mapped->entry,
					  mapped->size);
	if (ret)
		return ret;
	kref_get(&mapped->ref);
	mapped->published = true;
	*offset = rdma_user_mmap_get_offset(&mapped->entry);
	return 0;
}

/* Undo tide_mapped_publish(), if it was done. */
void tide_mapped_unpublish(struct tide_mapped *mapped)
{
	if (!mapped->published)
		return;
	mapped->published = false;
	rdma_user_mmap_entry_remove(&mapped->entry);
}

static int map_memory(struct vm_area_struct *vma, void *vaddr)
{
	unsigned long va;
	int ret = 0;

	tide_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	for (va = vma->vm_start; va < vma->vm_end && !ret; va += PAGE_SIZE) {
		ret = vm_insert_page(vma, va, vmalloc_to_page(vaddr));
		vaddr += PAGE_SIZE;
	}
	return ret;
}

/* The mmap operation of the device. */
int tide_mapped_mmap(struct ib_ucontext *ucontext, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	struct tide_mapped *mapped;
	int ret = -EINVAL;

	entry = rdma_user_mmap_entry_get(ucontext, vma);
	if (!entry)
		return -EINVAL;
	mapped = container_of(entry, struct tide_mapped, entry);

	/* A private copy would be written to and never read. */
	if (vma->vm_flags & VM_SHARED)
		ret = map_memory(vma, mapped->vaddr);
	rdma_user_mmap_entry_put(entry);
	return ret;
}

/* The mmap_free operation of the device: an entry has lost its last user. */
void tide_mapped_mmap_free(struct rdma_user_mmap_entry *entry)
{
	struct tide_mapped *mapped =
		container_of(entry, struct tide_mapped, entry);

	kref_put(&mapped->ref, mapped_free);
}
