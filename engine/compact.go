package engine

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/meta"
)

// Compaction writes what still lives in volumes that hold much else again, somewhere denser, so that the recycler can free them.
//
// What is dead is told from bytes on drives, not from bytes that were deleted: a journal volume of lone writes, each of which took a block
// on every drive, is as sparse as one of which most was overwritten. Each class of volumes may have a share of its live bytes in waste;
// above that, or when the drives are full, the volume goes first whose removal gives most for what it costs (compact_pick.go). Its records
// are appended to the journal again with their origin (compact_journal.go), or its extents written again as stripes of the geometry
// of today, which one record for each blob makes known (compact_bulk.go). Neither changes what anybody reads, and both may stop
// anywhere: what was moved is held elsewhere, and the next attempt passes over it. The old volume goes when the recycler finds that
// nobody needs it, like any other that has died.
//
// It works in memory of its own, at a bounded rate, and gives way to requests (compact_pace.go). Its room on full drives is
// kept free by everybody else: see volume.Options.Reserve.

// DefaultCompactGarbage is the share of live bytes that may be in waste, of each class of volumes, while requests use the drives; half of
// it when they do not. It bounds the cost, too: every byte won takes ten to be moved at worst, and usually one or two,
// because deletes are not spread evenly.
const DefaultCompactGarbage = 0.10

// DefaultCompactRate is what a cell may read and write in a second for compaction, each, while drives have room. It is a fraction of one
// NVMe drive's speed.
const DefaultCompactRate = 256 << 20

// CompactStatus says what compaction is at, all cells together.
type CompactStatus struct {
	Running bool   // Some volume is being moved.
	Volume  string // The last volume that was begun, "" for none.
	Waiting int    // Volumes of which nothing is needed any more, but that readers, or copies of the index, still hold.

	Asked    bool  // Everything worthwhile is being moved because somebody asked for it.
	AskedErr error // Why the last such compaction ended early, nil if it did not.

	Used, Live int64 // Bytes that closed volumes take on the drives, and would take if they held only what lives. As of the last look.
	Tombstones int64 // The part of Live that tombstones take.

	Volumes, Records, Extents int64 // Moved since start.
	ReadLen, WriteLen         int64 // Bytes, since start: read of the old volumes, written to the new ones before parity.
	Skipped                   int64 // Volumes of which something could not be moved, as it could not be read.
	Err                       error // Why the last volume was not moved whole; nil if it was.
}

// CompactStatus says what compaction is at.
func (s *Store) CompactStatus() CompactStatus {
	var t CompactStatus
	for _, c := range s.cells {
		n := c.compaction.status()
		t.Running, t.Asked, t.Waiting = t.Running || n.Running, t.Asked || n.Asked, t.Waiting+n.Waiting
		t.Volume = cmp.Or(n.Volume, t.Volume)
		t.Used, t.Live, t.Tombstones = t.Used+n.Used, t.Live+n.Live, t.Tombstones+n.Tombstones
		t.Volumes, t.Records, t.Extents = t.Volumes+n.Volumes, t.Records+n.Records, t.Extents+n.Extents
		t.ReadLen, t.WriteLen, t.Skipped = t.ReadLen+n.ReadLen, t.WriteLen+n.WriteLen, t.Skipped+n.Skipped
		t.Err, t.AskedErr = errors.Join(t.Err, n.Err), errors.Join(t.AskedErr, n.AskedErr)
	}
	return t
}

// compaction is what a cell knows of its compaction, whichever base it has.
type compaction struct {
	wake   chan struct{} // Of capacity 1: there is an order.
	closed chan struct{} // Closed when the cell is.
	hurry  atomic.Bool   // Somebody waits for space: the recycler does not wait for better times either.

	mu       sync.Mutex // Guards the fields below.
	now      CompactStatus
	order    *compactOrder               // Under way, or the last; nil if there was none.
	moved    map[meta.VolumeID]bool      // Volumes of which nothing is needed any more, until they are freed.
	stuck    map[meta.VolumeID]time.Time // Volumes that could not be moved whole, and when to try again.
	doubtful []placement                 // Of extents in records of which nobody knows whether they count: pinned until another base knows.
}

func newCompaction() *compaction {
	return &compaction{
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
		moved: make(map[meta.VolumeID]bool), stuck: make(map[meta.VolumeID]time.Time),
	}
}

func (k *compaction) status() CompactStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.now
	t.Waiting = len(k.moved)
	t.Asked = k.order.open()
	if k.order != nil && !t.Asked {
		t.AskedErr = k.order.err
	}
	return t
}

// update changes the status.
func (k *compaction) update(f func(*CompactStatus)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.now)
}

// isMoved reports whether everything in a volume that matters has been written again, tombstones included.
func (k *compaction) isMoved(id meta.VolumeID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.moved[id]
}

// forget is called when a volume has been freed.
func (k *compaction) forget(id meta.VolumeID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.moved, id)
	delete(k.stuck, id)
	k.relax()
}

// settle lets the placements go whose records were in doubt when the last base ended: the journal of the present one has decided.
func (k *compaction) settle() {
	k.mu.Lock()
	doubtful := k.doubtful
	k.doubtful = nil
	k.mu.Unlock()
	for _, p := range doubtful {
		p.release()
	}
}

