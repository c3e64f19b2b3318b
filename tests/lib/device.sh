# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# The device that tests find in the guest, and waiting. Sourced.
#
#   wait_until SECONDS COMMAND...   until COMMAND succeeds; fails when that takes too long
#   remake_device                   unload and load the module; make td0 and tide0 anew, as tests/vm/guest does
#   gid_index DEVICE ADDRESS        the index of the GID that is an IPv4 address

wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -le "$end" ] || return 1
		sleep 0.1
	done
}

remake_device() {
	modprobe -r tide
	ip link del td0
	modprobe -a tide ib_uverbs &&
		make_netdev td0 10.99.0.1/24 fd99::1/64 &&
		rdma link add tide0 type tide netdev td0
}

make_netdev() { # make_netdev NAME ADDRESS...
	local name=$1 address
	shift
	ip link add "$name" type dummy || return
	for address; do
		# shellcheck disable=SC2046 # words, or none
		ip address add "$address" dev "$name" $([[ $address != *:* ]] || echo nodad) || return
	done
	ip link set "$name" up
}

gid_index() {
	local gid mapped file
	# shellcheck disable=SC2046,SC2086 # words
	mapped=$(printf '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x' ${2//./ })
	for file in "/sys/class/infiniband/$1/ports/1/gids/"*; do
		read -r gid <"$file" 2>/dev/null || continue
		[ "$gid" = "$mapped" ] || continue
		[ "$(cat "/sys/class/infiniband/$1/ports/1/gid_attrs/types/${file##*/}")" = 'RoCE v2' ] || continue
		echo "${file##*/}"
		return
	done
	return 1
}
