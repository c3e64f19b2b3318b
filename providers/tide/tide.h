/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * The provider's objects, and what each file offers to the others.
 *
 * Locks: a send queue, a receive queue, a shared one and a completion queue
 * each have a spinlock of their own, unless a thread domain saves it.  Inside a
 * completion queue's lock a shared receive queue's may be taken, or its own
 * arm_lock; no other two of them are ever held together.  None is during a
 * system call, but for those that switch to another ring.
 */
#ifndef TIDE_H
#define TIDE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include <ccan/container_of.h>
#include <infiniband/driver.h>

#include "lock.h"
#include "ring.h"
#include "table.h"
#include "tide-abi.h"

/*
 * DECLARE_DRV_CMD() also wants the members of the response spelled out, which
 * rdma-core's build derives for its own kernel headers only.  They are read
 * through drv_payload here.
 */
#define _STRUCT_tide_abi_alloc_ucontext_resp
#define _STRUCT_tide_abi_alloc_pd_resp
#define _STRUCT_tide_abi_create_ah_resp
#define _STRUCT_tide_abi_create_cq_resp
#define _STRUCT_tide_abi_resize_cq
#define _STRUCT_tide_abi_resize_cq_resp
#define _STRUCT_tide_abi_create_qp
#define _STRUCT_tide_abi_create_qp_resp
#define _STRUCT_tide_abi_create_srq
#define _STRUCT_tide_abi_create_srq_resp
#define _STRUCT_tide_abi_modify_srq
#define _STRUCT_tide_abi_reg_mr

DECLARE_DRV_CMD(tide_alloc_ucontext, IB_USER_VERBS_CMD_GET_CONTEXT,
		empty, tide_abi_alloc_ucontext_resp);
DECLARE_DRV_CMD(tide_alloc_pd, IB_USER_VERBS_CMD_ALLOC_PD,
		empty, tide_abi_alloc_pd_resp);
DECLARE_DRV_CMD(tide_create_ah, IB_USER_VERBS_CMD_CREATE_AH,
		empty, tide_abi_create_ah_resp);
DECLARE_DRV_CMD(tide_create_cq, IB_USER_VERBS_EX_CMD_CREATE_CQ,
		empty, tide_abi_create_cq_resp);
DECLARE_DRV_CMD(tide_resize_cq, IB_USER_VERBS_CMD_RESIZE_CQ,
		tide_abi_resize_cq, tide_abi_resize_cq_resp);
DECLARE_DRV_CMD(tide_create_qp, IB_USER_VERBS_CMD_CREATE_QP,
		tide_abi_create_qp, tide_abi_create_qp_resp);
DECLARE_DRV_CMD(tide_create_srq, IB_USER_VERBS_CMD_CREATE_SRQ,
		tide_abi_create_srq, tide_abi_create_srq_resp);
DECLARE_DRV_CMD(tide_create_srq_ex, IB_USER_VERBS_CMD_CREATE_XSRQ,
		tide_abi_create_srq, tide_abi_create_srq_resp);
DECLARE_DRV_CMD(tide_modify_srq, IB_USER_VERBS_CMD_MODIFY_SRQ,
		tide_abi_modify_srq, empty);
DECLARE_DRV_CMD(tide_reg_mr, IB_USER_VERBS_CMD_REG_MR,
		tide_abi_reg_mr, empty);

struct tide_device {
	struct verbs_device vdev;
};

struct tide_context {
	struct verbs_context vctx;
	int doorbell_fd;
	uint32_t features;		/* enum tide_features */
	int64_t clock_offset;		/* see struct tide_abi_alloc_ucontext_resp */
	struct tide_table qps;
	struct tide_table xrc_srqs;
};

struct tide_td {
	struct ibv_td td;
	uint32_t users;			/* parent domains */
};

/*
 * A protection domain, or a parent domain that has one in it.
 *
 * @users: parent domains around it; queues and queue pairs made in it, if it
 *	   is one
 * @contained: the domain in it, or NULL
 * @td: its thread domain, or NULL
 */
struct tide_pd {
	struct ibv_pd pd;
	uint32_t users;
	struct tide_pd *contained;
	struct tide_td *td;
};

/*
 * @arm_lock: keeps the ring in its place while events are asked for, which may
 *	      be done with the queue locked
 * @parent: the parent domain that it was created in, or NULL
 * @cqe: the completion that ibv_start_poll() or ibv_next_poll() has come to,
 *	 in the ring or in
 * @copy: of an entry that the kernel may overwrite
 */
struct tide_cq {
	struct verbs_cq vcq;
	struct tide_lock lock;
	struct tide_lock arm_lock;
	pthread_mutex_t resize_lock;
	struct tide_ring ring;
	bool ignores_overrun;
	struct tide_pd *parent;
	const struct tide_cqe *cqe;
	struct tide_cqe copy;
};

