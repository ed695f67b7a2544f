package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/ioring"
	"penstock/meta"
)

// faultyRig makes a rig whose drives fail by plan.
func faultyRig(t testing.TB, n, parity int, segLen int64) (*rig, *drive.Plan) {
	r := newRig(t, n, parity, segLen)
	plan := drive.NewPlan(1)
	r.drives = plan.WrapAll(r.drives)
	return r, plan
}

// appendAll appends groups from several callers and returns those acknowledged, by LSN.
func appendAll(t testing.TB, j *journal.Journal, callers, each int) map[meta.LSN]string {
	acked := make(map[meta.LSN]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	rng := newRNG(t)
	for c := range callers {
		var recs [][]byte
		for i := range each {
			recs = append(recs, record(rng, c*each+i, 0, 1, 10+rng.IntN(9000)))
		}
		wg.Go(func() {
			for _, rec := range recs {
				lsn, err := j.Append(context.Background(), rec)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				acked[lsn] = string(rec)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return acked
}

// checkAcked checks that every acknowledged record is among those applied, in the order of the LSNs it was acknowledged with. A recovery
// with drives missing may have given it another one.
func checkAcked(records []entry, acked map[meta.LSN]string) error {
	if err := checkLSNs(records); err != nil {
		return err
	}
	place := make(map[string]int)
	for i, e := range records {
		place[e.payload] = i
	}
	last := -1
	for _, lsn := range slices.Sorted(maps.Keys(acked)) {
		at, ok := place[acked[lsn]]
		if !ok || at < last {
			return fmt.Errorf("the record of LSN %d is gone, or was moved", lsn)
		}
		last = at
	}
	return nil
}

// TestWriteFaults lets the n-th write fail in every way, for n = 1, 2, 3 …: callers never notice, and nothing is lost even if
// another drive goes missing afterwards.
func TestWriteFaults(t *testing.T) {
	for _, effect := range []struct {
		name string
		do   drive.Effect
	}{{"fail", drive.Fail}, {"after", drive.FailAfter}, {"short", drive.Short}, {"hang", drive.Hang}} {
		t.Run(effect.name, func(t *testing.T) {
			for nth := 1; ; nth += 5 {
				struck := false
				synctest.Test(t, func(t *testing.T) {
					r, plan := faultyRig(t, 6, 2, 512<<10)
					r.arena = privateArena(t)
					j := r.format()
					plan.Add(drive.Rule{On: drive.OnWrite, Nth: nth, Do: effect.do})
					acked := appendAll(t, j, 4, 6)
					struck = plan.Struck() > 0
					s := j.Stats()
					if struck && s.Failovers == 0 && s.Volumes < 2 {
						t.Errorf("n = %d: a write failed and the volume was not left: %+v", nth, s)
					}
					plan.Clear()
					plan.Release()
					synctest.Wait()
					if err := checkAcked(r.log.records, acked); err != nil {
						t.Errorf("n = %d: %v", nth, err)
					}
					r.stop(j)
					lost := r.drives[nth%6]
					again := r.on(slices.DeleteFunc(slices.Clone(r.drives), func(d drive.Drive) bool { return d == lost }))
					j, _ = again.mustRecover(meta.Position{})
					if err := checkAcked(again.log.records, acked); err != nil {
						t.Errorf("n = %d: %v", nth, err)
					}
					again.stop(j)
				})
				if t.Failed() || !struck {
					break
				}
			}
		})
	}
}

// TestOrderAcrossFailures appends without waiting while writes fail: groups keep the order in which they were queued.
func TestOrderAcrossFailures(t *testing.T) {
	rng := newRNG(t)
	for nth := 1; nth < 40; nth += 2 {
		r, plan := faultyRig(t, 6, 2, 512<<10)
		j := r.format()
		plan.Add(drive.Rule{On: drive.OnWrite, Nth: nth, Do: drive.Fail})
		var want []string
		var tickets []*journal.Ticket
		for i := range 100 {
			rec := record(rng, i, 0, 1, 10+rng.IntN(9000))
			want = append(want, string(rec))
			ticket, err := j.AppendAsync(context.Background(), journal.Entry{Head: rec[:3], Body: rec[3:]})
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		for _, ticket := range tickets {
			if _, err := ticket.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(payloads(r.log.records), want) {
			t.Fatalf("n = %d: applied in another order than appended", nth)
		}
		r.stop(j)
	}
}

// privateArena is an arena for tests that run on a clock of their own.
func privateArena(t testing.TB) *ioring.Arena {
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: 64 << 20, NoPrefault: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err) // Memory leaked.
		}
	})
	return a
}

// TestDriveByDrive fails one drive after the other under load, until too few are left for parity, and none at all.
func TestDriveByDrive(t *testing.T) {
	r, plan := faultyRig(t, 4, -1, 512<<10)
	j := r.format()
	acked := make(map[meta.LSN]string)
	for _, d := range r.drives[:3] {
		plan.Kill(d.ID())
		for lsn, payload := range appendAll(t, j, 4, 5) {
			acked[lsn] = payload
		}
	}
	if s := j.Stats(); s.Failovers < 3 {
		t.Errorf("%d failovers for 3 drives", s.Failovers)
	}
	if err := checkAcked(r.log.records, acked); err != nil {
		t.Error(err)
	}
	plan.Kill(r.drives[3].ID())
	_, err := j.Append(context.Background(), []byte{0xf0})
	if !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("without drives: %v", err)
	}
	if err := j.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestHangingDrive checks the time a hanging drive may cost, that memory it holds comes back, and that it does not
// keep the journal from ending.
func TestHangingDrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, plan := faultyRig(t, 6, 2, 1<<20)
		arena := privateArena(t)
		r.arena = arena
		j := r.format()
		mustAppend(t, j, []byte{0xf0})
		plan.Add(drive.Rule{On: drive.OnWrite, Drive: r.drives[2].ID(), Do: drive.Hang, Times: -1})
		began := time.Now()
		acked := appendAll(t, j, 64, 4)
		if took := time.Since(began); took > 2*journal.DefaultWriteTimeout {
			t.Errorf("a hanging drive held up appends for %v", took)
		}
		if plan.Hung() == 0 || j.Stats().Hung == 0 {
			t.Fatal("no write hung")
		}
		if err := checkAcked(r.log.records, acked); err != nil {
			t.Error(err)
		}
		if err := j.Close(context.Background()); err != nil {
			t.Errorf("close while a drive hangs: %v", err)
		}
		if arena.Stats().InUse == 0 {
			t.Error("the memory of a write that hangs was given back")
		}
		plan.Release()
		synctest.Wait()
		if n := arena.Stats().InUse; n != 0 {
			t.Errorf("%d bytes of the arena are not given back", n)
		}
	})
}

