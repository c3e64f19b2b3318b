// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory in all places that a process has: stacks in use, below
 * them, another thread's heap, code that runs, and the kernel's own pages.
 */
#include "nag.h"

#include <malloc.h>
#include <sys/auxv.h>

#define LEN		(40 * KIB + 321)
#define VSYSCALL	0xffffffffff600000UL

/* Stacks */

/* Use stack that was never used before. */
static __attribute__((noinline)) int dig(int depth)
{
	volatile uint8_t some[2000];

	some[0] = depth;
	return depth ? dig(depth - 1) + some[0] : 0;
}

static bool wait_news(const unsigned int *number, unsigned int wanted)
{
	uint64_t end = now_ms() + 2 * SOON_MS;

	while (__atomic_load_n(number, __ATOMIC_SEQ_CST) < wanted) {
		if (now_ms() > end)
			return false;
		sched_yield();
	}
	return true;
}

/* Say where memory is, until the other side is done with it. */
static void offer(void *mem, size_t len, void (*meanwhile)(int i))
{
	struct ibv_mr *mr = reg(own.pd, mem, len, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	uint64_t end = now_ms() + 2 * SOON_MS;
	int i = 0;

	news->addr = (uintptr_t)mem;
	news->key = mr->rkey;
	say_begun();
	while (!__atomic_load_n(&news->go_on, __ATOMIC_SEQ_CST) &&
	       now_ms() < end)
		meanwhile(i++);
	dereg(mr);
}

static void dig_a_bit(int i)
{
	dig(i % 300);
}

/* What was written to it last. */
static long stack_check(const uint8_t *mem)
{
	return pattern_check(mem + 3, LEN - 3, 9);
}

static long own_stack(const long *arg)
{
	uint8_t mem[LEN];

	(void)arg;
	pattern_fill(mem, LEN, 1);
	offer(mem, LEN, dig_a_bit);
	return stack_check(mem);
}

static void *stack_of_thread(void *result)
{
	*(long *)result = own_stack(NULL);
	return NULL;
}

static long own_stack_of_thread(const long *arg)
{
	pthread_t thread;
	long result = 0;

	(void)arg;
	must(!pthread_create(&thread, NULL, stack_of_thread, &result));
	pthread_join(thread, NULL);
	return result;
}

/* Another thread's heap, which that thread uses. */

static void *heap[64];

static void use_heap(int i)
{
	void **slot = &heap[i * 7 % ARRAY_SIZE(heap)];

	free(*slot);
	*slot = malloc(100 + i * 7919L % 50000);
	must(*slot);
	memset(*slot, i, 100);
	if (i % 64 == 63)
		malloc_trim(0);
}

static void *heap_of_thread(void *result)
{
	uint8_t *mem;
	int i;

	for (i = 0; i < 100; i++)
		use_heap(i);
	mem = malloc(LEN);
	must(mem);
	pattern_fill(mem, LEN, 1);
	offer(mem, LEN, use_heap);
	*(long *)result = stack_check(mem);
	free(mem);
	for (i = 0; i < (int)ARRAY_SIZE(heap); i++) {
		free(heap[i]);
		heap[i] = NULL;
	}
	return NULL;
}

static long own_heap_of_thread(const long *arg)
{
	pthread_t thread;
	long result = 0;

	(void)arg;
	must(!pthread_create(&thread, NULL, heap_of_thread, &result));
	pthread_join(thread, NULL);
	return result;
}

static void in_use(owner_function function, const char *what)
{
	int i, n = length_of(100, 3000);

	no_news();
	tell(&owner, function, 0);
	if (!expect(wait_news(&news->begun, 1), "nothing is offered"))
		goto out;
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, news->addr,
		      news->key, LEN);
	expect_eq(pattern_check(buf[ODP], LEN, 1), LEN, "at first");
	for (i = 0; i < n; i++) {
		enum kind kind = any_kind();
		uint64_t seed = i < n - 1 ? 10 + i : 9;

		pattern_fill(buf[kind], LEN - 3, seed);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
			      news->addr + 3, news->key, LEN - 3);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, !kind,
			      news->addr + 3, news->key, LEN - 3);
		expect_eq(pattern_check(buf[!kind], LEN - 3, seed), LEN - 3,
			  "read back");
	}
out:
	__atomic_store_n(&news->go_on, 1, __ATOMIC_SEQ_CST);
	expect_eq(owner_answer(&owner), LEN - 3, "as the owner sees it");
	point("%s", what);
}

