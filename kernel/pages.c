// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * pages.c - memory for the payload of packets, kept for those that follow.
 *
 * Pages are cleared when they are allocated, as a rule, which costs as much as
 * to put payload in.  So each CPU has a few for itself.  Who reads the payload
 * has references to them, and lets go of these wherever that may be; a page
 * that nobody else has any more is used again.
 */
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>

#include "pages.h"

/* Of each size.  Those of the largest hold what a queue pair has on its way. */
#define SLOTS		16
#define LARGEST_ORDER	PAGE_ALLOC_COSTLY_ORDER

/**
 * struct ring - pages of one size that a CPU has
 * @lock: seldom wanted by two
 * @slots: with a reference to each, or NULL
 * @next: where to look next: what was used longest ago
 */
struct ring {
	spinlock_t lock;
	struct page *slots[SLOTS];
	u32 next;
};

struct rings {
	struct ring of[LARGEST_ORDER + 1];
};

static DEFINE_PER_CPU(struct rings, rings);

static struct page *allocate(u32 order)
{
	return alloc_pages(GFP_NOWAIT | __GFP_NOMEMALLOC | __GFP_NOWARN |
			   __GFP_COMP, order);
}

/* Have another page in a slot, whose own is still in use; NULL if none. */
static struct page *renew(struct page **slot, u32 order)
{
	struct page *page = allocate(order);

	if (!page)
		return NULL;
	if (*slot)
		put_page(*slot);
	*slot = page;
	return page;
}

/* A page, with a reference for the caller. */
static struct page *take(u32 order)
{
	struct ring *ring = &raw_cpu_ptr(&rings)->of[order];
	struct page **slot, *page;

	spin_lock_bh(&ring->lock);
	slot = &ring->slots[ring->next++ % SLOTS];
	page = *slot;
	if (!page || page_ref_count(page) != 1)
		page = renew(slot, order);
	if (page)
		get_page(page);
	spin_unlock_bh(&ring->lock);
	return page;
}

bool tide_pages_add(struct sk_buff *skb, u32 len)
{
	u32 order, size, part;
	struct page *page;

	for (; len; len -= part) {
		order = min_t(u32, get_order(len), LARGEST_ORDER);
		size = PAGE_SIZE << order;
		part = min(len, size);
		page = take(order);
		if (!page)
			return false;
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, 0, part,
				size);
	}
	return true;
}

void tide_pages_init(void)
{
	int cpu, i;

	for_each_possible_cpu(cpu)
		for (i = 0; i <= LARGEST_ORDER; i++)
			spin_lock_init(&per_cpu_ptr(&rings, cpu)->of[i].lock);
}

static void drop(struct ring *ring)
{
	int i;

	spin_lock_bh(&ring->lock);
	for (i = 0; i < SLOTS; i++) {
		if (ring->slots[i])
			put_page(ring->slots[i]);
		ring->slots[i] = NULL;
	}
	spin_unlock_bh(&ring->lock);
}

void tide_pages_drop(void)
{
	int cpu, i;

	for_each_possible_cpu(cpu)
		for (i = 0; i <= LARGEST_ORDER; i++)
			drop(&per_cpu_ptr(&rings, cpu)->of[i]);
}
