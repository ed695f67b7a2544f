package drive_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"penstock/engine/drive"
)

// watched is a drive that does as a plan says, and a segment on it.
func watched(t *testing.T) (*drive.Plan, drive.Drive, drive.File) {
	t.Helper()
	id := drive.NewID()
	plan := drive.NewPlan(1)
	d := plan.Wrap(drive.NewMem(drive.Identity{Cluster: drive.NewID(), Drive: id, Roster: drive.Roster{Known: []drive.ID{id}}}, drive.MemOptions{}))
	f, err := d.Create(1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return plan, d, f
}

func readOp(f drive.File) (*drive.Op, chan struct{}) {
	over := make(chan struct{})
	return &drive.Op{Kind: drive.Read, File: f, Bufs: [][]byte{drive.Aligned(drive.BlockLen)}, Done: func(*drive.Op) { close(over) }}, over
}

// TestWatchOverdue follows reads that hang from their start to their late end.
func TestWatchOverdue(t *testing.T) {
	plan, d, f := watched(t)
	w := d.Watch()
	op, over := readOp(f)
	f.Queue().Submit(op)
	<-over
	if op.GiveUp() || w.Pending(drive.Read) != 0 || w.Over(drive.Read) != 1 || w.Overdue() != 0 {
		t.Errorf("after a read: %d pending, %d over, %d overdue", w.Pending(drive.Read), w.Over(drive.Read), w.Overdue())
	}
	plan.Add(drive.Rule{On: drive.OnRead, Times: -1, Do: drive.Hang})
	var all []chan struct{}
	for i := range drive.MaxOverdue {
		if w.Avoid() {
			t.Fatalf("avoided with %d overdue", i)
		}
		op, over := readOp(f)
		f.Queue().Submit(op)
		if !op.GiveUp() || op.GiveUp() {
			t.Error("a read that hangs is given up, and once")
		}
		all = append(all, over)
	}
	if !w.Avoid() || !w.Full() || w.Overdue() != drive.MaxOverdue || w.Pending(drive.Read) != drive.MaxOverdue {
		t.Errorf("%d overdue, %d pending", w.Overdue(), w.Pending(drive.Read))
	}
	w.SetStalled()
	plan.Clear()
	for plan.Hung() < len(all) { // Their goroutines are on the way there.
		time.Sleep(time.Millisecond)
	}
	plan.Release()
	for _, over := range all {
		<-over
	}
	if w.Avoid() || w.Stalled() || w.Overdue() != 0 || w.Pending(drive.Read) != 0 {
		t.Errorf("in the end: stalled %v, %d overdue, %d pending", w.Stalled(), w.Overdue(), w.Pending(drive.Read))
	}
}

// TestWatchRefused: ops that break the rules, or fail, are over as well.
func TestWatchRefused(t *testing.T) {
	plan, d, f := watched(t)
	bad, over := readOp(f)
	bad.Off = 1
	f.Queue().Submit(bad)
	<-over
	plan.Add(drive.Rule{On: drive.OnOps, Times: -1})
	failing, over := readOp(f)
	failing.Kind = drive.Write
	f.Queue().Submit(failing)
	<-over
	if !errors.Is(bad.Err, drive.ErrAlign) || !errors.Is(failing.Err, syscall.EIO) {
		t.Error(bad.Err, failing.Err)
	}
	w := d.Watch()
	if w.Pending(drive.Read) != 0 || w.Pending(drive.Write) != 0 || w.Over(drive.Read) != 1 || w.Over(drive.Write) != 1 {
		t.Errorf("%d and %d pending, %d and %d over", w.Pending(drive.Read), w.Pending(drive.Write), w.Over(drive.Read), w.Over(drive.Write))
	}
}

// TestWatchDeclined: an op that TryDirect declines and Submit then takes counts once.
func TestWatchDeclined(t *testing.T) {
	_, d, f := watched(t) // Its queue always declines.
	op, over := readOp(f)
	if f.Queue().TryDirect(op) {
		t.Fatal("taken")
	}
	f.Queue().Submit(op)
	<-over
	if w := d.Watch(); w.Pending(drive.Read) != 0 || w.Over(drive.Read) != 1 {
		t.Errorf("%d pending, %d over", w.Pending(drive.Read), w.Over(drive.Read))
	}
}

// TestSlowRead: the percentile follows what the drive does, and forgets what it did.
func TestSlowRead(t *testing.T) {
	var w drive.Watch
	many := func(n int, took time.Duration) {
		for range n {
			w.Ended(drive.Read, took)
		}
	}
	within := func(what string, want time.Duration) {
		t.Helper()
		if got := w.SlowRead(); got < want || got > want*5/4 {
			t.Errorf("%s: %v, want %v or little more", what, got, want)
		}
	}
	many(63, time.Millisecond)
	if got := w.SlowRead(); got != 0 {
		t.Errorf("%v after a few reads", got)
	}
	many(1, time.Millisecond)
	within("at first", time.Millisecond)
	w.Ended(drive.Write, time.Hour)
	many(2000, time.Millisecond)
	within("writes do not count", time.Millisecond)
	for range 200 {
		many(9, time.Millisecond)
		many(1, 100*time.Millisecond)
	}
	within("one in ten is slow", 100*time.Millisecond)
	many(20*512, time.Millisecond)
	within("well again", time.Millisecond)
}
