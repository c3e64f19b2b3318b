// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire_responder.c - executing requests that come in packets, and answering
 * them (IBTA 9.7.4 and 9.7.5 for what is reliable, 9.8.2 for what is not).
 *
 * All of this runs with tide_qp.lock held.
 */
#include "copy.h"
#include "flush.h"
#include "wire.h"

/*
 * The RNR timer that a requester gets for memory that somebody else has to
 * provide: 10 ms, so that the retries it has last for a while.
 */
#define PAGING_RNR_TIMER	20

/**
 * tide_wire_reply - respond with a packet without payload
 * @qp: the queue pair, locked
 * @out: takes the packet
 * @packet: the packet
 *
 * Return: false if there is no room, or no route, for it.
 */
bool tide_wire_reply(struct tide_qp *qp, struct tide_outbox *out,
		     struct tide_packet *packet)
{
	u32 size = tide_packet_size(packet);
	struct tide_burst *burst = tide_outbox_add(out);

	/* Who gets no answer will ask again. */
	if (!burst)
		return false;
	if (tide_emit_begin(burst, &qp->wire->path, NULL, 1, size, size,
			    GFP_ATOMIC)) {
		out->num--;
		return false;
	}
	tide_emit_header(burst, packet);
	tide_emit_packet_done(burst);
	return true;
}

static void send_ack(struct tide_qp *qp, struct tide_outbox *out, u8 syndrome,
		     u32 psn)
{
	struct tide_wire_rx *rx = &qp->wire->rx;
	struct tide_packet packet = tide_wire_packet(qp, TIDE_ACK, psn);

	packet.syndrome = syndrome;
	packet.msn = rx->msn;
	/* It tells of all before it, too. */
	rx->ack_due &= tide_psn_diff(psn, rx->epsn) < -1;
	tide_wire_reply(qp, out, &packet);
}

/* That packet is executed. */
static void send_ack_of(struct tide_qp *qp, struct tide_outbox *out, u32 psn)
{
	send_ack(qp, out, TIDE_AETH_ACK | tide_wire_credits(qp), psn);
}

/**
 * tide_wire_acknowledge - acknowledge what was executed, if that is due
 * @qp: the queue pair, locked
 * @out: takes the packet
 */
void tide_wire_acknowledge(struct tide_qp *qp, struct tide_outbox *out)
{
	struct tide_wire_rx *rx = &qp->wire->rx;

	if (rx->ack_due)
		send_ack_of(qp, out, tide_psn_add(rx->epsn, -1));
}

/* Ask for @epsn, and for nothing more until it comes. */
static void send_nak(struct tide_qp *qp, struct tide_outbox *out, u8 syndrome)
{
	struct tide_wire_rx *rx = &qp->wire->rx;

	if (!tide_qp_is_reliable(qp))
		return;
	rx->nak_sent = true;
	send_ack(qp, out, syndrome, rx->epsn);
}

/* A request was not executed. */
static void refuse(struct tide_qp *qp, struct tide_outbox *out,
		   enum tide_verdict verdict)
{
	struct tide_wire_rx *rx = &qp->wire->rx;

	rx->packet_begun = false;
	if (!tide_qp_is_reliable(qp)) {
		rx->active = false;
		tide_count(qp, TIDE_CNT_RX_DROPS, 1);
		return;
	}
	switch (verdict) {
	case TIDE_RNR:
		send_nak(qp, out, TIDE_AETH_RNR | qp->attr.min_rnr_timer);
		tide_wire_await_receive(qp, out);
		break;
	case TIDE_NAK_INVALID:
		send_nak(qp, out, TIDE_AETH_NAK | TIDE_NAK_CODE_INVALID);
		break;
	case TIDE_NAK_ACCESS:
		send_nak(qp, out, TIDE_AETH_NAK | TIDE_NAK_CODE_ACCESS);
		break;
	default:
		send_nak(qp, out, TIDE_AETH_NAK | TIDE_NAK_CODE_OP);
		break;
	}
}

/* It makes no sense in this place, or at all (IBTA 9.7.4.1). */
static void refuse_invalid(struct tide_qp *qp, struct tide_outbox *out)
{
	refuse(qp, out, tide_resp_invalid(qp));
}

