package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

const (
	// streamWindow is how much of each segment a reader of whole volumes has in memory, if that makes no more than streamMemory:
	// large enough that drives stream.
	streamWindow = 4 << 20
	streamMemory = 32 << 20

	// probeWindow is enough for the first batch of a volume, which is read alone.
	probeWindow = 64 << 10
)

// reader reads the batches of one volume in order. It keeps the same stretch of every segment it reads, its window, in memory.
// One that is eager for the data segments alone reads parity when it must decode; one that is eager for all knows what is missing.
type reader struct {
	ctx    context.Context
	opts   *Options
	vol    Volume
	eager  erasure.Set // Shards that are read before there is a reason.
	window int         // Length of the window, unless a batch needs more.

	from   int64 // Offset of the window.
	length int   // Of the window.
	shards [erasure.MaxShards]shardWindow
	loaded erasure.Set // Shards whose window was asked for.

	// The batch read last.
	header  header
	records []Record
	more    []bool      // By record: the next one is of the same group.
	good    erasure.Set // Shards whose block was there and whole, or that have none.
	full    bool        // All blocks are there and whole. Set by repair.
}

// shardWindow is a reader's window of one shard.
type shardWindow struct {
	buf *ioring.Buf // nil when nothing can be read.
	mem []byte      // The window; shorter than the reader's at the segment's end.
	err error       // Why mem is not the segment's content.
	out bool        // The drive hung: it is not asked again.
}

// expectation is what the next batch must be to continue those before it.
type expectation struct {
	number uint64
	off    int64
	salt   uint64 // Any, when the volume's first batch is looked for.
	chain  uint64
	lsn    meta.LSN
	anyLSN bool // First batch of a volume that is not read in sequence.
	any    bool // Whichever batch is at off.
}

// undecodable says that there is no batch where one was looked for.
type undecodable struct {
	volume  meta.VolumeID
	number  uint64
	off     int64
	unknown []string // Shards that could not be looked at, and why.
	present int      // Blocks that were whole.
	needed  int      // Blocks it would have taken; 0 when not even a header is there.
	m       int
}

func (u *undecodable) Error() string {
	s := fmt.Sprintf("batch %d of journal volume %x at %d: ", u.number, u.volume, u.off)
	if u.needed == 0 {
		s += "no header"
	} else {
		s += fmt.Sprintf("%d whole blocks of the %d needed", u.present, u.needed)
	}
	for _, why := range u.unknown {
		s += "; " + why
	}
	return s
}

// blind reports that too many shards could not be looked at to say whether the batch was ever committed: with no more than m
// unknown, a committed batch is decodable.
func (u *undecodable) blind() bool { return len(u.unknown) > u.m }

// newReader returns a reader that looks at the shards in eager always, of which there may be none, and at others when those do not do.
func newReader(ctx context.Context, opts *Options, vol Volume, eager erasure.Set, window int) *reader {
	window = min(window, streamMemory/max(1, eager.Count())) &^ (blockAlign - 1)
	return &reader{ctx: ctx, opts: opts, vol: vol, eager: eager, window: window}
}

// firstShards returns the first n shards: k of them are the data, k + m all.
func firstShards(n int) erasure.Set { return erasure.Set(1)<<uint(n) - 1 }

func (r *reader) close() {
	for i := range r.shards {
		if buf := r.shards[i].buf; buf != nil {
			buf.Release()
		}
	}
	r.shards = [erasure.MaxShards]shardWindow{}
}

func (r *reader) n() int { return r.vol.K() + r.vol.M() }

