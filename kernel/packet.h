/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * packet.h - packets of RoCEv2, from the base transport header on (IBTA
 * chapter 9, annexes A14, A17 and A19): what is in them, and how it is laid
 * out.
 *
 * Pure logic, built by the unit tests and the fuzzer too.  All numbers in
 * struct tide_packet are in the CPU's byte order, but for what is passed on as
 * it is.
 */
#ifndef TIDE_PACKET_H
#define TIDE_PACKET_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stdbool.h>
#endif

#define TIDE_UDP_PORT		4791	/* IBTA annex A17 */
#define TIDE_PSN_MASK		0xffffff
#define TIDE_QPN_MASK		0xffffff
#define TIDE_BTH_LEN		12
#define TIDE_BTH_QPN_LOW	7	/* where the QPN's last byte is */
#define TIDE_ICRC_LEN		4
#define TIDE_GRH_LEN		40
#define TIDE_MAX_HEADER_LEN	44	/* the longest that any packet has */
#define TIDE_MAX_PAYLOAD_LEN	4096	/* the largest MTU there is */
#define TIDE_FULL_MEMBER	0x8000	/* of a P_Key */

/* The transport: the upper three bits of the opcode (IBTA table 38). */
enum tide_transport {
	TIDE_RC = 0,
	TIDE_UC = 1,
	TIDE_UD = 3,
	TIDE_CNP = 4,		/* congestion notifications only */
	TIDE_XRC = 5,
};

/* The operation: the lower five. */
enum tide_packet_op {
	TIDE_SEND_FIRST = 0x00,
	TIDE_SEND_MIDDLE = 0x01,
	TIDE_SEND_LAST = 0x02,
	TIDE_SEND_LAST_IMM = 0x03,
	TIDE_SEND_ONLY = 0x04,
	TIDE_SEND_ONLY_IMM = 0x05,
	TIDE_WRITE_FIRST = 0x06,
	TIDE_WRITE_MIDDLE = 0x07,
	TIDE_WRITE_LAST = 0x08,
	TIDE_WRITE_LAST_IMM = 0x09,
	TIDE_WRITE_ONLY = 0x0a,
	TIDE_WRITE_ONLY_IMM = 0x0b,
	TIDE_READ_REQUEST = 0x0c,
	TIDE_READ_FIRST = 0x0d,		/* of a response, as those below */
	TIDE_READ_MIDDLE = 0x0e,
	TIDE_READ_LAST = 0x0f,
	TIDE_READ_ONLY = 0x10,
	TIDE_ACK = 0x11,
	TIDE_ATOMIC_ACK = 0x12,
	TIDE_COMPARE_SWAP_REQUEST = 0x13,
	TIDE_FETCH_ADD_REQUEST = 0x14,
	TIDE_SEND_LAST_INV = 0x16,
	TIDE_SEND_ONLY_INV = 0x17,
	TIDE_FLUSH_REQUEST = 0x1c,
	TIDE_ATOMIC_WRITE_REQUEST = 0x1d,
};

#define TIDE_CNP_OPCODE		0x81

#define TIDE_OPCODE(transport, op)	((__u8)((transport) << 5 | (op)))

/* What an opcode says of its packet. */
enum tide_packet_traits {
	TIDE_STARTS = 1 << 0,		/* is the first or only one */
	TIDE_ENDS = 1 << 1,		/* is the last or only one */
	TIDE_RESPONDS = 1 << 2,		/* goes from responder to requester */
	TIDE_HAS_PAYLOAD = 1 << 3,
	TIDE_HAS_DETH = 1 << 4,
	TIDE_HAS_XRCETH = 1 << 5,
	TIDE_HAS_RETH = 1 << 6,
	TIDE_HAS_ATOMICETH = 1 << 7,
	TIDE_HAS_AETH = 1 << 8,
	TIDE_HAS_ATOMICACKETH = 1 << 9,
	TIDE_HAS_IMM = 1 << 10,
	TIDE_HAS_IETH = 1 << 11,
	TIDE_HAS_FETH = 1 << 12,
	TIDE_HAS_RESERVED = 1 << 13,	/* 16 bytes, of a CNP */
};

/* Syndromes of an AETH (IBTA 9.7.5.2.1): the kind, and what the rest tells. */
#define TIDE_AETH_KIND		0xe0
#define TIDE_AETH_REST		0x1f
enum tide_aeth_kind {
	TIDE_AETH_ACK = 0x00,		/* the rest: credits, encoded */
	TIDE_AETH_RNR = 0x20,		/* the rest: RNR timer */
	TIDE_AETH_NAK = 0x60,		/* the rest: enum tide_nak */
};

