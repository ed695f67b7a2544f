package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestBehaviour12Addressing(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Domains = []string{"s3.example.com", "penstock.test"} })
	h.must("PUT", "/bucket/", "")
	h.must("PUT", "/bucket/k", "path", "Host", "127.0.0.1:9000")
	for _, c := range []struct{ host, target, body string }{
		{"bucket.s3.example.com", "/k", "path"},
		{"bucket.s3.example.com:9000", "/k", "path"},
		{"BUCKET.S3.Example.Com", "/k", "path"},
		{"bucket.penstock.test", "/k", "path"},
		{"s3.example.com", "/bucket/k", "path"},
		{"other.example.com", "/bucket/k", "path"},
		{"[::1]:9000", "/bucket/k", "path"},
	} {
		if r := h.must("GET", c.target, "", "Host", c.host); r.body != c.body {
			t.Errorf("%s %s: got %v", c.host, c.target, r)
		}
	}
	h.must("PUT", "/", "", "Host", "with.dots.s3.example.com")
	h.must("PUT", "//k//x", "dots", "Host", "with.dots.s3.example.com")
	if r := h.must("GET", "/with.dots//k//x", ""); r.body != "dots" {
		t.Errorf("virtual host and path name different keys: %v", r)
	}
	for _, target := range []string{"/bucket", "/bucket/", "/bucket?list-type=2", "/bucket/?list-type=2"} {
		if r := h.must("GET", target, ""); element(r.body, "Name") != "bucket" {
			t.Errorf("%s: got %v", target, r)
		}
	}
	// The health paths are not carved out of a bucket's keys.
	h.must("PUT", "/penstock/health/live", "an object", "Host", "bucket.s3.example.com")
	if r := h.must("GET", "/penstock/health/live", "", "Host", "bucket.s3.example.com"); r.body != "an object" {
		t.Errorf("a key like the health path: got %v", r)
	}
}

func keysOf(doc string) []string {
	var keys []string
	for _, part := range strings.Split(doc, "<Contents>")[1:] {
		keys = append(keys, element(part, "Key"))
	}
	return keys
}

func TestBehaviour13Listing(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	// In byte order of UTF-8, which is not the order of UTF-16: U+FF5E comes before the emoji.
	keys := []string{"A", "a", "a b", "a+b", "a/", "a/b", "a/c/d", "ä", "～", "😀"}
	for i := len(keys) - 1; i >= 0; i-- {
		h.must("PUT", "/bucket/"+string(appendURLEncoded(nil, keys[i])), "x")
	}
	r := h.must("GET", "/bucket?list-type=2", "")
	if got := keysOf(r.body); fmt.Sprint(got) != fmt.Sprint(keys) {
		t.Errorf("order: got %q, want %q", got, keys)
	}
	r = h.must("GET", "/bucket/?list-type=2&delimiter&encoding-type=url&fetch-owner=true&prefix=", "") // As minio-go asks.
	if !strings.Contains(r.body, "<Key>a%20b</Key>") || !strings.Contains(r.body, "<Key>a%2Bb</Key>") || !strings.Contains(r.body, "<Key>a/b</Key>") ||
		!strings.Contains(r.body, "<Owner>") || element(r.body, "EncodingType") != "url" {
		t.Errorf("encoding-type=url, fetch-owner: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&delimiter=/", "")
	if fmt.Sprint(keysOf(r.body)) != fmt.Sprint([]string{"A", "a", "a b", "a+b", "ä", "～", "😀"}) || !strings.Contains(r.body, "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>") ||
		element(r.body, "KeyCount") != "8" || strings.Contains(r.body, "<Owner>") {
		t.Errorf("delimiter: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&start-after=a/b", "")
	if got := keysOf(r.body); len(got) != 4 || got[0] != "a/c/d" || element(r.body, "StartAfter") != "a/b" {
		t.Errorf("start-after: %s", r.body)
	}
	r = h.must("GET", "/bucket?list-type=2&max-keys=0", "")
	if element(r.body, "KeyCount") != "0" || element(r.body, "IsTruncated") != "false" {
		t.Errorf("max-keys=0: %s", r.body)
	}
	h.want(404, "NoSuchBucket", "GET", "/none?list-type=2&max-keys=0", "")
	if r := h.must("GET", "/bucket?max-keys=5000", ""); element(r.body, "MaxKeys") != "1000" {
		t.Errorf("max-keys above the bound: %s", r.body)
	}
	for _, bad := range []string{"-1", "x", "1.5", "99999999999"} {
		h.want(400, "InvalidArgument", "GET", "/bucket?list-type=2&max-keys="+bad, "")
	}
	h.want(400, "InvalidArgument", "GET", "/bucket?encoding-type=base64", "")
	h.want(400, "InvalidArgument", "GET", "/bucket?list-type=3", "")

	// Pages of every size, by both versions, with and without delimiter, give the same entries.
	for _, delimiter := range []string{"", "/"} {
		whole := h.must("GET", "/bucket?list-type=2&delimiter="+delimiter, "").body
		want := append(keysOf(whole), "prefixes")
		for _, p := range strings.Split(whole, "<CommonPrefixes>")[1:] {
			want = append(want, element(p, "Prefix"))
		}
		for size := 1; size < len(keys)+1; size++ {
			for _, version := range []string{"v1", "v2"} {
				got := h.allPages(version, delimiter, size)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, delimiter %q, pages of %d: got %q, want %q", version, delimiter, size, got, want)
				}
			}
		}
	}
}

// allPages lists the bucket page by page, as clients do.
func (h *harness) allPages(version, delimiter string, size int) []string {
	var keys, prefixes []string
	next := ""
	for range 50 {
		target := fmt.Sprintf("/bucket?max-keys=%d&delimiter=%s", size, delimiter)
		if version == "v2" {
			target += "&list-type=2"
		}
		if next != "" {
			target += map[string]string{"v1": "&marker=", "v2": "&continuation-token="}[version] + string(appendURLEncoded(nil, next))
		}
		r := h.must("GET", target, "")
		page := keysOf(r.body)
		keys = append(keys, page...)
		for _, p := range strings.Split(r.body, "<CommonPrefixes>")[1:] {
			prefixes = append(prefixes, element(p, "Prefix"))
		}
		if element(r.body, "IsTruncated") != "true" {
			break
		}
		switch {
		case version == "v2":
			next = element(r.body, "NextContinuationToken")
		case delimiter != "":
			next = element(r.body, "NextMarker")
		default:
			next = page[len(page)-1]
		}
	}
	return append(append(keys, "prefixes"), prefixes...)
}

func TestBehaviour14UnknownQueryIgnoredButSigned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k?x-id=PutObject", "x")
	if r := h.must("GET", "/bucket/k?x-id=GetObject", ""); r.body != "x" {
		t.Errorf("got %v", r)
	}
	q := h.build("GET", "/bucket/k?x-id=GetObject", nil)
	q.target = "/bucket/k?x-id=Other"
	if r := h.send(q); r.status != 403 || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("changed after signing: got %v", r)
	}
	// An unknown sub-resource is never taken for the plain operation.
	for _, target := range []string{"/bucket/k?shiny", "/bucket/k?shiny=", "/bucket?shiny", "/?shiny"} {
		r := h.want(501, "NotImplemented", "GET", target, "")
		if element(r.body, "QueryParameter") != "shiny" {
			t.Errorf("%s: does not name it: %v", target, r)
		}
	}
	h.want(501, "NotImplemented", "PUT", "/bucket/k?shiny", "y")
	h.want(501, "NotImplemented", "DELETE", "/bucket/k?shiny", "")
	if r := h.must("GET", "/bucket/k", ""); r.body != "x" {
		t.Errorf("got %v", r)
	}
}

