// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What tests/scenarios/apps has MPI run: messages around a ring of all ranks,
 * of all sizes and all under way at once, and sums over them.  All that
 * arrives is compared.
 *
 * Buffers are kept.  Open MPI 5 over libfabric uses registrations of memory
 * that was freed, and given back to the system, for what has come in its place.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUMS	5000

static const int sizes[] = { 0, 1, 255, 4097, 70001, 600001 };

#define SIZES	((int)(sizeof(sizes) / sizeof(sizes[0])))

static unsigned char *out[SIZES], *in[SIZES];
static int rank, ranks, errors;

static unsigned char byte_of(int sender, int size, int i)
{
	return sender * 89 + size + i * 7 + i / 251;
}

static unsigned char *buffer(int size)
{
	unsigned char *buf = malloc(size + 1);

	if (!buf)
		MPI_Abort(MPI_COMM_WORLD, 1);
	return buf;
}

static void make_buffers(void)
{
	int n, i;

	for (n = 0; n < SIZES; n++) {
		in[n] = buffer(sizes[n]);
		out[n] = buffer(sizes[n]);
		for (i = 0; i < sizes[n]; i++)
			out[n][i] = byte_of(rank, sizes[n], i);
	}
}

static void compare(const unsigned char *buf, int size, int sender)
{
	int i;

	for (i = 0; i < size && buf[i] == byte_of(sender, size, i); i++)
		;
	if (i == size)
		return;
	errors++;
	printf("rank %d: byte %d of %d from rank %d\n", rank, i, size, sender);
}

static void ring(void)
{
	int next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
	MPI_Request requests[2 * SIZES];
	int n;

	/* The latter half of the receives comes after what is to be received. */
	for (n = 0; n < SIZES / 2; n++)
		MPI_Irecv(in[n], sizes[n], MPI_BYTE, last, n, MPI_COMM_WORLD,
			  &requests[n]);
	for (n = 0; n < SIZES; n++)
		MPI_Isend(out[n], sizes[n], MPI_BYTE, next, n, MPI_COMM_WORLD,
			  &requests[SIZES + n]);
	for (n = SIZES / 2; n < SIZES; n++)
		MPI_Irecv(in[n], sizes[n], MPI_BYTE, last, n, MPI_COMM_WORLD,
			  &requests[n]);
	MPI_Waitall(2 * SIZES, requests, MPI_STATUSES_IGNORE);
	for (n = 0; n < SIZES; n++) {
		compare(in[n], sizes[n], last);
		memset(in[n], 0, sizes[n]);
	}
}

static void sums(void)
{
	static long addends[SUMS], sum[SUMS];
	int i;

	for (i = 0; i < SUMS; i++)
		addends[i] = (long)i * (rank + 1);
	MPI_Allreduce(addends, sum, SUMS, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
	for (i = 0; i < SUMS; i++) {
		if (sum[i] == (long)i * ranks * (ranks + 1) / 2)
			continue;
		errors++;
		printf("rank %d: sum %d is %ld\n", rank, i, sum[i]);
		return;
	}
}

int main(int argc, char **argv)
{
	int all, i;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	make_buffers();
	for (i = 0; i < 3; i++) {
		ring();
		sums();
	}
	MPI_Allreduce(&errors, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	MPI_Finalize();
	return all != 0;
}
