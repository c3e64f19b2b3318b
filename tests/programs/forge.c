// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * forge - send packets of RoCEv2 that nobody should believe, as if they came
 * from another host.
 *
 *	forge FROM TO QPN QKEY PSN COUNT WHAT...
 *
 * FROM and TO are addresses, IPv4 or IPv6.  A transfer to queue pair QPN at TO
 * is going on that began with packet sequence number PSN and has come less than
 * two million packets far.  WHAT is, each about COUNT times:
 *
 *	icrc		a wrong ICRC
 *	bursts		the same, in bursts of BURST packets that the kernel cuts up,
 *			or does not
 *	qpn		another queue pair's number, 0 and 0xffffff included
 *	pkey		another partition
 *	qkey		a datagram with another Q_Key
 *	opcodes		each of the 256 opcodes, and lengths, far ahead of what
 *			is expected and far behind
 *	acks		responses to requests that were never made
 *	cnps		congestion notifications of another partition, half of
 *			them for another queue pair, too
 *	truncated	all kinds, cut off behind each byte
 *	random		random bytes, half of them with a correct ICRC, and
 *			half of those for QPN
 *
 * But for the first two, and for some at random, their ICRC is right.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT		4791
#define BTH		12
#define ICRC		4
#define MOST		1400		/* bytes from the BTH to the ICRC */
#define BURST		8
#define CNP		0x81		/* an opcode */
#define AHEAD		0x400000	/* further than any window goes */

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static int family, sock;
static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} from, to;
static socklen_t address_len;
static uint32_t qpn, qkey, psn, count;
static uint64_t sent;

static uint64_t random_u64(void)
{
	static uint64_t state;

	if (!state)
		state = (uint64_t)getpid() * 0x9e3779b97f4a7c15ULL | 1;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

static uint32_t below(uint32_t limit)
{
	return (random_u64() >> 11) % limit;
}

static void random_fill(uint8_t *at, size_t len)
{
	while (len--)
		*at++ = random_u64() >> 32;
}

/* The CRC of Ethernet. */
static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t len)
{
	static uint32_t table[256];
	uint32_t i, j;

	for (i = 0; !table[255] && i < 256; i++) {
		table[i] = i;
		for (j = 0; j < 8; j++)
			table[i] = table[i] >> 1 ^ (table[i] & 1) * 0xedb88320;
	}
	while (len--)
		crc = crc >> 8 ^ table[(crc ^ *data++) & 0xff];
	return crc;
}

struct packet {
	uint8_t bytes[sizeof(struct ip6_hdr) + sizeof(struct udphdr) + MOST];
	size_t ip_len;
};

static uint8_t *body(struct packet *packet)
{
	return packet->bytes + packet->ip_len + sizeof(struct udphdr);
}

static void put_ip(struct packet *packet, size_t len)
{
	struct iphdr *v4 = (void *)packet->bytes;
	struct ip6_hdr *v6 = (void *)packet->bytes;

	memset(packet->bytes, 0, packet->ip_len);
	if (family == AF_INET) {
		v4->version = 4;
		v4->ihl = 5;
		v4->tot_len = htons(packet->ip_len + len);
		/* A zero would be replaced, and the ICRC covers it. */
		v4->id = htons(1 + below(0xffff));
		v4->frag_off = htons(IP_DF);
		v4->ttl = 64;
		v4->protocol = IPPROTO_UDP;
		v4->saddr = from.v4.sin_addr.s_addr;
		v4->daddr = to.v4.sin_addr.s_addr;
	} else {
		v6->ip6_vfc = 0x60;
		v6->ip6_plen = htons(len);
		v6->ip6_nxt = IPPROTO_UDP;
		v6->ip6_hlim = 64;
		v6->ip6_src = from.v6.sin6_addr;
		v6->ip6_dst = to.v6.sin6_addr;
	}
}

static struct udphdr *put_udp(struct packet *packet, size_t len)
{
	struct udphdr *udp = (void *)(packet->bytes + packet->ip_len);

	udp->source = htons(0xc000 + below(0x4000));
	udp->dest = htons(PORT);
	udp->len = htons(len);
	udp->check = 0;
	return udp;
}

/* IBTA annex A17.3.3: with ones in place of what changes on the way. */
static uint32_t icrc_of(const struct packet *packet, size_t len)
{
	static const uint8_t lrh[8] = {
		255, 255, 255, 255, 255, 255, 255, 255,
	};
	struct packet copy = *packet;
	uint8_t *ip = copy.bytes;
	uint32_t crc = crc32(0xffffffff, lrh, sizeof(lrh));

	if (family == AF_INET) {
		ip[1] = ip[8] = ip[10] = ip[11] = 255;
	} else {
		ip[0] |= 0x0f;
		ip[1] = ip[2] = ip[3] = ip[7] = 255;
	}
	memset(ip + copy.ip_len + offsetof(struct udphdr, check), 255, 2);
	body(&copy)[4] = 255;
	return ~crc32(crc, ip, copy.ip_len + sizeof(struct udphdr) + len);
}

