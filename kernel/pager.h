/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * pager.h - bringing in pages on a queue pair's behalf, elsewhere than in the
 * thread that rings the doorbell.
 */
#ifndef TIDE_PAGER_H
#define TIDE_PAGER_H

#include "odp.h"

struct tide_pager;
struct tide_qp;

/* How old what one side holds may get while a pager works for the other. */
#define TIDE_MAX_HOLD_AGE	(HZ / 10)

/* Before what failed for want of memory is tried again. */
#define TIDE_MEMORY_PAUSE	(HZ / 20)

/* Faults in a row for the same bytes before they are pinned (M3). */
#define TIDE_MAX_LOST		1

struct tide_pager *tide_pager_start(struct tide_qp *qp,
				    const struct tide_fault *fault, bool pin,
				    void (*then)(struct tide_qp *qp));
void tide_pager_drop(struct tide_pager *pager);
bool tide_pager_is_done(struct tide_pager *pager);
int tide_pager_take(struct tide_pager *pager, struct tide_hold *hold);
unsigned long tide_pager_started(const struct tide_pager *pager);

#endif /* TIDE_PAGER_H */
