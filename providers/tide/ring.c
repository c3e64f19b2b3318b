// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#include <errno.h>
#include <sys/mman.h>

#include <infiniband/verbs.h>

#include "ring.h"

/* Stands in for rings that do not exist, so that posting needs no test. */
static struct tide_ring_head no_ring;

int tide_ring_map(struct tide_ring *ring, struct ibv_context *context,
		  const struct tide_abi_ring *abi)
{
	void *head;

	if (!abi->mmap_size) {
		ring->head = &no_ring;
		return 0;
	}

	head = mmap(NULL, abi->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    context->cmd_fd, abi->mmap_offset);
	if (head == MAP_FAILED)
		return errno;

	ring->head = head;
	ring->count = abi->count;
	ring->stride = abi->stride;
	ring->size = abi->mmap_size;
	return 0;
}

void tide_ring_unmap(struct tide_ring *ring)
{
	if (ring->size)
		munmap(ring->head, ring->size);
}
