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

/* Of two counts that go round. */
static u32 max_of(u32 a, u32 b)
{
	return (s32)(a - b) > 0 ? a : b;
}

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
	/* Pairs with tide_credits_told(): the limit is of what was told. */
	return smp_load_acquire(&credits->told) &&
	       takes_receive(sent->request.opcode) &&
	       (s32)(sent->takes - READ_ONCE(credits->limit)) > 0;
}

/**
 * tide_credits_begun - a message has its receive
 * @credits: the requester's
 * @sent: the message
 */
void tide_credits_begun(struct tide_credits *credits,
			const struct tide_sent *sent)
{
	credits->begun = max_of(credits->begun, sent->takes);
}

/* What has come as far as @psn has its receives. */
static void find_begun(struct tide_qp *qp, u32 psn)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	const struct tide_sent *sent;
	u32 index;

	for (index = qp->req.sq.index; index != tx->top; index++) {
		sent = tide_sent_at(qp, index);
		if (tide_psn_diff(sent->first, psn) > 0)
			break;
		tide_credits_begun(&tx->credits, sent);
	}
}

/**
 * tide_credits_told - the responder tells how many receives it has
 * @qp: the requester, locked; nothing that @psn acknowledges is completed yet
 * @psn: when it had executed that, or earlier what is acknowledged already
 * @code: the credits
 */
void tide_credits_told(struct tide_qp *qp, u32 psn, u8 code)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	struct tide_credits *credits = &tx->credits;
	u32 limit;

	find_begun(qp, psn);
	if (code == TIDE_CREDITS_UNKNOWN) {
		WRITE_ONCE(credits->told, false);
		return;
	}
	limit = credits->begun + tide_credits_decode(code);
	/*
	 * Receives are not taken back: what tells of less was under way.  And
	 * what is under way already may have asked for no acknowledgement, so
	 * its rest must not wait for one.
	 */
	limit = max_of(limit, credits->told ? credits->limit : credits->sent);
	WRITE_ONCE(credits->limit, limit);
	smp_store_release(&credits->told, true);
}

/**
 * tide_credits_ready - whether the responder has a receive for what is oldest
 * @qp: the requester, locked
 * @psn: when it has executed that
 * @code: the credits that it tells
 */
bool tide_credits_ready(struct tide_qp *qp, u32 psn, u8 code)
{
	struct tide_wire_tx *tx = &qp->wire->tx;
	u32 index = qp->req.sq.index;

	return code && code != TIDE_CREDITS_UNKNOWN &&
	       tide_psn_add(psn, 1) == tx->una && tide_wire_has_oldest(qp) &&
	       takes_receive(tide_sent_at(qp, index)->request.opcode);
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

	/* Who is at it looks once more when it is through. */
	if (wire->rx.read.active || tide_lane_is_busy(&wire->requests))
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
	/* Of receives that are shared nobody tells. */
	if (tide_resp_receives(qp) == TIDE_RECEIVES_UNKNOWN)
		return;
	qp->wire->rx.awaits_receive = true;
	if (tide_resp_await_receive(qp))
		tell(qp, out);
}

/**
 * tide_wire_receives_posted - receives may be there that somebody waits for
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
	/* They may have been taken; then for the next one is waited. */
	if (qp->ibqp && tide_qp_may_receive(qp) &&
	    qp->wire->rx.awaits_receive && tide_resp_await_receive(qp))
		tell(qp, &out);
	spin_unlock_bh(&qp->lock);
	tide_outbox_send(&out);
}
