// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cq.c - completion queues.
 */
#include <rdma/uverbs_ioctl.h>

#include "context.h"
#include "cq.h"
#include "device.h"
#include "kverbs.h"

/* What a process may ask for. */
#define USER_FLAGS	(IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION |	\
			 IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN)

static void cq_overflow(struct tide_cq *cq)
{
	struct ib_event event = {
		.device = cq->ibcq.device,
		.element.cq = &cq->ibcq,
		.event = IB_EVENT_CQ_ERR,
	};

	cq->overflowed = true;
	if (cq->ibcq.event_handler)
		cq->ibcq.event_handler(&event, cq->ibcq.cq_context);
}

/* Raise the completion event, if it is still asked for.  @cq is locked. */
static void raise_event(struct tide_cq *cq)
{
	struct tide_moderation *moderation = &cq->moderation;

	/* Should its callback wait for the lock, the next event comes early. */
	if (moderation->waiting)
		hrtimer_try_to_cancel(&moderation->timer);
	moderation->waiting = 0;
	if (xchg(&cq->ring.head->arm, TIDE_CQ_IDLE) != TIDE_CQ_IDLE)
		cq->ibcq.comp_handler(&cq->ibcq, cq->ibcq.cq_context);
}

/*
 * Whether a completion that an event is asked for has to wait, for others or
 * for the end of the period.  So do solicited ones: where events are asked for
 * these only, only these are counted.
 */
static bool is_held(struct tide_moderation *moderation)
{
	if (!moderation->period || moderation->waiting + 1 >= moderation->count)
		return false;
	if (!moderation->waiting++)
		hrtimer_start(&moderation->timer,
			      ns_to_ktime(moderation->period * NSEC_PER_USEC),
			      HRTIMER_MODE_REL_SOFT);
	return true;
}

static enum hrtimer_restart period_over(struct hrtimer *timer)
{
	struct tide_cq *cq = container_of(timer, struct tide_cq,
					  moderation.timer);

	spin_lock_bh(&cq->lock);
	if (cq->moderation.waiting)
		raise_event(cq);
	spin_unlock_bh(&cq->lock);
	return HRTIMER_NORESTART;
}

/* See to the completion event, if the process asked for this one. */
static void cq_notify(struct tide_cq *cq, bool solicited)
{
	u32 want;

	/* Pairs with the process, which arms and then polls once more. */
	smp_mb();
	want = READ_ONCE(cq->ring.head->arm);
	if (want == TIDE_CQ_IDLE ||
	    (want == TIDE_CQ_ARM_SOLICITED && !solicited))
		return;
	if (!is_held(&cq->moderation))
		raise_event(cq);
}

/*
 * CLOCK_MONOTONIC has the rate of the wall clock, so the one is made of the
 * other by adding what is right until somebody sets the time.
 */
static void cq_stamp(struct tide_ring_head *head, struct tide_cqe *cqe)
{
	ktime_t now = ktime_get();

	cqe->timestamp = ktime_to_ns(now);
	WRITE_ONCE(head->wall_offset,
		   ktime_to_ns(ktime_sub(ktime_mono_to_real(now), now)));
}

static void cq_append(struct tide_cq *cq, const struct tide_cqe *cqe)
{
	struct tide_ring *ring = &cq->ring;
	struct tide_ring_head *head = ring->head;
	struct tide_cqe *to = tide_ring_entry(ring, ring->index++);

	if (cq->ignores_overrun) {
		WRITE_ONCE(head->claimed, ring->index);
		/* Pairs with who copies an entry and then looks at claimed. */
		smp_wmb();
	}
	memcpy(to, cqe, sizeof(*cqe));
	if (cq->timestamps)
		cq_stamp(head, to);
	smp_store_release(&head->producer, ring->index);
}

/* Entries that the process has not taken yet.  @cq is locked. */
static u32 unpolled(const struct tide_cq *cq)
{
	const struct tide_ring *ring = &cq->ring;

	return ring->index - smp_load_acquire(&ring->head->consumer);
}

