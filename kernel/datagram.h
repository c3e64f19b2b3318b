/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * datagram.h - the local carrier of datagrams: from a send queue entry that
 * names an address handle to the receives of whoever it is for.
 *
 * A queue pair for datagrams has one struct tide_datagrams for both sides. A
 * datagram is first collected where it is: all of the sender's page faults are
 * over before any receiver is touched.  Then it is delivered, to each of its
 * receivers, in one go or by way of the receiver's inbox.  Nothing that a
 * receiver does, or does not do, is noticed by the sender.
 */
#ifndef TIDE_DATAGRAM_H
#define TIDE_DATAGRAM_H

#include "ah.h"
#include "inbox.h"
#include "path.h"
#include "responder.h"

/* Who may be sent to by everybody: the members of a multicast group. */
#define TIDE_MULTICAST_QPN	0xffffff

/* The most that a datagram carries, whatever the MTU of the port is. */
#define TIDE_MAX_DATAGRAM	4096

/*
 * What mlx5 tells in the low bits of a completion's service level, and UCX
 * reads there to know where in the 40 bytes the addresses are.
 */
#define TIDE_SL_HEADER_IPV6	1
#define TIDE_SL_HEADER_IPV4	2

/**
 * struct tide_datagram - a datagram
 * @op: what its receivers get to see; its length is that of header and payload
 * @grh: the header that they get in front of the payload
 * @payload: the payload
 * @dest_qpn: whom it is for
 * @qkey: their key
 * @av: and where they are
 */
struct tide_datagram {
	struct tide_op op;
	union rdma_network_hdr grh;
	const void *payload;
	u32 dest_qpn;
	u32 qkey;
	struct tide_av av;
};

/**
 * struct tide_far - how datagrams go to another host
 * @av: where the last one went
 * @path: the way there
 * @psn: the next one's sequence number, which nobody expects
 */
struct tide_far {
	struct tide_av av;
	struct tide_path path;
	u32 psn;
};

/**
 * struct tide_datagrams - what a queue pair needs for datagrams
 * @sending: the datagram being sent; owned by who has the run bit
 * @buffer: where its payload is collected, unless it is inline data
 * @far: the way to who is not on this host; owned by who has the run bit
 * @inbox: datagrams that wait for memory of the receiver
 */
struct tide_datagrams {
	struct tide_datagram sending;
	void *buffer;
	struct tide_far far;
	struct tide_inbox inbox;
};

struct tide_datagrams *tide_datagrams_create(struct tide_qp *qp);
void tide_datagrams_destroy(struct tide_datagrams *dgs);

enum tide_verdict tide_datagram_load(struct tide_qp *qp,
				     const struct tide_send_wqe *wqe);
bool tide_datagram_deliver(struct tide_qp *qp, const struct tide_datagram *dg);
enum tide_verdict tide_datagram_step(struct tide_qp *qp);

#endif /* TIDE_DATAGRAM_H */
