package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// scrubbed has the store verify everything and returns what was found.
func scrubbed(t testing.TB, s *Store) int64 {
	t.Helper()
	before := s.ScrubStatus()
	s.ScrubNow()
	eventually(t, "a round ends", func() bool {
		now := s.ScrubStatus()
		return !now.Running && now.LastEnded.After(before.LastEnded)
	})
	return s.ScrubStatus().LastFound
}

// TestScrub has a bit flip in every part of every kind of segment: header, data and parity of stripes and of batches. Scrubbing finds each, though nobody
// reads it, and all are made good.
func TestScrub(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(6, 0)
	opts := testOptions(t, -1).tuned(soon)
	opts.ScrubRate = 1 << 40
	clock := time.UnixMilli(1.7e12)
	opts.Clock = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives) // Now all volumes so far are sealed.
	c := s.cells[0]
	if n := scrubbed(t, s); n != 0 {
		t.Fatalf("%d findings where nothing is wrong", n)
	}
	if s.ScrubStatus().Read < 5_000_000 {
		t.Errorf("only %d bytes were read", s.ScrubStatus().Read)
	}
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() == c.set.Epoch() {
			continue
		}
		end := vol.Start() + 300_000
		if vol.Class() == volume.Journal {
			end = vol.Shard(0).Size()
		}
		for i := range vol.N() {
			for _, off := range []int64{0, (vol.Start() + rng.Int64N(end-vol.Start())) &^ 4095, vol.Start()} {
				flip(t, vol.Shard(i), off, rng.IntN(drive.SectorLen*8))
				want := int64(1)
				if n := scrubbed(t, s); n > want || n == 0 && off <= vol.Start() && !unwritten(vol, i, off) {
					t.Errorf("%v, shard %d, a bit flipped at %d: found %d, want %d", vol, i, off, n, want)
				}
				healed(t, s)
			}
		}
	}
	if n := scrubbed(t, s); n != 0 {
		t.Errorf("%d findings after all was healed", n)
	}
	if n := s.Stats(); n.ScrubFound == 0 || n.MendedLen == 0 || n.HealedShards != 0 {
		t.Errorf("%+v", n)
	}
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	if n := scrubbed(t, s); n != 0 {
		t.Errorf("%d findings after a restart", n)
	}
	checkAll(t, s, testBucket, objects)
	closeStore(t, s)
}

// unwritten reports whether a shard may have nothing at an offset: a data shard of a journal's first batch is often empty.
func unwritten(vol *volume.Volume, shard int, off int64) bool {
	return vol.Class() == volume.Journal && shard < vol.K() && off == vol.Start()
}

// flip turns one bit of a segment around.
func flip(t testing.TB, f drive.File, off int64, bit int) {
	t.Helper()
	b := drive.Aligned(drive.BlockLen)
	if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Read, File: f, Off: off, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
	b[bit/8] ^= 1 << (bit % 8)
	if err := drive.Do(t.Context(), &drive.Op{Kind: drive.Write, File: f, Off: off, Bufs: [][]byte{b}}); err != nil {
		t.Fatal(err)
	}
}

// TestScrubRotSpreads has rot in all the segments of one drive: one round and what it leads to leaves nothing.
func TestScrubRotSpreads(t *testing.T) {
	rng := newRNG(t)
	drives := memDrives(5, 0)
	opts := testOptions(t, 1).tuned(soon)
	opts.ScrubRate = 1 << 40
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	objects := fill(t, s, testBucket, "x/")
	closeStore(t, s)
	reopen(drives)
	s = mustOpen(t, opts, drives)
	c := s.cells[0]
	for _, vol := range c.set.Volumes() {
		if vol.Epoch() != c.set.Epoch() {
			spoil(t, vol, slices.Index(vol.Drives(), drives[3].ID()), rng)
		}
	}
	if n := scrubbed(t, s); n < 10 {
		t.Errorf("%d findings on a drive full of junk", n)
	}
	healed(t, s)
	if n := scrubbed(t, s); n != 0 {
		t.Errorf("%d findings after all was healed", n)
	}
	closeStore(t, s)
	for i := range drives {
		if i == 3 {
			continue
		}
		rest := slices.Delete(slices.Clone(drives), i, i+1)
		reopen(rest)
		s = mustOpen(t, opts, rest)
		checkAll(t, s, testBucket, objects)
		closeStore(t, s)
	}
}

