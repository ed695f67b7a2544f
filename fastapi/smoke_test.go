package fastapi

import "testing"

func TestRoundTrip(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	put := h.must("PUT", "/bucket/a/key", "hello", "Content-Type", "text/plain", "x-amz-meta-color", "blue")
	if got, want := put.header.Get("ETag"), `"5d41402abc4b2a76b9719d911017c592"`; got != want {
		t.Errorf("ETag: got %s, want %s", got, want)
	}
	get := h.must("GET", "/bucket/a/key", "")
	if get.body != "hello" || get.header.Get("Content-Type") != "text/plain" || get.header.Get("x-amz-meta-color") != "blue" {
		t.Errorf("GET: got %v", get)
	}
	head := h.must("HEAD", "/bucket/a/key", "")
	if head.header.Get("Content-Length") != "5" || head.body != "" {
		t.Errorf("HEAD: got %v", head)
	}
	list := h.must("GET", "/bucket?list-type=2", "")
	if element(list.body, "Key") != "a/key" || element(list.body, "KeyCount") != "1" {
		t.Errorf("list: got %v", list)
	}
	h.want(409, "BucketNotEmpty", "DELETE", "/bucket", "")
	h.must("DELETE", "/bucket/a/key", "")
	h.want(404, "NoSuchKey", "GET", "/bucket/a/key", "")
	h.must("DELETE", "/bucket", "")
	h.want(404, "NoSuchBucket", "GET", "/bucket/a/key", "")
}
