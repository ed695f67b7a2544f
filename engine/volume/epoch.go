package volume

import (
	"errors"
	"fmt"
	"slices"

	"penstock/engine/drive"
)

// checkIdentities refuses drives of other stores and cells, and drives that went on without the others. It
// returns the identity with the history of starts that goes on now.
func (s *Set) checkIdentities(found []scanned) (*drive.Identity, error) {
	// By drive: epochs of its live segments. When a shard was moved does not matter: what it holds is what it was.
	live := make([]map[uint32]bool, len(found))
	used := make(map[drive.Start]bool)
	for i, m := range s.members {
		if m.failed() {
			continue
		}
		id := &found[i].identity
		if err := s.checkIdentity(m, id); err != nil {
			return nil, err
		}
		live[i] = make(map[uint32]bool)
		for _, f := range found[i].segments {
			if f.err == nil && f.header.Class != classFree {
				live[i][f.header.Epoch] = true
			}
		}
		for _, start := range id.Starts {
			if live[i][start.Epoch] {
				used[start] = true
			}
		}
	}
	// A start that made nothing was interrupted while it began, or did not matter; the others may have
	// taken the same epoch again since. So the latest history is the one with the latest start that did.
	lastUsed := func(id *drive.Identity) uint32 {
		for _, start := range slices.Backward(id.Starts) {
			if used[start] {
				return start.Epoch
			}
		}
		return 0
	}
	var latest *drive.Identity
	for i, m := range s.members {
		if id := &found[i].identity; !m.failed() && (latest == nil || lastUsed(id) > lastUsed(latest)) {
			latest = id
		}
	}
	if latest == nil {
		return nil, s.noDrives()
	}
	for i, m := range s.members {
		if m.failed() {
			continue
		}
		for _, start := range found[i].identity.Starts {
			if live[i][start.Epoch] && !knows(latest, start) {
				return nil, &drive.RefusedError{
					Path: m.drive.Path(), Reason: drive.Damaged,
					What: fmt.Sprintf("was written to in a start (epoch %d) that drive %v does not know of: the two went on without each other",
						start.Epoch, latest.Drive),
					Right: "start with the drives whose content is to be kept, and give the others back empty",
				}
			}
		}
	}
	return latest, nil
}

// knows reports whether a history names a start, or does not reach back that far.
func knows(id *drive.Identity, start drive.Start) bool {
	if len(id.Starts) >= drive.MaxStarts && start.Epoch < id.Starts[0].Epoch {
		return true
	}
	return slices.Contains(id.Starts, start)
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
func (s *Set) begin(found []scanned, latest *drive.Identity) error {
	known := make(map[drive.ID]bool)
	for _, id := range s.opts.Known {
		known[id] = true
	}
	highest := uint32(0)
	for i, m := range s.members {
		known[m.drive.ID()] = true
		for _, id := range found[i].identity.Known {
			known[id] = true
		}
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
	ids := make([]drive.ID, 0, len(known))
	for id := range known {
		ids = append(ids, id)
		if s.member(id) == nil {
			s.missing = append(s.missing, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	slices.SortFunc(s.missing, compareIDs)
	next := drive.Identity{Starts: slices.Clone(latest.Starts)}
	next.AddStart(drive.Start{Epoch: s.epoch, Run: drive.NewID()})
	_, errs := parallel(s, s.members, func(i int) (struct{}, error) {
		if s.members[i].failed() {
			return struct{}{}, nil
		}
		id := found[i].identity
		id.Known, id.Starts = ids, next.Starts
		return struct{}{}, drive.WriteIdentity(s.members[i].drive, id)
	}, nil)
	for i, err := range errs {
		if err != nil {
			s.fail(s.members[i], fmt.Errorf("begin epoch %d: %w", s.epoch, err))
		}
	}
	if len(s.healthy()) == 0 {
		return s.noDrives()
	}
	return nil
}
