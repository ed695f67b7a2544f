//go:build linux && giouring

package ioring_test

const haveGiouring = true
