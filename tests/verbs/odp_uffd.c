// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand memory whose pages somebody provides through userfaultfd: a
 * request for one that is missing waits, and nobody else does.
 */
#include "uffd.h"

#define SIZE		(16 * PAGE)
#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

/* How long a request is watched while it waits; peers are given up sooner. */
#define WATCH_MS	100
#define LONG_WATCH_MS	1500
#define PATIENCE_MS	750

static struct owner owner;

static const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/*
 * Whether a device sends packets to itself.  What has arrived as one is
 * executed once it can be, whatever has become of who sent it.
 */
static bool on_the_wire(void)
{
	char path[256], answer = '1';
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/local_carrier",
		 device_name());
	file = fopen(path, "r");
	if (file) {
		answer = getc(file);
		fclose(file);
	}
	return answer == '0';
}

/* Another connection between the same two, that goes on meanwhile */

static struct side me2, own2;
static long far_addr, far_mr;
static uint32_t far_key;

static long own2_open(const long *arg)
{
	(void)arg;
	side_open(&own2, 64);
	side_make_qp(&own2, 16);
	return own2.qp->qp_num;
}

static long own2_connect(const long *arg)
{
	struct address peer = { arg[0], own2.gid };

	side_connect(&own2, &peer, &usual_conn);
	return 0;
}

static long own2_reg(const long *arg)
{
	return (long)ibv_reg_mr(own2.pd, (void *)arg[0], arg[1], ALL_RIGHTS |
				IBV_ACCESS_ON_DEMAND);
}

static long own2_close(const long *arg)
{
	(void)arg;
	side_close(&own2);
	return 0;
}

static void open_second(void)
{
	struct address peer;

	side_open(&me2, 64);
	side_make_qp(&me2, 16);
	peer.gid = me2.gid;
	peer.qpn = ask(&owner, own2_open);
	ask(&owner, own2_connect, me2.qp->qp_num);
	side_connect(&me2, &peer, &usual_conn);
	far_addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	far_mr = ask(&owner, own2_reg, far_addr, SIZE);
	far_key = ask(&owner, own_rkey, far_mr);
}

static void close_second(void)
{
	ask(&owner, own_dereg, far_mr);
	ask(&owner, own2_close);
	side_close(&me2);
}

/* Reads and writes of other memory of the same process. */
static void use_second(void)
{
	static uint8_t mem[3000];
	struct ibv_mr *mr = reg(me2.pd, mem, sizeof(mem), ALL_RIGHTS);
	struct ibv_sge sge = sge_of(mr, mem, sizeof(mem));
	struct ibv_send_wr wr;
	int i;

	for (i = 0; i < 20; i++) {
		pattern_fill(mem, sizeof(mem), i);
		wr = rdma_wr(i & 1 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
			     &sge, far_addr + 77, far_key);
		wr.wr_id = i;
		post_send(me2.qp, &wr);
		expect_wc(me2.scq, i, IBV_WC_SUCCESS);
	}
	expect_eq(pattern_check(mem, sizeof(mem), 18), sizeof(mem),
		  "what it read");
	dereg(mr);
}

/* A region whose pages are all missing */
struct missing {
	uint64_t addr;
	long mr;
	uint32_t key;
};

static struct missing missing_open(int mode)
{
	struct missing missing;

