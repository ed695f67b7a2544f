package engine

import (
	"context"
	"fmt"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// start brings the cell up on its open drives: volumes, then the best state of the index that there is, then the journal from there on.
func (c *cell) start(ctx context.Context, known []drive.ID, memory int64) error {
	var err error
	c.smallMemory, c.uploadMemory, c.readMemory = newQuota(c.arena, smallShare), newQuota(c.arena, uploadShare), newQuota(c.arena, readShare)
	c.healMemory = newQuota(c.arena, healShare)
	c.set, err = volume.Open(ctx, volume.Options{
		Drives: c.drives.all(), Known: known, Cluster: c.clusterID, Cell: uint16(c.id), Parity: c.opts.Parity,
		JournalLen: c.opts.JournalSegment, BulkLen: c.opts.BulkSegment,
		Timeout: c.limits.create, OpenTimeout: c.limits.open, Arena: c.arena, Logger: c.log,
	})
	if err != nil {
		return err
	}
	_, rest := splitMemory(memory)
	spare := spareLen(len(c.drives.all()))
	if c.spare, err = ioring.NewArena(ioring.ArenaOptions{Size: spare, Node: -1, NoPrefault: true}); err != nil {
		return fmt.Errorf("%d MiB for compaction: %w", spare>>20, err)
	}
	rest -= spare
	c.cache = newBlobCache(rest / 3)
	c.memory = indexMemory(rest - rest/3)
	c.bulk, c.cold = &bulkWriter{set: c.set}, &bulkWriter{set: c.set, spare: true}
	b, err := c.recover(ctx, c.opts.RebuildIndex, "")
	if err != nil {
		return err
	}
	c.base.Store(b)
	if err := c.set.Confirm(); err != nil {
		return err
	}
	if err := c.ledger.load(b.index); err != nil {
		return err
	}
	if err := c.sweep(ctx, b); err != nil {
		return err
	}
	c.full.Store(c.set.Full(volume.Bulk))
	return c.trimBulk(b)
}

// spareRows is how many rows the stripes have that compaction writes, at most, and what it reads at a time.
const spareRows = 8

// spareLen is how much memory compaction has on so many drives, which are touched only when needed: for the shards of a batch of the largest size, or a
// stripe with what is read for it. Two drives may join and make volumes wider.
func spareLen(drives int) int64 {
	n := int64(min(drives+2, erasure.MaxShards))
	return (n*(maxRecordLen+64<<10) + 8<<20) &^ (2<<20 - 1)
}

// memories are the shares of the index.
type memories struct{ cache, memTable int64 }

// indexMemory: up to four memtables may be full at once, and they get half.
func indexMemory(n int64) memories {
	return memories{cache: n / 2, memTable: min(max(n/8, 1<<20), 64<<20)}
}

// sweep drops the blobs of uploads that ended with an earlier life of the process. Those of this one may yet be referenced.
func (c *cell) sweep(ctx context.Context, b *base) error {
	thisEpoch := meta.BlobID(uint64(c.set.Epoch()) << 32)
	after := meta.BlobID(0)
	for {
		ids, err := b.index.UnreferencedBlobs(after, sweepBatch)
		if err != nil {
			return err
		}
		for len(ids) > 0 && ids[len(ids)-1] >= thisEpoch {
			ids = ids[:len(ids)-1]
		}
		if len(ids) == 0 {
			return nil
		}
		if err := b.commit(&meta.DropBlobs{IDs: ids}); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
}

// sweepBatch is how many blobs one record drops.
const sweepBatch = 1000

// trimBulk gives back the room behind the last stripe of bulk volumes, of which none is open yet.
func (c *cell) trimBulk(b *base) error {
	for _, vol := range c.set.Volumes() {
		if vol.Class() != volume.Bulk {
			continue
		}
		end, err := b.bulkEnd(vol)
		if err != nil {
			return err
		}
		if end == 0 || !longer(vol, end) {
			continue // Nothing live: it will be freed whole. Or trimmed already, as all but those that were open last are.
		}
		if err := vol.Trim(end); err != nil {
			c.log.Warn("unused room of a volume cannot be given back", "volume", volume.Name(vol.ID()), "error", err)
		}
	}
	return nil
}

// longer reports whether some segment of a volume goes on behind end.
func longer(vol *volume.Volume, end int64) bool {
	for i := range vol.N() {
		if f := vol.Shard(i); f != nil && f.Size() > end {
			return true
		}
	}
	return false
}

// bulkEnd returns the offset behind the last live stripe of a bulk volume, or 0 if there is none.
func (b *base) bulkEnd(vol *volume.Volume) (end int64, err error) {
	off, id, found, err := b.index.LastExtent(vol.ID())
	if err != nil || !found {
		return 0, err
	}
	blob, found, err := b.index.GetBlob(id)
	if err != nil {
		return 0, err
	}
	for _, ext := range blob.Extents {
		if found && ext.Volume == vol.ID() && ext.Off == off {
			layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
			if err := layout.Check(); err != nil {
				return 0, err
			}
			return off + layout.ColumnLen(), nil
		}
	}
	return 0, fmt.Errorf("volume %s, offset %d: blob %x has no extent there: %w", volume.Name(vol.ID()), off, id, meta.ErrCorrupt)
}
