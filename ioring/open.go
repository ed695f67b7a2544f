//go:build linux

package ioring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// probeTimeout is how long the first operations on a new ring may take. They go to memory; a ring that
// has not done them by then never will.
const probeTimeout = 5 * time.Second

// Open starts a queue on the best rung that works here. A rung is not believed before it has carried
// out real operations: kernels, containers and file systems refuse at every stage.
func Open(opts Options) (Queue, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	rungs := ladder(opts)
	if opts.Force != "" {
		rungs = []Rung{opts.Force}
	}
	var refused []error
	for _, rung := range rungs {
		q, err := openRung(rung, opts)
		if err == nil {
			opts.Logger.Info("io queue is open", "rung", string(rung), "depth", opts.Depth, "refused", reasons(refused))
			return q, nil
		}
		refused = append(refused, fmt.Errorf("%s: %w", rung, err))
	}
	return nil, fmt.Errorf("ioring: %w", errors.Join(refused...))
}

// reasons joins errors for one line of a log.
func reasons(errs []error) string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "; ")
}

// ladder lists the rungs to try, best first.
func ladder(opts Options) []Rung {
	rungs := builtRungs()
	if opts.Arena != nil {
		rungs = append(rungs, RungRing)
	}
	return append(rungs, RungNoFixed, RungPlain, RungThreads)
}

func openRung(rung Rung, opts Options) (Queue, error) {
	var config uringConfig
	switch rung {
	case RungRing:
		if opts.Arena == nil {
			return nil, errors.New("there is no arena to register")
		}
		config = uringConfig{flags: fullFlags, files: opts.Files, arena: opts.Arena}
	case RungNoFixed:
		config = uringConfig{flags: fullFlags, files: opts.Files}
	case RungPlain:
	case RungThreads:
		return openThreadsQueue(opts), nil
	case RungGiouring:
		return probed(openGiouringQueue(opts))
	default:
		return nil, errors.New("there is no such rung")
	}
	// As many workers as Ops: then a device that hangs in all of its share of them leaves the rest.
	config.workers = opts.Depth
	config.bell = opts.Processors == 1
	return probed(openRingQueue(rung, opts, func(entries int, alarmCount *uint64, counters *counters) (kernel, error) {
		config.entries, config.count = entries, alarmCount
		return openUring(config, counters)
	}))
}

func probed(q *ringQueue, err error) (Queue, error) {
	if err != nil {
		return nil, err
	}
	if err := probe(q); err != nil {
		q.Close() // The probe's failure says more.
		return nil, fmt.Errorf("probe: %w", err)
	}
	return q, nil
}

// probe writes, syncs and reads back a file in memory in all the ways that Ops do.
func probe(q *ringQueue) error {
	fd, err := unix.MemfdCreate("ioring-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	f, err := newFile(q, "probe", fd, false)
	if err != nil {
		return err
	}
	defer f.Close()
	whole, release, err := probeMemory(q.common.opts.Arena)
	if err != nil {
		return err
	}
	front, back := whole[:BlockSize], whole[2*BlockSize:]
	for i := range whole {
		whole[i] = byte(i%251 + 1)
	}
	want := bytes.Clone(whole)
	for _, op := range []*Op{
		{Kind: WriteDurable, Bufs: [][]byte{whole}},
		{Kind: Write, Bufs: [][]byte{back, front}, Off: int64(len(whole))},
		{Kind: Sync},
		{Kind: Read, Bufs: [][]byte{front, back}},
		{Kind: Read, Bufs: [][]byte{back, front}, Off: int64(len(whole))},
		{Kind: Read, Bufs: [][]byte{whole}},
	} {
		op.File = f
		g := NewGroup(1)
		op.Complete = g.Done
		q.Submit(op)
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		err := g.Wait(ctx)
		cancel()
		if err != nil {
			go func() { // The memory is the kernel's until the operation is back, if ever.
				<-g.All()
				release()
			}()
			return fmt.Errorf("%v: %w", op.Kind, err)
		}
	}
	defer release()
	if !bytes.Equal(whole, want) {
		return errors.New("what was read is not what was written")
	}
	return nil
}

// probeMemory returns four blocks: of the arena, so that its registration is tried too, unless it has
// none left.
func probeMemory(a *Arena) (memory []byte, release func(), err error) {
	if a != nil {
		if buf := a.TryGet(4 * BlockSize); buf != nil {
			return buf.Bytes(), buf.Release, nil
		}
	}
	memory, err = mapAnonymous(4*BlockSize, BlockSize, 0)
	return memory, func() { unmap(memory) }, err
}
