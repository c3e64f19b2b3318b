// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * datagram.c - the local carrier of datagrams.
 *
 * Who is to receive a datagram, and has no use for it, drops it in silence;
 * its sender succeeds when it has sent it (IBTA 9.8.3).
 */
#include <linux/ip.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <rdma/ib_addr.h>

#include "ah.h"
#include "datagram.h"
#include "device.h"
#include "gid.h"
#include "gsi.h"
#include "mcast.h"
#include "sg.h"
#include "wire_datagram.h"

/* The sender's own key is meant (IBTA's controlled Q_Key). */
#define QKEY_OWN		BIT(31)

/* Of the packet that the wire would have: behind the IP header. */
#define UDP_LEN			8
#define BTH_LEN			12
#define DETH_LEN		8
#define IMM_LEN			4
#define ICRC_LEN		4

/**
 * tide_datagrams_create - the part of a queue pair that is for datagrams
 * @qp: the queue pair
 *
 * Return: NULL when there is no memory.
 */
struct tide_datagrams *tide_datagrams_create(struct tide_qp *qp)
{
	struct tide_datagrams *dgs = kzalloc(sizeof(*dgs), GFP_KERNEL_ACCOUNT);

	if (!dgs)
		return NULL;
	dgs->buffer = kmalloc(TIDE_MAX_DATAGRAM, GFP_KERNEL_ACCOUNT);
	if (!dgs->buffer) {
		kfree(dgs);
		return NULL;
	}
	tide_path_init(&dgs->far.path);
	tide_inbox_init(&dgs->inbox, qp);
	return dgs;
}

void tide_datagrams_destroy(struct tide_datagrams *dgs)
{
	if (!dgs)
		return;
	tide_inbox_destroy(&dgs->inbox);
	tide_path_destroy(&dgs->far.path);
	kfree(dgs->buffer);
	kfree(dgs);
}

static u16 ip_payload_len(const struct tide_datagram *dg, u32 length)
{
	bool imm = dg->op.opcode == IB_WR_SEND_WITH_IMM;

	return UDP_LEN + BTH_LEN + DETH_LEN + (imm ? IMM_LEN : 0) +
	       ALIGN(length, 4) + ICRC_LEN;
}

/* The last four bytes of a mapped GID. */
static __be32 ipv4_of(const union ib_gid *gid)
{
	return ((const struct in6_addr *)gid)->s6_addr32[3];
}

static bool is_ipv4(const union ib_gid *gid)
{
	return ipv6_addr_v4mapped((const struct in6_addr *)gid);
}

/* The last 20 of 40 bytes; the others are not defined (IBTA annex A17). */
static void fill_ipv4(struct tide_datagram *dg, const struct tide_av *av,
		      u32 length)
{
	struct iphdr *ip = &dg->grh.roce4grh;

	memset(&dg->grh, 0, sizeof(dg->grh));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tos = av->traffic_class;
	ip->tot_len = htons(sizeof(*ip) + ip_payload_len(dg, length));
	ip->frag_off = htons(IP_DF);
	ip->ttl = av->hop_limit;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = ipv4_of(&av->sgid);
	ip->daddr = ipv4_of(&av->dgid);
	ip->check = ip_fast_csum(ip, ip->ihl);
	dg->op.sl = TIDE_SL_HEADER_IPV4;
}

static void fill_ipv6(struct tide_datagram *dg, const struct tide_av *av,
		      u32 length)
{
	struct ipv6hdr *ip = (struct ipv6hdr *)&dg->grh;

	ip6_flow_hdr(ip, av->traffic_class,
		     htonl(av->flow_label) & IPV6_FLOWLABEL_MASK);
	ip->payload_len = htons(ip_payload_len(dg, length));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = av->hop_limit;
	memcpy(&ip->saddr, &av->sgid, sizeof(ip->saddr));
	memcpy(&ip->daddr, &av->dgid, sizeof(ip->daddr));
	dg->op.sl = TIDE_SL_HEADER_IPV6;
}

/**
 * tide_datagram_load - take over where a send goes
 * @qp: the sender, by who has the run bit; all else is loaded already
 * @wqe: the entry, a copy
 *
 * The address handle may be destroyed from then on.
 *
 * Context: under tide_qp.lock.
 */
enum tide_verdict tide_datagram_load(struct tide_qp *qp,
				     const struct tide_send_wqe *wqe)
{
	const struct tide_requester *req = &qp->req;
	struct tide_datagram *dg = &qp->dgs->sending;
	u32 length = req->op.length;

	if (length > ib_mtu_enum_to_int(tide_port_mtu(qp->dev)))
		return TIDE_LOCAL_LEN;
	if (qp->kernel)
		dg->av = qp->kernel->av[req->sq.index & req->sq.mask];
	else if (!tide_av_find(wqe->ud.ah, qp->pd_id, &dg->av))
		return TIDE_LOCAL_QP_OP;
	dg->op = req->op;
	if (qp->kernel)
		dg->op.src_qpn = TIDE_GSI_QPN;
	dg->op.length = sizeof(dg->grh) + length;
	dg->op.has_grh = true;
	dg->payload = req->inline_data ?: qp->dgs->buffer;
	dg->dest_qpn = wqe->ud.remote_qpn;
	dg->qkey = wqe->ud.remote_qkey & QKEY_OWN ? qp->attr.qkey :
						    wqe->ud.remote_qkey;
	if (is_ipv4(&dg->av.sgid) && is_ipv4(&dg->av.dgid))
		fill_ipv4(dg, &dg->av, length);
	else
		fill_ipv6(dg, &dg->av, length);
	return TIDE_DONE;
}

