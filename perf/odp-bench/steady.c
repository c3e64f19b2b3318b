// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Steps: memory that is there and has been accessed before.  It is the same
 * memory pinned and on demand: registered one way and the other, in turns.
 */
#include "bench.h"

#define MAX_SIZE	(16 * MIB)
#define TURNS		3
#define ENOUGH_NS	(150 * NS_PER_MS)
#define LATENCIES	1001
#define CLEARED		0x5a

/* Where in the memory 8 bytes go: into a page, and not to its start. */
#define PLACE		(64 * KIB + 1064)

static struct transfer present(const struct step *step)
{
	struct transfer transfer = {
		.opcode = step->opcode,
		.size = settings.size < MAX_SIZE ? settings.size : MAX_SIZE,
		.message = step->size,
		.qps = 1,
	};

	owner_start();
	owner_connect(1);
	local_prepare(&transfer);
	transfer.remote = ask(own_map, transfer.size, ANY_PAGES);
	ask(own_clear, transfer.remote, transfer.size, CLEARED);
	return transfer;
}

/* The bytes go one way or the other, and are not there yet. */
static void prepare(struct transfer *transfer, uint64_t seed)
{
	if (transfer->opcode == IBV_WR_RDMA_READ) {
		memset(transfer->local, CLEARED, transfer->size);
		ask(own_fill, transfer->remote, transfer->size, seed);
	} else {
		pattern_fill(transfer->local, transfer->size, seed);
		ask(own_clear, transfer->remote, transfer->size, CLEARED);
	}
}

static bool arrived(const struct transfer *transfer, size_t offset, size_t size,
		    uint64_t seed)
{
	if (transfer->opcode == IBV_WR_RDMA_READ)
		return pattern_check(transfer->local + offset, size, seed,
				     offset);
	return owner_has_at(transfer, offset, size, seed);
}

static void bandwidth(const struct step *step, struct transfer *transfer)
{
	static uint64_t seed;

	(void)step;
	prepare(transfer, ++seed);
	transfer->again = true;
	transfer->enough_ns = ENOUGH_NS;
	transfer_run(&mine, transfer);
	if (arrived(transfer, 0, transfer->reached[0], seed))
		point_value(rate(transfer->bytes, transfer->ns), "MB/s");
	else
		point_problem("data wrong");
}

static void latency(const struct step *step, struct transfer *transfer)
{
	uint64_t ns[LATENCIES], start = now_ns();
	static uint64_t seed;
	int n = 0;

	prepare(transfer, ++seed);
	while (n < LATENCIES && (n < 3 || now_ns() - start < ENOUGH_NS))
		ns[n++] = access_latency(&mine, transfer, PLACE);
	if (arrived(transfer, PLACE, step->size, seed))
		point_value(median(ns, n) / 1e3, "us");
	else
		point_problem("data wrong");
}

/* All of it is accessed once before it counts. */
static void warm_up(struct transfer *transfer)
{
	size_t message = transfer->message;

	transfer->message = 64 * KIB;
	transfer->again = false;
	transfer->enough_ns = ENOUGH_NS;
	transfer_run(&mine, transfer);
	transfer->message = message;
}

static void in_turns(const struct step *step,
		     void (*measure)(const struct step *, struct transfer *))
{
	const char *name = opcode_name(step->opcode);
	struct transfer transfer;
	int i;

	point_at(step->section, name, memory_name[PINNED], step->size);
	transfer = present(step);
	for (i = 0; i < TURNS * 2; i++) {
		enum memory memory = i % 2 ? ON_DEMAND : PINNED;

		point_at(step->section, name, memory_name[memory], step->size);
		point_turn(i / 2);
		if (!can_access(&mine, memory, step->opcode)) {
			point_problem("not supported");
			continue;
		}
		transfer.rkey = ask(own_register, transfer.remote,
				    transfer.size, memory);
		warm_up(&transfer);
		measure(step, &transfer);
		ask(own_deregister);
	}
}

void step_steady(const struct step *step)
{
	in_turns(step, bandwidth);
}

void step_latency(const struct step *step)
{
	in_turns(step, latency);
}
