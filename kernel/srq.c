// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * srq.c - shared receive queues.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <rdma/uverbs_ioctl.h>

#include "context.h"
#include "device.h"
#include "qp.h"
#include "requester.h"
#include "sg.h"
#include "srq.h"
#include "xrc.h"

/* All queues of all devices; what rings for one has nothing but its number. */
static DEFINE_XARRAY_ALLOC(srqs);
static u32 next_srqn;

#define SRQNS	XA_LIMIT(1, 0xffffff)

static struct tide_srq *srq_find(u32 srqn)
{
	struct tide_srq *srq;

	rcu_read_lock();
	srq = xa_load(&srqs, srqn);
	if (srq && !refcount_inc_not_zero(&srq->ref))
		srq = NULL;
	rcu_read_unlock();
	return srq;
}

/**
 * tide_srq_find_xrc - an open queue by its number
 * @srqn: the number
 * @xrcd_id: the XRC domain that it has to be of
 *
 * Context: any.
 *
 * Return: the queue with a reference, or NULL.
 */
struct tide_srq *tide_srq_find_xrc(u32 srqn, u64 xrcd_id)
{
	struct tide_srq *srq = srq_find(srqn);

	if (!srq)
		return NULL;
	if (srq->xrcd_id == xrcd_id && tide_srq_is_open(srq))
		return srq;
	tide_srq_put(srq);
	return NULL;
}

/* One more reference, for one who has one. */
void tide_srq_get(struct tide_srq *srq)
{
	refcount_inc(&srq->ref);
}

/* Drop a reference.  Context: any, without tide_srq.lock. */
void tide_srq_put(struct tide_srq *srq)
{
	if (!refcount_dec_and_test(&srq->ref))
		return;
	WARN_ON(srq->promised || !list_empty(&srq->waiters));
	tide_ring_destroy(&srq->ring);
	kfree_rcu(srq, rcu);
}

/* The queue is locked here and below, unless something else is said. */
static void raise_event(struct tide_srq *srq, enum ib_event_type type)
{
	struct ib_event event = {
		.element.srq = srq->ibsrq,
		.event = type,
	};

	if (!srq->ibsrq || !srq->ibsrq->event_handler)
		return;
	event.device = srq->ibsrq->device;
	srq->ibsrq->event_handler(&event, srq->ibsrq->srq_context);
}

/*
 * How many receives are posted.  More than any process could post put the
 * queue in error, where nobody has to wait for any.
 */
static u32 look(struct tide_srq *srq)
{
	u32 posted = tide_ring_posted(&srq->ring);

	if (!srq->error && tide_ring_garbage(&srq->ring, posted)) {
		srq->error = true;
		raise_event(srq, IB_EVENT_SRQ_ERR);
	}
	return srq->error ? U32_MAX : posted;
}

/* Raise the event that was asked for, if it is due. */
static void check_limit(struct tide_srq *srq)
{
	if (!srq->limit || look(srq) >= srq->limit)
		return;
	srq->limit = 0;
	raise_event(srq, IB_EVENT_SRQ_LIMIT_REACHED);
}

/* Have every receive that is posted from now on announced. */
static void ask_for_doorbell(struct tide_srq *srq)
{
	WRITE_ONCE(srq->ring.head->wake, 1);
	/* Pairs with the poster: producer first, then wake. */
	smp_mb();
}

/* Wake as many waiters as there are receives that nobody was promised. */
static void serve(struct tide_srq *srq)
{
	struct tide_srq_waiter *waiter;
	u32 posted;

	if (!list_empty(&srq->waiters))
		ask_for_doorbell(srq);
	posted = look(srq);
	while (srq->promised < posted && !list_empty(&srq->waiters)) {
		waiter = list_first_entry(&srq->waiters, struct tide_srq_waiter,
					  node);
		list_del_init(&waiter->node);
		waiter->promised = true;
		srq->promised++;
		tide_req_kick(container_of(waiter, struct tide_qp, req.waiter));
	}
	if (list_empty(&srq->waiters))
		WRITE_ONCE(srq->ring.head->wake, 0);
}

/* Give up the place in line, or what it has led to. */
static void step_out(struct tide_srq *srq, struct tide_srq_waiter *waiter)
{
	list_del_init(&waiter->node);
	if (waiter->promised)
		srq->promised--;
	waiter->promised = false;
}

