package fastapi

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net"
	"strings"
	"time"

	"penstock/engine"
	"penstock/fastapi/awschunk"
	"penstock/fastapi/sigv4"
)

// body is a request's payload on its way to the engine: from the socket, freed of its chunks, hashed as it passes.
// Only what this request needs is computed; CRC64NVME comes from the engine, which has it anyway.
type body struct {
	r      *request
	wire   pacedReader
	src    io.Reader        // wire, or the decoder over it.
	chunks *awschunk.Reader // The decoder, of an aws-chunked body.
	size   int64            // Of the decoded bytes; -1 when only the end tells.

	want       checksum
	contentMD5 string    // In base64, "" if none was sent.
	md5        hash.Hash // nil if neither the ETag nor the client needs it.
	sha256     hash.Hash // Set when the body's SHA-256 was signed.
	sum        hash.Hash // Of want.alg, unless that is the engine's or the same as sha256.
}

// admit checks what can be known of a body before it is read, and counts it. So a client that asks before it sends gets
// its answer first.
func (r *request) admit() error {
	if r.op.body != bodyObject {
		return nil
	}
	size, err := r.bodyLen()
	if err != nil {
		return err
	}
	if size > engine.MaxPutLen {
		return errEntityTooLarge.with("ProposedSize", itoa64(size)).with("MaxSizeAllowed", itoa64(engine.MaxPutLen))
	}
	if r.srv.uploads.Add(1) > int64(r.srv.opts.MaxUploads) {
		r.srv.uploads.Add(-1)
		return errSlowDown
	}
	r.admitted = true
	return nil
}

// bodyLen returns the length of the payload that the headers announce. An object's must be known beforehand.
func (r *request) bodyLen() (int64, error) {
	length, known := r.head.lookup("content-length")
	chunked := r.ctx.Request.Header.ContentLength() == -1
	if r.auth.Payload.Mode.Streaming() {
		if length, known = r.head.lookup("x-amz-decoded-content-length"); !known {
			return 0, errMissingContentLength
		}
		n, ok := parseOffset(length)
		if !ok {
			return 0, invalidArgument("x-amz-decoded-content-length must be a number of bytes", "x-amz-decoded-content-length", length)
		}
		return n, nil
	}
	if chunked {
		return 0, notImplemented("Header", "Transfer-Encoding")
	}
	if !known {
		return 0, errMissingContentLength
	}
	n, ok := parseOffset(length)
	if !ok {
		return 0, errBadRequest
	}
	return n, nil
}

// openBody prepares to read the payload of size bytes and to verify and compute the checksum want. The caller closes it.
func (r *request) openBody(size int64, want checksum) (*body, error) {
	b := &body{r: r, size: size, want: want}
	var err error
	if b.contentMD5, err = readContentMD5(&r.head); err != nil {
		return nil, err
	}
	b.openWire()
	payload := &r.auth.Payload
	if payload.Mode.Streaming() {
		if err := b.decodeChunks(payload.Mode); err != nil {
			return nil, err
		}
	} else if b.want.trailer {
		return nil, errInvalidRequest.message("x-amz-trailer needs a payload that has trailers.")
	}
	if payload.Mode == sigv4.Signed {
		b.sha256 = sha256.New()
	}
	if b.want.alg != algSHA256 || b.sha256 == nil {
		b.sum = b.want.alg.newHash()
	}
	if r.op.body == bodyObject {
		if b.md5, err = r.newETag(size, b.contentMD5); err != nil {
			return nil, err
		}
	} else if b.contentMD5 != "" {
		b.md5 = r.srv.newMD5(size)
	}
	return b, nil
}

// openWire makes the request's body what is read.
func (b *body) openWire() {
	r := b.r
	b.wire = pacedReader{
		src: r.ctx.RequestBodyStream(), conn: r.ctx.Conn(), own: r.conn,
		grace: r.srv.opts.BodyGrace, minRate: int64(r.srv.opts.MinBodyRate), crowded: r.srv.store.Crowded,
	}
	if b.wire.src == nil {
		b.wire.src = eofReader{}
	}
	b.src = &b.wire
}

