package fastapi

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"penstock/engine"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// What tests compare answers with is computed here with nothing of this package. The tests named TestBehaviour01 to TestBehaviour20 hold
// what real clients were seen to need.

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// sumOf computes a checksum with nothing of this package.
func sumOf(a algorithm, data string) string {
	switch a {
	case algCRC32:
		return b64(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(data))))
	case algCRC32C:
		return b64(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli))))
	case algCRC64NVME:
		return b64(binary.BigEndian.AppendUint64(nil, engine.CRC64NVME([]byte(data))))
	case algSHA1:
		s := sha1.Sum([]byte(data))
		return b64(s[:])
	case algSHA256:
		s := sha256.Sum256([]byte(data))
		return b64(s[:])
	}
	return ""
}

func md5Of(data string) string {
	s := md5.Sum([]byte(data))
	return hex.EncodeToString(s[:])
}

// chunked builds a request whose body is aws-chunked in the given mode.
func (h *harness) chunked(mode sigv4.Mode, method, target, body string, trailers []awschunk.Trailer, headers ...string) *wireRequest {
	h.t.Helper()
	q := &wireRequest{method: method, target: target, host: h.host}
	for i := 0; i < len(headers); i += 2 {
		q.add(headers[i], headers[i+1])
	}
	q.add("x-amz-decoded-content-length", fmt.Sprint(len(body)))
	for _, tr := range trailers {
		q.add("x-amz-trailer", tr.Name)
	}
	auth := h.sign(q, mode.HeaderValue())
	q.body = awschunk.AppendEncoded(nil, []byte(body), 64<<10, mode, auth, trailers)
	return q
}

// upload makes a multipart object of the given parts and returns the answer to its completion.
func (h *harness) upload(target string, parts []string, createHeaders, completeHeaders []string) *reply {
	h.t.Helper()
	id := element(h.must("POST", target+"?uploads", "", createHeaders...).body, "UploadId")
	doc := "<CompleteMultipartUpload>"
	for i, p := range parts {
		r := h.must("PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", target, i+1, id), p)
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, r.header.Get("ETag"))
	}
	return h.do("POST", target+"?uploadId="+id, doc+"</CompleteMultipartUpload>", completeHeaders...)
}

// longParts are parts of a legal length.
func longParts(n int) []string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.Repeat(string(rune('a'+i)), engine.MinPartLen)
	}
	parts[n-1] = "the last part may be short"
	return parts
}

func multipartETag(parts []string) string {
	h := md5.New()
	for _, p := range parts {
		s := md5.Sum([]byte(p))
		h.Write(s[:])
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
}
