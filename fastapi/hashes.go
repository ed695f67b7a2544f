package fastapi

import (
	"sync"
	"sync/atomic"

	md5simd "github.com/minio/md5-simd"
)

// hashes hands out MD5 hashes. One stream of MD5 costs more than everything else an upload does, and sixteen streams in the
// lanes of one vector unit little more than one; but lanes pay only when several are filled.
type hashes struct {
	live  atomic.Int64 // Long bodies being hashed.
	start sync.Once
	lanes md5simd.Server // Set by start.
}

const (
	minLanes = 4 // Long bodies at once from which lanes are used.
	// minLaneLen is what makes a body long: handing blocks to the lanes costs more than hashing a short one.
	minLaneLen = 1 << 20
)

// newMD5 returns a hash for a body of size bytes. It must be closed.
func (h *hashes) newMD5(size int64) md5simd.Hasher {
	if size < minLaneLen {
		return md5simd.StdlibHasher()
	}
	live := h.live.Add(1)
	if live < minLanes {
		return &countedHash{md5simd.StdlibHasher(), h}
	}
	h.start.Do(func() { h.lanes = md5simd.NewServer() })
	return &countedHash{h.lanes.NewHash(), h}
}

// close stops the lanes; no hash may be in use.
func (h *hashes) close() {
	h.start.Do(func() {})
	if h.lanes != nil {
		h.lanes.Close()
	}
}

// countedHash is a long body's hash.
type countedHash struct {
	md5simd.Hasher
	of *hashes
}

func (c *countedHash) Close() {
	c.Hasher.Close()
	c.of.live.Add(-1)
}
