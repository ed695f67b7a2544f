package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"penstock/engine/drive"
)

// prepareRetry is how long Prepare does not try again after a failure: it is asked with every write.
const prepareRetry = time.Second

// Create returns a new volume of a class, its headers durable on all its drives. It uses the drives that
// are healthy now; one that fails on the way is left out and the volume is made again without it.
// ErrFull and ErrNoDrives say why there can be none. If ctx ends while another volume is being
// made, Create returns its error.
func (s *Set) Create(ctx context.Context, c Class) (*Volume, error) {
	return s.createFor(ctx, c, false)
}

// CreateSpare is Create for compaction, which may use the room that is kept free for it, and for the journal, in which compaction writes.
func (s *Set) CreateSpare(ctx context.Context, c Class) (*Volume, error) {
	return s.createFor(ctx, c, true)
}

func (s *Set) createFor(ctx context.Context, c Class, spare bool) (*Volume, error) {
	if c != Journal && c != Bulk {
		panic(fmt.Sprintf("volume: Create of %v", c))
	}
	if !s.enter() {
		return nil, ErrClosed
	}
	defer s.tasks.Done()
	select {
	case s.creating <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.creating }()
	v := s.takePrepared(c)
	if v == nil {
		var err error
		if v, err = s.make(c, spare); err != nil {
			return nil, fmt.Errorf("create %v volume: %w", c, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[v.ID()] = v // Close waits for us and then closes it.
	return v, nil
}

// enter makes Close wait until tasks.Done is called. It reports false if the Set is closed.
func (s *Set) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.looking {
		return false
	}
	s.tasks.Add(1)
	return true
}

// Prepare sees to it that the next Create of a class has nothing left to do. At most one volume of each
// class is made in advance, in the background.
func (s *Set) Prepare(c Class) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.prepared[c]
	if s.closed || s.looking || p.busy || p.volume != nil || time.Now().Before(p.notUnto) {
		return
	}
	p.busy = true
	s.tasks.Go(func() {
		s.creating <- struct{}{}
		plan := s.plans.Load()
		v, err := s.make(c, false)
		<-s.creating
		s.mu.Lock()
		defer s.mu.Unlock()
		p.busy, p.volume, p.plan = false, v, plan
		if err != nil {
			p.notUnto = time.Now().Add(prepareRetry)
			s.log.Debug("no volume could be prepared", "class", c.String(), "error", err)
		}
	})
}

// takePrepared returns a prepared volume if it is what would be made now. The caller holds the token.
func (s *Set) takePrepared(c Class) *Volume {
	s.mu.Lock()
	v, plan := s.prepared[c].volume, s.prepared[c].plan
	s.prepared[c].volume = nil
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	k, m := s.Geometry()
	if plan != s.plans.Load() || v.M() != m || v.K() > k || slices.ContainsFunc(v.seats.Load().members, (*member).failed) {
		s.release(v)
		return nil
	}
	return v
}

// make makes a volume. The caller holds the token.
func (s *Set) make(c Class, spare bool) (*Volume, error) {
	full := make(map[*member]bool)
	for {
		k, members, err := s.plan(c, s.sample(), full, spare)
		if err != nil {
			return nil, err
		}
		v, err := s.build(c, k, members, full)
		if v != nil || err != nil {
			return v, err
		}
		// Some drive has failed or is full: each round has one less to choose from.
	}
}

// build makes a volume on the given drives. It returns nil and no error when one of them let it down,
// which has then been failed or entered in full.
func (s *Set) build(c Class, k int, members []*member, full map[*member]bool) (*Volume, error) {
	h := header{
		Class: c, Cell: s.opts.Cell, K: k, M: len(members) - k, Epoch: s.epoch, Length: s.length(c), Cluster: s.opts.Cluster,
	}
	for i, m := range members {
		if slices.Contains(members[:i], m) {
			panic("volume: two shards on one drive")
		}
		h.Drives = append(h.Drives, m.drive.ID())
	}
	h.Volume = ID(s.nextNumber())
	v, err := newVolume(s, h)
	if err != nil {
		return nil, err
	}
	files, errs := parallel(s, members, func(i int) (drive.File, error) {
		return s.acquire(members[i], h.Length)
	}, func(f drive.File) {
		if f != nil {
			_ = f.Close() // Of a drive that has failed.
		}
	})
	v.seats.Load().files = files // Nobody else has v yet.
	whole := true
	for i, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			full[members[i]] = true
			whole = false
		default:
			s.fail(members[i], fmt.Errorf("make a segment for %v: %w", v, err))
			whole = false
		}
	}
	if whole {
		s.writeHeaders(v, h)
	}
	s.sample()
	if !whole || slices.ContainsFunc(members, (*member).failed) {
		s.release(v)
		return nil, nil
	}
	return v, nil
}

// acquire returns a segment of the given length on a drive: a free one if there is one, a new one
// otherwise.
func (s *Set) acquire(m *member, length int64) (drive.File, error) {
	for {
		room, err := m.space()
		if err != nil {
			return nil, err
		}
		free, ok := s.takeFree(m, length, room.raw-room.indexRoom())
		if !ok {
			return s.create(m, length)
		}
		f, err := m.drive.Open(free.seg)
		if err != nil {
			return nil, fmt.Errorf("free segment %d: %w", free.seg, err)
		}
		if f.Size() == length {
			return f, nil
		}
		err = m.resize(f, length)
		if err == nil {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return nil, err
		}
		// There is no room to extend it. Without it there is more.
		if err := s.remove(m, free); err != nil {
			return nil, err
		}
	}
}

