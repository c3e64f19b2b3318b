# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# What the reports share: medians, and how figures, columns and problems are written. jq -L finds it.

def median: sort | if length == 0 then null
	elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;

def spaces($n): if $n > 0 then " " * $n else "" end;
def left($n): . + spaces($n - length);
def right($n): spaces($n - length) + .;

def fixed($places):
	pow(10; $places) as $unit
	| (. * $unit | round) as $n
	| if $places == 0 then $n | tostring
	  else ($n % $unit | tostring) as $rest
	  | "\($n / $unit | floor).\("0" * ($places - ($rest | length)) // "")\($rest)" end;

# Three digits are as much as any of these is known to.
def figure:
	if . == null then "-" elif . < 0 then "-" + (-. | figure)
	elif . >= 99.95 then fixed(0) elif . >= 9.995 then fixed(1) else fixed(2) end;

def size:
	if . >= 1099511627776 then "\(. / 1099511627776) TiB" elif . >= 1073741824 then "\(. / 1073741824) GiB"
	elif . >= 1048576 then "\(. / 1048576) MiB" elif . >= 1024 then "\(. / 1024) KiB" else "\(.) B" end;

# Why there is no figure, in a few words.
def problem: if IN("not supported", "data wrong", "hangs", "too large") then . else "failed" end;