	missing.addr = ask(&owner, own_map, 0, SIZE, RW, ANON, -1, 0);
	missing.mr = ask(&owner, own_reg, missing.addr, SIZE,
			 ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	must(missing.mr);
	missing.key = ask(&owner, own_rkey, missing.mr);
	if (mode == UFFDIO_REGISTER_MODE_WP)
		ask(&owner, own_fill, missing.addr, SIZE, 1);
	expect_eq(ask(&owner, uffd_open, missing.addr, SIZE, mode), 0, "uffd");
	return missing;
}

static void missing_close(struct missing *missing)
{
	ask(&owner, uffd_close);
	ask(&owner, own_dereg, missing->mr);
	ask(&owner, own_unmap, missing->addr, SIZE);
}

/* Post, promptly, what will wait for a page; the page. */
static uint64_t start_waiting(enum ibv_wr_opcode opcode, enum kind kind,
			      const struct missing *missing, uint64_t at,
			      uint32_t len)
{
	uint64_t start = now_ms();

	start_access(opcode, kind, missing->addr + at, missing->key, len);
	expect_soon(start, "posting");
	return ask(&owner, uffd_wait, SOON_MS);
}

static void expect_waiting(unsigned int ms)
{
	use_second();
	expect(is_quiet(me.scq, ms), "the request did not wait");
}

static void expect_end(int status, const char *what)
{
	expect_eq(end_access(SOON_MS), status, "%s", what);
}

/* A write to a part of one page. */
static void write_missing(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t page = missing.addr + 3 * PAGE;
	uint8_t seen[PAGE];

	pattern_fill(buf[PINNED], 100, 5);
	expect_eq(start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing,
				3 * PAGE + 1000, 100), page, "page");
	expect_waiting(LONG_WATCH_MS);
	expect_eq(ask(&owner, uffd_copy, page, 6), 0, "copy");
	expect_end(IBV_WC_SUCCESS, "a write to a page that was missing");

	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, page,
		      missing.key, PAGE);
	pattern_fill(seen, PAGE, 6);
	pattern_fill(seen + 1000, 100, 5);
	expect_same(buf[ODP], seen, PAGE, "the page");
	missing_close(&missing);
	point("a write to a missing page, %s", where());
}

/*
 * Writes of which half arrives, and half waits for longer than it takes to give
 * up a peer that is silent.
 */
static void write_half_missing(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t at, last = 6 * PAGE;

	expect_eq(ask(&owner, uffd_copy, missing.addr, 4), 0, "copy");
	for (at = 0; at < last; at += 2 * PAGE) {
		pattern_fill(buf[PINNED], 2 * PAGE, at);
		expect_eq(start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing,
					at, 2 * PAGE),
			  missing.addr + at + PAGE, "page");
		expect_waiting(PATIENCE_MS);
		expect_eq(ask(&owner, uffd_copy, missing.addr + at + PAGE, 6),
			  0, "copy");
		expect_end(IBV_WC_SUCCESS, "a write, half to a missing page");
		expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP,
			      missing.addr + at, missing.key, 2 * PAGE);
		expect_same(buf[ODP], buf[PINNED], 2 * PAGE, "what came");
		expect_eq(ask(&owner, uffd_copy, missing.addr + at + 2 * PAGE,
			      4), 0, "copy");
	}
	missing_close(&missing);
	point("writes, half to a missing page, %s", where());
}

/* A read of three, one after the other. */
static void read_missing(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	static uint8_t wanted[3 * PAGE];
	uint64_t page;
	int i;

	page = start_waiting(IBV_WR_RDMA_READ, ODP, &missing, 2 * PAGE + 9,
			     3 * PAGE - 20);
	for (i = 0; i < 3; i++) {
		expect_eq(page, missing.addr + (2 + i) * PAGE, "page");
		expect_waiting(WATCH_MS);
		expect_eq(ask(&owner, uffd_copy, page, i), 0, "copy");
		pattern_fill(wanted + i * PAGE, PAGE, i);
		if (i < 2)
			page = ask(&owner, uffd_wait, SOON_MS);
	}
	expect_end(IBV_WC_SUCCESS, "a read of pages that were missing");
	expect_same(buf[ODP], wanted + 9, 3 * PAGE - 20, "what was read");
	missing_close(&missing);
	point("a read of missing pages, %s", where());
}

static void atomic_missing(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t old;

	expect_eq(start_waiting(IBV_WR_ATOMIC_FETCH_AND_ADD, ODP, &missing,
				PAGE + 16, 8), missing.addr + PAGE, "page");
	expect_waiting(WATCH_MS);
	ask(&owner, uffd_copy, missing.addr + PAGE, 4);
	expect_end(IBV_WC_SUCCESS, "an atomic on a page that was missing");
	expect_eq(pattern_check(buf[ODP], 8, 4), 0, "not the page's start");
	memcpy(&old, buf[ODP], 8);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, PINNED,
		      missing.addr + PAGE + 16, missing.key, 8);
	old++;
	expect_same(buf[PINNED], &old, 8, "the word");
	missing_close(&missing);
	point("an atomic on a missing page, %s", where());
}

