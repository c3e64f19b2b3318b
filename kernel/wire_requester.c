// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire_requester.c - sending requests in packets (IBTA 9.7.2, 9.8.2).
 *
 * Who has the run bit sends: it goes through the send queue ahead of what is
 * acknowledged, by one window.  What comes back, wire_completer.c takes: it
 * moves @una, and has the runner go back (@seek) when something was lost.
 *
 * A work request's entry is the queue's until it is completed.  To send it
 * again is to load it from there once more.
 */
#include "flush.h"
#include "mirror.h"
#include "requester.h"
#include "sg.h"
#include "wire_tx.h"

/* Packets that may be under way. */
#define WINDOW		128

/* After how many packets the responder is asked for an acknowledgement. */
#define ACK_EVERY	32

/*
 * Responses that one read request asks for.  A longer read is many requests,
 * so that its responses keep to the window too.
 */
#define READ_CHUNK	32

/* What a burst costs of the budget beyond its payload. */
#define BURST_COST	1024

/* A message that is worth another thread's waking. */
#define MUCH		SZ_16K

/* What there is to do next. */
enum todo { NOTHING, SEND, OWN };

static u32 behind(const struct tide_sent *sent)
{
	return tide_psn_add(sent->last, 1);
}

/* Sending, by who has the run bit; still under tide_qp.lock */

static void discard(struct tide_composing *composing)
{
	if (composing->open && composing->begun)
		tide_emit_cancel(&composing->burst);
	composing->open = false;
}

/* Have nothing at hand. */
static void unload(struct tide_qp *qp)
{
	discard(&qp->wire->tx.composing);
	qp->req.busy = false;
}

static void seek(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	tx->seek = false;
	tx->psn = tx->una;
	tx->next = qp->req.sq.index;
	tide_emit_doubt(&tx->near);
	unload(qp);
	tx->ends_num = 0;
}

/* Give a work request its sequence numbers. */
static void number(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	struct tide_wire *wire = qp->wire;
	struct tide_sent *sent = tide_sent_at(qp, wire->tx.top);
	u32 packets = 1;

	if (req->op.opcode != IB_WR_FLUSH)
		packets = tide_wire_packets(wire, req->op.length);
	*sent = (struct tide_sent) {
		.request = tide_req_current(req),
		.first = wire->tx.psn,
		.last = tide_psn_add(wire->tx.psn, packets - 1),
		.takes = tide_credits_number(&wire->tx.credits, req->op.opcode),
	};
	wire->tx.top++;
}

static bool is_unchanged(struct tide_qp *qp)
{
	const struct tide_request *before =
		&tide_sent_at(qp, qp->wire->tx.next)->request;

	return before->opcode == qp->req.op.opcode &&
	       before->length == qp->req.op.length;
}

/* The queue pair is locked. */
static void fail_loaded(struct tide_qp *qp, enum tide_verdict verdict)
{
	struct tide_request request = tide_req_current(&qp->req);

	tide_req_fail(qp, &request, verdict);
	if (qp->state == IB_QPS_SQE)
		tide_wire_tx_forget(qp);
}

/* Load the next work request; false when there is none that may be sent. */
static bool load_next(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_requester *req = &qp->req;
	bool in_turn = tx->next == req->sq.index;
	bool anew = tx->next == tx->top;
	enum tide_verdict verdict;

	if (tide_req_posted(qp) <= tx->next - req->sq.index ||
	    (anew && qp->state != IB_QPS_RTS))
		return false;
	verdict = tide_req_load(qp, tx->next);
	if (verdict == TIDE_DONE && !anew && !is_unchanged(qp))
		verdict = TIDE_LOCAL_QP_OP;
	if (verdict != TIDE_DONE) {
		if (in_turn)
			fail_loaded(qp, verdict);
		return false;
	}
	if (tide_opcode_is_own(req->op.opcode)) {
		req->busy = in_turn;
		return in_turn;
	}
	if (req->fence && tx->ends_num)
		return false;
	if (anew)
		number(qp);
	else if (req->op.opcode != IB_WR_RDMA_READ && !req->inline_data)
		tide_sg_skip(&req->sg, qp->wire->mtu * tide_psn_diff(tx->psn,
			     tide_sent_at(qp, tx->next)->first));
	req->busy = true;
	return true;
}

