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

/*
 * A word is looked up in six parts of eleven bits, the last of nine.  Two words
 * make a round.  Smaller parts take more lookups, larger ones more cache.
 */
#define PART_BITS	11
#define PARTS		6
#define PART_MASK	((1 << PART_BITS) - 1)

/* A byte's. */
static __u32 bytes[256];

/* A part's of a word that has another behind it, and of one that has none. */
static __u32 first[PARTS][1 << PART_BITS];
static __u32 second[PARTS][1 << PART_BITS];

static __u32 crc_of_byte(__u32 byte)
{
	int i;

	for (i = 0; i < 8; i++)
		byte = byte >> 1 ^ (byte & 1 ? POLYNOMIAL : 0);
	return byte;
}

static __u32 add_byte(__u32 crc, __u8 byte)
{
	return crc >> 8 ^ bytes[(crc ^ byte) & 0xff];
}

static __u32 add_word(__u32 crc, __u64 word)
{
	int i;

	for (i = 0; i < 8; i++, word >>= 8)
		crc = add_byte(crc, word);
	return crc;
}

static void init_part(int part)
{
	int shift = part * PART_BITS;
	__u64 value;

	for (value = 0; value <= PART_MASK && value << shift >> shift == value;
	     value++) {
		second[part][value] = add_word(0, value << shift);
		first[part][value] = add_word(second[part][value], 0);
	}
}

void tide_crc_table_init(void)
{
	int i;

	for (i = 0; i < 256; i++)
		bytes[i] = crc_of_byte(i);
	for (i = 0; i < PARTS; i++)
		init_part(i);
}

static inline __u32 crc_of_word(__u64 word, __u32 table[][1 << PART_BITS])
{
	return table[0][word & PART_MASK] ^
	       table[1][word >> PART_BITS & PART_MASK] ^
	       table[2][word >> 2 * PART_BITS & PART_MASK] ^
	       table[3][word >> 3 * PART_BITS & PART_MASK] ^
	       table[4][word >> 4 * PART_BITS & PART_MASK] ^
	       table[5][word >> 5 * PART_BITS];
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

	for (; len >= 16; len -= 16, at += 16)
		crc = crc_of_word(word_at(at) ^ crc, first) ^
		      crc_of_word(word_at(at + 8), second);
	while (len--)
		crc = add_byte(crc, *at++);
	return crc;
}
