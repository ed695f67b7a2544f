// Package blackbox attacks the real binary through its port, knowing nothing of what is inside: clients that are slow,
// that vanish, that lie about lengths, that forge signatures, that all want the same key, and drives that go away or
// fill up under them.
//
// Every test starts a node of its own with package harness and ends with an orderly stop, which fails if a buffer was
// not given back. What the operating system tells of the process (memory, descriptors, CPU time) is compared with what
// it told before. BenchmarkCost measures the CPU time that the server spends on each request.
//
// The tests here are short forms that fit into a test run. With -long they last minutes, with thousands of clients.
package blackbox
