package fastapi

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/engine"
)

func TestBehaviour07ETags(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const body = "some bytes"
	want := `"` + md5Of(body) + `"`
	tags := map[string]string{
		"PUT":  h.must("PUT", "/bucket/k", body).header.Get("ETag"),
		"GET":  h.must("GET", "/bucket/k", "").header.Get("ETag"),
		"HEAD": h.must("HEAD", "/bucket/k", "").header.Get("ETag"),
		"304":  h.do("GET", "/bucket/k", "", "If-None-Match", want).header.Get("ETag"),
		"206":  h.must("GET", "/bucket/k", "", "Range", "bytes=0-1").header.Get("ETag"),
		"list": strings.ReplaceAll(element(h.must("GET", "/bucket?list-type=2", "").body, "ETag"), "&quot;", `"`),
		"copy": strings.ReplaceAll(element(h.must("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/k").body, "ETag"), "&quot;", `"`),
	}
	for where, got := range tags {
		if got != want {
			t.Errorf("%s: ETag is %s, want %s", where, got, want)
		}
	}
	parts := longParts(3)
	r := h.upload("/bucket/m", parts, nil, nil)
	want = multipartETag(parts)
	if got := element(r.body, "ETag"); got != "&quot;"+want+"&quot;" {
		t.Errorf("completion: ETag is %s, want %s", got, want)
	}
	if got := h.must("HEAD", "/bucket/m", "").header.Get("ETag"); got != `"`+want+`"` {
		t.Errorf("HEAD: ETag is %s, want %s", got, want)
	}
	// The header's name is spelt as Amazon spells it.
	c := h.dial()
	c.Write(h.build("HEAD", "/bucket/k", nil).head())
	raw := ""
	for br := bufio.NewReader(c); !strings.HasSuffix(raw, "\r\n\r\n"); {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		raw += line
	}
	if !strings.Contains(raw, "\r\nETag: \"") {
		t.Errorf("no ETag header as such in %q", raw)
	}
}

func TestBehaviour08Conditions(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	tag := h.must("PUT", "/bucket/k", "one").header.Get("ETag")
	last := h.must("HEAD", "/bucket/k", "").header.Get("Last-Modified")
	at, _ := time.Parse(http.TimeFormat, last)
	before, after := at.Add(-time.Second).Format(http.TimeFormat), at.Add(time.Second).Format(http.TimeFormat)
	other := `"00000000000000000000000000000000"`
	for _, c := range []struct {
		status  int
		headers []string
	}{
		{200, []string{"If-Match", tag}},
		{200, []string{"If-Match", unquote(tag)}},
		{200, []string{"If-Match", "*"}},
		{200, []string{"If-Match", other + ", " + tag}},
		{412, []string{"If-Match", other}},
		{304, []string{"If-None-Match", tag}},
		{304, []string{"If-None-Match", "W/" + tag}},
		{304, []string{"If-None-Match", "*"}},
		{200, []string{"If-None-Match", other}},
		{304, []string{"If-Modified-Since", last}},
		{304, []string{"If-Modified-Since", after}},
		{200, []string{"If-Modified-Since", before}},
		{200, []string{"If-Modified-Since", "not a date"}},
		{200, []string{"If-Unmodified-Since", last}},
		{412, []string{"If-Unmodified-Since", before}},
		// Precedence: an ETag overrules a date.
		{200, []string{"If-Match", tag, "If-Unmodified-Since", before}},
		{200, []string{"If-None-Match", other, "If-Modified-Since", after}},
		{412, []string{"If-Match", other, "If-None-Match", tag}},
		{304, []string{"If-Match", tag, "If-None-Match", tag}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, "/bucket/k", "", c.headers...)
			if r.status != c.status {
				t.Errorf("%s %q: got %d, want %d", method, c.headers, r.status, c.status)
			}
			if r.status == 304 && (r.header.Get("ETag") != tag || r.header.Get("Last-Modified") != last || r.body != "") {
				t.Errorf("%s %q: 304 has %v", method, c.headers, r)
			}
		}
		// The same conditions on the source of a copy; "not modified" is a failure there.
		var source []string
		for i := 0; i < len(c.headers); i += 2 {
			source = append(source, "x-amz-copy-source-"+strings.ToLower(c.headers[i]), c.headers[i+1])
		}
		want := c.status
		if want == 304 {
			want = 412
		}
		if r := h.do("PUT", "/bucket/copy", "", append(source, "x-amz-copy-source", "bucket/k")...); r.status != want {
			t.Errorf("copy %q: got %v, want %d", source, r, want)
		}
	}

	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "two", "If-None-Match", "*")
	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "two", "If-Match", other)
	h.want(404, "NoSuchKey", "PUT", "/bucket/none", "two", "If-Match", tag)
	h.want(501, "NotImplemented", "PUT", "/bucket/k", "two", "If-None-Match", other)
	if got := h.must("GET", "/bucket/k", "").body; got != "one" {
		t.Errorf("a refused write was done: %q", got)
	}
	tag = h.must("PUT", "/bucket/k", "two", "If-Match", tag).header.Get("ETag")
	h.must("PUT", "/bucket/new", "x", "If-None-Match", "*")
	h.want(412, "PreconditionFailed", "DELETE", "/bucket/k", "", "If-Match", other)
	h.must("DELETE", "/bucket/k", "", "If-Match", tag)

	parts := []string{"only"}
	if r := h.upload("/bucket/new", parts, nil, []string{"If-None-Match", "*"}); r.code() != "PreconditionFailed" {
		t.Errorf("completion over an object: got %v", r)
	}
	if r := h.upload("/bucket/newer", parts, nil, []string{"If-None-Match", "*"}); r.status != 200 {
		t.Errorf("completion of a new key: got %v", r)
	}
	// A write that lost against a concurrent one.
	h.store.setFail(func(op, _ string) error {
		if op == "Put" {
			return kindError(engine.KindConflict, "bucket", "k")
		}
		return nil
	})
	h.want(409, "ConditionalRequestConflict", "PUT", "/bucket/k", "x", "If-None-Match", "*")
}

