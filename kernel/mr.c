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
#include "flush.h"
#include "keys.h"
#include "mr.h"
#include "uapi/tide-abi.h"

/*
 * All regions of all devices, by the index in their key: whoever holds a key
 * needs no device to find the region, and a protection domain belongs to one
 * device only.
 */
static DEFINE_XARRAY_FLAGS(regions, XA_FLAGS_LOCK_BH);
static siphash_key_t key_secret;
static atomic_t key_counter = ATOMIC_INIT(0);

/* How often a key has come to mean other memory.  Under the array's lock. */
u64 tide_mr_epochs;

#define MAX_KEY_TRIES	1000

static u32 key_prf(const void *secret, u32 value, u32 round)
{
	return siphash_2u32(value, round, secret);
}

static unsigned long key_index(u32 key)
{
	return key >> TIDE_KEY_TAG_BITS;
}

/* Put @mr where its key will be found; gives it the key. */
int tide_mr_assign_key(struct tide_mr *mr)
{
	unsigned int tries = MAX_KEY_TRIES;
	int ret;

	/* Unless nearly all of the indices are taken, a few tries suffice. */
	do {
		mr->key = tide_key_make(atomic_inc_return(&key_counter),
					key_prf, &key_secret);
		ret = xa_insert_bh(&regions, key_index(mr->key), mr,
				   GFP_KERNEL);
	} while (ret == -EBUSY && --tries);
	return ret == -EBUSY ? -ENOMEM : ret;
}

/* Keeps everything where it is, and windows bound as they are. */
void tide_mrs_lock(void)
	__acquires(regions.xa_lock)
{
	xa_lock_bh(&regions);
}

void tide_mrs_unlock(void)
	__releases(regions.xa_lock)
{
	xa_unlock_bh(&regions);
}

/* What is where @key has its place, whatever its tag; locked. */
struct tide_mr *tide_mr_find(u32 key)
{
	return xa_load(&regions, key_index(key));
}

/**
 * tide_mr_replace - let a key mean something else
 * @mr: what it is to mean; takes the place of what has the same index
 * @moved: that is other memory
 *
 * Operations under way are not to go on in other memory: they have not seen
 * the epoch that begins when it can be found.
 *
 * Context: any; tide_mrs_lock() is held.
 */
void tide_mr_replace(struct tide_mr *mr, bool moved)
{
	if (moved)
		mr->epoch = tide_mr_epochs + 1;
	/* Needs no memory, there is something in this place. */
	__xa_store(&regions, key_index(mr->key), mr, GFP_ATOMIC);
	if (moved)
		smp_store_release(&tide_mr_epochs, mr->epoch);
}

/* Let it not be found any more; locked. */
void tide_mr_erase(struct tide_mr *mr)
{
	__xa_erase(&regions, key_index(mr->key));
}

static bool mr_window_check(const struct tide_mr *mr,
			    const struct tide_access *access)
{
	return access->qpn && (!mr->qpn || mr->qpn == access->qpn);
}

static __always_inline bool mr_check(const struct tide_mr *mr,
				     const struct tide_access *access, u64 len)
{
	return mr->key == access->key && mr->pd_id == access->pd_id &&
	       (likely(!mr->window) || mr_window_check(mr, access)) &&
	       !(access->rights & ~READ_ONCE(mr->access)) &&
	       tide_mr_has_range(mr, access->addr, len) &&
	       mr->epoch <= access->epoch;
}

/**
 * tide_mr_get - what is behind a key, if an access to it is allowed
 * @access: the access
 * @len: bytes
 *
 * Context: any.  Deregistration waits until tide_mr_put(): do not sleep
 * before that.
 *
 * Return: the region, or NULL when there is none or it does not allow this.
 */
struct tide_mr *tide_mr_get(const struct tide_access *access, u64 len)
{
	struct tide_mr *mr;

