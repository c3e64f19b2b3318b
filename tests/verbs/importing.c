// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * A context that another process has imported, with a protection domain, a
 * region and device memory in it.
 *
 *	me, other ──▶ queue pair of the importer ─┐ same context, domain
 *	me ─────────▶ queue pair of the exporter ─┴▶ region of the exporter
 *
 * The exporter is the owner of owner.h, a child.  The importer is the test's
 * process, or another child if it is to die.
 */
#include "owner.h"

#include <fcntl.h>

#define SIZE		(256 * KIB)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)
#define RW		(PROT_READ | PROT_WRITE)

static struct owner owner;
static int channel[2];			/* for descriptors */
static uint64_t memory[KINDS];		/* the exporter's */
static uint32_t rkey[KINDS], mr_handle[KINDS], pd_handle;
static int export_fd;			/* its command descriptor */

static struct side imp;			/* the importer's */
static struct ibv_mr *imp_mr[KINDS];
static struct side other;		/* another queue pair of ours */

/* In the exporter's process */

static struct ibv_mr *own_mr[KINDS];
static struct ibv_dm *own_dm;
static uint8_t scratch[SIZE];

static long own_send_fd(const long *arg)
{
	struct iovec iov = { "", 1 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {
		.header = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		},
	};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	(void)arg;
	memcpy(CMSG_DATA(&control.header), &own.ctx->cmd_fd, sizeof(int));
	return sendmsg(channel[1], &msg, 0) == 1 ? 0 : errno;
}

static int receive_fd(void)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	must(recvmsg(channel[0], &msg, MSG_CMSG_CLOEXEC) == 1);
	must(msg.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

static long own_export(const long *arg)
{
	long addr = own_map((const long [OWNER_ARGS]){ 0, SIZE, RW, ANON, -1 });
	enum kind kind = arg[0];

	must(addr > 0);
	own_mr[kind] = reg(own.pd, (void *)addr, SIZE,
			   ALL_RIGHTS | kind_access(kind));
	return addr;
}

static long own_key(const long *arg)
{
	return own_mr[arg[0]]->rkey;
}

static long own_mr_handle(const long *arg)
{
	return own_mr[arg[0]]->handle;
}

static long own_pd_handle(const long *arg)
{
	(void)arg;
	return own.pd->handle;
}

static long own_deregister(const long *arg)
{
	return ibv_dereg_mr(own_mr[arg[0]]);
}

static long own_dealloc_pd(const long *arg)
{
	(void)arg;
	return ibv_dealloc_pd(own.pd);
}

static long own_quit(const long *arg)
{
	(void)arg;
	return ibv_close_device(own.ctx) ? errno : 0;
}

static long own_alloc_dm(const long *arg)
{
	struct ibv_alloc_dm_attr attr = { .length = arg[0] };

	own_dm = ibv_alloc_dm(own.ctx, &attr);
	return own_dm ? (long)own_dm->handle : -errno;
}

static long own_free_dm(const long *arg)
{
	(void)arg;
	return ibv_free_dm(own_dm);
}

static long own_fill_dm(const long *arg)
{
	pattern_fill(scratch, arg[0], arg[1]);
	return ibv_memcpy_to_dm(own_dm, 0, scratch, arg[0]);
}

static long own_check_dm(const long *arg)
{
	memset(scratch, 0, arg[0]);
	must(!ibv_memcpy_from_dm(scratch, own_dm, 0, arg[0]));
	return pattern_check(scratch, arg[0], arg[1]);
}

/* Send to the region of a key from memory that may be another process's. */
static long own_write(const long *arg)
{
	struct ibv_sge sge = { arg[0], arg[1], arg[2] };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, arg[3],
					arg[4]);
	struct ibv_wc wc;

	post_send(own.qp, &wr);
	return wait_wc(own.scq, &wc, SOON_MS) ? (long)wc.status : -1;
}

/* The importer's side */

static struct ibv_context *import_context(void)
{
	int fd = fcntl(export_fd, F_DUPFD_CLOEXEC, 0);
	struct ibv_context *ctx;