func TestBehaviour08CheckRunsAtCommit(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	// Another writer comes in between the early check and the commit.
	once := false
	h.store.setBefore(func(op string) {
		if op == "Put" && !once {
			once = true
			h.must("PUT", "/bucket/k", "theirs")
		}
	})
	h.want(412, "PreconditionFailed", "PUT", "/bucket/k", "mine", "If-None-Match", "*")
	if got := h.must("GET", "/bucket/k", "").body; got != "theirs" {
		t.Errorf("the object is %q", got)
	}
}

func TestBehaviour09Ranges(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	const body = "0123456789"
	tag := h.must("PUT", "/bucket/k", body).header.Get("ETag")
	last := h.must("HEAD", "/bucket/k", "").header.Get("Last-Modified")
	h.must("PUT", "/bucket/empty", "")
	for _, c := range []struct {
		key, header string
		status      int
		want        string
		contentRng  string
	}{
		{"k", "bytes=0-4", 206, "01234", "bytes 0-4/10"},
		{"k", "bytes=5-", 206, "56789", "bytes 5-9/10"},
		{"k", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"k", "bytes=-30", 206, body, "bytes 0-9/10"},
		{"k", "bytes=0-", 206, body, "bytes 0-9/10"},
		{"k", "bytes=0-9", 206, body, "bytes 0-9/10"},
		{"k", "bytes=8-500", 206, "89", "bytes 8-9/10"},
		{"k", "bytes=9-9", 206, "9", "bytes 9-9/10"},
		{"k", "Bytes=1-1", 206, "1", "bytes 1-1/10"},
		{"k", "bytes=10-", 416, "", "bytes */10"},
		{"k", "bytes=10-20", 416, "", "bytes */10"},
		{"k", "bytes=-0", 416, "", "bytes */10"},
		{"k", "bytes=99999999999999999999-", 416, "", "bytes */10"},
		{"k", "bytes=2-99999999999999999999", 206, "23456789", "bytes 2-9/10"},
		{"k", "bytes=4-2", 200, body, ""}, // Not a range; ignored.
		{"k", "bytes=a-b", 200, body, ""},
		{"k", "bytes=", 200, body, ""},
		{"k", "bytes=-", 200, body, ""},
		{"k", "lines=1-2", 200, body, ""},
		{"k", "bytes=0-1,3-4", 200, body, ""}, // S3 serves one range at most.
		{"k", "bytes=+1-2", 200, body, ""},
		{"empty", "bytes=0-0", 416, "", "bytes */0"},
		{"empty", "bytes=-5", 416, "", "bytes */0"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, "/bucket/"+c.key, "", "Range", c.header)
			if r.status != c.status || r.header.Get("Content-Range") != c.contentRng {
				t.Errorf("%s %s of %s: got %v, want %d %q", method, c.header, c.key, r, c.status, c.contentRng)
			}
			if method == "GET" && r.status < 300 && r.body != c.want {
				t.Errorf("GET %s of %s: got %q, want %q", c.header, c.key, r.body, c.want)
			}
			if method == "HEAD" && r.status < 300 && r.header.Get("Content-Length") != fmt.Sprint(len(c.want)) {
				t.Errorf("HEAD %s of %s: Content-Length %s, want %d", c.header, c.key, r.header.Get("Content-Length"), len(c.want))
			}
			if r.status == 416 && method == "GET" && (r.code() != "InvalidRange" || element(r.body, "ActualObjectSize") == "") {
				t.Errorf("GET %s of %s: %v", c.header, c.key, r)
			}
		}
	}
	for _, c := range []struct {
		ifRange string
		status  int
	}{
		{tag, 206}, {`"other"`, 200}, {"W/" + tag, 200}, {last, 206}, {"Mon, 02 Jan 2006 15:04:05 GMT", 200},
	} {
		if r := h.do("GET", "/bucket/k", "", "Range", "bytes=0-0", "If-Range", c.ifRange); r.status != c.status {
			t.Errorf("If-Range %s: got %d, want %d", c.ifRange, r.status, c.status)
		}
	}
}

