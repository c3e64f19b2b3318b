/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * stats.h - counters of ports and regions, for rdma statistic.
 */
#ifndef TIDE_STATS_H
#define TIDE_STATS_H

#include <rdma/ib_verbs.h>

struct tide_qp;

struct rdma_hw_stats *tide_alloc_hw_port_stats(struct ib_device *ibdev,
					       u32 port);
int tide_get_hw_stats(struct ib_device *ibdev, struct rdma_hw_stats *stats,
		      u32 port, int index);
void tide_stats_retire(struct tide_qp *qp);
int tide_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr);
void tide_stats_init(void);

#endif /* TIDE_STATS_H */