/* Over IPv6 there has to be one. */
static void put_checksum(struct packet *packet, struct udphdr *udp, size_t len)
{
	const uint8_t *at = packet->bytes + offsetof(struct ip6_hdr, ip6_src);
	const uint8_t *end = packet->bytes + packet->ip_len + len;
	uint32_t sum = IPPROTO_UDP + len;

	for (; at + 1 < end; at += 2)
		sum += at[0] << 8 | at[1];
	if (at < end)
		sum += at[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	udp->check = htons(sum == 0xffff ? sum : ~sum & 0xffff);
}

/* @len bytes from the BTH on are there; they are closed by an ICRC. */
static void emit(struct packet *packet, size_t len, bool right)
{
	size_t udp_len = sizeof(struct udphdr) + len + ICRC;
	struct udphdr *udp;
	uint32_t icrc;

	put_ip(packet, udp_len);
	udp = put_udp(packet, udp_len);
	icrc = htole32(icrc_of(packet, len));
	if (!right)
		icrc ^= 1U << below(32);
	memcpy(body(packet) + len, &icrc, ICRC);
	if (family == AF_INET6)
		put_checksum(packet, udp, udp_len);
	while (sendto(sock, packet->bytes, packet->ip_len + udp_len, 0,
		      &to.any, address_len) < 0)
		if (errno != ENOBUFS && errno != EAGAIN)
			err(1, "sendto");
	sent++;
}

/* Some length, without its ICRC, that is none a packet has. */
static void emit_short(struct packet *packet, size_t udp_payload)
{
	size_t udp_len = sizeof(struct udphdr) + udp_payload;
	struct udphdr *udp;

	put_ip(packet, udp_len);
	udp = put_udp(packet, udp_len);
	if (family == AF_INET6)
		put_checksum(packet, udp, udp_len);
	if (sendto(sock, packet->bytes, packet->ip_len + udp_len, 0, &to.any,
		   address_len) < 0)
		err(1, "sendto");
	sent++;
}

/* What packets consist of */

enum header {
	DETH = 1, XRCETH = 2, RETH = 4, ATOMICETH = 8, AETH = 16,
	ATOMICACK = 32, IMM = 64, IETH = 128, FETH = 256, PAYLOAD = 512,
};

/* By operation, the lower five bits of an opcode. */
static const uint16_t headers_of[32] = {
	[0x00] = PAYLOAD, [0x01] = PAYLOAD, [0x02] = PAYLOAD,
	[0x03] = IMM | PAYLOAD, [0x04] = PAYLOAD, [0x05] = IMM | PAYLOAD,
	[0x06] = RETH | PAYLOAD, [0x07] = PAYLOAD, [0x08] = PAYLOAD,
	[0x09] = IMM | PAYLOAD, [0x0a] = RETH | PAYLOAD,
	[0x0b] = RETH | IMM | PAYLOAD, [0x0c] = RETH,
	[0x0d] = AETH | PAYLOAD, [0x0e] = PAYLOAD, [0x0f] = AETH | PAYLOAD,
	[0x10] = AETH | PAYLOAD, [0x11] = AETH, [0x12] = AETH | ATOMICACK,
	[0x13] = ATOMICETH, [0x14] = ATOMICETH, [0x16] = IETH | PAYLOAD,
	[0x17] = IETH | PAYLOAD, [0x1c] = FETH | RETH, [0x1d] = RETH | PAYLOAD,
};

static const struct {
	uint16_t header;
	uint8_t len;
} lengths[] = {
	{ DETH, 8 }, { XRCETH, 4 }, { FETH, 4 }, { RETH, 16 },
	{ ATOMICETH, 28 }, { AETH, 4 }, { ATOMICACK, 8 }, { IMM, 4 },
	{ IETH, 4 },
};

static uint16_t headers(uint8_t opcode)
{
	uint16_t all = headers_of[opcode & 0x1f];

	if (opcode >> 5 == 3)
		all |= DETH;
	if (opcode >> 5 == 5 && !(all & (AETH | ATOMICACK)))
		all |= XRCETH;
	return all;
}

static void put24(uint8_t *at, uint32_t value)
{
	at[0] = value >> 16;
	at[1] = value >> 8;
	at[2] = value;
}

static void put32(uint8_t *at, uint32_t value)
{
	at[0] = value >> 24;
	put24(at + 1, value);
}

static void put_bth(struct packet *packet, uint8_t opcode, uint32_t dest,
		    uint32_t number)
{
	uint8_t *bth = body(packet);

	memset(bth, 0, BTH);
	bth[0] = opcode;
	bth[1] = 0x40;
	bth[2] = bth[3] = 0xff;
	put24(bth + 5, dest);
	bth[8] = 0x80;
	put24(bth + 9, number);
}

/*
 * A packet as it might be, with a payload of @payload bytes if it has any; its
 * length.  All but what is known is random.
 */
static size_t make(struct packet *packet, uint8_t opcode, uint32_t dest,
		   uint32_t number, size_t payload)
{
	uint16_t all = headers(opcode);
	uint8_t *at = body(packet) + BTH;
	size_t i, len;

	put_bth(packet, opcode, dest, number);
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		if (!(all & lengths[i].header))
			continue;
		random_fill(at, lengths[i].len);
		if (lengths[i].header == DETH)
			put32(at, qkey);
		if (lengths[i].header == AETH)
			*at &= 0x7f;
		at += lengths[i].len;
	}
	if (all & PAYLOAD) {
		random_fill(at, payload + 3);
		body(packet)[1] |= (-payload & 3) << 4;
		at += (payload + 3) & ~3;
	}
	len = at - body(packet);
	return len;
}

