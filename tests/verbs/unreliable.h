/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * unreliable.h - unreliable connections; queue pairs for datagrams, and what
 * comes with a datagram.
 */
#ifndef UNRELIABLE_H
#define UNRELIABLE_H

#include "uffd.h"

#define QKEY		0x1ee7c0de
#define GRH		40
#define MTU		1024		/* of the guest's td0 */
#define HOPS		64		/* the route's, to a host */
#define GROUP_HOPS	37		/* the address's, to a group */
#define SL_IPV6		1		/* what wc.sl tells of the header */
#define SL_IPV4		2

static inline int uc_to_rtr(struct ibv_qp *qp, int gid_index,
			    const struct address *peer, uint32_t psn)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qpn,
		.rq_psn = psn,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = {
				.dgid = peer->gid,
				.sgid_index = gid_index,
				.hop_limit = 64,
			},
		},
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
			     IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN);
}

/* Of both: they need nothing else. */
static inline int unreliable_to_rts(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS, .sq_psn = 7 };

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN);
}

static inline int ud_to_init(struct ibv_qp *qp, uint32_t qkey)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = qkey,
	};

	return ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			     IBV_QP_PORT | IBV_QP_QKEY);
}

static inline int ud_to_rts(struct ibv_qp *qp)
{
	return qp_to(qp, IBV_QPS_RTR) ?: unreliable_to_rts(qp);
}

static inline void ud_ready(struct ibv_qp *qp)
{
	errno = ud_to_init(qp, QKEY);
	must(!errno);
	errno = ud_to_rts(qp);
	must(!errno);
}

/* A queue pair, ready; with a receive queue of its own, or with @srq. */
static inline struct ibv_qp *ud_make(struct side *side, int wr,
				     struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = qp_init(side, wr);
	struct ibv_qp *qp;

	init.qp_type = IBV_QPT_UD;
	init.srq = srq;
	qp = ibv_create_qp(side->pd, &init);
	must(qp);
	ud_ready(qp);
	return qp;
}

static inline void ud_open(struct side *side, int wr)
{
	side_open(side, 4 * wr);
	side->qp = ud_make(side, wr, NULL);
}

static inline struct ibv_ah *ah_to(struct side *side, const union ibv_gid *gid,
				   int sgid_index)
{
	struct ibv_ah_attr attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = {
			.dgid = *gid,
			.sgid_index = sgid_index,
			.hop_limit = GROUP_HOPS,
			.traffic_class = 0x68,
			.flow_label = 0x54321,
		},
	};
	struct ibv_ah *ah = ibv_create_ah(side->pd, &attr);

	must(ah);
	return ah;
}

static inline void ah_drop(struct ibv_ah *ah)
{
	errno = ibv_destroy_ah(ah);
	must(!errno);
}

static inline struct ibv_send_wr ud_wr(struct ibv_ah *ah, uint32_t qpn,
				       struct ibv_sge *sge, uint64_t wr_id)
{
	return (struct ibv_send_wr) {
		.wr_id = wr_id,
		.opcode = IBV_WR_SEND,
		.sg_list = sge,
		.num_sge = sge ? 1 : 0,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.ud = { ah, qpn, QKEY },
	};
}

/* Send, and see that it was sent. */
static inline void ud_send(struct side *from, struct ibv_send_wr *wr)
{
	post_send(from->qp, wr);
	expect_wc(from->scq, wr->wr_id, IBV_WC_SUCCESS);
}

/* The first GID of the device's that is an IPv6 address of some scope. */
static inline int find_gid6(struct ibv_context *ctx, union ibv_gid *gid)
{
	int i;

	for (i = 0; i < 64; i++)
		if (!ibv_query_gid(ctx, 1, i, gid) && gid->raw[0] == 0xfd)
			return i;
	return -1;
}

/* What a header should say. */
static inline void expect_ipv4(const uint8_t *grh, const union ibv_gid *sgid,
			       const union ibv_gid *dgid, int hops)
{
	const uint8_t *ip = grh + 20;
	uint32_t sum = 0;
	int i;

	expect_eq(ip[0], 0x45, "version and length");
	expect_eq(ip[1], 0x68, "type of service");
	expect_eq(ip[8], hops, "time to live");
	expect_eq(ip[9], IPPROTO_UDP, "protocol");
	expect_same(ip + 12, sgid->raw + 12, 4, "source address");
	expect_same(ip + 16, dgid->raw + 12, 4, "destination address");
	for (i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	expect_eq((sum >> 16) + (sum & 0xffff), 0xffff, "checksum");
}

static inline void expect_ipv6(const uint8_t *ip, const union ibv_gid *sgid,
			       const union ibv_gid *dgid)
{
	static const uint8_t first[4] = { 0x66, 0x85, 0x43, 0x21 };

	expect_same(ip, first, 4, "version, traffic class, flow label");
	expect_eq(ip[6], IPPROTO_UDP, "next header");
	expect_eq(ip[7], HOPS, "hop limit");
	expect_same(ip + 8, sgid->raw, 16, "source address");
	expect_same(ip + 24, dgid->raw, 16, "destination address");
}

#endif /* UNRELIABLE_H */
