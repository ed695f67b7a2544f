package fastapi

import (
	"net/netip"
	"strings"
)

// reservedBucket would shadow the health paths.
const reservedBucket = "penstock"

// addressableBucket reports whether a bucket of that name may exist at all. It is looser than what creation asks for.
func addressableBucket(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// creatableBucket applies Amazon's naming rules for general purpose buckets.
func creatableBucket(name string) bool {
	if !addressableBucket(name) || name == reservedBucket {
		return false
	}
	if !alphanumeric(name[0]) || !alphanumeric(name[len(name)-1]) || strings.Contains(name, "..") {
		return false
	}
	if strings.Contains(name, ".-") || strings.Contains(name, "-.") {
		return false // No label of a host name begins or ends with a hyphen.
	}
	for _, prefix := range [...]string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	for _, suffix := range [...]string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	// "192.168.5.4" and whatever else is formatted like it, 300.1.1.1 included.
	if strings.Count(name, ".") == 3 && strings.Trim(name, "0123456789.") == "" {
		return false
	}
	_, err := netip.ParseAddr(name)
	return err != nil
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
