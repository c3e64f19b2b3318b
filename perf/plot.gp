# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# gnuplot -e 'data="..."; out="..."; about="..."; rxe_on_demand=0' perf/plot.gp
#
# data is what perf/plot.jq makes; rxe_on_demand tells whether there is something in that column.
set terminal svg size 1600,640 font "sans-serif,18" background "white"
set output out
set encoding utf8

names = "x 'tide, pinned' 'tide, on demand' 'rxe, pinned' 'rxe, on demand' 'one copy by the kernel'"
shown = rxe_on_demand ? "2 3 4 5 6" : "2 3 4 6"
set linetype 2 linecolor rgb "#0b5394" linewidth 3 pointtype 7
set linetype 3 linecolor rgb "#6fa8dc" linewidth 3 pointtype 7
set linetype 4 linecolor rgb "#e69138" linewidth 3 pointtype 7
set linetype 5 linecolor rgb "#f9cb9c" linewidth 3 pointtype 7
set linetype 6 linecolor rgb "#b7b7b7" linewidth 3 pointtype 7

set style data histograms
set style histogram clustered gap 1
set style fill solid noborder
set border 3 linecolor rgb "#666666"
set tics nomirror scale 0.5
set grid ytics linecolor rgb "#dddddd" linetype 1 linewidth 1
set logscale y
set key off

higher(a, b) = b > a ? b : a

set multiplot title about . "\n{/=15 ×: tide, pinned, against rxe, pinned}"

set origin 0, 0.1
set size 0.44, 0.82
set title "Bandwidth, MB/s: more is better"
set yrange [10:*]
set xtics font ",14"
plot for [i in shown] data index 0 using (column(int(i))):xtic(1) linetype int(i), \
	data index 0 using ($0 - 0.25):(higher($2, $3) * 1.3):(sprintf("%.0f×", $7)) with labels font ",14"

set origin 0.44, 0.1
set size 0.25, 0.82
set title "Latency, µs: less is better"
set yrange [0.5:*]
plot for [i in shown] data index 1 using (column(int(i))):xtic(1) linetype int(i), \
	data index 1 using ($0 - 0.25):(higher($2, $3) * 1.15):(sprintf("%.1f×", $7)) with labels font ",14"

set origin 0.69, 0.1
set size 0.31, 0.82
set title "Registration, µs: less is better"
set yrange [1:*]
set logscale x 2
set xrange [2**19:2**41]
set xtics ("1 MiB" 2**20, "256 MiB" 2**28, "32 GiB" 2**35, "1 TiB" 2**40)
set datafile missing "NaN"
plot for [i=2:(rxe_on_demand ? 5 : 4)] data index 2 using 1:i with linespoints linetype i pointsize 0.8

# One key for all three.
set margins 0, 0, 0, 0
set origin 0, 0
set size 1, 0.12
unset title
unset border
unset tics
unset grid
unset logscale
unset xrange
set xrange [0:1]
set yrange [0:1]
set key at screen 0.5, screen 0.05 center maxrows 1 samplen 2 width -4
plot for [i in shown] NaN with boxes linetype int(i) title word(names, int(i))
unset multiplot
