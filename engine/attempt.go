package engine

import (
	"fmt"
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
	ops  []readOp
	wait *opWait
}

// readOp is one read. Its op may be looked at only once state says that it is over.
type readOp struct {
	op    drive.Op
	state atomic.Int32
	owes  *atomic.Int32 // Its drive's count of reads that were given up on and are not over.
}

// The states of a readOp.
const (
	readPending int32 = iota
	readOver
	readLate // Given up on, and not over.
)

// maxOverdue is how many reads a drive may owe before it is asked no more: each of them keeps its memory and a place in the queue.
const maxOverdue = 8

// driveWatch is what the cell keeps of a drive's reads.
type driveWatch struct {
	overdue atomic.Int32 // Reads that were given up on and are not over.
	probing atomic.Bool  // One read is on its way to find out whether the drive hangs.
	logged  atomic.Int64 // When corruption was last logged, in Unix seconds.
	unsaid  atomic.Int64 // Corrupt units since then.
}

// watchDrives makes what is kept of each drive.
func watchDrives(drives []drive.Drive) map[drive.ID]*driveWatch {
	m := make(map[drive.ID]*driveWatch, len(drives))
	for _, d := range drives {
		m[d.ID()] = &driveWatch{}
	}
	return m
}

// shardFile returns the segment to read a shard from, or nil. Drives that have failed are asked as a last resort only.
func (c *cell) shardFile(vol *volume.Volume, shard int, lastResort bool) drive.File {
	file := vol.Shard(shard)
	if file == nil && lastResort {
		file = vol.LastResort(shard)
	}
	if file == nil || c.watch[file.Drive().ID()].overdue.Load() >= maxOverdue {
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
	a := &attempt{c: c, vol: vol, buf: buf, runs: runs, ops: make([]readOp, len(runs)), wait: newOpWait(len(runs))}
	submit := make([]*drive.Op, 0, len(runs))
	for i, run := range runs {
		r := &a.ops[i]
		file := c.shardFile(vol, run.Shard, lastResort)
		if file == nil {
			r.op.Err = errUnreadable // The drive has failed since it was chosen.
			r.state.Store(readOver)
			a.wait.done()
			continue
		}
		buf.Retain()
		r.owes = &c.watch[file.Drive().ID()].overdue
		r.op = drive.Op{Kind: drive.Read, File: file, Off: off + run.Off, Bufs: vec(run), Done: func(*drive.Op) {
			if r.state.Swap(readOver) == readLate {
				r.owes.Add(-1)
			}
			buf.Release()
			a.wait.done()
		}}
		submit = append(submit, &r.op)
	}
	drive.Submit(submit)
	return a
}

// finish waits as long as that for the reads to be over and returns the shards that did not answer, or answered with an error.
func (a *attempt) finish(limit time.Duration) (bad erasure.Set) {
	a.wait.wait(limit)
	for i, run := range a.runs {
		r := &a.ops[i]
		if r.state.CompareAndSwap(readPending, readLate) {
			r.owes.Add(1)
			a.c.suspect(a.vol, run.Shard, r.op.File)
			bad = bad.With(run.Shard)
		} else if r.op.Err != nil || r.op.N != int(run.Len) {
			bad = bad.With(run.Shard)
			if r.op.File != nil {
				a.c.ledger.note(a.vol.ID(), run.Shard, meta.CauseUnreadable, meta.Range{Off: r.op.Off, Len: run.Len})
			}
		}
	}
	return bad
}

// giveUp lets the reads go on without anybody waiting for them.
func (a *attempt) giveUp() {
	for i := range a.ops {
		if r := &a.ops[i]; r.state.CompareAndSwap(readPending, readLate) {
			r.owes.Add(1)
		}
	}
	a.buf.Release()
}

// suspect finds out whether a drive that has not answered a read hangs, with one more read that has plenty of time. If it does it is fenced,
// lest every read waits for it in vain. Where there is no parity nothing is gained by that.
func (c *cell) suspect(vol *volume.Volume, shard int, file drive.File) {
	watch := c.watch[file.Drive().ID()]
	if vol.M() == 0 || vol.Shard(shard) == nil || watch.probing.Swap(true) {
		return
	}
	if !c.background.enter() {
		return
	}
	wait := newOpWait(1)
	// On the heap: if the drive hangs for good, so does this.
	op := &drive.Op{Kind: drive.Read, File: file, Bufs: [][]byte{drive.Aligned(drive.BlockLen)}, Done: func(*drive.Op) { wait.done() }}
	go func() { // Ends with the limit.
		defer c.background.leave()
		file.Queue().Submit(op)
		if !wait.wait(c.limits.fence) {
			// Of the drive that was asked: the shard may have moved since.
			c.set.FailDrive(file.Drive().ID(), fmt.Errorf("shard %d of %v: read not finished after %v", shard, vol, c.limits.fence))
		}
		watch.probing.Store(false)
	}()
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
	watch := c.watch[file.Drive().ID()]
	now, last := time.Now().Unix(), watch.logged.Load()
	if now-last < int64(corruptLogEvery/time.Second) || !watch.logged.CompareAndSwap(last, now) {
		watch.unsaid.Add(1)
		return
	}
	c.log.Warn("a unit does not match its checksum and is reconstructed", "drive", file.Drive().Path(), "segment", file.Seg(),
		"volume", volume.Name(vol.ID()), "shard", shard, "offset", off, "more", watch.unsaid.Swap(0))
}
