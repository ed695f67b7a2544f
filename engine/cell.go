package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
)

// cell is the part of the store that lives on one NUMA node: its own drives, arena, volumes, journal and index. Nothing is shared with
// other cells, and no reference crosses from one to another.
type cell struct {
	id        int
	cluster   string
	clusterID drive.ID
	opts      *Options
	log       *slog.Logger

	queue  ioring.Queue // nil when the drives bring their own (tests).
	arena  *ioring.Arena
	drives []drive.Drive // Present ones.
	absent []string      // Paths given that hold no usable drive.
	set    *volume.Set
	cache  *blobCache

	indexFS    meta.FS
	indexDir   string
	indexDrive drive.Drive // nil when the index is not on a drive of the cell.
	index      *meta.Index
	rebuild    *meta.Rebuild // Takes the batches instead of the index while that is rebuilt.
	journal    *journal.Journal

	bulk        *bulkWriter
	locks       *keyLocks
	uploads     *uploadGates
	generations *generations
	sequence    atomic.Uint64 // Of blob ids in this epoch.
	deaths      chan struct{} // Of capacity 1: some volume may have died.

	oldestCheckpoint meta.LSN // LSN that every checkpoint has at least; 0 when there is none. Owned by the recycler once it runs.

	stop  context.CancelFunc // Ends the cell's own goroutines.
	tasks sync.WaitGroup

	stats cellStats
}

// cellStats count since start.
type cellStats struct {
	degradedReads atomic.Int64 // Reads that had to reconstruct.
	corruptUnits  atomic.Int64 // Units a drive returned that did not match their checksum.
	stripeRetries atomic.Int64 // Stripes written again because a drive failed under them.
	volumesFreed  atomic.Int64
	checkpoints   atomic.Int64
}

// journalSource lets the journal make and find its volumes.
type journalSource struct{ set *volume.Set }

func (c *cell) journalSource() journalSource { return journalSource{c.set} }

func (s journalSource) Create(ctx context.Context) (journal.Volume, error) {
	v, err := s.set.Create(ctx, volume.Journal)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (s journalSource) Prepare() { s.set.Prepare(volume.Journal) }

func (s journalSource) Get(id meta.VolumeID) journal.Volume {
	if v := s.set.Get(id); v != nil && v.Class() == volume.Journal {
		return v
	}
	return nil // Not a typed nil.
}

func (s journalSource) Volumes() []journal.Volume {
	var out []journal.Volume
	for _, v := range s.set.Volumes() {
		if v.Class() == volume.Journal {
			out = append(out, v)
		}
	}
	return out
}

func (s journalSource) Free(id meta.VolumeID) {
	if v := s.set.Get(id); v != nil {
		s.set.Free(v)
	}
}

// apply brings the index up to date with one durable batch. It is the journal's Apply.
func (c *cell) apply(b *journal.Batch) error {
	applied := make([]meta.Applied, len(b.Records))
	for i, r := range b.Records {
		applied[i] = meta.Applied{LSN: r.LSN, Loc: r.Loc, Payload: r.Payload}
		if r.Origin != r.LSN {
			applied[i].Origin = r.Origin // To the index, having one means to be a copy.
		}
	}
	if c.rebuild != nil {
		for i := range applied {
			if err := c.rebuild.Load(applied[i]); err != nil {
				return fmt.Errorf("load LSN %d: %w", applied[i].LSN, err)
			}
		}
		return nil
	}
	effects, err := c.index.Apply(b.Position, applied)
	if err != nil {
		return fmt.Errorf("apply LSN %d to %d: %w", b.Records[0].LSN, b.Position.LSN, err)
	}
	if len(effects.DeadVolumes) > 0 {
		select {
		case c.deaths <- struct{}{}:
		default:
		}
	}
	return nil
}

// run starts the cell's own goroutines.
func (c *cell) run() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	r := &recycler{c: c}
	c.tasks.Go(func() { r.run(ctx) })
}

// close stops the cell in an orderly way: what is acknowledged is in the flushed index, so that the next start has nothing to replay.
func (c *cell) close(ctx context.Context) error {
	var errs []error
	if c.stop != nil {
		c.stop()
		c.tasks.Wait()
	}
	if c.journal != nil {
		errs = append(errs, c.journal.Close(ctx))
	}
	if c.index != nil {
		if err := c.index.Flush(ctx); err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
		errs = append(errs, c.index.Close())
	}
	if c.set != nil {
		errs = append(errs, c.set.Close())
	}
	for _, d := range c.drives {
		errs = append(errs, d.Close())
	}
	if c.queue != nil {
		errs = append(errs, c.queue.Close())
	}
	if c.arena != nil {
		if in := c.arena.Stats().InUse; in > 0 {
			errs = append(errs, fmt.Errorf("%d bytes of buffers are still in use: a drive hangs, or a request has not ended", in))
		}
		errs = append(errs, c.arena.Close())
	}
	return errors.Join(errs...)
}
