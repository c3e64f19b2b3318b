// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire_completer.c - what comes back to a requester (IBTA 9.7.5.1), and what
 * it does when nothing does.
 *
 * Acknowledgements and responses are taken wherever they come in, under
 * tide_qp.lock: they move @una, complete work requests, and have the runner go
 * back (@seek) when something was lost.
 */
#include "mirror.h"
#include "requester.h"
#include "sg.h"
#include "timing.h"
#include "wire_tx.h"

/* The timer */

static bool is_waiting_for_ack(const struct tide_wire_tx *tx)
{
	return tx->una != tx->end;
}

static unsigned long in_future(u64 ns)
{
	return (jiffies + nsecs_to_jiffies(ns) + 1) ?: 1;
}

/* Wait until then, or for ever. */
static void set_deadline(struct tide_wire_tx *tx, unsigned long deadline)
{
	tx->deadline = deadline;
	/* One that fires before only looks again. */
	if (deadline && (!timer_pending(&tx->timer) ||
			 time_before(deadline, tx->timer.expires)))
		mod_timer(&tx->timer, deadline);
}

/**
 * tide_wire_expect_ack - wait for an acknowledgement from now on
 * @qp: the queue pair, locked
 */
void tide_wire_expect_ack(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u64 ns = tide_ack_timeout_ns(qp->attr.timeout);

	if (tx->not_ready)
		return;
	set_deadline(tx, ns && is_waiting_for_ack(tx) ? in_future(ns) : 0);
}

/* What was answered; under tide_qp.lock, as all that follows up to sending */

static void complete_oldest(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u32 index = qp->req.sq.index;

	if (tx->in_index == index)
		tx->in_loaded = false;
	tide_credits_begun(&tx->credits, tide_sent_at(qp, index));
	tide_count(qp, TIDE_CNT_TX_MSGS, 1);
	tide_req_complete(qp, &tide_sent_at(qp, index)->request, IB_WC_SUCCESS);
}

/* The work request that @una is of; there must be one. */
static struct tide_sent *oldest(struct tide_qp *qp)
{
	return tide_sent_at(qp, qp->req.sq.index);
}

static void fail_oldest(struct tide_qp *qp, enum tide_verdict verdict)
{
	struct tide_request request = oldest(qp)->request;

	tide_req_fail(qp, &request, verdict);
}

/**
 * tide_wire_complete_through - complete what is complete
 * @qp: the queue pair, locked; all before its @una is through
 */
void tide_wire_complete_through(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	while (tide_wire_has_oldest(qp) && qp->state != IB_QPS_ERR &&
	       tide_psn_diff(tx->una, oldest(qp)->last) > 0)
		complete_oldest(qp);
	while (tx->ends_num &&
	       tide_psn_diff(tx->una, tx->ends[tx->ends_first]) >= 0) {
		tx->ends_first = (tx->ends_first + 1) % TIDE_MAX_RD_ATOMIC;
		tx->ends_num--;
	}
}

/* The responder gets on, though it may be that @una does not move by that. */
static void hear(struct tide_wire_tx *tx, u32 psn)
{
	if (tide_psn_diff(psn, tx->heard) <= 0)
		return;
	tx->heard = psn;
	tx->retries = 0;
}

static void advance(struct tide_qp *qp, u32 una)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (tx->una == una)
		return;
	tx->una = una;
	tx->retries = 0;
	tx->rnr_retries = 0;
	tx->asked_again = false;
	tx->not_ready = false;
	tx->probing = false;
	if (tide_psn_diff(una, tx->dropped) >= 0)
		tx->goes_back = false;
	tide_wire_complete_through(qp);
	/* What was to be sent again has arrived after all. */
	if (tide_psn_diff(tx->una, tx->psn) > 0)
		tx->seek = true;
	tide_wire_expect_ack(qp);
}

/*
 * The responder has executed all before @psn.  What it answers is not through
 * by that.
 */
