// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#include <errno.h>
#include <stdlib.h>

#include "table.h"

void tide_table_init(struct tide_table *table)
{
	pthread_mutex_init(&table->lock, NULL);
}

void tide_table_destroy(struct tide_table *table)
{
	int i;

	for (i = 0; i < TIDE_TABLE_PARTS; i++)
		free(table->part[i]);
	pthread_mutex_destroy(&table->lock);
}

/* table->lock is held. */
static int take_handle(struct tide_table *table, void *object,
		       uint32_t *handle)
{
	const uint32_t num = TIDE_TABLE_PARTS * TIDE_TABLE_PART;
	void **place, **part;
	uint32_t i, n;

	for (i = 0; i < num; i++) {
		n = (table->next + i) % num;
		place = tide_table_place(table, n);
		if (!place) {
			part = calloc(TIDE_TABLE_PART, sizeof(*part));
			if (!part)
				return ENOMEM;
			__atomic_store_n(&table->part[n / TIDE_TABLE_PART],
					 part, __ATOMIC_RELEASE);
			place = tide_table_place(table, n);
		}
		if (*place)
			continue;

		__atomic_store_n(place, object, __ATOMIC_RELEASE);
		*handle = n;
		table->next = n;
		return 0;
	}
	return ENOMEM;
}

/* Gives @object a handle. */
int tide_table_add(struct tide_table *table, void *object, uint32_t *handle)
{
	int err;

	pthread_mutex_lock(&table->lock);
	err = take_handle(table, object, handle);
	pthread_mutex_unlock(&table->lock);
	return err;
}

/* The handle is free again, and the first to be used: the parts stay few. */
void tide_table_remove(struct tide_table *table, uint32_t handle)
{
	pthread_mutex_lock(&table->lock);
	__atomic_store_n(tide_table_place(table, handle), NULL,
			 __ATOMIC_RELEASE);
	if (handle < table->next)
		table->next = handle;
	pthread_mutex_unlock(&table->lock);
}
