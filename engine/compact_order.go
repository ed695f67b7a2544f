package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

// compactOrder is somebody's wish that everything be moved that is worth moving, now. It outlives the base: what one leaves
// undone, the next one goes on with.
type compactOrder struct {
	ctx  context.Context // Ends when the order is taken back.
	stop context.CancelFunc
	done chan struct{} // Closed when err is known.
	err  error
}

// open reports whether the order is still to be carried out.
func (o *compactOrder) open() bool {
	if o == nil {
		return false
	}
	select {
	case <-o.done:
		return false
	default:
		return true
	}
}

// StartCompaction begins to move what lives out of every volume in which there is some waste, as fast as requests allow, unless that is
// under way. CompactStatus says how far it is.
func (s *Store) StartCompaction() {
	for _, c := range s.cells {
		c.compaction.start()
	}
}

// StopCompaction takes that back. What was moved stays moved, and compaction goes on by itself as it did before.
func (s *Store) StopCompaction() {
	for _, c := range s.cells {
		c.compaction.stop()
	}
}

// Compact is StartCompaction, but returns when the volumes that were moved are free, or as soon as ctx ends; then it is taken
// back. Volumes that cannot be read stay.
func (s *Store) Compact(ctx context.Context) error {
	orders := make([]*compactOrder, len(s.cells))
	for i, c := range s.cells {
		orders[i] = c.compaction.start()
	}
	var errs []error
	for i, c := range s.cells {
		errs = append(errs, c.compaction.await(ctx, orders[i]))
	}
	return storeError("Compact", "", "", errors.Join(errs...))
}

// start returns the order under way, or a new one.
func (k *compaction) start() *compactOrder {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.order.open() {
		return k.order
	}
	o := &compactOrder{done: make(chan struct{})}
	o.ctx, o.stop = context.WithCancel(context.Background())
	k.order = o
	k.hurry.Store(true)
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return o
}

func (k *compaction) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.order != nil {
		k.order.stop()
	}
}

// end closes an order.
func (k *compaction) end(o *compactOrder, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o.stop()
	if o.open() {
		o.err = err
		close(o.done)
	}
	k.relax()
}

// close ends what is asked for: nobody will do it any more.
func (k *compaction) close() {
	k.mu.Lock()
	o := k.order
	k.mu.Unlock()
	if o != nil {
		k.end(o, volume.ErrClosed)
	}
	close(k.closed)
}

// relax ends the hurry once everything is there that somebody waits for. k.mu is held.
func (k *compaction) relax() {
	if !k.order.open() && len(k.moved) == 0 {
		k.hurry.Store(false)
	}
}

// await waits until the order was carried out and the volumes are freed that were moved until then.
func (k *compaction) await(ctx context.Context, o *compactOrder) error {
	select {
	case <-o.done:
	case <-ctx.Done():
		o.stop()
		return ctx.Err()
	}
	if o.err != nil {
		return o.err
	}
	return k.awaitFreed(ctx, k.waiting())
}

// waiting returns the volumes of which nothing is needed any more.
func (k *compaction) waiting() []meta.VolumeID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.moved))
}

// freedPoll is how often it is looked at whether what is waited for has been freed.
const freedPoll = 10 * time.Millisecond

// awaitFreed waits until the volumes are freed.
func (k *compaction) awaitFreed(ctx context.Context, left []meta.VolumeID) error {
	poll := time.NewTicker(freedPoll)
	defer poll.Stop()
	for {
		left = slices.DeleteFunc(left, func(id meta.VolumeID) bool { return !k.isMoved(id) })
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.closed:
			return volume.ErrClosed
		case <-poll.C:
		}
	}
}

// serve carries out the order that there is, if any. If ctx ends meanwhile it stays open.
func (k *compactor) serve(ctx context.Context) {
	k.mu.Lock()
	o := k.order
	k.mu.Unlock()
	if !o.open() {
		return
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.ctx, cancel)()
	newest := k.newest() // What is written from now on need not be looked at.
	err := k.pass(both, func(s *spaceSurvey) *sparse { return s.pick(newest, 0) })
	if ctx.Err() == nil {
		k.end(o, err)
	}
}
