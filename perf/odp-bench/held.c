// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Steps: what registered memory holds: of the owner's limits, of its memory,
 * and of the kernel's.
 *
 * The kernel's memory is taken from /proc/meminfo, which is the whole
 * machine's, and some MiB of it come and go at any time.
 */
#include <fcntl.h>

#include "bench.h"

#define MESSAGE		MIB
#define ENOUGH_NS	(3000 * NS_PER_MS)
#define MAX_SIZE	(128 * MIB)
#define SEED		11

/* So much more than is accessed elsewhere, that it stands out. */
#define TIMES		4

struct usage {
	double locked;
	double pinned;
	double present;
	double slab;
	double kernel;
};

static double status(const char *name)
{
	uint64_t word = 0;

	memcpy(&word, name, strlen(name));
	return ask(own_usage, word) / (double)MIB;
}

static double slab(void)
{
	return (system_memory("Slab") + system_memory("Percpu")) / (double)MIB;
}

/* Of the free pages those that wait for one CPU too: they are many. */
static size_t free_memory(void)
{
	size_t page = sysconf(_SC_PAGESIZE), pages, sum = 0;
	FILE *file = fopen("/proc/zoneinfo", "r");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " pages free %zu", &pages) == 1 ||
		    sscanf(line, " count: %zu", &pages) == 1)
			sum += pages * page;
	if (file)
		fclose(file);
	return sum;
}

/* The counters are summed up now and then, or when root asks for it. */
static void refresh_counters(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fail_errno("stat_refresh", errno);
	close(fd);
}

/* All that is neither free nor a page of a process or a file. */
static double kernel(void)
{
	double bytes = system_memory("MemTotal");

	refresh_counters();
	bytes -= free_memory();
	bytes -= system_memory("Active");
	bytes -= system_memory("Inactive");
	bytes -= system_memory("Unevictable");
	bytes -= system_memory("PageTables");
	return bytes / MIB;
}

static struct usage usage(void)
{
	return (struct usage) {
		status("VmLck"), status("VmPin"), status("VmRSS"), slab(),
		kernel()
	};
}

/* What was added since. */
static void report(const struct step *step, const char *state,
		   const struct usage *before)
{
	struct usage now = usage();
	const struct {
		const char *what;
		double mib;
	} figures[] = {
		{ "VmLck", now.locked - before->locked },
		{ "VmPin", now.pinned - before->pinned },
		{ "VmRSS", now.present - before->present },
		{ "Slab, Percpu", now.slab - before->slab },
		{ "kernel", now.kernel - before->kernel },
	};
	char operation[40];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		snprintf(operation, sizeof(operation), "%s: %s", state,
			 figures[i].what);
		point_at(step->section, operation, memory_name[step->memory],
			 step->size);
		point_value(figures[i].mib, "MiB");
	}
}

static size_t held_size(void)
{
	return settings.size * TIMES < MAX_SIZE ? settings.size * TIMES :
						  MAX_SIZE;
}

static void report_share(const struct step *step,
			 const struct transfer *transfer, double before)
{
	double added = (kernel() - before) * MIB;
	bool right = owner_has(transfer, SEED);

	point_at(step->section, "kernel, of what was accessed",
		 memory_name[step->memory], 0);
	if (right)
		point_value(added * 100 / transfer->bytes, "%");
	else
		point_problem("data wrong");
}

/* Registered, accessed by the other process, and deregistered. */
void step_held(const struct step *step)
{
	struct transfer transfer = {
		.opcode = IBV_WR_RDMA_WRITE,
		.size = held_size(),
		.message = MESSAGE,
		.qps = 1,
		.enough_ns = ENOUGH_NS,
	};
	struct usage before;

	point_at(step->section, "registered: VmLck", memory_name[step->memory],
		 0);
	owner_start();
	owner_connect(1);
	need_access(&mine, step->memory, IBV_WR_RDMA_WRITE);
	local_prepare(&transfer);
	pattern_fill(transfer.local, transfer.size, SEED);
	transfer.remote = ask(own_map, transfer.size, SMALL_PAGES);

	before = usage();
	transfer.rkey = ask(own_register, transfer.remote, transfer.size,
			    step->memory);
	report(step, "registered", &before);
	transfer_run(&mine, &transfer);
	report(step, "accessed", &before);
	report_share(step, &transfer, before.kernel);
	ask(own_deregister);
	report(step, "deregistered", &before);
}

/* A large region of nothing, by steps that a device can be trusted with. */
void step_held_extent(const struct step *step)
{
	size_t size = GIB, next, took, available;
	double before = 0;
	uint64_t address;

	point_at(step->section, "kernel, untouched region", "on demand", TIB);
	owner_start();
	owner_connect(1);
	need_memory(&mine, ON_DEMAND);
	for (;; size = next) {
		address = ask(own_map, size, ANY_PAGES);
		available = system_memory("MemAvailable");
		before = kernel();
		ask(own_register, address, size, ON_DEMAND);
		if (size == TIB)
			break;
		took = memory_taken(available);
		ask(own_deregister);
		ask(own_unmap, address, size);
		next = size * 16 < TIB ? size * 16 : TIB;
		if (!registration_fits(took, size, next))
			fail("too large");
	}
	point_value(kernel() - before, "MiB");
}
