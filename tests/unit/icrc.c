// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The invariant CRC: that of packets which others have sent, however they come
 * in pieces; and which of their bits it covers.
 */
#include <linux/crc32.h>

#include "../../kernel/crc_table.c"
#include "../../kernel/icrc.c"
#include "captured.h"
#include "tap.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

u32 tide_crc(u32 crc, const void *data, u32 len)
{
	return tide_crc_by_table(crc, data, len);
}

/* Of any bytes, however many, wherever they lie, whatever was before. */
static bool table_is_right(void)
{
	__u8 bytes[128];
	u32 from, len, crc = ~0;

	for (from = 0; from < sizeof(bytes); from++)
		bytes[from] = from * from + (from << 3) + 5;
	for (from = 0; from < 16; from++)
		for (len = 0; len <= sizeof(bytes) - from; len++) {
			if (tide_crc_by_table(crc, bytes + from, len) !=
			    crc32_le(crc, bytes + from, len))
				return false;
			crc = crc32_le(crc, bytes + from, len);
		}
	return true;
}

/*
 * What every entry of the tables stands for, one at a time: a CRC of zeroes is
 * zero, so nothing else adds to these.
 */
static bool entries_are_right(void)
{
	__u8 bytes[16];
	__u64 value, word;
	int part, i;

	for (part = 0; part < PARTS; part++)
		for (value = 0; value <= PART_MASK; value++) {
			word = htole64(value << part * PART_BITS);
			for (i = 0; i < 2; i++) {
				memset(bytes, 0, sizeof(bytes));
				memcpy(bytes + 8 * i, &word, sizeof(word));
				if (tide_crc_by_table(0, bytes, 16) !=
				    crc32_le(0, bytes, 16))
					return false;
			}
		}
	return true;
}

/* With what follows the BTH in pieces of at most that many bytes. */
static __le32 icrc_of(const struct captured *packet, const __u8 *bytes,
		      __u32 most)
{
	const __u8 *udp = bytes + packet->ip_len;
	const __u8 *bth = udp + CAPTURED_UDP_LEN;
	const __u8 *at = bth + TIDE_BTH_LEN;
	const __u8 *end = bytes + packet->len - TIDE_ICRC_LEN;
	u32 crc = tide_icrc_begin(bytes, packet->ip_len, udp, bth);
	u32 piece;

	for (; at < end; at += piece) {
		piece = end - at < most ? end - at : most;
		crc = tide_icrc_add(crc, at, piece);
	}
	return tide_icrc_end(crc);
}

static bool is_right(const struct captured *packet, const __u8 *bytes,
		     __u32 most)
{
	__le32 icrc = icrc_of(packet, bytes, most);

	return !memcmp(bytes + packet->len - TIDE_ICRC_LEN, &icrc,
		       sizeof(icrc));
}

static bool is_right_in_pieces(const struct captured *packet)
{
	__u32 most;

	for (most = 1; most <= packet->len; most++)
		if (!is_right(packet, packet->bytes, most))
			return false;
	return true;
}

/* What routers may change, by bits from the start of the IP header on. */
struct range {
	__u32 from, to;		/* without that one */
};

static const struct range variant_ipv4[] = {
	{ 8, 16 },		/* type of service */
	{ 64, 72 },		/* time to live */
	{ 80, 96 },		/* checksum */
	{ 160 + 48, 160 + 64 },	/* checksum of UDP */
	{ 224 + 32, 224 + 40 },	/* FECN, BECN, and reserved */
};

static const struct range variant_ipv6[] = {
	{ 4, 12 },		/* traffic class */
	{ 12, 32 },		/* flow label */
	{ 56, 64 },		/* hop limit */
	{ 320 + 48, 320 + 64 },
	{ 384 + 32, 384 + 40 },
};

static bool is_variant(const struct captured *packet, __u32 bit)
{
	const struct range *range =
		packet->ip_len == 20 ? variant_ipv4 : variant_ipv6;
	__u32 i;

	for (i = 0; i < COUNT(variant_ipv4); i++)
		if (bit >= range[i].from && bit < range[i].to)
			return true;
	return false;
}

/* Whether each bit that routers leave alone is covered, and no other. */
static bool covers(const struct captured *packet)
{
	__u8 bytes[1024];
	__u32 bit;

	memcpy(bytes, packet->bytes, packet->len);
	for (bit = 0; bit < packet->len * 8; bit++) {
		bytes[bit / 8] ^= 0x80 >> bit % 8;
		if (is_right(packet, bytes, packet->len) !=
		    is_variant(packet, bit))
			return false;
		bytes[bit / 8] ^= 0x80 >> bit % 8;
	}
	return true;
}

int main(void)
{
	static const char check[] = "123456789";
	__u32 i;

	ok(~crc32_le(~0, check, 9) == 0xcbf43926,
	   "the CRC here is the one that is meant");
	tide_crc_table_init();
	ok(table_is_right(), "by tables it is the same");
	ok(entries_are_right(), "each entry of the tables");
	for (i = 0; i < COUNT(captured); i++) {
		ok(is_right_in_pieces(&captured[i]), "%s: as it was sent",
		   captured[i].name);
		ok(covers(&captured[i]), "%s: the bits that it covers",
		   captured[i].name);
	}
	return tap_end();
}
