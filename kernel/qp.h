/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * qp.h - queue pairs: their state, and what belongs to which side of them.
 *
 * A queue pair outlives its verbs object for as long as somebody executes
 * something on it: nobody who destroys one has to wait for a page fault (M6).
 *
 * Locks, outermost first:
 *	tide_qp.modify	one transition at a time
 *	run bit		tide_requester.run: the requester's own state
 *	tide_qp.lock	state, responder, completions; bottom halves off.
 *			Never two at once
 *	leaf locks	see odp.h
 *	tide_srq.lock	shared receives, and who waits for one
 *	tide_cq.lock
 */
#ifndef TIDE_QP_H
#define TIDE_QP_H

#include <linux/refcount.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

#include "copy.h"
#include "cq.h"
#include "kverbs.h"
#include "ring.h"
#include "srq.h"

/*
 * A queue is a mapping of its process, which usually may have 65,530: these
 * are so many that one process can have them.
 */
#define TIDE_MAX_QP		16384
#define TIDE_MAX_QP_WR		16384
#define TIDE_MAX_RD_ATOMIC	128
#define TIDE_MAX_MSG		(1U << 31)

struct tide_datagrams;
struct tide_wire;

/**
 * struct tide_sg - a scatter/gather list being worked through
 * @sge: the list, the kernel's copy
 * @num: its elements
 * @at: the element that the next byte is in
 * @offset: of that byte in it
 * @epoch: when the work began
 */
struct tide_sg {
	struct tide_sge sge[TIDE_MAX_SGE];
	u32 num;
	u32 at;
	u32 offset;
	u64 epoch;
};

/**
 * struct tide_recv - a receive that was taken off its queue
 * @wr_id: of the work request
 * @entry: tells the process which entry it was, see struct tide_cqe
 * @sg: the buffers
 */
struct tide_recv {
	u64 wr_id;
	u32 entry;
	struct tide_sg sg;
};

/**
 * struct tide_op - an operation, as its responder sees it
 * @opcode: enum ib_wr_opcode
 * @solicited: the receiver's completion asks for an event
 * @flush: of a flush, what it asks for: TIDE_FLUSH_*
 * @imm_data: immediate data, for opcodes that have it
 * @invalidate_rkey: the window to invalidate, for opcodes that do
 * @length: bytes of payload
 * @srqn: the shared receive queue that an XRC request names
 * @rkey: key of the remote memory
 * @remote_addr: and its address
 * @compare_add: for atomics; or
 * @value: for atomic writes; or
 * @left: bytes that are to be flushed yet
 * @swap: for atomics
 * @src_qpn: who asks
 * @responder: the responder's incarnation that has accepted it
 * @pd_id: the protection domain of the remote memory, from there too
 * @waiter: who waits should there be no receive; NULL for nobody
 * @epoch: when it did
 * @has_grh: the payload begins with a header
 * @sl: service level to tell the receiver
 * @vlan_id: and, if that is the kernel, by which VLAN it came
 */
struct tide_op {
	u8 opcode;
	bool solicited;
	u8 flush;
	__be32 imm_data;
	u32 invalidate_rkey;
	u32 length;
	u32 srqn;
	u32 rkey;
	u64 remote_addr;
	union {
		u64 compare_add;
		u64 value;
		u64 left;
	};
	u64 swap;
	u32 src_qpn;
	u32 responder;
	u64 pd_id;
	struct tide_srq_waiter *waiter;
	u64 epoch;
	bool has_grh;
	u8 sl;
	u16 vlan_id;
};

/**
 * struct tide_request - a work request, as its completion tells of it
 * @wr_id: the process's name for it
 * @length: bytes of payload
 * @opcode: enum ib_wr_opcode
 * @signaled: it asked for a completion
 */
struct tide_request {
	u64 wr_id;
	u32 length;
	u8 opcode;
	bool signaled;
};

/* What keeps an operation from going on until a deadline. */
enum tide_wait { TIDE_WAIT_NONE, TIDE_WAIT_RNR, TIDE_WAIT_ACK };

