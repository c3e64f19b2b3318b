/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mr.h - memory regions: windows on something that holds pages.
 */
#ifndef TIDE_MR_H
#define TIDE_MR_H

#include <linux/completion.h>
#include <linux/refcount.h>
#include <rdma/ib_verbs.h>

#include "compat.h"
#include "region.h"

/* The rights a region can give; the others say how it is made. */
#define TIDE_MR_RIGHTS	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | \
			 IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_ATOMIC)

/* What registration accepts. */
#define TIDE_MR_ACCESS	(TIDE_MR_RIGHTS | IB_ACCESS_ON_DEMAND | \
			 IB_ACCESS_HUGETLB | IB_ACCESS_OPTIONAL)

/**
 * struct tide_mr - a memory region
 * @ibmr: the core's part; its lkey and rkey are the key
 * @pd_id: the protection domain
 * @access: enum ib_access_flags
 * @iova: the address by which the region's first byte is reached
 * @length: bytes
 * @va: the address of the first byte in the owner's address space
 * @umem: the pinned memory, or NULL
 * @entries: the pages of @umem, as a leaf would have them
 * @region: an on-demand region's window on its mirror, or NULL
 * @users: accesses under way, and one until deregistration
 * @idle: completed when the last of them has ended
 * @rcu: frees it
 */
struct tide_mr {
	struct ib_mr ibmr;
	u64 pd_id;
	int access;
	u64 iova;
	u64 length;
	u64 va;
	struct ib_umem *umem;
	unsigned long *entries;
	struct tide_region *region;
	refcount_t users;
	struct completion idle;
	struct rcu_head rcu;
};

static inline struct tide_mr *to_tide_mr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct tide_mr, ibmr);
}

struct tide_mr *tide_mr_get(u32 key, u64 pd_id, u64 addr, u64 len, int rights);
void tide_mr_put(struct tide_mr *mr);
bool tide_mr_allows(u32 key, u64 pd_id, u64 addr, u64 len, int rights);
int tide_mr_find_region(u32 key, u64 pd_id, u64 addr, u64 len, bool write,
			struct tide_region **region, unsigned long *va);
void tide_mr_add_counts(struct ib_device *ibdev, u64 *sums);

struct ib_mr *tide_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length,
			       u64 iova, int access,
			       TIDE_REG_USER_MR_DMAH
			       struct ib_udata *udata);
int tide_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
void tide_mr_init(void);

#endif /* TIDE_MR_H */
