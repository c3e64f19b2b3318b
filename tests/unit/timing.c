// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The specification's encodings of time, against its tables written out.
 */
#include "tap.h"
#include "timing.h"

#define US	1000ULL

/* IBTA volume 1, table 45: the RNR NAK timer field, in microseconds. */
static const __u64 rnr_us[32] = {
	655360, 10, 20, 30, 40, 60, 80, 120,
	160, 240, 320, 480, 640, 960, 1280, 1920,
	2560, 3840, 5120, 7680, 10240, 15360, 20480, 30720,
	40960, 61440, 81920, 122880, 163840, 245760, 327680, 491520,
};

/* 4.096 us times a power of two; zero is never. */
static const __u64 ack_ns[32] = {
	0, 8192, 16384, 32768, 65536, 131072, 262144, 524288,
	1048576, 2097152, 4194304, 8388608, 16777216, 33554432, 67108864,
	134217728, 268435456, 536870912, 1073741824, 2147483648,
	4294967296, 8589934592, 17179869184, 34359738368, 68719476736,
	137438953472, 274877906944, 549755813888, 1099511627776,
	2199023255552, 4398046511104, 8796093022208,
};

int main(void)
{
	int code;

	for (code = 0; code < 32; code++)
		ok(tide_rnr_timer_ns(code) == rnr_us[code] * US,
		   "RNR timer %d is %llu us", code, rnr_us[code]);
	for (code = 0; code < 32; code++)
		ok(tide_ack_timeout_ns(code) == ack_ns[code],
		   "ACK timeout %d is %llu ns", code, ack_ns[code]);
	return tap_end();
}
