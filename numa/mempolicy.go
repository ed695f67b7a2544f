//go:build linux

package numa

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrPolicy is in every error that says the kernel would not place memory: it has no NUMA, no such
// node, or a container's rules forbid the call. The memory works all the same, perhaps more slowly.
var ErrPolicy = errors.New("memory policy refused")

// BindMemory has the pages of b, which must be a page-aligned mapping that is not yet touched, come
// from the given NUMA node alone; where the kernel does not take that, from that node first. Pages that
// are already there stay where they are.
//
// UnknownNode binds nothing and is not an error.
func BindMemory(b []byte, node int) error {
	if node == UnknownNode || len(b) == 0 {
		return nil
	}
	mask, err := maskOf(node)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	var errno unix.Errno
	for _, mode := range []int{unix.MPOL_BIND, unix.MPOL_PREFERRED} {
		_, _, errno = unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			uintptr(mode), uintptr(unsafe.Pointer(&mask[0])), mask.maxNode(), 0)
		if errno == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: mbind to NUMA node %d: %w", ErrPolicy, node, errno)
}

func setThreadMemoryPolicy(mode, node int) error {
	mask, err := maskOf(node)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SET_MEMPOLICY, uintptr(mode), uintptr(unsafe.Pointer(&mask[0])), mask.maxNode())
	if errno != 0 {
		return fmt.Errorf("%w: set_mempolicy to NUMA node %d: %w", ErrPolicy, node, errno)
	}
	return nil
}

// maxNode is the length that the memory policy calls want: the kernel takes one off before it counts
// the bits, so a mask of 64 is announced as 65.
func (m bitmask) maxNode() uintptr { return uintptr(len(m)*64 + 1) }
