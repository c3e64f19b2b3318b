/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * import.h - what this device's uverbs have beyond those of the core.
 */
#ifndef TIDE_IMPORT_H
#define TIDE_IMPORT_H

#include <rdma/uverbs_ioctl.h>

extern const struct uapi_definition tide_defs[];

#endif /* TIDE_IMPORT_H */
