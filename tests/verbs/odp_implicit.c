// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Implicit regions: one key for all that a process has mapped or will map, at
 * any distance, for remote accesses and for local ones; and for nothing that
 * the process itself could not reach, the kernel's memory above all.
 */
#include "nag.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

#define USER_END	0x7ffffffff000UL
#define SOME		(3 * MIB)
#define READ_ONLY	(IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND)
#define EVERYTHING	(ALL_RIGHTS | IBV_ACCESS_ON_DEMAND)

static struct region all, readable;	/* the owner's */
static struct ibv_mr *mine;		/* the requester's */

static bool is_supported(void)
{
	struct ibv_context *ctx = device_open();
	struct ibv_device_attr_ex attr = {};
	uint64_t caps;

	errno = ibv_query_device_ex(ctx, NULL, &attr);
	must(!errno);
	must(!ibv_close_device(ctx));
	caps = attr.odp_caps.general_caps;
	expect(caps & IBV_ODP_SUPPORT, "there is nothing on demand");
	if (expect(caps & IBV_ODP_SUPPORT_IMPLICIT,
		   "there are no implicit regions"))
		expect(attr.orig_attr.max_mr_size == UINT64_MAX,
		       "regions are limited");
	point("what the device says of itself");
	return caps & IBV_ODP_SUPPORT_IMPLICIT;
}

static void refused(void *addr, size_t len, int access, const char *what)
{
	struct ibv_mr *mr = ibv_reg_mr(me.pd, addr, len, access);

	if (expect(!mr, "%s was registered", what))
		expect_eq(errno, EINVAL, "%s", what);
	else
		ibv_dereg_mr(mr);
}

static void refusals(void)
{
	struct ibv_mr *mr;

	refused(NULL, SIZE_MAX, ALL_RIGHTS, "everything, pinned");
	refused(NULL, SIZE_MAX - 1, EVERYTHING, "all but a byte");
	refused(NULL, SIZE_MAX / 2 + 1, EVERYTHING, "a half");
	refused(NULL, 0, EVERYTHING, "nothing");
	refused((void *)PAGE, SIZE_MAX, EVERYTHING, "all from a page on");
	refused((void *)1, SIZE_MAX, EVERYTHING, "all from a byte on");
	refused(NULL, SIZE_MAX, IBV_ACCESS_ON_DEMAND |
		IBV_ACCESS_REMOTE_WRITE, "everything, for others only");
	mr = ibv_reg_mr_iova(me.pd, NULL, SIZE_MAX, PAGE, EVERYTHING);
	if (expect(!mr, "everything, elsewhere, was registered"))
		expect_eq(errno, EINVAL, "everything, elsewhere");
	else
		ibv_dereg_mr(mr);
	point("registrations that are refused");
}

/* One request with a local address of its own; the status. */
static int do_local(enum ibv_wr_opcode opcode, uint64_t local, uint32_t lkey,
		    uint32_t len, uint64_t remote, uint32_t rkey)
{
	struct ibv_sge sge = { local, len, lkey };
	struct ibv_send_wr wr;

	if (is_atomic(opcode))
		wr = atomic_wr(opcode, &sge, remote, rkey, 1, 0);
	else
		wr = rdma_wr(opcode, &sge, remote, rkey);
	post_send(me.qp, &wr);
	return end_access(SOON_MS);
}

/* Everywhere that both sides have memory, at all sizes */

static uint8_t data[3 * MIB];		/* of the program's, in both */

static const uint32_t lengths[] = {
	1, 7, 8, 100, 511, 512, 513, 4095, 4097, 70001, 2 * MIB + 333,
};

static void transfer(uint64_t here, uint64_t there, uint32_t len)
{
	uint64_t seed = random_u64() >> 1;

	pattern_fill((void *)here, len, seed);
	expect_eq(do_local(IBV_WR_RDMA_WRITE, here, mine->lkey, len, there,
			   all.rkey), IBV_WC_SUCCESS, "write of %u", len);
	expect_eq(ask(&owner, own_check, there, len, seed), len, "written");
	ask(&owner, own_fill, there, len, seed + 1);
	expect_eq(do_local(IBV_WR_RDMA_READ, here, mine->lkey, len, there,
			   readable.rkey), IBV_WC_SUCCESS, "read of %u", len);
	expect_eq(pattern_check((void *)here, len, seed + 1), len, "read");
}

