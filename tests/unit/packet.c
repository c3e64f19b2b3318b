// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Packets: each opcode against the specification's tables written out; headers
 * byte by byte; and that nothing is read which is not there.
 */
#include <stdlib.h>

#include "../../kernel/packet.c"
#include "captured.h"
#include "defined.h"
#include "tap.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

#define RC	0x00
#define UC	0x20
#define UD	0x60
#define XRC	0xa0

/* IBTA tables 38 and 39, annexes A14, A17 and A19. */
static const struct expected {
	__u8 op;
	__u8 uc, ud;		/* whether they have it */
	__u16 traits;		/* without those of the transport */
	__u32 len;		/* likewise */
} expected[] = {
	{ 0x00, 1, 0, TIDE_STARTS | TIDE_HAS_PAYLOAD, 12 },
	{ 0x01, 1, 0, TIDE_HAS_PAYLOAD, 12 },
	{ 0x02, 1, 0, TIDE_ENDS | TIDE_HAS_PAYLOAD, 12 },
	{ 0x03, 1, 0, TIDE_ENDS | TIDE_HAS_PAYLOAD | TIDE_HAS_IMM, 16 },
	{ 0x04, 1, 1, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD, 12 },
	{ 0x05, 1, 1, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_IMM, 16 },
	{ 0x06, 1, 0, TIDE_STARTS | TIDE_HAS_PAYLOAD | TIDE_HAS_RETH, 28 },
	{ 0x07, 1, 0, TIDE_HAS_PAYLOAD, 12 },
	{ 0x08, 1, 0, TIDE_ENDS | TIDE_HAS_PAYLOAD, 12 },
	{ 0x09, 1, 0, TIDE_ENDS | TIDE_HAS_PAYLOAD | TIDE_HAS_IMM, 16 },
	{ 0x0a, 1, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_RETH, 28 },
	{ 0x0b, 1, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_RETH | TIDE_HAS_IMM, 32 },
	{ 0x0c, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_RETH, 28 },
	{ 0x0d, 0, 0, TIDE_RESPONDS | TIDE_STARTS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_AETH, 16 },
	{ 0x0e, 0, 0, TIDE_RESPONDS | TIDE_HAS_PAYLOAD, 12 },
	{ 0x0f, 0, 0, TIDE_RESPONDS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_AETH, 16 },
	{ 0x10, 0, 0, TIDE_RESPONDS | TIDE_STARTS | TIDE_ENDS |
		      TIDE_HAS_PAYLOAD | TIDE_HAS_AETH, 16 },
	{ 0x11, 0, 0, TIDE_RESPONDS | TIDE_STARTS | TIDE_ENDS | TIDE_HAS_AETH,
	  16 },
	{ 0x12, 0, 0, TIDE_RESPONDS | TIDE_STARTS | TIDE_ENDS | TIDE_HAS_AETH |
		      TIDE_HAS_ATOMICACKETH, 24 },
	{ 0x13, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_ATOMICETH, 40 },
	{ 0x14, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_ATOMICETH, 40 },
	{ 0x16, 0, 0, TIDE_ENDS | TIDE_HAS_PAYLOAD | TIDE_HAS_IETH, 16 },
	{ 0x17, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_IETH, 16 },
	{ 0x1c, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_FETH | TIDE_HAS_RETH,
	  32 },
	{ 0x1d, 0, 0, TIDE_STARTS | TIDE_ENDS | TIDE_HAS_PAYLOAD |
		      TIDE_HAS_RETH, 28 },
};

/* What an opcode is to be: no length if there is none. */
static struct expected expectation(__u8 opcode)
{
	struct expected it = {};
	__u32 i;

