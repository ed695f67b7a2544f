package fastapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=9223372036854775807-", "bytes=0-18446744073709551615", "bytes=1-0", "bytes=,"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		r, err := parseRange(header, size)
		if err != nil {
			return
		}
		if r.off < 0 || r.len < 0 || r.off > size-r.len || r.partial && r.len == 0 || !r.partial && (r.off != 0 || r.len != size) {
			t.Errorf("%q of %d bytes: %+v", header, size, r)
		}
		if off, n, err := parseCopyRange(header); err == nil && (off < 0 || n < 1 || off+n < 0) {
			t.Errorf("copy range %q: %d, %d", header, off, n)
		}
	})
}

func TestParseCopyRange(t *testing.T) {
	for _, c := range []struct {
		header string
		off, n int64
		ok     bool
	}{
		{"bytes=0-0", 0, 1, true}, {"bytes=5-9", 5, 5, true}, {"bytes=0-5368709119", 0, 5 << 30, true},
		{"bytes=5-", 0, 0, false}, {"bytes=-5", 0, 0, false}, {"bytes=9-5", 0, 0, false}, {"0-5", 0, 0, false}, {"bytes=0-1,3-4", 0, 0, false}, {"bytes=0-99999999999999999999", 0, 0, false},
	} {
		off, n, err := parseCopyRange(c.header)
		if (err == nil) != c.ok || off != c.off || n != c.n {
			t.Errorf("%s: got %d, %d, %v", c.header, off, n, err)
		}
	}
}

func TestReadCopySource(t *testing.T) {
	for _, c := range []struct {
		header string
		want   copySource
		err    error
	}{
		{"/bucket/key", copySource{"bucket", "key", engine.CurrentVersion}, nil},
		{"bucket/key", copySource{"bucket", "key", engine.CurrentVersion}, nil},
		{"bucket/a/b//c", copySource{"bucket", "a/b//c", engine.CurrentVersion}, nil},
		{"bucket//a", copySource{"bucket", "/a", engine.CurrentVersion}, nil},
		{"bucket%2Fa%20b%2B+", copySource{"bucket", "a b++", engine.CurrentVersion}, nil},
		{"bucket/key?versionId=null", copySource{"bucket", "key", engine.NullVersion}, nil},
		{"bucket/key?versionId=" + formatVersion(77), copySource{"bucket", "key", 77}, nil},
		{"bucket/what%3FversionId=x", copySource{"bucket", "what?versionId=x", engine.CurrentVersion}, nil},
		{"bucket/what?", copySource{"bucket", "what?", engine.CurrentVersion}, nil},
		{"bucket/key?versionId=abc", copySource{}, errInvalidArgument},
		{"bucket/key?versionId=", copySource{}, errInvalidArgument},
		{"", copySource{}, errInvalidArgument},
		{"/", copySource{}, errInvalidArgument},
		{"bucket", copySource{}, errInvalidArgument},
		{"/bucket/", copySource{}, errInvalidArgument},
		{"//key", copySource{}, errInvalidArgument},
		{"bucket/%", copySource{}, errInvalidArgument},
		{"bucket/%ff", copySource{}, errInvalidURI},
		{"BUCKET/key", copySource{}, errInvalidBucketName},
		{"bucket/" + strings.Repeat("k", 1025), copySource{}, errKeyTooLong},
	} {
		got, err := readCopySource(c.header)
		if !sameError(err, c.err) || err == nil && got != c.want {
			t.Errorf("%q: got %+v, %v, want %+v, %v", c.header, got, err, c.want, c.err)
		}
	}
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"/bucket/key", "bucket/key?versionId=null", "%2Fbucket%2Fa", "bucket/%c3%a4?versionId=%6eull"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		src, err := readCopySource(header)
		if err != nil {
			return
		}
		if src.key == "" || !addressableBucket(src.bucket) || checkKey(src.key) != nil {
			t.Errorf("%q: %+v", header, src)
		}
		plain := "/" + src.bucket + "/" + string(appendURLEncoded(nil, src.key))
		if src.version != engine.CurrentVersion {
			plain += "?versionId=" + formatVersion(src.version)
		}
		again, err := readCopySource(plain)
		if err != nil || again != src {
			t.Errorf("%q: %+v came back as %+v, %v", header, src, again, err)
		}
	})
}

