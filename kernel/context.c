// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * context.c - a process's context of a device, and its doorbell.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/time_namespace.h>

#include "compat.h"
#include "context.h"
#include "requester.h"
#include "responder.h"
#include "srq.h"
#include "uapi/tide-abi.h"

static atomic64_t next_context_id = ATOMIC64_INIT(0);

/*
 * A ring on the doorbell.  The context itself may be on its way out, so only
 * its number counts: whoever has the descriptor, a child included, may ring
 * for the queues of this context and for no others.
 */
static long context_ring(u64 context_id, unsigned int cmd, unsigned long arg)
{
	struct tide_qp *qp;
	long ret = 0;

	if (arg > U32_MAX)
		return -EINVAL;
	if (cmd == TIDE_DOORBELL_SRQ || cmd == TIDE_SRQ_SWITCH)
		return tide_srq_ring(context_id, cmd, arg);
	qp = tide_qp_find(arg);
	if (!qp)
		return -EINVAL;

	if (qp->context_id != context_id)
		ret = -EINVAL;
	else if (cmd == TIDE_DOORBELL_SEND)
		tide_req_posted_here(qp);
	else if (cmd == TIDE_DOORBELL_RECV)
		tide_qp_receives_posted(qp);
	else
		ret = -EINVAL;
	tide_qp_put(qp);
	return ret;
}

/*
 * The process has gone, or has shut itself out.  Its address space, and with
 * it the rings and the context, may live on for as long as somebody waits for
 * a page of it: its peers are not to wait for that (M6).
 */
static void context_closed(u64 context_id)
{
	tide_qps_error_of_context(context_id);
	tide_srqs_close_of_context(context_id);
}

static const struct tide_door_ops context_door_ops = {
	.ring = context_ring,
	.closed = context_closed,
};

/* How far the process's clock is ahead of the kernel's. */
static s64 clock_offset(void)
{
	struct timespec64 offset = {};

	timens_add_monotonic(&offset);
	return timespec64_to_ns(&offset);
}

/**
 * struct context_door - a process's doorbell
 * @node: in its context's list
 * @door: the doorbell
 * @id: number of the process, never used again
 * @mm: whose it is; only compared
 */
struct context_door {
	struct list_head node;
	struct tide_door *door;
	u64 id;
	struct mm_struct *mm;
};

static struct context_door *door_find(struct tide_ucontext *context)
{
	struct context_door *door;

	lockdep_assert_held(&context->doors_lock);
	list_for_each_entry(door, &context->doors, node)
		if (door->mm == current->mm)
			return door;
	return NULL;
}

static struct context_door *door_make(struct tide_ucontext *context)
{
	struct context_door *door = kzalloc(sizeof(*door), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!door)
		return ERR_PTR(-ENOMEM);
	door->id = atomic64_inc_return(&next_context_id);
	door->door = tide_door_create(&context_door_ops, door->id);
	if (IS_ERR(door->door)) {
		ret = PTR_ERR(door->door);
		kfree(door);
		return ERR_PTR(ret);
	}
	mmgrab(current->mm);
	door->mm = current->mm;
	list_add(&door->node, &context->doors);
	return door;
}

static void door_destroy(struct context_door *door)
{
	list_del(&door->node);
	tide_door_revoke(door->door);
	mmdrop(door->mm);
	kfree(door);
}

/* All of them, or only those that their processes have closed. */
static void doors_destroy(struct tide_ucontext *context, bool all)
{
	struct context_door *door, *next;

	list_for_each_entry_safe(door, next, &context->doors, node)
		if (all || !tide_door_is_open(door->door))
			door_destroy(door);
}

/*
 * The caller's doorbell, made if there was none; those left behind go.  One
 * that was closed is not used again: what was made by it may be ending still.
 */
static struct context_door *door_get(struct tide_ucontext *context)
{
	doors_destroy(context, false);
	return door_find(context) ?: door_make(context);
}

/* A file and a descriptor for the caller, which are not installed yet. */
static struct file *door_open(struct tide_ucontext *context,
			      struct tide_abi_alloc_ucontext_resp *resp)
{
	struct context_door *door;
	struct file *file;

	resp->features = tide_core_has_flush() ? TIDE_FEATURE_FLUSH : 0;
	resp->clock_offset = clock_offset();
	resp->doorbell_fd = get_unused_fd_flags(O_CLOEXEC);
	if (resp->doorbell_fd < 0)
		return ERR_PTR(resp->doorbell_fd);

	mutex_lock(&context->doors_lock);
	door = door_get(context);
	file = IS_ERR(door) ? ERR_CAST(door) : tide_door_open(door->door);
	mutex_unlock(&context->doors_lock);
	if (IS_ERR(file))
		put_unused_fd(resp->doorbell_fd);
	return file;
}

/* Give the caller what door_open() made, unless it could not be told. */
static int door_hand_over(const struct tide_abi_alloc_ucontext_resp *resp,
			  struct file *file, int error)
{
	if (error) {
		put_unused_fd(resp->doorbell_fd);
		fput(file);
	} else {
		fd_install(resp->doorbell_fd, file);
	}
	return error;
}

/**
 * tide_context_id - the number of the calling process
 * @context: one that it has
 *
 * A child that was born with it uses it for its parent.
 */
u64 tide_context_id(struct tide_ucontext *context)
{
	struct context_door *door;
	u64 id;

	mutex_lock(&context->doors_lock);
	door = door_find(context);
	id = door ? door->id : context->id;
	mutex_unlock(&context->doors_lock);
	return id;
}

int tide_alloc_ucontext(struct ib_ucontext *ibuc, struct ib_udata *udata)
{
	struct tide_ucontext *context = to_tide_ucontext(ibuc);
	struct tide_abi_alloc_ucontext_resp resp = {};
	struct file *file;
	int ret;

	if (udata->outlen < sizeof(resp))
		return -EINVAL;

	mutex_init(&context->doors_lock);
	INIT_LIST_HEAD(&context->doors);
	file = door_open(context, &resp);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
	} else {
		context->id = tide_context_id(context);
		ret = door_hand_over(&resp, file,
				     ib_copy_to_udata(udata, &resp,
						      sizeof(resp)));
	}
	if (ret)
		doors_destroy(context, true);
	return ret;
}

/* For another process that has the context's descriptor, or the same one. */
int tide_query_ucontext(struct ib_ucontext *ibuc,
			struct uverbs_attr_bundle *attrs)
{
	struct tide_abi_alloc_ucontext_resp resp = {};
	struct file *file;

	file = door_open(to_tide_ucontext(ibuc), &resp);
	if (IS_ERR(file))
		return PTR_ERR(file);
	return door_hand_over(&resp, file,
			      uverbs_copy_to(attrs,
					     TIDE_ATTR_QUERY_CONTEXT_RESP,
					     &resp, sizeof(resp)));
}

void tide_dealloc_ucontext(struct ib_ucontext *ibuc)
{
	doors_destroy(to_tide_ucontext(ibuc), true);
}

/*
 * There is nothing to do: rings stay mapped and harm nobody, and the doorbell
 * is revoked with the context.  That this operation is there tells the core
 * that the device may go while programs use it.
 */
void tide_disassociate_ucontext(struct ib_ucontext *ibuc)
{
}
