# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From the lines of perf/guest/compare, slurped, to build/perf/compare.json.
#
# A figure is the median over the rounds. A ratio is the median of the rounds' ratios: what slowed a whole round down is
# not in it. Ratios are so made that more is better for the one named first.

include "figures";

# by_round(DEVICE; MEMORY): {"1": value, ...}, of the group that is the input
def by_round($device; $memory):
	map(select(.device == $device and .memory == $memory) | {key: (.round | tostring), value: .value})
	| from_entries;

def ratio($ours; $theirs; $measure):
	[$ours | to_entries[] | select($theirs[.key])
		| if $measure == "bandwidth" then .value / $theirs[.key] else $theirs[.key] / .value end]
	| median;

# row(LIMIT): what is known of one operation at one size
def row($limit):
	.[0].measure as $measure
	| by_round("tide"; "pinned") as $pinned
	| by_round("tide"; "on-demand") as $on_demand
	| by_round("rxe"; "pinned") as $rxe
	| by_round("rxe"; "on-demand") as $rxe_on_demand
	| {
		operation: .[0].operation, size: .[0].size, measure: $measure,
		unit: (if $measure == "bandwidth" then "MB/s" else "us" end),
		tide: {"pinned": [$pinned[]] | median, "on demand": [$on_demand[]] | median},
		rxe: {"pinned": [$rxe[]] | median, "on demand": [$rxe_on_demand[]] | median},
		limit: ([$limit[]] | median),
		ratio: {
			"tide : rxe": ratio($pinned; $rxe; $measure),
			"on demand : rxe pinned": ratio($on_demand; $rxe; $measure),
			"tide : limit": ratio($pinned; $limit; $measure),
			"on demand : pinned": ratio($on_demand; $pinned; $measure)
		}
	};

# Over the wire, an operation's name has the MTU behind a comma.
def verb: split(", ")[0];
def mtu: split(", ")[1] // "";
def is_transfer: verb | IN("SEND", "WRITE", "READ");

def order: [(.operation | mtu), {SEND: 1, WRITE: 2, READ: 3, register: 4, deregister: 5}[.operation | verb], .size];

def target($name; $value; $wanted):
	{name: $name, value: $value, wanted: $wanted, met: ($value != null and $value >= $wanted)};

def wire_targets:
	. as $all
	| def of($operation; $size): $all | map(select(.operation == $operation and .size == $size))[0];
	[
		(65536, 1048576 | . as $size
			| of("WRITE, MTU 4500"; $size).ratio as $ratio
			| target("WRITE \($size | size), MTU 4500, bandwidth over rxe's"; $ratio["tide : rxe"]; 5),
			  target("WRITE \($size | size), MTU 4500, bandwidth over TCP's"; $ratio["tide : limit"]; 0.5)),
		target("WRITE 64 KiB, MTU 1500, bandwidth over rxe's"; of("WRITE, MTU 1500"; 65536).ratio["tide : rxe"]; 4),
		target("WRITE 64 KiB, MTU 4500, 1 % lost, bandwidth over rxe's";
			of("WRITE, MTU 4500 losing 1%"; 65536).ratio["tide : rxe"]; 3),
		target("WRITE 8 B, MTU 4500, rxe's latency over tide's"; of("WRITE, MTU 4500"; 8).ratio["tide : rxe"]; 2)
	];

def targets:
	. as $all
	| def of($operation; $size): $all | map(select(.operation == $operation and .size == $size))[0];
	def on_demand($size): of("register"; $size).tide["on demand"];
	[
		target("WRITE 64 KiB, bandwidth over rxe's"; of("WRITE"; 65536).ratio["tide : rxe"]; 30),
		target("WRITE 64 KiB, bandwidth over process_vm_writev's"; of("WRITE"; 65536).ratio["tide : limit"]; 1),
		target("WRITE 8 B, rxe's latency over tide's"; of("WRITE"; 8).ratio["tide : rxe"]; 6),
		target("the worst of on demand over pinned, bandwidth";
			[$all[] | select(.measure == "bandwidth").ratio["on demand : pinned"]] | min; 0.95),
		target("the worst of on demand over pinned, latency";
			[$all[] | select(.measure == "latency" and .size == 8).ratio["on demand : pinned"]] | min; 0.95),
		target("register 256 MiB, rxe's pinned time over tide's on demand";
			of("register"; 268435456).ratio["on demand : rxe pinned"]; 20),
		target("register on demand, time for 1 MiB over time for 1 TiB";
			(on_demand(1048576) // 0) / (on_demand(1099511627776) // infinite); 0.5)
	];

.[0].about as $about
| map(select(.device)) as $samples
| ($samples | map(select(.device == "limit")) | group_by([(.operation | mtu), .size])
	| map({key: "\(.[0].operation | mtu) \(.[0].size)", value: by_round("limit"; "")}) | from_entries) as $limits
| ($samples | map(select(.device != "limit")) | group_by([.operation, .size])
	| map(row((.[0] | select(.operation | is_transfer) | $limits["\(.operation | mtu) \(.size)"]) // {}))
	| sort_by(order)) as $rows
| {about: $about, rows: $rows, targets: ($rows | if $about.extent == "wire" then wire_targets else targets end),
	samples: $samples}
