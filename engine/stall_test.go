package engine

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/ioring"
)

// lookAlone has only the test look for stalled drives.
func lookAlone(c *cell) { c.limits.fence = stallLooks * time.Hour }

// looker returns a stallWatch that looks when the test has it look, as often as usual.
func looker(c *cell) *stallWatch {
	w := newStallWatch(c)
	w.every = defaultLimits.fence / stallLooks
	return w
}

// looks takes some looks.
func looks(w *stallWatch, n int) {
	for range n {
		w.look()
	}
}

const usualSuspectLooks = 3 // 300 ms, at 100 ms each.

// newStalled returns a store of 4+2 drives with an object, and the drive that holds its first shard.
func newStalled(t *testing.T, more func(*cell)) (s *Store, plan *drive.Plan, holder drive.Drive, want []byte) {
	t.Helper()
	plan = drive.NewPlan(1)
	s = mustOpen(t, testOptions(t, -1).tuned(lookAlone).tuned(more), plan.WrapAll(memDrives(6, 0)))
	mustBucket(t, s, testBucket)
	s.cells[0].cache = newBlobCache(0)
	want = payload(1, 1<<20)
	mustPut(t, s, testBucket, "large", want)
	mustPut(t, s, testBucket, "small", want[:5000])
	return s, plan, holderOf(t, s, "large"), want
}

// pendingReads submits reads that come back when the plan says so.
func pendingReads(t *testing.T, s *Store, d drive.Drive, n int) (over *sync.WaitGroup) {
	t.Helper()
	over = new(sync.WaitGroup)
	for _, vol := range s.cells[0].set.Volumes() {
		for shard := range vol.N() {
			file := vol.Shard(shard)
			if file == nil || file.Drive().ID() != d.ID() {
				continue
			}
			for range n {
				over.Add(1)
				file.Queue().Submit(&drive.Op{Kind: drive.Read, File: file, Off: drive.BlockLen, Bufs: [][]byte{drive.Aligned(drive.BlockLen)}, Done: func(*drive.Op) { over.Done() }})
			}
			return over
		}
	}
	t.Fatal("the drive has no segment")
	return nil
}

// TestStalledDrive: a drive from which nothing comes back is asked no more after three looks, and fenced after fifteen. Then it is reported, and the
// store goes on.
func TestStalledDrive(t *testing.T) {
	s, plan, holder, want := newStalled(t, func(*cell) {})
	c := s.cells[0]
	base := inUse(s)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: holder.ID(), Times: -1, Do: drive.Hang})
	over := pendingReads(t, s, holder, 3)
	w := looker(c)
	looks(w, usualSuspectLooks-1)
	if holder.Watch().Stalled() {
		t.Error("given up too soon")
	}
	looks(w, 1)
	if !holder.Watch().Stalled() || holder.Watch().Pending(drive.Read) != 4 {
		t.Errorf("stalled: %v, with %d reads under way; want a probe", holder.Watch().Stalled(), holder.Watch().Pending(drive.Read))
	}
	degraded := s.Stats().DegradedReads
	for range 5 { // None of these waits: it is not asked.
		mustGet(t, s, testBucket, "large", want)
	}
	if n := s.Stats().DegradedReads - degraded; n != 5 || holder.Watch().Pending(drive.Read) != 4 || s.Stats().HedgedReads != 0 {
		t.Errorf("%d degraded reads, %d hedged, %d under way on the drive", n, s.Stats().HedgedReads, holder.Watch().Pending(drive.Read))
	}
	looks(w, stallLooks-usualSuspectLooks-1)
	if !c.set.Healthy(holder.ID()) {
		t.Error("fenced too soon")
	}
	looks(w, 1)
	for _, d := range s.Info().Drives {
		if failed := d.ID == holder.ID().String(); (d.State != "ok") != failed || (d.Reason != "") != failed {
			t.Errorf("%+v", d)
		}
	}
	mustGet(t, s, testBucket, "large", want)
	patiently(t, func() error { _, err := getBytes(t.Context(), s, testBucket, "small"); return err })
	plan.Release()
	over.Wait()
	eventually(t, "all memory is back", func() bool { return inUse(s) <= base })
	closeStore(t, s)
}

// TestStalledWrites: so is one from which no write comes back.
func TestStalledWrites(t *testing.T) {
	s, plan, holder, _ := newStalled(t, func(c *cell) { c.limits.write, c.limits.create = time.Minute, time.Minute })
	c := s.cells[0]
	plan.Add(drive.Rule{On: drive.OnWrite, Drive: holder.ID(), Times: -1, Do: drive.Hang})
	put := make(chan error)
	go func() {
		_, err := putBytes(t.Context(), s, testBucket, "new", payload(2, 1<<20), nil)
		put <- err
	}()
	eventually(t, "a write hangs, and no other is under way", func() bool {
		others := int64(0)
		for _, d := range c.drives.all() {
			if d.ID() != holder.ID() {
				others += d.Watch().Pending(drive.Write)
			}
		}
		return plan.Hung() > 0 && others == 0
	})
	w := looker(c)
	looks(w, 1+int(time.Minute/(defaultLimits.fence/stallLooks)))
	if c.set.Healthy(holder.ID()) {
		t.Error("not fenced")
	}
	plan.Release()
	if err := <-put; err != nil && KindOf(err) != KindUnavailable { // It may have had the index.
		t.Error(err)
	}
	closeStore(t, s)
}

