package engine

import (
	"slices"

	"penstock/engine/volume"
)

// A volume that is made while few drives are left has as much parity as these have room for: none on the last of two. When the others are
// back, or new ones have come, that is less than the store promises, and healing cannot help: nothing of the volume is missing. So
// it is closed, and compaction writes what lives in it again, with the parity of today.

// narrow reports whether a volume has less parity than one that is made now.
func (c *cell) narrow(vol *volume.Volume) bool {
	_, m := c.set.Geometry()
	return vol.M() < m
}

func (c *cell) anyNarrow() bool { return slices.ContainsFunc(c.set.Volumes(), c.narrow) }

func (c *cell) narrowCount() (n int) {
	for _, vol := range c.set.Volumes() {
		if c.narrow(vol) {
			n++
		}
	}
	return n
}

// leaveNarrow closes narrow volumes that are being written.
func (c *cell) leaveNarrow() {
	for _, vol := range c.set.Volumes() {
		if c.narrow(vol) {
			c.bulk.retire(vol)
			c.cold.retire(vol)
			c.leaveJournal(vol)
		}
	}
}

// widen looks whether the drives have changed. What is narrow then is moved once: should the drives not have the room for wider volumes, what
// is made of it is as narrow, and moving that again would win nothing.
func (k *compactor) widen() {
	data, parity := k.c.set.Geometry()
	if data == k.data && parity == k.parity {
		return
	}
	k.data, k.parity = data, parity
	k.c.leaveNarrow()
	k.narrowTo = k.newest()
}

// narrowest returns a narrow volume that is to be moved, or nil.
func (s *spaceSurvey) narrowest() *sparse {
	if s.full {
		return nil
	}
	for _, v := range s.all {
		if v.vol.ID() <= s.k.narrowTo && s.k.c.narrow(v.vol) {
			return v
		}
	}
	return nil
}