/* How many packets may be under way.  The queue pair may be locked. */
static s32 window(struct tide_qp *qp)
{
	const struct tide_wire_tx *tx = &qp->wire->tx;

	return READ_ONCE(tx->probing) ||
	       tide_credits_lacks(&tx->credits, tide_sent_at(qp, tx->next)) ?
	       1 : WINDOW;
}

static bool has_room(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	if (!tide_qp_is_reliable(qp))
		return true;
	if (tx->not_ready || tide_psn_diff(tx->psn, tx->una) >= window(qp))
		return false;
	return !tide_opcode_is_answered(qp->req.op.opcode) ||
	       tx->ends_num < qp->attr.max_rd_atomic;
}

/**
 * tide_wire_tx_forget - nothing is under way any more
 * @qp: the queue pair, locked, by who has the run bit or when there is nobody
 */
void tide_wire_tx_forget(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;

	discard(&tx->composing);
	tx->top = qp->req.sq.index;
	tx->next = tx->top;
	tx->una = tx->end;
	tx->heard = tx->end;
	tx->psn = tx->end;
	tx->seek = false;
	tx->asked_again = false;
	tx->ends_num = 0;
	tx->deadline = 0;
	tx->not_ready = false;
	tx->goes_back = false;
	tx->probing = false;
	tx->retries = 0;
	tx->rnr_retries = 0;
	tx->in_loaded = false;
	tx->in_part = 0;
	tx->credits = (struct tide_credits) {};
}

/* Sending begins, with the first sequence number.  The qp is locked. */
void tide_wire_tx_start(struct tide_qp *qp)
{
	qp->wire->tx.end = qp->attr.sq_psn & TIDE_PSN_MASK;
	tide_emit_doubt(&qp->wire->tx.near);
	tide_wire_tx_forget(qp);
}

static bool op_has_payload(u8 opcode)
{
	return !tide_opcode_is_answered(opcode) || opcode == IB_WR_ATOMIC_WRITE;
}

/* Nothing is left to send; in SQD, nothing to wait for either? */
static void idle(struct tide_qp *qp)
{
	if (qp->state == IB_QPS_SQD && !tide_wire_has_oldest(qp))
		tide_req_drained(qp);
	if (qp->state == IB_QPS_ERR || qp->state == IB_QPS_SQE) {
		tide_req_flush(qp);
		tide_wire_tx_forget(qp);
	}
}

static enum todo what_next(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	enum todo todo = NOTHING;
	bool much = false;

	spin_lock_bh(&qp->lock);
	tx->held = false;
	if (!qp->ibqp)
		goto out;
	if (!tide_qp_may_finish_sends(qp)) {
		unload(qp);
		idle(qp);
		goto out;
	}
	if (tx->seek)
		seek(qp);
	if (!qp->req.busy && !load_next(qp)) {
		idle(qp);
		goto out;
	}
	if (tide_opcode_is_own(qp->req.op.opcode)) {
		todo = OWN;
	} else if (has_room(qp)) {
		tx->held = !tide_congestion_may_send(&qp->wire->congestion);
		todo = tx->held ? NOTHING : SEND;
	} else {
		much = op_has_payload(qp->req.op.opcode) &&
		       qp->req.op.length >= MUCH;
	}
out:
	WRITE_ONCE(tx->much, much);
	spin_unlock_bh(&qp->lock);
	return todo;
}

/* Composing packets; no longer locked */

static enum tide_packet_op op_of_send(u8 opcode, bool first, bool last)
{
	if (!last)
		return first ? TIDE_SEND_FIRST : TIDE_SEND_MIDDLE;
	switch (opcode) {
	case IB_WR_SEND_WITH_IMM:
		return first ? TIDE_SEND_ONLY_IMM : TIDE_SEND_LAST_IMM;
	case IB_WR_SEND_WITH_INV:
		return first ? TIDE_SEND_ONLY_INV : TIDE_SEND_LAST_INV;
	default:
		return first ? TIDE_SEND_ONLY : TIDE_SEND_LAST;
	}
}

