package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the units of a size. A lone letter is binary, as memory and drives are given out in powers of two.
var sizeUnits = map[string]int64{
	"": 1, "B": 1,
	"K": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
}

// parseSize reads a number of bytes: "4096", "512MiB", "2 GB", "16g".
func parseSize(s string) (int64, error) {
	trimmed := strings.TrimSpace(s)
	digits := len(trimmed)
	for i := range len(trimmed) {
		if trimmed[i] < '0' || trimmed[i] > '9' {
			digits = i
			break
		}
	}
	number, err := strconv.ParseInt(trimmed[:digits], 10, 64)
	unit, known := sizeUnits[strings.ToUpper(strings.TrimSpace(trimmed[digits:]))]
	if err != nil || !known {
		return 0, fmt.Errorf("%q is not a size such as 512MiB or 4GiB", s)
	}
	if number > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return number * unit, nil
}

// formatSize writes a size that parseSize reads back to the same number, in the largest binary unit that divides it.
func formatSize(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
