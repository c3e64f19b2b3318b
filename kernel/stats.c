// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * stats.c - counters of ports and regions.  Each queue pair and each region
 * counts for itself, so that counting shares nothing; who asks pays for adding
 * up.
 */
#include <net/netlink.h>
#include <rdma/rdma_netlink.h>
#include <rdma/restrack.h>

#include "device.h"
#include "mr.h"
#include "qp.h"
#include "stats.h"

/* Where they are: a queue pair's, a region's, and the device's own. */
enum {
	ODP = TIDE_CNT_NUM,
	DROPS = ODP + TIDE_ODP_COUNTERS,
	COUNTERS = DROPS + TIDE_DROP_NUM
};

static struct rdma_stat_desc descs[COUNTERS] = {
	[TIDE_CNT_TX_MSGS] = { .name = "tx_msgs" },
	[TIDE_CNT_TX_BYTES] = { .name = "tx_bytes" },
	[TIDE_CNT_RX_MSGS] = { .name = "rx_msgs" },
	[TIDE_CNT_RX_BYTES] = { .name = "rx_bytes" },
	[TIDE_CNT_TX_DROPS] = { .name = "tx_drops" },
	[TIDE_CNT_RX_DROPS] = { .name = "rx_drops" },
	[TIDE_CNT_RNR_WAITS] = { .name = "rnr_waits" },
	[TIDE_CNT_RETRY_EXCEEDED] = { .name = "retry_exceeded" },
	[TIDE_CNT_RNR_EXCEEDED] = { .name = "rnr_retry_exceeded" },
	[TIDE_CNT_REMOTE_ERRORS] = { .name = "remote_errors" },
	[TIDE_CNT_LOCAL_ERRORS] = { .name = "local_errors" },
	[TIDE_CNT_FAULT_WAITS] = { .name = "fault_waits" },
	/* These have the names that they have elsewhere. */
	[TIDE_CNT_OUT_OF_SEQUENCE] = { .name = "out_of_sequence" },
	[TIDE_CNT_DUPLICATES] = { .name = "duplicate_request" },
	[TIDE_CNT_SEQUENCE_NAKS] = { .name = "packet_seq_err" },
	[TIDE_CNT_IMPLIED_NAKS] = { .name = "implied_nak_seq_err" },
	[TIDE_CNT_ACK_TIMEOUTS] = { .name = "local_ack_timeout_err" },
	[TIDE_CNT_ECN_MARKED] = { .name = "np_ecn_marked_roce_packets" },
	[TIDE_CNT_CNPS_SENT] = { .name = "np_cnp_sent" },
	[TIDE_CNT_CNPS_HANDLED] = { .name = "rp_cnp_handled" },
	[TIDE_CNT_CNPS_IGNORED] = { .name = "rp_cnp_ignored" },
	[DROPS + TIDE_DROP_ICRC] = { .name = "rx_icrc_errors" },
	[DROPS + TIDE_DROP_MALFORMED] = { .name = "rx_malformed" },
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
	int i;

	if (!port)
		return -EOPNOTSUPP;
	/* Held throughout, so that a queue pair counts once: here or there. */
	mutex_lock(&dev->stats_lock);
	memcpy(stats->value, dev->retired, sizeof(dev->retired));
	memcpy(stats->value + ODP, dev->retired_odp, sizeof(dev->retired_odp));
	tide_mr_add_counts(ibdev, stats->value + ODP);
	while ((qp = tide_qp_next(&qpn))) {
		if (qp->dev == dev && !qp->retired)
			add_up(stats->value, qp->counts);
		tide_qp_put(qp);
	}
	mutex_unlock(&dev->stats_lock);
	for (i = 0; i < TIDE_DROP_NUM; i++)
		stats->value[DROPS + i] = atomic64_read(&dev->drops[i]);
	return ARRAY_SIZE(descs);
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

/* Behind the prefix, as rdma statistic show mr has them. */
static int put_counts(struct sk_buff *msg, const struct tide_region *region)
{
	const size_t prefix = strlen("odp_");
	struct nlattr *table;
	int i;

	table = nla_nest_start(msg, RDMA_NLDEV_ATTR_STAT_HWCOUNTERS);
	if (!table)
		return -EMSGSIZE;
	for (i = 0; i < TIDE_ODP_COUNTERS; i++) {
		if (rdma_nl_stat_hwcounter_entry(msg,
				tide_odp_counter_name(i) + prefix,
				atomic64_read(&region->counts[i])))
			goto err;
	}
	nla_nest_end(msg, table);
	return 0;

err:
	nla_nest_cancel(msg, table);
	return -EMSGSIZE;
}

int tide_fill_stat_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct tide_dev *dev = to_tide_dev(ibmr->device);
	struct tide_region *region;
	int ret = 0;

	/* Keeps it from being registered anew. */
	mutex_lock(&dev->stats_lock);
	region = to_tide_ibmr(ibmr)->mr->region;
	if (region)
		ret = put_counts(msg, region);
	mutex_unlock(&dev->stats_lock);
	return ret;
}

/* Once, at module load. */
void __init tide_stats_init(void)
{
	int i;

	for (i = 0; i < TIDE_ODP_COUNTERS; i++)
		descs[ODP + i].name = tide_odp_counter_name(i);
}
