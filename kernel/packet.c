// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * packet.c - what the opcodes mean; reading and writing headers.
 *
 * Behind the BTH, those that a packet has come in this order: XRCETH or DETH,
 * FETH, RETH or AtomicETH, AETH, AtomicAckETH, ImmDt or IETH.
 */
#include "packet.h"

#ifdef __KERNEL__
#include <linux/string.h>
#else
#include <string.h>
#endif

/* The BTH, by its bytes. */
#define BTH_FLAGS	1
#define BTH_PKEY	2
#define BTH_CONGESTION	4
#define BTH_DEST_QPN	5
#define BTH_ACK		8
#define BTH_PSN		9

/* In BTH_FLAGS */
#define BTH_SE		0x80
#define BTH_MIGREQ	0x40
#define BTH_PAD_SHIFT	4
#define BTH_VERSION	0x0f

/* In BTH_CONGESTION */
#define BTH_FECN	0x80
#define BTH_BECN	0x40

/* In BTH_ACK */
#define BTH_ACK_REQUEST	0x80

#define XRCETH_LEN	4
#define DETH_LEN	8
#define FETH_LEN	4
#define RETH_LEN	16
#define ATOMICETH_LEN	28
#define AETH_LEN	4
#define ATOMICACKETH_LEN 8
#define IMM_LEN		4
#define IETH_LEN	4
#define RESERVED_LEN	16

#define FETH_DEFINED	0x3f	/* two bits of selectivity, four of placement */

struct form {
	__u16 traits;		/* 0: there is no such opcode */
	__u32 header_len;
};

#define LEN_IF(traits, trait, len)	((traits) & (trait) ? (len) : 0)

#define HEADER_LEN(traits)						\
	(TIDE_BTH_LEN +							\
	 LEN_IF(traits, TIDE_HAS_XRCETH, XRCETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_DETH, DETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_FETH, FETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_RETH, RETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_ATOMICETH, ATOMICETH_LEN) +		\
	 LEN_IF(traits, TIDE_HAS_AETH, AETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_ATOMICACKETH, ATOMICACKETH_LEN) +	\
	 LEN_IF(traits, TIDE_HAS_IMM, IMM_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_IETH, IETH_LEN) +			\
	 LEN_IF(traits, TIDE_HAS_RESERVED, RESERVED_LEN))

#define FORM(opcode, traits)	[opcode] = { traits, HEADER_LEN(traits) }

#define FIRST	(TIDE_STARTS | TIDE_HAS_PAYLOAD)
#define MIDDLE	TIDE_HAS_PAYLOAD
#define LAST	(TIDE_ENDS | TIDE_HAS_PAYLOAD)
#define SINGLE	(TIDE_STARTS | TIDE_ENDS)	/* one without payload */
#define ONLY	(SINGLE | TIDE_HAS_PAYLOAD)

/* What @transport has of its own is in all its requests: @own. */
#define REQUEST(transport, op, traits, own)				\
	FORM(TIDE_OPCODE(transport, op), (traits) | (own))

#define RESPONSE(transport, op, traits)					\
	FORM(TIDE_OPCODE(transport, op), (traits) | TIDE_RESPONDS)

/* What all connected transports have. */
#define SENDS_AND_WRITES(t, own)					\
	REQUEST(t, TIDE_SEND_FIRST, FIRST, own),			\
	REQUEST(t, TIDE_SEND_MIDDLE, MIDDLE, own),			\
	REQUEST(t, TIDE_SEND_LAST, LAST, own),				\
	REQUEST(t, TIDE_SEND_LAST_IMM, LAST | TIDE_HAS_IMM, own),	\
	REQUEST(t, TIDE_SEND_ONLY, ONLY, own),				\
	REQUEST(t, TIDE_SEND_ONLY_IMM, ONLY | TIDE_HAS_IMM, own),	\
	REQUEST(t, TIDE_WRITE_FIRST, FIRST | TIDE_HAS_RETH, own),	\
	REQUEST(t, TIDE_WRITE_MIDDLE, MIDDLE, own),			\
	REQUEST(t, TIDE_WRITE_LAST, LAST, own),				\
	REQUEST(t, TIDE_WRITE_LAST_IMM, LAST | TIDE_HAS_IMM, own),	\
	REQUEST(t, TIDE_WRITE_ONLY, ONLY | TIDE_HAS_RETH, own),		\
	REQUEST(t, TIDE_WRITE_ONLY_IMM,					\
		ONLY | TIDE_HAS_RETH | TIDE_HAS_IMM, own)

