package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"penstock/tools/harness"
)

// A trouble is a round: load, something that happens to the node, and what must be true after it.
type trouble struct {
	name   string
	what   string
	weight int
	needs  need
	run    func(*campaign, context.Context) error
}

// A need is what a campaign must have for a trouble.
type need int

const (
	nothing    need = 0
	parity     need = 1 << iota // Drives that may be lost.
	ownSystems                  // File systems of their own.
	refill                      // A node that takes an empty drive for the one that was there.
)

var troubles = []trouble{
	{"kill", "SIGKILL at a random moment, now and then again during start", 30, nothing, (*campaign).troubleKill},
	{"stop", "SIGTERM under load", 4, nothing, (*campaign).troubleStop},
	{"power", "every file system stops where it is, then SIGKILL", 30, ownSystems, (*campaign).troublePower},
	{"dead", "drives answer EIO from some moment on, and come back after a restart as they were", 6, parity | ownSystems, (*campaign).troubleDead},
	{"vanish", "drives disappear under load and are away at the next start; they come back stale", 6, parity, (*campaign).troubleVanish},
	{"empty", "drives are replaced by empty ones", 4, parity | refill, (*campaign).troubleEmpty},
	{"clone", "drives come back as they were many rounds ago", 3, parity, (*campaign).troubleClone},
	{"swap", "the drives come back in each other's places", 3, parity, (*campaign).troubleSwap},
	{"rot", "files of drives are flipped, cut short, zeroed, removed", 4, parity, (*campaign).troubleRot},
	{"freeze", "writes to drives hang", 4, parity | ownSystems, (*campaign).troubleFreeze},
	{"hang", "reads and writes of drives hang", 4, parity | ownSystems, (*campaign).troubleHang},
	{"full", "drives are full until room is made", 3, ownSystems, (*campaign).troubleFull},
	{"doubt", "more drives are gone than there is parity", 4, parity, (*campaign).troubleDoubt},
}

// fits reports whether trouble was asked for, and can be had by this layout.
func (t *trouble) fits(l layout, o *options) bool {
	return (len(o.only) == 0 || slices.Contains(o.only, t.name)) &&
		(t.needs&parity == 0 || l.parity > 0) && (t.needs&ownSystems == 0 || l.kind != "") && (t.needs&refill == 0 || o.refill)
}

// loadTime is how long the load goes on before trouble, at most.
const loadTime = 300 * time.Millisecond

func (c *campaign) troubleKill(ctx context.Context) error {
	c.work(ctx, true)
	if err := c.rest(loadTime); err != nil {
		return err
	}
	c.crash()
	typical := c.node.Started
	c.kill()
	if err := c.stop(); err != nil {
		return err
	}
	c.report.kills.Add(1)
	for c.rng.IntN(10) == 0 {
		if err := c.killDuringStart(typical); err != nil {
			return err
		}
	}
	return c.startAndCheck(ctx, c.some)
}

// killDuringStart starts the node and kills it at a random moment of its recovery.
func (c *campaign) killDuringStart(typical time.Duration) error {
	node, err := harness.Launch(c.options)
	if err != nil {
		return err
	}
	defer node.Kill()
	select {
	case <-time.After(time.Duration(c.rng.Int64N(int64(typical) + 1))):
	case <-node.Exited():
		return wrong("the node ended by itself during start: exit code %d\n%s", node.ExitCode(), node.Log())
	}
	c.report.kills.Add(1)
	c.report.duringStart.Add(1)
	return nil
}

func (c *campaign) troubleStop(ctx context.Context) error {
	c.work(ctx, false)
	if err := c.rest(loadTime); err != nil {
		return err
	}
	c.crash()
	_, stopped := c.node.Stop()
	if err := c.stop(); err != nil {
		return err
	}
	if stopped != nil {
		return wrong("%v", stopped)
	}
	return c.startAndCheck(ctx, c.some)
}

func (c *campaign) troublePower(ctx context.Context) error {
	c.work(ctx, true)
	if err := c.rest(loadTime); err != nil {
		return err
	}
	c.crash()
	if err := c.cutPower(); err != nil {
		return err
	}
	if err := c.stop(); err != nil {
		return err
	}
	for c.rng.IntN(10) == 0 { // Power that comes and goes.
		typical := c.node.Started
		node, err := harness.Launch(c.options)
		if err != nil {
			return err
		}
		c.node = node
		time.Sleep(time.Duration(c.rng.Int64N(int64(typical) + 1)))
		if c.exited() {
			return wrong("the node ended by itself during start: exit code %d\n%s", node.ExitCode(), node.Log())
		}
		if err := c.cutPower(); err != nil {
			return err
		}
		c.report.duringStart.Add(1)
	}
	return c.startAndCheck(ctx, c.some)
}