static bool packet_is_write(const struct tide_packet *packet)
{
	enum tide_packet_op op = tide_packet_op(packet);

	return op >= TIDE_WRITE_FIRST && op <= TIDE_WRITE_ONLY_IMM;
}

/* What the packets of a message say that it is, as far as this one knows. */
static u8 opcode_of(const struct tide_packet *packet)
{
	switch (tide_packet_op(packet)) {
	case TIDE_READ_REQUEST:
		return IB_WR_RDMA_READ;
	case TIDE_COMPARE_SWAP_REQUEST:
		return IB_WR_ATOMIC_CMP_AND_SWP;
	case TIDE_FETCH_ADD_REQUEST:
		return IB_WR_ATOMIC_FETCH_AND_ADD;
	case TIDE_FLUSH_REQUEST:
		return IB_WR_FLUSH;
	case TIDE_ATOMIC_WRITE_REQUEST:
		return IB_WR_ATOMIC_WRITE;
	default:
		break;
	}
	if (packet_is_write(packet))
		return packet->traits & TIDE_HAS_IMM ?
		       IB_WR_RDMA_WRITE_WITH_IMM : IB_WR_RDMA_WRITE;
	if (packet->traits & TIDE_HAS_IMM)
		return IB_WR_SEND_WITH_IMM;
	return packet->traits & TIDE_HAS_IETH ? IB_WR_SEND_WITH_INV :
						IB_WR_SEND;
}

/* What the first packet of a message asks for. */
static struct tide_op op_of(const struct tide_qp *qp,
			    const struct tide_packet *packet)
{
	bool sized = packet->traits & TIDE_HAS_RETH;

	return (struct tide_op) {
		.opcode = opcode_of(packet),
		.solicited = packet->solicited,
		.flush = packet->flush,
		.imm_data = packet->imm_data,
		.invalidate_rkey = packet->invalidate_rkey,
		.length = sized ? packet->dma_len : packet->payload_len,
		.srqn = packet->srqn,
		.rkey = packet->rkey,
		.remote_addr = packet->remote_addr,
		.src_qpn = qp->attr.dest_qp_num,
	};
}

/* The last packet of a message tells what the first could not. */
static void learn_of_end(struct tide_op *op, const struct tide_packet *packet)
{
	op->opcode = opcode_of(packet);
	op->solicited = packet->solicited;
	op->imm_data = packet->imm_data;
	op->invalidate_rkey = packet->invalidate_rkey;
}

/* Whether a packet may come after those before it (IBTA table 50). */
static bool is_in_sequence(const struct tide_wire_rx *rx,
			   const struct tide_packet *packet)
{
	if (packet->traits & TIDE_STARTS)
		return !rx->active;
	return rx->active && packet_is_write(packet) ==
			     (rx->op.opcode == IB_WR_RDMA_WRITE);
}

/* Whether its payload is as long as it has to be there (IBTA 9.7.4.1.6). */
static bool has_right_length(const struct tide_wire *wire,
			     const struct tide_packet *packet)
{
	const struct tide_wire_rx *rx = &wire->rx;
	bool starts = packet->traits & TIDE_STARTS;
	u32 len = packet->payload_len;
	u32 left;

	if (packet->traits & TIDE_ENDS) {
		if (len > wire->mtu || (!starts && !len))
			return false;
	} else if (len != wire->mtu) {
		return false;
	}
	if (!packet_is_write(packet))
		return true;
	left = starts ? packet->dma_len : rx->op.length - rx->done;
	if (left > TIDE_MAX_MSG)
		return false;
	return packet->traits & TIDE_ENDS ? len == left : len < left;
}

static enum tide_verdict begin_message(struct tide_qp *qp,
				       const struct tide_packet *packet)
{
	struct tide_wire_rx *rx = &qp->wire->rx;
	enum tide_verdict verdict;

	rx->op = op_of(qp, packet);
	verdict = tide_resp_begin(qp, &rx->op);
	if (verdict != TIDE_DONE)
		return verdict;
	qp->resp.recv.sg.epoch = rx->op.epoch;
	rx->active = true;
	rx->done = 0;
	return TIDE_DONE;
}

