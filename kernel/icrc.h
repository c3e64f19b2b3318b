/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * icrc.h - the invariant CRC of RoCEv2 packets (IBTA 7.8.1, annex A17.3.3).
 *
 * It covers all from the IP header on, with ones in place of what routers may
 * change, behind eight bytes of ones where an LRH would be.  It is made as the
 * packet is: the headers first, then the payload, piece by piece.
 */
#ifndef TIDE_ICRC_H
#define TIDE_ICRC_H

#include <linux/types.h>

/**
 * tide_icrc_begin - the CRC of what precedes the bytes behind the BTH
 * @ip: the IP header, without options or extensions; of this packet: with its
 *	own length and identification
 * @ip_len: bytes of that: 20 or 40
 * @udp: the UDP header, with its own length
 * @bth: the BTH
 *
 * Return: what tide_icrc_add() goes on with.
 */
u32 tide_icrc_begin(const void *ip, u32 ip_len, const void *udp,
		    const void *bth);

/**
 * tide_icrc_add - add what comes next
 * @crc: of all before
 * @data: the bytes
 * @len: how many
 *
 * Context: any.
 *
 * Return: the CRC of all so far.
 */
u32 tide_icrc_add(u32 crc, const void *data, u32 len);

/**
 * tide_icrc_end - what is put behind the last byte, pad bytes included
 * @crc: of all before
 */
static inline __le32 tide_icrc_end(u32 crc)
{
	return cpu_to_le32(~crc);
}

#endif /* TIDE_ICRC_H */