static enum tide_packet_op op_of_write(u8 opcode, bool first, bool last)
{
	bool imm = opcode == IB_WR_RDMA_WRITE_WITH_IMM;

	if (!last)
		return first ? TIDE_WRITE_FIRST : TIDE_WRITE_MIDDLE;
	if (imm)
		return first ? TIDE_WRITE_ONLY_IMM : TIDE_WRITE_LAST_IMM;
	return first ? TIDE_WRITE_ONLY : TIDE_WRITE_LAST;
}

static enum tide_packet_op op_of(u8 opcode, bool first, bool last)
{
	switch (opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
		return op_of_write(opcode, first, last);
	case IB_WR_RDMA_READ:
		return TIDE_READ_REQUEST;
	case IB_WR_ATOMIC_CMP_AND_SWP:
		return TIDE_COMPARE_SWAP_REQUEST;
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		return TIDE_FETCH_ADD_REQUEST;
	case IB_WR_ATOMIC_WRITE:
		return TIDE_ATOMIC_WRITE_REQUEST;
	case IB_WR_FLUSH:
		return TIDE_FLUSH_REQUEST;
	default:
		return op_of_send(opcode, first, last);
	}
}

/* Bytes that a request packet asks for, or is about. */
static u32 asked_for(const struct tide_qp *qp, u32 offset)
{
	const struct tide_op *op = &qp->req.op;
	u32 chunk = READ_CHUNK * qp->wire->mtu;

	switch (op->opcode) {
	case IB_WR_RDMA_READ:
		/* What is asked again must not be more than was asked. */
		return min(op->length - offset, chunk - offset % chunk);
	case IB_WR_FLUSH:
		return tide_flush_is_of_range(op->flush) ? op->left : 0;
	default:
		return op->length;
	}
}

/* The packet that carries the message on from @offset. */
static struct tide_packet make_packet(const struct tide_qp *qp, u32 psn,
				      u32 offset)
{
	const struct tide_op *op = &qp->req.op;
	u32 left = op->length - offset;
	bool payload = op_has_payload(op->opcode);
	bool last = left <= qp->wire->mtu || !payload;
	struct tide_packet packet =
		tide_wire_packet(qp, op_of(op->opcode, !offset, last), psn);

	packet.solicited = last && op->solicited;
	packet.ack_request = tide_qp_is_reliable(qp) &&
			     (last || !(psn % ACK_EVERY));
	packet.srqn = op->srqn;
	packet.rkey = op->rkey;
	packet.remote_addr = op->remote_addr;
	packet.dma_len = asked_for(qp, offset);
	packet.imm_data = op->imm_data;
	packet.invalidate_rkey = op->invalidate_rkey;
	packet.flush = op->flush;
	packet.payload_len = payload ? min(left, qp->wire->mtu) : 0;
	if (op->opcode == IB_WR_RDMA_READ)
		packet.remote_addr += offset;
	if (op->opcode == IB_WR_ATOMIC_CMP_AND_SWP) {
		packet.compare = op->compare_add;
		packet.swap_add = op->swap;
	} else {
		packet.swap_add = op->compare_add;
	}
	return packet;
}

/*
 * Decide on the packets of a burst, no more than there is @room for; *size and
 * *last become their sizes.
 */
static void plan_burst(const struct tide_qp *qp, struct tide_composing *plan,
		       u32 last_psn, u32 room, u32 *size, u32 *last)
{
	u32 psn = plan->psn, offset = plan->offset;
	struct tide_packet packet = make_packet(qp, psn, offset);
	u32 total = tide_packet_size(&packet);

	plan->num = 1;
	*size = *last = total;
	plan->ends = psn;
	if (tide_opcode_is_answered(qp->req.op.opcode)) {
		if (qp->req.op.opcode == IB_WR_RDMA_READ)
			plan->ends += tide_wire_packets(qp->wire,
							packet.dma_len) - 1;
		plan->ends &= TIDE_PSN_MASK;
		return;
	}
	room = min(room, tide_congestion_packets(&qp->wire->congestion,
						 qp->wire->mtu));
	while (psn != last_psn && plan->num < room && *last == *size) {
		psn = tide_psn_add(psn, 1);
		offset += packet.payload_len;
		packet = make_packet(qp, psn, offset);
		if (tide_packet_size(&packet) > *size ||
		    total + tide_packet_size(&packet) > TIDE_BURST_BYTES)
			break;
		*last = tide_packet_size(&packet);
		total += *last;
		plan->num++;
		plan->ends = psn;
	}
}

