// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * connections - make reliable connections by address, many in a row or many at
 * once, send a message each way on every one, and take them down again.
 *
 *	connections listen ADDRESS PORT NUMBER
 *	connections connect FROM ADDRESS PORT NUMBER AT-ONCE
 *
 * NUMBER is how many there will be in all.  The one who connects opens AT-ONCE
 * at a time, all of which are there before the first of them goes, and tells
 * how long all of it took.
 *
 * Exits with 0 if all was well, else it tells what was not, and exits with 1.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS	120000
#define RESOLVE_MS	10000
#define LENGTH		64
#define BACKLOG		1024

/**
 * struct connection - one of them; its place is its name in completions
 * @id: the connection manager's
 * @taken: whether it is in use
 * @sent: what it says
 * @received: what it is told
 */
struct connection {
	struct rdma_cm_id *id;
	bool taken;
	uint8_t sent[LENGTH];
	uint8_t received[LENGTH];
};

static struct rdma_event_channel *events;
static bool listens;
static uint32_t number, at_once;

static struct connection *connections;
static uint32_t places;
static struct ibv_pd *pd;
static struct ibv_mr *mr;
static struct ibv_cq *cq;
static struct ibv_comp_channel *completions;

static uint32_t begun, verified, ended;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* What all connections share; of the device that the first of them is on. */
static void open_device(struct ibv_context *ctx)
{
	if (pd)
		return;
	pd = ibv_alloc_pd(ctx);
	if (!pd)
		err(1, "a protection domain");
	mr = ibv_reg_mr(pd, connections, places * sizeof(*connections),
			IBV_ACCESS_LOCAL_WRITE);
	if (!mr)
		err(1, "a memory region");
	completions = ibv_create_comp_channel(ctx);
	if (!completions)
		err(1, "a completion channel");
	cq = ibv_create_cq(ctx, 2 * places, NULL, completions, 0);
	if (!cq || ibv_req_notify_cq(cq, 0))
		err(1, "a completion queue");
}

static struct connection *take_place(void)
{
	static uint32_t next;
	uint32_t i;

	for (i = 0; i < places; i++, next++) {
		struct connection *connection = &connections[next % places];

		if (connection->taken)
			continue;
		memset(connection, 0, sizeof(*connection));
		connection->taken = true;
		return connection;
	}
	errx(1, "more than %u connections", places);
}

static struct ibv_sge sge_of(uint8_t *data)
{
	return (struct ibv_sge) {
		.addr = (uintptr_t)data, .length = LENGTH, .lkey = mr->lkey,
	};
}

static void make_qp(struct connection *connection)
{
	struct ibv_sge sge = sge_of(connection->received);
	struct ibv_recv_wr *bad, wr = {
		.wr_id = connection - connections,
		.sg_list = &sge,
		.num_sge = 1,
	};
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = 1,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
	};

	if (rdma_create_qp(connection->id, pd, &init))
		err(1, "queue pair %u", begun);
	if (ibv_post_recv(connection->id->qp, &wr, &bad))
		err(1, "a receive");
}

static void say(struct connection *connection)
{
	struct ibv_sge sge = sge_of(connection->sent);
	struct ibv_send_wr *bad, wr = {
		.wr_id = connection - connections,
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
	};

	if (ibv_post_send(connection->id->qp, &wr, &bad))
		err(1, "a send");
}

/* What is said is different each time, and answered with its opposite. */
static void fill(uint8_t *data, uint32_t seed)
{
	int i;

	for (i = 0; i < LENGTH; i++)
		data[i] = (seed >> 8 * (i % 4)) + i;
}

static void invert(uint8_t *to, const uint8_t *from)
{
	int i;

	for (i = 0; i < LENGTH; i++)
		to[i] = ~from[i];
}

static void heard(struct connection *connection)
{
	uint8_t wanted[LENGTH];

	if (listens) {
		invert(connection->sent, connection->received);
		say(connection);
	} else {
		invert(wanted, connection->sent);
		if (memcmp(wanted, connection->received, LENGTH))
			errx(1, "the answer is not what it should be");
	}
	verified++;
}

static void poll_completions(void)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(cq, 1, &wc) > 0) {
		if (wc.status == IBV_WC_WR_FLUSH_ERR)
			continue;
		if (wc.status)
			errx(1, "a request ended with %s",
			     ibv_wc_status_str(wc.status));
		if (wc.opcode == IBV_WC_RECV)
			heard(&connections[wc.wr_id]);
	}
}

static void take_completion_event(void)
{
	struct ibv_cq *which;
	void *context;

	if (ibv_get_cq_event(completions, &which, &context))
		err(1, "a completion event");
	ibv_ack_cq_events(which, 1);
	if (ibv_req_notify_cq(cq, 0))
		err(1, "a completion queue");
	poll_completions();
}

static void end(struct connection *connection)
{
	rdma_destroy_qp(connection->id);
	if (rdma_destroy_id(connection->id))
		err(1, "rdma_destroy_id");
	connection->taken = false;
	ended++;
}

static void accept_one(struct rdma_cm_id *id)
{
	struct rdma_conn_param param = {
		.responder_resources = 1,
		.initiator_depth = 1,
		.rnr_retry_count = 7,
	};
	struct connection *connection;

	open_device(id->verbs);
	connection = take_place();
	connection->id = id;
	id->context = connection;
	make_qp(connection);
	begun++;
	if (rdma_accept(id, &param))
		err(1, "rdma_accept");
}

