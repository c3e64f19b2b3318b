// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The specification's encoding of end-to-end credits, against its table
 * written out.
 */
#include "credits.h"
#include "tap.h"

/* IBTA volume 1, 9.7.7.2: the credit count field, 0 to 0x1e. */
static const __u32 credits[] = {
	0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
	256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288,
	16384, 24576, 32768,
};

/* Whether a code is that of all numbers up to the next one's. */
static bool covers(__u8 code, __u32 next)
{
	__u32 n;

	for (n = credits[code]; n < next; n++)
		if (tide_credits_encode(n) != code)
			return false;
	return true;
}

int main(void)
{
	__u8 code;

	for (code = 0; code <= TIDE_CREDITS_MAX; code++) {
		ok(tide_credits_decode(code) == credits[code],
		   "credit code %d is %u receives", code, credits[code]);
		ok(covers(code, code < TIDE_CREDITS_MAX ? credits[code + 1] :
							  100000),
		   "and is that of all up to the next");
	}
	ok(tide_credits_encode(~0U) == TIDE_CREDITS_MAX,
	   "there is no larger number");
	return tap_end();
}
