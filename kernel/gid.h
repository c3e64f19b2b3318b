/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * gid.h - which addresses are whose.
 */
#ifndef TIDE_GID_H
#define TIDE_GID_H

#include <rdma/ib_verbs.h>

/* What is in place of a VLAN ID where there is no VLAN. */
#define TIDE_NO_VLAN	0xffff

struct tide_dev;

bool tide_gid_is_here(const union ib_gid *gid, const struct tide_dev *dev);
int tide_gid_ifindex(const struct ib_gid_attr *attr);
u16 tide_gid_vlan(const union ib_gid *gid, const struct tide_dev *dev,
		  int ifindex);
bool tide_gid_is_of(const union ib_gid *gid, const struct tide_dev *dev);
struct tide_dev *tide_gid_owner(const union ib_gid *gid, u64 net_cookie);
int tide_add_gid(const struct ib_gid_attr *attr, void **context);
int tide_del_gid(const struct ib_gid_attr *attr, void **context);

#endif /* TIDE_GID_H */
