/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * mr.h - memory regions: windows on something that holds pages.
 *
 * What is behind a key never changes: to register a region anew is to put
 * something else there.  So an access sees one or the other, and whoever has
 * put the old one away waits for the accesses to it, as deregistration does.
 * An operation, which is many accesses, belongs to an epoch, and cannot go on
 * in memory that the key was moved to later: it ends in error.
 */
#ifndef TIDE_MR_H
#define TIDE_MR_H

#include <linux/completion.h>
#include <linux/refcount.h>
#include <rdma/ib_verbs.h>

#include "compat.h"
#include "region.h"

#define TIDE_MAX_MR	(1 << 18)

/* The rights a region can give; the others say how it is made. */
#define TIDE_MR_RIGHTS	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | \
			 IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_ATOMIC | \
			 IB_ACCESS_FLUSH_GLOBAL | IB_ACCESS_FLUSH_PERSISTENT)

/* What registration accepts. */
#define TIDE_MR_ACCESS	(TIDE_MR_RIGHTS | IB_ACCESS_ON_DEMAND | \
			 IB_ACCESS_HUGETLB | IB_ACCESS_MW_BIND | \
			 IB_ZERO_BASED | IB_ACCESS_OPTIONAL)

/**
 * struct tide_mr - what is behind a key
 * @key: the key
 * @access: enum ib_access_flags
 * @qpn: the only queue pair that may be accessed through; 0 is any
 * @window: enum ib_mw_type of a memory window; 0 is a region
 * @epoch: when the key came to mean this memory
 * @pd_id: the protection domain
 * @iova: the address by which the region's first byte is reached
 * @length: bytes
 * @va: the address of the first byte in the owner's address space, or in
 *	device memory
 * @umem: the pinned memory, or NULL
 * @entries: the pages of @umem, or of device memory, as a leaf would have them
 * @region: an on-demand region's window on its mirror, or NULL.  If there are
 *	no @entries either, and it is not @kernel, there is no memory: what is
 *	read is zero
 * @kernel: addresses are the kernel's, all of them
 * @ibdev: its device
 * @windows: how many memory windows are bound to it
 * @parent: the region that a memory window is bound to, or NULL; all the
 *	memory that it has is its parent's
 * @of_qp: in the list of @qpn's windows, if it is bound
 * @users: accesses under way, and one until it is put away
 * @idle: completed when the last of them has ended
 * @rcu: frees it
 */
struct tide_mr {
	u32 key;
	int access;
	u32 qpn;
	int window;
	u64 epoch;
	u64 pd_id;
	u64 iova;
	u64 length;
	u64 va;
	struct ib_umem *umem;
	unsigned long *entries;
	struct tide_region *region;
	bool kernel;
	struct ib_device *ibdev;
	unsigned int windows;
	struct tide_mr *parent;
	struct list_head of_qp;
	refcount_t users;
	struct completion idle;
	struct rcu_head rcu;
};

/**
 * struct tide_ibmr - the core's object
 * @ibmr: the core's part; its lkey and rkey are the key
 * @mr: what is behind the key; whoever does not keep the core from changing
 *	it holds the device's stats_lock
 */
struct tide_ibmr {
	struct ib_mr ibmr;
	struct tide_mr *mr;
};

static inline struct tide_ibmr *to_tide_ibmr(struct ib_mr *ibmr)
{
	return container_of(ibmr, struct tide_ibmr, ibmr);
}

/**
 * struct tide_access - who wants to access memory, and how
 * @key: lkey or rkey
 * @qpn: the queue pair, if it is an rkey; 0 if it is an lkey, by which regions
 *	can be accessed only
 * @rights: the rights needed, of TIDE_MR_RIGHTS; none for a local read
 * @addr: I/O virtual address of the first byte
 * @pd_id: the protection domain of the queue pair
 * @epoch: of the operation: tide_mr_epoch() at its beginning
 */
struct tide_access {
	u32 key;
	u32 qpn;
	int rights;
	u64 addr;
	u64 pd_id;
	u64 epoch;
};

static inline bool tide_mr_has_range(const struct tide_mr *mr, u64 addr,
				     u64 len)
{
	return addr >= mr->iova && len <= mr->length &&
	       addr - mr->iova <= mr->length - len;
}

extern u64 tide_mr_epochs;

/* An operation that begins now may use what can be found now. */
static inline u64 tide_mr_epoch(void)
{
	return smp_load_acquire(&tide_mr_epochs);
}

struct tide_mr *tide_mr_get(const struct tide_access *access, u64 len);
void tide_mr_put(struct tide_mr *mr);
bool tide_mr_allows(const struct tide_access *access, u64 len);
u64 tide_mr_whole(struct tide_access *access);
int tide_mr_find_region(u32 key, u64 pd_id, u64 addr, u64 len, bool write,
			struct tide_region **region, unsigned long *va);
struct tide_mr *tide_mr_alloc(const struct tide_mr *like);
int tide_mr_assign_key(struct tide_mr *mr);
struct ib_mr *tide_mr_register(struct tide_mr *mr);
void tide_mrs_lock(void);
void tide_mrs_unlock(void);
struct tide_mr *tide_mr_find(u32 key);
void tide_mr_replace(struct tide_mr *mr, bool moved);
void tide_mr_erase(struct tide_mr *mr);
void tide_mr_wait_idle(struct tide_mr *mr);
void tide_mr_add_counts(struct ib_device *ibdev, u64 *sums);

struct ib_mr *tide_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length,
			       u64 iova, int access,
			       TIDE_REG_USER_MR_DMAH
			       struct ib_udata *udata);
struct ib_mr *tide_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start,
				 u64 length, u64 iova, int access,
				 struct ib_pd *ibpd, struct ib_udata *udata);
struct ib_mr *tide_get_dma_mr(struct ib_pd *ibpd, int access);
int tide_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
void tide_mr_init(void);

#endif /* TIDE_MR_H */
