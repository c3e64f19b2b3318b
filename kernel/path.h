/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * path.h - how packets get to a peer on another host: addresses, the route,
 * and the headers in front of a packet.
 */
#ifndef TIDE_PATH_H
#define TIDE_PATH_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/spinlock.h>
#include <linux/udp.h>
#include <net/dst.h>
#include <rdma/ib_verbs.h>

struct tide_dev;

/**
 * struct tide_path - a path
 * @dev: the device that packets leave from, whose network namespace it is
 * @ifindex: of its netdev, or of a VLAN's on top of it, that owns @sgid
 * @ipv6: which of the two
 * @sgid: where from
 * @dgid: where to
 * @flow_label: as asked
 * @traffic_class: as asked; its two lowest bits are ECN's, and not asked for
 * @hop_limit: as asked; 0 for the usual
 * @congestion_control: who sends on it heeds congestion
 * @sport: the UDP source port: the entropy that routers spread flows by
 * @lock: protects what follows
 * @dst: the route, or NULL; looked up anew when it is obsolete
 * @cookie: for dst_check()
 */
struct tide_path {
	struct tide_dev *dev;
	int ifindex;
	bool ipv6;
	union ib_gid sgid;
	union ib_gid dgid;
	u32 flow_label;
	u8 traffic_class;
	u8 hop_limit;
	bool congestion_control;
	__be16 sport;
	spinlock_t lock;
	struct dst_entry *dst;
	u32 cookie;
};

/**
 * struct tide_outer - the headers in front of the BTH
 * @ipv6: which of the two
 * @ip: without options or extensions
 * @udp: behind it
 */
struct tide_outer {
	bool ipv6;
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} ip;
	struct udphdr udp;
};

static inline u32 tide_outer_ip_len(const struct tide_outer *outer)
{
	return outer->ipv6 ? sizeof(outer->ip.v6) : sizeof(outer->ip.v4);
}

/**
 * tide_outer_of_packet - make headers those of one packet
 * @outer: the headers
 * @id: the packet's identification, which IPv4 has
 * @len: bytes behind the UDP header
 */
static inline void tide_outer_of_packet(struct tide_outer *outer, u16 id,
					u32 len)
{
	len += sizeof(outer->udp);
	outer->udp.len = htons(len);
	if (outer->ipv6) {
		outer->ip.v6.payload_len = htons(len);
	} else {
		outer->ip.v4.tot_len = htons(len + sizeof(outer->ip.v4));
		outer->ip.v4.id = htons(id);
	}
}

/* It leads nowhere until tide_path_aim(). */
static inline void tide_path_init(struct tide_path *path)
{
	spin_lock_init(&path->lock);
	path->congestion_control = false;
	path->dst = NULL;
}

void tide_path_aim(struct tide_path *path, struct tide_dev *dev, int ifindex,
		   const union ib_gid *sgid, const union ib_gid *dgid,
		   u32 flow_label, u8 traffic_class, u8 hop_limit, u16 sport);
void tide_path_forget(struct tide_path *path);
void tide_path_destroy(struct tide_path *path);
struct dst_entry *tide_path_route(struct tide_path *path);
void tide_path_outer(const struct tide_path *path, struct tide_outer *outer);

#endif /* TIDE_PATH_H */
