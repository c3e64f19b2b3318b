// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * device.c - the device, its port, and protection domains.
 */
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/utsname.h>
#include <net/addrconf.h>
#include <net/rtnetlink.h>
#include <rdma/ib_addr.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_mad.h>
#include <rdma/uverbs_ioctl.h>

#include "ah.h"
#include "compat.h"
#include "context.h"
#include "cq.h"
#include "device.h"
#include "dm.h"
#include "gid.h"
#include "import.h"
#include "kverbs.h"
#include "mapped.h"
#include "mcast.h"
#include "mr.h"
#include "mw.h"
#include "parent.h"
#include "prefetch.h"
#include "qp.h"
#include "res.h"
#include "stats.h"
#include "xrc.h"

#define MAX_PD		65536
#define GID_TABLE_LEN	1024

/* Not a vendor's: an OUI with the locally administered bit. */
#define VENDOR_ID	0x021de0

static bool wire = true;
module_param(wire, bool, 0644);
MODULE_PARM_DESC(wire, "devices made from now on reach other hosts, by RoCEv2, UDP port 4791");

static LIST_HEAD(devices);
static DEFINE_MUTEX(devices_lock);

static void fill_odp_caps(struct ib_odp_caps *odp)
{
	odp->general_caps = IB_ODP_SUPPORT | IB_ODP_SUPPORT_IMPLICIT;
	odp->per_transport_caps.rc_odp_caps =
		IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV |
		IB_ODP_SUPPORT_WRITE | IB_ODP_SUPPORT_READ |
		IB_ODP_SUPPORT_ATOMIC | IB_ODP_SUPPORT_SRQ_RECV |
		TIDE_ODP_SUPPORT_ATOMIC_WRITE;
	odp->per_transport_caps.xrc_odp_caps =
		odp->per_transport_caps.rc_odp_caps;
	odp->per_transport_caps.uc_odp_caps =
		IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV |
		IB_ODP_SUPPORT_WRITE | IB_ODP_SUPPORT_SRQ_RECV;
	odp->per_transport_caps.ud_odp_caps =
		IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV |
		IB_ODP_SUPPORT_SRQ_RECV;
	if (tide_core_has_flush())
		odp->per_transport_caps.rc_odp_caps |= TIDE_ODP_SUPPORT_FLUSH;
}

static int tide_query_device(struct ib_device *ibdev,
			     struct ib_device_attr *attr,
			     struct ib_udata *udata)
{
	if (udata && (udata->inlen || udata->outlen))
		return -EINVAL;

	attr->fw_ver = 1ULL << 32;
	attr->sys_image_guid = ibdev->node_guid;
	attr->vendor_id = VENDOR_ID;
	attr->max_mr_size = U64_MAX;
	attr->page_size_cap = PAGE_SIZE;
	attr->max_qp = TIDE_MAX_QP;
	attr->max_qp_wr = TIDE_MAX_QP_WR;
	attr->device_cap_flags = IB_DEVICE_UD_AV_PORT_ENFORCE |
				 IB_DEVICE_RC_RNR_NAK_GEN |
				 IB_DEVICE_CURR_QP_STATE_MOD |
				 IB_DEVICE_SRQ_RESIZE |
				 IB_DEVICE_MEM_WINDOW |
				 IB_DEVICE_MEM_WINDOW_TYPE_2B |
				 IB_DEVICE_XRC |
				 IB_DEVICE_ATOMIC_WRITE;
	if (tide_core_has_flush())
		attr->device_cap_flags |= IB_DEVICE_FLUSH_GLOBAL |
					  IB_DEVICE_FLUSH_PERSISTENT;
	attr->kernel_cap_flags = IBK_ON_DEMAND_PAGING | IBK_ALLOW_USER_UNREG;
	attr->max_send_sge = TIDE_MAX_SGE;
	attr->max_recv_sge = TIDE_MAX_SGE;
	attr->max_sge_rd = TIDE_MAX_SGE;
	attr->max_cq = TIDE_MAX_CQ;
	attr->max_cqe = TIDE_MAX_CQE;
	attr->cq_caps.max_cq_moderation_count = TIDE_MAX_CQ_COUNT;
	attr->cq_caps.max_cq_moderation_period = TIDE_MAX_CQ_PERIOD;
	attr->timestamp_mask = U64_MAX;
	attr->hca_core_clock = TIDE_CLOCK_KHZ;
	attr->max_mr = TIDE_MAX_MR;
	attr->max_mw = TIDE_MAX_MW;
	attr->max_dm_size = TIDE_MAX_DM;
	attr->max_pd = MAX_PD;
	attr->max_ah = TIDE_MAX_AH;
	attr->max_mcast_grp = TIDE_MAX_MCAST_GRP;
	attr->max_mcast_qp_attach = TIDE_MAX_MCAST_QPS;
	attr->max_total_mcast_qp_attach = TIDE_MAX_MCAST_GRP *
					  TIDE_MAX_MCAST_QPS;
	attr->max_srq = TIDE_MAX_SRQ;
	attr->max_srq_wr = TIDE_MAX_SRQ_WR;
	attr->max_srq_sge = TIDE_MAX_SGE;
	attr->max_qp_rd_atom = TIDE_MAX_RD_ATOMIC;
	attr->max_qp_init_rd_atom = TIDE_MAX_RD_ATOMIC;
	attr->max_res_rd_atom = TIDE_MAX_RD_ATOMIC * TIDE_MAX_QP;
	attr->atomic_cap = IB_ATOMIC_GLOB;
	attr->max_pkeys = 1;
	attr->local_ca_ack_delay = 15;
	fill_odp_caps(&attr->odp_caps);
	return 0;
}

