// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire.c - the wire carrier's part of a queue pair, and the way of packets to
 * it.
 */
#include <linux/jhash.h>
#include <linux/slab.h>

#include "datagram.h"
#include "device.h"
#include "gid.h"
#include "requester.h"
#include "wire.h"
#include "wire_datagram.h"

/* Source ports are from here on (IBTA annex A17.3.2.1). */
#define FIRST_SPORT	0xc000
#define SPORT_MASK	0x3fff

static u8 transport_of(enum ib_qp_type type)
{
	switch (type) {
	case IB_QPT_UC:
		return TIDE_UC;
	case IB_QPT_XRC_INI:
	case IB_QPT_XRC_TGT:
		return TIDE_XRC;
	default:
		return TIDE_RC;
	}
}

/* A flow of its own for each pair of queue pairs. */
static u16 sport_of(const struct tide_qp *qp)
{
	return FIRST_SPORT |
	       (jhash_2words(qp->qpn, qp->attr.dest_qp_num, 0) & SPORT_MASK);
}

static bool is_here(const struct tide_qp *qp, const struct ib_qp_attr *attr)
{
	const struct ib_global_route *grh = rdma_ah_read_grh(&attr->ah_attr);
	bool here;

	rcu_read_lock();
	here = tide_gid_is_here(&grh->dgid, qp->dev);
	rcu_read_unlock();
	return here;
}

static struct tide_wire *make_wire(struct tide_qp *qp)
{
	struct tide_wire *wire = kzalloc(sizeof(*wire), GFP_KERNEL_ACCOUNT);

	if (!wire)
		return NULL;
	if (qp->req.sq.mem) {
		wire->tx.sent = kvcalloc(qp->req.sq.mask + 1,
					 sizeof(*wire->tx.sent),
					 GFP_KERNEL_ACCOUNT);
		if (!wire->tx.sent) {
			kfree(wire);
			return NULL;
		}
	}
	wire->transport = transport_of(qp->type);
	tide_path_init(&wire->path);
	tide_congestion_init(&wire->congestion);
	timer_setup(&wire->tx.timer, tide_wire_timeout, 0);
	tide_lane_init(&wire->requests, qp);
	tide_lane_init(&wire->responses, qp);
	return wire;
}

/**
 * tide_wire_prepare - have what a connection to an address takes
 * @qp: the queue pair; tide_qp.modify is held
 * @attr: the address; its source GID is held
 *
 * Return: 0 or -ENOMEM.
 */
int tide_wire_prepare(struct tide_qp *qp, const struct ib_qp_attr *attr)
{
	struct tide_wire *wire;

	if (qp->wire || qp->dgs || is_here(qp, attr))
		return 0;
	wire = make_wire(qp);
	if (!wire)
		return -ENOMEM;
	smp_store_release(&qp->wire, wire);
	return 0;
}

/**
 * tide_wire_set_path - how to reach the peer was stored
 * @qp: the queue pair, locked; tide_wire_prepare() has succeeded
 * @attr: the address; its source GID is held
 */
void tide_wire_set_path(struct tide_qp *qp, const struct ib_qp_attr *attr)
{
	const struct ib_global_route *grh = rdma_ah_read_grh(&attr->ah_attr);
	struct tide_wire *wire = qp->wire;

	/* What is under way goes on as it began. */
	if (!wire || qp->state != IB_QPS_INIT)
		return;
	WRITE_ONCE(wire->far, !is_here(qp, attr));
	tide_path_aim(&wire->path, qp->dev, tide_gid_ifindex(grh->sgid_attr),
		      &qp->sgid, &qp->dgid, grh->flow_label,
		      grh->traffic_class, grh->hop_limit, sport_of(qp));
	wire->path.congestion_control = true;
}

static void start_receiving(struct tide_qp *qp)
{
	struct tide_wire *wire = qp->wire;
	struct tide_wire_rx *rx = &wire->rx;

	wire->mtu = ib_mtu_enum_to_int(qp->attr.path_mtu);
	rx->epsn = qp->attr.rq_psn & TIDE_PSN_MASK;
	rx->msn = 0;
	rx->nak_sent = false;
	rx->ack_due = false;
	rx->awaits_receive = false;
	rx->kept_num = 0;
	tide_emit_doubt(&rx->near);
	tide_congestion_start(&wire->congestion);
}

