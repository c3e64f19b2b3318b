# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What scenarios share, with words.sh. Sourced; a scenario ends with plan.
#
#   check DESCRIPTION COMMAND...    a point: COMMAND succeeds; what it said is shown if not
#   within SECONDS COMMAND...       for check: COMMAND succeeds before that, tried again and again
#   diag TEXT...                    a comment
#   plan                            the end: without it the scenario has failed
#   is_turn                         whether it is this kernel's turn to run one of many lines, each of which three kernels
#                                   take in turns; always in the long form
#   $which_kernel                   of the three; with sid's programs it is not the same that runs with others
#   has_ended PID                   a process has, be it a zombie yet or not
#   pair TOOL [OPTION...]           run a server of TOOL and its client: see there
#   $device $address $gid           the device to test, its address, the index of the GID of that
#   $tmp                            a directory that goes away at the end
set -u
. "$(dirname "${BASH_SOURCE[0]}")/device.sh"
. "$(dirname "${BASH_SOURCE[0]}")/words.sh"

device=${TIDE_DEV:-tide0}
address=10.99.0.1
gid=$(gid_index "$device" "$address")
tmp=$(mktemp -d)
points=0
failed=0
trap finish EXIT

finish() {
	local running
	mapfile -t running < <(jobs -p)
	[ ${#running[@]} = 0 ] || kill -KILL "${running[@]}" 2>/dev/null
	rm -rf "$tmp"
}

plan() {
	echo "1..$points"
	exit $((failed > 0))
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

# What the command says in the end is shown, not what it said until then.
within() {
	local seconds=$1
	shift
	wait_until "$seconds" "$@" >/dev/null 2>&1 && return
	"$@"
}

diag() { printf '# %s\n' "$*"; }

# Debian 12, 13, and what is newer; sid's glibc is newer than theirs.
case $(uname -r) in
6.1.*) which_kernel=0 ;;
6.12.*) which_kernel=1 ;;
*) which_kernel=2 ;;
esac
! grep -q sid /etc/debian_version || which_kernel=0
turns=0

is_turn() {
	((++turns))
	is_long || [ $(((turns + turns / 3 + which_kernel) % 3)) = 0 ]
}

listening() { [ -n "$(ss -Hltn "sport = :$1")" ]; }

# Whether a process has ended, be it a zombie yet or not.
has_ended() {
	local state
	! read -r state 2>/dev/null <"/proc/$1/stat" || [[ $state == *') Z '* ]]
}

# Whether a server listens, or never will.
listens() { # listens PORT PID
	[ -n "$(ss -Hltn "sport = :$1")" ] || has_ended "$2"
}

# Both ends of a tool of perftest's or of rdma-core's examples, on one device. Each may take $pair_limit seconds. What
# they say is printed, and is in $tmp/server and $tmp/client.
port=18515
pair_limit=150
pair() {
	local server status_of_server=0 status_of_client=0
	((port++))
	timeout -k 2 "$pair_limit" "$@" -d "$device" -p "$port" >"$tmp/server" 2>&1 </dev/null &
	server=$!
	wait_until 60 listens "$port" "$server"
	timeout -k 2 "$pair_limit" "$@" -d "$device" -p "$port" "$address" >"$tmp/client" 2>&1 </dev/null ||
		status_of_client=$?
	wait "$server" || status_of_server=$?
	echo "the server ended with $status_of_server and said:"
	cat "$tmp/server"
	echo "the client ended with $status_of_client and said:"
	cat "$tmp/client"
	[ "$status_of_server$status_of_client" = 00 ]
}
