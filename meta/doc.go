// Package meta is the index: it knows the buckets, objects, uploads, parts and blobs, and where their bytes lie.
//
// The index is a view of the journal and never the truth. The engine appends logical records (record.go) to the
// journal, and once a batch is durable hands it to [Index.Apply], which is a function of (index, LSN, record) alone. Each
// change of the index carries the journal position it brings the index to, so the Pebble database underneath needs no
// log of its own: after a crash it is at some earlier position, and the engine applies the journal from there.
//
// entity.go says what is indexed, key.go how the key space is laid out, rebuild.go how an index that is lost comes back
// from the journals alone, and checkpoint.go how a copy of it is taken for another drive.
//
// Reads may be made from any goroutine at any time and see whole batches. The package does no I/O but Pebble's, and
// knows nothing of drives, shards and protocols.
package meta