static void acknowledged(struct tide_qp *qp, u32 psn)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_sent *sent;
	u32 index;

	hear(tx, psn);
	for (index = qp->req.sq.index; index != tx->top; index++) {
		sent = tide_sent_at(qp, index);
		/* The oldest may begin farther back than can be told. */
		if (index != qp->req.sq.index &&
		    tide_psn_diff(sent->first, psn) >= 0)
			break;
		if (!tide_opcode_is_answered(sent->request.opcode))
			continue;
		if (tide_psn_diff(tx->una, sent->first) < 0)
			psn = sent->first;
		else
			psn = tx->una;
		break;
	}
	if (tide_psn_diff(psn, tx->una) > 0)
		advance(qp, psn);
}

/* Send again from @una on; false when that was tried often enough. */
static bool go_back(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (!tide_wire_has_oldest(qp))
		return false;
	if (tx->retries++ >= qp->attr.retry_cnt) {
		fail_oldest(qp, TIDE_SILENT);
		return false;
	}
	tx->seek = true;
	return true;
}

/* Responses are missing; one that was late is no reason to ask once more. */
static void responses_lost(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (tx->asked_again)
		return;
	tx->asked_again = true;
	tide_count(qp, TIDE_CNT_IMPLIED_NAKS, 1);
	go_back(qp);
}

/* The responder's time is over: it is asked again. */
static void waited(struct tide_wire_tx *tx)
{
	tx->not_ready = false;
	set_deadline(tx, 0);
}

static void not_ready(struct tide_qp *qp, u8 timer)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (tx->not_ready)
		return;
	if (qp->attr.rnr_retry != TIDE_RNR_RETRY_FOREVER &&
	    tx->rnr_retries++ >= qp->attr.rnr_retry) {
		fail_oldest(qp, TIDE_RNR);
		return;
	}
	tide_count(qp, TIDE_CNT_RNR_WAITS, 1);
	/* It is there. */
	tx->retries = 0;
	tx->not_ready = true;
	tx->goes_back = true;
	tx->dropped = tx->end;
	tx->seek = true;
	set_deadline(tx, in_future(tide_rnr_timer_ns(timer)));
}

/*
 * Who is not ready drops what is under way, and may miss it once it is ready.
 * What it has told to be sent again anyhow is not lost.
 */
static void sequence_nak(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (tx->goes_back)
		tx->seek = true;
	else
		go_back(qp);
	tx->goes_back = false;
}

static void nak(struct tide_qp *qp, u8 code)
{
	switch (code) {
	case TIDE_NAK_CODE_SEQUENCE:
		tide_count(qp, TIDE_CNT_SEQUENCE_NAKS, 1);
		sequence_nak(qp);
		break;
	case TIDE_NAK_CODE_INVALID:
		fail_oldest(qp, TIDE_NAK_INVALID);
		break;
	case TIDE_NAK_CODE_ACCESS:
		fail_oldest(qp, TIDE_NAK_ACCESS);
		break;
	case TIDE_NAK_CODE_OP:
		fail_oldest(qp, TIDE_NAK_OP);
		break;
	default:
		break;
	}
}

static void take_ack(struct tide_qp *qp, const struct tide_packet *packet)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u8 rest = packet->syndrome & TIDE_AETH_REST;
	u32 next = tide_psn_add(packet->psn, 1);

	switch (packet->syndrome & TIDE_AETH_KIND) {
	case TIDE_AETH_ACK:
		acknowledged(qp, next);
		if (tx->una != next && tide_wire_has_oldest(qp) &&
		    tide_psn_diff(next, tx->una) > 0)
			responses_lost(qp);
		break;
	case TIDE_AETH_RNR:
		acknowledged(qp, packet->psn);
		if (tx->una == packet->psn)
			not_ready(qp, rest);
		else if (tide_psn_diff(packet->psn, tx->una) > 0)
			responses_lost(qp);
		break;
	case TIDE_AETH_NAK:
		acknowledged(qp, packet->psn);
		if (tx->una == packet->psn || rest == TIDE_NAK_CODE_SEQUENCE)
			nak(qp, rest);
		else
			responses_lost(qp);
		break;
	default:
		break;
	}
}

/*
 * Who was not ready for want of a receive, and tells that there is one, need
 * not be waited for any more.
 */
