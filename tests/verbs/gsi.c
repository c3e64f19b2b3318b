// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * gsi.c - queue pair 1 is the kernel's, and so are the ways to post and poll
 * that the kernel has: processes get neither.
 *
 * What it is good for, the scenario rdma-cm tests.
 */
#include "common.h"

#include <rdma/ib_user_verbs.h>

#define GSI_QPN		1
#define GSI_QKEY	0x80010000

static struct side a, b;

/* One of the commands by which other providers post and poll. */
static int command(uint32_t number, const void *body, size_t size)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		uint64_t body[24];
	} request = {
		.hdr = {
			.command = number,
			.in_words = (sizeof(request.hdr) + size) / 4,
		},
	};
	static char response[256];
	size_t len = sizeof(request.hdr) + size;

	request.hdr.out_words = number == IB_USER_VERBS_CMD_REQ_NOTIFY_CQ ?
				0 : sizeof(response) / 4;
	memcpy(request.body, body, size);
	/* All of them begin with where to respond to, but for notify. */
	if (number != IB_USER_VERBS_CMD_REQ_NOTIFY_CQ)
		request.body[0] = (uintptr_t)response;
	return write(a.ctx->cmd_fd, &request, len) == (ssize_t)len ? 0 : errno;
}

static void commands(void)
{
	struct {
		struct ib_uverbs_post_send cmd;
		struct ib_uverbs_send_wr wr;
	} send = {
		.cmd = {
			.qp_handle = a.qp->handle,
			.wr_count = 1,
			.wqe_size = sizeof(send.wr),
		},
		.wr = { .wr_id = 1, .opcode = IBV_WR_SEND },
	};
	struct {
		struct ib_uverbs_post_recv cmd;
		struct ib_uverbs_recv_wr wr;
	} recv = {
		.cmd = {
			.qp_handle = a.qp->handle,
			.wr_count = 1,
			.wqe_size = sizeof(recv.wr),
		},
		.wr = { .wr_id = 2 },
	};
	struct ib_uverbs_poll_cq poll = { .cq_handle = a.scq->handle, .ne = 1 };
	struct ib_uverbs_req_notify_cq notify = { .cq_handle = a.scq->handle };

	expect_eq(command(IB_USER_VERBS_CMD_POST_SEND, &send, sizeof(send)),
		  EOPNOTSUPP, "posting a send");
	expect_eq(command(IB_USER_VERBS_CMD_POST_RECV, &recv, sizeof(recv)),
		  EOPNOTSUPP, "posting a receive");
	expect_eq(command(IB_USER_VERBS_CMD_POLL_CQ, &poll, sizeof(poll)),
		  EOPNOTSUPP, "polling");
	/* The core has no answer to this one. */
	command(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, &notify, sizeof(notify));
	point("commands that post and poll are refused");
}

/* They have changed nothing. */
static void still_works(void)
{
	struct ibv_send_wr wr = {
		.wr_id = 3,
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;

	post_recv(b.qp, 4, NULL, 0);
	post_send(a.qp, &wr);
	expect(wait_wc(a.scq, &wc, SOON_MS) && wc.wr_id == 3 && !wc.status,
	       "the send did not complete");
	expect(wait_wc(b.rcq, &wc, SOON_MS) && wc.wr_id == 4 && !wc.status,
	       "the receive did not complete");
	expect(!ibv_poll_cq(a.scq, 1, &wc) && !ibv_poll_cq(a.rcq, 1, &wc),
	       "there are more completions");
	point("what a process posts in its own way is all that there is");
}

static void special_types(void)
{
	struct ibv_qp_init_attr init = qp_init(&a, 4);
	int type;

	for (type = 0; type <= GSI_QPN; type++) {
		init.qp_type = type;
		errno = 0;
		expect(!ibv_create_qp(a.pd, &init) && errno,
		       "queue pair %d was created", type);
	}
	point("queue pairs 0 and 1 are not for processes");
}

static struct ibv_qp *make_datagrams(uint32_t qkey)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = qkey,
	};
	struct ibv_qp_init_attr init = qp_init(&a, 4);
	struct ibv_qp *qp;

	init.qp_type = IBV_QPT_UD;
	qp = ibv_create_qp(a.pd, &init);
	must(qp);
	errno = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			      IBV_QP_PORT | IBV_QP_QKEY);
	must(!errno);
	errno = qp_to(qp, IBV_QPS_RTR);
	must(!errno);
	attr = (struct ibv_qp_attr) { .qp_state = IBV_QPS_RTS };
	errno = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN);
	must(!errno);
	return qp;
}

/*
 * A key with the highest bit set stands for that of the sender's queue pair,
 * so naming queue pair 1's is of no use (IBTA 10.2.5).
 * Every datagram that is not received is counted.
 */
static void no_key(void)
{
	static const uint32_t keys[] = { 0, 0x11111111, 0x10000, GSI_QKEY };
	struct ibv_ah_attr attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = {
			.dgid = a.gid,
			.sgid_index = a.gid_index,
			.hop_limit = 1,
		},
	};
	struct ibv_ah *ah = ibv_create_ah(a.pd, &attr);
	struct ibv_qp *qp = make_datagrams(0x11111111);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.ud = { .ah = ah, .remote_qpn = GSI_QPN },
	};
	long before = counter("rx_drops");
	struct ibv_wc wc;
	unsigned int i;

	must(ah);
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		wr.wr.ud.remote_qkey = keys[i];
		post_send(qp, &wr);
		expect(wait_wc(a.scq, &wc, SOON_MS) && !wc.status,
		       "key %#x: status %d", keys[i], wc.status);
	}
	expect_eq(counter("rx_drops") - before, ARRAY_SIZE(keys), "dropped datagrams");
	errno = ibv_destroy_qp(qp);
	must(!errno);
	errno = ibv_destroy_ah(ah);
	must(!errno);
	point("a process has no key to queue pair 1");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	side_open(&a, 16);
	side_open(&b, 16);
	reconnect(&a, &b, 4, &usual_conn);
	commands();
	still_works();
	special_types();
	no_key();
	side_close(&a);
	side_close(&b);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
