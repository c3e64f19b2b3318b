// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mcast.c - multicast groups.
 *
 * A group is a device's own, as an IP multicast group is an interface's: on
 * another device of this host, that is another link, its members are reached
 * as those on other hosts are.
 */
#include <linux/hashtable.h>
#include <linux/if_vlan.h>
#include <linux/igmp.h>
#include <linux/inetdevice.h>
#include <linux/jhash.h>
#include <linux/rculist.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/addrconf.h>

#include "device.h"
#include "gid.h"
#include "mcast.h"
#include "qp.h"

/**
 * struct group - a group with at least one member
 * @node: in @groups
 * @dev: its device
 * @mgid: its address
 * @members: struct member
 * @num: how many
 * @in_dev: where the IP group was joined, or NULL: in_device or inet6_dev
 * @rcu: frees it
 */
struct group {
	struct hlist_node node;
	struct tide_dev *dev;
	union ib_gid mgid;
	struct list_head members;
	unsigned int num;
	const void *in_dev;
	struct rcu_head rcu;
};

/**
 * struct member - a queue pair that is attached
 * @node: in its group
 * @qp: the queue pair, held
 * @times: how often it was; the core may know one group by several LIDs
 * @rcu: frees it
 */
struct member {
	struct list_head node;
	struct tide_qp *qp;
	unsigned int times;
	struct rcu_head rcu;
};

static DEFINE_HASHTABLE(groups, 8);
static DEFINE_MUTEX(groups_lock);

static u32 mgid_hash(const union ib_gid *mgid)
{
	return jhash(mgid, sizeof(*mgid), 0);
}

/* Under groups_lock or rcu_read_lock(). */
static struct group *find_group(const struct tide_dev *dev,
				const union ib_gid *mgid)
{
	struct group *group;

	hash_for_each_possible_rcu(groups, group, node, mgid_hash(mgid),
				   lockdep_is_held(&groups_lock))
		if (group->dev == dev &&
		    !memcmp(&group->mgid, mgid, sizeof(*mgid)))
			return group;
	return NULL;
}

/* Under groups_lock, from here on. */
static struct member *find_member(const struct group *group,
				  const struct tide_qp *qp)
{
	struct member *member;

	list_for_each_entry(member, &group->members, node)
		if (member->qp == qp)
			return member;
	return NULL;
}

/*
 * Join the IP multicast group of the same address: that is how other hosts'
 * datagrams find here.  Where there is none, they do not.
 */
static void join(struct group *group)
{
	const struct in6_addr *addr = (const struct in6_addr *)&group->mgid;
	struct net_device *ndev = group->dev->ndev;
	struct in_device *in_dev;

	if (!group->dev->listener)
		return;
	rtnl_lock();
	if (!ipv6_addr_v4mapped(addr)) {
		if (IS_ENABLED(CONFIG_IPV6) && !ipv6_dev_mc_inc(ndev, addr))
			group->in_dev = __in6_dev_get(ndev);
	} else if ((in_dev = __in_dev_get_rtnl(ndev))) {
		ip_mc_inc_group(in_dev, addr->s6_addr32[3]);
		group->in_dev = in_dev;
	}
	rtnl_unlock();
}

/* What the netdev has now may be another's, who has joined by himself. */
static void leave(const struct group *group)
{
	const struct in6_addr *addr = (const struct in6_addr *)&group->mgid;
	struct net_device *ndev = group->dev->ndev;
	struct in_device *in_dev;

	if (!group->in_dev)
		return;
	rtnl_lock();
	if (!ipv6_addr_v4mapped(addr)) {
		if (IS_ENABLED(CONFIG_IPV6) &&
		    __in6_dev_get(ndev) == group->in_dev)
			ipv6_dev_mc_dec(ndev, addr);
	} else {
		in_dev = __in_dev_get_rtnl(ndev);
		if (in_dev && in_dev == group->in_dev)
			ip_mc_dec_group(in_dev, addr->s6_addr32[3]);
	}
	rtnl_unlock();
}

static struct group *make_group(struct tide_dev *dev,
				const union ib_gid *mgid)
{
	struct group *group;

	if (dev->mcast_groups >= TIDE_MAX_MCAST_GRP)
		return NULL;
	group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
	if (!group)
		return NULL;
	group->dev = dev;
	group->mgid = *mgid;
	INIT_LIST_HEAD(&group->members);
	hash_add_rcu(groups, &group->node, mgid_hash(mgid));
	dev->mcast_groups++;
	join(group);
	return group;
}