/* What it has written is there; what is around it, as it was. */
static void all_sizes(void)
{
	uint8_t *later = map_memory(sizeof(data)), stack[600];
	long there = ask(&owner, own_map, 0, sizeof(data), RW, ANON, -1, 0);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint32_t len = lengths[i];
		size_t at = random_below(sizeof(data) - len);

		transfer((uintptr_t)later + at, there + at / 2, len);
		if (!owner.here)
			transfer((uintptr_t)data + at, (uintptr_t)data + at / 3,
				 len);
		if (len < sizeof(stack))
			transfer((uintptr_t)stack, there + at, len);
	}
	must(!munmap(later, sizeof(data)));
	ask(&owner, own_unmap, there, sizeof(data));
	point("memory of all sorts, mapped later too, %s", where());
}

/* Sends and receives, of many pieces with the same key. */
static void pieces(void)
{
	long there = ask(&owner, own_map, 0, MIB, RW, ANON, -1, 0);
	uint8_t *here = map_memory(MIB);
	struct ibv_sge sge[SGE_MAX];
	struct ibv_send_wr wr;
	size_t len = 0;
	int i;

	pattern_fill(here, MIB, 1);
	for (i = 0; i < SGE_MAX; i++) {
		sge[i] = sge_of(mine, here + len, 1 + i * 97);
		len += sge[i].length;
	}
	expect_eq(ask(&owner, own_recv, there + 3, MIB - 3, all.mr), 0,
		  "post_recv");
	wr = rdma_wr(IBV_WR_SEND, sge, 0, 0);
	wr.num_sge = SGE_MAX;
	post_send(me.qp, &wr);
	expect_wc(me.scq, 0, IBV_WC_SUCCESS);
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "receive");
	expect_eq(ask(&owner, own_check, there + 3, len, 1), len, "received");
	expect_eq(ask(&owner, own_check_zero, there + 3 + len, 5000), 5000,
		  "behind it");
	must(!munmap(here, MIB));
	ask(&owner, own_unmap, there, MIB);
	point("sends of many pieces, %s", where());
}

/* Rights */

static void rights(void)
{
	long there = ask(&owner, own_map, 0, PAGE, RW, ANON, -1, 0);
	struct ibv_mr *no_write = reg(me.pd, NULL, SIZE_MAX,
				      IBV_ACCESS_ON_DEMAND);

	ask(&owner, own_fill, there, PAGE, 1);
	expect_denied(IBV_WR_RDMA_WRITE, &readable, there, 100);
	expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, &readable, there, 8);
	expect_eq(ask(&owner, own_check, there, PAGE, 1), PAGE, "unchanged");
	pattern_fill(buf[ODP], 100, 2);
	expect_eq(do_local(IBV_WR_RDMA_READ, (uintptr_t)buf[ODP],
			   no_write->lkey, 100, there, readable.rkey),
		  IBV_WC_LOC_PROT_ERR, "into what may not be written");
	expect_eq(pattern_check(buf[ODP], 100, 2), 100, "unchanged");
	owner_connect(&owner);
	expect_eq(do_local(IBV_WR_RDMA_WRITE, (uintptr_t)buf[ODP],
			   no_write->lkey, 100, there, all.rkey),
		  IBV_WC_SUCCESS, "from what may not be written");
	expect_eq(ask(&owner, own_check, there, 100, 2), 100, "written");
	dereg(no_write);

	/* Nor does the key make writable what is not. */
	ask(&owner, own_protect, there, PAGE, PROT_READ);
	expect_denied(IBV_WR_RDMA_WRITE, &all, there, 100);
	expect_denied(IBV_WR_RDMA_WRITE, &all,
		      (uintptr_t)own_fill & ~(PAGE - 1), 100);
	ask(&owner, own_unmap, there, PAGE);
	point("rights of implicit regions, %s", where());
}

