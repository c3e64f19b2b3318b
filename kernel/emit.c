// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * emit.c - composing packets and sending them.
 *
 * A burst passes through the IP stack as one UDP datagram that is too large,
 * which is what UDP segmentation offload is for.  Who segments it gives each
 * packet lengths of its own, and IPv4 identifications that count up.  As the
 * ICRC is of a packet as it will be then, that is anticipated here.
 */
#include <linux/bitfield.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/udp.h>

#include "device.h"
#include "emit.h"
#include "icrc.h"
#include "packet.h"
#include "pages.h"
#include "path.h"

/* What is worth no page of its own. */
#define MAX_LINEAR	1280

/*
 * What the pages of a burst have for their private data: it begins so, which no
 * address does, goes on with a number, and ends with zeros.
 */
#define MARK_TAG	(0x71deUL << 48)
#define MARK_NUMBER	GENMASK_ULL(47, 16)
#define MARK_LEN	GENMASK_ULL(15, 0)
#define NOBODYS_MARK	MARK_TAG

/*
 * By the mark's number, modulo theirs: which was seen last, and the length of
 * the longest burst that was seen of it.
 */
#define MARKS		1024

static unsigned long seen[MARKS];
static atomic_t marks = ATOMIC_INIT(0);

static u32 outer_len(const struct tide_burst *burst)
{
	return tide_outer_ip_len(&burst->outer) + sizeof(burst->outer.udp);
}

static u32 headroom(const struct tide_burst *burst, struct dst_entry *dst)
{
	u32 len = outer_len(burst) + dst->header_len;

	rcu_read_lock();
	len += LL_RESERVED_SPACE(READ_ONCE(dst->dev));
	rcu_read_unlock();
	return len;
}

static struct sk_buff *alloc_linear(u32 room, u32 len, gfp_t gfp)
{
	struct sk_buff *skb = alloc_skb(room + len, gfp);

	if (skb) {
		skb_reserve(skb, room);
		skb_put(skb, len);
	}
	return skb;
}

/* Not all buffers are in memory that has pages: NULL then. */
static struct page *frag_head(const struct sk_buff *skb, int i)
{
	struct page *page = skb_frag_page(&skb_shinfo(skb)->frags[i]);

	return page ? compound_head(page) : NULL;
}

static unsigned long new_mark(void)
{
	u32 number = atomic_inc_return(&marks);

	return MARK_TAG | FIELD_PREP(MARK_NUMBER, number);
}

static unsigned long *seen_of(unsigned long mark)
{
	return &seen[FIELD_GET(MARK_NUMBER, mark) % MARKS];
}

/* Who allocates them next begins with none. */
static void set_mark(const struct sk_buff *skb, unsigned long mark)
{
	int i;

	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		set_page_private(frag_head(skb, i), mark);
}

static unsigned long mark_of(const struct page *page)
{
	unsigned long mark = page ? page_private(page) : 0;

	return (mark & ~MARK_NUMBER) == MARK_TAG ? mark : 0;
}

unsigned long tide_emit_is_whole(const struct sk_buff *skb)
{
	unsigned long mark;
	int i;

	if (!skb->csum_valid || !udp_hdr(skb)->check || skb_headlen(skb) ||
	    !skb_is_nonlinear(skb) || skb_has_frag_list(skb))
		return 0;
	mark = mark_of(frag_head(skb, 0));
	for (i = 1; i < skb_shinfo(skb)->nr_frags; i++)
		if (mark_of(frag_head(skb, i)) != mark)
			return 0;
	return mark;
}

/* How long a burst of that mark was seen; 0 if none was. */
static u32 longest_seen(unsigned long mark)
{
	unsigned long last = READ_ONCE(*seen_of(mark));

	return (last & ~MARK_LEN) == mark ? last & MARK_LEN : 0;
}

void tide_emit_seen(unsigned long mark, u32 len)
{
	static_assert(TIDE_BURST_BYTES <= MARK_LEN);

	if (mark != NOBODYS_MARK && longest_seen(mark) < len)
		WRITE_ONCE(*seen_of(mark), mark | len);
}

