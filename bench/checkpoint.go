package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// CheckpointExtra is what "checkpoint" reports beside requests.
type CheckpointExtra struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"` // How long checkpoints were being uploaded, of the window.
}

func checkCheckpoint(o *Options) error {
	c := o.Checkpoint
	switch {
	case c.Writers < 1:
		return fmt.Errorf("checkpoints of %d writers", c.Writers)
	case c.Every <= 0:
		return fmt.Errorf("checkpoints every %v", c.Every)
	case o.Duration == 0:
		return fmt.Errorf("checkpoint needs a duration")
	}
	return checkParts(c.Len, o.Multipart.PartLen)
}

// driveCheckpoint has some workers read steadily while others upload a checkpoint every so often. Reads that begin during one are counted
// apart: what a checkpoint does to them is the question.
func driveCheckpoint(r *run, stop context.Context) error {
	readers, writers := r.workers[:r.opts.Concurrency], r.workers[r.opts.Concurrency:]
	var group sync.WaitGroup
	if r.pacer.interval > 0 {
		group.Go(func() { r.pacer.pace(stop) })
	}
	for _, w := range readers {
		group.Go(func() {
			w.loop(stop, func(w *worker, n uint64) {
				kind := Get
				if r.burst.Load() {
					kind = GetCheckpoint
				}
				w.get(kind, w.chosen(n))
			})
		})
	}
	r.checkpoints(stop, writers)
	group.Wait()
	return nil
}

// checkpoints uploads one every so often until stop is done. One that has begun is finished.
func (r *run) checkpoints(stop context.Context, writers []*worker) {
	extra := new(CheckpointExtra)
	r.extra.Checkpoint = extra
	next := time.NewTimer(r.opts.Checkpoint.Every / 2)
	defer next.Stop()
	for count := uint64(0); ; count++ {
		select {
		case <-stop.Done():
			return
		case <-next.C:
		}
		next.Reset(r.opts.Checkpoint.Every)
		live := r.rec.live.Load()
		begun := time.Now()
		r.burst.Store(true)
		err := r.checkpoint(writers)
		r.burst.Store(false)
		if live {
			writers[0].count(Checkpoint, begun, time.Time{}, r.opts.Checkpoint.Len*int64(len(writers)), err)
			extra.Count++
			extra.Seconds += time.Since(begun).Seconds()
		}
	}
}

// checkpoint has each writer upload its object, over the one of the checkpoint before the last.
func (r *run) checkpoint(writers []*worker) error {
	parts := int(r.opts.Checkpoint.Len / r.opts.Multipart.PartLen)
	errs := make([]error, len(writers))
	var group sync.WaitGroup
	for i, w := range writers {
		group.Go(func() { errs[i] = w.upload(uint64(i), parts) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkpointDetails(o *Options) string {
	c := o.Checkpoint
	return fmt.Sprintf("%d writers of %s in parts of %s every %v", c.Writers, FormatBytes(c.Len), FormatBytes(o.Multipart.PartLen), c.Every)
}
