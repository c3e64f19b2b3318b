// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Every operation, between pinned and on-demand memory, at odd addresses and
 * lengths, in one piece and in many: against a model of what each byte around
 * should be afterwards.
 *
 *	near ──────────────── operation ────────────────▶ far
 *	arena, model		posted as a list	  arena, model
 *
 * The far side is another context of this process, the near side's own queue
 * pair, or another process.
 * Limit: 600
 */
#include "common.h"

#define ARENA		(8 * MIB)
#define POOL_SLACK	(64 * KIB)
#define DEPTH		64
#define LIST_MAX	32

enum { NEAR, FAR, SIDES };

enum mode { ONE_PROCESS, ONE_QP, TWO_PROCESSES, MODES };

static const char * const mode_name[MODES] = {
	"in one process", "to itself", "between processes",
};

/* What the near side has to know of an arena. */
struct arena {
	uint64_t addr;
	uint32_t key;
};

static struct side near, other;
static struct side *far;		/* in this process, if it is */
static struct child child;		/* else where it is */
static struct arena arena[SIDES][KINDS];
static struct ibv_mr *mr[SIDES][KINDS];
static uint8_t *model[SIDES][KINDS];
static size_t window[SIDES][KINDS];	/* bytes of interest */
static uint8_t *pool, *scratch;

/* Asking the far side, wherever it is */

enum ask { ASK_OPEN, ASK_CONNECT, ASK_RECV, ASK_POLL, ASK_DROP, ASK_CLOSE };

struct question {
	enum ask ask;
	struct address peer;
	uint64_t wr_id;
	enum kind kind;
	int num_sge;
	struct ibv_sge sge[SGE_MAX];
};

struct answer {
	bool ok;
	struct ibv_wc wc;
	struct address address;
	struct arena arena[KINDS];
};

static void open_arenas(struct ibv_pd *pd, int side)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		void *mem = map_memory(ARENA);

		mr[side][kind] = reg(pd, mem, ARENA,
				     ALL_RIGHTS | kind_access(kind));
		arena[side][kind].addr = (uintptr_t)mem;
		arena[side][kind].key = mr[side][kind]->rkey;
	}
}

static void close_arenas(int side)
{
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		dereg(mr[side][kind]);
		must(!munmap((void *)arena[side][kind].addr, ARENA));
	}
}

/* At the far side */
static void serve(const struct question *q, struct answer *answer)
{
	struct ibv_sge sge[SGE_MAX];

	switch (q->ask) {
	case ASK_OPEN:
		if (far != &near) {
			side_open(far, 256);
			side_make_qp(far, DEPTH);
		}
		open_arenas(far->pd, FAR);
		answer->address = side_address(far);
		memcpy(answer->arena, arena[FAR], sizeof(answer->arena));
		break;
	case ASK_CONNECT:
		side_connect(far, &q->peer, &usual_conn);
		break;
	case ASK_RECV:
		memcpy(sge, q->sge, sizeof(sge));
		post_recv(far->qp, q->wr_id, sge, q->num_sge);
		break;
	case ASK_POLL:
		answer->ok = wait_wc(far->rcq, &answer->wc, SOON_MS);
		break;
	case ASK_DROP:
		must(!madvise((void *)arena[FAR][q->kind].addr, ARENA,
			      MADV_DONTNEED));
		break;
	case ASK_CLOSE:
		if (far != &near)
			side_drop_qp(far);
		close_arenas(FAR);
		if (far != &near)
			side_close(far);
		break;
	}
}

static void serve_socket(int fd, void *arg)
{
	struct question question;
	struct answer answer;

	(void)arg;
	far = &other;
	do {
		hear(fd, &question, sizeof(question));
		memset(&answer, 0, sizeof(answer));
		serve(&question, &answer);
		say(fd, &answer, sizeof(answer));
	} while (question.ask != ASK_CLOSE);
}

static struct answer ask(const struct question *question)
{
	struct answer answer = {};

	if (far) {
		serve(question, &answer);
		return answer;
	}
	say(child.fd, question, sizeof(*question));
	hear(child.fd, &answer, sizeof(answer));
	return answer;
}

/* Put bytes into the far side's memory, or get them from there. */
static void far_copy(void *here, uint64_t there, size_t len, bool get)
{
	struct iovec local = { here, len };
	struct iovec remote = { (void *)there, len };
	ssize_t n;

	if (far) {
		memcpy(get ? here : (void *)there, get ? (void *)there : here,
		       len);
		return;
	}
	n = get ? process_vm_readv(child.pid, &local, 1, &remote, 1, 0) :
		  process_vm_writev(child.pid, &local, 1, &remote, 1, 0);
	must(n == (ssize_t)len);
}

