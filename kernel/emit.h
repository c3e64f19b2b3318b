/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * emit.h - composing packets and sending them.
 *
 * A burst is one or more packets on one path that have the same length, but
 * for the last, which may be shorter.  They are one buffer, which passes
 * through the IP stack once, and is segmented by the netdev, or as late as can
 * be in software.  The payload is put where it is to be, piece by piece, and
 * the ICRC, if there is one, is made of it while it is in the cache:
 *
 *	tide_emit_begin()
 *	for each packet
 *		tide_emit_header()
 *		until all its payload is through
 *			tide_emit_room(), copy, tide_emit_filled()
 *		tide_emit_packet_done()
 *	tide_emit_send() or tide_emit_cancel()
 *
 * One thread does that; which, and what locks it holds, is its own business,
 * but tide_emit_send() wants no lock that receiving a packet takes.
 */
#ifndef TIDE_EMIT_H
#define TIDE_EMIT_H

#include "packet.h"
#include "path.h"

/* The most that one burst may have. */
#define TIDE_BURST_PACKETS	32
#define TIDE_BURST_BYTES	(60U << 10)

/**
 * struct tide_near - whether bursts reach their receiver as they were sent
 * @mark: what tells their pages from others', and from those sent before
 *	something was lost; 0 if none has one yet
 *
 * Bursts that stay on this machine are seldom segmented, and of one that is not
 * the receiver looks at no ICRC but the first's, of which it is enough that it
 * is right for the headers; see tide_emit_is_whole().  Once he has said that
 * they come so, by tide_emit_seen(), those that are no longer are made with
 * that alone.  Should one be segmented after all, packets are lost: then there
 * is doubt, and all have ICRCs until a receiver speaks again.  So that is only
 * where what is lost is sent again.
 */
struct tide_near {
	unsigned long mark;
};

/* Something was lost, or may have been; or begin. */
static inline void tide_emit_doubt(struct tide_near *near)
{
	near->mark = 0;
}

/**
 * struct tide_burst - packets in the making
 * @path: where to
 * @skb: the buffer, which has a reference to the route, unless it was paused
 * @packets: how many it was begun for
 * @done: how many are complete
 * @size: bytes behind the UDP header, of each but the last
 * @done_len: bytes that the complete ones have, without headers in front
 * @outer: the headers in front of the packet that is being made
 * @id: the IPv4 identification of the first; the others' follow
 * @packet_len: bytes of that packet from the BTH on
 * @pad: bytes behind its payload
 * @bare: only the first packet has an ICRC, and that is of its headers
 * @crc: of what there is of it
 * @at: where the next byte goes
 * @left: bytes that there are at @at
 * @next_frag: the fragment of @skb that comes then
 */
struct tide_burst {
	struct tide_path *path;
	struct sk_buff *skb;
	u32 packets;
	u32 done;
	u32 size;
	u32 done_len;
	struct tide_outer outer;
	u16 id;
	u32 packet_len;
	u32 pad;
	bool bare;
	u32 crc;
	u8 *at;
	u32 left;
	u32 next_frag;
};

/**
 * tide_emit_begin - begin a burst
 * @burst: the burst
 * @path: where to
 * @near: what is known of who receives it; NULL if nothing
 * @packets: how many, at most TIDE_BURST_PACKETS
 * @size: bytes of each but the last, from the BTH to the ICRC, pad included
 * @last: and of the last; at most @size.  All together at most
 *	TIDE_BURST_BYTES
 * @gfp: how to get memory
 *
 * Context: as @gfp says.
 *
 * Return: 0; -ENOMEM; or, if there is no route, another negative errno.
 */
int tide_emit_begin(struct tide_burst *burst, struct tide_path *path,
		    struct tide_near *near, u32 packets, u32 size, u32 last,
		    gfp_t gfp);

/**
 * tide_emit_header - put in the next packet's headers
 * @burst: the burst
 * @packet: the headers; with the ICRC they and the payload make up the size
 *	that was announced
 */
void tide_emit_header(struct tide_burst *burst, struct tide_packet *packet);

/**
 * tide_emit_room - where payload goes
 * @burst: the burst
 * @len: bytes that come next, more than none; shortened to what is in one
 *	piece of memory
 */
void *tide_emit_room(struct tide_burst *burst, u32 *len);

/* There are @len bytes more, where tide_emit_room() said. */
void tide_emit_filled(struct tide_burst *burst, u32 len);

/* All payload of the packet is there: pad it, and close it. */
void tide_emit_packet_done(struct tide_burst *burst);

/**
 * tide_emit_pause - the next piece of payload may be long in coming
 * @burst: the burst, which holds no route until it is sent, and has its path
 *	to find one by then
 */
void tide_emit_pause(struct tide_burst *burst);

/**
 * tide_emit_send - send the packets that are complete
 * @burst: the burst, which ends by that; what is not complete is cut off
 *
 * Context: process or softirq.
 *
 * Return: 0, or a negative errno if nothing left this host; a qdisc's drop is
 * as good as a loss further on, and 0.
 */
int tide_emit_send(struct tide_burst *burst);
void tide_emit_cancel(struct tide_burst *burst);

/**
 * tide_emit_is_whole - whether payload is as it was sent on this machine
 * @skb: a buffer that was received
 *
 * It is if all of it is in pages that were filled here, into which nobody
 * writes: who changes payload on its way, be it to damage it, copies it or pulls
 * it into the head before.  What headers have become of is another matter.
 *
 * Return: if so, the mark of these pages, for tide_emit_seen(); else 0.
 */
unsigned long tide_emit_is_whole(const struct sk_buff *skb);

/* Who @mark's bursts are for got one of @len bytes whole.  Context: any. */
void tide_emit_seen(unsigned long mark, u32 len);

#endif /* TIDE_EMIT_H */
