// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * An end of the connections, and transfers over them.
 */
#include "bench.h"

#define OUTSTANDING_BYTES	(4 * MIB)
#define MAX_DEPTH		64
#define MIN_DEPTH		2
#define BATCH			16
#define PSN			0x1234

const char *opcode_name(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_RDMA_READ ? "READ" : "WRITE";
}

int memory_access(enum memory memory)
{
	return RIGHTS | (memory == PINNED ? 0 : IBV_ACCESS_ON_DEMAND);
}

static struct ibv_device *find_device(const char *name,
				      struct ibv_device **list)
{
	int i;

	for (i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			return list[i];
	return NULL;
}

bool device_exists(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	bool found = find_device(name, list);

	if (list)
		ibv_free_device_list(list);
	return found;
}

static struct ibv_context *open_device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_device *found = find_device(device, list);
	struct ibv_context *ctx;

	if (!found)
		fail("it is gone");
	ctx = ibv_open_device(found);
	if (!ctx)
		fail_errno("ibv_open_device", errno);
	ibv_free_device_list(list);
	return ctx;
}

/* The one asked for, or the first IPv4 address, or on InfiniBand any. */
static void find_gid(struct end *end)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_gid_entry entry;
	int i;

	for (i = 0; settings.gid_index < 0 && i < end->port.gid_tbl_len; i++) {
		if (ibv_query_gid_ex(end->ctx, settings.port, i, &entry, 0) ||
		    memcmp(entry.gid.raw, mapped, sizeof(mapped)) ||
		    entry.gid_type != IBV_GID_TYPE_ROCE_V2)
			continue;
		end->gid_index = i;
		end->gid = entry.gid;
		return;
	}
	end->gid_index = settings.gid_index < 0 ? 0 : settings.gid_index;
	if (settings.gid_index < 0 &&
	    end->port.link_layer == IBV_LINK_LAYER_ETHERNET)
		fail("no RoCE v2 GID of an IPv4 address, see --gid-index");
	if (ibv_query_gid(end->ctx, settings.port, end->gid_index, &end->gid))
		fail_errno("ibv_query_gid", errno);
}

static void find_limits(struct end *end)
{
	struct ibv_device_attr_ex attr = { 0 };
	struct ibv_device_attr *orig = &attr.orig_attr;

	if (ibv_query_device_ex(end->ctx, NULL, &attr))
		fail_errno("ibv_query_device_ex", errno);
	end->odp_general = attr.odp_caps.general_caps;
	end->odp_rc = attr.odp_caps.per_transport_caps.rc_odp_caps;
	end->rd_atomic = orig->max_qp_rd_atom < orig->max_qp_init_rd_atom ?
			 orig->max_qp_rd_atom : orig->max_qp_init_rd_atom;
	if (end->rd_atomic > 16)
		end->rd_atomic = 16;
}

void end_open(struct end *end)
{
	end->ctx = open_device();
	errno = ibv_query_port(end->ctx, settings.port, &end->port);
	if (errno)
		fail_errno("ibv_query_port", errno);
	if (end->port.state != IBV_PORT_ACTIVE)
		fail("its port is down");
	find_gid(end);
	find_limits(end);
	end->pd = ibv_alloc_pd(end->ctx);
	if (!end->pd)
		fail_errno("ibv_alloc_pd", errno);
	end->cq = ibv_create_cq(end->ctx, MAX_DEPTH + MIN_DEPTH * MAX_QPS, NULL,
				NULL, 0);
	if (!end->cq)
		fail_errno("ibv_create_cq", errno);
}