/* Mark a burst; true if such that are as long were seen. */
static bool is_near(struct tide_near *near, const struct sk_buff *skb)
{
	if (!near) {
		set_mark(skb, NOBODYS_MARK);
		return false;
	}
	if (!near->mark)
		near->mark = new_mark();
	set_mark(skb, near->mark);
	return longest_seen(near->mark) >= skb->len;
}

static struct sk_buff *alloc_paged(u32 room, u32 len, gfp_t gfp)
{
	struct sk_buff *skb = alloc_linear(room, 0, gfp);
	int err;

	if (!skb || tide_pages_add(skb, len))
		return skb;
	kfree_skb(skb);
	/* In smaller pieces, then. */
	skb = alloc_skb_with_frags(room, len, PAGE_ALLOC_COSTLY_ORDER, &err,
				   gfp);
	if (skb) {
		skb_reserve(skb, room);
		skb->data_len = len;
		skb->len = len;
	}
	return skb;
}

/* The identifications of all packets. */
static u16 claim_ids(const struct tide_burst *burst)
{
	struct iphdr ip = burst->outer.ip.v4;

	if (burst->outer.ipv6)
		return 0;
	rcu_read_lock();
	__ip_select_ident(dev_net(burst->path->dev->ndev), &ip,
			  burst->packets);
	rcu_read_unlock();
	return ntohs(ip.id);
}

int tide_emit_begin(struct tide_burst *burst, struct tide_path *path,
		    struct tide_near *near, u32 packets, u32 size, u32 last,
		    gfp_t gfp)
{
	u32 len = (packets - 1) * size + last, room;
	struct dst_entry *dst = tide_path_route(path);

	if (IS_ERR(dst))
		return PTR_ERR(dst);
	gfp |= __GFP_NOWARN;
	burst->path = path;
	burst->packets = packets;
	burst->done = 0;
	burst->size = size;
	burst->done_len = 0;
	tide_path_outer(path, &burst->outer);
	room = headroom(burst, dst);
	burst->skb = len <= MAX_LINEAR ? alloc_linear(room, len, gfp) :
					 alloc_paged(room, len, gfp);
	if (!burst->skb) {
		dst_release(dst);
		return -ENOMEM;
	}
	burst->bare = skb_is_nonlinear(burst->skb) &&
		      is_near(near, burst->skb) && packets > 1;
	skb_dst_set(burst->skb, dst);
	burst->id = claim_ids(burst);
	burst->at = burst->skb->data;
	burst->left = skb_headlen(burst->skb);
	burst->next_frag = 0;
	return 0;
}

void *tide_emit_room(struct tide_burst *burst, u32 *len)
{
	const skb_frag_t *frag;

	if (!burst->left) {
		frag = &skb_shinfo(burst->skb)->frags[burst->next_frag++];
		burst->at = skb_frag_address(frag);
		burst->left = skb_frag_size(frag);
	}
	*len = min(*len, burst->left);
	return burst->at;
}

static void advance(struct tide_burst *burst, u32 len)
{
	burst->at += len;
	burst->left -= len;
}

void tide_emit_filled(struct tide_burst *burst, u32 len)
{
	if (!burst->bare)
		burst->crc = tide_icrc_add(burst->crc, burst->at, len);
	advance(burst, len);
}

static void put(struct tide_burst *burst, const void *data, u32 len)
{
	u32 part;

	for (; len; data += part, len -= part) {
		part = len;
		memcpy(tide_emit_room(burst, &part), data, part);
		advance(burst, part);
	}
}