static void open_mode(enum mode mode)
{
	struct question question = { .ask = ASK_OPEN };
	struct address peer, mine;
	struct answer answer;

	far = mode == ONE_PROCESS ? &other : mode == ONE_QP ? &near : NULL;
	if (!far)
		child = spawn(serve_socket, NULL);
	side_open(&near, 256);
	side_make_qp(&near, DEPTH);
	open_arenas(near.pd, NEAR);
	mine = side_address(&near);

	answer = ask(&question);
	memcpy(arena[FAR], answer.arena, sizeof(answer.arena));
	peer = answer.address;
	if (far != &near) {
		question = (struct question) { ASK_CONNECT, .peer = mine };
		ask(&question);
	}
	side_connect(&near, &peer, &usual_conn);
}

static void close_mode(void)
{
	struct question question = { .ask = ASK_CLOSE };

	ask(&question);
	side_drop_qp(&near);
	close_arenas(NEAR);
	side_close(&near);
	if (!far)
		expect_child(&child, "the far side");
}

/* Pieces of an arena */

struct vec {
	int num;
	uint32_t at[SGE_MAX];
	uint32_t len[SGE_MAX];
};

static void vec_shuffle(struct vec *vec)
{
	int i;

	for (i = vec->num - 1; i > 0; i--) {
		int j = random_below(i + 1);
		uint32_t at = vec->at[i], len = vec->len[i];

		vec->at[i] = vec->at[j];
		vec->len[i] = vec->len[j];
		vec->at[j] = at;
		vec->len[j] = len;
	}
}

/* Split @len bytes into @num pieces, some of them empty, with odd gaps. */
static void vec_make(struct vec *vec, int side, enum kind kind, uint32_t at,
		     uint32_t len, int num)
{
	int i;

	vec->num = num;
	for (i = 0; i < num; i++) {
		uint32_t piece = len;

		if (i < num - 1)
			piece = random_below(4) ?
				random_below(2 * len / (num - i) + 1) : 0;
		if (piece > len)
			piece = len;
		vec->at[i] = at;
		vec->len[i] = piece;
		len -= piece;
		at += piece + (num > 1 ? random_below(10) : 0);
	}
	if (random_below(2))
		vec_shuffle(vec);
	at += PAGE;
	if (at > window[side][kind])
		window[side][kind] = at;
	if (at > ARENA)
		bail("the arena is too small");
}

static void vec_sges(const struct vec *vec, const struct arena *arena,
		     struct ibv_sge *sge)
{
	int i;

	for (i = 0; i < vec->num; i++)
		sge[i] = (struct ibv_sge) { arena->addr + vec->at[i],
					    vec->len[i], arena->key };
}

/* Copy between a stream of bytes and the pieces, until @len is used up. */
static void vec_copy(const struct vec *vec, uint8_t *memory, uint8_t *stream,
		     uint32_t len, bool gather)
{
	int i;

	for (i = 0; i < vec->num && len; i++) {
		uint32_t piece = vec->len[i] < len ? vec->len[i] : len;
		uint8_t *here = memory + vec->at[i];

		memcpy(gather ? stream : here, gather ? here : stream, piece);
		stream += piece;
		len -= piece;
	}
}

/* Operations */

struct op {
	enum ibv_wr_opcode opcode;
	enum kind kind[SIDES];
	uint32_t len;
	struct vec vec[SIDES];
	unsigned int flags;
	uint32_t imm;
	uint64_t compare_add;
	uint64_t swap;
	uint8_t data[INLINE_CAP];
	struct ibv_sge sge[SGE_MAX];
};

static bool takes_receive(const struct op *op)
{
	return is_send(op->opcode) || has_imm(op->opcode);
}

static bool may_be_inline(const struct op *op)
{
	return op->opcode != IBV_WR_RDMA_READ && !is_atomic(op->opcode) &&
	       op->len <= INLINE_CAP;
}

/* Lay out an operation somewhere behind @at. */
static void op_make(struct op *op, uint32_t at, int near_sges, int far_sges)
{
	uint32_t near_at = at + random_below(PAGE);
	uint32_t far_at = at + random_below(PAGE);

	if (is_atomic(op->opcode)) {
		op->len = 8;
		far_at &= ~7U;
	}
	vec_make(&op->vec[NEAR], NEAR, op->kind[NEAR], near_at, op->len,
		 near_sges);
	if (!is_send(op->opcode))
		far_sges = 1;
	vec_make(&op->vec[FAR], FAR, op->kind[FAR], far_at,
		 op->len + (is_send(op->opcode) ? random_below(50) : 0),
		 far_sges);
	op->imm = random_u64();
}

