/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * gsi.h - the queue pairs for general services, one of each device, by which
 * the core's connection managers talk to each other.
 *
 * Everybody calls such a queue pair number 1, so it is not by its number that
 * it is found, but by its device's addresses.
 */
#ifndef TIDE_GSI_H
#define TIDE_GSI_H

#include <rdma/ib_verbs.h>

struct tide_dev;
struct tide_qp;

#define TIDE_GSI_QPN	1

void tide_gsi_add(struct tide_qp *qp);
void tide_gsi_remove(struct tide_qp *qp);
struct tide_qp *tide_gsi_peek(u64 net_cookie, const struct tide_dev *first,
			      const union ib_gid *dgid);

#endif /* TIDE_GSI_H */
