/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * prefetch.h - an owner that gives advice about its regions.
 */
#ifndef PREFETCH_H
#define PREFETCH_H

#include "nag.h"

enum { ASYNC, FLUSH = IBV_ADVISE_MR_FLAG_FLUSH };

static const struct {
	enum ibv_advise_mr_advice advice;
	const char *name;
} advices[] = {
	{ IBV_ADVISE_MR_ADVICE_PREFETCH, "PREFETCH" },
	{ IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, "PREFETCH_WRITE" },
	{ IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, "PREFETCH_NO_FAULT" },
};

/* In the owner's process: one range, by the key of a region. */
static inline long own_prefetch(const long *arg)
{
	struct ibv_sge sge = { arg[3], arg[4], arg[2] };

	return ibv_advise_mr(own.pd, arg[0], arg[1], &sge, 1);
}

static inline long prefetch(const struct region *region, int advice, int flags,
		     size_t at, size_t len)
{
	return ask(&owner, own_prefetch, advice, flags, region->rkey,
		   region->addr + at, len);
}

#endif /* PREFETCH_H */
