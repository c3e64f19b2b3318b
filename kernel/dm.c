// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * dm.c - device memory.
 */
#include <linux/capability.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#define UVERBS_MODULE_NAME tide
#include <rdma/uverbs_named_ioctl.h>

#include "device.h"
#include "dm.h"
#include "mapped.h"
#include "mr.h"
#include "uapi/tide-abi.h"

/* What registration of device memory accepts. */
#define DM_ACCESS	((TIDE_MR_RIGHTS & ~IB_ACCESS_FLUSH_PERSISTENT) | \
			 IB_ACCESS_MW_BIND | IB_ZERO_BASED | \
			 IB_ACCESS_OPTIONAL)

/**
 * struct tide_dm - device memory
 * @ibdm: the core's part
 * @mapped: the memory
 * @mm: whom it is charged to, as locked memory
 */
struct tide_dm {
	struct ib_dm ibdm;
	struct tide_mapped *mapped;
	struct mm_struct *mm;
};

static struct tide_dm *to_tide_dm(struct ib_dm *ibdm)
{
	return container_of(ibdm, struct tide_dm, ibdm);
}

/* As for memory that is pinned: it cannot be swapped either. */
static int charge(struct tide_dm *dm, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct mm_struct *mm = current->mm;

	if (atomic64_add_return(pages, &mm->pinned_vm) > limit &&
	    !capable(CAP_IPC_LOCK)) {
		atomic64_sub(pages, &mm->pinned_vm);
		return -ENOMEM;
	}
	mmgrab(mm);
	dm->mm = mm;
	return 0;
}

static void uncharge(struct tide_dm *dm, unsigned long pages)
{
	atomic64_sub(pages, &dm->mm->pinned_vm);
	mmdrop(dm->mm);
}

static int publish(struct tide_dm *dm, struct ib_ucontext *ucontext,
		   struct uverbs_attr_bundle *attrs)
{
	struct tide_abi_alloc_dm_resp resp = {
		.mmap_size = dm->mapped->size,
	};
	u64 offset;
	int ret;

	ret = tide_mapped_publish(dm->mapped, ucontext, &offset);
	if (ret)
		return ret;
	resp.mmap_offset = offset;
	ret = uverbs_copy_to(attrs, TIDE_ATTR_ALLOC_DM_RESP, &resp,
			     sizeof(resp));
	if (ret)
		tide_mapped_unpublish(dm->mapped);
	return ret;
}

struct ib_dm *tide_alloc_dm(struct ib_device *ibdev,
			    struct ib_ucontext *ucontext,
			    struct ib_dm_alloc_attr *attr,
			    struct uverbs_attr_bundle *attrs)
{
	unsigned long pages;
	struct tide_dm *dm;
	int ret;

	/* Where it begins, a page does. */
	if (!attr->length || attr->length > TIDE_MAX_DM ||
	    attr->alignment > PAGE_SHIFT)
		return ERR_PTR(-EINVAL);
	pages = PAGE_ALIGN(attr->length) >> PAGE_SHIFT;

	dm = kzalloc(sizeof(*dm), GFP_KERNEL_ACCOUNT);
	if (!dm)
		return ERR_PTR(-ENOMEM);
	ret = charge(dm, pages);
	if (ret)
		goto err_dm;
	dm->mapped = tide_mapped_alloc(attr->length);
	if (!dm->mapped) {
		ret = -ENOMEM;
		goto err_charge;
	}
	ret = publish(dm, ucontext, attrs);
	if (ret)
		goto err_mapped;
	return &dm->ibdm;

err_mapped:
	tide_mapped_put(dm->mapped);
err_charge:
	uncharge(dm, pages);
err_dm:
	kfree(dm);
	return ERR_PTR(ret);
}

