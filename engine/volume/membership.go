package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
)

// The drives of a cell change while it serves. Who they are is the roster, and every drive has it in its drive.json; a change is written to
// all healthy drives before it counts, and a start goes by the latest roster that any of its drives has. So after a crash the
// change has happened or it has not, whichever drives come back: one that has the old roster was away.

var (
	// ErrUnknownDrive says that no drive of the cell has this id.
	ErrUnknownDrive = errors.New("no drive of this store has that id")
	// ErrOccupied says that something still lies on a drive.
	ErrOccupied = errors.New("the drive is not empty")
	// ErrLastDrive says that the drives left could hold nothing.
	ErrLastDrive = errors.New("no other drive is healthy")
)

// currentRoster returns the roster. The caller must not change it.
func (s *Set) currentRoster() drive.Roster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roster
}

// publish makes members those of the Set. It returns how many file systems they are on.
func (s *Set) publish(members []*member) int {
	slices.SortFunc(members, func(a, b *member) int { return compareIDs(a.drive.ID(), b.drive.ID()) })
	shares := make(map[uint64]int32)
	for _, m := range members {
		shares[m.drive.Device()]++
	}
	for _, m := range members {
		m.shares.Store(shares[m.drive.Device()])
	}
	s.members.Store(&members)
	return len(shares)
}

// gatherRoster finds the roster that holds at a start, and refuses drives that are not on it.
func (s *Set) gatherRoster(found []scanned) error {
	r := drive.Roster{}
	for i, m := range s.all() {
		if !m.failed() {
			r = r.Merge(found[i].identity.Roster)
		}
	}
	for _, m := range s.all() {
		id := m.drive.ID()
		switch {
		case slices.Contains(r.Removed, id):
			return RemovedError(m.drive.Path(), id)
		case !slices.Contains(r.Known, id):
			return unknownError(m.drive.Path(), id)
		}
		m.draining.Store(slices.Contains(r.Draining, id))
	}
	for _, id := range s.opts.Known {
		if !slices.Contains(r.Known, id) && !slices.Contains(r.Removed, id) {
			r.Known = append(slices.Clone(r.Known), id)
		}
	}
	r = r.Clone()
	slices.SortFunc(r.Known, compareIDs)
	for _, m := range s.all() {
		r.At(m.drive.ID(), m.drive.Path())
	}
	s.roster = r
	return nil
}

func unknownError(path string, id drive.ID) error {
	return &drive.RefusedError{
		Path: path, Reason: drive.OtherCluster, What: fmt.Sprintf("is drive %v of this cluster, and not one of this store's drives", id),
		Right: "take it away, or add it while the store serves",
	}
}

// RemovedError is the refusal of a drive that was taken out of the store.
func RemovedError(path string, id drive.ID) error {
	return &drive.RefusedError{
		Path: path, Reason: drive.Removed,
		What:  fmt.Sprintf("is drive %v, which was removed from this store", id),
		Right: "empty it, and add it as a new drive if it is to be used again",
	}
}

// change makes a change to the roster durable. The caller has the token of changing.
func (s *Set) change(why string, edit func(*drive.Roster)) error {
	old := s.currentRoster()
	next := old.Clone()
	edit(&next)
	slices.SortFunc(next.Known, compareIDs)
	next.Revision = max(old.Revision, uint64(s.epoch)<<32) + 1
	s.mu.Lock()
	s.roster = next
	s.mu.Unlock()
	return s.writeIdentities(why)
}

// begin takes the token of changing and keeps the Set open. done must follow.
func (s *Set) beginChange(ctx context.Context) (done func(), err error) {
	if !s.enter() {
		return nil, ErrClosed
	}
	select {
	case s.changing <- struct{}{}:
	case <-ctx.Done():
		s.tasks.Done()
		return nil, context.Cause(ctx)
	}
	done = func() {
		<-s.changing
		s.tasks.Done()
	}
	if !s.confirmed.Load() {
		done()
		return nil, errors.New("volume: the start is not confirmed")
	}
	return done, nil
}

