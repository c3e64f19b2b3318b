/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * compat.h - what differs between the releases of rdma-core whose provider
 * interface tide knows, and nothing else.
 *
 * Its number says little about what changed, so CMakeLists.txt looks into
 * driver.h and defines what is tested for here.
 */
#ifndef TIDE_COMPAT_H
#define TIDE_COMPAT_H

#include <infiniband/driver.h>

/* Later ones pass descriptors to the kernel, of which there are none. */
static inline int tide_cmd_get_context(struct verbs_context *vctx,
				       struct ibv_get_context *cmd,
				       size_t cmd_size,
				       struct ib_uverbs_get_context_resp *resp,
				       size_t resp_size)
{
#ifdef TIDE_GET_CONTEXT_TAKES_FDS
	return ibv_cmd_get_context(vctx, cmd, cmd_size, NULL, resp, resp_size);
#else
	return ibv_cmd_get_context(vctx, cmd, cmd_size, resp, resp_size);
#endif
}

#endif
