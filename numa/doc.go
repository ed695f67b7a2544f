// Package numa knows which CPUs, memory, drives and network cards of a machine belong together, and
// puts threads and memory where the caller asks.
//
// A NUMA node is a group of CPUs with memory of their own; reaching the memory of another NUMA node
// costs bandwidth that a storage node at line rate does not have to spare. [Read] reports the nodes
// from sysfs; [Topology.BlockDeviceNode] and [Topology.InterfaceNode] say to which of them a drive or a
// network card is wired. [PinThread] keeps a thread on chosen CPUs, [BindMemory] places memory,
// [BindProcess] prepares a whole process, and [SteerByCPU] lets the kernel hand a new connection to the
// listener that lives where its packets arrive.
//
// What Go allows bounds what can be promised. Goroutines migrate between threads, and the garbage
// collector's workers, the network poller and the runtime's monitor run where the scheduler puts them.
// So only a goroutine locked to its thread can be pinned, a memory mapping can be bound, and a process
// can be started bound as a whole; nothing else here is claimed to be local.
//
// Everything degrades to "unknown": a virtual machine often has no numa_node file for its drives, a
// container may forbid memory policies. Unknown is [UnknownNode], never an error, and a refused memory
// policy is [ErrPolicy], which a caller may log and forget.
package numa
