package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"penstock/erasure"
	"penstock/meta"
)

// survey is what the volumes say about the journal before anything is replayed.
type survey struct {
	ctx  context.Context
	opts *Options

	tail    Volume // The newest volume that was ever open.
	start   header // Of its first batch.
	listed  []VolumeInfo
	left    []meta.VolumeID // Listed as left behind: see carried.
	ghosts  []meta.VolumeID // Newer volumes that were never open.
	orphans []meta.VolumeID // Older ones that the tail does not list: freed, or never open.

	freedSet map[meta.VolumeID]bool // Set by freed.
}

// nearLen is how far behind a batch that does not decode all shards are searched for later batches. It is more than the batches in
// flight together take; what comes after it was written when the batch in question was long durable, and is
// on every parity shard if it was acknowledged.
const nearLen = 16 << 20

// look finds the tail: the newest volume with a decodable first batch, for a volume holds nothing else before that one is durable.
// Its journal start record says which other volumes count, and up to where.
func look(ctx context.Context, opts *Options) (*survey, error) {
	s := &survey{ctx: ctx, opts: opts}
	vols := opts.Volumes.Volumes()
	slices.SortFunc(vols, func(a, b Volume) int {
		if a.ID() < b.ID() {
			return 1
		}
		return -1
	})
	for i, v := range vols {
		start, list, err := s.open(v)
		if u, ok := errors.AsType[*undecodable](err); ok {
			if err := s.neverOpen(v, u); err != nil {
				return nil, err
			}
			s.ghosts = append(s.ghosts, v.ID())
			continue
		}
		if err != nil {
			return nil, err
		}
		s.tail, s.start = v, start
		for _, l := range list {
			if l.LastBatch == 0 {
				s.left = append(s.left, l.ID)
				continue
			}
			s.listed = append(s.listed, VolumeInfo{ID: l.ID, LastBatch: l.LastBatch, End: l.End, EndLSN: l.EndLSN})
		}
		if err := s.checkList(); err != nil {
			return nil, err
		}
		return s, s.checkOthers(vols[i+1:])
	}
	return nil, ErrNoJournal
}

// open reads a volume's first batch, whose first record is a journal start.
func (s *survey) open(v Volume) (header, []meta.JournalVolume, error) {
	r := newReader(s.ctx, s.opts, v, firstShards(v.K()+v.M()), probeWindow)
	defer r.close()
	if err := r.next(expectation{number: 1, off: v.Start(), anyLSN: true}); err != nil {
		return header{}, nil, err
	}
	rec, err := meta.Parse(r.records[0].Payload)
	if err != nil {
		return header{}, nil, fmt.Errorf("first record of journal volume %x: %w", v.ID(), err)
	}
	start, ok := rec.(*meta.JournalStart)
	if !ok {
		return header{}, nil, fmt.Errorf("%w: volume %x begins with a %v record", ErrDamaged, v.ID(), rec.Kind())
	}
	return r.header, start.Volumes, nil
}

// neverOpen returns nil if a volume whose first batch does not decode has never been open.
func (s *survey) neverOpen(v Volume, u *undecodable) error {
	high, err := s.proven(v, v.Start(), 0, 0)
	switch {
	case err != nil:
		return err
	case u.blind():
		return fmt.Errorf("%w: %w; what the volume holds cannot be told", ErrUnavailable, u)
	case high > 0:
		return fmt.Errorf("%w: %w, but later ones say that it was durable", ErrDamaged, u)
	}
	return nil
}

// checkList checks what the tail's list must be like.
func (s *survey) checkList() error {
	var last VolumeInfo
	for _, v := range s.listed {
		if v.ID <= last.ID || v.EndLSN <= last.EndLSN || v.ID >= s.tail.ID() || v.EndLSN >= s.start.firstLSN {
			return fmt.Errorf("%w: volume %x lists volume %x out of order", ErrDamaged, s.tail.ID(), v.ID)
		}
		last = v
	}
	if last.EndLSN != s.start.firstLSN-1 {
		return fmt.Errorf("%w: volume %x begins at LSN %d and the one before it ends at %d", ErrDamaged, s.tail.ID(), s.start.firstLSN, last.EndLSN)
	}
	return nil
}

