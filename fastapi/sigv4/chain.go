package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Chain computes the signatures of an aws-chunked body. Each is computed over the one before it, the
// first over the request's own, so chunks cannot be dropped, repeated or moved.
type Chain struct {
	mac      hash.Hash
	middle   []byte // "\n", timestamp, "\n", scope, "\n"
	previous [signatureLen]byte
	message  []byte
}

// Chain returns the chain that starts at the request's signature.
func (a *Auth) Chain() *Chain {
	c := &Chain{mac: hmac.New(sha256.New, a.key[:]), previous: a.signature}
	c.middle = append(c.middle, '\n')
	c.middle = append(c.middle, a.timestamp[:]...)
	c.middle = append(c.middle, '\n')
	c.middle = append(c.middle, a.scope...)
	c.middle = append(c.middle, '\n')
	return c
}

// emptySum is the hash of no bytes, in hex: chunks have no headers, and their hash is signed too.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Chunk returns the signature, in hex, of the next chunk, whose bytes have the given hash.
func (c *Chain) Chunk(sum *[sha256.Size]byte) [signatureLen]byte {
	c.begin(algorithm + "-PAYLOAD")
	c.message = append(c.message, emptySum+"\n"...)
	return c.finish(sum)
}

// Trailer returns the signature, in hex, of the trailers, as "name:value\n" each, which have the
// given hash. It follows the signature of the last chunk.
func (c *Chain) Trailer(sum *[sha256.Size]byte) [signatureLen]byte {
	c.begin(algorithm + "-TRAILER")
	return c.finish(sum)
}

func (c *Chain) begin(kind string) {
	c.message = append(c.message[:0], kind...)
	c.message = append(c.message, c.middle...)
	c.message = append(c.message, c.previous[:]...)
	c.message = append(c.message, '\n')
}

func (c *Chain) finish(sum *[sha256.Size]byte) [signatureLen]byte {
	c.message = hex.AppendEncode(c.message, sum[:])
	c.mac.Reset()
	c.mac.Write(c.message)
	// The message is done with; its memory takes the MAC, so that nothing is allocated.
	c.message = c.mac.Sum(c.message[:0])
	hex.Encode(c.previous[:], c.message)
	return c.previous
}
