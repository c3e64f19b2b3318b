// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * gid.c - which addresses are whose.
 *
 * The tables are the core's, and looking something up in one takes as long as
 * it is.  A datagram has to find out for itself whether it has come to the
 * right device, so here is what all of them have, by address.
 */
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/slab.h>

#include "device.h"
#include "gid.h"

/**
 * struct entry - an entry of a device's table
 * @node: in @entries
 * @gid: the address
 * @dev: whose it is
 * @net_cookie: its network namespace
 * @rcu: frees it
 */
struct entry {
	struct hlist_node node;
	union ib_gid gid;
	struct tide_dev *dev;
	u64 net_cookie;
	struct rcu_head rcu;
};

static DEFINE_HASHTABLE(entries, 10);
static DEFINE_SPINLOCK(entries_lock);

static u32 gid_hash(const union ib_gid *gid)
{
	return jhash(gid, sizeof(*gid), 0);
}

/**
 * tide_gid_is_of - whether a device has an address
 * @gid: the address
 * @dev: the device; need not be there any more
 *
 * Context: any; under rcu_read_lock().
 */
bool tide_gid_is_of(const union ib_gid *gid, const struct tide_dev *dev)
{
	const struct entry *entry;

	hash_for_each_possible_rcu(entries, entry, node, gid_hash(gid))
		if (entry->dev == dev &&
		    !memcmp(&entry->gid, gid, sizeof(*gid)))
			return true;
	return false;
}

/**
 * tide_gid_owner - the device that has an address
 * @gid: the address
 * @net_cookie: the network namespace that the device has to be in
 *
 * Context: any; under rcu_read_lock(), which keeps the device's memory.
 *
 * Return: the device, which may be about to go; or NULL.
 */
struct tide_dev *tide_gid_owner(const union ib_gid *gid, u64 net_cookie)
{
	const struct entry *entry;

	hash_for_each_possible_rcu(entries, entry, node, gid_hash(gid))
		if (entry->net_cookie == net_cookie &&
		    !memcmp(&entry->gid, gid, sizeof(*gid)))
			return entry->dev;
	return NULL;
}

/**
 * tide_gid_is_here - whether an address is reached without packets, or not at
 *	all
 * @gid: the address
 * @dev: the device that somebody wants to reach it from
 *
 * Context: any; under rcu_read_lock().
 */
bool tide_gid_is_here(const union ib_gid *gid, const struct tide_dev *dev)
{
	if (!dev->listener)
		return true;
	return !READ_ONCE(dev->wire_only) &&
	       tide_gid_owner(gid, dev_net(dev->ndev)->net_cookie);
}

/* The netdev that has an address: a device's own, or one on top of it. */
int tide_gid_ifindex(const struct ib_gid_attr *attr)
{
	const struct net_device *ndev;
	int ifindex = 0;

	rcu_read_lock();
	ndev = rcu_dereference(attr->ndev);
	if (ndev)
		ifindex = ndev->ifindex;
	rcu_read_unlock();
	return ifindex;
}

int tide_add_gid(const struct ib_gid_attr *attr, void **context)
{
	struct entry *entry = kmalloc(sizeof(*entry), GFP_KERNEL);
	struct tide_dev *dev = to_tide_dev(attr->device);

	if (!entry)
		return -ENOMEM;
	entry->gid = attr->gid;
	entry->dev = dev;
	entry->net_cookie = dev_net(dev->ndev)->net_cookie;
	*context = entry;
	spin_lock(&entries_lock);
	hash_add_rcu(entries, &entry->node, gid_hash(&entry->gid));
	spin_unlock(&entries_lock);
	return 0;
}

int tide_del_gid(const struct ib_gid_attr *attr, void **context)
{
	struct entry *entry = *context;

	spin_lock(&entries_lock);
	hash_del_rcu(&entry->node);
	spin_unlock(&entries_lock);
	*context = NULL;
	kfree_rcu(entry, rcu);
	return 0;
}
