package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"penstock/ioring"
	"penstock/meta"
)

// Changing volumes. The old volume takes no more batches; when the last one in flight is settled it ends behind the last batch that
// is durable with all before it. What did not get that far goes back to the front of the queue. A new volume is made, without
// the drives that failed, and its first batch holds nothing but a journal start record, which lists the volumes still needed and
// where they end. Only when that batch is durable are others written to the volume. So a volume with a second batch has been open for certain,
// and one without a readable first batch has never held anything but its start.

// maxLeft bounds the list of volumes left behind. Each is the trace of a start that was interrupted while a drive was missing; of
// so many, the oldest have long been recycled on all drives.
const maxLeft = 64

// drain stops writing to the open volume. broken says that it lost a drive.
func (c *committer) drain(broken bool) {
	c.broken = c.broken || broken
	if c.phase == phaseServing || c.phase == phaseStarting {
		c.phase = phaseDraining
	}
	c.j.mu.Lock()
	c.j.wakeAt = never
	c.j.mu.Unlock()
}

func (c *committer) allSettled() bool {
	for _, b := range c.inFlight {
		if !b.settled {
			return false
		}
	}
	return true
}

// leave seals the open volume, whose batches are all settled.
func (c *committer) leave() {
	j := c.j
	for i := len(c.inFlight) - 1; i >= 0; i-- {
		c.requeue(c.inFlight[i])
	}
	clear(c.inFlight)
	c.inFlight = c.inFlight[:0]
	if c.end.Volume == c.vol.ID() {
		j.mu.Lock()
		j.sealed = append(j.sealed, infoOf(c.end))
		j.open = VolumeInfo{}
		j.mu.Unlock()
		c.trim = c.vol
		c.attempts = 0
	} else {
		c.ghosts = append(c.ghosts, c.vol.ID())
		c.attempts++
	}
	if c.broken {
		j.stats.failovers.Add(1)
		j.opts.Logger.Warn("a journal volume lost a drive and is continued in another one",
			"volume", fmt.Sprintf("%x", c.vol.ID()), "batch", c.end.Batch, "lsn", c.end.LSN)
	}
	c.vol, c.broken = nil, false
	if err := j.stopped(); err != nil {
		c.phase = phaseNone
		return
	}
	if c.attempts >= maxAttempts {
		c.attempts = 0
		c.without(fmt.Errorf("%d volumes in a row failed at their first batch", maxAttempts))
		return
	}
	c.create()
}

// requeue puts the groups of a batch that does not count back to the front of the queue. They stay in its memory until they
// are copied from there.
func (c *committer) requeue(b *batch) {
	if b.start {
		c.discard(b)
		return
	}
	c.j.mu.Lock()
	for i := len(b.tickets) - 1; i >= 0; i-- {
		t := b.tickets[i]
		t.source = b
		c.j.queue.pushFront(t)
	}
	c.j.mu.Unlock()
	b.users = len(b.tickets)
}

// create makes a volume in the background, for space may have to be taken on every drive.
func (c *committer) create() {
	c.phase = phaseCreating
	bare := c.alive+c.getting == 0 && c.inherit != nil // No memory was taken yet.
	go func() {
		var made creation
		made.vol, made.err = c.j.opts.Volumes.Create(c.j.ctx)
		if made.err == nil && bare {
			made.bufs, made.err = c.reserve(made.vol)
		}
		c.created <- made
	}()
}

// reserve takes the memory for all batches, for as long as the journal lives: if it had to ask when uploads hold the
// rest, it would wait for uploads that wait for it.
func (c *committer) reserve(v Volume) ([]*ioring.Buf, error) {
	ctx, cancel := context.WithTimeout(c.j.ctx, c.j.opts.WriteTimeout)
	defer cancel()
	n := c.j.opts.batchMemLen(v.K(), v.M())
	var bufs []*ioring.Buf
	for range c.j.opts.Depth + 1 { // One more than are in flight: the memory to write again what failed.
		buf, err := c.j.opts.Arena.Get(ctx, n)
		if err != nil {
			for _, buf := range bufs {
				buf.Release()
			}
			return nil, fmt.Errorf("memory for %d batches of %d bytes: %w", c.j.opts.Depth+1, n, err)
		}
		bufs = append(bufs, buf)
	}
	return bufs, nil
}

// take continues in the volume that was made.
func (c *committer) take(made creation) {
	for _, buf := range made.bufs {
		c.alive++
		c.recycle(newBatch(buf, c.isOver))
	}
	if made.err == nil {
		room := made.vol.Capacity() - made.vol.Start()
		if need := int64(2 * blockLen(c.j.opts.MaxShardLen)); room < need {
			made.err = fmt.Errorf("volume %x has room for %d bytes on each drive, batches need %d", made.vol.ID(), room, need)
		}
	}
	if made.err != nil {
		if made.vol != nil {
			c.ghosts = append(c.ghosts, made.vol.ID())
		}
		c.without(made.err)
		return
	}
	c.vol, c.prepared = made.vol, false
	if c.inherit != nil {
		c.inheritEnd()
	}
	var salt [8]byte
	rand.Read(salt[:])
	c.next = header{
		volume: c.vol.ID(), salt: binary.LittleEndian.Uint64(salt[:]),
		number: 1, off: c.vol.Start(), firstLSN: c.end.LSN + 1, chain: c.end.Chain,
	}
	c.phase = phaseStarting
}

