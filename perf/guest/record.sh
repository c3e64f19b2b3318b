# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
# shellcheck disable=SC2154 # what whoever sources this has set
#
# What measurements in guests write down, for perf/compare. Sourced, after perftest.sh; $extent, $rounds and $round are
# what their names say, $total is how many measurements there will be.
#
#   about                       print what all of it is of
#   progress DEVICE OPERATION SIZE MEMORY
#                               say what is being measured
#   result DEVICE OPERATION SIZE MEMORY latency|bandwidth VALUE
#                               say what it came to, and write that to $results
#   record ...                  the latter only
#   failed                      it came to nothing: say so, and what $said has about it
#   calibrated_pair PROGRAM [ARG...]
#                               pair, of perftest's programs, to $said
#   perftest_value latency|bandwidth
#                               the figure in that

results=$OUT/compare.jsonl
said=${TMPDIR:-/tmp}/pair.client
done=0

about() {
	local emulated=false
	! grep -q 'QEMU TCG' /proc/cpuinfo || emulated=true
	printf '{"about": {"kernel": "%s", "cpus": %d, "emulated": %s, "extent": "%s", "rounds": %d}}\n' \
		"$(uname -r)" "$(nproc)" "$emulated" "$extent" "$rounds"
}

# If something else wants the processor while perftest measures its clock, all its figures are 0.
calibrated_pair() {
	local _
	for _ in 1 2 3 4 5; do
		pair "$@" >"$said" 2>&1 || return
		grep -q 'Correlation coefficient' "$said" || return 0
	done
	return 1
}

# The average bandwidth, from MiB/s to MB/s, or the typical latency, which is the median.
perftest_value() {
	case $1 in
	bandwidth) awk '$1 + 0 > 0 { printf "%.2f\n", $4 * 1.048576 }' "$said" ;;
	latency) awk '$1 + 0 > 0 { print $5 }' "$said" ;;
	esac
}

progress() {
	printf '[%3d/%d] %-8s %8s  %-9s  %-6s' "$((++done))" "$total" "$2" "$(size_name "$3")" "$4" "$1"
}

result() {
	local unit=us
	[ "$5" = latency ] || unit=MB/s
	printf ' %10s %s\n' "$6" "$unit"
	record "$@"
}

record() {
	printf '{"round": %d, "device": "%s", "operation": "%s", "size": %d, "memory": "%s", "measure": "%s", "value": %s}\n' \
		"$round" "$@" >>"$results"
}

failed() {
	echo ' failed'
	cat "$said" >&2
	return 1
}

size_name() {
	local size=$1 unit=0 units=(B KiB MiB GiB TiB)
	for ((; size >= 1024; size /= 1024)); do ((++unit)); done
	echo "$size ${units[unit]}"
}
