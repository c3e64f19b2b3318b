// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Steps: registering memory, and deregistering it.
 *
 * Pages of pinned memory are there before; of memory on demand only addresses,
 * so that it can be larger than the machine.
 */
#include "bench.h"

#define SECTION		"registration"
#define MIN_RUNS	5
#define ENOUGH_NS	(150 * NS_PER_MS)

static const size_t pinned_sizes[] = {
	4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB, 0
};

static const size_t on_demand_sizes[] = {
	4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB, 16 * GIB, 256 * GIB,
	TIB, 0
};

static const size_t implicit_sizes[] = { SIZE_MAX, 0 };

static const size_t *sizes_of(enum memory memory)
{
	switch (memory) {
	case PINNED:
		return pinned_sizes;
	case ON_DEMAND:
		return on_demand_sizes;
	default:
		return implicit_sizes;
	}
}

/* Of /proc/meminfo, in bytes. */
size_t system_memory(const char *what)
{
	size_t length = strlen(what), kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, what, length) && line[length] == ':')
			kib = strtoull(line + length + 1, NULL, 10);
	if (file)
		fclose(file);
	return kib * KIB;
}

/*
 * Some devices allocate for each page of a region, present or not.  A terabyte
 * of those could take all memory there is.
 */
bool registration_fits(size_t took, size_t size, size_t next)
{
	return took < size && (double)took / size * next <
			      system_memory("MemAvailable") / 4.0;
}

/* Since so much was available. */
size_t memory_taken(size_t before)
{
	size_t now = system_memory("MemAvailable");

	return now < before ? before - now : 0;
}

static struct registration register_once(char *p, size_t size,
					 enum memory memory, size_t *took)
{
	size_t before = took ? system_memory("MemAvailable") : 0;
	uint64_t start = now_ns(), registered, deregistering;
	struct ibv_mr *mr;
	int error;

	if (memory == IMPLICIT)
		mr = ibv_reg_mr(mine.pd, NULL, SIZE_MAX, memory_access(memory));
	else
		mr = ibv_reg_mr(mine.pd, p, size, memory_access(memory));
	registered = now_ns();
	if (!mr)
		fail_errno("ibv_reg_mr", errno);
	if (took)
		*took = memory_taken(before);
	deregistering = now_ns();
	error = ibv_dereg_mr(mr);
	if (error)
		fail_errno("ibv_dereg_mr", error);
	progress();
	return (struct registration){ registered - start,
				      now_ns() - deregistering };
}

/* The first one pays for what is set up once, and is not counted. */
static void measure(char *p, size_t size, enum memory memory, size_t *took)
{
	static uint64_t reg_ns[MAX_RUNS], dereg_ns[MAX_RUNS];
	struct registration run;
	uint64_t start;
	int n = 0;

	register_once(p, size, memory, took);
	start = now_ns();
	while (n < MAX_RUNS &&
	       (n < MIN_RUNS || now_ns() - start < ENOUGH_NS)) {
		run = register_once(p, size, memory, NULL);
		reg_ns[n] = run.register_ns;
		dereg_ns[n++] = run.deregister_ns;
	}
	point_value(median(reg_ns, n) / 1e3, "us");
	point_at(SECTION, "deregister", memory_name[memory], size);
	point_value(median(dereg_ns, n) / 1e3, "us");
}

static void measure_pinned(size_t size)
{
	char *p;

	if (size > system_memory("MemAvailable") * 0.6)
		fail("too large");
	p = map_memory(size, ANY_PAGES);
	own_touch((const uint64_t []){ (uintptr_t)p, size });
	measure(p, size, PINNED, NULL);
	unmap_memory(p, size);
}

static void measure_on_demand(size_t size, size_t *took, size_t last)
{
	char *p;

	if (last && !registration_fits(*took, last, size))
		fail("too large");
	p = map_memory(size, ANY_PAGES);
	measure(p, size, ON_DEMAND, took);
	unmap_memory(p, size);
}

void step_register(const struct step *step)
{
	const size_t *size = sizes_of(step->memory);
	size_t took = 0, last = 0;

	for (; *size; size++) {
		if (settings.quick && *size != MIB && *size < 256 * MIB)
			continue;
		point_at(SECTION, "register", memory_name[step->memory],
			 step->memory == IMPLICIT ? 0 : *size);
		if (!last)
			end_open(&mine);
		need_memory(&mine, step->memory);
		if (step->memory == PINNED)
			measure_pinned(*size);
		else if (step->memory == ON_DEMAND)
			measure_on_demand(*size, &took, last);
		else
			measure(NULL, 0, IMPLICIT, NULL);
		last = *size;
	}
}
