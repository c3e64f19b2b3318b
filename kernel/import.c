// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * import.c - for processes that use another one's context and the objects in
 * it.  The core finds these; here is what the provider has to know of them.
 */
#define UVERBS_MODULE_NAME tide
#include <rdma/uverbs_named_ioctl.h>

#include "device.h"
#include "dm.h"
#include "import.h"
#include "uapi/tide-abi.h"

static int UVERBS_HANDLER(TIDE_METHOD_PD_QUERY)
	(struct uverbs_attr_bundle *attrs)
{
	struct ib_pd *ibpd = uverbs_attr_get_obj(attrs,
						 TIDE_ATTR_QUERY_PD_HANDLE);
	struct tide_abi_alloc_pd_resp resp = { .pdn = to_tide_pd(ibpd)->id };

	return uverbs_copy_to(attrs, TIDE_ATTR_QUERY_PD_RESP, &resp,
			      sizeof(resp));
}

DECLARE_UVERBS_NAMED_METHOD(
	TIDE_METHOD_PD_QUERY,
	UVERBS_ATTR_IDR(TIDE_ATTR_QUERY_PD_HANDLE, UVERBS_OBJECT_PD,
			UVERBS_ACCESS_READ, UA_MANDATORY),
	UVERBS_ATTR_PTR_OUT(TIDE_ATTR_QUERY_PD_RESP,
			    UVERBS_ATTR_TYPE(struct tide_abi_alloc_pd_resp),
			    UA_MANDATORY));

ADD_UVERBS_METHODS(tide_pd_query, UVERBS_OBJECT_PD,
		   &UVERBS_METHOD(TIDE_METHOD_PD_QUERY));

ADD_UVERBS_ATTRIBUTES_SIMPLE(
	tide_query_context, UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_CONTEXT,
	UVERBS_ATTR_PTR_OUT(TIDE_ATTR_QUERY_CONTEXT_RESP,
		UVERBS_ATTR_TYPE(struct tide_abi_alloc_ucontext_resp),
		UA_MANDATORY));

const struct uapi_definition tide_defs[] = {
	UAPI_DEF_CHAIN(tide_dm_defs),
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_DEVICE, &tide_query_context),
	UAPI_DEF_CHAIN_OBJ_TREE(UVERBS_OBJECT_PD, &tide_pd_query),
	{},
};