// compactor does the work for one base. One goroutine runs it and owns its fields.
type compactor struct {
	*compaction
	c       *cell
	b       *base
	pace    compactPace
	noRoom  map[volume.Class]bool     // Classes for which there was no room in this pass.
	padding map[meta.VolumeID]float64 // Of bulk volumes: what their live stripes take, padding included, for each live byte. Measured when it mattered.
	idle    bool                      // No request has used the drives since the last look.
	front   int64                     // The cell's, at the last look.
	density float64                   // What records take that were moved lately, for each byte they should: some do not share batches well.

	complained time.Time // When a failure was last logged.

	data, parity int           // Of volumes made now, as last seen; see widen.
	narrowTo     meta.VolumeID // The newest volume there was when that changed.

	scratch [][]byte
	pool    recordPool
}

func newCompactor(b *base) *compactor {
	k := &compactor{compaction: b.c.compaction, c: b.c, b: b, padding: make(map[meta.VolumeID]float64), noRoom: make(map[volume.Class]bool), density: 1}
	k.pace = newCompactPace(b.c)
	k.pool.room = poolLen
	return k
}

// stuckFor is how long a volume is left alone of which something could not be read.
const stuckFor = 10 * time.Minute

// run works until ctx ends.
func (k *compactor) run(ctx context.Context) {
	k.settle()
	k.serve(ctx) // Of an order that the last base left.
	look := time.NewTicker(k.c.limits.compact)
	defer look.Stop()
	full := time.NewTicker(k.c.limits.poll)
	defer full.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			k.serve(ctx)
			continue
		case <-look.C:
		case <-full.C:
			if !k.c.full.Load() {
				continue
			}
		}
		k.widen()
		if k.c.opts.CompactGarbage < 0 && !k.c.full.Load() && !k.c.anyCrowded() && !k.c.anyNarrow() {
			continue
		}
		front := k.c.front.Load()
		k.idle, k.front = front == k.front, front
		err := k.pass(ctx, k.due)
		if err != nil && ctx.Err() == nil && time.Since(k.complained) > complainEvery {
			k.complained = time.Now()
			k.c.log.Warn("compaction stops for now", "error", err)
		}
	}
}

// newest returns the newest volume.
func (k *compactor) newest() meta.VolumeID {
	volumes := k.c.set.Volumes()
	if len(volumes) == 0 {
		return 0
	}
	return volumes[len(volumes)-1].ID()
}

// pass moves one volume after the other until next names none.
func (k *compactor) pass(ctx context.Context, next func(*spaceSurvey) *sparse) error {
	clear(k.noRoom)
	for ctx.Err() == nil {
		k.awaitRoom(ctx)
		survey, err := k.survey()
		if err != nil {
			return err
		}
		victim := next(survey)
		if victim == nil {
			return nil
		}
		err = k.move(ctx, victim)
		if errors.Is(err, volume.ErrFull) && !errors.Is(err, journal.ErrUnknown) && !k.noRoom[victim.class] {
			k.noRoom[victim.class] = true // The other class may have some, or win it.
			continue
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// awaitRoom waits, on full drives, until the volumes moved so far have been freed: what they gave up is in use twice until then, and
// deletes need the rest of the reserve. Readers may hold volumes back, so it does not wait for ever.
func (k *compactor) awaitRoom(ctx context.Context) {
	if !k.c.full.Load() || k.c.set.Journals() > roomyJournals {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.c.limits.stall)
	defer cancel()
	_ = k.awaitFreed(ctx, k.waiting())
}

// roomyJournals is how many journal volumes must find room for compaction to go on without waiting.
const roomyJournals = 2

// move empties a volume.
func (k *compactor) move(ctx context.Context, victim *sparse) error {
	vol := victim.vol
	if !vol.Pin() {
		return nil // Freed since.
	}
	defer vol.Unpin()
	name := volume.Name(vol.ID())
	k.update(func(s *CompactStatus) { s.Running, s.Volume = true, name })
	k.c.log.Debug("a volume is compacted", "volume", name, "class", vol.Class().String(), "used", victim.used, "live", victim.live)
	k.pace.begin()
	var whole bool
	var err error
	if vol.Class() == volume.Journal {
		whole, err = k.moveJournal(ctx, victim)
	} else {
		whole, err = k.moveBulk(ctx, victim)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.Running, k.now.Err = false, err
	switch {
	case err != nil && (ctx.Err() != nil || isStoreTrouble(err)):
		return err // It is not the volume's.
	case err != nil || !whole:
		k.now.Skipped++
		k.stuck[vol.ID()] = time.Now().Add(stuckFor)
		k.c.log.Warn("a volume could not be compacted whole", "volume", name, "error", err)
		return nil
	}
	k.now.Volumes++
	k.moved[vol.ID()] = true
	k.c.noteDeaths()
	return nil
}

// isStoreTrouble tells what would hit every other volume, too.
func isStoreTrouble(err error) bool {
	if err == nil {
		return false
	}
	switch kindOfCause(err) {
	case KindFull, KindUnknownOutcome, KindBusy, KindCanceled:
		return true
	case KindUnavailable:
		return !errors.Is(err, errUnreadable)
	}
	return false
}
