package engine

import (
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
)

// Gauges are what is worth watching of a store over time, besides Stats.
type Gauges struct {
	Drives []DriveGauges
	Cells  []CellGauges
}

// DriveGauges are one drive's.
type DriveGauges struct {
	DriveInfo
	Cell     int
	Segments int // On it.
	Unused   int // Of these, free to be used again.
	Damaged  int // Of these, left alone because their headers cannot be trusted.
	ReadOps  DriveOps
	WriteOps DriveOps
}

// DriveOps counts the operations of one kind on segments since the drive was opened.
type DriveOps struct {
	Count, Bytes, Errors uint64
	Time                 time.Duration // Sum over all.
	// Latency counts operations by duration: class i holds those below LatencyBound(i) and not in a lower class.
	Latency []uint64
}

// LatencyBound returns the upper bound of a class of DriveOps.Latency.
func LatencyBound(i int) time.Duration { return drive.BucketBound(i) }

// CellGauges are one cell's.
type CellGauges struct {
	Cell          int
	RingReads     uint64 // Operations that the ring has done.
	RingWrites    uint64
	RingSyncs     uint64
	RingEnters    uint64 // System calls that took.
	RingWakes     uint64
	RingMaxDepth  uint64 // Most operations that were with the kernel at once.
	ArenaLen      int64  // Bytes of buffers, and of those in use now.
	ArenaUsed     int64
	JournalFill   [journal.FillBuckets]uint64 // Batches by records: class i has 2^i to 2^(i+1)-1, the last one all above.
	JournalCommit time.Duration               // Of all batches together, from submission to durable.
	JournalLag    uint64                      // Records that a start would have to apply to the index again.
	Volumes       int
	K, M          int  // Of a volume made now.
	Full          bool // New bytes are refused.
	Compact       CompactStatus
}

// Gauges returns them as they are now.
func (s *Store) Gauges() Gauges {
	var g Gauges
	for _, c := range s.cells {
		g.Drives = append(g.Drives, c.driveGauges()...)
		g.Cells = append(g.Cells, c.gauges())
	}
	return g
}

func (c *cell) driveGauges() []DriveGauges {
	stats := make(map[string]drive.Stats, len(c.drives.all()))
	for _, d := range c.drives.all() {
		stats[d.ID().String()] = d.Stats()
	}
	var out []DriveGauges
	infos, states := c.driveInfos(), c.set.Drives()
	for i, info := range infos {
		g := DriveGauges{DriveInfo: info, Cell: c.id}
		if i < len(states) && states[i].ID.String() == info.ID {
			g.Segments, g.Unused, g.Damaged = states[i].Segments, states[i].Unused, states[i].Damaged
		}
		if n, ok := stats[info.ID]; ok {
			g.ReadOps, g.WriteOps = driveOps(&n.Reads), driveOps(&n.Writes)
		}
		out = append(out, g)
	}
	return out
}

func driveOps(n *drive.OpStats) DriveOps {
	return DriveOps{Count: n.Ops, Bytes: n.Bytes, Errors: n.Errors, Time: n.Time, Latency: n.Latency[:]}
}

func (c *cell) gauges() CellGauges {
	g := CellGauges{Cell: c.id, Volumes: len(c.set.Volumes()), Full: c.full.Load(), Compact: c.compaction.status()}
	g.K, g.M = c.set.Geometry()
	if c.queue != nil {
		n := c.queue.Stats()
		g.RingReads, g.RingWrites, g.RingSyncs, g.RingEnters, g.RingWakes, g.RingMaxDepth = n.Reads, n.Writes, n.Syncs, n.Enters, n.Wakes, n.MaxDepth
	}
	a := c.arena.Stats()
	g.ArenaLen, g.ArenaUsed = a.Size, a.InUse
	b := c.base.Load()
	j := b.journal.Stats()
	g.JournalFill, g.JournalCommit = j.Fill, j.Commit
	if b.enter() == nil {
		if flushed, err := b.index.FlushedPosition(); err == nil {
			g.JournalLag = uint64(b.index.Position().LSN - flushed.LSN)
		}
		b.leave()
	}
	return g
}
