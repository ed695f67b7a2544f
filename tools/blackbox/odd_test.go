package blackbox

import (
	"slices"
	"strings"
	"testing"

	"penstock/fastapi/sigv4"
)

// oddRoutes has every kind of request; %ID is an upload that exists.
var oddRoutes = []struct{ method, target, body string }{
	{"GET", "/", ""}, {"PUT", "/odd", ""}, {"HEAD", "/bkt", ""}, {"DELETE", "/odd", ""}, {"GET", "/bkt?location", ""}, {"GET", "/bkt?versioning", ""},
	{"GET", "/bkt?uploads", ""}, {"GET", "/bkt?list-type=2", ""}, {"GET", "/bkt", ""}, {"GET", "/bkt?acl", ""},
	{"POST", "/bkt?delete", "<Delete><Object><Key>odd</Key></Object></Delete>"}, {"POST", "/bkt", "a"},
	{"GET", "/bkt/there", ""}, {"HEAD", "/bkt/there", ""}, {"GET", "/bkt/there?attributes", ""}, {"GET", "/bkt/there?partNumber=1", ""},
	{"PUT", "/bkt/odd", "odd"}, {"DELETE", "/bkt/odd", ""}, {"POST", "/bkt/odd?uploads", ""},
	{"PUT", "/bkt/upload?partNumber=1&uploadId=%ID", "odd"}, {"GET", "/bkt/upload?uploadId=%ID", ""},
	{"POST", "/bkt/upload?uploadId=%ID", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"},
	{"DELETE", "/bkt/upload?uploadId=none", ""},
}

// oddHeaders are all headers whose value something parses.
var oddHeaders = []string{
	"X-Amz-Copy-Source", "X-Amz-Copy-Source-Range", "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-Modified-Since", "Range", "If-Range",
	"X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Checksum-Crc32", "X-Amz-Checksum-Sha256", "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Algorithm",
	"X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Checksum-Type", "X-Amz-Checksum-Mode", "X-Amz-Mp-Object-Size", "Content-Md5", "If-Match", "If-None-Match",
	"If-Modified-Since", "If-Unmodified-Since", "X-Amz-Object-Attributes", "X-Amz-Max-Parts", "X-Amz-Part-Number-Marker", "X-Amz-Metadata-Directive",
	"X-Amz-Tagging-Directive", "X-Amz-Storage-Class", "X-Amz-Expected-Bucket-Owner", "X-Amz-Meta-Odd", "Content-Type", "Content-Encoding", "Expires",
	"Cache-Control", "Expect", "Connection", "X-Amz-Acl", "X-Amz-Bucket-Object-Lock-Enabled", "X-Amz-Server-Side-Encryption",
}

// oddValues are what nobody sends. Those that cannot be a header's value at all must be refused as such.
var oddValues = []struct {
	name, value string
	illegal     bool
}{
	{"empty", "", false}, {"a letter", "a", false}, {"a space", " ", false}, {"a quote", `"`, false}, {"zero", "0", false}, {"minus one", "-1", false},
	{"2^63", "9223372036854775808", false}, {"2^64", "18446744073709551616", false}, {"a percent sign", "%", false}, {"slashes", "///", false},
	{"a range", "bytes=0-0", false}, {"a range of nothing", "bytes=-0", false}, {"a huge range", "bytes=18446744073709551615-18446744073709551616", false},
	{"many ranges", "bytes=" + strings.Repeat("0-0,", 1000) + "0-0", false}, {"a copy source", "/bkt/there", false}, {"another", "bkt/there?versionId=", false},
	{"itself", "/bkt/odd", false}, {"dots", "/bkt/../../../etc/passwd", false}, {"escaped dots", "%2fbkt%2f%2e%2e%2fthere", false}, {"an escaped NUL", "/bkt/a%00b", false},
	{"not UTF-8", "\xff\xfe\xf0", false}, {"Latin-1", "caf\xe9", false}, {"commas", ",,,,", false}, {"a date", "Thu, 01 Jan 1970 00:00:00 GMT", false},
	{"a date that is none", "Thu, 99 Foo 0000 99:99:99 GMT", false}, {"8 KiB", strings.Repeat("a", 8<<10), false}, {"64 KiB", strings.Repeat("a", 64<<10), true},
	{"a NUL", "a\x00b", true}, {"a carriage return", "a\rb", true}, {"a DEL", "a\x7fb", true},
}

// TestOddHeaders gives every header every value on every route: refused or done, but never a 500, never a connection
// without an answer, and what was there before stays.
func TestOddHeaders(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/there", []byte("there"))
	upload := element(string(n.must(t, "POST", "/bkt/upload?uploads", nil).body), "UploadId")
	skip := scale(13, 1) // The short form takes every thirteenth, at another offset for each route and header.
	tried := 0
	for i, route := range oddRoutes {
		target := strings.ReplaceAll(route.target, "%ID", upload)
		for j, header := range oddHeaders {
			for k, v := range oddValues {
				if (i+j+k)%skip != 0 {
					continue
				}
				tried++
				q := n.signed(route.method, target, []byte(route.body), header, v.value)
				r, err := n.do(q)
				if err != nil {
					t.Errorf("%s %s, %s: %s: %v", route.method, target, header, v.name, err)
					continue
				}
				if r.status >= 500 && r.status != 501 || v.illegal && r.status < 400 {
					t.Errorf("%s %s, %s: %s: %v", route.method, target, header, v.name, r)
				}
				checkHeaders(t, r)
			}
		}
	}
	t.Logf("%d requests", tried)
	if r := n.must(t, "GET", "/bkt/there", nil); string(r.body) != "there" {
		t.Errorf("the object is now %q", r.body)
	}
	for _, key := range n.keys(t, "bkt") {
		if !slices.Contains([]string{"there", "odd", "upload"}, key) {
			t.Errorf("%q was stored", key)
		}
	}
}

// checkHeaders fails if an answer lacks what every answer has, or holds in a header what ends one.
func checkHeaders(t *testing.T, r *reply) {
	t.Helper()
	if r.header.Get("X-Amz-Request-Id") == "" || r.header.Get("X-Amz-Id-2") == "" {
		t.Errorf("without ids: %v", r)
	}
	for name, values := range r.header {
		for _, value := range values {
			if strings.ContainsAny(name+value, "\x00\r\n") {
				t.Errorf("header %q: %q", name, value)
			}
		}
	}
}

// TestOddQueries gives every query parameter every value.
func TestOddQueries(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/there", []byte("there"))
	upload := element(string(n.must(t, "POST", "/bkt/upload?uploads", nil).body), "UploadId")
	values := []string{"", "a", "-1", "0", "1", "10001", "99999999999999999999", "%00", "%ff%fe", "%0d%0aX-Injected:%201", "%2e%2e%2f", "..", "%F0%9F%98%80", strings.Repeat("a", 4000), upload}
	skip := scale(5, 1)
	for i, c := range []struct{ method, target string }{
		{"GET", "/bkt?list-type=2&"}, {"GET", "/bkt?"}, {"GET", "/bkt?uploads&"}, {"GET", "/?"}, {"GET", "/bkt/there?"}, {"HEAD", "/bkt/there?"},
		{"GET", "/bkt/upload?uploadId=" + upload + "&"}, {"PUT", "/bkt/upload?uploadId=" + upload + "&"}, {"DELETE", "/bkt/odd?"}, {"PUT", "/bkt/odd?"},
	} {
		for j, name := range []string{
			"prefix", "delimiter", "marker", "start-after", "continuation-token", "max-keys", "encoding-type", "fetch-owner", "key-marker", "upload-id-marker",
			"max-uploads", "max-parts", "part-number-marker", "partNumber", "uploadId", "versionId", "list-type", "response-content-type",
			"response-expires", "response-content-disposition", "x-id", "max-buckets", "X-Amz-Signature", "",
		} {
			for k, value := range values {
				if (i+j+k)%skip != 0 {
					continue
				}
				r, err := n.do(n.signed(c.method, c.target+name+"="+value, nil))
				if err != nil {
					t.Errorf("%s %s%s=%s: %v", c.method, c.target, name, value, err)
					continue
				}
				if r.status >= 500 && r.status != 501 || r.header.Get("X-Injected") != "" {
					t.Errorf("%s %s%s=%s: %v", c.method, c.target, name, value, r)
				}
				checkHeaders(t, r)
			}
		}
	}
}

// TestOddDocuments sends what is not XML, or too much of it, to the routes that read documents.
func TestOddDocuments(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	upload := element(string(n.must(t, "POST", "/bkt/upload?uploads", nil).body), "UploadId")
	documents := map[string]string{
		"empty": "", "a letter": "a", "not closed": "<Delete>", "closed twice": "<Delete></Delete></Delete>", "not UTF-8": "<Delete>\xff</Delete>", "a NUL": "<Delete>\x00</Delete>",
		"an entity":      `<!DOCTYPE a [<!ENTITY b "c">]><Delete><Object><Key>&b;</Key></Object></Delete>`,
		"a file":         `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&b;</Key></Object></Delete>`,
		"a billion":      `<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><Delete><Object><Key>&c;</Key></Object></Delete>`,
		"deep":           strings.Repeat("<a>", 100_000),
		"long":           "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", 100_000) + "</Delete>",
		"many":           "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", 1001) + "</Delete>",
		"a long key":     "<Delete><Object><Key>" + strings.Repeat("k", 1<<20) + "</Key></Object></Delete>",
		"attributes":     "<Delete " + strings.Repeat("a='b' ", 10_000) + "><Object><Key>k</Key></Object></Delete>",
		"huge parts":     "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>", 20_000) + "</CompleteMultipartUpload>",
		"negative parts": "<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
		"a comment":      "<Delete><!-- " + strings.Repeat("-", 100_000),
		"CDATA":          "<Delete><Object><Key><![CDATA[" + strings.Repeat("]", 100_000),
	}
	for _, c := range []struct{ method, target string }{{"POST", "/bkt?delete"}, {"POST", "/bkt/upload?uploadId=" + upload}, {"PUT", "/odd"}} {
		for name, doc := range documents {
			q := n.unsigned(c.method, c.target, []byte(doc))
			n.sign(q, sigv4.Digest(q.body))
			r, err := n.do(q)
			if err != nil {
				t.Fatalf("%s, %s: %v", c.target, name, err)
			}
			// An empty document creates a bucket; a list that names keys one by one deletes them, or says of each why not.
			if r.status >= 500 {
				t.Errorf("%s, %s: %v", c.target, name, r)
			}
			if strings.Contains(string(r.body), "root:") {
				t.Errorf("%s, %s: a file's content came back", c.target, name)
			}
		}
	}
	if now := n.usage(t); now.peak > 256<<20+overhead {
		t.Errorf("memory: %v", now)
	}
}