/* Where the payload comes from. */
static struct tide_side payload_side(struct tide_qp *qp, u32 offset, u32 *len)
{
	struct tide_requester *req = &qp->req;
	struct tide_side side = {};

	if (req->op.opcode == IB_WR_ATOMIC_WRITE) {
		side.kaddr = (void *)&req->op.value + offset;
		return side;
	}
	if (req->inline_data) {
		side.kaddr = req->inline_data + offset;
		return side;
	}
	side = tide_sg_side(&req->sg, qp->pd_id, 0, len);
	side.hold = &req->hold[TIDE_SRC];
	side.leaf = &req->leaf[TIDE_SRC];
	return side;
}

/* Put in what is left of a packet's payload, or all that is there. */
static enum tide_verdict fill_payload(struct tide_qp *qp, u32 offset, u32 len,
				      bool may_sleep)
{
	struct tide_composing *composing = &qp->wire->tx.composing;
	struct tide_requester *req = &qp->req;
	struct tide_side src, dst = {};
	u32 piece;
	int ret;

	while (composing->part < len) {
		piece = len - composing->part;
		dst.kaddr = tide_emit_room(&composing->burst, &piece);
		src = payload_side(qp, offset + composing->part, &piece);
		/* Unless that has just failed. */
		src.direct = may_sleep && !req->lost[TIDE_SRC];
		local_bh_disable();
		ret = tide_copy(&dst, &src, piece,
				may_sleep ? &req->stop : NULL);
		local_bh_enable();
		if (ret < 0)
			return ret == -EFAULT ? TIDE_FAULT : TIDE_LOCAL_PROT;
		if (!src.kaddr)
			tide_sg_advance(&req->sg, ret);
		tide_emit_filled(&composing->burst, ret);
		composing->part += ret;
		memset(req->lost, 0, sizeof(req->lost));
	}
	return TIDE_DONE;
}

/*
 * Go on with the burst.  What is copied is not copied again, or two pages that
 * are both hard to have would keep each other from being there.
 */
static enum tide_verdict compose(struct tide_qp *qp, bool may_sleep)
{
	struct tide_composing *composing = &qp->wire->tx.composing;
	/* Then the next that asks for an acknowledgement may be long to come. */
	bool slow = tide_congestion_is_limiting(&qp->wire->congestion);
	u32 una = READ_ONCE(qp->wire->tx.una);
	s32 most = window(qp);
	enum tide_verdict verdict;
	struct tide_packet packet;
	u32 psn, offset;

	for (; composing->done < composing->num; composing->done++) {
		psn = tide_psn_add(composing->psn, composing->done);
		offset = composing->offset + composing->done * qp->wire->mtu;
		packet = make_packet(qp, psn, offset);
		if (tide_qp_is_reliable(qp) &&
		    (tide_psn_diff(psn, una) + 1 >= most ||
		     (slow && composing->done == composing->num - 1)))
			packet.ack_request = true;
		if (!composing->header)
			tide_emit_header(&composing->burst, &packet);
		composing->header = true;
		verdict = fill_payload(qp, offset, packet.payload_len,
				       may_sleep);
		if (verdict != TIDE_DONE)
			return verdict;
		tide_emit_packet_done(&composing->burst);
		composing->header = false;
		composing->part = 0;
	}
	return TIDE_DONE;
}

