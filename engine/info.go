package engine

import (
	"cmp"
	"fmt"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// Info is what the store can say about itself.
type Info struct {
	Cluster  string
	Cells    int
	Drives   []DriveInfo
	Geometry string // Of new volumes, such as "4+2"; of several cells that differ, "4+2, 2+2".
	Rung     string // Of the I/O ladder, such as "ring" or "threads".
	Direct   bool   // Whether segments are opened O_DIRECT.
}

// DriveInfo is the state of one drive.
type DriveInfo struct {
	ID       string
	Path     string // Empty if it is missing and nobody said where it should be.
	State    string // "ok", "failed", "missing".
	Reason   string // Why, when it is not ok, or why it cannot be emptied now.
	Draining bool   // It takes nothing new and is being emptied,
	Leaving  bool   // and is removed when it is empty, or when what it held is elsewhere.
	Shards   int    // Whose place is on it.
	ShardLen int64  // Bytes that these take.
	Moved    int    // Shards moved off it since the start, while it is drained, and their bytes.
	MovedLen int64
	Stuck    int   // Of Shards, those that no other drive can take now.
	Total    int64 // Bytes of its file system.
	Free     int64
	Reads    int64 // Operations since start.
	Writes   int64
	ReadLen  int64 // Bytes since start.
	WriteLen int64
}

// Info describes the store as it is now. What it says of space may be a second old.
func (s *Store) Info() Info {
	info := Info{Cells: len(s.cells), Direct: true}
	for _, c := range s.cells {
		k, m := c.set.Geometry()
		geometry := fmt.Sprintf("%d+%d", k, m)
		switch info.Cluster = c.cluster; {
		case c.id == 0:
			info.Geometry, info.Rung = geometry, c.rung()
		case geometry != info.Geometry:
			info.Geometry += ", " + geometry
		}
		info.Direct = info.Direct && c.direct()
		info.Drives = append(info.Drives, c.driveInfos()...)
	}
	return info
}

// rung names the way the cell's drives are read and written.
func (c *cell) rung() string {
	if c.queue == nil {
		return "memory"
	}
	return string(c.queue.Rung())
}

// direct reports whether every segment that is open bypasses the page cache. Drives that have none do.
func (c *cell) direct() bool {
	for _, vol := range c.set.Volumes() {
		for i := range vol.N() {
			if f, ok := vol.Shard(i).(interface{ Direct() bool }); ok && !f.Direct() {
				return false
			}
		}
	}
	return true
}

func (c *cell) driveInfos() []DriveInfo {
	counts := make(map[drive.ID]drive.Stats, len(c.drives.all()))
	for _, d := range c.drives.all() {
		counts[d.ID()] = d.Stats()
	}
	absent := c.absent
	shards, lens := c.held()
	var out []DriveInfo
	for _, d := range c.set.Drives() {
		info := DriveInfo{
			ID: d.ID.String(), Path: d.Path, State: d.State.String(), Total: d.Total, Free: d.Free, Draining: d.Draining, Leaving: d.Leaving,
			Shards: shards[d.ID], ShardLen: lens[d.ID],
		}
		c.drainer.state(&info, d.ID)
		switch {
		case d.Err != nil:
			info.Reason = d.Err.Error()
		case d.State == volume.DriveMissing && d.Path != "":
			info.Reason = cmp.Or(c.homecomer.reason(d.Path), "not there")
		case d.State == volume.DriveMissing:
			info.Reason = "not given"
			if len(absent) > 0 {
				// Which of the missing drives belongs there nobody can tell: the drive that would is not there.
				info.Path, info.Reason, absent = absent[0], "not there, or not usable", absent[1:]
			}
		}
		if n, ok := counts[d.ID]; ok {
			info.Reads, info.ReadLen = int64(n.Reads.Ops), int64(n.Reads.Bytes)
			info.Writes, info.WriteLen = int64(n.Writes.Ops), int64(n.Writes.Bytes)
		}
		out = append(out, info)
	}
	return out
}

// held returns how many shards have their place on each drive, and what they take.
func (c *cell) held() (shards map[drive.ID]int, lens map[drive.ID]int64) {
	shards, lens = make(map[drive.ID]int), make(map[drive.ID]int64)
	for _, vol := range c.set.Volumes() {
		for i, id := range vol.Drives() {
			shards[id]++
			if f := vol.LastResort(i); f != nil {
				lens[id] += f.Size()
			}
		}
	}
	return shards, lens
}

// Stats counts what the store has done since it was opened, all cells together.
type Stats struct {
	DriveReads, DriveWrites       uint64 // Operations on segments: those of the index and its checkpoints are not among them.
	DriveReadLen, DriveWriteLen   uint64 // Bytes.
	DriveErrors                   uint64
	RingEnters, RingDirect        uint64 // System calls of the rings, and operations that took none of them.
	ArenaLen, ArenaUsed           int64  // Bytes of buffers, and of those in use now.
	ArenaPeak                     int64
	ArenaWaits, ArenaFailures     uint64 // Requests for a buffer that waited, and those that came to nothing, tries that do not wait among them.
	CacheHits, CacheMisses        uint64
	CacheLen                      int64  // Bytes in the cache of small objects.
	JournalBatches, JournalGroups uint64 // Since the journal was opened. A group is what one request has committed.
	JournalRecords, JournalLen    uint64 // Records, and their bytes.
	JournalWrites                 uint64 // Shard blocks written.
	JournalFailovers              uint64 // Journal volumes given up because of a drive.
	DegradedReads                 uint64 // Reads that had to reconstruct.
	HedgedReads                   uint64 // Of these, those that stopped waiting for a slow drive.
	ParkedReads                   uint64 // Times that a slow reader's memory was given to others.
	CorruptUnits                  uint64 // Units that a drive returned and that did not match their checksum.
	StripeRetries                 uint64 // Stripes written again because a drive failed under them.
	VolumesFreed, Checkpoints     uint64
	MissingShards                 int64  // Shards that are not what they should be, now.
	NarrowVolumes                 int64  // Volumes with less parity than new ones, now.
	HealedShards, HealedLen       uint64 // Shards made anew or moved, and bytes written for that.
	BalancedLen                   uint64 // Bytes of shards moved to emptier drives.
	MendedLen                     uint64 // Bytes written again in place.
	ScrubLen, ScrubFound          uint64 // Bytes read by scrubbing, and what it has found: units and blocks that were not what was written.
	CompactedVolumes              uint64 // Moved together: see CompactStatus.
	CompactReadLen                uint64 // Bytes.
	CompactWriteLen               uint64
	Failovers                     uint64 // Times an index was replaced because it, its drive or the journal failed.
}

// Stats returns the counts. Each is right; they are not all of one instant.
func (s *Store) Stats() Stats {
	var t Stats
	for _, c := range s.cells {
		d := c.drives.stats()
		t.DriveReads, t.DriveReadLen = t.DriveReads+d.Reads.Ops, t.DriveReadLen+d.Reads.Bytes
		t.DriveWrites, t.DriveWriteLen = t.DriveWrites+d.Writes.Ops, t.DriveWriteLen+d.Writes.Bytes
		t.DriveErrors += d.Reads.Errors + d.Writes.Errors
		if c.queue != nil {
			n := c.queue.Stats()
			t.RingEnters, t.RingDirect = t.RingEnters+n.Enters, t.RingDirect+n.DirectOps
		}
		a := c.arena.Stats()
		t.ArenaLen, t.ArenaUsed, t.ArenaPeak = t.ArenaLen+a.Size, t.ArenaUsed+a.InUse, t.ArenaPeak+a.Peak
		t.ArenaWaits, t.ArenaFailures = t.ArenaWaits+a.Waits, t.ArenaFailures+a.Failures
		t.CacheHits, t.CacheMisses = t.CacheHits+uint64(c.cache.hits.Load()), t.CacheMisses+uint64(c.cache.misses.Load())
		t.CacheLen += c.cache.used()
		j := c.base.Load().journal.Stats()
		t.JournalBatches, t.JournalGroups = t.JournalBatches+j.Batches, t.JournalGroups+j.Groups
		t.JournalRecords, t.JournalLen = t.JournalRecords+j.Records, t.JournalLen+j.Bytes
		t.JournalWrites, t.JournalFailovers = t.JournalWrites+j.Writes, t.JournalFailovers+j.Failovers
		t.DegradedReads += uint64(c.stats.degradedReads.Load())
		t.HedgedReads += uint64(c.stats.hedgedReads.Load())
		t.ParkedReads += uint64(c.stats.parkedReads.Load())
		t.CorruptUnits += uint64(c.stats.corruptUnits.Load())
		t.StripeRetries += uint64(c.stats.stripeRetries.Load())
		t.VolumesFreed += uint64(c.stats.volumesFreed.Load())
		t.Checkpoints += uint64(c.stats.checkpoints.Load())
		missing, _, _ := c.ledger.counts()
		t.MissingShards += int64(missing)
		t.NarrowVolumes += int64(c.narrowCount())
		t.HealedShards += uint64(c.stats.healedShards.Load())
		t.BalancedLen += uint64(c.stats.balancedLen.Load())
		t.HealedLen += uint64(c.stats.healedLen.Load())
		t.MendedLen += uint64(c.stats.mendedLen.Load())
		t.ScrubLen += uint64(c.scrubber.read.Load())
		t.ScrubFound += uint64(c.scrubber.found.Load())
		k := c.compaction.status()
		t.CompactedVolumes += uint64(k.Volumes)
		t.CompactReadLen, t.CompactWriteLen = t.CompactReadLen+uint64(k.ReadLen), t.CompactWriteLen+uint64(k.WriteLen)
		t.Failovers += uint64(c.stats.failovers.Load())
	}
	return t
}