	for (i = 0; i < COUNT(expected); i++)
		if (expected[i].op == (opcode & 0x1f))
			it = expected[i];
	switch (opcode & 0xe0) {
	case RC:
		return it;
	case XRC:
		if (it.len && !(it.traits & TIDE_RESPONDS)) {
			it.traits |= TIDE_HAS_XRCETH;
			it.len += 4;
		}
		return it;
	case UC:
		return it.uc ? it : (struct expected){};
	case UD:
		it.traits |= TIDE_HAS_DETH;
		it.len += 8;
		return it.ud ? it : (struct expected){};
	}
	if (opcode != TIDE_CNP_OPCODE)
		return (struct expected){};
	return (struct expected){
		.traits = TIDE_STARTS | TIDE_ENDS | TIDE_HAS_RESERVED,
		.len = 28,
	};
}

static void fill_randomly(void *data, size_t len)
{
	__u8 *at = data;

	while (len--)
		*at++ = random();
}

/* A packet that can be, its bytes random where they may be. */
static struct tide_packet random_packet(__u8 opcode)
{
	const struct expected it = expectation(opcode);
	struct tide_packet packet = {
		.opcode = opcode,
		.traits = it.traits,
		.header_len = it.len,
		.solicited = random() & 1,
		.migrated = random() & 1,
		.ack_request = random() & 1,
		.fecn = random() & 1,
		.becn = random() & 1,
		.pkey = random(),
		.dest_qpn = random() & 0xffffff,
		.psn = random() & 0xffffff,
	};

#define FILL(field)	fill_randomly(&packet.field, sizeof(packet.field))
	if (it.traits & TIDE_HAS_XRCETH)
		packet.srqn = random() & 0xffffff;
	if (it.traits & TIDE_HAS_DETH) {
		FILL(qkey);
		packet.src_qpn = random() & 0xffffff;
	}
	if (it.traits & TIDE_HAS_FETH)
		packet.flush = random() & 0x3f;
	if (it.traits & (TIDE_HAS_RETH | TIDE_HAS_ATOMICETH)) {
		FILL(remote_addr);
		FILL(rkey);
	}
	if (it.traits & TIDE_HAS_RETH)
		FILL(dma_len);
	if (it.traits & TIDE_HAS_ATOMICETH) {
		FILL(swap_add);
		FILL(compare);
	}
	if (it.traits & TIDE_HAS_AETH) {
		FILL(syndrome);
		packet.msn = random() & 0xffffff;
	}
	if (it.traits & TIDE_HAS_ATOMICACKETH)
		FILL(original);
	if (it.traits & TIDE_HAS_IMM)
		FILL(imm_data);
	if (it.traits & TIDE_HAS_IETH)
		FILL(invalidate_rkey);
#undef FILL
	if (it.traits & TIDE_HAS_PAYLOAD)
		packet.payload_len = random() % 4097;
	return packet;
}

static bool same(const struct tide_packet *a, const struct tide_packet *b)
{
	return a->opcode == b->opcode && a->traits == b->traits &&
	       a->solicited == b->solicited && a->migrated == b->migrated &&
	       a->ack_request == b->ack_request && a->fecn == b->fecn &&
	       a->becn == b->becn && a->version == b->version &&
	       a->pkey == b->pkey && a->dest_qpn == b->dest_qpn &&
	       a->psn == b->psn && a->qkey == b->qkey &&
	       a->src_qpn == b->src_qpn && a->srqn == b->srqn &&
	       a->remote_addr == b->remote_addr && a->rkey == b->rkey &&
	       a->dma_len == b->dma_len && a->swap_add == b->swap_add &&
	       a->compare == b->compare && a->syndrome == b->syndrome &&
	       a->msn == b->msn && a->original == b->original &&
	       a->imm_data == b->imm_data &&
	       a->invalidate_rkey == b->invalidate_rkey &&
	       a->flush == b->flush && a->header_len == b->header_len &&
	       a->payload_len == b->payload_len;
}

