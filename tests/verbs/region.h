/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * region.h - regions of an owner's memory, and what is read from and written
 * to them by the requester, each byte compared.
 */
#ifndef REGION_H
#define REGION_H

#include "owner.h"

#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

static struct owner owner;

static inline const char *where(void)
{
	return owner.here ? "in one process" : "between processes";
}

/* What the owner sees at @addr. */
static inline void peek(void *to, uint64_t addr, size_t len)
{
	struct iovec local = { to, len };
	struct iovec remote = { (void *)addr, len };

	if (owner.here)
		memcpy(to, (void *)addr, len);
	else
		must(process_vm_readv(owner.child.pid, &local, 1, &remote, 1,
				      0) == (ssize_t)len);
}

/* At most BUF_SIZE bytes. */
static inline void expect_memory(uint64_t addr, const void *wanted, size_t len,
				 const char *what)
{
	static uint8_t *seen;

	if (!seen)
		seen = map_memory(BUF_SIZE);
	peek(seen, addr, len);
	expect_same(seen, wanted, len, what);
}

static inline enum kind any_kind(void)
{
	return random_below(KINDS);
}

/* A region of the owner's */
struct region {
	uint64_t addr;
	size_t size;
	long mr;
	uint32_t rkey;
};

static inline struct region region_reg(uint64_t addr, size_t size,
				       enum kind kind)
{
	struct region region = { .addr = addr, .size = size };

	region.mr = ask(&owner, own_reg, addr, size,
			ALL_RIGHTS | kind_access(kind));
	if (region.mr)
		region.rkey = ask(&owner, own_rkey, region.mr);
	return region;
}

static inline struct region region_map(size_t size, enum kind kind)
{
	long addr = ask(&owner, own_map, 0, size, RW, ANON, -1, 0);
	struct region region;

	must(addr > 0);
	region = region_reg(addr, size, kind);
	must(region.mr);
	return region;
}

static inline void region_drop(struct region *region)
{
	if (region->mr)
		expect_eq(ask(&owner, own_dereg, region->mr), 0, "dereg");
	ask(&owner, own_unmap, region->addr, region->size);
}

/* Read @len bytes at @offset, which should be those of @wanted. */
static inline void expect_read(const struct region *region, size_t offset,
			       size_t len, const void *wanted,
			       const char *what)
{
	enum kind kind = any_kind();

	memset(buf[kind], 0x55, len);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_READ, kind,
		      region->addr + offset, region->rkey, len);
	expect_same(buf[kind], wanted, len, what);
}

static inline void expect_read_pattern(const struct region *region,
				       size_t offset, size_t len,
				       uint64_t seed, const char *what)
{
	static uint8_t *wanted;

	if (!wanted)
		wanted = map_memory(BUF_SIZE);
	pattern_fill(wanted, len, seed);
	expect_read(region, offset, len, wanted, what);
}

static inline void expect_read_zero(const struct region *region, size_t offset,
				    size_t len, const char *what)
{
	static uint8_t *zeroes;

	if (!zeroes)
		zeroes = map_memory(BUF_SIZE);
	expect_read(region, offset, len, zeroes, what);
}

static inline void write_pattern(const struct region *region, size_t offset,
				 size_t len, uint64_t seed)
{
	enum kind kind = any_kind();

	pattern_fill(buf[kind], len, seed);
	expect_access(IBV_WC_SUCCESS, IBV_WR_RDMA_WRITE, kind,
		      region->addr + offset, region->rkey, len);
}

/* An access that the owner's side refuses; connected anew afterwards. */
static inline void expect_denied(enum ibv_wr_opcode opcode,
				 const struct region *region, size_t at,
				 size_t len)
{
	enum kind kind = any_kind();

	pattern_fill(buf[kind], len, 9);
	expect_access(IBV_WC_REM_ACCESS_ERR, opcode, kind, region->addr + at,
		      region->rkey, len);
	expect_eq(ask(&owner, own_event, SOON_MS), IBV_EVENT_QP_ACCESS_ERR,
		  "event at the owner");
	owner_connect(&owner);
}

#endif /* REGION_H */
