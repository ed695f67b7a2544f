package volume

import (
	"errors"
	"fmt"
	"sync/atomic"

	"penstock/engine/drive"
	"penstock/erasure"
)

// Volume is n segments on n drives. Its methods are safe for concurrent use.
type Volume struct {
	set    *Set
	header header // Of the first segment found. What no segment has of its own is the same for all.
	code   *erasure.Code
	seats  atomic.Pointer[placement]
	pins   atomic.Int64 // freed once the volume is.

	placing chan struct{}  // Holds the token of whoever changes the placement.
	moving  []*Replacement // Under way, at most one for a shard. Guarded by Set.mu.
}

// freed is far below any number of pins.
const freed = -1 << 62

func newVolume(s *Set, h header) (*Volume, error) {
	code, err := s.code(h.K, h.M)
	if err != nil {
		return nil, fmt.Errorf("volume %v: %w", Name(h.Volume), err)
	}
	v := &Volume{set: s, header: h, code: code, placing: make(chan struct{}, 1)}
	v.seats.Store(s.newPlacement(&h))
	return v, nil
}

// Name returns the form of a volume's id that people read: epoch and sequence.
func Name(id ID) string { return fmt.Sprintf("%d-%d", uint32(id>>32), uint32(id)) }

func (v *Volume) String() string { return fmt.Sprintf("%v volume %s", v.Class(), Name(v.ID())) }

func (v *Volume) ID() ID              { return v.header.Volume }
func (v *Volume) Class() Class        { return v.header.Class }
func (v *Volume) K() int              { return v.header.K }
func (v *Volume) M() int              { return v.header.M }
func (v *Volume) N() int              { return v.header.K + v.header.M }
func (v *Volume) Epoch() uint32       { return v.header.Epoch }
func (v *Volume) Code() *erasure.Code { return v.code }

// Start returns the offset of the first byte for data.
func (v *Volume) Start() int64 { return headerLen }

// Capacity returns the length of each segment, header included, as it was before any Trim.
func (v *Volume) Capacity() int64 { return v.header.Length }

// Drives returns the ids of the drives, in shard order, as they are now. The caller must not change it.
func (v *Volume) Drives() []drive.ID { return v.seats.Load().drives }

// Shard returns the segment of shard i, or nil when its drive is missing or failed, or has no sound
// segment of this volume. Once the shard has moved, [Retired] says how long the file stays open.
func (v *Volume) Shard(i int) drive.File { return v.seats.Load().file(i) }

// LastResort is Shard, but for drives that have failed: they may still read. What they return is to be
// trusted no more and no less than what any drive returns.
func (v *Volume) LastResort(i int) drive.File { return v.seats.Load().files[i] }

// Absent reports that the drive of shard i is there and works, but certainly holds no segment of this
// volume: power failed before it was made, or somebody removed it. As long as any segment of
// the drive has a damaged header, that segment may be the one, and nothing is certain.
func (v *Volume) Absent(i int) bool {
	p := v.seats.Load()
	m := p.members[i]
	return p.files[i] == nil && m != nil && !m.failed() && m.damaged.Load() == 0
}

// Fail gives up the drive of shard i for good: no new volume uses it, and Shard answers nil for it in
// all volumes. The first failure of a drive is logged.
func (v *Volume) Fail(i int, err error) {
	if m := v.seats.Load().members[i]; m != nil {
		v.set.fail(m, fmt.Errorf("shard %d of %v: %w", i, v, err))
	}
}

// Pin keeps the volume from being freed until Unpin. It reports false if it has been freed already.
func (v *Volume) Pin() bool {
	for {
		n := v.pins.Load()
		if n < 0 {
			return false
		}
		if v.pins.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Unpin takes back one Pin.
func (v *Volume) Unpin() {
	if v.pins.Add(-1) < 0 {
		panic("volume: Unpin of " + v.String() + ", which is not pinned")
	}
}

// Pins returns how many pins there are.
func (v *Volume) Pins() int { return int(max(v.pins.Load(), 0)) }

// Trim gives back the space of all segments behind end, rounded up to whole blocks. Nothing may be in
// flight behind end, and nothing is written to the volume any more.
func (v *Volume) Trim(end int64) error {
	if v.set.unconfirmed(v, func() { _ = v.Trim(end) }) { // If it fails, the drive is failed.
		return nil
	}
	end = (end + drive.BlockLen - 1) / drive.BlockLen * drive.BlockLen
	if end < headerLen || end > v.header.Length {
		return fmt.Errorf("trim %v to %d: not in %d to %d", v, end, headerLen, v.header.Length)
	}
	p := v.seats.Load()
	_, errs := parallel(v.set, p.members, func(i int) (struct{}, error) {
		f := p.file(i)
		if f == nil || f.Size() <= end {
			return struct{}{}, nil
		}
		return struct{}{}, p.members[i].resize(f, end)
	}, nil)
	for i, err := range errs {
		switch m := p.members[i]; {
		case err == nil:
		case m == nil || m.failed():
			errs[i] = nil // There is no space of its to give back.
		default:
			v.Fail(i, fmt.Errorf("trim: %w", err))
		}
	}
	v.set.sample()
	return errors.Join(errs...)
}