/* And those that acknowledge. */
#define RELIABLE(t, own)						\
	SENDS_AND_WRITES(t, own),					\
	REQUEST(t, TIDE_SEND_LAST_INV, LAST | TIDE_HAS_IETH, own),	\
	REQUEST(t, TIDE_SEND_ONLY_INV, ONLY | TIDE_HAS_IETH, own),	\
	REQUEST(t, TIDE_READ_REQUEST, SINGLE | TIDE_HAS_RETH, own),	\
	REQUEST(t, TIDE_COMPARE_SWAP_REQUEST,				\
		SINGLE | TIDE_HAS_ATOMICETH, own),			\
	REQUEST(t, TIDE_FETCH_ADD_REQUEST,				\
		SINGLE | TIDE_HAS_ATOMICETH, own),			\
	REQUEST(t, TIDE_FLUSH_REQUEST,					\
		SINGLE | TIDE_HAS_FETH | TIDE_HAS_RETH, own),		\
	REQUEST(t, TIDE_ATOMIC_WRITE_REQUEST, ONLY | TIDE_HAS_RETH, own), \
	RESPONSE(t, TIDE_READ_FIRST, FIRST | TIDE_HAS_AETH),		\
	RESPONSE(t, TIDE_READ_MIDDLE, MIDDLE),				\
	RESPONSE(t, TIDE_READ_LAST, LAST | TIDE_HAS_AETH),		\
	RESPONSE(t, TIDE_READ_ONLY, ONLY | TIDE_HAS_AETH),		\
	RESPONSE(t, TIDE_ACK, SINGLE | TIDE_HAS_AETH),			\
	RESPONSE(t, TIDE_ATOMIC_ACK,					\
		 SINGLE | TIDE_HAS_AETH | TIDE_HAS_ATOMICACKETH)

static const struct form forms[256] = {
	RELIABLE(TIDE_RC, 0),
	RELIABLE(TIDE_XRC, TIDE_HAS_XRCETH),
	SENDS_AND_WRITES(TIDE_UC, 0),
	REQUEST(TIDE_UD, TIDE_SEND_ONLY, ONLY, TIDE_HAS_DETH),
	REQUEST(TIDE_UD, TIDE_SEND_ONLY_IMM, ONLY | TIDE_HAS_IMM,
		TIDE_HAS_DETH),
	FORM(TIDE_CNP_OPCODE, SINGLE | TIDE_HAS_RESERVED),
};

static inline __u16 get16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

static inline __u32 get24(const __u8 *at)
{
	return at[0] << 16 | at[1] << 8 | at[2];
}

static inline __u32 get32(const __u8 *at)
{
	return (__u32)at[0] << 24 | get24(at + 1);
}

static inline __u64 get64(const __u8 *at)
{
	return (__u64)get32(at) << 32 | get32(at + 4);
}

