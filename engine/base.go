package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/meta"
)

// errDown: the cell's index or journal has failed and is being replaced, or the store is being closed.
var errDown = errors.New("the index is not available now")

// base is what the cell's answers rest on: the index, and the journal that feeds it. When one of them fails both are replaced
// (failover.go). An operation that decided something by looking at a base commits to the journal of that same base or
// not at all: what is durable and was not acknowledged becomes visible only in the next one.
type base struct {
	c       *cell
	place   indexPlace
	index   *meta.Index
	rebuild *meta.Rebuild // Takes the batches instead of the index while that is rebuilt.
	journal *journal.Journal
	over    bool // It has failed and was ended; set by supervise, for close, which waits for that first.

	// gate is held by whoever uses the index. It is the innermost lock: who holds it waits for the journal and for nothing else, least of
	// all for memory, a client or another lock.
	gate gate

	// ctx ends when whoever waits for the journal is to wait no longer, because it hangs with the index.
	ctx     context.Context
	abandon context.CancelFunc

	copying sync.Mutex // Held by whoever makes a copy of the index, for there is one place to make it in.

	replaced atomic.Bool // endBase closes it, or has.

	viewsMu sync.Mutex // Guards views.
	views   map[*handle]*meta.View
}

func (c *cell) newBase(place indexPlace, x *meta.Index) *base {
	b := &base{c: c, place: place, index: x, views: make(map[*handle]*meta.View)}
	b.ctx, b.abandon = context.WithCancel(context.Background())
	return b
}

// indexPlace is where an index lies, or may be put.
type indexPlace struct {
	fs    meta.FS
	dir   string
	drive drive.Drive // nil when it is on none of the cell's.
}

// id is that of its drive, or zero.
func (p indexPlace) id() (id drive.ID) {
	if p.drive != nil {
		id = p.drive.ID()
	}
	return id
}

// enter takes the gate of the current base. leave must follow. While a base is being replaced, which usually takes a fraction of
// a second, it waits as long as a client may be kept waiting: the loss of a drive is nothing that clients should notice. The
// caller holds no gate, so the replacement does not wait for it.
func (c *cell) enter() (*base, error) {
	b := c.base.Load()
	err := b.enter()
	for waited := time.Duration(0); err != nil && (waited < admissionWait || c.moving.Load() && waited < moveWait); waited += replacePoll {
		time.Sleep(replacePoll)
		b = c.base.Load()
		err = b.enter()
	}
	return b, err
}

// moveWait is how long a request waits for an index that is being moved by order: nothing has failed, so it is not to be noticed.
const moveWait = 30 * time.Second

// replacePoll is how often a request that waits for the next base looks for it.
const replacePoll = 10 * time.Millisecond

func (b *base) enter() error {
	if !b.gate.enter() {
		return errDown
	}
	return nil
}

func (b *base) leave() { b.gate.leave() }

// end keeps everybody out, waits until those inside have left, and closes their views. It returns ctx's error if they do not leave in time:
// then the index must not be closed.
func (b *base) end(ctx context.Context) error {
	if err := b.gate.shut(ctx); err != nil {
		return err
	}
	b.viewsMu.Lock()
	defer b.viewsMu.Unlock()
	var errs []error
	for h, view := range b.views {
		errs = append(errs, view.Close())
		delete(b.views, h)
	}
	return errors.Join(errs...)
}

// apply brings the index up to date with one durable batch. It is the journal's Apply.
//
// If that fails nobody may look at the index any more: what the batch says will be true once it is replaced, and who is now told that the
// outcome is unknown would see it absent first.
func (b *base) apply(batch *journal.Batch) error {
	err := b.tryApply(batch)
	if err != nil {
		b.gate.close()
	}
	return err
}

func (b *base) tryApply(batch *journal.Batch) error {
	applied := make([]meta.Applied, len(batch.Records))
	for i := range batch.Records {
		applied[i] = appliedOf(&batch.Records[i])
	}
	if b.rebuild != nil {
		for i := range applied {
			if err := b.rebuild.Load(applied[i]); err != nil {
				return fmt.Errorf("load LSN %d: %w", applied[i].LSN, err)
			}
		}
		return nil
	}
	effects, err := b.index.Apply(batch.Position, applied)
	if err != nil {
		return fmt.Errorf("apply LSN %d to %d: %w", batch.Records[0].LSN, batch.Position.LSN, err)
	}
	if len(effects.DeadVolumes) > 0 {
		b.c.noteDeaths()
	}
	return nil
}

// appliedOf is a record as the index takes it.
func appliedOf(r *journal.Record) meta.Applied {
	a := meta.Applied{LSN: r.LSN, Loc: r.Loc, Payload: r.Payload}
	if r.Origin != r.LSN {
		a.Origin = r.Origin // To the index, having one means to be a copy.
	}
	return a
}

// noteDeaths has the recycler look for volumes that died.
func (c *cell) noteDeaths() {
	select {
	case c.deaths <- struct{}{}:
	default:
	}
}

// needed reports whether the index counts anything in a journal volume. It is the journal's Needed.
func (b *base) needed(id meta.VolumeID) bool {
	u, err := b.index.VolumeUsage(id)
	return err != nil || u.Live > 0 || u.Tombstones > 0
}

// gate lets any number of users in until it is shut. The zero gate is open.
type gate struct {
	users   atomic.Int64 // shutGate and more once it is shut.
	mu      sync.Mutex   // Guards drained.
	drained chan struct{}
}

// shutGate is far above any number of users.
const shutGate = 1 << 40

// enter reports whether the gate is open; if so leave must follow.
func (g *gate) enter() bool {
	if g.users.Add(1) < shutGate {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.users.Add(-1) == shutGate {
		g.drain()
	}
}

func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	select {
	case <-g.drained:
	default:
		close(g.drained)
	}
}

// close keeps newcomers out. It returns what tells that the last user has left.
func (g *gate) close() (drained <-chan struct{}) {
	g.mu.Lock()
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	drained = g.drained
	g.mu.Unlock()
	for {
		n := g.users.Load()
		if n >= shutGate {
			return drained
		}
		if g.users.CompareAndSwap(n, n+shutGate) {
			if n == 0 {
				g.drain()
			}
			return drained
		}
	}
}

// isShut reports whether newcomers are kept out.
func (g *gate) isShut() bool { return g.users.Load() >= shutGate }

// shut keeps newcomers out and waits until the last user has left. It may be called again.
func (g *gate) shut(ctx context.Context) error {
	drained := g.close()
	select {
	case <-drained:
		return nil
	default:
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
