package engine

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"penstock/engine/drive"
)

var faults = flag.Int("faults", 1, "how many faults of a kind TestEveryFault tries")

// holderOf returns the drive that holds the first shard of an object of extents.
func holderOf(t testing.TB, s *Store, key string) drive.Drive {
	t.Helper()
	h, err := s.Open(t.Context(), testBucket, key, CurrentVersion)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	blob, err := h.(*handle).blob(0)
	if err != nil {
		t.Fatal(err)
	}
	return h.(*handle).c.set.Get(blob.Extents[0].Volume).Shard(0).Drive()
}

// overdue returns how many reads were given up on and are not over.
func overdue(s *Store) (n int64) {
	for _, d := range s.cells[0].drives.all() {
		n += d.Watch().Overdue()
	}
	return n
}

// TestLastResort: with more drives failed than parity allows, those that still read are asked again.
func TestLastResort(t *testing.T) {
	drives := memDrives(6, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1), plan.WrapAll(drives))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	large := payload(1, 3<<20)
	mustPut(t, s, testBucket, "large", large)
	mustPut(t, s, testBucket, "k", payload(2, 1<<20))
	// Three drives take no writes any more, and so are failed. The index is on another.
	bad := slices.DeleteFunc(drives, func(d drive.Drive) bool { return d.ID() == s.cells[0].base.Load().place.drive.ID() })[:3]
	for i := range bad {
		plan.Add(drive.Rule{On: drive.OnWrite | drive.OnCreate, Drive: bad[i].ID(), Times: -1})
	}
	for i := range 4 {
		mustPut(t, s, testBucket, fmt.Sprint("new", i), payload(uint64(i), 1<<20))
	}
	for i := range bad {
		if s.cells[0].set.Healthy(bad[i].ID()) {
			t.Fatalf("drive %d has not failed", i)
		}
	}
	mustGet(t, s, testBucket, "large", large)
	mustGet(t, s, testBucket, "k", payload(2, 1<<20))
	for i := range 4 {
		mustGet(t, s, testBucket, fmt.Sprint("new", i), payload(uint64(i), 1<<20))
	}
	// One of them reads no more either: k are still left. Then another: too few.
	plan.Add(drive.Rule{On: drive.OnRead, Drive: bad[0].ID(), Times: -1})
	mustGet(t, s, testBucket, "large", large)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: bad[1].ID(), Times: -1})
	plan.Add(drive.Rule{On: drive.OnRead, Drive: bad[2].ID(), Times: -1})
	if got, err := getBytes(t.Context(), s, testBucket, "large"); err == nil || KindOf(err) != KindUnavailable {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestReadsHang: a drive that hangs on reads is fenced, and then no read waits for it.
func TestReadsHang(t *testing.T) {
	drives := memDrives(6, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1).tuned(func(c *cell) {
		c.limits.hedge, c.limits.fence = 100*time.Millisecond, 400*time.Millisecond
	}), plan.WrapAll(drives))
	mustBucket(t, s, testBucket)
	s.cells[0].cache = newBlobCache(0)
	want := payload(1, 1<<20)
	mustPut(t, s, testBucket, "large", want)
	mustPut(t, s, testBucket, "small", want[:5000])
	base := inUse(s)
	hanging := holderOf(t, s, "large").ID()
	plan.Add(drive.Rule{On: drive.OnRead, Drive: hanging, Times: -1, Do: drive.Hang})
	mustGet(t, s, testBucket, "large", want)
	mustGet(t, s, testBucket, "small", want[:5000])
	for range drive.MaxOverdue + 2 {
		if h, err := s.Open(t.Context(), testBucket, "large", CurrentVersion); err != nil {
			t.Fatal(err)
		} else {
			if body, err := h.Body(t.Context(), 0, 1<<20); err != nil {
				t.Error(err)
			} else {
				body.Close()
			}
			h.Close()
		}
	}
	eventually(t, "the drive is fenced", func() bool { return !s.cells[0].set.Healthy(hanging) })
	hung := plan.Hung()
	if hung > drive.MaxOverdue+4 {
		t.Errorf("%d reads hang", hung)
	}
	mustGet(t, s, testBucket, "large", want)
	mustGet(t, s, testBucket, "small", want[:5000])
	if now := plan.Hung(); now != hung {
		t.Errorf("%d reads hang, %d before it was fenced", now, hung)
	}
	plan.Release()
	// If the index had to move, the journal now has one drive less, and less memory for a batch.
	eventually(t, "all memory is back", func() bool { return inUse(s) <= base })
	closeStore(t, s)
}

