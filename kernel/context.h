/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * context.h - a process's context of a device, and its doorbell.
 */
#ifndef TIDE_CONTEXT_H
#define TIDE_CONTEXT_H

#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

#include "door.h"

/**
 * struct tide_ucontext - a context
 * @ibuc: the core's part
 * @id: its number, never used again
 * @door: its doorbell
 */
struct tide_ucontext {
	struct ib_ucontext ibuc;
	u64 id;
	struct tide_door *door;
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

int tide_alloc_ucontext(struct ib_ucontext *ibuc, struct ib_udata *udata);
void tide_dealloc_ucontext(struct ib_ucontext *ibuc);
void tide_disassociate_ucontext(struct ib_ucontext *ibuc);

#endif /* TIDE_CONTEXT_H */
