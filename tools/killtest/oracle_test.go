package killtest

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

func (v value) bytes() []byte {
	var all []byte
	for _, p := range v.pieces {
		all = append(all, p.bytes()...)
	}
	return all
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
	value      value
	start, end int // end is never while the write is not acknowledged.
	etag       string
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
	w.end, w.etag = r.clock, etag
}

// refuse notes that a write was answered with an error that says it did not happen.
func (r *register) refuse(w *write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = slices.DeleteFunc(r.writes, func(other *write) bool { return other == w })
}

// possible returns the writes any of which may be the last: those after whose end no acknowledged one began.
func (r *register) possible() []*write {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := 0 // The latest start of an acknowledged write.
	for _, w := range r.writes {
		if w.end != never {
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

// observe holds that what was read is possible; from then on it alone is.
func (r *register) observe(body []byte, etag string) error {
	all := r.possible()
	i := slices.IndexFunc(all, func(w *write) bool {
		return w.value.is(body) && (w.etag == "" || etag == "" || w.etag == etag)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 {
		got := "absent"
		if body != nil {
			got = fmt.Sprintf("%d bytes, ETag %s", len(body), etag)
		}
		want := ""
		for _, w := range all {
			want += fmt.Sprintf("\n\t%v, ETag %q, began at %d, acknowledged %v", w.value, w.etag, w.start, w.end != never)
		}
		return fmt.Errorf("got %s; want one of%s", got, want)
	}
	r.clock = 0
	r.writes = []*write{{value: all[i].value, etag: etag}}
	r.fresh = false
	return nil
}
