// Torture runs the real binary under a load of puts, overwrites, deletes, copies, multipart uploads and versions, does to it what
// the world does to data nodes, and holds it to its promises all the while:
//
//   - what was acknowledged reads back bit for bit;
//   - what was not is there whole or not at all, and stays as it was first seen;
//   - GET, HEAD and LIST agree, and no condition is decided against what is known;
//   - an upload in progress keeps the parts it acknowledged, and a completion that was cut off happened or did not;
//   - with as many drives gone as there is parity, everything reads and writes go on; with more, the answer is never that
//     something does not exist.
//
// A campaign is one node on one set of drives: directories, or file systems in files (ext4 and XFS, which takes root and loop
// devices; what a machine cannot do is left out, and the report says why). It goes through rounds of load and trouble: see
// troubles for the list. What is lost or rotten at a time stays within the parity until healing is over, except in rounds that
// mean to go beyond.
//
// The oracle knows of each key which writes may be its last: oracle.go, and versions.go for buckets with versions. A seed brings
// back the load and the troubles; the moments at which they meet depend on the machine.
//
//	go run ./tools/torture -duration 10m -seed 7 -only kill,power
//
// It runs itself in a mount namespace of its own, so that no mount outlives it.
package main
