/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * sg.h - working through a scatter/gather list.
 */
#ifndef TIDE_SG_H
#define TIDE_SG_H

#include "copy.h"
#include "mr.h"
#include "qp.h"

static inline void tide_sg_rewind(struct tide_sg *sg)
{
	sg->at = 0;
	sg->offset = 0;
	sg->epoch = tide_mr_epoch();
}

/* Take @num elements, at most TIDE_MAX_SGE, from a queue entry. */
static inline void tide_sg_load(struct tide_sg *sg, const void *elements,
				u32 num)
{
	memcpy(sg->sge, elements, num * sizeof(sg->sge[0]));
	sg->num = num;
	tide_sg_rewind(sg);
}

/* Take a receive from a queue entry; false if it makes no sense. */
static inline bool tide_recv_load(struct tide_recv *recv,
				  const struct tide_recv_wqe *slot,
				  u32 max_sge)
{
	struct tide_recv_wqe wqe;

	memcpy(&wqe, slot, sizeof(wqe));
	/* From here on it is the copy that counts, to the compiler too. */
	barrier();
	recv->wr_id = wqe.wr_id;
	if (wqe.num_sge > max_sge)
		return false;
	tide_sg_load(&recv->sg, slot + 1, wqe.num_sge);
	return true;
}

static inline u64 tide_sg_length(const struct tide_sg *sg)
{
	u64 length = 0;
	u32 i;

	for (i = 0; i < sg->num; i++)
		length += sg->sge[i].length;
	return length;
}

/* Whether the first @length bytes may be accessed with these rights. */
static inline bool tide_sg_allowed(const struct tide_sg *sg, u64 pd_id,
				   u64 length, int rights)
{
	u32 i;

	for (i = 0; i < sg->num && length; i++) {
		struct tide_access access = {
			.key = sg->sge[i].lkey,
			.qpn = 0,
			.rights = rights,
			.addr = sg->sge[i].addr,
			.pd_id = pd_id,
			.epoch = sg->epoch,
		};
		u64 piece = min_t(u64, sg->sge[i].length, length);

		if (piece && !tide_mr_allows(&access, piece))
			return false;
		length -= piece;
	}
	return true;
}

/*
 * The bytes that come next, as one side of a copy; shortens *len to the end
 * of their element.  There must be some.
 */
static inline struct tide_side tide_sg_side(struct tide_sg *sg, u64 pd_id,
					    int rights, u32 *len)
{
	while (sg->offset == sg->sge[sg->at].length) {
		sg->at++;
		sg->offset = 0;
	}
	*len = min(*len, sg->sge[sg->at].length - sg->offset);
	/* All of it is named: to clear it first is what costs. */
	return (struct tide_side) {
		.kaddr = NULL,
		.access = {
			.key = sg->sge[sg->at].lkey,
			.qpn = 0,
			.rights = rights,
			.addr = sg->sge[sg->at].addr + sg->offset,
			.pd_id = pd_id,
			.epoch = sg->epoch,
		},
		.hold = NULL,
		.leaf = NULL,
		.direct = false,
	};
}

/* Step over bytes that tide_sg_side() has shown. */
static inline void tide_sg_advance(struct tide_sg *sg, u32 len)
{
	sg->offset += len;
}

/* How many bytes come next in one piece; none behind the last element. */
static inline u32 tide_sg_left(const struct tide_sg *sg)
{
	return sg->at < sg->num ? sg->sge[sg->at].length - sg->offset : 0;
}

/* Step over @len bytes, as many as there are at least. */
static inline void tide_sg_skip(struct tide_sg *sg, u64 len)
{
	u32 piece;

	while (len) {
		piece = min_t(u64, len, sg->sge[sg->at].length - sg->offset);
		sg->offset += piece;
		len -= piece;
		if (len) {
			sg->at++;
			sg->offset = 0;
		}
	}
}

#endif /* TIDE_SG_H */
