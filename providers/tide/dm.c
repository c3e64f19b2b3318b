// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Device memory: it is mapped, so copying is nothing but that.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <infiniband/cmd_ioctl.h>

#include "tide.h"

/* What ibv_memcpy_to_dm() and ibv_memcpy_from_dm() may ask for. */
static int check_copy(const struct tide_dm *dm, uint64_t offset, size_t length)
{
	if (offset > dm->length || length > dm->length - offset)
		return EFAULT;
	return (offset | length) & 3 ? EINVAL : 0;
}

static int copy_to(struct ibv_dm *ibdm, uint64_t offset, const void *from,
		   size_t length)
{
	struct tide_dm *dm = to_tide_dm(ibdm);
	int err = check_copy(dm, offset, length);

	if (!err)
		memcpy(dm->memory + offset, from, length);
	return err;
}

static int copy_from(void *to, struct ibv_dm *ibdm, uint64_t offset,
		     size_t length)
{
	struct tide_dm *dm = to_tide_dm(ibdm);
	int err = check_copy(dm, offset, length);

	if (!err)
		memcpy(to, dm->memory + offset, length);
	return err;
}

static int map(struct tide_dm *dm, struct ibv_context *context,
	       const struct tide_abi_alloc_dm_resp *resp, size_t length)
{
	dm->memory = mmap(NULL, resp->mmap_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, context->cmd_fd, resp->mmap_offset);
	if (dm->memory == MAP_FAILED)
		return errno;

	dm->map_size = resp->mmap_size;
	dm->length = length;
	dm->vdm.dm.memcpy_to_dm = copy_to;
	dm->vdm.dm.memcpy_from_dm = copy_from;
	return 0;
}

struct ibv_dm *tide_alloc_dm(struct ibv_context *context,
			     struct ibv_alloc_dm_attr *attr)
{
	DECLARE_COMMAND_BUFFER(cmd, UVERBS_OBJECT_DM, UVERBS_METHOD_DM_ALLOC,
			       1);
	struct tide_abi_alloc_dm_resp resp = {};
	struct tide_dm *dm;
	int err = EINVAL;

	if (!check_comp_mask(attr->comp_mask, 0))
		goto err;

	err = ENOMEM;
	dm = calloc(1, sizeof(*dm));
	if (!dm)
		goto err;

	fill_attr_out(cmd, TIDE_ATTR_ALLOC_DM_RESP, &resp, sizeof(resp));
	err = ibv_cmd_alloc_dm(context, attr, &dm->vdm, cmd);
	if (err)
		goto err_free;

	err = map(dm, context, &resp, attr->length);
	if (err)
		goto err_free_dm;

	return &dm->vdm.dm;

err_free_dm:
	ibv_cmd_free_dm(&dm->vdm);
err_free:
	free(dm);
err:
	errno = err;
	return NULL;
}

void tide_unimport_dm(struct ibv_dm *ibdm)
{
	struct tide_dm *dm = to_tide_dm(ibdm);

	munmap(dm->memory, dm->map_size);
	free(dm);
}

int tide_free_dm(struct ibv_dm *ibdm)
{
	int ret;

	ret = ibv_cmd_free_dm(&to_tide_dm(ibdm)->vdm);
	if (ret)
		return ret;

	tide_unimport_dm(ibdm);
	return 0;
}

struct ibv_dm *tide_import_dm(struct ibv_context *context, uint32_t handle)
{
	DECLARE_COMMAND_BUFFER(cmd, UVERBS_OBJECT_DM, TIDE_METHOD_DM_QUERY, 2);
	struct tide_abi_query_dm_resp resp = {};
	struct tide_dm *dm;
	int err = ENOMEM;

	dm = calloc(1, sizeof(*dm));
	if (!dm)
		goto err;

	fill_attr_in_obj(cmd, TIDE_ATTR_QUERY_DM_HANDLE, handle);
	fill_attr_out(cmd, TIDE_ATTR_QUERY_DM_RESP, &resp, sizeof(resp));
	err = execute_ioctl(context, cmd);
	if (err)
		goto err_free;

	err = map(dm, context, &resp.map, resp.length);
	if (err)
		goto err_free;

	dm->vdm.handle = handle;
	dm->vdm.dm.handle = handle;
	dm->vdm.dm.context = context;
	return &dm->vdm.dm;

err_free:
	free(dm);
err:
	errno = err;
	return NULL;
}

struct ibv_mr *tide_reg_dm_mr(struct ibv_pd *pd, struct ibv_dm *ibdm,
			      uint64_t offset, size_t length,
			      unsigned int access)
{
	struct verbs_mr *vmr;
	int err;

	vmr = calloc(1, sizeof(*vmr));
	if (!vmr)
		return NULL;

	err = ibv_cmd_reg_dm_mr(pd, &to_tide_dm(ibdm)->vdm, offset, length,
				access, vmr, NULL);
	if (err) {
		free(vmr);
		errno = err;
		return NULL;
	}

	return &vmr->ibv_mr;
}
