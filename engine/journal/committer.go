package journal

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"penstock/ioring"
	"penstock/meta"
)

// committer makes batches of what is queued and writes them. All its fields are its goroutine's own.
type committer struct {
	j *Journal

	phase    phase
	inFlight []*batch // Submitted and not yet durable, oldest first.
	free     []*batch
	alive    int  // Batches there are, but for those that a drive does not give back.
	turn     bool // A batch has become durable, so what has gathered behind it goes.
	packer   packer

	// The open volume.
	vol      Volume
	next     header // Of the next batch, as far as it is known before its records are.
	prepared bool   // Prepare was called for its successor.
	broken   bool   // A drive of it failed.

	end      meta.Position // Behind the last durable batch, in whichever volume.
	trim     Volume        // Volume to trim once its successor is open.
	ghosts   []meta.VolumeID
	attempts int // Volumes in a row that failed before they were open.

	// While the first volume is not open: what it takes over, and of that, what goes into its first batch.
	inherit *inheritance
	carried *carried

	created chan creation
	memory  chan memory
	getting int // Calls for memory under way.
	timer   *time.Timer

	cleaning sync.WaitGroup // Trims and frees under way.
}

// phase is what the committer is at. It goes round: serving, draining, creating, starting, serving.
type phase uint8

const (
	phaseNone     phase = iota // No volume; the last attempt to make one failed.
	phaseServing               // Batches go to the open volume.
	phaseDraining              // The volume is full or broken; its last batches are in flight.
	phaseCreating              // A volume is being made.
	phaseStarting              // The batch that opens it waits for memory or is in flight.
)

// creation is the outcome of making a volume.
type creation struct {
	vol  Volume
	bufs []*ioring.Buf // Memory for all batches, with the first volume.
	err  error
}

// memory is memory for a batch, or nil if there was none to be had.
type memory struct{ buf *ioring.Buf }

func (c *committer) run() {
	j := c.j
	defer close(j.committing)
	defer close(j.durable)
	c.timer = time.NewTimer(time.Hour)
	c.timer.Stop()
	c.create()
	for {
		if err := j.stopped(); err != nil {
			c.failQueue(err)
		}
		c.step()
		if c.finished() {
			if c.inherit != nil {
				j.ready <- opening{err: j.Err()}
			}
			c.releaseAll()
			return
		}
		c.arm()
		select {
		case <-j.wake:
		case b := <-j.over:
			if !b.hung {
				c.settle(b)
			}
		case b := <-j.applied:
			c.recycle(b)
		case made := <-c.created:
			c.take(made)
		case m := <-c.memory:
			c.getting--
			if m.buf != nil {
				c.alive++
				c.recycle(newBatch(m.buf, c.isOver))
			}
		case <-c.timer.C:
			c.giveUp(time.Now())
		}
	}
}

// isOver is called by drives.
func (c *committer) isOver(b *batch) { c.j.over <- b }

// step does what can be done now.
func (c *committer) step() {
	if c.phase == phaseServing && c.j.isUnwanted(c.vol.ID()) {
		c.drain(false)
	}
	if c.phase == phaseServing {
		c.fill()
	}
	if c.phase == phaseDraining && c.allSettled() {
		c.leave()
	}
	if c.phase == phaseStarting && len(c.inFlight) == 0 && len(c.free) > 0 {
		c.begin()
	}
	if c.phase == phaseNone {
		c.j.mu.Lock()
		retry := c.j.queue.head != nil && c.j.err == nil
		c.j.wakeAt = 1
		c.j.mu.Unlock()
		if retry {
			c.create()
		}
	}
}

// finished reports whether the journal has ended and nothing is under way any more.
func (c *committer) finished() bool {
	c.j.mu.Lock()
	ended := c.j.err != nil || c.j.closing && c.j.queue.head == nil
	c.j.mu.Unlock()
	idle := len(c.inFlight) == 0 && len(c.free) == c.alive && c.getting == 0
	return ended && idle && c.phase != phaseCreating && (c.phase != phaseStarting || c.j.stopped() != nil)
}

