// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * There can be as many objects as the device says, and not one more.
 *
 * Long: of those too of which there may be very many.
 */
#include "common.h"

#include <sys/resource.h>

static struct ibv_context *ctx;
static struct ibv_pd *pd;
static struct ibv_cq *cq;
static uint8_t *mem;
static int gid_index;
static union ibv_gid gid;

static void *make_pd(void)
{
	return ibv_alloc_pd(ctx);
}

static int drop_pd(void *object)
{
	return ibv_dealloc_pd(object);
}

static void *make_cq(void)
{
	return ibv_create_cq(ctx, 1, NULL, NULL, 0);
}

static int drop_cq(void *object)
{
	return ibv_destroy_cq(object);
}

static void *make_qp(void)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = { .max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	return ibv_create_qp(pd, &init);
}

static int drop_qp(void *object)
{
	return ibv_destroy_qp(object);
}

static void *make_srq(void)
{
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = 1, .max_sge = 1 },
	};

	return ibv_create_srq(pd, &init);
}

static int drop_srq(void *object)
{
	return ibv_destroy_srq(object);
}

static void *make_ah(void)
{
	struct ibv_ah_attr attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = { .dgid = gid, .sgid_index = gid_index,
			 .hop_limit = 1 },
	};

	return ibv_create_ah(pd, &attr);
}

static int drop_ah(void *object)
{
	return ibv_destroy_ah(object);
}

static void *make_mr(void)
{
	return ibv_reg_mr(pd, mem, 1, 0);
}

static int drop_mr(void *object)
{
	return ibv_dereg_mr(object);
}

static void *make_mw(void)
{
	return ibv_alloc_mw(pd, IBV_MW_TYPE_1);
}

static int drop_mw(void *object)
{
	return ibv_dealloc_mw(object);
}

static void drop_all(void **object, int n, int (*drop)(void *))
{
	while (n--) {
		errno = drop(object[n]);
		must(!errno);
	}
}

/* @there: of those that the test itself has made. */
static void reach(const char *what, int max, int there, void *(*make)(void),
		  int (*drop)(void *))
{
	void **object = calloc(max, sizeof(*object)), *more;
	int n = 0;

	must(object && max > there);
	max -= there;
	while (n < max && (object[n] = make()))
		n++;
	if (!expect(n == max, "%d of %d: %s", n, max, strerror(errno)))
		goto out;
	errno = 0;
	more = make();
	expect(!more && errno == ENOMEM, "one more: %s", strerror(errno));
	if (more)
		drop(more);

	/* Another in the place of one that went. */
	drop_all(object, 1, drop);
	object[0] = make();
	if (!expect(object[0], "in the place of another: %s", strerror(errno)))
		object[0] = object[--n];
	errno = 0;
	expect(!make() && errno == ENOMEM, "one more: %s", strerror(errno));
out:
	drop_all(object, n, drop);
	free(object);
	point("%d of %s", max, what);
}

static void test(void)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct leftovers before = count_leftovers();
	struct ibv_device_attr attr;

	must(!setrlimit(RLIMIT_MEMLOCK, &none));
	ctx = device_open();
	gid_index = find_gid(ctx, &gid);
	pd = ibv_alloc_pd(ctx);
	cq = ibv_create_cq(ctx, 1, NULL, NULL, 0);
	mem = map_memory(PAGE);
	must(pd && cq && !ibv_query_device(ctx, &attr));

	reach("queue pairs", attr.max_qp, 0, make_qp, drop_qp);
	reach("shared receive queues", attr.max_srq, 0, make_srq, drop_srq);
	if (length_of(0, 1)) {
		reach("completion queues", attr.max_cq, 1, make_cq, drop_cq);
		reach("address handles", attr.max_ah, 0, make_ah, drop_ah);
		reach("protection domains", attr.max_pd, 1, make_pd, drop_pd);
		reach("memory regions", attr.max_mr, 0, make_mr, drop_mr);
		reach("memory windows", attr.max_mw, 0, make_mw, drop_mw);
	}

	must(!ibv_destroy_cq(cq) && !ibv_dealloc_pd(pd));
	must(!ibv_close_device(ctx));
	expect_no_leftovers(&before);
	point("nothing is left behind");
}

int main(int argc, char **argv)
{
	return tap_main(argc, argv, length_of(280, 600), test);
}
