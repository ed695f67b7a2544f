package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// EpochExtra is what "epoch" reports beside requests.
type EpochExtra struct {
	Epochs  float64 `json:"epochs"`
	Steps   int     `json:"steps"`
	Samples int     `json:"samples"`
	Compute float64 `json:"compute_s"` // How long accelerators were busy,
	Wait    float64 `json:"wait_s"`    // and how long they waited for a batch.
}

func checkEpoch(o *Options) error {
	e := o.Epoch
	switch {
	case e.Ranks < 1 || e.Workers < 1 || e.BatchLen < 1 || e.Prefetch < 1:
		return fmt.Errorf("%d ranks of %d workers, batches of %d samples, %d batches ahead", e.Ranks, e.Workers, e.BatchLen, e.Prefetch)
	case e.Step < 0:
		return fmt.Errorf("a step of %v", e.Step)
	case e.Ranks*e.Workers != o.Concurrency:
		return fmt.Errorf("%d ranks of %d workers are not %d requests at a time", e.Ranks, e.Workers, o.Concurrency)
	case o.Objects < e.Ranks:
		return fmt.Errorf("%d samples for %d ranks", o.Objects, e.Ranks)
	case o.Rate > 0:
		return fmt.Errorf("training asks when it needs something: epoch has no rate")
	}
	return nil
}

// driveEpoch reads the dataset as data-parallel training does. In each epoch all samples are shuffled and dealt out to the ranks. A rank's
// loader workers read whole batches in turn, ahead of their use by no more than Prefetch each, and hand them over in order.
// All ranks take a step together, as they exchange gradients at its end: a step begins when the last of them has its batch.
func driveEpoch(r *run, stop context.Context) error {
	extra := new(EpochExtra)
	r.extra.Epoch = extra
	for epoch := uint64(0); stop.Err() == nil; epoch++ {
		if epoch > 0 && (r.opts.Duration == 0 || r.opts.Cache == Cold) {
			break
		}
		r.epoch(stop, shuffled(r.opts.Objects, r.opts.Seed+epoch), extra)
	}
	extra.Epochs = float64(extra.Samples) / float64(r.opts.Objects)
	return nil
}

// epoch reads all samples once, in the given order.
func (r *run) epoch(stop context.Context, order []uint32, extra *EpochExtra) {
	e := r.opts.Epoch
	perRank := len(order) / e.Ranks
	batches := (perRank + e.BatchLen - 1) / e.BatchLen
	// What a worker has read and nobody has taken; with the batch it is reading, it is Prefetch ahead.
	ready := make([]chan int, len(r.workers))
	var group sync.WaitGroup
	for i, w := range r.workers {
		ready[i] = make(chan int, e.Prefetch-1)
		rank, lane := i/e.Workers, i%e.Workers
		group.Go(func() {
			for batch := lane; batch < batches; batch += e.Workers {
				count := 0
				for at := batch * e.BatchLen; at < min((batch+1)*e.BatchLen, perRank); at++ {
					if stop.Err() != nil {
						return
					}
					w.get(Get, uint64(order[at*e.Ranks+rank]))
					w.pause(stop)
					count++
				}
				select {
				case ready[i] <- count:
				case <-stop.Done():
					return
				}
			}
		})
	}
	for batch := range batches {
		if !r.trainingStep(stop, ready, batch%e.Workers, extra) {
			break
		}
	}
	group.Wait()
}

// trainingStep waits for a batch of every rank, then computes. It is false when the run ends.
func (r *run) trainingStep(stop context.Context, ready []chan int, lane int, extra *EpochExtra) bool {
	e := r.opts.Epoch
	live := r.rec.live.Load()
	begun := time.Now()
	samples := 0
	for rank := range e.Ranks {
		select {
		case n := <-ready[rank*e.Workers+lane]:
			samples += n
		case <-stop.Done():
			return false
		}
	}
	have := time.Now()
	if live {
		r.workers[0].count(Batch, begun, time.Time{}, 0, nil)
	}
	if e.Step > 0 {
		timer := time.NewTimer(e.Step)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-stop.Done():
		}
	}
	if live {
		extra.Steps++
		extra.Samples += samples
		extra.Wait += have.Sub(begun).Seconds()
		extra.Compute += time.Since(have).Seconds()
	}
	return true
}

func epochDetails(o *Options) string {
	e := o.Epoch
	return fmt.Sprintf("%d samples, %d ranks of %d workers, batches of %d, %d ahead, steps of %v", o.Objects, e.Ranks, e.Workers, e.BatchLen, e.Prefetch, e.Step)
}
