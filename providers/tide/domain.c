// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Protection domains, thread domains, and parent domains, which are both.
 *
 * The kernel knows protection domains only, and a parent domain by the handle
 * of the one in it.  All that a thread domain does is to save locks.
 */
#include <stdlib.h>

#include <infiniband/cmd_ioctl.h>

#include "compat.h"
#include "tide.h"

static void hold(uint32_t *users)
{
	__atomic_fetch_add(users, 1, __ATOMIC_RELAXED);
}

static void drop(uint32_t *users)
{
	__atomic_fetch_sub(users, 1, __ATOMIC_RELEASE);
}

static bool in_use(const uint32_t *users)
{
	return __atomic_load_n(users, __ATOMIC_ACQUIRE);
}

struct ibv_pd *tide_alloc_pd(struct ibv_context *context)
{
	struct tide_alloc_pd_resp resp = {};
	struct tide_alloc_pd cmd = {};
	struct tide_pd *pd;

	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;

	if (ibv_cmd_alloc_pd(context, &pd->pd, &cmd.ibv_cmd, sizeof(cmd),
			     &resp.ibv_resp, sizeof(resp))) {
		free(pd);
		return NULL;
	}

	return &pd->pd;
}

struct ibv_pd *tide_import_pd(struct ibv_context *context, uint32_t handle)
{
	DECLARE_COMMAND_BUFFER(cmd, UVERBS_OBJECT_PD, TIDE_METHOD_PD_QUERY, 2);
	struct tide_abi_alloc_pd_resp resp;
	struct tide_pd *pd;
	int err;

	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;

	fill_attr_in_obj(cmd, TIDE_ATTR_QUERY_PD_HANDLE, handle);
	fill_attr_out(cmd, TIDE_ATTR_QUERY_PD_RESP, &resp, sizeof(resp));
	err = execute_ioctl(context, cmd);
	if (err) {
		free(pd);
		errno = err;
		return NULL;
	}

	pd->pd.context = context;
	pd->pd.handle = handle;
	return &pd->pd;
}

void tide_unimport_pd(struct ibv_pd *ibpd)
{
	free(to_tide_pd(ibpd));
}

/*
 * The custom allocators are for the memory of queues, which here is the
 * kernel's: they are never called.
 */
struct ibv_pd *
tide_alloc_parent_domain(struct ibv_context *context,
			 struct ibv_parent_domain_init_attr *attr)
{
	struct tide_pd *pd;

	if (ibv_check_alloc_parent_domain(attr))
		return NULL;
	if (!check_comp_mask(attr->comp_mask,
			     IBV_PARENT_DOMAIN_INIT_ATTR_ALLOCATORS |
			     IBV_PARENT_DOMAIN_INIT_ATTR_PD_CONTEXT |
			     IBV_PARENT_DOMAIN_INIT_ATTR_ALLOW_CC_UNPROTECTED_ALLOC)) {
		errno = EINVAL;
		return NULL;
	}

	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;

	ibv_initialize_parent_domain(&pd->pd, attr->pd);
	pd->contained = to_tide_pd(attr->pd);
	hold(&pd->contained->users);
	if (attr->td) {
		pd->td = to_tide_td(attr->td);
		hold(&pd->td->users);
	}
	return &pd->pd;
}

static void drop_contents(struct tide_pd *pd)
{
	drop(&pd->contained->users);
	if (pd->td)
		drop(&pd->td->users);
}

int tide_dealloc_pd(struct ibv_pd *ibpd)
{
	struct tide_pd *pd = to_tide_pd(ibpd);
	int ret;

	if (in_use(&pd->users))
		return EBUSY;

	if (pd->contained) {
		drop_contents(pd);
	} else {
		ret = ibv_cmd_dealloc_pd(ibpd);
		if (ret)
			return ret;
	}
	free(pd);
	return 0;
}

struct ibv_td *tide_alloc_td(struct ibv_context *context,
			     struct ibv_td_init_attr *attr)
{
	struct tide_td *td;

	if (attr->comp_mask) {
		errno = EINVAL;
		return NULL;
	}

	td = calloc(1, sizeof(*td));
	if (!td)
		return NULL;

	td->td.context = context;
	return &td->td;
}

int tide_dealloc_td(struct ibv_td *ibtd)
{
	struct tide_td *td = to_tide_td(ibtd);

	if (in_use(&td->users))
		return EBUSY;

	free(td);
	return 0;
}

/*
 * The parent domain that an object is made in, which it keeps from being
 * deallocated until tide_parent_put(); or NULL.
 */
struct tide_pd *tide_parent_get(struct ibv_pd *ibpd)
{
	struct tide_pd *pd = ibpd ? to_tide_pd(ibpd) : NULL;

	if (!pd || !pd->contained)
		return NULL;

	hold(&pd->users);
	return pd;
}

void tide_parent_put(struct tide_pd *parent)
{
	if (parent)
		drop(&parent->users);
}