// without goes on with no volume: everything that waits fails, and the next group to come tries again.
func (c *committer) without(err error) {
	c.phase = phaseNone
	c.j.opts.Logger.Error("no journal volume can be opened", "error", err)
	c.failQueue(err)
	if c.inherit != nil {
		c.inherit = nil
		c.j.ready <- opening{err: err}
	}
}

// inheritEnd decides where the journal that is continued ends: before what is carried over, if that fits into the first batch.
func (c *committer) inheritEnd() {
	in := c.inherit
	c.end, c.carried = in.end, nil
	if in.carried == nil {
		c.list()
		return
	}
	c.end, c.carried = in.carried.end, in.carried
	c.list()
	arena := c.j.opts.Arena
	ok := c.placeAll(c.openers(), arena.MaxBuf())
	if n := c.packer.mem(); ok && n > c.j.opts.batchMemLen(c.vol.K(), c.vol.M()) {
		if buf := arena.TryGet(n); buf != nil {
			c.alive++
			c.free = append(c.free, newBatch(buf, c.isOver))
		} else {
			ok = false
		}
	}
	if !ok {
		// Then they count where they are, and the drives that are missing are missed there until they are healed.
		c.j.opts.Logger.Warn("the last batches of the journal stay without some of their shards", "volume", fmt.Sprintf("%x", in.end.Volume))
		c.end, c.carried = in.end, nil
		c.list()
	}
}

// list sets what the volume that is to be opened lists, while it is the first.
func (c *committer) list() {
	in := c.inherit
	sealed, left := slices.Clone(in.listed), slices.Clone(in.left)
	if c.end.Volume != 0 && (len(sealed) == 0 || sealed[len(sealed)-1].ID != c.end.Volume) {
		sealed = append(sealed, infoOf(c.end))
	}
	if in.tail != nil && c.end.Volume != in.tail.ID() {
		left = append(left, in.tail.ID())
	}
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	c.j.sealed, c.j.left = sealed, left[max(0, len(left)-maxLeft):]
}

// openers returns the groups of the volume's first batch: its start record and what is carried over.
func (c *committer) openers() []*Ticket {
	var start meta.JournalStart
	c.j.mu.Lock()
	for _, v := range c.j.sealed {
		start.Volumes = append(start.Volumes, meta.JournalVolume{ID: v.ID, LastBatch: v.LastBatch, End: v.End, EndLSN: v.EndLSN})
	}
	for _, id := range c.j.left {
		start.Volumes = append(start.Volumes, meta.JournalVolume{ID: id})
	}
	c.j.mu.Unlock()
	groups := [][]Entry{{{Head: start.AppendTo(nil)}}}
	if c.carried != nil {
		groups = append(groups, c.carried.groups...)
	}
	list := make([]*Ticket, len(groups))
	for i, group := range groups {
		list[i] = c.j.newTicket()
		list[i].entries = append(list[i].entries, group...)
	}
	return list
}

// placeAll finds places for the groups of the volume's first batch. What is carried over may make it longer than others.
func (c *committer) placeAll(groups []*Ticket, memLen int) bool {
	longest := int64(blockLen(c.j.opts.MaxShardLen))
	if c.carried != nil {
		longest = min(c.vol.Capacity()-c.vol.Start(), int64(blockLen(MaxShardLenLimit)))
	}
	c.packer.reset(c.vol.K(), c.vol.M(), 1, int(longest), memLen)
	for _, t := range groups {
		if !c.place(t) {
			return false
		}
	}
	return true
}

// begin writes the batch that opens the volume.
func (c *committer) begin() {
	i := 0
	for at, b := range c.free {
		if len(b.mem) > len(c.free[i].mem) {
			i = at
		}
	}
	b := c.free[i]
	groups := c.openers()
	if !c.placeAll(groups, len(b.mem)) {
		c.j.stop(fmt.Errorf("%w: what opens a journal volume does not fit into a batch", ErrUnavailable))
		c.phase = phaseNone
		return
	}
	c.free = slices.Delete(c.free, i, i+1)
	b.start = true
	b.tickets = append(b.tickets, groups...)
	c.lay(b)
	c.submit(b)
}

// serve lets batches go to the volume: it is open.
func (c *committer) serve(start *Ticket) {
	j := c.j
	c.phase = phaseServing
	c.attempts = 0
	j.stats.volumes.Add(1)
	trim, ghosts := c.trim, c.ghosts
	c.trim, c.ghosts = nil, nil
	if c.inherit != nil {
		j.mu.Lock()
		if trim != nil && slices.Contains(j.left, trim.ID()) {
			ghosts = append(ghosts, trim.ID()) // All that it held was carried over.
		}
		j.mu.Unlock()
		c.inherit = nil
		j.ready <- opening{start: start, carried: c.carried != nil}
		c.carried = nil
	}
	var end int64
	if trim != nil {
		j.mu.Lock()
		for _, v := range j.sealed {
			if v.ID == trim.ID() {
				end = v.End
			}
		}
		j.mu.Unlock()
	}
	c.cleaning.Go(func() {
		if end != 0 {
			if err := trim.Trim(end); err != nil {
				j.opts.Logger.Warn("a sealed journal volume keeps its unused space", "volume", fmt.Sprintf("%x", trim.ID()), "error", err)
			}
		}
		for _, id := range ghosts {
			j.opts.Volumes.Free(id)
		}
	})
}
