package roofline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"penstock/ioring"
	"penstock/numa"
)

const (
	longLen    = 1 << 20 // Of a sequential transfer: a column of a stripe.
	shortLen   = 4 << 10 // Of a random one.
	longDepth  = 8       // Transfers with each drive at a time.
	shortDepth = 32
)

// measureDrives measures all drives at once, as the store uses them.
func (h *Host) measureDrives(ctx context.Context, o Options) (err error) {
	drives := len(o.Drives)
	arena, err := ioring.NewArena(ioring.ArenaOptions{Size: int64(drives) * longDepth * longLen * 2, Node: numa.UnknownNode})
	if err != nil {
		return err
	}
	queue, err := ioring.Open(ioring.Options{Arena: arena})
	if err != nil {
		return errors.Join(err, arena.Close())
	}
	// The queue first: until it is closed, the kernel may know the arena.
	defer func() { err = errors.Join(err, queue.Close(), arena.Close()) }()
	p := &prober{queue: queue, arena: arena, length: o.DriveLen &^ (longLen - 1)}
	if p.length < longDepth*longLen {
		return fmt.Errorf("files of %d bytes are too short to measure with", o.DriveLen)
	}
	for _, dir := range o.Drives {
		file, remove, err := p.file(dir)
		if err != nil {
			return err
		}
		defer remove()
		p.files = append(p.files, file)
	}
	h.Drives = make([]Drive, drives)
	// Written whole first: what was never written reads as zeros from no drive, and is slower to write.
	if _, err := p.run(ctx, ioring.WriteDurable, longLen, longDepth, 0); err != nil {
		return err
	}
	each := 2 * o.Time
	for _, m := range []struct {
		kind   ioring.Kind
		length int
		depth  int
		set    func(*Drive, float64)
	}{
		{ioring.WriteDurable, longLen, longDepth, func(d *Drive, n float64) { d.Write = n * longLen }},
		{ioring.Read, longLen, longDepth, func(d *Drive, n float64) { d.Read = n * longLen }},
		{ioring.Read, shortLen, shortDepth, func(d *Drive, n float64) { d.RandomRead = n }},
		{ioring.WriteDurable, shortLen, shortDepth, func(d *Drive, n float64) { d.SmallWrite = n }},
		{ioring.WriteDurable, shortLen, 1, func(d *Drive, n float64) { d.Lone = time.Duration(float64(time.Second) / n) }},
	} {
		rates, err := p.run(ctx, m.kind, m.length, m.depth, each)
		if err != nil {
			return err
		}
		for i, rate := range rates {
			m.set(&h.Drives[i], rate)
			h.Drives[i].Buffered = !p.files[i].Direct()
		}
	}
	return nil
}

// A prober sends transfers to files, one on each drive.
type prober struct {
	queue  ioring.Queue
	arena  *ioring.Arena
	files  []*ioring.File
	length int64 // Of each file.
}

// file makes a file to measure with.
func (p *prober) file(dir string) (*ioring.File, func(), error) {
	tmp, err := os.CreateTemp(dir, ".penstock-bench-")
	if err != nil {
		return nil, nil, err
	}
	name := tmp.Name()
	remove := func() { os.Remove(name) }
	if err := tmp.Close(); err != nil {
		remove()
		return nil, nil, err
	}
	file, err := ioring.OpenFile(p.queue, name, ioring.FileFlags{Direct: true, Write: true})
	if err == nil {
		err = file.Preallocate(p.length)
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("%s: %w", filepath.Dir(name), err)
	}
	return file, func() { file.Close(); remove() }, nil
}

// run keeps depth transfers with each drive for a while, or, when each is 0, until each file was gone through once. It returns transfers a second
// of each drive.
func (p *prober) run(ctx context.Context, kind ioring.Kind, length, depth int, each time.Duration) ([]float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	counts := make([]atomic.Int64, len(p.files))
	places := p.length / int64(length)
	var group sync.WaitGroup
	begun := time.Now()
	for i, file := range p.files {
		var next atomic.Int64
		for worker := range depth {
			group.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(worker)))
				buf, err := p.arena.Get(ctx, length)
				if err != nil {
					cancel(err)
					return
				}
				defer buf.Release()
				// Each does at least one, however late it got its turn: a drive that did nothing has no rate.
				for first := true; ctx.Err() == nil && (first || each == 0 || time.Since(begun) < each); first = false {
					place := next.Add(1) - 1
					if each == 0 && place >= places {
						return
					}
					if length == shortLen {
						place = rng.Int64N(places)
					}
					op := ioring.Op{Kind: kind, File: file, Off: place % places * int64(length), Bufs: [][]byte{buf.Bytes()[:length]}}
					// Without an end: memory that the kernel has cannot be given back.
					if err := ioring.Do(context.WithoutCancel(ctx), p.queue, &op); err != nil {
						cancel(err)
						return
					}
					counts[i].Add(1)
				}
			})
		}
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	rates := make([]float64, len(p.files))
	for i := range counts {
		rates[i] = float64(counts[i].Load()) / time.Since(begun).Seconds()
	}
	return rates, nil
}
