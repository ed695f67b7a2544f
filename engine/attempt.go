package engine

import (
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// attempt is one group of drive reads into one buffer.
type attempt struct {
	c    *cell
	vol  *volume.Volume
	buf  *ioring.Buf
	runs []erasure.Run
	ops  []drive.Op
	wait *opWait
	late bool // Some read was given up.
}

// driveWatch is what the cell keeps of a drive's reads beside what the drive keeps itself.
type driveWatch struct {
	logged atomic.Int64 // When corruption was last logged, in Unix seconds.
	unsaid atomic.Int64 // Corrupt units since then.
}

// shardFile returns the segment to read a shard from, or nil. A drive that has stopped is not asked as long as others can stand in for it, and one
// that has failed is as a last resort only.
func (c *cell) shardFile(vol *volume.Volume, shard int, lastResort bool) drive.File {
	file := vol.Shard(shard)
	if file == nil && lastResort {
		file = vol.LastResort(shard)
	}
	if file == nil {
		return nil
	}
	if watch := file.Drive().Watch(); watch.Full() || watch.Avoid() && vol.M() > 0 && !lastResort {
		return nil
	}
	return file
}

// readable reports whether a shard can be read without further ado.
func (c *cell) readable(vol *volume.Volume, shard int) bool {
	return c.shardFile(vol, shard, false) != nil
}

// startAttempt submits one read per run, to where vec says. It takes over the caller's reference to buf; each read has one of its own.
func (c *cell) startAttempt(vol *volume.Volume, off int64, buf *ioring.Buf, runs []erasure.Run, lastResort bool, vec func(erasure.Run) [][]byte) *attempt {
	a := &attempt{c: c, vol: vol, buf: buf, runs: runs, ops: make([]drive.Op, len(runs)), wait: newOpWait(len(runs))}
	submit := make([]*drive.Op, 0, len(runs))
	done := func(*drive.Op) {
		buf.Release()
		a.wait.done()
	}
	for i, run := range runs {
		op := &a.ops[i]
		file := c.shardFile(vol, run.Shard, lastResort)
		if file == nil {
			op.Err = errUnreadable // The drive has failed since it was chosen.
			a.wait.done()
			continue
		}
		buf.Retain()
		op.Kind, op.File, op.Off, op.Bufs, op.Done = drive.Read, file, off+run.Off, vec(run), done
		submit = append(submit, op)
	}
	drive.Submit(submit)
	return a
}

// finish waits as long as the drives usually need, and longer while there is no credit for hedging. It returns the shards that did not answer, or answered
// with an error.
func (a *attempt) finish() (bad erasure.Set) {
	h := a.c.hedger
	first := time.Duration(0)
	for i := range a.ops {
		if op := &a.ops[i]; op.File != nil {
			first = max(first, h.After(op.File.Drive().Watch()))
		}
	}
	if a.wait.wait(first) {
		h.Answered()
		return a.outcome()
	}
	for waited := first; waited < a.c.limits.read; waited += h.Step() {
		if a.mayHedge() {
			break
		}
		if a.wait.wait(h.Step()) {
			return a.outcome()
		}
	}
	bad = a.outcome()
	if a.late {
		a.c.stats.hedgedReads.Add(1)
	}
	return bad
}

// mayHedge reports whether the reads that are not over may be done without.
func (a *attempt) mayHedge() bool {
	for i := range a.ops {
		// One that nobody turns to any more costs nothing to leave; any other one pays for them all.
		if op := &a.ops[i]; !op.Over() && !op.File.Drive().Watch().Avoid() {
			return a.c.hedger.take()
		}
	}
	return true
}

// finishPatiently is finish for when there is nothing to reconstruct from.
func (a *attempt) finishPatiently() (bad erasure.Set) {
	a.wait.wait(a.c.limits.read)
	return a.outcome()
}

// outcome gives up the reads that are not over, and returns their shards and those of reads that failed.
func (a *attempt) outcome() (bad erasure.Set) {
	for i, run := range a.runs {
		op := &a.ops[i]
		if op.GiveUp() {
			a.buf.WriteOff() // Perhaps for good: others must not go without because of it.
			a.late = true
			bad = bad.With(run.Shard)
		} else if op.Err != nil || op.N != int(run.Len) {
			bad = bad.With(run.Shard)
			if op.File != nil {
				a.c.ledger.note(a.vol.ID(), run.Shard, meta.CauseUnreadable, meta.Range{Off: op.Off, Len: run.Len})
			}
		}
	}
	return bad
}

// giveUp lets the reads go on without anybody waiting for them.
func (a *attempt) giveUp() {
	a.buf.Release()
}

// corruptLogEvery is how often corruption on one drive is logged: a drive that lies does so in every unit.
const corruptLogEvery = time.Minute

// noteCorrupt counts bytes that a drive returned and that are not what was written, and logs some.
func (c *cell) noteCorrupt(vol *volume.Volume, shard int, off int64) {
	c.stats.corruptUnits.Add(1)
	c.ledger.note(vol.ID(), shard, meta.CauseRot, meta.Range{Off: off, Len: drive.BlockLen})
	file := vol.LastResort(shard)
	if file == nil {
		return
	}
	watch := c.drives.watch(file.Drive().ID())
	now, last := time.Now().Unix(), watch.logged.Load()
	if now-last < int64(corruptLogEvery/time.Second) || !watch.logged.CompareAndSwap(last, now) {
		watch.unsaid.Add(1)
		return
	}
	c.log.Warn("a unit does not match its checksum and is reconstructed", "drive", file.Drive().Path(), "segment", file.Seg(),
		"volume", volume.Name(vol.ID()), "shard", shard, "offset", off, "more", watch.unsaid.Swap(0))
}
