package volume

import "slices"

// A Tail is a shard of a journal volume whose last batches may not be on its drive.
type Tail struct {
	Volume *Volume
	Shard  int
}

// Behind returns, once for each drive that is here and missed starts, its shard of the last journal volume of the last start that it knows of. What
// the next start found unfinished there it finished on the drives that it had. A drive that was away, or an old copy of one that was there,
// may lack it.
func (s *Set) Behind() (tails []Tail) {
	for _, m := range s.all() {
		epoch := m.behind.Swap(0)
		if epoch == 0 || m.failed() {
			continue
		}
		tail := Tail{Shard: -1}
		for _, v := range s.Volumes() { // In order.
			if i := slices.Index(v.Drives(), m.drive.ID()); i >= 0 && v.Class() == Journal && v.Epoch() == epoch {
				tail = Tail{v, i}
			}
		}
		if tail.Shard >= 0 {
			tails = append(tails, tail)
		}
	}
	return tails
}

// noteBehind remembers which start a drive knows last, if it is not the last of a history.
func (m *member) noteBehind(p past, h history) {
	known, some := last(p.starts)
	if newest, _ := last(h.confirmed); some && known != newest {
		m.behind.Store(known.Epoch)
	}
}
