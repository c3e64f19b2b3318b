# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Running two programs against each other on one device. Sourced, in a guest:
#
#   add_rxe rxeN                make rxeN, on a netdev rxN of its own
#   remove_rxe rxeN             remove both
#   gid_index DEVICE            print the index of its RoCE v2 GID made from an IPv4 address
#   pair PROGRAM [ARG...]       start PROGRAM, and once it listens a second one that connects to it; print what
#                               the second one says. They are run by the commands $pair_server and $pair_client, if there
#                               are such, and have arguments of their own after the others, $pair_server_options and
#                               $pair_client_options; all of these are arrays
#   pair_failed                 print what the server said
#
# Nothing waits longer than $pair_seconds.

pair_seconds=60
pair_port=20000
pair_log=${TMPDIR:-/tmp}/pair.server
pair_server=()
pair_client=()
pair_server_options=()
pair_client_options=(127.0.0.1)

# rxe sees the packets that leave by the local route too, so the netdev need not lead anywhere.
add_rxe() {
	local name=$1 netdev

	netdev=${name/rxe/rx}
	modprobe rdma_rxe &&
		ip link add "$netdev" type dummy &&
		ip address add 10.98.0.1/24 dev "$netdev" &&
		ip link set "$netdev" up &&
		rdma link add "$name" type rxe netdev "$netdev"
}

remove_rxe() {
	rdma link del "$1" 2>/dev/null || true
	ip link del "${1/rxe/rx}" 2>/dev/null || true
}

# GIDs come some time after the address.
gid_index() {
	local tries
	for ((tries = 0; tries < 50; tries++)); do
		find_gid "$1" && return
		sleep 0.1
	done
	echo "$1 has no RoCE v2 GID of an IPv4 address" >&2
	return 1
}

# The type of an empty entry cannot be read.
find_gid() {
	local port=/sys/class/infiniband/$1/ports/1 file gid type
	for file in "$port"/gids/*; do
		read -r gid <"$file"
		[[ $gid == 0000:0000:0000:0000:0000:ffff:* ]] || continue
		read -r type <"$port/gid_attrs/types/${file##*/}"
		[ "$type" = 'RoCE v2' ] && echo "${file##*/}" && return
	done 2>/dev/null
	return 1
}

pair() {
	local server status=0
	local command=(timeout -k 1 "$pair_seconds" "$@" -p "$((++pair_port))")

	"${pair_server[@]}" "${command[@]}" "${pair_server_options[@]}" >"$pair_log" 2>&1 &
	server=$!
	wait_for_listener "$server" "$pair_port" && "${pair_client[@]}" "${command[@]}" "${pair_client_options[@]}" ||
		status=$?
	[ "$status" = 0 ] || kill "$server" 2>/dev/null
	wait "$server" || status=$?
	return "$status"
}

# Seen in /proc, as a program to ask would take longer to start than the one waited for; and in its namespace.
wait_for_listener() { # wait_for_listener PID PORT
	local port
	printf -v port ':%04X' "$2"
	until grep -qs "$port [0-9A-F:]* 0A" "/proc/$1/net/tcp" "/proc/$1/net/tcp6"; do
		kill -0 "$1" 2>/dev/null || return
		sleep 0.02
	done
}

pair_failed() {
	echo "the server said:"
	cat "$pair_log"
}