static void atomic_apply(struct op *op, uint64_t *word, uint64_t *old)
{
	*old = *word;
	op->swap = random_u64();
	op->compare_add = random_u64();
	if (op->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		*word += op->compare_add;
	} else if (random_below(2)) {
		op->compare_add = *word;
		*word = op->swap;
	}
}

/* What the operation does to the models. */
static void op_apply(struct op *op)
{
	uint8_t *here = model[NEAR][op->kind[NEAR]];
	uint8_t *there = model[FAR][op->kind[FAR]];
	uint64_t old;

	if (is_atomic(op->opcode)) {
		atomic_apply(op, (uint64_t *)(there + op->vec[FAR].at[0]),
			     &old);
		vec_copy(&op->vec[NEAR], here, (uint8_t *)&old, 8, false);
	} else if (op->opcode == IBV_WR_RDMA_READ) {
		vec_copy(&op->vec[FAR], there, scratch, op->len, true);
		vec_copy(&op->vec[NEAR], here, scratch, op->len, false);
	} else if (op->flags & IBV_SEND_INLINE) {
		vec_copy(&op->vec[FAR], there, op->data, op->len, false);
	} else {
		vec_copy(&op->vec[NEAR], here, scratch, op->len, true);
		vec_copy(&op->vec[FAR], there, scratch, op->len, false);
	}
}

/* Inline data is what is there when the list is posted. */
static void op_take_inline(struct op *op)
{
	if (op->flags & IBV_SEND_INLINE)
		vec_copy(&op->vec[NEAR], model[NEAR][op->kind[NEAR]],
			 op->data, op->len, true);
}

static void op_post_receive(struct op *op, uint64_t wr_id)
{
	struct question question = {
		.ask = ASK_RECV,
		.wr_id = wr_id,
		.num_sge = is_send(op->opcode) ? op->vec[FAR].num : 0,
	};

	if (!takes_receive(op))
		return;
	vec_sges(&op->vec[FAR], &arena[FAR][op->kind[FAR]], question.sge);
	ask(&question);
}

static uint64_t op_far_addr(const struct op *op)
{
	return arena[FAR][op->kind[FAR]].addr + op->vec[FAR].at[0];
}

/* Where no byte is accessed no key is looked at (IBTA o9-21). */
static uint32_t op_far_key(const struct op *op)
{
	return op->len ? arena[FAR][op->kind[FAR]].key : 0xdeadbeef;
}

static void op_set_sges(struct op *op)
{
	int i;

	vec_sges(&op->vec[NEAR], &arena[NEAR][op->kind[NEAR]], op->sge);
	for (i = 0; i < op->vec[NEAR].num; i++)
		if (!op->sge[i].length || op->flags & IBV_SEND_INLINE)
			op->sge[i].lkey = 0xdeadbeef;
}

static struct ibv_send_wr op_wr(struct op *op)
{
	struct ibv_send_wr wr;

	if (is_atomic(op->opcode))
		wr = atomic_wr(op->opcode, op->sge, op_far_addr(op),
			       op_far_key(op), op->compare_add, op->swap);
	else
		wr = rdma_wr(op->opcode, op->sge, op_far_addr(op),
			     op_far_key(op));
	wr.num_sge = op->vec[NEAR].num;
	wr.send_flags = op->flags;
	wr.imm_data = htonl(op->imm);
	return wr;
}

static void post_list(struct op *ops, int num)
{
	struct ibv_send_wr wrs[LIST_MAX];
	int i;

	for (i = 0; i < num; i++) {
		wrs[i] = op_wr(&ops[i]);
		wrs[i].wr_id = i;
		wrs[i].next = i < num - 1 ? &wrs[i + 1] : NULL;
	}
	post_send(near.qp, wrs);
	/* Lists and inline data are the caller's again. */
	memset(wrs, 0x5a, sizeof(wrs));
}

/* The same by ibv_wr_*(). */

