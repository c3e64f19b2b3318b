// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * main.c - the module: what there is once, and how devices come and go.
 */
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_netlink.h>

#include "arrival.h"
#include "compat.h"
#include "crc.h"
#include "device.h"
#include "module.h"
#include "mr.h"
#include "mirror.h"
#include "pages.h"
#include "qp.h"
#include "srq.h"
#include "stats.h"
#include "version.h"

struct workqueue_struct *tide_wq;
struct workqueue_struct *tide_send_wq;
struct workqueue_struct *tide_release_wq;

/*
 * A VLAN's addresses are the core's to give, and it gives them to the device
 * on the netdev below.
 */
static bool netdev_is_suitable(const struct net_device *ndev)
{
	return (ndev->type == ARPHRD_ETHER && !is_vlan_dev(ndev)) ||
	       ndev->type == ARPHRD_LOOPBACK;
}

static int tide_newlink(const char *name, struct net_device *ndev)
{
	if (!netdev_is_suitable(ndev))
		return -EINVAL;
	return tide_device_add(name, ndev);
}

static struct rdma_link_ops tide_link_ops = {
	.type = "tide",
	.newlink = tide_newlink,
};

static int tide_netdev_event(struct notifier_block *nb, unsigned long event,
			     void *info)
{
	struct net_device *ndev = netdev_notifier_info_to_dev(info);
	struct tide_dev *dev;

	if (event == NETDEV_UNREGISTER)
		tide_device_lose_netdev(ndev);
	dev = tide_device_find(ndev);
	if (dev) {
		tide_port_event(dev, event);
		ib_device_put(&dev->ibdev);
	}
	return NOTIFY_DONE;
}

static struct notifier_block tide_netdev_notifier = {
	.notifier_call = tide_netdev_event,
};

static int tide_client_add(struct ib_device *ibdev)
{
	return tide_device_is_ours(ibdev) ? 0 : -EOPNOTSUPP;
}

static void tide_client_remove(struct ib_device *ibdev, void *data)
{
	tide_qps_error_of_device(to_tide_dev(ibdev));
	tide_srqs_flush_of_device(ibdev);
}

/*
 * Clients go in the reverse order of their coming: this one, registered after
 * uverbs, sees a device's end while its queue pairs are still whole, and lets
 * programs that poll find out.
 */
static struct ib_client tide_client = {
	.name = "tide",
	.add = tide_client_add,
	.remove = tide_client_remove,
	.no_kverbs_req = true,
};

TIDE_NEEDS_UVERBS;

static int __init tide_init(void)
{
	int ret;

	tide_mr_init();
	tide_stats_init();
	tide_crc_init();
	tide_pages_init();
	tide_wq = alloc_workqueue("tide", WQ_UNBOUND, WQ_UNBOUND_MAX_ACTIVE);
	if (!tide_wq) {
		ret = -ENOMEM;
		goto err_crc;
	}
	tide_send_wq = alloc_workqueue("tide-send",
				       TIDE_WQ_PERCPU | WQ_CPU_INTENSIVE |
				       WQ_HIGHPRI, 0);
	if (!tide_send_wq) {
		ret = -ENOMEM;
		goto err_wq;
	}
	tide_release_wq = alloc_workqueue("tide-release", WQ_UNBOUND,
					  WQ_UNBOUND_MAX_ACTIVE);
	if (!tide_release_wq) {
		ret = -ENOMEM;
		goto err_send_wq;
	}
	ret = tide_mirrors_init();
	if (ret)
		goto err_release_wq;
	ret = tide_arrival_init();
	if (ret)
		goto err_mirrors;
	ret = ib_register_client(&tide_client);
	if (ret)
		goto err_arrival;
	ret = register_netdevice_notifier(&tide_netdev_notifier);
	if (ret)
		goto err_client;
	rdma_link_register(&tide_link_ops);
	return 0;

err_client:
	ib_unregister_client(&tide_client);
err_arrival:
	tide_arrival_exit();
err_mirrors:
	tide_mirrors_exit();
err_release_wq:
	destroy_workqueue(tide_release_wq);
err_send_wq:
	destroy_workqueue(tide_send_wq);
err_wq:
	destroy_workqueue(tide_wq);
err_crc:
	tide_crc_exit();
	return ret;
}

static void __exit tide_exit(void)
{
	rdma_link_unregister(&tide_link_ops);
	tide_devices_remove_all();
	unregister_netdevice_notifier(&tide_netdev_notifier);
	ib_unregister_client(&tide_client);
	tide_arrival_exit();
	/* Pagers start works of queue pairs, those let go of pages. */
	tide_mirrors_exit();
	destroy_workqueue(tide_send_wq);
	destroy_workqueue(tide_wq);
	destroy_workqueue(tide_release_wq);
	tide_pages_drop();
	tide_crc_exit();
	rcu_barrier();
}

module_init(tide_init);
module_exit(tide_exit);

MODULE_DESCRIPTION("tide: software RDMA with on-demand paging");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_VERSION(TIDE_VERSION);
MODULE_ALIAS_RDMA_LINK("tide");