/* A packet that is not the first of its message. */
static enum tide_verdict continue_message(struct tide_qp *qp,
					  const struct tide_packet *packet)
{
	struct tide_wire_rx *rx = &qp->wire->rx;
	enum tide_verdict verdict = TIDE_DONE;
	struct tide_op op = rx->op;

	if (!tide_resp_expects(qp, &op))
		return tide_resp_broken_off(qp);
	if (packet->traits & TIDE_ENDS) {
		learn_of_end(&op, packet);
		verdict = tide_resp_turn(qp, &op);
	}
	if (verdict == TIDE_DONE && !packet_is_write(packet))
		verdict = tide_resp_extend(qp, &op, packet->payload_len);
	if (verdict == TIDE_DONE)
		rx->op = op;
	return verdict;
}

/*
 * Copy what is left of a packet's payload to where it belongs, or all that is
 * there.
 */
static enum tide_verdict take_payload(struct tide_qp *qp,
				      const struct tide_arrival *arrival)
{
	struct tide_lane *lane = &qp->wire->requests;
	struct tide_wire_rx *rx = &qp->wire->rx;
	struct tide_side src = {}, dst;
	struct tide_copy_stop stop;
	u32 len;
	int ret;

	while (rx->part < arrival->packet.payload_len) {
		len = arrival->packet.payload_len - rx->part;
		src.kaddr = tide_arrival_piece(arrival, rx->part, &len);
		dst = tide_resp_side(qp, &rx->op, rx->done, &len);
		dst.leaf = &lane->leaf;
		dst.hold = &lane->hold;
		ret = lane->page_error ? -EACCES :
					 tide_copy(&dst, &src, len, &stop);
		if (ret == -EFAULT) {
			tide_lane_fault(lane, &stop.fault,
					tide_resp_ahead(qp, &rx->op,
							rx->done));
			return TIDE_FAULT;
		}
		if (ret < 0)
			return tide_resp_denied(qp, &rx->op);
		tide_resp_moved(qp, &rx->op, ret);
		rx->part += ret;
		rx->done += ret;
	}
	return TIDE_DONE;
}

static void packet_executed(struct tide_qp *qp,
			    const struct tide_packet *packet)
{
	struct tide_wire_rx *rx = &qp->wire->rx;

	rx->packet_begun = false;
	rx->awaits_receive = false;
	rx->epsn = tide_psn_add(packet->psn, 1);
	/* Who is not reliable is not answered, whatever it asks for. */
	rx->ack_due |= packet->ack_request && tide_qp_is_reliable(qp);
}

/* A packet of a send or a write. */
static enum tide_verdict serve_payload(struct tide_qp *qp,
				       const struct tide_arrival *arrival,
				       struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	struct tide_wire_rx *rx = &qp->wire->rx;
	enum tide_verdict verdict = TIDE_DONE;

	if (!rx->packet_begun) {
		verdict = packet->traits & TIDE_STARTS ?
			  begin_message(qp, packet) :
			  continue_message(qp, packet);
		rx->packet_begun = verdict == TIDE_DONE;
		rx->part = 0;
	} else if (!tide_resp_expects(qp, &rx->op)) {
		verdict = tide_resp_broken_off(qp);
	}
	if (verdict == TIDE_DONE)
		verdict = take_payload(qp, arrival);
	if (verdict == TIDE_FAULT)
		return verdict;
	if (verdict == TIDE_DONE && packet->traits & TIDE_ENDS) {
		rx->active = false;
		rx->msn = tide_psn_add(rx->msn, 1);
		verdict = tide_resp_finish(qp, &rx->op);
	}
	if (verdict == TIDE_DONE)
		packet_executed(qp, packet);
	else
		refuse(qp, out, verdict);
	return TIDE_DONE;
}

/*
 * What was executed lately and is answered by more than an acknowledgement.
 * No requester waits for more answers than that, so that nothing else that
 * claims to be asked again can be.
 */

static void keep(struct tide_wire_rx *rx, struct tide_kept kept)
{
	rx->kept[rx->kept_next] = kept;
	rx->kept_next = (rx->kept_next + 1) % TIDE_KEPT_RESULTS;
	rx->kept_num = min(rx->kept_num + 1, (u32)TIDE_KEPT_RESULTS);
}

/* The newest is 1. */
static const struct tide_kept *kept_at(const struct tide_wire_rx *rx, u32 i)
{
	return &rx->kept[(rx->kept_next + TIDE_KEPT_RESULTS - i) %
			 TIDE_KEPT_RESULTS];
}

