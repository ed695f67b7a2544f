package fastapi

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
)

// TestTrapHeaderCase: fasthttp would spell x-amz-meta-FooBar as X-Amz-Meta-Foobar; names leave in lower case, as Amazon sends them.
func TestTrapHeaderCase(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "X-AMZ-Meta-FooBar", "Value", "RANGE", "bytes=0-0")
	c := h.dial()
	c.Write(h.build("GET", "/bucket/k", nil, "rAnGe", "bytes=0-0").head())
	raw := ""
	for br := bufio.NewReader(c); !strings.HasSuffix(raw, "\r\n\r\n"); {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		raw += line
	}
	for _, want := range []string{"\r\nx-amz-meta-foobar: Value\r\n", "\r\nETag: ", "\r\nx-amz-request-id: ", "206 Partial Content\r\n"} {
		if !strings.Contains(raw, want) {
			t.Errorf("no %q in %q", want, raw)
		}
	}
}

// TestTrapDuplicateMetadata: headers sent twice are joined, as the signature has it.
func TestTrapDuplicateMetadata(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x", "x-amz-meta-a", "one", "x-amz-meta-a", "two  three")
	if got := h.must("GET", "/bucket/k", "").header.Get("x-amz-meta-a"); got != "one,two  three" {
		t.Errorf("got %q", got)
	}
}

// TestTrapNothingIsKept: a key or metadata that refers to the request's buffers would change with the next request on the connection.
func TestTrapNothingIsKept(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	s := &session{h: h}
	for i := range 20 {
		s.send(h.build("PUT", fmt.Sprintf("/bucket/key-%02d", i), []byte("x"), "x-amz-meta-n", fmt.Sprintf("value-%02d", i), "Content-Type", fmt.Sprintf("type/%02d", i)))
	}
	for i := range 20 {
		o := h.store.stored("bucket", fmt.Sprintf("key-%02d", i))
		if o == nil || o.info.Key != fmt.Sprintf("key-%02d", i) || o.info.Attr("x-amz-meta-n") != fmt.Sprintf("value-%02d", i) || o.info.Attr("content-type") != fmt.Sprintf("type/%02d", i) {
			t.Errorf("object %d is %+v", i, o)
		}
	}
}

// TestTrapLargeBodies: fasthttp's limit of 4 MiB does not apply, and a multipart form is not taken apart.
func TestTrapLargeBodies(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	body := strings.Repeat("0123456789", 1<<20)
	h.must("PUT", "/bucket/k", body)
	if r := h.must("GET", "/bucket/k", ""); r.body != body {
		t.Errorf("read %d bytes", len(r.body))
	}
	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nhello\r\n--b--\r\n"
	h.must("PUT", "/bucket/form", form, "Content-Type", "multipart/form-data; boundary=b")
	if r := h.must("GET", "/bucket/form", ""); r.body != form {
		t.Errorf("a form was taken apart: %q", r.body)
	}
}

// TestTrapPipelining: requests that arrive together are answered one after another, with bodies and without.
func TestTrapPipelining(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	var all []byte
	for i := range 10 {
		q := h.build("PUT", fmt.Sprintf("/bucket/k%d", i), []byte(strings.Repeat("x", i*1000)))
		all = append(append(all, q.head()...), q.body...)
		all = append(all, h.build("GET", fmt.Sprintf("/bucket/k%d", i), nil).head()...)
	}
	c := h.dial()
	go c.Write(all)
	br := bufio.NewReader(c)
	for i := range 10 {
		if r := h.read(br, "PUT"); r.status != 200 {
			t.Fatalf("PUT %d: %v", i, r)
		}
		if r := h.read(br, "GET"); len(r.body) != i*1000 {
			t.Fatalf("GET %d: %v", i, r)
		}
	}
}

func TestHTTP10(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", strings.Repeat("x", 100_000))
	q := h.build("GET", "/bucket/k", nil)
	c := h.dial()
	c.Write([]byte(strings.Replace(string(q.head()), "HTTP/1.1", "HTTP/1.0", 1)))
	if r, _ := h.answerOf(c); len(r.body) != 100_000 {
		t.Errorf("got %d bytes", len(r.body))
	}
}
