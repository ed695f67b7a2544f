package engine

import (
	"penstock/engine/volume"
)

// trimShare is the part of a segment that must be unused for it to be given back: extending a segment again costs the file
// system more than overwriting it.
const trimShare = 64

// trimmed is what the recycler knows of a bulk volume that was closed: where it ends, until that has been cut off.
type trimmed struct {
	done       bool
	end        int64  // Behind its last live stripe when it was looked at.
	generation uint64 // Readers up to this one may still read stripes behind that.
}

// trim gives back the room behind the last stripe of bulk volumes that have been closed since the start: a stripe that did not fit, or a
// drive that failed, may have left much of it.
func (r *recycler) trim() error {
	for _, vol := range r.c.set.Volumes() {
		id := vol.ID()
		t, known := r.trims[id]
		switch {
		case vol.Class() != volume.Bulk || t.done || r.c.isOpen(id) || vol.Pins() > 0:
			continue
		case !known:
			end, err := r.endOf(vol)
			if err != nil {
				return err
			}
			t.end, t.generation = end, r.c.generations.advance()
			t.done = end == 0 || vol.Capacity()-end < vol.Capacity()/trimShare || !longer(vol, end)
		case r.c.generations.passed(t.generation):
			t.done = true
			if err := vol.Trim(t.end); err != nil {
				r.c.log.Warn("unused room of a volume cannot be given back", "volume", volume.Name(id), "error", err)
			}
		}
		r.trims[id] = t
	}
	return nil
}

func (r *recycler) endOf(vol *volume.Volume) (int64, error) {
	if err := r.b.enter(); err != nil {
		return 0, err
	}
	defer r.b.leave()
	return r.b.bulkEnd(vol)
}
