# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# The device that tests find in the guest, and waiting. Sourced.
#
#   wait_until SECONDS COMMAND...   until COMMAND succeeds; fails when that takes too long
#   remake_device                   unload and load the module; make td0 and tide0 anew, as tests/vm/guest does
#   remake_td0 TYPE...              make td0 anew, of another type, and tide0
#   gid_index DEVICE ADDRESS        the index of the GID that is an address, IPv4 or IPv6
#   as_gid ADDRESS                  the address as sysfs writes it as a GID

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
	modprobe -a tide ib_uverbs && remake_td0 dummy
}

remake_td0() {
	ip link del td0
	ip link add td0 type "$@" &&
		set_up_netdev td0 10.99.0.1/24 fd99::1/64 &&
		rdma link add tide0 type tide netdev td0
}

make_netdev() { # make_netdev NAME ADDRESS...
	ip link add "$1" type dummy && set_up_netdev "$@"
}

set_up_netdev() { # set_up_netdev NETDEV ADDRESS...
	local name=$1 address
	shift
	for address; do
		# shellcheck disable=SC2046 # words, or none
		ip address add "$address" dev "$name" $([[ $address != *:* ]] || echo nodad) || return
	done
	ip link set "$name" up
}

gid_index() {
	local port=/sys/class/infiniband/$1/ports/1 gid wanted type i
	wanted=$(as_gid "$2")
	for ((i = 0; i < 64; i++)); do
		read -r gid 2>/dev/null <"$port/gids/$i" || continue
		[ "$gid" = "$wanted" ] || continue
		read -r type <"$port/gid_attrs/types/$i" && [ "$type" = 'RoCE v2' ] || continue
		echo "$i"
		return
	done
	return 1
}

as_gid() {
	local front back gid
	if [[ $1 != *:* ]]; then
		# shellcheck disable=SC2046,SC2086 # words
		printf '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x\n' ${1//./ }
		return
	fi
	front=${1%%::*} back=
	[[ $1 != *::* ]] || back=${1##*::}
	IFS=: read -ra front <<<"$front"
	IFS=: read -ra back <<<"$back"
	while ((${#front[@]} + ${#back[@]} < 8)); do
		front+=(0)
	done
	back=("${front[@]}" "${back[@]}")
	printf -v gid '%04x:' "${back[@]/#/0x}"
	echo "${gid%:}"
}
