// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Atomics against the CPU's own on the same word, whose page is invalidated,
 * moved and swapped out meanwhile: nothing that anybody adds is ever lost.
 *
 *	requester ── fetch and add, compare and swap ──▶ | sum | turns | ◀── CPU
 *	                                       page ◀── mprotect(), migration
 */
#include "nag.h"
#include "storage.h"

#define SIZE		(4 * MIB)
#define LEAF		(2 * MIB)
#define WORDS_AT	(5 * PAGE + 4080)	/* of a leaf */
#define LITTER		(16 * MIB)

#define SUM_AT		0
#define TURNS_AT	8		/* compared and swapped: one more */

static bool have_pfns;

/* The owner's CPU; each returns what it has done in all */

static uint64_t added, taken;

static long own_add(const long *arg)
{
	__atomic_fetch_add((uint64_t *)(arg[0] + SUM_AT), 3, __ATOMIC_RELAXED);
	added += 3;
	if (!(added & 63))
		sleep_us(20);
	return 0;
}

static long own_take_turn(const long *arg)
{
	uint64_t *word = (uint64_t *)(arg[0] + TURNS_AT);
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	taken += __atomic_compare_exchange_n(word, &old, old + 1, false,
					     __ATOMIC_SEQ_CST,
					     __ATOMIC_RELAXED);
	if (!(taken & 15))
		sleep_us(20);
	return 0;
}

static long own_added(const long *arg)
{
	uint64_t sum = added;

	added = arg[0];
	return sum;
}

static long own_taken(const long *arg)
{
	uint64_t sum = taken;

	taken = arg[0];
	return sum;
}

/* What happens to the page */

static long nothing(const long *arg)
{
	sleep_ms(1);
	return arg[0];
}

static long toggle_exec(const long *arg)
{
	void *page = (void *)(arg[0] & ~(PAGE - 1));

	must(!mprotect(page, 2 * PAGE, RW | PROT_EXEC));
	must(!mprotect(page, 2 * PAGE, RW));
	return 0;
}

/* Every other page is free: compaction moves those between. */
static long compact(const long *arg)
{
	static uint8_t *litter;
	size_t at;

	if (!litter) {
		litter = map_memory(LITTER);
		must(!madvise(litter, LITTER, MADV_NOHUGEPAGE));
	}
	for (at = 0; at < LITTER; at += 2 * PAGE)
		litter[at] = litter[at + PAGE] = 1;
	for (at = 0; at < LITTER; at += 2 * PAGE)
		must(!madvise(litter + at, PAGE, MADV_DONTNEED));
	must(tell_kernel("/proc/sys/vm/compact_memory", "1"));
	return arg[0];
}

static void *leaf_of(const long *arg)
{
	return (void *)(arg[0] & ~(LEAF - 1));
}

/* Out of memory and back, then into one huge page with all around it. */
static long swap_and_collapse(const long *arg)
{
	if (have_swap)
		must(!madvise(leaf_of(arg), LEAF, MADV_PAGEOUT));
	sleep_ms(2);
	madvise(leaf_of(arg), LEAF, MADV_COLLAPSE);
	sleep_ms(2);
	return 0;
}

static const struct {
	const char *name;
	owner_function step;
	bool moves;			/* the page, surely */
} fates[] = {
	{ "nothing", nothing, false },
	{ "PROT_EXEC on and off", toggle_exec, false },
	{ "compaction", compact, false },
	{ "swapping and huge pages", swap_and_collapse, true },
};

/* Which page it is; 0 when that cannot be told. */
static long own_pfn(const long *arg)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, 8, arg[0] / PAGE * 8) != 8)
		entry = 0;
	close(fd);
	return entry & 1ULL << 63 ? entry & ((1ULL << 55) - 1) : 0;
}

static long own_word(const long *arg)
{
	return __atomic_load_n((uint64_t *)arg[0], __ATOMIC_SEQ_CST);
}

static long own_map_words(const long *arg)
{
	uintptr_t mem = (uintptr_t)map_memory(SIZE);

	/* Compaction leaves huge pages where they are. */
	if (arg[0])
		must(!madvise((void *)mem, SIZE, MADV_NOHUGEPAGE));
	return ((mem + LEAF - 1) & ~(LEAF - 1)) + WORDS_AT;
}

