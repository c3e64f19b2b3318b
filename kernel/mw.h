/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mw.h - memory windows: part of a region, with a key and rights of its own,
 * that work requests bind and invalidate.
 *
 * A window of type 1 is for all queue pairs of its protection domain, and is
 * bound anew whenever that is wanted.  One of type 2 (2B) is for the queue
 * pair that it was bound on, until that or its peer invalidates it, or it is
 * reset.  Windows keep their index for life, and only the tag of their key
 * changes.
 */
#ifndef TIDE_MW_H
#define TIDE_MW_H

#include <rdma/ib_verbs.h>

#include "qp.h"

#define TIDE_MAX_MW	(1 << 18)

/**
 * struct tide_mw - a memory window
 * @ibmw: the core's part; the index of its rkey is where it can be found
 */
struct tide_mw {
	struct ib_mw ibmw;
};

int tide_mw_bind(struct tide_qp *qp, const struct tide_bind *bind);
bool tide_mw_may_invalidate(const struct tide_qp *qp, u64 pd_id, u32 rkey);
int tide_mw_invalidate(struct tide_qp *qp, u64 pd_id, u32 rkey);
void tide_mws_release(struct tide_qp *qp);

int tide_alloc_mw(struct ib_mw *ibmw, struct ib_udata *udata);
int tide_dealloc_mw(struct ib_mw *ibmw);

#endif /* TIDE_MW_H */
