# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From build/perf/compare.json to the table on the terminal.

include "figures";

def line($cells): ($cells[0] | left(26)) + ([$cells[1:][] | right(11)] | add);

def row:
	(.operation | if . == "register" then "" else left(7) + " " end) as $operation
	| line(["  " + $operation + (.size | size),
		(.tide.pinned, .tide["on demand"], .rxe.pinned, .rxe["on demand"], .limit,
		.ratio["tide : rxe"], .ratio["tide : limit"], .ratio["on demand : pinned"] | figure)]);

def section($title; $rows):
	$rows | if length > 0 then $title, (.[] | row) else empty end;

def verdict:
	"  " + (if .met then "met   " else "MISSED" end)
	+ (.value | figure | right(8)) + "  >= " + (.wanted | tostring | left(5)) + "  " + .name;

. as $all
| def rows($operations; $measure):
	$all.rows | map(select((.operation | split(", ")[0] | IN($operations[])) and .measure == $measure));
["SEND", "WRITE", "READ"] as $transfers
| "",
"Linux \(.about.kernel), \(.about.cpus) CPUs" +
	(if .about.emulated then ", emulated: read the ratios, not the figures" else "" end) + ".",
(if .about.rounds > 1 then "Medians of \(.about.rounds) rounds" else "One round" end) + ". Of a ratio, more is better for the one named first.",
"",
line(["", "tide", "tide", "rxe", "rxe", "limit", "tide", "tide", "on demand"]),
line(["", "pinned", "on demand", "pinned", "on demand", if .about.extent == "wire" then "TCP" else "one copy" end,
	": rxe", ": limit", ": pinned"]),
section("bandwidth, MB/s"; rows($transfers; "bandwidth")),
section("latency, us"; rows($transfers; "latency")),
section("registration, us"; rows(["register"]; "latency")),
(if .about.extent != "quick" then "", "targets", (.targets[] | verdict) else empty end)