/**
 * tide_wire_start - the queue pair begins to receive, or to send
 * @qp: the queue pair, locked
 * @next: the state that it enters, RTR or RTS, from the one before
 */
void tide_wire_start(struct tide_qp *qp, enum ib_qp_state next)
{
	/* Nothing is sent, or being sent, before. */
	if (qp->dgs && next == IB_QPS_RTS)
		qp->dgs->far.psn = qp->attr.sq_psn;
	if (!qp->wire)
		return;
	if (next == IB_QPS_RTR)
		start_receiving(qp);
	else
		tide_wire_tx_start(qp);
}

/**
 * tide_wire_clear - what has come and is not executed will not be
 * @qp: the queue pair, locked, in error or out of service
 */
void tide_wire_clear(struct tide_qp *qp)
{
	struct tide_wire *wire = qp->wire;

	if (!wire)
		return;
	wire->rx.ack_due = false;
	wire->rx.awaits_receive = false;
	wire->rx.active = false;
	wire->rx.packet_begun = false;
	wire->rx.read.active = false;
	wire->rx.read.held = false;
	tide_lane_clear(&wire->requests);
	tide_lane_clear(&wire->responses);
}

/* What it was asked for may be refused by now.  The qp is locked. */
void tide_wire_recheck(struct tide_qp *qp)
{
	if (qp->wire)
		tide_lane_recheck(&qp->wire->requests);
}

/* No timer runs any more.  Context: process, no locks. */
void tide_wire_shutdown(struct tide_qp *qp)
{
	if (!qp->wire)
		return;
	timer_shutdown_sync(&qp->wire->tx.timer);
	tide_congestion_shutdown(&qp->wire->congestion);
}

/*
 * A network namespace may go before who has routes in it: the queue pair's last
 * reference, or the device, whose netdev has moved to another.
 */
void tide_wire_forget_routes(struct tide_qp *qp)
{
	if (qp->wire)
		tide_path_forget(&qp->wire->path);
	if (qp->dgs)
		tide_path_forget(&qp->dgs->far.path);
}

/* With the queue pair's last reference.  Context: any. */
void tide_wire_destroy(struct tide_qp *qp)
{
	struct tide_wire *wire = qp->wire;

	if (!wire)
		return;
	tide_lane_destroy(&wire->requests);
	tide_lane_destroy(&wire->responses);
	if (wire->tx.composing.open && wire->tx.composing.begun)
		tide_emit_cancel(&wire->tx.composing.burst);
	tide_path_destroy(&wire->path);
	kvfree(wire->tx.sent);
	kfree(wire);
}

/**
 * tide_wire_packet - what all packets to a peer have
 * @qp: the queue pair
 * @op: the operation
 * @psn: the sequence number
 */
struct tide_packet tide_wire_packet(const struct tide_qp *qp,
				    enum tide_packet_op op, u32 psn)
{
	return (struct tide_packet) {
		.opcode = TIDE_OPCODE(qp->wire->transport, op),
		/* No path migrates; hardware refuses connections without. */
		.migrated = true,
		.pkey = TIDE_DEFAULT_PKEY,
		.dest_qpn = qp->attr.dest_qp_num,
		.psn = psn,
	};
}

/**
 * tide_outbox_add - room for one more burst
 * @out: the outbox
 *
 * Return: NULL when it is full.
 */
struct tide_burst *tide_outbox_add(struct tide_outbox *out)
{
	return out->num < TIDE_OUTBOX_BURSTS ? &out->bursts[out->num++] : NULL;
}

/* Send all that is in it.  Context: process or softirq, no locks. */
void tide_outbox_send(struct tide_outbox *out)
{
	u32 i;

	for (i = 0; i < out->num; i++)
		tide_emit_send(&out->bursts[i]);
}

/* Whether a packet comes from the peer of a queue pair, which is locked. */
static bool is_from_peer(const struct tide_qp *qp,
			 const struct tide_arrival *arrival)
{
	const struct tide_packet *packet = &arrival->packet;

	if (!qp->ibqp || !tide_qp_is_far(qp) ||
	    arrival->net->net_cookie != qp->net_cookie ||
	    memcmp(&arrival->source, &qp->dgid, sizeof(qp->dgid)) ||
	    memcmp(&arrival->dest, &qp->sgid, sizeof(qp->sgid)))
		return false;
	return !((packet->pkey ^ TIDE_DEFAULT_PKEY) & ~TIDE_FULL_MEMBER);
}