/**
 * tide_cq_unpolled - how many completions wait to be polled, to look at
 * @cq: the queue
 * @size: becomes how many there is room for
 *
 * Context: any but hard interrupts; takes tide_cq.lock.
 */
u32 tide_cq_unpolled(struct tide_cq *cq, u32 *size)
{
	u32 used;

	spin_lock_bh(&cq->lock);
	*size = cq->ring.mask + 1;
	used = min(unpolled(cq), *size);
	spin_unlock_bh(&cq->lock);
	return used;
}

/**
 * tide_cq_post - add a completion
 * @cq: the queue
 * @cqe: the completion
 * @solicited: whether it satisfies a request for solicited events only, as
 *	errors do (IBTA 11.4.2.2)
 *
 * Context: any but hard interrupts; takes tide_cq.lock.
 *
 * Return: false when the queue has overflowed: the completion is lost, and
 * the caller has to put its queue pair in error (IBTA 10.7.3.1, 11.6.3.1).
 */
bool tide_cq_post(struct tide_cq *cq, const struct tide_cqe *cqe,
		  bool solicited)
{
	bool taken;

	spin_lock_bh(&cq->lock);
	if (!cq->ignores_overrun && !cq->overflowed &&
	    unpolled(cq) > cq->ring.mask)
		cq_overflow(cq);
	taken = !cq->overflowed;
	if (taken) {
		cq_append(cq, cqe);
		cq_notify(cq, solicited || cqe->status != IB_WC_SUCCESS);
	}
	spin_unlock_bh(&cq->lock);
	return taken;
}

static int make_ring(struct tide_ring *ring, u32 cqe)
{
	return tide_ring_init(ring, cqe, sizeof(struct tide_cqe));
}

int tide_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		   TIDE_CREATE_CQ_ARG)
{
	struct ib_udata *data = tide_create_cq_udata();
	struct tide_dev *dev = to_tide_dev(ibcq->device);
	struct tide_cq *cq = to_tide_cq(ibcq);
	struct tide_abi_create_cq_resp resp = {};
	int ret;

	if (attr->flags & ~(data ? USER_FLAGS : 0))
		return -EOPNOTSUPP;
	if (attr->cqe < 1 || attr->cqe > TIDE_MAX_CQE)
		return -EINVAL;
	if (data && data->outlen < sizeof(resp))
		return -EINVAL;

	if (!tide_claim(&dev->num_cqs, TIDE_MAX_CQ, data))
		return -ENOMEM;
	spin_lock_init(&cq->lock);
	cq->timestamps = attr->flags & IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION;
	cq->ignores_overrun = attr->flags & IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN;
	tide_hrtimer_setup(&cq->moderation.timer, period_over, CLOCK_MONOTONIC,
			   HRTIMER_MODE_REL_SOFT);
	cq->cqn = atomic_inc_return(&dev->next_cqn);
	if (!data)
		return tide_kcq_init(cq, attr);
	ret = make_ring(&cq->ring, attr->cqe);
	if (ret)
		goto err_count;

	resp.cqn = cq->cqn;
	ret = tide_ring_publish(&cq->ring, &tide_udata_context(data)->ibuc,
				&resp.ring);
	if (ret)
		goto err_ring;
	ret = ib_copy_to_udata(data, &resp, sizeof(resp));
	if (ret)
		goto err_publish;

	ibcq->cqe = resp.ring.count;
	return 0;

err_publish:
	tide_ring_unpublish(&cq->ring);
err_ring:
	tide_ring_destroy(&cq->ring);
err_count:
	tide_give_back(&dev->num_cqs, data);
	return ret;
}

/* What waits under the old rule gets its event now. */
int tide_modify_cq(struct ib_cq *ibcq, u16 count, u16 period)
{
	struct tide_cq *cq = to_tide_cq(ibcq);

	spin_lock_bh(&cq->lock);
	cq->moderation.count = count;
	cq->moderation.period = period;
	if (cq->moderation.waiting)
		raise_event(cq);
	spin_unlock_bh(&cq->lock);
	return 0;
}

