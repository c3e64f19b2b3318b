// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * inbox.c - receiving datagrams, now or when there is memory for them.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "datagram.h"
#include "gid.h"
#include "inbox.h"
#include "module.h"
#include "pager.h"
#include "responder.h"
#include "sg.h"

#define HEADER_LEN	sizeof(union rdma_network_hdr)

/**
 * struct waiting - a datagram that waits
 * @node: in the inbox
 * @begun: it has the receive at hand
 * @dg: the datagram
 * @payload: its payload
 */
struct waiting {
	struct list_head node;
	bool begun;
	struct tide_datagram dg;
	u8 payload[];
};

/* The next piece of header and payload, which are in two places. */
static struct tide_side source(const struct tide_datagram *dg, u32 done,
			       u32 *len)
{
	struct tide_side side = {};

	if (done < HEADER_LEN) {
		side.kaddr = (void *)&dg->grh + done;
		*len = HEADER_LEN - done;
	} else {
		side.kaddr = (void *)dg->payload + (done - HEADER_LEN);
		*len = dg->op.length - done;
	}
	return side;
}

/* The queue pair is locked here and below, unless something else is said. */
static int copy_piece(struct tide_qp *qp, const struct tide_datagram *dg,
		      struct tide_hold *hold)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	struct tide_copy_stop stop;
	struct tide_side src, dst;
	u32 len;
	int ret;

	src = source(dg, inbox->done, &len);
	dst = tide_resp_side(qp, &dg->op, inbox->done, &len);
	dst.leaf = &inbox->leaf;
	dst.hold = hold;
	ret = tide_copy(&dst, &src, len, &stop);
	if (ret == -EFAULT) {
		inbox->fault = stop.fault;
		inbox->fault_of = qp->resp.incarnation;
	}
	return ret;
}

/* Receive what is left of a datagram that has a receive. */
static enum tide_verdict fill(struct tide_qp *qp,
			      const struct tide_datagram *dg,
			      struct tide_hold *hold)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	int ret;

	while (inbox->done < dg->op.length) {
		ret = copy_piece(qp, dg, hold);
		if (ret == -EFAULT)
			return TIDE_FAULT;
		if (ret < 0)
			return tide_resp_denied(qp, &dg->op);
		tide_sg_advance(&qp->resp.recv.sg, ret);
		inbox->done += ret;
	}
	tide_count(qp, TIDE_CNT_RX_BYTES, dg->op.length - HEADER_LEN);
	return tide_resp_finish(qp, &dg->op);
}

static enum tide_verdict begin(struct tide_qp *qp, struct tide_datagram *dg)
{
	enum tide_verdict verdict = tide_resp_begin(qp, &dg->op);

	qp->dgs->inbox.done = 0;
	if (verdict != TIDE_DONE)
		tide_count(qp, TIDE_CNT_RX_DROPS, 1);
	return verdict;
}

/* Run the worker. */
static void kick(struct tide_qp *qp)
{
	tide_qp_get(qp);
	if (!queue_work(tide_wq, &qp->dgs->inbox.work))
		tide_qp_put(qp);
}

/* Have a datagram wait; what there is no room for is lost. */
static void append(struct tide_inbox *inbox, const struct tide_datagram *dg,
		   bool begun)
{
	struct mem_cgroup *previous = set_active_memcg(inbox->memcg);
	u32 length = dg->op.length - HEADER_LEN;
	struct waiting *waiting = NULL;

	if (inbox->length < TIDE_INBOX_MAX)
		waiting = kmalloc(struct_size(waiting, payload, length),
				  GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN);
	set_active_memcg(previous);
	if (!waiting) {
		tide_count(inbox->qp, TIDE_CNT_RX_DROPS, 1);
		return;
	}
	waiting->begun = begun;
	waiting->dg = *dg;
	waiting->dg.payload = waiting->payload;
	memcpy(waiting->payload, dg->payload, length);
	list_add_tail(&waiting->node, &inbox->queue);
	inbox->length++;
}

/**
 * tide_inbox_put - a datagram has come
 * @inbox: of a queue pair that may receive it
 * @dg: the datagram
 *
 * Received at once if that can be; else it waits, or is lost.
 *
 * Context: any but hard interrupts, under tide_qp.lock.
 */
void tide_inbox_put(struct tide_inbox *inbox, const struct tide_datagram *dg)
{
	struct tide_qp *qp = inbox->qp;
	struct tide_datagram mine = *dg;
	enum tide_verdict verdict;

	if (qp->kernel)
		mine.op.vlan_id = tide_gid_vlan(&dg->av.dgid, qp->dev,
						dg->av.ifindex);
	/* What was missing for one that was forgotten may be noted still. */
	if (inbox->length || inbox->fault.region) {
		append(inbox, &mine, false);
		return;
	}
	verdict = begin(qp, &mine);
	if (verdict == TIDE_DONE)
		verdict = fill(qp, &mine, NULL);
	if (verdict == TIDE_FAULT) {
		append(inbox, &mine, true);
		kick(qp);
	}
}