// TestApplyFails checks that an index which refuses a batch stops the journal, and that the batch is there at the next start.
func TestApplyFails(t *testing.T) {
	r := newRig(t, 3, 1, 1<<20)
	j := r.format()
	mustAppend(t, j, []byte{0xf0, 1, 0, 1})
	r.log.mu.Lock()
	r.log.fail = errTest
	r.log.mu.Unlock()
	_, err := j.Append(context.Background(), []byte{0xf0, 2, 0, 1})
	if !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, errTest) {
		t.Errorf("append whose apply fails: %v", err)
	}
	r.log.mu.Lock()
	r.log.fail = nil
	r.log.mu.Unlock()
	_, err = j.Append(context.Background(), []byte{0xf0, 3, 0, 1})
	if !errors.Is(err, journal.ErrUnavailable) || errors.Is(err, journal.ErrUnknown) {
		t.Errorf("append to a stopped journal: %v", err)
	}
	if !errors.Is(j.Err(), errTest) {
		t.Errorf("Err() = %v", j.Err())
	}
	if err := j.Close(context.Background()); !errors.Is(err, errTest) {
		t.Errorf("close: %v", err)
	}
	if err := r.set.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ = r.mustRecover(meta.Position{})
	if got := r.log.users(); len(got) != 2 || got[1].payload[1] != 2 {
		t.Errorf("%d records after the restart", len(got))
	}
	r.stop(j)
}