/* Get the payload together, from memory that may not be there yet. */
static enum tide_verdict collect(struct tide_qp *qp)
{
	struct tide_requester *req = &qp->req;
	struct tide_side src, dst = {};
	u32 len;
	int ret;

	if (req->page_error != TIDE_SIDES)
		return TIDE_LOCAL_PROT;
	while (req->done < req->op.length) {
		len = req->op.length - req->done;
		dst.kaddr = qp->dgs->buffer + req->done;
		src = tide_sg_side(&req->sg, qp->pd_id, 0, &len);
		src.hold = &req->hold[TIDE_SRC];
		src.leaf = &req->leaf[TIDE_SRC];
		/* Unless that has just failed. */
		src.direct = !req->lost[TIDE_SRC];
		local_bh_disable();
		ret = tide_copy(&dst, &src, len, &req->stop);
		local_bh_enable();
		if (ret < 0)
			return ret == -EFAULT ? TIDE_FAULT : TIDE_LOCAL_PROT;
		tide_sg_advance(&req->sg, ret);
		req->done += ret;
	}
	return TIDE_DONE;
}

/* Whether a queue pair is one that can receive datagrams now; it is locked. */
static bool may_receive(const struct tide_qp *qp)
{
	return qp->ibqp && qp->dgs && tide_qp_may_receive(qp);
}

/**
 * tide_datagram_deliver - a datagram has come to a queue pair
 * @qp: the queue pair; its memory is kept by rcu_read_lock() at least
 * @dg: the datagram
 *
 * Context: any but hard interrupts; takes tide_qp.lock.
 *
 * Return: false if it is none that receives, or on its way out.
 */
bool tide_datagram_deliver(struct tide_qp *qp, const struct tide_datagram *dg)
{
	bool receives;

	spin_lock_bh(&qp->lock);
	receives = may_receive(qp);
	if (receives && dg->qkey == qp->attr.qkey)
		tide_inbox_put(&qp->dgs->inbox, dg);
	else if (receives)
		tide_count(qp, TIDE_CNT_RX_DROPS, 1);
	spin_unlock_bh(&qp->lock);
	return receives;
}

static void deliver_to_member(struct tide_qp *qp, const void *dg)
{
	tide_datagram_deliver(qp, dg);
}

/*
 * The one that it is for: here, in the sender's network namespace, and at the
 * address that it was sent to.  Under rcu_read_lock(), which keeps its memory.
 */
static struct tide_qp *find_receiver(const struct tide_qp *from,
				     const struct tide_datagram *dg)
{
	struct tide_qp *qp;

	if (dg->dest_qpn == TIDE_GSI_QPN)
		return tide_gsi_peek(from->net_cookie, from->dev,
				     &dg->av.dgid);
	qp = tide_qp_peek(dg->dest_qpn);
	if (!qp || qp->kernel || qp->net_cookie != from->net_cookie ||
	    !tide_gid_is_of(&dg->av.dgid, qp->dev))
		return NULL;
	return qp;
}

/* Whether it went to somebody, or to whoever was interested. */
static bool carry(struct tide_qp *from, const struct tide_datagram *dg)
{
	const union ib_gid *dgid = &dg->av.dgid;
	struct tide_qp *qp;

	if (!rdma_is_multicast_addr((struct in6_addr *)dgid)) {
		if (!tide_gid_is_here(dgid, from->dev))
			return tide_wire_send_datagram(from, dg);
		qp = find_receiver(from, dg);
		return qp && tide_datagram_deliver(qp, dg);
	}
	if (dg->dest_qpn != TIDE_MULTICAST_QPN)
		return false;
	/* The sender too, if it is one of them. */
	from->req.extra = dg->op.length *
			  tide_mcast_walk(from->dev, dgid, deliver_to_member,
					  dg);
	if (from->dev->listener)
		tide_wire_send_datagram(from, dg);
	return true;
}

/**
 * tide_datagram_step - carry the current datagram a step further
 * @qp: the sender, with the run bit; an operation is busy
 *
 * Context: process; takes tide_qp.lock of the receivers; does not sleep.
 */
enum tide_verdict tide_datagram_step(struct tide_qp *qp)
{
	enum tide_verdict verdict = TIDE_DONE;
	bool carried;

	if (!qp->req.inline_data)
		verdict = collect(qp);
	if (verdict != TIDE_DONE)
		return verdict;
	rcu_read_lock();
	carried = carry(qp, &qp->dgs->sending);
	rcu_read_unlock();
	if (!carried)
		tide_count(qp, TIDE_CNT_TX_DROPS, 1);
	tide_count(qp, TIDE_CNT_TX_BYTES, qp->req.op.length);
	return TIDE_DONE;
}
