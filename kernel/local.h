/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * local.h - the local carrier: both ends are on this host, in the same
 * network namespace.  No packet is built; the caller's thread copies.
 */
#ifndef TIDE_LOCAL_H
#define TIDE_LOCAL_H

#include "responder.h"

enum tide_verdict tide_local_step(struct tide_qp *qp);
bool tide_local_is_connected(struct tide_qp *qp);
bool tide_local_is_remote(const struct tide_requester *req,
			  enum tide_side_index side);

#endif /* TIDE_LOCAL_H */