// TestScrubPeriod: a round begins when the period is over and not before, goes on where it was after a restart, and stops by order.
func TestScrubPeriod(t *testing.T) {
	drives := memDrives(4, 0)
	now := time.UnixMilli(1.7e12)
	opts := testOptions(t, -1)
	opts.Clock = func() time.Time { return now }
	opts.ScrubPeriod = 10 * 24 * time.Hour
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	for i := range 4 { // Volumes of four starts.
		mustPut(t, s, testBucket, fmt.Sprint(i), payload(uint64(i), 1000))
		closeStore(t, s)
		reopen(drives)
		s = mustOpen(t, opts, drives)
	}
	b := s.cells[0].scrubber
	steps := 0
	for b.step(t.Context()) == 0 {
		if steps++; steps > 100 {
			t.Fatal("a round does not end")
		}
		if steps == 1 {
			if status := s.ScrubStatus(); !status.Running || status.Done != 1 || status.Volumes < 4 {
				t.Errorf("after one volume: %+v", status)
			}
			b.saved = time.Time{} // As if that were long ago.
		}
		if steps == 2 { // A restart goes on.
			closeStore(t, s)
			reopen(drives)
			s = mustOpen(t, opts, drives)
			b = s.cells[0].scrubber
			eventually(t, "the round is known", func() bool { return s.ScrubStatus().Done == 2 })
		}
	}
	if steps < 4 {
		t.Errorf("a round of %d steps", steps)
	}
	for _, c := range []struct {
		days int
		want bool
	}{{9, false}, {2, true}} {
		now = now.Add(time.Duration(c.days) * 24 * time.Hour)
		if due := b.step(t.Context()) == 0; due != c.want {
			t.Errorf("a round is due %d days later: %v, want %v", c.days, due, c.want)
		}
	}
	b.stopped = true
	if b.step(t.Context()) == 0 || !s.ScrubStatus().Stopped {
		t.Error("scrubbing was stopped and goes on")
	}
	b.stopped = false
	if b.step(t.Context()) != 0 {
		t.Error("scrubbing does not go on")
	}
	closeStore(t, s)
}

// TestScrubRate: the rate spreads a round over the period, within bounds.
func TestScrubRate(t *testing.T) {
	drives := memDrives(4, 0)
	opts := testOptions(t, -1)
	opts.ScrubPeriod, opts.ScrubRate = 100*time.Second, 50<<20
	s := mustOpen(t, opts, drives)
	mustBucket(t, s, testBucket)
	fill(t, s, testBucket, "x/")
	b := s.cells[0].scrubber
	begun := time.UnixMilli(1.7e12)
	b.mu.Lock()
	b.round = scrubRound{begun: begun, upTo: b.newest()}
	left := int64(0)
	for _, vol := range b.c.set.Volumes() {
		left += vol.Shard(0).Size() * int64(vol.N())
	}
	for _, c := range []struct {
		at    time.Duration
		hurry bool
		want  int64
	}{
		{0, false, max(left/90, minScrubRate)}, {80 * time.Second, false, left / 10}, {95 * time.Second, false, 50 << 20}, {0, true, 50 << 20},
	} {
		b.hurry = c.hurry
		b.setRate(begun.Add(c.at))
		if got := b.pace.rate; got < c.want-2 || got > c.want+2 {
			t.Errorf("%v into the period, hurry %v: %d bytes a second of %d, want %d", c.at, c.hurry, got, left, c.want)
		}
	}
	b.hurry = false
	b.mu.Unlock()
	closeStore(t, s)
}

// TestPacer: work in the background keeps to its rate, and leaves clients most of the time.
func TestPacer(t *testing.T) {
	s := newTestStore(t, 1, 0)
	front := &s.cells[0].front
	p := newPacer(1<<20, front)
	p.seen = front.Load()
	now := time.Now()
	if d := p.delay(now, 1<<20, time.Millisecond); d != time.Second {
		t.Errorf("a MiB at one a second: wait %v", d)
	}
	if d := p.delay(now.Add(time.Second), 1<<19, time.Millisecond); d != time.Second/2 {
		t.Errorf("half of one: wait %v", d)
	}
	p.setRate(0)
	now = now.Add(time.Minute)
	for _, c := range []struct {
		client     bool
		after      time.Duration
		took, want time.Duration
	}{
		{false, 0, 50 * time.Millisecond, 0},
		{true, 0, 50 * time.Millisecond, 150 * time.Millisecond},
		{false, frontIdle / 2, 50 * time.Millisecond, 150 * time.Millisecond},
		{false, frontIdle, 50 * time.Millisecond, 0},
		{true, 0, time.Minute, maxAside},
	} {
		if c.client {
			front.Add(1)
		}
		now = now.Add(c.after)
		if d := p.delay(now, 1<<30, c.took); d != c.want {
			t.Errorf("%+v: wait %v", c, d)
		}
	}
	closeStore(t, s)
}
