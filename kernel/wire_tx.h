/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * wire_tx.h - what sending requests and taking what comes back share.
 */
#ifndef TIDE_WIRE_TX_H
#define TIDE_WIRE_TX_H

#include "wire.h"

/* Whether the responder answers with more than an acknowledgement. */
static inline bool tide_opcode_is_answered(u8 opcode)
{
	switch (opcode) {
	case IB_WR_RDMA_READ:
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
	case IB_WR_ATOMIC_WRITE:
	case IB_WR_FLUSH:
		return true;
	default:
		return false;
	}
}

static inline struct tide_sent *tide_sent_at(struct tide_qp *qp, u32 index)
{
	return &qp->wire->tx.sent[index & qp->req.sq.mask];
}

/* Whether a work request is not through that has sequence numbers. */
static inline bool tide_wire_has_oldest(const struct tide_qp *qp)
{
	return qp->req.sq.index != qp->wire->tx.top;
}

/* wire_completer.c */
void tide_wire_expect_ack(struct tide_qp *qp);
void tide_wire_complete_through(struct tide_qp *qp);

/* wire_credits.c */
u32 tide_credits_number(struct tide_credits *credits, u8 opcode);
bool tide_credits_lacks(const struct tide_credits *credits,
			const struct tide_sent *sent);
void tide_credits_begun(struct tide_credits *credits,
			const struct tide_sent *sent);
void tide_credits_told(struct tide_qp *qp, u32 psn, u8 code);
bool tide_credits_ready(struct tide_qp *qp, u32 psn, u8 code);

#endif /* TIDE_WIRE_TX_H */
