package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// scrubber reads, in rounds, all that is live on every drive, parity included, and verifies it, so that what rots unread is found while
// there is still enough to make it good. What it finds goes to the heal ledger. One goroutine runs it.
//
// A round takes as long as the period, at a steady pace, if the bandwidth it may use allows that; volumes made meanwhile wait for the next
// one. How far it is lasts in the journal, so a restart goes on where it was.
type scrubber struct {
	c    *cell
	pace *pacer
	wake chan struct{} // Of capacity 1: there is something new to decide.

	found, read atomic.Int64 // Since start: units and blocks that were not what was written, and bytes read.

	mu      sync.Mutex // Guards the fields below.
	stopped bool
	stop    context.CancelFunc // Ends the work on the volume at hand; nil while there is none.
	round   scrubRound
	hurry   bool // The round was asked for: it goes as fast as it may.
	last    scrubRound
	saved   time.Time
}

// scrubRound is one walk over all volumes.
type scrubRound struct {
	begun, ended time.Time     // ended is zero while it goes on.
	upTo         meta.VolumeID // The newest volume when it began.
	done         meta.VolumeID // The last one that is done, in order of id.
	found        int64
}

const (
	// lateTries is how often a drive that does not answer is asked again. One that stays so is fenced, and its shards are healed.
	lateTries = 3

	// defaultScrubPeriod: rot is rare, and two pieces of it must not meet in one stripe before the first is found.
	defaultScrubPeriod = 14 * 24 * time.Hour
	// defaultScrubRate is far below what one drive does.
	defaultScrubRate = 100 << 20
	// minScrubRate keeps a round over little data from taking the whole period: it is not worth being spread so thin.
	minScrubRate = 1 << 20
	// scrubSave is how often it is recorded how far a round is.
	scrubSave = time.Minute
	// scrubConfig is the name of that record.
	scrubConfig = "engine/scrub"
)

func newScrubber(c *cell) *scrubber {
	return &scrubber{c: c, pace: newPacer(c.opts.ScrubRate, &c.front), wake: make(chan struct{}, 1)}
}