/* The newest comes first: numbers come round. */
static const struct tide_kept *find_kept(const struct tide_wire_rx *rx,
					 u32 psn)
{
	const struct tide_kept *kept;
	u32 i;

	for (i = 1; i <= rx->kept_num; i++) {
		kept = kept_at(rx, i);
		if (tide_psn_diff(psn, kept->first) >= 0 &&
		    tide_psn_diff(psn, kept->last) <= 0)
			return kept;
	}
	return NULL;
}

/* Reads */

/* The next response of a read, with its place among them all. */
static struct tide_packet next_response(const struct tide_qp *qp, u32 done,
					u32 psn)
{
	const struct tide_wire *wire = qp->wire;
	u32 left = wire->rx.read.op.length - done;
	bool last = left <= wire->mtu;
	struct tide_packet packet;
	enum tide_packet_op op;

	if (!done)
		op = last ? TIDE_READ_ONLY : TIDE_READ_FIRST;
	else
		op = last ? TIDE_READ_LAST : TIDE_READ_MIDDLE;
	packet = tide_wire_packet(qp, op, psn);
	packet.msn = wire->rx.msn;
	packet.payload_len = min(left, wire->mtu);
	return packet;
}

/* How many responses make up the next burst, and their sizes. */
static u32 plan_burst(const struct tide_qp *qp, u32 *size, u32 *last)
{
	const struct tide_read_job *read = &qp->wire->rx.read;
	struct tide_packet packet = next_response(qp, read->done, read->psn);
	u32 done = read->done + packet.payload_len;
	u32 total, num = 1, most;

	most = tide_congestion_packets(&qp->wire->congestion, qp->wire->mtu);
	*size = *last = total = tide_packet_size(&packet);
	while (done < read->op.length && num < most &&
	       *last == *size) {
		packet = next_response(qp, done, 0);
		if (tide_packet_size(&packet) > *size ||
		    total + tide_packet_size(&packet) > TIDE_BURST_BYTES)
			break;
		*last = tide_packet_size(&packet);
		total += *last;
		done += packet.payload_len;
		num++;
	}
	return num;
}

/* Fill one response. */
static enum tide_verdict fill_response(struct tide_qp *qp,
				       struct tide_burst *burst)
{
	struct tide_lane *lane = &qp->wire->requests;
	struct tide_read_job *read = &qp->wire->rx.read;
	struct tide_packet packet = next_response(qp, read->done, read->psn);
	u32 done = read->done, end = done + packet.payload_len;
	struct tide_side dst = {}, src;
	struct tide_copy_stop stop;
	u32 len;
	int ret;

	if (tide_packet_op(&packet) != TIDE_READ_MIDDLE)
		packet.syndrome = TIDE_AETH_ACK | tide_wire_credits(qp);
	tide_emit_header(burst, &packet);
	while (done < end) {
		len = end - done;
		dst.kaddr = tide_emit_room(burst, &len);
		src = tide_resp_side(qp, &read->op, done, &len);
		src.leaf = &lane->leaf;
		src.hold = &lane->hold;
		ret = lane->page_error ? -EACCES :
					 tide_copy(&dst, &src, len, &stop);
		if (ret == -EFAULT) {
			tide_lane_fault(lane, &stop.fault,
					tide_resp_ahead(qp, &read->op, done));
			return TIDE_FAULT;
		}
		if (ret < 0)
			return read->again ? TIDE_SILENT :
					     tide_resp_denied(qp, &read->op);
		tide_emit_filled(burst, ret);
		done += ret;
	}
	tide_emit_packet_done(burst);
	tide_resp_moved(qp, &read->op, done - read->done);
	read->done = done;
	read->psn = tide_psn_add(read->psn, 1);
	return TIDE_DONE;
}

/* Compose one burst of responses. */
static enum tide_verdict answer_burst(struct tide_qp *qp,
				      struct tide_outbox *out)
{
	struct tide_read_job *read = &qp->wire->rx.read;
	enum tide_verdict verdict = TIDE_DONE;
	struct tide_burst *burst;
	u32 num, size, last;

