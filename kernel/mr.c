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

static int mr_mirror(struct tide_mr *mr)
{
	if (mr->va + mr->length > TASK_SIZE)
		return -EINVAL;
	mr->mirror = tide_mirror_get_current();
	return PTR_ERR_OR_ZERO(mr->mirror);
}

static void mr_free(struct tide_mr *mr)
{
	if (mr->mirror) {
		tide_mirror_put(mr->mirror);
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

	ret = access & IB_ACCESS_ON_DEMAND ? mr_mirror(mr) : mr_pin(mr);
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
	struct tide_mr *mr = to_tide_mr(ibmr);

	xa_erase(&regions, ibmr->lkey >> TIDE_KEY_TAG_BITS);
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