/**
 * tide_inbox_clear - forget whoever waits
 * @inbox: of a queue pair that receives no more for now
 *
 * What a pager has to give back is left to the worker, which is told.
 *
 * Context: under tide_qp.lock.
 */
void tide_inbox_clear(struct tide_inbox *inbox)
{
	struct waiting *waiting, *next;

	list_for_each_entry_safe(waiting, next, &inbox->queue, node)
		kfree(waiting);
	INIT_LIST_HEAD(&inbox->queue);
	inbox->length = 0;
	kick(inbox->qp);
}

/* Whether the first datagram is still the one that the worker works for. */
static bool is_expected(struct tide_qp *qp)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;

	return inbox->length && inbox->works_for == qp->resp.incarnation;
}

/* Receive, or fail to, the first datagram; it is taken off the queue. */
static void receive_first(struct tide_qp *qp)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	struct waiting *first = list_first_entry(&inbox->queue, struct waiting,
						 node);
	enum tide_verdict verdict = TIDE_DONE;
	u32 done;

	/* Whatever ends the queue pair now clears the rest. */
	list_del(&first->node);
	inbox->length--;
	if (!first->begun) {
		/* What was missing was for another, that is lost. */
		inbox->page_error = false;
		verdict = begin(qp, &first->dg);
	}
	done = inbox->done;
	if (verdict == TIDE_DONE)
		verdict = inbox->page_error ?
			  tide_resp_denied(qp, &first->dg.op) :
			  fill(qp, &first->dg, &inbox->hold);
	if (verdict == TIDE_FAULT) {
		first->begun = true;
		list_add(&first->node, &inbox->queue);
		inbox->length++;
	} else {
		kfree(first);
	}
	if (verdict != TIDE_FAULT || inbox->done > done)
		inbox->lost = 0;
}

/*
 * Go on with the first datagram, unless it is known already what it lacks.
 * *fault becomes that, and *wanted whether it still does.  False when nobody
 * waits.  Not locked.
 */
static bool step(struct tide_qp *qp, struct tide_fault *fault, bool *wanted)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	bool more;

	spin_lock_bh(&qp->lock);
	inbox->page_error &= is_expected(qp);
	if (inbox->length && !inbox->fault.region)
		receive_first(qp);
	inbox->page_error = false;
	*fault = inbox->fault;
	inbox->fault.region = NULL;
	inbox->works_for = inbox->fault_of;
	*wanted = is_expected(qp);
	more = inbox->length;
	spin_unlock_bh(&qp->lock);
	return more;
}

/* Whether the worker has to go on waiting for its pager.  Not locked. */
static bool pager_pending(struct tide_qp *qp)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	bool expected;

	if (!inbox->pager)
		return false;
	spin_lock_bh(&qp->lock);
	expected = is_expected(qp);
	spin_unlock_bh(&qp->lock);
	if (expected && !tide_pager_is_done(inbox->pager))
		return true;
	if (expected)
		inbox->page_error = tide_pager_take(inbox->pager,
						    &inbox->hold);
	tide_pager_drop(inbox->pager);
	inbox->pager = NULL;
	return false;
}

/* Bring in what is missing, or have a pager do so.  Not locked; sleeps. */
static void page_in(struct tide_qp *qp, const struct tide_fault *fault)
{
	struct tide_inbox *inbox = &qp->dgs->inbox;
	bool pin = inbox->lost++ >= TIDE_MAX_LOST;
	struct tide_pager *pager;
	int ret = -EBUSY;

	if (!pin)
		ret = tide_odp_fault(fault, false, false);
	if (ret == -EBUSY || ret == -EFAULT || ret == -ENOMEM) {
		pager = tide_pager_start(qp, fault, pin, kick);
		ret = PTR_ERR_OR_ZERO(pager);
		if (!ret)
			inbox->pager = pager;
	}
	if (ret == -ENOMEM)
		schedule_timeout_uninterruptible(TIDE_MEMORY_PAUSE);
	else
		inbox->page_error = ret;
}

static void inbox_work(struct work_struct *work)
{
	struct tide_inbox *inbox = container_of(work, struct tide_inbox, work);
	struct tide_qp *qp = inbox->qp;
	struct tide_fault fault;
	bool more = true, wanted;

	while (more && !pager_pending(qp)) {
		/* There may be no end of what comes meanwhile. */
		cond_resched();
		more = step(qp, &fault, &wanted);
		tide_odp_release(&inbox->hold);
		if (!fault.region)
			continue;
		if (wanted)
			page_in(qp, &fault);
		tide_region_put(fault.region);
	}
	tide_qp_put(qp);
}

void tide_inbox_init(struct tide_inbox *inbox, struct tide_qp *qp)
{
	inbox->qp = qp;
	if (qp->type != IB_QPT_GSI)
		inbox->memcg = get_mem_cgroup_from_mm(current->mm);
	INIT_LIST_HEAD(&inbox->queue);
	INIT_WORK(&inbox->work, inbox_work);
}

/* Nobody waits in it, and nobody will. */
void tide_inbox_destroy(struct tide_inbox *inbox)
{
	WARN_ON(inbox->length || inbox->fault.region || inbox->pager ||
		inbox->hold.nr);
	mem_cgroup_put(inbox->memcg);
}
