# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From build/perf/compare.json to what perf/plot.gp reads: three blocks of columns, for bandwidth, latency and
# registration.

include "figures";

def columns:
	[.tide.pinned, .tide["on demand"], .rxe.pinned, .rxe["on demand"], .limit, .ratio["tide : rxe"] | . // "NaN"];

def block($name; $rows):
	["# " + $name], ($rows[] | [(if .operation == "register" then .size else "\"\(.operation)\\n\(.size | size)\"" end)] + columns),
	[], [];

.rows as $rows
| block("bandwidth"; $rows | map(select(.measure == "bandwidth"))),
block("latency"; $rows | map(select(.measure == "latency" and (.operation | IN("SEND", "WRITE", "READ"))))),
block("registration"; $rows | map(select(.operation == "register")))
| join(" ")