// cutPower stops all file systems where they are, and mounts them again without the process.
func (c *campaign) cutPower() error {
	// Nothing is acknowledged any more while the file systems stop one after another.
	if err := c.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for _, f := range c.systems {
		if err := f.shutdown(shutdownNoLogFlush); err != nil {
			return err
		}
	}
	c.kill()
	c.report.cuts.Add(1)
	return c.remount()
}

// remount takes down file systems and puts them up again.
func (c *campaign) remount() error {
	for _, f := range c.systems {
		if err := f.down(); err != nil {
			return err
		}
		if err := f.up(); err != nil {
			return err
		}
	}
	return nil
}

func (c *campaign) troubleDead(ctx context.Context) error {
	victims := c.victims(c.few())
	c.work(ctx, false)
	for _, i := range victims {
		if err := c.rest(loadTime); err != nil {
			return err
		}
		if err := c.systems[i].shutdown([]int{shutdownLogFlush, shutdownNoLogFlush}[c.rng.IntN(2)]); err != nil {
			return err
		}
	}
	if err := c.workOn(ctx); err != nil {
		return err
	}
	if err := c.remount(); err != nil {
		return err
	}
	return c.recovered(ctx)
}

// workOn sees the load through trouble that it must survive, holds what the node says then against what is known, and kills it,
// most often at work.
func (c *campaign) workOn(ctx context.Context) error {
	if err := c.progress(); err != nil {
		return err
	}
	if err := c.rest(time.Second); err != nil {
		return err
	}
	if c.rng.IntN(3) == 0 {
		c.crash()
		c.kill()
		return c.stop()
	}
	if err := c.stop(); err != nil {
		return err
	}
	if err := c.checkLive(ctx); err != nil {
		return fmt.Errorf("without drives: %w", err)
	}
	c.kill()
	c.report.kills.Add(1)
	return nil
}

// recovered starts the node with all its drives, checks everything, and waits until healing is over.
func (c *campaign) recovered(ctx context.Context) error {
	if err := c.startAndCheck(ctx, c.everything); err != nil {
		return err
	}
	return c.healed(ctx)
}

func (c *campaign) troubleVanish(ctx context.Context) error {
	victims := c.victims(c.few())
	c.work(ctx, false)
	for _, i := range victims {
		if err := c.rest(loadTime); err != nil {
			return err
		}
		if err := c.takeAway(i); err != nil {
			return err
		}
	}
	if err := c.workOn(ctx); err != nil {
		return err
	}
	for range c.rng.IntN(3) { // Starts without them.
		if err := c.startAndCheck(ctx, c.some); err != nil {
			return fmt.Errorf("started without drives: %w", err)
		}
		c.work(ctx, true)
		if err := c.progress(); err != nil {
			return err
		}
		c.crash()
		c.kill()
		if err := c.stop(); err != nil {
			return err
		}
		c.report.kills.Add(1)
	}
	for _, i := range victims {
		if err := c.bringBack(i); err != nil {
			return err
		}
	}
	return c.recovered(ctx)
}

// takeAway makes a drive disappear while it is in use.
func (c *campaign) takeAway(i int) error {
	if len(c.systems) > 0 {
		return c.systems[i].detach()
	}
	return os.Rename(c.drives[i], c.drives[i]+".away")
}

// bringBack puts it where it was. The node is gone.
func (c *campaign) bringBack(i int) error {
	if len(c.systems) > 0 {
		return c.systems[i].up()
	}
	if err := os.RemoveAll(c.drives[i]); err != nil { // Nothing, or what a wrong node put there.
		return err
	}
	return os.Rename(c.drives[i]+".away", c.drives[i])
}

func (c *campaign) troubleEmpty(ctx context.Context) error {
	if err := c.loadAndKill(ctx); err != nil {
		return err
	}
	victims := c.victims(c.parity)
	for _, i := range victims {
		entries, err := os.ReadDir(c.drives[i])
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := os.RemoveAll(filepath.Join(c.drives[i], entry.Name())); err != nil {
				return err
			}
		}
		if err := c.sync(i); err != nil {
			return err
		}
	}
	if err := c.recovered(ctx); err != nil {
		return err
	}
	for _, i := range victims {
		delete(c.rotten, i)
	}
	return nil
}

