/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * crc.h - CRC-32 as fast as it is to be had.
 *
 * Which of the ways to it is the fastest depends on the kernel and on the
 * processor, the more so if that is emulated.  That is measured as the module
 * is loaded.
 */
#ifndef TIDE_CRC_H
#define TIDE_CRC_H

#include <linux/types.h>

/**
 * tide_crc - the CRC of some bytes more, as crc32_le()
 * @crc: of all before
 * @data: the bytes
 * @len: how many
 *
 * Context: any but hard interrupts.
 */
u32 tide_crc(u32 crc, const void *data, u32 len);

void tide_crc_init(void);
void tide_crc_exit(void);

#endif /* TIDE_CRC_H */
