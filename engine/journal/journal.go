package journal

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"penstock/meta"
)

// never is a length of the queue at which nobody needs waking.
const never = math.MaxInt

// VolumeInfo says how much of a journal volume counts.
type VolumeInfo struct {
	ID        meta.VolumeID
	LastBatch uint64   // Number of the last batch.
	End       int64    // Offset behind it.
	EndLSN    meta.LSN // Last LSN in it.
	Open      bool     // The volume that batches go to. Of the others nothing behind End counts.
}

// opening is the outcome of opening a volume: the ticket of its first record and whether groups were carried over, or why it was not
// opened.
type opening struct {
	start   *Ticket
	carried bool
	err     error
}

func infoOf(p meta.Position) VolumeInfo {
	return VolumeInfo{ID: p.Volume, LastBatch: p.Batch, End: p.Next, EndLSN: p.LSN}
}

// Journal appends batches. All methods are safe for concurrent use.
//
// Two goroutines run it. The committer takes groups from the queue, makes batches of them, writes these, and deals with volumes
// that are full or have lost a drive. The applier hands durable batches to Apply, in order, and wakes those who wait.
type Journal struct {
	opts   Options
	ctx    context.Context // Ends when the journal is given up.
	cancel context.CancelFunc

	// building is held by the committer while it copies the bytes of groups it has taken from the queue.
	building sync.Mutex

	mu       sync.Mutex // Guards the fields below. Never held across I/O or a callback.
	queue    ticketQueue
	wakeAt   int             // Queued bytes from which the committer wants to be woken.
	closing  bool            // No more groups are taken in.
	err      error           // Why the journal has stopped for good; nil while it has not.
	position meta.Position   // Behind the last batch applied.
	sealed   []VolumeInfo    // Journal volumes still needed, by id, but for the open one.
	left     []meta.VolumeID // Journal volumes left behind, by id; see carried.
	open     VolumeInfo      // Zero while there is none.
	unwanted meta.VolumeID   // Volume to continue in another one; see Leave.

	wake    chan struct{} // Holds a token when the committer should look at the queue or the state.
	over    chan *batch   // Batches whose writes are over, to the committer.
	durable chan *batch   // Durable batches in order, to the applier.
	applied chan *batch   // Batches whose waiters are awake, back to the committer.
	ready   chan opening  // Gets the outcome of opening the first volume.

	committing, applying chan struct{} // Closed when the committer and the applier have gone.

	tickets sync.Pool // Of *Ticket.

	degradedLogged atomic.Int64 // When wrong bytes were last logged, in Unix seconds.

	stats counters
}

// inheritance is what a journal takes over from the one before it.
type inheritance struct {
	end     meta.Position   // Where it ended.
	listed  []VolumeInfo    // Volumes still needed besides the one it ended in.
	left    []meta.VolumeID // Volumes left behind.
	carried *carried        // nil if nothing is.
	tail    Volume          // To be trimmed.
	ghosts  []meta.VolumeID
}

// carried is the last groups of a journal, which it did not get onto all drives. They come to be in the first batch of the new
// volume, and the journal's end is before them. If that is before the tail's own first batch, the tail is left behind: nothing in it counts. It may
// yet show up again when a drive returns, with a batch that nobody was told of, and look like another journal's; so it is
// listed, with no batches.
type carried struct {
	end    meta.Position
	groups [][]Entry
}

// newJournal makes a journal that goes on where another one ended. It opens its first volume; j.ready says how that went. The applier is
// started by the caller.
func newJournal(opts Options, from inheritance) *Journal {
	j := &Journal{
		opts: opts, position: from.end, wakeAt: never,
		wake:       make(chan struct{}, 1),
		ready:      make(chan opening, 1),
		committing: make(chan struct{}),
		applying:   make(chan struct{}),
	}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	// No send to these may block: each batch is in one of them at most once, and besides those in use there can be
	// some given up that completed at the last moment.
	room := 4 * (opts.Depth + 1)
	j.over, j.durable, j.applied = make(chan *batch, room), make(chan *batch, room), make(chan *batch, room)
	c := &committer{
		j: j, end: from.end, inherit: &from, trim: from.tail, ghosts: from.ghosts,
		created: make(chan creation, 1),
		memory:  make(chan memory, room),
	}
	go c.run()
	return j
}

