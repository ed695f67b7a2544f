// Package ioring reads and writes files on drives through io_uring, from buffers that it owns.
//
// # Queue
//
// [Open] starts a [Queue], [OpenFile] opens a [File] on it, and an [Op] moves bytes between the two. Any
// goroutine submits Ops, in groups; each comes back once, through its Complete function, when the kernel
// is done with it. [Group] makes one wake-up of many completions, [Do] waits for a few Ops.
//
// A ring is owned by one goroutine locked to one thread, pinned to the CPUs of its NUMA node if asked.
// That goroutine alone touches the ring. Everyone else pushes Ops onto a lock-free list and wakes it
// only when it sleeps; it takes the whole list, enters the kernel once, and reaps all there is. It sleeps in the kernel, or,
// when the process runs one goroutine at a time, where that leaves the processor to the others.
// A ring shared under a lock costs twice as much at 64 callers, a polling kernel thread five times.
// What one or two callers submit is cheaper as a plain preadv or pwritev on their own thread:
// [Queue.TryDirect]. Microseconds of CPU for a direct 4 KiB read, and of waiting in brackets, by number of
// callers (BenchmarkQueue, medians on two busy cores of a virtual machine):
//
//	callers              1          2          4          8         64
//	ring            71 (157)    49 (78)    22 (43)    17 (30)   5.7 (13)
//	TryDirect, ring  33 (78)    25 (43)    25 (47)    15 (26)   5.6 (13)
//	threads          44 (93)    30 (44)    24 (31)    22 (31)    22 (32)
//
// The kernel, the memlock limit or a container may refuse parts of this. Open therefore climbs down a
// ladder of rungs, tries each with real operations, and logs the one it stays on; the last is preadv and
// pwritev on a pool of goroutines and works everywhere.
//
// Ops on one device take at most half of a queue's places, so a drive that hangs holds up only itself.
// What the kernel has not given back is never reused: an Op that hangs keeps its memory, its file and its
// place until it returns, also when its caller has gone, when the file is closed, and when the queue is.
// Whoever gave up waiting hears of it again, if ever, through Complete, and must keep the Buf till then.
//
// # Arena
//
// An [Arena] is a fixed piece of memory in huge pages, bound to a NUMA node, outside the Go heap. It
// hands out contiguous [Buf]s and makes callers wait, in fair order, when there is none. Direct files
// (O_DIRECT) transfer only from there. Buffered files take any memory; what is on the Go heap is pinned
// with runtime.Pinner while the kernel has its address.
//
// # What this package does not do
//
// It knows nothing of what the bytes mean: no checksums, no formats, no placement. It tries again only
// what the kernel did not do at all (EINTR, EAGAIN) and continues what it did in part; every other
// failure goes to the caller, a failed sync above all.
package ioring
