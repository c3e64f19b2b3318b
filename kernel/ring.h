/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ring.h - queues shared with a process, seen from the kernel.
 *
 * The kernel's own index is in its own memory; what it reads from the ring is
 * a claim, checked or masked before use.  No function here takes a lock: the
 * lock that covers the queue is its owner's (tide_qp.lock, the run bit, or
 * tide_cq.lock).
 */
#ifndef TIDE_RING_H
#define TIDE_RING_H

#include <rdma/ib_verbs.h>

#include "uapi/tide-abi.h"

/**
 * struct tide_ring - a queue
 * @mem: the shared memory
 * @head: the start of it
 * @index: the kernel's own index: consumer of work, producer of completions
 * @mask: number of entries, less one
 * @stride: bytes from one entry to the next
 */
struct tide_ring {
	struct tide_mapped *mem;
	struct tide_ring_head *head;
	u32 index;
	u32 mask;
	u32 stride;
};

int tide_ring_init(struct tide_ring *ring, u32 entries, u32 entry_size);
void tide_ring_init_none(struct tide_ring *ring);
void tide_ring_destroy(struct tide_ring *ring);
int tide_ring_publish(struct tide_ring *ring, struct ib_ucontext *ucontext,
		      struct tide_abi_ring *abi);
void tide_ring_unpublish(struct tide_ring *ring);

static inline void *tide_ring_entry(const struct tide_ring *ring, u32 index)
{
	return (void *)ring->head + TIDE_RING_ENTRIES +
	       (size_t)(index & ring->mask) * ring->stride;
}

/* Entries that the process says it has posted and we have not taken. */
static inline u32 tide_ring_posted(const struct tide_ring *ring)
{
	return smp_load_acquire(&ring->head->producer) - ring->index;
}

/* Whether a number of posted entries is more than any process could post. */
static inline bool tide_ring_garbage(const struct tide_ring *ring, u32 posted)
{
	return posted > ring->mask + 1;
}

/* Give an entry back to the process. */
static inline void tide_ring_taken(struct tide_ring *ring)
{
	smp_store_release(&ring->head->consumer, ++ring->index);
}

/* Back to the state after tide_ring_init(). */
static inline void tide_ring_reset(struct tide_ring *ring)
{
	ring->index = 0;
	WRITE_ONCE(ring->head->producer, 0);
	WRITE_ONCE(ring->head->consumer, 0);
	WRITE_ONCE(ring->head->wake, 0);
}

#endif /* TIDE_RING_H */
