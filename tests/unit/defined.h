/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * defined.h - which bits of a packet's headers have a meaning; the others are
 * sent as zeros, and receivers do not look at them.
 */
#ifndef UNIT_DEFINED_H
#define UNIT_DEFINED_H

#include <string.h>

#include "packet.h"

/* Writes a mask of the headers of a packet with such an opcode. */
static inline void defined_bits(__u8 opcode, __u8 *mask)
{
	__u8 *extended = mask + TIDE_BTH_LEN;
	const __u8 op = opcode & 0x1f;

	memset(mask, 0xff, tide_packet_header_len(opcode));
	mask[4] = 0xc0;
	mask[8] = 0x80;
	switch (opcode >> 5) {
	case TIDE_UD:
		extended[4] = 0;
		break;
	case TIDE_CNP:
		memset(extended, 0, 16);
		break;
	case TIDE_XRC:
		if (op >= TIDE_READ_FIRST && op <= TIDE_ATOMIC_ACK)
			break;
		extended[0] = 0;
		extended += 4;
		break;
	}
	if (op == TIDE_FLUSH_REQUEST)
		memcpy(extended, "\x00\x00\x00\x3f", 4);
}

/* Whether two packets' headers are the same in those bits. */
static inline bool defined_bits_equal(__u8 opcode, const __u8 *a, const __u8 *b)
{
	__u8 mask[TIDE_MAX_HEADER_LEN];
	__u32 i;

	defined_bits(opcode, mask);
	for (i = 0; i < tide_packet_header_len(opcode); i++)
		if ((a[i] ^ b[i]) & mask[i])
			return false;
	return true;
}

#endif /* UNIT_DEFINED_H */