static inline void put16(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static inline void put24(__u8 *at, __u32 value)
{
	at[0] = value >> 16;
	put16(at + 1, value);
}

static inline void put32(__u8 *at, __u32 value)
{
	at[0] = value >> 24;
	put24(at + 1, value);
}

static inline void put64(__u8 *at, __u64 value)
{
	put32(at, value >> 32);
	put32(at + 4, value);
}

__u32 tide_packet_header_len(__u8 opcode)
{
	return forms[opcode].header_len;
}

static void parse_bth(struct tide_packet *packet, const __u8 *bth)
{
	packet->opcode = bth[0];
	packet->solicited = bth[BTH_FLAGS] & BTH_SE;
	packet->migrated = bth[BTH_FLAGS] & BTH_MIGREQ;
	packet->version = bth[BTH_FLAGS] & BTH_VERSION;
	packet->pkey = get16(bth + BTH_PKEY);
	packet->fecn = bth[BTH_CONGESTION] & BTH_FECN;
	packet->becn = bth[BTH_CONGESTION] & BTH_BECN;
	packet->dest_qpn = get24(bth + BTH_DEST_QPN);
	packet->ack_request = bth[BTH_ACK] & BTH_ACK_REQUEST;
	packet->psn = get24(bth + BTH_PSN);
}

static void parse_extended(struct tide_packet *packet, const __u8 *at)
{
	const __u16 traits = packet->traits;

	if (traits & TIDE_HAS_XRCETH) {
		packet->srqn = get24(at + 1);
		at += XRCETH_LEN;
	}
	if (traits & TIDE_HAS_DETH) {
		packet->qkey = get32(at);
		packet->src_qpn = get24(at + 5);
		at += DETH_LEN;
	}
	if (traits & TIDE_HAS_FETH) {
		packet->flush = get32(at) & FETH_DEFINED;
		at += FETH_LEN;
	}
	if (traits & TIDE_HAS_RETH) {
		packet->remote_addr = get64(at);
		packet->rkey = get32(at + 8);
		packet->dma_len = get32(at + 12);
		at += RETH_LEN;
	}
	if (traits & TIDE_HAS_ATOMICETH) {
		packet->remote_addr = get64(at);
		packet->rkey = get32(at + 8);
		packet->swap_add = get64(at + 12);
		packet->compare = get64(at + 20);
		at += ATOMICETH_LEN;
	}
	if (traits & TIDE_HAS_AETH) {
		packet->syndrome = at[0];
		packet->msn = get24(at + 1);
		at += AETH_LEN;
	}
	if (traits & TIDE_HAS_ATOMICACKETH)
		packet->original = get64(at);
	if (traits & TIDE_HAS_IMM)
		memcpy(&packet->imm_data, at, IMM_LEN);
	if (traits & TIDE_HAS_IETH)
		packet->invalidate_rkey = get32(at);
}

/* What is left to payload and padding: whole words, all of them allowed. */
static bool parse_payload(struct tide_packet *packet, __u32 len, __u32 pad)
{
	if (len & 3 || len < pad)
		return false;
	packet->payload_len = len - pad;
	return packet->payload_len <=
	       (packet->traits & TIDE_HAS_PAYLOAD ? TIDE_MAX_PAYLOAD_LEN : 0);
}

bool tide_packet_parse(struct tide_packet *packet, const void *data,
		       __u32 avail, __u32 total)
{
	const __u8 *bth = data;
	const struct form *form;

	if (avail < TIDE_BTH_LEN)
		return false;
	form = &forms[bth[0]];
	if (!form->traits || bth[BTH_FLAGS] & BTH_VERSION ||
	    avail < form->header_len ||
	    total < form->header_len + TIDE_ICRC_LEN)
		return false;

	*packet = (struct tide_packet){
		.traits = form->traits,
		.header_len = form->header_len,
	};
	parse_bth(packet, bth);
	parse_extended(packet, bth + TIDE_BTH_LEN);
	return parse_payload(packet, total - form->header_len - TIDE_ICRC_LEN,
			     bth[BTH_FLAGS] >> BTH_PAD_SHIFT & 3);
}

static void build_bth(const struct tide_packet *packet, __u8 *bth)
{
	bth[0] = packet->opcode;
	bth[BTH_FLAGS] = (packet->solicited ? BTH_SE : 0) |
			 (packet->migrated ? BTH_MIGREQ : 0) |
			 tide_packet_pad(packet->payload_len) << BTH_PAD_SHIFT |
			 (packet->version & BTH_VERSION);
	put16(bth + BTH_PKEY, packet->pkey);
	bth[BTH_CONGESTION] = (packet->fecn ? BTH_FECN : 0) |
			      (packet->becn ? BTH_BECN : 0);
	put24(bth + BTH_DEST_QPN, packet->dest_qpn);
	bth[BTH_ACK] = packet->ack_request ? BTH_ACK_REQUEST : 0;
	put24(bth + BTH_PSN, packet->psn);
}

static void build_extended(const struct tide_packet *packet, __u8 *at)
{
	const __u16 traits = packet->traits;

	if (traits & TIDE_HAS_XRCETH) {
		put32(at, packet->srqn & TIDE_QPN_MASK);
		at += XRCETH_LEN;
	}
	if (traits & TIDE_HAS_DETH) {
		put32(at, packet->qkey);
		put32(at + 4, packet->src_qpn & TIDE_QPN_MASK);
		at += DETH_LEN;
	}
	if (traits & TIDE_HAS_FETH) {
		put32(at, packet->flush & FETH_DEFINED);
		at += FETH_LEN;
	}
	if (traits & TIDE_HAS_RETH) {
		put64(at, packet->remote_addr);
		put32(at + 8, packet->rkey);
		put32(at + 12, packet->dma_len);
		at += RETH_LEN;
	}
	if (traits & TIDE_HAS_ATOMICETH) {
		put64(at, packet->remote_addr);
		put32(at + 8, packet->rkey);
		put64(at + 12, packet->swap_add);
		put64(at + 20, packet->compare);
		at += ATOMICETH_LEN;
	}
	if (traits & TIDE_HAS_AETH) {
		at[0] = packet->syndrome;
		put24(at + 1, packet->msn);
		at += AETH_LEN;
	}
	if (traits & TIDE_HAS_ATOMICACKETH)
		put64(at, packet->original);
	if (traits & TIDE_HAS_IMM)
		memcpy(at, &packet->imm_data, IMM_LEN);
	if (traits & TIDE_HAS_IETH)
		put32(at, packet->invalidate_rkey);
	if (traits & TIDE_HAS_RESERVED)
		memset(at, 0, RESERVED_LEN);
}

__u32 tide_packet_build(struct tide_packet *packet, void *data)
{
	const struct form *form = &forms[packet->opcode];

	if (!form->traits)
		return 0;
	packet->traits = form->traits;
	packet->header_len = form->header_len;
	build_bth(packet, data);
	build_extended(packet, data + TIDE_BTH_LEN);
	return form->header_len;
}