func readContentMD5(h *headers) (string, error) {
	value, ok := h.lookup("content-md5")
	if !ok {
		return "", nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != 16 {
		return "", errInvalidDigest.with("Content-MD5", value)
	}
	return value, nil
}

// Read passes bytes on and hashes them. It fills p where there is enough, as the longer the run that is hashed, the more uploads share the lanes.
func (b *body) Read(p []byte) (int, error) {
	n, err := 0, error(nil)
	for n < len(p) && err == nil {
		var more int
		more, err = b.src.Read(p[n:])
		n += more
	}
	if n > 0 {
		if b.md5 != nil {
			b.md5.Write(p[:n])
		}
		if b.sha256 != nil {
			b.sha256.Write(p[:n])
		}
		if b.sum != nil {
			b.sum.Write(p[:n])
		}
	}
	if err != nil && err != io.EOF {
		err = bodyError(err)
	}
	return n, err
}

// close counts what came.
func (b *body) close() { b.r.received += b.wire.received }

// minLaneLen is the length from which a body's MD5 shares lanes with others: meeting them costs more than hashing a short body.
const minLaneLen = 4 << 10

// newMD5 returns a hash for a body of size bytes.
func (s *Server) newMD5(size int64) hash.Hash {
	if size < minLaneLen {
		return md5.New()
	}
	return s.lanes.New()
}

// bodyError says what a failure to read a body means to the client.
func bodyError(err error) error {
	if _, ok := errors.AsType[*apiError](err); ok {
		return err
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return errRequestTimeout.because(err)
	}
	return errIncompleteBody.because(err)
}

// finish reads what follows the payload and compares every digest the client gave. The engine calls it after the last byte
// and before anything is committed.
func (b *body) finish(sums engine.Sums) (engine.Final, error) {
	if err := b.readEnd(); err != nil {
		return engine.Final{}, err
	}
	if b.size >= 0 && sums.Size != b.size {
		return engine.Final{}, errIncompleteBody
	}
	if b.sha256 != nil {
		got := b.sha256.Sum(nil)
		if want := b.r.auth.Payload.SHA256[:]; string(got) != string(want) {
			return engine.Final{}, errContentSHA256Mismatch.with("ClientComputedContentSHA256", hex.EncodeToString(want)).with("S3ComputedContentSHA256", hex.EncodeToString(got))
		}
	}
	etag, err := b.etag()
	if err != nil {
		return engine.Final{}, err
	}
	final := engine.Final{ETag: etag}
	if b.want.alg == algNone {
		return final, nil
	}
	value := b.checksum(sums)
	if b.want.value != "" && b.want.value != value {
		return engine.Final{}, b.want.alg.mismatch()
	}
	final.Attrs = append(final.Attrs, engine.Attr{Name: b.want.alg.attr(), Value: value})
	return final, nil
}

// etag returns the ETag, and judges the MD5 that the client may have sent.
func (b *body) etag() (string, error) {
	if b.md5 == nil {
		return opaqueETag(), nil
	}
	digest := b.md5.Sum(nil)
	if b.contentMD5 != "" {
		if got := base64.StdEncoding.EncodeToString(digest); got != b.contentMD5 {
			return "", errBadDigest.with("ExpectedDigest", b.contentMD5).with("CalculatedDigest", got)
		}
	}
	return hex.EncodeToString(digest), nil
}

// readEnd reads to the end of the request: the engine may stop at the last byte of the payload, and the trailer comes after it.
func (b *body) readEnd() error {
	var extra [1]byte
	if n, err := readSome(b.src, extra[:]); n > 0 {
		return errIncompleteBody
	} else if err != io.EOF {
		return bodyError(err)
	}
	if b.chunks != nil {
		if err := b.readTrailer(); err != nil {
			return err
		}
	}
	b.r.bodyDone = true
	return nil
}

// readSome reads until there is a byte or an error.
func readSome(src io.Reader, p []byte) (int, error) {
	for range 100 {
		if n, err := src.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// checksum returns the checksum of the payload in base64.
func (b *body) checksum(sums engine.Sums) string {
	switch {
	case b.want.alg == algCRC64NVME:
		return encodeCRC64(sums.CRC64NVME)
	case b.sum != nil:
		return base64.StdEncoding.EncodeToString(b.sum.Sum(nil))
	}
	return base64.StdEncoding.EncodeToString(b.sha256.Sum(nil))
}

// maxDocsLen bounds the documents that are in memory at once: room for a thousand ordinary ones, or 32 of the longest.
const maxDocsLen = 64 << 20

// readDocument reads a payload of at most limit bytes into memory, and verifies it. The result may be kept.
func (r *request) readDocument(limit int64, want checksum) (string, error) {
	if r.document != nil {
		return *r.document, nil // Read already, to be judged by; see authoriseTags.
	}
	size := int64(-1)
	_, known := r.head.lookup("content-length")
	if known || r.auth.Payload.Mode.Streaming() {
		var err error
		if size, err = r.bodyLen(); err != nil {
			return "", err
		}
	}
	if size > limit {
		return "", errMaxMessageLength.with("MaxMessageLengthBytes", itoa64(limit))
	}
	room := limit
	if size >= 0 {
		room = size
	}
	r.reserved += room
	if r.srv.docs.Add(room) > maxDocsLen {
		return "", errSlowDown
	}
	b, err := r.openBody(size, want)
	if err != nil {
		return "", err
	}
	defer b.close()
	var doc strings.Builder
	doc.Grow(int(max(size, 0)))
	if _, err := io.Copy(&doc, io.LimitReader(b, limit+1)); err != nil {
		return "", err
	}
	if int64(doc.Len()) > limit {
		return "", errMaxMessageLength.with("MaxMessageLengthBytes", itoa64(limit))
	}
	sums := engine.Sums{Size: int64(doc.Len())}
	if b.want.alg == algCRC64NVME {
		sums.CRC64NVME = engine.CRC64NVME(bytesOf(doc.String()))
	}
	_, err = b.finish(sums)
	return doc.String(), err
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }

// pacedReader reads from a client that must keep sending. Only time spent waiting for it counts, not the time in which
// the engine had no room for its bytes.
//
// A body that is being received holds memory. While there is enough of it a client may be slow. When others are refused for
// want of it, whoever sends next to nothing makes room and is told to come back: otherwise a few hundred such clients could
// keep everyone from writing, for as long as they like.
type pacedReader struct {
	src     io.Reader
	conn    net.Conn
	own     *conn // What conn is, or is on; nil for the connection of a test.
	grace   time.Duration
	minRate int64 // Bytes a second.
	crowded func() bool

	wake     time.Time // The deadline of conn.
	began    time.Time // The read that waits now, or the last one.
	waited   time.Duration
	received int64
}

const (
	// bodyWake is how often a reader that waits looks whether it must make room.
	bodyWake = time.Second
	// crowdRate is what a client must send while others are refused, in bytes a second, and crowdGrace how long it may take to
	// get there. A thousand clients that share a link of 1 Gbit/s still have four times as much each.
	crowdRate  = 32 << 10
	crowdGrace = 2 * time.Second
)

func (p *pacedReader) Read(b []byte) (int, error) {
	p.began = time.Now()
	// Moving the deadline costs a timer, so it moves once it is half used up.
	if p.wake.Sub(p.began) < p.step()/2 {
		if err := p.setWake(p.began); err != nil {
			return 0, err
		}
	}
	if p.own != nil {
		p.own.pace = p
		defer func() { p.own.pace = nil }()
	}
	n, err := p.src.Read(b)
	p.received += int64(n)
	p.waited += time.Since(p.began)
	if err == nil {
		err = p.judge(p.waited)
	}
	return n, err
}

// wait is called when no byte has come until p.wake. It returns nil to wait on.
func (p *pacedReader) wait() error {
	now := time.Now()
	silence := now.Sub(p.began)
	if silence >= p.grace {
		return errRequestTimeout
	}
	if err := p.judge(p.waited + silence); err != nil {
		return err
	}
	return p.setWake(now)
}

// judge reports whether the client has been too slow in the time that was spent waiting for it.
func (p *pacedReader) judge(waited time.Duration) error {
	switch {
	case waited > p.grace+time.Duration(p.received/p.minRate)*time.Second:
		return errRequestTimeout
	case waited > crowdGrace && float64(p.received) < crowdRate*waited.Seconds() && p.crowded != nil && p.crowded():
		return errSlowDown
	}
	return nil
}

func (p *pacedReader) setWake(now time.Time) error {
	p.wake = now.Add(p.step())
	return p.conn.SetReadDeadline(p.wake)
}

// step is the time between two wakes. Only conn knows how to wake up and go on.
func (p *pacedReader) step() time.Duration {
	if p.own == nil {
		return p.grace
	}
	return min(p.grace, bodyWake)
}
