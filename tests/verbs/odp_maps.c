// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory is what the process itself would see at that address at
 * that moment: zero pages, copy on write, unmapped and mapped again, moved,
 * thrown away, swapped out, in files.  One thing happens at a time here, so
 * every byte is known; odp_fire.c is about races.
 */
#include "region.h"
#include "storage.h"

#include <sys/syscall.h>
#include <sys/time.h>

#define PAGES		64UL
#define SIZE		(PAGES * PAGE)

static uint8_t *model;

/* A random walk: whatever happens to the memory, model and memory agree */

/* Page by page: the range may be of several mappings. */
static long own_move(const long *arg)
{
	uint8_t *from = (void *)arg[0], *to = (void *)arg[1];
	long at;

	for (at = 0; at < arg[2]; at += PAGE) {
		if (mremap(from + at, PAGE, PAGE, MREMAP_MAYMOVE |
			   MREMAP_FIXED, to + at) != to + at)
			return -errno;
		if (mmap(from + at, PAGE, RW, ANON | MAP_FIXED, -1, 0) !=
		    from + at)
			return -errno;
	}
	return 0;
}

/* A child that writes to its copy of our memory, and goes. */
static long own_fork_scribble(const long *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		memset((void *)arg[0], 0xee, arg[1]);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid ? 0 : -1;
}

static void step_cpu_write(const struct region *region, size_t at, size_t len)
{
	uint64_t seed = random_u64() >> 1;

	ask(&owner, own_fill, region->addr + at, len, seed);
	pattern_fill(model + at, len, seed);
}

static void step_write(const struct region *region, size_t at, size_t len)
{
	uint64_t seed = random_u64() >> 1;

	write_pattern(region, at, len, seed);
	pattern_fill(model + at, len, seed);
}

static void step_read(const struct region *region, size_t at, size_t len)
{
	expect_read(region, at, len, model + at, "memory read remotely");
}

static void step_cpu_read(const struct region *region, size_t at, size_t len)
{
	expect_memory(region->addr + at, model + at, len,
		      "memory read by the CPU");
}

static void step_atomic(const struct region *region, size_t at, size_t len)
{
	uint64_t old;

	(void)len;
	at &= ~7UL;
	memcpy(&old, model + at, 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_ATOMIC_FETCH_AND_ADD, ODP,
		      region->addr + at, region->rkey, 8);
	expect_same(buf[ODP], &old, 8, "what an atomic found");
	old++;
	memcpy(model + at, &old, 8);
}

static size_t page_down(size_t at)
{
	return at & ~(PAGE - 1);
}

static size_t page_up(size_t at)
{
	return page_down(at + PAGE - 1);
}

static void advise(const struct region *region, size_t at, size_t len, int how)
{
	ask(&owner, own_advise, region->addr + page_down(at),
	    page_up(at + len) - page_down(at), how);
}

static void step_dontneed(const struct region *region, size_t at, size_t len)
{
	advise(region, at, len, MADV_DONTNEED);
	memset(model + page_down(at), 0, page_up(at + len) - page_down(at));
}

static void step_map_again(const struct region *region, size_t at, size_t len)
{
	size_t start = page_down(at), bytes = page_up(at + len) - start;

	expect(ask(&owner, own_map, region->addr + start, bytes, RW,
		   ANON | MAP_FIXED, -1, 0) > 0, "mmap");
	memset(model + start, 0, bytes);
}

static void step_protect(const struct region *region, size_t at, size_t len)
{
	uint64_t start = region->addr + page_down(at);
	size_t bytes = page_up(at + len) - page_down(at);

	ask(&owner, own_protect, start, bytes, PROT_READ);
	step_read(region, at, len);
	ask(&owner, own_protect, start, bytes,
	    RW | (random_below(2) ? PROT_EXEC : 0));
}

static void step_move(const struct region *region, size_t at, size_t len)
{
	size_t from = page_down(at), bytes = page_up(at + len) - from;
	size_t to;

	if (bytes > SIZE / 2)
		bytes = SIZE / 2;
	to = from >= bytes ? page_down(random_below(from - bytes + 1)) :
			     from + bytes;
	if (to + bytes > SIZE)
		return;
	expect_eq(ask(&owner, own_move, region->addr + from, region->addr + to,
		      bytes), 0, "mremap");
	memmove(model + to, model + from, bytes);
	memset(model + from, 0, bytes);
}

