//go:build linux

package ioring

import (
	"sync"
)

// threadsQueue is the Queue without io_uring: goroutines that take Ops from a shared scheduler and make
// the system calls, each of which occupies a thread while it blocks.
type threadsQueue struct {
	common core

	mu        sync.Mutex // Guards the scheduler and sleeping.
	work      sync.Cond  // An Op may begin, or the queue is shut.
	scheduler scheduler
	sleeping  int // Workers that wait on work.

	workers sync.WaitGroup
	gone    chan struct{} // Closed when the last worker has ended.

	perform func(*Op) // (*Op).perform, but for tests whose drives hang.
}

func openThreadsQueue(opts Options) *threadsQueue {
	q := &threadsQueue{gone: make(chan struct{}), perform: (*Op).perform}
	q.common.init(opts, RungThreads)
	q.work.L = &q.mu
	q.scheduler = newScheduler(opts.Threads)
	for range opts.Threads {
		q.workers.Go(q.serve)
	}
	go func() {
		q.workers.Wait()
		close(q.gone)
	}()
	return q
}

func (q *threadsQueue) core() *core  { return &q.common }
func (q *threadsQueue) Rung() Rung   { return q.common.Rung() }
func (q *threadsQueue) Stats() Stats { return q.common.Stats() }

func (q *threadsQueue) Submit(ops ...*Op) {
	if len(ops) == 0 {
		return
	}
	if !q.common.gate.enter(len(ops)) {
		q.stir()
		refuse(q, ops)
		return
	}
	beginAll(q, ops)
	q.mu.Lock()
	for _, op := range ops {
		q.scheduler.add(op)
	}
	for range min(len(ops), q.sleeping) {
		q.work.Signal()
	}
	q.mu.Unlock()
}

func (q *threadsQueue) TryDirect(op *Op) bool {
	runs := q.common.gate.enterDirect()
	if runs {
		direct(q, op)
	}
	if q.common.gate.shut.Load() {
		q.stir()
	}
	return runs
}

// serve is the life of one worker.
func (q *threadsQueue) serve() {
	for {
		op := q.take()
		if op == nil {
			return
		}
		device := op.File.device
		if op.Err == nil {
			q.perform(op)
		}
		q.mu.Lock()
		q.scheduler.done(device)
		q.mu.Unlock()
		q.common.gate.leave(1)
		finish(q, op, Now())
	}
}

// take waits for an Op to perform. It returns nil when the queue is shut and all is back.
func (q *threadsQueue) take() *Op {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.common.gate.shut.Load() {
			q.failWaiting(q.common.allDevices(), nil)
			if q.common.gate.pending.Load() == 0 {
				q.work.Broadcast()
				return nil
			}
		} else if op := q.scheduler.next(); op != nil {
			q.common.counters.deepest(q.scheduler.running)
			return op
		}
		q.sleeping++
		q.work.Wait()
		q.sleeping--
	}
}

// failWaiting brings back the Ops of f, or of any file if f is nil, that wait for their turn. It gives mu
// up meanwhile.
func (q *threadsQueue) failWaiting(devices []*device, f *File) {
	removed := q.scheduler.remove(devices, f)
	if removed.head == nil {
		return
	}
	q.mu.Unlock()
	defer q.mu.Lock()
	now := Now()
	for op := removed.pop(); op != nil; op = removed.pop() {
		op.fail(ErrClosed)
		q.common.gate.leave(1)
		finish(q, op, now)
	}
}

func (q *threadsQueue) Close() error {
	q.common.gate.close()
	q.stir()
	return awaitEnd(&q.common, q.gone)
}

// stir makes every worker look around.
func (q *threadsQueue) stir() {
	q.mu.Lock()
	q.work.Broadcast()
	q.mu.Unlock()
}

func (q *threadsQueue) attach(*File) error { return nil }

func (q *threadsQueue) detach(f *File) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failWaiting([]*device{f.device}, f)
}

func (q *threadsQueue) dispose(f *File) { f.closeDescriptor() }