// checkOthers looks at the older volumes that are not listed. Those that were freed have a place of their own among the LSNs. One that
// was open and has LSNs which a listed volume has too was written by somebody who did not know of the listed one.
func (s *survey) checkOthers(older []Volume) error {
	for _, v := range older {
		if slices.ContainsFunc(s.listed, func(l VolumeInfo) bool { return l.ID == v.ID() }) {
			continue
		}
		s.orphans = append(s.orphans, v.ID())
		if slices.Contains(s.left, v.ID()) {
			continue
		}
		start, _, err := s.open(v)
		if _, ok := errors.AsType[*undecodable](err); ok {
			continue // Freed in part, or never open.
		}
		if err != nil {
			return err
		}
		rival, err := s.rival(start.firstLSN)
		if err != nil {
			return err
		}
		if rival == 0 {
			continue
		}
		high, err := s.proven(v, v.Start(), 0, start.salt)
		if err != nil {
			return err
		}
		if high > 0 {
			return fmt.Errorf("%w: volumes %x and %x both hold LSN %d", ErrSplit, v.ID(), rival, start.firstLSN)
		}
		// It holds nothing but its start: it was made, and something failed before it was open.
	}
	return nil
}

// rival returns the listed volume, or the tail, that holds an LSN; 0 if none does.
func (s *survey) rival(lsn meta.LSN) (meta.VolumeID, error) {
	if lsn >= s.start.firstLSN {
		return s.tail.ID(), nil
	}
	i := slices.IndexFunc(s.listed, func(l VolumeInfo) bool { return lsn <= l.EndLSN }) // There is one: the last ends before the tail.
	v := s.opts.Volumes.Get(s.listed[i].ID)
	if v == nil {
		return 0, nil
	}
	start, _, err := s.open(v)
	if _, ok := errors.AsType[*undecodable](err); ok {
		return 0, nil
	}
	if err != nil || start.firstLSN > lsn {
		return 0, err // In a gap, where volumes were that have been freed.
	}
	return v.ID(), nil
}

// proven looks from off on for headers of batches after the one given, and returns the highest watermark in them: that batch was durable
// when another one, whether that itself ever was or not, was written. 0 means that nothing is proven.
//
// All shards are searched as far as nearLen. If that shows nothing beyond the batch, the rest of one parity shard is searched too.
func (s *survey) proven(v Volume, off int64, batch, salt uint64) (uint64, error) {
	near := min(off+nearLen, v.Capacity())
	high, err := s.search(v, firstShards(v.K()+v.M()), off, near, batch, salt)
	if high > batch || err != nil || batch == 0 {
		// A volume that was never open is the usual case of one without a first batch, and is not read to its end at every start.
		return high, err
	}
	rest := firstShards(v.K() + v.M())
	for i := v.K(); i < v.K()+v.M(); i++ {
		if v.Shard(i) != nil {
			rest = erasure.SetOf(i)
			break
		}
	}
	far, err := s.search(v, rest, near, v.Capacity(), batch, salt)
	return max(high, far), err
}

// search is one stretch of proven. It ends early when batch+1 is proven.
func (s *survey) search(v Volume, shards erasure.Set, from, to int64, batch, salt uint64) (high uint64, err error) {
	r := newReader(s.ctx, s.opts, v, shards, streamWindow)
	defer r.close()
	for from < to && high <= batch {
		n := int(min(int64(r.window), to-from))
		r.loaded = 0
		if err := r.cover(from, n); err != nil {
			return 0, err
		}
		for i := range shards.All() {
			for off := from; off < from+int64(n); off += blockAlign {
				b := r.block(i, off, headerLen)
				if b == nil {
					break
				}
				var h header
				at, _, err := parseHeader(b, &h)
				if err == nil && at == i && h.off == off && h.volume == v.ID() && (salt == 0 || h.salt == salt) && h.number > batch {
					high = max(high, h.watermark)
				}
			}
		}
		from += int64(n)
	}
	return high, nil
}

// freed returns the volumes that records in the tail name as freed.
func (s *survey) freed() (map[meta.VolumeID]bool, error) {
	if s.freedSet != nil {
		return s.freedSet, nil
	}
	set := make(map[meta.VolumeID]bool)
	r := newReader(s.ctx, s.opts, s.tail, firstShards(s.tail.K()), streamWindow)
	defer r.close()
	e := expectation{number: 1, off: s.tail.Start(), salt: s.start.salt, chain: s.start.chain, lsn: s.start.firstLSN}
	for {
		err := r.next(e)
		if _, ok := errors.AsType[*undecodable](err); ok {
			s.freedSet = set // The end of the tail, or damage, which the replay will judge.
			return set, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range r.records {
			noteFreed(set, r.records[i].Payload)
		}
		e = r.following()
	}
}

// noteFreed enters the volumes that a record names as freed, if it is one that does.
func noteFreed(set map[meta.VolumeID]bool, payload []byte) {
	if len(payload) == 0 || meta.Kind(payload[0]) != meta.KindJournalFreed {
		return
	}
	if rec, err := meta.Parse(payload); err == nil { // Otherwise Apply refuses it.
		for _, id := range rec.(*meta.JournalFreed).Volumes {
			set[id] = true
		}
	}
}
