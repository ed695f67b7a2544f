package drive

import (
	"context"
	"sync/atomic"
)

// Submit starts ops, one hand-over for each queue among their files, so that all the writes of a
// stripe wake their ring once.
func Submit(ops []*Op) {
	if len(ops) == 0 {
		return
	}
	first := ops[0].File.Queue()
	same := true
	for _, op := range ops[1:] {
		if op.File.Queue() != first {
			same = false
			break
		}
	}
	if same {
		first.Submit(ops...)
		return
	}
	// A handful of ops on fewer queues: comparing beats a map. What is submitted may be over and in
	// other hands at once, so a queue is taken from an op that is still ours.
	rest := append(make([]*Op, 0, len(ops)), ops...)
	batch := make([]*Op, 0, len(ops))
	for len(rest) > 0 {
		q := rest[0].File.Queue()
		batch = batch[:0]
		kept := rest[:0]
		for _, op := range rest {
			if op.File.Queue() == q {
				batch = append(batch, op)
			} else {
				kept = append(kept, op)
			}
		}
		rest = kept
		q.Submit(batch...)
	}
}

// Do carries out one op and waits for it; it sets op.Done. If ctx ends first, Do returns its cause while
// the op is still in flight, and nothing tells when that is over: a caller whose memory is not
// garbage-collected uses a [Group]. Where ctx has no end, the op may run on the calling goroutine.
func Do(ctx context.Context, op *Op) error {
	var g Group
	if ctx.Done() == nil {
		g.arm(op)
		if !op.File.Queue().TryDirect(op) {
			op.File.Queue().Submit(op)
		}
	} else {
		g.Submit(op)
	}
	return g.Wait(ctx)
}

// Group waits for a set of ops with one wake. The zero Group is ready; after all its ops are over
// it can be used again.
type Group struct {
	ops  []*Op
	left atomic.Int32
	wake chan struct{} // Gets one token when nothing is left.
}

// Submit starts ops. It sets their Done. Only one set is in flight at a time.
func (g *Group) Submit(ops ...*Op) {
	g.arm(ops...)
	Submit(ops)
}

func (g *Group) arm(ops ...*Op) {
	if !g.Over() {
		panic("drive: Group.Submit while the group's ops are in flight")
	}
	if g.wake == nil {
		g.wake = make(chan struct{}, 1)
	}
	g.ops = append(g.ops[:0], ops...)
	g.left.Store(int32(len(ops)))
	done := g.done
	for _, op := range ops {
		op.Done = done
	}
}

func (g *Group) done(*Op) {
	if g.left.Add(-1) == 0 {
		select {
		case g.wake <- struct{}{}:
		default: // The token of a former set, which nobody waited for, is as good.
		}
	}
}

// Over reports whether no op is in flight: their memory is the caller's again.
func (g *Group) Over() bool { return g.left.Load() == 0 }

// Wait waits until all ops are over and returns the error of the first that has one, in the order
// they were submitted; each op keeps its own. If ctx ends first, Wait returns the cause
// and Over reports false: the ops are still in flight, and Wait may be called again.
func (g *Group) Wait(ctx context.Context) error {
	for !g.Over() { // A token may be of a former set.
		select {
		case <-g.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, op := range g.ops {
		if op.Err != nil {
			return op.Err
		}
	}
	return nil
}
