# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# From the records of odp-bench, slurped, to odp.json.
#
# A figure is the median over the rounds. A ratio is the median of the rounds' ratios: what slowed a whole round down is
# not in it. Ratios are so made that more is better for the one named first. What is wrong, or fails, in one round is
# no figure, whatever the others gave.

include "figures";

def key: [.section, .operation, .memory, .size, .device] | tojson;

# What something is relative to: on the CPU, pinned, with one QP.
def reference:
	if .device == "CPU" then null
	elif .section == "first touch" then . + {device: "CPU", operation: "a byte a page", size: 0}
	elif .section == "given back" and .operation != "access before" then . + {device: "CPU"}
	elif .section == "many QPs" then . + {size: 1}
	elif .section == "prefetch" and (.operation | startswith("first")) then . + {operation: "second access"}
	elif (.section | IN("steady", "latency", "registration")) and .memory == "on demand" then . + {memory: "pinned"}
	else null end;

def more_is_better($unit): $unit == "MB/s";

# ratio(A; B; UNIT): of two objects of values by round
def ratio($a; $b; $unit):
	[$a | to_entries[] | select(.value > 0 and ($b[.key] // 0) > 0)
		| if more_is_better($unit) then .value / $b[.key] else $b[.key] / .value end]
	| median;

def by_round: map(select(.value != null) | {key: "\(.round).\(.turn)", value}) | from_entries;

def cell($known):
	.[0] as $one
	| by_round as $values
	| ([.[] | .problem | values] | first) as $problem
	| ($one | reference | if . then $known[key] else null end) as $reference
	| if $problem then {problem: $problem}
	  else {
		value: ([$values[]] | median),
		relative: (if $reference then ratio($values; $reference; $one.unit) else null end),
		samples: [$values[]]
	  } end;

# What was wrong is no reference either.
def known:
	group_by(key) | map(select(all(.[]; .problem == null)) | {key: .[0] | key, value: by_round}) | from_entries;

def row($devices; $known):
	. as $samples
	| .[0] as $one
	| ([.[] | .unit | values] | first) as $unit
	| [$devices[] | . as $device | $known[$one + {device: $device} | key]] as $both
	| {
		section: $one.section, operation: $one.operation, memory: $one.memory, size: $one.size, unit: $unit,
		better: (if more_is_better($unit) then "more" else "less" end),
		devices: (group_by(.device) | map({key: .[0].device, value: cell($known)}) | from_entries),
		ratio: (if all($both[]; .) and ($both | length) == 2 and $one.section != "held"
			then ratio($both[0]; $both[1]; $unit) else null end)
	};

.[0].about as $about
| [to_entries[] | select(.value.section) | .value + {place: .key}] as $samples
| ($samples | known) as $known
| {
	about: $about,
	rows: ($samples
		| group_by([.section, .operation, .memory, .size])
		| sort_by(.[0].place)
		| map(row($about.devices; $known)))
}
