# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Two hosts and a cable, for what goes over the wire. Sourced, after tap.sh.
#
#     namespace left                              namespace right
#     device left                                 device right
#     on vleft            ------ veth ------      on vright
#     10.98.0.1, fd98::1, fe80::...               10.98.0.2, fd98::2, fe80::...
#     with a VLAN, on vleft.7 and vright.7: 10.97.0.1, fd97::1 and 10.97.0.2, fd97::2
#
# Each device is tide's or rxe's. Where rxe cannot do without the initial namespace (before Linux 7), its host is that
# one. A host is named left or right, as is its namespace, if it is one, and its device.
#
#   hosts_up [MTU [vlan]]           make them, with devices as $kinds says: two words, each tide or rxe; in the beginning
#                                   what $TIDE_HOSTS says, else tide and tide. Fails if that cannot be, and $why tells
#                                   With vlan the addresses below are those of the VLAN
#   hosts_down                      unmake them, and whatever still runs there; done by itself at the end of a scenario
#   on HOST COMMAND...              run a program there
#   peer_of HOST                    the other one
#   use 4|6|link                    what addresses are to be: IPv4 (so it is at first), IPv6, or link-local
#   address_of HOST                 its address, as other hosts name it
#   gid_on HOST                     the index of the GID of that
#   offload on|off                  off lets the cable carry packets one by one, each as it will be on a real one
#   acquaint                        have the hosts know each other's link-layer addresses for good: the verbs give up
#                                   finding them out after a second, in which that is asked once
#   netem HOST WHAT...              what befalls packets that leave HOST, in the words of tc-netem(8)
#   calm                            nothing befalls any more
#   counter HOST NAME               a counter of its device
#
#   serve HOST COMMAND...           start a server, $server; it may take $limit seconds
#   meet HOST COMMAND...            run a client of it; both have to succeed. What they say is printed, and is in
#                                   $tmp/server and $tmp/client
#   listens_by_cm                   for wait_until: the server listens, or never will, by the connection manager
#   left_over                       objects that a program has on the two devices; fails if there are none
#   pingpong HOST TOOL OPTION...    one of rdma-core's examples, between a server on HOST and a client on the other
#   perftest HOST TOOL OPTION...    a tool of perftest's, likewise
#   exchange HOST OPTION...         tests/programs/exchange, likewise
#   start_exchange HOST OPTION...   the same, in the background: $server and $client; with -u "$stop" until that is made
#   exchanging                      that has come to run
#   end_exchange                    have it end, and both have to succeed

declare -A netns=() addresses=() gids=()
hosts=(left right)
# shellcheck disable=SC2153 # from outside
kinds=${TIDE_HOSTS-tide tide}
# The most seconds that a program may take, on a busy machine too.
limit=200
port=18600
family=4
network=98
stop=$tmp/stop
programs=${TIDE_PROGRAMS:?is where the programs are that are built from tests/programs}
made=
why=
trap 'hosts_down; finish' EXIT

hosts_up() {
	local mtu=${1:-1500} left right
	read -r left right <<<"$kinds"
	why='' made=yes network=98 family=4
	[ "${2-}" != vlan ] || network=97
	place left "$left" && place right "$right" || return
	cable "$mtu" || return
	[ "$network" = 98 ] || vlan || return
	make_device left "$left" && make_device right "$right" || return
	wait_until 60 hosts_ready || {
		why='the devices do not become ready'
		return 1
	}
	use 4
}

# Whether the host is a namespace of its own.
place() {
	netns[$1]=$1
	if [ "$2" = rxe ]; then
		if ! rxe_follows_namespaces; then
			if [ "$1" = right ] && [ -z "${netns[left]}" ]; then
				why='one rxe at most, on this kernel'
				return 1
			fi
			netns[$1]=
		fi
		modprobe rdma_rxe || {
			why='no rxe in this kernel'
			return 1
		}
	fi
	[ -n "${netns[$1]}" ] || return 0
	ip netns add "$1" && on "$1" ip link set lo up
}

rxe_follows_namespaces() { [[ $(uname -r) =~ ^([7-9]|[1-9][0-9])\. ]]; }

