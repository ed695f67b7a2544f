package journal

import (
	"context"
	"errors"
	"fmt"

	"penstock/erasure"
	"penstock/meta"
)

// Examination is what Examine has found.
type Examination struct {
	Volumes  []VolumeInfo    // That count, oldest first.
	Orphans  []meta.VolumeID // That do not.
	Position meta.Position   // Of the journal's end.
	Batches  uint64
	Records  uint64
	Blocks   uint64  // That the batches have.
	Missing  uint64  // Of these, where no drive that is here has the segment;
	Wrong    uint64  // and that were read and are not what was written, or could not be read.
	Unproven uint64  // Batches at the end that nothing proves durable: the next start makes them so, or drops them, if drives are missing then.
	Damage   []error // Batches that were durable and cannot be decoded. What comes behind one in its volume is not examined.
}

// Examine reads all that the journals hold, as Recover does with a zero position, and changes nothing. Batches are given to Options.Apply, in order; fn, if it is
// not nil, is told of every block that is missing or wrong. An error means that not all could be examined.
func Examine(ctx context.Context, opts Options, fn func(volume meta.VolumeID, batch int64, missing, wrong erasure.Set)) (x Examination, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return x, err
	}
	s, err := look(ctx, &opts)
	if err != nil {
		return x, err
	}
	freed, err := s.freed()
	if err != nil {
		return x, err
	}
	e := &examiner{survey: s, x: &x, fn: fn}
	x.Orphans = s.orphans
	for _, info := range s.listed {
		if freed[info.ID] {
			x.Orphans = append(x.Orphans, info.ID)
			continue
		}
		x.Volumes = append(x.Volumes, info)
		if err := e.sealed(info); err != nil {
			return x, err
		}
	}
	return x, e.last()
}

// examiner reads volumes for an Examination.
type examiner struct {
	*survey
	x  *Examination
	fn func(volume meta.VolumeID, batch int64, missing, wrong erasure.Set)

	watermark uint64 // Of the batch taken last.
}

// sealed reads a volume whose end is known.
func (e *examiner) sealed(info VolumeInfo) error {
	v := e.opts.Volumes.Get(info.ID)
	if v == nil {
		e.x.Damage = append(e.x.Damage, fmt.Errorf("%w: no drive holds a segment of journal volume %x, which is needed", ErrUnavailable, info.ID))
		return nil
	}
	r := newReader(e.ctx, e.opts, v, firstShards(v.K()+v.M()), streamWindow)
	defer r.close()
	want := expectation{number: 1, off: v.Start(), anyLSN: true}
	for want.number <= info.LastBatch {
		if err := r.next(want); err != nil {
			return e.damage(err, info.LastBatch)
		}
		if err := e.take(r); err != nil {
			return err
		}
		want = r.following()
	}
	if p := r.position(); p.Next != info.End || p.LSN != info.EndLSN {
		e.x.Damage = append(e.x.Damage, fmt.Errorf("%w: volume %x ends at %d, LSN %d, and should at %d, LSN %d", ErrDamaged, info.ID, p.Next, p.LSN, info.End, info.EndLSN))
	}
	return nil
}

// damage takes note of a batch that does not decode and should.
func (e *examiner) damage(err error, last uint64) error {
	_, undecoded := errors.AsType[*undecodable](err)
	_, apart := errors.AsType[*discontinuity](err)
	if !undecoded && !apart && !errors.Is(err, ErrDamaged) {
		return err
	}
	e.x.Damage = append(e.x.Damage, fmt.Errorf("%w, and the journal goes on to batch %d", scanError(err), last))
	return nil
}

// last reads the volume that was open last, to its end.
func (e *examiner) last() error {
	r := newReader(e.ctx, e.opts, e.tail, firstShards(e.tail.K()+e.tail.M()), streamWindow)
	defer r.close()
	want := expectation{number: 1, off: e.tail.Start(), salt: e.start.salt, chain: e.start.chain, lsn: e.start.firstLSN}
	for {
		err := r.next(want)
		if u, ok := errors.AsType[*undecodable](err); ok {
			high, err := e.proven(e.tail, want.off, want.number-1, e.start.salt)
			switch {
			case err != nil:
				return err
			case high >= want.number:
				err = e.damage(u, high)
			case u.blind():
				e.x.Damage = append(e.x.Damage, fmt.Errorf("%w: %w; whether the journal ends there cannot be told", ErrUnavailable, u))
			}
			high = max(high, e.watermark)
			e.x.Unproven = want.number - 1 - min(high, want.number-1)
			e.x.Volumes = append(e.x.Volumes, infoOf(e.x.Position))
			return err
		}
		if err != nil {
			return e.damage(err, want.number)
		}
		if err := e.take(r); err != nil {
			return err
		}
		want = r.following()
	}
}

// take counts the batch read last and hands it on.
func (e *examiner) take(r *reader) error {
	absent, wrong := r.lacking()
	written := r.header.written()
	e.x.Batches++
	e.x.Records += uint64(len(r.records))
	e.x.Blocks += uint64(written.Count())
	e.x.Missing += uint64(absent.Count())
	e.x.Wrong += uint64(wrong.Count())
	if absent|wrong != 0 && e.fn != nil {
		e.fn(r.header.volume, r.header.off, absent, wrong)
	}
	e.x.Position, e.watermark = r.position(), r.header.watermark
	return e.opts.Apply(&Batch{r.position(), r.records})
}

// lacking returns the blocks of the batch read last whose segment is not there, and those that were read and are not what was written.
func (r *reader) lacking() (absent, wrong erasure.Set) {
	for i := range (r.loaded & r.header.written() &^ r.good).All() {
		if errors.Is(r.shards[i].err, errMissing) {
			absent = absent.With(i)
		} else {
			wrong = wrong.With(i)
		}
	}
	return absent, wrong
}