static void wr_data(struct ibv_qp_ex *qpx, struct op *op)
{
	struct ibv_data_buf bufs[SGE_MAX];
	int i;

	if (!(op->flags & IBV_SEND_INLINE)) {
		if (op->vec[NEAR].num == 1)
			ibv_wr_set_sge(qpx, op->sge[0].lkey, op->sge[0].addr,
				       op->sge[0].length);
		else
			ibv_wr_set_sge_list(qpx, op->vec[NEAR].num, op->sge);
		return;
	}
	for (i = 0; i < op->vec[NEAR].num; i++)
		bufs[i] = (struct ibv_data_buf) { (void *)op->sge[i].addr,
						  op->sge[i].length };
	if (op->vec[NEAR].num == 1)
		ibv_wr_set_inline_data(qpx, bufs[0].addr, bufs[0].length);
	else
		ibv_wr_set_inline_data_list(qpx, op->vec[NEAR].num, bufs);
}

static void wr_post(struct ibv_qp_ex *qpx, struct op *op)
{
	uint64_t addr = op_far_addr(op);
	uint32_t key = op_far_key(op);

	switch (op->opcode) {
	case IBV_WR_SEND:
		ibv_wr_send(qpx);
		break;
	case IBV_WR_SEND_WITH_IMM:
		ibv_wr_send_imm(qpx, htonl(op->imm));
		break;
	case IBV_WR_RDMA_WRITE:
		ibv_wr_rdma_write(qpx, key, addr);
		break;
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		ibv_wr_rdma_write_imm(qpx, key, addr, htonl(op->imm));
		break;
	case IBV_WR_RDMA_READ:
		ibv_wr_rdma_read(qpx, key, addr);
		break;
	case IBV_WR_ATOMIC_CMP_AND_SWP:
		ibv_wr_atomic_cmp_swp(qpx, key, addr, op->compare_add,
				      op->swap);
		break;
	default:
		ibv_wr_atomic_fetch_add(qpx, key, addr, op->compare_add);
		break;
	}
	wr_data(qpx, op);
}

static void post_list_ex(struct op *ops, int num)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(near.qp);
	int i;

	ibv_wr_start(qpx);
	for (i = 0; i < num; i++) {
		qpx->wr_id = i;
		qpx->wr_flags = op_wr(&ops[i]).send_flags & ~IBV_SEND_INLINE;
		wr_post(qpx, &ops[i]);
	}
	errno = ibv_wr_complete(qpx);
	must(!errno);
}

/* Running lists of operations */

static void fill_window(int side, enum kind kind)
{
	size_t len = window[side][kind];
	struct question drop = { .ask = ASK_DROP, .kind = kind };

	if (!len)
		return;
	/* Memory that was never touched is on demand's own case. */
	if (kind == ODP && !random_below(4)) {
		memset(model[side][kind], 0, len);
		if (side == FAR)
			ask(&drop);
		else
			must(!madvise((void *)arena[side][kind].addr, ARENA,
				      MADV_DONTNEED));
		return;
	}
	memcpy(model[side][kind], pool + random_below(POOL_SLACK), len);
	if (side == FAR)
		far_copy(model[side][kind], arena[side][kind].addr, len,
			 false);
	else
		memcpy((void *)arena[side][kind].addr, model[side][kind], len);
}

static void check_window(int side, enum kind kind)
{
	size_t len = window[side][kind];
	const void *seen = (void *)arena[side][kind].addr;
	char what[64];

	if (side == FAR && len) {
		far_copy(scratch, arena[side][kind].addr, len, true);
		seen = scratch;
	}
	snprintf(what, sizeof(what), "%s memory, %s",
		 side == FAR ? "far" : "near", kind_name[kind]);
	expect_same(seen, model[side][kind], len, what);
}

static void check_near_completion(const struct op *op, int i)
{
	struct ibv_wc wc;

	if (!expect_wc_at(__FILE__, __LINE__, near.scq, i, IBV_WC_SUCCESS,
			  &wc))
		return;
	expect_eq(wc.opcode, wc_opcode(op->opcode), "opcode");
	expect_eq(wc.qp_num, near.qp->qp_num, "queue pair");
	if (op->opcode == IBV_WR_RDMA_READ || is_atomic(op->opcode))
		expect_eq(wc.byte_len, op->len, "length read");
}

static void check_far_completion(const struct op *op, int i)
{
	struct question question = { .ask = ASK_POLL };
	struct answer answer = ask(&question);
	const struct ibv_wc *wc = &answer.wc;

	if (!expect(answer.ok, "a receive has not completed"))
		return;
	expect_eq(wc->status, IBV_WC_SUCCESS, "status of a receive");
	expect_eq(wc->wr_id, i, "receive");
	expect_eq(wc->byte_len, op->len, "length received");
	expect_eq(wc->opcode, is_send(op->opcode) ? IBV_WC_RECV :
		  IBV_WC_RECV_RDMA_WITH_IMM, "opcode of a receive");
	expect_eq(!!(wc->wc_flags & IBV_WC_WITH_IMM), has_imm(op->opcode),
		  "flag of immediate data");
	if (has_imm(op->opcode))
		expect_eq(ntohl(wc->imm_data), op->imm, "immediate data");
}

