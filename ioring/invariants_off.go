//go:build linux && !invariants

package ioring

// invariants is off: see invariants_on.go for what it turns on.
const invariants = false
