/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * copy.h - moving bytes between two places, each of which is kernel memory
 * or part of a memory region.  Every access to a region's memory is here.
 */
#ifndef TIDE_COPY_H
#define TIDE_COPY_H

#include <linux/types.h>

#include "mr.h"
#include "odp.h"

/* The most that is copied while locks are held. */
#define TIDE_COPY_MAX	(64U << 10)

/* What can be done to eight bytes at once. */
enum tide_atomic { TIDE_COMPARE_SWAP, TIDE_FETCH_ADD, TIDE_STORE };

enum tide_side_index { TIDE_DST, TIDE_SRC, TIDE_SIDES };

/**
 * struct tide_side - one end of a copy
 * @kaddr: kernel memory; or NULL, and then a region:
 * @access: what is accessed, and how
 * @hold: pages pinned for this side, which may be none
 * @leaf: where to remember the leaf that was found
 * @direct: the caller's own memory may be accessed as a program does it
 */
struct tide_side {
	void *kaddr;
	struct tide_access access;
	struct tide_hold *hold;
	struct tide_leaf_cache *leaf;
	bool direct;
};

/**
 * struct tide_copy_stop - why nothing was copied
 * @side: on which end
 * @fault: for -EFAULT: what has to be brought in; the region has a reference
 */
struct tide_copy_stop {
	enum tide_side_index side;
	struct tide_fault fault;
};

int tide_copy(const struct tide_side *dst, const struct tide_side *src,
	      u32 len, struct tide_copy_stop *stop);
int tide_atomic(const struct tide_side *side, enum tide_atomic atomic,
		u64 operand, u64 swap, u64 *old, struct tide_copy_stop *stop);

#endif /* TIDE_COPY_H */
