/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * storage.h - a swap device and file systems for tests of memory that
 * goes there.  All are in memory, and need root.
 */
#ifndef STORAGE_H
#define STORAGE_H

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define EXT4_DIR	"/run/tide-ext4"
#define TMPFS_DIR	"/run/tide-tmpfs"

static bool have_swap, have_ext4;

/* zram picks any number that is free. */
static inline void swap_on(void)
{
	have_swap = !system("{ modprobe zram && "
			    "echo 128M >/sys/block/zram0/disksize && "
			    "mkswap /dev/zram0 && swapon /dev/zram0; } "
			    ">/dev/null 2>&1");
	if (!have_swap)
		diag("there is no zram to swap to");
}

static inline void swap_off(void)
{
	if (have_swap && system("swapoff /dev/zram0 && "
				"echo 1 >/sys/block/zram0/reset"))
		diag("swap stays on");
	have_swap = false;
}

static inline void ext4_mount(void)
{
	have_ext4 = !system("{ modprobe -qa loop ext4; "
			    "mkdir -p " EXT4_DIR " && "
			    "truncate -s 48M " EXT4_DIR ".img && "
			    "mkfs.ext4 -q -F " EXT4_DIR ".img && "
			    "mount -o loop " EXT4_DIR ".img " EXT4_DIR "; } "
			    ">/dev/null 2>&1");
	if (!have_ext4)
		diag("there is no ext4 on a loop device");
}

static inline void ext4_umount(void)
{
	if (have_ext4 && system("umount " EXT4_DIR " && rm " EXT4_DIR ".img"))
		diag("the file system stays mounted");
	have_ext4 = false;
}

/* Off and on again: only what is on its disk is still there. */
static inline bool ext4_remount(void)
{
	return !system("umount " EXT4_DIR " && "
		       "mount -o loop " EXT4_DIR ".img " EXT4_DIR);
}

/* A file system in memory, with room for so many bytes. */
static inline void tmpfs_mount(const char *size)
{
	if (mkdir(TMPFS_DIR, 0700) ||
	    mount("tide", TMPFS_DIR, "tmpfs", 0, size))
		bail("mount: %s", strerror(errno));
}

static inline void tmpfs_umount(void)
{
	if (umount(TMPFS_DIR) || rmdir(TMPFS_DIR))
		diag("the file system in memory stays mounted");
}

/* Write a word to a file of the kernel's; false when there is none. */
static inline bool tell_kernel(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, what, strlen(what)) == (ssize_t)strlen(what);
	close(fd);
	return ok;
}

/* The first line of a file of the kernel's. */
static inline bool hear_kernel(const char *path, char *what, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(what, size, file);

	if (file)
		fclose(file);
	if (ok)
		what[strcspn(what, "\n")] = 0;
	return ok;
}

/* What tests before this one have read is nothing to compact or reclaim now. */
static inline void drop_caches(void)
{
	tell_kernel("/proc/sys/vm/drop_caches", "3");
}

/* Settings of the kernel's, and what they were */

#define SETTINGS	12

static struct {
	const char *path;
	char was[64];
} settings[SETTINGS];
static int num_settings;

/* Of several choices, the one in brackets is the one that was made. */
static inline bool change_setting(const char *path, const char *what)
{
	char line[64], *was = line;

	if (num_settings == SETTINGS || !hear_kernel(path, line, sizeof(line)))
		return false;
	if (strchr(line, '[')) {
		was = strchr(line, '[') + 1;
		was[strcspn(was, "]")] = 0;
	}
	settings[num_settings].path = path;
	snprintf(settings[num_settings++].was, sizeof(line), "%s", was);
	return tell_kernel(path, what);
}

static inline void restore_settings(void)
{
	while (num_settings--)
		if (!tell_kernel(settings[num_settings].path,
				 settings[num_settings].was))
			diag("%s stays changed", settings[num_settings].path);
	num_settings = 0;
}

/*
 * Who counts faults wants the kernel to exchange no pages meanwhile, by itself,
 * for huge ones or to have free memory in one piece.
 */
static inline void leave_pages_alone(void)
{
	change_setting("/sys/kernel/mm/transparent_hugepage/khugepaged/"
		       "scan_sleep_millisecs", "100000000");
	change_setting("/proc/sys/vm/compaction_proactiveness", "0");
}

/* A counter of /proc/vmstat. */
static inline long vmstat(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "r");
	long value = 0, found = -1;
	char line[64];

	while (file && fscanf(file, "%63s %ld", line, &value) == 2)
		if (!strcmp(line, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

#endif /* STORAGE_H */