static void step_fork(const struct region *region, size_t at, size_t len)
{
	expect_eq(ask(&owner, own_fork_scribble, region->addr + at, len), 0,
		  "fork");
}

static void step_free(const struct region *region, size_t at, size_t len)
{
	uint64_t seed = random_u64() >> 1;
	size_t start = page_down(at), bytes = page_up(at + len) - start;

	/* Freed, and then written to: that has to stay. */
	advise(region, at, len, MADV_FREE);
	write_pattern(region, start, bytes, seed);
	pattern_fill(model + start, bytes, seed);
	advise(region, at, len, MADV_PAGEOUT);
}

static void step_page_out(const struct region *region, size_t at, size_t len)
{
	advise(region, at, len, MADV_PAGEOUT);
}

static void step_cold(const struct region *region, size_t at, size_t len)
{
	advise(region, at, len, MADV_COLD);
}

static void step_huge(const struct region *region, size_t at, size_t len)
{
	advise(region, at, len, random_below(2) ? MADV_COLLAPSE :
						  MADV_HUGEPAGE);
}

static void (* const steps[])(const struct region *, size_t, size_t) = {
	step_cpu_write, step_write, step_write, step_read, step_read,
	step_cpu_read, step_atomic, step_dontneed, step_map_again,
	step_protect, step_move, step_fork, step_free, step_page_out,
	step_cold, step_huge,
};

static void random_walk(void)
{
	struct region region = region_map(SIZE, ODP);
	int rounds = length_of(1500, 40000), i;
	unsigned int failures = tap->failures;
	long swapped = vmstat("pswpout");

	memset(model, 0, SIZE);
	for (i = 0; i < rounds && tap->failures == failures; i++) {
		size_t len = 1 + random_below(random_below(4) ? 3000 :
							       SIZE / 3);
		size_t at = random_below(SIZE - len + 1);
		size_t step = random_below(ARRAY_SIZE(steps));

		steps[step](&region, at, len);
		if (tap->failures != failures)
			diag("in step %d, kind %zu, at %zu + %zu", i, step,
			     at, len);
	}
	step_read(&region, 0, SIZE);
	step_cpu_read(&region, 0, SIZE);
	expect(!have_swap || vmstat("pswpout") > swapped, "nothing was swapped");
	region_drop(&region);
	point("a random walk, %s, %s swap", where(),
	      have_swap ? "with" : "without");
}

/* Untouched memory */

static void zero_page(void)
{
	struct region region = region_map(SIZE, ODP);
	size_t i;

	expect_read_zero(&region, 3, SIZE - 5, "untouched memory");
	for (i = 0; i < PAGES; i++) {
		uint64_t at = i * PAGE + 17;

		expect_read_zero(&region, at, 99, "an untouched page");
		ask(&owner, own_fill, region.addr + at, 77, i);
		expect_read_pattern(&region, at, 77, i, "what the CPU wrote");
		expect_read_zero(&region, at + 77, 22, "what is behind it");
	}
	advise(&region, 0, SIZE, MADV_DONTNEED);
	expect_read_zero(&region, 0, SIZE, "memory thrown away");
	for (i = 0; i < PAGES; i++) {
		write_pattern(&region, i * PAGE + 4091, i < PAGES - 1 ? 9 : 5,
			      i);
		expect_eq(ask(&owner, own_check, region.addr + i * PAGE + 4091,
			      i < PAGES - 1 ? 9 : 5, i),
			  i < PAGES - 1 ? 9 : 5, "seen by the CPU");
	}
	region_drop(&region);
	point("memory that was never touched, %s", where());
}

/* One access to sparse memory makes one page. */
static long own_resident(const long *arg)
{
	unsigned char there[PAGES];
	long n = 0;
	size_t i;

	if (mincore((void *)arg[0], SIZE, there))
		return -errno;
	for (i = 0; i < PAGES; i++)
		n += there[i] & 1;
	return n;
}

