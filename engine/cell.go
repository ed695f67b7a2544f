package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
	limits    limits
	log       *slog.Logger

	queue                                 ioring.Queue // nil when the drives bring their own (tests).
	arena                                 *ioring.Arena
	smallMemory, uploadMemory, readMemory *quota      // Parts of arena.
	healMemory                            *quota      // What goes on in the background may hold of it.
	memory                                memories    // Shares of the index.
	drives                                driveTable  // Present ones.
	source                                driveSource // Where others may come from; nil for nowhere.
	homecomer                             *homecomer  // Takes drives back.
	drainer                               *drainer
	node                                  int        // NUMA node.
	lifecycle                             sync.Mutex // Held by whoever has drives come or go.
	joined                                func()     // Called when a drive has come; nil for nothing.
	absent                                []string   // Paths given that held no usable drive at the start.
	hedger                                *hedger
	set                                   *volume.Set
	cache                                 *blobCache

	base      atomic.Pointer[base] // Never nil once the cell has started.
	recovered func(*base) error    // Called with each base after the first before it is used; nil for none.
	moving    atomic.Bool          // The base is being replaced because the index moves.
	shunned   map[drive.ID]bool    // Drives on which an index has failed. Owned by who starts the cell, then by supervise.
	hung      map[drive.ID]bool    // Drives whose file systems hang; zero for a directory on none of them. Owned likewise.

	bulk         *bulkWriter
	cold         *bulkWriter   // For what compaction writes again: it has lived for a while, and will live on longer than what is new.
	spare        *ioring.Arena // Memory of compaction.
	compaction   *compaction
	names        *keyLocks // Of the store: orders the changes of each bucket.
	maxBlobUnits int
	maxRecordLen int
	spareRow     chan struct{} // Holds the token of whoever has the cell's one row of memory for rewriting.
	full         atomic.Bool   // There is no room but the reserve. Kept by the recycler.
	tight        atomic.Bool   // Nor is there of that, but the last journal volume, which is for compaction. Kept by the recycler.
	locks        *keyLocks
	uploads      *uploadGates
	generations  *generations
	sequence     atomic.Uint64 // Of blob ids in this epoch.
	unfreed      sync.Map      // Journal volumes that a record says are gone, and whose segments somebody still pins: true.
	deaths       chan struct{} // Of capacity 1: some volume may have died.
	ledger       *ledger       // What is known to be missing.
	healer       *healer
	scrubber     *scrubber
	front        atomic.Int64 // Counts what clients have the drives do, for what goes on in the background.

	stop       context.CancelFunc // Ends the cell's own goroutines.
	tasks      sync.WaitGroup
	background gate // Of goroutines that may outlive what started them.

	stats cellStats
}

// cellStats count since start.
type cellStats struct {
	degradedReads atomic.Int64 // Reads that had to reconstruct.
	hedgedReads   atomic.Int64 // Reads of stripes that stopped waiting for a slow drive.
	parkedReads   atomic.Int64 // Times that a slow reader's memory was given to others.
	corruptUnits  atomic.Int64 // Units a drive returned that did not match their checksum.
	stripeRetries atomic.Int64 // Stripes written again because a drive failed under them.
	volumesFreed  atomic.Int64
	checkpoints   atomic.Int64
	failovers     atomic.Int64 // Times the index was replaced because it, its drive or the journal failed.
	healedShards  atomic.Int64 // Segments made anew on other drives.
	balancedLen   atomic.Int64 // Of these, bytes moved to emptier drives.
	healedLen     atomic.Int64 // Bytes written to them.
	mendedLen     atomic.Int64 // Bytes written again in place.
}

// limits say how long the cell waits for what, and how often it does what it does by itself.
type limits struct {
	write      time.Duration // A drive that has not finished a write is given up: the store promises to fence one that hangs within 5 s.
	hedge      time.Duration // A read that could be reconstructed instead stops waiting, at the latest, if there is credit for it (hedger);
	hedgeLeast time.Duration // and at the soonest: below, the scheduler's whims look like a slow drive.
	read       time.Duration // A read waits when there is nothing left to reconstruct from.
	fence      time.Duration // A drive from which no read comes back is given up: the store promises to fence one that hangs within 2 s.
	create     time.Duration // A drive is given up while a volume is made: longer, because taking space may wait for other work of the file system.
	open       time.Duration // A drive that does not answer is given up at the start: longer still, because it may have to spin up.
	stall      time.Duration // A drive on which a checkpoint or the index makes no progress is given up.
	compact    time.Duration // Compaction looks whether there is something to do.
	poll       time.Duration // The recycler looks at volumes that something still holds back.
	look       time.Duration // It looks at all volumes.
	flush      time.Duration // It flushes the index, at most so often.
	replay     meta.LSN      // A start has no more records than that to apply to the index again.
	leastGain  int64         // Compaction moves no volume to win less on each drive: so much is lost in rounding.
	checkpoint time.Duration // The index is copied to other drives while it changes, which bounds the replay after the loss of its drive;
	soonest    time.Duration // and at most so often when that would free space.
	retry      time.Duration // A failed index that could not be replaced is tried again; each time later.
	balance    time.Duration // The balancer compares the drives.
	heal       time.Duration // The healer looks for what is missing, and for what can be healed now.
	present    time.Duration // It is looked whether the drives are still there. It takes two looks, and healing begins within 10 s.
	settle     time.Duration // After a start, scrubbing lets everything else go first.
	again      time.Duration // It tries again what it could not heal; each time later.
}

