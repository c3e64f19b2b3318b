// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Measure on-demand paging on any RDMA device.  perf/odp is what to call: it
 * builds this, and makes a table and plots of the records.
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sys/utsname.h>

#include "bench.h"

#define SIZE_UNIT	(4 * MIB)	/* each of 64 QPs has whole messages */
#define MAX_STEPS	64

struct settings settings = {
	.size = 32 * MIB,
	.rounds = 3,
	.timeout = 10,
	.port = 1,
	.gid_index = -1,
};

const char * const memory_name[] = { "pinned", "on demand", "implicit" };
const char * const pages_name[] = { "any pages", "small pages", "huge pages" };

static const char *devices[MAX_DEVICES];
static int device_count;
static struct step steps[MAX_STEPS];
static int step_count;

static const char usage_text[] =
"usage: odp-bench [OPTION]... DEVICE [DEVICE2] >RECORDS\n"
"  -s, --size=SIZE      of the memory that is accessed, in MiB\n"
"  -r, --rounds=N       how often everything is measured\n"
"  -t, --timeout=N      seconds without progress until a step is given up\n"
"  -p, --port=N         of the device\n"
"  -g, --gid-index=N    of the GID that is used\n"
"  -O, --only=SECTION   of the table, by its first letters\n"
"  -q, --quick          less of everything, once\n";

static void usage_error(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static long number(const char *s, long min, long max)
{
	char *end;
	long value = strtol(s, &end, 10);

	if (!*s || *end || value < min || value > max) {
		fprintf(stderr, "odp-bench: not from %ld to %ld: %s\n", min,
			max, s);
		exit(2);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "timeout", required_argument, NULL, 't' },
		{ "port", required_argument, NULL, 'p' },
		{ "gid-index", required_argument, NULL, 'g' },
		{ "only", required_argument, NULL, 'O' },
		{ "quick", no_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "s:r:t:p:g:O:q", options,
				  NULL)) != -1) {
		if (opt == 's')
			settings.size = number(optarg, 4, 1 << 20) * MIB;
		else if (opt == 'r')
			settings.rounds = number(optarg, 1, 1000);
		else if (opt == 't')
			settings.timeout = number(optarg, 1, 3600);
		else if (opt == 'p')
			settings.port = number(optarg, 1, 255);
		else if (opt == 'g')
			settings.gid_index = number(optarg, 0, INT_MAX);
		else if (opt == 'O')
			settings.only = optarg;
		else if (opt == 'q')
			settings.quick = true;
		else
			usage_error();
	}
	settings.size = (settings.size + SIZE_UNIT - 1) / SIZE_UNIT * SIZE_UNIT;
	for (; optind < argc && device_count < MAX_DEVICES; optind++)
		devices[device_count++] = argv[optind];
	if (!device_count || optind < argc)
		usage_error();
}

static void plan_step(struct step step)
{
	if (settings.only &&
	    strncmp(step.section, settings.only, strlen(settings.only)))
		return;
	steps[step_count++] = step;
}

static void plan_first_touch(enum pages pages)
{
	static const size_t sizes[] = { 4 * KIB, 64 * KIB, MIB };
	struct step step = { .section = "first touch", .pages = pages };
	size_t i;

	step.run = step_touch_cpu;
	step.no_device = true;
	plan_step(step);
	step.run = step_first_touch;
	step.no_device = false;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (settings.quick && sizes[i] != 64 * KIB)
			continue;
		step.size = sizes[i];
		step.opcode = IBV_WR_RDMA_WRITE;
		plan_step(step);
		step.opcode = IBV_WR_RDMA_READ;
		plan_step(step);
	}
}

static void plan_steady(enum ibv_wr_opcode opcode)
{
	static const size_t sizes[] = { 4 * KIB, 64 * KIB, MIB };
	struct step step = { .section = "steady", .opcode = opcode };
	size_t i;

	step.run = step_steady;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (settings.quick && sizes[i] != 64 * KIB)
			continue;
		step.size = sizes[i];
		plan_step(step);
	}
	step.section = "latency";
	step.run = step_latency;
	step.size = 8;
	plan_step(step);
}

