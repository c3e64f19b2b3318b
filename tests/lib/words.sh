# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What tests say wherever they run. Sourced by tap.sh, points.sh and installed.sh.
#
#   fails COMMAND...            COMMAND fails in an orderly way, exit(-1) included: no signal, no limit of time; with
#                               set -e, too, where a ! would not end the script
#   says TEXT COMMAND...        COMMAND succeeds, and TEXT is in what it says
#   equal IS SHOULD             two strings
#   skip DESCRIPTION REASON     a point that does not apply here
#   is_long                     whether to run the long form

fails() {
	local status=0
	"$@" || status=$?
	((status > 0 && (status < 124 || status > 192)))
}

says() {
	local text=$1 said
	shift
	said=$("$@" 2>&1) && [[ $said == *"$text"* ]] && return
	printf '%s\n' "$said" "(what should be in there: $text)"
	return 1
}

equal() {
	[ "$1" = "$2" ] || { echo "'$1' is not '$2'"; false; }
}

skip() {
	((points++))
	echo "ok $points - $1 # SKIP $2"
}

is_long() { [ -n "${TIDE_LONG-}" ] && [ "${TIDE_LONG-}" != 0 ]; }
