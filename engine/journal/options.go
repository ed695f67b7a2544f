package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// Volume is a journal volume as this package needs it: segments on n = k + m drives, of which some may be missing.
// A *volume.Volume is one.
type Volume interface {
	ID() meta.VolumeID
	K() int
	M() int
	Code() *erasure.Code
	Start() int64    // Offset of the first batch, a multiple of 4096.
	Capacity() int64 // Offset behind the last byte there is room for.
	// Shard returns the segment of a shard, or nil when its drive is missing or has failed.
	Shard(i int) drive.File
	// Absent reports that the drive of a shard is there and works but holds no segment of the volume: it was never made
	// there, or has been lost.
	Absent(i int) bool
	// Fail gives up the drive of a shard for good.
	Fail(i int, err error)
	// Trim gives back the space behind end. Nothing is written to the volume afterwards.
	Trim(end int64) error
}

// Source is where journal volumes come from.
type Source interface {
	// Create makes a volume, of the newest epoch, on drives that work.
	Create(ctx context.Context) (Volume, error)
	// Prepare says that Create will be called soon.
	Prepare()
	// Get returns a volume, or nil if no drive holds a segment of it.
	Get(id meta.VolumeID) Volume
	// Volumes returns all journal volumes of which there is a segment, in any order.
	Volumes() []Volume
	// Free gives up a volume that was created and never used.
	Free(id meta.VolumeID)
}

// Hedger decides when a read that other shards can stand in for stops waiting for its drive.
type Hedger interface {
	After(*drive.Watch) time.Duration // How long to wait in any case;
	Step() time.Duration              // then as long again and again, until
	May(*drive.Watch) bool            // it may stop.
	Answered()                        // It did not have to.
}

// Options say what a journal stands on. Zero values stand for the defaults named.
type Options struct {
	Volumes Source        // Must be set.
	Arena   *ioring.Arena // Must be set. Memory for Depth+1 batches is taken from it at the start and kept.

	// Apply is called with each batch once it is durable, in the order of LSNs, one at a time, before those who wait for it
	// are woken. The batch and its records are valid during the call. An error stops the journal for
	// good: skipping a batch would make the index a view of something else. Must be set.
	Apply func(*Batch) error

	// Needed is asked by Recover, if it has replayed no more than a part of the newest volume, about each of the others: whether the
	// index, which by then has all that was replayed, counts anything in it. If not, the volume is dead or was freed by a record
	// that was not replayed, and it is dropped. nil means that all are needed.
	Needed func(meta.VolumeID) bool

	// Hedger decides when a read stops waiting for its drive. nil waits for hedgeAfter, always.
	Hedger Hedger

	Logger       *slog.Logger  // nil discards.
	MaxShardLen  int           // Bytes of payload in one data shard, and so of one group; 0 means DefaultMaxShardLen.
	Depth        int           // Batches in flight; 0 means DefaultDepth.
	WriteTimeout time.Duration // When a drive that has not finished a write is given up; 0 means DefaultWriteTimeout.
	ReadTimeout  time.Duration // The same for reads; 0 means DefaultReadTimeout.
	MemoryWait   time.Duration // How long Read waits for memory; 0 means DefaultMemoryWait.
}

const (
	// DefaultMaxShardLen leaves room for 1 MiB of bytes and everything that describes them.
	DefaultMaxShardLen = 1<<20 + 64<<10 - headerLen

	// MaxShardLenLimit is the largest MaxShardLen. It bounds what a reader takes from a header.
	MaxShardLenLimit = 16<<20 - headerLen

	// DefaultDepth: two batches keep the drives busy while one is applied and the next one gathers; more hide
	// the slowest of n drives.
	DefaultDepth = 4

	// DefaultWriteTimeout: the store promises to fence a drive that hangs within 5 s.
	DefaultWriteTimeout = 5 * time.Second

	// DefaultReadTimeout is for reads that nothing can stand in for.
	DefaultReadTimeout = 10 * time.Second

	// DefaultMemoryWait: clients exist that give up on a stall of one second.
	DefaultMemoryWait = 900 * time.Millisecond

	// maxQueueGroups and maxQueueBytes bound what waits for a batch; who comes later waits before it is queued.
	// Queued groups are memory of those who wait, so this bounds latency more than memory: at 1 GiB/s the queue is 60 ms long.
	maxQueueGroups = 8192
	maxQueueBytes  = 64 << 20

	// goodShardLen is the payload per data shard from which a batch need not wait for another one to complete:
	// the writes are then large enough to be worth their cost.
	goodShardLen = 128 << 10

	// fullShardLen is the payload per data shard at which a batch is full. Larger writes gain nothing and hold up
	// those who wait for them.
	fullShardLen = 256 << 10

	// maxAttempts bounds how many volumes in a row may fail at their first batch. Each failure gives up a drive, so it
	// is reached by a bug only.
	maxAttempts = erasure.MaxShards
)

var (
	// ErrUnavailable: the journal could not commit. Unless the error is ErrUnknown too, nothing was.
	ErrUnavailable = errors.New("journal unavailable")

	// ErrUnknown: the records may be on drives without having been acknowledged; the next start decides.
	ErrUnknown = errors.New("journal: outcome unknown")

	// ErrTooLarge: the group exceeds what one batch takes in every geometry.
	ErrTooLarge = errors.New("journal: group of records too large")

	// ErrClosed: the journal is closed; nothing was committed.
	ErrClosed = errors.New("journal closed")

	// ErrDamaged: bytes of batches known to have been durable cannot be decoded.
	ErrDamaged = errors.New("journal damaged")

	// ErrGap: the position to replay from does not connect with the journal that is there. An older index,
	// or a rebuild of it, is needed.
	ErrGap = errors.New("journal does not connect with the index")

	// ErrNoJournal: there is no journal volume with a batch in it.
	ErrNoJournal = errors.New("no journal")

	// ErrSplit: two journals continue the same one. Somebody has started the store on different drives at different times.
	ErrSplit = errors.New("journal has been continued twice")
)

// withDefaults checks o and fills in defaults.
func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Hedger == nil {
		o.Hedger = fixedHedger{}
	}
	if o.MaxShardLen == 0 {
		o.MaxShardLen = DefaultMaxShardLen
	}
	if o.Depth == 0 {
		o.Depth = DefaultDepth
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = DefaultReadTimeout
	}
	if o.MemoryWait == 0 {
		o.MemoryWait = DefaultMemoryWait
	}
	switch {
	case o.Volumes == nil || o.Arena == nil || o.Apply == nil:
		return o, errors.New("journal: Options without Volumes, Arena or Apply")
	case o.MaxShardLen < blockAlign-headerLen || o.MaxShardLen > MaxShardLenLimit:
		return o, fmt.Errorf("journal: MaxShardLen %d is not in %d to %d", o.MaxShardLen, blockAlign-headerLen, MaxShardLenLimit)
	case o.Depth < 1 || o.Depth > 64:
		return o, fmt.Errorf("journal: Depth %d is not in 1 to 64", o.Depth)
	}
	// The longest block is a whole one, so the limit is the payload that fills it.
	o.MaxShardLen = blockLen(o.MaxShardLen) - headerLen
	return o, nil
}

// batchMemLen returns the memory that a batch is given: one group of the largest size at the geometry's parity, or a full
// batch of every shard, whichever is more. A batch that would need more is closed before.
func (o *Options) batchMemLen(k, m int) int {
	largest := (1+m)*blockLen(o.MaxShardLen) + k*blockLen(1)
	full := (k + m) * blockLen(min(fullShardLen, o.MaxShardLen))
	return max(largest, full)
}