static void clear_windows(void)
{
	memset(window, 0, sizeof(window));
}

static void for_windows(void (*what)(int side, enum kind kind))
{
	enum kind kind;
	int side;

	for (side = 0; side < SIDES; side++)
		for (kind = 0; kind < KINDS; kind++)
			what(side, kind);
}

/* Run operations that are laid out; false when something was not right. */
static bool run_list(struct op *ops, int num,
		     void (*post)(struct op *ops, int num))
{
	unsigned int failures = tap->failures;
	int i;

	for_windows(fill_window);
	for (i = 0; i < num; i++)
		op_take_inline(&ops[i]);
	for (i = 0; i < num; i++) {
		op_apply(&ops[i]);
		op_set_sges(&ops[i]);
		op_post_receive(&ops[i], i);
	}
	post(ops, num);
	for (i = 0; i < num; i++)
		if (ops[i].flags & IBV_SEND_SIGNALED)
			check_near_completion(&ops[i], i);
	for (i = 0; i < num; i++)
		if (takes_receive(&ops[i]))
			check_far_completion(&ops[i], i);
	for_windows(check_window);
	clear_windows();
	expect(is_quiet(near.scq, 0), "something else has completed");
	return tap->failures == failures;
}

static void run_one(struct op *op, int near_sges, int far_sges)
{
	op->flags |= IBV_SEND_SIGNALED;
	op_make(op, 0, near_sges, far_sges);
	if (!run_list(op, 1, post_list))
		diag("that was: %s of %u, %s to %s, %d and %d pieces",
		     opcode_name(op->opcode), op->len,
		     kind_name[op->kind[NEAR]], kind_name[op->kind[FAR]],
		     near_sges, far_sges);
}

/* The tests, each in every mode */

static const enum ibv_wr_opcode opcodes[] = {
	IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE,
	IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ,
	IBV_WR_ATOMIC_CMP_AND_SWP, IBV_WR_ATOMIC_FETCH_AND_ADD,
};

static const uint32_t sizes[] = {
	0, 1, 7, 8, 4095, 4096, 4097, 65535, 65536, 65537, 1048576 + 3,
	5 * 1048576,
};

static void every_size(enum ibv_wr_opcode opcode, size_t num_sizes)
{
	struct op op;
	int kinds;
	size_t i;

	for (kinds = 0; kinds < KINDS * KINDS; kinds++) {
		for (i = 0; i < num_sizes; i++) {
			op = (struct op) {
				.opcode = opcode,
				.kind = { kinds & 1, kinds >> 1 },
				.len = sizes[i],
			};
			run_one(&op, 1, 1);
		}
	}
}

static void every_list(enum ibv_wr_opcode opcode)
{
	struct op op;
	int n;

	for (n = 1; n <= SGE_MAX; n++) {
		op = (struct op) {
			.opcode = opcode,
			.kind = { random_below(KINDS), random_below(KINDS) },
			.len = random_below(n & 1 ? 3 * PAGE : 100),
		};
		run_one(&op, n, 1 + random_below(SGE_MAX));
		op.len = random_below(200000);
		run_one(&op, 1 + random_below(SGE_MAX), n);
	}
}

static void every_inline(enum ibv_wr_opcode opcode)
{
	uint32_t len;

	for (len = 0; len <= INLINE_CAP; len += 1 + random_below(20)) {
		struct op op = {
			.opcode = opcode,
			.kind = { random_below(KINDS), random_below(KINDS) },
			.len = len,
			.flags = IBV_SEND_INLINE,
		};

		run_one(&op, 1 + random_below(4), 1 + random_below(4));
	}
}

/* One operation of many: all of them may touch the same bytes. */
static void random_op(struct op *op)
{
	*op = (struct op) {
		.opcode = opcodes[random_below(ARRAY_SIZE(opcodes))],
		.kind = { random_below(KINDS), random_below(KINDS) },
		.len = random_below(random_below(8) ? 600 : 70000),
		.flags = IBV_SEND_FENCE,
	};
	op_make(op, random_below(2 * PAGE), 1 + random_below(6),
		1 + random_below(6));
	if (may_be_inline(op) && random_below(2))
		op->flags |= IBV_SEND_INLINE;
	if (random_below(2))
		op->flags |= IBV_SEND_SIGNALED;
	if (random_below(2))
		op->flags |= IBV_SEND_SOLICITED;
}

