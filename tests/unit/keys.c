// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The order in which memory keys are given out: no key twice in 2^32
 * registrations, an index back only after all others, and nothing to be
 * learned about the next one.
 *
 * That the keyed function is a good one is the kernel's part: here it is a
 * stand-in, and for the permutation even bad ones must do.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "tap.h"

#define INDICES		(1U << TIDE_KEY_INDEX_BITS)
#define WRAPS		(1U << TIDE_KEY_TAG_BITS)

static __u32 mix(const void *secret, __u32 value, __u32 round)
{
	uint64_t x = *(const uint64_t *)secret +
		     ((uint64_t)round << 32 | value) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static __u32 constant(const void *secret, __u32 value, __u32 round)
{
	(void)value;
	(void)round;
	return *(const uint64_t *)secret;
}

static __u32 identity(const void *secret, __u32 value, __u32 round)
{
	(void)secret;
	(void)round;
	return value;
}

static uint8_t *seen;

/* Whether every index comes exactly once. */
static bool is_permutation(tide_key_prf prf, uint64_t secret)
{
	__u32 n, index;

	memset(seen, 0, INDICES);
	for (n = 0; n < INDICES; n++) {
		index = tide_key_index(n, prf, &secret);
		if (index >= INDICES || seen[index]++)
			return false;
	}
	return true;
}

/* Whether the same place in each of the wraps gives the same index, with another tag each time. */
static bool tags_differ(uint64_t secret, __u32 place)
{
	bool tag_seen[WRAPS] = {};
	__u32 wrap, key, index = 0;

	for (wrap = 0; wrap < WRAPS; wrap++) {
		key = tide_key_make(wrap << TIDE_KEY_INDEX_BITS | place, mix,
				    &secret);
		if (!wrap)
			index = key >> TIDE_KEY_TAG_BITS;
		if (key >> TIDE_KEY_TAG_BITS != index ||
		    tag_seen[key & (WRAPS - 1)])
			return false;
		tag_seen[key & (WRAPS - 1)] = true;
	}
	return true;
}

static bool all_sampled_tags_differ(uint64_t secret)
{
	__u32 place;

	for (place = 0; place < INDICES; place += 4099)
		if (!tags_differ(secret, place))
			return false;
	return true;
}

static int compare(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

/*
 * The most often that one difference between successive keys occurs. By
 * chance, among 65536 of 2^32, hardly any occurs twice.
 */
static unsigned int commonest_step(uint64_t secret, __u32 from)
{
	static __u32 steps[1 << 16];
	unsigned int i, run = 1, most = 1;
	const unsigned int count = sizeof(steps) / sizeof(steps[0]);

	for (i = 0; i < count; i++)
		steps[i] = tide_key_make(from + i + 1, mix, &secret) -
			   tide_key_make(from + i, mix, &secret);
	qsort(steps, count, sizeof(steps[0]), compare);
	for (i = 1; i < count; i++) {
		run = steps[i] == steps[i - 1] ? run + 1 : 1;
		if (run > most)
			most = run;
	}
	return most;
}

/* How many of the first keys are the same with another secret. */
static unsigned int shared_with(uint64_t a, uint64_t b)
{
	unsigned int n, same = 0;

	for (n = 0; n < INDICES; n += 16)
		same += tide_key_make(n, mix, &a) == tide_key_make(n, mix, &b);
	return same;
}

int main(void)
{
	static const uint64_t secrets[] = {
		0, ~0ULL, 0x123456789abcdefULL,
	};
	unsigned int i;

	seen = malloc(INDICES);
	if (!seen)
		return 2;
	for (i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		ok(is_permutation(mix, secrets[i]),
		   "each index comes once in 2^24, secret %#llx",
		   (unsigned long long)secrets[i]);
	ok(is_permutation(constant, 5), "and so with a constant function");
	ok(is_permutation(identity, 0), "and so with the identity");

	for (i = 0; i < 2; i++)
		ok(all_sampled_tags_differ(secrets[i]),
		   "an index has another tag in each of 256 wraps, secret %#llx",
		   (unsigned long long)secrets[i]);

	ok(commonest_step(secrets[2], 0) <= 3,
	   "no step from key to key is common");
	ok(commonest_step(secrets[2], INDICES - 1000) <= 3,
	   "nor when the indices wrap");
	ok(commonest_step(secrets[2], -1000U) <= 3,
	   "nor when the registrations do");
	ok(shared_with(secrets[2], secrets[2] + 1) <= 3,
	   "another secret makes another order");
	free(seen);
	return tap_end();
}
