package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock/engine/drive"
	"penstock/meta"
)

// Recovery says what Recover did.
type Recovery struct {
	Tail     meta.VolumeID   // The volume that was open last.
	Batches  uint64          // Replayed.
	Records  uint64          // Replayed.
	Repaired uint64          // Shard blocks that were missing or wrong and have been written again.
	Carried  uint64          // Batches carried over because a drive of theirs is missing.
	Orphans  []meta.VolumeID // Journal volumes that the journal does not need, so nothing does.
	Took     time.Duration
}

// Recover finds the journal's end, replays what follows from through Apply, and opens a new volume behind it. A zero from replays all
// records that there are, of every volume still needed; otherwise replay is gapless, or the error is ErrGap.
//
// Batches which the journal itself proves to have been durable are applied as they are read. The last ones, which it does not, may
// be on some of their drives only. They are first made durable on all, or, if a drive is missing, carried over into
// the new volume's first batch, which then says that the old volume ends before them. Only when that batch is durable are they applied:
// from then on any m drives may go, and no combination of drives leads to another end. So a Recover that is interrupted
// anywhere leaves nothing behind that the next one could contradict.
func Recover(ctx context.Context, opts Options, from meta.Position) (*Journal, Recovery, error) {
	began := time.Now()
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, Recovery{}, err
	}
	s, err := look(ctx, &opts)
	if err != nil {
		return nil, Recovery{}, err
	}
	p := &replay{survey: s, freedNow: make(map[meta.VolumeID]bool)}
	p.did.Tail, p.did.Orphans = s.tail.ID(), s.orphans
	if err := p.run(from); err != nil {
		return nil, p.did, err
	}
	j := newJournal(opts, inheritance{
		end: p.end, listed: p.needed(from), left: s.left, carried: p.carry(), tail: s.tail, ghosts: s.ghosts,
	})
	if err := j.opened(ctx, p.applyHeld); err != nil {
		return nil, p.did, err
	}
	p.did.Took = time.Since(began)
	return j, p.did, nil
}

// replay reads the journal from a position to its end.
type replay struct {
	*survey
	did      Recovery
	end      meta.Position
	held     []heldBatch
	freedNow map[meta.VolumeID]bool
	whole    bool   // Everything is replayed, from the oldest volume on.
	read     uint64 // Batches read.
}

// heldBatch is a copy of a batch that is not proven durable by a later one. There are no more than were in flight at once.
type heldBatch struct {
	Batch
	before meta.Position // Position in front of it.
	more   []bool        // By record: the next one is of the same group.
	full   bool          // On all its drives.
}

// run replays from a position on and finds p.end.
func (p *replay) run(from meta.Position) error {
	p.whole = from == meta.Position{}
	p.end = from
	for _, v := range p.listed {
		if v.ID < from.Volume {
			continue
		}
		if err := p.sealedVolume(v, from); err != nil {
			return err
		}
	}
	if from.Volume > p.tail.ID() {
		return fmt.Errorf("%w: the index is at LSN %d in volume %x, the newest volume is %x", ErrGap, from.LSN, from.Volume, p.tail.ID())
	}
	return p.tailVolume(from)
}

// enter returns what the first batch to read in a volume must be.
func (p *replay) enter(v Volume, from meta.Position) expectation {
	if v.ID() == from.Volume {
		return expectation{number: from.Batch + 1, off: from.Next, chain: from.Chain, lsn: from.LSN + 1}
	}
	return expectation{number: 1, off: v.Start(), chain: p.end.Chain, lsn: p.end.LSN + 1, anyLSN: p.whole}
}

// sealedVolume replays a volume whose end is known: every batch before it was durable.
func (p *replay) sealedVolume(info VolumeInfo, from meta.Position) error {
	if info.ID == from.Volume && (from.Batch > info.LastBatch || from.LSN > info.EndLSN || from.Next > info.End) {
		return fmt.Errorf("%w: the index is at batch %d, LSN %d of volume %x, which ends at %d, %d",
			ErrGap, from.Batch, from.LSN, info.ID, info.LastBatch, info.EndLSN)
	}
	err := p.readSealed(info, from)
	if err == nil || p.ctx.Err() != nil {
		return err
	}
	// Perhaps it is not needed at all, and on its way to be recycled.
	freed, ferr := p.freed()
	switch {
	case ferr != nil:
		return errors.Join(err, ferr)
	case !freed[info.ID]:
		return err
	case !p.whole:
		return fmt.Errorf("%w: volume %x, which the index has not seen, was freed", ErrGap, info.ID)
	}
	return nil
}

