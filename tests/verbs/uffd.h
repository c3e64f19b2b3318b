/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * uffd.h - an owner that provides its pages itself, by userfaultfd.  All of
 * it is called in the owner's process, and there is one descriptor in each.
 */
#ifndef UFFD_H
#define UFFD_H

#include "owner.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static int uffd = -1;

static inline long uffd_open(const long *arg)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { arg[0], arg[1] },
		.mode = arg[2],
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0)
		return -errno;
	if (ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &range))
		return -errno;
	return 0;
}

static inline long uffd_close(const long *arg)
{
	(void)arg;
	return close(uffd);
}

/* The address of the next fault, or -1. */
static inline long uffd_wait(const long *arg)
{
	struct uffd_msg msg;

	if (!wait_readable(uffd, arg[0]) ||
	    read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -1;
	return msg.arg.pagefault.address & ~(PAGE - 1);
}

static inline long uffd_copy(const long *arg)
{
	static uint8_t page[PAGE];
	struct uffdio_copy copy = {
		.dst = arg[0],
		.src = (uintptr_t)page,
		.len = PAGE,
	};

	pattern_fill(page, PAGE, arg[1]);
	return ioctl(uffd, UFFDIO_COPY, &copy) ? -errno : 0;
}

static inline long uffd_protect(const long *arg)
{
	struct uffdio_writeprotect wp = {
		.range = { arg[0], arg[1] },
		.mode = arg[2] ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

static inline bool have_uffd(void)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

#endif /* UFFD_H */
