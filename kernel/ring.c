// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ring.c - the memory of queues shared with a process.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "ring.h"

/**
 * struct tide_ring_mem - memory of a ring
 * @ref: one for the ring, one for the entry in the context's table of
 *	mappings, which an mmap() under way keeps alive
 * @vaddr: the memory, from vmalloc
 * @size: bytes, whole pages
 * @entry: in the context's table
 * @published: whether @entry is in the table
 *
 * Pages that are mapped live on after this has been freed, so a process that
 * never unmaps its rings harms nobody.
 */
struct tide_ring_mem {
	struct kref ref;
	void *vaddr;
	size_t size;
	struct rdma_user_mmap_entry entry;
	bool published;
};

static void ring_mem_free(struct kref *ref)
{
	struct tide_ring_mem *mem =
		container_of(ref, struct tide_ring_mem, ref);

	vfree(mem->vaddr);
	kfree(mem);
}

/**
 * tide_ring_init - allocate a ring
 * @ring: what to fill in
 * @entries: entries at least; rounded up to a power of two
 * @entry_size: bytes of the largest entry
 *
 * Return: 0 or -ENOMEM.
 */
int tide_ring_init(struct tide_ring *ring, u32 entries, u32 entry_size)
{
	u32 count = roundup_pow_of_two(max(entries, 1U));
	u32 stride = ALIGN(entry_size, 16);
	struct tide_ring_mem *mem;

	mem = kzalloc(sizeof(*mem), GFP_KERNEL_ACCOUNT);
	if (!mem)
		return -ENOMEM;
	kref_init(&mem->ref);
	mem->size = PAGE_ALIGN(TIDE_RING_ENTRIES + (size_t)count * stride);
	/*
	 * vmalloc_user() would leave it unaccounted; and who may not have so
	 * much is told, not the kernel log.
	 */
	mem->vaddr = __vmalloc(mem->size, GFP_KERNEL_ACCOUNT | __GFP_ZERO |
			       __GFP_NOWARN);
	if (!mem->vaddr) {
		kfree(mem);
		return -ENOMEM;
	}

	ring->mem = mem;
	ring->head = mem->vaddr;
	ring->index = 0;
	ring->mask = count - 1;
	ring->stride = stride;
	return 0;
}

/**
 * tide_ring_destroy - drop the ring's hold on its memory
 * @ring: a ring, or one that was never initialised (all zero)
 */
void tide_ring_destroy(struct tide_ring *ring)
{
	if (ring->mem)
		kref_put(&ring->mem->ref, ring_mem_free);
	ring->mem = NULL;
}

/**
 * tide_ring_publish - let the process map a ring
 * @ring: the ring
 * @ucontext: the process's context
 * @abi: filled in with what the provider needs to know
 *
 * Return: 0 or a negative errno.
 */
int tide_ring_publish(struct tide_ring *ring, struct ib_ucontext *ucontext,
		      struct tide_abi_ring *abi)
{
	struct tide_ring_mem *mem = ring->mem;
	int ret;

	ret = rdma_user_mmap_entry_insert(ucontext, &mem->entry, mem->size);
	if (ret)
		return ret;
	kref_get(&mem->ref);
	mem->published = true;

	abi->mmap_offset = rdma_user_mmap_get_offset(&mem->entry);
	abi->mmap_size = mem->size;
	abi->count = ring->mask + 1;
	abi->stride = ring->stride;
	return 0;
}

/**
 * tide_ring_unpublish - undo tide_ring_publish(), if it was done
 * @ring: a ring, or one that was never initialised (all zero)
 */
void tide_ring_unpublish(struct tide_ring *ring)
{
	if (!ring->mem || !ring->mem->published)
		return;
	ring->mem->published = false;
	rdma_user_mmap_entry_remove(&ring->mem->entry);
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
int tide_ring_mmap(struct ib_ucontext *ucontext, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	struct tide_ring_mem *mem;
	int ret = -EINVAL;

	entry = rdma_user_mmap_entry_get(ucontext, vma);
	if (!entry)
		return -EINVAL;
	mem = container_of(entry, struct tide_ring_mem, entry);

	/* A private copy would be written to and never read. */
	if (vma->vm_flags & VM_SHARED)
		ret = map_memory(vma, mem->vaddr);
	rdma_user_mmap_entry_put(entry);
	return ret;
}

/* The mmap_free operation of the device: an entry has lost its last user. */
void tide_ring_mmap_free(struct rdma_user_mmap_entry *entry)
{
	struct tide_ring_mem *mem =
		container_of(entry, struct tide_ring_mem, entry);

	kref_put(&mem->ref, ring_mem_free);
}