static void sparse(void)
{
	struct region region = region_map(SIZE, ODP);
	uint64_t second = 40 * PAGE;

	/*
	 * Where the mapping comes to lie decides where it has huge pages; and
	 * what begins where a look around another fault has ended may be in
	 * sequence with that.
	 */
	if (!((region.addr + second) % (16 * PAGE)))
		second += PAGE;
	ask(&owner, own_advise, region.addr, SIZE, MADV_NOHUGEPAGE);
	write_pattern(&region, 20 * PAGE + 100, 100, 1);
	expect_eq(ask(&owner, own_resident, region.addr), 1,
		  "pages after a write");
	write_pattern(&region, second + 4000, 100, 1);
	expect_eq(ask(&owner, own_resident, region.addr), 3,
		  "pages after another");
	region_drop(&region);
	point("one access to sparse memory makes one page, %s", where());
}

/* Copy on write */

static int hold_fd = -1;
static pid_t hold_pid;

/* A child that may write its copy, waits, and checks its copy then. */
static void hold(int fd, uint8_t *mem, size_t len, uint64_t seed, bool writes)
{
	char c;

	if (writes)
		pattern_fill(mem, len, seed);
	if (write(fd, "", 1) != 1 || read(fd, &c, 1) != 1)
		_exit(9);
	_exit(pattern_check(mem, len, seed) == len ? 0 : 1);
}

static long own_fork_hold(const long *arg)
{
	int fds[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	hold_pid = fork();
	if (!hold_pid) {
		close(fds[1]);
		hold(fds[0], (void *)arg[0], arg[1], arg[2], arg[3]);
	}
	close(fds[0]);
	hold_fd = fds[1];
	hear_byte(hold_fd);
	return 0;
}

/* What the child found. */
static long own_fork_ask(const long *arg)
{
	int status = -1;

	(void)arg;
	must(write(hold_fd, "", 1) == 1);
	close(hold_fd);
	if (!wait_child(hold_pid, SOON_MS, &status)) {
		kill(hold_pid, SIGKILL);
		return -1;
	}
	return status;
}

static void receive_into(const struct region *region, size_t at, size_t len,
			 uint64_t seed)
{
	expect_eq(ask(&owner, own_recv, region->addr + at, len, region->mr), 0,
		  "post_recv");
	pattern_fill(buf[PINNED], len, seed);
	expect_access(IBV_WC_SUCCESS, IBV_WR_SEND, PINNED, 0, 0, len);
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "receive");
}

/* Bytes that come after a fork are the parent's, and only the parent's. */
static void cow_write(const struct region *region, bool child_writes,
		      bool receive)
{
	size_t at = 11, len = SIZE - 30;
	uint64_t addr = region->addr + at;

	ask(&owner, own_fill, addr, len, 1);
	expect_read_pattern(region, at, len, 1, "before the fork");
	ask(&owner, own_fork_hold, addr, len, child_writes ? 3 : 1,
	    child_writes);
	if (receive)
		receive_into(region, at, len, 2);
	else
		write_pattern(region, at, len, 2);
	expect_eq(ask(&owner, own_check, addr, len, 2), len,
		  "the owner sees what was written");
	expect_read_pattern(region, at, len, 2, "read after the fork");
	expect_eq(ask(&owner, own_fork_ask), 0,
		  "the child sees its own memory");
	expect_read_pattern(region, at, len, 2, "after the child has gone");
}

/* The owner's CPU moves its pages away from the child's. */
static void cow_cpu(const struct region *region)
{
	size_t at = 11, len = SIZE - 30;
	uint64_t addr = region->addr + at;

	ask(&owner, own_fill, addr, len, 4);
	expect_read_pattern(region, at, len, 4, "before the fork");
	ask(&owner, own_fork_hold, addr, len, 4, false);
	expect_read_pattern(region, at, len, 4, "shared with the child");
	ask(&owner, own_fill, addr, len, 5);
	expect_read_pattern(region, at, len, 5, "what the owner wrote");
	expect_eq(ask(&owner, own_fork_ask), 0,
		  "the child sees its own memory");
}

static void cow(enum kind kind)
{
	struct region region = region_map(SIZE, kind);
	int i;

	for (i = 0; i < 4; i++)
		cow_write(&region, i & 1, i & 2);
	cow_cpu(&region);
	for (i = 0; i < length_of(5, 100); i++) {
		cow_write(&region, random_below(2), random_below(2));
		cow_cpu(&region);
	}
	region_drop(&region);
	point("copy on write after a fork, %s, %s", kind_name[kind], where());
}

/* Memory that is not there */