static void connect_one(struct rdma_cm_id *id)
{
	struct rdma_conn_param param = {
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = 7,
		.rnr_retry_count = 7,
	};

	open_device(id->verbs);
	make_qp(id->context);
	if (rdma_connect(id, &param))
		err(1, "rdma_connect");
}

static void established(struct connection *connection)
{
	if (listens)
		return;
	fill(connection->sent, begun + (connection - connections));
	say(connection);
}

/* What it leads to is done once the event is acknowledged. */
static void handle(enum rdma_cm_event_type type, int status,
		   struct rdma_cm_id *id)
{
	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		accept_one(id);
		break;
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		if (rdma_resolve_route(id, RESOLVE_MS))
			err(1, "rdma_resolve_route");
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		connect_one(id);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		established(id->context);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		if (listens)
			rdma_disconnect(id);
		end(id->context);
		break;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		break;
	default:
		errx(1, "after %u connections: %s, status %d", ended,
		     rdma_event_str(type), status);
	}
}

static void take_cm_event(void)
{
	enum rdma_cm_event_type type;
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;
	int status;

	if (rdma_get_cm_event(events, &event))
		err(1, "rdma_get_cm_event");
	type = event->event;
	status = event->status;
	id = event->id;
	rdma_ack_cm_event(event);
	handle(type, status, id);
}

static void wait_for_something(void)
{
	struct pollfd fds[] = {
		{ .fd = events->fd, .events = POLLIN },
		{ .fd = completions ? completions->fd : -1, .events = POLLIN },
	};
	int n = poll(fds, 2, PATIENCE_MS);

	if (n < 0)
		err(1, "poll");
	if (!n)
		errx(1, "nothing happens any more: %u begun, %u verified, %u ended",
		     begun, verified, ended);
	if (fds[1].revents)
		take_completion_event();
	if (fds[0].revents)
		take_cm_event();
}

static void open_one(struct sockaddr *from, struct sockaddr *to)
{
	struct connection *connection = take_place();

	if (rdma_create_id(events, &connection->id, connection, RDMA_PS_TCP))
		err(1, "rdma_create_id");
	begun++;
	if (rdma_resolve_addr(connection->id, from, to, RESOLVE_MS))
		err(1, "rdma_resolve_addr");
}

static void close_all(void)
{
	uint32_t i;

	for (i = 0; i < places; i++)
		if (connections[i].taken &&
		    rdma_disconnect(connections[i].id))
			err(1, "rdma_disconnect");
}

static void connect_all(struct sockaddr *from, struct sockaddr *to)
{
	uint64_t start = now_ms(), took;
	uint32_t round, i;

	while (ended < number) {
		round = at_once < number - ended ? at_once : number - ended;
		for (i = 0; i < round; i++)
			open_one(from, to);
		while (verified < begun)
			wait_for_something();
		close_all();
		while (ended < begun)
			wait_for_something();
	}
	took = now_ms() - start;
	printf("%u connections, %u at once, %llu ms\n", number, at_once,
	       (unsigned long long)took);
}

static void listen_to_all(struct sockaddr *address)
{
	struct rdma_cm_id *id;

	if (rdma_create_id(events, &id, NULL, RDMA_PS_TCP))
		err(1, "rdma_create_id");
	if (rdma_bind_addr(id, address) || rdma_listen(id, BACKLOG))
		err(1, "to listen");
	while (ended < number)
		wait_for_something();
	if (verified != number)
		errx(1, "%u of %u said something", verified, number);
	rdma_destroy_id(id);
}

static struct sockaddr *address(const char *name, const char *service)
{
	struct addrinfo *info, hints = { .ai_flags = AI_NUMERICHOST };
	int ret = getaddrinfo(name, service, &hints, &info);

	if (ret)
		errx(2, "%s: %s", name, gai_strerror(ret));
	return info->ai_addr;
}

static void make_places(void)
{
	places = listens ? 2 * BACKLOG : at_once;
	connections = calloc(places, sizeof(*connections));
	if (!connections)
		err(1, "memory");
}

static void close_device(void)
{
	if (cq)
		ibv_destroy_cq(cq);
	if (completions)
		ibv_destroy_comp_channel(completions);
	if (mr)
		ibv_dereg_mr(mr);
	if (pd)
		ibv_dealloc_pd(pd);
	rdma_destroy_event_channel(events);
	free(connections);
}

int main(int argc, char **argv)
{
	listens = argc == 5 && !strcmp(argv[1], "listen");
	if (!listens && (argc != 7 || strcmp(argv[1], "connect")))
		errx(2, "the first lines of connections.c tell how to use it");
	number = atoi(argv[listens ? 4 : 5]);
	at_once = listens ? 0 : atoi(argv[6]);
	make_places();
	events = rdma_create_event_channel();
	if (!events)
		err(1, "rdma_create_event_channel");
	if (listens)
		listen_to_all(address(argv[2], argv[3]));
	else
		connect_all(address(argv[2], NULL),
			    address(argv[3], argv[4]));
	close_device();
	return 0;
}