int tide_dealloc_dm(struct ib_dm *ibdm, struct uverbs_attr_bundle *attrs)
{
	struct tide_dm *dm = to_tide_dm(ibdm);

	uncharge(dm, dm->mapped->size >> PAGE_SHIFT);
	tide_mapped_unpublish(dm->mapped);
	tide_mapped_put(dm->mapped);
	kfree(dm);
	return 0;
}

/* The pages that a region has, as a leaf would have them. */
static unsigned long *make_entries(const struct tide_mapped *mapped,
				   u64 offset, u64 length)
{
	size_t nr = PAGE_ALIGN(offset_in_page(offset) + length) >> PAGE_SHIFT;
	void *vaddr = mapped->vaddr + (offset & PAGE_MASK);
	unsigned long *entries;
	size_t i;

	entries = kvmalloc_array(nr, sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return NULL;
	for (i = 0; i < nr; i++, vaddr += PAGE_SIZE)
		entries[i] = tide_pinned_entry(vmalloc_to_page(vaddr));
	return entries;
}

/* The core has checked the range, and keeps @ibdm as long as the region. */
struct ib_mr *tide_reg_dm_mr(struct ib_pd *ibpd, struct ib_dm *ibdm,
			     struct ib_dm_mr_attr *attr,
			     struct uverbs_attr_bundle *attrs)
{
	const struct tide_mr like = {
		.ibdev = ibpd->device,
		.pd_id = to_tide_pd(ibpd)->id,
		.access = attr->access_flags,
		.length = attr->length,
		.va = attr->offset,
	};
	struct tide_mr *mr;

	if (attr->access_flags & ~DM_ACCESS)
		return ERR_PTR(-EOPNOTSUPP);
	mr = tide_mr_alloc(&like);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->entries = make_entries(to_tide_dm(ibdm)->mapped, attr->offset,
				   attr->length);
	if (!mr->entries) {
		kfree(mr);
		return ERR_PTR(-ENOMEM);
	}
	return tide_mr_register(mr);
}

/* For another process to map it. */
static int UVERBS_HANDLER(TIDE_METHOD_DM_QUERY)
	(struct uverbs_attr_bundle *attrs)
{
	struct ib_dm *ibdm = uverbs_attr_get_obj(attrs,
						 TIDE_ATTR_QUERY_DM_HANDLE);
	const struct tide_mapped *mapped = to_tide_dm(ibdm)->mapped;
	struct tide_abi_query_dm_resp resp = {
		.map.mmap_offset = rdma_user_mmap_get_offset(&mapped->entry),
		.map.mmap_size = mapped->size,
		.length = ibdm->length,
	};

	return uverbs_copy_to(attrs, TIDE_ATTR_QUERY_DM_RESP, &resp,
			      sizeof(resp));
}

ADD_UVERBS_ATTRIBUTES_SIMPLE(
	tide_dm_alloc, UVERBS_OBJECT_DM, UVERBS_METHOD_DM_ALLOC,
	UVERBS_ATTR_PTR_OUT(TIDE_ATTR_ALLOC_DM_RESP,
			    UVERBS_ATTR_TYPE(struct tide_abi_alloc_dm_resp),
			    UA_MANDATORY));

DECLARE_UVERBS_NAMED_METHOD(
	TIDE_METHOD_DM_QUERY,
	UVERBS_ATTR_IDR(TIDE_ATTR_QUERY_DM_HANDLE, UVERBS_OBJECT_DM,
			UVERBS_ACCESS_READ, UA_MANDATORY),
	UVERBS_ATTR_PTR_OUT(TIDE_ATTR_QUERY_DM_RESP,
			    UVERBS_ATTR_TYPE(struct tide_abi_query_dm_resp),
			    UA_MANDATORY));

ADD_UVERBS_METHODS(tide_dm_query, UVERBS_OBJECT_DM,
		   &UVERBS_METHOD(TIDE_METHOD_DM_QUERY));

const struct uapi_definition tide_dm_defs[] = {
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_DM, &tide_dm_alloc),
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_DM, &tide_dm_query),
	{},
};
