/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What the tide kernel module and its rdma-core provider share: the driver
 * parts of the uverbs commands, the rings in mapped memory, and the doorbell.
 *
 * This file is the only description of these layouts.  Both sides include
 * it.  A change to any of them raises TIDE_ABI_VERSION.
 *
 * Every ring lives in its own mapping: a struct tide_ring_head, then
 * fixed-size entries from TIDE_RING_ENTRIES on.  Indices run freely over 32
 * bits; entry i is in slot i & (count - 1).  The process may write anything
 * anywhere in a ring at any time; the kernel takes such a ring for garbage
 * and only the process's own objects notice.
 *
 * Opcodes, statuses and flags have the numbers of ib_user_verbs.h, which are
 * also those of infiniband/verbs.h.
 */
#ifndef TIDE_ABI_H
#define TIDE_ABI_H

#include <linux/types.h>
#include <rdma/ib_user_ioctl_cmds.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <assert.h>
#include <stddef.h>
#endif

#define TIDE_ABI_VERSION	4

#define TIDE_MAX_SGE		32
#define TIDE_MAX_INLINE		1024

/*
 * The doorbell: an ioctl on the descriptor that alloc_ucontext hands out.
 * The argument is the queue pair's number, or the shared receive queue's.
 *
 * TIDE_DOORBELL_SEND	the send queue's producer index has moved.
 * TIDE_DOORBELL_RECV	the receive queue's producer index has moved while
 *			its head's wake word was not zero.
 * TIDE_DOORBELL_SRQ	the same of a shared receive queue.
 * TIDE_SRQ_SWITCH	from here on the ring that modify_srq has offered is
 *			the shared receive queue's; see struct
 *			tide_abi_modify_srq.
 *
 * Returns 0, or -1 with errno: EIO, the device is gone; EINVAL, no such
 * queue in this context, or no such command, or no ring to switch to; EAGAIN,
 * the line of receives has changed: move it once more.
 */
#define TIDE_DOORBELL_SEND	_IO(0xb5, 1)
#define TIDE_DOORBELL_RECV	_IO(0xb5, 2)
#define TIDE_DOORBELL_SRQ	_IO(0xb5, 3)
#define TIDE_SRQ_SWITCH		_IO(0xb5, 4)

/* Where to map a ring and what is in it; part of several responses. */
struct tide_abi_ring {
	__aligned_u64 mmap_offset;	/* for mmap() on the command fd */
	__u32 mmap_size;		/* bytes; 0: there is no such ring */
	__u32 count;			/* entries, a power of two */
	__u32 stride;			/* bytes from one entry to the next */
	__u32 reserved;
};

/* What the kernel's core lets the module do. */
enum tide_features {
	TIDE_FEATURE_FLUSH = 1 << 0,
};

/*
 * Times are nanoseconds of the kernel's CLOCK_MONOTONIC.  That of a process in
 * a time namespace is clock_offset ahead of it.
 */
struct tide_abi_alloc_ucontext_resp {
	__s32 doorbell_fd;
	__u32 features;			/* enum tide_features */
	__aligned_s64 clock_offset;
};

struct tide_abi_alloc_pd_resp {
	__u32 pdn;
	__u32 reserved;
};

struct tide_abi_create_ah_resp {
	__u32 ah;			/* for struct tide_send_wqe */
	__u32 reserved;
};

struct tide_abi_create_cq_resp {
	__u32 cqn;
	__u32 reserved;
	struct tide_abi_ring ring;
};

/*
 * A completion queue is resized in two steps.  An offer makes a ring, if it
 * takes another one.  After the switch that is the queue's: it has what was
 * asked for of events, and the indices; the process, which lets nobody poll or
 * ask for events meanwhile, copies the entries from consumer to producer, each
 * to its slot in the new ring.
 */
enum tide_resize_cq_step {
	TIDE_RESIZE_CQ_OFFER = 0,
	TIDE_RESIZE_CQ_SWITCH = 1,
};

