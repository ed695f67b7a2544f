//go:build linux

package ioring

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Rung is a way of doing the transfers. [Open] climbs down from the best to the first that works here.
type Rung string

const (
	// RungRing is an owner ring with everything: deferred task work, registered files and the arena as
	// registered buffers.
	RungRing Rung = "ring"
	// RungNoFixed is the same without registered buffers, which the memlock limit may forbid. With
	// huge pages it costs nothing measurable.
	RungNoFixed Rung = "ring-nofixed"
	// RungPlain is a ring as the first kernels had it: no set-up flags, nothing registered.
	RungPlain Rung = "ring-plain"
	// RungThreads is preadv and pwritev on a bounded pool of goroutines, for where io_uring is forbidden
	// (the default of container runtimes) or missing.
	RungThreads Rung = "threads"
	// RungGiouring is the ring of the giouring module, in builds with the tag of that name.
	RungGiouring Rung = "giouring"
)

// Queue moves bytes between memory and files. Its methods are safe from any goroutine. Queues come from
// [Open].
type Queue interface {
	// Submit hands ops over as one group: one push, at most one wake-up. It waits while the queue has
	// its limit of pending Ops. After Close the Ops come back with ErrClosed, on the caller's goroutine.
	Submit(ops ...*Op)

	// TryDirect runs op on the calling thread and returns true, if the queue is idle or all but idle and
	// was so lately; otherwise it does nothing. It is for callers that would wait for the Op anyway: alone
	// or in twos they are served sooner and at half the CPU this way, in crowds the ring is better.
	TryDirect(op *Op) bool

	Rung() Rung
	Stats() Stats

	// Close fails the Ops that have not begun with ErrClosed, waits for the others, and stops the
	// queue. When some do not come back in Options.CloseTimeout it returns an error that wraps ErrHung
	// and leaves them to the kernel: their memory stays theirs, and should they ever come back, their
	// Complete is called. Files are closed by who opened them, before or after.
	Close() error

	core() *core
	attach(*File) error // Gives the file its device and, on a ring, its place in the file table.
	detach(*File)       // Fails the Ops of a file that have not begun.
	dispose(*File)      // Closes the descriptor of a file that nothing uses.
}

// ErrHung says that some Ops did not come back from the kernel.
var ErrHung = errors.New("operations have not come back")

// Options says what a queue is made of.
type Options struct {
	// Depth is how many Ops may be with the kernel at once, of one device half as many; zero means
	// 1,023, which with the wake-up fills a ring of 1,024. It costs 1.1 KiB a place.
	Depth int

	// MaxPending is how many Ops may be accepted and not yet back before Submit waits; zero means
	// 16,384: far more than an arena has buffers for, so that callers wait for memory first.
	MaxPending int

	// Threads is the number of goroutines of RungThreads; zero means 64. It is that rung's Depth.
	Threads int

	// Processors is how many goroutines run at a time; zero means GOMAXPROCS. When it is one, a ring's
	// goroutine does not wait in the kernel, but where it leaves the one to the others.
	Processors int

	// Files is the size of a ring's table of registered files; zero means 4,096. It is cut to what the
	// limit on open files allows, and files that do not fit are used by descriptor.
	Files int

	// Arena is registered with the ring. Nil means that there is none to register.
	Arena *Arena

	// CPUs is where the ring's thread runs; empty means anywhere.
	CPUs []int

	// Force names the only rung to try. Empty tries all.
	Force Rung

	// CloseTimeout is how long Close waits for hung Ops; zero means 5 s.
	CloseTimeout time.Duration

	// Logger is told which rung is live. Nil means nobody.
	Logger *slog.Logger
}

// Bounds of the numbers in Options.
const (
	maxDepth = 1<<14 - 1
	maxFiles = 1 << 15 // The kernel's own limit.
)

