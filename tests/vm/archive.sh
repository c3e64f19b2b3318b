# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Debian's archive, asked with an apt state of our own: this machine's package lists, its sources and its
# pinning are neither used nor changed. Sourced after common.sh.
#
#   archive SUITE apt-get|apt-cache ARG...    one apt command on that suite
#   archive_refresh SUITE                     fetch its lists, at most once a day
#   build/apt/SUITE/sources.list              what was fetched from
#
# SUITE is bookworm or trixie, each with its updates and security fixes, trixie-backports alone, or sid.

mirror=${DEBIAN_MIRROR:-http://deb.debian.org}

archive_sources() {
	local suite=$1 from='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'

	echo "deb $from $mirror/debian $suite main"
	[[ $suite != *-backports ]] || return 0
	echo "deb-src $from $mirror/debian $suite main"
	[ "$suite" != sid ] || return 0
	echo "deb $from $mirror/debian $suite-updates main"
	echo "deb $from $mirror/debian-security $suite-security main"
}

# A mirror's Release file may be past its date; a stale answer is better than none here.
archive() {
	local state=$build/apt/$1 command=$2
	shift 2
	"$command" -q -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State="$state" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
		-o Acquire::Check-Valid-Until=false "$@"
}

archive_refresh() {
	[ -n "$(find "$build/apt/$1/fresh" -mtime -1 2>/dev/null)" ] ||
		locked "$build/lock/archive" archive_fetch_lists "$1"
}

archive_fetch_lists() {
	local state=$build/apt/$1

	packages debian-archive-keyring
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	archive_sources "$1" >"$state/sources.list"
	logged "$build/log/archive-$1" archive "$1" apt-get update || return
	touch "$state/fresh"
}