struct tide_abi_resize_cq {
	__u32 step;			/* enum tide_resize_cq_step */
	__u32 reserved;
};

struct tide_abi_resize_cq_resp {
	struct tide_abi_ring ring;	/* the one offered */
};

struct tide_abi_create_qp {
	__u32 handle;			/* comes back in every completion */
	__u32 reserved;
};

struct tide_abi_create_qp_resp {
	__u32 qpn;
	__u32 reserved;
	struct tide_abi_ring sq;
	struct tide_abi_ring rq;
};

struct tide_abi_create_srq {
	__u32 handle;			/* of an XRC queue: as create_qp's */
	__u32 reserved;
};

struct tide_abi_create_srq_resp {
	__u32 srqn;
	__u32 reserved;
	struct tide_abi_ring ring;
};

/*
 * With IB_SRQ_MAX_WR the kernel writes a struct tide_abi_ring to @ring.  count
 * is how many receives may be outstanding from then on.  If there is a ring in
 * it, that is larger than the one in use, and comes into use later: the process
 * copies to it all slots as they are, and all places from consumer on that
 * are posted or free; appends the new slots as free ones; sets producer; and
 * switches, while nobody posts or polls.
 */
struct tide_abi_modify_srq {
	__aligned_u64 ring;
};

/* May be left out, and is then as if it were zero. */
struct tide_abi_reg_mr {
	__aligned_u64 iova;
	__u32 flags;			/* enum tide_reg_flags */
	__u32 reserved;
};

/*
 * TIDE_REG_IOVA	iova is where addresses begin.  In the command, where it
 *			should be, the core has it as far into a page as the
 *			memory.
 * TIDE_REG_NULL	there is no memory: what is written is discarded, and
 *			what is read is zero.
 */
enum tide_reg_flags {
	TIDE_REG_IOVA = 1 << 0,
	TIDE_REG_NULL = 1 << 1,
};

/* An attribute of UVERBS_METHOD_DM_ALLOC: where to map the memory. */
enum tide_attr {
	TIDE_ATTR_ALLOC_DM_RESP = 1U << UVERBS_ID_NS_SHIFT,
};

struct tide_abi_alloc_dm_resp {
	__aligned_u64 mmap_offset;	/* for mmap() on the command fd */
	__aligned_u64 mmap_size;	/* bytes */
};

/*
 * What a process needs that has another one's command fd.
 *
 * UVERBS_METHOD_QUERY_CONTEXT has an attribute with a doorbell of its own for
 * the process; closed, it takes the queue pairs with it that the process has
 * made.  Protection domains and device memory have a method of ours that tells
 * whether there is one with a handle, and what was told to whom made it.
 */
enum tide_query_context_attr {
	TIDE_ATTR_QUERY_CONTEXT_RESP = 1U << UVERBS_ID_NS_SHIFT,
};

enum tide_pd_method {
	TIDE_METHOD_PD_QUERY = 1U << UVERBS_ID_NS_SHIFT,
};

enum tide_query_pd_attr {
	TIDE_ATTR_QUERY_PD_HANDLE = 1U << UVERBS_ID_NS_SHIFT,
	TIDE_ATTR_QUERY_PD_RESP,
};

enum tide_dm_method {
	TIDE_METHOD_DM_QUERY = 1U << UVERBS_ID_NS_SHIFT,
};

enum tide_query_dm_attr {
	TIDE_ATTR_QUERY_DM_HANDLE = 1U << UVERBS_ID_NS_SHIFT,
	TIDE_ATTR_QUERY_DM_RESP,
};

struct tide_abi_query_dm_resp {
	struct tide_abi_alloc_dm_resp map;
	__aligned_u64 length;
};

/*
 * The head of a ring.  Each 64-byte line has one writer, but for arm, which
 * the process sets and the kernel takes.
 */
