package fastapi

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

// oddKeys are keys that less careful servers lose.
var oddKeys = []string{
	"a//b", "//", "/", "a/../b", "..", ".", "./x", "a/./b", "a/b/", "a", "a/", "a/b", "a%2Fb", "a%2fb", "%", "%25", "a+b", "a b", " ", "a\tb",
	"😀/ü", "a?b", "a#b", "a&b=c", "a;b", `a\b`, `"quoted"`, "<tag>&amp;", "a'b", "\x01\x1f", "\x7f", "~", "*", "()!$,:@=[]{}|^`", "uploads", "?acl", "penstock/health/live",
	strings.Repeat("k", 1024), strings.Repeat("ü", 512), "trailing.", "a/b/c/../../d", "http://x/y", "\u202e", "é", "e\u0301",
}

func TestBehaviour17OddKeys(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	c := h.dial()
	br := bufio.NewReader(c)
	round := func(method, target, body string, headers ...string) *reply {
		q := h.build(method, target, []byte(body), headers...)
		c.Write(append(q.head(), q.body...))
		return h.read(br, method)
	}
	for _, key := range oddKeys {
		target := "/bucket/" + string(appendURLEncoded(nil, key))
		if r := round("PUT", target, key); r.status != 200 {
			t.Errorf("PUT %q: %v", key, r)
			continue
		}
		if h.store.stored("bucket", key) == nil {
			t.Errorf("PUT %q stored another key", key)
		}
		if r := round("GET", target, ""); r.body != key {
			t.Errorf("GET %q: %v", key, r)
		}
		if r := round("PUT", "/bucket/copy", "", "x-amz-copy-source", "/bucket/"+string(appendURLEncoded(nil, key))); r.status != 200 {
			t.Errorf("copy of %q: %v", key, r)
		}
		if h.store.stored("bucket", "copy").info.ETag != md5Of(key) {
			t.Errorf("copy of %q copied something else", key)
		}
		round("DELETE", "/bucket/copy", "")
	}
	if n := len(h.store.keys("bucket")); n != len(oddKeys) {
		t.Errorf("%d keys stored, want %d", n, len(oddKeys))
	}
	// Raw spellings that need no escape.
	for _, c := range []struct{ target, key string }{
		{"/bucket/raw//x", "raw//x"}, {"/bucket/./y", "./y"}, {"/bucket/a+plus", "a+plus"}, {"/bucket/z/../w", "z/../w"},
		{"/bucket//", "/"}, {"/bucket/x%2Fy", "x/y"}, {"/bucket%2Fsplit", "split"}, {"/bucket/ü", "ü"}, {"/bucket/a#b2", "a#b2"},
	} {
		if r := round("PUT", c.target, c.key); r.status != 200 || h.store.stored("bucket", c.key) == nil {
			t.Errorf("PUT %s: %v", c.target, r)
		}
	}
	// Listing and batch deletion know all of them.
	doc := "<Delete>"
	for _, key := range h.store.keys("bucket") {
		doc += "<Object><Key>" + string(appendEscaped(nil, key)) + "</Key></Object>"
	}
	if r := h.must("POST", "/bucket?delete", doc+"</Delete>"); strings.Contains(r.body, "<Error>") {
		t.Errorf("delete: %v", r)
	}
	if left := h.store.keys("bucket"); len(left) > 0 {
		t.Errorf("not deleted: %q", left)
	}

	h.want(400, "KeyTooLongError", "PUT", "/bucket/"+strings.Repeat("k", 1025), "x")
	h.want(400, "KeyTooLongError", "GET", "/bucket/"+strings.Repeat("k", 1025), "")
	h.want(400, "InvalidURI", "PUT", "/bucket/%ff%fe", "x")
	h.want(400, "InvalidURI", "PUT", "/bucket/\xff", "x")
	q := h.build("GET", "/bucket/ok", nil)
	q.target = "/bucket/%zz"
	if r := h.send(q); r.code() != "InvalidURI" {
		t.Errorf("%%zz: %v", r)
	}
}

func TestBehaviour18ReadAfterWrite(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	for i := range 20 {
		body := fmt.Sprint("version ", i)
		h.must("PUT", "/bucket/k", body)
		if r := h.must("GET", "/bucket/k", ""); r.body != body {
			t.Fatalf("read %q after writing %q", r.body, body)
		}
		if r := h.must("GET", "/bucket?list-type=2", ""); !strings.Contains(r.body, md5Of(body)) {
			t.Fatalf("list after writing %q: %s", body, r.body)
		}
	}
	h.must("DELETE", "/bucket/k", "")
	h.want(404, "NoSuchKey", "GET", "/bucket/k", "")
	if r := h.must("GET", "/bucket?list-type=2", ""); len(keysOf(r.body)) != 0 {
		t.Errorf("list after deletion: %s", r.body)
	}
	h.must("DELETE", "/bucket/k", "") // Once more is fine.
}