void tide_emit_header(struct tide_burst *burst, struct tide_packet *packet)
{
	struct tide_outer *outer = &burst->outer;
	u8 header[TIDE_MAX_HEADER_LEN];

	tide_packet_build(packet, header);
	burst->pad = tide_packet_pad(packet->payload_len);
	burst->packet_len = packet->header_len + packet->payload_len +
			    burst->pad + TIDE_ICRC_LEN;
	tide_outer_of_packet(outer, burst->id + burst->done,
			     burst->packet_len);
	if (!burst->bare || !burst->done) {
		burst->crc = tide_icrc_begin(&outer->ip,
					     tide_outer_ip_len(outer),
					     &outer->udp, header);
		burst->crc = tide_icrc_add(burst->crc, header + TIDE_BTH_LEN,
					   packet->header_len - TIDE_BTH_LEN);
	}
	put(burst, header, packet->header_len);
}

void tide_emit_packet_done(struct tide_burst *burst)
{
	static const u8 pad[3];
	__le32 icrc = 0;

	if (!burst->bare)
		burst->crc = tide_icrc_add(burst->crc, pad, burst->pad);
	if (!burst->bare || !burst->done)
		icrc = tide_icrc_end(burst->crc);
	put(burst, pad, burst->pad);
	put(burst, &icrc, sizeof(icrc));
	burst->done_len += burst->packet_len;
	burst->done++;
}

/*
 * RoCE has the ICRC and no UDP checksum.  Segmentation makes one nonetheless,
 * beginning with the addresses' sum.  That it is not made tells whoever gets it
 * whole that nobody was in between, so a bare one has that even if all but one
 * packet were cut off.
 */
static void be_segmented(struct tide_burst *burst)
{
	struct tide_outer *outer = &burst->outer;
	u32 len = burst->done_len + sizeof(outer->udp);
	struct sk_buff *skb = burst->skb;

	if (burst->done > 1) {
		skb_shinfo(skb)->gso_type = SKB_GSO_UDP_L4;
		skb_shinfo(skb)->gso_size = burst->size;
		skb_shinfo(skb)->gso_segs = burst->done;
	}
	if (outer->ipv6)
		outer->udp.check = ~udp_v6_check(len, &outer->ip.v6.saddr,
						 &outer->ip.v6.daddr, 0);
	else
		outer->udp.check = ~udp_v4_check(len, outer->ip.v4.saddr,
						 outer->ip.v4.daddr, 0);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) - sizeof(outer->udp);
	skb->csum_offset = offsetof(struct udphdr, check);
}

static void put_outer(struct tide_burst *burst)
{
	struct tide_outer *outer = &burst->outer;
	struct sk_buff *skb = burst->skb;
	u32 ip_len = tide_outer_ip_len(outer);

	tide_outer_of_packet(outer, burst->id, burst->done_len);
	memcpy(skb_push(skb, sizeof(outer->udp)), &outer->udp,
	       sizeof(outer->udp));
	skb_reset_transport_header(skb);
	memcpy(skb_push(skb, ip_len), &outer->ip, ip_len);
	skb_reset_network_header(skb);
	skb->protocol = htons(outer->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
}

void tide_emit_pause(struct tide_burst *burst)
{
	skb_dst_drop(burst->skb);
}

static int have_route(struct tide_burst *burst)
{
	struct dst_entry *dst;

	if (skb_dst(burst->skb))
		return 0;
	dst = tide_path_route(burst->path);
	if (IS_ERR(dst))
		return PTR_ERR(dst);
	skb_dst_set(burst->skb, dst);
	return 0;
}

int tide_emit_send(struct tide_burst *burst)
{
	struct sk_buff *skb = burst->skb;
	struct net *net;
	int ret;

	ret = burst->done ? have_route(burst) : 0;
	if (!burst->done || ret) {
		kfree_skb(skb);
		return ret;
	}
	pskb_trim_unique(skb, burst->done_len);
	if (burst->done > 1 || burst->bare)
		be_segmented(burst);
	put_outer(burst);
	/* The path's device may have gone; the route knows. */
	rcu_read_lock();
	net = dev_net(READ_ONCE(skb_dst(skb)->dev));
	ret = burst->outer.ipv6 ? ip6_local_out(net, NULL, skb) :
				  ip_local_out(net, NULL, skb);
	rcu_read_unlock();
	return min(ret, 0);
}

void tide_emit_cancel(struct tide_burst *burst)
{
	kfree_skb(burst->skb);
}