/* What is composed will be sent, unless something has changed. */
static bool commit(struct tide_qp *qp, u32 bytes)
{
	const struct tide_composing *composing = &qp->wire->tx.composing;
	struct tide_requester *req = &qp->req;
	struct tide_wire_tx *tx = &qp->wire->tx;
	bool answered = tide_opcode_is_answered(req->op.opcode);
	bool ok;

	spin_lock_bh(&qp->lock);
	ok = qp->ibqp && tide_qp_may_finish_sends(qp) && !tx->seek &&
	     tx->psn == composing->psn;
	if (!ok)
		goto out;
	tx->psn = tide_psn_add(composing->ends, 1);
	if (tide_psn_diff(tx->psn, tx->end) > 0)
		tx->end = tx->psn;
	if (answered) {
		tx->ends[(tx->ends_first + tx->ends_num) %
			 TIDE_MAX_RD_ATOMIC] = tx->psn;
		tx->ends_num++;
	}
	tide_count(qp, TIDE_CNT_TX_BYTES, bytes);
	if (composing->begun)
		tide_congestion_sent(&qp->wire->congestion,
				     composing->burst.done_len);
	if (tx->psn == behind(tide_sent_at(qp, tx->next))) {
		tx->next++;
		req->busy = false;
	}
	if (!tide_qp_is_reliable(qp)) {
		/* Nobody will say more of it. */
		tx->una = tx->psn;
		tide_wire_complete_through(qp);
	} else if (!tx->deadline) {
		tide_wire_expect_ack(qp);
	}
out:
	spin_unlock_bh(&qp->lock);
	return ok;
}

static u32 payload_of(const struct tide_qp *qp)
{
	const struct tide_composing *composing = &qp->wire->tx.composing;

	if (!op_has_payload(qp->req.op.opcode))
		return 0;
	return min(composing->num * qp->wire->mtu,
		   qp->req.op.length - composing->offset);
}

/* There is no route, or no memory: that is as good as a loss on the way. */
static void leave_out(struct tide_qp *qp)
{
	tide_count(qp, TIDE_CNT_TX_DROPS, qp->wire->tx.composing.num);
	if (!qp->req.inline_data && qp->req.op.opcode != IB_WR_ATOMIC_WRITE)
		tide_sg_skip(&qp->req.sg, payload_of(qp));
}

/* Begin a burst. */
static void open_burst(struct tide_qp *qp)
{
	struct tide_wire *wire = qp->wire;
	struct tide_composing *composing = &wire->tx.composing;
	const struct tide_sent *sent = tide_sent_at(qp, wire->tx.next);
	struct tide_near *near = tide_wire_asks_again(qp) ? &wire->tx.near :
							    NULL;
	u32 size, last;
	s32 room = window(qp);

	composing->open = true;
	composing->done = 0;
	composing->part = 0;
	composing->header = false;
	composing->psn = wire->tx.psn;
	composing->offset = tide_psn_diff(composing->psn, sent->first) *
			    wire->mtu;
	if (tide_qp_is_reliable(qp))
		room -= tide_psn_diff(composing->psn, READ_ONCE(wire->tx.una));
	plan_burst(qp, composing, sent->last, max(room, 1), &size, &last);
	composing->begun = !tide_emit_begin(&composing->burst, &wire->path,
					    near, composing->num, size, last,
					    GFP_ATOMIC | __GFP_NOWARN);
	if (!composing->begun)
		leave_out(qp);
}

/* Compose and send one burst; *bytes becomes how much payload that was. */
static enum tide_verdict send_burst(struct tide_qp *qp, bool may_sleep,
				    u32 *bytes)
{
	struct tide_composing *composing = &qp->wire->tx.composing;
	enum tide_verdict verdict = TIDE_DONE;

	if (!composing->open)
		open_burst(qp);
	if (composing->begun)
		verdict = compose(qp, may_sleep);
	if (verdict == TIDE_FAULT) {
		tide_emit_pause(&composing->burst);
		return verdict;
	}
	*bytes = payload_of(qp);
	if (verdict == TIDE_DONE && commit(qp, *bytes) && composing->begun) {
		composing->open = false;
		tide_emit_send(&composing->burst);
	}
	discard(composing);
	return verdict;
}

