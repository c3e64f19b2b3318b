#include "nag.h"
// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * A process forks while others write to and read its memory, and its own CPU
 * writes too: the child never sees what comes after the fork, the parent sees
 * it all, whoever of them writes.  So do those who read remotely.
 *
 * Every other slot is written remotely, those between by the CPU, all with
 * numbers that grow.  Slots begin and end anywhere in pages.
 *
 *	| guard 3 | filler 5 | number and index, 8 each | filler 6 | guard 2 |
|
 */

#define SLOT_WORDS	313
#define SLOT		(SLOT_WORDS * sizeof(uint64_t))
#define SLOTS		104
#define FORKED		(SLOTS * SLOT)
#define HEAD		3
#define TAIL		2
#define GUARD		0xa5
#define FILLER		0x5a
#define CHILDS		0xc41dc41dULL

/* Numbers: the newest begun, and by slot begun and done. */
static struct {
	uint64_t remote;
	uint64_t cpu;
	uint64_t begun[SLOTS];
	uint64_t done[SLOTS];
} *slots;

static uint64_t load(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static void store(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

/* Without the guards. */
static void slot_fill(uint8_t *slot, uint64_t number)
{
	uint64_t i, word;

	memset(slot + HEAD, FILLER, 8 - HEAD);
	for (i = 1; i < SLOT_WORDS - 1; i++) {
		word = number << 16 | i;
		memcpy(slot + 8 * i, &word, 8);
	}
	memset(slot + 8 * i, FILLER, 8 - TAIL);
}

/* Numbers from @low to @high may be in it. */
static bool slot_check(const uint8_t *slot, uint64_t low, uint64_t high)
{
	static const uint8_t head[8] = { GUARD, GUARD, GUARD, FILLER, FILLER,
					 FILLER, FILLER, FILLER };
	static const uint8_t tail[8] = { FILLER, FILLER, FILLER, FILLER,
					 FILLER, FILLER, GUARD, GUARD };
	uint64_t i, word;

	if (memcmp(slot, head, 8) || memcmp(slot + SLOT - 8, tail, 8))
		return false;
	for (i = 1; i < SLOT_WORDS - 1; i++) {
		memcpy(&word, slot + 8 * i, 8);
		if ((word & 0xffff) != i || word >> 16 < low ||
		    word >> 16 > high)
			return false;
	}
	return true;
}

static long own_slots_fill(const long *arg)
{
	uint8_t *mem = (void *)arg[0];
	int i;

	memset(mem, GUARD, FORKED);
	for (i = 0; i < SLOTS; i++)
		slot_fill(mem + i * SLOT, 0);
	return 0;
}

/* One slot written by the CPU. */
static long own_slot_write(const long *arg)
{
	int slot = 2 * random_below(SLOTS / 2) + 1;
	uint64_t number = load(&slots->cpu) + 1;

	store(&slots->cpu, number);
	store(&slots->begun[slot], number);
	slot_fill((uint8_t *)arg[0] + slot * SLOT, number);
	store(&slots->done[slot], number);
	sleep_us(random_below(300));
	return 0;
}

/* Nobody writes any more. */
static long own_slots_check(const long *arg)
{
	uint8_t *mem = (void *)arg[0];
	int i, good = 0;

	for (i = 0; i < SLOTS; i++)
		good += slot_check(mem + i * SLOT, slots->done[i],
				   slots->done[i]);
	return good;
}

/* Nothing that is newer than the fork, and nothing that changes. */
static void child_looks(const uint8_t *mem, uint64_t remote, uint64_t cpu)
{
	uint8_t *before = map_memory(FORKED);
	int i;

	sleep_ms(2);
	memcpy(before, mem, FORKED);
	for (i = 0; i < SLOTS; i++)
		expect(slot_check(mem + i * SLOT, 0, i & 1 ? cpu : remote),
		       "slot %d of a child is not as it was at the fork", i);
	sleep_ms(10);
	expect_same(mem, before, FORKED, "a child's memory after a while");
}

static void child_writes(uint8_t *mem)
{
	int i;

	for (i = 0; i < SLOTS; i++)
		slot_fill(mem + (i * 37 % SLOTS) * SLOT, CHILDS);
	sleep_ms(10);
	for (i = 0; i < SLOTS; i++)
		expect(slot_check(mem + i * SLOT, CHILDS, CHILDS),
		       "slot %d is not what the child wrote", i);
}

static long own_fork(const long *arg)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid)
		return pid;
	child_looks((void *)arg[0], load(&slots->remote), load(&slots->cpu));
	if (arg[1])
		child_writes((void *)arg[0]);
	_exit(0);
}

