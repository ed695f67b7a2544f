package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// homecomer looks after the drives of a cell that are missing or have failed, and takes them back when they are there again. One goroutine
// looks around; it never waits for a drive.
//
// A drive that was away, so that something else or nothing was to be seen in its place, is taken back as soon as it is seen again. One that has
// failed and is still there may be well again, as drives are that hang for a while, or may fail again soon: each time
// it is waited longer for. Nobody has anything under way on it then, so what it was once given and has not
// done yet cannot come true later.
//
// An empty directory where a drive was may be a missing mount, and is left alone, unless Options.ReplaceEmpty says that it is the
// drive's replacement.
type homecomer struct {
	c *cell

	mu    sync.Mutex // Guards the fields below.
	looks map[string]*look
	waits map[drive.ID]*homeWait
	left  []leftover
}

// look is what was seen where a drive was or could be.
type look struct {
	busy   bool // Somebody is there, perhaps for ever.
	reason string
}

// homeWait is what is known of a drive that is not here.
type homeWait struct {
	failed   time.Time     // When that was noticed, or when it was last tried in vain.
	delay    time.Duration // How long it is waited for after that,
	returned time.Time     // and when it last came back.
	away     bool          // Since then something else was seen in its place, or nothing.
	absent   bool
}

// leftover is what others may still read of a drive that is back or was removed.
type leftover struct {
	gone       *volume.Gone
	generation uint64
	closed     chan struct{}
}

func newHomecomer(c *cell) *homecomer {
	return &homecomer{c: c, looks: make(map[string]*look), waits: make(map[drive.ID]*homeWait)}
}

// run looks around until ctx ends.
func (h *homecomer) run(ctx context.Context) {
	ticker := time.NewTicker(h.c.limits.heal)
	defer ticker.Stop()
	for {
		failure := h.c.set.NextFailure()
		if h.c.source != nil {
			h.lookAround(ctx)
		}
		h.closeLeftovers(false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-failure:
		}
	}
}

// lookAround visits every place where a drive may be that is not here.
func (h *homecomer) lookAround(ctx context.Context) {
	here := make(map[string]bool)
	var places []string
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.c.set.Drives() {
		w := h.waits[d.ID]
		if d.State == volume.DriveOK {
			here[absolute(d.Path)] = true
			if w != nil {
				w.absent = false
			}
			continue
		}
		if w == nil {
			w = &homeWait{delay: h.c.limits.again}
			h.waits[d.ID] = w
		}
		if !w.absent {
			w.absent, w.away, w.failed = true, d.State == volume.DriveMissing, time.Now()
			if !w.returned.IsZero() && time.Since(w.returned) < 10*w.delay {
				w.delay = min(2*w.delay, maxAgain)
			} else {
				w.delay = h.c.limits.again
			}
		}
		places = append(places, d.Path)
	}
	if len(places) == 0 {
		clear(h.looks)
		return
	}
	for _, path := range append(places, h.c.opts.Drives...) {
		if path == "" || here[absolute(path)] {
			continue
		}
		l := h.looks[absolute(path)]
		if l == nil {
			l = &look{}
			h.looks[absolute(path)] = l
		}
		if l.busy || !h.c.background.enter() {
			continue
		}
		l.busy = true
		go func() { // Ends when nothing hangs.
			defer h.c.background.leave()
			reason := h.visit(ctx, path)
			h.mu.Lock()
			defer h.mu.Unlock()
			if l.busy = false; reason != l.reason {
				if l.reason = reason; reason != "" {
					h.c.log.Warn("a drive is not used", "drive", path, "reason", reason)
				}
			}
		}()
	}
}

// absolute makes a path one that can be compared.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// reason returns why nothing is served from a path.
func (h *homecomer) reason(path string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.looks[absolute(path)]; l != nil {
		return l.reason
	}
	return ""
}

