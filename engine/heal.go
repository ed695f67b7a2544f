package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/meta"
)

// healer makes good what the ledger says is missing. One goroutine looks around and records; it starts a few others, each of which
// heals one volume at a time.
//
// A shard that is nowhere is made anew on a drive that the volume does not use yet, from k others, and becomes the shard when it is whole
// (volume.Set.Replace). What is wrong in a segment that is there is written again in its place; if that does not help, the segment is replaced, too.
// Only what is live is healed. Whatever interrupts it, the ledger still says what is missing, and at most the volumes at hand begin anew.
type healer struct {
	c    *cell
	pace *pacer

	mu      sync.Mutex      // Guards the fields below.
	stopped bool            // By order.
	ctx     context.Context // Of the volumes being healed.
	stop    context.CancelFunc
	running map[meta.VolumeID]bool
	moving  map[meta.VolumeID]bool      // Volumes of which others move shards.
	later   map[meta.VolumeID]laterHeal // Volumes that could not be healed.
	retired []retiredSegment

	over       sync.Cond       // Of mu: a volume is not being healed any more.
	life       context.Context // Of the healer. Ends with run, or before.
	end        context.CancelFunc
	walking    chan struct{} // Holds the token of whoever walks a journal volume: it holds memory and waits for more.
	complained time.Time     // When it was last logged that the ledger cannot be recorded. Owned by run.
}

// laterHeal is why a volume was not healed, and when to try again.
type laterHeal struct {
	err   error
	delay time.Duration
	until time.Time
}

// retiredSegment is one whose place another has taken, until nobody reads it any more.
type retiredSegment struct {
	*volume.Retired
	generation uint64
}

func (l laterHeal) state() string {
	if errors.Is(l.err, errWaiting) {
		return "waiting"
	}
	return "failing"
}

const (
	// healJobs is how many volumes are healed side by side: enough that one waits for its drives while another one computes.
	healJobs = 2
	// maxAgain bounds the time after which something that cannot be healed is tried again.
	maxAgain = 10 * time.Minute
)

var (
	// errWaiting: nothing is wrong with the healing; something must happen first.
	errWaiting = errors.New("waiting")
	// errStubborn: what was written again still does not read as it was written.
	errStubborn = errors.New("the drive does not keep what is written to it")

	// errShort: the segment was cut short, so what is missing of it has no place in it.
	errShort = errors.New("the segment is shorter than what it must hold")
)

func newHealer(c *cell) *healer {
	h := &healer{
		c: c, pace: newPacer(c.opts.HealRate, &c.front), running: make(map[meta.VolumeID]bool), moving: make(map[meta.VolumeID]bool), later: make(map[meta.VolumeID]laterHeal),
		walking: make(chan struct{}, 1),
	}
	h.over.L = &h.mu
	h.life, h.end = context.WithCancel(context.Background())
	h.ctx, h.stop = context.WithCancel(h.life)
	return h
}

// run heals until ctx ends.
func (h *healer) run(ctx context.Context) {
	defer context.AfterFunc(ctx, h.end)()
	ticker := time.NewTicker(h.c.limits.heal)
	defer ticker.Stop()
	for look := true; ; {
		failure := h.c.set.NextFailure()
		if look {
			h.reconcile()
		}
		look = true
		h.record(ctx)
		h.freeRetired()
		h.start()
		select {
		case <-ctx.Done():
			h.mu.Lock()
			for len(h.running) > 0 {
				h.over.Wait()
			}
			h.mu.Unlock()
			h.record(ctx) // What the last ones have found, if the journal still takes it.
			return
		case <-ticker.C:
		case <-h.c.ledger.wake:
			look = false
		case <-failure:
		}
	}
}

// setStopped stops healing, and waits until nothing is healed any more, or lets it go on.
func (h *healer) setStopped(stop bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if stop && !h.stopped {
		h.stop()
	}
	if !stop && h.stopped {
		h.ctx, h.stop = context.WithCancel(h.life)
		clear(h.later)
	}
	h.stopped = stop
	for h.stopped && len(h.running) > 0 {
		h.over.Wait()
	}
	h.c.ledger.poke()
}

// retry tries at once what waits: there are other drives.
func (h *healer) retry() {
	h.mu.Lock()
	clear(h.later)
	h.mu.Unlock()
	h.c.ledger.poke()
}

// claim keeps a volume from being healed while somebody else moves its shards, until release. It reports false if it is being healed, or claimed.
func (h *healer) claim(id meta.VolumeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running[id] || h.moving[id] {
		return false
	}
	h.moving[id] = true
	return true
}

func (h *healer) release(id meta.VolumeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.moving, id)
}

func (h *healer) record(ctx context.Context) {
	if err := h.c.record(); err != nil && ctx.Err() == nil && time.Since(h.complained) > complainEvery {
		h.complained = time.Now()
		h.c.log.Warn("the heal ledger cannot be recorded now", "error", err)
	}
}

