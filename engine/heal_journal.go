package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// errEnough ends a walk over batches.
var errEnough = errors.New("enough")

// walk calls do with the batches of a sealed journal volume, from the one that begins at from, or all. It is paced by what do returns as written,
// and by what was read.
func (c *cell) walk(ctx context.Context, p *pacer, vol *volume.Volume, from int64, eager erasure.Set, do func(journal.Blocks) (written int64, err error)) error {
	select {
	case c.healer.walking <- struct{}{}:
		defer func() { <-c.healer.walking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	b := c.base.Load() // A journal whose base has ended reads as well as any.
	var info journal.VolumeInfo
	for _, v := range b.journal.Volumes() {
		if v.ID == vol.ID() && !v.Open {
			info = v
		}
	}
	if info.ID == 0 {
		return fmt.Errorf("journal volume %s is not one of the sealed ones: %w", volume.Name(vol.ID()), errWaiting)
	}
	began, bytes := time.Now(), int64(0)
	err := b.journal.Blocks(ctx, info, from, eager, func(blocks journal.Blocks) error {
		n, err := do(blocks)
		if err != nil {
			return err
		}
		if bytes += n; bytes < copyLen && blocks.Off()+blocks.Len() < info.End {
			return nil
		}
		err = p.pause(ctx, bytes, time.Since(began))
		began, bytes = time.Now(), 0
		return err
	})
	if err == errEnough {
		return nil
	}
	return err
}

// fillJournal writes to new segments of a journal volume what they must hold.
func (c *cell) fillJournal(ctx context.Context, h *healer, vol *volume.Volume, moves []*volume.Replacement) error {
	var lost, there erasure.Set
	into := make(map[int]drive.File)
	for _, r := range moves {
		into[r.Shard()] = r.File()
		if vol.Shard(r.Shard()) == nil {
			lost = lost.With(r.Shard())
		} else {
			there = there.With(r.Shard())
		}
	}
	// What is there, and as many others as make up the data.
	eager := there
	for shard := 0; shard < vol.N() && eager.Count() < vol.K(); shard++ {
		if vol.Shard(shard) != nil {
			eager = eager.With(shard)
		}
	}
	return c.walk(ctx, h.pace, vol, 0, eager, func(blocks journal.Blocks) (int64, error) {
		n := int64(0)
		for shard := range (blocks.Written() & (lost | there)).All() {
			if err := blocks.Write(into[shard], shard); err != nil {
				c.set.FailDrive(into[shard].Drive().ID(), err)
				return n, err
			}
			n += blocks.BlockLen(shard)
		}
		c.stats.healedLen.Add(n)
		return n, nil
	})
}

// mendJournal writes again what is wrong in ranges of a shard. Each range begins where a batch does; should it not, everything is looked at.
func (c *cell) mendJournal(ctx context.Context, h *healer, vol *volume.Volume, shard int, ranges []meta.Range) error {
	for _, r := range ranges {
		again, err := c.mendBatches(ctx, h, vol, shard, r, r.Off)
		if errors.Is(err, journal.ErrDamaged) {
			again, err = c.mendBatches(ctx, h, vol, shard, r, 0)
		}
		if err == nil && again > 0 {
			if again, err = c.mendBatches(ctx, h, vol, shard, r, 0); err == nil && again > 0 {
				err = fmt.Errorf("shard %d of journal volume %s: %w", shard, volume.Name(vol.ID()), errStubborn)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mendBatches writes again the blocks that are wrong in a range, looking at the batches from the offset given on, and returns how many there were.
func (c *cell) mendBatches(ctx context.Context, h *healer, vol *volume.Volume, shard int, r meta.Range, from int64) (wrong int, err error) {
	eager := erasure.SetOf(shard)
	for i := 0; i < vol.N() && eager.Count() < vol.K(); i++ {
		if vol.Shard(i) != nil {
			eager = eager.With(i)
		}
	}
	err = c.walk(ctx, h.pace, vol, from, eager, func(blocks journal.Blocks) (int64, error) {
		switch {
		case blocks.Off() >= r.End():
			return 0, errEnough
		case blocks.Off()+blocks.Len() <= r.Off || !blocks.Wrong().Has(shard):
			return 0, nil
		}
		wrong++
		file := vol.Shard(shard)
		if file == nil {
			return 0, errUnreadable
		}
		if file.Size() < blocks.Off()+blocks.BlockLen(shard) {
			return 0, fmt.Errorf("shard %d of journal volume %s, %d bytes: %w", shard, volume.Name(vol.ID()), file.Size(), errShort)
		}
		if err := blocks.Write(file, shard); err != nil {
			c.set.FailDrive(file.Drive().ID(), err)
			return 0, err
		}
		c.stats.mendedLen.Add(blocks.BlockLen(shard))
		return blocks.BlockLen(shard), nil
	})
	return wrong, err
}
