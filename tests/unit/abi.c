// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * The header that module and provider share: the static_asserts in it hold,
 * as C here and as C++ in abi_cxx.cc; and its numbers are those of the
 * kernel's own headers that it says they are.
 */
#include <infiniband/verbs.h>
#include <rdma/ib_user_verbs.h>

#include <sys/ioctl.h>

#include "tap.h"
#include "uapi/tide-abi.h"

static bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

int main(void)
{
	ok(sizeof(struct tide_sge) == sizeof(struct ibv_sge) &&
	   offsetof(struct tide_sge, addr) == offsetof(struct ibv_sge, addr) &&
	   offsetof(struct tide_sge, length) ==
	   offsetof(struct ibv_sge, length) &&
	   offsetof(struct tide_sge, lkey) == offsetof(struct ibv_sge, lkey),
	   "an element is an ibv_sge");
	ok(TIDE_SEND_FENCE == (int)IBV_SEND_FENCE &&
	   TIDE_SEND_SIGNALED == (int)IBV_SEND_SIGNALED &&
	   TIDE_SEND_SOLICITED == (int)IBV_SEND_SOLICITED &&
	   TIDE_SEND_INLINE == (int)IBV_SEND_INLINE,
	   "the flags of send requests are those of libibverbs");
	ok(TIDE_CQE_GRH == (int)IBV_WC_GRH &&
	   TIDE_CQE_WITH_IMM == (int)IBV_WC_WITH_IMM &&
	   TIDE_CQE_WITH_INV == (int)IBV_WC_WITH_INV,
	   "the flags of completions are those of libibverbs");
	ok(IB_UVERBS_WR_RDMA_WRITE == (int)IBV_WR_RDMA_WRITE &&
	   IB_UVERBS_WR_SEND == (int)IBV_WR_SEND &&
	   IB_UVERBS_WR_RDMA_READ == (int)IBV_WR_RDMA_READ &&
	   IB_UVERBS_WR_ATOMIC_CMP_AND_SWP == (int)IBV_WR_ATOMIC_CMP_AND_SWP &&
	   IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD ==
	   (int)IBV_WR_ATOMIC_FETCH_AND_ADD &&
	   IB_UVERBS_WR_LOCAL_INV == (int)IBV_WR_LOCAL_INV &&
	   IB_UVERBS_WR_BIND_MW == (int)IBV_WR_BIND_MW &&
	   IB_UVERBS_WR_SEND_WITH_INV == (int)IBV_WR_SEND_WITH_INV &&
	   IB_UVERBS_WC_BIND_MW == (int)IBV_WC_BIND_MW &&
	   IB_UVERBS_WC_LOCAL_INV == (int)IBV_WC_LOCAL_INV &&
	   IB_UVERBS_WC_RDMA_READ == (int)IBV_WC_RDMA_READ,
	   "the kernel's opcodes are those of libibverbs");
	ok(is_power_of_two(sizeof(struct tide_send_wqe)) &&
	   is_power_of_two(sizeof(struct tide_cqe)) &&
	   is_power_of_two(sizeof(struct tide_sge)),
	   "entries do not straddle cache lines");
	ok(offsetof(struct tide_ring_head, producer) / 64 !=
	   offsetof(struct tide_ring_head, consumer) / 64 &&
	   offsetof(struct tide_ring_head, consumer) / 64 !=
	   offsetof(struct tide_ring_head, wake) / 64 &&
	   offsetof(struct tide_ring_head, wake) / 64 !=
	   offsetof(struct tide_ring_head, arm) / 64,
	   "each index has a cache line of its own");
	ok(TIDE_DOORBELL_SEND != TIDE_DOORBELL_RECV &&
	   TIDE_DOORBELL_RECV != TIDE_DOORBELL_SRQ &&
	   TIDE_DOORBELL_SRQ != TIDE_DOORBELL_SEND &&
	   TIDE_SRQ_SWITCH != TIDE_DOORBELL_SEND &&
	   TIDE_SRQ_SWITCH != TIDE_DOORBELL_RECV &&
	   TIDE_SRQ_SWITCH != TIDE_DOORBELL_SRQ,
	   "the doorbell's commands differ");
	ok(sizeof(struct tide_send_wqe) % _Alignof(struct tide_sge) == 0 &&
	   TIDE_RING_ENTRIES % 64 == 0,
	   "what follows a header is aligned");
	return tap_end();
}