/* Nothing is there */

static const struct {
	const char *name;
	uint64_t addr;
} nowhere[] = {
	{ "the first page", 0 },
	{ "the end of a process's addresses", USER_END },
	{ "what is not canonical", 0x0000800000000000 },
	{ "the middle of that", 0x8000000000000000 },
	{ "its end", 0xffff7ffffffff000 },
	{ "the kernel's first page", 0xffff800000000000 },
	{ "the kernel's map of memory", 0xffff888000000000 },
	{ "the kernel's text", 0xffffffff81000000 },
	{ "vsyscalls", 0xffffffffff600000 },
	{ "the last page", 0xfffffffffffff000 },
};

static const uint32_t reach[] = { 8, 100, 512, 513, 5000, 300 * KIB };

/* Something that the kernel surely has, and that never changes. */
static uint64_t find_banner(void)
{
	char text[64];

	read_command("grep -m1 -w linux_banner /proc/kallsyms", text,
		     sizeof(text));
	return strtoull(text, NULL, 16);
}

static void denied_there(uint64_t addr, uint32_t len, enum ibv_wr_opcode opcode)
{
	enum kind kind = any_kind();

	pattern_fill(buf[kind], len, 9);
	expect_access(IBV_WC_REM_ACCESS_ERR, opcode, kind, addr, all.rkey,
		      len);
	expect_eq(pattern_check(buf[kind], len, 9), len, "here, from %#llx",
		  (unsigned long long)addr);
	owner_reconnect();
}

static void denied_here(uint64_t addr, uint32_t len, enum ibv_wr_opcode opcode,
			const struct region *target)
{
	ask(&owner, own_fill, target->addr, len, 8);
	ask(&owner, own_recv, target->addr, len, target->mr);
	expect_eq(do_local(opcode, addr, mine->lkey, len, target->addr,
			   target->rkey), IBV_WC_LOC_PROT_ERR,
		  "%s of %u at %#llx", opcode_name(opcode), len,
		  (unsigned long long)addr);
	if (!is_atomic(opcode))
		expect_eq(ask(&owner, own_check, target->addr, len, 8), len,
			  "there, from %#llx", (unsigned long long)addr);
	owner_connect(&owner);
}

static void denied_receive(uint64_t addr, uint32_t len)
{
	if (ask(&owner, own_recv, addr, len, all.mr))
		return;
	expect_access(IBV_WC_REM_OP_ERR, IBV_WR_SEND, any_kind(), 0, 0, len);
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_LOC_PROT_ERR, "receive");
	owner_connect(&owner);
}

static void denied_at(uint64_t addr, const struct region *target)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(reach); i++) {
		denied_there(addr, reach[i], IBV_WR_RDMA_READ);
		denied_there(addr, reach[i], IBV_WR_RDMA_WRITE);
		denied_here(addr, reach[i], IBV_WR_RDMA_READ, target);
		denied_here(addr, reach[i], IBV_WR_RDMA_WRITE, target);
		denied_here(addr, reach[i], IBV_WR_SEND, target);
		denied_receive(addr, reach[i]);
	}
	denied_there(addr, 8, IBV_WR_ATOMIC_FETCH_AND_ADD);
	denied_there(addr, 8, IBV_WR_ATOMIC_CMP_AND_SWP);
	denied_here(addr, 8, IBV_WR_ATOMIC_FETCH_AND_ADD, target);
}

static void nowhere_to_go(void)
{
	struct region target = region_map(3 * MIB, PINNED);
	uint64_t banner = find_banner();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nowhere); i++) {
		denied_at(nowhere[i].addr, &target);
		point("%s, %s", nowhere[i].name, where());
	}
	if (banner)
		denied_at(banner, &target);
	else
		skip("addresses of the kernel's are not told");
	point("the kernel's name, %s", where());
	region_drop(&target);
}

