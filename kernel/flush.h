/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * flush.h - seeing to it that what was written is where the requester wants
 * it to be (IBTA annex A19).
 *
 * Where everybody can see it, it is as soon as it is written.  Where it stays
 * when the power goes, it can only be in persistent memory: a region gives
 * that right if all of it is such memory, and pinned.
 */
#ifndef TIDE_FLUSH_H
#define TIDE_FLUSH_H

#include "mr.h"
#include "qp.h"
#include "uapi/tide-abi.h"

/* Whether a process asks for something that there is. */
static inline bool tide_flush_makes_sense(u32 flush)
{
	const u32 types = TIDE_FLUSH_GLOBAL | TIDE_FLUSH_PERSISTENT;

	return flush & types && !(flush & ~(types | TIDE_FLUSH_REGION));
}

/* Whether the request tells which bytes, and not only the region. */
static inline bool tide_flush_is_of_range(u32 flush)
{
	return !(flush & TIDE_FLUSH_REGION);
}

int tide_flush_rights(u32 flush);
bool tide_flush_begin(struct tide_op *op, struct tide_access *access);
int tide_flush_some(struct tide_op *op, const struct tide_access *access);
bool tide_pages_are_persistent(const unsigned long *entries, size_t nr);

#endif /* TIDE_FLUSH_H */
