// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * path.c - routes to other hosts, and the headers of what takes them.
 *
 * A route is kept as long as it is valid, which holds nothing up: it lets go
 * of a netdev that goes.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/flow.h>
#include <net/inet_ecn.h>
#include <net/ip6_fib.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "compat.h"
#include "congestion.h"
#include "device.h"
#include "packet.h"
#include "path.h"

#define DEFAULT_HOP_LIMIT	64

/* Let go of the route; who sends once more looks it up anew. */
void tide_path_forget(struct tide_path *path)
{
	struct dst_entry *dst;

	spin_lock_bh(&path->lock);
	dst = path->dst;
	path->dst = NULL;
	spin_unlock_bh(&path->lock);
	dst_release(dst);
}

/**
 * tide_path_aim - have a path lead somewhere, or somewhere else
 * @path: the path
 * @dev: the device that packets leave from; it outlives the path
 * @ifindex: of the netdev that has @sgid
 * @sgid: where from
 * @dgid: where to, of the same IP version
 * @flow_label: what IPv6 headers are to have
 * @traffic_class: what IP headers are to have, but for ECN's bits
 * @hop_limit: what IP headers are to have; 0 for the usual
 * @sport: the UDP source port
 *
 * Nobody sends on it meanwhile. The route is not looked up before it is needed.
 */
void tide_path_aim(struct tide_path *path, struct tide_dev *dev, int ifindex,
		   const union ib_gid *sgid, const union ib_gid *dgid,
		   u32 flow_label, u8 traffic_class, u8 hop_limit, u16 sport)
{
	tide_path_forget(path);
	path->dev = dev;
	path->ifindex = ifindex;
	path->ipv6 = !ipv6_addr_v4mapped((const struct in6_addr *)dgid);
	path->sgid = *sgid;
	path->dgid = *dgid;
	path->flow_label = flow_label;
	path->traffic_class = traffic_class;
	path->hop_limit = hop_limit;
	path->sport = htons(sport);
}

/* Nobody uses the path any more. */
void tide_path_destroy(struct tide_path *path)
{
	dst_release(path->dst);
}

static __be32 ipv4_of(const union ib_gid *gid)
{
	return ((const struct in6_addr *)gid)->s6_addr32[3];
}

static u8 dscp(const struct tide_path *path)
{
	return path->traffic_class & ~INET_ECN_MASK;
}

/* The two lowest bits tell routers whether they may mark instead of drop. */
static u8 dsfield(const struct tide_path *path)
{
	return dscp(path) |
	       (path->congestion_control ? tide_congestion_ecn() : 0);
}

static struct dst_entry *look_up_ipv4(const struct tide_path *path,
				      struct net *net)
{
	struct flowi4 flow = {
		.flowi4_oif = path->ifindex,
		.flowi4_proto = IPPROTO_UDP,
		.saddr = ipv4_of(&path->sgid),
		.daddr = ipv4_of(&path->dgid),
		.fl4_sport = path->sport,
		.fl4_dport = htons(TIDE_UDP_PORT),
	};
	struct rtable *route;

	tide_flowi4_set_dsfield(&flow, dscp(path));
	route = ip_route_output_flow(net, &flow, NULL);
	return IS_ERR(route) ? ERR_CAST(route) : &route->dst;
}

static struct dst_entry *look_up_ipv6(const struct tide_path *path,
				      struct net *net)
{
	struct flowi6 flow = {
		.flowi6_oif = path->ifindex,
		.flowi6_proto = IPPROTO_UDP,
		.saddr = *(const struct in6_addr *)&path->sgid,
		.daddr = *(const struct in6_addr *)&path->dgid,
		.flowlabel = ip6_make_flowinfo(dscp(path),
					       htonl(path->flow_label) &
					       IPV6_FLOWLABEL_MASK),
		.fl6_sport = path->sport,
		.fl6_dport = htons(TIDE_UDP_PORT),
	};

	/* A port has an address of this kind even then. */
	if (!ipv6_mod_enabled())
		return ERR_PTR(-EAFNOSUPPORT);
	return ip6_dst_lookup_flow(net, NULL, &flow, NULL);
}

/*
 * Two threads may be at it at once: the later one's result is kept; none if the
 * netdev goes, as nobody might let go of it in time.
 */
static void keep_route(struct tide_path *path, struct dst_entry *dst)
{
	struct dst_entry *old;
	u32 cookie = 0;

	if (path->ipv6)
		cookie = rt6_get_cookie(container_of(dst, struct rt6_info,
						     dst));
	dst_hold(dst);
	spin_lock_bh(&path->lock);
	old = dst;
	if (!READ_ONCE(path->dev->leaving)) {
		old = path->dst;
		path->dst = dst;
		path->cookie = cookie;
	}
	spin_unlock_bh(&path->lock);
	dst_release(old);
}

static struct dst_entry *kept_route(struct tide_path *path)
{
	struct dst_entry *dst;

	spin_lock_bh(&path->lock);
	dst = path->dst;
	if (dst)
		dst = dst_check(dst, path->cookie);
	if (dst)
		dst_hold(dst);
	spin_unlock_bh(&path->lock);
	return dst;
}

/**
 * tide_path_route - the route that a path takes
 * @path: the path
 *
 * Context: process or softirq.
 *
 * Return: the route, with a reference; or an ERR_PTR.
 */
struct dst_entry *tide_path_route(struct tide_path *path)
{
	struct dst_entry *dst = kept_route(path);
	struct net *net;

	if (dst)
		return dst;
	/* The netdev may leave its namespace, which may go then. */
	rcu_read_lock();
	net = dev_net(READ_ONCE(path->dev->ndev));
	dst = path->ipv6 ? look_up_ipv6(path, net) : look_up_ipv4(path, net);
	if (!IS_ERR(dst))
		keep_route(path, dst);
	rcu_read_unlock();
	return dst;
}

/**
 * tide_path_outer - the headers of all packets on a path
 * @path: the path
 * @outer: becomes these, but for what differs between packets:
 *	tide_outer_of_packet()
 */
void tide_path_outer(const struct tide_path *path, struct tide_outer *outer)
{
	u8 hop_limit = path->hop_limit ?: DEFAULT_HOP_LIMIT;
	struct ipv6hdr *v6 = &outer->ip.v6;

	memset(outer, 0, sizeof(*outer));
	outer->ipv6 = path->ipv6;
	outer->udp.source = path->sport;
	outer->udp.dest = htons(TIDE_UDP_PORT);
	if (path->ipv6) {
		ip6_flow_hdr(v6, dsfield(path), htonl(path->flow_label) &
						IPV6_FLOWLABEL_MASK);
		v6->nexthdr = IPPROTO_UDP;
		v6->hop_limit = hop_limit;
		memcpy(&v6->saddr, &path->sgid, sizeof(v6->saddr));
		memcpy(&v6->daddr, &path->dgid, sizeof(v6->daddr));
		return;
	}
	outer->ip.v4 = (struct iphdr) {
		.version = IPVERSION,
		.ihl = sizeof(struct iphdr) / 4,
		.tos = dsfield(path),
		.frag_off = htons(IP_DF),
		.ttl = hop_limit,
		.protocol = IPPROTO_UDP,
		.saddr = ipv4_of(&path->sgid),
		.daddr = ipv4_of(&path->dgid),
	};
}
