// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The limit for a transfer between two processes on one host: one copy by the
 * kernel, which is what process_vm_writev() does.
 *
 *   vmcopy bandwidth SIZE TOTAL   MB/s (10^6), in calls of SIZE bytes
 *   vmcopy latency ITERATIONS     microseconds for 8 bytes one way: the median
 *                                 of half an exchange
 *
 * It does what perftest's ib_write_bw and ib_write_lat do, so that the figures
 * can be held beside theirs: buffers from the same allocator, of twice the
 * message's size and page-aligned, one half the source and the other the
 * destination, and every message between the same two places.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP 100

/* One side: what it sends from, and where the other side's messages go. */
struct side {
	pid_t pid;
	char *source;
	char *destination;
};

static void die(const char *what)
{
	fprintf(stderr, "vmcopy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct side make_side(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t half = size < page ? page : size;
	struct side side = { .pid = getpid() };

	side.source = aligned_alloc(page, 2 * half);
	if (!side.source)
		die("aligned_alloc");
	memset(side.source, side.pid, 2 * half);
	side.destination = side.source + half;
	return side;
}

static void copy(const struct side *from, const struct side *to, size_t size)
{
	struct iovec local = { from->source, size };
	struct iovec remote = { to->destination, size };
	ssize_t n = process_vm_writev(to->pid, &local, 1, &remote, 1, 0);

	if (n < 0)
		die("process_vm_writev");
	if ((size_t)n != size) {
		fprintf(stderr, "vmcopy: %zd of %zu bytes copied\n", n, size);
		exit(1);
	}
}

static void tell(int fd, const struct side *side)
{
	if (write(fd, side, sizeof(*side)) != sizeof(*side))
		die("write to the other side");
}

static struct side hear(int fd)
{
	struct side side;

	if (read(fd, &side, sizeof(side)) != sizeof(side))
		die("read from the other side");
	return side;
}

static void wait_for(const struct side *self, uint64_t value)
{
	volatile uint64_t *p = (void *)self->destination;

	while (*p != value)
		;
}

static void send_value(const struct side *from, const struct side *to,
		       uint64_t value)
{
	memcpy(from->source, &value, sizeof(value));
	copy(from, to, sizeof(value));
}

/* How often the other side answers; never, when only bandwidth is measured. */
static uint64_t iterations;

static void answer(const struct side *self, const struct side *peer)
{
	uint64_t i;

	for (i = 1; i <= iterations; i++) {
		wait_for(self, i);
		send_value(self, peer, i);
	}
}

/* The other side goes when *end is closed. */
static pid_t start_peer(size_t size, struct side *here, struct side *there,
			int *end)
{
	int up[2], down[2];
	pid_t pid;

	if (pipe(up) || pipe(down))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		struct side self = make_side(size), peer;
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		tell(up[1], &self);
		peer = hear(down[0]);
		answer(&self, &peer);
		exit(read(down[0], &c, 1) != 0);
	}
	*here = make_side(size);
	*there = hear(up[0]);
	tell(down[1], here);
	*end = down[1];
	return pid;
}

static void stop_peer(pid_t pid, int end)
{
	int status;

	close(end);
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "vmcopy: the other side failed\n");
		exit(1);
	}
}

static void bandwidth(size_t size, size_t total)
{
	struct side here, there;
	size_t n = total / size, i;
	uint64_t start, ns;
	pid_t pid;
	int end;

	pid = start_peer(size, &here, &there, &end);
	for (i = 0; i < WARM_UP; i++)
		copy(&here, &there, size);
	start = now_ns();
	for (i = 0; i < n; i++)
		copy(&here, &there, size);
	ns = now_ns() - start;
	stop_peer(pid, end);
	printf("%.2f\n", n * size * 1e3 / ns);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void latency(void)
{
	uint64_t *ns = calloc(iterations, sizeof(*ns)), start, i;
	struct side here, there;
	pid_t pid;
	int end;

	if (!ns)
		die("calloc");
	pid = start_peer(sizeof(*ns), &here, &there, &end);
	for (i = 1; i <= iterations; i++) {
		start = now_ns();
		send_value(&here, &there, i);
		wait_for(&here, i);
		ns[i - 1] = now_ns() - start;
	}
	stop_peer(pid, end);
	qsort(ns, iterations, sizeof(*ns), by_value);
	printf("%.2f\n", ns[iterations / 2] / 2e3);
	free(ns);
}

int main(int argc, char **argv)
{
	uint64_t size, total;

	if (argc == 4 && !strcmp(argv[1], "bandwidth")) {
		size = strtoull(argv[2], NULL, 0);
		total = strtoull(argv[3], NULL, 0);
		if (size && total >= size) {
			bandwidth(size, total);
			return 0;
		}
	} else if (argc == 3 && !strcmp(argv[1], "latency")) {
		iterations = strtoull(argv[2], NULL, 0);
		if (iterations) {
			latency();
			return 0;
		}
	}
	fprintf(stderr, "usage: vmcopy bandwidth SIZE TOTAL\n"
			"       vmcopy latency ITERATIONS\n");
	return 2;
}