// fill starts batches while there is something to write, memory to build it in, and room in flight.
func (c *committer) fill() {
	for c.phase == phaseServing {
		if len(c.free) == 0 || len(c.inFlight) >= c.j.opts.Depth {
			c.j.mu.Lock()
			c.j.wakeAt = never
			c.j.mu.Unlock()
			return
		}
		if len(c.inFlight) == 0 {
			// The first of those just woken is back before the others have run; alone in a batch it would hold them all up. One turn
			// of the scheduler lets them come along: 64 callers share a batch of 58 instead of 32 (BenchmarkAppend).
			runtime.Gosched()
		}
		b, misfit := c.gather()
		switch {
		case misfit != nil:
			c.fail(misfit, fmt.Errorf("%w: %d bytes on %d+%d drives", ErrTooLarge, misfit.framed, c.vol.K(), c.vol.M()))
		case b == nil:
			return
		default:
			c.turn = false
			c.submit(b)
		}
	}
}

// gather takes groups from the queue and lays a batch of them. It returns nil if none is due yet or the volume is to be left;
// a group that fits into no batch of this geometry comes back by itself.
func (c *committer) gather() (b *batch, misfit *Ticket) {
	j := c.j
	j.building.Lock()
	defer j.building.Unlock()
	b = c.free[len(c.free)-1]
	p := &c.packer
	k, m := c.vol.K(), c.vol.M()
	room := c.vol.Capacity() - c.next.off
	longest := int64(blockLen(j.opts.MaxShardLen))
	p.reset(k, m, int(c.next.number), int(min(room, longest)), len(b.mem))

	j.mu.Lock()
	good := k * min(goodShardLen, j.opts.MaxShardLen)
	if len(c.inFlight) == 0 {
		good = 1
	}
	due := j.queue.bytes >= good || c.turn && j.queue.bytes > 0
	if !due || j.err != nil {
		j.wakeAt = good
		c.turn = false
		j.mu.Unlock()
		return nil, nil
	}
	full := k * min(fullShardLen, j.opts.MaxShardLen)
	for j.queue.head != nil && p.bytes < full && c.place(j.queue.head) {
		b.tickets = append(b.tickets, j.queue.pop())
	}
	if len(b.tickets) == 0 && room >= longest {
		misfit = j.queue.pop() // The batch is empty and the volume is not full: it never fits.
	}
	j.mu.Unlock()

	if misfit != nil {
		return nil, misfit
	}
	if len(b.tickets) == 0 {
		c.drain(false)
		return nil, nil
	}
	c.free = c.free[:len(c.free)-1]
	c.lay(b)
	return b, nil
}

// place finds places for all records of a group.
func (c *committer) place(t *Ticket) bool {
	before := c.packer
	t.places = t.places[:0]
	for i := range t.entries {
		at, ok := c.packer.add(framedLen(t.entries[i].len()))
		if !ok {
			c.packer = before
			return false
		}
		t.places = append(t.places, at)
	}
	return true
}

// lay makes the batch of its tickets' records as the packer has placed them.
func (c *committer) lay(b *batch) {
	b.header = c.next
	b.lay(&c.packer)
	for _, t := range b.tickets {
		if t.source != nil {
			c.drop(t.source)
			t.source = nil
		}
	}
}

// drop notes that one ticket less lies in the memory of a batch that failed.
func (c *committer) drop(source *batch) {
	if source == nil {
		return
	}
	if source.users--; source.users == 0 {
		c.discard(source)
	}
}

// submit encodes the batch and hands it to the drives.
func (c *committer) submit(b *batch) {
	if err := b.encode(c.vol.Code()); err != nil {
		b.settled, b.failed = true, true
		c.inFlight = append(c.inFlight, b)
		c.j.stop(fmt.Errorf("%w: %w", ErrUnavailable, err))
		c.drain(true)
		return
	}
	h := &b.header
	c.next.number++
	c.next.off = h.end()
	c.next.firstLSN = h.lastLSN() + 1
	c.next.chain = h.sum
	c.inFlight = append(c.inFlight, b)
	b.begun = time.Now()
	b.due = b.begun.Add(c.j.opts.WriteTimeout)
	if !b.write(c.vol) {
		b.settled, b.failed = true, true
		c.drain(true)
		return
	}
	c.j.stats.submitted(b)
	if !c.prepared && c.next.off > c.vol.Capacity()/2 {
		c.prepared = true
		c.j.opts.Volumes.Prepare()
	}
}