/*
 * A work request is outstanding until its completion has been polled, so that
 * who posts until there is no room cannot overflow a completion queue that is
 * large enough for all that may be outstanding.
 *
 * @freed: entries before this one may be used again; under @lock
 * @polled: as of the completion polled last; under the completion queue's lock
 */
struct tide_wq {
	struct tide_lock lock;
	struct tide_ring ring;
	uint32_t max_sge;
	uint32_t freed;
	uint32_t polled;
};

/*
 * Work requests are outstanding as in a struct tide_wq; but they complete in
 * any order, so those that may be used again stand in line, in the ring.
 *
 * @handle: of an XRC queue, by which its completions are known: their queue
 *	pairs may be other processes'
 * @freed: the line's end: before it, from ring.index on, are free slots
 */
struct tide_srq {
	struct verbs_srq vsrq;
	struct tide_lock lock;
	pthread_mutex_t resize_lock;
	struct tide_ring ring;
	uint32_t srqn;
	uint32_t handle;
	uint32_t max_sge;
	uint32_t max_wr;
	uint32_t freed;
	struct tide_pd *parent;
};

struct tide_qp {
	struct verbs_qp vqp;
	struct tide_wq sq;
	struct tide_wq rq;
	struct tide_pd *parent;
	uint32_t handle;
	uint64_t send_ops;		/* enum ibv_qp_create_send_ops_flags */
	uint32_t max_inline;
	bool sq_sig_all;

	/* The list being posted; under sq.lock. */
	uint32_t list_start;
	int list_error;
	struct tide_send_wqe *wqe;
};

/* @number: what work requests name it by */
struct tide_ah {
	struct ibv_ah ibah;
	uint32_t number;
};

/* @memory is page-aligned, and longer than @length to the end of its page. */
struct tide_dm {
	struct verbs_dm vdm;
	char *memory;
	size_t length;
	size_t map_size;
};

static inline struct tide_context *to_tide_context(struct ibv_context *context)
{
	return container_of(context, struct tide_context, vctx.context);
}

static inline struct tide_pd *to_tide_pd(struct ibv_pd *pd)
{
	return container_of(pd, struct tide_pd, pd);
}

static inline struct tide_td *to_tide_td(struct ibv_td *td)
{
	return container_of(td, struct tide_td, td);
}

/* That of a parent domain, if there is any. */
static inline const struct tide_td *
tide_thread_domain(const struct tide_pd *parent)
{
	return parent ? parent->td : NULL;
}

static inline struct tide_cq *to_tide_cq(struct ibv_cq *cq)
{
	return container_of(cq, struct tide_cq, vcq.cq);
}

static inline struct tide_srq *to_tide_srq(struct ibv_srq *srq)
{
	return container_of(srq, struct tide_srq, vsrq.srq);
}

static inline struct tide_qp *to_tide_qp(struct ibv_qp *qp)
{
	return container_of(qp, struct tide_qp, vqp.qp);
}

static inline struct tide_ah *to_tide_ah(struct ibv_ah *ah)
{
	return container_of(ah, struct tide_ah, ibah);
}

static inline struct tide_dm *to_tide_dm(struct ibv_dm *dm)
{
	return container_of(dm, struct tide_dm, vdm.dm);
}

/* @wq is locked.  Unsignalled requests count as outstanding here. */
static inline bool tide_wq_full(struct tide_wq *wq)
{
	uint32_t polled = __atomic_load_n(&wq->polled, __ATOMIC_ACQUIRE);

	if (polled - wq->freed <= wq->ring.index - wq->freed)
		wq->freed = polled;
	return wq->ring.index - wq->freed >= wq->ring.count;
}

static inline int tide_doorbell(struct tide_context *ctx, unsigned long which,
				uint32_t number)
{
	return ioctl(ctx->doorbell_fd, which, (unsigned long)number) ? errno :
								       0;
}

/* domain.c: protection, thread and parent domains */
struct ibv_pd *tide_alloc_pd(struct ibv_context *context);
struct ibv_pd *
tide_alloc_parent_domain(struct ibv_context *context,
			 struct ibv_parent_domain_init_attr *attr);
int tide_dealloc_pd(struct ibv_pd *ibpd);
struct ibv_pd *tide_import_pd(struct ibv_context *context, uint32_t handle);
void tide_unimport_pd(struct ibv_pd *ibpd);
struct ibv_td *tide_alloc_td(struct ibv_context *context,
			     struct ibv_td_init_attr *attr);
int tide_dealloc_td(struct ibv_td *ibtd);
struct tide_pd *tide_parent_get(struct ibv_pd *ibpd);
void tide_parent_put(struct tide_pd *parent);

/* verbs.c: device, address handles, memory regions and windows */
int tide_query_device_ex(struct ibv_context *context,
			 const struct ibv_query_device_ex_input *input,
			 struct ibv_device_attr_ex *attr, size_t attr_size);