static void random_lists(int rounds, void (*post)(struct op *ops, int num))
{
	static struct op ops[LIST_MAX];

	while (rounds--) {
		int num = 1 + random_below(LIST_MAX), i;

		for (i = 0; i < num; i++)
			random_op(&ops[i]);
		ops[num - 1].flags |= IBV_SEND_SIGNALED;
		if (!run_list(ops, num, post))
			return;
	}
}

/* Only one in @every asks for a completion; the queue never fills. */
static void unsignalled(int rounds, int every)
{
	uint64_t *src = (void *)arena[NEAR][PINNED].addr;
	struct ibv_sge sge = sge_of(mr[NEAR][PINNED], src, 8);
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					arena[FAR][ODP].addr,
					arena[FAR][ODP].key);
	int outstanding = 0, i, ret;
	uint64_t last;

	for (i = 0; i < rounds; i++) {
		bool signal = i % every == every - 1;

		wr.wr_id = i;
		wr.send_flags = IBV_SEND_INLINE |
				(signal ? IBV_SEND_SIGNALED : 0);
		*src = i;
		ret = try_send(near.qp, &wr);
		if (!expect(!ret, "post %d: %s", i, strerror(ret)))
			return;
		outstanding += signal;
		if (outstanding == DEPTH / every) {
			expect_wc(near.scq, i - (outstanding - 1) * every,
				  IBV_WC_SUCCESS);
			outstanding--;
		}
	}
	while (outstanding--)
		expect_wc(near.scq, rounds - 1 - outstanding * every,
			  IBV_WC_SUCCESS);
	expect(is_quiet(near.scq, 10), "one completion too many");
	far_copy(&last, arena[FAR][ODP].addr, 8, true);
	expect_eq(last, rounds - 1, "the last value written");
}

/* What a read brings is sent on by the next request. */
static void fence(void)
{
	struct op ops[2];
	int i;

	for (i = 0; i < 50; i++) {
		ops[0] = (struct op) {
			.opcode = IBV_WR_RDMA_READ,
			.kind = { i & 1, i >> 1 & 1 },
			.len = 1 + random_below(100000),
		};
		op_make(&ops[0], 0, 1, 1);
		ops[1] = (struct op) {
			.opcode = i & 4 ? IBV_WR_SEND : IBV_WR_RDMA_WRITE,
			.kind = { ops[0].kind[NEAR], i >> 3 & 1 },
			.len = ops[0].len,
			.flags = IBV_SEND_FENCE | IBV_SEND_SIGNALED,
		};
		op_make(&ops[1], 200000, 1, 1);
		ops[1].vec[NEAR] = ops[0].vec[NEAR];
		run_list(ops, 2, post_list);
	}
}

static void test_mode(enum mode mode)
{
	size_t i;

	open_mode(mode);
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		every_size(opcodes[i], ARRAY_SIZE(sizes) - (mode == ONE_QP));
		point("%s of every size, %s", opcode_name(opcodes[i]),
		      mode_name[mode]);
		every_list(opcodes[i]);
		point("%s in many pieces, %s", opcode_name(opcodes[i]),
		      mode_name[mode]);
		if (opcodes[i] == IBV_WR_RDMA_READ || is_atomic(opcodes[i]))
			continue;
		every_inline(opcodes[i]);
		point("%s inline, %s", opcode_name(opcodes[i]),
		      mode_name[mode]);
	}
	random_lists(length_of(60, 3000), post_list);
	point("lists of requests, %s", mode_name[mode]);
	unsignalled(length_of(2048, 51200), 8);
	unsignalled(length_of(2048, 51200), DEPTH);
	unsignalled(1001 * 7, 7);
	point("unsignalled requests, %s", mode_name[mode]);
	fence();
	point("fences, %s", mode_name[mode]);
	close_mode();
}

/* ibv_wr_*() */

static bool make_extended_qp(void)
{
	struct ibv_qp_init_attr init = qp_init(&near, DEPTH);
	struct ibv_qp_init_attr_ex ex = {
		.send_cq = init.send_cq,
		.recv_cq = init.recv_cq,
		.cap = init.cap,
		.qp_type = init.qp_type,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = near.pd,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE |
				  IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM |
				  IBV_QP_EX_WITH_SEND |
				  IBV_QP_EX_WITH_SEND_WITH_IMM |
				  IBV_QP_EX_WITH_RDMA_READ |
				  IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |
				  IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD,
	};

	side_drop_qp(&near);
	near.qp = ibv_create_qp_ex(near.ctx, &ex);
	return near.qp;
}