void end_make_qp(struct end *end, int index, int depth)
{
	struct ibv_qp_init_attr init = {
		.send_cq = end->cq,
		.recv_cq = end->cq,
		.cap = {
			.max_send_wr = depth,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	end->qp[index] = ibv_create_qp(end->pd, &init);
	if (!end->qp[index])
		fail_errno("ibv_create_qp", errno);
}

static void modify(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	int error = ibv_modify_qp(qp, attr, mask | IBV_QP_STATE);

	if (error)
		fail_errno("ibv_modify_qp", error);
}

/* Both ends are on one port, so their addresses are the same. */
void end_connect(struct end *end, int index, uint32_t peer)
{
	struct ibv_qp *qp = end->qp[index];
	struct ibv_qp_attr init = {
		.qp_state = IBV_QPS_INIT,
		.port_num = settings.port,
		.qp_access_flags = RIGHTS,
	};
	struct ibv_qp_attr rtr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = end->port.active_mtu,
		.dest_qp_num = peer,
		.rq_psn = PSN,
		.max_dest_rd_atomic = end->rd_atomic,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = settings.port,
			.dlid = end->port.lid,
			.grh = {
				.dgid = end->gid,
				.sgid_index = end->gid_index,
				.hop_limit = 64,
			},
		},
	};
	struct ibv_qp_attr rts = {
		.qp_state = IBV_QPS_RTS,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.sq_psn = PSN,
		.max_rd_atomic = end->rd_atomic,
	};

	modify(qp, &init, IBV_QP_PKEY_INDEX | IBV_QP_PORT |
	       IBV_QP_ACCESS_FLAGS);
	modify(qp, &rtr, IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
	       IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
	       IBV_QP_MIN_RNR_TIMER);
	modify(qp, &rts, IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
	       IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

void need_memory(const struct end *end, enum memory memory)
{
	uint64_t needed = 0;

	if (memory != PINNED)
		needed |= IBV_ODP_SUPPORT;
	if (memory == IMPLICIT)
		needed |= IBV_ODP_SUPPORT_IMPLICIT;
	if ((end->odp_general & needed) != needed)
		fail("not supported");
}

bool can_access(const struct end *end, enum memory memory,
		enum ibv_wr_opcode opcode)
{
	uint32_t needed = opcode == IBV_WR_RDMA_READ ? IBV_ODP_SUPPORT_READ :
						       IBV_ODP_SUPPORT_WRITE;

	return memory == PINNED || (end->odp_rc & needed);
}

void need_access(const struct end *end, enum memory memory,
		 enum ibv_wr_opcode opcode)
{
	need_memory(end, memory);
	if (!can_access(end, memory, opcode))
		fail("not supported");
}

/* Messages outstanding on each of so many QPs; most when they are small. */
int transfer_depth(size_t message, int qps)
{
	int depth = OUTSTANDING_BYTES / message;

	if (depth > MAX_DEPTH)
		depth = MAX_DEPTH;
	depth /= qps;
	return depth < MIN_DEPTH ? MIN_DEPTH : depth;
}

/* Where a transfer stands */
struct course {
	size_t part;			/* bytes for each QP */
	size_t begun[MAX_QPS];		/* bytes */
	int outstanding[MAX_QPS];
	int all_outstanding;
	int depth;
	int turn;			/* the QP that is next */
};

static void post(struct ibv_qp *qp, const struct transfer *transfer,
		 int index, size_t offset)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)transfer->local + offset,
		.length = transfer->message,
		.lkey = transfer->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.wr_id = index,
		.opcode = transfer->opcode,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { transfer->remote + offset, transfer->rkey },
	};
	int error = ibv_post_send(qp, &wr, &bad);

	if (error)
		fail_errno("ibv_post_send", error);
}

static void post_next(struct end *end, const struct transfer *transfer,
		      struct course *course)
{
	int index = course->turn;
	size_t offset = index * course->part +
			course->begun[index] % course->part;

	post(end->qp[index], transfer, index, offset);
	course->begun[index] += transfer->message;
	course->outstanding[index]++;
	course->all_outstanding++;
}

static bool may_post(const struct transfer *transfer,
		     const struct course *course, int index)
{
	return course->outstanding[index] < course->depth &&
	       (transfer->again || course->begun[index] < course->part);
}

/* One message for each QP that may have another; whether any had. */
static bool post_round(struct end *end, const struct transfer *transfer,
		       struct course *course)
{
	bool any = false;

	for (course->turn = 0; course->turn < transfer->qps; course->turn++) {
		if (!may_post(transfer, course, course->turn))
			continue;
		post_next(end, transfer, course);
		any = true;
	}
	return any;
}

static void check_completion(const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS)
		fail("%s", ibv_wc_status_str(wc->status));
}

static void reap(struct end *end, struct course *course)
{
	struct ibv_wc wc[BATCH];
	int n = ibv_poll_cq(end->cq, BATCH, wc), i;

	if (n < 0)
		fail("ibv_poll_cq fails");
	for (i = 0; i < n; i++) {
		check_completion(&wc[i]);
		course->outstanding[wc[i].wr_id]--;
		course->all_outstanding--;
	}
	if (n)
		progress();
}

static bool time_is_up(const struct transfer *transfer, uint64_t start)
{
	return transfer->enough_ns && now_ns() - start > transfer->enough_ns;
}

void transfer_run(struct end *end, struct transfer *transfer)
{
	struct course course = {
		.part = transfer->size / transfer->qps,
		.depth = transfer_depth(transfer->message, transfer->qps),
	};
	uint64_t start = now_ns();
	bool posted;
	int i;

	do {
		posted = !time_is_up(transfer, start) &&
			 post_round(end, transfer, &course);
		reap(end, &course);
	} while (posted || course.all_outstanding);
	transfer->ns = now_ns() - start;

	transfer->bytes = 0;
	for (i = 0; i < transfer->qps; i++) {
		transfer->bytes += course.begun[i];
		transfer->reached[i] = course.begun[i] < course.part ?
				       course.begun[i] : course.part;
	}
}

/* From the call that posts a message to its completion. */
uint64_t access_latency(struct end *end, const struct transfer *transfer,
			size_t offset)
{
	uint64_t start = now_ns();
	struct ibv_wc wc;
	int n;

	post(end->qp[0], transfer, 0, offset);
	do {
		n = ibv_poll_cq(end->cq, 1, &wc);
		if (n < 0)
			fail("ibv_poll_cq fails");
	} while (!n);
	start = now_ns() - start;
	check_completion(&wc);
	progress();
	return start;
}
