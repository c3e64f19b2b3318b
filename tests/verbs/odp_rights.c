// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What a process may do with on-demand memory: register as much as it likes
 * without the right to lock any; let others read what it may only read itself,
 * and write to it as soon as it may; and nothing with memory of devices.
 *
 * Long: more rounds of rights that change while they are used.
 */
#include "situation.h"

#include <sys/resource.h>

#define SIZE		(4 * MIB)
#define LOCK_LIMIT	(64 * KIB)
#define UNLIMITED	(1024 * MIB)
#define NOBODY		65534

/* Without the right to lock memory */

static long own_become_nobody(const long *arg)
{
	struct rlimit limit = { LOCK_LIMIT, LOCK_LIMIT };

	(void)arg;
	own_close(NULL);
	must(!setrlimit(RLIMIT_MEMLOCK, &limit));
	must(!setgid(NOBODY) && !setuid(NOBODY));
	must(!prctl(PR_SET_PDEATHSIG, SIGKILL));
	return own_open(NULL);
}

static long own_try_reg(const long *arg)
{
	return own_reg(arg) ?: -errno;
}

/* A line of /proc/PID/status, in KiB. */
static long status_of(const char *name)
{
	char path[64], line[128];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", owner.child.pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (file)
		fclose(file);
	return value;
}

static void expect_unlocked(void)
{
	expect_eq(status_of("VmLck:"), 0, "locked memory");
	expect_eq(status_of("VmPin:"), 0, "pinned memory");
}

static void use_all_over(const struct region *region)
{
	size_t at;

	for (at = 0; at < region->size; at += region->size / 16) {
		write_pattern(region, at + 4001, 9000, at);
		expect_read_pattern(region, at + 4001, 9000, at,
				    "what was written");
	}
}

static void pinned_is_limited(long addr)
{
	long mr;

	expect_eq(ask(&owner, own_try_reg, addr, SIZE, ALL_RIGHTS), -ENOMEM,
		  "more pinned than allowed");
	expect_unlocked();
	mr = ask(&owner, own_try_reg, addr, LOCK_LIMIT / 2, ALL_RIGHTS);
	if (expect(mr > 0, "as much as allowed: %ld", mr)) {
		expect_eq(status_of("VmPin:"), LOCK_LIMIT / 2 / KIB, "pinned");
		ask(&owner, own_dereg, mr);
	}
	expect_unlocked();
}

static void memlock(void)
{
	struct region region = { .size = UNLIMITED };

	owner_open(&owner, false);
	ask(&owner, own_become_nobody);
	owner_connect(&owner);
	region.addr = ask(&owner, own_map, 0, UNLIMITED, RW, ANON |
			  MAP_NORESERVE, -1, 0);
	must((long)region.addr > 0);
	region = region_reg(region.addr, UNLIMITED, ODP);
	if (expect(region.mr, "not registered")) {
		use_all_over(&region);
		expect_unlocked();
		pinned_is_limited(region.addr);
		use_all_over(&region);
	}
	region_drop(&region);
	owner_close(&owner);
	point("on-demand memory needs no right to lock any");
}

/* Memory that may only be read */

static int own_fd = -1;

static long own_check_fd(const long *arg)
{
	uint8_t *seen = map_memory(arg[0]);
	long ret = -1;

	if (pread(own_fd, seen, arg[0], 0) == arg[0])
		ret = pattern_check(seen, arg[0], arg[1]);
	munmap(seen, arg[0]);
	return ret;
}

/* A file that is full of a pattern, opened for reading. */
static long own_map_read_only(const long *arg)
{
	uint8_t *bytes = map_memory(SIZE);
	int fd = memfd_create("rights", MFD_CLOEXEC);
	char path[64];

	must(fd >= 0);
	pattern_fill(bytes, SIZE, 1);
	must(write(fd, bytes, SIZE) == (ssize_t)SIZE);
	munmap(bytes, SIZE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own_fd = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	must(own_fd >= 0);
	return own_map((const long [OWNER_ARGS]){ 0, SIZE, PROT_READ, arg[0],
						  own_fd });
}

static long own_close_fd(const long *arg)
{
	(void)arg;
	return close(own_fd);
}

static void expect_only_readable(const struct region *region)
{
	expect_read_pattern(region, 0, SIZE, 1, "what may be read");
	expect_denied(IBV_WR_RDMA_WRITE, region, 4090, 9);
	expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, region, 8, 8);
	expect_denied(IBV_WR_ATOMIC_CMP_AND_SWP, region, PAGE, 8);
	expect_read_pattern(region, 0, SIZE, 1, "what was not written");
}

