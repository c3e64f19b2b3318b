// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory in files, under traffic: what was written remotely is in
 * the file, whenever and however that is written back, and stays when its
 * owner is killed; a file that is cut off or a disk that is full is an error,
 * and no more than that; and a private mapping is nobody else's.
 *
 * Long: twenty seconds for each kind of trouble, not one.
 */
#include "situation.h"

#define SIZE		(4 * MIB)
#define SEED		11

enum backing { TMPFS, EXT4, BACKINGS };

static const struct {
	const char *name;
	const char *path;
	const char *big;
} backings[BACKINGS] = {
	{ "tmpfs", TMPFS_DIR "/file", TMPFS_DIR "/big" },
	{ "ext4", EXT4_DIR "/file", EXT4_DIR "/big" },
};

static enum backing backing;

/* The owner's */
static int own_fd = -1;
static uint8_t *own_file;

static long own_close_file(const long *arg)
{
	(void)arg;
	return close(own_fd);
}

/* A fresh file of such a size, mapped with such flags. */
static long map_file(const char *path, size_t size, int flags)
{
	own_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (own_fd < 0 || ftruncate(own_fd, size))
		return -errno;
	own_file = mmap(NULL, size, RW, flags, own_fd, 0);
	return own_file == MAP_FAILED ? -errno : (long)own_file;
}

static long own_map_tmpfs(const long *arg)
{
	return map_file(backings[TMPFS].path, arg[0], MAP_SHARED);
}

/*
 * Not for khugepaged, which in Linux 7.3 holds pages of a file while it reads
 * others, and waits for ever for who punches a hole there.
 */
static long own_map_ext4(const long *arg)
{
	long addr = map_file(backings[EXT4].path, arg[0], MAP_SHARED);

	if (addr > 0)
		madvise((void *)addr, arg[0], MADV_NOHUGEPAGE);
	return addr;
}

static void fill_file(size_t size)
{
	uint8_t *bytes = map_memory(size);

	pattern_fill(bytes, size, SEED);
	must(pwrite(own_fd, bytes, size, 0) == (ssize_t)size);
	munmap(bytes, size);
}

static long own_map_private_tmpfs(const long *arg)
{
	long addr = map_file(backings[TMPFS].path, arg[0], MAP_PRIVATE);

	fill_file(arg[0]);
	return addr;
}

static long own_map_private_ext4(const long *arg)
{
	long addr = map_file(backings[EXT4].path, arg[0], MAP_PRIVATE);

	fill_file(arg[0]);
	return addr;
}

/* Trouble */

static void write_back(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	switch (random_below(5)) {
	case 0:
		must(!msync(at, len, MS_SYNC));
		break;
	case 1:
		must(!msync(at, len, MS_ASYNC));
		break;
	case 2:
		must(!fsync(own_fd));
		break;
	case 3:
		sync();
		break;
	default:
		sync_file_range(own_fd, at - mem, len, SYNC_FILE_RANGE_WRITE);
		break;
	}
}

static void forget(uint8_t *mem, size_t size)
{
	size_t len;
	uint8_t *at = some_pages(mem, size, &len);

	if (!random_below(16))
		tell_kernel("/proc/sys/vm/drop_caches", "1");
	posix_fadvise(own_fd, at - mem, len, POSIX_FADV_DONTNEED);
	sleep_us(500);
}

static void punch(uint8_t *mem, size_t len)
{
	int mode = FALLOC_FL_PUNCH_HOLE;

	/* Not on tmpfs. */
	if (random_below(2) &&
	    !fallocate(own_fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		       mem - own_file, len))
		return;
	must(!fallocate(own_fd, mode | FALLOC_FL_KEEP_SIZE, mem - own_file,
			len));
}

/* Private pages go, and the file's are seen again. */
static void throw_private(uint8_t *mem, size_t len)
{
	must(!madvise(mem, len, MADV_DONTNEED));
}

/* The file, as read(2) has it */

static void expect_file(const char *path, const void *wanted, size_t size,
			const char *what)
{
	uint8_t *seen = map_memory(size);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (expect(fd >= 0 && pread(fd, seen, size, 0) == (ssize_t)size,
		   "cannot read %s: %s", path, strerror(errno)))
		expect_same(seen, wanted, size, what);
	if (fd >= 0)
		close(fd);
	munmap(seen, size);
}