func (o Options) withDefaults() (Options, error) {
	for _, field := range []struct {
		name        string
		value       *int
		zero, limit int
	}{
		{"Depth", &o.Depth, 1023, maxDepth},
		{"MaxPending", &o.MaxPending, 16384, 1 << 30},
		{"Threads", &o.Threads, 64, 4096},
		{"Files", &o.Files, 4096, maxFiles},
		{"Processors", &o.Processors, runtime.GOMAXPROCS(0), 1 << 20},
	} {
		if *field.value == 0 {
			*field.value = field.zero
		}
		if *field.value < 0 || *field.value > field.limit {
			return o, fmt.Errorf("ioring: Options.%s = %d is not in 1..%d", field.name, *field.value, field.limit)
		}
	}
	if o.CloseTimeout == 0 {
		o.CloseTimeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Stats counts what a queue has done since it was opened.
type Stats struct {
	Enters    uint64 // io_uring_enter calls.
	SQEs      uint64 // Submission queue entries: more than Ops when transfers were continued.
	Reads     uint64 // Ops back from the kernel, failed ones included.
	Writes    uint64 // Durable writes included.
	Syncs     uint64
	ReadBytes uint64
	// WriteBytes, like ReadBytes, counts what was moved, also by Ops that failed later.
	WriteBytes uint64
	DirectOps  uint64 // Ops that ran on their caller's thread; in the counts above too.
	Wakes      uint64 // Times a submitter had to wake the ring's thread.
	MaxDepth   uint64 // Most Ops that were with the kernel at once.
	Errors     uint64 // Ops that failed.
}

// counters is Stats while it grows.
type counters struct {
	enters, sqes, reads, writes, syncs, readBytes, writeBytes atomic.Uint64
	directOps, wakes, maxDepth, errors                        atomic.Uint64
}

// count adds a finished Op.
func (c *counters) count(op *Op) {
	switch op.Kind {
	case Read:
		c.reads.Add(1)
		c.readBytes.Add(uint64(op.N))
	case Sync:
		c.syncs.Add(1)
	default:
		c.writes.Add(1)
		c.writeBytes.Add(uint64(op.N))
	}
	if op.Err != nil {
		c.errors.Add(1)
	}
}

// deepest notes that depth Ops are with the kernel. Only who owns the scheduler calls it.
func (c *counters) deepest(depth int) {
	if uint64(depth) > c.maxDepth.Load() {
		c.maxDepth.Store(uint64(depth))
	}
}

func (c *counters) read() Stats {
	return Stats{
		Enters: c.enters.Load(), SQEs: c.sqes.Load(),
		Reads: c.reads.Load(), Writes: c.writes.Load(), Syncs: c.syncs.Load(),
		ReadBytes: c.readBytes.Load(), WriteBytes: c.writeBytes.Load(),
		DirectOps: c.directOps.Load(), Wakes: c.wakes.Load(),
		MaxDepth: c.maxDepth.Load(), Errors: c.errors.Load(),
	}
}

// core is what all queues share.
type core struct {
	opts     Options // With defaults filled in; immutable.
	rung     Rung
	gate     gate
	counters counters

	mu      sync.Mutex // Guards devices.
	devices map[uint64]*device
}

func (c *core) init(opts Options, rung Rung) {
	c.opts, c.rung = opts, rung
	c.gate.init(opts.MaxPending)
	c.devices = make(map[uint64]*device)
}

func (c *core) Rung() Rung   { return c.rung }
func (c *core) Stats() Stats { return c.counters.read() }

// device returns the account of the device with the given number. Accounts are kept for ever: there are
// as many as file systems that this process has ever opened a file on.
func (c *core) device(number uint64) *device {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[number]
	if d == nil {
		d = new(device)
		c.devices[number] = d
	}
	return d
}

func (c *core) allDevices() []*device {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.devices))
}

// beginAll takes a group of Ops from their caller.
func beginAll(q Queue, ops []*Op) {
	now := Now()
	for _, op := range ops {
		op.begin(q, now)
	}
}

// refuse gives back Ops that came after Close.
func refuse(q Queue, ops []*Op) {
	now := Now()
	for _, op := range ops {
		op.begin(q, now)
		op.fail(ErrClosed)
		finish(q, op, now)
	}
}

// finish gives op back to its caller, who may use it again at once, so it is the last to touch it.
func finish(q Queue, op *Op, now time.Duration) {
	file, holds := op.File, op.holds
	if invariants && holds {
		q.core().opts.Arena.giveBack(op.Bufs)
	}
	q.core().counters.count(op)
	op.Finished = now
	complete := op.Complete
	op.state.Store(opIdle)
	if holds && file.drop() {
		q.dispose(file)
	}
	if complete != nil {
		complete(op)
	}
}
