/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * keys.h - the order in which memory keys are given out.
 *
 * Pure arithmetic, built by the unit tests too.
 *
 * A key is a 24-bit index, where the region is found, and an 8-bit tag.  The
 * n-th registration gets the n-th index of a secret permutation, so that an
 * index comes back only after 2^24 others and the next one says nothing
 * about the ones before.  The tag moves by one each time the indices wrap:
 * the same key comes back after 2^32 registrations.
 */
#ifndef TIDE_KEYS_H
#define TIDE_KEYS_H

#include <linux/types.h>

#define TIDE_KEY_TAG_BITS	8
#define TIDE_KEY_INDEX_BITS	24
#define TIDE_KEY_HALF_BITS	(TIDE_KEY_INDEX_BITS / 2)
#define TIDE_KEY_HALF_MASK	((1U << TIDE_KEY_HALF_BITS) - 1)
#define TIDE_KEY_ROUNDS		6
#define TIDE_KEY_TAG_ROUND	TIDE_KEY_ROUNDS

/* A keyed pseudo-random function of a value and a round. */
typedef __u32 (*tide_key_prf)(const void *secret, __u32 value, __u32 round);

/* A Feistel network: a permutation of the 24-bit numbers whatever @prf is. */
static inline __u32 tide_key_index(__u32 n, tide_key_prf prf,
				   const void *secret)
{
	__u32 left = (n >> TIDE_KEY_HALF_BITS) & TIDE_KEY_HALF_MASK;
	__u32 right = n & TIDE_KEY_HALF_MASK;
	__u32 round;

	for (round = 0; round < TIDE_KEY_ROUNDS; round++) {
		__u32 next = left ^ (prf(secret, right, round) &
				     TIDE_KEY_HALF_MASK);

		left = right;
		right = next;
	}
	return left << TIDE_KEY_HALF_BITS | right;
}

/* The key of registration number @n, all 32 bits of which count. */
static inline __u32 tide_key_make(__u32 n, tide_key_prf prf,
				  const void *secret)
{
	__u32 index = tide_key_index(n, prf, secret);
	__u32 tag = prf(secret, index, TIDE_KEY_TAG_ROUND) +
		    (n >> TIDE_KEY_INDEX_BITS);

	return index << TIDE_KEY_TAG_BITS | (tag & 0xff);
}

#endif /* TIDE_KEYS_H */
