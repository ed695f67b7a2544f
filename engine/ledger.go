package engine

import (
	"maps"
	"slices"
	"sync"
	"time"

	"penstock/engine/journal"
	"penstock/meta"
)

// shardKey names a shard of a volume.
type shardKey struct {
	volume meta.VolumeID
	shard  int
}

// ledger is the heal ledger: what is known to be missing. Whoever notices something enters it here and goes on; the healer sees to it that the
// journal learns of it at once, and that what is missing is made good. So it outlives the process, and a
// rebuild of the index finds it, too.
//
// What it holds is bounded by the shards there are, each with at most meta.MaxRanges ranges.
type ledger struct {
	now  func() time.Time
	wake chan struct{} // Of capacity 1: there is something to record, or to heal.

	mu       sync.Mutex // Guards the fields below.
	entries  map[shardKey]*ledgerEntry
	dirty    map[shardKey]bool // What the journal says of these is not what entries says.
	recorded map[shardKey]bool // The journal has, or may have, an entry of these.
	noted    int64             // Causes entered since start, and entries that were done with.
	closed   int64
}

// ledgerEntry is what is missing of one shard.
type ledgerEntry struct {
	meta.Missing
	changes uint64 // Counts changes, so that a shard is not called whole for what was noticed while it was being healed.
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{
		now: now, wake: make(chan struct{}, 1),
		entries: make(map[shardKey]*ledgerEntry), dirty: make(map[shardKey]bool), recorded: make(map[shardKey]bool),
	}
}

// load enters what the index has.
func (l *ledger) load(x *meta.Index) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return x.Missing(func(m meta.Missing) bool {
		key := shardKey{m.Volume, m.Shard}
		l.recorded[key] = true
		e := l.entries[key]
		if e == nil {
			e = &ledgerEntry{Missing: meta.Missing{Volume: m.Volume, Shard: m.Shard}}
			l.entries[key] = e
		} else {
			l.dirty[key] = true // The start has already found something.
		}
		e.Since = m.Since
		e.Causes |= m.Causes
		for _, r := range m.Ranges {
			e.Ranges = addRange(e.Ranges, r)
		}
		return true
	})
}

// note enters that a shard lacks something, for the causes given: in ranges of its segment, or, without any, as a whole. It does not wait
// and does not fail.
func (l *ledger) note(volume meta.VolumeID, shard int, causes meta.Causes, ranges ...meta.Range) {
	key := shardKey{volume, shard}
	l.mu.Lock()
	e := l.entries[key]
	if e == nil {
		e = &ledgerEntry{Missing: meta.Missing{Volume: volume, Shard: shard, Since: l.now().UTC().Truncate(time.Millisecond)}}
		l.entries[key] = e
	}
	was := e.Missing
	e.Causes |= causes
	for _, r := range ranges {
		e.Ranges = addRange(e.Ranges, r)
	}
	e.changes++
	news := was.Causes != e.Causes || !slices.Equal(was.Ranges, e.Ranges)
	if news {
		l.noted++
		l.dirty[key] = true
	}
	l.mu.Unlock()
	if news {
		l.poke()
	}
}

// poke wakes the healer.
func (l *ledger) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// get returns a shard's entry and its count of changes.
func (l *ledger) get(key shardKey) (m meta.Missing, changes uint64, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil {
		return meta.Missing{}, 0, false
	}
	return e.Missing, e.changes, true
}

// close removes a shard's entry: the shard is whole, or nobody needs it any more. If something was noticed after the entry had that
// count of changes, it stays.
func (l *ledger) close(key shardKey, changes uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[key]
	if e == nil || e.changes != changes {
		return false
	}
	delete(l.entries, key)
	l.closed++
	if l.recorded[key] {
		l.dirty[key] = true
	} else {
		delete(l.dirty, key)
	}
	return true
}

// all returns the entries, in order of volume and shard.
func (l *ledger) all() []meta.Missing {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]meta.Missing, 0, len(l.entries))
	for _, e := range l.entries {
		list = append(list, e.Missing)
	}
	slices.SortFunc(list, func(a, b meta.Missing) int {
		if a.Volume != b.Volume {
			if a.Volume < b.Volume {
				return -1
			}
			return 1
		}
		return a.Shard - b.Shard
	})
	return list
}