static enum tide_verdict send_step(struct tide_qp *qp, bool may_sleep,
				   u32 *bytes)
{
	enum tide_verdict verdict = TIDE_DONE;

	*bytes = 0;
	if (tide_req_step_begin(qp))
		verdict = send_burst(qp, may_sleep, bytes);
	tide_req_step_end(qp);
	return verdict;
}

/*
 * The work request that is being sent has failed on this side.  False if those
 * ahead of it have to end first: then it is tried once more.
 */
static bool fail_current(struct tide_qp *qp, enum tide_verdict verdict)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	bool in_turn = true;

	if (tide_req_has_pages(&qp->req))
		tide_req_drop(&qp->req);
	spin_lock_bh(&qp->lock);
	unload(qp);
	if (qp->ibqp && tide_qp_may_finish_sends(qp) && !tx->seek) {
		in_turn = tx->next == qp->req.sq.index;
		if (in_turn)
			fail_loaded(qp, verdict);
	}
	spin_unlock_bh(&qp->lock);
	return in_turn;
}

/* Send a burst, or see to what it lacks; false when the queue has to wait. */
static bool send_some(struct tide_qp *qp, s64 *budget, bool may_sleep)
{
	struct tide_requester *req = &qp->req;
	enum tide_verdict verdict = TIDE_LOCAL_PROT;
	u32 bytes = 0;

	if (req->page_error == TIDE_SIDES)
		verdict = send_step(qp, may_sleep, &bytes);
	*budget -= BURST_COST + bytes;
	switch (verdict) {
	case TIDE_DONE:
		if (may_sleep)
			tide_req_progressed(req);
		return true;
	case TIDE_FAULT:
		if (may_sleep)
			return tide_req_page_in(qp);
		/* The worker finds it missing too. */
		tide_req_kick(qp);
		return false;
	default:
		return fail_current(qp, verdict);
	}
}

/* An operation of the queue pair's own side, which has its turn. */
static void own_step(struct tide_qp *qp)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_request request = tide_req_current(&qp->req);
	enum tide_verdict verdict = TIDE_SILENT;

	if (tide_req_step_begin(qp))
		verdict = tide_req_own_step(qp);
	tide_req_step_end(qp);
	if (verdict != TIDE_DONE) {
		fail_current(qp, verdict);
		return;
	}
	spin_lock_bh(&qp->lock);
	qp->req.busy = false;
	if (tide_req_may_complete(qp)) {
		tide_req_complete(qp, &request, IB_WC_SUCCESS);
		tx->top = qp->req.sq.index;
		tx->next = tx->top;
	}
	spin_unlock_bh(&qp->lock);
}

/**
 * tide_wire_run - send what may be sent
 * @qp: a queue pair whose peer is far, by who has the run bit
 * @budget: bytes that may be sent, less those that were on return
 * @may_sleep: in process context, without locks; else what takes that is left
 *	to the worker
 *
 * Return: true when the budget ended it.
 */
bool tide_wire_run(struct tide_qp *qp, s64 *budget, bool may_sleep)
{
	struct tide_requester *req = &qp->req;
	enum todo todo;

	while (*budget >= 0) {
		if (!may_sleep && tide_req_has_pages(req))
			break;
		/* For what is not sent now after all, nobody waits. */
		if (tide_req_has_pages(req) &&
		    (READ_ONCE(qp->wire->tx.seek) ||
		     !tide_qp_may_finish_sends(qp))) {
			discard(&qp->wire->tx.composing);
			tide_req_drop(req);
		}
		if (tide_req_pager_pending(qp))
			return false;
		todo = what_next(qp);
		if (todo == NOTHING) {
			/* Pins must not get old; they are had anew. */
			if (may_sleep)
				tide_req_progressed(req);
			return false;
		}
		if (todo == OWN && !may_sleep)
			break;
		if (todo == OWN)
			own_step(qp);
		else if (!send_some(qp, budget, may_sleep))
			return false;
	}
	if (*budget >= 0)
		tide_req_kick(qp);
	return *budget < 0;
}