static void take_credits(struct tide_qp *qp, const struct tide_packet *packet)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u8 code = packet->syndrome & TIDE_AETH_REST;

	if ((packet->syndrome & TIDE_AETH_KIND) != TIDE_AETH_ACK)
		return;
	tide_credits_told(qp, packet->psn, code);
	if (tx->not_ready && tide_credits_ready(qp, packet->psn, code)) {
		waited(tx);
		/* Nobody else will answer, so do not leave it to a worker. */
		WRITE_ONCE(tx->much, false);
	}
}

/* Where a response goes: the buffers of the oldest work request. */
static enum tide_verdict load_buffers(struct tide_qp *qp, u32 offset)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u32 index = qp->req.sq.index;

	if (tx->in_loaded && tx->in_index == index)
		return TIDE_DONE;
	if (!tide_req_load_buffers(qp, index, &tx->in) ||
	    tide_sg_length(&tx->in) < oldest(qp)->request.length)
		return TIDE_LOCAL_QP_OP;
	tide_sg_skip(&tx->in, offset);
	tx->in_index = index;
	tx->in_loaded = true;
	return TIDE_DONE;
}

/* Copy some of a response; @from is @len bytes of it. */
static enum tide_verdict deliver_piece(struct tide_qp *qp, void *from, u32 len)
{
	struct tide_lane *lane = &qp->wire->responses;
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_side src = { .kaddr = from };
	struct tide_copy_stop stop;
	struct tide_side dst;
	int ret;

	dst = tide_sg_side(&tx->in, qp->pd_id, IB_ACCESS_LOCAL_WRITE, &len);
	dst.leaf = &lane->leaf;
	dst.hold = &lane->hold;
	ret = lane->page_error ? -EACCES : tide_copy(&dst, &src, len, &stop);
	if (ret == -EFAULT) {
		tide_lane_fault(lane, &stop.fault, tide_sg_left(&tx->in));
		return TIDE_FAULT;
	}
	if (ret < 0)
		return TIDE_LOCAL_PROT;
	tide_sg_advance(&tx->in, ret);
	tx->in_part += ret;
	return TIDE_MORE;
}

static enum tide_verdict deliver(struct tide_qp *qp,
				 const struct tide_arrival *arrival,
				 u64 *original, u32 total)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	enum tide_verdict verdict = TIDE_MORE;
	void *from;
	u32 len;

	while (tx->in_part < total && verdict == TIDE_MORE) {
		len = total - tx->in_part;
		if (original)
			from = (void *)original + tx->in_part;
		else
			from = tide_arrival_piece(arrival, tx->in_part, &len);
		verdict = deliver_piece(qp, from, len);
	}
	return verdict == TIDE_MORE ? TIDE_DONE : verdict;
}

/* A response to the oldest work request, the one that is due. */
static enum tide_verdict take_due(struct tide_qp *qp,
				  const struct tide_arrival *arrival)
{
	const struct tide_packet *packet = &arrival->packet;
	const struct tide_sent *sent = oldest(qp);
	struct tide_wire *wire = qp->wire;
	u32 offset = tide_psn_diff(packet->psn, sent->first) * wire->mtu;
	bool atomic = tide_packet_op(packet) == TIDE_ATOMIC_ACK;
	u64 original = packet->original;
	u32 total = packet->payload_len;
	enum tide_verdict verdict;

	switch (sent->request.opcode) {
	case IB_WR_RDMA_READ:
		if (atomic || total != min(wire->mtu,
					   sent->request.length - offset))
			return TIDE_BAD_RESPONSE;
		break;
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		if (!atomic)
			return TIDE_BAD_RESPONSE;
		total = sizeof(original);
		break;
	default:
		return atomic || total ? TIDE_BAD_RESPONSE : TIDE_DONE;
	}
	if (!total)
		return TIDE_DONE;
	verdict = load_buffers(qp, offset);
	return verdict == TIDE_DONE ?
	       deliver(qp, arrival, atomic ? &original : NULL, total) :
	       verdict;
}

