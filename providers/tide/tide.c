// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Finding a tide device, and the context of a process that has opened it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <infiniband/cmd_ioctl.h>

#include "compat.h"
#include "tide.h"

static void tide_free_context(struct ibv_context *context)
{
	struct tide_context *ctx = to_tide_context(context);

	close(ctx->doorbell_fd);
	tide_table_destroy(&ctx->qps);
	tide_table_destroy(&ctx->xrc_srqs);
	verbs_uninit_context(&ctx->vctx);
	free(ctx);
}

static const struct verbs_context_ops tide_context_ops = {
	.advise_mr = tide_advise_mr,
	.alloc_dm = tide_alloc_dm,
	.alloc_mw = tide_alloc_mw,
	.alloc_null_mr = tide_alloc_null_mr,
	.alloc_parent_domain = tide_alloc_parent_domain,
	.alloc_pd = tide_alloc_pd,
	.alloc_td = tide_alloc_td,
	.attach_mcast = ibv_cmd_attach_mcast,
	.bind_mw = tide_bind_mw,
	.close_xrcd = tide_close_xrcd,
	.create_ah = tide_create_ah,
	.create_cq = tide_create_cq,
	.create_cq_ex = tide_create_cq_ex,
	.create_qp = tide_create_qp,
	.create_qp_ex = tide_create_qp_ex,
	.create_srq = tide_create_srq,
	.create_srq_ex = tide_create_srq_ex,
	.dealloc_mw = tide_dealloc_mw,
	.dealloc_pd = tide_dealloc_pd,
	.dealloc_td = tide_dealloc_td,
	.dereg_mr = tide_dereg_mr,
	.destroy_ah = tide_destroy_ah,
	.destroy_cq = tide_destroy_cq,
	.destroy_qp = tide_destroy_qp,
	.destroy_srq = tide_destroy_srq,
	.detach_mcast = ibv_cmd_detach_mcast,
	.free_context = tide_free_context,
	.free_dm = tide_free_dm,
	.get_srq_num = tide_get_srq_num,
	.import_dm = tide_import_dm,
	.import_mr = tide_import_mr,
	.import_pd = tide_import_pd,
	.modify_cq = tide_modify_cq,
	.modify_qp = tide_modify_qp,
	.modify_srq = tide_modify_srq,
	.open_qp = tide_open_qp,
	.open_xrcd = tide_open_xrcd,
	.poll_cq = tide_poll_cq,
	.post_recv = tide_post_recv,
	.post_send = tide_post_send,
	.post_srq_recv = tide_post_srq_recv,
	.query_device_ex = tide_query_device_ex,
	.query_port = tide_query_port,
	.query_qp = tide_query_qp,
	.query_rt_values = tide_query_rt_values,
	.query_srq = tide_query_srq,
	.reg_dm_mr = tide_reg_dm_mr,
	.reg_mr = tide_reg_mr,
	.req_notify_cq = tide_req_notify_cq,
	.rereg_mr = tide_rereg_mr,
	.resize_cq = tide_resize_cq,
	.unimport_dm = tide_unimport_dm,
	.unimport_mr = tide_unimport_mr,
	.unimport_pd = tide_unimport_pd,
};

static void set_up(struct tide_context *ctx,
		   const struct tide_abi_alloc_ucontext_resp *resp)
{
	ctx->doorbell_fd = resp->doorbell_fd;
	ctx->features = resp->features;
	ctx->clock_offset = resp->clock_offset;
	tide_table_init(&ctx->qps);
	tide_table_init(&ctx->xrc_srqs);
	verbs_set_ops(&ctx->vctx, &tide_context_ops);
}

static struct verbs_context *tide_alloc_context(struct ibv_device *device,
						int cmd_fd, void *private_data)
{
	struct tide_alloc_ucontext_resp resp = {};
	struct tide_alloc_ucontext cmd = {};
	struct tide_context *ctx;

	ctx = verbs_init_and_alloc_context(device, cmd_fd, ctx, vctx,
					   RDMA_DRIVER_UNKNOWN);
	if (!ctx)
		return NULL;

	if (tide_cmd_get_context(&ctx->vctx, &cmd.ibv_cmd, sizeof(cmd),
				 &resp.ibv_resp, sizeof(resp))) {
		verbs_uninit_context(&ctx->vctx);
		free(ctx);
		return NULL;
	}

	set_up(ctx, &resp.drv_payload);
	return &ctx->vctx;
}

/* For a process that was given @cmd_fd of a context. */
static struct verbs_context *tide_import_context(struct ibv_device *device,
						 int cmd_fd)
{
	DECLARE_COMMAND_BUFFER_LINK(cmd, UVERBS_OBJECT_DEVICE,
				    UVERBS_METHOD_QUERY_CONTEXT, 1, NULL);
	struct tide_abi_alloc_ucontext_resp resp = {};
	struct tide_context *ctx;
	int err;

	ctx = verbs_init_and_alloc_context(device, cmd_fd, ctx, vctx,
					   RDMA_DRIVER_UNKNOWN);
	if (!ctx)
		return NULL;

	fill_attr_out(cmd, TIDE_ATTR_QUERY_CONTEXT_RESP, &resp, sizeof(resp));
	err = ibv_cmd_query_context(&ctx->vctx.context, cmd);
	if (err) {
		verbs_uninit_context(&ctx->vctx);
		free(ctx);
		errno = err;
		return NULL;
	}

	set_up(ctx, &resp);
	return &ctx->vctx;
}

static struct verbs_device *tide_alloc_device(struct verbs_sysfs_dev *sysfs_dev)
{
	struct tide_device *dev;

	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return NULL;

	return &dev->vdev;
}

static void tide_uninit_device(struct verbs_device *vdev)
{
	free(container_of(vdev, struct tide_device, vdev));
}

/*
 * A driver from outside the kernel tree has no driver id, and a name does not
 * survive `rdma dev set ... name`; the parent platform device stays.
 */
static const struct verbs_match_ent tide_match_table[] = {
	VERBS_MODALIAS_MATCH("platform:tide*", NULL),
	{},
};

/*
 * libibverbs would only say that the versions differ.  Every program that lists
 * devices says this, as with any driver.
 */
static bool tide_match_device(struct verbs_sysfs_dev *sysfs_dev)
{
	bool newer = sysfs_dev->abi_ver > TIDE_ABI_VERSION;

	if (!sysfs_dev->match)
		return false;
	if (sysfs_dev->abi_ver == TIDE_ABI_VERSION)
		return true;

	fprintf(stderr,
		"tide: %s cannot be used: the kernel module speaks version %u of the interface between them, this provider version %u; upgrade the %s\n",
		sysfs_dev->ibdev_name, sysfs_dev->abi_ver, TIDE_ABI_VERSION,
		newer ? "provider (package ibverbs-provider-tide)" :
			"module (package tide-dkms), and load it anew");
	return false;
}

static const struct verbs_device_ops tide_device_ops = {
	.name = "tide",
	.match_min_abi_version = TIDE_ABI_VERSION,
	.match_max_abi_version = TIDE_ABI_VERSION,
	.match_table = tide_match_table,
	.match_device = tide_match_device,
	.alloc_device = tide_alloc_device,
	.uninit_device = tide_uninit_device,
	.alloc_context = tide_alloc_context,
	.import_context = tide_import_context,
};
PROVIDER_DRIVER(tide, tide_device_ops);
