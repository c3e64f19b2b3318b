# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What tests on this machine share that start guests or build packages. Sourced, in place of tap.sh; words.sh and
# tests/vm/common.sh come with it. The working directory is the repository.
#
#   check DESCRIPTION COMMAND...    a point: COMMAND, which gets what check gets on standard input, succeeds; the end of
#                                   what it said is shown if not
#   plan                            the end: without it the test has failed
#   $tmp                            a directory that goes away at the end
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../vm/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/words.sh"
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
