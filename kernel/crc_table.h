/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * crc_table.h - CRC-32 by tables, sixteen bytes at a time.
 *
 * Pure logic, built by the unit tests too.
 */
#ifndef TIDE_CRC_TABLE_H
#define TIDE_CRC_TABLE_H

#include <linux/types.h>

/* Make the tables.  Once, before all else. */
void tide_crc_table_init(void);

/* As crc32_le().  Context: any. */
__u32 tide_crc_by_table(__u32 crc, const void *data, size_t len);

#endif /* TIDE_CRC_TABLE_H */
