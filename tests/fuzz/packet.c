// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * Any bytes, as a packet: what is parsed lies within them, and built again is
 * the same.
 *
 * The input is the length of the datagram, two bytes, 0 for that of what
 * follows; and what is there of it.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../../kernel/packet.c"
#include "../unit/defined.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_parsed(struct tide_packet *packet, const __u8 *data,
			 __u32 avail, __u32 total)
{
	__u8 built[TIDE_MAX_HEADER_LEN];
	const __u32 len = packet->header_len;

	must(packet->opcode == data[0]);
	must(len <= avail && len <= TIDE_MAX_HEADER_LEN);
	must(packet->payload_len <= TIDE_MAX_PAYLOAD_LEN);
	must(len + packet->payload_len +
	     tide_packet_pad(packet->payload_len) + TIDE_ICRC_LEN == total);
	must(tide_packet_build(packet, built) == len);
	must(defined_bits_equal(packet->opcode, built, data));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct tide_packet packet;
	__u32 avail, total;
	__u8 *data;

	if (size < 2)
		return 0;
	avail = size - 2;
	total = input[0] << 8 | input[1];
	if (!total)
		total = avail;
	/* A copy of its own, so that reading past its end is noticed. */
	data = malloc(avail);
	must(data || !avail);
	memcpy(data, input + 2, avail);
	if (tide_packet_parse(&packet, data, avail, total))
		check_parsed(&packet, data, avail, total);
	free(data);
	return 0;
}
