// Package doctor looks at a machine and says what speaks against running a node on it, or for its being slow.
//
// Every check looks at one thing and returns findings. A finding that is good says what is there; one that is not says what would be
// right. Nothing is changed.
//
//	kernel    io_uring, by opening a ring; CPU features; clock; limits of the process
//	memory    what is free, huge pages, swap
//	drives    file system, mount, free space, direct I/O, write cache, scheduler; that they are different devices
//	placement drives, network interfaces and processors on the same NUMA node
//	network   speed, MTU, queues of the kernel
package doctor
