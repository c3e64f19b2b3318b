/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * context.h - a process's context of a device, and its doorbell.
 *
 * Other processes may import it.  Each has a number and a doorbell of its own,
 * for the queues that it makes.
 */
#ifndef TIDE_CONTEXT_H
#define TIDE_CONTEXT_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

#include "door.h"

/**
 * struct tide_ucontext - a context
 * @ibuc: the core's part
 * @id: number of the process that it was made for
 * @doors_lock: for all that follows
 * @doors: doorbells, one for each process that has it: others may import it
 */
struct tide_ucontext {
	struct ib_ucontext ibuc;
	u64 id;
	struct mutex doors_lock;
	struct list_head doors;
};

static inline struct tide_ucontext *to_tide_ucontext(struct ib_ucontext *ibuc)
{
	return container_of(ibuc, struct tide_ucontext, ibuc);
}

/* The context a command came through. */
static inline struct tide_ucontext *tide_udata_context(struct ib_udata *udata)
{
	return rdma_udata_to_drv_context(udata, struct tide_ucontext, ibuc);
}

u64 tide_context_id(struct tide_ucontext *context);
int tide_alloc_ucontext(struct ib_ucontext *ibuc, struct ib_udata *udata);
int tide_query_ucontext(struct ib_ucontext *ibuc,
			struct uverbs_attr_bundle *attrs);
void tide_dealloc_ucontext(struct ib_ucontext *ibuc);
void tide_disassociate_ucontext(struct ib_ucontext *ibuc);

#endif /* TIDE_CONTEXT_H */
