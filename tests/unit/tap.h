/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tap.h - results of a unit test, in the Test Anything Protocol.
 */
#ifndef UNIT_TAP_H
#define UNIT_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static unsigned int tap_points, tap_failed;

/* A point: whether it holds, and what it is. */
__attribute__((format(printf, 2, 3)))
static inline bool ok(bool holds, const char *format, ...)
{
	va_list ap;

	printf("%sok %u - ", holds ? "" : "not ", ++tap_points);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	tap_failed += !holds;
	return holds;
}

/* To be returned from main(). */
static inline int tap_end(void)
{
	printf("1..%u\n", tap_points);
	return tap_failed ? 1 : 0;
}

#endif /* UNIT_TAP_H */