/* The requester's part */

static struct region words;

/* One atomic; what the word was. */
static uint64_t do_atomic(enum ibv_wr_opcode opcode, size_t at,
			  uint64_t compare_add, uint64_t swap)
{
	enum kind kind = random_below(KINDS);
	uint8_t *result = buf[kind] + 8 * random_below(1000);
	struct ibv_sge sge = sge_of(buf_mr[kind], result, 8);
	struct ibv_send_wr wr = atomic_wr(opcode, &sge, words.addr + at,
					  words.rkey, compare_add, swap);
	uint64_t old;

	post_send(me.qp, &wr);
	expect_wc(me.scq, 0, IBV_WC_SUCCESS);
	memcpy(&old, result, 8);
	return old;
}

/* Nobody takes anything away. */
static bool add(uint64_t *seen, uint64_t *sum)
{
	uint64_t old = do_atomic(IBV_WR_ATOMIC_FETCH_AND_ADD, SUM_AT, 5, 0);
	bool grows = expect(old >= *seen, "the sum was %llu, and is %llu",
			    (unsigned long long)*seen,
			    (unsigned long long)old);

	*seen = old + 5;
	*sum += 5;
	return grows;
}

static void take_turn(uint64_t *seen, uint64_t *turns)
{
	uint64_t old = do_atomic(IBV_WR_ATOMIC_CMP_AND_SWP, TURNS_AT, *seen,
				 *seen + 1);

	*turns += old == *seen;
	*seen = old == *seen ? old + 1 : old;
}

/* Some time, and as long as it takes for something to happen to the page. */
static unsigned int use_words(long trouble, bool moved)
{
	uint64_t end = now_ms() + length_of(1200, 30000);
	uint64_t sum_seen = 0, turn_seen = 0, sum = 0, turns = 0;
	unsigned int moves = 0, n = 0;
	long pfn = 0, now;

	while (now_ms() < end || ((turns <= 10 || (moved && !moves) ||
				   !ask(&owner, own_nag_rounds, trouble)) &&
				  now_ms() < end + 3 * SOON_MS)) {
		if (!add(&sum_seen, &sum))
			break;
		take_turn(&turn_seen, &turns);
		if (have_pfns && !(++n & 15)) {
			now = ask(&owner, own_pfn, words.addr);
			moves += pfn && now && now != pfn;
			pfn = now ? now : pfn;
		}
	}
	expect(turns > 10, "only %llu turns were taken",
	       (unsigned long long)turns);
	added = sum;
	taken = turns;
	return moves;
}

static void fate(int i)
{
	long small = fates[i].step == compact;
	long addr = ask(&owner, own_map_words, small), adder, taker, trouble;
	bool moved = fates[i].moves && have_swap && have_pfns;
	unsigned int moves;

	words = region_reg(addr, 16, ODP);
	ask(&owner, own_added, 0);
	ask(&owner, own_taken, 0);
	adder = ask(&owner, own_nag, (long)own_add, addr);
	taker = ask(&owner, own_nag, (long)own_take_turn, addr);
	trouble = ask(&owner, own_nag, (long)fates[i].step, addr);
	moves = use_words(trouble, moved);
	expect(ask(&owner, own_nag_stop, trouble) > 0, "nothing happened");
	ask(&owner, own_nag_stop, adder);
	ask(&owner, own_nag_stop, taker);
	expect_eq(ask(&owner, own_word, addr + SUM_AT),
		  ask(&owner, own_added, 0) + added, "the sum");
	expect_eq(ask(&owner, own_word, addr + TURNS_AT),
		  ask(&owner, own_taken, 0) + taken, "the turns");
	expect(moves || !moved, "the page was never moved");
	diag("%u moves, sum %llu, turns %llu", moves,
	     (unsigned long long)added, (unsigned long long)taken);
	region_dereg(&words);
	point("atomics and the CPU's, with %s", fates[i].name);
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	drop_caches();
	swap_on();
	owner_open(&owner, false);
	have_pfns = ask(&owner, own_pfn, (long)&added) > 0;
	for (i = 0; i < ARRAY_SIZE(fates); i++)
		fate(i);
	owner_close(&owner);
	swap_off();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
