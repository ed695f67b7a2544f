//go:build !race

package erasure_test

const raceEnabled = false
