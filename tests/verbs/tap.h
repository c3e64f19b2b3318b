/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tap.h - results in the Test Anything Protocol, and bounds on every wait.
 *
 * A program is a list of points.  Within a point expect() is called as often
 * as needed, by any thread and any child; point() ends the point and says
 * whether everything held.  tap_main() runs the program in a process group of
 * its own: what takes too long, or crashes, fails, and its stacks are shown.
 */
#ifndef TAP_H
#define TAP_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TAP_SAID_PER_POINT	20

/* Shared by all processes of the test. */
struct tap {
	unsigned int points;
	unsigned int failed;
	unsigned int failures;		/* of this point */
	unsigned int checks;		/* expectations of this point */
	char skipped[80];		/* why it does not apply, or empty */
	uint64_t seed;
};

static struct tap *tap;
static const char *tap_argument;

static inline uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static inline uint64_t now_ms(void)
{
	return now_us() / 1000;
}

static inline void sleep_us(uint64_t us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

static inline void sleep_ms(uint64_t ms)
{
	sleep_us(ms * 1000);
}

/*
 * Patience: so many milliseconds in which the waiting thread was there to look.
 * A machine that stands still for a minute does so for whom it waits for, too.
 */
#define PATIENCE_STEP_MS	250

struct patience {
	uint64_t last;
	uint64_t left;
};

static inline struct patience patience_of(unsigned int ms)
{
	return (struct patience) { now_ms(), ms };
}

/* Whether to look once more. */
static inline bool is_patient(struct patience *patience)
{
	uint64_t now = now_ms(), took = now - patience->last;

	patience->last = now;
	if (took > PATIENCE_STEP_MS)
		took = PATIENCE_STEP_MS;
	if (took > patience->left || !patience->left)
		return false;
	patience->left -= took;
	return true;
}

/* One write for one line: processes and threads do not mix. */
static inline void tap_line(const char *prefix, const char *format, va_list ap)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s", prefix);

	n += vsnprintf(line + n, sizeof(line) - n - 1, format, ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDOUT_FILENO, line, n) != n)
		_exit(3);
}

__attribute__((format(printf, 1, 2)))
static inline void diag(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	tap_line("# ", format, ap);
	va_end(ap);
}

/* Set-up that has to work for there to be a test at all. */
__attribute__((format(printf, 3, 4), noreturn))
static inline void tap_bail(const char *file, int line, const char *format, ...)
{
	char prefix[64];
	va_list ap;

	snprintf(prefix, sizeof(prefix), "Bail out! %s:%d: ", file, line);
	va_start(ap, format);
	tap_line(prefix, format, ap);
	va_end(ap);
	_exit(2);
}

#define bail(...)	tap_bail(__FILE__, __LINE__, __VA_ARGS__)

