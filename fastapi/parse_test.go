package fastapi

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
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
	s, err := New(Options{Store: newFakeStore(), Secrets: testSecrets{}, Domains: []string{"example.com", ".S3.Example.com."}})
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
		if _, err := New(Options{Store: newFakeStore(), Secrets: testSecrets{}, Domains: []string{bad}}); err == nil {
			t.Errorf("domain %q is accepted", bad)
		}
	}
	if _, err := New(Options{Secrets: testSecrets{}}); err == nil {
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
		{"/bucket/key", copySource{"bucket", "key"}, nil},
		{"bucket/key", copySource{"bucket", "key"}, nil},
		{"bucket/a/b//c", copySource{"bucket", "a/b//c"}, nil},
		{"bucket//a", copySource{"bucket", "/a"}, nil},
		{"bucket%2Fa%20b%2B+", copySource{"bucket", "a b++"}, nil},
		{"bucket/key?versionId=null", copySource{"bucket", "key"}, nil},
		{"bucket/what%3FversionId=x", copySource{"bucket", "what?versionId=x"}, nil},
		{"bucket/what?", copySource{"bucket", "what?"}, nil},
		{"bucket/key?versionId=abc", copySource{}, errNoSuchVersion},
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
			t.Errorf("%q: %+q", header, src)
		}
		again, err := readCopySource("/" + src.bucket + "/" + string(appendURLEncoded(nil, src.key)))
		if err != nil || again != src {
			t.Errorf("%q: %+q came back as %+q, %v", header, src, again, err)
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

func TestXMLReader(t *testing.T) {
	deep := strings.Repeat("<a>", maxXMLDepth) + strings.Repeat("</a>", maxXMLDepth)
	for _, c := range []struct {
		doc  string
		keys string // "" means refused.
	}{
		{`<Delete><Object><Key>a</Key></Object></Delete>`, "a"},
		{`<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object></Delete>`, "a"},
		{"\ufeff<?xml version='1.0'?>\n<!-- hello --><Delete>\n\t<Object>\n<Key>a</Key>\r\n</Object>\n</Delete>\n<!-- bye -->\n", "a"},
		{`<s3:Delete xmlns:s3="x"><s3:Object><s3:Key>a</s3:Key></s3:Object></s3:Delete>`, "a"},
		{`<Delete ><Object a="1" b='2'><Key >a&amp;b&lt;&gt;&quot;&apos;&#65;&#x42;</Key ></Object></Delete>`, `a&b<>"'AB`},
		{`<Delete><Object><Key>&#x1;&#10;&#x1F600;</Key></Object></Delete>`, "\x01\n😀"},
		{`<Delete><Object><Key>a<![CDATA[<b>&]]>c<!-- x -->d</Key></Object></Delete>`, "a<b>&cd"},
		{`<Delete><Object><Key>a</Key><VersionId/></Object><Quiet>false</Quiet></Delete>`, "a"},
		{`<Delete><Object><Key> a </Key></Object></Delete>`, " a "},
		{`<Delete><Object><Key>ä</Key></Object></Delete>`, "ä"},

		{``, ""}, {`x`, ""}, {`<`, ""}, {`<Delete>`, ""}, {`<Delete/>`, ""}, {`<Delete></Delete>`, ""}, {`<Other/>`, ""},
		{`<Delete><Object><Key>a</Key></Object>`, ""},
		{`<Delete><Object><Key>a</Object></Key></Delete>`, ""},
		{`<Delete><Object><Key>a</Key></Object></Delete><More/>`, ""},
		{`<Delete><Object><Key>a</Key></Object></Delete>x`, ""},
		{`<Delete>text<Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key></Key></Object></Delete>`, ""},
		{`<Delete><Object></Object></Delete>`, ""},
		{`<Delete><Object><Key>a<b/></Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a</Key><Colour>red</Colour></Object></Delete>`, ""},
		{`<Delete><Object><Key>&unknown;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&amp</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#xD800;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#x110000;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#x;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#+5;</Key></Object></Delete>`, ""},
		{"<Delete><Object><Key>\x01</Key></Object></Delete>", ""},
		{"<Delete><Object><Key>\xff</Key></Object></Delete>", ""},
		{`<!DOCTYPE Delete><Delete><Object><Key>a</Key></Object></Delete>`, ""},
		{`<!DOCTYPE x [<!ENTITY e "lol"><!ENTITY f "&e;&e;">]><Delete><Object><Key>&f;</Key></Object></Delete>`, ""},
		{`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>`, ""},
		{`<?xml version="1.0" encoding="UTF-16"?><Delete><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a</Key></Object><?xml version="1.0"?></Delete>`, ""},
		{`<Delete><!-- -- --><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete a><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete a="<"><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a]]>b</Key></Object></Delete>`, ""},
		{`<Delete>` + deep + `</Delete>`, ""},
	} {
		list, _, err := parseDeletes(c.doc)
		var keys []string
		for _, d := range list {
			keys = append(keys, d.key)
		}
		got := strings.Join(keys, "|")
		if err != nil {
			if got = ""; !sameError(err, errMalformedXML) {
				t.Errorf("%q: %v", c.doc, err)
			}
		}
		if got != c.keys {
			t.Errorf("%q: got %q, want %q", c.doc, got, c.keys)
		}
	}
}

func TestXMLSkip(t *testing.T) {
	x := newXMLReader(`<r><skip a="1"><b>text<c/><![CDATA[<]]></b><!-- </skip> --></skip><keep>v</keep><skip/></r>`)
	x.root("r")
	got := ""
	for name := x.child(); name != ""; name = x.child() {
		if name == "keep" {
			got += x.text()
		} else {
			x.skip()
		}
	}
	if err := x.end(); err != nil || got != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	many := "<r>" + strings.Repeat("<a/>", maxXMLElements) + "</r>"
	x = newXMLReader(many)
	x.root("r")
	for name := x.child(); name != ""; name = x.child() {
		x.skip()
	}
	if x.end() == nil {
		t.Errorf("%d elements are accepted", maxXMLElements)
	}
}

// FuzzXML: a document of keys comes back as it was written, and no input does worse than be refused.
func FuzzXML(f *testing.F) {
	for _, s := range []string{`<Delete><Object><Key>a</Key></Object></Delete>`, `<Delete xmlns="x"><Quiet>true</Quiet><Object><Key>&#x1;<![CDATA[x]]></Key></Object></Delete>`, "<?xml?>", "<!--"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		list, _, err := parseDeletes(doc)
		if err == nil {
			for _, d := range list {
				again, _, err := parseDeletes("<Delete><Object><Key>" + string(appendEscaped(nil, d.key)) + "</Key></Object></Delete>")
				if err != nil || again[0].key != d.key {
					t.Errorf("%q: key %q came back as %q, %v", doc, d.key, fmt.Sprint(again), err)
				}
			}
		}
		var c completion
		if c.parse(doc) == nil && (len(c.parts) == 0 || len(c.parts) != len(c.checksums)) {
			t.Errorf("%q: %+v", doc, c)
		}
	})
}

func TestXMLWriter(t *testing.T) {
	w := newXML("R", 0)
	w.text("A", "<&>\"'\t\n\r\x00\x1f\x7fä")
	w.key("B", "a b+/ä", true)
	w.bool("C", true)
	w.int("D", -5)
	w.time("E", time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("x", 3600)))
	w.etag(`a"b`)
	w.optional("F", "")
	w.close("R")
	want := xmlHeader + `<R xmlns="` + xmlNamespace + `"><A>&lt;&amp;&gt;&quot;'&#x9;&#xa;&#xd;&#x0;&#x1f;&#x7f;ä</A><B>a%20b%2B/%C3%A4</B><C>true</C><D>-5</D><E>2026-01-02T02:04:05.678Z</E><ETag>&quot;a&quot;b&quot;</ETag></R>`
	if string(w) != want {
		t.Errorf("got  %s\nwant %s", w, want)
	}
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
