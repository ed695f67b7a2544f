package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"penstock/engine/drive"
)

var (
	// ErrNoTarget says that no drive can take a shard: each healthy one with room has another shard of the volume.
	ErrNoTarget = errors.New("no drive is free for the shard")
	// ErrMoving says that the shard is being moved already.
	ErrMoving = errors.New("the shard is being moved")
)

// ReplaceOptions say where a shard goes.
type ReplaceOptions struct {
	Target drive.ID // The drive that takes it; zero leaves the choice to the Set.
	Length int64    // Of the segment, header included; 0 means as long as the longest of the volume is now.
	Back   bool     // The drive that has the shard now may take it, if no other can: its segment is not sound.
}

// Replacement is the move of one shard of a volume to another segment. Until Commit that segment is free to
// everyone but its owner, and after a crash to everyone.
type Replacement struct {
	set    *Set
	vol    *Volume
	shard  int
	target *member
	file   drive.File
}

// Replace begins to move shard i of v to a healthy drive that has no shard of v: of another failure domain than the others if there
// is one, and with the most room. Nothing is written to the volume any more. The caller writes all that counts of
// the shard to File, from Start on, and ends with Commit or Abort. Meanwhile the volume is pinned.
func (s *Set) Replace(ctx context.Context, v *Volume, i int, opts ReplaceOptions) (*Replacement, error) {
	if i < 0 || i >= v.N() {
		panic(fmt.Sprintf("volume: Replace of shard %d of %d", i, v.N()))
	}
	if !s.enter() {
		return nil, ErrClosed
	}
	if !v.Pin() {
		s.tasks.Done()
		return nil, fmt.Errorf("replace shard %d of %v: %w", i, v, ErrFreed)
	}
	r := &Replacement{set: s, vol: v, shard: i}
	if err := r.begin(ctx, opts); err != nil {
		r.end()
		return nil, fmt.Errorf("replace shard %d of %v: %w", i, v, err)
	}
	return r, nil
}