/* In memory of just that size, so that reading past its end is noticed. */
static bool parse_exactly(struct tide_packet *packet, const void *data,
			  __u32 avail, __u32 total)
{
	void *copy = malloc(avail);
	bool parsed;

	if (!copy && avail)
		exit(2);
	memcpy(copy, data, avail);
	parsed = tide_packet_parse(packet, copy, avail, total);
	free(copy);
	return parsed;
}

static __u32 total_len(const struct tide_packet *packet)
{
	return packet->header_len + packet->payload_len +
	       tide_packet_pad(packet->payload_len) + TIDE_ICRC_LEN;
}

static bool comes_back(const struct tide_packet *packet)
{
	__u8 data[TIDE_MAX_HEADER_LEN + 1];
	struct tide_packet built = *packet, parsed;
	__u32 len;

	fill_randomly(data, sizeof(data));
	fill_randomly(&parsed, sizeof(parsed));
	built.traits = random();
	built.header_len = random();
	data[packet->header_len] = 0x5a;
	len = tide_packet_build(&built, data);
	return len == packet->header_len && data[len] == 0x5a &&
	       same(&built, packet) &&
	       parse_exactly(&parsed, data, len, total_len(packet)) &&
	       same(&parsed, packet);
}

static bool all_come_back(__u8 opcode)
{
	struct tide_packet packet;
	int i;

	for (i = 0; i < 1000; i++) {
		packet = random_packet(opcode);
		if (!comes_back(&packet))
			return false;
	}
	return true;
}

/* Whether it takes all of the headers to be a packet, and of each length. */
static bool takes_all(__u8 opcode)
{
	struct tide_packet packet = random_packet(opcode), parsed;
	const __u32 len = packet.header_len;
	__u8 data[TIDE_MAX_HEADER_LEN];
	__u32 avail, total, left;
	bool payload = packet.traits & TIDE_HAS_PAYLOAD;

	packet.payload_len = 0;
	tide_packet_build(&packet, data);
	for (avail = 0; avail < len; avail++)
		if (parse_exactly(&parsed, data, avail, len + 4096))
			return false;
	for (total = 0; total < 70000; total++) {
		left = total - len - TIDE_ICRC_LEN;
		if (parse_exactly(&parsed, data, len, total) !=
		    (total >= len + TIDE_ICRC_LEN && left % 4 == 0 &&
		     left <= (payload ? 4096 : 0)))
			return false;
	}
	return !parse_exactly(&parsed, data, len, -1U) &&
	       !parse_exactly(&parsed, data, len, -4U) &&
	       !parse_exactly(&parsed, data, len, len + TIDE_ICRC_LEN - 4);
}

static bool pads_rightly(__u8 opcode)
{
	struct tide_packet packet = random_packet(opcode), parsed;
	const __u32 len = packet.header_len;
	const bool payload = packet.traits & TIDE_HAS_PAYLOAD;
	__u8 data[TIDE_MAX_HEADER_LEN];
	__u32 pad;

	tide_packet_build(&packet, data);
	for (pad = 0; pad < 4; pad++) {
		data[1] = pad << 4;
		if (parse_exactly(&parsed, data, len, len + TIDE_ICRC_LEN) !=
		    !pad)
			return false;
		if (parse_exactly(&parsed, data, len,
				  len + 4 + TIDE_ICRC_LEN) != payload ||
		    (payload && parsed.payload_len != 4 - pad))
			return false;
	}
	return true;
}

/* Of a packet with one bit wrong: it is none, or another, never the same. */
static bool flips_are_seen(__u8 opcode)
{
	struct tide_packet packet = random_packet(opcode), parsed, built;
	__u8 data[TIDE_MAX_HEADER_LEN], again[TIDE_MAX_HEADER_LEN];
	__u8 mask[TIDE_MAX_HEADER_LEN];
	__u32 bit;

	tide_packet_build(&packet, data);
	defined_bits(opcode, mask);
	for (bit = 0; bit < packet.header_len * 8; bit++) {
		const __u8 one = 0x80 >> bit % 8;

		data[bit / 8] ^= one;
		if (parse_exactly(&parsed, data, sizeof(data),
				  total_len(&packet))) {
			built = parsed;
			tide_packet_build(&built, again);
			if (!defined_bits_equal(parsed.opcode, again, data) ||
			    same(&parsed, &packet) == !!(mask[bit / 8] & one))
				return false;
		}
		data[bit / 8] ^= one;
	}
	return true;
}

