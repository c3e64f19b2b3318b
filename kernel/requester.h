/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * requester.h - working off send queues.
 */
#ifndef TIDE_REQUESTER_H
#define TIDE_REQUESTER_H

#include "qp.h"

void tide_req_restart(struct tide_requester *req);
void tide_req_init(struct tide_qp *qp);
void tide_req_doorbell(struct tide_qp *qp);
void tide_req_kick(struct tide_qp *qp);
void tide_req_settle(struct tide_qp *qp, unsigned long until);
int tide_req_reset(struct tide_qp *qp);
void tide_req_shutdown(struct tide_qp *qp);

#endif /* TIDE_REQUESTER_H */
