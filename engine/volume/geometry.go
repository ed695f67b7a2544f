package volume

// MaxShards is the largest k + m. With more drives than that, each volume takes the drives with the most
// room: wider volumes save little more space and make every stripe wait for more drives.
const MaxShards = 16

// Geometry returns k and m for a new volume on the given number of healthy drives.
//
// A parity of -1 stands for this table:
//
//	drives  1    2    3    4    5    6    7    8    9    10   11   12   13   14    15    16 and more
//	k+m     1+0  1+1  2+1  2+2  3+2  4+2  5+2  6+2  7+2  7+3  8+3  8+4  9+4  10+4  11+4  12+4
//
// Otherwise m is the parity, as far as the drives reach: one data shard is left at least.
func Geometry(drives, parity int) (k, m int) {
	n := min(drives, MaxShards)
	if n < 1 {
		return 0, 0
	}
	switch {
	case parity >= 0:
		m = min(parity, n-1)
	case n == 1:
		m = 0
	case n <= 3:
		m = 1
	case n <= 9:
		m = 2
	case n <= 11:
		m = 3
	default:
		m = 4
	}
	return n - m, m
}