	/* There has to be room for a NAK. */
	if (out->num >= TIDE_OUTBOX_BURSTS - 1)
		return TIDE_MORE;
	read->held = !tide_congestion_may_send(&qp->wire->congestion);
	if (read->held)
		return TIDE_MORE;
	burst = tide_outbox_add(out);
	num = plan_burst(qp, &size, &last);
	if (tide_emit_begin(burst, &qp->wire->path, &qp->wire->rx.near, num,
			    size, last, GFP_ATOMIC)) {
		/* As if it had been lost on the way. */
		out->num--;
		read->active = false;
		return TIDE_DONE;
	}
	while (num-- && verdict == TIDE_DONE)
		verdict = fill_response(qp, burst);
	tide_congestion_sent(&qp->wire->congestion, burst->done_len);
	if (verdict != TIDE_DONE)
		return verdict;
	if (!read->op.length || read->done == read->op.length) {
		tide_resp_finish(qp, &read->op);
		read->active = false;
	}
	return TIDE_DONE;
}

/* Answer as much of a read as one outbox takes. */
static enum tide_verdict answer_read(struct tide_qp *qp,
				     struct tide_outbox *out)
{
	struct tide_read_job *read = &qp->wire->rx.read;
	enum tide_verdict verdict = TIDE_DONE;

	while (read->active && verdict == TIDE_DONE)
		verdict = answer_burst(qp, out);
	if (verdict == TIDE_DONE || verdict == TIDE_FAULT ||
	    verdict == TIDE_MORE)
		return verdict;
	/* What was answered so far is not taken back. */
	read->active = false;
	if (read->again)
		return TIDE_DONE;
	qp->wire->rx.epsn = read->psn;
	refuse(qp, out, verdict);
	return TIDE_DONE;
}

/* The responses tell of all before them too. */
static void answers_follow(struct tide_wire_rx *rx)
{
	rx->ack_due = false;
}

static enum tide_verdict serve_read(struct tide_qp *qp,
				    const struct tide_packet *packet,
				    struct tide_outbox *out, bool again)
{
	struct tide_wire_rx *rx = &qp->wire->rx;
	struct tide_op op = op_of(qp, packet);
	enum tide_verdict verdict;

	/* Memory may have gone since: then it is its requester that is late. */
	if (again && !tide_resp_may_read(qp, &op))
		return TIDE_DONE;
	if (again) {
		tide_emit_doubt(&rx->near);
		verdict = TIDE_DONE;
	} else if (op.length > TIDE_MAX_MSG) {
		verdict = tide_resp_invalid(qp);
	} else {
		verdict = tide_resp_begin(qp, &op);
	}
	if (verdict != TIDE_DONE) {
		rx->epsn = packet->psn;
		refuse(qp, out, verdict);
		return TIDE_DONE;
	}
	rx->read = (struct tide_read_job) {
		.active = true,
		.again = again,
		.psn = packet->psn,
		.op = op,
		.done = 0,
	};
	if (!again) {
		rx->epsn = tide_psn_add(packet->psn,
					tide_wire_packets(qp->wire, op.length));
		rx->msn = tide_psn_add(rx->msn, 1);
		keep(rx, (struct tide_kept) {
			.first = packet->psn,
			.last = tide_psn_add(rx->epsn, -1),
			.read = true,
		});
	}
	answers_follow(rx);
	return answer_read(qp, out);
}

/* Eight bytes */

static void answer_atomic(struct tide_qp *qp, u32 psn, u64 original,
			  struct tide_outbox *out)
{
	struct tide_packet packet = tide_wire_packet(qp, TIDE_ATOMIC_ACK, psn);

	packet.syndrome = TIDE_AETH_ACK | tide_wire_credits(qp);
	packet.msn = qp->wire->rx.msn;
	packet.original = original;
	answers_follow(&qp->wire->rx);
	tide_wire_reply(qp, out, &packet);
}

/* That it was done is answered by a read's response without payload. */
static void answer_done(struct tide_qp *qp, u32 psn, struct tide_outbox *out)
{
	struct tide_packet packet = tide_wire_packet(qp, TIDE_READ_ONLY, psn);

	packet.syndrome = TIDE_AETH_ACK | tide_wire_credits(qp);
	packet.msn = qp->wire->rx.msn;
	answers_follow(&qp->wire->rx);
	tide_wire_reply(qp, out, &packet);
}