// begin finds a drive and a segment.
func (r *Replacement) begin(ctx context.Context, opts ReplaceOptions) error {
	s := r.set
	length := opts.Length
	if length == 0 {
		length = r.vol.longest()
	}
	if length < headerLen || length > r.vol.Capacity() || length%drive.BlockLen != 0 {
		return fmt.Errorf("a segment of %d bytes, the volume has %d", length, r.vol.Capacity())
	}
	// Two do not plan with the same room.
	select {
	case s.creating <- struct{}{}:
		defer func() { <-s.creating }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	full := make(map[*member]bool)
	for {
		if err := r.choose(s.sample(), length, opts, full); err != nil {
			return err
		}
		files, errs := parallel(s, []*member{r.target}, func(int) (drive.File, error) {
			return s.acquire(r.target, length)
		}, func(f drive.File) {
			if f != nil {
				_ = f.Close() // Of a drive that has failed.
			}
		})
		switch err := errs[0]; {
		case err == nil:
			r.file = files[0]
			s.sample()
			return nil
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			full[r.target] = true
		default:
			s.fail(r.target, fmt.Errorf("make a segment for shard %d of %v: %w", r.shard, r.vol, err))
		}
	}
}

// longest returns the length of the longest segment that the volume has now.
func (v *Volume) longest() int64 {
	n := int64(0)
	for _, f := range v.seats.Load().files {
		if f != nil {
			n = max(n, f.Size())
		}
	}
	if n == 0 {
		return v.Capacity()
	}
	return n
}

// choose sets r.target, and enters r among the moves of its volume. Drives in full are taken to have no room.
func (r *Replacement) choose(space *spaceSample, length int64, opts ReplaceOptions, full map[*member]bool) error {
	s, v := r.set, r.vol
	s.mu.Lock()
	defer s.mu.Unlock()
	v.moving = slices.DeleteFunc(v.moving, func(o *Replacement) bool { return o == r })
	p := v.seats.Load()
	used := make(map[drive.ID]bool) // Drives of other shards, as they are or will be.
	domains := make(map[uint64]int) // Of these, by device.
	use := func(id drive.ID, m *member) {
		used[id] = true
		if m != nil {
			domains[m.drive.Device()]++
		}
	}
	for i, id := range p.drives {
		if i != r.shard {
			use(id, p.members[i])
		}
	}
	for _, o := range v.moving {
		if o.shard == r.shard {
			return ErrMoving
		}
		use(o.target.drive.ID(), o.target)
	}
	var best *member
	var bestFree int64
	rank := func(m *member) int { // Lower is better.
		if m.drive.ID() == p.drives[r.shard] {
			return 1 << 20 // Back only if there is no other.
		}
		return domains[m.drive.Device()]
	}
	for _, m := range s.all() {
		id := m.drive.ID()
		raw := space.of(m).raw
		switch {
		case !m.usable(), used[id], full[m], !s.hasRoomFor(space, m, v.Class(), length, false):
			continue
		case !opts.Target.IsZero():
			if id != opts.Target {
				continue
			}
		case id == p.drives[r.shard] && !opts.Back:
			continue
		}
		free := raw + m.freeLen()
		if best == nil || cmp.Or(cmp.Compare(rank(m), rank(best)), cmp.Compare(bestFree, free)) < 0 {
			best, bestFree = m, free
		}
	}
	if best == nil {
		return ErrNoTarget
	}
	r.target = best
	v.moving = append(v.moving, r)
	return nil
}

// File returns the segment to write to. It belongs to the Replacement.
func (r *Replacement) File() drive.File { return r.file }

// Volume returns the volume.
func (r *Replacement) Volume() *Volume { return r.vol }

// Shard returns which shard is replaced.
func (r *Replacement) Shard() int { return r.shard }

// Commit makes the segment the shard: on the drive, and then to everyone who asks the volume. All that was written to it is
// durable, so a crash leaves the old segment in its place, or the new one, whole. It returns what the shard was before, or nil if there
// was nothing. After an error the Replacement is over, too, and nothing has changed.
func (r *Replacement) Commit() (*Retired, error) {
	defer r.end()
	s, v := r.set, r.vol
	v.placing <- struct{}{}
	defer func() { <-v.placing }()
	old := v.seats.Load()
	next := old.with(r.shard, s.nextNumber(), r.target, r.file)
	h := v.header
	h.Shard, h.Drives, h.Placed = r.shard, next.drives, next.placed
	_, errs := parallel(s, []*member{r.target}, func(int) (struct{}, error) {
		return struct{}{}, s.writeHeader(r.file, h)
	}, nil)
	if err := errs[0]; err != nil {
		// Perhaps it did reach the drive: then the next start finds the shard there, and it is right.
		err = fmt.Errorf("header of shard %d of %v: %w", r.shard, v, err)
		s.fail(r.target, err)
		_ = r.file.Close() // Of a drive that has failed.
		return nil, err
	}
	v.seats.Store(next)
	if old.files[r.shard] == nil {
		return nil, nil
	}
	t := &Retired{set: s, member: old.members[r.shard], file: old.files[r.shard], header: v.header}
	t.header.Shard, t.header.Drives, t.header.Placed = r.shard, old.drives, old.placed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired[t] = true
	return t, nil
}

// Abort gives the segment up: it is free again.
func (r *Replacement) Abort() {
	defer r.end()
	_, errs := parallel(r.set, []*member{r.target}, func(int) (struct{}, error) {
		return struct{}{}, r.set.giveBack(r.target, r.file)
	}, nil)
	if errs[0] != nil {
		r.set.fail(r.target, fmt.Errorf("free segment %d: %w", r.file.Seg(), errs[0]))
	}
}

// end lets go of the volume and the Set.
func (r *Replacement) end() {
	r.set.mu.Lock()
	r.vol.moving = slices.DeleteFunc(r.vol.moving, func(o *Replacement) bool { return o == r })
	r.set.mu.Unlock()
	r.vol.Unpin()
	r.set.tasks.Done()
}

// Retired is a segment whose place another one has taken. Its file stays open, and what it holds stays as it was, for those who took it
// from the volume before. A crash frees it.
type Retired struct {
	set    *Set
	member *member
	file   drive.File
	header header
}

// Free gives the segment up to be used again, once nobody uses it any more. It does nothing after Close of the Set.
func (t *Retired) Free() {
	s := t.set
	if !s.enter() {
		return
	}
	defer s.tasks.Done()
	s.freeAll([]*Retired{t})
	s.sample()
}

// freeAll frees those of the segments that are not free yet, all at once.
func (s *Set) freeAll(list []*Retired) {
	var mine []*Retired
	var members []*member
	s.mu.Lock()
	for _, t := range list {
		if s.retired[t] {
			delete(s.retired, t)
			mine, members = append(mine, t), append(members, t.member)
		}
	}
	s.mu.Unlock()
	_, errs := parallel(s, members, func(i int) (struct{}, error) {
		return struct{}{}, s.freeSegment(mine[i].member, mine[i].file, mine[i].header)
	}, nil)
	for i, err := range errs {
		if err != nil {
			s.fail(members[i], fmt.Errorf("free segment %d: %w", mine[i].file.Seg(), err))
		}
	}
}

// HeaderWrong reports whether the header of a shard's segment is not what it should be. Who reads the segment does not need it, but the next start
// does.
func (s *Set) HeaderWrong(ctx context.Context, v *Volume, i int) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, ErrTimeout)
	defer cancel()
	p := v.seats.Load()
	f := p.file(i)
	if f == nil {
		return false, fmt.Errorf("shard %d of %v: %w", i, v, ErrNoDrives)
	}
	block := drive.Aligned(headerLen)
	if err := drive.Do(ctx, &drive.Op{Kind: drive.Read, File: f, Bufs: [][]byte{block}}); err != nil {
		return false, err
	}
	if v.seats.Load() != p {
		return false, nil // Moved meanwhile.
	}
	h, err := parseHeader(block)
	return err != nil || h.Class != v.Class() || h.Volume != v.ID() || h.Shard != i || h.Seg != f.Seg() || h.Drives[i] != p.drives[i], nil
}

// MendHeader writes the header of a shard's segment again. A drive that does not take it is given up. The caller has pinned v.
func (s *Set) MendHeader(v *Volume, i int) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.tasks.Done()
	v.placing <- struct{}{} // The placement must not change while it is written.
	defer func() { <-v.placing }()
	p := v.seats.Load()
	f := p.file(i)
	if f == nil {
		return fmt.Errorf("shard %d of %v: %w", i, v, ErrNoDrives)
	}
	// Placed anew: where all shards are may not be what any header says so far.
	next := *p
	next.placed = s.nextNumber()
	h := v.header
	h.Shard, h.Drives, h.Placed = i, next.drives, next.placed
	_, errs := parallel(s, p.members[i:i+1], func(int) (struct{}, error) {
		return struct{}{}, s.writeHeader(f, h)
	}, nil)
	if errs[0] != nil {
		s.fail(p.members[i], fmt.Errorf("header of %v: %w", v, errs[0]))
		return errs[0]
	}
	v.seats.Store(&next)
	return nil
}