// Format opens the first journal of a store that has none.
func Format(ctx context.Context, opts Options) (*Journal, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	j := newJournal(opts, inheritance{})
	if err := j.opened(ctx, nil); err != nil {
		return nil, err
	}
	return j, nil
}

// opened waits until the first volume is open, calls before, starts the applier and waits until the volume's first batch is applied.
// If any of that fails the journal is gone.
func (j *Journal) opened(ctx context.Context, before func(carried bool) error) error {
	var o opening
	select {
	case o = <-j.ready:
	case <-ctx.Done():
		o.err = context.Cause(ctx)
	}
	if o.err == nil && before != nil {
		o.err = before(o.carried)
	}
	if o.err != nil {
		j.stop(ErrClosed)
	}
	go j.apply()
	if o.err == nil {
		_, o.err = o.start.Wait(context.Background())
	}
	if o.err != nil {
		j.stop(ErrClosed)
		<-j.applying
		return fmt.Errorf("opening the first journal volume: %w", o.err)
	}
	return nil
}

// refusal returns why no group is taken in. The caller holds mu.
func (j *Journal) refusal() error {
	switch {
	case j.err != nil:
		return j.err
	case j.closing:
		return ErrClosed
	}
	return nil
}

// stop ends the journal for good: what is queued fails, and so does what comes.
func (j *Journal) stop(err error) {
	j.mu.Lock()
	if j.err == nil {
		j.err = err
	}
	j.mu.Unlock()
	j.cancel()
	j.poke()
}

// Err returns why the journal takes in nothing more, or nil.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refusal()
}

func (j *Journal) stopped() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// poke makes the committer look around.
func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// apply is the applier.
func (j *Journal) apply() {
	defer close(j.applying)
	for b := range j.durable {
		err := j.stopped()
		if err == nil {
			if err = j.opts.Apply(&b.out); err != nil {
				err = fmt.Errorf("%w: applying the batch that ends at LSN %d: %w", ErrUnavailable, b.out.Position.LSN, err)
				j.opts.Logger.Error("the journal stops", "error", err)
				j.stop(err)
			}
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnknown, err) // Durable, so the next start will apply it.
		} else {
			j.mu.Lock()
			j.position = b.out.Position
			j.mu.Unlock()
		}
		for _, t := range b.tickets {
			t.finish(t.lsn, err)
		}
		j.applied <- b
	}
}

// Position returns the position behind the last batch applied.
func (j *Journal) Position() meta.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.position
}

// Volumes returns the journal volumes still needed, oldest first; the last one may be open.
func (j *Journal) Volumes() []VolumeInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	infos := slices.Clone(j.sealed)
	if j.open.ID != 0 {
		infos = append(infos, j.open)
	}
	return infos
}

// Freed says that sealed volumes are not needed any more: a durable record says so. Volumes opened from now on do not list them.
func (j *Journal) Freed(ids ...meta.VolumeID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sealed = slices.DeleteFunc(j.sealed, func(v VolumeInfo) bool { return slices.Contains(ids, v.ID) })
}

// Leave continues the journal in another volume, if the one of this id is open: it is to be moved, and nothing that is written is. It does not wait
// for that; nobody who appends notices.
func (j *Journal) Leave(id meta.VolumeID) {
	j.mu.Lock()
	j.unwanted = id
	j.mu.Unlock()
	j.poke()
}

// isUnwanted reports whether Leave was called for a volume.
func (j *Journal) isUnwanted(id meta.VolumeID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unwanted == id
}

// Close takes in no more groups, waits until those it has are durable and applied, and ends the journal. If ctx ends first,
// groups that no batch has taken fail. Memory that a hanging drive still uses goes back to the arena when the drive lets go of it.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	again := j.closing
	j.closing = true
	j.mu.Unlock()
	j.poke()
	var err error
	select {
	case <-j.applying:
	case <-ctx.Done():
		err = context.Cause(ctx)
		j.stop(ErrClosed)
		<-j.applying
	}
	if again {
		return ErrClosed
	}
	if err == nil {
		err = j.stopped()
	}
	return err
}