/* As queue pairs of a transport want them. */
static uint8_t some_opcode(void)
{
	static const uint8_t transports[] = { 0x00, 0x00, 0x20, 0x60, 0xa0 };
	uint8_t op;

	do {
		op = below(32);
	} while (!headers_of[op]);
	return transports[below(ARRAY_SIZE(transports))] | op;
}

/* Where the transfer is, or will be. */
static uint32_t likely(void)
{
	return (psn + below(4000)) & 0xffffff;
}

static uint32_t far_off(void)
{
	uint32_t distance = AHEAD / 2 + below(AHEAD / 2);

	return (psn + (below(2) ? AHEAD + distance : -distance)) & 0xffffff;
}

static void forge_icrc(struct packet *packet)
{
	emit(packet, make(packet, some_opcode(), qpn, likely(), below(1200)),
	     false);
}

/* Like those of the module itself, by a socket as everybody may have one. */
static int burst_socket(size_t len)
{
	int segment = len;
	int sock = socket(family, SOCK_DGRAM, 0);
	typeof(to) port = to;

	if (family == AF_INET)
		port.v4.sin_port = htons(PORT);
	else
		port.v6.sin6_port = htons(PORT);
	if (sock < 0 || bind(sock, &from.any, address_len) ||
	    connect(sock, &port.any, address_len) ||
	    setsockopt(sock, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		err(1, "a socket for bursts");
	return sock;
}

static void forge_bursts(struct packet *packet)
{
	static uint8_t burst[BURST][BTH + 1024 + ICRC];
	static int sock = -1;
	uint32_t number = likely();
	int i;

	if (sock < 0)
		sock = burst_socket(sizeof(burst[0]));
	random_fill(burst[0], sizeof(burst));
	for (i = 0; i < BURST; i++) {
		put_bth(packet, 0x07, qpn, (number + i) & 0xffffff);
		memcpy(burst[i], body(packet), BTH);
	}
	while (send(sock, burst, sizeof(burst), 0) < 0)
		if (errno != ENOBUFS && errno != EAGAIN)
			err(1, "send");
	sent += BURST;
}

static void forge_qpn(struct packet *packet)
{
	static const uint32_t special[] = { 0, 2, 0xffffff, 0xfffffe };
	uint32_t other;

	do {
		other = below(3) ? qpn ^ (1 + below(0xffffff)) :
				   special[below(ARRAY_SIZE(special))];
	} while (other == qpn || other == 1);
	emit(packet, make(packet, some_opcode(), other, likely(), below(1200)),
	     true);
}

static void forge_pkey(struct packet *packet)
{
	size_t len = make(packet, some_opcode(), qpn, likely(), below(1200));
	uint8_t *bth = body(packet);

	do {
		random_fill(bth + 2, 2);
	} while ((bth[2] & 0x7f) == 0x7f && bth[3] == 0xff);
	emit(packet, len, true);
}

static void forge_qkey(struct packet *packet)
{
	size_t len = make(packet, 0x64 + below(2), qpn, likely(), below(1000));

	put32(body(packet) + BTH, qkey ^ (1 + below(0x7fffffff)));
	emit(packet, len, true);
}

static void forge_opcodes(struct packet *packet)
{
	static const uint16_t payloads[] = { 0, 1, 4, 255, 256, 1000, 1024 };
	uint8_t opcode = sent;
	uint32_t number = far_off();

	/* These would be right, for a queue pair of datagrams. */
	if (opcode == 0x64 || opcode == 0x65)
		opcode = 0x66;
	emit(packet, make(packet, opcode, qpn, number,
			  payloads[below(ARRAY_SIZE(payloads))]), true);
}

static void forge_acks(struct packet *packet)
{
	static const uint8_t responses[] = { 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12 };

	emit(packet, make(packet, responses[below(ARRAY_SIZE(responses))], qpn,
			  far_off(), below(2) ? 1024 : below(1024)), true);
}

static void forge_cnps(struct packet *packet)
{
	uint32_t other = below(2) ? 1 + below(0xffffff) : 0;
	uint8_t *bth = body(packet);

	put_bth(packet, CNP, qpn ^ other, 0);
	bth[2] ^= 1 << below(7);
	bth[4] = 0x40;
	memset(bth + BTH, 0, 16);
	emit(packet, BTH + 16, true);
}

/* All that is left of a packet is as it was. */
static void forge_truncated(struct packet *packet)
{
	uint8_t opcode = some_opcode();
	size_t len = make(packet, opcode, qpn, far_off(), below(8));
	size_t cut = below(len);

	/* What is cut in its payload may be well-formed still. */
	if (opcode >> 5 == 3)
		put32(body(packet) + BTH, ~qkey);
	if (cut >= BTH)
		emit(packet, cut, true);
	else
		emit_short(packet, cut);
}

static void forge_random(struct packet *packet)
{
	size_t len = below(2) ? below(80) : below(MOST - ICRC);

	random_fill(body(packet), len);
	if (len < BTH) {
		emit_short(packet, len);
		return;
	}
	/* What it could be: nearly always of version 0, and the partition. */
	body(packet)[1] &= 0xf0;
	body(packet)[2] = body(packet)[3] = 0xff;
	if (below(2)) {
		put24(body(packet) + 5, qpn);
		put24(body(packet) + 9, far_off());
	}
	/* Of those that are sent, some would be sound. */
	if (body(packet)[0] == CNP)
		return;
	/* The connection manager is others' business. */
	if (!memcmp(body(packet) + 5, "\0\0\1", 3))
		return;
	emit(packet, len, below(2));
}

static const struct {
	const char *name;
	void (*forge)(struct packet *packet);
} kinds[] = {
	{ "icrc", forge_icrc },
	{ "bursts", forge_bursts },
	{ "qpn", forge_qpn },
	{ "pkey", forge_pkey },
	{ "qkey", forge_qkey },
	{ "opcodes", forge_opcodes },
	{ "acks", forge_acks },
	{ "cnps", forge_cnps },
	{ "truncated", forge_truncated },
	{ "random", forge_random },
};

static void address(const char *text, struct sockaddr_in *v4,
		    struct sockaddr_in6 *v6)
{
	family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (family == AF_INET)
		v4->sin_family = AF_INET;
	else
		v6->sin6_family = AF_INET6;
	if (!inet_pton(family, text, family == AF_INET ?
		       (void *)&v4->sin_addr : (void *)&v6->sin6_addr))
		errx(2, "%s is no address", text);
}

static void forge(const char *name)
{
	struct packet packet = {
		.ip_len = family == AF_INET ? sizeof(struct iphdr) :
					      sizeof(struct ip6_hdr),
	};
	uint32_t i, j;

	for (i = 0; i < ARRAY_SIZE(kinds) && strcmp(kinds[i].name, name); i++)
		;
	if (i == ARRAY_SIZE(kinds))
		errx(2, "%s: there is no such kind", name);
	for (j = 0; j < count; j++)
		kinds[i].forge(&packet);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 8)
		errx(2, "the first lines of forge.c tell how to use it");
	address(argv[1], &from.v4, &from.v6);
	address(argv[2], &to.v4, &to.v6);
	address_len = family == AF_INET ? sizeof(to.v4) : sizeof(to.v6);
	qpn = strtoul(argv[3], NULL, 0);
	qkey = strtoul(argv[4], NULL, 0);
	psn = strtoul(argv[5], NULL, 0);
	count = strtoul(argv[6], NULL, 0);
	sock = socket(family, SOCK_RAW, IPPROTO_RAW);
	if (sock < 0)
		err(1, "a raw socket");
	for (i = 7; i < argc; i++)
		forge(argv[i]);
	printf("%llu packets\n", (unsigned long long)sent);
	return 0;
}