static void wr_abort(void)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(near.qp);

	ibv_wr_start(qpx);
	qpx->wr_id = 77;
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_send(qpx);
	ibv_wr_set_inline_data(qpx, scratch, 5);
	ibv_wr_abort(qpx);
	expect(is_quiet(near.scq, 20), "an aborted request completed");
	expect(is_quiet(far->rcq, 0), "an aborted request arrived");
}

static void wr_overflow(void)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(near.qp);
	int i;

	ibv_wr_start(qpx);
	for (i = 0; i < 2 * DEPTH; i++) {
		qpx->wr_id = i;
		qpx->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_rdma_write(qpx, 0, 0);
		ibv_wr_set_sge(qpx, 0, 0, 0);
	}
	expect_eq(ibv_wr_complete(qpx), ENOMEM, "of too long a list");
	expect(is_quiet(near.scq, 20), "part of a refused list completed");
}

static void extended_posts(void)
{
	struct address peer, mine;

	open_mode(ONE_PROCESS);
	if (!expect(make_extended_qp(), "no queue pair: %s", strerror(errno)))
		return;
	mine = side_address(&near);
	peer = side_address(far);
	must(!qp_to(far->qp, IBV_QPS_RESET));
	side_connect(far, &mine, &usual_conn);
	side_connect(&near, &peer, &usual_conn);

	random_lists(length_of(60, 3000), post_list_ex);
	random_lists(10, post_list);
	wr_abort();
	wr_overflow();
	random_lists(10, post_list_ex);
	point("ibv_wr_*()");
	close_mode();
}

/* Regions that are reached by other addresses than the process's own */

static void use_iova(struct ibv_mr *region, uint8_t *mem, uint64_t iova)
{
	struct ibv_sge sge = { iova + 5, 1000, region->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge, iova + 5001,
					region->rkey);
	uint64_t old;

	random_fill(mem, 3 * PAGE);
	memcpy(scratch, mem, 3 * PAGE);
	memcpy(scratch + 5001, scratch + 5, 1000);
	post_send(near.qp, &wr);
	expect_wc(near.scq, 0, IBV_WC_SUCCESS);
	expect_same(mem, scratch, 3 * PAGE, "a write by IOVA");

	wr = rdma_wr(IBV_WR_RDMA_READ, &sge, iova + 3 * PAGE - 1000,
		     region->rkey);
	memcpy(scratch + 5, scratch + 3 * PAGE - 1000, 1000);
	post_send(near.qp, &wr);
	expect_wc(near.scq, 0, IBV_WC_SUCCESS);
	expect_same(mem, scratch, 3 * PAGE, "a read by IOVA");

	sge.length = 8;
	wr = atomic_wr(IBV_WR_ATOMIC_FETCH_AND_ADD, &sge, iova + PAGE,
		       region->rkey, 7, 0);
	memcpy(&old, scratch + PAGE, 8);
	memcpy(scratch + 5, &old, 8);
	old += 7;
	memcpy(scratch + PAGE, &old, 8);
	post_send(near.qp, &wr);
	expect_wc(near.scq, 0, IBV_WC_SUCCESS);
	expect_same(mem, scratch, 3 * PAGE, "an atomic by IOVA");
}

static void make_self(void)
{
	struct address mine;

	side_drop_qp(&near);
	side_make_qp(&near, DEPTH);
	mine = side_address(&near);
	side_connect(&near, &mine, &usual_conn);
}

/*
 * The process's own address is none of the region's.  The queue pair is its
 * own responder, whose error may reach it before the answer does.
 */