// TestSlowReads: one drive that is slow is waited for no longer than hedging takes, and not fenced.
func TestSlowReads(t *testing.T) {
	drives := memDrives(6, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1).tuned(func(c *cell) { c.limits.hedge = 20 * time.Millisecond }), plan.WrapAll(drives))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	want := payload(1, 1<<20)
	mustPut(t, s, testBucket, "large", want)
	slow := holderOf(t, s, "large").ID()
	plan.Add(drive.Rule{On: drive.OnRead, Drive: slow, Times: -1, Do: drive.Delay, Delay: 200 * time.Millisecond})
	for range 5 {
		mustGet(t, s, testBucket, "large", want)
	}
	if s.Stats().DegradedReads == 0 {
		t.Error("no read was hedged")
	}
	if !s.cells[0].set.Healthy(slow) {
		t.Error("a drive that is only slow was given up")
	}
	eventually(t, "no read is overdue", func() bool { return overdue(s) == 0 })
}

// workload does some of everything and tells the oracle. Errors are allowed; violations are not.
func workload(t *testing.T, s *Store, o *oracle) {
	ctx := t.Context()
	do := func(key string, v value, f func() error) {
		o.begin(key, v)
		err := f()
		switch KindOf(err) {
		case KindFull, KindBusy, KindPrecondition, KindNoSuchUpload, KindInvalidPart, KindNoSuchObject:
			if err != nil { // Certainly not done.
				o.undo(key)
				return
			}
		case KindInternal, KindCorrupt:
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		o.end(key, v, err)
	}
	put := func(key string, seed uint64, size int) {
		do(key, value{true, seed, size}, func() error {
			_, err := putBytes(ctx, s, testBucket, key, payload(seed, size), nil)
			return err
		})
	}
	for i := range 4 {
		n := uint64(i) * 10
		put("small", n, 3000+i)
		put("large", n+1, 1<<20+i)
		put("larger", n+2, 3_000_000+i)
		o.mu.Lock()
		src, busy := o.acked["large"], o.pending["large"].present
		o.mu.Unlock()
		if src.present && !busy {
			do("copy", src, func() error { return copyObject(ctx, s, "large", "copy") })
		}
		if i%2 == 1 {
			do("small", value{}, func() error { return deleteKey(ctx, s, testBucket, "small") })
			s.cells[0].bulk.mu.Lock()
			s.cells[0].bulk.vol = nil // As if it were full: the next stripe needs a volume.
			s.cells[0].bulk.mu.Unlock()
		}
		parts := &oracle{acked: map[string]value{}, pending: map[string]value{}}
		do("multipart", value{true, n + 3, 400_000}, func() error {
			return multipart(ctx, s, parts, "multipart", value{true, n + 3, 400_000})
		})
		if _, err := getBytes(ctx, s, testBucket, "larger"); err != nil && KindOf(err) == KindInternal {
			t.Error(err)
		}
	}
}

// TestEveryFault fails the n-th action of a kind on some drive, once or for good, while a workload does some of everything and then while
// the store starts again. Nothing acknowledged is lost, nothing is answered wrongly, and no buffer stays behind.
func TestEveryFault(t *testing.T) {
	both := []error{syscall.EIO, syscall.ENOSPC}
	actions := []struct {
		name   string
		on     drive.Action
		most   int // About as many there are.
		causes []error
	}{
		{"write", drive.OnWrite, 150, both}, {"read", drive.OnRead, 100, both[:1]}, {"create", drive.OnCreate, 36, both},
		{"resize", drive.OnResize, 48, both}, {"open", drive.OnOpen, 60, both[:1]}, {"remove", drive.OnRemove, 24, both[:1]},
		{"meta", drive.OnWriteMeta | drive.OnReadMeta, 36, both}, {"space", drive.OnSpace, 480, both[:1]}, {"list", drive.OnList, 24, both[:1]},
	}
	rng := newRNG(t)
	for _, action := range actions {
		for _, cause := range action.causes {
			for range *faults {
				rule := drive.Rule{On: action.on, Nth: 1 + rng.IntN(action.most), Times: 1 - 2*rng.IntN(2), Err: cause}
				t.Run(fmt.Sprintf("%s/%v/nth=%d/times=%d", action.name, cause, rule.Nth, rule.Times), func(t *testing.T) { faultAt(t, rule) })
			}
		}
	}
}

// faultAt runs the workload and a restart under a rule.
func faultAt(t *testing.T, rule drive.Rule) {
	drives := memDrives(4, 0)
	plan := drive.NewPlan(uint64(rule.Nth))
	if rule.Times < 0 {
		rule.Drive = drives[rule.Nth%4].ID() // For good is what one drive does.
	}
	opts := testOptions(t, -1)
	s, err := openOn(t.Context(), opts, plan.WrapAll(drives))
	if err != nil {
		t.Fatal(err)
	}
	s.minPart = 0
	mustBucket(t, s, testBucket)
	plan.Add(rule)
	o := &oracle{acked: map[string]value{}, pending: map[string]value{}}
	workload(t, s, o)
	if err := s.Close(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, rule.Err) {
		t.Errorf("close: %v", err)
	}
	reopen(drives)
	// The start may fail for want of what the rule denies, but must not do harm.
	if s, err := openOn(t.Context(), opts, plan.WrapAll(drives)); err == nil {
		s.minPart = 0
		patiently(t, func() error { _, err := s.List(t.Context(), testBucket, ListOptions{Max: 1}); return err })
		workload(t, s, o)
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, rule.Err) {
			t.Errorf("close after a restart: %v", err)
		}
	}
	reopen(drives)
	s, err = openOn(t.Context(), opts, drives)
	if err != nil {
		t.Fatalf("start without faults: %v", err)
	}
	o.check(t, s)
	if n := s.Stats(); n.ArenaUsed > n.ArenaLen/2 {
		t.Errorf("%d bytes of buffers in use", n.ArenaUsed)
	}
	closeStore(t, s)
}