// reconcile compares the ledger with the segments that are there: it enters shards that are nowhere, and strikes out those that are back.
func (h *healer) reconcile() {
	c := h.c
	c.noteBehind() // Of drives that came back meanwhile.
	for _, vol := range c.set.Volumes() {
		for i := range vol.N() {
			key := shardKey{vol.ID(), i}
			m, changes, found := c.ledger.get(key)
			switch there := vol.Shard(i) != nil; {
			case !there && m.Causes&meta.CauseLost == 0:
				c.bulk.retire(vol) // Nothing more is to be written to it.
				c.cold.retire(vol)
				if _, needed, err := c.healable(vol.ID()); needed || err != nil {
					c.ledger.note(vol.ID(), i, meta.CauseLost)
				}
			case there && found && m.Causes == meta.CauseLost:
				// It was only away. What it holds was durable when it went.
				c.ledger.close(key, changes)
			}
		}
	}
}

// start begins to heal as many volumes as may be healed side by side, those that can lose the fewest more shards first.
func (h *healer) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped || h.ctx.Err() != nil || len(h.running) >= healJobs {
		return
	}
	type candidate struct {
		id    meta.VolumeID
		spare int // Shards that may yet be lost.
		since time.Time
	}
	var candidates []candidate
	for _, m := range h.c.ledger.all() {
		if n := len(candidates); n > 0 && candidates[n-1].id == m.Volume {
			candidates[n-1].spare--
			continue
		}
		if !h.running[m.Volume] && !h.moving[m.Volume] && time.Now().After(h.later[m.Volume].until) {
			spare := -1
			if vol := h.c.set.Get(m.Volume); vol != nil {
				spare = vol.M() - 1
			}
			candidates = append(candidates, candidate{m.Volume, spare, m.Since})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Or(a.spare-b.spare, a.since.Compare(b.since)) })
	for _, next := range candidates[:min(len(candidates), healJobs-len(h.running))] {
		h.running[next.id] = true
		ctx := h.ctx
		go h.heal(ctx, next.id) // Ends with ctx. Whoever needs that waits for running to be empty.
	}
}

// heal heals a volume, and sees to what comes of it.
func (h *healer) heal(ctx context.Context, id meta.VolumeID) {
	err := h.healVolume(ctx, id)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.running, id)
	h.over.Broadcast()
	was := h.later[id]
	delete(h.later, id)
	if err == nil || ctx.Err() != nil {
		h.c.ledger.poke() // For the next one.
		return
	}
	delay := h.c.limits.again
	if !errors.Is(err, errWaiting) {
		if was.err != nil {
			delay = min(max(2*was.delay, delay), maxAgain)
		}
		if was.err == nil || was.err.Error() != err.Error() {
			h.c.log.Warn("a volume cannot be healed now", "volume", volume.Name(id), "error", err, "next", delay.String())
		}
	}
	h.later[id] = laterHeal{err: err, delay: delay, until: time.Now().Add(delay)}
}

// ailing is a shard of a volume at hand, and what the ledger says of it.
type ailing struct {
	meta.Missing
	changes uint64
}

// healVolume heals all shards of a volume that the ledger names.
func (h *healer) healVolume(ctx context.Context, id meta.VolumeID) error {
	c := h.c
	vol, needed, err := c.healable(id)
	if err != nil {
		return err
	}
	var wrong, lost []ailing
	for _, m := range c.ledger.all() {
		if m.Volume != id {
			continue
		}
		m, changes, found := c.ledger.get(shardKey{m.Volume, m.Shard})
		switch a := (ailing{m, changes}); {
		case !found:
		case !needed:
			c.ledger.close(shardKey{id, m.Shard}, changes)
		case vol.Shard(m.Shard) != nil:
			wrong = append(wrong, a)
		default:
			lost = append(lost, a)
		}
	}
	if !needed {
		return nil
	}
	var errs []error
	// First what is there: it serves as the source of the rest.
	for _, a := range wrong {
		if err := h.mend(ctx, vol, a); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, h.replace(ctx, vol, lost))...)
}

// healable returns a volume that may be healed, or reports that nothing in it is needed.
func (c *cell) healable(id meta.VolumeID) (vol *volume.Volume, needed bool, err error) {
	b, err := c.enter()
	if err != nil {
		return nil, false, err
	}
	defer b.leave()
	usage, err := b.index.VolumeUsage(id)
	if err != nil {
		return nil, false, err
	}
	vol = c.set.Get(id)
	inJournal, open := false, false
	for _, v := range b.journal.Volumes() {
		if v.ID == id {
			inJournal, open = true, v.Open
		}
	}
	switch {
	case vol == nil && (usage.Live > 0 || inJournal):
		return nil, false, fmt.Errorf("volume %s: no drive holds a segment of it: %w", volume.Name(id), errWaiting)
	case vol == nil:
		return nil, false, nil
	case open, vol.Class() == volume.Bulk && (c.bulk.isOpen(id) || vol.Pins() > 0),
		vol.Class() == volume.Journal && !inJournal && vol.Epoch() == c.set.Epoch():
		return nil, false, fmt.Errorf("volume %s is being written: %w", volume.Name(id), errWaiting)
	}
	return vol, inJournal || vol.Class() == volume.Bulk && usage.Live > 0, nil
}

