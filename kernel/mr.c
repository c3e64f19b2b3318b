// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mr.c - memory regions: registration, keys, and the one check of an access.
 */
#include <linux/overflow.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "device.h"
#include "keys.h"
#include "mr.h"

/*
 * All regions of all devices, by the index in their key: whoever holds a key
 * needs no device to find the region, and a protection domain belongs to one
 * device only.
 */
static DEFINE_XARRAY(regions);
static siphash_key_t key_secret;
static atomic_t key_counter = ATOMIC_INIT(0);

#define MAX_KEY_TRIES	1000

static u32 key_prf(const void *secret, u32 value, u32 round)
{
	return siphash_2u32(value, round, secret);
}

/* Put @mr where its key will be found; gives it the key. */
static int mr_assign_key(struct tide_mr *mr)
{
	unsigned int tries = MAX_KEY_TRIES;
	u32 key;
	int ret;

	/* Unless nearly all of the indices are taken, a few tries suffice. */
	do {
		key = tide_key_make(atomic_inc_return(&key_counter), key_prf,
				    &key_secret);
		mr->ibmr.lkey = key;
		mr->ibmr.rkey = key;
		ret = xa_insert(&regions, key >> TIDE_KEY_TAG_BITS, mr,
				GFP_KERNEL);
	} while (ret == -EBUSY && --tries);
	return ret == -EBUSY ? -ENOMEM : ret;
}

static bool mr_check(const struct tide_mr *mr, u32 key, u64 pd_id, u64 addr,
		     u64 len, int rights)
{
	return mr->ibmr.lkey == key && mr->pd_id == pd_id &&
	       !(rights & ~mr->access) &&
	       addr >= mr->iova && len <= mr->length &&
	       addr - mr->iova <= mr->length - len;
}

/**
 * tide_mr_get - the region behind a key, if an access to it is allowed
 * @key: lkey or rkey
 * @pd_id: the protection domain of the queue pair
 * @addr: I/O virtual address of the first byte
 * @len: bytes
 * @rights: the rights needed, of TIDE_MR_RIGHTS; none for a local read
 *
 * Context: any.  Deregistration waits until tide_mr_put(): do not sleep
 * before that.
 *
 * Return: the region, or NULL when there is none or it does not allow this.
 */
struct tide_mr *tide_mr_get(u32 key, u64 pd_id, u64 addr, u64 len, int rights)
{
	struct tide_mr *mr;

	rcu_read_lock();
	mr = xa_load(&regions, key >> TIDE_KEY_TAG_BITS);
	if (mr && (!mr_check(mr, key, pd_id, addr, len, rights) ||
		   !refcount_inc_not_zero(&mr->users)))
		mr = NULL;
	rcu_read_unlock();
	return mr;
}

/* End an access that tide_mr_get() began. */
void tide_mr_put(struct tide_mr *mr)
{
	if (refcount_dec_and_test(&mr->users))
		complete(&mr->idle);
}

/* Whether tide_mr_get() would succeed now. */
bool tide_mr_allows(u32 key, u64 pd_id, u64 addr, u64 len, int rights)
{
	struct tide_mr *mr;
	bool ok;

	rcu_read_lock();
	mr = xa_load(&regions, key >> TIDE_KEY_TAG_BITS);
	ok = mr && mr_check(mr, key, pd_id, addr, len, rights);
	rcu_read_unlock();
	return ok;
}

/**
 * tide_mr_find_region - the on-demand region behind a key, for advice
 * @key: its lkey
 * @pd_id: the protection domain of who gives the advice
 * @addr: I/O virtual address of the first byte
 * @len: bytes
 * @write: whether they are to be written
 * @region: becomes the region, with a reference
 * @va: becomes the address of the first byte
 *
 * Context: any.
 *
 * Return: 0; -ENOENT: there is no such key; -EPERM: it is another protection
 * domain's, or not for writing; -EINVAL: it is not on demand; -EFAULT: it is
 * not all of this.
 */
int tide_mr_find_region(u32 key, u64 pd_id, u64 addr, u64 len, bool write,
			struct tide_region **region, unsigned long *va)
{
	struct tide_mr *mr;
	int ret = 0;

	rcu_read_lock();
	mr = xa_load(&regions, key >> TIDE_KEY_TAG_BITS);
	if (!mr || mr->ibmr.lkey != key || !refcount_inc_not_zero(&mr->users)) {
		rcu_read_unlock();
		return -ENOENT;
	}
	if (mr->pd_id != pd_id ||
	    (write && !(mr->access & IB_ACCESS_LOCAL_WRITE)))
		ret = -EPERM;
	else if (!mr->region)
		ret = -EINVAL;
	else if (!mr_check(mr, key, pd_id, addr, len, 0))
		ret = -EFAULT;
	if (!ret) {
		*region = tide_region_get(mr->region);
		*va = mr->va + (addr - mr->iova);
	}
	tide_mr_put(mr);
	rcu_read_unlock();
	return ret;
}

