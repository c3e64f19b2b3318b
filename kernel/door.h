/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * door.h - the doorbell descriptor, and how it is taken away.
 *
 * door.c is a module of its own, tide_door.  An open descriptor pins the
 * module that holds its file operations; with these few functions apart,
 * tide itself can be unloaded while programs still hold their doorbells,
 * which then answer EIO.
 */
#ifndef TIDE_DOOR_H
#define TIDE_DOOR_H

#include <linux/types.h>

struct file;
struct tide_door;

/**
 * struct tide_door_ops - what happens at a doorbell
 * @ring: somebody rings: @cmd and @arg as given to ioctl().  Runs in the
 *	caller's context and may sleep
 * @closed: the last file was closed.  Runs in process context
 */
struct tide_door_ops {
	long (*ring)(u64 cookie, unsigned int cmd, unsigned long arg);
	void (*closed)(u64 cookie);
};

struct tide_door *tide_door_create(const struct tide_door_ops *ops,
				   u64 cookie);
struct file *tide_door_open(struct tide_door *door);
bool tide_door_is_open(const struct tide_door *door);
void tide_door_revoke(struct tide_door *door);

#endif /* TIDE_DOOR_H */