// counts returns how many entries there are, and how often something was entered and done with since start.
func (l *ledger) counts() (open int, noted, closed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries), l.noted, l.closed
}

// take returns up to limit records that bring the journal up to date, and takes them to be on their way.
func (l *ledger) take(limit int) []meta.Missing {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []meta.Missing
	for key := range maps.Keys(l.dirty) {
		if len(list) == limit {
			break
		}
		delete(l.dirty, key)
		m := meta.Missing{Volume: key.volume, Shard: key.shard}
		if e := l.entries[key]; e != nil {
			m = e.Missing
			m.Ranges = slices.Clone(m.Ranges)
		}
		l.recorded[key] = true
		list = append(list, m)
	}
	return list
}

// failed says that a record may not have got there.
func (l *ledger) failed(m *meta.Missing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty[shardKey{m.Volume, m.Shard}] = true
}

// durable says that a record got there.
func (l *ledger) durable(m *meta.Missing) {
	key := shardKey{m.Volume, m.Shard}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Causes == 0 && l.entries[key] == nil && !l.dirty[key] {
		delete(l.recorded, key)
	}
}

// ledgerBatch is how many records are on their way to the journal at once.
const ledgerBatch = 256

// record tells the journal what the ledger says. An error means that the journal takes nothing now: the ledger remembers.
func (c *cell) record() error {
	for {
		list := c.ledger.take(ledgerBatch)
		if len(list) == 0 {
			return nil
		}
		if err := c.recordAll(list); err != nil {
			return err
		}
	}
}

func (c *cell) recordAll(list []meta.Missing) error {
	var first error
	fail := func(m *meta.Missing, err error) {
		c.ledger.failed(m)
		if first == nil {
			first = err
		}
	}
	b, err := c.enter()
	if err != nil {
		for i := range list {
			fail(&list[i], err)
		}
		return err
	}
	defer b.leave()
	tickets := make([]*journal.Ticket, len(list))
	for i := range list {
		if tickets[i], err = b.journal.AppendAsync(b.ctx, journal.Entry{Head: list[i].AppendTo(nil)}); err != nil {
			fail(&list[i], err)
		}
	}
	for i, t := range tickets {
		if t == nil {
			continue
		}
		if _, err := t.Wait(b.ctx); err != nil {
			fail(&list[i], err)
		} else {
			c.ledger.durable(&list[i])
		}
	}
	return b.commitError(first)
}

// addRange adds a range to others that are in order and do not touch. Of more than meta.MaxRanges, those closest to each other become one.
func addRange(ranges []meta.Range, r meta.Range) []meta.Range {
	out := make([]meta.Range, 0, len(ranges)+1)
	placed := false
	for _, old := range ranges {
		switch {
		case old.End() < r.Off:
			out = append(out, old)
		case r.End() < old.Off:
			if !placed {
				out = append(out, r)
				placed = true
			}
			out = append(out, old)
		default:
			end := max(old.End(), r.End())
			r.Off = min(old.Off, r.Off)
			r.Len = end - r.Off
		}
	}
	if !placed {
		out = append(out, r)
	}
	if len(out) > meta.MaxRanges {
		closest := 1
		for i := 2; i < len(out); i++ {
			if out[i].Off-out[i-1].End() < out[closest].Off-out[closest-1].End() {
				closest = i
			}
		}
		out[closest-1].Len = out[closest].End() - out[closest-1].Off
		out = slices.Delete(out, closest, closest+1)
	}
	return out
}

// noteBehind enters the ends of journals that drives which missed starts may be without.
func (c *cell) noteBehind() {
	for _, t := range c.set.Behind() {
		c.ledger.note(t.Volume.ID(), t.Shard, meta.CauseUnwritten, everything(t.Volume)...)
	}
}

// noteTail enters the shards that the last journal volume before this start is without. Its last batches may not be on them, should their drives
// come back.
func (c *cell) noteTail(id meta.VolumeID) {
	c.noteBehind()
	vol := c.set.Get(id)
	if vol == nil {
		return
	}
	for i := range vol.N() {
		if vol.Shard(i) == nil {
			c.ledger.note(id, i, meta.CauseLost|meta.CauseUnwritten, everything(vol)...)
		}
	}
}
