// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The process whose memory is measured, and the initiator that asks it.
 *
 *	initiator ── WRITE, READ ──▶ the owner's memory
 *	    └─────── owner_ask() ──▶ the owner
 *
 * The owner is forked off, so it has all functions where the initiator has
 * them: it is asked for a function.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "bench.h"

/* Memory is cleared and touched in such pieces, so that it does not hang. */
#define PIECE		(16 * MIB)
#define PREFETCH_PIECE	GIB

struct question {
	owner_function function;
	uint64_t arg[4];
};

static int owner_fd;
static struct end own;			/* in the owner */
static struct ibv_mr *own_mr;
struct end mine;			/* in the initiator */

char *map_memory(size_t size, enum pages pages)
{
	char *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aligned;

	if (p == MAP_FAILED)
		fail_errno("mmap", errno);
	aligned = p + (-(uintptr_t)p & (HUGE_PAGE - 1));
	if (aligned > p)
		munmap(p, aligned - p);
	munmap(aligned + size, p + HUGE_PAGE - aligned);
	if (pages != ANY_PAGES &&
	    madvise(aligned, size, pages == HUGE_PAGES ? MADV_HUGEPAGE :
						 MADV_NOHUGEPAGE) &&
	    pages == HUGE_PAGES)
		fail("not supported");
	return aligned;
}

void unmap_memory(char *address, size_t size)
{
	if (munmap(address, size))
		fail_errno("munmap", errno);
}

static uint64_t pattern(uint64_t seed, size_t word)
{
	return ((word + (seed << 32)) * 0x9e3779b97f4a7c15ull) | 1;
}

void pattern_fill(char *memory, size_t size, uint64_t seed)
{
	uint64_t *word = (uint64_t *)memory;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		word[i] = pattern(seed, i);
}

bool pattern_check(const char *memory, size_t size, uint64_t seed,
		   size_t offset)
{
	const uint64_t *word = (const uint64_t *)memory;
	size_t first = offset / sizeof(*word), i = 0;

	while (i < size / sizeof(*word) && word[i] == pattern(seed, first + i))
		i++;
	return i == size / sizeof(*word);
}

bool byte_check(const char *memory, size_t size, char byte)
{
	return !size || (memory[0] == byte &&
			 !memcmp(memory, memory + 1, size - 1));
}

uint64_t own_map(const uint64_t *arg)
{
	return (uintptr_t)map_memory(arg[0], arg[1]);
}

uint64_t own_unmap(const uint64_t *arg)
{
	unmap_memory((char *)arg[0], arg[1]);
	return 0;
}

uint64_t own_register(const uint64_t *arg)
{
	void *address = arg[2] == IMPLICIT ? NULL : (void *)arg[0];
	size_t size = arg[2] == IMPLICIT ? SIZE_MAX : arg[1];

	own_mr = ibv_reg_mr(own.pd, address, size, memory_access(arg[2]));
	if (!own_mr)
		fail_errno("ibv_reg_mr", errno);
	return own_mr->rkey;
}

uint64_t own_deregister(const uint64_t *arg)
{
	int error = ibv_dereg_mr(own_mr);

	(void)arg;
	if (error)
		fail_errno("ibv_dereg_mr", error);
	return 0;
}

uint64_t own_touch(const uint64_t *arg)
{
	volatile char *p = (volatile char *)arg[0];
	size_t page = sysconf(_SC_PAGESIZE), i;
	uint64_t start = now_ns();

	for (i = 0; i < arg[1]; i += page) {
		p[i] = 1;
		if (!(i % PIECE))
			progress();
	}
	return now_ns() - start;
}

uint64_t own_clear(const uint64_t *arg)
{
	size_t done, size;
	uint64_t start = now_ns();

	for (done = 0; done < arg[1]; done += size) {
		size = arg[1] - done < PIECE ? arg[1] - done : PIECE;
		memset((char *)arg[0] + done, arg[2], size);
		progress();
	}
	return now_ns() - start;
}

uint64_t own_fill(const uint64_t *arg)
{
	pattern_fill((char *)arg[0], arg[1], arg[2]);
	return 0;
}

uint64_t own_give_back(const uint64_t *arg)
{
	uint64_t start = now_ns();

	if (madvise((void *)arg[0], arg[1], MADV_DONTNEED))
		fail_errno("madvise", errno);
	return now_ns() - start;
}

