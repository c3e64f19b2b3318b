// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * icrc.c - the invariant CRC: the usual CRC-32, of a packet as it would be if
 * routers had changed all that they may.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/string.h>
#include <linux/udp.h>

#include "crc.h"
#include "icrc.h"
#include "packet.h"

/* The CRC of eight bytes of ones. */
#define AFTER_LRH	0xdebb20e3

/* The byte of the BTH that has FECN, BECN and reserved bits. */
#define BTH_VARIANT	4

#define ONES(field)	memset(&(field), 0xff, sizeof(field))

struct ipv4_headers {
	struct iphdr ip;
	struct udphdr udp;
	u8 bth[TIDE_BTH_LEN];
};

struct ipv6_headers {
	struct ipv6hdr ip;
	struct udphdr udp;
	u8 bth[TIDE_BTH_LEN];
};

u32 tide_icrc_add(u32 crc, const void *data, u32 len)
{
	return tide_crc(crc, data, len);
}

static u32 begin_ipv4(const void *ip, const void *udp, const void *bth)
{
	struct ipv4_headers masked;

	memcpy(&masked.ip, ip, sizeof(masked.ip));
	memcpy(&masked.udp, udp, sizeof(masked.udp));
	memcpy(masked.bth, bth, sizeof(masked.bth));
	ONES(masked.ip.tos);
	ONES(masked.ip.ttl);
	ONES(masked.ip.check);
	ONES(masked.udp.check);
	masked.bth[BTH_VARIANT] = 0xff;
	return tide_icrc_add(AFTER_LRH, &masked, sizeof(masked));
}

static u32 begin_ipv6(const void *ip, const void *udp, const void *bth)
{
	struct ipv6_headers masked;

	memcpy(&masked.ip, ip, sizeof(masked.ip));
	memcpy(&masked.udp, udp, sizeof(masked.udp));
	memcpy(masked.bth, bth, sizeof(masked.bth));
	masked.ip.priority = 0xf;
	ONES(masked.ip.flow_lbl);
	ONES(masked.ip.hop_limit);
	ONES(masked.udp.check);
	masked.bth[BTH_VARIANT] = 0xff;
	return tide_icrc_add(AFTER_LRH, &masked, sizeof(masked));
}

u32 tide_icrc_begin(const void *ip, u32 ip_len, const void *udp,
		    const void *bth)
{
	return ip_len == sizeof(struct iphdr) ? begin_ipv4(ip, udp, bth) :
						begin_ipv6(ip, udp, bth);
}
