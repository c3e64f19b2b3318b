// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ah.c - address handles.
 *
 * A work request names one by number, and a process may name any.  So a send
 * finds it where it can be gone meanwhile, and takes a copy.
 */
#include <linux/slab.h>
#include <linux/xarray.h>
#include <rdma/uverbs_ioctl.h>

#include "ah.h"
#include "device.h"
#include "gid.h"

/*
 * All handles of all devices.  The kernel's own users make and destroy them
 * wherever they are, interrupts off included.
 */
static DEFINE_XARRAY_FLAGS(avs, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
static u32 next_number;

#define NUMBERS		XA_LIMIT(1, INT_MAX)

/**
 * tide_av_find - the address that a number stands for
 * @number: the number
 * @pd_id: the protection domain that it has to be of
 * @av: filled in
 *
 * Context: any.
 *
 * Return: false when there is no such handle.
 */
bool tide_av_find(u32 number, u64 pd_id, struct tide_av *av)
{
	const struct tide_av *found;
	bool is_its;

	rcu_read_lock();
	found = xa_load(&avs, number);
	is_its = found && found->pd_id == pd_id;
	if (is_its)
		*av = *found;
	rcu_read_unlock();
	return is_its;
}

static int take_number(struct tide_ah *ah, bool may_sleep)
{
	unsigned long flags;
	int ret;

	if (may_sleep) {
		ret = xa_alloc_cyclic_irq(&avs, &ah->number, ah->av, NUMBERS,
					  &next_number, GFP_KERNEL);
	} else {
		xa_lock_irqsave(&avs, flags);
		ret = __xa_alloc_cyclic(&avs, &ah->number, ah->av, NUMBERS,
					&next_number, GFP_ATOMIC);
		xa_unlock_irqrestore(&avs, flags);
	}
	return min(ret, 0);
}

static void give_number_back(struct tide_ah *ah)
{
	unsigned long flags;

	xa_lock_irqsave(&avs, flags);
	__xa_erase(&avs, ah->number);
	xa_unlock_irqrestore(&avs, flags);
}

static struct tide_av *make_av(struct ib_ah *ibah,
			       const struct rdma_ah_attr *attr, gfp_t gfp)
{
	const struct ib_global_route *grh = rdma_ah_read_grh(attr);
	struct tide_av *av = kmalloc(sizeof(*av), gfp);

	if (!av)
		return NULL;
	*av = (struct tide_av) {
		.pd_id = to_tide_pd(ibah->pd)->id,
		.sgid = grh->sgid_attr->gid,
		.dgid = grh->dgid,
		.ifindex = tide_gid_ifindex(grh->sgid_attr),
		.flow_label = grh->flow_label,
		.traffic_class = grh->traffic_class,
		.hop_limit = grh->hop_limit,
	};
	return av;
}

/* Tell the process what number it got. */
static int tell(const struct tide_ah *ah, struct ib_udata *udata)
{
	const struct tide_abi_create_ah_resp resp = { .ah = ah->number };

	return udata ? ib_copy_to_udata(udata, (void *)&resp, sizeof(resp)) : 0;
}

int tide_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *init,
		   struct ib_udata *udata)
{
	bool may_sleep = init->flags & RDMA_CREATE_AH_SLEEPABLE;
	struct tide_dev *dev = to_tide_dev(ibah->device);
	struct tide_ah *ah = to_tide_ah(ibah);
	int ret = -ENOMEM;

	if (udata && udata->outlen < sizeof(struct tide_abi_create_ah_resp))
		return -EINVAL;
	ah->kernel = !udata;
	if (!tide_claim(&dev->num_ahs, TIDE_MAX_AH, udata))
		return -ENOMEM;
	ah->attr = *init->ah_attr;
	ah->attr.grh.sgid_attr = NULL;
	ah->av = make_av(ibah, init->ah_attr,
			 may_sleep ? GFP_KERNEL_ACCOUNT : GFP_ATOMIC);
	if (!ah->av)
		goto err_count;
	ret = take_number(ah, may_sleep);
	if (ret)
		goto err_av;
	ret = tell(ah, udata);
	if (ret)
		goto err_number;
	return 0;

err_number:
	give_number_back(ah);
err_av:
	kfree_rcu(ah->av, rcu);
err_count:
	tide_give_back(&dev->num_ahs, udata);
	return ret;
}

int tide_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr)
{
	*attr = to_tide_ah(ibah)->attr;
	return 0;
}

int tide_destroy_ah(struct ib_ah *ibah, u32 flags)
{
	struct tide_ah *ah = to_tide_ah(ibah);

	give_number_back(ah);
	kfree_rcu(ah->av, rcu);
	if (!ah->kernel)
		atomic_dec(&to_tide_dev(ibah->device)->num_ahs);
	return 0;
}
