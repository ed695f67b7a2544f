package volume

import (
	"cmp"
	"slices"

	"penstock/engine/drive"
)

// A store goes on from what its drives know of the starts before. Each drive keeps
//
//   - starts: the starts that were confirmed while it took part, and those before them. Something may have been acknowledged in
//     each of them, and none of them before every drive that took part had it in this list;
//   - pending: starts that were not confirmed. Nothing was acknowledged in one that is on no drive's first list, and none has
//     changed or removed anything that was there before. base is what they went on from: more than starts, if the drive had missed something
//     and did not get what it had missed, because the start came to nothing.
//
// So an interrupted start binds nobody, whichever drives it reached, while two drives whose first lists do not lead one to the other have each
// been part of something that the other does not have.

// past is what one drive knows.
type past struct{ starts, base, pending []drive.Start }

func pastOf(id *drive.Identity) past { return past{id.Starts, id.Confirmed(), id.Pending} }

// history is what a start goes on from.
type history struct{ confirmed, unconfirmed []drive.Start }

// last returns the last start of a list, or none.
func last(starts []drive.Start) (drive.Start, bool) {
	if len(starts) == 0 {
		return drive.Start{}, false
	}
	return starts[len(starts)-1], true
}

// reconcile finds the history that all drives go on from. It is the longest that is confirmed, and behind it the longest of those
// pending that went on from there: the last of them may be confirmed on a drive that is not here, and what it made need not be made
// again. latest is the drive that has the longest confirmed one. stranger is a drive that went on without it, or -1: then there is no
// history for both.
func reconcile(pasts []past) (h history, latest, stranger int) {
	for i, p := range pasts {
		if latestOf(p.starts, pasts[latest].starts) > 0 {
			latest = i
		}
	}
	h.confirmed = pasts[latest].starts
	for i, p := range pasts {
		if end, ok := last(p.starts); ok && !knows(h.confirmed, end) {
			return history{}, latest, i
		}
	}
	for _, p := range pasts {
		if chain := p.after(h.confirmed); latestOf(chain, h.unconfirmed) > 0 {
			h.unconfirmed = chain
		}
	}
	return h, latest, -1
}

// after returns the pending starts that went on from a confirmed history, and from nothing that was confirmed besides.
func (p past) after(confirmed []drive.Start) []drive.Start {
	end, ok := last(confirmed)
	baseEnd, based := last(p.base)
	switch i := slices.Index(p.pending, end); {
	case ok && i >= 0: // Confirmed elsewhere by now.
		return p.pending[i+1:]
	case ok == based && end == baseEnd:
		return p.pending
	}
	return nil
}

// latestOf compares two histories by their last starts. Two that took the same epoch are told apart by their names, so that every
// order of the drives gives the same answer.
func latestOf(a, b []drive.Start) int {
	x, someX := last(a)
	y, someY := last(b)
	switch {
	case !someX || !someY:
		return cmp.Compare(len(a), len(b))
	case x.Epoch != y.Epoch:
		return cmp.Compare(x.Epoch, y.Epoch)
	}
	return slices.Compare(x.Run[:], y.Run[:])
}

// knows reports whether a history names a start, or does not reach back that far.
func knows(history []drive.Start, start drive.Start) bool {
	if len(history) >= drive.MaxStarts && start.Epoch < history[0].Epoch {
		return true
	}
	return slices.Contains(history, start)
}

// void reports whether segments of an epoch on a drive are of no account: they were made in a start that the drive did not see confirmed,
// and that is no part of the history to go on from. Nothing that was acknowledged needs them.
func (p past) void(epoch uint32, h history) bool {
	for _, list := range [][]drive.Start{p.base, p.pending} {
		for _, s := range list {
			if s.Epoch == epoch && !knows(h.confirmed, s) && !slices.Contains(h.unconfirmed, s) {
				return true
			}
		}
	}
	return false
}
