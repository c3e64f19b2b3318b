/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * res.h - driver detail for rdma res show -dd.
 */
#ifndef TIDE_RES_H
#define TIDE_RES_H

#include <rdma/ib_verbs.h>

struct sk_buff;

int tide_fill_res_qp_entry(struct sk_buff *msg, struct ib_qp *ibqp);
int tide_fill_res_srq_entry(struct sk_buff *msg, struct ib_srq *ibsrq);
int tide_fill_res_cq_entry(struct sk_buff *msg, struct ib_cq *ibcq);
int tide_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);

#endif /* TIDE_RES_H */
