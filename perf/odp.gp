# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# gnuplot -e 'plot="touch"; data="..."; out="..."; about="..."; names="..."' perf/odp.gp
#
# data is what perf/odp-plot.jq makes, and names is what it calls the columns of the plot: touch, steady, registration
# or many. Needs gnuplot 5.4.
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

last = words(names)
set border 3 linecolor rgb "#666666"
set tics nomirror scale 0.5
set grid ytics linecolor rgb "#dddddd" linetype 1 linewidth 1
set style histogram clustered gap 1
set style fill solid noborder
set bmargin 5
set key at screen 0.5, 0.06 center maxrows 1 samplen 2 width 1

if (plot eq "touch") {
	color(i) = i == 1 ? 1 : 2 * i - 2
	set style data histograms
	set logscale y
	set yrange [1:*]
	set xtics font ",15"
	set multiplot layout 1,2 title "First touch of fresh memory, MB/s: more is better\n{/=15 " . about . "}"
	set title "small pages"
	plot for [i=1:last] data index "touch, small pages" using i+1:xtic(1) linetype color(i) notitle
	set title "huge pages"
	plot for [i=1:last] data index "touch, huge pages" using i+1:xtic(1) linetype color(i) notitle, \
		for [i=1:last] keyentry with boxes linetype color(i) title word(names, i)
	unset multiplot
}
if (plot eq "steady") {
	set style data histograms
	set logscale y
	set yrange [1:*]
	set title "Memory that was accessed before, MB/s: more is better\n{/=15 " . about . "}"
	plot for [i=1:last] data index "steady" using i+1:xtic(1) linetype i+1 notitle, \
		for [i=1:last] keyentry with boxes linetype i+1 title word(names, i)
}
if (plot eq "registration") {
	set logscale xy
	set title "Registering memory, µs: less is better\n{/=15 " . about . "}"
	set xtics ("4 KiB" 2**12, "64 KiB" 2**16, "1 MiB" 2**20, "16 MiB" 2**24, "256 MiB" 2**28, "1 GiB" 2**30, \
		"16 GiB" 2.0**34, "256 GiB" 2.0**38, "1 TiB" 2.0**40)
	set xrange [2**11:2.0**41]
	set yrange [1:*]
	plot for [i=1:last] data index "registration" using 1:i+1 with linespoints linetype i+1 notitle, \
		for [i=1:last] keyentry with linespoints linetype i+1 title word(names, i)
}
if (plot eq "many") {
	set logscale x 2
	set xrange [0.9:72]
	set yrange [0:*]
	set title "First touch by so many QPs together, MB/s: more is better\n{/=15 " . about . "}"
	plot for [i=1:last] data index "many" using 1:i+1 with linespoints linetype 2*i notitle, \
		for [i=1:last] keyentry with linespoints linetype 2*i title word(names, i)
}
