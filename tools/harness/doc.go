// Package harness runs the real binary for those who test it from outside: it builds bin/penstock, starts it on a free
// loopback port over directories that stand for drives, waits until it is ready, and stops or kills exactly the
// process it started.
//
// It serves the tests of tools/penstock, the torture of it and the runner of real clients alike. [Start] is for all of
// them; [Serve] is its short form for a test.
package harness
