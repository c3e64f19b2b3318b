/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * parent.h - the platform device that a device has for a parent.
 */
#ifndef TIDE_PARENT_H
#define TIDE_PARENT_H

struct tide_dev;

int tide_parent_create(struct tide_dev *dev);
void tide_parent_renamed(struct tide_dev *dev);
void tide_parent_destroy(struct tide_dev *dev);

#endif /* TIDE_PARENT_H */