static enum ib_port_state port_state(const struct net_device *ndev)
{
	return netif_running(ndev) && netif_carrier_ok(ndev) ?
	       IB_PORT_ACTIVE : IB_PORT_DOWN;
}

static enum ib_port_phys_state port_phys_state(const struct net_device *ndev)
{
	if (port_state(ndev) == IB_PORT_ACTIVE)
		return IB_PORT_PHYS_STATE_LINK_UP;
	return netif_running(ndev) ? IB_PORT_PHYS_STATE_POLLING :
				     IB_PORT_PHYS_STATE_DISABLED;
}

/* The most that fits one packet. */
enum ib_mtu tide_port_mtu(const struct tide_dev *dev)
{
	return iboe_get_mtu(READ_ONCE(dev->ndev->mtu)) ?: IB_MTU_256;
}

static bool netdev_knows_its_speed(struct net_device *ndev)
{
	struct ethtool_link_ksettings settings = {};
	int ret;

	rtnl_lock();
	ret = __ethtool_get_link_ksettings(ndev, &settings);
	rtnl_unlock();
	return !ret && settings.base.speed != (u32)SPEED_UNKNOWN;
}

/* As the core has it, which however warns each time it has to guess. */
static int port_speed(struct ib_device *ibdev, u32 port,
		      struct ib_port_attr *attr)
{
	if (netdev_knows_its_speed(to_tide_dev(ibdev)->ndev))
		return ib_get_eth_speed(ibdev, port, &attr->active_speed,
					&attr->active_width);
	attr->active_width = IB_WIDTH_1X;
	attr->active_speed = IB_SPEED_SDR;
	return 0;
}

static int tide_query_port(struct ib_device *ibdev, u32 port,
			   struct ib_port_attr *attr)
{
	struct net_device *ndev = to_tide_dev(ibdev)->ndev;

	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = tide_port_mtu(to_tide_dev(ibdev));
	attr->state = port_state(ndev);
	attr->phys_state = port_phys_state(ndev);
	attr->gid_tbl_len = GID_TABLE_LEN;
	attr->pkey_tbl_len = 1;
	attr->max_msg_sz = TIDE_MAX_MSG;
	attr->max_vl_num = 1;
	attr->ip_gids = true;
	return port_speed(ibdev, port, attr);
}

static int tide_get_port_immutable(struct ib_device *ibdev, u32 port,
				   struct ib_port_immutable *immutable)
{
	struct ib_port_attr attr = {};
	int ret;

	immutable->core_cap_flags = RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP;
	immutable->max_mad_size = IB_MGMT_MAD_SIZE;
	ret = ib_query_port(ibdev, port, &attr);
	if (ret)
		return ret;
	immutable->pkey_tbl_len = attr.pkey_tbl_len;
	immutable->gid_tbl_len = attr.gid_tbl_len;
	return 0;
}

static enum rdma_link_layer tide_get_link_layer(struct ib_device *ibdev,
						u32 port)
{
	return IB_LINK_LAYER_ETHERNET;
}

static int tide_query_pkey(struct ib_device *ibdev, u32 port, u16 index,
			   u16 *pkey)
{
	if (index)
		return -EINVAL;
	*pkey = TIDE_DEFAULT_PKEY;
	return 0;
}

