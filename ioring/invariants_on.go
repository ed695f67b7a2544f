//go:build linux && invariants

package ioring

// invariants turns on the checks that are too dear for production: memory is poisoned when it is
// released, and a Buf that the kernel still uses cannot be.
const invariants = true
