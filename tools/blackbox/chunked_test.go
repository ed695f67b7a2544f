package blackbox

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// chunked builds a request whose body is aws-chunked, with a CRC32 trailer if the mode has trailers.
func (c *client) chunked(method, target string, body []byte, chunkLen int, mode sigv4.Mode, headers ...string) *request {
	q := c.unsigned(method, target, nil, append(headers, "X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))...)
	if mode.HasTrailer() {
		q.add("X-Amz-Trailer", "x-amz-checksum-crc32")
	}
	return c.chunkedAs(q, body, chunkLen, mode)
}

// chunkedAs signs the request, which has all its headers, and frames the body.
func (c *client) chunkedAs(q *request, body []byte, chunkLen int, mode sigv4.Mode) *request {
	var trailers []awschunk.Trailer
	if mode.HasTrailer() {
		trailers = []awschunk.Trailer{{Name: "x-amz-checksum-crc32", Value: crc32Of(body)}}
	}
	auth := c.sign(q, mode.HeaderValue())
	q.body = awschunk.AppendEncoded(nil, body, chunkLen, mode, auth, trailers)
	q.length = len(q.body)
	return q
}

// crc32Of is the value of x-amz-checksum-crc32.
func crc32Of(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}
