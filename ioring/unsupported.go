//go:build !linux

package ioring

// io_uring, O_DIRECT and huge pages are Linux. This line stops the build with its own name as the
// reason.
var _ = penstock_requires_linux