struct tide_ring_head {
	__u32 producer;		/* entries ever put in */
	/*
	 * Completion queues that ignore overruns: entries ever begun.  What
	 * has been copied from the ring is whole if claimed, read afterwards,
	 * is not more than count ahead of it.
	 */
	__u32 claimed;
	/* Completion queues with timestamps: what the wall clock is ahead. */
	__aligned_s64 wall_offset;
	__u32 pad0[12];
	__u32 consumer;		/* entries ever taken out */
	__u32 pad1[15];
	/*
	 * Receive queues: the kernel sets it when it wants a
	 * TIDE_DOORBELL_RECV, or _SRQ, for every further entry.  A poster
	 * publishes producer, issues a full barrier, and then reads this.
	 */
	__u32 wake;
	__u32 pad2[15];
	/*
	 * Completion queues: enum tide_cq_arm.  The process raises it, the
	 * kernel exchanges it for TIDE_CQ_IDLE when it raises the event.
	 */
	__u32 arm;
	__u32 pad3[15];
};

#define TIDE_RING_ENTRIES	256	/* offset of the first entry */

enum tide_cq_arm {
	TIDE_CQ_IDLE = 0,
	TIDE_CQ_ARM_SOLICITED = 1,
	TIDE_CQ_ARM_NEXT = 2,
};

/* The same as struct ibv_sge. */
struct tide_sge {
	__aligned_u64 addr;
	__u32 length;
	__u32 lkey;
};

/*
 * What a flush asks for, as its header on the wire has it: where the bytes are
 * to be, enum ibv_placement_type; and which bytes, enum ibv_selectivity_level.
 */
#define TIDE_FLUSH_GLOBAL	(1 << 0)
#define TIDE_FLUSH_PERSISTENT	(1 << 1)
#define TIDE_FLUSH_TYPES	0xf
#define TIDE_FLUSH_LEVEL_SHIFT	4
#define TIDE_FLUSH_REGION	(1 << TIDE_FLUSH_LEVEL_SHIFT)

/* Flags of a send WQE; the numbers are those of enum ibv_send_flags. */
enum tide_send_flags {
	TIDE_SEND_FENCE = 1 << 0,
	TIDE_SEND_SIGNALED = 1 << 1,
	TIDE_SEND_SOLICITED = 1 << 2,
	TIDE_SEND_INLINE = 1 << 3,
};

/*
 * What a memory window is to be bound to.  The new key may differ from the old
 * one in the low eight bits only.
 */
struct tide_bind {
	__aligned_u64 addr;
	__aligned_u64 length;		/* 0: to nothing */
	__u32 mr_lkey;
	__u32 mw_rkey;			/* the key until now */
	__u32 rkey;			/* the key from now on */
	__u32 access;			/* enum ibv_access_flags */
};

/*
 * An entry of a work queue is the process's again when the completion for it
 * has been polled, or, if there is none, when consumer has passed it.  The
 * kernel sets TIDE_SEND_SIGNALED in send entries that complete unasked, with
 * an error.
 *
 * Send queue entry: this header, then num_sge scatter/gather elements, or
 * inline_length bytes of data when TIDE_SEND_INLINE is set (num_sge is then
 * ignored).
 */
struct tide_send_wqe {
	__aligned_u64 wr_id;
	__u8 opcode;			/* enum ib_uverbs_wr_opcode */
	__u8 flags;			/* enum tide_send_flags */
	__u16 num_sge;
	union {
		__be32 imm_data;
		__u32 invalidate_rkey;
	};
	union {
		struct {
			__aligned_u64 remote_addr;
			__u32 rkey;
			__u32 flush;		/* TIDE_FLUSH_* */
			union {
				__aligned_u64 compare_add;
				__aligned_u64 value;	/* atomic write */
				__aligned_u64 length;	/* flush */
			};
			__aligned_u64 swap;
		} rdma;			/* atomics and flushes too */
		struct {
			__u32 ah;
			__u32 remote_qpn;
			__u32 remote_qkey;
			__u32 reserved;
		} ud;
		struct tide_bind bind;
		__u8 transport[32];
	};
	__u32 inline_length;
	__u32 remote_srqn;		/* XRC: who is to receive */
	__u32 reserved[2];
};

