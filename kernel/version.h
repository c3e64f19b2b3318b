/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * version.h - the version of all of tide, and the only place that says it but
 * for packages and README, which tests/unit/version compares with it.
 */
#ifndef TIDE_VERSION_H
#define TIDE_VERSION_H

#define TIDE_VERSION "0.1"

#endif /* TIDE_VERSION_H */
