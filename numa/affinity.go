//go:build linux

package numa

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A bitmask is what the kernel takes for a set of CPUs or NUMA nodes: one bit each, in words of the
// machine's size.
type bitmask []uint64

// maskOf builds a bitmask. The unix package's CPUSet stops at 1,024 CPUs, so masks here are as long as
// they need to be.
func maskOf(members ...int) (bitmask, error) {
	var mask bitmask
	for _, i := range members {
		if i < 0 || i >= maxCPU {
			return nil, fmt.Errorf("numa: no CPU or NUMA node %d", i)
		}
		for len(mask) <= i/64 {
			mask = append(mask, 0)
		}
		mask[i/64] |= 1 << (i % 64)
	}
	return mask, nil
}

func (m bitmask) members() []int {
	var out []int
	for w, word := range m {
		for ; word != 0; word &= word - 1 {
			out = append(out, w*64+bits.TrailingZeros64(word))
		}
	}
	return out
}

// ThreadAffinity returns the CPUs that the calling thread may run on. It says something lasting only to
// a goroutine that is locked to its thread.
func ThreadAffinity() ([]int, error) {
	mask := make(bitmask, maxCPU/64)
	n, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0, uintptr(len(mask)*8), uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return nil, os.NewSyscallError("sched_getaffinity", errno)
	}
	return mask[:n/8].members(), nil
}

func setThreadAffinity(cpus []int) error {
	mask, err := maskOf(cpus...)
	if err != nil {
		return err
	}
	if len(mask) == 0 {
		return errors.New("numa: no CPUs to run on")
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(mask)*8), uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return os.NewSyscallError("sched_setaffinity", errno)
	}
	return nil
}

// PinThread keeps the calling thread on cpus until restore is called on the same thread. The goroutine
// must be locked to its thread for as long: an unlocked one moves on and leaves the pin behind on a
// thread that others will use.
func PinThread(cpus []int) (restore func() error, err error) {
	before, err := ThreadAffinity()
	if err != nil {
		return nil, err
	}
	if err := setThreadAffinity(cpus); err != nil {
		return nil, err
	}
	tid := unix.Gettid()
	return func() error {
		if unix.Gettid() != tid {
			panic("numa: affinity restored on another thread; the goroutine was not locked")
		}
		return setThreadAffinity(before)
	}, nil
}

// BindProcess prepares the calling thread so that a program it executes (not forks: executes, in place)
// runs on the CPUs of n and takes its memory there first. It locks the goroutine to the thread, for
// good, because both settings belong to the thread that calls exec.
//
// Memory is preferred on n, not confined to it: a process confined to a full NUMA node is killed while
// the machine has memory to spare, and slower is better than dead. When the memory policy is refused
// the error is [ErrPolicy] and the CPUs are set all the same.
func BindProcess(n Node) error {
	runtime.LockOSThread()
	if err := setThreadAffinity(n.CPUs); err != nil {
		return fmt.Errorf("NUMA node %d: %w", n.ID, err)
	}
	return setThreadMemoryPolicy(unix.MPOL_PREFERRED, n.ID)
}
