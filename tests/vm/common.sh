# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What every script in tests/vm needs. Sourced, after `set -euo pipefail`:
#
#   $vm $top $build     this directory, the repository, what is built from it
#   say, die            talk to the caller, on standard error
#   as_root             run a command as root, through sudo if need be
#   may_be_root         see that this can be done; else say what to run
#   packages            see that Debian packages are installed here
#   locked              run a command while holding a lock
#   logged              run a command quietly; show its output only if it fails

vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$vm/../.." && pwd -P)
# shellcheck disable=SC2034 # used by those who source this
build=$top/build

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 126; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
	[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null ||
		die "this takes root, and there is no sudo without a password here; run as root: $*"
}

# packages NAME... - dpkg-query answers in milliseconds, so this can be asked every time.
packages() {
	command -v apt-get >/dev/null ||
		die "this machine has no apt-get; README's section 'Installing it' tells how to do without"

	local missing
	missing=$(comm -23 <(printf '%s\n' "$@" | sort -u) \
		<(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
			sed -n 's/ installed$//p' | sort -u) | xargs)
	[ -n "$missing" ] || return 0

	may_be_root "apt-get update && apt-get install $missing"
	say "installing $missing"
	# shellcheck disable=SC2086 # a list of names
	locked "$build/lock/apt" logged "$build/log/apt" install_packages $missing
}

install_packages() {
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends)

	as_root "${apt[@]}" install "$@" ||
		{ as_root "${apt[@]}" update && as_root "${apt[@]}" install "$@"; }
}

# locked FILE COMMAND... - two runs at once build nothing twice and nothing half.
locked() {
	local file=$1 fd
	shift
	mkdir -p "${file%/*}"
	exec {fd}>"$file"
	flock "$fd"
	"$@" {fd}>&-
	exec {fd}>&-
}

# logged FILE COMMAND...
logged() {
	local file=$1
	shift
	mkdir -p "${file%/*}"
	"$@" >"$file" 2>&1 </dev/null || { cat "$file" >&2; return 1; }
}