/* For reading alone, whatever the mapping allows. */
static void registered_to_read(long addr)
{
	struct region region = { .addr = addr, .size = SIZE };

	region.mr = ask(&owner, own_reg, addr, SIZE, IBV_ACCESS_REMOTE_READ |
			IBV_ACCESS_ON_DEMAND);
	if (!expect(region.mr, "not registered"))
		return;
	region.rkey = ask(&owner, own_rkey, region.mr);
	expect_only_readable(&region);
	ask(&owner, own_dereg, region.mr);
}

static void becomes_writable(const struct region *region)
{
	ask(&owner, own_protect, region->addr, SIZE, RW);
	write_pattern(region, 4090, 9000, 2);
	expect_eq(ask(&owner, own_check, region->addr + 4090, 9000, 2), 9000,
		  "seen by the CPU");
	ask(&owner, own_protect, region->addr, SIZE, PROT_NONE);
	expect_denied(IBV_WR_RDMA_READ, region, 4095, 1);
	expect_denied(IBV_WR_RDMA_WRITE, region, 4095, 1);
	ask(&owner, own_protect, region->addr, SIZE, PROT_READ);
	expect_denied(IBV_WR_RDMA_WRITE, region, 4095, 1);
	expect_read_pattern(region, 4090, 9000, 2, "read again");
	ask(&owner, own_protect, region->addr, SIZE, RW);
	write_pattern(region, 0, SIZE, 3);
	expect_read_pattern(region, 0, SIZE, 3, "written again");
}

static void read_only(int flags)
{
	long addr = ask(&owner, own_map_read_only, flags);
	struct region region;

	must(addr > 0);
	registered_to_read(addr);
	expect(ask(&owner, own_try_reg, addr, SIZE, ALL_RIGHTS) < 0,
	       "pinned for writing, though read-only");
	region = region_reg(addr, SIZE, ODP);
	if (expect(region.mr, "not registered")) {
		expect_only_readable(&region);
		if (flags == MAP_PRIVATE)
			becomes_writable(&region);
		else
			expect_eq(ask(&owner, own_protect, addr, SIZE, RW),
				  -EACCES, "mprotect");
	}
	expect_eq(ask(&owner, own_check_fd, SIZE, 1), SIZE, "the file");
	region_drop(&region);
	ask(&owner, own_close_fd);
	point("a read-only mapping, %s", flags == MAP_PRIVATE ?
	      "private" : "shared");
}

/* Rights that are taken away while they are used, and given back */

static long own_forbid(const long *arg)
{
	sleep_us(random_below(20000));
	return own_protect(arg);
}

static void forbid_round(struct traffic *t, uint8_t *old)
{
	size_t len;
	uint8_t *at = some_pages((uint8_t *)t->region.addr, SIZE, &len);

	tell(&owner, own_forbid, (long)at, len,
	     random_below(3) ? PROT_NONE : PROT_READ);
	expect_eq(batches_until_error(t, old, (uint64_t)at - t->region.addr),
		  IBV_WC_REM_ACCESS_ERR, "the first error");
	expect_eq(owner_answer(&owner), 0, "mprotect");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);
	ask(&owner, own_protect, t->region.addr, SIZE, RW);
	check_either(t, old, SIZE);
	traffic_run(t, 50);
	traffic_check(t);
}

static void forbidden_in_use(owner_function map)
{
	struct traffic t = traffic_open(ask(&owner, map, SIZE), SIZE, 0);
	uint8_t *old = map_memory(SIZE);
	int i;

	for (i = 0; i < length_of(6, 200) && !tap->failures; i++)
		forbid_round(&t, old);
	region_drop(&t.region);
	traffic_forget(&t);
	munmap(old, SIZE);
	point("rights that go and come while they are used, %s",
	      map == own_map_shared ? "shared" : "private");
}

/* Memory of devices */

#define ROM		0xf0000
#define ROM_SIZE	(16 * PAGE)

static long map_rom(const long *arg)
{
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	void *addr = mmap((void *)arg[0], ROM_SIZE, RW, MAP_SHARED |
			  (arg[0] ? MAP_FIXED : 0), fd, ROM);

	if (fd >= 0)
		close(fd);
	return addr == MAP_FAILED ? -errno : (long)addr;
}

/*
 * A page of the kernel's own, which only the CPU can read; where the kernel
 * maps it as an ordinary page, that is none.
 */