	must(fd >= 0);
	ctx = ibv_import_device(fd);
	if (!ctx)
		bail("import: %s", strerror(errno));
	return ctx;
}

static void import_side(struct side *side)
{
	memset(side, 0, sizeof(*side));
	side->ctx = import_context();
	side->gid_index = me.gid_index;
	side->gid = me.gid;
	side->pd = ibv_import_pd(side->ctx, pd_handle);
	must(side->pd);
	side->channel = ibv_create_comp_channel(side->ctx);
	must(side->channel);
	side->scq = ibv_create_cq(side->ctx, 64, NULL, side->channel, 0);
	must(side->scq);
	side->rcq = ibv_create_cq(side->ctx, 64, NULL, side->channel, 0);
	must(side->rcq);
}

/* As side_close(), but the domain stays. */
static void unimport_side(struct side *side)
{
	side_drop_qp(side);
	errno = ibv_destroy_cq(side->scq);
	must(!errno);
	errno = ibv_destroy_cq(side->rcq);
	must(!errno);
	errno = ibv_destroy_comp_channel(side->channel);
	must(!errno);
	ibv_unimport_pd(side->pd);
	must(!ibv_close_device(side->ctx));
}

static void connect_importer(void)
{
	if (other.qp)
		side_drop_qp(&other);
	side_drop_qp(&imp);
	other = me;
	side_make_qp(&other, 32);
	side_make_qp(&imp, 32);
	connect_sides(&other, &imp, &usual_conn);
}

static void import_all(void)
{
	enum kind kind;

	import_side(&imp);
	for (kind = 0; kind < KINDS; kind++) {
		imp_mr[kind] = ibv_import_mr(imp.pd, mr_handle[kind]);
		must(imp_mr[kind]);
	}
	connect_importer();
}

static void unimport_all(void)
{
	enum kind kind;

	side_drop_qp(&other);
	for (kind = 0; kind < KINDS; kind++)
		ibv_unimport_mr(imp_mr[kind]);
	unimport_side(&imp);
}

static void export_all(void)
{
	enum kind kind;

	owner_open(&owner, false);
	must(!ask(&owner, own_send_fd));
	export_fd = receive_fd();
	pd_handle = ask(&owner, own_pd_handle);
	for (kind = 0; kind < KINDS; kind++) {
		memory[kind] = ask(&owner, own_export, kind);
		rkey[kind] = ask(&owner, own_key, kind);
		mr_handle[kind] = ask(&owner, own_mr_handle, kind);
	}
}

/* It leaves with all that it has made. */
static void exporter_ends(void)
{
	expect_eq(ask(&owner, own_quit), 0, "close");
	shutdown(owner.child.fd, SHUT_WR);
	expect_child(&owner.child, "the exporter");
}

/* A request of one of our queue pairs; its status. */
static int access_through(struct ibv_qp *qp, enum ibv_wr_opcode opcode,
			  uint64_t addr, uint32_t key, size_t len)
{
	struct ibv_sge sge = sge_of(buf_mr[PINNED], buf[PINNED], len);
	struct ibv_send_wr wr = rdma_wr(opcode, &sge, addr, key);
	struct ibv_wc wc;

	post_send(qp, &wr);
	return wait_wc(me.scq, &wc, SOON_MS) ? (int)wc.status : -1;
}

static void expect_written(struct ibv_qp *qp, enum kind kind, uint64_t seed)
{
	pattern_fill(buf[PINNED], SIZE - 5, seed);
	expect_eq(access_through(qp, IBV_WR_RDMA_WRITE, memory[kind] + 5,
				 rkey[kind], SIZE - 5), IBV_WC_SUCCESS,
		  "a write, %s", kind_name[kind]);
	expect_eq(ask(&owner, own_check, memory[kind] + 5, SIZE - 5, seed),
		  SIZE - 5, "what the exporter sees, %s", kind_name[kind]);
}

/* Points */

