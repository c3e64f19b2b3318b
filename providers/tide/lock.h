/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Locks that are none where the program has said that one thread at a time
 * comes there: queues of a thread domain, and single-threaded completion
 * queues.
 */
#ifndef TIDE_LOCK_H
#define TIDE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

struct tide_lock {
	pthread_spinlock_t spin;
	bool needed;
};

static inline void tide_lock_init(struct tide_lock *lock, bool needed)
{
	pthread_spin_init(&lock->spin, PTHREAD_PROCESS_PRIVATE);
	lock->needed = needed;
}

static inline void tide_lock_destroy(struct tide_lock *lock)
{
	pthread_spin_destroy(&lock->spin);
}

static inline void tide_lock(struct tide_lock *lock)
{
	if (lock->needed)
		pthread_spin_lock(&lock->spin);
}

static inline void tide_unlock(struct tide_lock *lock)
{
	if (lock->needed)
		pthread_spin_unlock(&lock->spin);
}

#endif /* TIDE_LOCK_H */