	rcu_read_lock();
	/* What has been put away since it was found has a successor. */
	do {
		mr = xa_load(&regions, key_index(access->key));
		if (mr && !mr_check(mr, access, len))
			mr = NULL;
	} while (mr && !refcount_inc_not_zero(&mr->users));
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
bool tide_mr_allows(const struct tide_access *access, u64 len)
{
	struct tide_mr *mr;
	bool ok;

	rcu_read_lock();
	mr = xa_load(&regions, key_index(access->key));
	ok = mr && mr_check(mr, access, len);
	rcu_read_unlock();
	return ok;
}

/**
 * tide_mr_whole - find out how much is behind a key
 * @access: an access; its address becomes that of the first byte
 *
 * Return: how many bytes there are, or 0 if they may not be accessed like this.
 */
u64 tide_mr_whole(struct tide_access *access)
{
	struct tide_mr *mr;
	u64 length = 0;

	rcu_read_lock();
	mr = xa_load(&regions, key_index(access->key));
	if (mr) {
		access->addr = mr->iova;
		length = mr_check(mr, access, mr->length) ? mr->length : 0;
	}
	rcu_read_unlock();
	return length;
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
	do {
		mr = xa_load(&regions, key_index(key));
		if (!mr || mr->window || mr->key != key) {
			rcu_read_unlock();
			return -ENOENT;
		}
	} while (!refcount_inc_not_zero(&mr->users));
	if (mr->pd_id != pd_id ||
	    (write && !(mr->access & IB_ACCESS_LOCAL_WRITE)))
		ret = -EPERM;
	else if (!mr->region)
		ret = -EINVAL;
	else if (!tide_mr_has_range(mr, addr, len))
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
	unsigned long index;

	rcu_read_lock();
	xa_for_each(&regions, index, mr)
		if (mr->ibdev == ibdev && !mr->window && mr->region)
			add_counts(mr->region, sums);
	rcu_read_unlock();
}

static void mr_unpin(struct tide_mr *mr)
{
	kvfree(mr->entries);
	ib_umem_release(mr->umem);
}

static int mr_pin(struct tide_mr *mr)
{
	struct sg_page_iter iter;
	size_t i = 0, nr;

	mr->umem = tide_umem_get(mr->ibdev, mr->va, mr->length, mr->access);
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
	if (mr->access & IB_ACCESS_FLUSH_PERSISTENT &&
	    !tide_pages_are_persistent(mr->entries, nr)) {
		mr_unpin(mr);
		return -EINVAL;
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

/* What an address will mean on demand may be memory of any kind. */
static int mr_check_access(const struct tide_mr *mr)
{
	const int never = IB_ACCESS_ON_DEMAND | IB_ACCESS_FLUSH_PERSISTENT;

	if (mr->access & ~TIDE_MR_ACCESS || (mr->access & never) == never)
		return -EOPNOTSUPP;
	return 0;
}

/* Get hold of the memory, which is the caller's. */
static int mr_open(struct tide_mr *mr)
{
	u64 end;
	int ret;

	ret = mr_check_access(mr);
	if (ret)
		return ret;
	if (!mr->length || check_add_overflow(mr->va, mr->length, &end) ||
	    check_add_overflow(mr->iova, mr->length - 1, &end))
		return -EINVAL;
	mr->umem = NULL;
	mr->entries = NULL;
	mr->region = NULL;
	return mr->access & IB_ACCESS_ON_DEMAND ? mr_open_region(mr) :
						  mr_pin(mr);
}

static void mr_close(struct tide_mr *mr)
{
	if (mr->region)
		tide_region_close(mr->region);
	else
		mr_unpin(mr);
}

/* Nobody finds it any more; wait for those who have. */
void tide_mr_wait_idle(struct tide_mr *mr)
{
	tide_mr_put(mr);
	wait_for_completion(&mr->idle);
}

struct tide_mr *tide_mr_alloc(const struct tide_mr *like)
{
	struct tide_mr *mr = kmemdup(like, sizeof(*like), GFP_KERNEL_ACCOUNT);

	if (mr) {
		mr->windows = 0;
		refcount_set(&mr->users, 1);
		INIT_LIST_HEAD(&mr->of_qp);
		init_completion(&mr->idle);
	}
	return mr;
}

/**
 * tide_mr_register - give a region a key, and to the core
 * @mr: the region, with its memory; put away on error
 */
struct ib_mr *tide_mr_register(struct tide_mr *mr)
{
	struct tide_dev *dev = to_tide_dev(mr->ibdev);
	struct tide_ibmr *ibmr;
	int ret = -ENOMEM;

	if (!mr->kernel && !atomic_add_unless(&dev->num_mrs, 1, TIDE_MAX_MR))
		goto err_mr;
	ibmr = kzalloc(sizeof(*ibmr), GFP_KERNEL_ACCOUNT);
	if (!ibmr)
		goto err_count;
	ret = tide_mr_assign_key(mr);
	if (ret)
		goto err_ibmr;
	ibmr->mr = mr;
	ibmr->ibmr.lkey = mr->key;
	ibmr->ibmr.rkey = mr->key;
	ibmr->ibmr.length = mr->length;
	ibmr->ibmr.iova = mr->iova;
	return &ibmr->ibmr;

err_ibmr:
	kfree(ibmr);
err_count:
	if (!mr->kernel)
		atomic_dec(&dev->num_mrs);
err_mr:
	mr_close(mr);
	kfree(mr);
	return ERR_PTR(ret);
}

/* What the provider adds to a command. */
static int get_request(struct tide_abi_reg_mr *req, struct ib_udata *udata)
{
	int ret;

	memset(req, 0, sizeof(*req));
	if (!udata->inlen)
		return 0;
	if (udata->inlen < sizeof(*req))
		return -EINVAL;
	ret = ib_copy_from_udata(req, udata, sizeof(*req));
	if (ret)
		return ret;
	if (req->flags & ~(TIDE_REG_IOVA | TIDE_REG_NULL) || req->reserved)
		return -EINVAL;
	return 0;
}

/* Where addresses begin: that does not change but with the memory. */
static u64 first_address(const struct tide_mr *mr, u64 iova)
{
	return mr->access & IB_ZERO_BASED ? 0 : iova;
}

/* All addresses there are, and nothing behind them. */
static int mr_open_null(struct tide_mr *mr)
{
	if (mr->va || mr->iova || mr->length != U64_MAX ||
	    mr->access & ~IB_ACCESS_LOCAL_WRITE)
		return -EINVAL;
	return 0;
}

struct ib_mr *tide_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 length,
			       u64 iova, int access,
			       TIDE_REG_USER_MR_DMAH
			       struct ib_udata *udata)
{
	const struct tide_mr like = {
		.ibdev = ibpd->device,
		.pd_id = to_tide_pd(ibpd)->id,
		.access = access,
		.length = length,
		.va = start,
	};
	struct tide_abi_reg_mr req;
	struct ib_mr *ibmr;
	struct tide_mr *mr;
	int ret;

	if (!udata || tide_reg_user_mr_has_dmah())
		return ERR_PTR(-EOPNOTSUPP);
	ret = get_request(&req, udata);
	if (ret)
		return ERR_PTR(ret);
	mr = tide_mr_alloc(&like);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->iova = first_address(mr, req.flags & TIDE_REG_IOVA ? req.iova :
								 iova);
	ret = req.flags & TIDE_REG_NULL ? mr_open_null(mr) : mr_open(mr);
	if (ret) {
		kfree(mr);
		return ERR_PTR(ret);
	}
	ibmr = tide_mr_register(mr);
	/* As it was asked for, implicit ones too. */
	if (!IS_ERR(ibmr))
		ibmr->length = length;
	return ibmr;
}

/*
 * What the core lets a kernel user access its memory by: the device uses
 * virtual addresses for DMA, so they are the kernel's.  Nobody else has such a
 * user's protection domain.
 */
struct ib_mr *tide_get_dma_mr(struct ib_pd *ibpd, int access)
{
	const struct tide_mr like = {
		.ibdev = ibpd->device,
		.pd_id = to_tide_pd(ibpd)->id,
		.access = access,
		.length = U64_MAX,
		.kernel = true,
	};
	struct tide_mr *mr;

	if (access & ~IB_ACCESS_LOCAL_WRITE)
		return ERR_PTR(-EOPNOTSUPP);
	mr = tide_mr_alloc(&like);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	return tide_mr_register(mr);
}

/* Whether the memory that @mr has is enough for other rights to it. */
static bool mr_memory_serves(const struct tide_mr *mr, int access)
{
	if ((mr->access ^ access) & IB_ACCESS_ON_DEMAND ||
	    access & ~mr->access & IB_ACCESS_FLUSH_PERSISTENT)
		return false;
	return mr->region || mr->umem->writable || !ib_access_writable(access);
}

static bool mr_is_callers(const struct tide_mr *mr)
{
	return mr->region ? tide_mirror_is_current(mr->region->mirror) :
			    mr->umem->owning_mm == current->mm;
}

/*
 * Get hold of the memory that @old is to have now.  The same addresses are the
 * same memory to the process only that it belongs to.
 */
static int mr_reopen(struct tide_mr *mr, const struct tide_mr *old, int flags)
{
	if (!(flags & IB_MR_REREG_TRANS) && !mr_is_callers(old))
		return -EPERM;
	return mr_open(mr);
}

/* Replace @old by @mr, or by nothing, unless windows are bound to it. */
static int mr_supplant(struct tide_mr *old, struct tide_mr *mr, bool moved)
{
	int ret = 0;

	tide_mrs_lock();
	if (old->windows)
		ret = -EBUSY;
	else if (mr)
		tide_mr_replace(mr, moved);
	else
		tide_mr_erase(old);
	tide_mrs_unlock();
	return ret;
}

/*
 * Let accesses find @mr from now on, which may be nothing, and put away what
 * they found before: all of it, or but for the memory.
 */
static int mr_take_over(struct tide_ibmr *ibmr, struct tide_mr *mr, bool moved)
{
	struct tide_dev *dev = to_tide_dev(ibmr->ibmr.device);
	struct tide_mr *old = ibmr->mr;
	int ret;

	/* Held, so that a region counts once: here or there. */
	mutex_lock(&dev->stats_lock);
	ret = mr_supplant(old, mr, moved);
	if (!ret) {
		ibmr->mr = mr;
		if (moved && old->region)
			add_counts(old->region, dev->retired_odp);
	}
	mutex_unlock(&dev->stats_lock);
	if (ret)
		return ret;

	tide_mr_wait_idle(old);
	if (moved)
		mr_close(old);
	kfree_rcu(old, rcu);
	return 0;
}

/* False if addresses were to begin elsewhere, though the memory stays. */
static bool mr_set_access(struct tide_mr *mr, int flags, int access)
{
	int zero_based = mr->access & IB_ZERO_BASED;

	mr->access = access;
	if (flags & IB_MR_REREG_TRANS)
		return true;
	mr->access |= zero_based;
	return zero_based || !(access & IB_ZERO_BASED);
}

/*
 * Register a region anew.  The key stays.  After an error all is as it was:
 * the new memory is got hold of before the old is let go.
 */
struct ib_mr *tide_rereg_user_mr(struct ib_mr *ib_mr, int flags, u64 start,
				 u64 length, u64 iova, int access,
				 struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct tide_ibmr *ibmr = to_tide_ibmr(ib_mr);
	struct tide_mr *old = ibmr->mr, *mr;
	bool moved;
	int ret;

	/* There is no memory, nor will there be. */
	if (!old->region && !old->entries)
		return ERR_PTR(-EINVAL);
	mr = tide_mr_alloc(old);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->pd_id = to_tide_pd(ibpd)->id;
	ret = -EOPNOTSUPP;
	if (flags & IB_MR_REREG_ACCESS && !mr_set_access(mr, flags, access))
		goto err_mr;
	if (flags & IB_MR_REREG_TRANS) {
		mr->va = start;
		mr->length = length;
		mr->iova = first_address(mr, iova);
	}
	moved = flags & IB_MR_REREG_TRANS ||
		!mr_memory_serves(old, mr->access);
	ret = moved ? mr_reopen(mr, old, flags) : mr_check_access(mr);
	if (ret)
		goto err_mr;
	ret = mr_take_over(ibmr, mr, moved);
	if (ret)
		goto err_memory;
	return NULL;

err_memory:
	if (moved)
		mr_close(mr);
err_mr:
	kfree(mr);
	return ERR_PTR(ret);
}

int tide_dereg_mr(struct ib_mr *ib_mr, struct ib_udata *udata)
{
	struct tide_ibmr *ibmr = to_tide_ibmr(ib_mr);
	int ret;

	ret = mr_take_over(ibmr, NULL, true);
	if (ret)
		return ret;
	tide_give_back(&to_tide_dev(ib_mr->device)->num_mrs, udata);
	kfree(ibmr);
	return 0;
}

/* Once, at module load. */
void __init tide_mr_init(void)
{
	get_random_bytes(&key_secret, sizeof(key_secret));
	atomic_set(&key_counter, get_random_u32());
}
