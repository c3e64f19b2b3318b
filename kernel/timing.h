/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * timing.h - the specification's encodings of time, in nanoseconds.
 *
 * Pure arithmetic, built by the unit tests too.
 */
#ifndef TIDE_TIMING_H
#define TIDE_TIMING_H

#include <linux/types.h>

/* Local ACK timeout, 5 bits; 0 means that it never fires (IBTA 9.7.6.1.3). */
static inline __u64 tide_ack_timeout_ns(__u8 code)
{
	return code ? 4096ULL << (code & 31) : 0;
}

/*
 * RNR NAK timer, 5 bits (IBTA 9.7.5.2.8, table 45).  The table is 655.36 ms
 * for 0 and 10 us for 1; from there on it goes 2, 3, 4, 6, 8, 12 ... times
 * 10 us.
 */
static inline __u64 tide_rnr_timer_ns(__u8 code)
{
	__u64 tens_of_us;

	code &= 31;
	if (code == 0)
		tens_of_us = 65536;
	else if (code == 1)
		tens_of_us = 1;
	else if (code & 1)
		tens_of_us = 3ULL << ((code - 3) / 2);
	else
		tens_of_us = 1ULL << (code / 2);
	return tens_of_us * 10000;
}

#endif /* TIDE_TIMING_H */
