package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
)

// presence finds drives that have gone without any operation failing: a directory that was moved, unmounted or emptied, a segment that was
// removed. What is open can be read and written as before, and the next start would find nothing of it. Such a drive is given up,
// so that what it held is made anew elsewhere while there are shards enough to make it of.
type presence struct {
	c *cell

	mu   sync.Mutex // Guards the fields below.
	busy map[drive.ID]bool
	gone map[drive.ID]string // Why the latest look found it gone. It takes two that agree: names come and go meanwhile.
}

func newPresence(c *cell) *presence {
	return &presence{c: c, busy: make(map[drive.ID]bool), gone: make(map[drive.ID]string)}
}

// run looks until ctx ends.
func (p *presence) run(ctx context.Context) {
	ticker := time.NewTicker(p.c.limits.present)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.look()
		}
	}
}

// look has every drive looked at that is not being looked at. It waits for none: their file systems may hang.
func (p *presence) look() {
	for _, d := range p.c.healthyDrives() {
		there, ok := d.(drive.Presence)
		if !ok || !p.begin(d.ID()) {
			continue
		}
		go func() { // Ends when nothing hangs. Whoever closes the drives waits for it.
			defer p.c.background.leave()
			why := p.visit(d, there)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.busy, d.ID())
			if why == nil {
				delete(p.gone, d.ID())
				return
			}
			if p.gone[d.ID()] == why.Error() {
				p.c.set.FailDrive(d.ID(), why)
			}
			p.gone[d.ID()] = why.Error()
		}()
	}
}

func (p *presence) begin(id drive.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[id] || !p.c.background.enter() {
		return false
	}
	p.busy[id] = true
	return true
}

// visit returns why a drive is not what it should be, or nil.
func (p *presence) visit(d drive.Drive, there drive.Presence) error {
	before := p.segments(d)
	why := there.Present(before)
	if why == nil {
		return nil
	}
	// A segment that was given up meanwhile has rightly lost its name.
	after := p.segments(d)
	return there.Present(slices.DeleteFunc(before, func(seg uint32) bool { return !slices.Contains(after, seg) }))
}

// presentDrives returns the healthy drives that are where they were opened, and gives up those that are not: whoever makes files by name would make
// them in whatever is there instead. One that does not answer in time is among them; it is fenced by those who wait for it.
func (c *cell) presentDrives() []drive.Drive {
	drives := c.healthyDrives()
	answers, _ := askDrives(drives, c.limits.present, func(d drive.Drive) error {
		if there, ok := d.(drive.Presence); ok {
			return there.Present(nil)
		}
		return nil
	})
	for _, a := range answers {
		if a.value != nil {
			c.set.FailDrive(a.drive.ID(), a.value)
			drives = slices.DeleteFunc(drives, func(d drive.Drive) bool { return d == a.drive })
		}
	}
	return drives
}

// segments returns the segments of volumes that a drive holds.
func (p *presence) segments(d drive.Drive) (segs []uint32) {
	for _, vol := range p.c.set.Volumes() {
		for i := range vol.N() {
			if f := vol.Shard(i); f != nil && f.Drive() == d {
				segs = append(segs, f.Seg())
			}
		}
	}
	return segs
}