static void refuse_va(struct ibv_mr *region, uint8_t *mem, uint64_t iova)
{
	struct ibv_wc wc = {};
	struct ibv_sge sge = { iova, 8, region->lkey };
	struct ibv_send_wr wr = rdma_wr(IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)mem, region->rkey);

	post_send(near.qp, &wr);
	expect(wait_wc(near.scq, &wc, SOON_MS), "no completion");
	expect(wc.status == IBV_WC_REM_ACCESS_ERR ||
	       wc.status == IBV_WC_WR_FLUSH_ERR, "a foreign address: %s",
	       ibv_wc_status_str(wc.status));
	expect_eq(wait_event(near.ctx, NULL, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event");
	make_self();
}

static void iova(enum kind kind)
{
	const uint64_t iovas[] = {
		0, PAGE, 1ULL << 40, 1ULL << 47, 1ULL << 63, -3 * PAGE,
	};
	unsigned int offset = 24, i;
	uint8_t *mem = map_memory(4 * PAGE) + offset;

	side_open(&near, 64);
	make_self();
	for (i = 0; i < 2 * ARRAY_SIZE(iovas); i++) {
		uint64_t iova = iovas[i / 2] + (i & 1 ? offset : 0);
		uint8_t *start = mem - (i & 1 ? 0 : offset);
		struct ibv_mr *region;

		/* At an offset it would wrap. */
		if (iova > -3 * PAGE)
			iova -= PAGE;
		region = ibv_reg_mr_iova(near.pd, start, 3 * PAGE, iova,
					 ALL_RIGHTS | kind_access(kind));
		if (!expect(region, "iova %#llx: %s", (unsigned long long)iova,
			    strerror(errno)))
			continue;
		use_iova(region, start, iova);
		refuse_va(region, start, iova);
		dereg(region);
	}
	point("regions with addresses of their own, %s", kind_name[kind]);
	side_close(&near);
	must(!munmap(mem - offset, 4 * PAGE));
}

/* Regions on the same memory */

/* From one place of a region to another one that does not overlap it. */
static void copy_within(struct ibv_mr *src, struct ibv_mr *dst, uint8_t *mem,
			uint32_t from, uint32_t to, uint32_t len, bool read)
{
	uint32_t here = read ? to : from, there = read ? from : to;
	struct ibv_sge sge = sge_of(read ? dst : src, mem + here, len);
	struct ibv_send_wr wr = rdma_wr(read ? IBV_WR_RDMA_READ :
					IBV_WR_RDMA_WRITE, &sge,
					(uintptr_t)mem + there,
					(read ? src : dst)->rkey);

	memmove(scratch + to, scratch + from, len);
	post_send(near.qp, &wr);
	expect_wc(near.scq, 0, IBV_WC_SUCCESS);
}

static void copies_within(struct ibv_mr *src, struct ibv_mr *dst,
			  uint8_t *mem, int rounds)
{
	const uint32_t half = ARENA / 2;
	int i;

	memcpy(mem, pool, ARENA);
	memcpy(scratch, pool, ARENA);
	for (i = 0; i < rounds; i++) {
		uint32_t len = 1 + random_below(i & 3 ? 5000 : half - 1);
		uint32_t from = random_below(half - len);
		uint32_t to = half + random_below(half - len);

		if (i & 1)
			copy_within(src, dst, mem, from, to, len, i & 2);
		else
			copy_within(src, dst, mem, to, from, len, i & 2);
	}
	/* Onto itself: nothing changes. */
	copy_within(src, dst, mem, 12345, 12345, 100000, true);
	expect_same(mem, scratch, ARENA, "memory copied within");
}

static void overlapping(void)
{
	uint8_t *mem = map_memory(ARENA);
	struct ibv_mr *first[KINDS], *second[KINDS];
	enum kind kind, to;

	side_open(&near, 64);
	make_self();
	for (kind = 0; kind < KINDS; kind++) {
		first[kind] = reg(near.pd, mem, ARENA,
				  ALL_RIGHTS | kind_access(kind));
		second[kind] = reg(near.pd, mem, ARENA,
				   ALL_RIGHTS | kind_access(kind));
	}
	for (kind = 0; kind < KINDS; kind++) {
		copies_within(first[kind], first[kind], mem, 60);
		point("one region, source and destination, %s",
		      kind_name[kind]);
		for (to = 0; to < KINDS; to++)
			copies_within(first[kind], second[to], mem, 60);
		point("two regions on the same memory, from %s",
		      kind_name[kind]);
	}
	for (kind = 0; kind < KINDS; kind++) {
		dereg(first[kind]);
		dereg(second[kind]);
	}
	side_close(&near);
	must(!munmap(mem, ARENA));
}

static void test(void)
{
	struct leftovers before = count_leftovers();
	enum kind kind;
	enum mode mode;
	int side;

	random_seed(0);
	pool = map_memory(ARENA + POOL_SLACK);
	random_fill(pool, ARENA + POOL_SLACK);
	scratch = map_memory(ARENA);
	for (side = 0; side < SIDES; side++)
		for (kind = 0; kind < KINDS; kind++)
			model[side][kind] = map_memory(ARENA);

	for (mode = 0; mode < MODES; mode++)
		test_mode(mode);
	extended_posts();
	for (kind = 0; kind < KINDS; kind++)
		iova(kind);
	overlapping();
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(560, 3600), test);
}
