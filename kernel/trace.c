// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * trace.c - where the tracepoints are.
 */
#define CREATE_TRACE_POINTS
#include "trace.h"