// next reads the batch that e describes. The error is an *undecodable if there is none; the batch is in r otherwise.
func (r *reader) next(e expectation) error {
	if e.off >= r.vol.Capacity() {
		return &undecodable{volume: r.vol.ID(), number: e.number, off: e.off, m: r.vol.M()}
	}
	if err := r.cover(e.off, 2*blockAlign); err != nil {
		return err
	}
	for {
		err := r.decode(e)
		switch need := (*shortWindow)(nil); {
		case errors.As(err, &need):
			if err := r.cover(e.off, need.length); err != nil {
				return err
			}
		case r.wantsMore(err):
			if err := r.load(r.all()); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// all returns all shards of the volume.
func (r *reader) all() erasure.Set { return firstShards(r.n()) }

// wantsMore reports whether reading the rest of the shards might help.
func (r *reader) wantsMore(err error) bool {
	_, ok := errors.AsType[*undecodable](err)
	return ok && r.loaded != r.all()
}

// shortWindow says that the batch is longer than what the window holds of it.
type shortWindow struct{ length int }

func (*shortWindow) Error() string { return "the window is too short" }

// cover has the window hold n bytes from off, or up to the end of the volume.
func (r *reader) cover(off int64, n int) error {
	n = int(min(int64(n), r.vol.Capacity()-off))
	if r.loaded != 0 && off >= r.from && off+int64(n) <= r.from+int64(r.length) {
		return nil
	}
	length := int(min(int64(max(r.window, n)), r.vol.Capacity()-off))
	for i := range r.shards {
		if w := &r.shards[i]; w.buf != nil && len(w.buf.Bytes()) < length {
			w.buf.Release()
			w.buf = nil
		}
	}
	r.from, r.length, r.loaded = off, length, 0
	return r.load(r.eager)
}

// load reads the window of the shards that are not loaded yet. What a shard's own trouble is stays with the shard.
func (r *reader) load(shards erasure.Set) error {
	type read struct {
		drive.Op
		buf *ioring.Buf
		vec [1][]byte
	}
	var reads [erasure.MaxShards]*read
	over := make(chan int, erasure.MaxShards)
	var submit []*drive.Op
	for i := range shards.All() {
		if r.loaded.Has(i) {
			continue
		}
		r.loaded = r.loaded.With(i)
		w := &r.shards[i]
		file := r.vol.Shard(i)
		switch {
		case file == nil:
			w.mem, w.err = nil, errMissing
			continue
		case w.out:
			w.mem = nil
			continue
		}
		if w.buf == nil {
			buf, err := r.opts.Arena.Get(r.ctx, r.length)
			if err != nil {
				return err
			}
			w.buf = buf
		}
		// A segment that was cut short ends there; what follows counts as nothing.
		n := int(min(int64(r.length), max(0, file.Size()-r.from)))
		w.mem, w.err = w.buf.Bytes()[:n], nil
		if n == 0 {
			continue
		}
		w.buf.Retain()
		op := &read{buf: w.buf, vec: [1][]byte{w.mem}}
		op.Op = drive.Op{Kind: drive.Read, File: file, Off: r.from, Bufs: op.vec[:], Done: func(*drive.Op) {
			op.buf.Release()
			over <- i
		}}
		reads[i] = op
		submit = append(submit, &op.Op)
	}
	drive.Submit(submit)
	timer := time.NewTimer(r.opts.ReadTimeout)
	defer timer.Stop()
	var back erasure.Set
	for back.Count() < len(submit) {
		select {
		case i := <-over:
			back = back.With(i)
		case <-timer.C:
			for i, op := range reads {
				if op != nil && !back.Has(i) {
					w := &r.shards[i]
					w.buf.Release() // The drive keeps it.
					*w = shardWindow{out: true, err: fmt.Errorf("read of %d bytes not finished after %v", len(op.vec[0]), r.opts.ReadTimeout)}
					reads[i] = nil
				}
			}
			return r.accept(back, func(i int) error { return reads[i].Err })
		}
	}
	return r.accept(back, func(i int) error { return reads[i].Err })
}

var errMissing = errors.New("its drive is missing")

// accept takes in the outcome of reads that are over.
func (r *reader) accept(back erasure.Set, errOf func(int) error) error {
	for i := range back.All() {
		if err := errOf(i); err != nil {
			w := &r.shards[i]
			w.mem, w.err = nil, err
			r.opts.Logger.Warn("a journal segment cannot be read", "volume", fmt.Sprintf("%x", r.vol.ID()), "shard", i, "error", err)
		}
	}
	return r.ctx.Err()
}

// block returns n bytes of a shard from off on, or nil if the window does not hold them.
func (r *reader) block(shard int, off int64, n int) []byte {
	mem := r.shards[shard].mem
	from := int(off - r.from)
	if from < 0 || n > len(mem)-from {
		return nil
	}
	return mem[from : from+n : from+n]
}

// undecodable describes why there is no batch.
func (r *reader) undecodable(e expectation, h *header) error {
	u := &undecodable{volume: r.vol.ID(), number: e.number, off: e.off, m: r.vol.M()}
	if h != nil {
		u.present = (r.good & h.written()).Count()
		u.needed = h.k - h.empty().Count()
	}
	for i := range r.n() {
		if r.loaded.Has(i) && r.shards[i].err != nil && !r.vol.Absent(i) {
			u.unknown = append(u.unknown, fmt.Sprintf("shard %d: %v", i, r.shards[i].err))
		}
	}
	return u
}

// position is the journal's position behind the batch read last.
func (r *reader) position() meta.Position { return r.header.position() }

// following returns what the batch after the one read last must be.
func (r *reader) following() expectation {
	h := &r.header
	return expectation{number: h.number + 1, off: h.end(), salt: h.salt, chain: h.sum, lsn: h.lastLSN() + 1}
}
