/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * trace.h - tracepoints of on-demand paging.
 *
 * An address space is named by its structure's address, which tracing hashes
 * as it hashes all pointers.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tide

#if !defined(TIDE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TIDE_TRACE_H

#include <linux/mm_types.h>
#include <linux/tracepoint.h>

/* A fault has ended: pages came in, or they did not. */
TRACE_EVENT(tide_fault,
	TP_PROTO(const struct mm_struct *mm, unsigned long va,
		 unsigned long len, bool write, unsigned int pages,
		 u64 duration_ns, int ret),
	TP_ARGS(mm, va, len, write, pages, duration_ns, ret),
	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(unsigned long, va)
		__field(unsigned long, len)
		__field(bool, write)
		__field(unsigned int, pages)
		__field(u64, duration_ns)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->va = va;
		__entry->len = len;
		__entry->write = write;
		__entry->pages = pages;
		__entry->duration_ns = duration_ns;
		__entry->ret = ret;
	),
	TP_printk("mm=%p va=0x%lx len=%lu %s pages=%u ns=%llu ret=%d",
		  __entry->mm, __entry->va, __entry->len,
		  __entry->write ? "write" : "read", __entry->pages,
		  __entry->duration_ns, __entry->ret)
);

/* Pages were pinned for one copy, because no fault would serve. */
TRACE_EVENT(tide_fallback,
	TP_PROTO(const struct mm_struct *mm, unsigned long va,
		 unsigned long len, bool write, long pinned),
	TP_ARGS(mm, va, len, write, pinned),
	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(unsigned long, va)
		__field(unsigned long, len)
		__field(bool, write)
		__field(long, pinned)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->va = va;
		__entry->len = len;
		__entry->write = write;
		__entry->pinned = pinned;
	),
	TP_printk("mm=%p va=0x%lx len=%lu %s pinned=%ld",
		  __entry->mm, __entry->va, __entry->len,
		  __entry->write ? "write" : "read", __entry->pinned)
);

/* A leaf was invalidated, from va to last. */
TRACE_EVENT(tide_invalidate,
	TP_PROTO(const struct mm_struct *mm, unsigned long va,
		 unsigned long last, unsigned int pages),
	TP_ARGS(mm, va, last, pages),
	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(unsigned long, va)
		__field(unsigned long, last)
		__field(unsigned int, pages)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->va = va;
		__entry->last = last;
		__entry->pages = pages;
	),
	TP_printk("mm=%p va=0x%lx last=0x%lx pages=%u",
		  __entry->mm, __entry->va, __entry->last, __entry->pages)
);

/* A prefetch of one range has ended. */
TRACE_EVENT(tide_prefetch,
	TP_PROTO(const struct mm_struct *mm, unsigned long va, u64 len,
		 unsigned int advice, unsigned int pages, int ret),
	TP_ARGS(mm, va, len, advice, pages, ret),
	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(unsigned long, va)
		__field(u64, len)
		__field(unsigned int, advice)
		__field(unsigned int, pages)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->va = va;
		__entry->len = len;
		__entry->advice = advice;
		__entry->pages = pages;
		__entry->ret = ret;
	),
	TP_printk("mm=%p va=0x%lx len=%llu advice=%u pages=%u ret=%d",
		  __entry->mm, __entry->va, __entry->len, __entry->advice,
		  __entry->pages, __entry->ret)
);

#endif /* TIDE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
