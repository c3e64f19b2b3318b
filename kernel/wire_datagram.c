// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire_datagram.c - datagrams to and from other hosts, multicast included.
 */
#include <linux/slab.h>
#include <rdma/ib_addr.h>

#include "arrival.h"
#include "datagram.h"
#include "device.h"
#include "emit.h"
#include "gid.h"
#include "gsi.h"
#include "mcast.h"
#include "wire_datagram.h"

/* All datagrams of a queue pair to an address are one flow. */
#define FIRST_SPORT	0xc000
#define SPORT_MASK	0x3fff

static bool is_same_way(const struct tide_av *a, const struct tide_av *b)
{
	return !memcmp(&a->sgid, &b->sgid, sizeof(a->sgid)) &&
	       !memcmp(&a->dgid, &b->dgid, sizeof(a->dgid)) &&
	       a->ifindex == b->ifindex && a->flow_label == b->flow_label &&
	       a->traffic_class == b->traffic_class &&
	       a->hop_limit == b->hop_limit;
}

/* The path to where the datagram goes: most go where the last one did. */
static struct tide_path *path_of(struct tide_qp *qp, const struct tide_av *av)
{
	struct tide_far *far = &qp->dgs->far;

	if (!is_same_way(&far->av, av)) {
		tide_path_aim(&far->path, qp->dev, av->ifindex, &av->sgid,
			      &av->dgid, av->flow_label, av->traffic_class,
			      av->hop_limit,
			      FIRST_SPORT | (qp->qpn & SPORT_MASK));
		far->av = *av;
	}
	return &far->path;
}

static struct tide_packet packet_of(struct tide_qp *qp,
				    const struct tide_datagram *dg)
{
	bool imm = dg->op.opcode == IB_WR_SEND_WITH_IMM;
	struct tide_far *far = &qp->dgs->far;

	return (struct tide_packet) {
		.opcode = TIDE_OPCODE(TIDE_UD, imm ? TIDE_SEND_ONLY_IMM :
						     TIDE_SEND_ONLY),
		.solicited = dg->op.solicited,
		.migrated = true,
		.pkey = TIDE_DEFAULT_PKEY,
		.dest_qpn = dg->dest_qpn,
		.psn = far->psn++ & TIDE_PSN_MASK,
		.qkey = dg->qkey,
		.src_qpn = dg->op.src_qpn,
		.imm_data = dg->op.imm_data,
		.payload_len = dg->op.length - sizeof(dg->grh),
	};
}

/**
 * tide_wire_send_datagram - send a datagram to another host
 * @qp: the sender, by who has the run bit, in a step
 * @dg: the datagram
 *
 * Context: process or softirq.
 *
 * Return: false if it has not left this one.
 */
bool tide_wire_send_datagram(struct tide_qp *qp, const struct tide_datagram *dg)
{
	struct tide_packet packet = packet_of(qp, dg);
	u32 size = tide_packet_header_len(packet.opcode) + packet.payload_len +
		   tide_packet_pad(packet.payload_len) + TIDE_ICRC_LEN;
	struct tide_burst burst;
	u32 done, len;

	if (tide_emit_begin(&burst, path_of(qp, &dg->av), NULL, 1, size, size,
			    GFP_ATOMIC))
		return false;
	tide_emit_header(&burst, &packet);
	for (done = 0; done < packet.payload_len; done += len) {
		void *to;

		len = packet.payload_len - done;
		to = tide_emit_room(&burst, &len);
		memcpy(to, dg->payload + done, len);
		tide_emit_filled(&burst, len);
	}
	tide_emit_packet_done(&burst);
	return !tide_emit_send(&burst);
}

/* What the receiver gets to see. */
static void fill(struct tide_datagram *dg, const struct tide_arrival *arrival,
		 const void *payload)
{
	const struct tide_packet *packet = &arrival->packet;
	const void *ip = arrival->skb->head + arrival->ip;

	*dg = (struct tide_datagram) {
		.op = {
			.opcode = packet->traits & TIDE_HAS_IMM ?
				  IB_WR_SEND_WITH_IMM : IB_WR_SEND,
			.solicited = packet->solicited,
			.imm_data = packet->imm_data,
			.length = sizeof(dg->grh) + packet->payload_len,
			.src_qpn = packet->src_qpn,
			.has_grh = true,
			.sl = arrival->ipv6 ? TIDE_SL_HEADER_IPV6 :
					      TIDE_SL_HEADER_IPV4,
		},
		.payload = payload,
		.dest_qpn = packet->dest_qpn,
		.qkey = packet->qkey,
	};
	dg->av.dgid = arrival->dest;
	dg->av.ifindex = arrival->skb->skb_iif;
	if (arrival->ipv6)
		memcpy(&dg->grh, ip, sizeof(struct ipv6hdr));
	else
		memcpy(&dg->grh.roce4grh, ip, sizeof(dg->grh.roce4grh));
}

/* Under rcu_read_lock(), which keeps its memory. */
static struct tide_qp *find_receiver(const struct tide_arrival *arrival)
{
	u64 net_cookie = arrival->net->net_cookie;
	struct tide_qp *qp;

	if (arrival->packet.dest_qpn == TIDE_GSI_QPN)
		return tide_gsi_peek(net_cookie, NULL, &arrival->dest);
	qp = tide_qp_peek(arrival->packet.dest_qpn);
	if (!qp || qp->kernel || qp->net_cookie != net_cookie ||
	    !tide_gid_is_of(&arrival->dest, qp->dev))
		return NULL;
	return qp;
}

static void deliver_to_member(struct tide_qp *qp, const void *dg)
{
	tide_datagram_deliver(qp, dg);
}

static void deliver(const struct tide_arrival *arrival,
		    const struct tide_datagram *dg)
{
	struct tide_qp *qp;

	if (rdma_is_multicast_addr((struct in6_addr *)&arrival->dest)) {
		if (arrival->packet.dest_qpn == TIDE_MULTICAST_QPN)
			tide_mcast_walk_netdev(arrival->net,
					       arrival->skb->skb_iif,
					       &arrival->source,
					       &arrival->dest,
					       deliver_to_member, dg);
		return;
	}
	qp = find_receiver(arrival);
	if (qp)
		tide_datagram_deliver(qp, dg);
}

/**
 * tide_wire_receive_datagram - a datagram has come from another host
 * @arrival: the packet
 *
 * Context: softirq.
 */
void tide_wire_receive_datagram(const struct tide_arrival *arrival)
{
	const struct tide_packet *packet = &arrival->packet;
	u32 len = packet->payload_len;
	void *payload = NULL, *copy = NULL;
	struct tide_datagram dg;

	if ((packet->pkey ^ TIDE_DEFAULT_PKEY) & ~TIDE_FULL_MEMBER ||
	    len > TIDE_MAX_DATAGRAM)
		return;
	if (len)
		payload = tide_arrival_piece(arrival, 0, &len);
	if (len < packet->payload_len) {
		copy = kmalloc(packet->payload_len, GFP_ATOMIC | __GFP_NOWARN);
		if (!copy)
			return;
		tide_arrival_copy(arrival, copy, packet->payload_len);
		payload = copy;
	}
	fill(&dg, arrival, payload);
	rcu_read_lock();
	deliver(arrival, &dg);
	rcu_read_unlock();
	kfree(copy);
}
