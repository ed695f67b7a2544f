package engine

import (
	"bytes"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"penstock/meta"
)

// blobCache keeps the verified bytes of small objects. It is the only read cache: segments are opened O_DIRECT. Its admission policy is
// W-TinyLFU, which a scan of many objects read once does not flush. Blobs are immutable and their ids are never used
// again, so nothing in it can go stale.
type blobCache struct {
	cache        *otter.Cache[meta.BlobID, []byte]
	hits, misses atomic.Int64
}

// cacheOverhead is what an entry costs beside its bytes: node, map slot and slice header.
const cacheOverhead = 128

func newBlobCache(size int64) *blobCache {
	if size <= 0 {
		return &blobCache{}
	}
	return &blobCache{cache: otter.Must(&otter.Options[meta.BlobID, []byte]{
		MaximumWeight: uint64(size),
		Weigher:       func(_ meta.BlobID, b []byte) uint32 { return uint32(len(b) + cacheOverhead) },
	})}
}

func (c *blobCache) get(id meta.BlobID) ([]byte, bool) {
	if c.cache == nil {
		return nil, false
	}
	b, ok := c.cache.GetIfPresent(id)
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return b, ok
}

// put keeps a copy of the bytes, which must have been verified.
func (c *blobCache) put(id meta.BlobID, b []byte) {
	if c.cache != nil {
		c.cache.Set(id, bytes.Clone(b))
	}
}

// used returns the bytes that the cache takes.
func (c *blobCache) used() int64 {
	if c.cache == nil {
		return 0
	}
	return int64(c.cache.WeightedSize())
}