static void what_it_is(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		const struct ibv_mr *mr = imp_mr[kind];

		expect(mr->rkey == rkey[kind] && mr->lkey == rkey[kind],
		       "keys %#x and %#x, not %#x", mr->lkey, mr->rkey,
		       rkey[kind]);
		expect(mr->length == SIZE && !mr->addr && mr->pd == imp.pd &&
		       mr->context == imp.ctx, "the rest of it");
	}
	expect(imp.pd->context == imp.ctx, "the domain's context");
	expect_eq(imp.ctx->num_comp_vectors, me.ctx->num_comp_vectors,
		  "vectors");
	point("what is imported");
}

static void remote_access(void)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		expect_written(other.qp, kind, 10 + kind);
		memset(buf[PINNED], 0, SIZE);
		expect_eq(access_through(other.qp, IBV_WR_RDMA_READ,
					 memory[kind] + 5, rkey[kind],
					 SIZE - 5), IBV_WC_SUCCESS, "a read");
		expect_eq(pattern_check(buf[PINNED], SIZE - 5, 10 + kind),
			  SIZE - 5, "what was read");
		expect_written(me.qp, kind, 20 + kind);
	}
	point("the exporter's memory, through the importer's queue pair");
}

/* What belongs to another process, as a source and as a destination. */
static void local_access(void)
{
	struct ibv_sge sge = sge_of(buf_mr[PINNED], buf[PINNED], 9999);
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct ibv_sge theirs = { memory[kind] + 77, 9999,
					  imp_mr[kind]->lkey };
		struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &theirs,
						(uintptr_t)buf[PINNED],
						buf_mr[PINNED]->rkey);
		struct ibv_send_wr send = rdma_wr(IBV_WR_SEND, &sge, 0, 0);

		ask(&owner, own_fill, theirs.addr, 9999, 30 + kind);
		memset(buf[PINNED], 0, 9999);
		post_send(imp.qp, &wr);
		expect_wc(imp.scq, 0, IBV_WC_SUCCESS);
		expect_eq(pattern_check(buf[PINNED], 9999, 30 + kind), 9999,
			  "what was written, %s", kind_name[kind]);

		pattern_fill(buf[PINNED], 9999, 40 + kind);
		post_recv(imp.qp, 3, &theirs, 1);
		post_send(other.qp, &send);
		expect_wc(me.scq, 0, IBV_WC_SUCCESS);
		expect_wc(imp.rcq, 3, IBV_WC_SUCCESS);
		expect_eq(ask(&owner, own_check, theirs.addr, 9999, 40 + kind),
			  9999, "what was received, %s", kind_name[kind]);

		/* The same address is not the importer's. */
		theirs.length = 8;
		ask(&owner, own_fill, theirs.addr, 8, 50);
		post_send(imp.qp, &wr);
		expect_wc(imp.scq, 0, IBV_WC_SUCCESS);
		expect_eq(pattern_check(buf[PINNED], 8, 50), 8,
			  "a few bytes, %s", kind_name[kind]);
	}
	point("the exporter's memory, as the importer's own");
}

/* What the importer registers is there for the exporter. */
static void importers_region(void)
{
	uint8_t *mine = map_memory(SIZE);
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct ibv_mr *mr = reg(imp.pd, mine, SIZE,
					ALL_RIGHTS | kind_access(kind));

		pattern_fill(buf[PINNED], 5000, 60 + kind);
		expect_eq(access_through(me.qp, IBV_WR_RDMA_WRITE,
					 (uintptr_t)mine + 3, mr->rkey, 5000),
			  IBV_WC_SUCCESS, "a write");
		expect_eq(pattern_check(mine + 3, 5000, 60 + kind), 5000,
			  "what was written");
		memset(buf[PINNED], 0, 5000);
		expect_eq(ask(&owner, own_write, (long)mine + 3, 5000,
			      mr->lkey, (long)buf[PINNED],
			      buf_mr[PINNED]->rkey), IBV_WC_SUCCESS,
			  "the exporter's write from it");
		expect_eq(pattern_check(buf[PINNED], 5000, 60 + kind), 5000,
			  "what came of it");
		dereg(mr);
	}
	munmap(mine, SIZE);
	point("the importer's memory, through the exporter's queue pair");
}