static void receive_missing(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);

	ask(&owner, own_recv, missing.addr + PAGE + 9, 500, missing.mr);
	pattern_fill(buf[PINNED], 400, 5);
	start_access(IBV_WR_SEND, PINNED, 0, 0, 400);
	expect_eq(ask(&owner, uffd_wait, SOON_MS), missing.addr + PAGE, "page");
	expect_waiting(WATCH_MS);
	ask(&owner, uffd_copy, missing.addr + PAGE, 4);
	expect_end(IBV_WC_SUCCESS, "a send into a page that was missing");
	expect_eq(ask(&owner, own_poll_recv), IBV_WC_SUCCESS, "receive");
	expect_eq(ask(&owner, own_check, missing.addr + PAGE + 9, 400, 5), 400,
		  "what was received");
	missing_close(&missing);
	point("a receive into a missing page, %s", where());
}

/* A page that is there, but that somebody wants to know of writes to. */
static void write_protected(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_WP);
	uint64_t page = missing.addr + 3 * PAGE;

	ask(&owner, uffd_protect, missing.addr, SIZE, true);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, ODP, missing.addr,
		      missing.key, SIZE);
	expect_eq(pattern_check(buf[ODP], SIZE, 1), SIZE, "read");
	pattern_fill(buf[PINNED], 100, 5);
	expect_eq(start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing,
				3 * PAGE + 1000, 100), page, "page");
	expect_waiting(WATCH_MS);
	ask(&owner, uffd_protect, missing.addr, SIZE, false);
	expect_end(IBV_WC_SUCCESS, "a write to a page that was protected");
	expect_eq(ask(&owner, own_check, page + 1000, 100, 5), 100, "written");
	missing_close(&missing);
	point("a write to a page that is write-protected, %s", where());
}