/* A write that hits a hole changes nothing but what it was to change. */
static void expect_stopped_at(const struct region *region, size_t at,
			      size_t len, size_t hole)
{
	static uint8_t seen[SIZE];
	uint8_t fresh;
	size_t i;

	peek(seen, region->addr, hole);
	for (i = 0; i < hole; i++) {
		fresh = i >= at && i < at + len ? pattern(9, i - at) :
						  pattern(8, i);
		if (seen[i] != fresh && seen[i] != pattern(8, i))
			break;
	}
	expect_eq(i, hole, "bytes before the hole");
	i = hole + PAGE;
	peek(seen + i, region->addr + i, SIZE - i);
	for (; i < SIZE && seen[i] == pattern(8, i); i++)
		;
	expect_eq(i, SIZE, "bytes behind the hole");
}

static const struct {
	const char *name;
	int prot;			/* or -1: not mapped */
	bool readable;
} holes[] = {
	{ "unmapped memory", -1, false },
	{ "memory with PROT_NONE", PROT_NONE, false },
	{ "memory with PROT_READ", PROT_READ, true },
};

static void make_hole(const struct region *region, size_t at, int prot)
{
	if (prot < 0)
		ask(&owner, own_unmap, region->addr + at, PAGE);
	else
		ask(&owner, own_protect, region->addr + at, PAGE, prot);
}

static void fill_hole(const struct region *region, size_t at)
{
	expect(ask(&owner, own_map, region->addr + at, PAGE, RW,
		   ANON | MAP_FIXED, -1, 0) > 0, "mmap");
}

static void hole(size_t i)
{
	struct region region = region_map(SIZE, ODP);
	size_t at = 5 * PAGE;

	ask(&owner, own_fill, region.addr, SIZE, 8);
	expect_read_pattern(&region, 0, SIZE, 8, "before there is a hole");
	make_hole(&region, at, holes[i].prot);
	expect_denied(IBV_WR_RDMA_WRITE, &region, 100, 7 * PAGE);
	expect_stopped_at(&region, 100, 7 * PAGE, at);
	expect_denied(IBV_WR_RDMA_WRITE, &region, at + 9, 1);
	expect_denied(IBV_WR_ATOMIC_FETCH_AND_ADD, &region, at + 8, 8);
	if (holes[i].readable)
		expect_read(&region, at + 1, 1,
			    &(uint8_t){ pattern(8, at + 1) }, "read-only");
	else
		expect_denied(IBV_WR_RDMA_READ, &region, 100, 7 * PAGE);

	/* Mapped again, it is there again. */
	fill_hole(&region, at);
	expect_read_zero(&region, at, PAGE, "a new mapping");
	write_pattern(&region, at - 50, 100, 3);
	expect_eq(ask(&owner, own_check, region.addr + at - 50, 100, 3), 100,
		  "a write to a new mapping");
	region_drop(&region);
	point("%s, %s", holes[i].name, where());
}

/* A receive that ends in a hole. */
static void receive_hole(size_t i)
{
	struct region region = region_map(SIZE, ODP);

	make_hole(&region, 5 * PAGE, holes[i].prot);
	expect_eq(ask(&owner, own_recv, region.addr + 4 * PAGE + 9, 2 * PAGE,
		      region.mr), 0, "post_recv");
	expect_access(IBV_WC_REM_OP_ERR, IBV_WR_SEND, ODP, 0, 0, 5000);
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_LOC_PROT_ERR, "receive");
	expect_eq(ask(&owner, own_event, 0), -1, "event");
	owner_connect(&owner);
	region_drop(&region);
	point("a receive into %s, %s", holes[i].name, where());
}

/* The requester's own memory has a hole. */
static void local_hole(size_t i)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_SEND, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	struct region region = region_map(SIZE, PINNED);
	uint8_t *mem = buf[ODP];
	size_t n;

	for (n = 0; n < ARRAY_SIZE(opcodes); n++) {
		bool reads = n > 1;

		if (holes[i].prot < 0)
			must(!munmap(mem, PAGE));
		else
			must(!mprotect(mem, PAGE, holes[i].prot));
		ask(&owner, own_recv, region.addr, SIZE, region.mr);
		expect_access(holes[i].readable && !reads ?
			      IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR,
			      opcodes[n], ODP, region.addr, region.rkey,
			      is_atomic(opcodes[n]) ? 8 : 6000);
		expect_eq(ask(&owner, own_event, 0), -1, "event at the owner");
		owner_connect(&owner);
		must(mmap(mem, PAGE, RW, ANON | MAP_FIXED, -1, 0) == mem);
	}
	expect_eq(zero_check(buf[ODP], PAGE), PAGE, "the new mapping");
	region_drop(&region);
	point("%s at the requester, %s", holes[i].name, where());
}

