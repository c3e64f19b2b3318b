/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * credits.h - how many receives are posted, as five bits of an AETH tell
 * (IBTA 9.7.7.2).
 *
 * Pure arithmetic, built by the unit tests too.
 */
#ifndef TIDE_CREDITS_H
#define TIDE_CREDITS_H

#include <linux/types.h>

#define TIDE_CREDITS_MAX	0x1e
#define TIDE_CREDITS_UNKNOWN	0x1f	/* it is not told */

/* The number of receives that a code, at most TIDE_CREDITS_MAX, stands for. */
static inline __u32 tide_credits_decode(__u8 code)
{
	/* 0, 1, and from there on 2, 3, 4, 6, 8, 12 ... */
	if (code < 2)
		return code;
	return (code % 2 ? 3U : 2U) << (code / 2 - 1);
}

/* The code of the largest such number that is not above @receives. */
static inline __u8 tide_credits_encode(__u32 receives)
{
	__u8 code = 0;

	while (code < TIDE_CREDITS_MAX &&
	       tide_credits_decode(code + 1) <= receives)
		code++;
	return code;
}

#endif /* TIDE_CREDITS_H */
