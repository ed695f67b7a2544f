// Command goals measures the node end to end against what it is meant to cost, and two builds of it against each other.
//
//	go run ./tools/goals                                   # build the tree, measure it, print the goals and what was reached
//	go run ./tools/goals -base old/penstock -out /tmp/x    # both, in turns, and files for benchstat
//	go run ./tools/goals -run 'PUT 4KiB' -reps 9           # some of it, more often
//
// A node of 4+2 runs over six directories, pinned to one core; the load generator, "penstock bench", is pinned to another. Each load runs
// several times, in turns with all others and with the other build, so that a slow minute of the machine hits all alike. What counts is the CPU time of
// the server for a request or a GiB, as the median of the repetitions: unlike throughput it hardly depends on what else the machine does.
package main
