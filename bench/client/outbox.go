package client

import (
	"net"
	"strconv"
)

const (
	// copyMax: pieces up to this are copied next to each other; a longer one costs less as an entry of a vector.
	copyMax = 16 << 10

	// stageLen holds a head and the framing of a batch of chunks.
	stageLen = 64 << 10

	// batchLen is how much is gathered before it is sent: past it a system call more costs nothing that could be measured.
	batchLen = 1 << 20

	// maxPieces is what the kernel takes in one call.
	maxPieces = 1024
)

// An outbox gathers what goes out, to send it in as few system calls as the connection takes. Long pieces go by reference when the connection is
// a plain socket; through TLS everything is copied, as each Write would become a record of its own.
type outbox struct {
	conn   net.Conn
	vector bool // conn takes vectors.

	stage   []byte      // What was copied; never grows, so that pieces can point to it.
	pieces  net.Buffers // What is to be sent, in order.
	sending net.Buffers // The same while WriteTo eats it up; here, so that it is not allocated for each call.
	open    bool        // The last piece ends where stage does.
	pending int
}

func (o *outbox) reset(conn net.Conn, vector bool) {
	if o.stage == nil {
		o.stage = make([]byte, 0, stageLen)
	}
	o.conn, o.vector = conn, vector
	o.clear()
}

func (o *outbox) clear() {
	clear(o.pieces)
	o.stage, o.pieces, o.open, o.pending = o.stage[:0], o.pieces[:0], false, 0
}

// add gathers b, which must not change until flush has returned if it is longer than copyMax.
func (o *outbox) add(b []byte) error {
	if len(b) > copyMax && o.vector {
		o.pieces = append(o.pieces, b)
		o.open = false
		o.pending += len(b)
		if o.pending >= batchLen || len(o.pieces) >= maxPieces-1 {
			return o.flush()
		}
		return nil
	}
	for len(b) > 0 {
		room := o.stageRoom()
		if room == 0 {
			if err := o.flush(); err != nil {
				return err
			}
			continue
		}
		n := min(room, len(b))
		o.commit(append(o.stage, b[:n]...))
		b = b[n:]
	}
	return nil
}

func (o *outbox) stageRoom() int { return cap(o.stage) - len(o.stage) }

// reserve makes room for n bytes that the caller appends to stage and hands to commit.
func (o *outbox) reserve(n int) error {
	if o.stageRoom() < n {
		return o.flush()
	}
	return nil
}

// commit takes a stage that has grown by what was appended.
func (o *outbox) commit(stage []byte) {
	start := len(o.stage)
	o.stage = stage
	o.pending += len(stage) - start
	if last := len(o.pieces) - 1; o.open {
		begun := start - len(o.pieces[last])
		o.pieces[last] = stage[begun:]
	} else {
		o.pieces = append(o.pieces, stage[start:])
		o.open = true
	}
}

// flush sends what was gathered.
func (o *outbox) flush() (err error) {
	switch len(o.pieces) {
	case 0:
	case 1:
		_, err = o.conn.Write(o.pieces[0])
	default:
		if o.vector {
			o.sending = append(o.sending[:0], o.pieces...)
			sending := o.sending
			_, err = o.sending.WriteTo(o.conn)
			o.sending = sending[:0]
			break
		}
		for _, piece := range o.pieces {
			if _, err = o.conn.Write(piece); err != nil {
				break
			}
		}
	}
	o.clear()
	return err
}

// maxFrame is more than the framing around a chunk takes.
const maxFrame = 256

// sendBody adds the body of a request.
func (c *Conn) sendBody(r *Request) error {
	if !r.Payload.Mode.Streaming() {
		return c.addRun(r.Body, 0, r.Body.length)
	}
	signed := r.Payload.Mode.ChunksSigned()
	for i, off := 0, int64(0); ; i++ {
		length := min(r.Payload.ChunkLen, r.Body.length-off)
		if err := c.out.reserve(maxFrame); err != nil {
			return err
		}
		line := strconv.AppendInt(c.out.stage, length, 16)
		if signed {
			if length > 0 {
				c.signer.chunk(&r.Body.chunkSums[i])
			} else {
				c.signer.chunk(&noBytes)
			}
			line = append(line, chunkSignature...)
			line = append(line, c.signer.previous[:]...)
		}
		c.out.commit(append(line, "\r\n"...))
		if length == 0 {
			break
		}
		if err := c.addRun(r.Body, off, length); err != nil {
			return err
		}
		off += length
		if err := c.out.reserve(2); err != nil {
			return err
		}
		c.out.commit(append(c.out.stage, "\r\n"...))
	}
	return c.sendTrailer(r)
}

// noBytes is the digest of none.
var noBytes = [32]byte{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

func (c *Conn) sendTrailer(r *Request) error {
	if err := c.out.reserve(2 * maxFrame); err != nil {
		return err
	}
	b := c.out.stage
	if r.Payload.Mode.HasTrailer() {
		b = append(b, r.Body.trailerName...)
		b = append(b, ':')
		b = append(b, r.Body.trailerValue...)
		b = append(b, "\r\n"...)
		if r.Payload.Mode.ChunksSigned() {
			c.signer.trailer(r.Body.trailerName, r.Body.trailerValue)
			b = append(b, trailerSignature+":"...)
			b = append(b, c.signer.previous[:]...)
			b = append(b, "\r\n"...)
		}
	}
	c.out.commit(append(b, "\r\n"...))
	return nil
}

// addRun adds n bytes of a body from off.
func (c *Conn) addRun(b *Body, off, n int64) error {
	for n > 0 {
		piece := b.run(off, min(n, batchLen))
		if err := c.out.add(piece); err != nil {
			return err
		}
		off += int64(len(piece))
		n -= int64(len(piece))
		if n > 0 {
			c.extend()
		}
	}
	return nil
}