/* What to do, and with what. */
static enum tide_atomic atomic_of(const struct tide_arrival *arrival,
				  u64 *operand, u64 *swap)
{
	const struct tide_packet *packet = &arrival->packet;

	*swap = packet->swap_add;
	switch (tide_packet_op(packet)) {
	case TIDE_COMPARE_SWAP_REQUEST:
		*operand = packet->compare;
		return TIDE_COMPARE_SWAP;
	case TIDE_FETCH_ADD_REQUEST:
		*operand = packet->swap_add;
		return TIDE_FETCH_ADD;
	default:
		tide_arrival_copy(arrival, operand, sizeof(*operand));
		return TIDE_STORE;
	}
}

/* Execute it once that was begun. */
static enum tide_verdict do_atomic(struct tide_qp *qp,
				   const struct tide_arrival *arrival,
				   u64 *original)
{
	struct tide_lane *lane = &qp->wire->requests;
	struct tide_wire_rx *rx = &qp->wire->rx;
	u32 len = sizeof(u64);
	struct tide_side side = tide_resp_side(qp, &rx->op, 0, &len);
	u64 operand, swap;
	struct tide_copy_stop stop;
	enum tide_atomic atomic = atomic_of(arrival, &operand, &swap);
	int ret = -EACCES;

	side.leaf = &lane->leaf;
	side.hold = &lane->hold;
	if (!lane->page_error)
		ret = tide_atomic(&side, atomic, operand, swap, original,
				  &stop);
	if (ret == -EFAULT) {
		tide_lane_fault(lane, &stop.fault, len);
		return TIDE_FAULT;
	}
	if (ret)
		return tide_resp_denied(qp, &rx->op);
	tide_resp_moved(qp, &rx->op, len);
	if (atomic != TIDE_STORE)
		keep(rx, (struct tide_kept) {
			.first = arrival->packet.psn,
			.last = arrival->packet.psn,
			.original = *original,
		});
	return TIDE_DONE;
}

/* Some of a flush; TIDE_MORE if there is more of it. */
static enum tide_verdict do_flush(struct tide_qp *qp)
{
	u32 len;

	return tide_resp_flush_some(qp, &qp->wire->rx.op, &len);
}

static bool is_single(const struct tide_packet *packet)
{
	switch (tide_packet_op(packet)) {
	case TIDE_COMPARE_SWAP_REQUEST:
	case TIDE_FETCH_ADD_REQUEST:
	case TIDE_ATOMIC_WRITE_REQUEST:
	case TIDE_FLUSH_REQUEST:
		return true;
	default:
		return false;
	}
}

/* The operation of an atomic, an atomic write or a flush. */
static enum tide_verdict begin_single(struct tide_qp *qp,
				      const struct tide_packet *packet)
{
	struct tide_op *op = &qp->wire->rx.op;

	*op = op_of(qp, packet);
	if (tide_packet_op(packet) == TIDE_FLUSH_REQUEST) {
		if (!tide_flush_makes_sense(packet->flush))
			return tide_resp_invalid(qp);
		op->left = packet->dma_len;
		op->length = 0;
	} else {
		if (tide_packet_op(packet) == TIDE_ATOMIC_WRITE_REQUEST &&
		    (packet->payload_len != sizeof(u64) ||
		     packet->dma_len != sizeof(u64)))
			return tide_resp_invalid(qp);
		op->length = sizeof(u64);
	}
	return tide_resp_begin(qp, op);
}

static bool is_fetching(const struct tide_packet *packet)
{
	return packet->traits & TIDE_HAS_ATOMICETH;
}

/* An atomic, an atomic write, a flush. */
static enum tide_verdict serve_single(struct tide_qp *qp,
				      const struct tide_arrival *arrival,
				      struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	struct tide_wire_rx *rx = &qp->wire->rx;
	enum tide_verdict verdict = TIDE_DONE;
	u64 original = 0;

	if (!rx->packet_begun)
		verdict = begin_single(qp, packet);
	if (verdict == TIDE_DONE) {
		rx->packet_begun = true;
		verdict = tide_packet_op(packet) == TIDE_FLUSH_REQUEST ?
			  do_flush(qp) : do_atomic(qp, arrival, &original);
	}
	if (verdict == TIDE_FAULT || verdict == TIDE_MORE)
		return verdict;
	if (verdict == TIDE_DONE)
		verdict = tide_resp_finish(qp, &rx->op);
	if (verdict != TIDE_DONE) {
		refuse(qp, out, verdict);
		return TIDE_DONE;
	}
	rx->msn = tide_psn_add(rx->msn, 1);
	packet_executed(qp, packet);
	if (is_fetching(packet))
		answer_atomic(qp, packet->psn, original, out);
	else
		answer_done(qp, packet->psn, out);
	return TIDE_DONE;
}

