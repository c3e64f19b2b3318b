// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * parent.c - the platform device that a device has for a parent, and the
 * netdev's name below it.
 *
 * Of an adapter, the RDMA device and the netdev are both children, and programs
 * find the one from the other by device/net/NAME.  Here such a directory has to
 * be made.
 */
#include <linux/dma-mapping.h>
#include <linux/netdevice.h>
#include <linux/platform_device.h>

#include "device.h"
#include "parent.h"

static int make_net(struct tide_dev *dev)
{
	struct kobject *net;
	int ret;

	net = kobject_create_and_add("net", &dev->parent->dev.kobj);
	if (!net)
		return -ENOMEM;
	strscpy(dev->net_name, dev->ndev->name, sizeof(dev->net_name));
	ret = sysfs_create_link(net, &dev->ndev->dev.kobj, dev->net_name);
	if (ret) {
		kobject_put(net);
		return ret;
	}
	dev->net = net;
	return 0;
}

/**
 * tide_parent_create - make a device's parent
 * @dev: the device, with its netdev; not known to the core yet
 *
 * Context: process.
 *
 * Return: 0 or a negative errno.
 */
int tide_parent_create(struct tide_dev *dev)
{
	struct platform_device *parent;
	int ret;

	parent = platform_device_register_simple("tide", PLATFORM_DEVID_AUTO,
						 NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	ret = dma_coerce_mask_and_coherent(&parent->dev, DMA_BIT_MASK(64));
	if (ret)
		goto err_parent;
	dev->parent = parent;
	ret = make_net(dev);
	if (ret)
		goto err_parent;
	dev->ibdev.dev.parent = &parent->dev;
	return 0;

err_parent:
	platform_device_unregister(parent);
	return ret;
}

/**
 * tide_parent_renamed - the netdev has another name
 * @dev: the device
 *
 * Context: process, under rtnl.
 */
void tide_parent_renamed(struct tide_dev *dev)
{
	const char *name = dev->ndev->name;

	if (!strcmp(name, dev->net_name))
		return;
	/* Without the link programs do worse than they could, no more. */
	sysfs_remove_link(dev->net, dev->net_name);
	if (!sysfs_create_link(dev->net, &dev->ndev->dev.kobj, name))
		strscpy(dev->net_name, name, sizeof(dev->net_name));
}

void tide_parent_destroy(struct tide_dev *dev)
{
	kobject_put(dev->net);
	platform_device_unregister(dev->parent);
}
