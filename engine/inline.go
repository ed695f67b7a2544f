package engine

import (
	"context"
	"errors"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// inlineRead reads the bytes of an object that lies inside a journal record. They are verified as a whole, whatever part is wanted.
type inlineRead struct {
	c      *cell
	blob   meta.BlobID
	ext    meta.Extent
	off, n int64
}

// startInline returns the bytes at once if the cache has them.
func (c *cell) startInline(blob meta.BlobID, ext meta.Extent, off, n int64) (*inlineRead, window) {
	if bytes, ok := c.cache.get(blobKey(blob)); ok && int64(len(bytes)) == ext.Len {
		return nil, window{bytes: bytes[off : off+n]}
	}
	return &inlineRead{c: c, blob: blob, ext: ext, off: off, n: n}, window{}
}

func (r *inlineRead) finish(ctx context.Context) (window, error) {
	buf, bytes, err := r.c.readInline(ctx, r.ext)
	if err != nil {
		return window{}, err
	}
	r.c.cache.put(blobKey(r.blob), bytes)
	return window{bytes: bytes[r.off : r.off+r.n : r.off+r.n], buf: buf}, nil
}

// readInline returns the verified bytes of an inline extent, in arena memory that the caller releases.
func (c *cell) readInline(ctx context.Context, ext meta.Extent) (*ioring.Buf, []byte, error) {
	c.front.Add(1)
	verify := func(b []byte) bool { return erasure.Checksum(b) == ext.Sum }
	// A journal whose base has ended reads as well as any: reading takes its volumes alone.
	buf, bytes, degraded, err := c.base.Load().journal.Read(ctx, ext.At, 0, int(ext.Len), verify)
	if degraded {
		c.stats.degradedReads.Add(1)
		if vol := c.set.Get(ext.Volume); vol != nil {
			if file := vol.Shard(int(ext.At.Shard)); file != nil && !file.Drive().Watch().Avoid() { // What was not asked lacks nothing.
				// The batch is looked at as a whole.
				c.ledger.note(vol.ID(), int(ext.At.Shard), meta.CauseUnreadable, meta.Range{Off: ext.At.Batch, Len: drive.BlockLen})
			}
		}
	}
	if err != nil {
		if errors.Is(err, journal.ErrDamaged) {
			err = errors.Join(err, errCorrupt)
		}
		return nil, nil, err
	}
	return buf, bytes, nil
}