static void stand_in_line(struct tide_srq *srq, struct tide_srq_waiter *waiter)
{
	if (!waiter->srq) {
		tide_srq_get(srq);
		waiter->srq = srq;
	}
	/* It has not kept its place if what it was promised has gone. */
	if (waiter->promised)
		step_out(srq, waiter);
	if (list_empty(&waiter->node))
		list_add_tail(&waiter->node, &srq->waiters);
	serve(srq);
}

static bool is_its_turn(struct tide_srq *srq, struct tide_srq_waiter *waiter,
			u32 posted)
{
	if (waiter && waiter->promised)
		return posted;
	return posted > srq->promised && list_empty(&srq->waiters);
}

static int take(struct tide_srq *srq, struct tide_recv *recv)
{
	struct tide_ring *ring = &srq->ring;
	const struct tide_recv_wqe *place = tide_ring_entry(ring, ring->index);
	u32 slot = READ_ONCE(place->slot) & ring->mask;
	bool makes_sense = tide_recv_load(recv, tide_ring_entry(ring, slot),
					  srq->max_sge);

	recv->entry = slot;
	tide_ring_taken(ring);
	return makes_sense ? 0 : -EINVAL;
}

/**
 * tide_srq_take - take the next receive
 * @srq: the queue
 * @waiter: of the requester that it is for; NULL if it does not wait
 * @recv: filled in
 *
 * Context: any but hard interrupts; takes tide_srq.lock. By who runs the
 * requester; the queue is held.
 *
 * Return: 0; -EAGAIN when there is none for this requester: it is kicked when
 * there is, until tide_srq_leave(); -EINVAL when the receive taken makes no
 * sense; -EIO when the queue is in error.
 */
int tide_srq_take(struct tide_srq *srq, struct tide_srq_waiter *waiter,
		  struct tide_recv *recv)
{
	int ret = -EAGAIN;
	u32 posted;

	if (waiter && waiter->srq != srq)
		tide_srq_leave(waiter);
	spin_lock_bh(&srq->lock);
	posted = look(srq);
	if (srq->error) {
		serve(srq);
		ret = -EIO;
	} else if (is_its_turn(srq, waiter, posted)) {
		if (waiter)
			step_out(srq, waiter);
		ret = take(srq, recv);
	} else if (waiter) {
		stand_in_line(srq, waiter);
	}
	check_limit(srq);
	spin_unlock_bh(&srq->lock);
	return ret;
}

/**
 * tide_srq_drain - take the next receive, whosever turn it is
 * @srq: the queue
 * @recv: filled in, whether it makes sense or not
 *
 * Context: any but hard interrupts; takes tide_srq.lock.
 *
 * Return: false when there is none.
 */
bool tide_srq_drain(struct tide_srq *srq, struct tide_recv *recv)
{
	bool any;

	spin_lock_bh(&srq->lock);
	any = look(srq) && !srq->error;
	if (any)
		take(srq, recv);
	spin_unlock_bh(&srq->lock);
	return any;
}

/**
 * tide_srq_give_back - a receive that was taken is not needed after all
 * @srq: the queue
 * @slot: where it is
 *
 * It comes first again: the place of the one taken last is free.
 *
 * Context: any but hard interrupts; takes tide_srq.lock.
 */
void tide_srq_give_back(struct tide_srq *srq, u32 slot)
{
	struct tide_ring *ring = &srq->ring;
	struct tide_recv_wqe *place;

	spin_lock_bh(&srq->lock);
	place = tide_ring_entry(ring, --ring->index);
	WRITE_ONCE(place->slot, slot);
	WRITE_ONCE(ring->head->consumer, ring->index);
	srq->given_back = true;
	serve(srq);
	spin_unlock_bh(&srq->lock);
}

/**
 * tide_srq_leave - wait no longer
 * @waiter: of the requester, by who runs it
 *
 * Context: any but hard interrupts; takes tide_srq.lock.
 */
void tide_srq_leave(struct tide_srq_waiter *waiter)
{
	struct tide_srq *srq = waiter->srq;

	if (!srq)
		return;
	spin_lock_bh(&srq->lock);
	step_out(srq, waiter);
	serve(srq);
	spin_unlock_bh(&srq->lock);
	waiter->srq = NULL;
	tide_srq_put(srq);
}

/**
 * tide_srq_complete - report a completion to an XRC queue's completion queue
 * @srq: the queue; nobody wants to know if it was closed
 * @cqe: the completion; which queue's it is, is filled in here
 * @solicited: as for tide_cq_post()
 *
 * Context: any but hard interrupts; takes tide_srq.lock.
 *
 * Return: as tide_cq_post().
 */
