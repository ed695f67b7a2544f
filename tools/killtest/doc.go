// Package killtest kills the real binary with SIGKILL at random moments, under a load of puts, overwrites, deletes,
// copies and multipart uploads, and holds it to its promise after every restart:
//
//   - what was acknowledged reads back bit for bit;
//   - what was not is there whole or not at all, and stays as it was first seen;
//   - GET, HEAD and LIST agree;
//   - an upload in progress keeps the parts it acknowledged, and a completion that was cut off happened or did not.
//
// The workload is in workload_test.go, what may be true after a kill in oracle_test.go. A kill leaves the page cache
// intact: power cuts are the business of the engine's crash tests, this one is about the process, start to stop.
//
//	go test ./tools/killtest -kills 200 -seed 7
package killtest