static enum tide_verdict take_response(struct tide_qp *qp,
				       const struct tide_arrival *arrival)
{
	u32 psn = arrival->packet.psn;
	struct tide_wire_tx *tx = &qp->wire->tx;
	enum tide_verdict verdict;

	acknowledged(qp, psn);
	if (tx->una != psn || !tide_wire_has_oldest(qp)) {
		responses_lost(qp);
		return TIDE_DONE;
	}
	if (!tide_opcode_is_answered(oldest(qp)->request.opcode))
		return TIDE_DONE;
	verdict = take_due(qp, arrival);
	if (verdict == TIDE_FAULT)
		return verdict;
	tx->in_part = 0;
	if (verdict == TIDE_DONE)
		advance(qp, tide_psn_add(psn, 1));
	else
		fail_oldest(qp, verdict);
	return TIDE_DONE;
}

/*
 * The responder waits for memory in the middle of a read, and says so of the
 * first packet of the request.
 */
static bool tells_of_paging(struct tide_qp *qp, const struct tide_packet *packet)
{
	const struct tide_sent *sent;

	if (tide_packet_op(packet) != TIDE_ACK ||
	    (packet->syndrome & TIDE_AETH_KIND) != TIDE_AETH_RNR ||
	    !tide_wire_has_oldest(qp))
		return false;
	sent = oldest(qp);
	return sent->request.opcode == IB_WR_RDMA_READ &&
	       tide_psn_diff(packet->psn, sent->first) >= 0;
}

/**
 * tide_wire_respond - take a response or an acknowledgement, or go on with one
 * @qp: the requester, locked, in a state in which it may finish sends
 * @arrival: the packet
 *
 * Context: softirq, or the worker of the lane of responses.  The requester has
 * to be run afterwards.
 *
 * Return: TIDE_DONE, or TIDE_FAULT when memory is missing, which the lane
 * knows of.
 */
enum tide_verdict tide_wire_respond(struct tide_qp *qp,
				    const struct tide_arrival *arrival)
{
	const struct tide_packet *packet = &arrival->packet;
	struct tide_wire_tx *tx = &qp->wire->tx;
	s32 ahead = tide_psn_diff(packet->psn, tx->una);

	if (ahead < 0 && tells_of_paging(qp, packet))
		not_ready(qp, packet->syndrome & TIDE_AETH_REST);
	/* Of long ago, or of what was never sent. */
	if (ahead < -1 || tide_psn_diff(packet->psn, tx->end) >= 0)
		return TIDE_DONE;
	if (packet->traits & TIDE_HAS_AETH)
		take_credits(qp, packet);
	/* What was acknowledged last may be once more, to tell of receives. */
	if (ahead < 0)
		return TIDE_DONE;
	if (tide_packet_op(packet) != TIDE_ACK)
		return take_response(qp, arrival);
	take_ack(qp, packet);
	return TIDE_DONE;
}

/* Whether something was sent that is not answered yet.  The qp is locked. */
bool tide_wire_is_waiting(const struct tide_qp *qp)
{
	return tide_qp_is_far(qp) && tide_wire_has_oldest(qp);
}

static void timed_out(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (tx->not_ready) {
		waited(tx);
		return;
	}
	/* They have come, and wait here; or the requests were not sent yet. */
	if (tide_lane_is_busy(&qp->wire->responses) || tx->held) {
		tide_wire_expect_ack(qp);
		return;
	}
	tide_count(qp, TIDE_CNT_ACK_TIMEOUTS, 1);
	tx->asked_again = false;
	/* A peer that is only late would get all of the window again and again. */
	tx->probing = true;
	if (go_back(qp))
		tide_wire_expect_ack(qp);
}

/* The timer of a requester on the wire. */
void tide_wire_timeout(struct timer_list *timer)
{
	struct tide_wire *wire = container_of(timer, struct tide_wire,
					      tx.timer);
	struct tide_wire_tx *tx = &wire->tx;
	struct tide_qp *qp = wire->requests.qp;

	spin_lock(&qp->lock);
	if (tx->deadline && time_before(jiffies, tx->deadline))
		mod_timer(&tx->timer, tx->deadline);
	else if (tx->deadline && qp->ibqp && tide_qp_may_finish_sends(qp))
		timed_out(qp);
	spin_unlock(&qp->lock);
	tide_req_softirq(qp);
}