/* The requester's own page is missing. */
static void local_missing(enum ibv_wr_opcode opcode)
{
	struct owner self = { .here = true };
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t mine = (uintptr_t)buf[ODP];
	bool reads = opcode == IBV_WR_RDMA_READ;
	int keep;

	/* There is one uffd per process. */
	ask(&owner, uffd_close);
	keep = uffd;
	must(!madvise(buf[ODP], SIZE, MADV_DONTNEED));
	expect_eq(ask(&self, uffd_open, mine, SIZE,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	ask(&owner, own_fill, missing.addr, 300, 8);
	start_access(opcode, ODP, missing.addr, missing.key, 300);
	expect_eq(ask(&self, uffd_wait, SOON_MS), mine, "page");
	expect_waiting(WATCH_MS);
	ask(&self, uffd_copy, mine, 4);
	expect_end(IBV_WC_SUCCESS, "with a local page that was missing");
	if (reads)
		expect_eq(pattern_check(buf[ODP], 300, 8), 300, "read");
	else
		expect_eq(ask(&owner, own_check, missing.addr, 300, 4), 300,
			  "written");
	ask(&self, uffd_close);
	uffd = keep;
	ask(&owner, own_dereg, missing.mr);
	ask(&owner, own_unmap, missing.addr, SIZE);
	point("%s with a local page missing, %s", opcode_name(opcode),
	      where());
}

/* All but the last of its pages are there, and what is there is sent. */
static void local_end_missing(void)
{
	const size_t size = 31 * PAGE, there = 30 * PAGE;
	struct owner self = { .here = true };
	long addr = ask(&owner, own_map, 0, size, RW, ANON, -1, 0);
	long mr = ask(&owner, own_reg, addr, size, ALL_RIGHTS);
	long timeouts = counter("local_ack_timeout_err");
	uint64_t mine = (uintptr_t)buf[ODP];
	size_t at;

	must(!madvise(buf[ODP], size, MADV_DONTNEED));
	expect_eq(ask(&self, uffd_open, mine, size,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	for (at = 0; at < there; at += PAGE)
		ask(&self, uffd_copy, mine + at, at);
	start_access(IBV_WR_RDMA_WRITE, ODP, addr, ask(&owner, own_rkey, mr),
		     size);
	expect_eq(ask(&self, uffd_wait, SOON_MS), mine + there, "page");
	expect_waiting(PATIENCE_MS);
	ask(&self, uffd_copy, mine + there, there);
	expect_end(IBV_WC_SUCCESS, "with a local page that was missing");
	for (at = 0; at < size; at += PAGE)
		expect_eq(ask(&owner, own_check, addr + at, PAGE, at), PAGE,
			  "written");
	expect_eq(counter("local_ack_timeout_err"), timeouts, "timeouts");
	ask(&self, uffd_close);
	ask(&owner, own_dereg, mr);
	ask(&owner, own_unmap, addr, size);
	point("a write whose end is missing, %s", where());
}

/* Nobody provides the page any more: the process would see zeroes. */
static void handler_gone(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);

	pattern_fill(buf[PINNED], 100, 5);
	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect_waiting(WATCH_MS);
	ask(&owner, uffd_close);
	expect_end(IBV_WC_SUCCESS, "after the handler has gone");
	expect_eq(ask(&owner, own_check, missing.addr + 1000, 100, 5), 100,
		  "written");
	expect_eq(ask(&owner, own_check_zero, missing.addr, 1000), 1000,
		  "zeroes around");
	ask(&owner, own_dereg, missing.mr);
	ask(&owner, own_unmap, missing.addr, SIZE);
	point("the handler closes its descriptor, %s", where());
}

/* The memory goes instead. */
static void memory_gone(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);

	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect_waiting(WATCH_MS);
	ask(&owner, own_unmap, missing.addr, SIZE);
	ask(&owner, uffd_close);
	expect_end(IBV_WC_REM_ACCESS_ERR, "after the memory has gone");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	ask(&owner, own_dereg, missing.mr);
	owner_connect(&owner);
	point("the memory is unmapped while a request waits, %s", where());
}

static void region_gone(void)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t start;

	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect_waiting(WATCH_MS);
	start = now_ms();
	expect_eq(ask(&owner, own_dereg, missing.mr), 0, "dereg");
	expect_soon(start, "deregistration");
	ask(&owner, uffd_copy, missing.addr, 4);
	expect_end(IBV_WC_REM_ACCESS_ERR, "after the region has gone");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	expect_eq(ask(&owner, own_check, missing.addr, PAGE, 4), PAGE,
		  "the page");
	ask(&owner, uffd_close);
	ask(&owner, own_unmap, missing.addr, SIZE);
	owner_connect(&owner);
	point("the region is deregistered while a request waits, %s", where());
}

/* The requester does not wait any longer; nobody has provided the page. */
static void requester_gives_up(enum ibv_qp_state state)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t start;

	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect_waiting(WATCH_MS);
	start = now_ms();
	if (state == IBV_QPS_ERR) {
		must(!qp_to(me.qp, state));
		expect_end(IBV_WC_WR_FLUSH_ERR, "after an error");
	} else if (state == IBV_QPS_RESET) {
		must(!qp_to(me.qp, state));
		expect(is_quiet(me.scq, 20), "a completion after a reset");
	}
	side_drop_qp(&me);
	expect_soon(start, "giving up");
	ask(&owner, uffd_copy, missing.addr, 4);
	owner_connect(&owner);
	if (!on_the_wire())
		expect_eq(ask(&owner, own_check, missing.addr, PAGE, 4), PAGE,
			  "the page");
	missing_close(&missing);
	point("the requester gives up by %s, %s",
	      state == IBV_QPS_ERR ? "an error" :
	      state == IBV_QPS_RESET ? "a reset" : "destroying its QP",
	      where());
}

/*
 * The responder's queue pair goes while a request waits; the page may come
 * afterwards, or never.
 */
