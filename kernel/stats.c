// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * stats.c - port counters.  Each queue pair counts for itself, so that
 * counting shares nothing; who asks pays for adding up.
 */
#include "device.h"
#include "qp.h"
#include "stats.h"

static const struct rdma_stat_desc descs[TIDE_CNT_NUM] = {
	[TIDE_CNT_TX_MSGS] = { .name = "tx_msgs" },
	[TIDE_CNT_TX_BYTES] = { .name = "tx_bytes" },
	[TIDE_CNT_RX_MSGS] = { .name = "rx_msgs" },
	[TIDE_CNT_RX_BYTES] = { .name = "rx_bytes" },
	[TIDE_CNT_RNR_WAITS] = { .name = "rnr_waits" },
	[TIDE_CNT_RETRY_EXCEEDED] = { .name = "retry_exceeded" },
	[TIDE_CNT_RNR_EXCEEDED] = { .name = "rnr_retry_exceeded" },
	[TIDE_CNT_REMOTE_ERRORS] = { .name = "remote_errors" },
	[TIDE_CNT_LOCAL_ERRORS] = { .name = "local_errors" },
	[TIDE_CNT_PAGE_FAULTS] = { .name = "page_faults" },
	[TIDE_CNT_FALLBACK_PINS] = { .name = "fallback_pins" },
	[TIDE_CNT_FAULT_WAITS] = { .name = "fault_waits" },
};

struct rdma_hw_stats *tide_alloc_hw_port_stats(struct ib_device *ibdev,
					       u32 port)
{
	return rdma_alloc_hw_stats_struct(descs, ARRAY_SIZE(descs), 0);
}

static void add_up(u64 *sums, const u64 *counts)
{
	int i;

	for (i = 0; i < TIDE_CNT_NUM; i++)
		sums[i] += READ_ONCE(counts[i]);
}

int tide_get_hw_stats(struct ib_device *ibdev, struct rdma_hw_stats *stats,
		      u32 port, int index)
{
	struct tide_dev *dev = to_tide_dev(ibdev);
	unsigned long qpn = 0;
	struct tide_qp *qp;

	if (!port)
		return -EOPNOTSUPP;
	/* Held throughout, so that a queue pair counts once: here or there. */
	mutex_lock(&dev->stats_lock);
	memcpy(stats->value, dev->retired, sizeof(dev->retired));
	while ((qp = tide_qp_next(&qpn))) {
		if (qp->dev == dev && !qp->retired)
			add_up(stats->value, qp->counts);
		tide_qp_put(qp);
	}
	mutex_unlock(&dev->stats_lock);
	return TIDE_CNT_NUM;
}

/**
 * tide_stats_retire - keep what a queue pair counted
 * @qp: a queue pair about to be destroyed, its device still there
 */
void tide_stats_retire(struct tide_qp *qp)
{
	struct tide_dev *dev = qp->dev;

	mutex_lock(&dev->stats_lock);
	qp->retired = true;
	add_up(dev->retired, qp->counts);
	mutex_unlock(&dev->stats_lock);
}
