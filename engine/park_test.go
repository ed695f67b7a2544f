package engine

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"penstock/ioring"
)

// haltingWriter takes so many bytes of each try, as a client does that is slow while others want the memory.
type haltingWriter struct {
	bytes.Buffer
	take int
}

func (w *haltingWriter) TryWrite(p []byte, wanted func() bool) (int, error) {
	return w.Write(p[:min(len(p), w.take)])
}

// TestParkedReader reads every kind of object with a writer that stops at any byte: what it gets is what it would get otherwise, and
// while it is waited for it holds no memory.
func TestParkedReader(t *testing.T) {
	s := newTestStore(t, 6, 2)
	mustBucket(t, s, testBucket)
	for _, size := range []int{1, 5000, 300_000, 1<<20 + 77, 7 << 20} {
		want := payload(uint64(size), size)
		mustPut(t, s, testBucket, "k", want)
		for _, take := range []int{0, 1, 4095, 65_536, 100_001, 3 << 20} {
			for _, off := range []int{0, size / 3} {
				if size/(take+parkLen) > 300 {
					continue // Hundreds of halts show what there is to see.
				}
				h, err := s.Open(t.Context(), testBucket, "k", CurrentVersion)
				if err != nil {
					t.Fatal(err)
				}
				b, err := h.Body(t.Context(), int64(off), int64(size-off))
				if err != nil {
					t.Fatal(err)
				}
				w := &haltingWriter{take: take}
				n, err := b.WriteTo(w)
				if err != nil || n != int64(size-off) || !bytes.Equal(w.Bytes(), want[off:]) {
					t.Errorf("%d bytes from %d, %d at a time: %d written, %v", size, off, take, n, err)
				}
				b.Close()
				h.Close()
			}
		}
	}
	if s.Stats().ParkedReads == 0 {
		t.Error("no reader was parked")
	}
	h, err := s.Open(t.Context(), testBucket, "k", CurrentVersion)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := h.Body(t.Context(), 0, 7<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	held := s.Stats().ArenaUsed
	b.(*body).park()
	if now := s.Stats().ArenaUsed; now >= held {
		t.Errorf("parked, it holds as much as before: %d bytes in use, then %d", held, now)
	}
}

// patientBuffer is a client that takes nothing until others want its memory, or until it is let go.
type patientBuffer struct {
	bytes.Buffer
	begun sync.Once
	ready func()
	let   chan struct{}
}

func (w *patientBuffer) TryWrite(p []byte, wanted func() bool) (int, error) {
	for {
		select {
		case <-w.let:
			return w.Write(p)
		default:
		}
		w.begun.Do(w.ready)
		if wanted() {
			return 0, nil
		}
		runtime.Gosched()
	}
}

// TestParkedForOthers: readers that take nothing hold all the memory there is for reads. Whoever reads now is not refused.
func TestParkedForOthers(t *testing.T) {
	s := newTestStore(t, 6, 2)
	mustBucket(t, s, testBucket)
	want := payload(1, 7<<20)
	mustPut(t, s, testBucket, "k", want)
	s.cells[0].cache = newBlobCache(0)
	base := inUse(s)
	let := make(chan struct{})
	var group sync.WaitGroup
	slow := func() {
		h, err := s.Open(t.Context(), testBucket, "k", CurrentVersion)
		if err != nil {
			t.Fatal(err)
		}
		b, err := h.Body(t.Context(), 0, int64(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan struct{})
		group.Go(func() {
			defer h.Close()
			defer b.Close()
			w := &patientBuffer{let: let, ready: func() { close(begun) }}
			if _, err := b.WriteTo(w); err != nil || !bytes.Equal(w.Bytes(), want) {
				t.Errorf("%d bytes, %v", w.Len(), err)
			}
		})
		<-begun
	}
	memory := s.cells[0].readMemory
	enough := func() bool {
		probe := memory.tryGet(2 << 20)
		if probe != nil {
			probe.Release()
		}
		return probe != nil
	}
	for enough() {
		slow()
	}
	var rest []*ioring.Buf // Too little for a reader, but for a row.
	for buf := memory.tryGet(64 << 10); buf != nil; buf = memory.tryGet(64 << 10) {
		rest = append(rest, buf)
	}
	for range 3 {
		mustGet(t, s, testBucket, "k", want)
	}
	if s.Stats().ParkedReads == 0 {
		t.Error("no reader was parked")
	}
	close(let)
	group.Wait()
	for _, buf := range rest {
		buf.Release()
	}
	eventually(t, "all memory is back", func() bool { return inUse(s) == base })
}

// shortWriter breaks the promise of a writer.
type shortWriter struct{ bytes.Buffer }

func (w *shortWriter) Write(p []byte) (int, error) { return w.Buffer.Write(p[:len(p)/2]) }

// TestShortWrite: a writer that takes less than it says never makes a hole in what it is given.
func TestShortWrite(t *testing.T) {
	s := newTestStore(t, 6, 2)
	mustBucket(t, s, testBucket)
	want := payload(1, 3<<20)
	mustPut(t, s, testBucket, "k", want)
	h, err := s.Open(t.Context(), testBucket, "k", CurrentVersion)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := h.Body(t.Context(), 0, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w := &shortWriter{}
	if n, err := b.WriteTo(struct{ io.Writer }{w}); !errors.Is(err, io.ErrShortWrite) || !bytes.Equal(w.Bytes(), want[:n]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
