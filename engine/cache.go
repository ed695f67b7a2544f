package engine

import (
	"bytes"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"penstock/meta"
)

// blobCache keeps verified bytes: small objects, and those units of larger ones that are read one at a time, as the
// pages and footers of columnar files are. It is the only read cache: segments are opened O_DIRECT. Its admission policy is
// W-TinyLFU, which a scan of many objects read once does not flush. Blobs are immutable, and neither their ids nor
// the room of a stripe are ever used again under the same name, so nothing in it can go stale.
type blobCache struct {
	cache        *otter.Cache[cacheKey, []byte]
	hits, misses atomic.Int64
}

// cacheKey names a small blob, or a unit of a stripe.
type cacheKey struct {
	id   uint64 // Of the blob, or of the volume.
	off  int64  // Of the stripe in the volume; -1 for a blob.
	unit int    // Its index among the stripe's checksums.
}

func blobKey(id meta.BlobID) cacheKey { return cacheKey{id: uint64(id), off: -1} }

func unitKey(ext *meta.Extent, unit int) cacheKey {
	return cacheKey{id: uint64(ext.Volume), off: ext.Off, unit: unit}
}

// cacheOverhead is what an entry costs beside its bytes: node, map slot and slice header.
const cacheOverhead = 128

func newBlobCache(size int64) *blobCache {
	if size <= 0 {
		return &blobCache{}
	}
	return &blobCache{cache: otter.Must(&otter.Options[cacheKey, []byte]{
		MaximumWeight: uint64(size),
		Weigher:       func(_ cacheKey, b []byte) uint32 { return uint32(len(b) + cacheOverhead) },
	})}
}

func (c *blobCache) get(key cacheKey) ([]byte, bool) {
	if c.cache == nil {
		return nil, false
	}
	b, ok := c.cache.GetIfPresent(key)
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return b, ok
}

// put keeps a copy of the bytes, which must have been verified.
func (c *blobCache) put(key cacheKey, b []byte) {
	if c.cache != nil {
		c.cache.Set(key, bytes.Clone(b))
	}
}

// used returns the bytes that the cache takes.
func (c *blobCache) used() int64 {
	if c.cache == nil {
		return 0
	}
	return int64(c.cache.WeightedSize())
}