/* Registered before there is anything. */
static void nothing_yet(void)
{
	struct region region = region_map(SIZE, ODP);

	region_drop(&region);
	region = region_reg(region.addr, SIZE, ODP);
	if (!expect(region.mr, "not registered: %s", strerror(errno)))
		return;
	expect_denied(IBV_WR_RDMA_READ, &region, 0, 1);
	expect(ask(&owner, own_map, region.addr, SIZE, RW, ANON | MAP_FIXED,
		   -1, 0) > 0, "mmap");
	expect_read_zero(&region, 1, SIZE - 1, "mapped later");
	write_pattern(&region, 1, SIZE - 1, 5);
	expect_read_pattern(&region, 1, SIZE - 1, 5, "written later");
	region_drop(&region);
	point("a region registered before its memory is mapped, %s", where());
}

/* What memory can be */

struct memory {
	const char *name;
	int flags;
	bool file;
	bool memfd;
	int memfd_flags;
	int advice;
};

static const struct memory memories[] = {
	{ "anonymous, shared", MAP_SHARED | MAP_ANONYMOUS, 0, 0, 0, 0 },
	{ "a memfd, shared", MAP_SHARED, 0, 1, 0, 0 },
	{ "a memfd, private", MAP_PRIVATE, 0, 1, 0, 0 },
	{ "huge pages, private", ANON | MAP_HUGETLB, 0, 0, 0, 0 },
	{ "huge pages, shared", MAP_SHARED, 0, 1, MFD_HUGETLB, 0 },
	{ "transparent huge pages", ANON, 0, 0, 0, MADV_HUGEPAGE },
	{ "a file on ext4, shared", MAP_SHARED, 1, 0, 0, 0 },
	{ "a file on ext4, private", MAP_PRIVATE, 1, 0, 0, 0 },
};

#define MEMORY_SIZE	(4 * MIB)

static int own_fd = -1;

static long own_open_file(const long *arg)
{
	const struct memory *memory = (void *)arg[0];
	if (memory->memfd) {
		own_fd = memfd_create("memory", memory->memfd_flags);
	} else if (memory->file) {
		own_fd = open(EXT4_DIR "/file", O_RDWR | O_CREAT | O_TRUNC,
			      0600);
	} else {
		return -1;
	}
	if (own_fd < 0 || ftruncate(own_fd, MEMORY_SIZE))
		return -errno;
	return own_fd;
}

static long own_close_file(const long *arg)
{
	(void)arg;
	if (own_fd >= 0)
		close(own_fd);
	own_fd = -1;
	return 0;
}

/* Compare the file with the pattern, as read(2) has it. */
static long own_check_file(const long *arg)
{
	size_t at = arg[0], len = arg[1];
	uint8_t *seen = map_memory(len);
	long ret = -1;

	if (pread(own_fd, seen, len, at) == (ssize_t)len)
		ret = arg[2] ? pattern_check(seen, len, arg[2]) :
			       zero_check(seen, len);
	munmap(seen, len);
	return ret;
}

/* Have the file written to its disk, and forgotten in memory. */
static long own_sync(const long *arg)
{
	if (arg[2] ? fsync(own_fd) : msync((void *)arg[0], arg[1], MS_SYNC))
		return -errno;
	return tell_kernel("/proc/sys/vm/drop_caches", "3") ? 0 : -errno;
}

static void use_file(const struct region *region, size_t at, size_t len,
		     bool shared)
{
	int i;

	for (i = 0; i < 4; i++) {
		write_pattern(region, at, len, 20 + i);
		if (i) {
			expect_eq(ask(&owner, own_sync, region->addr,
				      MEMORY_SIZE, i & 1), 0, "sync");
			expect_read_pattern(region, at, len, 20 + i,
					    "after it was synced");
		}
		expect_eq(ask(&owner, own_check_file, at, len,
			      shared ? 20 + i : 0), len, "in the file");
	}
}

