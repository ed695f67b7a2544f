package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// A value is what a key may hold: nothing, or bytes that are made again from seeds.
type value struct {
	absent bool
	pieces []piece // One, or the parts of an upload.
}

type piece struct {
	seed uint64
	size int
}

func (p piece) bytes() []byte {
	source := rand.NewChaCha8([32]byte{
		byte(p.seed), byte(p.seed >> 8), byte(p.seed >> 16), byte(p.seed >> 24),
		byte(p.seed >> 32), byte(p.seed >> 40), byte(p.seed >> 48), byte(p.seed >> 56),
	})
	b := make([]byte, p.size)
	source.Read(b) // Never fails.
	return b
}

func (v value) size() (n int) {
	for _, p := range v.pieces {
		n += p.size
	}
	return n
}

// is reports whether the value is the one that was read; body is nil when the key was absent.
func (v value) is(body []byte) bool {
	if v.absent || body == nil {
		return v.absent && body == nil
	}
	if v.size() != len(body) {
		return false
	}
	for _, p := range v.pieces {
		if !bytes.Equal(p.bytes(), body[:p.size]) {
			return false
		}
		body = body[p.size:]
	}
	return true
}

func (v value) String() string {
	if v.absent {
		return "absent"
	}
	return fmt.Sprintf("%d bytes of %x", v.size(), v.pieces)
}

// A write is one attempt to change a key. Times count events, not seconds.
type write struct {
	value value
	start int
	// end is when it is certain that it had happened: it was acknowledged, or it was read. Until then it is never.
	end  int
	seen bool // It was read before it was acknowledged.
	etag string
}

const never = int(^uint(0) >> 1)

// A register knows what a key may hold after the writes that were attempted on it.
type register struct {
	mu     sync.Mutex // Guards the fields below.
	clock  int
	writes []*write // At least one. The first is what was there before.
	fresh  bool     // Written since it was last read back whole.
}

func newRegister() *register {
	return &register{writes: []*write{{value: value{absent: true}}}}
}

// begin notes that a write is about to be sent.
func (r *register) begin(v value) *write {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	w := &write{value: v, start: r.clock, end: never}
	r.writes = append(r.writes, w)
	r.fresh = true
	return w
}

// acknowledge notes that a write was answered with success.
func (r *register) acknowledge(w *write, etag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	w.end, w.etag = min(w.end, r.clock), etag
}

// refuse notes that a write was answered with an error that says that it did not happen.
func (r *register) refuse(w *write) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.seen {
		return wrong("%v was refused, and was read before that", w.value)
	}
	r.writes = slices.DeleteFunc(r.writes, func(other *write) bool { return other == w })
	return nil
}

// now returns the time, for a read that begins.
func (r *register) now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock
}

// possible returns the writes any of which may be the last: those after whose end no acknowledged one began.
func (r *register) possible() []*write {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since(r.clock)
}

// since returns the writes any of which may be read by a read that began at that time and ends now.
func (r *register) since(begun int) []*write {
	newest := 0 // The latest start of a write that was over when the read began.
	for _, w := range r.writes {
		if w.end <= begun {
			newest = max(newest, w.start)
		}
	}
	var out []*write
	for _, w := range r.writes {
		if w.end >= newest {
			out = append(out, w)
		}
	}
	return out
}

// known returns the one value that the key must hold, if it is certain.
func (r *register) known() (*write, bool) {
	all := r.possible()
	return all[len(all)-1], len(all) == 1
}

func (w *write) matches(body []byte, etag string) bool {
	return w.value.is(body) && (w.etag == "" || etag == "" || w.etag == etag)
}

// read holds that what a read that began at that time returned is possible. A write that nobody acknowledged, and that is read,
// has happened: what was before it must not come back.
func (r *register) read(begun int, body []byte, etag string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.since(begun)
	matching := slices.DeleteFunc(slices.Clone(all), func(w *write) bool { return !w.matches(body, etag) })
	if len(matching) == 0 {
		return unexpected(body, etag, all)
	}
	if w := matching[0]; len(matching) == 1 && w.end == never {
		r.clock++
		w.end, w.seen = r.clock, true
	}
	return nil
}

// settle holds that what was read after a restart, when nothing can be under way any more, is possible; from then on it alone is.
func (r *register) settle(body []byte, etag string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.since(r.clock)
	i := slices.IndexFunc(all, func(w *write) bool { return w.matches(body, etag) })
	if i < 0 {
		return unexpected(body, etag, all)
	}
	r.clock = 0
	r.writes = []*write{{value: all[i].value, etag: etag}}
	r.fresh = false
	return nil
}

func unexpected(body []byte, etag string, want []*write) error {
	got := "absent"
	if body != nil {
		got = fmt.Sprintf("%d bytes, ETag %s", len(body), etag)
	}
	s := ""
	for _, w := range want {
		s += fmt.Sprintf("\n\t%v, ETag %q, began at %d, acknowledged %v, seen %v", w.value, w.etag, w.start, w.end != never, w.seen)
	}
	return wrong("got %s; want one of%s", got, s)
}
