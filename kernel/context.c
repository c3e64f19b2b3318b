// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * context.c - a process's context of a device, and its doorbell.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
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
		tide_req_doorbell(qp);
	else if (cmd == TIDE_DOORBELL_RECV)
		tide_resp_doorbell(qp);
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

int tide_alloc_ucontext(struct ib_ucontext *ibuc, struct ib_udata *udata)
{
	struct tide_ucontext *context = to_tide_ucontext(ibuc);
	struct tide_abi_alloc_ucontext_resp resp = {};
	struct file *file;
	int ret;

	if (udata->outlen < sizeof(resp))
		return -EINVAL;

	context->id = atomic64_inc_return(&next_context_id);
	context->door = tide_door_create(&context_door_ops, context->id);
	if (IS_ERR(context->door))
		return PTR_ERR(context->door);

	resp.clock_offset = clock_offset();
	if (tide_core_has_flush())
		resp.features |= TIDE_FEATURE_FLUSH;
	resp.doorbell_fd = get_unused_fd_flags(O_CLOEXEC);
	if (resp.doorbell_fd < 0) {
		ret = resp.doorbell_fd;
		goto err_door;
	}
	file = tide_door_open(context->door);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_fd;
	}
	ret = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (ret)
		goto err_file;
	fd_install(resp.doorbell_fd, file);
	return 0;

err_file:
	fput(file);
err_fd:
	put_unused_fd(resp.doorbell_fd);
err_door:
	tide_door_revoke(context->door);
	return ret;
}

void tide_dealloc_ucontext(struct ib_ucontext *ibuc)
{
	tide_door_revoke(to_tide_ucontext(ibuc)->door);
}

/*
 * There is nothing to do: rings stay mapped and harm nobody, and the doorbell
 * is revoked with the context.  That this operation is there tells the core
 * that the device may go while programs use it.
 */
void tide_disassociate_ucontext(struct ib_ucontext *ibuc)
{
}