static void plan_given_back(void)
{
	struct step step = {
		.section = "given back",
		.opcode = IBV_WR_RDMA_WRITE,
		.pages = SMALL_PAGES,
	};

	step.run = step_given_back_cpu;
	step.no_device = true;
	plan_step(step);
	step.run = step_given_back;
	step.no_device = false;
	plan_step(step);
	step.section = "prefetch";
	step.run = step_prefetch;
	plan_step(step);
}

static void plan_many(void)
{
	struct step step = {
		.section = "many QPs",
		.run = step_many,
		.opcode = IBV_WR_RDMA_WRITE,
		.pages = SMALL_PAGES,
	};

	for (step.size = 1; step.size <= MAX_QPS; step.size *= 2)
		if (!settings.quick || step.size == 1 || step.size == 16)
			plan_step(step);
}

static void plan_memory(const char *section,
			void (*run)(const struct step *step))
{
	enum memory memory;

	for (memory = PINNED; memory <= IMPLICIT; memory++)
		plan_step((struct step){ .section = section, .run = run,
					 .memory = memory });
}

static void plan(void)
{
	plan_memory("registration", step_register);
	plan_first_touch(SMALL_PAGES);
	plan_first_touch(HUGE_PAGES);
	plan_steady(IBV_WR_RDMA_WRITE);
	plan_steady(IBV_WR_RDMA_READ);
	plan_given_back();
	plan_many();
	plan_memory("held", step_held);
	plan_step((struct step){ .section = "held", .run = step_held_extent });
	if (!step_count) {
		fprintf(stderr, "odp-bench: no section is called so: %s\n",
			settings.only);
		exit(2);
	}
}

static void check_devices(void)
{
	int i;

	for (i = 0; i < device_count; i++) {
		if (device_exists(devices[i]))
			continue;
		fprintf(stderr, "odp-bench: no device %s\n", devices[i]);
		exit(1);
	}
}

static bool is_emulated(void)
{
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "r");
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, "QEMU TCG");
	if (file)
		fclose(file);
	return found;
}

static void put_about(void)
{
	struct utsname system;
	int i;

	uname(&system);
	dprintf(settings.out, "{\"about\": {\"kernel\": \"%s\", \"cpus\": %ld, "
		"\"emulated\": %s, \"size\": %zu, \"rounds\": %d, "
		"\"devices\": [", system.release,
		sysconf(_SC_NPROCESSORS_ONLN), is_emulated() ? "true" : "false",
		settings.size, settings.rounds);
	for (i = 0; i < device_count; i++)
		dprintf(settings.out, "%s\"%s\"", i ? ", " : "", devices[i]);
	dprintf(settings.out, "]}}\n");
}

/* What is compared stands close together. */
static void run_round(int round, int *number, int count)
{
	struct step *step;
	int i;

	for (step = steps; step < steps + step_count; step++) {
		if (step->no_device) {
			step_progress(round, ++*number, count);
			step_run(step, "CPU", -1);
			continue;
		}
		for (i = 0; i < device_count; i++) {
			step_progress(round, ++*number, count);
			if (!step->hung[i])
				step_run(step, devices[i], i);
		}
	}
}

static int count_steps(void)
{
	int count = 0, i;

	for (i = 0; i < step_count; i++)
		count += steps[i].no_device ? 1 : device_count;
	return count;
}

int main(int argc, char **argv)
{
	int round, rounds_steps, number = 0;

	parse(argc, argv);
	if (settings.quick)
		settings.rounds = 1;
	check_devices();
	plan();
	settings.out = STDOUT_FILENO;
	step_setup();
	put_about();
	rounds_steps = count_steps() * settings.rounds;
	for (round = 1; round <= settings.rounds; round++)
		run_round(round, &number, rounds_steps);
	return 0;
}