bool tide_srq_complete(struct tide_srq *srq, struct tide_cqe *cqe,
		       bool solicited)
{
	bool posted = true;

	cqe->srqn = srq->srqn;
	cqe->handle = srq->handle;
	spin_lock_bh(&srq->lock);
	if (srq->ibsrq)
		posted = tide_cq_post(to_tide_cq(srq->ibsrq->ext.cq), cqe,
				      solicited);
	spin_unlock_bh(&srq->lock);
	return posted;
}

static void flush(struct tide_srq *srq)
{
	u32 left = TIDE_MAX_SRQ_WR;
	struct tide_recv recv;

	while (left-- && tide_srq_drain(srq, &recv)) {
		struct tide_cqe cqe = {
			.wr_id = recv.wr_id,
			.status = IB_WC_WR_FLUSH_ERR,
			.opcode = IB_WC_RECV,
			.slot = recv.entry,
		};

		tide_srq_complete(srq, &cqe, false);
	}
}

/* The next one after number *srqn, with a reference; NULL after the last. */
static struct tide_srq *next_srq(unsigned long *srqn)
{
	struct tide_srq *srq;

	rcu_read_lock();
	do {
		srq = xa_find_after(&srqs, srqn, ULONG_MAX, XA_PRESENT);
	} while (srq && !refcount_inc_not_zero(&srq->ref));
	rcu_read_unlock();
	return srq;
}

static bool is_of_device(struct tide_srq *srq, const struct ib_device *ibdev)
{
	bool is;

	spin_lock_bh(&srq->lock);
	is = srq->ibsrq && srq->ibsrq->device == ibdev;
	spin_unlock_bh(&srq->lock);
	return is;
}

/**
 * tide_srqs_flush_of_device - complete all that is posted to XRC queues
 * @ibdev: the device, which goes; its queue pairs are in error
 *
 * For no queue pair: there need be none that would have it.
 *
 * Context: process; sleeps.
 */
void tide_srqs_flush_of_device(struct ib_device *ibdev)
{
	unsigned long srqn = 0;
	struct tide_srq *srq;

	while ((srq = next_srq(&srqn))) {
		if (srq->xrcd_id && is_of_device(srq, ibdev))
			flush(srq);
		tide_srq_put(srq);
		cond_resched();
	}
}

/* From here on nothing reaches the core by this queue. */
static void close_srq(struct tide_srq *srq)
{
	spin_lock_bh(&srq->lock);
	WRITE_ONCE(srq->ibsrq, NULL);
	spin_unlock_bh(&srq->lock);
}

/**
 * tide_srqs_close_of_context - end what goes on with a process that has gone
 * @context_id: of its context
 *
 * Queues that are not for XRC end with their queue pairs.
 *
 * Context: process; no locks.
 */
void tide_srqs_close_of_context(u64 context_id)
{
	bool any = false;
	struct tide_srq *srq;
	unsigned long srqn;

	rcu_read_lock();
	xa_for_each(&srqs, srqn, srq) {
		if (srq->context_id == context_id && srq->xrcd_id) {
			close_srq(srq);
			any = true;
		}
	}
	rcu_read_unlock();
	if (any)
		tide_xrc_leave_closed();
}

/* How many receives are posted, for people to look at. */
u32 tide_srq_posted(struct tide_srq *srq)
{
	u32 posted;

	spin_lock_bh(&srq->lock);
	posted = tide_ring_posted(&srq->ring);
	spin_unlock_bh(&srq->lock);
	return posted;
}

/* Move to the ring that the process has filled; *old is the one before. */
static int switch_rings(struct tide_srq *srq, struct tide_ring *old)
{
	if (!srq->ibsrq || !srq->next.mem || srq->next.mask < srq->ring.mask)
		return -EINVAL;
	if (srq->given_back) {
		srq->given_back = false;
		return -EAGAIN;
	}
	*old = srq->ring;
	srq->ring = srq->next;
	srq->next = (struct tide_ring) {};
	srq->ring.index = old->index;
	WRITE_ONCE(srq->ring.head->consumer, old->index);
	srq->max_wr = srq->ring.mask + 1;
	serve(srq);
	return 0;
}

/* Not locked. */
static long switch_to_next(struct tide_srq *srq)
{
	struct tide_ring old = {};
	int ret;

	spin_lock_bh(&srq->lock);
	ret = switch_rings(srq, &old);
	spin_unlock_bh(&srq->lock);
	tide_ring_unpublish(&old);
	tide_ring_destroy(&old);
	return ret;
}

/* Not locked. */
static long serve_doorbell(struct tide_srq *srq)
{
	spin_lock_bh(&srq->lock);
	serve(srq);
	spin_unlock_bh(&srq->lock);
	return 0;
}