// mend writes again what is wrong in a segment that is there; if the drive does not keep that, it replaces the segment.
func (h *healer) mend(ctx context.Context, vol *volume.Volume, a ailing) error {
	if !vol.Pin() {
		return nil // Freed meanwhile; the ledger learns of it next time.
	}
	ranges := a.Ranges
	if len(ranges) == 0 && a.Causes != meta.CauseLost {
		ranges = []meta.Range{{Off: vol.Start(), Len: vol.Capacity() - vol.Start()}}
	}
	err := h.c.mendRanges(ctx, h, vol, a.Shard, ranges)
	vol.Unpin()
	if errors.Is(err, errStubborn) || errors.Is(err, errShort) {
		h.c.log.Warn("a segment is replaced", "volume", volume.Name(vol.ID()), "shard", a.Shard, "error", err)
		return h.replace(ctx, vol, []ailing{a})
	}
	if err == nil {
		h.c.ledger.close(shardKey{vol.ID(), a.Shard}, a.changes)
	}
	return err
}

// replace makes shards of a volume anew in other segments.
func (h *healer) replace(ctx context.Context, vol *volume.Volume, shards []ailing) error {
	var moves []*volume.Replacement
	var moving []ailing
	var waits error
	for _, a := range shards {
		r, err := h.c.set.Replace(ctx, vol, a.Shard, volume.ReplaceOptions{Back: true})
		if errors.Is(err, volume.ErrNoTarget) {
			waits = fmt.Errorf("%w: %w", errWaiting, err)
			continue
		}
		if err != nil {
			waits = err
			continue
		}
		moves, moving = append(moves, r), append(moving, a)
	}
	if len(moves) == 0 {
		return waits
	}
	holes, err := h.c.fill(ctx, h, vol, moves)
	if err != nil {
		for _, r := range moves {
			r.Abort()
		}
		return err
	}
	for i, r := range moves {
		if err := h.commit(r); err != nil {
			waits = err
			continue
		}
		// Whatever has been noticed until now was so of the segment that was there before.
		key := shardKey{vol.ID(), moving[i].Shard}
		_, changes, _ := h.c.ledger.get(key)
		h.c.ledger.close(key, changes)
		for _, hole := range holes {
			h.c.ledger.note(key.volume, key.shard, meta.CauseRot, hole)
		}
	}
	return waits
}

// commit ends a move. The segment that was there before is freed when nobody reads it any more.
func (h *healer) commit(r *volume.Replacement) error {
	size := r.File().Size()
	old, err := r.Commit()
	if err != nil {
		return err
	}
	h.c.stats.healedShards.Add(1)
	h.c.log.Info("a shard was made anew", "volume", volume.Name(r.Volume().ID()), "shard", r.Shard(),
		"drive", r.File().Drive().Path(), "bytes", size)
	if old != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.retired = append(h.retired, retiredSegment{old, h.c.generations.advance()})
	}
	return nil
}

// freeRetired frees the segments that nobody reads any more.
func (h *healer) freeRetired() {
	h.mu.Lock()
	var free []retiredSegment
	h.retired = slices.DeleteFunc(h.retired, func(r retiredSegment) bool {
		passed := h.c.generations.passed(r.generation)
		if passed {
			free = append(free, r)
		}
		return passed
	})
	h.mu.Unlock()
	for _, r := range free {
		r.Free()
	}
}

// moveShard moves a shard whose segment is sound to another drive, or to any that the volume does not use if target is zero. Its volume must
// not be written any more.
func (c *cell) moveShard(ctx context.Context, vol *volume.Volume, shard int, target drive.ID) error {
	if _, needed, err := c.healable(vol.ID()); err != nil || !needed {
		return err
	}
	r, err := c.set.Replace(ctx, vol, shard, volume.ReplaceOptions{Target: target})
	if err != nil {
		return err
	}
	holes, err := c.fill(ctx, c.healer, vol, []*volume.Replacement{r})
	if err != nil {
		r.Abort()
		return err
	}
	if err := c.healer.commit(r); err != nil {
		return err
	}
	for _, hole := range holes {
		c.ledger.note(vol.ID(), shard, meta.CauseRot, hole)
	}
	return nil
}