/*
 * Receive queue entry: this header, then num_sge elements.
 *
 * Shared receive queues complete in any order.  There entry i is both slot i,
 * with a work request in wr_id, num_sge and the elements; and the places i,
 * i + count, and so on, of a line: @slot names the slot that has its turn
 * there.  From consumer to producer these are posted; then come the free
 * ones, the kernel filled in all of them at first.  A slot is free when its
 * completion, which names it, has been polled: the process appends it.
 */
struct tide_recv_wqe {
	__aligned_u64 wr_id;
	__u32 num_sge;
	__u32 slot;
};

/* Flags of a completion; the numbers are those of enum ibv_wc_flags. */
enum tide_cqe_flags {
	TIDE_CQE_GRH = 1 << 0,
	TIDE_CQE_WITH_IMM = 1 << 1,
	TIDE_CQE_WITH_INV = 1 << 3,
};

struct tide_cqe {
	__aligned_u64 wr_id;
	__u32 qpn;			/* the local queue pair */
	__u8 status;			/* enum ibv_wc_status */
	__u8 opcode;			/* enum ib_uverbs_wc_opcode */
	__u16 flags;			/* enum tide_cqe_flags */
	__u32 byte_len;
	union {
		__be32 imm_data;
		__u32 invalidated_rkey;
	};
	__u32 vendor_err;
	__u32 src_qp;
	__u16 pkey_index;
	__u16 slid;
	__u8 sl;			/* of a datagram: of which header */
	__u8 dlid_path_bits;
	__u16 vlan_id;			/* for the kernel's own queue pairs; else 0 */
	union {
		__u32 consumer;		/* of the work queue, after the entry */
		__u32 slot;		/* of a shared receive queue */
	};
	/*
	 * As in struct tide_abi_create_qp; or, if srqn is not 0, as in struct
	 * tide_abi_create_srq.
	 */
	__u32 handle;
	__aligned_u64 timestamp;	/* if the queue was created to have it */
	__u32 srqn;			/* of an XRC queue, whose slot it is */
	__u32 reserved1;
};

