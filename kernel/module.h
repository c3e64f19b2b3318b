/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * module.h - what the module has once for all devices.
 */
#ifndef TIDE_MODULE_H
#define TIDE_MODULE_H

#include <linux/workqueue.h>

/* Runs requesters, waits for pages, and reaps leaves; unbound. */
extern struct workqueue_struct *tide_wq;

#endif /* TIDE_MODULE_H */
