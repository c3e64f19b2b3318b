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
 * @dev: whose it is; only compared
 * @rcu: frees it
 */
struct entry {
	struct hlist_node node;
	union ib_gid gid;
	const struct tide_dev *dev;
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

int tide_add_gid(const struct ib_gid_attr *attr, void **context)
{
	struct entry *entry = kmalloc(sizeof(*entry), GFP_KERNEL);

	if (!entry)
		return -ENOMEM;
	entry->gid = attr->gid;
	entry->dev = to_tide_dev(attr->device);
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
