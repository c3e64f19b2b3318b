# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What scenarios share. Sourced; sets the shell's options, and prints the plan when the script ends.
#
#   ok STATUS DESCRIPTION      a point: it holds if STATUS is 0; standard input, if given as a file, explains
#   check DESCRIPTION COMMAND...    a point: COMMAND succeeds; what it said is shown if not
#   skip DESCRIPTION REASON    a point that does not apply here
#   diag TEXT...               a comment
#   is_long                    whether to run the long form
#   pair TOOL [OPTION...]      run a server of TOOL and its client; 0 if both succeed. See there
#   $device $address $gid      the device to test, its address, the GID of that
#   $tmp                       a directory that goes away at the end
set -u
. "$(dirname "${BASH_SOURCE[0]}")/device.sh"

device=${TIDE_DEV:-tide0}
address=10.99.0.1
gid=$(gid_index "$device" "$address")
tmp=$(mktemp -d)
points=0
failed=0
trap finish EXIT

finish() {
	local status=$? running
	mapfile -t running < <(jobs -p)
	[ ${#running[@]} = 0 ] || kill -KILL "${running[@]}" 2>/dev/null
	rm -rf "$tmp"
	[ "$status" = 0 ] || { echo "not ok - the script ends without an error, not with $status"; ((points++)); }
	echo "1..$points"
	[ "$failed" = 0 ] && [ "$status" = 0 ]
	exit
}

ok() {
	((points++))
	if [ "$1" = 0 ]; then
		echo "ok $points - $2"
	else
		((failed++))
		echo "not ok $points - $2"
	fi
}

check() {
	local description=$1 status
	shift
	"$@" >"$tmp/said" 2>&1 </dev/null
	status=$?
	ok "$status" "$description"
	[ "$status" = 0 ] || {
		diag "$* ended with $status and said:"
		sed 's/^/#    /' "$tmp/said"
	}
	return "$status"
}

# fails COMMAND... - for check: COMMAND has to fail, in an orderly way.
fails() {
	"$@"
	local status=$?
	[ "$status" != 0 ] && [ "$status" -lt 124 ]
}

# says TEXT COMMAND... - for check: COMMAND's output has to contain TEXT, whatever its status.
says() {
	local text=$1
	shift
	"$@" 2>&1 | tee "$tmp/says" | grep -qF -- "$text" && return
	cat "$tmp/says"
	echo "(that does not contain '$text')"
	return 1
}

skip() {
	((points++))
	echo "ok $points - $1 # SKIP $2"
}

diag() { printf '# %s\n' "$*"; }

is_long() { [ -n "${TIDE_LONG-}" ] && [ "${TIDE_LONG-}" != 0 ]; }

listening() { [ -n "$(ss -Hltn "sport = :$1")" ]; }

# Both ends of a tool of perftest's or of rdma-core's examples, on one device. The limit is that of both together:
# $pair_limit seconds, 40 unless set. Prints what they said; that, and the status, are all.
port=18515
pair() {
	local server client status_of_server=0 status_of_client=0
	((port++))
	timeout -k 2 "${pair_limit:-40}" "$@" -d "$device" -p "$port" >"$tmp/server" 2>&1 </dev/null &
	server=$!
	wait_until 10 listening "$port" || status_of_client=no
	if [ "$status_of_client" = 0 ]; then
		timeout -k 2 "${pair_limit:-40}" "$@" -d "$device" -p "$port" "$address" >"$tmp/client" 2>&1 </dev/null &
		client=$!
		wait "$client" || status_of_client=$?
	fi
	wait "$server" || status_of_server=$?
	echo "server: $status_of_server"
	cat "$tmp/server"
	echo "client: $status_of_client"
	cat "$tmp/client"
	[ "$status_of_server$status_of_client" = 00 ]
}
