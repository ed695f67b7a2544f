package fastapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"penstock/fastapi/sigv4"
)

func taggingDoc(pairs ...string) string {
	w := xmlWriter("<Tagging><TagSet>")
	for i := 0; i < len(pairs); i += 2 {
		w.open("Tag")
		w.text("Key", pairs[i])
		w.text("Value", pairs[i+1])
		w.close("Tag")
	}
	return string(w) + "</TagSet></Tagging>"
}

func numberedTags(n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("key%02d", i), fmt.Sprint(i))
	}
	return pairs
}

// tagsAt renders the tags that a target has.
func (h *harness) tagsAt(target string) string {
	h.t.Helper()
	r := h.must("GET", target, "")
	var out []string
	for _, tag := range strings.Split(r.body, "<Tag>")[1:] {
		out = append(out, element(tag, "Key")+"="+element(tag, "Value"))
	}
	return strings.Join(out, "&")
}

// TestObjectTagging sets tags by document and by every header, and takes them along.
func TestObjectTagging(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		put := h.must("PUT", "/bucket/k", "x", "x-amz-meta-m", "1")
		if r := h.must("GET", "/bucket/k?tagging", ""); !strings.Contains(r.body, "<TagSet></TagSet>") {
			t.Errorf("no tags: %v", r)
		}
		before := h.must("HEAD", "/bucket/k", "").header
		if before.Get("x-amz-tagging-count") != "" {
			t.Errorf("count of no tags: %v", before)
		}
		h.must("PUT", "/bucket/k?tagging", taggingDoc("b", "2", "a", "1 +", "ü:/=+-@.", "ÿ 漢"))
		if got, want := h.tagsAt("/bucket/k?tagging"), "a=1 +&b=2&ü:/=+-@.=ÿ 漢"; got != want {
			t.Errorf("tags are %q, want %q", got, want)
		}
		r := h.must("GET", "/bucket/k", "")
		if r.header.Get("x-amz-tagging-count") != "3" || r.body != "x" || r.header.Get("Last-Modified") != before.Get("Last-Modified") ||
			r.header.Get("ETag") != put.header.Get("ETag") || r.header.Get("x-amz-meta-m") != "1" || r.header.Get("x-amz-meta-tag:a") != "" {
			t.Errorf("a tagged object: %v", r)
		}
		h.must("PUT", "/bucket/k?tagging", taggingDoc("c", ""))
		if got := h.tagsAt("/bucket/k?tagging"); got != "c=" {
			t.Errorf("replaced tags are %q", got)
		}
		if r := h.must("DELETE", "/bucket/k?tagging", ""); r.status != 204 || h.tagsAt("/bucket/k?tagging") != "" {
			t.Errorf("delete of tags: %v", r)
		}

		h.must("PUT", "/bucket/k", "x", "x-amz-tagging", "b=2&a=1+2%2B&c&", "x-amz-meta-m", "1")
		if got := h.tagsAt("/bucket/k?tagging"); got != "a=1 2+&b=2&c=" {
			t.Errorf("tags by header are %q", got)
		}
		for _, c := range []struct {
			headers []string
			want    string
		}{
			{nil, "a=1 2+&b=2&c="},
			{[]string{"x-amz-tagging-directive", "COPY"}, "a=1 2+&b=2&c="},
			{[]string{"x-amz-tagging", "z=1"}, "a=1 2+&b=2&c="},
			{[]string{"x-amz-tagging", "z=1", "x-amz-tagging-directive", "REPLACE"}, "z=1"},
			{[]string{"x-amz-tagging-directive", "REPLACE"}, ""},
			{[]string{"x-amz-metadata-directive", "REPLACE"}, "a=1 2+&b=2&c="},
		} {
			h.must("PUT", "/bucket/copy", "", append(c.headers, "x-amz-copy-source", "/bucket/k")...)
			if got := h.tagsAt("/bucket/copy?tagging"); got != c.want {
				t.Errorf("copy with %q has tags %q, want %q", c.headers, got, c.want)
			}
			if got := h.must("HEAD", "/bucket/copy", "").header.Get("x-amz-meta-m"); (got == "1") != (len(c.headers) == 0 || c.headers[0] != "x-amz-metadata-directive") {
				t.Errorf("copy with %q has metadata %q", c.headers, got)
			}
		}
		h.want(400, "InvalidArgument", "PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/k", "x-amz-tagging-directive", "MOVE")

		r = h.must("POST", "/bucket/m?uploads", "", "x-amz-tagging", "m=1")
		id := element(r.body, "UploadId")
		etag := h.must("PUT", "/bucket/m?partNumber=1&uploadId="+id, "x").header.Get("ETag")
		h.must("POST", "/bucket/m?uploadId="+id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag></Part></CompleteMultipartUpload>")
		if got := h.tagsAt("/bucket/m?tagging"); got != "m=1" {
			t.Errorf("tags of an upload: %q", got)
		}

		// A presigned URL carries the header in its query.
		q := &wireRequest{method: "PUT", target: h.presign("PUT", "/bucket/p?x-amz-tagging=a%3Db%26c%3Dd"), host: h.host, body: []byte("x"),
			headers: []sigv4.Header{{Name: []byte("Content-Length"), Value: []byte("1")}}}
		if r := h.send(q); r.status != 200 {
			t.Fatalf("presigned: %v", r)
		}
		if got := h.tagsAt("/bucket/p?tagging"); got != "a=b&c=d" {
			t.Errorf("presigned tags: %q", got)
		}
		q.target = h.presign("PUT", "/bucket/p?x-amz-server-side-encryption=AES256")
		if r := h.send(q); r.code() != "NotImplemented" {
			t.Errorf("presigned encryption: %v", r)
		}
		q.target = h.presign("PUT", "/bucket/p?x-amz-meta-a=b%0D%0Ac")
		if r := h.send(q); r.code() != "InvalidArgument" {
			t.Errorf("presigned line break: %v", r)
		}

		h.want(404, "NoSuchKey", "PUT", "/bucket/none?tagging", taggingDoc("a", "b"))
		h.want(404, "NoSuchKey", "GET", "/bucket/none?tagging", "")
		h.want(404, "NoSuchKey", "DELETE", "/bucket/none?tagging", "")
		h.want(404, "NoSuchBucket", "PUT", "/none/k?tagging", taggingDoc("a", "b"))
	})
}

