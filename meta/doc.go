// Package meta is the index: which buckets, objects, uploads and blobs there are, and where the bytes lie.
//
// It rests on five ideas.
//
// The index is a view of the journal. Every change is a Record, appended to the journal before it comes here; Apply
// brings the index from one Position to the next, and what it does depends on the index, the LSN and the record alone. So the
// index needs no log of its own: Pebble runs without one. After a crash it holds exactly what the records up to its
// Position make, never half a batch, and the journal is replayed from there. FlushedPosition says how far back that can be.
//
// The record with the highest origin LSN holds an entity. Removals are records too (tombstones). That makes the outcome
// independent of the order in which records are read, and a Rebuild possible from all journals together.
//
// Versions of a key are ordered by their numbers, and the newest one is current. It lies apart from the others, and delete markers apart
// from both: a listing of objects costs the same however many versions and deleted keys there are.
//
// Blobs are shared. An object or part references slices of blobs, each reference counts, and a blob goes with its last
// one. Copying and completing uploads move references and never bytes.
//
// Space is counted as it changes. For each volume the index knows the bytes that still matter, to the store's contents or to a
// rebuild, and Effects names the volumes that have none left. Nothing ever walks the index to find out.
//
//	Record ──AppendTo──► journal ──Apply──► Index ──► GetObject, GetBlob, ListObjects …
//	                        │                 │
//	                        │             Checkpoint ──► copied to other drives, opened in place of a lost index
//	                        └──any order──► Rebuild ──► Index
//
// The formats are drawn where they are written: records in record.go, entities in entity_codec.go and blob_codec.go, keys in key.go, and what
// they are all made of in codec.go.
//
// Damage is met with an error. Whatever cannot be opened is ErrUnusable, whatever cannot be read ErrCorrupt, and an index whose
// drive fails under it is ErrFailed from then on; neither Pebble's fatal errors nor its waiting get past this package.
//
// Package meta does not know what attributes mean, does not read or write volumes, and does not decide: that a bucket is empty before
// it is deleted, that an upload exists when it is completed, and which dead volume may be freed, its caller sees to.
package meta