func TestBehaviour15OwnBucketAndRegion(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Region = "eu-central-1" })
	h.signer.Region = "eu-central-1"
	h.must("PUT", "/bucket", "")
	h.want(409, "BucketAlreadyOwnedByYou", "PUT", "/bucket", "")
	if r := h.must("GET", "/bucket?location", ""); element(r.body, "LocationConstraint") != "" || !strings.Contains(r.body, ">eu-central-1</LocationConstraint>") {
		t.Errorf("GetBucketLocation: %v", r)
	}
	if r := h.must("HEAD", "/bucket", ""); r.header.Get("x-amz-bucket-region") != "eu-central-1" {
		t.Errorf("HeadBucket: %v", r)
	}
	h.want(404, "NoSuchBucket", "GET", "/none?location", "")
	location := func(name string) string {
		return `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>` + name + `</LocationConstraint></CreateBucketConfiguration>`
	}
	h.must("PUT", "/here", location("eu-central-1"))
	h.want(400, "IllegalLocationConstraintException", "PUT", "/there", location("us-west-2"))
	h.want(400, "InvalidLocationConstraint", "PUT", "/there", location("no region!"))
	h.signer.Region = "us-west-2"
	if r := h.want(400, "AuthorizationHeaderMalformed", "GET", "/bucket", ""); element(r.body, "Region") != "eu-central-1" {
		t.Errorf("the right region is not named: %v", r)
	}

	any := newHarness(t)
	any.signer.Region = "mars-1" // Unless it is set, a request signed for any region is accepted.
	any.must("PUT", "/bucket", location("ap-south-1"))
	if r := any.must("GET", "/bucket?location", ""); !strings.Contains(r.body, ">ap-south-1</LocationConstraint>") {
		t.Errorf("GetBucketLocation: %v", r)
	}
	any.must("PUT", "/second", "")
	if r := any.must("GET", "/second?location", ""); !strings.Contains(r.body, "></LocationConstraint>") {
		t.Errorf("GetBucketLocation of us-east-1: %v", r)
	}
}

func TestBehaviour16MissingKey(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	r := h.want(404, "NoSuchKey", "GET", "/bucket/none", "")
	if element(r.body, "Key") != "none" || element(r.body, "Resource") != "/bucket/none" ||
		element(r.body, "RequestId") != r.header.Get("x-amz-request-id") || element(r.body, "HostId") != r.header.Get("x-amz-id-2") {
		t.Errorf("body: %v", r)
	}
	r = h.do("HEAD", "/bucket/none", "")
	if r.status != 404 || r.body != "" || len(r.header.Get("x-amz-request-id")) != 16 || r.header.Get("x-amz-id-2") == "" {
		t.Errorf("HEAD: %v", r)
	}
	r = h.want(404, "NoSuchBucket", "GET", "/none/none", "")
	if element(r.body, "BucketName") != "none" {
		t.Errorf("body: %v", r)
	}
	if r := h.do("HEAD", "/none", ""); r.status != 404 || r.body != "" {
		t.Errorf("HEAD of a bucket: %v", r)
	}
}