/* Of a read, what is left may be asked for again (IBTA 9.7.5.1.2). */
static bool is_rest_of(const struct tide_kept *kept, const struct tide_qp *qp,
		       const struct tide_packet *packet)
{
	u32 packets = tide_wire_packets(qp->wire, packet->dma_len);

	return kept->read && packet->dma_len <= TIDE_MAX_MSG &&
	       packets <= tide_psn_diff(kept->last, packet->psn) + 1;
}

/*
 * All that is executed, but for reads and atomics behind the packet @psn, and
 * what is behind these: their answers may be lost, and rxe takes an
 * acknowledgement for one.
 */
static u32 executed_behind(const struct tide_wire_rx *rx, u32 psn)
{
	u32 next = rx->epsn, first, i;

	for (i = 1; i <= rx->kept_num; i++) {
		first = kept_at(rx, i)->first;
		if (tide_psn_diff(first, psn) > 0 &&
		    tide_psn_diff(first, next) < 0)
			next = first;
	}
	return tide_psn_add(next, -1);
}

/*
 * A request that was executed before, and is no read, is answered with what
 * came of it, or acknowledged.
 */
static void answer_again(struct tide_qp *qp, const struct tide_packet *packet,
			 struct tide_outbox *out)
{
	const struct tide_wire_rx *rx = &qp->wire->rx;
	const struct tide_kept *kept = find_kept(rx, packet->psn);

	if (is_fetching(packet)) {
		if (kept && !kept->read)
			answer_atomic(qp, packet->psn, kept->original, out);
	} else if (is_single(packet)) {
		answer_done(qp, packet->psn, out);
	} else if (packet->ack_request) {
		send_ack_of(qp, out, executed_behind(rx, packet->psn));
	}
}

/*
 * A request that was executed before: its response was lost, or is late
 * (IBTA 9.7.5.1.2 and 9.7.4.5).
 */
static enum tide_verdict serve_again(struct tide_qp *qp,
				     const struct tide_arrival *arrival,
				     struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	const struct tide_kept *kept;

	if (tide_packet_op(packet) != TIDE_READ_REQUEST) {
		answer_again(qp, packet, out);
		return TIDE_DONE;
	}
	kept = find_kept(&qp->wire->rx, packet->psn);
	return kept && is_rest_of(kept, qp, packet) ?
	       serve_read(qp, packet, out, true) : TIDE_DONE;
}

/*
 * Have the requester send again from @psn on, later.
 *
 * In the middle of a read nobody expects to be told so: rxe ends the queue
 * pair.  There it is said of the read's first packet, which is long past for
 * who has had some of the read, and means nothing to him: the rest will come.
 * tide's requester knows better.
 */
static void send_not_ready(struct tide_qp *qp, struct tide_outbox *out, u32 psn)
{
	u8 syndrome = TIDE_AETH_RNR | max_t(u8, qp->attr.min_rnr_timer,
					    PAGING_RNR_TIMER);
	const struct tide_kept *kept = find_kept(&qp->wire->rx, psn);

	if (psn == qp->wire->rx.epsn)
		send_nak(qp, out, syndrome);
	else if (kept)
		send_ack(qp, out, syndrome, kept->first);
}

/**
 * tide_wire_not_ready - have the requester wait while memory is brought in
 * @qp: the queue pair, locked and reliable; the next request waits in its lane
 * @out: takes packets
 */
void tide_wire_not_ready(struct tide_qp *qp, struct tide_outbox *out)
{
	const struct tide_wire_rx *rx = &qp->wire->rx;

	if (rx->read.active) {
		send_not_ready(qp, out, rx->read.psn);
		return;
	}
	/*
	 * Not everybody takes what follows for an acknowledgement, too.  What
	 * is before the message may be a read, which an acknowledgement is no
	 * answer to.
	 */
	if (rx->active && rx->done > rx->part)
		send_ack_of(qp, out, tide_psn_add(rx->epsn, -1));
	send_not_ready(qp, out, rx->epsn);
}