func (p *replay) readSealed(info VolumeInfo, from meta.Position) error {
	if p.whole {
		if freed, err := p.freed(); err != nil || freed[info.ID] {
			return err
		}
	}
	if info.ID == from.Volume && from.Batch == info.LastBatch {
		return nil
	}
	v := p.opts.Volumes.Get(info.ID)
	if v == nil {
		return fmt.Errorf("%w: volume %x is needed and no drive holds a segment of it", ErrUnavailable, info.ID)
	}
	r := newReader(p.ctx, p.opts, v, firstShards(v.K()), streamWindow)
	defer r.close()
	for e := p.enter(v, from); e.number <= info.LastBatch; e = r.following() {
		err := r.next(e)
		if _, other := errors.AsType[*discontinuity](err); other && e.number == 1 && !p.whole {
			// The volumes in between have been freed, as nobody who knew of what they held was thought to need them.
			return fmt.Errorf("%w: %w", ErrGap, err)
		}
		if err != nil {
			return p.lost(err, info)
		}
		p.read++
		if err := p.repair(r); err != nil {
			return err
		}
		if err := p.apply(Batch{r.position(), r.records}); err != nil {
			return err
		}
		p.end = r.position()
	}
	if p.end.Next != info.End || p.end.LSN != info.EndLSN {
		return fmt.Errorf("%w: volume %x ends at %d, LSN %d, and should at %d, LSN %d", ErrDamaged, info.ID, p.end.Next, p.end.LSN, info.End, info.EndLSN)
	}
	return nil
}

// lost says what it means that a batch which was durable does not decode.
func (p *replay) lost(err error, info VolumeInfo) error {
	u, ok := errors.AsType[*undecodable](err)
	switch {
	case !ok:
		return p.gap(err)
	case u.blind():
		return fmt.Errorf("%w: %w, and the journal goes on to batch %d", ErrUnavailable, err, info.LastBatch)
	}
	return fmt.Errorf("%w: %w, and the journal goes on to batch %d", ErrDamaged, err, info.LastBatch)
}

