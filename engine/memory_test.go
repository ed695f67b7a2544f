package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/ioring"
)

// free returns the bytes of buffers in use but for those that the journal keeps.
func inUse(s *Store) int64 { return s.cells[0].arena.Stats().InUse }

// TestArenaExhausted has slow uploads take all of the memory. Others are told to come back soon, nobody waits for ever, and when
// the clients have gone all memory is back.
func TestArenaExhausted(t *testing.T) {
	s := newTestStore(t, 6, 2)
	mustBucket(t, s, testBucket)
	want := payload(1, 3<<20)
	mustPut(t, s, testBucket, "k", want)
	mustPut(t, s, testBucket, "small", want[:5000])
	base := inUse(s)
	const clients = 300 // Each holds at least a row of 384 KiB, if it is let in.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	kinds := map[Kind]int{}
	slowest := time.Duration(0)
	for client := range clients {
		group.Go(func() {
			began := time.Now()
			first := true
			body := funcReader(func(p []byte) (int, error) {
				if first { // Let in, and one byte is here.
					first = false
					return 1, nil
				}
				<-gone
				return 0, io.ErrUnexpectedEOF
			})
			_, err := s.Put(ctx, testBucket, fmt.Sprint("slow", client), body, PutOptions{Size: 64 << 20})
			mu.Lock()
			defer mu.Unlock()
			kinds[KindOf(err)]++
			if KindOf(err) == KindBusy {
				slowest = max(slowest, time.Since(began))
			}
		})
	}
	eventually(t, "everybody is let in or turned away", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return kinds[KindBusy] > 0 && s.cells[0].arena.Stats().Waiting == 0
	})
	mu.Lock()
	if slowest > 5*time.Second {
		t.Errorf("it took %v to be turned away", slowest)
	}
	mu.Unlock()
	if stats := s.Stats(); stats.ArenaUsed > stats.ArenaLen {
		t.Errorf("%+v", stats)
	}
	// Whoever comes now is turned away in about a second, too, if there is no memory at all.
	hold := takeAll(s.cells[0].arena)
	for name, f := range map[string]func() error{
		"put":       func() error { _, err := putBytes(ctx, s, testBucket, "x", want, nil); return err },
		"small put": func() error { _, err := putBytes(ctx, s, testBucket, "x", want[:100], nil); return err },
		"get":       func() error { _, err := getBytes(ctx, s, testBucket, "k"); return err },
		"small get": func() error { _, err := getBytes(ctx, s, testBucket, "small"); return err },
	} {
		began := time.Now()
		if err := f(); KindOf(err) != KindBusy || err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
	}
	for _, buf := range hold {
		buf.Release()
	}
	close(gone)
	group.Wait()
	cancel()
	if kinds[KindBusy] == 0 || kinds[KindIncompleteBody] == 0 || kinds[KindBusy]+kinds[KindIncompleteBody] != clients {
		t.Errorf("outcomes %v", kinds)
	}
	eventually(t, "all memory is back", func() bool { return inUse(s) == base })
	mustGet(t, s, testBucket, "k", want)
}

func takeAll(a *ioring.Arena) (bufs []*ioring.Buf) {
	for n := 1 << 20; n >= 4096; n /= 2 {
		for buf := a.TryGet(n); buf != nil; buf = a.TryGet(n) {
			bufs = append(bufs, buf)
		}
	}
	return bufs
}

type funcReader func([]byte) (int, error)

func (f funcReader) Read(p []byte) (int, error) { return f(p) }

// TestArenaProgress has many more readers and writers than there is memory for, with two drives gone and another lying, so that reads need
// the most memory. All finish: nobody waits for memory while holding some.
func TestArenaProgress(t *testing.T) {
	drives := memDrives(6, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, 3), plan.WrapAll(drives))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	want := payload(1, 3<<20)
	small := payload(2, 100_000)
	mustPut(t, s, testBucket, "k", want)
	mustPut(t, s, testBucket, "small", small)
	s.cells[0].cache = newBlobCache(0)
	base := inUse(s)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[0].ID(), Times: -1})
	plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[1].ID(), Times: -1})
	plan.Add(drive.Rule{On: drive.OnRead, Drive: drives[2].ID(), Times: -1, Do: drive.Flip})
	// Little more memory than a few requests need.
	var hold []*ioring.Buf
	for s.cells[0].arena.Stats().Size-inUse(s) > 12<<20 {
		buf := s.cells[0].arena.TryGet(1 << 20)
		if buf == nil {
			break
		}
		hold = append(hold, buf)
	}
	var group sync.WaitGroup
	for client := range 24 {
		group.Go(func() {
			for i := range 2 {
				again(t, func() error {
					switch client % 3 {
					case 0:
						got, err := getBytes(t.Context(), s, testBucket, "k")
						if err == nil && !bytes.Equal(got, want) {
							t.Error("other bytes")
						}
						return err
					case 1:
						got, err := getBytes(t.Context(), s, testBucket, "small")
						if err == nil && !bytes.Equal(got, small) {
							t.Error("other bytes")
						}
						return err
					}
					_, err := putBytes(t.Context(), s, testBucket, fmt.Sprint(client, i), want[:1<<20], nil)
					return err
				})
			}
		})
	}
	group.Wait()
	for _, buf := range hold {
		buf.Release()
	}
	eventually(t, "all memory is back", func() bool { return inUse(s) == base })
}

// again repeats f as long as the store is busy, or takes a machine that stands still for drives that do.
func again(t testing.TB, f func() error) {
	for deadline := time.Now().Add(60 * time.Second); ; {
		err := f()
		if err == nil {
			return
		}
		if kind := KindOf(err); kind != KindBusy && kind != KindUnavailable || time.Now().After(deadline) {
			t.Error(err)
			return
		}
	}
}

// TestRewrite fails a drive under uploads that hold memory, when there is none left: their stripes are encoded anew for the drives that are left, and that
// must do with what there is.
func TestRewrite(t *testing.T) {
	drives := memDrives(5, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1), plan.WrapAll(drives))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	base := inUse(s)
	const uploads = 12
	var ready, group sync.WaitGroup
	ready.Add(uploads)
	fail := make(chan struct{})
	for i := range uploads {
		group.Go(func() {
			want := payload(uint64(i), 1<<20+i)
			half := len(want) / 2
			var once sync.Once
			body := io.MultiReader(bytes.NewReader(want[:half]), funcReader(func([]byte) (int, error) {
				once.Do(ready.Done)
				<-fail
				return 0, io.EOF
			}), bytes.NewReader(want[half:]))
			key := fmt.Sprint(i)
			if _, err := s.Put(t.Context(), testBucket, key, body, PutOptions{
				Size: int64(len(want)), Finish: func(Sums) (Final, error) { return Final{}, nil },
			}); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	ready.Wait() // Each holds its stripe.
	hold := takeAll(s.cells[0].arena)
	plan.Kill(drives[2].ID())
	close(fail)
	group.Wait()
	for _, buf := range hold {
		buf.Release()
	}
	for i := range uploads {
		mustGet(t, s, testBucket, fmt.Sprint(i), payload(uint64(i), 1<<20+i))
	}
	if s.Stats().StripeRetries == 0 {
		t.Error("no stripe was written again")
	}
	eventually(t, "all memory is back", func() bool { return inUse(s) == base })
}