var defaultLimits = limits{
	write: 4 * time.Second, hedge: 300 * time.Millisecond, hedgeLeast: 10 * time.Millisecond, read: 10 * time.Second,
	fence: 1500 * time.Millisecond, create: 4500 * time.Millisecond, open: 10 * time.Second,
	stall: 30 * time.Second, compact: 5 * time.Second, poll: 200 * time.Millisecond, look: 5 * time.Second, flush: time.Second,
	replay: maxReplayCount, leastGain: 64 << 10, checkpoint: 10 * time.Minute, soonest: 30 * time.Second, retry: time.Second,
	heal: time.Second, again: 5 * time.Second, present: 3 * time.Second, settle: time.Minute, balance: time.Minute,
}

func newCell(opts *Options, id int, cluster drive.ID) *cell {
	c := &cell{
		id: id, cluster: cluster.String(), clusterID: cluster, opts: opts,
		limits:       defaultLimits,
		log:          opts.Logger.With("cell", id),
		shunned:      make(map[drive.ID]bool),
		hung:         make(map[drive.ID]bool),
		maxBlobUnits: blobUnits,
		maxRecordLen: maxRecordLen,
		spareRow:     make(chan struct{}, 1),
		locks:        newKeyLocks(),
		uploads:      &uploadGates{gates: make(map[meta.UploadID]*uploadGate)},
		generations:  newGenerations(),
		compaction:   newCompaction(),
		deaths:       make(chan struct{}, 1),
		ledger:       newLedger(opts.Clock),
	}
	c.healer, c.scrubber = newHealer(c), newScrubber(c)
	c.homecomer, c.drainer = newHomecomer(c), newDrainer(c)
	if opts.tune != nil {
		opts.tune(c)
	}
	c.hedger = newHedger(&c.limits)
	return c
}

// journalSource lets the journal make and find its volumes.
type journalSource struct{ set *volume.Set }

func (c *cell) journalSource() journalSource { return journalSource{c.set} }

func (s journalSource) Create(ctx context.Context) (journal.Volume, error) {
	v, err := s.set.CreateSpare(ctx, volume.Journal)
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

// run starts the cell's own goroutines.
func (c *cell) run() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.tasks.Go(func() { c.supervise(ctx) })
	c.tasks.Go(func() { c.healer.run(ctx) })
	c.tasks.Go(func() { c.scrubber.run(ctx) })
	c.tasks.Go(func() { c.homecomer.run(ctx) })
	c.tasks.Go(func() { c.drainer.run(ctx) })
	c.tasks.Go(func() { (&balancer{c: c}).run(ctx) })
	c.tasks.Go(func() { newStallWatch(c).run(ctx) })
	c.tasks.Go(func() { newPresence(c).run(ctx) })
}

// close stops the cell in an orderly way: what is acknowledged is in the flushed index, so that the next start has nothing to replay.
// Requests that have not ended find nothing to work on.
func (c *cell) close(ctx context.Context) error {
	var errs []error
	if c.stop != nil {
		c.stop()
		c.tasks.Wait()
	}
	c.compaction.close()
	if b := c.base.Load(); b != nil && !b.over {
		errs = append(errs, b.close(ctx))
	}
	errs = append(errs, c.background.shut(ctx))
	if c.set != nil {
		errs = append(errs, c.set.Close())
		c.homecomer.closeLeftovers(true)
	}
	for _, d := range c.drives.all() {
		errs = append(errs, d.Close())
	}
	if c.queue != nil {
		errs = append(errs, c.queue.Close())
	}
	for _, arena := range []*ioring.Arena{c.arena, c.spare} {
		if arena == nil {
			continue
		}
		// With a buffer still in use the memory is left: whoever has it must not find it gone.
		if in := arena.Stats().InUse; in > 0 {
			errs = append(errs, fmt.Errorf("%d bytes of buffers are still in use: a drive hangs, or a request has not ended", in))
		} else {
			errs = append(errs, arena.Close())
		}
	}
	return errors.Join(errs...)
}

// close ends the base for good.
func (b *base) close(ctx context.Context) error {
	if b.replaced.Load() {
		return nil // The store is closed while there is no other yet.
	}
	defer b.abandon()
	ended := b.end(ctx)
	errs := []error{ended, b.journal.Close(ctx)}
	if ended != nil {
		return errors.Join(errs...) // Somebody still uses the index.
	}
	if err := b.index.Flush(ctx); err != nil && ctx.Err() == nil {
		errs = append(errs, err)
	}
	closed := make(chan error, 1)
	go func() { closed <- b.index.Close() }() // Which may hang with its drive: then it is left behind.
	select {
	case err := <-closed:
		return errors.Join(append(errs, err)...)
	case <-ctx.Done():
		return errors.Join(append(errs, fmt.Errorf("the index in %s: %w", b.place.dir, errHangs))...)
	}
}