// visit looks at a path, and takes the drive back that is there. It returns why there is none.
func (h *homecomer) visit(ctx context.Context, path string) (reason string) {
	c := h.c
	state, id, err := c.source.Inspect(path)
	was := h.at(path)
	if !was.IsZero() && (err != nil || state != drive.StateFormatted || id.Drive != was) {
		h.mu.Lock()
		if w := h.waits[was]; w != nil {
			w.away = true
		}
		h.mu.Unlock()
	}
	switch {
	case err != nil:
		return err.Error()
	case state == drive.StateAbsent:
		return "does not exist"
	case state == drive.StateBlank && was.IsZero():
		return "is empty, and is no drive of this store; add it with: penstock drive add " + path
	case state == drive.StateBlank && c.opts.ReplaceEmpty:
		if _, err := c.replaceDrive(ctx, was, path, false); err != nil {
			return err.Error()
		}
		return ""
	case state == drive.StateBlank:
		return emptyReason(was, path)
	}
	if id.Cluster != c.clusterID || int(id.Cell) != c.id || !slices.Contains(c.set.Roster().Known, id.Drive) || c.set.Healthy(id.Drive) {
		if was.IsZero() {
			return "" // Another cell's, or none of ours: not for us to judge.
		}
		return fmt.Sprintf("holds drive %v, not %v", id.Drive, was)
	}
	if !h.due(id.Drive) {
		return h.reason(path)
	}
	if err := c.takeBack(ctx, path, id.Drive); err != nil {
		h.mu.Lock()
		if w := h.waits[id.Drive]; w != nil {
			w.failed, w.delay, w.away = time.Now(), min(2*w.delay, maxAgain), false
		}
		h.mu.Unlock()
		return err.Error()
	}
	return ""
}

// emptyReason says what to do about an empty directory where a drive was.
func emptyReason(id drive.ID, path string) string {
	return fmt.Sprintf("is empty where drive %v was: perhaps its file system is not mounted; it is left alone. "+
		"Mount it, or, if it is the drive's replacement: penstock drive replace %v %s", id, id, path)
}

// at returns which drive is missing from a path, or zero.
func (h *homecomer) at(path string) drive.ID {
	for _, d := range h.c.set.Drives() {
		if d.State != volume.DriveOK && d.Path != "" && absolute(d.Path) == absolute(path) {
			return d.ID
		}
	}
	return drive.ID{}
}

// due reports whether a drive that is there may be taken back now.
func (h *homecomer) due(id drive.ID) bool {
	old := h.c.drives.get(id)
	if old != nil {
		if w := old.Watch(); w.Pending(drive.Read)+w.Pending(drive.Write) > 0 {
			return false // It hangs, or gives up what hung only now.
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.waits[id]
	return w != nil && w.absent && (w.away || time.Since(w.failed) >= w.delay)
}

// takeBack has a drive of the cell serve again.
func (c *cell) takeBack(ctx context.Context, path string, id drive.ID) error {
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if c.set.Healthy(id) {
		return nil
	}
	d, err := c.source.Open(path, c.drives.get(id))
	if err != nil {
		return err
	}
	gone, err := c.set.Return(ctx, d)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	c.drives.put(d)
	h := c.homecomer
	h.mu.Lock()
	if w := h.waits[id]; w != nil {
		w.returned, w.absent, w.away = time.Now(), false, false
	}
	h.mu.Unlock()
	h.leave(gone)
	c.welcome(d)
	return nil
}

// welcome sees to it that a drive that has come is made use of.
func (c *cell) welcome(d drive.Drive) {
	// What checkpoints it has may be of long ago, and volumes that they refer to may be others now.
	fs, top := checkpointTop(d)
	if err := fs.RemoveAll(top); err != nil {
		c.log.Warn("old checkpoints cannot be removed", "drive", d.Path(), "error", err)
	}
	c.healer.retry()
	if c.joined != nil {
		c.joined()
	}
}

// leave keeps what is left of a drive until nobody reads from it any more. The channel is closed when it is closed.
func (h *homecomer) leave(gone *volume.Gone) <-chan struct{} {
	l := leftover{gone, h.c.generations.advance(), make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = append(h.left, l)
	return l.closed
}

// closeLeftovers closes what nobody uses any more; at the end, when nobody can, all that does not hang.
func (h *homecomer) closeLeftovers(end bool) {
	h.mu.Lock()
	var idle []leftover
	h.left = slices.DeleteFunc(h.left, func(l leftover) bool {
		over := end || h.c.generations.passed(l.generation)
		if d := l.gone.Drive; d != nil {
			w := d.Watch()
			over = over && w.Pending(drive.Read)+w.Pending(drive.Write) == 0
			if b := h.c.base.Load(); b != nil && !end {
				over = over && b.place.drive != d
			}
		}
		if over {
			idle = append(idle, l)
		}
		return over
	})
	h.mu.Unlock()
	for _, l := range idle {
		err := l.gone.Close()
		if l.gone.Drive != nil {
			err = errors.Join(err, l.gone.Drive.Close())
		}
		if err != nil {
			h.c.log.Debug("closing what a drive has left behind", "error", err)
		}
		close(l.closed)
	}
}