#define must(condition)							\
	do {								\
		if (!(condition))					\
			bail("%s: %s", #condition, strerror(errno));	\
	} while (0)

__attribute__((format(printf, 4, 5)))
static inline bool tap_expect(bool holds, const char *file, int line,
			      const char *format, ...)
{
	char prefix[64];
	va_list ap;

	__atomic_add_fetch(&tap->checks, 1, __ATOMIC_RELAXED);
	if (holds)
		return true;
	if (__atomic_add_fetch(&tap->failures, 1, __ATOMIC_RELAXED) >
	    TAP_SAID_PER_POINT)
		return false;
	snprintf(prefix, sizeof(prefix), "# %s:%d: ", file, line);
	va_start(ap, format);
	tap_line(prefix, format, ap);
	va_end(ap);
	return false;
}

#define expect(holds, ...)						\
	tap_expect(holds, __FILE__, __LINE__, __VA_ARGS__)

/* Two integers that should be the same. */
#define expect_eq(a, b, ...)						\
	({								\
		long long a_ = (long long)(a), b_ = (long long)(b);	\
		char what_[160];					\
		snprintf(what_, sizeof(what_), __VA_ARGS__);		\
		expect(a_ == b_, "%s: %s is %lld, not %lld", what_,	\
		       #a, a_, b_);					\
	})

/* The end of a point. */
__attribute__((format(printf, 1, 2)))
static inline void point(const char *format, ...)
{
	bool skipped = tap->skipped[0];
	bool ok = !tap->failures && (tap->checks || skipped);
	char what[200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	if (!tap->checks && !skipped)
		diag("nothing was checked");
	printf("%sok %u - %s%s%s\n", ok ? "" : "not ", ++tap->points, what,
	       skipped ? " # SKIP " : "", tap->skipped);
	fflush(stdout);
	tap->failed += !ok;
	tap->failures = 0;
	tap->checks = 0;
	tap->skipped[0] = 0;
}

/* The point at hand does not apply here. */
static inline void skip(const char *why)
{
	snprintf(tap->skipped, sizeof(tap->skipped), "%s", why);
}

static inline bool tap_long(void)
{
	const char *value = getenv("TIDE_LONG");

	return value && *value && *value != '0';
}

/* How long, or how often: by default, and with TIDE_LONG=1. */
static inline int length_of(int usual, int extended)
{
	return tap_long() ? extended : usual;
}

static inline void tap_show_file(const char *what, const char *path)
{
	char line[256];
	FILE *file = fopen(path, "r");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		diag("%s: %s", what, line);
	}
	fclose(file);
}

static inline void tap_show_text(const char *what, char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line)
			diag("%s: %s", what, line);
}

static inline void tap_show_tasks(pid_t pid)
{
	char path[64], file[384];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s/wchan", path,
			 entry->d_name);
		tap_show_file(entry->d_name, file);
		snprintf(file, sizeof(file), "%s/%s/stack", path,
			 entry->d_name);
		tap_show_file(entry->d_name, file);
	}
	if (dir)
		closedir(dir);
}

/* What every process of the group is doing. */
static inline void tap_show_group(pid_t group)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	pid_t pid;

	while (dir && (entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		if (pid > 0 && getpgid(pid) == group)
			tap_show_tasks(pid);
	}
	if (dir)
		closedir(dir);
}

/* Wait for a child; false when it takes longer. */
static inline bool wait_child(pid_t pid, unsigned int ms, int *status)
{
	struct patience patience = patience_of(ms);

	for (;;) {
		pid_t ret = waitpid(pid, status, WNOHANG);

		if (ret == pid)
			return true;
		if (ret < 0 || !is_patient(&patience))
			return false;
		sleep_ms(2);
	}
}

static inline bool tap_supervise(pid_t pid, unsigned int seconds)
{
	int status;

	if (wait_child(pid, seconds * 1000, &status)) {
		kill(-pid, SIGKILL);
		if (WIFSIGNALED(status))
			diag("killed by signal %d", WTERMSIG(status));
		return WIFEXITED(status) && !WEXITSTATUS(status);
	}
	diag("not finished after %u s, in the point after %u", seconds,
	     tap->points);
	tap_show_group(pid);
	kill(-pid, SIGKILL);
	if (!wait_child(pid, 10000, &status)) {
		diag("and it cannot be killed");
		tap_show_group(pid);
	}
	return false;
}

/* Run a test that may take so many seconds; its exit status. */
static inline int tap_main(int argc, char **argv, unsigned int seconds,
			   void (*run)(void))
{
	pid_t pid;

	tap_argument = argc > 1 ? argv[1] : NULL;
	tap = mmap(NULL, sizeof(*tap), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tap == MAP_FAILED)
		return 2;
	tap->seed = getenv("TIDE_SEED") ? strtoull(getenv("TIDE_SEED"), NULL, 0)
					: now_us();
	diag("TIDE_SEED=%llu", (unsigned long long)tap->seed);

	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	setpgid(pid, pid);
	if (!tap_supervise(pid, seconds)) {
		tap->failures++;
		point("the test comes to its end");
	}
	printf("1..%u\n", tap->points);
	return tap->failed ? 1 : 0;
}

#endif /* TAP_H */
