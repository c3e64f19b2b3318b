/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * requester.h - working off send queues.
 */
#ifndef TIDE_REQUESTER_H
#define TIDE_REQUESTER_H

#include "qp.h"
#include "responder.h"

/* RNR retry count that means forever (IBTA 9.7.5.2.8). */
#define TIDE_RNR_RETRY_FOREVER	7

/* Of the queue pair's own side: its peer learns nothing of these. */
static inline bool tide_opcode_is_own(u8 opcode)
{
	return opcode == IB_WR_BIND_MW || opcode == IB_WR_LOCAL_INV;
}

/* Whether a pager works for it, or it has pages pinned. */
static inline bool tide_req_has_pages(const struct tide_requester *req)
{
	return req->pager || req->hold[TIDE_DST].nr || req->hold[TIDE_SRC].nr;
}

/* send_queue.c */
u32 tide_req_posted(struct tide_qp *qp);
enum tide_verdict tide_req_load(struct tide_qp *qp, u32 index);
bool tide_req_load_buffers(struct tide_qp *qp, u32 index, struct tide_sg *sg);
struct tide_request tide_req_current(const struct tide_requester *req);
bool tide_req_may_complete(const struct tide_qp *qp);
void tide_req_complete(struct tide_qp *qp, const struct tide_request *request,
		       enum ib_wc_status status);
void tide_req_fail(struct tide_qp *qp, const struct tide_request *request,
		   enum tide_verdict verdict);
void tide_req_flush(struct tide_qp *qp);

/* waiting.c */
bool tide_req_wait(struct tide_qp *qp, enum tide_wait wait);
bool tide_req_page_in(struct tide_qp *qp);
bool tide_req_pager_pending(struct tide_qp *qp);
void tide_req_stop_waiting(struct tide_requester *req);
void tide_req_progressed(struct tide_requester *req);
void tide_req_drop(struct tide_requester *req);

/* Of the pages that were lost before they could be used. */
static inline void tide_req_forget_losses(struct tide_requester *req)
{
	memset(req->lost, 0, sizeof(req->lost));
}

/*
 * Around whatever touches memory: whoever takes the queue pair out of service
 * sets the state first and then waits for @stepping to go.  False when it is
 * out of service already.
 */
static inline bool tide_req_step_begin(struct tide_qp *qp)
{
	WRITE_ONCE(qp->req.stepping, true);
	smp_mb();
	return tide_qp_may_finish_sends(qp);
}

static inline void tide_req_step_end(struct tide_qp *qp)
{
	smp_store_release(&qp->req.stepping, false);
}

/* requester.c */
enum tide_verdict tide_req_own_step(struct tide_qp *qp);
void tide_req_drained(struct tide_qp *qp);
void tide_req_restart(struct tide_requester *req);
void tide_req_init(struct tide_qp *qp);
void tide_req_posted_here(struct tide_qp *qp);
void tide_req_doorbell(struct tide_qp *qp);
void tide_req_softirq(struct tide_qp *qp);
void tide_req_answered(struct tide_qp *qp);
void tide_req_kick(struct tide_qp *qp);
void tide_req_settle(struct tide_qp *qp, unsigned long until);
int tide_req_reset(struct tide_qp *qp);
void tide_req_shutdown(struct tide_qp *qp);

#endif /* TIDE_REQUESTER_H */
