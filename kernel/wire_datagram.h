/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * wire_datagram.h - the wire carrier of datagrams: one packet each.
 */
#ifndef TIDE_WIRE_DATAGRAM_H
#define TIDE_WIRE_DATAGRAM_H

#include <linux/types.h>

struct tide_arrival;
struct tide_datagram;
struct tide_qp;

bool tide_wire_send_datagram(struct tide_qp *qp,
			     const struct tide_datagram *dg);
void tide_wire_receive_datagram(const struct tide_arrival *arrival);

#endif /* TIDE_WIRE_DATAGRAM_H */