static long map_vvar(const long *arg)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	long at = 0, start = -ENOENT;
	char line[256];

	(void)arg;
	while (file && fgets(line, sizeof(line), file)) {
		if (strstr(line, "[vvar]"))
			at = strtol(line, NULL, 16);
		if (strncmp(line, "VmFlags:", 8))
			continue;
		if (at && (strstr(line, " pf") || strstr(line, " io")))
			start = at;
		at = 0;
	}
	if (file)
		fclose(file);
	return start;
}

static const struct {
	const char *name;
	owner_function map;
	size_t size;
	bool steady;			/* nobody else writes to it */
} devices[] = {
	{ "a device's memory", map_rom, ROM_SIZE, true },
	{ "the kernel's page with the time", map_vvar, PAGE, false },
};

/*
 * At the requester it is an error, or what the CPU does: its own thread may read
 * from there and write to there.
 */
static void local_device(long addr, size_t size, bool steady)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	struct ibv_mr *mr = reg(me.pd, (void *)addr, size, ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
	struct region region = region_map(PAGE, PINNED);
	struct ibv_sge sge = sge_of(mr, (void *)addr + 40, 8);
	struct ibv_send_wr wr;
	int status;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		if (is_atomic(opcodes[i]))
			wr = atomic_wr(opcodes[i], &sge, region.addr,
				       region.rkey, 0, 0);
		else
			wr = rdma_wr(opcodes[i], &sge, region.addr,
				     region.rkey);
		post_send(me.qp, &wr);
		status = end_access(SOON_MS);
		expect(!status || status == IBV_WC_LOC_PROT_ERR, "%s: %d",
		       opcode_name(opcodes[i]), status);
		if (!status && opcodes[i] == IBV_WR_RDMA_WRITE && steady)
			expect_memory(region.addr, (void *)addr + 40, 8,
				      "what was written from there");
		if (status)
			owner_connect(&owner);
	}
	expect_eq(ask(&owner, own_check_zero, region.addr + 8, PAGE - 8),
		  PAGE - 8, "the rest of the owner's page");
	dereg(mr);
	region_drop(&region);
}

static void device(size_t i)
{
	long addr = ask(&owner, devices[i].map);
	long mine = devices[i].map((const long [OWNER_ARGS]){});
	struct region region;

	if (addr < 0 || mine < 0) {
		skip("there is none, or it cannot be mapped");
		goto out;
	}
	region = region_reg(addr, devices[i].size, ODP);
	if (expect(region.mr, "not registered")) {
		expect_denied(IBV_WR_RDMA_READ, &region, 3, 9);
		expect_denied(IBV_WR_RDMA_WRITE, &region, 4000, 96);
		expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, &region, 8, 8);
		expect_eq(ask(&owner, own_dereg, region.mr), 0, "dereg");
	}
	local_device(mine, devices[i].size, devices[i].steady);
out:
	point("%s", devices[i].name);
}

/* In the middle of other memory, which stays what it is. */
static void device_between(void)
{
	struct region region = region_map(SIZE, ODP);
	size_t at = SIZE / 2, end = at + ROM_SIZE;

	write_pattern(&region, 0, SIZE, 1);
	if (ask(&owner, map_rom, region.addr + at) < 0) {
		skip("a device's memory cannot be mapped");
		goto out;
	}
	expect_denied(IBV_WR_RDMA_READ, &region, at - 9, 10);
	expect_denied(IBV_WR_RDMA_READ, &region, end - 1, 10);
	expect_denied(IBV_WR_RDMA_WRITE, &region, at, ROM_SIZE);
	expect_read_pattern(&region, 0, at, 1, "in front of it");
	write_pattern(&region, end, SIZE - end, 2);
	expect_read_pattern(&region, end, SIZE - end, 2, "behind it");
	expect(ask(&owner, own_map, region.addr + at, ROM_SIZE, RW, ANON |
		   MAP_FIXED, -1, 0) > 0, "mmap");
	expect_read_zero(&region, at, ROM_SIZE, "in its place");
out:
	region_drop(&region);
	point("a device's memory between other memory");
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	size_t i;

	traffic_init();
	memlock();
	owner_open(&owner, false);
	read_only(MAP_SHARED);
	read_only(MAP_PRIVATE);
	forbidden_in_use(own_map_anonymous);
	forbidden_in_use(own_map_shared);
	for (i = 0; i < ARRAY_SIZE(devices); i++)
		device(i);
	device_between();
	owner_close(&owner);
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
