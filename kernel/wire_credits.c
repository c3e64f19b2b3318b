// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire_credits.c - sending no more than there are receives for (IBTA 9.7.7.2).
 *
 * A responder tells with each acknowledgement how many receives it has, if
 * they are its own and not shared.  The requester keeps to that; beyond it, one
 * packet asks whether there are more by now.  If there are none, the responder
 * says for how long to wait, and that there is a receive as soon as there is.
 *
 * What is told is counted in messages that take a receive, from the beginning
 * of the connection on; others need none.
 */
#include "credits.h"
#include "requester.h"
#include "wire_tx.h"

static bool takes_receive(u8 opcode)
{
	switch (opcode) {
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_IMM:
	case IB_WR_SEND_WITH_INV:
	case IB_WR_RDMA_WRITE_WITH_IMM:
		return true;
	default:
		return false;
	}
}

/**
 * tide_credits_number - number a message that takes a receive
 * @credits: the requester's
 * @opcode: of the message
 *
 * Return: how many have taken one by then.
 */
u32 tide_credits_number(struct tide_credits *credits, u8 opcode)
{
	credits->sent += takes_receive(opcode);
	return credits->sent;
}

/**
 * tide_credits_lacks - whether there is no receive for a message, as far as
 *	that was told
 * @credits: the requester's, locked or not: what is told meanwhile is more
 * @sent: the message
 */
bool tide_credits_lacks(const struct tide_credits *credits,
			const struct tide_sent *sent)
{
	return READ_ONCE(credits->told) &&
	       takes_receive(sent->request.opcode) &&
	       (s32)(sent->takes - READ_ONCE(credits->limit)) > 0;
}

/* The message that has come as far as @psn has its receive. */
static void find_begun(struct tide_qp *qp, u32 psn)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	const struct tide_sent *sent;
	u32 index;

	for (index = qp->req.sq.index; index != tx->top; index++) {
		sent = tide_sent_at(qp, index);
		if (tide_psn_diff(sent->first, psn) > 0)
			break;
		tx->credits.begun = sent->takes;
	}
}

/**
 * tide_credits_told - the responder tells how many receives it has
 * @qp: the requester, locked; nothing that @psn acknowledges is completed yet
 * @psn: when it had executed that, or earlier what is acknowledged already
 * @code: the credits
 *
 * Return: whether there is a receive now that was lacking.
 */
bool tide_credits_told(struct tide_qp *qp, u32 psn, u8 code)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_credits *credits = &tx->credits;
	bool known = credits->told;
	u32 limit;

	find_begun(qp, psn);
	WRITE_ONCE(credits->told, code != TIDE_CREDITS_UNKNOWN);
	if (!credits->told)
		return false;
	limit = credits->begun + tide_credits_decode(code);
	/* Receives are not taken back: what told of less was under way. */
	if (known && (s32)(limit - credits->limit) <= 0)
		return false;
	WRITE_ONCE(credits->limit, limit);
	return limit != credits->begun;
}

/**
 * tide_wire_credits - what an acknowledgement tells
 * @qp: the responder, locked
 */
u8 tide_wire_credits(const struct tide_qp *qp)
{
	u32 receives = tide_resp_receives(qp);

	return receives == TIDE_RECEIVES_UNKNOWN ? TIDE_CREDITS_UNKNOWN :
						  tide_credits_encode(receives);
}

/* Tell of receives, by acknowledging the same as before. */
static void tell(struct tide_qp *qp, struct tide_outbox *out)
{
	struct tide_wire *wire = qp->wire;

	/* What is answered tells that too. */
	if (!wire->rx.awaits_receive || wire->rx.read.active ||
	    tide_lane_is_busy(&wire->requests))
		return;
	wire->rx.awaits_receive = false;
	wire->rx.ack_due = true;
	tide_wire_acknowledge(qp, out);
}

/**
 * tide_wire_await_receive - the requester was told that there is no receive
 * @qp: the responder, locked
 * @out: takes the packet that it is told with that there is one by now
 */
void tide_wire_await_receive(struct tide_qp *qp, struct tide_outbox *out)
{
	qp->wire->rx.awaits_receive = true;
	if (tide_resp_await_receive(qp))
		tell(qp, out);
}

/**
 * tide_wire_receives_posted - receives were posted while somebody waited
 * @qp: the queue pair
 *
 * Context: process; no locks.
 */
void tide_wire_receives_posted(struct tide_qp *qp)
{
	struct tide_outbox out;

	if (!tide_qp_is_far(qp))
		return;
	out.num = 0;
	spin_lock_bh(&qp->lock);
	if (qp->ibqp && tide_qp_may_receive(qp))
		tell(qp, &out);
	spin_unlock_bh(&qp->lock);
	tide_outbox_send(&out);
}
