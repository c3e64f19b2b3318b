/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Objects by handle, which is what completions name them by.  Whoever polls
 * reads a table without a lock, and may be given any number: the rings are
 * memory that everything in the process can write to.
 */
#ifndef TIDE_TABLE_H
#define TIDE_TABLE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define TIDE_TABLE_PARTS	256
#define TIDE_TABLE_PART		256

/*
 * @lock: for changing the others
 * @part: made when they are needed
 * @next: no handle below it is free
 */
struct tide_table {
	pthread_mutex_t lock;
	void **part[TIDE_TABLE_PARTS];
	uint32_t next;
};

void tide_table_init(struct tide_table *table);
void tide_table_destroy(struct tide_table *table);
int tide_table_add(struct tide_table *table, void *object, uint32_t *handle);
void tide_table_remove(struct tide_table *table, uint32_t handle);

static inline void **tide_table_place(struct tide_table *table, uint32_t handle)
{
	void **part;

	if (handle >= TIDE_TABLE_PARTS * TIDE_TABLE_PART)
		return NULL;

	part = __atomic_load_n(&table->part[handle / TIDE_TABLE_PART],
			       __ATOMIC_ACQUIRE);
	return part ? &part[handle % TIDE_TABLE_PART] : NULL;
}

static inline void *tide_table_find(struct tide_table *table, uint32_t handle)
{
	void **place = tide_table_place(table, handle);

	return place ? __atomic_load_n(place, __ATOMIC_ACQUIRE) : NULL;
}

#endif /* TIDE_TABLE_H */