enum tide_nak {
	TIDE_NAK_CODE_SEQUENCE = 0,
	TIDE_NAK_CODE_INVALID = 1,
	TIDE_NAK_CODE_ACCESS = 2,
	TIDE_NAK_CODE_OP = 3,
	TIDE_NAK_CODE_RD = 4,
};

/**
 * struct tide_packet - the headers of a packet, and how long it is
 * @opcode: enum tide_transport and enum tide_packet_op, TIDE_OPCODE()
 * @traits: enum tide_packet_traits; tide_packet_parse() fills it in, and
 *	tide_packet_build() looks it up itself
 * @solicited: BTH: SE
 * @migrated: BTH: MigReq
 * @ack_request: BTH: A
 * @fecn: BTH: congestion was met
 * @becn: BTH: congestion was met on the way there
 * @version: BTH: TVer; only 0 is defined
 * @pkey: BTH
 * @dest_qpn: BTH
 * @psn: BTH
 * @qkey: DETH
 * @src_qpn: DETH
 * @srqn: XRCETH
 * @remote_addr: RETH or AtomicETH
 * @rkey: RETH or AtomicETH
 * @dma_len: RETH
 * @swap_add: AtomicETH: to swap in, or to add
 * @compare: AtomicETH
 * @syndrome: AETH
 * @msn: AETH
 * @original: AtomicAckETH
 * @imm_data: ImmDt, as it is
 * @invalidate_rkey: IETH
 * @flush: FETH: placement types and selectivity, as TIDE_FLUSH_* of the ABI
 * @header_len: bytes before the payload, of all headers from the BTH on
 * @payload_len: bytes of payload, without padding
 */
struct tide_packet {
	__u8 opcode;
	__u16 traits;
	bool solicited;
	bool migrated;
	bool ack_request;
	bool fecn;
	bool becn;
	__u8 version;
	__u16 pkey;
	__u32 dest_qpn;
	__u32 psn;
	__u32 qkey;
	__u32 src_qpn;
	__u32 srqn;
	__u64 remote_addr;
	__u32 rkey;
	__u32 dma_len;
	__u64 swap_add;
	__u64 compare;
	__u8 syndrome;
	__u32 msn;
	__u64 original;
	__be32 imm_data;
	__u32 invalidate_rkey;
	__u32 flush;
	__u32 header_len;
	__u32 payload_len;
};

static inline enum tide_transport
tide_packet_transport(const struct tide_packet *packet)
{
	return packet->opcode >> 5;
}

static inline enum tide_packet_op
tide_packet_op(const struct tide_packet *packet)
{
	return packet->opcode & 0x1f;
}

/* How far @a is ahead of @b, as sequence numbers go; negative if behind. */
static inline __s32 tide_psn_diff(__u32 a, __u32 b)
{
	return (__s32)((a - b) << 8) >> 8;
}

static inline __u32 tide_psn_add(__u32 psn, __u32 n)
{
	return (psn + n) & TIDE_PSN_MASK;
}

/* So that packets are whole words (IBTA 9.2.5). */
static inline __u32 tide_packet_pad(__u32 payload_len)
{
	return -payload_len & 3;
}

/**
 * tide_packet_header_len - bytes of all headers that packets have
 * @opcode: whose
 *
 * Return: the length, BTH included; 0 if there is no such opcode.
 */
__u32 tide_packet_header_len(__u8 opcode);

/* Bytes of a whole packet, from the BTH to the ICRC. */
static inline __u32 tide_packet_size(const struct tide_packet *packet)
{
	return tide_packet_header_len(packet->opcode) + packet->payload_len +
	       tide_packet_pad(packet->payload_len) + TIDE_ICRC_LEN;
}

/**
 * tide_packet_parse - read the headers of a packet
 * @packet: becomes what is in it
 * @data: the BTH and what follows it
 * @avail: how much of that is at @data: all of the packet, or at least
 *	TIDE_MAX_HEADER_LEN bytes
 * @total: bytes that the UDP datagram has, ICRC included
 *
 * Return: false if it is none: too short, too long for what it is, an
 * unknown opcode or version, padding that is more than there is.
 */
bool tide_packet_parse(struct tide_packet *packet, const void *data,
		       __u32 avail, __u32 total);

/**
 * tide_packet_build - write the headers of a packet
 * @packet: what to put in, @payload_len included; but for @traits and
 *	@header_len, which become what they are
 * @data: where to, at least TIDE_MAX_HEADER_LEN bytes
 *
 * Return: how many bytes were written; 0 if there is no such opcode.
 */
__u32 tide_packet_build(struct tide_packet *packet, void *data);

#endif /* TIDE_PACKET_H */
