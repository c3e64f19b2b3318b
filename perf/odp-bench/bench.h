/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * bench.h - what the parts of odp-bench offer each other
 *
 *	main.c		options, and the plan: which steps there are
 *	step.c		a step in processes of its own, watched; what it reports
 *	verbs.c		an end of the connections, and transfers over them
 *	owner.c		the process whose memory is measured
 *	register.c	steps: registering memory
 *	touch.c		steps: the first access to pages, given back or not
 *	steady.c	steps: memory that has been accessed before
 *	held.c		steps: what registered memory holds
 *
 * A step is a process, and the owner of the memory is a child of it.  What
 * fails ends them both, after it was reported; what hangs is killed.  So there
 * is nothing to clean up anywhere, and the next step finds nothing left.
 */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB		1024UL
#define MIB		(1024UL * KIB)
#define GIB		(1024UL * MIB)
#define TIB		(1024UL * GIB)
#define HUGE_PAGE	(2 * MIB)
#define MAX_DEVICES	2
#define MAX_QPS		64
#define MAX_RUNS	1001
#define NS_PER_MS	1000000ull

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define RIGHTS		(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ)

/* main.c */

struct settings {
	size_t size;		/* of the memory that is accessed */
	int rounds;
	unsigned int timeout;	/* seconds without progress */
	int port;
	int gid_index;		/* -1: looked for */
	bool quick;
	const char *only;	/* NULL: all sections */
	int out;		/* the file of the records */
};

extern struct settings settings;

/* How memory is registered */
enum memory { PINNED, ON_DEMAND, IMPLICIT };

extern const char * const memory_name[];

/* Which pages memory is made of */
enum pages { ANY_PAGES, SMALL_PAGES, HUGE_PAGES };

extern const char * const pages_name[];

/* step.c */

/* What distinguishes a figure from others; size is in bytes, or QPs. */
struct point {
	char section[24];
	char operation[40];
	char memory[24];
	size_t size;
};

struct step {
	const char *section;
	void (*run)(const struct step *step);
	enum ibv_wr_opcode opcode;
	enum memory memory;
	enum pages pages;
	size_t size;
	bool no_device;		/* it is the CPU that is measured */
	bool hung[MAX_DEVICES];	/* so it is not tried again */
};

extern const char *device;	/* the name of the one that is measured */

void step_setup(void);
/* The device by its index too, or -1. */
void step_run(struct step *step, const char *name, int index);
void step_progress(int round, int number, int count);

/* What is measured next; what fails or hangs from here on is charged to it. */
void point_at(const char *section, const char *operation, const char *memory,
	      size_t size);
/* More than one figure of a point in a round */
void point_turn(int turn);
void point_value(double value, const char *unit);
__attribute__((format(printf, 1, 2))) void point_problem(const char *format,
							 ...);
/* point_problem(), and the end of the step. */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format,
							  ...);
__attribute__((noreturn)) void fail_errno(const char *what, int error);

/* Something went ahead: it does not hang. */
void progress(void);

uint64_t now_ns(void);
double median(uint64_t *values, int n);
double rate(size_t bytes, uint64_t ns);		/* MB/s */

/* verbs.c */

struct end {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[MAX_QPS];
	struct ibv_port_attr port;
	union ibv_gid gid;
	int gid_index;
	int rd_atomic;
	uint64_t odp_general;
	uint32_t odp_rc;
};

struct transfer {
	enum ibv_wr_opcode opcode;
	char *local;
	uint32_t lkey;
	uint64_t remote;
	uint32_t rkey;
	size_t size;		/* of the memory, a part of it for each QP */
	size_t message;
	int qps;
	bool again;		/* from the start of a part after its end */
	uint64_t enough_ns;	/* no new message after that; 0: no limit */
	/* and what came out of it */
	uint64_t ns;
	size_t bytes;
	size_t reached[MAX_QPS];	/* of each part, from its start */
};

bool device_exists(const char *name);
void end_open(struct end *end);
void end_make_qp(struct end *end, int index, int depth);
void end_connect(struct end *end, int index, uint32_t peer);
int transfer_depth(size_t message, int qps);
void transfer_run(struct end *end, struct transfer *transfer);
uint64_t access_latency(struct end *end, const struct transfer *transfer,
			size_t offset);

bool can_access(const struct end *end, enum memory memory,
		enum ibv_wr_opcode opcode);

/* Ends the step unless the device can have such memory accessed so. */
void need_memory(const struct end *end, enum memory memory);
void need_access(const struct end *end, enum memory memory,
		 enum ibv_wr_opcode opcode);
int memory_access(enum memory memory);
const char *opcode_name(enum ibv_wr_opcode opcode);

/* owner.c */

typedef uint64_t (*owner_function)(const uint64_t *arg);

extern struct end mine;		/* the initiator's end */

void owner_start(void);
void owner_connect(int qps);
uint64_t owner_ask(owner_function function, const uint64_t *arg);

#define ask(function, ...) \
	owner_ask(function, (const uint64_t [4]){ __VA_ARGS__ })

/* What can be asked for; times are in nanoseconds. */
uint64_t own_map(const uint64_t *arg);		/* size, pages: the address */
uint64_t own_unmap(const uint64_t *arg);	/* address, size */
uint64_t own_register(const uint64_t *arg);	/* address, size, how: rkey */
uint64_t own_deregister(const uint64_t *arg);
uint64_t own_touch(const uint64_t *arg);	/* address, size: time */
uint64_t own_clear(const uint64_t *arg);	/* address, size, byte: time */
uint64_t own_fill(const uint64_t *arg);		/* address, size, seed */
uint64_t own_give_back(const uint64_t *arg);	/* address, size: time */
uint64_t own_prefetch(const uint64_t *arg);	/* address, size, flags: time */
uint64_t own_usage(const uint64_t *arg);	/* name, as VmRSS: bytes */

char *map_memory(size_t size, enum pages pages);
void unmap_memory(char *address, size_t size);
void pattern_fill(char *memory, size_t size, uint64_t seed);
/* offset: in the pattern, of the start of the memory */
bool pattern_check(const char *memory, size_t size, uint64_t seed,
		   size_t offset);
bool byte_check(const char *memory, size_t size, char byte);

/* The initiator's memory, present and pinned, of the same size as theirs. */
void local_prepare(struct transfer *transfer);

/* That what a transfer reached at the owner, or here, has the pattern. */
bool owner_has(const struct transfer *transfer, uint64_t seed);
bool owner_has_at(const struct transfer *transfer, size_t offset, size_t size,
		  uint64_t seed);

/* register.c */

struct registration {
	uint64_t register_ns;
	uint64_t deregister_ns;
};

void step_register(const struct step *step);
size_t system_memory(const char *what);		/* of /proc/meminfo, bytes */

size_t memory_taken(size_t before);

/* The next size is as safe to register as this one was, or is not. */
bool registration_fits(size_t took, size_t size, size_t next);

/* touch.c, steady.c, held.c */

void step_touch_cpu(const struct step *step);
void step_first_touch(const struct step *step);
void step_many(const struct step *step);
void step_given_back(const struct step *step);
void step_given_back_cpu(const struct step *step);
void step_prefetch(const struct step *step);
void step_steady(const struct step *step);
void step_latency(const struct step *step);
void step_held(const struct step *step);
void step_held_extent(const struct step *step);

#endif /* BENCH_H */
