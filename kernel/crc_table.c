// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * crc_table.c - CRC-32 by tables.
 */
#ifdef __KERNEL__
#include <linux/string.h>
#include <asm/byteorder.h>
#else
#include <endian.h>
#include <string.h>
#define le64_to_cpu	le64toh
#endif

#include "crc_table.h"

#define POLYNOMIAL	0xedb88320	/* of IEEE 802.3, least bit first */
#define SLICES		16

/* What a byte comes to, with as many others behind it as the slice's index. */
static __u32 table[SLICES][256];

static __u32 crc_of_byte(__u32 byte)
{
	int i;

	for (i = 0; i < 8; i++)
		byte = byte >> 1 ^ (byte & 1 ? POLYNOMIAL : 0);
	return byte;
}

void tide_crc_table_init(void)
{
	__u32 before;
	int i, slice;

	for (i = 0; i < 256; i++)
		table[0][i] = crc_of_byte(i);
	for (slice = 1; slice < SLICES; slice++)
		for (i = 0; i < 256; i++) {
			before = table[slice - 1][i];
			table[slice][i] = before >> 8 ^
					  table[0][before & 0xff];
		}
}

/* Eight bytes, the first of them with @most others behind it. */
static inline __u32 crc_of_word(__u64 word, int most)
{
	return table[most][word & 0xff] ^
	       table[most - 1][word >> 8 & 0xff] ^
	       table[most - 2][word >> 16 & 0xff] ^
	       table[most - 3][word >> 24 & 0xff] ^
	       table[most - 4][word >> 32 & 0xff] ^
	       table[most - 5][word >> 40 & 0xff] ^
	       table[most - 6][word >> 48 & 0xff] ^
	       table[most - 7][word >> 56];
}

static inline __u64 word_at(const __u8 *data)
{
	__le64 word;

	memcpy(&word, data, sizeof(word));
	return le64_to_cpu(word);
}

__u32 tide_crc_by_table(__u32 crc, const void *data, size_t len)
{
	const __u8 *at = data;

	for (; len >= SLICES; len -= SLICES, at += SLICES)
		crc = crc_of_word(word_at(at) ^ crc, SLICES - 1) ^
		      crc_of_word(word_at(at + 8), SLICES - 9);
	while (len--)
		crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xff];
	return crc;
}
