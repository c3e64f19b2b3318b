/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * wire.h - the wire carrier: connections to queue pairs on other hosts, by
 * packets of RoCEv2.
 *
 * What a queue pair needs for it is made when it gets an address that is not
 * on this host.  Packets are executed where they come in, in softirq, under
 * tide_qp.lock; what has to wait for memory waits in a lane, and what comes
 * behind it in the same lane.
 */
#ifndef TIDE_WIRE_H
#define TIDE_WIRE_H

#include "arrival.h"
#include "congestion.h"
#include "emit.h"
#include "lane.h"
#include "path.h"
#include "qp.h"
#include "responder.h"

/* Bursts that executing one packet may lead to. */
#define TIDE_OUTBOX_BURSTS	6

/* What the responder can be asked to answer again. */
#define TIDE_KEPT_RESULTS	TIDE_MAX_RD_ATOMIC

/**
 * struct tide_outbox - responses that are sent once no lock is held
 * @bursts: composed and ready
 * @num: how many
 */
struct tide_outbox {
	struct tide_burst bursts[TIDE_OUTBOX_BURSTS];
	u32 num;
};

/**
 * struct tide_composing - a burst of requests that is being composed
 * @open: there is one
 * @burst: the packets; nothing if there was no route or no memory for them:
 *	then they are lost before they are sent
 * @begun: there are packets
 * @num: how many there will be
 * @done: how many are composed
 * @part: bytes of payload that the next one has; its headers are there
 * @header: they are
 * @psn: of the first
 * @offset: of its payload in the message
 * @ends: the last sequence number, responses included
 */
struct tide_composing {
	bool open;
	struct tide_burst burst;
	bool begun;
	u32 num;
	u32 done;
	u32 part;
	bool header;
	u32 psn;
	u32 offset;
	u32 ends;
};

/**
 * struct tide_sent - a work request that has sequence numbers
 * @request: for its completion
 * @first: the first of its sequence numbers
 * @last: the last of them, its responses' included
 * @takes: how many have taken a receive with it
 */
struct tide_sent {
	struct tide_request request;
	u32 first;
	u32 last;
	u32 takes;
};

/**
 * struct tide_credits - receives that the responder has
 * @told: it tells
 * @sent: messages that take one and have sequence numbers
 * @begun: how many of these had begun to arrive when it told last
 * @limit: how many there are receives for, as far as that was told
 */
struct tide_credits {
	bool told;
	u32 sent;
	u32 begun;
	u32 limit;
};

/**
 * struct tide_wire_tx - the requester's side; under tide_qp.lock, but for what
 *	is said to be the runner's
 * @sent: by index in the send queue: those from its consumer to @top
 * @top: index behind the last that has sequence numbers
 * @next: index of the one that is being sent, or sent again; written by the
 *	runner
 * @una: the oldest sequence number that is not acknowledged
 * @heard: behind the last that the responder has told to have executed, which
 *	is ahead of @una while it does not answer what it was asked
 * @psn: the next to be sent; written by the runner
 * @end: behind the last that was ever sent
 * @seek: the runner is to go on at @una
 * @asked_again: it was told to since @una has moved
 * @held: there is something to be sent, which waits until it may be
 * @much: there is, and that is much; it waits for acknowledgements
 * @composing: the runner's
 * @near: the runner's, of requests
 * @credits: what the responder has receives for
 * @ends: of what the responder was asked: behind the last response
 * @ends_first: index of the oldest of these, modulo their number
 * @ends_num: how many there are
 * @deadline: when to give up waiting, in jiffies; 0 is never
 * @not_ready: it is the responder's RNR timer that is waited for
 * @goes_back: it was, and no sequence NAK has come since of what was dropped
 * @dropped: that is before
 * @probing: nothing has come back in time: one packet at a time, until it does
 * @retries: since @una or @heard has moved
 * @rnr_retries: since @una has moved, for want of a receive
 * @timer: fires at @deadline, or before
 * @in: where the payload of a response goes
 * @in_index: for which work request
 * @in_loaded: whether these are valid
 * @in_part: bytes of the current response that are through
 */
struct tide_wire_tx {
	struct tide_sent *sent;
	u32 top;
	u32 next;
	u32 una;
	u32 heard;
	u32 psn;
	u32 end;
	bool seek;
	bool asked_again;
	bool held;
	bool much;
	struct tide_composing composing;
	struct tide_near near;
	struct tide_credits credits;
	u32 ends[TIDE_MAX_RD_ATOMIC];
	u32 ends_first;
	u32 ends_num;
	unsigned long deadline;
	bool not_ready;
	bool goes_back;
	u32 dropped;
	bool probing;
	u8 retries;
	u8 rnr_retries;
	struct timer_list timer;
	struct tide_sg in;
	u32 in_index;
	bool in_loaded;
	u32 in_part;
};

/**
 * struct tide_read_job - a read that is being answered
 * @active: there is one
 * @again: it was answered before
 * @psn: of the next response
 * @op: the request
 * @done: bytes that are sent
 * @held: it waits until more may be sent
 */
struct tide_read_job {
	bool active;
	bool again;
	u32 psn;
	struct tide_op op;
	u32 done;
	bool held;
};

/**
 * struct tide_kept - a read or an atomic operation that was executed
 * @first: the first of its sequence numbers
 * @last: the last of them, which an atomic operation has one of
 * @read: which of the two it was
 * @original: what an atomic operation has found
 */