static long own_reap(const long *arg)
{
	int status = -1;

	return wait_child(arg[0], SOON_MS, &status) ? status : -1;
}

/* Write a slot and read it back. */
static void use_slot(const struct region *region, uint64_t number)
{
	int slot = 2 * (number * 7 % (SLOTS / 2));
	enum kind kind = random_below(KINDS);

	memset(buf[kind], GUARD, SLOT);
	slot_fill(buf[kind], number);
	memmove(buf[kind], buf[kind] + HEAD, SLOT - HEAD - TAIL);
	store(&slots->begun[slot], number);
	store(&slots->remote, number);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
		      region->addr + slot * SLOT + HEAD, region->rkey,
		      SLOT - HEAD - TAIL);
	store(&slots->done[slot], number);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, !kind,
		      region->addr + slot * SLOT, region->rkey, SLOT);
	expect(slot_check(buf[!kind], number, number), "slot %d read back",
	       slot);
}

/* Read a slot of the CPU's; whether it is known what there had to be. */
static bool look_at_slot(const struct region *region)
{
	int slot = 2 * random_below(SLOTS / 2) + 1;
	uint64_t done = load(&slots->done[slot]);
	bool known = load(&slots->begun[slot]) == done;

	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP,
		      region->addr + slot * SLOT, region->rkey, SLOT);
	known = known && load(&slots->begun[slot]) == done;
	if (known)
		expect(slot_check(buf[ODP], done, done),
		       "slot %d is not what the owner's CPU wrote", slot);
	return known;
}

static void forks(bool child_writes)
{
	struct region region = region_map(FORKED, ODP);
	unsigned int failures = tap->failures, known = 0;
	int i, n, rounds = length_of(12, 300);
	uint64_t number = 0;
	long pid[2] = {}, nag;

	memset(slots, 0, sizeof(*slots));
	ask(&owner, own_slots_fill, region.addr);
	nag = ask(&owner, own_nag, (long)own_slot_write, region.addr);
	for (i = 0; i < rounds && tap->failures == failures; i++) {
		if (pid[i & 1])
			expect_eq(ask(&owner, own_reap, pid[i & 1]), 0,
				  "child");
		tell(&owner, own_fork, region.addr, child_writes);
		for (n = 0; n < 40; n++) {
			use_slot(&region, ++number);
			known += look_at_slot(&region);
		}
		pid[i & 1] = owner_answer(&owner);
	}
	for (i = 0; i < 2; i++)
		expect_eq(ask(&owner, own_reap, pid[i]), 0, "child");
	expect(ask(&owner, own_nag_stop, nag) > 0, "the CPU wrote nothing");
	expect(known > 20, "only %u slots of the CPU's were known", known);
	expect_eq(ask(&owner, own_slots_check, region.addr), SLOTS,
		  "slots as the owner sees them");
	region_drop(&region);
	point("forks under traffic, the child %s", child_writes ? "writes too" :
								 "reads");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	_Static_assert(sizeof(*slots) <= PAGE, "slots fit in a page");
	slots = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(slots != MAP_FAILED);
	owner_open(&owner, false);
	forks(false);
	forks(true);
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
