package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"penstock/bench/hist"
)

// A run is one load being measured.
type run struct {
	opts    Options
	op      operation
	ctx     context.Context // Of the run as a whole.
	objects *objects
	uploads *objects // What is uploaded in parts.
	rec     *recorder
	pacer   *pacer
	late    hist.Histogram // How long after they were due requests were sent.
	order   []uint32       // Of objects, when each is had once.
	pool    pool           // Of objects that "mixed" may delete.

	workers    []*worker   // Options.Concurrency of them, and after them those who upload checkpoints.
	burst      atomic.Bool // Whether a checkpoint is being uploaded.
	madeBucket bool
	samples    []Sample // Owned by watch until the window is closed.
	extra      Extra    // What "epoch" and "checkpoint" report.
}

// Run measures a load. When ctx is done no new requests begin, and what was measured until then is reported. It returns a report
// and an error when cleaning up failed.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, &OptionError{err}
	}
	if o.Prefix == "" {
		o.Prefix = fmt.Sprintf("bench-%s-%08x", o.Op, rand.Uint32())
	}
	r := &run{opts: o, op: operations[o.Op], ctx: context.WithoutCancel(ctx)}
	r.objects = newObjects(&r.opts, o.Prefix, o.Sizes)
	connections := o.Concurrency
	if o.Op == "multipart" || o.Op == "checkpoint" {
		r.uploads = newObjects(&r.opts, o.Prefix+"/parts", Fixed(o.Multipart.PartLen))
	}
	if o.Op == "checkpoint" {
		connections += o.Checkpoint.Writers
	}
	r.rec = newRecorder(len(o.Hosts), connections)
	for i := range connections {
		r.workers = append(r.workers, r.newWorker(i))
	}
	defer r.closeWorkers()
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(err, r.clean())
	}
	report, err := r.measure(ctx)
	return report, errors.Join(err, r.clean())
}

func (r *run) closeWorkers() {
	for _, w := range r.workers {
		w.conn.Close() // Nothing is under way on it.
	}
}

// measure opens the window, and closes it.
func (r *run) measure(ctx context.Context) (*Report, error) {
	limit := r.opts.limit()
	if limit > 0 && r.op.needs {
		r.order = shuffled(r.opts.Objects, r.opts.Seed)
	}
	r.pacer = newPacer(r.opts.Rate, limit)
	if err := r.connect(ctx); err != nil {
		return nil, err
	}

	stop, end := context.WithCancel(ctx)
	defer end()
	report := newReport(&r.opts)
	r.pacer.begun = time.Now()
	if r.opts.WarmUp == 0 {
		r.rec.live.Store(true)
	}
	costs := startCosts(r)
	report.Begun = r.pacer.begun
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(stop, end, func() {
			costs = startCosts(r)
			report.Begun = time.Now()
			r.rec.live.Store(true)
		})
	}()
	err := r.work(stop)
	report.Ended = time.Now()
	end()
	<-watched
	costs.finish(report)
	if ctx.Err() != nil {
		report.Interrupted = true
	}
	r.report(report)
	return report, err
}

// work runs the workers until they are done.
func (r *run) work(stop context.Context) error {
	if r.op.drive != nil {
		return r.op.drive(r, stop)
	}
	var group sync.WaitGroup
	if r.pacer.interval > 0 {
		group.Go(func() { r.pacer.pace(stop) })
	}
	for _, w := range r.workers {
		group.Go(func() { w.loop(stop, r.op.step) })
	}
	group.Wait()
	return nil
}

// connect dials every connection, so that the window holds no handshakes.
func (r *run) connect(ctx context.Context) error {
	for _, w := range r.workers {
		if err := w.conn.Dial(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.opts.Hosts[w.host], err)
		}
	}
	return nil
}

// watch samples the throughput, opens the window after the warm-up, and ends it in time or when it is stable.
func (r *run) watch(stop context.Context, end context.CancelFunc, open func()) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	begun := time.Now()
	if r.opts.WarmUp > 0 {
		select {
		case <-time.After(r.opts.WarmUp):
		case <-stop.Done():
			return
		}
		open()
		begun = time.Now()
		tick.Reset(sampleEvery)
	}
	var over <-chan time.Time
	if r.opts.Duration > 0 {
		timer := time.NewTimer(r.opts.Duration)
		defer timer.Stop()
		over = timer.C
	}
	var last total
	lastAt := begun
	var series []float64
	for {
		select {
		case <-stop.Done():
			return
		case <-over:
			end()
			return
		case now := <-tick.C:
			t := r.rec.totals()
			seconds := now.Sub(lastAt).Seconds()
			s := Sample{
				At:     now.Sub(begun).Seconds(),
				Ops:    float64(t.ops-last.ops) / seconds,
				Bytes:  float64(t.bytes-last.bytes) / seconds,
				Errors: t.errors - last.errors,
			}
			last, lastAt = t, now
			r.samples = append(r.samples, s)
			r.progress(Progress{Phase: r.opts.Op, Elapsed: now.Sub(begun), Done: int64(t.ops), PerSecond: s.Ops, BytesASec: s.Bytes, Errors: t.errors})
			series = append(series, s.speed())
			if r.opts.Stable.reached(series) {
				end()
				return
			}
		}
	}
}

func (r *run) progress(p Progress) {
	if r.opts.Progress != nil {
		r.opts.Progress(p)
	}
}

// shuffled returns the numbers below n in an order that the seed decides.
func shuffled(n int, seed uint64) []uint32 {
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	rng := rand.New(rand.NewPCG(seed, 0x6f72646572))
	rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}
