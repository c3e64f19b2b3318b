// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * How long registering memory takes, and deregistering it, on any device.
 *
 *   regtime [-o] [-p] DEVICE SIZE...
 *
 *     -o     on demand, instead of pinned
 *     -p     write to each page first; without, nothing but the addresses is
 *            there, which only on-demand regions can be had of in any size
 *     SIZE   bytes, with K, M, G or T for the powers of 1024
 *
 * Prints, for each size, the size in bytes and the medians of registration
 * and deregistration in microseconds.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_RUNS 501
#define MIN_RUNS 5
#define ENOUGH_NS 500000000ull

struct run {
	uint64_t reg_ns;
	uint64_t dereg_ns;
};

static void die(const char *what)
{
	fprintf(stderr, "regtime: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct ibv_pd *open_pd(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context;
	struct ibv_pd *pd;
	int i;

	if (!list)
		die("ibv_get_device_list");
	for (i = 0; list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			break;
	if (!list[i]) {
		fprintf(stderr, "regtime: no device %s\n", name);
		exit(1);
	}
	context = ibv_open_device(list[i]);
	if (!context)
		die("ibv_open_device");
	ibv_free_device_list(list);
	pd = ibv_alloc_pd(context);
	if (!pd)
		die("ibv_alloc_pd");
	return pd;
}

static char *map(size_t size, bool present)
{
	long page = sysconf(_SC_PAGESIZE);
	char *p;
	size_t i;

	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	for (i = 0; present && i < size; i += page)
		p[i] = 1;
	return p;
}

static struct run register_once(struct ibv_pd *pd, char *p, size_t size,
				int access)
{
	uint64_t start, registered, deregistered;
	struct ibv_mr *mr;

	start = now_ns();
	mr = ibv_reg_mr(pd, p, size, access);
	registered = now_ns();
	if (!mr)
		die("ibv_reg_mr");
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr");
	deregistered = now_ns();
	return (struct run){ registered - start, deregistered - registered };
}

static int by_reg(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return x->reg_ns < y->reg_ns ? -1 : x->reg_ns > y->reg_ns;
}

static int by_dereg(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return x->dereg_ns < y->dereg_ns ? -1 : x->dereg_ns > y->dereg_ns;
}

static void measure(struct ibv_pd *pd, size_t size, int access, bool present)
{
	static struct run runs[MAX_RUNS];
	char *p = map(size, present);
	uint64_t start, reg_ns;
	int n = 0;

	/* The first one pays for what is set up once. */
	register_once(pd, p, size, access);
	start = now_ns();
	while (n < MAX_RUNS && (n < MIN_RUNS || now_ns() - start < ENOUGH_NS))
		runs[n++] = register_once(pd, p, size, access);
	munmap(p, size);

	qsort(runs, n, sizeof(*runs), by_reg);
	reg_ns = runs[n / 2].reg_ns;
	qsort(runs, n, sizeof(*runs), by_dereg);
	printf("%zu %.2f %.2f\n", size, reg_ns / 1e3,
	       runs[n / 2].dereg_ns / 1e3);
	fflush(stdout);
}

static size_t parse_size(const char *s)
{
	const char *units = "KMGT", *unit;
	char *end;
	size_t size = strtoull(s, &end, 10);

	unit = *end ? strchr(units, *end) : NULL;
	if (!size || (*end && (!unit || end[1]))) {
		fprintf(stderr, "regtime: not a size: %s\n", s);
		exit(2);
	}
	return unit ? size << (10 * (unit - units + 1)) : size;
}

int main(int argc, char **argv)
{
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		     IBV_ACCESS_REMOTE_READ;
	bool present = false;
	struct ibv_pd *pd;
	int opt;

	while ((opt = getopt(argc, argv, "op")) != -1) {
		if (opt == 'o')
			access |= IBV_ACCESS_ON_DEMAND;
		else if (opt == 'p')
			present = true;
		else
			return 2;
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: regtime [-o] [-p] DEVICE SIZE...\n");
		return 2;
	}
	pd = open_pd(argv[optind++]);
	for (; optind < argc; optind++)
		measure(pd, parse_size(argv[optind]), access, present);
	return 0;
}