/* From the last page on, and around the end. */
static void over_the_end(void)
{
	static const uint32_t len[] = { 200, 512, 600, 9000 };
	struct region target = region_map(PAGE * 4, PINNED);
	uint64_t last = USER_END - PAGE;
	bool mapped;
	size_t i;

	mapped = ask(&owner, own_map, last, PAGE, RW, ANON |
		     MAP_FIXED_NOREPLACE, -1, 0) == (long)last;
	for (i = 0; i < ARRAY_SIZE(len); i++) {
		denied_there(USER_END - 100, len[i], IBV_WR_RDMA_READ);
		denied_there(-100UL, len[i], IBV_WR_RDMA_READ);
		denied_there(-100UL, len[i], IBV_WR_RDMA_WRITE);
		denied_here(USER_END - 100, len[i], IBV_WR_RDMA_WRITE,
			    &target);
		denied_here(-100UL, len[i], IBV_WR_RDMA_WRITE, &target);
		denied_here(-100UL, len[i], IBV_WR_RDMA_READ, &target);
	}
	if (mapped) {
		pattern_fill(buf[ODP], PAGE, 3);
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, ODP, last,
			      all.rkey, PAGE);
		expect_eq(ask(&owner, own_check, last, PAGE, 3), PAGE,
			  "the last page");
		ask(&owner, own_unmap, last, PAGE);
	}
	region_drop(&target);
	point("over the end of addresses, %s", where());
}

static void holes(void)
{
	long there = ask(&owner, own_map, 0, 8 * PAGE, RW, ANON, -1, 0);

	ask(&owner, own_unmap, there + 3 * PAGE, PAGE);
	ask(&owner, own_fill, there + 4 * PAGE, 4 * PAGE, 1);
	expect_denied(IBV_WR_RDMA_READ, &all, there + 3 * PAGE - 10, 20);
	expect_denied(IBV_WR_RDMA_WRITE, &all, there + PAGE, 6 * PAGE);
	expect_eq(ask(&owner, own_check, there + 4 * PAGE, 4 * PAGE, 1),
		  4 * PAGE, "behind the hole");
	expect_eq(ask(&owner, own_map, there + 3 * PAGE, PAGE, RW,
		      ANON | MAP_FIXED, -1, 0), there + 3 * PAGE, "mmap");
	write_pattern(&all, there + PAGE, 6 * PAGE, 5);
	expect_eq(ask(&owner, own_check, there + PAGE, 6 * PAGE, 5), 6 * PAGE,
		  "written to all");
	ask(&owner, own_unmap, there, 8 * PAGE);
	point("holes, %s", where());
}

/* Mappings all over tens of TiB */

#define ISLANDS		400
#define ISLAND		(2 * PAGE)

static uint64_t islands[ISLANDS];

static void map_islands(void)
{
	uint64_t addr;
	int i;

	for (i = 0; i < ISLANDS; i++) {
		do {
			addr = 64 * PAGE + random_below(USER_END - 16 * MIB) /
			       PAGE * PAGE;
		} while (ask(&owner, own_map, addr, ISLAND, RW, ANON |
			     MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) !=
			 (long)addr);
		islands[i] = addr;
	}
}

static void write_islands(void)
{
	size_t at, len;
	int i;

	for (i = 0; i < ISLANDS; i++) {
		at = i * 13 % 3000;
		len = ISLAND - at - i % 7;
		write_pattern(&all, islands[i] + at, len, i + 1);
	}
	for (i = 0; i < ISLANDS; i++) {
		at = i * 13 % 3000;
		len = ISLAND - at - i % 7;
		expect_eq(ask(&owner, own_check, islands[i] + at, len, i + 1),
			  len, "an island");
		expect_eq(ask(&owner, own_check_zero, islands[i], at), at,
			  "before it");
		expect_read_pattern(&readable, islands[i] + at, len, i + 1,
				    "an island read");
	}
}

