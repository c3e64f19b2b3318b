/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * crc32.h - what kernel/icrc.c uses of the kernel's headers that programs do
 * not have; and a CRC that is made bit by bit: slow, and plain to see.
 */
#ifndef UNIT_LINUX_CRC32_H
#define UNIT_LINUX_CRC32_H

#include <linux/types.h>

#include <endian.h>
#include <string.h>

typedef __u8 u8;
typedef __u32 u32;

#define cpu_to_le32(value)	htole32(value)

/* As the kernel's: nothing is inverted, neither before nor after. */
static inline u32 crc32_le(u32 crc, const void *data, size_t len)
{
	const u8 *byte = data;
	int bit;

	while (len--) {
		crc ^= *byte++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

#endif /* UNIT_LINUX_CRC32_H */
