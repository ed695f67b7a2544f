package journal

import (
	"context"
	"errors"
	"fmt"

	"penstock/ioring"
)

// Scan calls fn with every batch of a journal volume, from its first up to the last that info counts, and verifies all of them. The batch
// and its records are valid during the call.
func (j *Journal) Scan(ctx context.Context, info VolumeInfo, fn func(*Batch) error) error {
	return j.ScanIn(ctx, j.opts.Arena, info, fn)
}

// ScanIn is Scan in memory of another arena, which has room for a window of every shard at once: a batch of the largest size.
func (j *Journal) ScanIn(ctx context.Context, arena *ioring.Arena, info VolumeInfo, fn func(*Batch) error) error {
	v := j.opts.Volumes.Get(info.ID)
	if v == nil {
		return fmt.Errorf("%w: no drive holds a segment of volume %x", ErrUnavailable, info.ID)
	}
	opts := j.opts
	opts.Arena = arena
	window := min(streamWindow, int(arena.Stats().Size)/(2*(v.K()+v.M())))
	r := newReader(ctx, &opts, v, firstShards(v.K()), max(window, probeWindow))
	defer r.close()
	e := expectation{number: 1, off: v.Start(), anyLSN: true}
	for e.number <= info.LastBatch {
		if err := r.next(e); err != nil {
			return scanError(err)
		}
		if err := fn(&Batch{r.position(), r.records}); err != nil {
			return err
		}
		e = r.following()
	}
	return nil
}

// scanError says what it means that a batch which was durable does not decode.
func scanError(err error) error {
	u, ok := errors.AsType[*undecodable](err)
	switch {
	case !ok:
		return err
	case u.blind():
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}
