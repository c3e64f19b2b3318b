/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * xrc.h - extended reliable connections (IBTA annex A14).
 *
 * Of two queue pairs that are connected one is a requester only (XRC_INI), and
 * the other a responder only: the target (XRC_TGT).  A target belongs to no
 * process, and has no queues, no protection domain and no completion queue.
 * Each request that comes to it names a shared receive queue, and does what it
 * does with that queue's: memory is accessed by keys of its protection domain,
 * and what takes a receive completes to its completion queue.
 *
 * A target reaches the queues of its XRC domain, whichever process has made
 * them.  When one is closed, nobody is told; who uses it has to find out.
 */
#ifndef TIDE_XRC_H
#define TIDE_XRC_H

#include <rdma/ib_verbs.h>

#include "qp.h"

/**
 * struct tide_xrcd - an XRC domain
 * @ibxrcd: the core's part
 * @id: its number, never used again
 */
struct tide_xrcd {
	struct ib_xrcd ibxrcd;
	u64 id;
};

static inline struct tide_xrcd *to_tide_xrcd(struct ib_xrcd *ibxrcd)
{
	return container_of(ibxrcd, struct tide_xrcd, ibxrcd);
}

bool tide_xrc_aim(struct tide_qp *qp, struct tide_op *op);
void tide_xrc_leave_closed(void);

int tide_alloc_xrcd(struct ib_xrcd *ibxrcd, struct ib_udata *udata);
int tide_dealloc_xrcd(struct ib_xrcd *ibxrcd, struct ib_udata *udata);

#endif /* TIDE_XRC_H */
