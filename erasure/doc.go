// Package erasure turns bytes into shards and back, lays them out, and sums them.
//
// It holds three things that belong together because one pass over hot bytes does all of them:
//
//   - [Code] computes m parity shards from k data shards and rebuilds what is missing.
//   - [Layout] is the geometry of a bulk stripe: which object bytes lie in which unit, where each
//     unit lies in its drive's column, and which units a byte range needs.
//   - CRC64NVME of units ([Checksum]), and the arithmetic that makes the checksum of a whole object
//     out of the checksums of its pieces ([Combine]).
//
// [Stripe] binds them: a stripe in memory whose rows are summed and encoded one at a time, while
// they are still in the cache the socket read left them in.
//
// The package is pure: no files, no goroutines of its own, no clock. Everything in it is safe for
// concurrent use as long as callers do not share the buffers they pass in. It does not decide
// anything: which drives, when to read degraded, what to do about a mismatch is the engine's.
//
// What is stored depends on two choices made here, and both are pinned by tests: the coding matrix
// (systematic Vandermonde over GF(2^8) with polynomial 0x11d) and the geometry of [Layout].
package erasure