/*
 * Below the stack: its process would make it grow.  Others may not, or may;
 * but nobody's kernel log is to speak of it.
 */
static void below_the_stack(void)
{
	char path[64], line[256];
	uint64_t start = 0, bottom = 0;
	struct region region;
	FILE *file;
	int status;

	snprintf(path, sizeof(path), "/proc/%d/maps", owner.child.pid);
	file = fopen(path, "r");
	must(file);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "[stack]"))
			sscanf(line, "%lx", &start);
	fclose(file);
	must(start);
	bottom = start - 64 * KIB;
	region = region_reg(bottom, 128 * KIB, ODP);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, start,
		      region.rkey, 100);
	status = do_access(IBV_WR_RDMA_WRITE, PINNED, start - 2 * PAGE,
			   region.rkey, 100);
	expect(status == IBV_WC_SUCCESS || status == IBV_WC_REM_ACCESS_ERR,
	       "below the stack: %s", ibv_wc_status_str(status));
	if (status)
		owner_reconnect();
	region_dereg(&region);
	point("just below a stack");
}

/* Code */

static const uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0xc3 };	/* return 0 */

static long own_map_code(const long *arg)
{
	uint8_t *mem = mmap(NULL, 2 * PAGE, RW | PROT_EXEC, ANON, -1, 0);

	must(mem != MAP_FAILED);
	memcpy(mem + arg[0], code, sizeof(code));
	return (long)mem;
}

static long own_run_code(const long *arg)
{
	return ((int (*)(void))arg[0])();
}

/* Code that is written remotely is code. */
static void run_code(void)
{
	size_t at = PAGE - 3;
	long addr = ask(&owner, own_map_code, at);
	struct region region = region_reg(addr, 2 * PAGE, ODP);
	int32_t value;
	int i;

	for (i = 0; i < 50; i++) {
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
			      addr + at, region.rkey, sizeof(code));
		value = random_u64() >> 34;
		if (!i)
			expect_same(buf[PINNED], code, sizeof(code), "code");
		memcpy(buf[PINNED] + 1, &value, 4);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, PINNED,
			      addr + at, region.rkey, sizeof(code));
		expect_eq(ask(&owner, own_run_code, addr + at), value,
			  "what the code returns");
	}
	region_drop(&region);
	point("code that is written remotely, and runs");
}

/* The program itself, which is ours as well. */
static void read_text(void)
{
	uint64_t text = (uintptr_t)own_stack & ~(PAGE - 1);
	struct region region = region_reg(text, PAGE, ODP);
	size_t at = (uintptr_t)own_stack - text;
	size_t len = PAGE - at < 200 ? PAGE - at : 200;

	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, text + at,
		      region.rkey, len);
	expect_same(buf[ODP], (void *)own_stack, len, "a function");
	expect_denied(IBV_WR_RDMA_WRITE, &region, at, len);
	expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, &region, at & ~7UL, 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, text + at,
		      region.rkey, len);
	expect_same(buf[ODP], (void *)own_stack, len, "it afterwards");
	region_dereg(&region);
	point("the text of a program is read, and never written");
}

/* The kernel's pages in a process. */
static void kernels_pages(void)
{
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
	struct region region;

	region = region_reg(VSYSCALL, PAGE, ODP);
	expect(!region.mr, "vsyscalls are registered");
	if (!vdso) {
		skip("there is no vdso");
		goto out;
	}
	region = region_reg(vdso, PAGE, ODP);
	must(region.mr);
	expect_denied(IBV_WR_RDMA_WRITE, &region, 5, 100);
	expect_denied(IBV_WR_ATOMIC_CMP_AND_SWP, &region, 8, 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED, vdso + 1,
		      region.rkey, PAGE - 1);
	expect_same(buf[PINNED], (void *)(vdso + 1), PAGE - 1, "the vdso");
	region_dereg(&region);

	/* What is before it are the clock's numbers. */
	region = region_reg(vdso - PAGE, PAGE, ODP);
	must(region.mr);
	expect_denied(IBV_WR_RDMA_WRITE, &region, 5, 100);
	region_dereg(&region);
out:
	point("the kernel's pages in a process");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	news_open();
	owner_open(&owner, false);
	in_use(own_stack, "the stack of the main thread, in use");
	in_use(own_stack_of_thread, "the stack of another thread, in use");
	in_use(own_heap_of_thread, "another thread's heap, in use");
	below_the_stack();
	run_code();
	read_text();
	kernels_pages();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