// gap turns a discontinuity into an error of this package. The first batch that is read shows whether the index is of this journal, and whether
// volumes in between have been freed; within a volume, there is no innocent reason after it.
func (p *replay) gap(err error) error {
	if _, ok := errors.AsType[*discontinuity](err); !ok {
		return err
	}
	if p.read == 0 {
		return fmt.Errorf("%w: %w", ErrGap, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// tailVolume replays the volume that was open last and finds its end.
func (p *replay) tailVolume(from meta.Position) error {
	v := p.tail
	r := newReader(p.ctx, p.opts, v, firstShards(v.K()+v.M()), streamWindow)
	defer r.close()
	e := p.enter(v, from)
	if v.ID() != from.Volume && !p.whole && (p.start.firstLSN != e.lsn || p.start.chain != e.chain) {
		return fmt.Errorf("%w: volume %x begins at LSN %d, and the index is at %d", ErrGap, v.ID(), p.start.firstLSN, p.end.LSN)
	}
	e.salt = p.start.salt
	for {
		err := r.next(e)
		if u, ok := errors.AsType[*undecodable](err); ok {
			return p.ends(u, e)
		}
		if err != nil {
			return p.gap(err)
		}
		p.read++
		if err := p.repair(r); err != nil {
			return err
		}
		if err := p.applyProven(r.header.watermark); err != nil {
			return err
		}
		p.hold(r)
		p.end = r.position()
		e = r.following()
	}
}

// ends returns nil if the journal ends before a batch of the tail that does not decode.
func (p *replay) ends(u *undecodable, e expectation) error {
	high, err := p.proven(p.tail, e.off, e.number-1, p.start.salt)
	switch {
	case err != nil:
		return err
	case u.blind():
		return fmt.Errorf("%w: %w; whether the journal ends there cannot be told", ErrUnavailable, u)
	case high >= e.number:
		return fmt.Errorf("%w: %w, but a later one says that it was durable", ErrDamaged, u)
	}
	return p.applyProven(high)
}

// hold keeps a copy of the batch read last.
func (p *replay) hold(r *reader) {
	n := 0
	for i := range r.records {
		n += len(r.records[i].Payload)
	}
	mem := make([]byte, 0, n)
	b := heldBatch{Batch{r.position(), slices.Clone(r.records)}, p.end, slices.Clone(r.more), r.full}
	if r.header.number == 1 && len(p.listed) > 0 {
		// All of the tail may be left behind: then the journal goes on where it did.
		last := p.listed[len(p.listed)-1]
		b.before = meta.Position{Volume: last.ID, Batch: last.LastBatch, Next: last.End, LSN: last.EndLSN, Chain: r.header.chain}
	}
	for i := range b.Records {
		from := len(mem)
		mem = append(mem, b.Records[i].Payload...)
		b.Records[i].Payload = mem[from:len(mem):len(mem)]
	}
	p.held = append(p.held, b)
	for i := range b.Records {
		noteFreed(p.freedNow, b.Records[i].Payload)
	}
}

// applyProven applies the batches held up to the one given, which is known to have been durable.
func (p *replay) applyProven(watermark uint64) error {
	for len(p.held) > 0 && p.held[0].Position.Batch <= watermark {
		if err := p.apply(p.held[0].Batch); err != nil {
			return err
		}
		p.held = slices.Delete(p.held, 0, 1)
	}
	return nil
}

// applyHeld applies what is left once its place in the journal is certain. What was carried over is applied where it is now.
func (p *replay) applyHeld(carried bool) error {
	last := p.end.Batch
	if first := p.firstToCarry(); carried && first < len(p.held) {
		last = p.held[first].Position.Batch - 1
		p.did.Carried = uint64(len(p.held) - first)
	}
	return p.applyProven(last)
}

// firstToCarry returns the first of the batches held that is not on all its drives: it and those behind it are carried over.
func (p *replay) firstToCarry() int {
	if i := slices.IndexFunc(p.held, func(b heldBatch) bool { return !b.full }); i >= 0 {
		return i
	}
	return len(p.held)
}

// carry returns what is to be carried over; nil if nothing is. Its records get new LSNs, for the start record comes before them. Whoever knows
// the old ones is an index that is ahead of where the old volume ends, and of no use any more.
func (p *replay) carry() *carried {
	first := p.firstToCarry()
	if first == len(p.held) {
		return nil
	}
	c := &carried{end: p.held[first].before}
	for _, b := range p.held[first:] {
		var group []Entry
		for i, r := range b.Records {
			if len(r.Payload) > 0 && meta.Kind(r.Payload[0]) == meta.KindJournalStart {
				continue // The new volume has its own.
			}
			group = append(group, Entry{Head: r.Payload, Origin: r.Origin})
			if !b.more[i] {
				c.groups = append(c.groups, group)
				group = nil
			}
		}
	}
	return c
}

func (p *replay) apply(b Batch) error {
	if err := p.opts.Apply(&b); err != nil {
		return fmt.Errorf("applying the batch that ends at LSN %d: %w", b.Position.LSN, err)
	}
	for i := range b.Records {
		noteFreed(p.freedNow, b.Records[i].Payload)
	}
	p.did.Batches++
	p.did.Records += uint64(len(b.Records))
	return nil
}

// repair writes the blocks of the batch read last that its reader found missing or wrong, where their drives are there. A drive that does not
// take them is given up.
func (p *replay) repair(r *reader) error {
	r.full = r.loaded == r.all()
	for i := range (r.loaded & r.header.written() &^ r.good).All() {
		file := p.fileOf(r, i)
		if file == nil {
			r.full = false
			continue
		}
		block, err := r.rebuild(i)
		if err != nil {
			return err
		}
		p.opts.Logger.Info("a journal block is written again",
			"volume", fmt.Sprintf("%x", r.header.volume), "batch", r.header.number, "shard", i)
		if err := r.write(file, i, block); err != nil {
			r.vol.Fail(i, err)
			r.full = false
			continue
		}
		p.did.Repaired++
	}
	return p.ctx.Err()
}

// fileOf returns the segment to write a shard's block to, or nil if there is none that reaches so far.
func (p *replay) fileOf(r *reader, shard int) drive.File {
	if r.shards[shard].out {
		return nil
	}
	file := r.vol.Shard(shard)
	if file == nil || file.Size() < r.header.off+int64(r.header.shardLen(shard)) {
		return nil
	}
	return file
}

// needed returns the volumes older than the tail that the next journal start record lists.
func (p *replay) needed(from meta.Position) []VolumeInfo {
	var sealed []VolumeInfo
	for _, v := range p.listed {
		// If replay began within the tail, the record that says a volume was freed may lie before: then the index knows.
		unseen := from.Volume == p.tail.ID() && p.opts.Needed != nil && !p.opts.Needed(v.ID)
		if unseen || p.freedNow[v.ID] || p.freedSet[v.ID] {
			p.did.Orphans = append(p.did.Orphans, v.ID)
			continue
		}
		if p.opts.Volumes.Get(v.ID) == nil {
			p.opts.Logger.Error("no drive holds a segment of a journal volume that is needed", "volume", fmt.Sprintf("%x", v.ID))
		}
		sealed = append(sealed, v)
	}
	return sealed
}
