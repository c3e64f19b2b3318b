/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * pages.h - memory for the payload of packets, kept for those that follow.
 */
#ifndef TIDE_PAGES_H
#define TIDE_PAGES_H

#include <linux/skbuff.h>

/**
 * tide_pages_add - put room for payload behind what a buffer has
 * @skb: the buffer, which has none in pages yet
 * @len: how many bytes, at most 128 KiB
 *
 * What there was in these pages before is still there, and has to be
 * overwritten or cut off.
 *
 * Context: any but hard interrupts; does not sleep.
 *
 * Return: false if there is not enough memory in pieces that large; then @skb
 * may have some of it.
 */
bool tide_pages_add(struct sk_buff *skb, u32 len);

void tide_pages_init(void);

/* Keep nothing.  Who has references keeps what these are to. */
void tide_pages_drop(void);

#endif /* TIDE_PAGES_H */