// loadAndKill kills the node at work, and leaves it so.
func (c *campaign) loadAndKill(ctx context.Context) error {
	c.work(ctx, true)
	if err := c.rest(loadTime); err != nil {
		return err
	}
	c.crash()
	c.kill()
	c.report.kills.Add(1)
	return c.stop()
}

// cloneRounds is how many rounds of kills a clone grows old.
const cloneRounds = 4

func (c *campaign) troubleClone(ctx context.Context) error {
	if err := c.loadAndKill(ctx); err != nil {
		return err
	}
	victims := c.victims(c.few())
	for _, i := range victims {
		if err := command("cp", "-a", "--sparse=always", c.drives[i], c.clone(i)); err != nil {
			return err
		}
	}
	for range 1 + c.rng.IntN(cloneRounds) {
		if err := c.startAndCheck(ctx, c.some); err != nil {
			return err
		}
		if err := c.loadAndKill(ctx); err != nil {
			return err
		}
	}
	for _, i := range victims {
		if err := os.RemoveAll(c.drives[i]); err != nil {
			return err
		}
		if err := command("cp", "-a", "--sparse=always", c.clone(i), c.drives[i]); err != nil {
			return err
		}
		if err := errors.Join(c.sync(i), os.RemoveAll(c.clone(i))); err != nil {
			return err
		}
	}
	return c.recovered(ctx)
}

// sync makes durable what was done to a drive behind the node's back: no power cut may undo it.
func (c *campaign) sync(i int) error { return command("sync", "-f", c.drives[i]) }

func (c *campaign) clone(i int) string { return filepath.Join(c.dir, fmt.Sprintf("clone%d", i)) }

// troubleSwap exchanges two drives: which is which is written on them, not where they are.
func (c *campaign) troubleSwap(ctx context.Context) error {
	if err := c.loadAndKill(ctx); err != nil {
		return err
	}
	pair := c.rng.Perm(c.layout.drives)[:2]
	a, b := pair[0], pair[1]
	if len(c.systems) > 0 {
		fa, fb := c.systems[a], c.systems[b]
		if err := errors.Join(fa.down(), fb.down()); err != nil {
			return err
		}
		fa.image, fb.image = fb.image, fa.image
		if err := errors.Join(fa.up(), fb.up()); err != nil {
			return err
		}
	} else {
		aside := c.drives[a] + ".aside"
		if err := errors.Join(os.Rename(c.drives[a], aside), os.Rename(c.drives[b], c.drives[a]), os.Rename(aside, c.drives[b])); err != nil {
			return err
		}
	}
	c.ailing[a], c.ailing[b] = c.ailing[b], c.ailing[a]
	c.rotten[a], c.rotten[b] = c.rotten[b], c.rotten[a]
	c.report.faults.Add(2)
	return c.startAndCheck(ctx, c.some)
}

// troubleRot damages files of drives while the node is down. What identifies a drive stays: without it, it is another drive.
func (c *campaign) troubleRot(ctx context.Context) error {
	if err := c.loadAndKill(ctx); err != nil {
		return err
	}
	for _, i := range c.victims(c.few()) {
		c.rotten[i] = true
		if err := errors.Join(c.damage(c.drives[i]), c.sync(i)); err != nil {
			return err
		}
	}
	if err := c.startAndCheck(ctx, c.everything); err != nil {
		return err
	}
	return c.healed(ctx)
}

// damage does one thing or another to some of the files below a drive.
func (c *campaign) damage(drive string) error {
	return filepath.WalkDir(drive, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Dir(path) == drive || strings.HasSuffix(path, "LOCK") || c.rng.IntN(3) > 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch p := c.rng.IntN(10); {
		case p == 0:
			return os.Remove(path)
		case p == 1:
			return os.Truncate(path, c.rng.Int64N(info.Size()+1))
		}
		return c.scribble(path, info.Size())
	})
}

