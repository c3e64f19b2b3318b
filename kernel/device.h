/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * device.h - the device, its port, and protection domains.
 */
#ifndef TIDE_DEVICE_H
#define TIDE_DEVICE_H

#include <linux/if.h>
#include <linux/platform_device.h>
#include <rdma/ib_verbs.h>

#include "arrival.h"
#include "qp.h"
#include "region.h"

/* The only one that there is. */
#define TIDE_DEFAULT_PKEY	0xffff

/**
 * struct tide_dev - a device
 * @ibdev: the core's part
 * @ndev: the netdev it is on; the core holds it as long as the device is
 *	registered
 * @parent: the platform device: DMA mask, modalias
 * @net: its directory of netdevs; it has @net_name
 * @net_name: what @ndev was called when that was last looked at
 * @node: in the module's list of devices
 * @listener: by which its packets come
 * @drops: packets that came to its addresses, and were no good
 * @leaving: its netdev goes, or moves to another network namespace
 * @wire_only: packets are sent to who is on this host too
 * @next_cqn: last number given to a completion queue
 * @num_pds: protection domains that processes have; tide_claim() keeps it,
 *	and the others, within the limits that the device tells of
 * @num_cqs: completion queues
 * @num_qps: queue pairs
 * @num_srqs: shared receive queues
 * @num_ahs: address handles
 * @num_mrs: memory regions
 * @num_mws: memory windows
 * @mcast_groups: multicast groups there are; under a lock of mcast.c
 * @stats_lock: protects what follows, and who counts there or is retired
 * @retired: what destroyed queue pairs have counted
 * @retired_odp: what on-demand regions have that are no more
 */
struct tide_dev {
	struct ib_device ibdev;
	struct net_device *ndev;
	struct platform_device *parent;
	struct kobject *net;
	char net_name[IFNAMSIZ];
	struct list_head node;
	struct tide_listener *listener;
	atomic64_t drops[TIDE_DROP_NUM];
	bool leaving;
	bool wire_only;
	atomic_t next_cqn;
	atomic_t num_pds;
	atomic_t num_cqs;
	atomic_t num_qps;
	atomic_t num_srqs;
	atomic_t num_ahs;
	atomic_t num_mrs;
	atomic_t num_mws;
	unsigned int mcast_groups;
	struct mutex stats_lock;
	u64 retired[TIDE_CNT_NUM];
	u64 retired_odp[TIDE_ODP_COUNTERS];
};

/**
 * struct tide_pd - a protection domain
 * @ibpd: the core's part
 * @id: its number, never used again
 */
struct tide_pd {
	struct ib_pd ibpd;
	u64 id;
};

static inline struct tide_dev *to_tide_dev(struct ib_device *ibdev)
{
	return container_of(ibdev, struct tide_dev, ibdev);
}

static inline struct tide_pd *to_tide_pd(struct ib_pd *ibpd)
{
	return container_of(ibpd, struct tide_pd, ibpd);
}

/**
 * tide_claim - count one more object, if there may be one more
 * @objects: how many there are
 * @max: how many there may be
 * @udata: NULL for a kernel user's, which are not counted: what processes have
 *	does not keep the kernel from having its own, and so the other way round
 *
 * Return: false when there are as many already.
 */
static inline bool tide_claim(atomic_t *objects, int max,
			      const struct ib_udata *udata)
{
	return !udata || atomic_add_unless(objects, 1, max);
}

/* Undo tide_claim(). */
static inline void tide_give_back(atomic_t *objects,
				  const struct ib_udata *udata)
{
	if (udata)
		atomic_dec(objects);
}

int tide_device_add(const char *name, struct net_device *ndev);
void tide_devices_remove_all(void);
struct tide_dev *tide_device_find(struct net_device *ndev);
enum ib_mtu tide_port_mtu(const struct tide_dev *dev);
void tide_device_lose_netdev(struct net_device *ndev);
void tide_port_event(struct tide_dev *dev, unsigned long event);
bool tide_device_is_ours(const struct ib_device *ibdev);

#endif /* TIDE_DEVICE_H */
