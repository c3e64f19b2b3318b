# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# gnuplot -e 'plot="touch"; data="..."; out="..."; about="..."; devices=2' perf/odp.gp
#
# data is what perf/odp-plot.jq makes, of so many devices. plot is touch, steady, registration or many.
set terminal svg size 1600,640 font "sans-serif,18" background "white"
set output out
set encoding utf8
set datafile missing "NaN"

# The CPU; of each device the darker one for pinned memory.
set linetype 1 linecolor rgb "#b7b7b7" linewidth 3 pointtype 7
set linetype 2 linecolor rgb "#0b5394" linewidth 3 pointtype 7
set linetype 3 linecolor rgb "#6fa8dc" linewidth 3 pointtype 7
set linetype 4 linecolor rgb "#e69138" linewidth 3 pointtype 7
set linetype 5 linecolor rgb "#f9cb9c" linewidth 3 pointtype 7

set border 3 linecolor rgb "#666666"
set tics nomirror scale 0.5
set grid ytics linecolor rgb "#dddddd" linetype 1 linewidth 1
set key below maxrows 1 samplen 2
set style fill solid noborder

if (plot eq "touch") {
	set style data histograms
	set style histogram clustered gap 1
	set logscale y
	set xtics font ",15"
	set multiplot layout 1,2 title "First touch of fresh memory, MB/s: more is better\n{/=15 " . about . "}"
	do for [pages in "small huge"] {
		set title pages . " pages"
		plot for [i=2:2+devices] data index "touch, " . pages . " pages" \
			using i:xtic(1) linetype (i == 2 ? 1 : 2 * i - 4) title columnheader(i)
	}
	unset multiplot
}
if (plot eq "steady") {
	set style data histograms
	set style histogram clustered gap 1
	set logscale y
	set title "Memory that was accessed before, MB/s: more is better\n{/=15 " . about . "}"
	plot for [i=2:1+2*devices] data index "steady" using i:xtic(1) linetype i title columnheader(i)
}
if (plot eq "registration") {
	set logscale xy
	set title "Registering memory, µs: less is better\n{/=15 " . about . "}"
	set xtics ("4 KiB" 2**12, "64 KiB" 2**16, "1 MiB" 2**20, "16 MiB" 2**24, "256 MiB" 2**28, "1 GiB" 2**30, \
		"16 GiB" 2**34, "256 GiB" 2**38, "1 TiB" 2.0**40)
	set xrange [2**11:2.0**41]
	plot for [i=2:1+2*devices] data index "registration" using 1:i with linespoints linetype i title columnheader(i)
}
if (plot eq "many") {
	set logscale x 2
	set yrange [0:*]
	set xlabel "QPs"
	set title "First touch by many QPs together, MB/s: more is better\n{/=15 " . about . "}"
	plot for [i=2:1+devices] data index "many" using 1:i with linespoints linetype 2*i-2 title columnheader(i)
}