// TestVersionTagging: tags belong to a version.
func TestVersionTagging(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.must("PUT", "/bucket?versioning", enableVersioning)
		one := h.must("PUT", "/bucket/k", "one", "x-amz-tagging", "n=1").header.Get("x-amz-version-id")
		two := h.must("PUT", "/bucket/k", "two").header.Get("x-amz-version-id")
		r := h.must("PUT", "/bucket/k?tagging&versionId="+one, taggingDoc("n", "one"))
		if r.header.Get("x-amz-version-id") != one {
			t.Errorf("put of tags: %v", r)
		}
		r = h.must("PUT", "/bucket/k?tagging", taggingDoc("n", "two"))
		if r.header.Get("x-amz-version-id") != two {
			t.Errorf("put of tags of the current version: %v", r)
		}
		for id, want := range map[string]string{one: "n=one", two: "n=two"} {
			if got := h.tagsAt("/bucket/k?tagging&versionId=" + id); got != want {
				t.Errorf("tags of a version are %q, want %q", got, want)
			}
		}
		h.wantVersions("k=two* k=one")
		r = h.must("DELETE", "/bucket/k?tagging&versionId="+one, "")
		if r.header.Get("x-amz-version-id") != one || h.tagsAt("/bucket/k?tagging&versionId="+one) != "" {
			t.Errorf("delete of tags: %v", r)
		}
		marker := h.must("DELETE", "/bucket/k", "").header.Get("x-amz-version-id")
		h.want(405, "MethodNotAllowed", "GET", "/bucket/k?tagging&versionId="+marker, "")
		h.want(405, "MethodNotAllowed", "PUT", "/bucket/k?tagging&versionId="+marker, taggingDoc("a", "b"))
		h.want(404, "NoSuchKey", "GET", "/bucket/k?tagging", "")
	})
}

func TestBucketTagging(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		h.want(404, "NoSuchTagSet", "GET", "/bucket?tagging", "")
		h.must("PUT", "/bucket?tagging", taggingDoc(numberedTags(50)...))
		if got := h.tagsAt("/bucket?tagging"); strings.Count(got, "=") != 50 || !strings.HasPrefix(got, "key00=0&key01=1&") {
			t.Errorf("tags are %q", got)
		}
		h.must("PUT", "/bucket?tagging", taggingDoc("a", "b"))
		if got := h.tagsAt("/bucket?tagging"); got != "a=b" {
			t.Errorf("tags are %q", got)
		}
		h.want(400, "BadRequest", "PUT", "/bucket?tagging", taggingDoc(numberedTags(51)...))
		if r := h.must("DELETE", "/bucket?tagging", ""); r.status != 204 {
			t.Errorf("delete: %v", r)
		}
		h.want(404, "NoSuchTagSet", "GET", "/bucket?tagging", "")
		h.must("PUT", "/tagged", "<CreateBucketConfiguration><Tags><Tag><Key>k</Key><Value>v</Value></Tag></Tags></CreateBucketConfiguration>")
		if got := h.tagsAt("/tagged?tagging"); got != "k=v" {
			t.Errorf("tags of a new bucket are %q", got)
		}
		h.want(404, "NoSuchBucket", "GET", "/none?tagging", "")
		h.want(404, "NoSuchBucket", "PUT", "/none?tagging", taggingDoc("a", "b"))
	})
}