/**
 * struct tide_requester - the send side; owned by who has the run bit
 * @run: see requester.c
 * @cpu: where something was posted last
 * @stepping: memory may be touched right now on the queue pair's behalf
 * @sq: the send queue
 * @busy: an operation is under way: the fields from @op on are valid
 * @begun: the responder has accepted it
 * @signaled: its work request asked for a completion
 * @fence: and to wait for what was asked of the responder before
 * @wr_id: of its work request
 * @op: what the responder gets to see
 * @bind: what a memory window is to be bound to
 * @sg: the local memory; or
 * @inline_data: the payload, in the send queue
 * @done: bytes moved so far
 * @extra: bytes that the members of a multicast group were given
 * @wait: what it waits for, if anything
 * @deadline: and until when, in jiffies; 0 is forever
 * @waiter: its place in line for a shared receive
 * @rnr_timer: the responder's, as it came with the last RNR NAK
 * @result: what an atomic found
 * @executed: the atomic was executed, its result is not delivered yet
 * @lost: faults in a row, of each side, after which a page was missing again
 * @pager: waits for a page that somebody has to provide, or NULL
 * @page_error: side whose memory turned out not to be there, or TIDE_SIDES
 * @abandoned: that took too long for what need not arrive
 * @stop: what is missing
 * @hold: pages pinned for the next copy
 * @leaf: leaves found by the last one
 * @around: how it goes through memory
 * @timer: fires at @deadline
 * @work: runs the requester
 * @work_here: the same, on @cpu
 */
struct tide_requester {
	atomic_t run;
	int cpu;
	bool stepping;
	struct tide_ring sq;
	bool busy;
	bool begun;
	bool signaled;
	bool fence;
	u64 wr_id;
	struct tide_op op;
	struct tide_bind bind;
	struct tide_sg sg;
	void *inline_data;
	u32 done;
	u32 extra;
	enum tide_wait wait;
	unsigned long deadline;
	struct tide_srq_waiter waiter;
	u8 rnr_timer;
	u64 result;
	bool executed;
	unsigned int lost[TIDE_SIDES];
	struct tide_pager *pager;
	enum tide_side_index page_error;
	bool abandoned;
	struct tide_copy_stop stop;
	struct tide_hold hold[TIDE_SIDES];
	struct tide_leaf_cache leaf[TIDE_SIDES];
	struct tide_around around[TIDE_SIDES];
	struct timer_list timer;
	struct work_struct work;
	struct work_struct work_here;
};

/**
 * struct tide_responder - the receive side; under tide_qp.lock
 * @rq: the receive queue; or
 * @srq: the one it shares; of an XRC target, the one that was named last, or
 *	NULL
 * @receiving: a receive is being filled
 * @recv: and which
 * @established: something has arrived since it was reset
 * @incarnation: how often that was
 */
struct tide_responder {
	struct tide_ring rq;
	struct tide_srq *srq;
	bool receiving;
	struct tide_recv recv;
	bool established;
	u32 incarnation;
};

/* Counted where it happens, without sharing; summed up by stats.c. */
enum tide_counter {
	TIDE_CNT_TX_MSGS,
	TIDE_CNT_TX_BYTES,
	TIDE_CNT_RX_MSGS,
	TIDE_CNT_RX_BYTES,
	TIDE_CNT_TX_DROPS,
	TIDE_CNT_RX_DROPS,
	TIDE_CNT_RNR_WAITS,
	TIDE_CNT_RETRY_EXCEEDED,
	TIDE_CNT_RNR_EXCEEDED,
	TIDE_CNT_REMOTE_ERRORS,
	TIDE_CNT_LOCAL_ERRORS,
	TIDE_CNT_FAULT_WAITS,
	TIDE_CNT_OUT_OF_SEQUENCE,
	TIDE_CNT_DUPLICATES,
	TIDE_CNT_SEQUENCE_NAKS,
	TIDE_CNT_IMPLIED_NAKS,
	TIDE_CNT_ACK_TIMEOUTS,
	TIDE_CNT_ECN_MARKED,
	TIDE_CNT_CNPS_SENT,
	TIDE_CNT_CNPS_HANDLED,
	TIDE_CNT_CNPS_IGNORED,
	TIDE_CNT_NUM
};

