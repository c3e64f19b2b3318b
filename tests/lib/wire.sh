# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Where the wire is switched on. Sourced, after tap.sh.

# What goes over the wire is experimental, and takes minutes: it is tested in the long form, or if $TIDE_WIRE is set.
if ! is_long && [ -z "${TIDE_WIRE-}" ]; then
	echo '1..0 # SKIP takes minutes: TIDE_WIRE=1 ./check wire'
	trap - EXIT
	exit 0
fi
# Devices made while this is 1 have it.
# shellcheck disable=SC2034 # used by those who source this
wire=/sys/module/tide/parameters/wire
