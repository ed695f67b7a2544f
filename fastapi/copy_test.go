package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestCopy(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/dest", "")
	h.must("PUT", "/bucket/src", "content", "Content-Type", "text/a", "x-amz-meta-a", "1", "x-amz-storage-class", "GLACIER", "x-amz-checksum-sha1", sumOf(algSHA1, "content"))
	r := h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src")
	if element(r.body, "ETag") != "&quot;"+md5Of("content")+"&quot;" || element(r.body, "LastModified") == "" || element(r.body, "ChecksumSHA1") != sumOf(algSHA1, "content") {
		t.Errorf("copy: %v", r)
	}
	r = h.must("GET", "/dest/copy", "", "x-amz-checksum-mode", "ENABLED")
	if r.body != "content" || r.header.Get("Content-Type") != "text/a" || r.header.Get("x-amz-meta-a") != "1" || r.header.Get("x-amz-storage-class") != "" ||
		r.header.Get("x-amz-checksum-sha1") != sumOf(algSHA1, "content") {
		t.Errorf("copied: %v", r)
	}
	h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src", "x-amz-metadata-directive", "REPLACE", "Content-Type", "text/b", "x-amz-meta-b", "2")
	r = h.must("GET", "/dest/copy", "")
	if r.body != "content" || r.header.Get("Content-Type") != "text/b" || r.header.Get("x-amz-meta-a") != "" || r.header.Get("x-amz-meta-b") != "2" {
		t.Errorf("replaced: %v", r)
	}
	h.must("PUT", "/dest/copy", "", "x-amz-copy-source", "bucket/src", "x-amz-metadata-directive", "COPY", "x-amz-meta-b", "2")
	if r = h.must("GET", "/dest/copy", ""); r.header.Get("x-amz-meta-a") != "1" || r.header.Get("x-amz-meta-b") != "" {
		t.Errorf("directive COPY: %v", r)
	}
	// To itself, only with a change.
	h.want(400, "InvalidRequest", "PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src")
	h.must("PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src", "x-amz-metadata-directive", "REPLACE", "x-amz-meta-c", "3")
	if r = h.must("GET", "/bucket/src", ""); r.body != "content" || r.header.Get("x-amz-meta-c") != "3" {
		t.Errorf("self-copy: %v", r)
	}
	h.must("PUT", "/bucket/src", "", "x-amz-copy-source", "/bucket/src", "x-amz-storage-class", "STANDARD_IA")
	// A checksum that the source lacks is computed.
	for a := algNone + 1; a < numAlgorithms; a++ {
		r = h.must("PUT", "/dest/sum", "", "x-amz-copy-source", "/bucket/src", "x-amz-checksum-algorithm", a.name())
		if element(r.body, algorithms[a].element) != sumOf(a, "content") || element(r.body, "ChecksumType") != "FULL_OBJECT" {
			t.Errorf("copy with %s: %v", a.name(), r)
		}
		r = h.must("HEAD", "/dest/sum", "", "x-amz-checksum-mode", "ENABLED")
		if r.header.Get(a.header()) != sumOf(a, "content") {
			t.Errorf("copied with %s: %v", a.name(), r)
		}
	}
	h.want(404, "NoSuchKey", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/none")
	h.want(404, "NoSuchBucket", "PUT", "/dest/x", "", "x-amz-copy-source", "/none/none")
	h.want(404, "NoSuchBucket", "PUT", "/none/x", "", "x-amz-copy-source", "/bucket/src")
	h.want(400, "InvalidArgument", "PUT", "/dest/x", "", "x-amz-copy-source", "")
	h.want(400, "InvalidArgument", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src", "x-amz-metadata-directive", "MOVE")
	h.want(400, "InvalidRequest", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src", "x-amz-checksum-algorithm", "CRC16")
	h.want(412, "PreconditionFailed", "PUT", "/dest/copy", "", "x-amz-copy-source", "/bucket/src", "If-None-Match", "*")
	// A multipart object keeps its ETag and its parts.
	parts := longParts(2)
	h.upload("/bucket/m", parts, nil, nil)
	h.must("PUT", "/dest/m", "", "x-amz-copy-source", "/bucket/m")
	r = h.must("HEAD", "/dest/m?partNumber=2", "")
	if r.header.Get("ETag") != `"`+multipartETag(parts)+`"` || r.header.Get("x-amz-mp-parts-count") != "2" {
		t.Errorf("copy of a multipart object: %v", r)
	}
	o := h.store.stored("bucket", "src")
	h.store.mu.Lock()
	o.info.Size = maxCopyLen + 1
	h.store.mu.Unlock()
	h.want(400, "InvalidRequest", "PUT", "/dest/x", "", "x-amz-copy-source", "/bucket/src")
}

func TestUploadPartCopy(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	source := strings.Repeat("0123456789", 600_000)
	tag := h.must("PUT", "/bucket/src", source).header.Get("ETag")
	for _, alg := range []string{"", "CRC32", "SHA256", "CRC64NVME"} {
		var create []string
		if alg != "" {
			create = []string{"x-amz-checksum-algorithm", alg}
		}
		id := element(h.must("POST", "/bucket/k?uploads", "", create...).body, "UploadId")
		target := "/bucket/k?uploadId=" + id
		one := h.must("PUT", target+"&partNumber=1", "", "x-amz-copy-source", "/bucket/src")
		two := h.must("PUT", target+"&partNumber=2", "", "x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=5-14", "x-amz-copy-source-if-match", tag)
		if one.code() != "" || element(one.body, "ETag") != "&quot;"+md5Of(source)+"&quot;" || element(one.body, "LastModified") == "" {
			t.Errorf("%s: part 1: %v", alg, one)
		}
		if a, ok := parseAlgorithm(alg); ok && element(two.body, algorithms[a].element) != sumOf(a, "5678901234") {
			t.Errorf("%s: part 2: %v", alg, two)
		}
		doc := "<CompleteMultipartUpload>"
		for i, r := range []*reply{one, two} {
			doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, element(r.body, "ETag"))
		}
		h.must("POST", target, doc+"</CompleteMultipartUpload>")
		r := h.must("GET", "/bucket/k", "", "x-amz-checksum-mode", "ENABLED")
		if r.body != source+"5678901234" || !strings.HasSuffix(r.header.Get("ETag"), `-2"`) {
			t.Errorf("%s: the object has %d bytes, %v", alg, len(r.body), r.header)
		}
		if alg == "CRC64NVME" && r.header.Get("x-amz-checksum-crc64nvme") != sumOf(algCRC64NVME, r.body) {
			t.Errorf("%s: %v", alg, r.header)
		}
	}
	id := element(h.must("POST", "/bucket/k?uploads", "").body, "UploadId")
	target := "/bucket/k?partNumber=1&uploadId=" + id
	for _, c := range []struct {
		status  int
		code    string
		headers []string
	}{
		{404, "NoSuchKey", []string{"x-amz-copy-source", "/bucket/none"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=0-"}},
		{400, "InvalidArgument", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-range", "bytes=0-6000000"}},
		{412, "PreconditionFailed", []string{"x-amz-copy-source", "/bucket/src", "x-amz-copy-source-if-none-match", tag}},
	} {
		h.want(c.status, c.code, "PUT", target, "", c.headers...)
	}
	h.want(404, "NoSuchUpload", "PUT", "/bucket/k?partNumber=1&uploadId=none", "", "x-amz-copy-source", "/bucket/src")
	// With a length, and what a client could have sent as the part's bytes: they are not looked at.
	h.want(400, "InvalidArgument", "PUT", "/bucket/k?partNumber=0&uploadId="+id, "", "x-amz-copy-source", "/bucket/src")
}