static void forget_all(void)
{
	sync();
	expect(tell_kernel("/proc/sys/vm/drop_caches", "3"), "drop_caches");
}

static void check_file(const struct traffic *t, enum backing in,
		       const void *wanted, bool mapped)
{
	const char *path = backings[in].path;

	expect_file(path, wanted, t->region.size, mapped ?
		    "the file, mapped" : "the file, not mapped any more");
	if (mapped) {
		forget_all();
		expect_file(path, wanted, t->region.size, "the file, on disk");
		return;
	}
	expect_eq(ask(&owner, own_close_file), 0, "close");
	if (in == EXT4)
		expect(ext4_remount(), "the file system is still in use");
	expect_file(path, wanted, t->region.size, "the file, mounted anew");
}

static void shared_tmpfs(const struct traffic *t, bool mapped)
{
	check_file(t, TMPFS, t->model, mapped);
}

static void shared_ext4(const struct traffic *t, bool mapped)
{
	check_file(t, EXT4, t->model, mapped);
}

static void private_tmpfs(const struct traffic *t, bool mapped)
{
	check_file(t, TMPFS, t->ground, mapped);
}

static void private_ext4(const struct traffic *t, bool mapped)
{
	check_file(t, EXT4, t->ground, mapped);
}

static const struct situation situations[] = {
	{ "a file on tmpfs, swapped out", own_map_tmpfs, SIZE,
	  { page_out, write_back }, .evidence = "pswpout", .needs_swap = true,
	  .also = shared_tmpfs },
	{ "a file on ext4, written back and forgotten", own_map_ext4, SIZE,
	  { write_back, forget }, .evidence = "pgpgout",
	  .also = shared_ext4 },
	{ "a file on ext4, written back and paged out", own_map_ext4, SIZE,
	  { page_out, write_back }, .evidence = "pgpgout",
	  .also = shared_ext4 },
	{ "holes punched into a file on tmpfs", own_map_tmpfs, SIZE,
	  { page_out }, punch, .races = true, .also = shared_tmpfs },
	{ "holes punched into a file on ext4", own_map_ext4, SIZE,
	  { write_back, forget }, punch, .races = true,
	  .also = shared_ext4 },
	{ "a private mapping of a file on tmpfs", own_map_private_tmpfs, SIZE,
	  { page_out, forget }, throw_private, .seed = SEED, .races = true,
	  .also = private_tmpfs },
	{ "a private mapping of a file on ext4", own_map_private_ext4, SIZE,
	  { page_out, forget, write_back }, throw_private, .seed = SEED,
	  .races = true, .also = private_ext4 },
};

/* A file that becomes shorter while it is used, and longer again */

static long own_cut(const long *arg)
{
	sleep_us(random_below(30000));
	return ftruncate(own_fd, arg[0]) ? -errno : 0;
}

static long own_extend(const long *arg)
{
	return ftruncate(own_fd, arg[0]) ? -errno : 0;
}

static void cut_round(struct traffic *t, uint8_t *old)
{
	size_t size = t->region.size, cut = random_below(size);

	if (random_below(2))
		cut &= ~(PAGE - 1);
	tell(&owner, own_cut, cut);
	expect_eq(batches_until_error(t, old, cut),
		  IBV_WC_REM_ACCESS_ERR, "the first error");
	expect_eq(owner_answer(&owner), 0, "ftruncate");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);
	if (cut < size)
		expect_denied(IBV_WR_RDMA_WRITE, &t->region, size - 5, 5);
	expect_eq(ask(&owner, own_extend, size), 0, "ftruncate");
	check_either(t, old, cut);
	traffic_run(t, 50);
	traffic_check(t);
}

static void cut_off(owner_function map)
{
	uint8_t *old = map_memory(SIZE);
	long addr = ask(&owner, map, SIZE);
	struct traffic t;
	int i;

	must(addr > 0);
	t = traffic_open(addr, SIZE, 0);
	traffic_run(&t, 50);
	for (i = 0; i < length_of(6, 200) && !tap->failures; i++)
		cut_round(&t, old);
	region_drop(&t.region);
	check_file(&t, backing, t.model, false);
	traffic_forget(&t);
	munmap(old, SIZE);
	point("a file on %s cut off while it is used", backings[backing].name);
}