// Add makes a drive part of the cell. It must be formatted for the cell and hold nothing. From then on new volumes use it. It stays the
// caller's to close, after the Set or after Remove.
func (s *Set) Add(ctx context.Context, d drive.Drive) error {
	done, err := s.beginChange(ctx)
	if err != nil {
		return err
	}
	defer done()
	m := &member{drive: d}
	id, err := s.askIdentity(m)
	if err != nil {
		return err
	}
	roster := s.currentRoster()
	switch {
	case slices.Contains(roster.Removed, id.Drive):
		return RemovedError(d.Path(), id.Drive)
	case slices.Contains(roster.Known, id.Drive):
		return &drive.RefusedError{Path: d.Path(), Reason: drive.Duplicate, What: fmt.Sprintf("is drive %v of this store already", id.Drive)}
	}
	segs, err := d.Segments()
	if err != nil {
		return err
	}
	if len(segs) > 0 {
		return &drive.RefusedError{
			Path: d.Path(), Reason: drive.Damaged, What: fmt.Sprintf("holds %d segments, and is no drive of this store", len(segs)),
			Right: "give an empty directory",
		}
	}
	// The drive first: a drive of the roster that does not know so itself would be missing for ever.
	m.identity = id
	m.identity.Starts, m.identity.Base, m.identity.Pending = s.history, nil, nil
	add := func(r *drive.Roster) {
		r.Known = append(r.Known, id.Drive)
		r.At(id.Drive, d.Path())
	}
	first := roster.Clone()
	add(&first)
	slices.SortFunc(first.Known, compareIDs)
	first.Revision = max(roster.Revision, uint64(s.epoch)<<32) + 1
	own := m.identity
	own.Roster = first
	if _, errs := parallel(s, []*member{m}, func(int) (struct{}, error) { return struct{}{}, drive.WriteIdentity(d, own) }, nil); errs[0] != nil {
		return errs[0]
	}
	if err := s.change("add a drive", add); err != nil {
		return err
	}
	s.publish(append(slices.Clone(s.all()), m))
	s.log.Info("a drive has joined", "drive", d.Path(), "id", id.Drive.String())
	s.replan()
	return nil
}

// askIdentity reads what a drive says of itself, and refuses one of another store or cell.
func (s *Set) askIdentity(m *member) (drive.Identity, error) {
	ids, errs := parallel(s, []*member{m}, func(int) (drive.Identity, error) { return drive.ReadIdentity(m.drive) }, nil)
	if errs[0] != nil {
		return drive.Identity{}, errs[0]
	}
	return ids[0], s.checkIdentity(m, &ids[0])
}

// replan looks at the space anew and gives up the volumes that were made in advance, or are being made: another would be made now.
func (s *Set) replan() {
	s.plans.Add(1)
	s.sample()
	s.mu.Lock()
	var spare []*Volume
	for c := range s.prepared {
		if v := s.prepared[c].volume; v != nil {
			spare = append(spare, v)
			s.prepared[c].volume = nil
		}
	}
	s.mu.Unlock()
	for _, v := range spare {
		s.release(v)
	}
}

// Drain keeps a drive from getting anything new, or lets it have some again. With leave it is to be removed when it is empty. Whoever
// moves what is on it is not this package.
func (s *Set) Drain(ctx context.Context, id drive.ID, drain, leave bool) error {
	done, err := s.beginChange(ctx)
	if err != nil {
		return err
	}
	defer done()
	m := s.member(id)
	switch roster := s.currentRoster(); {
	case !slices.Contains(roster.Known, id):
		return fmt.Errorf("%v: %w", id, ErrUnknownDrive)
	case drain && !slices.ContainsFunc(s.all(), func(o *member) bool { return o != m && o.usable() }):
		return ErrLastDrive
	case drain == slices.Contains(roster.Draining, id) && leave == slices.Contains(roster.Leaving, id):
		return nil
	}
	if m != nil {
		m.draining.Store(drain) // Before it is known to be: nothing new may come to it afterwards.
	}
	err = s.change("drain a drive", func(r *drive.Roster) {
		setMember(&r.Draining, id, drain)
		setMember(&r.Leaving, id, drain && leave)
	})
	s.replan()
	return err
}

