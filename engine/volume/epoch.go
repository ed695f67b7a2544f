package volume

import (
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
)

// checkIdentities refuses drives of other stores and cells, and drives that went on without the others. It
// returns the history of starts that goes on now, and marks the segments that are no part of it.
func (s *Set) checkIdentities(found []scanned) (history, error) {
	var pasts []past
	var of []int // Member of each.
	for i, m := range s.all() {
		if m.failed() {
			continue
		}
		id := &found[i].identity
		if err := s.checkIdentity(m, id); err != nil {
			return history{}, err
		}
		pasts, of = append(pasts, pastOf(id)), append(of, i)
	}
	if len(pasts) == 0 {
		return history{}, s.noDrives()
	}
	h, latest, stranger := reconcile(pasts)
	if stranger >= 0 {
		start, _ := last(pasts[stranger].starts)
		return history{}, &drive.RefusedError{
			Path: s.all()[of[stranger]].drive.Path(), Reason: drive.Damaged,
			What: fmt.Sprintf("took part in a start (epoch %d) that drive %v does not know of: the two went on without each other",
				start.Epoch, found[of[latest]].identity.Drive),
			Right: "start with the drives whose content is to be kept, and give the others back empty",
		}
	}
	for i, p := range pasts {
		s.all()[of[i]].noteBehind(p, h)
		for j := range found[of[i]].segments {
			f := &found[of[i]].segments[j]
			f.void = f.err == nil && f.header.Class != classFree && p.void(f.header.Epoch, h)
		}
	}
	return h, nil
}

func (s *Set) checkIdentity(m *member, id *drive.Identity) error {
	refusal := &drive.RefusedError{Path: m.drive.Path()}
	switch {
	case id.Cluster != s.opts.Cluster:
		refusal.Reason, refusal.Right = drive.OtherCluster, "give the drives of one store"
		refusal.What = fmt.Sprintf("belongs to cluster %v, not to %v", id.Cluster, s.opts.Cluster)
	case id.Cell != s.opts.Cell:
		refusal.Reason, refusal.Right = drive.OtherCluster, "let the cell that it belongs to serve it"
		refusal.What = fmt.Sprintf("belongs to cell %d, not to cell %d", id.Cell, s.opts.Cell)
	case id.Drive != m.drive.ID():
		refusal.Reason, refusal.Right = drive.Damaged, "take the drive out"
		refusal.What = fmt.Sprintf("has changed its id from %v to %v", m.drive.ID(), id.Drive)
	default:
		return nil
	}
	return refusal
}

// begin takes the epoch after the highest that is to be seen anywhere, and makes it durable on all healthy
// drives before anything can bear it.
func (s *Set) begin(found []scanned, h history) error {
	highest := uint32(0)
	for i := range found {
		highest = max(highest, found[i].identity.Epoch())
		for _, f := range found[i].segments {
			if f.err == nil {
				highest = max(highest, f.header.Epoch, uint32(f.header.Placed>>32))
			}
		}
	}
	if highest == 1<<32-1 {
		return errors.New("volume: no epoch is left")
	}
	s.epoch = highest + 1
	s.discard(found)
	start := drive.Start{Epoch: s.epoch, Run: drive.NewID()}
	for i, m := range s.all() {
		m.identity = found[i].identity
		m.identity.Begin(h.confirmed, h.unconfirmed, start)
	}
	return s.writeIdentities(fmt.Sprintf("begin epoch %d", s.epoch))
}

// discard frees the segments of starts that came to nothing. It is done before the drives forget these starts.
func (s *Set) discard(found []scanned) {
	void := make([][]scannedSegment, len(found))
	for i := range found {
		for j := range found[i].segments {
			if f := &found[i].segments[j]; f.void {
				void[i] = append(void[i], *f)
				f.file = nil
			}
		}
	}
	members := s.all()
	_, errs := parallel(s, members, func(i int) (struct{}, error) {
		for _, f := range void[i] {
			if err := s.freeSegment(members[i], f.file, f.header); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	}, nil)
	for i, err := range errs {
		if err != nil {
			s.fail(members[i], fmt.Errorf("free what an interrupted start has left: %w", err))
		}
	}
}

// writeIdentities makes what the members say of themselves, with the roster as it is now, durable on all healthy drives. It
// fails if there are none. Drives that do not take it are failed.
//
// A drive that the roster lets go is told last: if power failed while it alone knew, the next start would refuse it, and the others
// would miss it.
func (s *Set) writeIdentities(why string) error {
	roster := s.currentRoster()
	var staying, leaving []*member
	for _, m := range s.all() {
		if slices.Contains(roster.Known, m.drive.ID()) {
			staying = append(staying, m)
		} else {
			leaving = append(leaving, m)
		}
	}
	for _, members := range [][]*member{staying, leaving} {
		_, errs := parallel(s, members, func(i int) (struct{}, error) {
			m := members[i]
			if m.failed() {
				return struct{}{}, nil
			}
			id := m.identity
			id.Roster = roster
			return struct{}{}, drive.WriteIdentity(m.drive, id)
		}, nil)
		for i, err := range errs {
			if err != nil {
				s.fail(members[i], fmt.Errorf("%s: %w", why, err))
			}
		}
		if !slices.ContainsFunc(staying, func(m *member) bool { return !m.failed() }) {
			return s.noDrives()
		}
	}
	return nil
}

// Confirm says that the start has succeeded: from now on something may be acknowledged. Until then nothing that was there before is
// changed, so that a start which is interrupted counts for nothing: what is to be trimmed or freed meanwhile is when Confirm is called.
func (s *Set) Confirm() error {
	s.changing <- struct{}{}
	defer func() { <-s.changing }()
	if s.confirmed.Load() {
		return nil
	}
	for _, m := range s.all() {
		m.identity.Confirm()
		if !m.failed() {
			s.history = m.identity.Starts // The same for all.
		}
	}
	if err := s.writeIdentities(fmt.Sprintf("confirm epoch %d", s.epoch)); err != nil {
		return err
	}
	s.mu.Lock()
	s.confirmed.Store(true)
	deferred := s.deferred
	s.deferred = nil
	s.mu.Unlock()
	if !s.enter() {
		return ErrClosed
	}
	go func() {
		defer s.tasks.Done()
		for _, f := range deferred {
			f()
		}
	}()
	return nil
}

// unconfirmed puts f off until Confirm, and reports whether it has: the start is not confirmed, and v is older.
func (s *Set) unconfirmed(v *Volume, f func()) bool {
	if s.confirmed.Load() || s.looking || v.Epoch() == s.epoch {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed.Load() {
		return false
	}
	s.deferred = append(s.deferred, f)
	return true
}