static void add_counts(const struct tide_region *region, u64 *sums)
{
	int i;

	for (i = 0; i < TIDE_ODP_COUNTERS; i++)
		sums[i] += atomic64_read(&region->counts[i]);
}

/**
 * tide_mr_add_counts - add up what a device's regions have counted
 * @ibdev: the device, whose stats_lock is held
 * @sums: of TIDE_ODP_COUNTERS
 */
void tide_mr_add_counts(struct ib_device *ibdev, u64 *sums)
{
	struct tide_mr *mr;
	unsigned long key;

	rcu_read_lock();
	xa_for_each(&regions, key, mr)
		if (mr->ibmr.device == ibdev && mr->region)
			add_counts(mr->region, sums);
	rcu_read_unlock();
}

static int mr_pin(struct tide_mr *mr)
{
	struct sg_page_iter iter;
	size_t i = 0, nr;

	mr->umem = tide_umem_get(mr->ibmr.device, mr->va, mr->length,
				 mr->access);
	if (IS_ERR(mr->umem))
		return PTR_ERR(mr->umem);

	nr = ib_umem_num_pages(mr->umem);
	/* Beyond some size kvmalloc() warns of what is asked for. */
	mr->entries = kvmalloc_array(nr, sizeof(*mr->entries),
				     GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!mr->entries) {
		ib_umem_release(mr->umem);
		return -ENOMEM;
	}
	for_each_sgtable_page(&mr->umem->sgt_append.sgt, &iter, 0) {
		if (i == nr)
			break;
		mr->entries[i++] =
			tide_pinned_entry(sg_page_iter_page(&iter));
	}
	return 0;
}

/*
 * An implicit region is all of the address space, now and later, and nothing
 * that is not the process's.
 */
static bool mr_is_implicit(const struct tide_mr *mr)
{
	return !mr->va && mr->length == U64_MAX;
}

static int mr_open_region(struct tide_mr *mr)
{
	if (mr_is_implicit(mr)) {
		if (mr->iova)
			return -EINVAL;
		mr->length = TASK_SIZE;
	}
	if (mr->va + mr->length > TASK_SIZE)
		return -EINVAL;
	mr->region = tide_region_open_current(mr->va, mr->length);
	return PTR_ERR_OR_ZERO(mr->region);
}

static void mr_free(struct tide_mr *mr)
{
	if (mr->region) {
		tide_region_close(mr->region);
	} else {
		kvfree(mr->entries);
		ib_umem_release(mr->umem);
	}
	kfree_rcu(mr, rcu);
}

struct ib_mr *tide_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length,
			       u64 iova, int access,
			       TIDE_REG_USER_MR_DMAH
			       struct ib_udata *udata)
{
	struct tide_mr *mr;
	u64 end;
	int ret;

	if (tide_reg_user_mr_has_dmah() || access & ~TIDE_MR_ACCESS)
		return ERR_PTR(-EOPNOTSUPP);
	if (!length || check_add_overflow(start, length, &end) ||
	    check_add_overflow(iova, length - 1, &end))
		return ERR_PTR(-EINVAL);

	mr = kzalloc(sizeof(*mr), GFP_KERNEL_ACCOUNT);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->ibmr.device = ibpd->device;
	mr->ibmr.length = length;
	mr->ibmr.iova = iova;
	mr->pd_id = to_tide_pd(ibpd)->id;
	mr->access = access;
	mr->iova = iova;
	mr->length = length;
	mr->va = start;
	refcount_set(&mr->users, 1);
	init_completion(&mr->idle);

	ret = access & IB_ACCESS_ON_DEMAND ? mr_open_region(mr) : mr_pin(mr);
	if (ret)
		goto err_mr;
	ret = mr_assign_key(mr);
	if (ret)
		goto err_backing;
	return &mr->ibmr;

err_backing:
	mr_free(mr);
	return ERR_PTR(ret);
err_mr:
	kfree(mr);
	return ERR_PTR(ret);
}

int tide_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct tide_dev *dev = to_tide_dev(ibmr->device);
	struct tide_mr *mr = to_tide_mr(ibmr);

	/* Held, so that a region counts once: here or there. */
	mutex_lock(&dev->stats_lock);
	xa_erase(&regions, ibmr->lkey >> TIDE_KEY_TAG_BITS);
	if (mr->region)
		add_counts(mr->region, dev->retired_odp);
	mutex_unlock(&dev->stats_lock);
	tide_mr_put(mr);
	wait_for_completion(&mr->idle);
	mr_free(mr);
	return 0;
}

/* Once, at module load. */
void __init tide_mr_init(void)
{
	get_random_bytes(&key_secret, sizeof(key_secret));
	atomic_set(&key_counter, get_random_u32());
}
