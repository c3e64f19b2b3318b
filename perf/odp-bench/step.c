// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * A step in processes of its own, watched; what it reports.
 *
 * A record is a line of JSON.  Each is written by one call, so that a process
 * that is killed leaves none behind that is half.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "bench.h"

#define KILL_MS		10000

/* Shared by all processes. */
static struct {
	uint64_t beats;
	int round;
	int turn;
	int number;
	int count;
	bool open;		/* the point has no value yet */
	struct point point;
} *shared;

const char *device;

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

double median(uint64_t *values, int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] :
		       (values[n / 2 - 1] + values[n / 2]) / 2.0;
}

double rate(size_t bytes, uint64_t ns)
{
	return ns ? bytes * 1e3 / ns : 0;
}

void progress(void)
{
	__atomic_fetch_add(&shared->beats, 1, __ATOMIC_RELAXED);
}

void point_at(const char *section, const char *operation, const char *memory,
	      size_t size)
{
	struct point *point = &shared->point;

	snprintf(point->section, sizeof(point->section), "%s", section);
	snprintf(point->operation, sizeof(point->operation), "%s", operation);
	snprintf(point->memory, sizeof(point->memory), "%s", memory);
	point->size = size;
	shared->turn = 0;
	shared->open = true;
	progress();
}

void point_turn(int turn)
{
	shared->turn = turn;
}

static void put_record(const char *what)
{
	const struct point *point = &shared->point;
	char line[600];
	int n;

	n = snprintf(line, sizeof(line),
		     "{\"round\": %d, \"turn\": %d, \"device\": \"%s\", "
		     "\"section\": \"%s\", \"operation\": \"%s\", "
		     "\"memory\": \"%s\", \"size\": %zu, %s}\n",
		     shared->round, shared->turn, device, point->section,
		     point->operation, point->memory, point->size, what);
	if (write(settings.out, line, n) != n)
		fprintf(stderr, "odp-bench: a record was not written: %s\n",
			strerror(errno));
	shared->open = false;
	progress();
}

static void put_progress(const char *what)
{
	const struct point *point = &shared->point;
	const char *units[] = { "", "K", "M", "G", "T" };
	size_t size = point->size, unit = 0;
	char place[24] = "";

	for (; size >= 1024 && unit < ARRAY_SIZE(units) - 1; size /= 1024)
		unit++;
	if (size)
		snprintf(place, sizeof(place), "%zu%s", size, units[unit]);
	fprintf(stderr, "[%3d/%d] %-8s %-12s %-28s %6s  %-13s %s\n",
		shared->number, shared->count, device, point->section,
		point->operation, place, point->memory, what);
}

void point_value(double value, const char *unit)
{
	char what[100];

	snprintf(what, sizeof(what), "%10.2f %s", value, unit);
	put_progress(what);
	snprintf(what, sizeof(what), "\"value\": %.6g, \"unit\": \"%s\"", value,
		 unit);
	put_record(what);
}

static void put_problem(const char *text)
{
	char what[200];

	put_progress(text);
	snprintf(what, sizeof(what), "\"problem\": \"%s\"", text);
	put_record(what);
}

void point_problem(const char *format, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	put_problem(text);
}

/* Whoever fails first ends all processes of the step. */
void fail(const char *format, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (shared->open)
		put_problem(text);
	else
		fprintf(stderr, "odp-bench: %s: %s\n", device, text);
	kill(0, SIGKILL);
	for (;;)
		pause();
}

void fail_errno(const char *what, int error)
{
	switch (error) {
	case EOPNOTSUPP:
	case ENOSYS:
	case EPROTONOSUPPORT:
		fail("not supported");
	case ENOMEM:
		fail("%s: no memory, or more than ulimit -l", what);
	default:
		fail("%s: %s", what, strerror(error));
	}
}

/* Wait for all of a group; false when this takes longer. */
static bool reap(pid_t group, unsigned int ms)
{
	uint64_t end = now_ns() + ms * NS_PER_MS;

	while (now_ns() < end) {
		if (waitpid(-group, NULL, WNOHANG) < 0)
			return true;
		usleep(1000);
	}
	return false;
}

/* Until the step ends, or nothing has gone ahead for too long. */
static bool watch(pid_t pid, int *status)
{
	uint64_t limit = settings.timeout * 1000 * NS_PER_MS;
	uint64_t beats = 0, since = now_ns(), seen;

	while (!waitpid(pid, status, WNOHANG)) {
		seen = __atomic_load_n(&shared->beats, __ATOMIC_RELAXED);
		if (seen != beats) {
			beats = seen;
			since = now_ns();
		} else if (now_ns() - since > limit) {
			return false;
		}
		usleep(1000);
	}
	return true;
}

static void conclude(bool ended, int status)
{
	if (!ended)
		put_problem("hangs");
	else if (WIFSIGNALED(status) && shared->open)
		put_problem(strsignal(WTERMSIG(status)));
}

void step_progress(int round, int number, int count)
{
	shared->round = round;
	shared->number = number;
	shared->count = count;
}

void step_run(struct step *step, const char *name, int index)
{
	int status = 0;
	bool ended;
	pid_t pid;

	device = name;
	point_at(step->section, "start", "", 0);
	pid = fork();
	if (pid < 0) {
		perror("odp-bench: fork");
		exit(1);
	}
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		step->run(step);
		_exit(0);
	}
	setpgid(pid, pid);
	ended = watch(pid, &status);
	kill(-pid, SIGKILL);
	if (!ended && index >= 0)
		step->hung[index] = true;
	conclude(ended, status);
	if (!reap(pid, KILL_MS))
		fprintf(stderr, "odp-bench: %s: a process cannot be killed\n",
			device);
}

void step_setup(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("odp-bench: mmap");
		exit(1);
	}
	/* Owners whose step is dead are waited for here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}
