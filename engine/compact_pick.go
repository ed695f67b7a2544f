package engine

import (
	"time"

	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// sparse is a closed volume and what it is worth to have it moved, in bytes on drives, parity included.
type sparse struct {
	vol        *volume.Volume
	class      volume.Class
	used       int64   // What its segments take.
	live       int64   // What would be written in their place. Of a journal volume it includes the tombstones that must stay.
	tombstones int64   // Part of live.
	oldest     bool    // Of the journal: nothing is older that its tombstones could be needed for.
	age        float64 // From 0, the newest of its class, to 1, the oldest.
	exact      bool    // live is not estimated, or has been measured.
}

// gain is what moving the volume wins.
func (s *sparse) gain() int64 { return s.used - s.live }

// score is benefit over cost: the share of the volume that is won, by what is read and written for it. Of two
// volumes equally sparse the older one goes first, because what has lived long will live on, and what is new may yet die by itself.
func (s *sparse) score() float64 {
	waste, live := float64(s.gain())/float64(s.used), float64(s.live)/float64(s.used)
	return waste / (1 + live) * (1 + s.age)
}

// minGain is the share of a volume that must be won for it to be worth moving, even on full drives.
const minGain = 1.0 / 16

// worthwhile reports whether moving the volume by itself wins enough: a part of it, and so many bytes on each drive.
func (s *sparse) worthwhile(least int64) bool {
	return s.gain() > int64(minGain*float64(s.used)) && s.gain() > least*int64(s.vol.N())
}

// spaceSurvey is what the closed volumes hold.
type spaceSurvey struct {
	k    *compactor
	all  []*sparse
	full bool
}

// survey looks at all volumes that nothing can be added to any more and that are not on their way to be freed.
func (k *compactor) survey() (*spaceSurvey, error) {
	s := &spaceSurvey{k: k, full: k.c.full.Load()}
	if err := k.b.enter(); err != nil {
		return nil, err
	}
	defer k.b.leave()
	usage := make(map[meta.VolumeID]meta.VolumeUsage)
	err := k.b.index.Volumes(func(id meta.VolumeID, u meta.VolumeUsage) bool {
		usage[id] = u
		return true
	})
	if err != nil {
		return nil, err
	}
	position := k.b.index.Position()
	ended, oldest := make(map[meta.VolumeID]bool), meta.VolumeID(0)
	for _, v := range k.b.journal.Volumes() {
		ended[v.ID] = !v.Open && v.EndLSN <= position.LSN && v.ID != position.Volume
		if oldest == 0 {
			oldest = v.ID
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.Used, k.now.Live, k.now.Tombstones = 0, 0, 0
	width := k.width()
	for _, vol := range k.c.set.Volumes() {
		id, class, u := vol.ID(), vol.Class(), usage[vol.ID()]
		switch {
		case class == volume.Bulk && (k.c.isOpen(id) || u.Live == 0), class == volume.Journal && !ended[id]:
			continue
		case k.noRoom[class]:
			continue
		case k.moved[id], time.Now().Before(k.stuck[id]), vol.Pins() > 0:
			continue
		}
		v := &sparse{vol: vol, class: class, used: usedBy(vol), oldest: id == oldest}
		if class == volume.Journal {
			if !v.oldest {
				v.tombstones = int64(float64(u.TombstoneLen) * width)
			}
			v.live = int64(float64(u.Live)*width*k.density) + v.tombstones
		} else {
			padding, measured := k.padding[id]
			if !measured {
				padding = usualPadding
			}
			v.live, v.exact = int64(float64(u.Live)*width*padding), measured
		}
		s.all = append(s.all, v)
		k.now.Used, k.now.Live, k.now.Tombstones = k.now.Used+v.used, k.now.Live+min(v.live, v.used), k.now.Tombstones+v.tombstones
	}
	s.rank()
	return s, nil
}

// usualPadding is the share that rounding adds to the stripes of a volume that nobody has looked at closely.
const usualPadding = 1.02

// width is what a byte takes on the drives today, parity included.
func (k *compactor) width() float64 {
	data, parity := k.c.set.Geometry()
	if data == 0 {
		return 1
	}
	return float64(data+parity) / float64(data)
}

// usedBy is what a volume takes on all its drives. Segments that are missing count like the others: they come back, or are healed.
func usedBy(vol *volume.Volume) int64 {
	var size int64
	for i := range vol.N() {
		if f := vol.Shard(i); f != nil {
			size = max(size, f.Size())
		}
	}
	return size * int64(vol.N())
}

// rank gives every volume its age. They are in the order in which they were made.
func (s *spaceSurvey) rank() {
	for _, class := range []volume.Class{volume.Journal, volume.Bulk} {
		of := s.of(class)
		for i, v := range of {
			v.age = 1 - float64(i+1)/float64(len(of))
		}
	}
}

func (s *spaceSurvey) of(class volume.Class) []*sparse {
	var list []*sparse
	for _, v := range s.all {
		if v.class == class {
			list = append(list, v)
		}
	}
	return list
}

// pick returns the volume to move next, up to the newest given (0 for all), or nil. A class of volumes is left alone as long as less than
// the given share of what lives is waste.
func (s *spaceSurvey) pick(newest meta.VolumeID, garbage float64) *sparse {
	for {
		var best *sparse
		for _, class := range []volume.Class{volume.Journal, volume.Bulk} {
			list := s.of(class)
			if !s.tooMuch(list, garbage) {
				continue
			}
			found := false
			for _, v := range list {
				if newest != 0 && v.vol.ID() > newest || !v.worthwhile(s.k.c.limits.leastGain) {
					continue
				}
				found = true
				if best == nil || v.score() > best.score() {
					best = v
				}
			}
			if !found && best == nil && class == volume.Journal {
				best = s.rotate(list, newest, garbage)
			}
		}
		if best == nil || best.exact || best.class == volume.Journal {
			return best
		}
		// Rounding may be all that its waste is.
		if err := s.k.measure(best); err != nil {
			return best // The move will say what is wrong.
		}
	}
}

// tooMuch reports whether there is more waste among the volumes than there should be.
func (s *spaceSurvey) tooMuch(list []*sparse, garbage float64) bool {
	var used, live, one int64
	for _, v := range list {
		used, live, one = used+v.used, live+v.live-v.tombstones, max(one, v.used)
	}
	// Less than a part of one volume is not worth the while of looking for it.
	return float64(used-live) > garbage*float64(live)+float64(one/garbageFloor)
}

// garbageFloor is the part of a volume's length below which waste does not count.
const garbageFloor = 8

// rotate returns the oldest volume of the journal if what is kept because of it, the tombstones in all others, is more than
// the waste there may be. None of the others can lose its tombstones before it has gone, and moving it wins them all.
func (s *spaceSurvey) rotate(list []*sparse, newest meta.VolumeID, garbage float64) *sparse {
	var live, tombstones, one int64
	for _, v := range list {
		live, tombstones, one = live+v.live-v.tombstones, tombstones+v.tombstones, max(one, v.used)
	}
	if len(list) == 0 || !list[0].oldest || newest != 0 && list[0].vol.ID() > newest {
		return nil
	}
	if float64(tombstones) <= max(garbage, DefaultCompactGarbage)/2*float64(live)+float64(one/garbageFloor) {
		return nil
	}
	return list[0]
}

// due is what to move without being asked.
func (k *compactor) due(s *spaceSurvey) *sparse {
	for _, v := range s.all {
		if k.c.crowded(v.vol) {
			return v
		}
	}
	if v := s.narrowest(); v != nil {
		return v
	}
	garbage := k.c.opts.CompactGarbage
	if garbage < 0 && !s.full {
		return nil
	}
	if garbage == 0 {
		garbage = DefaultCompactGarbage
	}
	switch {
	case s.full:
		garbage = 0
	case k.idle:
		garbage /= 2
	}
	return s.pick(0, garbage)
}

// measure finds out what the live stripes of a bulk volume take, padding included.
func (k *compactor) measure(v *sparse) error {
	var bytes, columns int64
	err := k.eachExtent(v.vol, func(e *meta.Extent) {
		bytes += e.Len
		columns += erasure.Layout{K: v.vol.K(), M: v.vol.M(), Length: e.Len}.ColumnLen()
	})
	if err != nil {
		return err
	}
	padding := 1.0
	if bytes > 0 {
		padding = float64(columns*int64(v.vol.K())) / float64(bytes)
	}
	k.padding[v.vol.ID()] = padding
	v.live, v.exact = int64(float64(bytes)*k.width()*padding), true
	return nil
}