/* Whether a packet may be for a queue pair at all; that is locked. */
static bool is_for(const struct tide_qp *qp, const struct tide_arrival *arrival)
{
	const struct tide_packet *packet = &arrival->packet;
	bool responds = packet->traits & TIDE_RESPONDS;

	if (!is_from_peer(qp, arrival) ||
	    tide_packet_transport(packet) != qp->wire->transport)
		return false;
	if (responds)
		return qp->type != IB_QPT_XRC_TGT &&
		       tide_qp_may_finish_sends(qp);
	return qp->type != IB_QPT_XRC_INI && tide_qp_may_receive(qp);
}

static void wait_in_lane(struct tide_qp *qp, struct tide_lane *lane,
			 const struct tide_arrival *arrival)
{
	if (!tide_lane_append(lane, arrival))
		tide_count(qp, TIDE_CNT_RX_DROPS, 1);
}

static void take_request(struct tide_qp *qp, const struct tide_arrival *arrival,
			 struct tide_outbox *out)
{
	struct tide_lane *lane = &qp->wire->requests;
	enum tide_verdict verdict;

	if (lane->paging && tide_qp_is_reliable(qp) &&
	    tide_wire_while_paging(qp, arrival, out))
		return;
	if (tide_lane_is_busy(lane)) {
		wait_in_lane(qp, lane, arrival);
	} else {
		verdict = tide_wire_serve(qp, arrival, out);
		if (verdict == TIDE_FAULT || verdict == TIDE_MORE) {
			wait_in_lane(qp, lane, arrival);
			tide_lane_kick(lane);
		}
	}
}

static void take_response(struct tide_qp *qp,
			  const struct tide_arrival *arrival)
{
	struct tide_lane *lane = &qp->wire->responses;

	if (tide_lane_is_busy(lane)) {
		wait_in_lane(qp, lane, arrival);
	} else if (tide_wire_respond(qp, arrival) == TIDE_FAULT) {
		wait_in_lane(qp, lane, arrival);
		tide_lane_kick(lane);
	}
}

/* A packet of a connection. */
static void receive(struct tide_qp *qp, const struct tide_arrival *arrival)
{
	bool responds = arrival->packet.traits & TIDE_RESPONDS;
	struct tide_outbox out;
	bool taken, first;

	out.num = 0;
	spin_lock_bh(&qp->lock);
	taken = is_for(qp, arrival);
	if (taken && arrival->mark && (!responds || tide_wire_asks_again(qp)))
		tide_emit_seen(arrival->mark, arrival->skb->len);
	if (!taken)
		tide_count(qp, TIDE_CNT_RX_DROPS, 1);
	else if (responds)
		take_response(qp, arrival);
	else
		take_request(qp, arrival, &out);
	if (taken && !arrival->more)
		tide_wire_acknowledge(qp, &out);
	if (taken && arrival->congested)
		tide_congestion_met(qp, &out);
	first = out.num && tide_lane_sends(&qp->wire->requests);
	spin_unlock_bh(&qp->lock);
	tide_outbox_send(&out);
	if (first)
		tide_lane_sent(&qp->wire->requests);
	if (taken && responds)
		tide_req_answered(qp);
}

/* A congestion notification. */
static void receive_cnp(struct tide_qp *qp, const struct tide_arrival *arrival)
{
	spin_lock_bh(&qp->lock);
	if (is_from_peer(qp, arrival))
		tide_congestion_told(qp);
	else
		tide_count(qp, TIDE_CNT_CNPS_IGNORED, 1);
	spin_unlock_bh(&qp->lock);
}

void tide_wire_receive(const struct tide_arrival *arrival)
{
	struct tide_qp *qp;

	if (tide_packet_transport(&arrival->packet) == TIDE_UD) {
		tide_wire_receive_datagram(arrival);
		return;
	}
	qp = tide_qp_find(arrival->packet.dest_qpn);
	if (!qp)
		return;
	if (arrival->packet.opcode == TIDE_CNP_OPCODE)
		receive_cnp(qp, arrival);
	else
		receive(qp, arrival);
	tide_qp_put(qp);
}
