/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * prefetch.h - bringing in pages before they are accessed.
 */
#ifndef TIDE_PREFETCH_H
#define TIDE_PREFETCH_H

#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

#include "odp.h"

void tide_prefetch_ahead(const struct tide_fault *fault, unsigned long len);
int tide_advise_mr(struct ib_pd *ibpd, enum ib_uverbs_advise_mr_advice advice,
		   u32 flags, struct ib_sge *sge, u32 num_sge,
		   struct uverbs_attr_bundle *attrs);

#endif /* TIDE_PREFETCH_H */
