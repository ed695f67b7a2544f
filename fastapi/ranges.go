package fastapi

import (
	"strconv"
	"strings"
)

// byteRange is the part of an object that a request asks for.
type byteRange struct {
	off, len int64
	partial  bool // Asked for by a range: answered with 206, also when it covers everything.
}

// parseRange applies a Range header to an object of size bytes. As Amazon and RFC 9110 have it, a header that is not a
// single well-formed byte range is ignored; a range that starts past the end is errInvalidRange.
func parseRange(header string, size int64) (byteRange, error) {
	whole := byteRange{0, size, false}
	if header == "" {
		return whole, nil
	}
	unit, spec, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(trimSpace(unit), "bytes") || strings.IndexByte(spec, ',') >= 0 {
		return whole, nil
	}
	first, last, ok := strings.Cut(trimSpace(spec), "-")
	if !ok {
		return whole, nil
	}
	if first == "" {
		n, ok := parseOffset(last)
		if !ok {
			return whole, nil
		}
		if n == 0 || size == 0 {
			return whole, errInvalidRange
		}
		n = min(n, size) // A suffix longer than the object is the object.
		return byteRange{size - n, n, true}, nil
	}
	off, ok := parseOffset(first)
	if !ok {
		return whole, nil
	}
	end := size - 1
	if last != "" {
		n, ok := parseOffset(last)
		if !ok || n < off {
			return whole, nil
		}
		end = min(n, end)
	}
	if off >= size {
		return whole, errInvalidRange
	}
	return byteRange{off, end - off + 1, true}, nil
}

// parseOffset reads digits alone; a number beyond an int64 is as good as the largest.
func parseOffset(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

// parseCopyRange reads x-amz-copy-source-range, which must be "bytes=first-last" with both ends.
func parseCopyRange(header string) (off, n int64, err error) {
	bad := invalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
		"x-amz-copy-source-range", header)
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return 0, 0, bad
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return 0, 0, bad
	}
	off, ok1 := parseOffset(first)
	end, ok2 := parseOffset(last)
	if !ok1 || !ok2 || end < off || end == 1<<63-1 {
		return 0, 0, bad
	}
	return off, end - off + 1, nil
}

// appendContentRange appends the value of Content-Range.
func appendContentRange(dst []byte, r byteRange, size int64) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, r.off, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, r.off+r.len-1, 10)
	dst = append(dst, '/')
	return strconv.AppendInt(dst, size, 10)
}

func itoa(n int) string     { return strconv.Itoa(n) }
func itoa64(n int64) string { return strconv.FormatInt(n, 10) }
