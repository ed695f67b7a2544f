//go:build !amd64

package md5lanes

const wide = false

func blocks16(*[4][Lanes]uint32, *[Lanes]*byte, int) {
	panic("md5lanes: no registers wide enough; New returns another hash here")
}