// settle takes in the outcome of a batch whose writes are over or out of time.
func (c *committer) settle(b *batch) {
	b.settle(c.vol, c.j.opts.WriteTimeout)
	if b.hung {
		c.j.stats.hung.Add(1)
		c.alive--
		c.replace()
	}
	c.retire()
}

// retire passes on the batches that are durable with all before them.
func (c *committer) retire() {
	j := c.j
	for len(c.inFlight) > 0 && c.inFlight[0].settled && !c.inFlight[0].failed {
		b := c.inFlight[0]
		c.inFlight = append(c.inFlight[:0], c.inFlight[1:]...)
		c.end = b.out.Position
		c.next.watermark = b.header.number
		c.turn = true
		j.stats.committed(b, time.Since(b.begun))
		j.mu.Lock()
		j.open = infoOf(c.end)
		j.open.Open = true
		j.mu.Unlock()
		if b.start {
			c.serve(b.tickets[0])
		}
		j.durable <- b
	}
	for _, b := range c.inFlight {
		if b.failed {
			c.drain(true)
			return
		}
	}
}

// arm sets the timer to when the oldest batch in flight is out of time.
func (c *committer) arm() {
	c.timer.Stop()
	for _, b := range c.inFlight {
		if !b.settled {
			c.timer.Reset(time.Until(b.due))
			return
		}
	}
}

// patience is how many times WriteTimeout is waited for more drives than parity can replace. Then it is not they that hang: the
// machine was stopped or is starved, or all of them share what is. To give them all up would turn a pause into an outage.
const patience = 6

// giveUp settles the batches that are out of time.
func (c *committer) giveUp(now time.Time) {
	timeout := c.j.opts.WriteTimeout
	for _, b := range append([]*batch(nil), c.inFlight...) {
		switch {
		case b.settled || now.Before(b.due):
		case b.late() > b.header.m && now.Sub(b.begun) < patience*timeout && c.j.stopped() == nil:
			b.due = now.Add(timeout)
		default:
			c.settle(b)
		}
	}
}

// failQueue fails everything that waits.
func (c *committer) failQueue(err error) {
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for {
		c.j.mu.Lock()
		t := c.j.queue.head
		if t == nil {
			c.j.mu.Unlock()
			return
		}
		c.j.queue.pop()
		c.j.mu.Unlock()
		c.fail(t, err)
	}
}

// fail fails one group that was taken from the queue.
func (c *committer) fail(t *Ticket, err error) {
	if t.source != nil {
		err = fmt.Errorf("%w: %w", ErrUnknown, err) // A batch had it once, and may have reached some drives.
		c.drop(t.source)
		t.source = nil
	}
	t.finish(0, err)
}

// recycle makes a batch's memory available, in a larger piece if the geometry has grown meanwhile and there is one.
func (c *committer) recycle(b *batch) {
	b.reset()
	if c.alive > c.j.opts.Depth+1 { // What the first batch needed beyond the usual.
		c.alive--
		b.buf.Release()
		return
	}
	if c.vol != nil {
		if need := c.j.opts.batchMemLen(c.vol.K(), c.vol.M()); len(b.mem) < need {
			if buf := c.j.opts.Arena.TryGet(need); buf != nil {
				b.buf.Release()
				b = newBatch(buf, c.isOver)
			}
		}
	}
	c.free = append(c.free, b)
}

// discard is recycle for a batch that failed: what hangs stays with the drive.
func (c *committer) discard(b *batch) {
	if b.hung {
		b.buf.Release()
		return
	}
	c.recycle(b)
}

// replace gets new memory for what hangs. It may take until uploads give some back, so it does not hold up the committer.
func (c *committer) replace() {
	for c.alive+c.getting < c.j.opts.Depth+1 {
		c.getting++
		n := c.j.opts.batchMemLen(c.vol.K(), c.vol.M())
		go func() {
			buf, err := c.j.opts.Arena.Get(c.j.ctx, n)
			if err != nil {
				c.j.opts.Logger.Warn("the journal goes on with fewer batches in flight", "error", err)
			}
			c.memory <- memory{buf}
		}()
	}
}

func (c *committer) releaseAll() {
	for _, b := range c.free {
		b.buf.Release()
	}
	c.free = nil
	c.timer.Stop()
	c.cleaning.Wait()
}
