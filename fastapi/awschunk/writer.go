package awschunk

import (
	"crypto/sha256"
	"strconv"

	"penstock/fastapi/sigv4"
)

// AppendEncoded appends a body in the aws-chunked encoding, cut into chunks of chunkLen bytes, as a
// client sends it. Tests and load generators use it.
func AppendEncoded(dst, body []byte, chunkLen int, mode sigv4.Mode, auth *sigv4.Auth, trailers []Trailer) []byte {
	var chain *sigv4.Chain
	if mode.ChunksSigned() {
		chain = auth.Chain()
	}
	for {
		chunk := body[:min(chunkLen, len(body))]
		body = body[len(chunk):]
		dst = strconv.AppendInt(dst, int64(len(chunk)), 16)
		if chain != nil {
			sum := sha256.Sum256(chunk)
			signature := chain.Chunk(&sum)
			dst = append(dst, ";chunk-signature="...)
			dst = append(dst, signature[:]...)
		}
		dst = append(dst, "\r\n"...)
		if len(chunk) == 0 {
			break
		}
		dst = append(dst, chunk...)
		dst = append(dst, "\r\n"...)
	}
	if mode.HasTrailer() {
		dst = appendTrailers(dst, chain, trailers)
	}
	return append(dst, "\r\n"...)
}

func appendTrailers(dst []byte, chain *sigv4.Chain, trailers []Trailer) []byte {
	var signed []byte
	for _, t := range trailers {
		dst = append(dst, t.Name+":"+t.Value+"\r\n"...)
		signed = append(signed, t.Name+":"+t.Value+"\n"...)
	}
	if chain == nil {
		return dst
	}
	sum := sha256.Sum256(signed)
	signature := chain.Trailer(&sum)
	dst = append(dst, trailerSignature+":"...)
	dst = append(dst, signature[:]...)
	return append(dst, "\r\n"...)
}
