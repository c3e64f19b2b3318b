# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From odp.json to the table on the terminal.

include "figures";

def relative_to:
	{"first touch": ": CPU", "given back": ": CPU", "many QPs": ": one", "prefetch": ": second",
		"steady": ": pinned", "latency": ": pinned", "registration": ": pinned"}[.];

def title:
	{"registration": "registration, pages there if pinned, us",
	 "first touch": "first touch of fresh memory, MB/s",
	 "steady": "memory accessed before, MB/s",
	 "latency": "accessed before, from post to completion, us",
	 "given back": "after MADV_DONTNEED, us a page",
	 "prefetch": "prefetch, us a MiB; accesses, MB/s",
	 "many QPs": "first touch by many QPs together, MB/s",
	 "held": "held, MiB more"}[.] // .;

def value: if . == null then "-" elif .problem then .problem | problem else .value | figure end;

def place:
	if .section == "many QPs" then "\(.size) QP" elif .size > 0 then .size | size else "" end;

def what:
	if .section == "many QPs" then "\(.operation), \(place)"
	else [.operation, .memory, place] | map(select(. != "")) | join(", ") end;

def cells($devices; $name):
	. as $row
	| [$name, ($row.devices.CPU | if . then value else "" end)]
	+ [$devices[] | $row.devices[.] | (if . == null and $row.devices.CPU then "" else value end), (.relative | if . then figure else "" end)]
	+ if ($devices | length) == 2 then [$row.ratio | if . then figure else "" end] else [] end;

def line: (.[0] | left(46)) + (.[1] | right(8)) + ([.[2:][] | right(14)] | add);

def notes:
	.[] | . as $row | .devices | to_entries[]
	| select(.value.problem and (.value.problem | problem) == "failed")
	| "    \(.key), \($row | what): \(.value.problem)";

def section($about; $title):
	.[0].section as $name
	| $about.devices as $devices
	| "",
	([$title, (if any(.[]; .devices.CPU) then "CPU" else "" end)]
	+ [$devices[] | ., ($name | relative_to // "")]
	+ (if ($devices | length) == 2 then [$devices | join(":")] else [] end) | line),
	(sort_by(.operation == "deregister")[] | cells($devices; "  " + what) | line),
	notes;

# A line for each device, way of registering, and moment; a column for each kind of memory.
def held_line($rows; $device; $memory; $state; $kinds):
	[$kinds[] as $kind | [$rows[] | select(.memory == $memory and .operation == "\($state): \($kind)")][0]
		| .devices[$device]] as $cells
	| select(any($cells[]; .))
	| ("  \($device), \($memory), \($state)" | left(46))
	+ ([$cells[] | value | right(14)] | add);

def held($about):
	["VmLck", "VmPin", "VmRSS", "Slab, Percpu", "kernel"] as $kinds
	| . as $rows
	| "",
	("\("held" | title), of the owner and the kernel" | left(46)),
	(" " * 46 + ([$kinds[] | right(14)] | add)),
	($about.devices[] as $device | ("pinned", "on demand", "implicit") as $memory
		| ("registered", "accessed", "deregistered") as $state
		| held_line($rows; $device; $memory; $state; $kinds)),
	([$rows[] | select(.operation | contains(": ") | not)] | section($about; "of the kernel's memory"));

.about as $about
| "",
"Linux \($about.kernel), \($about.cpus) CPUs" +
	(if $about.emulated then ", emulated: read the ratios, not the figures" else "" end) +
	". \($about.size / 1048576) MiB of memory.",
(if $about.rounds > 1 then "Medians of \($about.rounds) rounds" else "One round" end) +
	". Of a ratio, more is better for the one named first.",
([.rows | to_entries[]] | group_by(.value.section) | sort_by(.[0].key)[] | map(.value)
	| if .[0].section == "held" then held($about) else section($about; .[0].section | title) end)
