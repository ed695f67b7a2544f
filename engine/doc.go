// Package engine is the object store: buckets of objects in, erasure-coded bytes on drives out.
//
// A Store routes each (bucket, key) to a cell, the part of the engine that lives on one NUMA node. A cell
// has drives, a buffer arena, volumes, a journal and an index. Writing goes through these steps:
//
//   - An object up to PackThreshold is one journal record with the bytes inside. Its durable step is the journal's batch.
//   - A larger one is received stripe by stripe into the arena; each row is checksummed and encoded while it is in
//     the cache, and each stripe is written with one vectored write per drive (bulk.go). Stripe n+1 is received while stripe
//     n is written. Then one journal record names the extents, and that record is the commit.
//   - The journal's committer applies each durable batch to the index, in order, and then wakes the writers. So what
//     is acknowledged is durable and visible, and what is visible is durable.
//
// Writes to one key are ordered by a lock on the key that is held from the look at the current object to
// the acknowledgement; this is what makes conditional writes atomic.
//
// Reading looks the key up, reads only the units that the range needs, verifies each one, and hands the buffer to the
// caller's writer. What fails to verify is reconstructed; what cannot be reconstructed is an error, never data (read.go).
//
// The package knows nothing of HTTP or S3: attributes, ETags and conditions cross as values and functions of the caller.
package engine