static void use_memory(const struct memory *memory, struct region *region)
{
	size_t at = 3 * PAGE - 7, len = 9 * PAGE + 20;

	if (memory->advice)
		ask(&owner, own_advise, region->addr, MEMORY_SIZE,
		    memory->advice);
	expect_read_zero(region, at, len, "fresh memory");
	ask(&owner, own_fill, region->addr + at, len, 6);
	expect_read_pattern(region, at, len, 6, "what the CPU wrote");
	write_pattern(region, at + 2 * MIB - 5 * PAGE, len, 7);
	expect_eq(ask(&owner, own_check, region->addr + at + 2 * MIB - 5 * PAGE,
		      len, 7), len, "what was written remotely");
	if (memory->memfd || memory->file)
		use_file(region, MEMORY_SIZE - SIZE + 33, SIZE - 33,
			 memory->flags & MAP_SHARED);
}

/* Pinned, only where it is no file on a disk: the kernel refuses that. */
static void kind_of_memory(const struct memory *memory, enum kind kind)
{
	struct region region = { .size = MEMORY_SIZE };
	long fd = ask(&owner, own_open_file, (long)memory);
	long addr = ask(&owner, own_map, 0, MEMORY_SIZE, RW, memory->flags, fd,
			0);

	if (addr < 0 || (memory->file && !have_ext4)) {
		skip("no such memory here");
		goto out;
	}
	region = region_reg(addr, MEMORY_SIZE, kind);
	if (!region.mr && kind == PINNED && memory->file) {
		skip("it cannot be pinned");
		goto out;
	}
	if (expect(region.mr, "not registered: %s", strerror(errno)))
		use_memory(memory, &region);
out:
	ask(&owner, own_close_file);
	if (addr > 0)
		region_drop(&region);
	point("%s, %s, %s", memory->name, kind_name[kind], where());
}

/* Behind the end of a file there is nothing, nor where it was cut off. */
static void truncated(void)
{
	const struct memory *memory = &memories[1];
	long fd = ask(&owner, own_open_file, (long)memory);
	long addr = ask(&owner, own_map, 0, 2 * MEMORY_SIZE, RW, MAP_SHARED,
			fd, 0);
	struct region region = region_reg(addr, 2 * MEMORY_SIZE, ODP);

	must(region.mr);
	write_pattern(&region, MEMORY_SIZE - 100, 100, 1);
	expect_denied(IBV_WR_RDMA_WRITE, &region, MEMORY_SIZE - 50, 100);
	expect_denied(IBV_WR_RDMA_READ, &region, MEMORY_SIZE, 1);
	ask(&owner, own_close_file);
	region_drop(&region);
	point("behind the end of a file, %s", where());
}

/*
 * Everything that a process has mapped: its program, libraries, stack, rings,
 * the kernel's pages.  What others can read of it, a reader can; the rest is
 * refused.
 */

struct mapping {
	uint64_t start;
	uint64_t end;
	char name[64];
};

static int find_mappings(struct mapping *mapping, int max)
{
	char path[64], line[512], rights[8];
	FILE *file;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", owner.child.pid);
	file = fopen(path, "r");
	must(file);
	while (n < max && fgets(line, sizeof(line), file)) {
		struct mapping *m = &mapping[n];

		m->name[0] = 0;
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %63[^\n]", &m->start,
			   &m->end, rights, m->name) >= 3 && m->start < 1UL << 47)
			n++;
	}
	fclose(file);
	return n;
}

static bool snapshot(void *to, uint64_t page)
{
	struct iovec local = { to, PAGE };
	struct iovec remote = { (void *)page, PAGE };

	return process_vm_readv(owner.child.pid, &local, 1, &remote, 1, 0) ==
	       (ssize_t)PAGE;
}

