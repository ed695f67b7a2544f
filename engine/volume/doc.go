// Package volume makes volumes out of segments.
//
// A [Volume] is n = k + m segments of one length on n different drives, written in lockstep: what lies
// at an offset of one belongs with what lies at that offset of the others. Each segment begins with a
// header that names its volume, its place in it and all its drives, so a [Set] finds its volumes again
// by reading headers, in whatever order the drives come and whichever of them are missing.
//
// Geometry is decided volume by volume from the drives that are healthy now; see [Geometry]. A drive
// that fails takes no part in new volumes, and those that it is in go on without it. A full drive makes
// new volumes narrower, never thinner in parity.
//
// Segments of a freed volume are used again: their blocks have been written, so overwriting them costs
// the file system nothing. Their headers say that they are free before anyone may use them, so
// no start takes them for live. If some headers could not be rewritten, because a drive was away or
// power failed, the volume comes back with the shards that are left; whoever knows what is live
// frees it again. Ids are never used twice, so it cannot be mistaken for another.
//
// A shard can move to another segment, on a drive that the volume does not use yet, or back: [Set.Replace]. The
// header of the new segment is written last and says when that was. Of two segments that are the same
// shard of a volume the later one counts, so a drive that was away and returns with the older one
// changes nothing; and two shards of a volume are never on one drive. Only volumes that are written no
// more are moved.
//
// The epoch orders starts. It is one more than any that a header or a drive.json has ever named, and is
// durable on every drive before the first volume bears it. Each start also has a random name, kept in
// drive.json, and counts from [Set.Confirm] on: before that nothing is acknowledged, and nothing that was there is
// changed. So a start that is interrupted binds nobody, and two halves of a store of which each was confirmed
// without the other, which are refused, are told from a drive that was merely away.
//
// Package volume does not know what volumes hold. Whoever does decides when one is freed or trimmed,
// and pins it while something may still be reading or writing it.
package volume
