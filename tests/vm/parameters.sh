# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# What the kernel of every guest is told. Sourced, after common.sh.
#
#   $parameters             an array of it
#   as_emulated OPTIONS     add what helps if QEMU's options, those of tests/vm/accel, say that the guest is emulated

# An oops ends the guest at once. The limits allow for an emulated machine that shares its cores.
parameters=(console=ttyS0 ignore_loglevel panic=-1 oops=panic mitigations=off
	watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60 sysctl.kernel.hung_task_timeout_secs=60)

# An emulated TSC is this machine's own. The guest would distrust it nonetheless, and ask an emulated HPET for the
# time, which costs microseconds and a system call.
if grep -qx tsc /sys/devices/system/clocksource/clocksource0/current_clocksource; then
	parameters+=(tsc=reliable)
fi

# QEMU finds what it has translated again by its virtual address. With libraries at other addresses in each process it
# translates them for each process, which is half of what it takes to run a short one.
as_emulated() {
	[[ $1 != *'-accel tcg'* ]] || parameters+=(norandmaps)
}