func setMember(list *[]drive.ID, id drive.ID, in bool) {
	*list = slices.DeleteFunc(*list, func(o drive.ID) bool { return o == id })
	if in {
		*list = append(*list, id)
	}
}

// Holds returns how many volumes have a shard whose place is on a drive, and how many other segments there are in use. For a drive that is not
// here, these are the shards that are not yet anywhere else.
func (s *Set) Holds(id drive.ID) (shards, others int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := func(v *Volume) {
		if slices.Contains(v.seats.Load().drives, id) {
			shards++
		}
		for _, r := range v.moving {
			if r.target != nil && r.target.drive.ID() == id {
				others++
			}
		}
	}
	for _, v := range s.volumes {
		count(v)
	}
	for _, p := range s.prepared {
		if p.volume != nil {
			count(p.volume)
		}
		if p.busy {
			others++ // Perhaps there.
		}
	}
	for r := range s.retired {
		if r.member.drive.ID() == id {
			others++
		}
	}
	return shards, others
}

// Draining reports whether a drive takes nothing new.
func (s *Set) Draining(id drive.ID) bool { return slices.Contains(s.currentRoster().Draining, id) }

// Roster returns who the drives of the cell are. The caller must not change it.
func (s *Set) Roster() drive.Roster { return s.currentRoster() }

// Remove takes a drive out of the cell, for ever: one that holds nothing any more, or, with force, one that is missing or has failed, whose
// shards are lost then. The caller closes the drive, after what is returned.
func (s *Set) Remove(ctx context.Context, id drive.ID, force bool) (*Gone, error) {
	done, err := s.beginChange(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	roster := s.currentRoster()
	if !slices.Contains(roster.Known, id) {
		return nil, fmt.Errorf("%v: %w", id, ErrUnknownDrive)
	}
	// Nobody plans a volume meanwhile.
	select {
	case s.creating <- struct{}{}:
		defer func() { <-s.creating }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m := s.member(id)
	if m != nil && m.usable() {
		return nil, fmt.Errorf("drive %v is in use: drain it first: %w", id, ErrOccupied)
	}
	lost := force && (m == nil || m.failed())
	if shards, others := s.Holds(id); others > 0 || shards > 0 && !lost {
		return nil, fmt.Errorf("drive %v holds %d shards and %d other segments: %w", id, shards, others, ErrOccupied)
	}
	if len(slices.DeleteFunc(s.healthy(), func(o *member) bool { return o == m })) == 0 {
		return nil, ErrLastDrive
	}
	err = s.change("remove a drive", func(r *drive.Roster) {
		r.Known = slices.DeleteFunc(r.Known, func(o drive.ID) bool { return o == id })
		setMember(&r.Removed, id, true)
		setMember(&r.Draining, id, false)
		setMember(&r.Leaving, id, false)
		delete(r.Paths, id)
	})
	if err != nil {
		return nil, err
	}
	gone := &Gone{}
	if m != nil {
		gone.Drive = m.drive
		s.publish(slices.DeleteFunc(slices.Clone(s.all()), func(o *member) bool { return o == m }))
		s.unseat(m, gone)
	}
	s.log.Info("a drive has left", "id", id.String())
	s.replan()
	return gone, nil
}

// unseat takes a drive that is gone for good out of every volume: its places there are nobody's. Its segments are handed to gone.
func (s *Set) unseat(m *member, gone *Gone) {
	for _, v := range s.Volumes() {
		if !v.Pin() {
			continue // Whoever freed it closes its segments.
		}
		v.placing <- struct{}{}
		p := v.seats.Load()
		if i := slices.Index(p.members, m); i >= 0 {
			q := *p
			q.members, q.files = slices.Clone(p.members), slices.Clone(p.files)
			if q.files[i] != nil {
				gone.files = append(gone.files, q.files[i])
			}
			q.members[i], q.files[i] = nil, nil
			v.seats.Store(&q)
		}
		<-v.placing
		v.Unpin()
	}
}
