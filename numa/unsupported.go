//go:build !linux

package numa

// NUMA placement here is sysfs and Linux system calls. This line stops the build with its own name as
// the reason.
var _ = penstock_requires_linux
