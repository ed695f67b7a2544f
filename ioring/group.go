//go:build linux

package ioring

import (
	"context"
	"sync/atomic"
)

// Group waits for several Ops with one wake-up: a stripe's six writes complete in any order and their
// caller runs again once.
//
//	g := ioring.NewGroup(len(ops))
//	for _, op := range ops {
//		op.Complete = g.Done
//	}
//	q.Submit(ops...)
//	err := g.Wait(ctx)
type Group struct {
	left  atomic.Int64
	first atomic.Pointer[error]
	all   chan struct{} // Closed when the last Op is back.
}

// NewGroup returns a Group for n Ops.
func NewGroup(n int) *Group {
	g := &Group{all: make(chan struct{})}
	g.left.Store(int64(n))
	if n <= 0 {
		close(g.all)
	}
	return g
}

// Done counts op as back. It is meant to be Op.Complete, or to be called from there.
func (g *Group) Done(op *Op) {
	if op.Err != nil {
		err := op.Err // A copy: the Op may be used again before anyone asks.
		g.first.CompareAndSwap(nil, &err)
	}
	switch left := g.left.Add(-1); {
	case left == 0:
		close(g.all)
	case left < 0:
		panic("ioring: more Ops are back than the Group was made for")
	}
}

// Wait returns when every Op is back, with the error of the first that failed, or when ctx is done,
// with its error. In the second case the Ops and their memory still belong to the queue; All says when
// they no longer do.
func (g *Group) Wait(ctx context.Context) error {
	select {
	case <-g.all:
		return g.Err()
	default:
	}
	select {
	case <-g.all:
		return g.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// All is closed when every Op is back.
func (g *Group) All() <-chan struct{} { return g.all }

// Err is the error of the first Op that failed so far.
func (g *Group) Err() error {
	if first := g.first.Load(); first != nil {
		return *first
	}
	return nil
}

// Do runs ops and waits for them. A lone one runs on the caller's thread when TryDirect takes it. It
// sets Complete. When ctx ends the waiting, the Ops go on; see [Group.Wait].
func Do(ctx context.Context, q Queue, ops ...*Op) error {
	g := NewGroup(len(ops))
	for _, op := range ops {
		op.Complete = g.Done
	}
	if len(ops) != 1 || !q.TryDirect(ops[0]) {
		q.Submit(ops...)
	}
	return g.Wait(ctx)
}