/* Make what was offered the queue's; *old is the ring before. */
static int switch_rings(struct tide_cq *cq, struct tide_ring *old)
{
	u32 used = min(unpolled(cq), cq->ring.mask + 1);
	struct tide_ring_head *from = cq->ring.head;
	struct tide_ring_head *to = cq->next.head;

	if (!cq->next.mem || used > cq->next.mask + 1)
		return -EINVAL;
	*old = cq->ring;
	cq->ring = cq->next;
	cq->next = (struct tide_ring) {};
	cq->ring.index = old->index;
	cq->ibcq.cqe = cq->ring.mask + 1;

	WRITE_ONCE(to->consumer, old->index - used);
	WRITE_ONCE(to->claimed, old->index);
	WRITE_ONCE(to->wall_offset, READ_ONCE(from->wall_offset));
	WRITE_ONCE(to->arm, xchg(&from->arm, TIDE_CQ_IDLE));
	smp_store_release(&to->producer, old->index);
	return 0;
}

/*
 * Make a ring, if it takes another one, and tell the process: it becomes
 * @ring, which otherwise is left as it is.
 */
static int make_offer(u32 cqe, u32 size, struct ib_udata *udata,
		      struct tide_ring *ring)
{
	struct tide_abi_resize_cq_resp resp = {};
	int ret;

	if (roundup_pow_of_two(cqe) != size) {
		ret = make_ring(ring, cqe);
		if (ret)
			return ret;
		ret = tide_ring_publish(ring, &tide_udata_context(udata)->ibuc,
					&resp.ring);
		if (ret)
			return ret;
	}
	return ib_copy_to_udata(udata, &resp, sizeof(resp));
}

/* *ring is to be dropped, whatever comes out. */
static int offer_ring(struct tide_cq *cq, u32 cqe, struct ib_udata *udata,
		      struct tide_ring *ring)
{
	u32 size;
	int ret;

	if (tide_cq_unpolled(cq, &size) > cqe ||
	    udata->outlen < sizeof(struct tide_abi_resize_cq_resp))
		return -EINVAL;
	ret = make_offer(cqe, size, udata, ring);
	if (ret)
		return ret;
	spin_lock_bh(&cq->lock);
	swap(cq->next, *ring);
	spin_unlock_bh(&cq->lock);
	return 0;
}

static int resize(struct tide_cq *cq, u32 cqe, struct ib_udata *udata,
		  struct tide_ring *ring)
{
	struct tide_abi_resize_cq req;
	int ret;

	ret = ib_copy_from_udata(&req, udata, sizeof(req));
	if (ret)
		return ret;
	if (req.reserved)
		return -EINVAL;
	if (req.step == TIDE_RESIZE_CQ_OFFER)
		return offer_ring(cq, cqe, udata, ring);
	if (req.step != TIDE_RESIZE_CQ_SWITCH)
		return -EINVAL;
	spin_lock_bh(&cq->lock);
	ret = switch_rings(cq, ring);
	spin_unlock_bh(&cq->lock);
	return ret;
}

int tide_resize_cq(struct ib_cq *ibcq, tide_resize_cqe_t cqe,
		   struct ib_udata *udata)
{
	struct tide_ring ring = {};
	int ret;

	if (!udata)
		return -EOPNOTSUPP;
	if (cqe < 1 || cqe > TIDE_MAX_CQE ||
	    udata->inlen < sizeof(struct tide_abi_resize_cq))
		return -EINVAL;
	ret = resize(to_tide_cq(ibcq), cqe, udata, &ring);
	/* The one before, or one that is not wanted. */
	tide_ring_unpublish(&ring);
	tide_ring_destroy(&ring);
	return ret;
}

/* Nobody posts any more. */
int tide_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct tide_cq *cq = to_tide_cq(ibcq);

	hrtimer_cancel(&cq->moderation.timer);
	tide_ring_unpublish(&cq->next);
	tide_ring_destroy(&cq->next);
	tide_ring_unpublish(&cq->ring);
	tide_ring_destroy(&cq->ring);
	tide_give_back(&to_tide_dev(ibcq->device)->num_cqs, udata);
	return 0;
}
