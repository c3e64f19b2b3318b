/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * compat.h - what differs between the releases of rdma-core that this is built
 * in, and nothing else.
 *
 * The number of the provider interface says little about what changed, so
 * CMakeLists.txt looks into the headers and defines what is tested for here.
 */
#ifndef TIDE_COMPAT_H
#define TIDE_COMPAT_H

#include <infiniband/driver.h>

#include "tide-abi.h"

/* Later ones pass descriptors to the kernel, of which there are none. */
static inline int tide_cmd_get_context(struct verbs_context *vctx,
				       struct ibv_get_context *cmd,
				       size_t cmd_size,
				       struct ib_uverbs_get_context_resp *resp,
				       size_t resp_size)
{
#ifdef TIDE_HAVE_FD_ARR
	return ibv_cmd_get_context(vctx, cmd, cmd_size, NULL, resp, resp_size);
#else
	return ibv_cmd_get_context(vctx, cmd, cmd_size, resp, resp_size);
#endif
}

/* Later ones let the provider bring the queue's memory; here it does not. */
static inline int
tide_cmd_create_cq_ex(struct ibv_context *context,
		      const struct ibv_cq_init_attr_ex *attr,
		      struct verbs_cq *cq, struct ibv_create_cq_ex *cmd,
		      size_t cmd_size, struct ib_uverbs_ex_create_cq_resp *resp,
		      size_t resp_size, uint32_t cmd_flags)
{
#ifdef TIDE_HAVE_CQ_PROV_ATTR
	return ibv_cmd_create_cq_ex(context, attr, NULL, cq, cmd, cmd_size,
				    resp, resp_size, cmd_flags);
#else
	return ibv_cmd_create_cq_ex(context, attr, cq, cmd, cmd_size, resp,
				    resp_size, cmd_flags);
#endif
}

/*
 * Leave to take memory that a confidential guest's host can see, which later
 * ones may give.  What is copied by the CPU needs none.
 */
#ifndef TIDE_HAVE_CC_ALLOC
#define IBV_PARENT_DOMAIN_INIT_ATTR_ALLOW_CC_UNPROTECTED_ALLOC	0
#endif

typedef void (*tide_wr_flush)(struct ibv_qp_ex *qpx, uint32_t rkey,
			      uint64_t remote_addr, size_t length,
			      uint8_t type, uint8_t level);

/* Releases before 45 know no flush: nobody can ask for it there. */
#ifdef TIDE_HAVE_WR_FLUSH
static_assert(TIDE_FLUSH_GLOBAL == (int)IBV_FLUSH_GLOBAL &&
	      TIDE_FLUSH_PERSISTENT == (int)IBV_FLUSH_PERSISTENT &&
	      TIDE_FLUSH_REGION == IBV_FLUSH_MR << TIDE_FLUSH_LEVEL_SHIFT,
	      "what a flush asks for");

static inline void tide_set_wr_flush(struct ibv_qp_ex *qpx,
				     tide_wr_flush wr_flush)
{
	qpx->wr_flush = wr_flush;
}
#else
#define IBV_WR_FLUSH		14
#define IBV_QP_EX_WITH_FLUSH	0

static inline void tide_set_wr_flush(struct ibv_qp_ex *qpx,
				     tide_wr_flush wr_flush)
{
}
#endif

#endif /* TIDE_COMPAT_H */