// TestBadPlace: a drive that takes for ever over one place, and is well otherwise, is not fenced.
func TestBadPlace(t *testing.T) {
	s, plan, holder, want := newStalled(t, func(*cell) {})
	c := s.cells[0]
	plan.Add(drive.Rule{On: drive.OnRead, Drive: holder.ID(), Times: -1, Do: drive.Hang, Match: func(e drive.Event) bool { return e.Off != 0 }})
	over := pendingReads(t, s, holder, 1)
	w := looker(c)
	for range 10 * stallLooks {
		looks(w, 1)
		if holder.Watch().Stalled() {
			eventually(t, "the probe comes back", func() bool { return !holder.Watch().Stalled() })
		}
	}
	if !c.set.Healthy(holder.ID()) {
		t.Error("fenced")
	}
	mustGet(t, s, testBucket, "large", want)
	plan.Clear()
	plan.Release()
	over.Wait()
	closeStore(t, s)
}

// TestStalledMachine: when more drives stop than parity can replace, none is given up, and when they go on so does the store.
func TestStalledMachine(t *testing.T) {
	s, plan, _, want := newStalled(t, func(c *cell) {
		c.limits.write, c.limits.create, c.limits.hedge = 200*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	})
	c := s.cells[0]
	plan.Add(drive.Rule{On: drive.OnOps, Times: -1, Do: drive.Hang})
	var over []*sync.WaitGroup
	for _, d := range c.drives.all() {
		over = append(over, pendingReads(t, s, d, 1))
	}
	put := make(chan error, 2)
	for _, size := range []int{1 << 20, 1000} {
		go func() {
			_, err := putBytes(t.Context(), s, testBucket, fmt.Sprint("new", size), payload(2, size), nil)
			put <- err
		}()
	}
	eventually(t, "writes hang", func() bool { return plan.Hung() >= 6+6+3 })
	looks(looker(c), 100*stallLooks)
	time.Sleep(2 * c.limits.write) // Both puts are late as well, and nothing may come of it.
	plan.Clear()
	plan.Release()
	for range 2 {
		if err := <-put; err != nil {
			t.Error(err)
		}
	}
	for _, o := range over {
		o.Wait()
	}
	for _, d := range c.drives.all() {
		if !c.set.Healthy(d.ID()) {
			t.Errorf("%s was given up", d.Path())
		}
	}
	mustGet(t, s, testBucket, "large", want)
	closeStore(t, s)
}

// TestHungMemory: what a drive that hangs holds is not held against the others. Reads fill their part of the memory and hang; those that
// follow have as much again.
func TestHungMemory(t *testing.T) {
	s, plan, holder, want := newStalled(t, func(c *cell) { c.limits.hedge = 20 * time.Millisecond })
	c := s.cells[0]
	base := inUse(s)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: holder.ID(), Times: -1, Do: drive.Hang})
	var group sync.WaitGroup
	for range 2 * drive.MaxOverdue {
		group.Go(func() {
			again(t, func() error {
				got, err := getBytes(t.Context(), s, testBucket, "large")
				if err == nil && !bytes.Equal(got, want) {
					t.Error("other bytes")
				}
				return err
			})
		})
	}
	group.Wait()
	if plan.Hung() < drive.MaxOverdue || inUse(s) <= base {
		t.Fatalf("%d reads hang, with %d bytes", plan.Hung(), inUse(s)-base)
	}
	share, hung := int(c.arena.Stats().Size/16*readShare), int(inUse(s)-base)
	var bufs []*ioring.Buf
	for n := share; n >= 1<<20; n -= 1 << 20 {
		if buf := c.readMemory.tryGet(1 << 20); buf != nil {
			bufs = append(bufs, buf)
		}
	}
	if got := len(bufs) << 20; got <= share-hung/2 { // All of it, but for what the arena as a whole is short of.
		t.Errorf("of %d bytes for reads, %d are to be had while %d hang", share, got, hung)
	}
	for _, buf := range bufs {
		buf.Release()
	}
	plan.Release()
	eventually(t, "all memory is back", func() bool { return inUse(s) == base })
	if n := overdue(s); n != 0 {
		t.Errorf("%d reads are overdue in the end", n)
	}
	closeStore(t, s)
}

// TestHungBatches: writes that hang hold every batch that the journal may have in flight, and there is no memory for others. It goes on without
// the drive.
func TestHungBatches(t *testing.T) {
	s, plan, holder, _ := newStalled(t, func(c *cell) { c.limits.write, c.limits.create = 500*time.Millisecond, 500*time.Millisecond })
	c := s.cells[0]
	if holder.ID() == c.base.Load().place.drive.ID() { // A new index would need memory. The journal is on all drives.
		holder = c.drives.all()[slices.IndexFunc(c.drives.all(), func(d drive.Drive) bool { return d.ID() != holder.ID() })]
	}
	hold := takeAll(c.arena)
	plan.Add(drive.Rule{On: drive.OnWrite, Drive: holder.ID(), Times: -1, Do: drive.Hang})
	for i := range 20 {
		patiently(t, func() error { return s.CreateBucket(t.Context(), fmt.Sprint("bucket", i), nil) })
	}
	eventually(t, "the drive is fenced", func() bool {
		if c.set.Healthy(holder.ID()) { // No record may have gone there yet.
			patiently(t, func() error { return s.CreateBucket(t.Context(), fmt.Sprint("more", time.Now().UnixNano()), nil) })
		}
		return !c.set.Healthy(holder.ID())
	})
	for _, buf := range hold {
		buf.Release()
	}
	for i := range 20 {
		if _, err := s.Bucket(t.Context(), fmt.Sprint("bucket", i)); err != nil {
			t.Error(err)
		}
	}
	plan.Release()
	closeStore(t, s)
}
