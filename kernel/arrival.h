/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * arrival.h - packets that come from other hosts: the sockets they come by,
 * one for each IP version in each network namespace that has a device, and the
 * way from there to whom they are for.
 */
#ifndef TIDE_ARRIVAL_H
#define TIDE_ARRIVAL_H

#include <linux/skbuff.h>
#include <rdma/ib_verbs.h>

#include "packet.h"

struct net;
struct tide_listener;

/**
 * struct tide_arrival - a packet, one of those in its buffer
 * @packet: what it says; its ICRC is right, or not needed
 * @skb: the buffer; who keeps the arrival takes a reference
 * @payload: where the payload is, from the data of @skb on
 * @net: the network namespace
 * @ipv6: which
 * @ip: where the IP header is, in one piece, from the head of @skb on.  All
 *	packets in @skb share it: its length and identification are not those
 *	of this one
 * @source: where it comes from, as a GID: IPv4 addresses are mapped ones
 * @dest: where to
 * @mark: if its payload is as it was sent, the mark that tide_emit_seen() takes
 * @whole: so is its payload, and so are the headers of the buffer: there is no
 *	need to check its ICRC
 * @congested: it is marked with ECN's congestion experienced
 * @more: another packet of the same buffer follows
 */
struct tide_arrival {
	struct tide_packet packet;
	struct sk_buff *skb;
	u32 payload;
	struct net *net;
	bool ipv6;
	u32 ip;
	union ib_gid source;
	union ib_gid dest;
	unsigned long mark;
	bool whole;
	bool congested;
	bool more;
};

/* What is counted of packets that are nobody's. */
enum tide_arrival_drop {
	TIDE_DROP_ICRC,
	TIDE_DROP_MALFORMED,
	TIDE_DROP_NUM
};

/**
 * tide_arrival_piece - a piece of the payload
 * @arrival: the packet
 * @offset: of its first byte in the payload
 * @len: bytes wanted; shortened to what is in one piece of memory
 *
 * Return: where it is.  Who sent the packet may write there meanwhile.
 */
void *tide_arrival_piece(const struct tide_arrival *arrival, u32 offset,
			 u32 *len);

/* Copy the first @len bytes of the payload, which has as many. */
static inline void tide_arrival_copy(const struct tide_arrival *arrival,
				     void *to, u32 len)
{
	u32 done, piece;

	for (done = 0; done < len; done += piece) {
		const void *from;

		piece = len - done;
		from = tide_arrival_piece(arrival, done, &piece);
		memcpy(to + done, from, piece);
	}
}

struct tide_listener *tide_listen(struct net *net);
void tide_unlisten(struct tide_listener *listener);
int tide_arrival_init(void);
void tide_arrival_exit(void);

/**
 * tide_wire_receive - a packet has come, which is valid as such
 * @arrival: the packet
 *
 * Context: softirq.
 */
void tide_wire_receive(const struct tide_arrival *arrival);

#endif /* TIDE_ARRIVAL_H */
