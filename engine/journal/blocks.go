package journal

import (
	"context"
	"fmt"

	"penstock/engine/drive"
	"penstock/erasure"
)

// blocksWindow is how much of each segment Blocks reads at once: as much as streams, and little enough that it can run beside
// everything else.
const blocksWindow = 1 << 20

// Blocks is one batch of a sealed volume as its drives have it. It is valid during the call that hands it out.
type Blocks struct{ r *reader }

// Off returns where the batch begins in every segment.
func (b Blocks) Off() int64 { return b.r.header.off }

// Len returns how much of every segment the batch takes.
func (b Blocks) Len() int64 { return int64(b.r.header.length()) }

// Written returns the shards that have a block.
func (b Blocks) Written() erasure.Set { return b.r.header.written() }

// BlockLen returns the length of a shard's block.
func (b Blocks) BlockLen(shard int) int64 { return int64(b.r.header.shardLen(shard)) }

// Wrong returns the shards whose block was read and is not what was written, or could not be read though the segment is there.
func (b Blocks) Wrong() erasure.Set {
	_, wrong := b.r.lacking()
	return wrong
}

// Missing returns the shards whose block should be on a segment that is not there.
func (b Blocks) Missing() erasure.Set {
	missing, _ := b.r.lacking()
	return missing
}

// Records returns the records of the batch.
func (b Blocks) Records() []Record { return b.r.records }

// Write writes the block of a shard, made anew if it is not there or wrong, to a segment, and returns when it is durable.
func (b Blocks) Write(file drive.File, shard int) error {
	r := b.r
	block := r.block(shard, r.header.off, r.header.shardLen(shard))
	if !r.loaded.Has(shard) || !r.good.Has(shard) {
		var err error
		if block, err = r.rebuild(shard); err != nil {
			return err
		}
	}
	return r.write(file, shard, block)
}

// Blocks calls fn with the batches of a sealed volume in order, each verified as a whole: those from the one that begins at from, or, if
// from is 0, all. The shards in eager are always read, others when they are needed. It ends early when fn returns an error.
func (j *Journal) Blocks(ctx context.Context, info VolumeInfo, from int64, eager erasure.Set, fn func(Blocks) error) error {
	v := j.opts.Volumes.Get(info.ID)
	if v == nil {
		return fmt.Errorf("%w: no drive holds a segment of volume %x", ErrUnavailable, info.ID)
	}
	r := newReader(ctx, &j.opts, v, eager, blocksWindow)
	defer r.close()
	e := expectation{number: 1, off: v.Start(), anyLSN: true}
	if from != 0 {
		e = expectation{off: from, any: true}
	}
	for e.off < info.End {
		if err := r.next(e); err != nil {
			return scanError(err)
		}
		if err := fn(Blocks{r}); err != nil {
			return err
		}
		e = r.following()
	}
	return nil
}
