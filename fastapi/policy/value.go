package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Value is what a request has under a condition key. Its kind is what the key naturally is, so that numbers, times and addresses
// are compared without being written out and read again.
type Value struct {
	kind valueKind
	text string
	n    int64 // Of an integer; nanoseconds since 1970 of a time.
	addr netip.Addr
}

type valueKind uint8

const (
	textValue valueKind = iota
	intValue
	timeValue
	addrValue
)

// Text returns a string as a value.
func Text(s string) Value { return Value{text: s} }

// Int returns a number as a value.
func Int(n int64) Value { return Value{kind: intValue, n: n} }

// Time returns a time as a value.
func Time(t time.Time) Value { return Value{kind: timeValue, n: t.UnixNano()} }

// Addr returns an address as a value. An IPv4 address in IPv6 clothes is the IPv4 address.
func Addr(a netip.Addr) Value { return Value{kind: addrValue, addr: a.Unmap().WithZone("")} }

// Bool returns a truth as a value.
func Bool(b bool) Value { return Value{text: strconv.FormatBool(b)} }

// String writes the value as a policy would.
func (v Value) String() string {
	switch v.kind {
	case intValue:
		return strconv.FormatInt(v.n, 10)
	case timeValue:
		return time.Unix(0, v.n).UTC().Format("2006-01-02T15:04:05Z")
	case addrValue:
		return v.addr.String()
	}
	return v.text
}

func (v Value) number() (float64, bool) {
	switch v.kind {
	case intValue:
		return float64(v.n), true
	case textValue:
		return parseNumber(v.text)
	}
	return 0, false
}

func (v Value) time() (int64, bool) {
	switch v.kind {
	case timeValue:
		return v.n, true
	case intValue:
		return time.Unix(v.n, 0).UnixNano(), true
	case textValue:
		return parseDate(v.text)
	}
	return 0, false
}

func (v Value) address() (netip.Addr, bool) {
	switch v.kind {
	case addrValue:
		return v.addr, v.addr.IsValid()
	case textValue:
		a, err := netip.ParseAddr(v.text)
		return a.Unmap().WithZone(""), err == nil
	}
	return netip.Addr{}, false
}

// parseNumber reads a decimal number, with or without a fraction; what else Go takes for one is none here.
func parseNumber(s string) (float64, bool) {
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || len(s)-len(digits) > 1 || strings.Trim(digits, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// dateFormats are the forms of ISO 8601 that W3C's note allows; a fraction of a second is understood in each that has seconds.
var dateFormats = [...]string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02", "2006-01"}

// lastEpoch keeps seconds since 1970 within what nanoseconds can count: the year 2262.
const lastEpoch = int64(1<<63-1)/int64(time.Second) - 1

// parseDate reads a date, or the seconds since 1970, as nanoseconds since then. Four digits are a year.
func parseDate(s string) (int64, bool) {
	if len(s) == 4 {
		if t, err := time.Parse("2006", s); err == nil {
			return clampedNano(t)
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < -lastEpoch || n > lastEpoch {
			return 0, false
		}
		return time.Unix(n, 0).UnixNano(), true
	}
	for _, format := range dateFormats {
		if t, err := time.Parse(format, s); err == nil {
			return clampedNano(t)
		}
	}
	return 0, false
}

func clampedNano(t time.Time) (int64, bool) {
	if s := t.Unix(); s < -lastEpoch || s > lastEpoch {
		return 0, false
	}
	return t.UnixNano(), true
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
