package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"penstock/engine/drive"
)

// stallWatch finds drives that have stopped: ops are under way, and none comes back. Reads are led around such a drive at once, and when that
// goes on it is fenced. It looks at what all ops of a drive do, whoever submitted them and whether or not anybody waits for them still.
//
// A stall of more drives than parity can replace is not the drives': the machine was stopped, or is starved, or all of them are on
// one device that is. Giving them up would turn a pause into an outage, so they are waited for.
//
// Its fields are owned by the goroutine that runs it.
type stallWatch struct {
	c      *cell
	every  time.Duration // Between two looks.
	drives []stallState
}

// stallState is what is known of one drive.
type stallState struct {
	drive drive.Drive
	over  [drive.Write + 1]uint64 // As of the last look.
	still [drive.Write + 1]int    // Looks since anything came back, while something was under way.
	probe *drive.Op               // The last one, or nil.
}

// stallLooks is how many looks it takes to fence a drive that reads nothing. Looks are counted, not time: a process that was stopped
// finds only one of them due when it goes on.
const stallLooks = 15

func newStallWatch(c *cell) *stallWatch {
	return &stallWatch{c: c, every: c.limits.fence / stallLooks}
}

// follow keeps the list of drives to look at up to date.
func (w *stallWatch) follow() {
	now := w.c.drives.all()
	w.drives = slices.DeleteFunc(w.drives, func(s stallState) bool { return !slices.Contains(now, s.drive) })
	for _, d := range now {
		if !slices.ContainsFunc(w.drives, func(s stallState) bool { return s.drive == d }) {
			watch := d.Watch()
			w.drives = append(w.drives, stallState{drive: d, over: [...]uint64{drive.Read: watch.Over(drive.Read), drive.Write: watch.Over(drive.Write)}})
		}
	}
}

// run looks until ctx ends.
func (w *stallWatch) run(ctx context.Context) {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.look()
		}
	}
}

// look takes one look at every drive.
func (w *stallWatch) look() {
	w.follow()
	l := &w.c.limits
	suspectLooks, writeLooks := int(max(l.hedge/w.every, 1)), int(max(l.write/w.every, 1))
	fenceLooks := max(stallLooks, suspectLooks+1)
	var stalled []*stallState
	for i := range w.drives {
		d := &w.drives[i]
		if !w.c.set.Healthy(d.drive.ID()) {
			continue
		}
		d.count()
		if d.still[drive.Read] >= suspectLooks {
			d.suspect(w.c)
		}
		if d.still[drive.Read] >= fenceLooks || d.still[drive.Write] >= writeLooks {
			stalled = append(stalled, d)
		}
	}
	if len(stalled) == 0 {
		return
	}
	if _, m := w.c.set.Geometry(); len(stalled) > m {
		return // Said by whoever waits for them in vain.
	}
	for _, d := range stalled {
		cause := fmt.Errorf("%d reads are under way, and none has come back in %v", d.drive.Watch().Pending(drive.Read), time.Duration(fenceLooks)*w.every)
		if d.still[drive.Read] < fenceLooks {
			cause = fmt.Errorf("%d writes are under way, and none has come back in %v", d.drive.Watch().Pending(drive.Write), l.write)
		}
		w.c.set.FailDrive(d.drive.ID(), cause)
		w.c.failWaiting(d.drive)
	}
}

// count takes a look at what has come back.
func (d *stallState) count() {
	watch := d.drive.Watch()
	for kind := drive.Read; kind <= drive.Write; kind++ {
		// In this order: what comes back in between is seen next time.
		over, pending := watch.Over(kind), watch.Pending(kind)
		if over != d.over[kind] || pending == 0 {
			d.over[kind], d.still[kind] = over, 0
			continue
		}
		d.still[kind]++
	}
}

// suspect leads reads around a drive that has not answered for a while. One read more finds out whether it is the drive or the place: a
// drive may take seconds over one bad sector, and be well otherwise.
func (d *stallState) suspect(c *cell) {
	watch := d.drive.Watch()
	if watch.Stalled() {
		return
	}
	if _, m := c.set.Geometry(); m > 0 {
		watch.SetStalled()
	}
	if d.probe != nil && !d.probe.Over() {
		return
	}
	for _, vol := range c.set.Volumes() {
		for shard := range vol.N() {
			if file := vol.Shard(shard); file != nil && file.Drive().ID() == d.drive.ID() {
				// On the heap: if the drive hangs for good, so does this.
				d.probe = &drive.Op{Kind: drive.Read, File: file, Bufs: [][]byte{drive.Aligned(drive.BlockLen)}, Done: func(*drive.Op) {}}
				file.Queue().Submit(d.probe)
				return
			}
		}
	}
}

// failWaiting fails the ops of a drive that have not begun: the memory that they have is needed elsewhere.
func (c *cell) failWaiting(d drive.Drive) {
	for _, vol := range c.set.Volumes() {
		for shard := range vol.N() {
			if file := vol.LastResort(shard); file != nil && file.Drive().ID() == d.ID() {
				file.FailWaiting()
			}
		}
	}
}