// TestBodyFails: a body that fails at any offset leaves nothing behind, neither object nor memory nor pins.
func TestBodyFails(t *testing.T) {
	y := newYard(t)
	base := inUse(y.s)
	want := payload(1, 3_000_000)
	for _, size := range []int64{int64(len(want)), -1} {
		for _, at := range []int{0, 1, PackThreshold - 1, PackThreshold, PackThreshold + 1, 300_000, 2 << 20, len(want) - 1, len(want)} {
			body := funcReader(nil)
			rest := bytes.NewReader(want[:at])
			body = func(p []byte) (int, error) {
				if rest.Len() == 0 {
					return 0, errThere
				}
				return rest.Read(p)
			}
			_, err := y.s.Put(t.Context(), testBucket, "k", body, PutOptions{Size: size})
			if KindOf(err) != KindBody || !errors.Is(err, errThere) {
				t.Errorf("size %d, failure at %d: %v", size, at, err)
			}
			if size >= 0 && at < len(want) {
				_, err := y.s.Put(t.Context(), testBucket, "k", bytes.NewReader(want[:at]), PutOptions{Size: size})
				if KindOf(err) != KindIncompleteBody {
					t.Errorf("%d of %d bytes: %v", at, size, err)
				}
			}
		}
	}
	if _, err := y.s.Put(t.Context(), testBucket, "k", bytes.NewReader(want), PutOptions{Size: 100}); KindOf(err) != KindIncompleteBody {
		t.Errorf("body longer than announced: %v", err)
	}
	if _, err := y.s.Put(t.Context(), testBucket, "k", nil, PutOptions{Size: MaxPutLen + 1}); KindOf(err) != KindTooLarge {
		t.Errorf("body too large: %v", err)
	}
	if now := inUse(y.s); now != base {
		t.Errorf("%d bytes of buffers in use, %d before", now, base)
	}
	for _, vol := range y.c.set.Volumes() {
		if vol.Pins() > 0 {
			t.Errorf("%v has %d pins", vol, vol.Pins())
		}
	}
	if _, err := y.s.Head(t.Context(), testBucket, "k", CurrentVersion); KindOf(err) != KindNoSuchObject {
		t.Error(err)
	}
}
