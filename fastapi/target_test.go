package fastapi

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

func TestParseTarget(t *testing.T) {
	domains := []string{"s3.example.com"}
	for _, c := range []struct {
		raw, host string
		want      resource
		err       error
	}{
		{"/", "h", resource{}, nil},
		{"/?x=1", "h", resource{}, nil},
		{"/bucket", "h", resource{"bucket", "", levelBucket}, nil},
		{"/bucket/", "h", resource{"bucket", "", levelBucket}, nil},
		{"/bucket/key", "h", resource{"bucket", "key", levelObject}, nil},
		{"/bucket//", "h", resource{"bucket", "/", levelObject}, nil},
		{"/bucket//a/../b", "h", resource{"bucket", "/a/../b", levelObject}, nil},
		{"/bucket/a%2Fb", "h", resource{"bucket", "a/b", levelObject}, nil},
		{"/bucket%2Fkey", "h", resource{"bucket", "key", levelObject}, nil}, // The signature sees the same.
		{"/bucket/%25", "h", resource{"bucket", "%", levelObject}, nil},
		{"/bucket/a+b", "h", resource{"bucket", "a+b", levelObject}, nil},
		{"/bucket/a?b", "h", resource{"bucket", "a", levelObject}, nil},
		{"/bucket/a%3Fb", "h", resource{"bucket", "a?b", levelObject}, nil},
		{"/bucket/http://x", "h", resource{"bucket", "http://x", levelObject}, nil},
		{"/", "bucket.s3.example.com", resource{"bucket", "", levelBucket}, nil},
		{"//", "bucket.s3.example.com", resource{"bucket", "/", levelObject}, nil},
		{"//x://y", "bucket.s3.example.com", resource{"bucket", "/x://y", levelObject}, nil},
		{"/a/b", "a.b.s3.example.com:80", resource{"a.b", "a/b", levelObject}, nil},
		{"/bucket/k", "s3.example.com", resource{"bucket", "k", levelObject}, nil},
		{"/bucket/k", "xs3.example.com", resource{"bucket", "k", levelObject}, nil},
		{"/bucket/k", ".s3.example.com", resource{"bucket", "k", levelObject}, nil},
		{"http://h/bucket/k", "h", resource{"bucket", "k", levelObject}, nil},
		{"HTTPS://H/bucket", "h", resource{"bucket", "", levelBucket}, nil},
		{"http://h", "h", resource{}, nil},
		{"http://h?x", "h", resource{}, nil},
		{"http://i/bucket/k", "h", resource{}, errBadRequest},
		{"http:///bucket/k", "h", resource{}, errBadRequest},
		{"ftp://h/bucket/k", "h", resource{}, errInvalidURI},
		{"bucket/k", "h", resource{}, errInvalidURI},
		{"*", "h", resource{}, errInvalidURI},
		{"", "h", resource{}, errInvalidURI},
		{"/bucket/%", "h", resource{}, errInvalidURI},
		{"/bucket/%2", "h", resource{}, errInvalidURI},
		{"/bucket/%gg", "h", resource{}, errInvalidURI},
		{"/bucket/%ff", "h", resource{}, errInvalidURI},
		{"/bucket/k?%g=1", "h", resource{}, errInvalidURI},
		{"/bucket/k?a=%", "h", resource{}, errInvalidURI},
		{"//key", "h", resource{}, errInvalidBucketName},
		{"/UPPER/k", "h", resource{}, errInvalidBucketName},
		{"/ab", "h", resource{}, errInvalidBucketName},
		{"/" + strings.Repeat("a", 64), "h", resource{}, errInvalidBucketName},
		{"/bucket/" + strings.Repeat("a", 1024), "h", resource{"bucket", strings.Repeat("a", 1024), levelObject}, nil},
		{"/bucket/" + strings.Repeat("%61", 1024), "h", resource{"bucket", strings.Repeat("a", 1024), levelObject}, nil},
		{"/bucket/" + strings.Repeat("a", 1025), "h", resource{}, errKeyTooLong},
	} {
		tg, err := parseTarget(c.raw, c.host, nil)
		var got resource
		if err == nil {
			got, err = tg.resolve(c.host, domains)
		}
		if !sameError(err, c.err) || err == nil && got != c.want {
			t.Errorf("%s at %s: got %+v, %v, want %+v, %v", c.raw, c.host, got, err, c.want, c.err)
		}
	}
}

func sameError(got, want error) bool {
	if got == nil || want == nil {
		return got == want
	}
	g, ok := got.(*apiError)
	return ok && g.Is(want)
}

func TestDomainBelowADomain(t *testing.T) {
	s, err := New(Options{Store: newFakeStore(), Identities: newDirectory(t, nil), Domains: []string{"example.com", ".S3.Example.com."}})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"example.com": "", "s3.example.com": "", "bucket.s3.example.com": "bucket", "bucket.example.com:80": "bucket", "b.s3.example.com.evil": "", "myexample.com": "",
	} {
		if got, _ := virtualBucket(host, s.domains); got != want {
			t.Errorf("%s: bucket %q, want %q", host, got, want)
		}
	}
	for _, bad := range []string{"", ".", "http://x", "x:80", "a b"} {
		if _, err := New(Options{Store: newFakeStore(), Identities: newDirectory(t, nil), Domains: []string{bad}}); err == nil {
			t.Errorf("domain %q is accepted", bad)
		}
	}
	if _, err := New(Options{Identities: newDirectory(t, nil)}); err == nil {
		t.Errorf("no store is accepted")
	}
	if _, err := New(Options{Store: newFakeStore()}); err == nil {
		t.Errorf("no secrets are accepted")
	}
}

