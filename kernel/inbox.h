/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * inbox.h - datagrams that have come to a queue pair whose memory is not
 * there.
 *
 * They wait in the order in which they came, and what comes after them waits
 * behind them.  The receiver's own pager brings the memory in, however long
 * that takes: senders have long gone on.  What finds no room is lost, as
 * datagrams may be.
 */
#ifndef TIDE_INBOX_H
#define TIDE_INBOX_H

#include <linux/list.h>
#include <linux/workqueue.h>

#include "odp.h"

/*
 * How many may wait: as many as a sender can have sent while the receiver's
 * worker gets to run and brings in a page.  Their memory is charged to the
 * receiver, with whom it is how long they wait.
 */
#define TIDE_INBOX_MAX	1024

struct tide_datagram;
struct tide_qp;

/**
 * struct tide_inbox - a queue pair's
 * @qp: the queue pair
 * @memcg: its process's, to which what waits is charged; NULL of a kernel user
 * @queue: who waits; under tide_qp.lock, as what follows
 * @length: how many
 * @done: bytes of the datagram being received that are in its receive
 * @fault: what keeps it from going on, if there is a region
 * @fault_of: the responder's incarnation when that was found
 * @leaf: the leaf used last
 * @work: goes on with them; owns what follows
 * @works_for: the incarnation that memory is being brought in for
 * @lost: faults in a row after which a page was missing again
 * @pager: waits for a page that somebody has to provide, or NULL
 * @page_error: the memory turned out not to be there
 * @hold: pages pinned for the next copy
 */
struct tide_inbox {
	struct tide_qp *qp;
	struct mem_cgroup *memcg;
	struct list_head queue;
	unsigned int length;
	u32 done;
	struct tide_fault fault;
	u32 fault_of;
	struct tide_leaf_cache leaf;
	struct work_struct work;
	u32 works_for;
	unsigned int lost;
	struct tide_pager *pager;
	bool page_error;
	struct tide_hold hold;
};

void tide_inbox_init(struct tide_inbox *inbox, struct tide_qp *qp);
void tide_inbox_destroy(struct tide_inbox *inbox);
void tide_inbox_put(struct tide_inbox *inbox, const struct tide_datagram *dg);
void tide_inbox_clear(struct tide_inbox *inbox);

#endif /* TIDE_INBOX_H */