// run scrubs until ctx ends.
func (s *scrubber) run(ctx context.Context) {
	s.load()
	for wait := s.c.limits.settle; ; wait = s.step(ctx) {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// step scrubs one volume, or ends or begins a round, or returns how long there is nothing to do.
func (s *scrubber) step(ctx context.Context) (wait time.Duration) {
	s.mu.Lock()
	if s.stopped || s.c.opts.ScrubPeriod < 0 && !s.hurry {
		s.mu.Unlock()
		return time.Hour
	}
	now := s.c.ledger.now()
	if !s.round.ended.IsZero() || s.round.begun.IsZero() {
		if due := s.round.begun.Add(s.c.opts.ScrubPeriod); !s.hurry && now.Before(due) {
			s.mu.Unlock()
			return min(due.Sub(now), time.Hour)
		}
		s.round = scrubRound{begun: now, upTo: s.newest()}
	}
	vol := s.next()
	if vol == nil {
		s.round.ended = now
		s.last, s.hurry = s.round, false
		s.c.log.Info("every segment has been verified", "took", now.Sub(s.round.begun).Round(time.Second).String(), "found", s.round.found)
		s.mu.Unlock()
		s.save()
		return 0
	}
	s.setRate(now)
	ctx, s.stop = context.WithCancel(ctx)
	s.mu.Unlock()

	before := s.found.Load()
	err := s.c.scrubVolume(ctx, s, vol)
	s.mu.Lock()
	ended := ctx.Err() != nil
	s.stop()
	s.stop = nil
	s.round.found += s.found.Load() - before
	switch {
	case ended: // It is looked at again.
	case errors.Is(err, errWaiting), err == nil:
		s.round.done = vol.ID()
	default:
		s.c.log.Warn("a volume cannot be verified", "volume", volume.Name(vol.ID()), "error", err)
		s.round.done = vol.ID()
	}
	due := time.Since(s.saved) >= scrubSave
	s.mu.Unlock()
	if due {
		s.save()
	}
	return 0
}

// newest returns the id of the newest volume.
func (s *scrubber) newest() (id meta.VolumeID) {
	for _, vol := range s.c.set.Volumes() {
		id = max(id, vol.ID())
	}
	return id
}

// next returns the next volume of the round, or nil. The caller holds mu.
func (s *scrubber) next() *volume.Volume {
	volumes := s.c.set.Volumes()
	i := slices.IndexFunc(volumes, func(v *volume.Volume) bool { return v.ID() > s.round.done && v.ID() <= s.round.upTo })
	if i < 0 {
		return nil
	}
	return volumes[i]
}

// setRate spreads what is left of the round over what is left of the period. The caller holds mu.
func (s *scrubber) setRate(now time.Time) {
	most := s.c.opts.ScrubRate
	left := int64(0)
	for _, vol := range s.c.set.Volumes() {
		if vol.ID() <= s.round.done || vol.ID() > s.round.upTo {
			continue
		}
		for i := range vol.N() {
			if f := vol.Shard(i); f != nil {
				left += f.Size()
			}
		}
	}
	rate := most
	if time := s.round.begun.Add(s.c.opts.ScrubPeriod * 9 / 10).Sub(now); !s.hurry && time > 0 {
		rate = min(max(int64(float64(left)/time.Seconds()), minScrubRate), most)
	}
	s.pace.setRate(rate)
}

// save records how far the round is.
func (s *scrubber) save() {
	s.mu.Lock()
	s.saved = time.Now()
	r := s.round
	s.mu.Unlock()
	if err := s.c.commit(&meta.Config{Name: scrubConfig, Value: r.text()}); err != nil {
		s.c.log.Debug("it cannot be recorded how far scrubbing is", "error", err)
	}
}

// text is a round in a record: format version, begin and end in milliseconds, volumes, findings.
func (r *scrubRound) text() string {
	ended := int64(0)
	if !r.ended.IsZero() {
		ended = r.ended.UnixMilli()
	}
	return fmt.Sprintf("1 %d %d %d %d %d", r.begun.UnixMilli(), ended, r.upTo, r.done, r.found)
}

// load takes up the round that an earlier life of the process has begun. What cannot be read of it is begun anew.
func (s *scrubber) load() {
	b, err := s.c.enter()
	if err != nil {
		return
	}
	defer b.leave()
	value, err := b.index.Config(scrubConfig)
	if err != nil || value == "" {
		return
	}
	var r scrubRound
	var version int
	var begun, ended int64
	if n, err := fmt.Sscanf(value, "%d %d %d %d %d %d", &version, &begun, &ended, &r.upTo, &r.done, &r.found); err != nil || n != 6 || version != 1 {
		return
	}
	r.begun = time.UnixMilli(begun)
	if ended != 0 {
		r.ended = time.UnixMilli(ended)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round = r
	if ended != 0 {
		s.last = r
	}
}

// scrubVolume verifies all that is live in a volume.
func (c *cell) scrubVolume(ctx context.Context, s *scrubber, vol *volume.Volume) error {
	vol, needed, err := c.healable(vol.ID())
	if err != nil || !needed {
		return err
	}
	if !vol.Pin() {
		return nil
	}
	defer vol.Unpin()
	var shards erasure.Set
	for i := range vol.N() {
		if vol.Shard(i) == nil {
			continue
		}
		shards = shards.With(i)
		wrong, err := c.set.HeaderWrong(ctx, vol, i)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || wrong {
			s.found.Add(1)
			c.ledger.note(vol.ID(), i, meta.CauseRot, meta.Range{Len: vol.Start()})
		}
	}
	if vol.Class() == volume.Journal {
		return c.scrubJournal(ctx, s, vol, shards)
	}
	return c.eachPiece(ctx, vol, everything(vol), erasure.MaxRows, 0, 1, func(ctx context.Context, p piece) error {
		began := time.Now()
		read := int64(0)
		_, err := inPieces(ctx, c, p, func(get getBuf, firstRow, rows int) error {
			cs, err := p.stripe.newColumns(get, shards, firstRow, rows)
			if err != nil {
				return err
			}
			defer cs.release()
			unread, late, wrong := c.examine(cs, shards)
			for try := 0; late != 0 && try < lateTries; try++ {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(c.limits.again):
				}
				unread, late, wrong = c.examine(cs, shards)
			}
			s.found.Add(int64((unread &^ late).Count())) // What is late is not rotten.
			for _, w := range wrong {
				s.found.Add(int64(w.Count()))
			}
			read += cs.run(0).Len * int64(shards.Count())
			return nil
		})
		if err != nil {
			return err
		}
		s.read.Add(read)
		return s.pace.pause(ctx, read, time.Since(began))
	})
}

func (c *cell) scrubJournal(ctx context.Context, s *scrubber, vol *volume.Volume, shards erasure.Set) error {
	err := c.walk(ctx, s.pace, vol, 0, shards, func(blocks journal.Blocks) (int64, error) {
		for shard := range blocks.Wrong().All() {
			s.found.Add(1)
			c.ledger.note(vol.ID(), shard, meta.CauseRot, meta.Range{Off: blocks.Off(), Len: blocks.Len()})
		}
		read := int64(0)
		for shard := range (blocks.Written() & shards).All() {
			read += blocks.BlockLen(shard)
		}
		s.read.Add(read)
		return read, nil
	})
	if errors.Is(err, journal.ErrDamaged) {
		s.found.Add(1)
		for shard := range shards.All() {
			c.ledger.note(vol.ID(), shard, meta.CauseRot, everything(vol)...)
		}
	}
	return err
}

// ScrubStatus says how far scrubbing is, all cells together.
type ScrubStatus struct {
	Stopped   bool          // By StopScrub.
	Running   bool          // A round is under way.
	Begun     time.Time     // Of that round, or the last one; zero if there has been none. Of several cells, the earliest.
	LastEnded time.Time     // Of the last round that ended; zero if none has. Of several cells, the earliest.
	LastFound int64         // What that round has found.
	Period    time.Duration // In which every segment is verified.
	Volumes   int           // Volumes of the round,
	Done      int           // and those of them that are done.
	Read      int64         // Bytes since start.
	Found     int64         // Units and blocks, since start, that were not what was written.
}

// ScrubStatus returns how far scrubbing is.
func (s *Store) ScrubStatus() ScrubStatus {
	t := ScrubStatus{Period: s.opts.ScrubPeriod}
	for _, c := range s.cells {
		c.scrubber.addStatus(&t)
	}
	return t
}

func (s *scrubber) addStatus(t *ScrubStatus) {
	t.Read += s.read.Load()
	t.Found += s.found.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Stopped = t.Stopped || s.stopped
	t.Running = t.Running || !s.round.begun.IsZero() && s.round.ended.IsZero()
	if t.Begun.IsZero() || s.round.begun.Before(t.Begun) {
		t.Begun = s.round.begun
	}
	if t.LastEnded.IsZero() || s.last.ended.Before(t.LastEnded) {
		t.LastEnded = s.last.ended
	}
	t.LastFound += s.last.found
	for _, vol := range s.c.set.Volumes() {
		if vol.ID() <= s.round.upTo {
			t.Volumes++
			if vol.ID() <= s.round.done || !s.round.ended.IsZero() {
				t.Done++
			}
		}
	}
}

// StopScrub ends the verification that goes on, and begins no more until StartScrub or ScrubNow. A restart takes it back.
func (s *Store) StopScrub() {
	for _, c := range s.cells {
		c.scrubber.set(func(s *scrubber) {
			s.stopped = true
			if s.stop != nil {
				s.stop()
			}
		})
	}
}

// StartScrub takes back StopScrub.
func (s *Store) StartScrub() {
	for _, c := range s.cells {
		c.scrubber.set(func(s *scrubber) { s.stopped = false })
	}
}

// ScrubNow begins a round now, as fast as it may go, whether or not one is under way or due.
func (s *Store) ScrubNow() {
	for _, c := range s.cells {
		c.scrubber.set(func(s *scrubber) {
			s.stopped, s.hurry, s.round = false, true, scrubRound{}
			if s.stop != nil {
				s.stop()
			}
		})
	}
}

func (s *scrubber) set(change func(*scrubber)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
