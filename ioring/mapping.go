//go:build linux

package ioring

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapAnonymous maps private memory outside the Go heap, zeroed, starting at a multiple of align.
func mapAnonymous(size, align int, flags int) ([]byte, error) {
	const mode = unix.PROT_READ | unix.PROT_WRITE
	page := os.Getpagesize() // 64 KiB on some arm64 kernels.
	align = max(align, page)
	length := size
	size = (size + page - 1) &^ (page - 1)
	// Map too much and give the ends back: mmap itself aligns only to pages, or for huge pages to theirs.
	whole, err := unix.MmapPtr(-1, 0, nil, uintptr(size+align), mode, unix.MAP_PRIVATE|unix.MAP_ANON|flags)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	before := -uintptr(whole) & uintptr(align-1)
	after := uintptr(align) - before
	start := unsafe.Add(whole, before)
	if before > 0 {
		unix.MunmapPtr(whole, before)
	}
	if after > 0 {
		unix.MunmapPtr(unsafe.Add(start, size), after)
	}
	return unsafe.Slice((*byte)(start), length), nil
}

func unmap(memory []byte) error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(unsafe.Pointer(&memory[0]), uintptr(len(memory))))
}
