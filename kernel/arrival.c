// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * arrival.c - packets that come from other hosts.
 *
 * They come by UDP sockets that nobody waits at: each datagram is taken out
 * again by who has put it in.  As an encapsulation's socket would, that keeps
 * all in one softirq.  But a burst that was not segmented on its way, as those
 * of neighbours on this machine, comes whole, and is taken apart here: an
 * encapsulation gets it in pieces, which do not tell any more what IPv4
 * identifications they would have had, and the ICRC is of these too.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/udp.h>
#include <net/inet_ecn.h>
#include <net/ipv6.h>
#include <net/netns/generic.h>
#include <net/udp.h>
#include <net/udp_tunnel.h>

#include "arrival.h"
#include "device.h"
#include "emit.h"
#include "gid.h"
#include "icrc.h"
#include "intake.h"
#include "packet.h"
#include "pages.h"
#include "path.h"

/*
 * Half of what may be in a socket at once, for each CPU: memory is counted
 * until whoever put it there has returned.
 */
#define RCVBUF_PER_CPU	SZ_4M
#define RCVBUF_MAX	SZ_512M

/* Bursts to different queue pairs may be taken apart at the same time. */
#define INTAKES		16

/**
 * struct tide_listener - the sockets of a network namespace
 * @net: the namespace; NULL when it has gone
 * @devices: how many want them
 * @sockets: for IPv4, and for IPv6 if there is that
 * @lock: what is taken out of these is put into an intake
 * @intakes: by number of the queue pair
 */
struct tide_listener {
	struct net *net;
	unsigned int devices;
	struct socket *sockets[2];
	spinlock_t lock;
	struct tide_intake intakes[INTAKES];
};

static unsigned int listener_id;
static DEFINE_MUTEX(listeners_lock);

static struct tide_listener **listener_of(struct net *net)
{
	return net_generic(net, listener_id);
}

/* Tells @offset on if it is behind all that @skb itself has. */
static void *piece_of_one(const struct sk_buff *skb, u32 *offset, u32 *len)
{
	u32 size = skb_headlen(skb);
	const skb_frag_t *frag;
	void *at = skb->data;
	int i;

	for (i = 0; *offset >= size; i++) {
		*offset -= size;
		if (i == skb_shinfo(skb)->nr_frags)
			return NULL;
		frag = &skb_shinfo(skb)->frags[i];
		at = skb_frag_address(frag);
		size = skb_frag_size(frag);
	}
	*len = min(*len, size - *offset);
	return at ? at + *offset : NULL;
}

static void *piece(const struct sk_buff *skb, u32 offset, u32 *len)
{
	void *at = piece_of_one(skb, &offset, len);
	const struct sk_buff *part;

	if (at)
		return at;
	skb_walk_frags(skb, part) {
		at = piece_of_one(part, &offset, len);
		if (at)
			return at;
	}
	return NULL;
}

void *tide_arrival_piece(const struct tide_arrival *arrival, u32 offset,
			 u32 *len)
{
	return piece(arrival->skb, arrival->payload + offset, len);
}

/*
 * Whether a packet has the right ICRC, or, if its payload is as it was @sent,
 * one of its headers.
 */
static bool icrc_is_right(const struct sk_buff *skb,
			  const struct tide_outer *outer, const void *bth,
			  u32 header_len, u32 offset, u32 len, bool sent)
{
	u32 end = offset + len - TIDE_ICRC_LEN, part, crc;
	__le32 icrc;
	void *at;

	if (skb_copy_bits(skb, end, &icrc, sizeof(icrc)))
		return false;
	crc = tide_icrc_begin(&outer->ip, tide_outer_ip_len(outer),
			      &outer->udp, bth);
	crc = tide_icrc_add(crc, bth + TIDE_BTH_LEN, header_len - TIDE_BTH_LEN);
	if (sent && icrc == tide_icrc_end(crc))
		return true;
	for (offset += header_len; offset < end; offset += part) {
		part = end - offset;
		at = piece(skb, offset, &part);
		if (!at)
			return false;
		crc = tide_icrc_add(crc, at, part);
	}
	return icrc == tide_icrc_end(crc);
}

/* Nobody's, so counted by the device that has the address it was sent to. */
static void drop(const struct tide_arrival *arrival,
		 enum tide_arrival_drop reason)
{
	struct tide_dev *dev;

	rcu_read_lock();
	dev = tide_gid_owner(&arrival->dest, arrival->net->net_cookie);
	if (dev)
		atomic64_inc(&dev->drops[reason]);
	rcu_read_unlock();
}

