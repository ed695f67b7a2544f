package meta

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Causes say how it came that a shard is not what it should be. They add up.
type Causes uint8

// The causes. Numbers are on drives for ever.
const (
	CauseLost       Causes = 1 << iota // No drive that is here has the shard: its drive is missing, failed or was replaced.
	CauseUnwritten                     // A write to it failed or was not finished.
	CauseUnreadable                    // A read failed.
	CauseRot                           // A read returned what was not written.
	endCauses
)

var causeNames = []string{"lost", "unwritten", "unreadable", "rotten"}

func (c Causes) String() string {
	s := ""
	for i, name := range causeNames {
		if c&(1<<i) == 0 {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += name
	}
	return s
}

// Range is a run of bytes of a segment.
type Range struct{ Off, Len int64 }

// End returns the offset behind the range.
func (r Range) End() int64 { return r.Off + r.Len }

// Missing is an entry of the heal ledger: what is known to be missing of one shard of a volume. The newest record of a shard
// holds. One without causes says that the shard is whole again, or that nobody needs it any more; it is a tombstone.
//
//	uvarint volume | u8 shard | u8 causes | missing body
//	missing body, if there are causes: varint since | uvarint count, then for each range: uvarint offset behind the end of the one before |
//	                                   uvarint length, at least 1
//
// The ranges are those to be doubted if there is a segment. Where a shard is lost, all of it is made anew.
type Missing struct {
	Volume VolumeID
	Shard  int
	Causes Causes
	Since  time.Time // When the first cause was noticed, in milliseconds.
	Ranges []Range   // In order, and not touching each other.
}

// MaxRanges bounds the ranges of an entry: who has more to tell doubts what lies between them as well.
const MaxRanges = 64

func (*Missing) Kind() Kind { return KindMissing }

func (r *Missing) AppendTo(dst []byte) []byte {
	if r.Shard < 0 || r.Shard > 255 || r.Causes >= endCauses {
		bug("shard %d, causes %d", r.Shard, r.Causes)
	}
	dst = binary.AppendUvarint(begin(dst, KindMissing), uint64(r.Volume))
	dst = append(dst, byte(r.Shard), byte(r.Causes))
	return r.appendBody(dst)
}

func (r *Missing) appendBody(dst []byte) []byte {
	if r.Causes == 0 {
		if len(r.Ranges) > 0 || !r.Since.IsZero() {
			bug("a shard is whole and has %d ranges", len(r.Ranges))
		}
		return dst
	}
	if len(r.Ranges) > MaxRanges {
		bug("%d ranges", len(r.Ranges))
	}
	dst = binary.AppendUvarint(appendTime(dst, r.Since), uint64(len(r.Ranges)))
	end := int64(0)
	for i, g := range r.Ranges {
		if g.Len <= 0 || g.Off < end || i > 0 && g.Off == end {
			bug("range %+v behind %d", g, end)
		}
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(g.Off-end)), uint64(g.Len))
		end = g.End()
	}
	return dst
}

// missing reads a record from behind its first two bytes.
func (r *reader) missing() *Missing {
	m := &Missing{Volume: VolumeID(r.uvarint()), Shard: int(r.byte()), Causes: Causes(r.byte())}
	r.missingBody(m)
	return m
}

func (r *reader) missingBody(m *Missing) {
	switch {
	case m.Causes >= endCauses:
		r.fail()
		return
	case m.Causes == 0:
		return
	}
	m.Since = r.time()
	n := r.count(2)
	if n > MaxRanges {
		r.fail()
		return
	}
	end := int64(0)
	for i := range n {
		g := Range{Off: r.size(), Len: r.size()}
		if i > 0 && g.Off == 0 || g.Len == 0 || g.Off > 1<<62-end || g.Len > 1<<62-end-g.Off {
			r.fail()
			return
		}
		g.Off += end
		end = g.End()
		m.Ranges = append(m.Ranges, g)
	}
}

// In the index: held | u8 causes | missing body, under m volume shard.

func appendMissingKey(dst []byte, volume VolumeID, shard int) []byte {
	return append(appendID(dst, spaceMissing, uint64(volume)), byte(shard))
}

func (r *Missing) appendValue(dst []byte) []byte { return r.appendBody(append(dst, byte(r.Causes))) }

// missingEntry parses an entry. Its held is read.
func (r *reader) missingEntry(key []byte) Missing {
	m := Missing{Volume: VolumeID(be64(key[1:])), Shard: int(key[9]), Causes: Causes(r.byte())}
	r.missingBody(&m)
	return m
}

func (t *tx) missing(a *Applied, rec *Missing) error {
	t.key = appendMissingKey(t.key[:0], rec.Volume, rec.Shard)
	if rec.Causes == 0 {
		t.tombstone(a)
		_, err := t.removeWhole(a, t.key)
		return err
	}
	_, err := t.putWhole(a, t.key, rec.appendValue(nil))
	return err
}

// Missing calls f for each entry of the heal ledger, in order of volume and shard, until f returns false.
func (x *Index) Missing(f func(Missing) bool) error {
	return x.scan([]byte{spaceMissing}, func(key, value []byte) (bool, error) {
		r := view(value)
		r.held()
		if len(key) != 10 {
			return false, corruptEntry(key)
		}
		m := r.missingEntry(key)
		if !r.done() {
			return false, fmt.Errorf("%w: ledger entry of volume %#x", ErrCorrupt, uint64(m.Volume))
		}
		return f(m), nil
	})
}