// takeFree takes the best of a member's free segments for the given length: one that has it, then the
// longest of the shorter ones if raw space is left to extend it, then, if a new one does not fit in that
// space either, the shortest of the longer ones, and last the longest of the shorter ones, whose space
// will serve a new one if it cannot be extended.
func (s *Set) takeFree(m *member, length, raw int64) (freeSegment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same, shorter, longer := -1, -1, -1
	for i, f := range m.free {
		switch {
		case f.size == length:
			same = i
		case f.size < length:
			if shorter < 0 || f.size > m.free[shorter].size {
				shorter = i
			}
		default:
			if longer < 0 || f.size < m.free[longer].size {
				longer = i
			}
		}
	}
	best := -1
	switch {
	case same >= 0:
		best = same
	case shorter >= 0 && raw >= length-m.free[shorter].size:
		best = shorter
	case raw >= length:
	case longer >= 0:
		best = longer
	case shorter >= 0:
		best = shorter
	}
	if best < 0 {
		return freeSegment{}, false
	}
	f := m.free[best]
	m.free = slices.Delete(m.free, best, best+1)
	return f, true
}

func (s *Set) create(m *member, length int64) (drive.File, error) {
	s.mu.Lock()
	seg := m.next
	m.next++
	m.segments++
	s.mu.Unlock()
	f, err := m.drive.Create(seg, length)
	if err != nil {
		s.mu.Lock()
		m.segments--
		s.mu.Unlock()
		return nil, err
	}
	m.held.Add(length)
	return f, nil
}

// resize gives a segment of the member another length.
func (m *member) resize(f drive.File, length int64) error {
	before := f.Size()
	err := f.Resize(length)
	m.held.Add(f.Size() - before)
	return err
}

// remove removes a segment that is neither in a volume nor in the free list.
func (s *Set) remove(m *member, f freeSegment) error {
	if err := m.drive.Remove(f.seg); err != nil {
		return err
	}
	m.held.Add(-f.size)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.segments--
	return nil
}

// writeHeaders writes the header of every segment that v has on a healthy drive. Drives that do not take
// it are failed.
func (s *Set) writeHeaders(v *Volume, h header) {
	p := v.seats.Load()
	_, errs := parallel(s, p.members, func(i int) (struct{}, error) {
		f := p.file(i)
		if f == nil {
			return struct{}{}, nil
		}
		h := h
		h.Shard = i
		return struct{}{}, s.writeHeader(f, h)
	}, nil)
	for i, err := range errs {
		if err != nil {
			s.fail(p.members[i], fmt.Errorf("header of %v: %w", v, err))
		}
	}
}

// writeHeader writes the header of one segment. It waits for the drive as long as that takes.
func (s *Set) writeHeader(f drive.File, h header) error {
	h.Seg = f.Seg()
	block, release := s.block()
	defer release() // Not before the drive is done with it, even if nobody waits for us any more.
	h.AppendTo(block[:0])
	return drive.Do(context.Background(), &drive.Op{Kind: drive.Write, File: f, Bufs: [][]byte{block}})
}

// block returns a block of memory for a header. It never waits: uploads may hold all of the arena while
// they wait for the volume that the header is for.
func (s *Set) block() (block []byte, release func()) {
	if s.opts.Arena != nil {
		if buf := s.opts.Arena.TryGet(headerLen); buf != nil {
			return buf.Bytes(), buf.Release
		}
	}
	return drive.Aligned(headerLen), func() {}
}

// Free gives the segments of a volume up to be used again. It fails if the volume is pinned or gone.
// Drives that fail on the way keep their segment; it is free when they come back and the volume,
// found again, is freed again.
func (s *Set) Free(v *Volume) error {
	if s.unconfirmed(v, func() { _ = s.Free(v) }) { // If it fails, the volume stays, and whoever counts what is live frees it again.
		return nil
	}
	if !v.pins.CompareAndSwap(0, freed) {
		if v.pins.Load() < 0 {
			return fmt.Errorf("free %v: %w", v, ErrFreed)
		}
		return fmt.Errorf("free %v: %w, by %d", v, ErrPinned, v.Pins())
	}
	if !s.enter() {
		v.pins.Store(0)
		return fmt.Errorf("free %v: %w", v, ErrClosed)
	}
	defer s.tasks.Done()
	s.mu.Lock()
	delete(s.volumes, v.ID())
	s.mu.Unlock()
	s.release(v)
	return nil
}

// release writes to the segments of v that they are free, and enters those where that succeeded in the
// free lists. A segment whose drive is short of room for the index is removed instead.
func (s *Set) release(v *Volume) {
	p := v.seats.Load()
	h := v.header
	h.Class, h.Drives, h.Placed = classFree, p.drives, p.placed
	s.writeHeaders(v, h)
	_, errs := parallel(s, p.members, func(i int) (struct{}, error) {
		if p.files[i] == nil {
			return struct{}{}, nil
		}
		return struct{}{}, s.giveBack(p.members[i], p.files[i])
	}, nil)
	for i, err := range errs {
		if err != nil {
			s.fail(p.members[i], fmt.Errorf("free a segment of %v: %w", v, err))
		}
	}
	s.sample()
}

// giveBack closes a segment and enters it in the free list, if its drive has not failed. Its header says that it is free.
func (s *Set) giveBack(m *member, f drive.File) error {
	seg, size := f.Seg(), f.Size()
	if err := f.Close(); err != nil || m.failed() {
		return err
	}
	room, err := m.space()
	if err != nil {
		return err
	}
	if room.raw < room.indexRoom() {
		return s.remove(m, freeSegment{seg, size})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.free = append(m.free, freeSegment{seg, size})
	return nil
}

// nextNumber returns an id that nothing had before: of a volume, or of a placement.
func (s *Set) nextNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	if s.sequence == 0 {
		panic("volume: 2^32 volumes in one epoch")
	}
	return uint64(s.epoch)<<32 | uint64(s.sequence)
}