#define TIDE_ABI_LAYOUT(type, member, offset)				\
	static_assert(offsetof(struct type, member) == (offset),	\
		      #type "." #member)
#define TIDE_ABI_SIZE(type, size)					\
	static_assert(sizeof(struct type) == (size), #type)

TIDE_ABI_SIZE(tide_abi_ring, 24);
TIDE_ABI_LAYOUT(tide_abi_ring, mmap_size, 8);
TIDE_ABI_LAYOUT(tide_abi_ring, count, 12);
TIDE_ABI_LAYOUT(tide_abi_ring, stride, 16);
TIDE_ABI_SIZE(tide_abi_alloc_ucontext_resp, 16);
TIDE_ABI_LAYOUT(tide_abi_alloc_ucontext_resp, clock_offset, 8);
TIDE_ABI_SIZE(tide_abi_alloc_pd_resp, 8);
TIDE_ABI_SIZE(tide_abi_create_ah_resp, 8);
TIDE_ABI_SIZE(tide_abi_create_cq_resp, 32);
TIDE_ABI_LAYOUT(tide_abi_create_cq_resp, ring, 8);
TIDE_ABI_SIZE(tide_abi_resize_cq, 8);
TIDE_ABI_SIZE(tide_abi_resize_cq_resp, 24);
TIDE_ABI_SIZE(tide_abi_create_qp, 8);
TIDE_ABI_SIZE(tide_abi_create_qp_resp, 56);
TIDE_ABI_LAYOUT(tide_abi_create_qp_resp, sq, 8);
TIDE_ABI_LAYOUT(tide_abi_create_qp_resp, rq, 32);
TIDE_ABI_SIZE(tide_abi_create_srq, 8);
TIDE_ABI_SIZE(tide_abi_create_srq_resp, 32);
TIDE_ABI_LAYOUT(tide_abi_create_srq_resp, ring, 8);
TIDE_ABI_SIZE(tide_abi_modify_srq, 8);
TIDE_ABI_SIZE(tide_abi_reg_mr, 16);
TIDE_ABI_LAYOUT(tide_abi_reg_mr, flags, 8);
TIDE_ABI_SIZE(tide_abi_query_dm_resp, 24);
TIDE_ABI_LAYOUT(tide_abi_query_dm_resp, length, 16);
TIDE_ABI_SIZE(tide_abi_alloc_dm_resp, 16);
TIDE_ABI_LAYOUT(tide_abi_alloc_dm_resp, mmap_size, 8);
TIDE_ABI_SIZE(tide_ring_head, TIDE_RING_ENTRIES);
TIDE_ABI_LAYOUT(tide_ring_head, claimed, 4);
TIDE_ABI_LAYOUT(tide_ring_head, wall_offset, 8);
TIDE_ABI_LAYOUT(tide_ring_head, consumer, 64);
TIDE_ABI_LAYOUT(tide_ring_head, wake, 128);
TIDE_ABI_LAYOUT(tide_ring_head, arm, 192);
TIDE_ABI_SIZE(tide_sge, 16);
TIDE_ABI_SIZE(tide_bind, 32);
TIDE_ABI_LAYOUT(tide_bind, length, 8);
TIDE_ABI_LAYOUT(tide_bind, mr_lkey, 16);
TIDE_ABI_LAYOUT(tide_bind, mw_rkey, 20);
TIDE_ABI_LAYOUT(tide_bind, rkey, 24);
TIDE_ABI_LAYOUT(tide_bind, access, 28);
TIDE_ABI_SIZE(tide_send_wqe, 64);
TIDE_ABI_LAYOUT(tide_send_wqe, opcode, 8);
TIDE_ABI_LAYOUT(tide_send_wqe, imm_data, 12);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.remote_addr, 16);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.rkey, 24);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.flush, 28);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.compare_add, 32);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.value, 32);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.length, 32);
TIDE_ABI_LAYOUT(tide_send_wqe, rdma.swap, 40);
TIDE_ABI_LAYOUT(tide_send_wqe, ud.ah, 16);
TIDE_ABI_LAYOUT(tide_send_wqe, ud.remote_qpn, 20);
TIDE_ABI_LAYOUT(tide_send_wqe, ud.remote_qkey, 24);
TIDE_ABI_LAYOUT(tide_send_wqe, bind, 16);
TIDE_ABI_LAYOUT(tide_send_wqe, inline_length, 48);
TIDE_ABI_LAYOUT(tide_send_wqe, remote_srqn, 52);
TIDE_ABI_SIZE(tide_recv_wqe, 16);
TIDE_ABI_LAYOUT(tide_recv_wqe, num_sge, 8);
TIDE_ABI_LAYOUT(tide_recv_wqe, slot, 12);
TIDE_ABI_SIZE(tide_cqe, 64);
TIDE_ABI_LAYOUT(tide_cqe, qpn, 8);
TIDE_ABI_LAYOUT(tide_cqe, status, 12);
TIDE_ABI_LAYOUT(tide_cqe, flags, 14);
TIDE_ABI_LAYOUT(tide_cqe, byte_len, 16);
TIDE_ABI_LAYOUT(tide_cqe, imm_data, 20);
TIDE_ABI_LAYOUT(tide_cqe, src_qp, 28);
TIDE_ABI_LAYOUT(tide_cqe, pkey_index, 32);
TIDE_ABI_LAYOUT(tide_cqe, consumer, 40);
TIDE_ABI_LAYOUT(tide_cqe, slot, 40);
TIDE_ABI_LAYOUT(tide_cqe, handle, 44);
TIDE_ABI_LAYOUT(tide_cqe, timestamp, 48);
TIDE_ABI_LAYOUT(tide_cqe, srqn, 56);

#endif /* TIDE_ABI_H */
