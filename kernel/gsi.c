// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * gsi.c - the queue pairs for general services, and who has which address.
 */
#include <linux/rculist.h>

#include "gid.h"
#include "gsi.h"
#include "qp.h"

static LIST_HEAD(gsis);
static DEFINE_SPINLOCK(gsis_lock);

/* Let it be found. */
void tide_gsi_add(struct tide_qp *qp)
{
	spin_lock(&gsis_lock);
	list_add_rcu(&qp->kernel->node, &gsis);
	spin_unlock(&gsis_lock);
}

void tide_gsi_remove(struct tide_qp *qp)
{
	spin_lock(&gsis_lock);
	list_del_rcu(&qp->kernel->node);
	spin_unlock(&gsis_lock);
}

/**
 * tide_gsi_peek - the queue pair for general services at an address
 * @net_cookie: the network namespace
 * @first: the device that comes first, should several have it; or NULL
 * @dgid: the address
 *
 * Context: any; under rcu_read_lock(), which keeps the memory of what is
 * returned. It may be on its way out.
 *
 * Return: the queue pair, or NULL.
 */
struct tide_qp *tide_gsi_peek(u64 net_cookie, const struct tide_dev *first,
			      const union ib_gid *dgid)
{
	struct tide_qp *found = NULL;
	struct tide_kqp *kqp;

	list_for_each_entry_rcu(kqp, &gsis, node) {
		struct tide_qp *qp = kqp->qp;

		if (qp->net_cookie != net_cookie ||
		    !tide_gid_is_of(dgid, qp->dev))
			continue;
		found = qp;
		if (qp->dev == first)
			break;
	}
	return found;
}
