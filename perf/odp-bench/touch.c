// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Steps: the first access to pages, and to pages that were given back.
 */
#include "bench.h"

#define MESSAGE		(64 * KIB)
#define ENOUGH_NS	(1000 * NS_PER_MS)
#define SEED		7
#define LOOPS		7

/* Of what is given back each time. */
#define LOOP_SIZE	(4 * MIB)

/* Long enough for a prefetch that goes on after its call. */
#define SETTLE_US	300000

static const char * const data_wrong = "data wrong";

/* An owner with memory on demand, none of it there, and a transfer to it. */
static struct transfer fresh(const struct step *step, size_t size,
			     size_t message, int qps)
{
	struct transfer transfer = {
		.opcode = step->opcode,
		.size = size,
		.message = message,
		.qps = qps,
		.enough_ns = ENOUGH_NS,
	};

	owner_start();
	owner_connect(qps);
	need_access(&mine, ON_DEMAND, step->opcode);
	local_prepare(&transfer);
	pattern_fill(transfer.local, size, SEED);
	transfer.remote = ask(own_map, size, step->pages);
	transfer.rkey = ask(own_register, transfer.remote, size, ON_DEMAND);
	return transfer;
}

static void report(double value, const char *unit, bool right)
{
	if (right)
		point_value(value, unit);
	else
		point_problem("%s", data_wrong);
}

/* What a READ of memory that nobody wrote gives. */
static bool right(const struct transfer *transfer)
{
	if (transfer->opcode == IBV_WR_RDMA_READ)
		return byte_check(transfer->local, transfer->reached[0], 0);
	return owner_has(transfer, SEED);
}

static void run_and_report(struct transfer *transfer)
{
	transfer_run(&mine, transfer);
	report(rate(transfer->bytes, transfer->ns), "MB/s", right(transfer));
}

static double cpu_rate(const struct step *step, bool whole)
{
	char *p = map_memory(settings.size, step->pages);
	const uint64_t arg[] = { (uintptr_t)p, settings.size, 1 };
	uint64_t ns = whole ? own_clear(arg) : own_touch(arg);

	unmap_memory(p, settings.size);
	return rate(settings.size, ns);
}

void step_touch_cpu(const struct step *step)
{
	const char *pages = pages_name[step->pages];

	point_at(step->section, "a byte a page", pages, 0);
	point_value(cpu_rate(step, false), "MB/s");
	point_at(step->section, "memset", pages, 0);
	point_value(cpu_rate(step, true), "MB/s");
}

void step_first_touch(const struct step *step)
{
	struct transfer transfer;

	point_at(step->section, opcode_name(step->opcode),
		 pages_name[step->pages], step->size);
	transfer = fresh(step, settings.size, step->size, 1);
	run_and_report(&transfer);
}

/* Here a step's size is the number of QPs. */
void step_many(const struct step *step)
{
	struct transfer transfer;

	point_at(step->section, "WRITE", "on demand", step->size);
	transfer = fresh(step, settings.size, MESSAGE, step->size);
	run_and_report(&transfer);
}

void step_given_back_cpu(const struct step *step)
{
	char *p = map_memory(LOOP_SIZE, step->pages);
	const uint64_t arg[] = { (uintptr_t)p, LOOP_SIZE };
	double pages = LOOP_SIZE / (double)sysconf(_SC_PAGESIZE);
	uint64_t advise_ns[LOOPS], after_ns[LOOPS];
	int i;

	point_at(step->section, "DONTNEED", "on demand", 0);
	own_touch(arg);
	for (i = 0; i < LOOPS; i++) {
		advise_ns[i] = own_give_back(arg);
		after_ns[i] = own_touch(arg);
	}
	point_value(median(advise_ns, LOOPS) / 1e3 / pages, "us/page");
	point_at(step->section, "access after", "on demand", 0);
	point_value(median(after_ns, LOOPS) / 1e3 / pages, "us/page");
}

/* Each pass has a pattern of its own. */
static bool pass(struct transfer *transfer, uint64_t *ns)
{
	static uint64_t seed;

	pattern_fill(transfer->local, transfer->size, ++seed);
	transfer_run(&mine, transfer);
	*ns = transfer->ns;
	return owner_has(transfer, seed) && transfer->bytes == transfer->size;
}

/*
 * Per page: giving pages back while the device knows them, writing to them
 * then, and writing to them when they are there.
 */
void step_given_back(const struct step *step)
{
	double pages = LOOP_SIZE / (double)sysconf(_SC_PAGESIZE);
	uint64_t advise_ns[LOOPS], before_ns[LOOPS], after_ns[LOOPS];
	struct transfer transfer;
	bool right;
	int i;

	point_at(step->section, "DONTNEED", "on demand", 0);
	transfer = fresh(step, LOOP_SIZE, MESSAGE, 1);
	transfer.enough_ns = 0;
	right = pass(&transfer, &before_ns[0]);
	for (i = 0; i < LOOPS && right; i++) {
		right = pass(&transfer, &before_ns[i]);
		advise_ns[i] = ask(own_give_back, transfer.remote, LOOP_SIZE);
		right = right && pass(&transfer, &after_ns[i]);
	}
	if (!right)
		fail("%s", data_wrong);
	point_value(median(advise_ns, LOOPS) / 1e3 / pages, "us/page");
	point_at(step->section, "access after", "on demand", 0);
	point_value(median(after_ns, LOOPS) / 1e3 / pages, "us/page");
	point_at(step->section, "access before", "on demand", 0);
	point_value(median(before_ns, LOOPS) / 1e3 / pages, "us/page");
}

static void prefetch_waiting(const struct step *step, struct transfer *transfer)
{
	double mib = transfer->size / (double)MIB;
	uint64_t ns;

	ns = ask(own_prefetch, transfer->remote, transfer->size,
		 IBV_ADVISE_MR_FLAG_FLUSH);
	point_value(ns / 1e3 / mib, "us/MiB");
	point_at(step->section, "first access after it", "on demand", 0);
	run_and_report(transfer);
	point_at(step->section, "second access", "on demand", 0);
	run_and_report(transfer);
}

static void prefetch_not_waiting(const struct step *step,
				 struct transfer *transfer)
{
	double mib = transfer->size / (double)MIB;
	uint64_t ns;

	point_at(step->section, "prefetch, not waited for", "on demand", 0);
	ns = ask(own_prefetch, transfer->remote, transfer->size, 0);
	point_value(ns / 1e3 / mib, "us/MiB");
	point_at(step->section, "first access later", "on demand", 0);
	usleep(SETTLE_US);
	run_and_report(transfer);
}

void step_prefetch(const struct step *step)
{
	struct transfer transfer;

	point_at(step->section, "prefetch, waited for", "on demand", 0);
	transfer = fresh(step, settings.size, MESSAGE, 1);
	prefetch_waiting(step, &transfer);

	ask(own_deregister);
	ask(own_unmap, transfer.remote, transfer.size);
	transfer.remote = ask(own_map, transfer.size, step->pages);
	transfer.rkey = ask(own_register, transfer.remote, transfer.size,
			    ON_DEMAND);
	prefetch_not_waiting(step, &transfer);
}