/**
 * tide_srq_ring - a ring on the doorbell
 * @context_id: of the process that rings
 * @cmd: what for
 * @srqn: the queue's number
 *
 * Context: process; no locks.
 */
long tide_srq_ring(u64 context_id, unsigned int cmd, u32 srqn)
{
	struct tide_srq *srq = srq_find(srqn);
	long ret = -EINVAL;

	if (!srq)
		return -EINVAL;
	if (srq->context_id == context_id)
		ret = cmd == TIDE_DOORBELL_SRQ ? serve_doorbell(srq) :
						 switch_to_next(srq);
	tide_srq_put(srq);
	return ret;
}

static int make_ring(struct tide_ring *ring, u32 max_wr, u32 max_sge)
{
	return tide_ring_init(ring, max_wr, sizeof(struct tide_recv_wqe) +
			      max_sge * sizeof(struct tide_sge));
}

/* All slots are free, and those to be posted next. */
static void free_slots(struct tide_ring *ring)
{
	struct tide_recv_wqe *place;
	u32 i;

	for (i = 0; i <= ring->mask; i++) {
		place = tide_ring_entry(ring, i);
		place->slot = i;
	}
}

static struct tide_srq *srq_alloc(struct ib_srq *ibsrq,
				  struct ib_srq_init_attr *init,
				  u64 context_id)
{
	struct ib_srq_attr *attr = &init->attr;
	struct tide_srq *srq;
	int ret;

	srq = kzalloc(sizeof(*srq), GFP_KERNEL_ACCOUNT);
	if (!srq)
		return ERR_PTR(-ENOMEM);
	ret = make_ring(&srq->ring, attr->max_wr, attr->max_sge);
	if (ret) {
		kfree(srq);
		return ERR_PTR(ret);
	}
	free_slots(&srq->ring);

	refcount_set(&srq->ref, 1);
	spin_lock_init(&srq->lock);
	INIT_LIST_HEAD(&srq->waiters);
	srq->context_id = context_id;
	srq->pd_id = to_tide_pd(ibsrq->pd)->id;
	if (init->srq_type == IB_SRQT_XRC)
		srq->xrcd_id = to_tide_xrcd(init->ext.xrc.xrcd)->id;
	srq->max_sge = attr->max_sge;
	srq->max_wr = srq->ring.mask + 1;
	attr->max_wr = srq->max_wr;
	return srq;
}

static int srq_publish(struct tide_srq *srq, struct ib_udata *udata)
{
	struct tide_abi_create_srq_resp resp = { .srqn = srq->srqn };
	int ret;

	ret = tide_ring_publish(&srq->ring, &tide_udata_context(udata)->ibuc,
				&resp.ring);
	if (ret)
		return ret;
	ret = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (ret)
		tide_ring_unpublish(&srq->ring);
	return ret;
}

static int srq_create(struct ib_srq *ibsrq, struct ib_srq_init_attr *init,
		      u32 handle, struct ib_udata *udata)
{
	struct tide_srq *srq;
	int ret;

	srq = srq_alloc(ibsrq, init,
			tide_context_id(tide_udata_context(udata)));
	if (IS_ERR(srq))
		return PTR_ERR(srq);
	srq->handle = handle;
	ret = xa_alloc_cyclic(&srqs, &srq->srqn, srq, SRQNS, &next_srqn,
			      GFP_KERNEL);
	if (ret < 0)
		goto err_srq;
	ret = srq_publish(srq, udata);
	if (ret)
		goto err_number;
	container_of(ibsrq, struct tide_ibsrq, ibsrq)->srq = srq;
	if (init->srq_type == IB_SRQT_XRC)
		ibsrq->ext.xrc.srq_num = srq->srqn;
	/* It is open. */
	smp_store_release(&srq->ibsrq, ibsrq);
	return 0;

err_number:
	xa_erase(&srqs, srq->srqn);
err_srq:
	tide_srq_put(srq);
	return ret;
}

int tide_create_srq(struct ib_srq *ibsrq, struct ib_srq_init_attr *init,
		    struct ib_udata *udata)
{
	struct tide_dev *dev = to_tide_dev(ibsrq->device);
	struct ib_srq_attr *attr = &init->attr;
	struct tide_abi_create_srq req;
	int ret;