static void read_mapping(const struct mapping *mapping, uint64_t page)
{
	static uint8_t before[PAGE], after[PAGE];
	long mr = ask(&owner, own_reg, page, PAGE, IBV_ACCESS_REMOTE_READ |
		      IBV_ACCESS_ON_DEMAND);
	bool readable;
	uint32_t key;
	int status;

	if (!expect(mr, "%s is not registered", mapping->name))
		return;
	key = ask(&owner, own_rkey, mr);
	readable = snapshot(before, page);
	status = do_access(IBV_WR_RDMA_READ, PINNED, page, key, PAGE);
	expect(status == (readable ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR),
	       "%s: %s, %sreadable", mapping->name, ibv_wc_status_str(status),
	       readable ? "" : "not ");
	if (status) {
		ask(&owner, own_event, SOON_MS);
		owner_connect(&owner);
	} else if (snapshot(after, page) && !memcmp(before, after, PAGE)) {
		expect_same(buf[PINNED], before, PAGE, mapping->name);
	}
	ask(&owner, own_dereg, mr);
}

static void everything_mapped(void)
{
	static struct mapping mapping[200];
	int n = find_mappings(mapping, ARRAY_SIZE(mapping)), i;

	expect(n > 10, "a process has %d mappings", n);
	for (i = 0; i < n; i++) {
		read_mapping(&mapping[i], mapping[i].start);
		read_mapping(&mapping[i], mapping[i].end - PAGE);
	}
	point("everything that a process has mapped");
}

/* Memory that the kernel itself cannot read is nobody's. */
static long own_map_secret(const long *arg)
{
	void *addr = MAP_FAILED;
	int fd = syscall(SYS_memfd_secret, 0);

	(void)arg;
	if (fd >= 0 && !ftruncate(fd, SIZE))
		addr = mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return addr == MAP_FAILED ? -errno : (long)addr;
}

static void secret(void)
{
	long addr = ask(&owner, own_map_secret);
	struct region region;

	if (addr < 0) {
		skip("there is no secret memory here");
		goto out;
	}
	ask(&owner, own_fill, addr, SIZE, 1);
	region = region_reg(addr, SIZE, ODP);
	if (expect(region.mr, "not registered: %s", strerror(errno))) {
		expect_denied(IBV_WR_RDMA_READ, &region, 5, 100);
		expect_denied(IBV_WR_RDMA_WRITE, &region, 5, 100);
		expect_eq(ask(&owner, own_check, addr, SIZE, 1), SIZE,
			  "the secret");
		region_drop(&region);
	}
out:
	point("secret memory, %s", where());
}

static void test_where(bool here)
{
	enum kind kind;
	size_t i;

	owner_open(&owner, here);
	zero_page();
	sparse();
	random_walk();
	for (kind = 0; kind < KINDS; kind++)
		cow(kind);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		hole(i);
		receive_hole(i);
		local_hole(i);
	}
	nothing_yet();
	for (i = 0; i < ARRAY_SIZE(memories); i++)
		for (kind = 0; kind < KINDS; kind++)
			kind_of_memory(&memories[i], kind);
	truncated();
	secret();
	if (!here)
		everything_mapped();
	owner_close(&owner);
}

/*
 * The first registration of a process, for which the kernel takes all locks
 * of its address space, unless a signal is pending.
 */

static const struct itimerval often = { { 0, 60 }, { 0, 60 } };
static const struct itimerval never;
static volatile int alarms;

/* Not for ever: on a slow machine nothing else might ever come to pass. */
static void on_alarm(int signal)
{
	(void)signal;
	if (++alarms == 100)
		setitimer(ITIMER_REAL, &never, NULL);
}

static void registers_under_signals(int fd, void *arg)
{
	struct sigaction action = {
		.sa_handler = on_alarm,
		.sa_flags = SA_RESTART,
	};
	struct ibv_mr *mr;
	void *mem = map_memory(PAGE);

	(void)arg;
	side_open(&me, 4);
	must(!sigaction(SIGALRM, &action, NULL));
	must(!setitimer(ITIMER_REAL, &often, NULL));
	mr = ibv_reg_mr(me.pd, mem, PAGE, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	must(!setitimer(ITIMER_REAL, &never, NULL));
	expect(mr, "reg_mr: %s", strerror(errno));
	say_byte(fd);
}

static void signals(void)
{
	struct child child;
	int i;

	for (i = 0; i < length_of(20, 500); i++) {
		child = spawn(registers_under_signals, NULL);
		hear_byte(child.fd);
		expect_child(&child, "the child");
	}
	point("first registrations while signals come");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	model = map_memory(SIZE);
	ext4_mount();
	test_where(true);
	signals();
	swap_on();
	test_where(false);
	expect_no_leftovers(&before);
	point("nothing is left behind");
	swap_off();
	ext4_umount();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