// TestGivingUp checks what a caller is told whose context ends.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, plan := faultyRig(t, 3, 1, 1<<20)
		r.arena = privateArena(t)
		r.opts.Depth = 1
		j := r.format()
		plan.Add(drive.Rule{On: drive.OnWrite, Do: drive.Delay, Delay: time.Second, Times: -1})
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		first, err := j.AppendAsync(context.Background(), journal.Entry{Head: []byte{0xf0, 1, 0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // It is in flight, so the next ones wait for it.
		second, err := j.AppendAsync(context.Background(), journal.Entry{Head: []byte{0xf0, 2, 0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		third, err := j.AppendAsync(context.Background(), journal.Entry{Head: []byte{0xf0, 3, 0}, Body: []byte{1}, Origin: 7})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.Wait(ctx); !errors.Is(err, journal.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("giving up on a batch in flight: %v", err)
		}
		if _, err := second.Wait(ctx); errors.Is(err, journal.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("giving up on a group that is queued: %v", err)
		}
		if _, err := third.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		got := r.log.users()
		if len(got) != 2 || got[0].payload[1] != 1 || got[1].payload != "\xf0\x03\x00\x01" || got[1].origin != 7 || got[0].origin != 0 {
			t.Errorf("applied %+v", got)
		}
		if _, err := j.Append(ctx, []byte{0xf0}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("append with a context that has ended: %v", err)
		}
		plan.Clear()
		r.stop(j)
	})
}

// TestBackPressure fills the queue while drives hang: callers wait outside, leave when their context ends, and get in when there is room.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, plan := faultyRig(t, 3, 1, 64<<20)
		r.arena = privateArena(t)
		r.opts.WriteTimeout = time.Hour
		j := r.format()
		plan.Add(drive.Rule{On: drive.OnWrite, Do: drive.Hang, Times: -1})
		rec := bytes.Repeat([]byte{0xf0}, 60000)
		var wg sync.WaitGroup
		const callers = 1500 // Of 60 kB each: more than the queue's 64 MiB.
		for range callers {
			wg.Go(func() {
				if _, err := j.Append(context.Background(), rec); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if ticket, err := j.AppendAsync(ctx, journal.Entry{Head: rec}); ticket != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("AppendAsync to a full queue: %v", err)
		}
		if j.Stats().Blocked == 0 {
			t.Error("nobody waited to get into the queue")
		}
		plan.Clear()
		plan.Release()
		wg.Wait()
		if n := len(r.log.users()); n != callers {
			t.Errorf("%d records of %d", n, callers)
		}
		r.stop(j)
	})
}

// TestCloseWhileFull checks that Close with a context that ends fails what no batch has taken and leaves nothing behind.
func TestCloseWhileHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, plan := faultyRig(t, 3, 1, 1<<20)
		r.arena = privateArena(t)
		r.opts.Depth = 1
		j := r.format()
		plan.Add(drive.Rule{On: drive.OnWrite, Do: drive.Hang, Times: -1})
		first, err := j.AppendAsync(context.Background(), journal.Entry{Head: []byte{0xf0}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		second, err := j.AppendAsync(context.Background(), journal.Entry{Head: []byte{0xf0}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := j.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		if took := time.Since(began); took > 2*journal.DefaultWriteTimeout {
			t.Errorf("close took %v", took)
		}
		if _, err := first.Wait(context.Background()); !errors.Is(err, journal.ErrUnknown) {
			t.Errorf("what was in flight: %v", err)
		}
		if _, err := second.Wait(context.Background()); err == nil || errors.Is(err, journal.ErrUnknown) {
			t.Errorf("what was queued: %v", err)
		}
		plan.Clear()
		plan.Release()
		synctest.Wait()
	})
}
