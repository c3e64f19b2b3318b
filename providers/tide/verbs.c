// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What needs nothing but a command to the kernel: queries, address handles,
 * memory regions and windows.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tide.h"

int tide_query_device_ex(struct ibv_context *context,
			 const struct ibv_query_device_ex_input *input,
			 struct ibv_device_attr_ex *attr, size_t attr_size)
{
	struct ib_uverbs_ex_query_device_resp resp;
	size_t resp_size = sizeof(resp);
	uint64_t fw_ver;
	int ret;

	ret = ibv_cmd_query_device_any(context, input, attr, attr_size, &resp,
				       &resp_size);
	if (ret)
		return ret;

	fw_ver = resp.base.fw_ver;
	snprintf(attr->orig_attr.fw_ver, sizeof(attr->orig_attr.fw_ver),
		 "%u.%u.%u", (unsigned int)(fw_ver >> 32),
		 (unsigned int)(fw_ver >> 16) & 0xffff,
		 (unsigned int)fw_ver & 0xffff);
	return 0;
}

int tide_query_port(struct ibv_context *context, uint8_t port,
		    struct ibv_port_attr *attr)
{
	struct ibv_query_port cmd;

	return ibv_cmd_query_port(context, port, attr, &cmd, sizeof(cmd));
}

/* As a struct timespec that is all nanoseconds, as other providers have it. */
int tide_query_rt_values(struct ibv_context *context,
			 struct ibv_values_ex *values)
{
	struct timespec now;

	if (!check_comp_mask(values->comp_mask, IBV_VALUES_MASK_RAW_CLOCK))
		return EINVAL;
	if (!values->comp_mask)
		return 0;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		return errno;
	values->raw_clock.tv_sec = 0;
	values->raw_clock.tv_nsec = now.tv_sec * 1000000000L + now.tv_nsec -
				    to_tide_context(context)->clock_offset;
	return 0;
}

struct ibv_ah *tide_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr)
{
	struct tide_create_ah_resp resp = {};
	struct tide_ah *ah;

	ah = calloc(1, sizeof(*ah));
	if (!ah)
		return NULL;

	if (ibv_cmd_create_ah(pd, &ah->ibah, attr, &resp.ibv_resp,
			      sizeof(resp))) {
		free(ah);
		return NULL;
	}

	ah->number = resp.drv_payload.ah;
	return &ah->ibah;
}

int tide_destroy_ah(struct ibv_ah *ibah)
{
	int ret;

	ret = ibv_cmd_destroy_ah(ibah);
	if (ret)
		return ret;

	free(to_tide_ah(ibah));
	return 0;
}

/* The core wants to see addresses that are as far into a page as memory is. */
static struct verbs_mr *reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			       int access, const struct tide_abi_reg_mr *req)
{
	struct tide_reg_mr_resp resp;
	struct tide_reg_mr cmd = { .drv_payload = *req };
	struct verbs_mr *vmr;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;

	if (ibv_cmd_reg_mr(pd, addr, length, (uintptr_t)addr, access, vmr,
			   &cmd.ibv_cmd, sizeof(cmd), &resp.ibv_resp,
			   sizeof(resp))) {
		free(vmr);
		return NULL;
	}

	return vmr;
}

struct ibv_mr *tide_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			   uint64_t hca_va, int access)
{
	const struct tide_abi_reg_mr req = {
		.iova = hca_va,
		.flags = TIDE_REG_IOVA,
	};
	struct verbs_mr *vmr = reg_mr(pd, addr, length, access, &req);

	return vmr ? &vmr->ibv_mr : NULL;
}

struct ibv_mr *tide_alloc_null_mr(struct ibv_pd *pd)
{
	const struct tide_abi_reg_mr req = { .flags = TIDE_REG_NULL };
	struct verbs_mr *vmr;

	vmr = reg_mr(pd, NULL, SIZE_MAX, IBV_ACCESS_LOCAL_WRITE, &req);
	if (!vmr)
		return NULL;

	vmr->mr_type = IBV_MR_TYPE_NULL_MR;
	vmr->ibv_mr.pd = pd;
	vmr->ibv_mr.addr = NULL;
	vmr->ibv_mr.length = SIZE_MAX;
	vmr->ibv_mr.rkey = 0;
	return &vmr->ibv_mr;
}

struct ibv_mr *tide_import_mr(struct ibv_pd *pd, uint32_t handle)
{
	struct verbs_mr *vmr;
	int err;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;

	err = ibv_cmd_query_mr(pd, vmr, handle);
	if (err) {
		free(vmr);
		errno = err;
		return NULL;
	}

	return &vmr->ibv_mr;
}

void tide_unimport_mr(struct ibv_mr *mr)
{
	free(verbs_get_mr(mr));
}

int tide_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *pd,
		  void *addr, size_t length, int access)
{
	struct ib_uverbs_rereg_mr_resp resp;
	struct ibv_rereg_mr cmd;

	return ibv_cmd_rereg_mr(vmr, flags, addr, length, (uintptr_t)addr,
				access, pd, &cmd, sizeof(cmd), &resp,
				sizeof(resp));
}

int tide_dereg_mr(struct verbs_mr *vmr)
{
	int ret;

	ret = ibv_cmd_dereg_mr(vmr);
	if (ret)
		return ret;

	free(vmr);
	return 0;
}

struct ibv_mw *tide_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct ib_uverbs_alloc_mw_resp resp;
	struct ibv_alloc_mw cmd;
	struct ibv_mw *mw;

	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return NULL;

	if (ibv_cmd_alloc_mw(pd, type, mw, &cmd, sizeof(cmd), &resp,
			     sizeof(resp))) {
		free(mw);
		return NULL;
	}

	return mw;
}

int tide_dealloc_mw(struct ibv_mw *mw)
{
	int ret;

	ret = ibv_cmd_dealloc_mw(mw);
	if (ret)
		return ret;

	free(mw);
	return 0;
}

int tide_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		   uint32_t flags, struct ibv_sge *sg_list, uint32_t num_sge)
{
	return ibv_cmd_advise_mr(pd, advice, flags, sg_list, num_sge);
}
