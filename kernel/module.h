/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * module.h - what the module has once for all devices.
 */
#ifndef TIDE_MODULE_H
#define TIDE_MODULE_H

#include <linux/workqueue.h>

/* Runs requesters and reaps leaves: nothing on it waits for a process. */
extern struct workqueue_struct *tide_wq;

/* The same, on the CPU that it is told. */
extern struct workqueue_struct *tide_send_wq;

/* For what may have to wait for a file system: letting go of pages. */
extern struct workqueue_struct *tide_release_wq;

#endif /* TIDE_MODULE_H */