int tide_query_port(struct ibv_context *context, uint8_t port,
		    struct ibv_port_attr *attr);
int tide_query_rt_values(struct ibv_context *context,
			 struct ibv_values_ex *values);
struct ibv_ah *tide_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr);
int tide_destroy_ah(struct ibv_ah *ibah);
struct ibv_mr *tide_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			   uint64_t hca_va, int access);
int tide_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *pd,
		  void *addr, size_t length, int access);
int tide_dereg_mr(struct verbs_mr *vmr);
struct ibv_mr *tide_alloc_null_mr(struct ibv_pd *pd);
struct ibv_mr *tide_import_mr(struct ibv_pd *pd, uint32_t handle);
void tide_unimport_mr(struct ibv_mr *mr);
struct ibv_mw *tide_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type);
int tide_dealloc_mw(struct ibv_mw *mw);
int tide_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		   uint32_t flags, struct ibv_sge *sg_list, uint32_t num_sge);

/* dm.c: device memory */
struct ibv_dm *tide_alloc_dm(struct ibv_context *context,
			     struct ibv_alloc_dm_attr *attr);
int tide_free_dm(struct ibv_dm *ibdm);
struct ibv_dm *tide_import_dm(struct ibv_context *context, uint32_t handle);
void tide_unimport_dm(struct ibv_dm *ibdm);
struct ibv_mr *tide_reg_dm_mr(struct ibv_pd *pd, struct ibv_dm *ibdm,
			      uint64_t offset, size_t length,
			      unsigned int access);

/* cq.c: completion queues */
struct ibv_cq_ex *tide_create_cq_ex(struct ibv_context *context,
				    struct ibv_cq_init_attr_ex *attr);
struct ibv_cq *tide_create_cq(struct ibv_context *context, int cqe,
			      struct ibv_comp_channel *channel,
			      int comp_vector);
int tide_modify_cq(struct ibv_cq *ibcq, struct ibv_modify_cq_attr *attr);
int tide_destroy_cq(struct ibv_cq *ibcq);
int tide_poll_cq(struct ibv_cq *ibcq, int num_entries, struct ibv_wc *wc);
int tide_req_notify_cq(struct ibv_cq *ibcq, int solicited_only);
void tide_cq_forget_qp(struct tide_cq *cq, struct tide_qp *qp);
void tide_cq_wait_polled(struct tide_cq *cq);

/* cq_resize.c: resizing completion queues */
int tide_resize_cq(struct ibv_cq *ibcq, int cqe);

/* qp.c: the life of a queue pair */
struct ibv_qp *tide_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
struct ibv_qp *tide_create_qp_ex(struct ibv_context *context,
				 struct ibv_qp_init_attr_ex *attr);
struct ibv_qp *tide_open_qp(struct ibv_context *context,
			    struct ibv_qp_open_attr *attr);
int tide_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask);
int tide_query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		  struct ibv_qp_init_attr *init_attr);
int tide_destroy_qp(struct ibv_qp *ibqp);

/* send.c: both ways to fill a send queue */
uint64_t tide_supported_send_ops(const struct tide_context *ctx,
				 enum ibv_qp_type type);
void tide_set_wr_ops(struct ibv_qp_ex *qpx, uint64_t send_ops);
int tide_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr,
		   struct ibv_send_wr **bad_wr);
int tide_bind_mw(struct ibv_qp *ibqp, struct ibv_mw *mw,
		 struct ibv_mw_bind *bind);

/* srq.c: shared receive queues */
struct ibv_srq *tide_create_srq(struct ibv_pd *pd,
				struct ibv_srq_init_attr *attr);
struct ibv_srq *tide_create_srq_ex(struct ibv_context *context,
				   struct ibv_srq_init_attr_ex *attr);
int tide_destroy_srq(struct ibv_srq *ibsrq);
int tide_query_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr);
int tide_modify_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr, int mask);
int tide_get_srq_num(struct ibv_srq *ibsrq, uint32_t *srq_num);
void tide_srq_share(struct tide_srq *srq, const struct tide_cq *cq);
void tide_srq_free_slot(struct tide_srq *srq, uint32_t slot);
int tide_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr,
		       struct ibv_recv_wr **bad_wr);

/* xrc.c: XRC domains */
struct ibv_xrcd *tide_open_xrcd(struct ibv_context *context,
				struct ibv_xrcd_init_attr *attr);
int tide_close_xrcd(struct ibv_xrcd *ibxrcd);

/* recv.c: receive queues */
void tide_fill_recv(struct tide_recv_wqe *wqe, const struct ibv_recv_wr *wr);
int tide_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr,
		   struct ibv_recv_wr **bad_wr);

#endif /* TIDE_H */
