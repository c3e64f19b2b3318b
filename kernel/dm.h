/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * dm.h - device memory: pages of the kernel's, which programs register, and
 * copy to and from.
 */
#ifndef TIDE_DM_H
#define TIDE_DM_H

#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

#define TIDE_MAX_DM	(64ULL << 20)

extern const struct uapi_definition tide_dm_defs[];

struct ib_dm *tide_alloc_dm(struct ib_device *ibdev,
			    struct ib_ucontext *ucontext,
			    struct ib_dm_alloc_attr *attr,
			    struct uverbs_attr_bundle *attrs);
int tide_dealloc_dm(struct ib_dm *ibdm, struct uverbs_attr_bundle *attrs);
struct ib_mr *tide_reg_dm_mr(struct ib_pd *ibpd, struct ib_dm *ibdm,
			     struct ib_dm_mr_attr *attr,
			     struct uverbs_attr_bundle *attrs);

#endif /* TIDE_DM_H */