static void sink_islands(void)
{
	int i;

	for (i = 0; i < ISLANDS; i += 2)
		ask(&owner, own_unmap, islands[i], ISLAND);
	for (i = 0; i < ISLANDS; i++) {
		if (i & 1)
			expect_read_pattern(&all, islands[i] + i * 13 % 3000,
					    100, i + 1, "one that is left");
		else if (i % 10 == 0)
			expect_denied(i & 2 ? IBV_WR_RDMA_WRITE :
				      IBV_WR_RDMA_READ, &all, islands[i],
				      ISLAND);
	}
	for (i = 1; i < ISLANDS; i += 2)
		ask(&owner, own_unmap, islands[i], ISLAND);
}

static void far_and_wide(void)
{
	int i;

	for (i = 0; i < length_of(1, 20); i++) {
		map_islands();
		write_islands();
		sink_islands();
	}
	point("%d mappings all over the address space, %s", ISLANDS, where());
}

/* Explicit regions beside implicit ones, and the end of each */
static void mixed(void)
{
	struct region some = region_map(SOME, ODP), again;
	uint32_t stale;
	size_t i;

	for (i = 0; i < 20; i++) {
		const struct region *by = i & 1 ? &some : &all;
		size_t at = random_below(SOME - 9000);
		struct region window = { .addr = some.addr, .rkey = by->rkey };

		write_pattern(&window, at, 9000, i + 1);
		window.rkey = i & 1 ? all.rkey : some.rkey;
		expect_read_pattern(&window, at, 9000, i + 1, "by the other");
	}
	expect_denied(IBV_WR_RDMA_READ, &some, SOME - 8, 16);
	region_dereg(&some);
	write_pattern(&all, some.addr + 5, 9000, 77);
	expect_eq(ask(&owner, own_check, some.addr + 5, 9000, 77), 9000,
		  "after the explicit one has gone");

	again = region_reg(some.addr, SOME, ODP);
	stale = all.rkey;
	region_dereg(&all);
	expect_read_pattern(&again, 5, 9000, 77,
			    "after the implicit one has gone");
	expect_access(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, ODP, some.addr,
		      stale, 8);
	owner_reconnect();
	all = region_reg_with(0, SIZE_MAX, EVERYTHING);
	must(all.mr);
	expect_read_pattern(&all, some.addr + 5, 9000, 77, "by a new one");
	region_drop(&again);
	point("implicit and explicit regions, %s", where());
}

static void test_where(bool here)
{
	owner_open(&owner, here);
	refusals();
	all = region_reg_with(0, SIZE_MAX, EVERYTHING);
	readable = region_reg_with(0, SIZE_MAX, READ_ONLY);
	must(all.mr && readable.mr);
	mine = reg(me.pd, NULL, SIZE_MAX, EVERYTHING);
	all_sizes();
	pieces();
	rights();
	holes();
	far_and_wide();
	mixed();
	nowhere_to_go();
	over_the_end();
	dereg(mine);
	region_dereg(&readable);
	region_dereg(&all);
	owner_close(&owner);
}

/* The owner is killed, with all that it had. */
static void killed(void)
{
	uint64_t end = now_ms() + SOON_MS;
	int status = 0;
	long there;

	owner_open(&owner, false);
	all = region_reg_with(0, SIZE_MAX, EVERYTHING);
	there = ask(&owner, own_map, 0, SOME, RW, ANON, -1, 0);
	kill(owner.child.pid, SIGSTOP);
	write_pattern(&all, there, SOME, 1);
	kill(owner.child.pid, SIGKILL);
	while (!status && now_ms() < end)
		status = do_access(IBV_WR_RDMA_WRITE, ODP, there, all.rkey,
				   SOME);
	expect(status == IBV_WC_RETRY_EXC_ERR ||
	       status == IBV_WC_REM_ACCESS_ERR, "the first error is %s",
	       ibv_wc_status_str(status));
	kill_child(&owner.child);
	me_close();
	point("the owner of an implicit region is killed");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	if (!is_supported())
		return;
	test_where(false);
	test_where(true);
	killed();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