// scribble flips bits here and there, and zeroes a piece.
func (c *campaign) scribble(path string, size int64) error {
	if size == 0 {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for range 1 + c.rng.IntN(20) {
		var b [1]byte
		at := c.rng.Int64N(size)
		if _, err := file.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 1 << c.rng.IntN(8)
		if _, err := file.WriteAt(b[:], at); err != nil {
			return err
		}
	}
	if c.rng.IntN(2) == 0 {
		at := c.rng.Int64N(size)
		if _, err := file.WriteAt(make([]byte, min(size-at, 4096)), at); err != nil {
			return err
		}
	}
	return nil
}

func (c *campaign) troubleFreeze(ctx context.Context) error {
	victims := c.victims(c.few())
	c.work(ctx, false)
	for _, i := range victims {
		if err := c.rest(loadTime); err != nil {
			return err
		}
		if err := c.systems[i].freeze(); err != nil {
			return err
		}
	}
	found := c.progress()
	kill := c.rng.IntN(2) == 0
	if found == nil && kill { // It cannot be gone before its last operation is.
		c.crash()
		found = c.signal(syscall.SIGKILL)
	}
	for _, i := range victims {
		if err := c.systems[i].thaw(); err != nil {
			return err
		}
	}
	return c.afterHang(ctx, found, kill)
}

// afterHang ends a round in which drives hung, and hang no more.
func (c *campaign) afterHang(ctx context.Context, found error, killed bool) error {
	if found != nil {
		return found
	}
	if !killed {
		if err := c.rest(time.Second); err != nil {
			return err
		}
		c.crash()
	}
	c.kill()
	c.report.kills.Add(1)
	if err := c.stop(); err != nil {
		return err
	}
	return c.recovered(ctx)
}

func (c *campaign) troubleHang(ctx context.Context) error {
	victims := c.victims(c.few())
	var devices []string
	for _, i := range victims {
		device, err := c.systems[i].device()
		if err != nil {
			return err
		}
		devices = append(devices, device)
	}
	group, err := newThrottle(c.node.Pid())
	if err != nil {
		return err
	}
	c.work(ctx, false)
	slow := func(rate int) error {
		for _, device := range devices {
			if err := group.set(device, rate); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.rest(loadTime); err != nil {
		return err
	}
	// A byte a second: what is sent to the drives comes back in an hour.
	if err := slow(1); err != nil {
		return errors.Join(err, slow(0))
	}
	found := c.progress()
	kill := c.rng.IntN(2) == 0
	if found == nil && kill {
		c.crash()
		found = c.signal(syscall.SIGKILL)
	}
	if err := slow(0); err != nil {
		return err
	}
	if err := c.afterHang(ctx, found, kill); err != nil {
		return err
	}
	return group.close()
}

// troubleFull fills drives: the node refuses what needs room, and takes it again when there is room.
func (c *campaign) troubleFull(ctx context.Context) error {
	full := c.rng.Perm(c.layout.drives)[:1+c.rng.IntN(c.layout.drives)]
	c.report.faults.Add(int64(len(full)))
	c.work(ctx, false)
	for _, i := range full {
		if err := c.systems[i].fill(); err != nil {
			return err
		}
	}
	if err := c.rest(3 * time.Second); err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 { // A start on full drives.
		c.crash()
		c.kill()
		c.report.kills.Add(1)
		if err := c.stop(); err != nil {
			return err
		}
		for _, i := range full {
			if err := c.systems[i].spare(); err != nil {
				return err
			}
		}
		if err := c.startAndCheck(ctx, c.some); err != nil {
			return err
		}
		c.work(ctx, false)
		if err := c.rest(time.Second); err != nil {
			return err
		}
	}
	for _, i := range full {
		if err := c.systems[i].empty(); err != nil {
			return err
		}
	}
	if err := c.progress(); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := c.stop(); err != nil {
		return err
	}
	if err := c.restart(ctx, c.some); err != nil {
		return err
	}
	return c.healed(ctx)
}

// troubleDoubt takes more drives away than there is parity, under load. Nothing may be denied then, and everything must be there
// when the drives are.
func (c *campaign) troubleDoubt(ctx context.Context) error {
	gone := c.rng.Perm(c.layout.drives)[:c.parity+1+c.rng.IntN(c.layout.drives-c.parity)]
	c.report.faults.Add(int64(len(gone)))
	c.work(ctx, false)
	if err := c.rest(loadTime); err != nil {
		return err
	}
	for _, i := range gone {
		var err error
		if len(c.systems) > 0 {
			err = c.systems[i].shutdown(shutdownNoLogFlush)
		} else {
			err = c.takeAway(i)
		}
		if err != nil {
			return err
		}
	}
	if err := c.rest(time.Second); err != nil {
		return err
	}
	if err := c.stop(); err != nil {
		return err
	}
	if err := c.checkDoubt(ctx); err != nil {
		return fmt.Errorf("without %d of %d drives: %w", len(gone), c.layout.drives, err)
	}
	c.kill()
	c.report.kills.Add(1)
	if err := c.remount(); err != nil {
		return err
	}
	for _, i := range gone {
		if len(c.systems) == 0 {
			if err := c.bringBack(i); err != nil {
				return err
			}
		}
	}
	return c.recovered(ctx)
}
