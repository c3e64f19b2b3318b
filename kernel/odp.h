/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * odp.h - faults in on-demand memory, and pages pinned instead.
 */
#ifndef TIDE_ODP_H
#define TIDE_ODP_H

#include "region.h"

/**
 * struct tide_fault - memory that an access found missing
 * @region: where, with a reference
 * @va: the first byte missing
 * @len: bytes wanted from there on
 * @around: bytes behind these that are likely to be wanted next
 * @write: whether they are to be written
 */
struct tide_fault {
	struct tide_region *region;
	unsigned long va;
	u32 len;
	u32 around;
	bool write;
};

/**
 * struct tide_around - how an access goes through memory
 * @from: the first page that the last fault did not bring in
 * @next: the first page that nobody was asked to bring in
 * @pages: how many to bring in beyond those wanted
 * @leaves: how many leaves to have brought in behind that, meanwhile
 */
struct tide_around {
	unsigned long from;
	unsigned long next;
	unsigned int pages;
	unsigned int leaves;
};

/**
 * enum tide_bring_in - how to bring in pages that are missing
 * @TIDE_BRING_PRESENT: only those that are there
 * @TIDE_BRING_PROMPT: make those that can be made without waiting for others
 * @TIDE_BRING_ALL: wait for whatever has to be waited for
 */
enum tide_bring_in { TIDE_BRING_PRESENT, TIDE_BRING_PROMPT, TIDE_BRING_ALL };

#define TIDE_HOLD_PAGES		16

/**
 * struct tide_hold - pages pinned for the length of one copy
 * @va: address of the first byte of the first page
 * @mirror: whose memory; only compared
 * @nr: how many pages; 0 when nothing is held
 * @write: whether they may be written
 * @pages: the pages
 * @entries: what a leaf would have for them
 */
struct tide_hold {
	unsigned long va;
	struct tide_mirror *mirror;
	unsigned int nr;
	bool write;
	struct page *pages[TIDE_HOLD_PAGES];
	unsigned long entries[TIDE_HOLD_PAGES];
};

unsigned long tide_odp_look_around(struct tide_around *around,
				   struct tide_fault *fault);
int tide_odp_fault(const struct tide_fault *fault, bool make, bool wait);
int tide_odp_hold(const struct tide_fault *fault, struct tide_hold *hold,
		  bool wait);
void tide_odp_release(struct tide_hold *hold);
bool tide_odp_has_room(const struct tide_mirror *mirror, unsigned long len);
long tide_odp_bring_in(struct tide_region *region, unsigned long va,
		       unsigned long len, enum tide_bring_in how, bool write);

#endif /* TIDE_ODP_H */