on() {
	local host=$1
	shift
	if [ -z "${netns[$host]-}" ]; then
		"$@"
	elif [[ $1 =~ ^(ip|tc)$ ]]; then
		"$1" -n "$host" "${@:2}"
	else
		ip netns exec "$host" "$@"
	fi
}

# The same, as the last thing that a subshell does: its process is the command's then, and in the command's namespace.
become() {
	local host=$1
	shift
	[ -z "${netns[$host]-}" ] || exec ip netns exec "$host" "$@"
	exec "$@"
}

peer_of() { if [ "$1" = left ]; then echo right; else echo left; fi; }

number_of() { if [ "$1" = left ]; then echo 1; else echo 2; fi; }

cable() {
	local host
	ip link add vleft mtu "$1" type veth peer name vright mtu "$1" || return
	for host in "${hosts[@]}"; do
		[ -z "${netns[$host]}" ] || ip link set "v$host" netns "$host" || return
		# Addresses are there at once, and so are their GIDs.
		on "$host" sysctl -qw "net.ipv6.conf.v$host.accept_dad=0"
		on "$host" ip link set "v$host" up || return
		give_addresses "$host" "v$host" 98 || return
	done
}

vlan() {
	local host
	for host in "${hosts[@]}"; do
		on "$host" ip link add link "v$host" name "v$host.7" type vlan id 7 || {
			why='no VLANs in this kernel'
			return 1
		}
		on "$host" sysctl -qw "net/ipv6/conf/v$host.7/accept_dad=0"
		on "$host" ip link set "v$host.7" up || return
		give_addresses "$host" "v$host.7" 97 || return
	done
}

give_addresses() { # give_addresses HOST NETDEV NETWORK
	local number
	number=$(number_of "$1")
	on "$1" ip address add "10.$3.0.$number/24" dev "$2" &&
		on "$1" ip address add "fd$3::$number/64" dev "$2" nodad
}

make_device() {
	on "$1" rdma link add "$1" type "$2" netdev "v$1" || {
		why="no device of type $2 on ${netns[$1]:-the initial namespace}"
		return 1
	}
}

# What is asked for again and again is found out here.
hosts_ready() {
	local host
	for host in "${hosts[@]}"; do
		addresses[$host 4]=10.$network.0.$(number_of "$host")
		addresses[$host 6]=fd$network::$(number_of "$host")
		addresses[$host link]=$(on "$host" ip -o -6 address show dev "v$host" scope link | grep -o 'fe80:[^/]*')
		rdma link show "$host/1" | grep -q 'state ACTIVE' || return
		for family in 4 6 link; do
			gids[$host $family]=$(gid_index "$host" "${addresses[$host $family]}") || return
		done
	done
}

use() { family=$1; }
address_of() { echo "${addresses[$1 $family]}"; }
gid_on() { echo "${gids[$1 $family]}"; }

offload() {
	local host
	for host in "${hosts[@]}"; do
		on "$host" ethtool -K "v$host" gso "$1" tso "$1" gro off tx-udp-segmentation "$1" || return
	done
}

acquaint() {
	local host peer address link
	for host in "${hosts[@]}"; do
		peer=$(peer_of "$host")
		link=$(on "$peer" cat "/sys/class/net/v$peer/address")
		for address in 4 6 link; do
			on "$host" ip neigh replace "${addresses[$peer $address]}" lladdr "$link" dev "v$host" nud permanent ||
				return
		done
	done
}

netem() {
	local host=$1
	shift
	on "$host" tc qdisc replace dev "v$host" root netem limit 10000 "$@"
}

calm() {
	local host
	for host in "${hosts[@]}"; do
		on "$host" tc qdisc del dev "v$host" root 2>/dev/null
	done
	return 0
}

counter() {
	local file=/sys/class/infiniband/$1/ports/1/hw_counters/$2
	[ ! -e "$file" ] || cat "$file"
}

hosts_down() {
	local host
	[ -n "$made" ] || return 0
	for host in "${hosts[@]}"; do
		[ -z "${netns[$host]-}" ] || ip netns pids "$host" 2>/dev/null | xargs -r kill -KILL
		rdma link del "$host" 2>/dev/null
	done
	ip link del vleft 2>/dev/null || ip link del vright 2>/dev/null || on left ip link del vleft 2>/dev/null
	for host in "${hosts[@]}"; do
		[ -z "${netns[$host]-}" ] || ip netns del "$host" 2>/dev/null
	done
	netns=()
	wait_until 60 hosts_gone || echo '# the devices do not go'
	[ ! -e /sys/module/rdma_rxe ] || wait_until 10 modprobe -r rdma_rxe
	made=
}