/* A file for which there is no room */

#define BIG		(96 * MIB)
#define STEP		(MIB - 3)

static long own_map_big(const long *arg)
{
	return map_file(backings[backing].big, arg[0], MAP_SHARED);
}

static long own_unlink_big(const long *arg)
{
	(void)arg;
	return unlink(backings[backing].big);
}

/* How far a big file, written from its start on, comes. */
static size_t write_until_full(const struct region *region)
{
	size_t at = 0;
	int status = 0;

	while (!status && at + STEP <= region->size) {
		pattern_fill(buf[ODP], STEP, at);
		status = do_access(IBV_WR_RDMA_WRITE, ODP, region->addr + at,
				   region->rkey, STEP);
		at += STEP;
	}
	expect_eq(status, IBV_WC_REM_ACCESS_ERR, "writing to a full disk");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);
	return at - STEP;
}

static void full(void)
{
	long addr = ask(&owner, own_map_big, BIG);
	struct region region;
	size_t wrote, at;

	must(addr > 0);
	region = region_reg(addr, BIG, ODP);
	must(region.mr);
	wrote = write_until_full(&region);
	expect(wrote > 2 * MIB, "full after %zu bytes", wrote);
	for (at = 0; at < wrote; at += STEP)
		expect_read_pattern(&region, at, STEP, at,
				    "what was written before it was full");

	/* With room again, it goes on. */
	expect_eq(ask(&owner, own_extend, 2 * MIB), 0, "ftruncate");
	expect_eq(ask(&owner, own_extend, BIG), 0, "ftruncate");
	write_pattern(&region, BIG - MIB - 9, MIB, 3);
	expect_read_pattern(&region, BIG - MIB - 9, MIB, 3, "written later");
	expect_read_pattern(&region, 0, STEP, 0, "written first");
	region_drop(&region);
	ask(&owner, own_unlink_big);
	ask(&owner, own_close_file);
	point("no room left on %s", backings[backing].name);
}

/* Whoever maps the file is killed in the middle of things. */

static void killed(owner_function map)
{
	const char *path = backings[backing].path;
	uint8_t *old = map_memory(SIZE), *seen = map_memory(SIZE);
	struct traffic t;
	size_t i;
	int fd;

	owner_open(&owner, false);
	t = traffic_open(ask(&owner, map, SIZE), SIZE, 0);
	traffic_run(&t, 100);
	kill(owner.child.pid, SIGKILL);
	expect(batches_until_error(&t, old, 0), "an access to nobody succeeds");
	kill_child(&owner.child);
	me_close();
	forget_all();
	if (backing == EXT4)
		expect(ext4_remount(), "the file system is still in use");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && pread(fd, seen, SIZE, 0) == (ssize_t)SIZE);
	close(fd);
	for (i = 0; i < SIZE && (seen[i] == old[i] || seen[i] == t.model[i]);
	     i++)
		;
	expect_eq(i, SIZE, "bytes of the file");
	traffic_forget(&t);
	munmap(old, SIZE);
	munmap(seen, SIZE);
	point("a file on %s, whose owner is killed", backings[backing].name);
}

static void test(void)
{
	static const owner_function map[] = { own_map_tmpfs, own_map_ext4 };
	struct leftovers before = count_leftovers();
	size_t i;

	traffic_init();
	swap_on();
	tmpfs_mount("size=24M");
	ext4_mount();
	owner_open(&owner, false);
	for (i = 0; i < ARRAY_SIZE(situations); i++)
		situation(&situations[i]);
	for (backing = 0; backing < BACKINGS; backing++) {
		if (backing == EXT4 && !have_ext4)
			continue;
		cut_off(map[backing]);
	}
	owner_close(&owner);
	for (backing = 0; backing < BACKINGS; backing++) {
		if (backing == EXT4 && !have_ext4)
			continue;
		owner_open(&owner, false);
		full();
		owner_close(&owner);
		killed(map[backing]);
	}
	expect_no_leftovers(&before);
	point("nothing is left behind");
	tmpfs_umount();
	ext4_umount();
	swap_off();
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 1800), test);
}