	if (!udata || (init->srq_type != IB_SRQT_BASIC &&
		       init->srq_type != IB_SRQT_XRC))
		return -EOPNOTSUPP;
	if (!attr->max_wr || attr->max_wr > TIDE_MAX_SRQ_WR ||
	    attr->max_sge > TIDE_MAX_SGE)
		return -EINVAL;
	if (udata->inlen < sizeof(req) ||
	    udata->outlen < sizeof(struct tide_abi_create_srq_resp))
		return -EINVAL;
	ret = ib_copy_from_udata(&req, udata, sizeof(req));
	if (ret)
		return ret;
	if (req.reserved)
		return -EINVAL;
	if (!atomic_add_unless(&dev->num_srqs, 1, TIDE_MAX_SRQ))
		return -ENOMEM;
	ret = srq_create(ibsrq, init, req.handle, udata);
	if (ret)
		atomic_dec(&dev->num_srqs);
	return ret;
}

/*
 * What a process that asks for more receives gets: a ring, if it takes a
 * larger one, which is the queue's when the process has moved everything to
 * it.  Otherwise *ring is left as it is.  Not locked.
 */
static int offer_ring(struct tide_srq *srq, u32 max_wr, struct ib_udata *udata,
		      struct tide_ring *ring)
{
	struct tide_abi_modify_srq req;
	struct tide_abi_ring abi = {};
	int ret;

	if (!max_wr || max_wr > TIDE_MAX_SRQ_WR || udata->inlen < sizeof(req))
		return -EINVAL;
	ret = ib_copy_from_udata(&req, udata, sizeof(req));
	if (ret)
		return ret;
	abi.count = roundup_pow_of_two(max_wr);
	if (abi.count > READ_ONCE(srq->ring.mask) + 1) {
		ret = make_ring(ring, max_wr, srq->max_sge);
		if (ret)
			return ret;
		ret = tide_ring_publish(ring, &tide_udata_context(udata)->ibuc,
					&abi);
		if (ret)
			return ret;
	}
	return copy_to_user(u64_to_user_ptr(req.ring), &abi, sizeof(abi)) ?
	       -EFAULT : 0;
}

/* Change all that is asked for, or nothing. */
static int change(struct tide_srq *srq, const struct ib_srq_attr *attr,
		  int mask, struct tide_ring *next)
{
	u32 limit = mask & IB_SRQ_LIMIT ? attr->srq_limit : srq->limit;
	u32 max_wr = srq->max_wr;

	if (mask & IB_SRQ_MAX_WR) {
		max_wr = roundup_pow_of_two(attr->max_wr);
		if (look(srq) > max_wr)
			return -EINVAL;
	}
	if (limit > max_wr)
		return -EINVAL;

	srq->limit = limit;
	if (mask & IB_SRQ_MAX_WR) {
		swap(srq->next, *next);
		srq->given_back = false;
	}
	if (!srq->next.mem)
		srq->max_wr = max_wr;
	return 0;
}

int tide_modify_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr,
		    enum ib_srq_attr_mask mask, struct ib_udata *udata)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	struct tide_ring ring = {};
	int ret = 0;

	if (mask & ~(IB_SRQ_MAX_WR | IB_SRQ_LIMIT))
		return -EOPNOTSUPP;
	if (mask & IB_SRQ_MAX_WR)
		ret = offer_ring(srq, attr->max_wr, udata, &ring);
	if (!ret) {
		spin_lock_bh(&srq->lock);
		ret = change(srq, attr, mask, &ring);
		spin_unlock_bh(&srq->lock);
	}
	/* One that was offered before, or that is not wanted. */
	tide_ring_unpublish(&ring);
	tide_ring_destroy(&ring);
	return ret;
}

int tide_query_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);

	spin_lock_bh(&srq->lock);
	attr->max_wr = srq->max_wr;
	attr->max_sge = srq->max_sge;
	attr->srq_limit = srq->limit;
	spin_unlock_bh(&srq->lock);
	return 0;
}

int tide_destroy_srq(struct ib_srq *ibsrq, struct ib_udata *udata)
{
	struct tide_srq *srq = to_tide_srq(ibsrq);
	struct tide_ring next;

	close_srq(srq);
	spin_lock_bh(&srq->lock);
	next = srq->next;
	srq->next = (struct tide_ring) {};
	spin_unlock_bh(&srq->lock);

	xa_erase(&srqs, srq->srqn);
	if (srq->xrcd_id)
		tide_xrc_leave_closed();
	tide_ring_unpublish(&next);
	tide_ring_destroy(&next);
	/* Without a verbs object the ring is not switched any more. */
	tide_ring_unpublish(&srq->ring);
	atomic_dec(&to_tide_dev(ibsrq->device)->num_srqs);
	tide_srq_put(srq);
	return 0;
}