/* One packet, at @offset, whose headers in front are @outer; false if bad. */
static bool receive_packet(struct tide_arrival *arrival,
			   const struct tide_outer *outer, u32 offset, u32 len)
{
	u32 avail = min_t(u32, len, TIDE_MAX_HEADER_LEN);
	u8 buffer[TIDE_MAX_HEADER_LEN];
	const void *bth;

	bth = skb_header_pointer(arrival->skb, offset, avail, buffer);
	if (!bth || !tide_packet_parse(&arrival->packet, bth, avail, len)) {
		drop(arrival, TIDE_DROP_MALFORMED);
		return false;
	}
	if (!arrival->whole &&
	    !icrc_is_right(arrival->skb, outer, bth,
			   arrival->packet.header_len, offset, len,
			   arrival->mark)) {
		drop(arrival, TIDE_DROP_ICRC);
		return false;
	}
	arrival->payload = offset + arrival->packet.header_len;
	tide_wire_receive(arrival);
	return true;
}

/*
 * What an ICRC can cover: no options, no extensions.  The UDP header is then
 * where it is looked for.
 */
static bool read_outer(const struct sk_buff *skb, struct tide_outer *outer)
{
	const void *ip = skb_network_header(skb);
	u32 ip_len = tide_outer_ip_len(outer);

	memcpy(&outer->ip, ip, ip_len);
	memcpy(&outer->udp, ip + ip_len, sizeof(outer->udp));
	return outer->ipv6 ? outer->ip.v6.nexthdr == IPPROTO_UDP :
			     outer->ip.v4.ihl == sizeof(struct iphdr) / 4;
}

static void read_addresses(const struct tide_outer *outer,
			   struct tide_arrival *arrival)
{
	struct in6_addr *source = (struct in6_addr *)&arrival->source;
	struct in6_addr *dest = (struct in6_addr *)&arrival->dest;

	if (outer->ipv6) {
		*source = outer->ip.v6.saddr;
		*dest = outer->ip.v6.daddr;
		arrival->congested =
			INET_ECN_is_ce(ipv6_get_dsfield(&outer->ip.v6));
	} else {
		ipv6_addr_set_v4mapped(outer->ip.v4.saddr, source);
		ipv6_addr_set_v4mapped(outer->ip.v4.daddr, dest);
		arrival->congested = INET_ECN_is_ce(outer->ip.v4.tos);
	}
}

/* The first @len bytes are packets of @size bytes, the last one's remainder. */
static void receive_packets(struct net *net, struct sk_buff *skb, u32 len,
			    u32 size)
{
	struct tide_outer outer = {
		.ipv6 = skb->protocol == htons(ETH_P_IPV6),
	};
	struct tide_arrival arrival = {
		.skb = skb,
		.net = net,
		.ipv6 = outer.ipv6,
		.ip = skb_network_header(skb) - skb->head,
		.mark = tide_emit_is_whole(skb),
	};
	u32 offset = 0;
	bool sound;
	u16 id;

	sound = read_outer(skb, &outer);
	read_addresses(&outer, &arrival);
	if (!len || !sound) {
		drop(&arrival, TIDE_DROP_MALFORMED);
		return;
	}
	for (id = ntohs(outer.ip.v4.id); offset < len; offset += size, id++) {
		size = min(size, len - offset);
		arrival.more = offset + size < len;
		tide_outer_of_packet(&outer, id, size);
		/* All have the headers that are right for the first. */
		arrival.whole = receive_packet(&arrival, &outer, offset,
					       size) && arrival.mark;
		if (!arrival.whole)
			arrival.mark = 0;
	}
}

/*
 * A netdev may have been told to string packets together that it received one
 * after the other.  Those but the first still have headers of their own.
 */
static void receive_strung(struct net *net, struct sk_buff *skb)
{
	struct sk_buff *part;

	receive_packets(net, skb, skb_pagelen(skb),
			skb_shinfo(skb)->gso_size);
	skb_walk_frags(skb, part)
		receive_packets(net, part, part->len, part->len);
}

static void receive(void *owner, struct sk_buff *skb)
{
	const struct tide_listener *listener = owner;
	struct net *net = listener->net;

	if (!skb_is_gso(skb))
		receive_packets(net, skb, skb->len, skb->len);
	else if (skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST)
		receive_strung(net, skb);
	else
		receive_packets(net, skb, skb->len, skb_shinfo(skb)->gso_size);
	consume_skb(skb);
}

/* Those of one queue pair keep their order. */
static struct tide_intake *intake_of(struct tide_listener *listener,
				     const struct sk_buff *skb)
{
	u8 buffer;
	const u8 *low = skb_header_pointer(skb, TIDE_BTH_QPN_LOW, 1, &buffer);

	return &listener->intakes[low ? *low % INTAKES : 0];
}

/* Take a buffer out of the socket; false when there is none. */
static bool take_one(struct sock *sk, struct tide_listener *listener,
		     unsigned long *mine)
{
	struct tide_intake *intake;
	struct sk_buff *skb;
	int err;

	/* Or one that came later might be put before it. */
	spin_lock(&listener->lock);
	skb = skb_recv_udp(sk, MSG_DONTWAIT, &err);
	if (skb) {
		/* The socket has kept other things there. */
		skb->dev = NULL;
		intake = intake_of(listener, skb);
		if (tide_intake_put(intake, skb))
			__set_bit(intake - listener->intakes, mine);
	}
	spin_unlock(&listener->lock);
	return skb;
}