static void tide_get_dev_fw_str(struct ib_device *ibdev, char *str)
{
	snprintf(str, IB_FW_VERSION_NAME_MAX, "1.0.0");
}

static int tide_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	static atomic64_t next_id = ATOMIC64_INIT(0);
	struct tide_dev *dev = to_tide_dev(ibpd->device);
	struct tide_pd *pd = to_tide_pd(ibpd);
	struct tide_abi_alloc_pd_resp resp = {};
	int ret = 0;

	if (udata && udata->outlen < sizeof(resp))
		return -EINVAL;
	if (!tide_claim(&dev->num_pds, MAX_PD, udata))
		return -ENOMEM;
	pd->id = atomic64_inc_return(&next_id);
	resp.pdn = pd->id;
	if (udata)
		ret = ib_copy_to_udata(udata, &resp, sizeof(resp));
	if (ret)
		tide_give_back(&dev->num_pds, udata);
	return ret;
}

static int tide_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	tide_give_back(&to_tide_dev(ibpd->device)->num_pds, udata);
	return 0;
}

static void tide_dealloc_driver(struct ib_device *ibdev)
{
	struct tide_dev *dev = to_tide_dev(ibdev);

	if (dev->listener)
		tide_unlisten(dev->listener);
	tide_parent_destroy(dev);
	mutex_lock(&devices_lock);
	list_del(&dev->node);
	mutex_unlock(&devices_lock);
}

/*
 * Whether who is on this host is reached without packets: it is decided when a
 * queue pair gets an address.
 */
static ssize_t local_carrier_show(struct device *device,
				  struct device_attribute *attr, char *buf)
{
	struct tide_dev *dev = rdma_device_to_drv_device(device,
							 struct tide_dev,
							 ibdev);

	return sysfs_emit(buf, "%d\n", !READ_ONCE(dev->wire_only));
}

static ssize_t local_carrier_store(struct device *device,
				   struct device_attribute *attr,
				   const char *buf, size_t count)
{
	struct tide_dev *dev = rdma_device_to_drv_device(device,
							 struct tide_dev,
							 ibdev);
	bool local;
	int ret = kstrtobool(buf, &local);

	if (ret)
		return ret;
	WRITE_ONCE(dev->wire_only, !local);
	return count;
}

static DEVICE_ATTR_RW(local_carrier);

static struct attribute *tide_attrs[] = {
	&dev_attr_local_carrier.attr,
	NULL,
};

static const struct attribute_group tide_attr_group = {
	.attrs = tide_attrs,
};

