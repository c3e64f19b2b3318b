/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * responder.h - executing operations that arrive at a queue pair.
 *
 * A carrier calls begin once, move until all payload is through, and finish
 * once.  Moving is tide_copy() or tide_atomic() on tide_resp_side().  It may repeat a call that did not
 * succeed.  All of these run with the responder's tide_qp.lock held, do not
 * sleep, and do not know how the operation came here.
 */
#ifndef TIDE_RESPONDER_H
#define TIDE_RESPONDER_H

#include "copy.h"
#include "qp.h"

/* Receives of which nobody knows how many there are for one queue pair. */
#define TIDE_RECEIVES_UNKNOWN	(~0U)

/**
 * enum tide_verdict - what became of a step of an operation
 * @TIDE_DONE: it succeeded
 * @TIDE_MORE: some of it succeeded, there is more
 * @TIDE_FAULT: pages are missing; see struct tide_copy_stop
 * @TIDE_RNR: the responder has no receive posted
 * @TIDE_SILENT: nobody answers
 * @TIDE_NAK_INVALID: the responder does not do such operations
 * @TIDE_NAK_ACCESS: the remote key does not allow it
 * @TIDE_NAK_OP: the responder failed on its own account
 * @TIDE_LOCAL_PROT: a local key does not allow it
 * @TIDE_LOCAL_LEN: the local buffers do not fit the operation
 * @TIDE_LOCAL_QP_OP: the work request makes no sense
 * @TIDE_LOCAL_BIND: a memory window cannot be bound or invalidated like this
 * @TIDE_BAD_RESPONSE: the responder answered what it was not asked
 */
enum tide_verdict {
	TIDE_DONE,
	TIDE_MORE,
	TIDE_FAULT,
	TIDE_RNR,
	TIDE_SILENT,
	TIDE_NAK_INVALID,
	TIDE_NAK_ACCESS,
	TIDE_NAK_OP,
	TIDE_LOCAL_PROT,
	TIDE_LOCAL_LEN,
	TIDE_LOCAL_QP_OP,
	TIDE_LOCAL_BIND,
	TIDE_BAD_RESPONSE,
};

enum tide_verdict tide_resp_begin(struct tide_qp *qp, struct tide_op *op);
enum tide_verdict tide_resp_extend(struct tide_qp *qp, struct tide_op *op,
				   u32 len);
enum tide_verdict tide_resp_invalid(struct tide_qp *qp);
enum tide_verdict tide_resp_turn(struct tide_qp *qp, struct tide_op *op);
bool tide_resp_may_read(struct tide_qp *qp, struct tide_op *op);
bool tide_resp_expects(struct tide_qp *qp, const struct tide_op *op);
enum tide_verdict tide_resp_broken_off(struct tide_qp *qp);
struct tide_side tide_resp_side(struct tide_qp *qp, const struct tide_op *op,
				u32 done, u32 *len);
u32 tide_resp_ahead(const struct tide_qp *qp, const struct tide_op *op,
		    u32 done);
enum tide_verdict tide_resp_flush_some(struct tide_qp *qp, struct tide_op *op,
				       u32 *len);
void tide_resp_moved(struct tide_qp *qp, const struct tide_op *op, u32 len);
enum tide_verdict tide_resp_denied(struct tide_qp *qp,
				   const struct tide_op *op);
enum tide_verdict tide_resp_finish(struct tide_qp *qp,
				   const struct tide_op *op);

void tide_resp_reset(struct tide_qp *qp);
u32 tide_resp_receives(const struct tide_qp *qp);
bool tide_resp_await_receive(struct tide_qp *qp);
void tide_resp_flush(struct tide_qp *qp);
void tide_resp_flush_shared(struct tide_qp *qp);
void tide_resp_doorbell(struct tide_qp *qp);

#endif /* TIDE_RESPONDER_H */
