package engine

import (
	"slices"
	"sync"
	"sync/atomic"

	"penstock/engine/drive"
)

// driveTable is the drives of a cell that are here, healthy or not. They come and go while it serves. The zero table is empty.
type driveTable struct {
	list    atomic.Pointer[[]drive.Drive] // Replaced, never changed.
	watches sync.Map                      // From drive.ID to *driveWatch.

	mu   sync.Mutex  // Held by whoever replaces list. Guards past.
	past drive.Stats // What drives have done that are not in the list any more.
}

// all returns the drives. The caller must not change it.
func (t *driveTable) all() []drive.Drive {
	if list := t.list.Load(); list != nil {
		return *list
	}
	return nil
}

// get returns the drive of an id, or nil.
func (t *driveTable) get(id drive.ID) drive.Drive {
	for _, d := range t.all() {
		if d.ID() == id {
			return d
		}
	}
	return nil
}

// watch returns what is kept of a drive's reads.
func (t *driveTable) watch(id drive.ID) *driveWatch {
	if w, ok := t.watches.Load(id); ok {
		return w.(*driveWatch)
	}
	w, _ := t.watches.LoadOrStore(id, new(driveWatch))
	return w.(*driveWatch)
}

// put enters a drive, in the place of what it was before if it was here.
func (t *driveTable) put(d drive.Drive) { t.replace(d.ID(), d) }

// remove strikes a drive out.
func (t *driveTable) remove(id drive.ID) { t.replace(id, nil) }

func (t *driveTable) replace(id drive.ID, d drive.Drive) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.Clone(t.all())
	i := slices.IndexFunc(list, func(o drive.Drive) bool { return o.ID() == id })
	if i >= 0 {
		addStats(&t.past, list[i].Stats())
	}
	switch {
	case i < 0 && d != nil:
		list = append(list, d)
	case i >= 0 && d != nil:
		list[i] = d
	case i >= 0:
		list = slices.Delete(list, i, i+1)
	}
	t.list.Store(&list)
}

// stats adds up what all drives have done, those that have gone among them.
func (t *driveTable) stats() drive.Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.past
	for _, d := range t.all() {
		addStats(&sum, d.Stats())
	}
	return sum
}

func addStats(sum *drive.Stats, n drive.Stats) {
	for _, p := range [][2]*drive.OpStats{{&sum.Reads, &n.Reads}, {&sum.Writes, &n.Writes}} {
		p[0].Ops += p[1].Ops
		p[0].Bytes += p[1].Bytes
		p[0].Errors += p[1].Errors
	}
}
