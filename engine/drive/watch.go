package drive

import (
	"sync/atomic"
	"time"
)

// Watch is what a drive's ops say about it now: how many are under way, how long the latest reads took, and whether anything
// moves. Stats tell of the time since the drive was opened.
//
// All drives keep one, whoever submits. It costs an op a handful of additions to counters of its drive alone.
type Watch struct {
	pending [Write + 1]atomic.Int64
	over    [Write + 1]atomic.Uint64
	overdue atomic.Int64 // Reads that were given up on and are not over.
	stalled atomic.Bool  // See SetStalled.

	recent  [latencyBuckets]atomic.Int64 // Of the latest reads, in the classes of Latency; each round halves it.
	samples atomic.Uint64
	slow    atomic.Int64 // The 99th percentile of recent after the latest round, in nanoseconds; 0 before the first.
}

const (
	// recentRound is after how many reads the percentile is taken anew and the past counts half: it stands for the last thousand
	// reads or so, of which ten are above it.
	recentRound = 512

	// firstRound is enough for a first idea.
	firstRound = 64

	// MaxOverdue is how many reads a drive may owe before it is better asked no more: each keeps its memory and a place in the queue.
	MaxOverdue = 8

	// MaxReads is how many reads of one drive may be under way. It is more than a drive takes at once, and so little that four
	// drives that hang leave half of the places in the queue to the others.
	MaxReads = 2048
)

// Pending returns how many ops of a kind are under way.
func (w *Watch) Pending(k Kind) int64 { return w.pending[k].Load() }

// Over returns how many ops of a kind have come back.
func (w *Watch) Over(k Kind) uint64 { return w.over[k].Load() }

// Overdue returns how many reads were given up on and are not over.
func (w *Watch) Overdue() int64 { return w.overdue.Load() }

// SlowRead returns a bound that all but one in a hundred of the latest reads stayed below, or 0 when there were too few.
func (w *Watch) SlowRead() time.Duration { return time.Duration(w.slow.Load()) }

// SetStalled notes that nothing has come back for too long. The next read that does takes it back.
func (w *Watch) SetStalled() { w.stalled.Store(true) }

// Stalled reports whether nothing has come back since SetStalled.
func (w *Watch) Stalled() bool { return w.stalled.Load() }

// Avoid reports whether a read that others can stand in for is better not sent to the drive.
func (w *Watch) Avoid() bool { return w.stalled.Load() || w.Full() }

// Full reports whether the drive owes so many reads that it must not be sent another.
func (w *Watch) Full() bool {
	return w.overdue.Load() >= MaxOverdue || w.pending[Read].Load() >= MaxReads
}

// ended notes that an op is over.
func (w *Watch) ended(k Kind, d time.Duration) {
	w.pending[k].Add(-1)
	w.over[k].Add(1)
	if k != Read {
		return
	}
	if w.stalled.Load() {
		w.stalled.Store(false)
	}
	w.recent[bucketOf(d)].Add(1)
	if n := w.samples.Add(1); n%recentRound == 0 || n == firstRound {
		w.round()
	}
}

// round takes the percentile and halves what there is. Reads that end meanwhile count for this round or the next.
func (w *Watch) round() {
	var l Latency
	for i := range w.recent {
		n := w.recent[i].Load()
		l[i] = uint64(max(n, 0))
		w.recent[i].Add(-n / 2)
	}
	w.slow.Store(int64(l.Quantile(0.99)))
}

// The states of an op.
const (
	opOver    int32 = iota // Or never begun.
	opPending              // Counted in Watch.pending.
	opLate                 // Given up on, and not over.
)

// Over reports whether the op has come back, or was never begun. What has become of it may be looked at then.
func (op *Op) Over() bool { return op.state.Load() == opOver }

// GiveUp notes that nobody waits for the op any more, and reports true. If it is over, it reports false, and what has become of it may be looked at.
// The memory of one that is not over stays the drive's until Done.
func (op *Op) GiveUp() bool {
	if !op.state.CompareAndSwap(opPending, opLate) {
		return false
	}
	if op.Kind == Read {
		op.watch.overdue.Add(1)
	}
	return true
}