static bool versions_are_refused(__u8 opcode)
{
	struct tide_packet packet = random_packet(opcode), parsed;
	__u8 data[TIDE_MAX_HEADER_LEN];

	for (packet.version = 1; packet.version < 16; packet.version++) {
		tide_packet_build(&packet, data);
		if ((data[1] & 0xf) != packet.version ||
		    parse_exactly(&parsed, data, sizeof(data),
				  total_len(&packet)))
			return false;
	}
	return true;
}

static bool is_none(__u8 opcode)
{
	struct tide_packet packet = { .opcode = opcode };
	__u8 data[128] = { opcode };
	__u32 total;

	for (total = 0; total < sizeof(data); total++)
		if (parse_exactly(&packet, data, total, total))
			return false;
	packet.opcode = opcode;
	return !tide_packet_header_len(opcode) &&
	       !tide_packet_build(&packet, data);
}

static void test_opcodes(void)
{
	__u32 longest = 0, none = 0, opcode, len;
	bool refused = true;

	for (opcode = 0; opcode < 256; opcode++) {
		len = expectation(opcode).len;
		if (!len) {
			refused = refused && is_none(opcode);
			none++;
			continue;
		}
		if (len > longest)
			longest = len;
		ok(tide_packet_header_len(opcode) == len &&
		   all_come_back(opcode), "opcode %#x comes back", opcode);
		ok(takes_all(opcode), "opcode %#x takes its headers", opcode);
		ok(pads_rightly(opcode), "opcode %#x pads", opcode);
		ok(flips_are_seen(opcode), "opcode %#x, one bit wrong", opcode);
		ok(versions_are_refused(opcode), "opcode %#x, other versions",
		   opcode);
	}
	ok(refused, "the other %u opcodes are none", none);
	ok(longest == TIDE_MAX_HEADER_LEN, "the longest headers are %u bytes",
	   longest);
}

/* Where no capture tells: the layouts of the specification, by hand. */
static const struct layout {
	const char *name;
	struct tide_packet packet;
	__u8 bytes[TIDE_MAX_HEADER_LEN];
} layouts[] = {
	{ "all bits of a BTH, and an IETH", {
		.opcode = 0x16, .solicited = true, .migrated = true,
		.ack_request = true, .fecn = true, .becn = true,
		.pkey = 0x8123, .dest_qpn = 0x456789, .psn = 0xabcdef,
		.invalidate_rkey = 0x01020304, .payload_len = 5,
	}, { 0x16, 0xf0, 0x81, 0x23, 0xc0, 0x45, 0x67, 0x89,
	     0x80, 0xab, 0xcd, 0xef, 1, 2, 3, 4 } },
	{ "FECN only", {
		.opcode = 0x01, .fecn = true, .pkey = 0xffff, .dest_qpn = 1,
	}, { 0x01, 0, 0xff, 0xff, 0x80, 0, 0, 1 } },
	{ "an XRCETH before a RETH, and an immediate last", {
		.opcode = 0xab, .pkey = 0xffff, .srqn = 0x112233,
		.remote_addr = 0x0102030405060708, .rkey = 0x090a0b0c,
		.dma_len = 0x0d0e0f10, .imm_data = 0xabababab,
	}, { 0xab, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0x33,
	     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	     0xab, 0xab, 0xab, 0xab } },
	{ "a FETH before a RETH", {
		.opcode = 0x1c, .pkey = 0xffff, .flush = 0x12,
		.remote_addr = 0x0102030405060708, .rkey = 0x090a0b0c,
		.dma_len = 0x0d0e0f10,
	}, { 0x1c, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12,
	     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } },
	{ "an atomic's operands in their order, behind an XRCETH", {
		.opcode = 0xb3, .pkey = 0xffff, .srqn = 5,
		.remote_addr = 0x0102030405060708, .rkey = 0x090a0b0c,
		.swap_add = 0x1112131415161718, .compare = 0x2122232425262728,
	}, { 0xb3, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
	     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
	     0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
	     0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28 } },
	{ "a notification of congestion", {
		.opcode = 0x81, .becn = true, .pkey = 0xffff, .dest_qpn = 7,
	}, { 0x81, 0, 0xff, 0xff, 0x40, 0, 0, 7 } },
};