static const struct ib_device_ops tide_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = TIDE_ABI_VERSION,

	.add_gid = tide_add_gid,
	.advise_mr = tide_advise_mr,
	.alloc_dm = tide_alloc_dm,
	.alloc_hw_port_stats = tide_alloc_hw_port_stats,
	.alloc_mw = tide_alloc_mw,
	.alloc_pd = tide_alloc_pd,
	.alloc_ucontext = tide_alloc_ucontext,
	.alloc_xrcd = tide_alloc_xrcd,
	.attach_mcast = tide_attach_mcast,
	.create_ah = tide_create_ah,
	.create_cq = tide_create_cq,
	.create_qp = tide_create_qp,
	.create_srq = tide_create_srq,
	.create_user_ah = tide_create_ah,
	.dealloc_dm = tide_dealloc_dm,
	.dealloc_driver = tide_dealloc_driver,
	.dealloc_mw = tide_dealloc_mw,
	.dealloc_pd = tide_dealloc_pd,
	.dealloc_ucontext = tide_dealloc_ucontext,
	.dealloc_xrcd = tide_dealloc_xrcd,
	.del_gid = tide_del_gid,
	.dereg_mr = tide_dereg_mr,
	.destroy_ah = tide_destroy_ah,
	.destroy_cq = tide_destroy_cq,
	.destroy_qp = tide_destroy_qp,
	.destroy_srq = tide_destroy_srq,
	.detach_mcast = tide_detach_mcast,
	.device_group = &tide_attr_group,
	.disassociate_ucontext = tide_disassociate_ucontext,
	.fill_res_cq_entry = tide_fill_res_cq_entry,
	.fill_res_mr_entry = tide_fill_res_mr_entry,
	.fill_res_qp_entry = tide_fill_res_qp_entry,
	.fill_stat_mr_entry = tide_fill_stat_mr_entry,
	TIDE_FILL_RES_SRQ_ENTRY
	.get_dma_mr = tide_get_dma_mr,
	.get_dev_fw_str = tide_get_dev_fw_str,
	.get_hw_stats = tide_get_hw_stats,
	.get_link_layer = tide_get_link_layer,
	.get_port_immutable = tide_get_port_immutable,
	.mmap = tide_mapped_mmap,
	.mmap_free = tide_mapped_mmap_free,
	.modify_cq = tide_modify_cq,
	.modify_qp = tide_modify_qp,
	.modify_srq = tide_modify_srq,
	.poll_cq = tide_poll_cq,
	.post_recv = tide_post_recv,
	.post_send = tide_post_send,
	.query_ah = tide_query_ah,
	.query_device = tide_query_device,
	.query_pkey = tide_query_pkey,
	.query_port = tide_query_port,
	.query_qp = tide_query_qp,
	.query_srq = tide_query_srq,
	.query_ucontext = tide_query_ucontext,
	.reg_dm_mr = tide_reg_dm_mr,
	.reg_user_mr = tide_reg_user_mr,
	.req_notify_cq = tide_req_notify_cq,
	.rereg_user_mr = tide_rereg_user_mr,
	TIDE_RESIZE_CQ

	INIT_RDMA_OBJ_SIZE(ib_ah, tide_ah, ibah),
	INIT_RDMA_OBJ_SIZE(ib_cq, tide_cq, ibcq),
	INIT_RDMA_OBJ_SIZE(ib_mw, tide_mw, ibmw),
	INIT_RDMA_OBJ_SIZE(ib_pd, tide_pd, ibpd),
	INIT_RDMA_OBJ_SIZE(ib_qp, tide_ibqp, ibqp),
	INIT_RDMA_OBJ_SIZE(ib_srq, tide_ibsrq, ibsrq),
	INIT_RDMA_OBJ_SIZE(ib_ucontext, tide_ucontext, ibuc),
	INIT_RDMA_OBJ_SIZE(ib_xrcd, tide_xrcd, ibxrcd),
};

/* Whether a device is one of this module's. */
bool tide_device_is_ours(const struct ib_device *ibdev)
{
	return ibdev->ops.owner == THIS_MODULE;
}

static void init_identity(struct tide_dev *dev)
{
	struct ib_device *ibdev = &dev->ibdev;
	u8 mac[ETH_ALEN];

	if (dev->ndev->addr_len == ETH_ALEN)
		ether_addr_copy(mac, dev->ndev->dev_addr);
	else
		eth_random_addr(mac);
	addrconf_addr_eui48((u8 *)&ibdev->node_guid, mac);
	ibdev->node_type = RDMA_NODE_IB_CA;
	ibdev->phys_port_cnt = 1;
	ibdev->num_comp_vectors = num_possible_cpus();
	ibdev->local_dma_lkey = 0;
	strscpy(ibdev->node_desc, "tide ", sizeof(ibdev->node_desc));
	strlcat(ibdev->node_desc, init_utsname()->nodename,
		sizeof(ibdev->node_desc));
}

static bool netdev_is_taken(const struct net_device *ndev)
{
	struct tide_dev *dev;

	list_for_each_entry(dev, &devices, node)
		if (dev->ndev == ndev)
			return true;
	return false;
}

/* Under devices_lock, so that a netdev gets one device only. */
static struct tide_dev *tide_device_create(struct net_device *ndev)
{
	struct tide_dev *dev;
	int ret;

	if (netdev_is_taken(ndev))
		return ERR_PTR(-EEXIST);
	dev = ib_alloc_device(tide_dev, ibdev);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->ndev = ndev;
	mutex_init(&dev->stats_lock);
	init_identity(dev);
	ret = tide_parent_create(dev);
	if (ret) {
		ib_dealloc_device(&dev->ibdev);
		return ERR_PTR(ret);
	}
	/* From here on ib_dealloc_device() undoes the rest. */
	ib_set_device_ops(&dev->ibdev, &tide_ops);
	dev->ibdev.driver_def = tide_defs;
	list_add(&dev->node, &devices);
	return dev;
}

/*
 * It may have been renamed before events could find the device; or moved to
 * another network namespace, of which there is one event only.
 */
static void catch_up(struct net_device *ndev)
{
	struct tide_dev *dev = tide_device_find(ndev);

	if (!dev)
		return;
	rtnl_lock();
	tide_parent_renamed(dev);
	if (READ_ONCE(dev->leaving))
		ib_unregister_device_queued(&dev->ibdev);
	rtnl_unlock();
	ib_device_put(&dev->ibdev);
}

