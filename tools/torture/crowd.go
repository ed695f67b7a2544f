package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// A load is all the workers at work on a node.
type load struct {
	c      *campaign
	cancel context.CancelFunc
	ending atomic.Bool // The node is about to end: that there is no answer says nothing.
	all    sync.WaitGroup
	failed chan error // What workers ended with.
}

// begin lets all workers loose. In calm they take a failure for what it is; else the node may say that it cannot.
func (c *campaign) work(ctx context.Context, calm bool) {
	c.calm.Store(calm)
	l := &load{c: c, failed: make(chan error, workers)}
	var running context.Context
	running, l.cancel = context.WithCancel(ctx)
	client := newClient(c.node.Endpoint)
	for i := range workers {
		w := &worker{state: c.state, index: i, client: client, rng: rand.New(rand.NewPCG(c.rng.Uint64(), uint64(i)))}
		l.all.Go(func() {
			err := w.run(running)
			if err != nil && (!l.ending.Load() || errors.Is(err, errWrong)) {
				l.failed <- fmt.Errorf("worker %d: %w", w.index, err)
			}
		})
	}
	c.load = l
}

// rest lets the workers go on for a random time, unless one of them ends before.
func (c *campaign) rest(most time.Duration) error {
	select {
	case err := <-c.load.failed:
		return c.load.over(err)
	case <-time.After(time.Duration(c.rng.Int64N(int64(most)))):
		return nil
	}
}

// progressLimit is how long writes may take to go on after trouble that they must survive.
const progressLimit = 60 * time.Second

// progress waits until every worker could have had another write acknowledged.
func (c *campaign) progress() error {
	end := time.After(progressLimit)
	for goal := c.acknowledged.Load() + workers; c.acknowledged.Load() < goal; {
		select {
		case err := <-c.load.failed:
			return c.load.over(err)
		case <-end:
			return c.load.over(wrong("writes do not go on within %v", progressLimit))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// crash says that the node is about to end, however it does.
func (c *campaign) crash() { c.load.ending.Store(true) }

// stop lets every worker finish its request, and returns what any of them found.
func (c *campaign) stop() error { return c.load.over(nil) }

// over ends the load and returns the first error, if there is one.
func (l *load) over(err error) error {
	l.cancel()
	l.all.Wait()
	for err == nil {
		select {
		case err = <-l.failed:
			if !errors.Is(err, errWrong) {
				err = wrong("the node does not answer, and nobody stopped it: %v", err)
			}
		default:
			l.c.load = nil
			return nil
		}
	}
	l.c.load = nil
	return err
}