/**
 * struct tide_qp - a queue pair
 * @ref: the verbs object, timers and works pending, and users of the moment
 * @rcu: frees it
 * @modify: see above
 * @lock: see above
 * @ibqp: the core's part; NULL once destroyed, when the completion queues and
 *	all else that the core owns must not be touched; under @lock
 * @dev: its device; not to be followed without knowing that @ibqp is set
 * @qpn: its number; others know that for general services by another, gsi.h
 * @type: its transport
 * @state: enum ib_qp_state; written under @lock
 * @context_id: of the process that may ring for it; see context.h; 0 is
 *	nobody's
 * @handle: the process's name for it, for completions
 * @kernel: of a user inside the kernel, or NULL
 * @pd_id: its protection domain; 0 of an XRC target, which has none
 * @xrcd_id: an XRC target's domain
 * @net_cookie: its network namespace
 * @sig_all: every send is signalled
 * @max_send_sge: limits of the send queue's entries
 * @max_recv_sge: and of the receive queue's
 * @max_inline: bytes of inline data in a send queue entry
 * @attr: attributes set so far; written under @lock
 * @sgid: this side's address
 * @dgid: the other side's
 * @drain_event: SQD was asked to say when the send queue is drained
 * @windows: memory windows bound on it; under tide_mrs_lock()
 * @req: the send side
 * @resp: the receive side
 * @dgs: what datagrams need; NULL if it does not send any
 * @wire: what a connection to another host needs; NULL before there was one
 * @counts: enum tide_counter
 * @retired: @counts were added to those of the device; under its stats_lock
 */
struct tide_qp {
	refcount_t ref;
	struct rcu_head rcu;
	struct mutex modify;
	spinlock_t lock;
	struct ib_qp *ibqp;
	struct tide_dev *dev;
	u32 qpn;
	enum ib_qp_type type;
	enum ib_qp_state state;
	u64 context_id;
	u32 handle;
	struct tide_kqp *kernel;
	u64 pd_id;
	u64 xrcd_id;
	u64 net_cookie;
	bool sig_all;
	u32 max_send_sge;
	u32 max_recv_sge;
	u32 max_inline;
	struct ib_qp_attr attr;
	union ib_gid sgid;
	union ib_gid dgid;
	bool drain_event;
	struct list_head windows;
	struct tide_requester req;
	struct tide_responder resp;
	struct tide_datagrams *dgs;
	struct tide_wire *wire;
	u64 counts[TIDE_CNT_NUM];
	bool retired;
};

/* The core's object; it only points to the real one. */
struct tide_ibqp {
	struct ib_qp ibqp;
	struct tide_qp *qp;
};

static inline struct tide_qp *to_tide_qp(struct ib_qp *ibqp)
{
	return container_of(ibqp, struct tide_ibqp, ibqp)->qp;
}

static inline void tide_count(struct tide_qp *qp, enum tide_counter counter,
			      u64 n)
{
	WRITE_ONCE(qp->counts[counter], qp->counts[counter] + n);
}

/* Sends are taken from the queue only in RTS; what was begun ends in SQD. */
static inline bool tide_qp_may_finish_sends(const struct tide_qp *qp)
{
	enum ib_qp_state state = READ_ONCE(qp->state);

	return state == IB_QPS_RTS || state == IB_QPS_SQD;
}

static inline bool tide_qp_may_receive(const struct tide_qp *qp)
{
	return qp->state == IB_QPS_RTR || qp->state == IB_QPS_SQE ||
	       tide_qp_may_finish_sends(qp);
}

/* Whether somebody answers, and is waited for. */
static inline bool tide_qp_is_reliable(const struct tide_qp *qp)
{
	return qp->type != IB_QPT_UC && !qp->dgs;
}

struct tide_qp *tide_qp_peek(u32 qpn);
struct tide_qp *tide_qp_find(u32 qpn);
struct tide_qp *tide_qp_next(unsigned long *qpn);
void tide_qp_get(struct tide_qp *qp);
void tide_qp_put(struct tide_qp *qp);

void tide_qp_complete(struct tide_qp *qp, struct tide_cq *cq,
		      struct tide_cqe *cqe, bool solicited);
void tide_qp_event(struct tide_qp *qp, enum ib_event_type type);
void tide_qp_lost_completion(struct tide_qp *qp);
void tide_qp_error(struct tide_qp *qp);
void tide_qp_kick_peer(struct tide_qp *qp);
void tide_qp_receives_posted(struct tide_qp *qp);
void tide_qps_error_of_device(struct tide_dev *dev);
void tide_qps_forget_routes(struct tide_dev *dev);
void tide_qps_error_of_context(u64 context_id);

static inline struct tide_cq *tide_qp_send_cq(struct tide_qp *qp)
{
	return to_tide_cq(qp->ibqp->send_cq);
}

static inline struct tide_cq *tide_qp_recv_cq(struct tide_qp *qp)
{
	return to_tide_cq(qp->ibqp->recv_cq);
}

int tide_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		   struct ib_udata *udata);
int tide_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_udata *udata);
int tide_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init);
int tide_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);

#endif /* TIDE_QP_H */
