/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * counters.h - what was counted, and what there is.
 */
#ifndef COUNTERS_H
#define COUNTERS_H

#include "region.h"

/* A counter of a region's, as rdma tells it, or -1. */
static inline long region_counter(const struct region *region,
				  const char *name)
{
	char command[300], text[32];

	snprintf(command, sizeof(command), "rdma statistic show mr mrn "
		 "$(rdma res show mr | "
		 "sed -n 's/.*mrn \\([0-9]*\\) .*rkey 0x%x .*/\\1/p') | "
		 "tr '\\n' ' ' | sed -n 's/.* %s \\([0-9]*\\).*/\\1/p'",
		 region->rkey, name);
	read_command(command, text, sizeof(text));
	return *text ? atol(text) : -1;
}

/* KiB that the process has of its own in the mapping at @addr. */
static inline long own_rss(const long *arg)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool inside = false;
	char line[256];
	long rss = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (unsigned long)arg[0] &&
				 (unsigned long)arg[0] < end;
		else if (inside && rss < 0)
			sscanf(line, "Rss: %ld kB", &rss);
	}
	if (file)
		fclose(file);
	return rss;
}

#endif /* COUNTERS_H */
