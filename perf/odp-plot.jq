# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From odp.json to what perf/odp.gp reads: blocks of columns, named after the plot they are for. The first line of a
# block holds the names of the columns.

include "figures";

def quoted: "\"\(.)\"";

# What can be drawn on a logarithmic scale.
def drawn: if . and (.value // 0) > 0 then .value else "NaN" end;

# A series is {name, column}: a cell for each row of the plot. Where cells are missing, the name says why.
def series($name; $cells):
	([$cells[] | .problem? | values | problem] | first) as $problem
	| {name: (if $problem == null then $name
		elif all($cells[]; drawn == "NaN") then "\($name): \($problem)"
		else "\($name) (gaps: \($problem))" end),
		column: [$cells[] | drawn]};

# None without anything to draw.
def block($name; $labels; $all):
	if all($all[].column[]; . == "NaN") then empty else
	"# \($name)",
	(["x"] + [$all[].name | quoted] | join(" ")),
	(range($labels | length) as $i | [$labels[$i]] + [$all[].column[$i]] | join(" ")),
	"", ""
	end;

def of($rows; $section; $operation; $memory; $size):
	[$rows[] | select(.section == $section and .operation == $operation and .memory == $memory and .size == $size)][0]
	.devices // {};

def tick: "\(.[0])\\n\(.[1] | size)" | quoted;

def transfers: [("WRITE", "READ") as $operation | (4096, 65536, 1048576) as $size | [$operation, $size]];

def touch($rows; $devices; $pages):
	transfers as $all
	| block("touch, \($pages)"; [$all[] | tick];
		[series("the CPU, a byte a page"; [$all[] | of($rows; "first touch"; "a byte a page"; $pages; 0).CPU])]
		+ [$devices[] | . as $device
			| series(.; [$all[] | of($rows; "first touch"; .[0]; $pages; .[1])[$device]])]);

def both_ways: [("pinned", "on demand") as $memory | [., $memory]];

def steady($rows; $devices):
	transfers as $all
	| block("steady"; [$all[] | tick];
		[$devices[] | both_ways[] | . as $way
			| series(join(", "); [$all[] | of($rows; "steady"; .[0]; $way[1]; .[1])[$way[0]]])]);

def registration($rows; $devices):
	[$rows[] | select(.section == "registration" and .operation == "register") | .size | select(. > 0)] | unique as $sizes
	| block("registration"; $sizes;
		[$devices[] | both_ways[] | . as $way
			| series(join(", "); [$sizes[] | of($rows; "registration"; "register"; $way[1]; .)[$way[0]]])]);

def many($rows; $devices):
	[$rows[] | select(.section == "many QPs") | .size] | unique as $counts
	| block("many"; $counts;
		[$devices[] | . as $device
			| series(.; [$counts[] | of($rows; "many QPs"; "WRITE"; "on demand"; .)[$device]])]);

.rows as $rows
| .about.devices as $devices
| touch($rows; $devices; "small pages"), touch($rows; $devices; "huge pages"),
	steady($rows; $devices), registration($rows; $devices), many($rows; $devices)