/* Another CPU may have taken what this one has put in. */
static void data_ready(struct sock *sk)
{
	struct tide_listener *listener = sk->sk_user_data;
	unsigned long mine = 0, i;

	while (take_one(sk, listener, &mine))
		;
	for_each_set_bit(i, &mine, INTAKES)
		tide_intake_run(&listener->intakes[i]);
}

static int open_socket(struct tide_listener *listener, u8 family,
		       struct socket **socket)
{
	struct udp_port_cfg cfg = {
		.family = family,
		.local_udp_port = htons(TIDE_UDP_PORT),
		.ipv6_v6only = family == AF_INET6,
	};
	struct sock *sk;
	int ret;

	ret = udp_sock_create(listener->net, &cfg, socket);
	if (ret)
		return ret;
	sk = (*socket)->sk;
	sock_set_rcvbuf(sk, min_t(u64, RCVBUF_MAX, (u64)RCVBUF_PER_CPU *
						   num_possible_cpus()));
	udp_allow_gso(sk);
#ifdef CONFIG_NET_RX_BUSY_POLL
	WRITE_ONCE(sk->sk_ll_usec, 0);
#endif
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = listener;
	smp_store_release(&sk->sk_data_ready, data_ready);
	write_unlock_bh(&sk->sk_callback_lock);
	return 0;
}

static void close_sockets(struct tide_listener *listener)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(listener->sockets); i++) {
		if (!listener->sockets[i])
			continue;
		kernel_sock_shutdown(listener->sockets[i], SHUT_RDWR);
		sock_release(listener->sockets[i]);
	}
	/* Who has found one is done with it then. */
	synchronize_rcu();
	for (i = 0; i < INTAKES; i++)
		tide_intake_drain(&listener->intakes[i]);
}

static int open_sockets(struct tide_listener *listener)
{
	int ret;

	ret = open_socket(listener, AF_INET, &listener->sockets[0]);
	if (ret)
		return ret;
	ret = open_socket(listener, AF_INET6, &listener->sockets[1]);
	if (ret == -EAFNOSUPPORT || ret == -EPFNOSUPPORT)
		return 0;
	if (ret)
		close_sockets(listener);
	return ret;
}

static struct tide_listener *listener_create(struct net *net)
{
	struct tide_listener *listener = kzalloc(sizeof(*listener),
						 GFP_KERNEL);
	int ret, i;

	if (!listener)
		return ERR_PTR(-ENOMEM);
	listener->net = net;
	spin_lock_init(&listener->lock);
	for (i = 0; i < INTAKES; i++)
		tide_intake_init(&listener->intakes[i], receive, listener);
	ret = open_sockets(listener);
	if (!ret)
		return listener;

	kfree(listener);
	if (ret == -EADDRINUSE)
		pr_err_ratelimited("tide: UDP port %d of the network namespace is taken; if rdma_rxe has it, remove that or its devices, use another namespace, or do without other hosts (wire=0)\n",
				   TIDE_UDP_PORT);
	return ERR_PTR(ret);
}

/**
 * tide_listen - receive packets
 * @net: of this network namespace
 *
 * Return: what tide_unlisten() takes; or an ERR_PTR.
 */
struct tide_listener *tide_listen(struct net *net)
{
	struct tide_listener *listener;

	mutex_lock(&listeners_lock);
	listener = *listener_of(net);
	if (!listener)
		listener = listener_create(net);
	if (!IS_ERR(listener)) {
		listener->devices++;
		*listener_of(net) = listener;
	}
	mutex_unlock(&listeners_lock);
	return listener;
}

/* What is left of the namespace may be but the listener itself. */
void tide_unlisten(struct tide_listener *listener)
{
	mutex_lock(&listeners_lock);
	if (!--listener->devices) {
		if (listener->net) {
			close_sockets(listener);
			*listener_of(listener->net) = NULL;
		}
		kfree(listener);
		/* It may be that nobody sends any more. */
		tide_pages_drop();
	}
	mutex_unlock(&listeners_lock);
}

/* A namespace does not wait for its devices. */
static void __net_exit exit_namespace(struct net *net)
{
	struct tide_listener *listener;

	mutex_lock(&listeners_lock);
	listener = *listener_of(net);
	if (listener) {
		close_sockets(listener);
		listener->net = NULL;
	}
	mutex_unlock(&listeners_lock);
}

static struct pernet_operations namespace_ops = {
	.exit = exit_namespace,
	.id = &listener_id,
	.size = sizeof(struct tide_listener *),
};

int __init tide_arrival_init(void)
{
	return register_pernet_subsys(&namespace_ops);
}

void tide_arrival_exit(void)
{
	unregister_pernet_subsys(&namespace_ops);
}