uint64_t own_prefetch(const uint64_t *arg)
{
	struct ibv_sge sge = { .lkey = own_mr->lkey };
	uint64_t start = now_ns();
	size_t done;
	int error;

	for (done = 0; done < arg[1]; done += sge.length) {
		sge.addr = arg[0] + done;
		sge.length = arg[1] - done < PREFETCH_PIECE ? arg[1] - done :
							      PREFETCH_PIECE;
		error = ibv_advise_mr(own.pd,
				      IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				      arg[2], &sge, 1);
		if (error)
			fail_errno("ibv_advise_mr", error);
		progress();
	}
	return now_ns() - start;
}

/* Of /proc/self/status, what *arg is the name of: eight bytes at most. */
uint64_t own_usage(const uint64_t *arg)
{
	char line[128], name[9] = "";
	uint64_t kib = 0;
	FILE *file = fopen("/proc/self/status", "r");

	memcpy(name, arg, 8);
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)) &&
		    line[strlen(name)] == ':')
			kib = strtoull(line + strlen(name) + 1, NULL, 10);
	if (file)
		fclose(file);
	return kib * KIB;
}

static uint64_t own_check(const uint64_t *arg)
{
	return pattern_check((const char *)arg[0], arg[1], arg[2], arg[3]);
}

static uint64_t own_open(const uint64_t *arg)
{
	(void)arg;
	end_open(&own);
	return 0;
}

static uint64_t own_make_qp(const uint64_t *arg)
{
	end_make_qp(&own, arg[0], 1);
	end_connect(&own, arg[0], arg[1]);
	return own.qp[arg[0]]->qp_num;
}

/* A message of the socket; its end is the end of the other process. */
static void put(const void *data, size_t size)
{
	if (write(owner_fd, data, size) != (ssize_t)size)
		fail("a process ended early");
}

static void get(void *data, size_t size)
{
	if (read(owner_fd, data, size) != (ssize_t)size)
		fail("a process ended early");
}

uint64_t owner_ask(owner_function function, const uint64_t *arg)
{
	struct question question = { .function = function };
	uint64_t answer;

	memcpy(question.arg, arg, sizeof(question.arg));
	put(&question, sizeof(question));
	get(&answer, sizeof(answer));
	progress();
	return answer;
}

static void serve(void)
{
	struct question question;
	uint64_t answer;

	while (read(owner_fd, &question, sizeof(question)) ==
	       sizeof(question)) {
		answer = question.function(question.arg);
		put(&answer, sizeof(answer));
	}
	_exit(0);
}

/* Both in one process group, so that fail() ends both. */
void owner_start(void)
{
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd))
		fail_errno("socketpair", errno);
	pid = fork();
	if (pid < 0)
		fail_errno("fork", errno);
	owner_fd = fd[!pid];
	close(fd[!!pid]);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve();
	}
}

void owner_connect(int qps)
{
	int depth = transfer_depth(1, qps), i;
	uint32_t peer;

	end_open(&mine);
	ask(own_open);
	for (i = 0; i < qps; i++) {
		end_make_qp(&mine, i, depth);
		peer = ask(own_make_qp, i, mine.qp[i]->qp_num);
		end_connect(&mine, i, peer);
	}
}

void local_prepare(struct transfer *transfer)
{
	struct ibv_mr *mr;

	transfer->local = map_memory(transfer->size, ANY_PAGES);
	memset(transfer->local, 0, transfer->size);
	mr = ibv_reg_mr(mine.pd, transfer->local, transfer->size,
			memory_access(PINNED));
	if (!mr)
		fail_errno("ibv_reg_mr of the initiator", errno);
	transfer->lkey = mr->lkey;
	progress();
}

bool owner_has_at(const struct transfer *transfer, size_t offset, size_t size,
		  uint64_t seed)
{
	return ask(own_check, transfer->remote + offset, size, seed, offset);
}

/* Every byte that was written, wherever the parts of the QPs are. */
bool owner_has(const struct transfer *transfer, uint64_t seed)
{
	size_t part = transfer->size / transfer->qps;
	bool right = true;
	int i;

	for (i = 0; i < transfer->qps; i++)
		right &= owner_has_at(transfer, i * part, transfer->reached[i],
				      seed);
	return right;
}