static void responder_gone(bool page_comes)
{
	struct missing missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	uint64_t start;

	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect_waiting(WATCH_MS);
	start = now_ms();
	ask(&owner, own_make_qp, 64);
	expect_soon(start, "the responder's end");
	if (page_comes)
		ask(&owner, uffd_copy, missing.addr, 4);
	expect_end(IBV_WC_RETRY_EXC_ERR, "after the responder has gone");
	if (!page_comes)
		ask(&owner, uffd_copy, missing.addr, 4);
	expect_eq(ask(&owner, own_check, missing.addr, PAGE, 4), PAGE,
		  "the page");
	missing_close(&missing);
	owner_connect(&owner);
	point("the responder's QP is destroyed, a page %s, %s",
	      page_comes ? "comes" : "never comes", where());
}

static long own_come_back(const long *arg)
{
	struct address peer = { arg[0], own.gid };
	struct conn conn = usual_conn;

	conn.access = IBV_ACCESS_LOCAL_WRITE;
	must(!qp_to(own.qp, IBV_QPS_RESET));
	side_connect(&own, &peer, &conn);
	return 0;
}

/*
 * The responder is reset in the middle of a write, and connected again
 * without the right to write: no byte more arrives.
 */
static void responder_reset(void)
{
	struct owner self = { .here = true };
	uint64_t mine = (uintptr_t)buf[ODP];
	long addr, mr;
	int keep = uffd;

	addr = ask(&owner, own_map, 0, SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mr = ask(&owner, own_reg, addr, SIZE,
		 ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	must(!madvise(buf[ODP], SIZE, MADV_DONTNEED));
	expect_eq(ask(&self, uffd_open, mine, SIZE,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	ask(&self, uffd_copy, mine, 4);
	start_access(IBV_WR_RDMA_WRITE, ODP, addr, ask(&owner, own_rkey, mr),
		     2 * PAGE);
	expect_eq(ask(&self, uffd_wait, SOON_MS), mine + PAGE, "page");
	if (!on_the_wire())
		expect_eq(ask(&owner, own_check, addr, PAGE, 4), PAGE,
			  "the first page");
	ask(&owner, own_come_back, me.qp->qp_num);
	ask(&self, uffd_copy, mine + PAGE, 4);
	expect_end(IBV_WC_REM_INV_REQ_ERR, "after the responder was reset");
	expect_eq(ask(&owner, own_check_zero, addr + PAGE, PAGE), PAGE,
		  "the second page");
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_REQ_ERR,
		  "event of the responder");
	ask(&self, uffd_close);
	uffd = keep;
	ask(&owner, own_dereg, mr);
	ask(&owner, own_unmap, addr, SIZE);
	owner_connect(&owner);
	point("the responder's QP is reset in the middle of a write");
}

static void test_where(bool here)
{
	owner_open(&owner, here);
	open_second();
	write_missing();
	write_half_missing();
	read_missing();
	atomic_missing();
	receive_missing();
	write_protected();
	local_missing(IBV_WR_RDMA_WRITE);
	local_missing(IBV_WR_RDMA_READ);
	local_end_missing();
	handler_gone();
	memory_gone();
	region_gone();
	requester_gives_up(IBV_QPS_ERR);
	requester_gives_up(IBV_QPS_RESET);
	requester_gives_up(IBV_QPS_UNKNOWN);
	responder_gone(true);
	responder_gone(false);
	/* There the new connection's sequence numbers are others. */
	if (!here && !on_the_wire())
		responder_reset();
	close_second();
	owner_close(&owner);
}

/* The owner is killed while a request waits for one of its pages. */
static void owner_killed(void)
{
	struct missing missing;
	uint64_t start;
	int status;

	owner_open(&owner, false);
	missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect(is_quiet(me.scq, WATCH_MS), "the request did not wait");
	start = now_ms();
	kill_child(&owner.child);
	expect_soon(start, "the owner's end");
	status = end_access(SOON_MS);
	/* Its descriptors go one by one: the handler's may be the first. */
	expect(status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_SUCCESS ||
	       status == IBV_WC_REM_ACCESS_ERR, "the request ended with %s",
	       ibv_wc_status_str(status));
	me_close();
	point("the owner is killed while a request waits");
}

/* The handler is a process of its own, and does nothing. */
static long own_spawn_handler(const long *arg)
{
	pid_t pid = fork();

	(void)arg;
	if (!pid) {
		fcntl(uffd, F_SETFD, 0);
		execlp("sleep", "sleep", "60", NULL);
		_exit(1);
	}
	return pid;
}

static void owner_killed_but_not_handler(const struct leftovers *before)
{
	struct missing missing;
	pid_t handler;
	int status;

	owner_open(&owner, false);
	missing = missing_open(UFFDIO_REGISTER_MODE_MISSING);
	handler = ask(&owner, own_spawn_handler);
	sleep_ms(50);
	start_waiting(IBV_WR_RDMA_WRITE, PINNED, &missing, 1000, 100);
	expect(is_quiet(me.scq, WATCH_MS), "the request did not wait");
	kill_child(&owner.child);
	status = end_access(SOON_MS);
	expect(status == IBV_WC_RETRY_EXC_ERR ||
	       status == IBV_WC_REM_ACCESS_ERR, "the request ended with %d",
	       status);
	me_close();
	expect_no_leftovers(before);
	kill(handler, SIGKILL);
	point("the owner is killed while a handler elsewhere does nothing");
}

/* The requester is killed while its request waits for one of our pages. */

struct target {
	uint64_t addr;
	uint32_t key;
	struct address address;
};

static void doomed_requester(int fd, void *arg)
{
	struct target target;
	struct address mine;
	char mem[100] = "";
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	(void)arg;
	side_open(&me, 16);
	side_make_qp(&me, 16);
	mine = side_address(&me);
	say(fd, &mine, sizeof(mine));
	hear(fd, &target, sizeof(target));
	side_connect(&me, &target.address, &usual_conn);
	sge = sge_of(reg(me.pd, mem, sizeof(mem), ALL_RIGHTS), mem,
		     sizeof(mem));
	wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, target.addr + 1000, target.key);
	say_byte(fd);
	hear_byte(fd);
	post_send(me.qp, &wr);
	pause();
}

static void requester_killed(void)
{
	struct owner self = { .here = true };
	struct child child = spawn(doomed_requester, NULL);
	struct ibv_mr *mr;
	struct address peer;
	struct target target;
	void *mem = map_memory(SIZE);
	uint64_t start;

	side_open(&own, 64);
	side_make_qp(&own, 16);
	mr = reg(own.pd, mem, SIZE, ALL_RIGHTS | IBV_ACCESS_ON_DEMAND);
	target = (struct target) { (uintptr_t)mem, mr->rkey,
				   side_address(&own) };
	hear(child.fd, &peer, sizeof(peer));
	side_connect(&own, &peer, &usual_conn);
	say(child.fd, &target, sizeof(target));
	hear_byte(child.fd);
	expect_eq(ask(&self, uffd_open, (long)mem, SIZE,
		      UFFDIO_REGISTER_MODE_MISSING), 0, "uffd");
	say_byte(child.fd);
	expect_eq(ask(&self, uffd_wait, SOON_MS), (long)mem, "page");

	start = now_ms();
	kill_child(&child);
	expect_soon(start, "the requester's end");
	expect_eq(ask(&self, uffd_copy, (long)mem, 4), 0, "copy");
	sleep_ms(20);
	if (!on_the_wire())
		expect_eq(pattern_check(mem, PAGE, 4), PAGE, "the page");
	ask(&self, uffd_close);
	side_drop_qp(&own);
	dereg(mr);
	side_close(&own);
	munmap(mem, SIZE);
	point("the requester is killed while its request waits");
}

static void test(void)
{
	struct leftovers before = count_leftovers();

	if (!have_uffd()) {
		skip("there is no userfaultfd here");
		point("userfaultfd");
		return;
	}
	test_where(false);
	test_where(true);
	owner_killed();
	owner_killed_but_not_handler(&before);
	requester_killed();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, test);
}
