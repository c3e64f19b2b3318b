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
#include <rdma/ib_cache.h>

#include "device.h"
#include "gid.h"

/**
 * struct entry - an entry of a device's table
 * @node: in @entries
 * @gid: the address
 * @dev: whose it is
 * @net_cookie: its network namespace
 * @ifindex: of the netdev that has it, the device's own or one on top of it
 * @vlan: the VLAN that the core takes it to be on
 * @rcu: frees it
 */
struct entry {
	struct hlist_node node;
	union ib_gid gid;
	struct tide_dev *dev;
	u64 net_cookie;
	int ifindex;
	u16 vlan;
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

/**
 * tide_gid_vlan - the VLAN that something has come by
 * @gid: the address that it came to
 * @dev: a device that has it
 * @ifindex: the netdev that it came by; of netdevs that have the same address,
 *	as link-local ones of VLANs may be, that one counts
 *
 * Context: any; under rcu_read_lock().
 *
 * Return: its ID, or TIDE_NO_VLAN.
 */
u16 tide_gid_vlan(const union ib_gid *gid, const struct tide_dev *dev,
		  int ifindex)
{
	const struct entry *entry;
	u16 vlan = TIDE_NO_VLAN;

	hash_for_each_possible_rcu(entries, entry, node, gid_hash(gid)) {
		if (entry->dev != dev ||
		    memcmp(&entry->gid, gid, sizeof(*gid)))
			continue;
		vlan = entry->vlan;
		if (entry->ifindex == ifindex)
			break;
	}
	return vlan;
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

/*
 * The core offers the addresses of all netdevs on top of the device's, those
 * in other network namespaces too, as containers have them.  Packets to those
 * do not come by this namespace: such an address is none of the device's.
 */
static bool is_in_namespace(const struct tide_dev *dev,
			    const struct ib_gid_attr *attr)
{
	const struct net_device *ndev;
	bool is_in;

	rcu_read_lock();
	ndev = rcu_dereference(attr->ndev);
	is_in = !ndev || net_eq(dev_net(ndev), dev_net(dev->ndev));
	rcu_read_unlock();
	return is_in;
}

int tide_add_gid(const struct ib_gid_attr *attr, void **context)
{
	struct tide_dev *dev = to_tide_dev(attr->device);
	struct entry *entry;

	if (!is_in_namespace(dev, attr))
		return -EOPNOTSUPP;
	entry = kmalloc(sizeof(*entry), GFP_KERNEL);
	if (!entry)
		return -ENOMEM;
	entry->gid = attr->gid;
	entry->dev = dev;
	entry->net_cookie = dev_net(dev->ndev)->net_cookie;
	entry->ifindex = tide_gid_ifindex(attr);
	if (rdma_read_gid_l2_fields(attr, &entry->vlan, NULL))
		entry->vlan = TIDE_NO_VLAN;
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