static void events_and_shared_receives(void)
{
	struct ibv_srq_init_attr init = { .attr = { 16, 1 } };
	struct ibv_sge sge = { memory[PINNED], 4000, imp_mr[PINNED]->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, NULL, 0, 0);
	struct ibv_qp_init_attr qp;
	struct ibv_srq *srq;
	struct ibv_cq *cq;
	void *element;

	srq = ibv_create_srq(imp.pd, &init);
	must(srq);
	side_drop_qp(&imp);
	side_drop_qp(&other);
	qp = qp_init(&imp, 16);
	qp.srq = srq;
	imp.qp = ibv_create_qp(imp.pd, &qp);
	must(imp.qp);
	side_make_qp(&other, 16);
	connect_sides(&other, &imp, &usual_conn);

	/* Somebody waits for it. */
	must(!ibv_req_notify_cq(imp.rcq, 0));
	post_send(other.qp, &wr);
	expect(is_quiet(me.scq, 20), "nothing to receive it");
	must(!try_srq_recv(srq, 8, &sge, 1));
	expect_wc(me.scq, 0, IBV_WC_SUCCESS);
	expect(wait_readable(imp.channel->fd, SOON_MS), "no notification");
	expect_wc(imp.rcq, 8, IBV_WC_SUCCESS);
	must(!ibv_get_cq_event(imp.channel, &cq, &element));
	expect(cq == imp.rcq, "another queue's notification");
	ibv_ack_cq_events(cq, 1);

	/* An event of its own, which the exporter does not get. */
	access_through(other.qp, IBV_WR_RDMA_WRITE, memory[PINNED],
		       rkey[PINNED] ^ 0x100, 5);
	expect_eq(wait_event(imp.ctx, &element, SOON_MS),
		  IBV_EVENT_QP_ACCESS_ERR, "the importer's event");
	expect(element == imp.qp, "of another queue pair");
	expect_eq(ask(&owner, own_event, 0), -1, "the exporter's event");
	while (wait_event(imp.ctx, &element, 20) >= 0)
		;
	side_drop_qp(&imp);
	must(!ibv_destroy_srq(srq));
	connect_importer();
	point("events, notifications, shared receives");
}

static void device_memory(void)
{
	long handle = ask(&owner, own_alloc_dm, SIZE - 4);
	struct ibv_dm *dm = ibv_import_dm(imp.ctx, handle);
	struct ibv_mr *mr;

	if (!dm)
		bail("import: %s", strerror(errno));
	must(!ask(&owner, own_fill_dm, SIZE - 4, 70));
	memset(scratch, 0, SIZE);
	expect_eq(ibv_memcpy_from_dm(scratch, dm, 0, SIZE - 4), 0, "from");
	expect_eq(pattern_check(scratch, SIZE - 4, 70), SIZE - 4,
		  "the exporter's bytes");
	pattern_fill(scratch, SIZE, 71);
	expect_eq(ibv_memcpy_to_dm(dm, 0, scratch, SIZE - 4), 0, "to");
	expect_eq(ask(&owner, own_check_dm, SIZE - 4, 71), SIZE - 4,
		  "the importer's bytes");
	expect_eq(ibv_memcpy_to_dm(dm, 0, scratch, SIZE), EFAULT, "too much");

	mr = ibv_reg_dm_mr(imp.pd, dm, 0, SIZE - 4,
			   ALL_RIGHTS | IBV_ACCESS_ZERO_BASED);
	must(mr);
	pattern_fill(buf[PINNED], SIZE - 4, 72);
	expect_eq(access_through(me.qp, IBV_WR_RDMA_WRITE, 0, mr->rkey,
				 SIZE - 4), IBV_WC_SUCCESS, "a write");
	expect_eq(ask(&owner, own_check_dm, SIZE - 4, 72), SIZE - 4,
		  "what was written");
	expect_eq(ask(&owner, own_free_dm), EBUSY, "the importer's region");
	dereg(mr);

	/* What is mapped stays, even if it belongs to nobody any more. */
	expect_eq(ask(&owner, own_free_dm), 0, "free");
	expect_eq(ibv_memcpy_from_dm(scratch, dm, 0, SIZE - 4), 0, "from");
	expect_eq(pattern_check(scratch, SIZE - 4, 72), SIZE - 4,
		  "the bytes then");
	ibv_unimport_dm(dm);
	expect(!ibv_import_dm(imp.ctx, handle), "what is gone");

	/* The importer may free it, too. */
	handle = ask(&owner, own_alloc_dm, SIZE);
	dm = ibv_import_dm(imp.ctx, handle);
	must(dm);
	expect_eq(ibv_free_dm(dm), 0, "free");
	expect(ask(&owner, own_free_dm), "free once more");
	point("device memory");
}