hosts_gone() { ! rdma link show | grep -qE '^link (left|right)/'; }

# Programs. Those that exchange addresses over TCP listen for it: whether that server does, or never will.
tcp_listens() { # tcp_listens PORT
	local at state rest
	while read -r _ at _ state rest; do
		[ "$state" = 0A ] && ((16#${at##*:} == $1)) && return
	done < <(cat "/proc/$server/net/tcp" "/proc/$server/net/tcp6" 2>/dev/null)
	has_ended "$server"
}

listens_by_cm() { rdma res show cm_id | grep -q 'state LISTEN' || has_ended "$server"; }

left_over() {
	local what
	for what in qp cm_id cq mr pd ctx srq; do
		rdma res show "$what"
	done | grep -E 'link (left|right)[ /].* pid '
}

serve() {
	local host=$1
	shift
	become "$host" timeout -k 20 "$limit" "$@" >"$tmp/server" 2>&1 </dev/null &
	server=$!
}

meet() {
	local host=$1 status_of_server=0 status_of_client=0
	shift
	on "$host" timeout -k 20 "$limit" "$@" >"$tmp/client" 2>&1 </dev/null || status_of_client=$?
	wait "$server" || status_of_server=$?
	echo "the server ended with $status_of_server and said:"
	cat "$tmp/server"
	echo "the client ended with $status_of_client and said:"
	cat "$tmp/client"
	[ "$status_of_server$status_of_client" = 00 ]
}

# The address that is gone to for the exchange of addresses is an IPv4 one, whatever the GIDs are.
between() { # between HOST GID-OPTION TOOL OPTION...
	local host=$1 gid_option=$2 client
	shift 2
	client=$(peer_of "$host")
	((port++))
	serve "$host" "$@" -d "$host" -p "$port" "$gid_option" "$(gid_on "$host")"
	wait_until 60 tcp_listens "$port"
	meet "$client" "$@" -d "$client" -p "$port" "$gid_option" "$(gid_on "$client")" \
		"${addresses[$host 4]}"
}

pingpong() {
	local host=$1
	shift
	between "$host" -g "$@"
}

# Its results are a line of numbers, the first of them the size. On a busy machine perftest may fail to find out how
# fast the CPU's clock is, and give infinite times.
perftest() {
	local host=$1
	shift
	between "$host" -x "$@" -F &&
		grep -Eq '^ *[0-9]+([[:space:]]+([0-9.]+|inf|-?nan))+[[:space:]]*$' "$tmp/client"
}

exchange_on() { # exchange_on HOST ROLE OPTION...
	local host=$1 role=$2
	shift 2
	echo timeout -k 20 "$limit" "$programs/exchange" "$@" "$host" "$(gid_on "$host")" "$tmp/exchange.$port" "$role"
}

# Two commands of plain words.
start_exchange() {
	local host=$1
	shift
	((port++))
	rm -f "$stop"
	# shellcheck disable=SC2046 # words
	become "$host" $(exchange_on "$host" serve "$@") >"$tmp/server" 2>&1 </dev/null &
	server=$!
	host=$(peer_of "$host")
	# shellcheck disable=SC2046 # words
	become "$host" $(exchange_on "$host" join "$@") >"$tmp/client" 2>&1 </dev/null &
	client=$!
}

end_exchange() {
	local status_of_server=0 status_of_client=0
	touch "$stop"
	wait "$client" || status_of_client=$?
	wait "$server" || status_of_server=$?
	echo "the server ended with $status_of_server and said:"
	cat "$tmp/server"
	echo "the client ended with $status_of_client and said:"
	cat "$tmp/client"
	[ "$status_of_server$status_of_client" = 00 ]
}

exchange() { start_exchange "$@" && end_exchange; }

# Both have got as far as their first requests.
exchanging() {
	grep -q '^qpn' "$tmp/server" && grep -q '^qpn' "$tmp/client"
}