/* To whom nobody else is connected; the port is left to who may need it. */
static bool leads_nowhere(const struct net_device *ndev)
{
	const struct rtnl_link_ops *ops = ndev->rtnl_link_ops;

	return ndev->flags & IFF_LOOPBACK || (ops && !strcmp(ops->kind, "dummy"));
}

static int start_listening(struct tide_dev *dev)
{
	struct tide_listener *listener;

	if (!READ_ONCE(wire) || leads_nowhere(dev->ndev))
		return 0;
	listener = tide_listen(dev_net(dev->ndev));
	if (IS_ERR(listener))
		return PTR_ERR(listener);
	dev->listener = listener;
	return 0;
}

/**
 * tide_device_add - make a device
 * @name: its name, with %d for a number
 * @ndev: the netdev it is on
 *
 * Context: process, with a hold on @ndev, but not under rtnl.
 *
 * Return: 0; -EEXIST when the netdev has one; -EADDRINUSE when somebody else
 * has RoCE's UDP port in the network namespace; another negative errno.
 */
int tide_device_add(const char *name, struct net_device *ndev)
{
	struct tide_dev *dev;
	int ret;

	mutex_lock(&devices_lock);
	dev = tide_device_create(ndev);
	mutex_unlock(&devices_lock);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	ret = start_listening(dev);
	if (!ret)
		ret = ib_device_set_netdev(&dev->ibdev, ndev, 1);
	if (!ret)
		ret = ib_register_device(&dev->ibdev, name, NULL);
	if (ret)
		ib_dealloc_device(&dev->ibdev);
	else
		catch_up(ndev);
	return ret;
}

/* Unregister every device; no new ones are made meanwhile. */
void tide_devices_remove_all(void)
{
	struct tide_dev *dev;

	mutex_lock(&devices_lock);
	while (!list_empty(&devices)) {
		dev = list_first_entry(&devices, struct tide_dev, node);
		get_device(&dev->ibdev.dev);
		mutex_unlock(&devices_lock);

		/* Somebody else may be at it; then this waits for them. */
		ib_unregister_device(&dev->ibdev);
		put_device(&dev->ibdev.dev);
		mutex_lock(&devices_lock);
	}
	mutex_unlock(&devices_lock);
}

/**
 * tide_device_find - the device on a netdev
 * @ndev: the netdev
 *
 * Return: the device, held against unregistration until ib_device_put(); or
 * NULL.
 */
struct tide_dev *tide_device_find(struct net_device *ndev)
{
	struct tide_dev *dev, *found = NULL;

	mutex_lock(&devices_lock);
	list_for_each_entry(dev, &devices, node) {
		if (dev->ndev == ndev && ib_device_try_get(&dev->ibdev)) {
			found = dev;
			break;
		}
	}
	mutex_unlock(&devices_lock);
	return found;
}

/**
 * tide_device_lose_netdev - a netdev goes, or moves to another network namespace
 * @ndev: the netdev, whose namespace may go next, without its device being
 *	waited for
 *
 * Context: process, under rtnl.
 */
void tide_device_lose_netdev(struct net_device *ndev)
{
	struct tide_dev *dev;

	mutex_lock(&devices_lock);
	list_for_each_entry(dev, &devices, node) {
		if (dev->ndev != ndev)
			continue;
		WRITE_ONCE(dev->leaving, true);
		tide_qps_forget_routes(dev);
	}
	mutex_unlock(&devices_lock);
}

static void dispatch(struct tide_dev *dev, enum ib_event_type type)
{
	struct ib_event event = {
		.device = &dev->ibdev,
		.element.port_num = 1,
		.event = type,
	};

	ib_dispatch_event(&event);
}

/* Tell the port's users what has happened to the netdev. */
void tide_port_event(struct tide_dev *dev, unsigned long event)
{
	switch (event) {
	case NETDEV_UP:
	case NETDEV_DOWN:
	case NETDEV_CHANGE:
		if (!tide_core_dispatches_port_events(dev->ndev))
			dispatch(dev, port_state(dev->ndev) == IB_PORT_ACTIVE ?
				      IB_EVENT_PORT_ACTIVE :
				      IB_EVENT_PORT_ERR);
		break;
	case NETDEV_CHANGENAME:
		tide_parent_renamed(dev);
		break;
	case NETDEV_UNREGISTER:
		ib_unregister_device_queued(&dev->ibdev);
		break;
	}
}