/**
 * tide_wire_while_paging - a request has come while memory is brought in
 * @qp: the queue pair, locked and reliable
 * @arrival: the request
 * @out: takes packets
 *
 * Those behind the one that waits are sent again, as their requester is told,
 * unless that is a read.  Who has not heard it, nor what became of the requests
 * before, asks for them again, and must not be left without an answer: it would
 * give up.  Who is told of each of them to wait would do so, too, once it has
 * counted enough of that.
 *
 * Return: false if the request has to wait in the lane.
 */
bool tide_wire_while_paging(struct tide_qp *qp,
			    const struct tide_arrival *arrival,
			    struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	const struct tide_wire_rx *rx = &qp->wire->rx;
	s32 ahead = tide_psn_diff(packet->psn, rx->epsn);

	if (ahead > 0)
		return !rx->read.active;
	if (!ahead && rx->read.active && !rx->read.again)
		return false;
	if (!ahead || tide_packet_op(packet) == TIDE_READ_REQUEST)
		send_not_ready(qp, out, packet->psn);
	else
		answer_again(qp, packet, out);
	return true;
}

static enum tide_verdict serve_reliable(struct tide_qp *qp,
					const struct tide_arrival *arrival,
					struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	struct tide_wire_rx *rx = &qp->wire->rx;
	s32 ahead = tide_psn_diff(packet->psn, rx->epsn);

	if (ahead > 0) {
		tide_count(qp, TIDE_CNT_OUT_OF_SEQUENCE, 1);
		if (!rx->nak_sent)
			send_nak(qp, out,
				 TIDE_AETH_NAK | TIDE_NAK_CODE_SEQUENCE);
		return TIDE_DONE;
	}
	if (ahead < 0) {
		tide_count(qp, TIDE_CNT_DUPLICATES, 1);
		return serve_again(qp, arrival, out);
	}
	rx->nak_sent = false;
	if (!rx->packet_begun &&
	    (!is_in_sequence(rx, packet) ||
	     !has_right_length(qp->wire, packet))) {
		refuse_invalid(qp, out);
		return TIDE_DONE;
	}
	if (tide_packet_op(packet) == TIDE_READ_REQUEST)
		return serve_read(qp, packet, out, false);
	return is_single(packet) ? serve_single(qp, arrival, out) :
				   serve_payload(qp, arrival, out);
}

/*
 * What is not acknowledged begins with each message anew; one that lacks a
 * packet is lost, and its receive is for the next.
 */
static enum tide_verdict serve_unreliable(struct tide_qp *qp,
					  const struct tide_arrival *arrival,
					  struct tide_outbox *out)
{
	const struct tide_packet *packet = &arrival->packet;
	struct tide_wire_rx *rx = &qp->wire->rx;

	if (!rx->packet_begun) {
		if (packet->traits & TIDE_STARTS ||
		    packet->psn != rx->epsn) {
			if (rx->active)
				tide_count(qp, TIDE_CNT_RX_DROPS, 1);
			rx->active = false;
		}
		rx->epsn = tide_psn_add(packet->psn, 1);
		if (!is_in_sequence(rx, packet))
			return TIDE_DONE;
		if (!has_right_length(qp->wire, packet)) {
			refuse(qp, out, TIDE_NAK_INVALID);
			return TIDE_DONE;
		}
	}
	return serve_payload(qp, arrival, out);
}

/**
 * tide_wire_serve - execute a request, or go on with one
 * @qp: the responder, locked, in a state to receive
 * @arrival: the packet
 * @out: takes the responses
 *
 * Context: softirq, or the worker of the lane of requests.
 *
 * Return: TIDE_DONE when it is through, whatever came of it; TIDE_FAULT when
 * memory is missing, which the lane knows of; TIDE_MORE when there is more to
 * do once the outbox is empty.
 */
enum tide_verdict tide_wire_serve(struct tide_qp *qp,
				  const struct tide_arrival *arrival,
				  struct tide_outbox *out)
{
	if (qp->wire->rx.read.active)
		return answer_read(qp, out);
	if (qp->type == IB_QPT_UC)
		return serve_unreliable(qp, arrival, out);
	return serve_reliable(qp, arrival, out);
}