static void wrong_handles(void)
{
	int fd = open("/dev/null", O_RDWR);
	uint32_t wrong = 0x12345;

	errno = 0;
	expect(!ibv_import_pd(imp.ctx, wrong) && errno == ENOENT, "pd: %s",
	       strerror(errno));
	errno = 0;
	expect(!ibv_import_mr(imp.pd, wrong) && errno == ENOENT, "mr: %s",
	       strerror(errno));
	errno = 0;
	expect(!ibv_import_dm(imp.ctx, wrong) && errno == ENOENT, "dm: %s",
	       strerror(errno));
	errno = 0;
	expect(!ibv_import_pd(imp.ctx, mr_handle[PINNED]) && errno,
	       "a region as a domain");
	expect(!ibv_import_mr(imp.pd, pd_handle) && errno,
	       "a domain as a region");
	expect(!ibv_import_device(fd) && errno, "another device's");
	close(fd);
	expect(!ibv_import_device(-1) && errno, "no descriptor");
	point("what cannot be imported");
}

/* Each may go without the other, in any order. */
static void orders(void)
{
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	int i;

	expect_eq(ask(&owner, own_dealloc_pd), EBUSY, "the domain");
	for (i = 0; i < 30; i++) {
		ctx = import_context();
		pd = ibv_import_pd(ctx, pd_handle);
		must(pd);
		mr = ibv_import_mr(pd, mr_handle[i & 1]);
		must(mr && mr->rkey == rkey[i & 1]);
		if (i & 2) {
			ibv_unimport_mr(mr);
			ibv_unimport_pd(pd);
		} else {
			ibv_unimport_pd(pd);
			ibv_unimport_mr(mr);
		}
		must(!ibv_close_device(ctx));
	}
	/* One doorbell less does not harm the other. */
	expect_written(other.qp, PINNED, 80);
	expect_written(me.qp, ODP, 81);
	point("imported again and again");
}

/* What the exporter destroys is gone for the importer, and the other way. */
static void destroyed(void)
{
	struct ibv_sge sge = { memory[PINNED], 100, imp_mr[PINNED]->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)buf[PINNED],
					buf_mr[PINNED]->rkey);

	expect_eq(ask(&owner, own_deregister, PINNED), 0, "dereg");
	post_send(imp.qp, &wr);
	expect_wc(imp.scq, 0, IBV_WC_LOC_PROT_ERR);
	connect_importer();
	expect_eq(access_through(other.qp, IBV_WR_RDMA_WRITE, memory[PINNED],
				 rkey[PINNED], 5), IBV_WC_REM_ACCESS_ERR,
		  "a write");
	connect_importer();
	expect_written(other.qp, ODP, 90);
	ibv_unimport_mr(imp_mr[PINNED]);

	/* Now the importer destroys what is the exporter's. */
	expect_eq(ibv_dereg_mr(imp_mr[ODP]), 0, "the importer's dereg");
	expect_eq(access_through(me.qp, IBV_WR_RDMA_WRITE, memory[ODP],
				 rkey[ODP], 5), IBV_WC_REM_ACCESS_ERR,
		  "a write");
	expect(ask(&owner, own_deregister, ODP), "dereg once more");
	owner_connect(&owner);

	side_drop_qp(&other);
	unimport_side(&imp);
	point("regions destroyed under the other's hands");
}

/* An importer that dies */