func TestBehaviour10PartNumber(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	parts := longParts(3)
	h.upload("/bucket/m", parts, nil, nil)
	size := len(strings.Join(parts, ""))
	off := 0
	for i, p := range parts {
		for _, method := range []string{"GET", "HEAD"} {
			r := h.do(method, fmt.Sprintf("/bucket/m?partNumber=%d", i+1), "")
			want := fmt.Sprintf("bytes %d-%d/%d", off, off+len(p)-1, size)
			if r.status != 206 || r.header.Get("x-amz-mp-parts-count") != "3" || r.header.Get("Content-Range") != want || r.header.Get("Content-Length") != fmt.Sprint(len(p)) {
				t.Errorf("%s part %d: got %d %v, want %s", method, i+1, r.status, r.header, want)
			}
			if method == "GET" && r.body != p {
				t.Errorf("GET part %d: wrong bytes", i+1)
			}
		}
		off += len(p)
	}
	h.want(416, "InvalidPartNumber", "GET", "/bucket/m?partNumber=4", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=0", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=10001", "")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?partNumber=x", "")
	h.want(400, "InvalidRequest", "GET", "/bucket/m?partNumber=1", "", "Range", "bytes=0-1")
	h.must("PUT", "/bucket/k", "whole")
	r := h.must("GET", "/bucket/k?partNumber=1", "")
	if r.status != 206 || r.body != "whole" || r.header.Get("x-amz-mp-parts-count") != "" {
		t.Errorf("part 1 of an object put whole: %v", r)
	}
	h.want(416, "InvalidPartNumber", "GET", "/bucket/k?partNumber=2", "")
}

func TestBehaviour11GetObjectAttributes(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	parts := longParts(3)
	h.upload("/bucket/m", parts, []string{"x-amz-checksum-algorithm", "CRC32C"}, nil)
	// As the JavaScript SDK sends it, with spaces.
	r := h.must("GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "Checksum, ObjectParts, ETag, ObjectSize ,StorageClass")
	for name, want := range map[string]string{
		"ETag": multipartETag(parts), "PartsCount": "3", "ObjectSize": fmt.Sprint(len(strings.Join(parts, ""))),
		"StorageClass": "STANDARD", "IsTruncated": "false", "ChecksumType": "COMPOSITE",
	} {
		if got := element(r.body, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if n := strings.Count(r.body, "<Part>"); n != 3 {
		t.Errorf("%d parts listed", n)
	}
	if !strings.Contains(r.body, "<ChecksumCRC32C>"+sumOf(algCRC32C, parts[1])+"</ChecksumCRC32C><PartNumber>2</PartNumber>") {
		t.Errorf("part 2 has no checksum: %s", r.body)
	}
	r = h.must("GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "ObjectParts", "x-amz-max-parts", "1", "x-amz-part-number-marker", "1")
	if element(r.body, "PartNumber") != "2" || element(r.body, "IsTruncated") != "true" || element(r.body, "NextPartNumberMarker") != "2" || strings.Count(r.body, "<Part>") != 1 {
		t.Errorf("page: %s", r.body)
	}
	if strings.Contains(r.body, "ETag") {
		t.Errorf("what was not asked for is there: %s", r.body)
	}
	h.want(400, "InvalidArgument", "GET", "/bucket/m?attributes", "", "x-amz-object-attributes", "ETag,Colour")
	h.want(400, "InvalidArgument", "GET", "/bucket/m?attributes", "")
	h.want(404, "NoSuchKey", "GET", "/bucket/none?attributes", "", "x-amz-object-attributes", "ETag")
}
