/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * compat.h - what differs between the supported kernels, and nothing else.
 *
 * Each helper has the newest kernel's meaning.
 */
#ifndef TIDE_COMPAT_H
#define TIDE_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/netdevice.h>
#include <linux/shrinker.h>
#include <linux/version.h>
#include <net/flow.h>
#include <net/inet_dscp.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

/* 6.5 dropped the vmas argument. */
static inline long tide_pin_user_pages_remote(struct mm_struct *mm,
					      unsigned long start,
					      unsigned long nr_pages,
					      unsigned int gup_flags,
					      struct page **pages, int *locked)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return pin_user_pages_remote(mm, start, nr_pages, gup_flags, pages,
				     NULL, locked);
#else
	return pin_user_pages_remote(mm, start, nr_pages, gup_flags, pages,
				     locked);
#endif
}

/* Workqueues are of CPUs unless they are unbound; newer ones want that said. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define TIDE_WQ_PERCPU	0
#else
#define TIDE_WQ_PERCPU	WQ_PERCPU
#endif

/* 7.2 renamed ib_umem_get() when it learned of other kinds of buffers. */
static inline struct ib_umem *tide_umem_get(struct ib_device *device,
					    unsigned long addr, size_t size,
					    int access)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 2, 0)
	return ib_umem_get(device, addr, size, access);
#else
	return ib_umem_get_va(device, addr, size, access);
#endif
}

/*
 * tide_client has to be registered after uverbs' own client, so ib_uverbs has
 * to be there first, and to stay.  In older kernels the umem functions are in
 * it; newer ones need a reason.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define TIDE_NEEDS_UVERBS						\
	static const void * const tide_needs_uverbs __used =		\
		rdma_user_mmap_disassociate
#else
#define TIDE_NEEDS_UVERBS	struct tide_needs_uverbs
#endif

/*
 * 6.13 moved the dispatch of port events from the drivers to the core, but for
 * those of bonds.
 */
static inline bool
tide_core_dispatches_port_events(const struct net_device *ndev)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0) &&
	       !netif_is_lag_master(ndev) && !netif_is_lag_port(ndev);
}

/* 6.11 hands create_cq the whole bundle, not just the driver's part. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define TIDE_CREATE_CQ_ARG	struct ib_udata *udata
#define tide_create_cq_udata()	(udata)
#else
#define TIDE_CREATE_CQ_ARG	struct uverbs_attr_bundle *attrs
#define tide_create_cq_udata()	(attrs ? &attrs->driver_udata : NULL)
#endif

/* 7.1 renamed resize_cq, and the number of entries is unsigned there. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 1, 0)
typedef int tide_resize_cqe_t;
#define TIDE_RESIZE_CQ	.resize_cq = tide_resize_cq,
#else
typedef unsigned int tide_resize_cqe_t;
#define TIDE_RESIZE_CQ	.resize_user_cq = tide_resize_cq,
#endif

/* 6.13 lets nobody set up a timer without its function. */
static inline void
tide_hrtimer_setup(struct hrtimer *timer,
		   enum hrtimer_restart (*function)(struct hrtimer *),
		   clockid_t clock, enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(timer, clock, mode);
	timer->function = function;
#else
	hrtimer_setup(timer, function, clock, mode);
#endif
}

/* 6.17 added the DMA handle. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define TIDE_REG_USER_MR_DMAH
#define tide_reg_user_mr_has_dmah()	false
#else
#define TIDE_REG_USER_MR_DMAH		struct ib_dmah *dmah,
#define tide_reg_user_mr_has_dmah()	(dmah != NULL)
#endif

/* 6.8 lets drivers tell of shared receive queues. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define TIDE_FILL_RES_SRQ_ENTRY
#else
#define TIDE_FILL_RES_SRQ_ENTRY						\
	.fill_res_srq_entry = tide_fill_res_srq_entry,
#endif

/*
 * 6.2 brought flushes and atomic writes.  Before, no region can be registered
 * with the rights to flush it.
 */
static inline bool tide_core_has_flush(void)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define IB_ACCESS_FLUSH_GLOBAL		BIT(8)
#define IB_ACCESS_FLUSH_PERSISTENT	BIT(9)
#define IB_DEVICE_FLUSH_GLOBAL		BIT_ULL(38)
#define IB_DEVICE_FLUSH_PERSISTENT	BIT_ULL(39)
#define IB_DEVICE_ATOMIC_WRITE		BIT_ULL(40)
#define IB_WR_FLUSH			14
#define IB_WR_ATOMIC_WRITE		15
#define IB_WC_FLUSH			8
#define IB_WC_ATOMIC_WRITE		9
#endif

/* As recent kernels report them, in IB_ODP_SUPPORT_* of the same names. */
#define TIDE_ODP_SUPPORT_FLUSH		BIT(6)
#define TIDE_ODP_SUPPORT_ATOMIC_WRITE	BIT(7)

/* 6.3 hid the flags. */
static inline void tide_vm_flags_set(struct vm_area_struct *vma,
				     unsigned long flags)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	vma->vm_flags |= flags;
#else
	vm_flags_set(vma, flags);
#endif
}

/* 6.6 brought shadow stacks. */
#ifdef VM_SHADOW_STACK
#define TIDE_VM_SHADOW_STACK	VM_SHADOW_STACK
#else
#define TIDE_VM_SHADOW_STACK	VM_NONE
#endif

/* 6.11 brought memory that may be dropped. */
#ifdef VM_DROPPABLE
#define TIDE_VM_DROPPABLE	VM_DROPPABLE
#else
#define TIDE_VM_DROPPABLE	VM_NONE
#endif

/* A recent kernel does not care for what ECN has in it. */
static inline void tide_flowi4_set_dsfield(struct flowi4 *flow, u8 dsfield)
{
	dscp_t dscp = inet_dsfield_to_dscp(dsfield);

#ifdef flowi4_tos
	flow->flowi4_tos = inet_dscp_to_dsfield(dscp);
#else
	flow->flowi4_dscp = dscp;
#endif
}

/* 7.2 made it bool. */
typedef typeof(((struct mmu_notifier_ops *)0)->test_young(NULL, NULL, 0))
	tide_young_t;

/**
 * struct tide_shrinker - a shrinker, which 6.7 began to allocate by itself
 * @count: as count_objects
 * @scan: as scan_objects
 */
struct tide_shrinker {
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	struct shrinker shrinker;
#else
	struct shrinker *shrinker;
#endif
	unsigned long (*count)(struct shrinker *shrinker,
			       struct shrink_control *control);
	unsigned long (*scan)(struct shrinker *shrinker,
			      struct shrink_control *control);
};

static inline int tide_shrinker_register(struct tide_shrinker *tide,
					 const char *name)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	tide->shrinker.count_objects = tide->count;
	tide->shrinker.scan_objects = tide->scan;
	tide->shrinker.seeks = DEFAULT_SEEKS;
	return register_shrinker(&tide->shrinker, "%s", name);
#else
	tide->shrinker = shrinker_alloc(0, "%s", name);
	if (!tide->shrinker)
		return -ENOMEM;
	tide->shrinker->count_objects = tide->count;
	tide->shrinker->scan_objects = tide->scan;
	shrinker_register(tide->shrinker);
	return 0;
#endif
}

static inline void tide_shrinker_unregister(struct tide_shrinker *tide)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	unregister_shrinker(&tide->shrinker);
#else
	shrinker_free(tide->shrinker);
#endif
}

#endif /* TIDE_COMPAT_H */
