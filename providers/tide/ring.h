/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * The process's side of the rings that it shares with the kernel.
 *
 * All index arithmetic and all memory ordering is here.  Work queues are
 * filled by the process (passed, put), completion queues are emptied by it
 * (ready, take).  The caller holds the queue's lock, except for
 * tide_ring_arm().
 */
#ifndef TIDE_RING_H
#define TIDE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tide-abi.h"

struct ibv_context;

/*
 * @index: the next entry to put in or to take out.  The other side sees it
 *	   only after tide_ring_put() or tide_ring_take().
 */
struct tide_ring {
	struct tide_ring_head *head;
	uint32_t index;
	uint32_t count;
	uint32_t stride;
	uint32_t size;
};

/* A ring that does not exist is mapped too: it has room for nothing. */
int tide_ring_map(struct tide_ring *ring, struct ibv_context *context,
		  const struct tide_abi_ring *abi);
void tide_ring_unmap(struct tide_ring *ring);

static inline void *tide_ring_slot(const struct tide_ring *ring, uint32_t i)
{
	return (char *)ring->head + TIDE_RING_ENTRIES +
	       (size_t)(i & (ring->count - 1)) * ring->stride;
}

/* The entry that the other side takes next. */
static inline uint32_t tide_ring_consumer(const struct tide_ring *ring)
{
	return __atomic_load_n(&ring->head->consumer, __ATOMIC_ACQUIRE);
}

/* Whether the other side is done with an entry. */
static inline bool tide_ring_passed(const struct tide_ring *ring, uint32_t i)
{
	return (int32_t)(tide_ring_consumer(ring) - i) > 0;
}

/* Hands over the entries before index. */
static inline void tide_ring_put(struct tide_ring *ring)
{
	__atomic_store_n(&ring->head->producer, ring->index, __ATOMIC_RELEASE);
}

/* The barrier makes sure that either we see wake or the kernel our entries. */
static inline bool tide_ring_wants_wake(const struct tide_ring *ring)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&ring->head->wake, __ATOMIC_RELAXED);
}

/* More than count: the ring has overflowed, and what is in it is lost. */
static inline uint32_t tide_ring_ready(const struct tide_ring *ring)
{
	return __atomic_load_n(&ring->head->producer, __ATOMIC_ACQUIRE) -
	       ring->index;
}

/*
 * For completion queues that ignore overruns, after an entry was copied, or
 * written to: by how much the kernel, which may be about to fill the next
 * entry, has come around past index.
 */
static inline uint32_t tide_ring_overtaken(const struct tide_ring *ring)
{
	uint32_t ahead;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ahead = __atomic_load_n(&ring->head->claimed, __ATOMIC_RELAXED) -
		ring->index;
	return ahead > ring->count ? ahead - ring->count : 0;
}

/* For such a queue: skips all that the kernel has begun, once it is there. */
static inline void tide_ring_drop_all(struct tide_ring *ring)
{
	uint32_t claimed = __atomic_load_n(&ring->head->claimed,
					   __ATOMIC_RELAXED);

	while ((int32_t)(__atomic_load_n(&ring->head->producer,
					 __ATOMIC_ACQUIRE) - claimed) < 0)
		;
	ring->index = claimed;
}

/* Gives back the entries before index. */
static inline void tide_ring_take(struct tide_ring *ring)
{
	__atomic_store_n(&ring->head->consumer, ring->index, __ATOMIC_RELEASE);
}

/* Asking for less than what was already asked for changes nothing. */
static inline void tide_ring_arm(struct tide_ring *ring, enum tide_cq_arm how)
{
	uint32_t old = __atomic_load_n(&ring->head->arm, __ATOMIC_SEQ_CST);

	while (old < how &&
	       !__atomic_compare_exchange_n(&ring->head->arm, &old, how, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

/* For a work queue whose queue pair was reset: the kernel begins at 0 too. */
static inline void tide_ring_restart(struct tide_ring *ring)
{
	ring->index = 0;
	tide_ring_put(ring);
}

#endif /* TIDE_RING_H */
