package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"penstock/engine/journal"
	"penstock/ioring"
	"penstock/meta"
)

func TestAppendAndRecover(t *testing.T) {
	for _, tt := range []struct{ drives, parity int }{{1, 0}, {2, 1}, {4, 2}, {6, 2}, {12, 4}} {
		t.Run(fmt.Sprintf("drives=%d/m=%d", tt.drives, tt.parity), func(t *testing.T) {
			rng := newRNG(t)
			r := newRig(t, tt.drives, tt.parity, 4<<20)
			j := r.format()
			var want []string
			for i := range 50 {
				rec := record(rng, i, 0, 1, 1+rng.IntN(9000))
				want = append(want, string(rec))
				lsn := mustAppend(t, j, rec)
				if e := r.log.users()[i]; e.lsn != lsn || e.payload != string(rec) {
					t.Fatalf("record %d: appended as LSN %d, applied as %d", i, lsn, e.lsn)
				}
			}
			end := j.Position()
			r.stop(j)

			j, did := r.mustRecover(meta.Position{})
			got := r.log.users()
			if len(got) != len(want) {
				t.Fatalf("%d records replayed of %d; %+v", len(got), len(want), did)
			}
			for i := range want {
				if got[i].payload != want[i] {
					t.Fatalf("record %d differs", i)
				}
			}
			if err := checkLSNs(r.log.records); err != nil {
				t.Fatal(err)
			}
			if did.Repaired != 0 {
				t.Errorf("%d blocks repaired after an orderly end", did.Repaired)
			}
			r.stop(j)

			// From where the index is, only what followed is replayed: the journal's own starts.
			j, did = r.mustRecover(end)
			if got := r.log.users(); len(got) != 0 || did.Records != 1 {
				t.Errorf("%d user records replayed from the end, %+v", len(got), did)
			}
			r.stop(j)
		})
	}
}

// TestConcurrentAppends checks order, atomic groups, and that writes are shared.
func TestConcurrentAppends(t *testing.T) {
	r := newRig(t, 6, 2, 16<<20)
	j := r.format()
	const callers, each = 64, 20
	base := j.Stats()
	rec := bytes.Repeat([]byte{0xf0}, 4096)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			last := meta.LSN(0)
			for range each {
				lsn, err := j.Append(context.Background(), rec)
				if err != nil || lsn <= last {
					t.Errorf("LSN %d after %d, %v", lsn, last, err)
					return
				}
				last = lsn
			}
		})
	}
	wg.Wait()
	s := j.Stats()
	if got := s.Records - base.Records; got != callers*each {
		t.Fatalf("%d records, want %d", got, callers*each)
	}
	if perRecord := float64(s.Writes-base.Writes) / (callers * each); perRecord >= 1 {
		t.Errorf("%.2f drive writes per record with %d callers", perRecord, callers)
	}
	if err := checkLSNs(r.log.records); err != nil {
		t.Fatal(err)
	}
	r.stop(j)
}

// TestLoneAppendWrites pins the cost of a small write on 4+2: one data shard and two parities.
func TestLoneAppendWrites(t *testing.T) {
	r := newRig(t, 6, 2, 4<<20)
	j := r.format()
	base := j.Stats()
	for range 8 {
		mustAppend(t, j, bytes.Repeat([]byte{0xf0}, 4096+200))
	}
	s := j.Stats()
	if got := s.Writes - base.Writes; got != 8*3 {
		t.Errorf("%d drive writes for 8 lone appends, want 24", got)
	}
	if got := s.WriteLen - base.WriteLen; got != 8*3*8192 {
		t.Errorf("%d bytes written for 8 lone appends, want %d", got, 8*3*8192)
	}
	r.stop(j)
}

func TestRollOver(t *testing.T) {
	r := newRig(t, 6, 2, 1<<20)
	j := r.format()
	rng := newRNG(t)
	var want []string
	for i := range 300 {
		rec := record(rng, i, 0, 1, 20000)
		want = append(want, string(rec))
		mustAppend(t, j, rec)
	}
	vols := j.Volumes()
	if len(vols) < 5 || !vols[len(vols)-1].Open {
		t.Fatalf("volumes %+v after 6 MB into volumes of 1 MiB shards", vols)
	}
	r.stop(j)
	j, _ = r.mustRecover(meta.Position{})
	got := r.log.users()
	if len(got) != len(want) {
		t.Fatalf("%d records of %d", len(got), len(want))
	}
	for i := range want {
		if got[i].payload != want[i] {
			t.Fatalf("record %d differs", i)
		}
	}
	if err := checkLSNs(r.log.records); err != nil {
		t.Fatal(err)
	}
	r.stop(j)
}

func TestGroupLimits(t *testing.T) {
	r := newRig(t, 3, 1, 4<<20)
	j := r.format()
	big := make([]byte, 64<<10-512-16)
	big[0] = 0xf0
	mustAppend(t, j, big)
	if _, err := j.Append(context.Background(), append(big, 0)); !errors.Is(err, journal.ErrTooLarge) {
		t.Errorf("a record beyond the limit: %v", err)
	}
	if _, err := j.Append(context.Background()); err == nil {
		t.Error("an empty group was taken")
	}
	r.stop(j)
	if _, err := j.Append(context.Background(), []byte{1}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append to a closed journal: %v", err)
	}
}

// TestOnDirectories appends and recovers on files, through the ring and through threads.
func TestOnDirectories(t *testing.T) {
	for _, rung := range []ioring.Rung{"", ioring.RungThreads} {
		t.Run("rung="+string(rung), func(t *testing.T) {
			r := dirRig(t, rung, 4, 2)
			r.segLen = 1 << 20
			r.opts.MaxShardLen = 64 << 10
			j := r.format()
			acked := appendAll(t, j, 16, 30)
			e := r.log.users()[100]
			buf, got, degraded, err := j.Read(context.Background(), e.loc, 0, len(e.payload), func(b []byte) bool { return string(b) == e.payload })
			if err != nil || degraded || string(got) != e.payload {
				t.Fatalf("read: degraded %v, %v", degraded, err)
			}
			buf.Release()
			r.stop(j)
			j, _ = r.mustRecover(meta.Position{})
			if err := checkAcked(r.log.records, acked); err != nil {
				t.Error(err)
			}
			r.stop(j)
			r.drives = r.drives[2:]
			j, _ = r.mustRecover(meta.Position{})
			if err := checkAcked(r.log.records, acked); err != nil {
				t.Errorf("without two drives: %v", err)
			}
			r.stop(j)
		})
	}
}