static void drop_if_empty(struct group *group)
{
	if (group->num)
		return;
	hash_del_rcu(&group->node);
	group->dev->mcast_groups--;
	leave(group);
	kfree_rcu(group, rcu);
}

static int add_member(struct group *group, struct tide_qp *qp)
{
	struct member *member = find_member(group, qp);

	if (member) {
		member->times++;
		return 0;
	}
	if (group->num >= TIDE_MAX_MCAST_QPS)
		return -ENOMEM;
	member = kzalloc(sizeof(*member), GFP_KERNEL_ACCOUNT);
	if (!member)
		return -ENOMEM;
	tide_qp_get(qp);
	member->qp = qp;
	member->times = 1;
	list_add_tail_rcu(&member->node, &group->members);
	group->num++;
	return 0;
}

static void remove_member(struct group *group, struct member *member)
{
	if (--member->times)
		return;
	list_del_rcu(&member->node);
	group->num--;
	tide_qp_put(member->qp);
	kfree_rcu(member, rcu);
}

static u32 visit_members(const struct group *group,
			 void (*visit)(struct tide_qp *qp, const void *arg),
			 const void *arg)
{
	const struct member *member;
	u32 visited = 0;

	list_for_each_entry_rcu(member, &group->members, node) {
		visit(member->qp, arg);
		visited++;
	}
	return visited;
}

/**
 * tide_mcast_walk - find the members of a group
 * @dev: the device
 * @mgid: the group's address
 * @visit: called for each, which may be destroyed already
 * @arg: passed to it
 *
 * Context: any; under rcu_read_lock(), which keeps the queue pairs' memory.
 *
 * Return: how many there are.
 */
u32 tide_mcast_walk(const struct tide_dev *dev, const union ib_gid *mgid,
		    void (*visit)(struct tide_qp *qp, const void *arg),
		    const void *arg)
{
	const struct group *group = find_group(dev, mgid);

	return group ? visit_members(group, visit, arg) : 0;
}

/*
 * Whether what comes by a netdev has come by the device's: its own, or one on
 * top of it that takes packets away from it.  Others, as macvlans, get a copy.
 */
static bool is_on_way(const struct tide_dev *dev, struct net_device *ndev)
{
	if (dev->ndev == ndev)
		return true;
	return (is_vlan_dev(ndev) || netif_is_bridge_master(ndev) ||
		netif_is_lag_master(ndev) || netif_is_l3_master(ndev)) &&
	       netdev_has_upper_dev_all_rcu(dev->ndev, ndev);
}

/**
 * tide_mcast_walk_netdev - find the members of a group by where something came
 * @net: the network namespace
 * @ifindex: the netdev that it came by
 * @source: who has sent it; the sender's own device knows of it already
 * @mgid: the group's address
 * @visit: as for tide_mcast_walk()
 * @arg: passed to it
 *
 * Context: as for tide_mcast_walk().
 */
void tide_mcast_walk_netdev(struct net *net, int ifindex,
			    const union ib_gid *source,
			    const union ib_gid *mgid,
			    void (*visit)(struct tide_qp *qp, const void *arg),
			    const void *arg)
{
	struct net_device *ndev = dev_get_by_index_rcu(net, ifindex);
	const struct group *group;

	if (!ndev)
		return;
	hash_for_each_possible_rcu(groups, group, node, mgid_hash(mgid))
		if (net_eq(dev_net(group->dev->ndev), net) &&
		    is_on_way(group->dev, ndev) &&
		    !memcmp(&group->mgid, mgid, sizeof(*mgid)) &&
		    !tide_gid_is_of(source, group->dev))
			visit_members(group, visit, arg);
}

int tide_attach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid)
{
	struct tide_dev *dev = to_tide_dev(ibqp->device);
	struct group *group;
	int ret = -ENOMEM;

	mutex_lock(&groups_lock);
	group = find_group(dev, mgid) ?: make_group(dev, mgid);
	if (group) {
		ret = add_member(group, to_tide_qp(ibqp));
		drop_if_empty(group);
	}
	mutex_unlock(&groups_lock);
	return ret;
}

int tide_detach_mcast(struct ib_qp *ibqp, union ib_gid *mgid, u16 mlid)
{
	struct member *member = NULL;
	struct group *group;

	mutex_lock(&groups_lock);
	group = find_group(to_tide_dev(ibqp->device), mgid);
	if (group)
		member = find_member(group, to_tide_qp(ibqp));
	if (member) {
		remove_member(group, member);
		drop_if_empty(group);
	}
	mutex_unlock(&groups_lock);
	return member ? 0 : -EINVAL;
}
