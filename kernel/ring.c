// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ring.c - the memory of queues shared with a process.
 */
#include "mapped.h"
#include "ring.h"

/* Of all queues that do not exist: nothing is ever posted to it. */
static struct tide_ring_head no_queue;

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
	struct tide_mapped *mem;

	mem = tide_mapped_alloc(TIDE_RING_ENTRIES + (size_t)count * stride);
	if (!mem)
		return -ENOMEM;
	ring->mem = mem;
	ring->head = mem->vaddr;
	ring->index = 0;
	ring->mask = count - 1;
	ring->stride = stride;
	return 0;
}

/**
 * tide_ring_init_none - what stands in for a queue that there is none of
 * @ring: what to fill in; has no memory to map, and is empty for ever
 */
void tide_ring_init_none(struct tide_ring *ring)
{
	*ring = (struct tide_ring) { .head = &no_queue };
}

/**
 * tide_ring_destroy - drop the ring's hold on its memory
 * @ring: a ring, or none, or one that was never initialised (all zero)
 */
void tide_ring_destroy(struct tide_ring *ring)
{
	if (ring->mem)
		tide_mapped_put(ring->mem);
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
	u64 offset;
	int ret;

	ret = tide_mapped_publish(ring->mem, ucontext, &offset);
	if (ret)
		return ret;
	abi->mmap_offset = offset;
	abi->mmap_size = ring->mem->size;
	abi->count = ring->mask + 1;
	abi->stride = ring->stride;
	return 0;
}

/**
 * tide_ring_unpublish - undo tide_ring_publish(), if it was done
 * @ring: a ring, or none, or one that was never initialised (all zero)
 */
void tide_ring_unpublish(struct tide_ring *ring)
{
	if (ring->mem)
		tide_mapped_unpublish(ring->mem);
}