struct tide_kept {
	u32 first;
	u32 last;
	bool read;
	u64 original;
};

/**
 * struct tide_wire_rx - the responder's side; under tide_qp.lock
 * @epsn: the sequence number that is expected
 * @msn: messages executed
 * @nak_sent: the requester knows what is expected
 * @ack_due: packets were executed that it has not been told of
 * @awaits_receive: it was told that there was no receive, and not since that
 *	there is one
 * @active: a message is under way
 * @op: what it is
 * @done: bytes of it that are through
 * @packet_begun: the current packet was accepted
 * @part: bytes of it that are through
 * @read: the read being answered
 * @near: of responses
 * @kept: what may be asked for again, the newest before @kept_next
 * @kept_next: where the next one goes
 * @kept_num: how many there are
 */
struct tide_wire_rx {
	u32 epsn;
	u32 msn;
	bool nak_sent;
	bool ack_due;
	bool awaits_receive;
	bool active;
	struct tide_op op;
	u32 done;
	bool packet_begun;
	u32 part;
	struct tide_read_job read;
	struct tide_near near;
	struct tide_kept kept[TIDE_KEPT_RESULTS];
	u32 kept_next;
	u32 kept_num;
};

/**
 * struct tide_wire - what a queue pair needs for the wire
 * @far: its peer is not on this host; under tide_qp.lock, and constant while
 *	packets are sent or received
 * @path: how to get there
 * @transport: enum tide_transport
 * @mtu: bytes of payload in a packet
 * @congestion: how fast it may send
 * @tx: the requester's
 * @rx: the responder's
 * @requests: where requests wait
 * @responses: where responses do
 */
struct tide_wire {
	bool far;
	struct tide_path path;
	u8 transport;
	u32 mtu;
	struct tide_congestion congestion;
	struct tide_wire_tx tx;
	struct tide_wire_rx rx;
	struct tide_lane requests;
	struct tide_lane responses;
};

/* Whether a queue pair's peer is reached by packets. */
static inline bool tide_qp_is_far(const struct tide_qp *qp)
{
	return qp->wire && READ_ONCE(qp->wire->far);
}

/* Whether a message is half-way in.  The qp is locked. */
static inline bool tide_wire_is_receiving(const struct tide_qp *qp)
{
	return tide_qp_is_far(qp) && qp->wire->rx.active;
}

/*
 * Whether the runner has left much to be sent as soon as there is room, and
 * something is on its way that will be answered.
 */
static inline bool tide_wire_has_much(const struct tide_qp *qp)
{
	return tide_qp_is_far(qp) && READ_ONCE(qp->wire->tx.much) &&
	       READ_ONCE(qp->wire->tx.una) != READ_ONCE(qp->wire->tx.end);
}

/* Whether requests are sent again that nobody answers. */
static inline bool tide_wire_asks_again(const struct tide_qp *qp)
{
	return tide_qp_is_reliable(qp) && READ_ONCE(qp->attr.timeout) &&
	       READ_ONCE(qp->attr.retry_cnt);
}

/* How many packets carry @length bytes. */
static inline u32 tide_wire_packets(const struct tide_wire *wire, u32 length)
{
	return length ? DIV_ROUND_UP(length, wire->mtu) : 1;
}

int tide_wire_prepare(struct tide_qp *qp, const struct ib_qp_attr *attr);
void tide_wire_set_path(struct tide_qp *qp, const struct ib_qp_attr *attr);
void tide_wire_start(struct tide_qp *qp, enum ib_qp_state next);
void tide_wire_clear(struct tide_qp *qp);
void tide_wire_recheck(struct tide_qp *qp);
void tide_wire_shutdown(struct tide_qp *qp);
void tide_wire_forget_routes(struct tide_qp *qp);
void tide_wire_destroy(struct tide_qp *qp);

struct tide_packet tide_wire_packet(const struct tide_qp *qp,
				    enum tide_packet_op op, u32 psn);
struct tide_burst *tide_outbox_add(struct tide_outbox *out);
void tide_outbox_send(struct tide_outbox *out);

/* wire_requester.c */
bool tide_wire_run(struct tide_qp *qp, s64 *budget, bool may_sleep);
void tide_wire_tx_start(struct tide_qp *qp);
void tide_wire_tx_forget(struct tide_qp *qp);

/* wire_completer.c */
bool tide_wire_is_waiting(const struct tide_qp *qp);
enum tide_verdict tide_wire_respond(struct tide_qp *qp,
				    const struct tide_arrival *arrival);
void tide_wire_timeout(struct timer_list *timer);

/* wire_responder.c */
enum tide_verdict tide_wire_serve(struct tide_qp *qp,
				  const struct tide_arrival *arrival,
				  struct tide_outbox *out);
bool tide_wire_reply(struct tide_qp *qp, struct tide_outbox *out,
		     struct tide_packet *packet);
void tide_wire_acknowledge(struct tide_qp *qp, struct tide_outbox *out);
void tide_wire_not_ready(struct tide_qp *qp, struct tide_outbox *out);
bool tide_wire_while_paging(struct tide_qp *qp,
			    const struct tide_arrival *arrival,
			    struct tide_outbox *out);

/* wire_credits.c */
u8 tide_wire_credits(const struct tide_qp *qp);
void tide_wire_await_receive(struct tide_qp *qp, struct tide_outbox *out);
void tide_wire_receives_posted(struct tide_qp *qp);

#endif /* TIDE_WIRE_H */