static void test_layouts(void)
{
	__u8 data[TIDE_MAX_HEADER_LEN];
	struct tide_packet packet;
	__u32 i, len;

	for (i = 0; i < COUNT(layouts); i++) {
		packet = layouts[i].packet;
		len = tide_packet_build(&packet, data);
		ok(len && !memcmp(data, layouts[i].bytes, len), "%s",
		   layouts[i].name);
	}
}

/* What the captured packets say, but for what is the same in all. */
static const struct tide_packet meant[] = {
	{ .opcode = 0x04, .dest_qpn = 0x11, .psn = 0xc5e9a5,
	  .ack_request = true, .payload_len = 61 },
	{ .opcode = 0x11, .dest_qpn = 0x11, .psn = 0xc5e9a5,
	  .syndrome = 0x1f, .msn = 1 },
	{ .opcode = 0x0a, .dest_qpn = 0x15, .psn = 0x18b4d3,
	  .ack_request = true, .remote_addr = 0x56316ed31000, .rkey = 0x695,
	  .dma_len = 33, .payload_len = 33 },
	{ .opcode = 0x64, .dest_qpn = 0x13, .psn = 0x6e8d01,
	  .qkey = 0x11111111, .src_qpn = 0x13, .payload_len = 30 },
	{ .opcode = 0x14, .dest_qpn = 0x17, .psn = 0xf90fbe,
	  .ack_request = true, .remote_addr = 0x56197975c000, .rkey = 0x8b9,
	  .swap_add = 1 },
	{ .opcode = 0x12, .dest_qpn = 0x17, .psn = 0xf90fbe,
	  .syndrome = 0x1f, .msn = 1, .original = 0x42fcaba8aee7c0f9 },
	{ .opcode = 0x0c, .dest_qpn = 0x16, .psn = 0x42ce26,
	  .ack_request = true, .remote_addr = 0x557fa93c9000, .rkey = 0x742,
	  .dma_len = 70 },
	{ .opcode = 0x10, .dest_qpn = 0x16, .psn = 0x42ce26,
	  .syndrome = 0x1f, .msn = 1, .payload_len = 70 },
};

static bool is_meant(const struct captured *it, struct tide_packet packet)
{
	const __u8 *bth = it->bytes + it->ip_len + CAPTURED_UDP_LEN;
	const __u32 total = it->len - it->ip_len - CAPTURED_UDP_LEN;
	__u8 data[TIDE_MAX_HEADER_LEN];
	struct tide_packet parsed;
	__u32 len;

	packet.pkey = 0xffff;
	len = tide_packet_build(&packet, data);
	return len && !memcmp(data, bth, len) &&
	       parse_exactly(&parsed, bth, total, total) &&
	       same(&parsed, &packet);
}

static void test_captured(void)
{
	__u32 i;

	for (i = 0; i < COUNT(captured); i++)
		ok(is_meant(&captured[i], meant[i]), "%s", captured[i].name);
}

int main(void)
{
	srandom(1);
	test_opcodes();
	test_layouts();
	test_captured();
	return tap_end();
}