func TestParseQuery(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want []param
	}{
		{"", nil},
		{"&&", nil},
		{"acl", []param{{"acl", "", true}}},
		{"acl=", []param{{"acl", "", true}}},
		{"a=b&c=d=e", []param{{"a", "b", false}, {"c", "d=e", false}}},
		{"prefix=a%20b+c%2B", []param{{"prefix", "a b c+", false}}},
		{"%61=%00", []param{{"a", "\x00", false}}},
		{"=x", []param{{"", "x", false}}},
	} {
		got, err := parseQuery(c.raw, nil)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, %v, want %+v", c.raw, got, err, c.want)
		}
	}
}

// FuzzTarget: whatever is accepted names a key that its own escaped form names too, and that the signature sees alike.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/bucket/k", "/bucket//a/../b", "/b%75cket/%2F", "http://h/bucket/k?x=1", "/bucket/%ff", "//", "/bucket/a+b?acl&x=+%20"} {
		f.Add(s, "h")
		f.Add(s, "bucket.s3.example.com")
	}
	f.Fuzz(func(t *testing.T, raw, host string) {
		domains := []string{"s3.example.com"}
		tg, err := parseTarget(raw, host, nil)
		if err != nil {
			return
		}
		r, err := tg.resolve(host, domains)
		if err != nil {
			return
		}
		signed, err := sigv4.AppendDecodedPath(nil, []byte(tg.rawPath))
		if err != nil {
			t.Fatalf("%q: accepted here, not by the signature: %v", raw, err)
		}
		want := "/" + r.bucket + "/" + r.key
		if _, virtual := virtualBucket(host, domains); virtual {
			want = "/" + r.key
		}
		if string(signed) != want && string(signed)+"/" != want && r.level != levelService {
			t.Errorf("%q: bucket %q, key %q, but signed is %q", raw, r.bucket, r.key, signed)
		}
		if !utf8.ValidString(r.key) || len(r.key) > engine.MaxKeyLen || r.level != levelService && !addressableBucket(r.bucket) {
			t.Errorf("%q: %+v", raw, r)
		}
		if r.level == levelObject {
			again, err := parseTarget("/"+r.bucket+"/"+string(appendURLEncoded(nil, r.key)), "h", nil)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := again.resolve("h", nil); err != nil || s != r {
				t.Errorf("%q: %+v came back as %+v, %v", raw, r, s, err)
			}
		}
	})
}

func TestParseHeaders(t *testing.T) {
	var h headers
	block := "Host: h\r\nX-Amz-Meta-Color:   blue \t\r\nx-amz-meta-color: red\r\nEmpty:\r\nRaw: \xff\xc3\r\n\r\n"
	if err := h.parse([]byte(block)); err != nil {
		t.Fatal(err)
	}
	want := []field{{"host", "h"}, {"x-amz-meta-color", "blue,red"}, {"empty", ""}, {"raw", "\xff\xc3"}}
	if !reflect.DeepEqual(h.fields, want) {
		t.Errorf("got %q, want %q", h.fields, want)
	}
	if len(h.wire) != 5 {
		t.Errorf("%d lines for the signature, want 5", len(h.wire))
	}
	if _, ok := h.lookup("empty"); !ok {
		t.Errorf("an empty header is absent")
	}
	for _, bad := range []string{"a: b\n\r\n", "a: b", "nocolon\r\n\r\n", ": x\r\n\r\n", "a b: c\r\n\r\n", "a: b\r\n c\r\n\r\n", "a\x00: b\r\n\r\n", "\x80: b\r\n\r\n"} {
		if err := h.parse([]byte(bad)); err == nil {
			t.Errorf("%q: accepted as %q", bad, h.fields)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("Host: h\r\nA: b\r\na: c\r\n\r\n")
	f.Add("a: b\n\r\n")
	f.Fuzz(func(t *testing.T, block string) {
		var h headers
		if h.parse([]byte(block)) != nil {
			return
		}
		for _, x := range h.fields {
			if x.name == "" || x.name != strings.ToLower(x.name) || strings.ContainsAny(x.name, " :\r\n\t") || strings.Contains(x.value, "\n") {
				t.Errorf("%q: %+q", block, x)
			}
			if got := h.get(x.name); got != x.value {
				t.Errorf("%q: get(%q) is %q, want %q", block, x.name, got, x.value)
			}
		}
	})
}

func TestBucketNames(t *testing.T) {
	for name, want := range map[string]bool{
		"abc": true, "a-b": true, "my.bucket": true, "123": true, "1.2.3": true, "a.b.c.d": true, strings.Repeat("a", 63): true, "penstock-data": true, "10.0.0": true, "0x7f.1": true,
		"": false, "ab": false, strings.Repeat("a", 64): false, "Abc": false, "a_b": false, "-ab": false, "ab-": false, ".ab": false, "ab.": false, "a..b": false,
		"192.168.5.4": false, "300.1.1.1": false, "xn--abc": false, "sthree-abc": false, "amzn-s3-demo-x": false, "abc-s3alias": false, "abc--ol-s3": false,
		"abc.mrap": false, "abc--x-s3": false, "abc--table-s3": false, "a b": false, "a/b": false, "ä-x": false, "penstock": false,
	} {
		if got := creatableBucket(name); got != want {
			t.Errorf("creatableBucket(%q) = %v, want %v", name, got, want)
		}
	}
}
