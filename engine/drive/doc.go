// Package drive is the one seam between the store and what must survive.
//
// A [Drive] is a device, or the directory that stands for it: segments that are read and written
// by offset, a few small files replaced atomically, and a directory for the index. Everything the
// store keeps crosses these few methods, so whatever stands behind them can be exchanged:
//
//   - [OpenDir] serves a directory of a file system through a ring or a pool of threads.
//   - [NewMem] keeps everything in memory, with the rules of the real thing.
//   - [NewDomain] makes memory drives that lose power together and come back as any of the
//     states a power cut may leave them in.
//   - [Plan] wraps other drives and makes them fail, hang, lie and lose, by script or by seed.
//
// All of them pass one table of conformance tests.
//
// An [Op] is a read or a write. It is handed to the queue of its file with [Submit] and comes back
// once, through its Done. Until then the Op and its buffers belong to the drive, whatever becomes of
// whoever waits for it. A write that completes without error is durable: there is no separate sync
// to forget, to order or to mistrust. Two operations in flight on the same bytes have no order.
//
// Offsets and total lengths are multiples of [BlockLen], because the real thing bypasses the page
// cache. Memory for the real thing comes from the arena for the same reason.
//
// Drives are known by the id in their drive.json, never by path or by order; [Inspect] and [Scan]
// look at directories before anything is opened and refuse, by name and reason, what must not be
// touched. Package drive knows nothing of what the bytes mean. The file system of package vfs
// crosses the seam as a whole, because the index is written through it.
package drive
