/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cgroup.h - a control group that limits the memory of one process.  It needs
 * root, and version 2 of control groups.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "storage.h"

#define CGROUP_ROOT	"/sys/fs/cgroup/"
#define CGROUP		CGROUP_ROOT "tide/"

/* Whether the kernel can limit memory. */
static inline bool cgroup_make(const char *max, const char *swap_max)
{
	return tell_kernel(CGROUP_ROOT "cgroup.subtree_control", "+memory") &&
	       !mkdir(CGROUP, 0755) && tell_kernel(CGROUP "memory.max", max) &&
	       tell_kernel(CGROUP "memory.swap.max", swap_max);
}

static inline bool cgroup_enter(pid_t pid)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", pid);
	return tell_kernel(CGROUP "cgroup.procs", number);
}

/* A group is empty a little later than its last process is gone. */
static inline void cgroup_remove(void)
{
	int tries = 500;

	while (rmdir(CGROUP) && errno == EBUSY && tries--)
		sleep_ms(10);
	if (!access(CGROUP, F_OK))
		diag("the control group stays");
	tell_kernel(CGROUP_ROOT "cgroup.subtree_control", "-memory");
}

/* How often something has happened in it, or -1. */
static inline long cgroup_event(const char *name)
{
	FILE *file = fopen(CGROUP "memory.events", "re");
	long value = 0, found = -1;
	char word[64];

	while (file && fscanf(file, "%63s %ld", word, &value) == 2)
		if (!strcmp(word, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

#endif /* CGROUP_H */