func TestTokens(t *testing.T) {
	for _, key := range append(oddKeys, "") {
		for _, isPrefix := range []bool{false, true} {
			token := encodeToken(key, isPrefix)
			got, gotPrefix, err := decodeToken(token)
			if err != nil || got != key || gotPrefix != isPrefix {
				t.Errorf("%q: got %q, %v, %v", key, got, gotPrefix, err)
			}
		}
	}
	token := encodeToken("some/key", true)
	for i := range token {
		for _, c := range "Ab-_=%" {
			bad := token[:i] + string(c) + token[i+1:]
			if bad == token {
				continue
			}
			if key, _, err := decodeToken(bad); err == nil {
				t.Errorf("token changed at %d names %q", i, key)
			}
		}
		if _, _, err := decodeToken(token[:i]); err == nil {
			t.Errorf("token cut to %d characters is accepted", i)
		}
	}
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for _, bad := range []string{"", "x", "AAAA", token[1:]} {
		h.want(400, "InvalidArgument", "GET", "/bucket?list-type=2&continuation-token="+bad, "")
	}
	h.want(400, "InvalidArgument", "GET", "/?continuation-token=x", "")
}

func FuzzToken(f *testing.F) {
	f.Add(encodeToken("a/b", true))
	f.Add("AQAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		key, isPrefix, err := decodeToken(token)
		if err == nil && encodeToken(key, isPrefix) != token {
			t.Errorf("%q: decodes to %q, which encodes otherwise", token, key)
		}
		if err != nil && !sameError(err, errInvalidArgument) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func TestETagMatches(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{
		{`"abc"`, true}, {`abc`, true}, {`W/"abc"`, true}, {`*`, true}, {`"x", "abc"`, true}, {` "abc" `, true}, {`"x"`, false}, {``, false}, {`"ab`, false}, {`"`, false}, {`"ABC"`, false},
	} {
		if got := etagMatches(c.list, "abc"); got != c.want {
			t.Errorf("etagMatches(%s) = %v", c.list, got)
		}
	}
}

func TestHTTPDates(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 09:49:37 +0100"} {
		if got := parseHTTPDate(s); !got.Equal(want) {
			t.Errorf("%s: got %v", s, got)
		}
	}
	if !parseHTTPDate("yesterday").IsZero() {
		t.Errorf("yesterday is a date")
	}
}

// TestErrorTables: every kind of failure and every reason to refuse a signature has its answer.
func TestErrorTables(t *testing.T) {
	for k := engine.Kind(0); k < engine.NumKinds; k++ {
		e, ok := kindErrors[k]
		if !ok || e.status < 400 || e.code == "" || e.text == "" {
			t.Errorf("%v has no S3 error: %+v", k, e)
			continue
		}
		got := toAPI(fmt.Errorf("wrapped: %w", &engine.Error{Op: "Get", Bucket: "b", Key: "k", Kind: k, Err: fmt.Errorf("secret detail")}))
		if got.code != e.code || got.status != e.status || strings.Contains(string(errorBody(got, "/b/k", "id", "host")), "secret detail") {
			t.Errorf("%v became %+v", k, got)
		}
	}
	for c := sigv4.Code(0); c < sigv4.NumCodes; c++ {
		if s := authCodes[c]; s != 400 && s != 403 {
			t.Errorf("%v has status %d", c, s)
		}
	}
	if got := toAPI(fmt.Errorf("who knows")); got.code != "InternalError" {
		t.Errorf("an unknown error became %+v", got)
	}
	// What this package told the engine comes back out of it.
	told := errPrecondition.with("Condition", "If-Match")
	if got := toAPI(&engine.Error{Kind: engine.KindPrecondition, Err: told}); got != told {
		t.Errorf("a check's own error became %+v", got)
	}
}