static void importer(int fd, void *arg)
{
	struct address peer;

	(void)arg;
	import_side(&imp);
	side_make_qp(&imp, 32);
	peer = side_address(&imp);
	say(fd, &peer, sizeof(peer));
	hear(fd, &peer, sizeof(peer));
	side_connect(&imp, &peer, &usual_conn);
	say_byte(fd);
	hear_byte(fd);
}

static void importers_death(void)
{
	struct child child = spawn(importer, NULL);
	uint64_t end;
	struct address peer, mine;
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, NULL, 0, 0);
	struct ibv_wc wc;

	hear(child.fd, &peer, sizeof(peer));
	other = me;
	side_make_qp(&other, 16);
	mine = side_address(&other);
	say(child.fd, &mine, sizeof(mine));
	hear_byte(child.fd);
	side_connect(&other, &peer, &usual_conn);
	expect_written(other.qp, PINNED, 100);
	expect_written(other.qp, ODP, 101);

	/* Which would wait for ever for something to receive it. */
	post_send(other.qp, &wr);
	expect(is_quiet(me.scq, 50), "nothing to receive it");
	kill_child(&child);
	end = now_ms();
	expect(wait_wc(me.scq, &wc, SOON_MS) && wc.status != IBV_WC_SUCCESS,
	       "a send to a process that has gone");
	expect_soon(end, "learning of that");
	side_drop_qp(&other);
	expect_written(me.qp, PINNED, 102);
	expect_written(me.qp, ODP, 103);
	point("an importer that is killed");
}

static void exporters_death(void)
{
	struct ibv_send_wr wr = rdma_wr(IBV_WR_SEND, NULL, 0, 0);
	struct ibv_wc wc;

	import_all();
	expect_written(other.qp, PINNED, 110);
	expect_written(other.qp, ODP, 111);
	post_send(me.qp, &wr);
	expect(is_quiet(me.scq, 50), "nothing to receive it");
	kill_child(&owner.child);
	expect(wait_wc(me.scq, &wc, SOON_MS) && wc.status != IBV_WC_SUCCESS,
	       "a send to a process that has gone");

	/* What is pinned is as long as somebody has the context. */
	memset(buf[PINNED], 0, SIZE);
	expect_eq(access_through(other.qp, IBV_WR_RDMA_READ, memory[PINNED] + 5,
				 rkey[PINNED], SIZE - 5), IBV_WC_SUCCESS,
		  "a read of pinned memory");
	expect_eq(pattern_check(buf[PINNED], SIZE - 5, 110), SIZE - 5,
		  "what is there");
	expect_eq(access_through(other.qp, IBV_WR_RDMA_READ, memory[ODP],
				 rkey[ODP], 5), IBV_WC_REM_ACCESS_ERR,
		  "a read of memory that is no more");
	connect_importer();
	unimport_all();
	close(export_fd);
	me_close();
	point("an exporter that is killed");
}

/* It leaves in good order, and first. */
static void exporter_quits(void)
{
	export_all();
	import_all();
	exporter_ends();
	pattern_fill(buf[PINNED], SIZE, 120);
	expect_eq(access_through(other.qp, IBV_WR_RDMA_WRITE, memory[PINNED],
				 rkey[PINNED], SIZE), IBV_WC_SUCCESS,
		  "a write");
	memset(buf[PINNED], 0, SIZE);
	expect_eq(access_through(other.qp, IBV_WR_RDMA_READ, memory[PINNED],
				 rkey[PINNED], SIZE), IBV_WC_SUCCESS, "a read");
	expect_eq(pattern_check(buf[PINNED], SIZE, 120), SIZE,
		  "what was read");
	unimport_all();
	close(export_fd);
	me_close();
	point("an exporter that leaves first");
}

static void run(void)
{
	struct leftovers before = count_leftovers();

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel));
	export_all();
	import_all();
	what_it_is();
	remote_access();
	local_access();
	importers_region();
	events_and_shared_receives();
	device_memory();
	wrong_handles();
	orders();
	destroyed();
	close(export_fd);
	owner_close(&owner);

	export_all();
	import_all();
	unimport_all();
	importers_death();
	exporter_ends();
	close(export_fd);
	me_close();

	export_all();
	exporters_death();
	exporter_quits();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, 280, run);
}
