/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ah.h - address handles: where datagrams go, and by which number the work
 * requests of a process name that.
 */
#ifndef TIDE_AH_H
#define TIDE_AH_H

#include <rdma/ib_verbs.h>

#define TIDE_MAX_AH	65536

/**
 * struct tide_av - an address vector: what sends need of an address handle
 * @pd_id: the protection domain
 * @sgid: where from
 * @dgid: where to
 * @ifindex: of the netdev that has @sgid
 * @flow_label: for the header of IPv6
 * @traffic_class: for that of IP
 * @hop_limit: for that too
 * @rcu: frees it
 */
struct tide_av {
	u64 pd_id;
	union ib_gid sgid;
	union ib_gid dgid;
	int ifindex;
	u32 flow_label;
	u8 traffic_class;
	u8 hop_limit;
	struct rcu_head rcu;
};

/**
 * struct tide_ah - an address handle
 * @ibah: the core's part
 * @number: what work requests name it by
 * @av: what they get
 * @kernel: a user inside the kernel has it
 * @attr: the address; without its reference on the source GID, which the core
 *	holds
 */
struct tide_ah {
	struct ib_ah ibah;
	u32 number;
	bool kernel;
	struct tide_av *av;
	struct rdma_ah_attr attr;
};

static inline struct tide_ah *to_tide_ah(struct ib_ah *ibah)
{
	return container_of(ibah, struct tide_ah, ibah);
}

bool tide_av_find(u32 number, u64 pd_id, struct tide_av *av);

int tide_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *init,
		   struct ib_udata *udata);
int tide_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr);
int tide_destroy_ah(struct ib_ah *ibah, u32 flags);

#endif /* TIDE_AH_H */
