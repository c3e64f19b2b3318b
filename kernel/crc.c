// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * crc.c - CRC-32 as fast as it is to be had.
 */
#include <crypto/hash.h>
#include <linux/crc32.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "crc.h"
#include "crc_table.h"

/* What is measured: the payload of a large packet, some times over. */
#define SAMPLE_SIZE	4096
#define SAMPLES		8
#define ROUNDS		4

/* Below that it does not pay to ask the crypto layer. */
#define SHASH_MIN	256

typedef u32 (*crc_func)(u32 crc, const void *data, u32 len);

/* On older kernels, only the crypto layer uses the processor's help. */
static struct crypto_shash *shash;

static u32 by_library(u32 crc, const void *data, u32 len)
{
	return crc32_le(crc, data, len);
}

static u32 by_table(u32 crc, const void *data, u32 len)
{
	return tide_crc_by_table(crc, data, len);
}

static u32 by_shash(u32 crc, const void *data, u32 len)
{
	SHASH_DESC_ON_STACK(desc, shash);
	u32 *state = (u32 *)shash_desc_ctx(desc);

	if (len < SHASH_MIN)
		return crc32_le(crc, data, len);
	desc->tfm = shash;
	*state = crc;
	crypto_shash_update(desc, data, len);
	return *state;
}

static crc_func chosen __ro_after_init = by_library;

u32 tide_crc(u32 crc, const void *data, u32 len)
{
	return chosen(crc, data, len);
}

/* The least of some rounds: whatever comes between makes it only more. */
static u64 __init time_of(crc_func func, const void *sample)
{
	u64 least = U64_MAX, began;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		preempt_disable();
		began = ktime_get_ns();
		for (i = 0; i < SAMPLES; i++)
			func(i, sample, SAMPLE_SIZE);
		least = min(least, ktime_get_ns() - began);
		preempt_enable();
	}
	return least;
}

/* One that is asynchronous or has another state is of no use. */
static void __init find_shash(void)
{
	shash = crypto_alloc_shash("crc32", 0, 0);
	if (!IS_ERR(shash) && crypto_shash_descsize(shash) == sizeof(u32))
		return;
	if (!IS_ERR(shash))
		crypto_free_shash(shash);
	shash = NULL;
}

void __init tide_crc_init(void)
{
	const crc_func candidates[] = { by_library, by_table, by_shash };
	void *sample = kzalloc(SAMPLE_SIZE, GFP_KERNEL);
	u64 least = U64_MAX, took;
	int i;

	tide_crc_table_init();
	find_shash();
	for (i = 0; sample && i < ARRAY_SIZE(candidates); i++) {
		if (candidates[i] == by_shash && !shash)
			continue;
		took = time_of(candidates[i], sample);
		if (took < least)
			chosen = candidates[i];
		least = min(least, took);
	}
	kfree(sample);
}

void tide_crc_exit(void)
{
	if (shash)
		crypto_free_shash(shash);
}