// TestTagLimits: Amazon's limits and what it says of what exceeds them, in documents and in headers.
func TestTagLimits(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	long := func(n int) string { return strings.Repeat("k", n) }
	for _, c := range []struct {
		pairs []string
		code  string // "" for success.
	}{
		{numberedTags(10), ""},
		{numberedTags(11), "BadRequest"},
		{[]string{long(128), long(256)}, ""},
		{[]string{strings.Repeat("漢", 128), strings.Repeat("漢", 256)}, ""},
		{[]string{strings.Repeat("𝟘", 64), strings.Repeat("𝟘", 128)}, ""}, // Two code units of UTF-16 each.
		{[]string{strings.Repeat("𝟘", 64) + "x", ""}, "InvalidTag"},
		{[]string{long(129), "v"}, "InvalidTag"},
		{[]string{"k", long(257)}, "InvalidTag"},
		{[]string{"", "v"}, "InvalidTag"},
		{[]string{"k", ""}, ""},
		{[]string{"k", "a,b"}, "InvalidTag"},
		{[]string{"k[", "v"}, "InvalidTag"},
		{[]string{"k\t", "v"}, "InvalidTag"},
		{[]string{"aws:k", "v"}, "InvalidTag"},
		{[]string{"k", "v", "k", "w"}, "InvalidTag"},
		{[]string{"k", "v", "K", "w"}, ""},
	} {
		status := 200
		if c.code != "" {
			status = 400
		}
		h.want(status, c.code, "PUT", "/bucket/k?tagging", taggingDoc(c.pairs...))
		var query []string
		for i := 0; i < len(c.pairs); i += 2 {
			query = append(query, url.QueryEscape(c.pairs[i])+"="+url.QueryEscape(c.pairs[i+1]))
		}
		code := c.code
		if len(c.pairs) == 4 && c.pairs[0] == c.pairs[2] {
			code = "InvalidArgument"
		}
		h.want(status, code, "PUT", "/bucket/h", "x", "x-amz-tagging", strings.Join(query, "&"))
	}
	for _, doc := range []string{"x", "<Tagging/>", "<Tagging><TagSet/><TagSet/></Tagging>", "<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>",
		"<Tagging><TagSet><Tag><Value>k</Value></Tag></TagSet></Tagging>", "<Tagging><TagSet><X/></TagSet></Tagging>", "<Tagging><X/></Tagging>", "<TagSet/>"} {
		h.want(400, "MalformedXML", "PUT", "/bucket/k?tagging", doc)
	}
	h.want(400, "MissingRequestBodyError", "PUT", "/bucket/k?tagging", "")
	for _, header := range []string{"k=%", "k=%ff", "k=a=b", "k=1&k=2"} {
		h.want(400, "InvalidArgument", "PUT", "/bucket/h", "x", "x-amz-tagging", header)
	}
	// An empty set is what deleting leaves.
	h.must("PUT", "/bucket/k?tagging", "<Tagging><TagSet/></Tagging>")
	if got := h.tagsAt("/bucket/k?tagging"); got != "" {
		t.Errorf("tags are %q", got)
	}
}

func FuzzTags(f *testing.F) {
	f.Add("a=b&c=d%20+e")
	f.Add("a=b&a=c")
	f.Add("k")
	f.Fuzz(func(t *testing.T, header string) {
		tags, err := readTags(header)
		if err != nil {
			return
		}
		if same, err := readTags(tags.query()); err != nil || fmt.Sprint(same) != fmt.Sprint(tags) {
			t.Errorf("%q is %v, which came back as %v, %v", header, tags, same, err)
		}
		var pairs []string
		for _, tag := range tags {
			pairs = append(pairs, tag.name, tag.value)
		}
		again, err := parseTagging(taggingDoc(pairs...), maxObjectTags, errTooManyTags)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(tags) {
			t.Errorf("%q is %v, which came back as %v, %v", header, tags, again, err)
		}
	})
}

// TestFormTagging: a form has its tags in a field of its own, and no header's.
func TestFormTagging(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	form := func(key, field, value string) string {
		part := func(name, value string) string {
			return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
		}
		return part("key", key) + part(field, value) + part("file", "x") + "--b--\r\n"
	}
	const contentType = "multipart/form-data; boundary=b"
	h.must("POST", "/bucket", form("k", "tagging", taggingDoc("b", "2", "a", "1")), "Content-Type", contentType)
	if got := h.tagsAt("/bucket/k?tagging"); got != "a=1&b=2" {
		t.Errorf("tags are %q", got)
	}
	h.must("POST", "/bucket", form("h", "x-amz-tagging", "a=b"), "Content-Type", contentType)
	if got := h.tagsAt("/bucket/h?tagging"); got != "" {
		t.Errorf("tags by a header's name are %q", got)
	}
	h.want(400, "InvalidTag", "POST", "/bucket", form("k", "tagging", taggingDoc("a,", "1")), "Content-Type", contentType)
	h.want(400, "BadRequest", "POST", "/bucket", form("k", "tagging", taggingDoc(numberedTags(11)...)), "Content-Type", contentType)
	h.want(400, "MalformedXML", "POST", "/bucket", form("k", "tagging", "a=b"), "Content-Type", contentType)
}
