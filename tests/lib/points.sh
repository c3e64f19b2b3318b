# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What tests on this machine share that start guests or build packages. Sourced, in place of tap.sh; tests/vm/common.sh
# comes with it. The working directory is the repository.
#
#   check DESCRIPTION COMMAND...    a point: COMMAND, which gets what check gets on standard input, succeeds; the end of
#                                   what it said is shown if not
#   says TEXT COMMAND...            for check: COMMAND succeeds, and TEXT is in what it says
#   skip DESCRIPTION REASON         a point that does not apply here
#   fails COMMAND...                for check: COMMAND does not succeed
#   equal IS SHOULD                 for check: two strings
#   is_long                         whether to run the long form
#   plan                            the end: without it the test has failed
#   $tmp                            a directory that goes away at the end
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../vm/common.sh"
cd "$top" || exit
exec </dev/null

tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
points=0
failed=0

plan() {
	echo "1..$points"
	exit $((failed > 0))
}

check() {
	local description=$1 status
	shift
	"$@" >"$tmp/said" 2>&1
	status=$?
	((points++))
	if [ "$status" = 0 ]; then
		echo "ok $points - $description"
		return
	fi
	((failed++))
	echo "not ok $points - $description"
	{
		echo "$* ended with $status and said:"
		tail -n 100 "$tmp/said"
	} | sed 's/^/#    /' >&2
	return "$status"
}

fails() { ! "$@"; }

equal() {
	[ "$1" = "$2" ] || { echo "'$1' is not '$2'"; false; }
}

says() {
	local text=$1 said
	shift
	said=$("$@" 2>&1) && [[ $said == *"$text"* ]] && return
	printf '%s\n' "$said" "(what should be in there: $text)"
	return 1
}

skip() {
	((points++))
	echo "ok $points - $1 # SKIP $2"
}

is_long() { [ -n "${TIDE_LONG-}" ] && [ "${TIDE_LONG-}" != 0 ]; }