func TestBehaviour19PressureAndStalls(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.store.setFail(func(op, _ string) error {
		if op == "Put" || op == "Open" {
			return kindError(engine.KindBusy, "bucket", "k")
		}
		return nil
	})
	for _, method := range []string{"PUT", "GET"} {
		r := h.want(503, "SlowDown", method, "/bucket/k", "")
		if r.header.Get("Retry-After") != "1" {
			t.Errorf("%s: no Retry-After: %v", method, r)
		}
	}
	h.store.setFail(nil)

	// A completion that takes long shows signs of life in time, and its result at the end.
	id := element(h.must("POST", "/bucket/m?uploads", "").body, "UploadId")
	tag := h.must("PUT", "/bucket/m?partNumber=1&uploadId="+id, "x").header.Get("ETag")
	doc := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + tag + "</ETag></Part></CompleteMultipartUpload>"
	for _, c := range []struct {
		name string
		id   string
		want string
	}{{"success", id, "CompleteMultipartUploadResult"}, {"failure", id, "Error"}} {
		release := make(chan struct{})
		h.store.setBefore(func(op string) {
			if op == "CompleteUpload" {
				<-release
			}
		})
		conn := h.dial()
		q := h.build("POST", "/bucket/m?uploadId="+c.id, []byte(doc))
		conn.Write(append(q.head(), q.body...))
		br := bufio.NewReader(conn)
		if _, err := br.Peek(1); err != nil { // Well before the work is done.
			t.Fatal(err)
		}
		close(release)
		r := h.read(br, "POST")
		if r.status != 200 || !strings.HasPrefix(r.body, xmlHeader) || !strings.Contains(r.body, "<"+c.want) {
			t.Errorf("%s: got %v", c.name, r)
		}
		if c.want == "Error" && (r.code() != "NoSuchUpload" || element(r.body, "RequestId") != r.header.Get("x-amz-request-id")) {
			t.Errorf("%s: got %v", c.name, r)
		}
	}
}

func TestBehaviour20Presigned(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	send := func(method, target, body string, headers ...string) *reply {
		q := &wireRequest{method: method, target: target, host: h.host, body: []byte(body)}
		for i := 0; i < len(headers); i += 2 {
			q.add(headers[i], headers[i+1])
		}
		if method == "PUT" {
			q.add("Content-Length", fmt.Sprint(len(body)))
		}
		return h.send(q)
	}
	if r := send("PUT", h.presign("PUT", "/bucket/k"), "0123456789", "Content-Type", "text/weird"); r.status != 200 {
		t.Fatalf("PUT: %v", r)
	}
	if r := send("GET", h.presign("GET", "/bucket/k"), "", "Range", "bytes=2-3"); r.status != 206 || r.body != "23" {
		t.Errorf("GET with a range: %v", r)
	}
	target := h.presign("GET", "/bucket/k?response-content-type=image%2Fpng&response-content-disposition=attachment%3B%20filename%3D%22a.png%22"+
		"&response-cache-control=no-cache&response-expires=never&response-content-language=de&response-content-encoding=x")
	r := send("GET", target, "")
	for name, want := range map[string]string{
		"Content-Type": "image/png", "Content-Disposition": `attachment; filename="a.png"`, "Cache-Control": "no-cache",
		"Expires": "never", "Content-Language": "de", "Content-Encoding": "x",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{"%0d%0aSet-Cookie:%20x", "%0a", "%00", "%7f", "a%0db"} {
		if r := send("GET", h.presign("GET", "/bucket/k?response-content-type="+bad), ""); r.status != 400 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("override %s: %v", bad, r)
		}
	}
	if r := send("GET", h.presign("GET", "/bucket/k")+"&response-content-type=text%2Fhtml", ""); r.status != 403 {
		t.Errorf("an override added after signing: %v", r)
	}
	if r := send("HEAD", h.presign("HEAD", "/bucket/k"), ""); r.status != 200 || r.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %v", r)
	}

	// A clock that is off is told what the time is here.
	q := &wireRequest{method: "GET", target: "/bucket/k", host: h.host}
	s := &sigv4.Request{Method: []byte("GET"), RawPath: []byte("/bucket/k"), Host: []byte(h.host)}
	h.signer.Sign(s, time.Now().Add(-time.Hour), sigv4.Digest(nil))
	q.headers = s.Headers
	r = h.send(q)
	if r.status != 403 || r.code() != "RequestTimeTooSkewed" || element(r.body, "ServerTime") == "" || element(r.body, "RequestTime") == "" || element(r.body, "MaxAllowedSkewMilliseconds") != "900000" {
		t.Errorf("clock skew: %v", r)
	}
	s = &sigv4.Request{Method: []byte("GET"), RawPath: []byte("/bucket/k"), Host: []byte(h.host)}
	h.signer.Presign(s, time.Now().Add(-time.Hour), time.Minute)
	if r := send("GET", "/bucket/k?"+string(s.RawQuery), ""); r.status != 403 || element(r.body, "Expires") == "" || element(r.body, "ServerTime") == "" {
		t.Errorf("expired: %v", r)
	}
}
