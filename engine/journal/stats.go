package journal

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// FillBuckets is the number of classes of Stats.Fill.
const FillBuckets = 14

// Stats counts what a journal has done since it was opened.
type Stats struct {
	Batches   uint64
	Groups    uint64
	Records   uint64
	Bytes     uint64              // Of records, without framing.
	Writes    uint64              // Shard blocks submitted to drives.
	WriteLen  uint64              // Bytes of them.
	Fill      [FillBuckets]uint64 // Batches by records: class i has 2^i to 2^(i+1)-1, the last one all above.
	Commit    time.Duration       // Of all batches together, from submission to durable.
	Blocked   uint64              // Groups that waited to get into the queue.
	Volumes   uint64              // Volumes opened.
	Failovers uint64              // Volumes given up because of a drive.
	Hung      uint64              // Batches with a write that did not come back in time.
}

type counters struct {
	batches, groups, records, bytes, writes, writeLen atomic.Uint64
	fill                                              [FillBuckets]atomic.Uint64
	commit                                            atomic.Int64
	blocked, volumes, failovers, hung                 atomic.Uint64
}

// submitted counts a batch on its way to the drives.
func (c *counters) submitted(b *batch) {
	c.writes.Add(uint64(len(b.submit)))
	n := 0
	for _, block := range b.blocks {
		n += len(block)
	}
	c.writeLen.Add(uint64(n))
}

// committed counts a durable batch.
func (c *counters) committed(b *batch, took time.Duration) {
	c.batches.Add(1)
	c.groups.Add(uint64(len(b.tickets)))
	c.records.Add(uint64(len(b.records)))
	n := 0
	for i := range b.records {
		n += len(b.records[i].Payload)
	}
	c.bytes.Add(uint64(n))
	c.fill[min(bits.Len(uint(len(b.records)))-1, FillBuckets-1)].Add(1)
	c.commit.Add(int64(took))
}

// Stats returns the counts.
func (j *Journal) Stats() Stats {
	c := &j.stats
	s := Stats{
		Batches: c.batches.Load(), Groups: c.groups.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(),
		Writes: c.writes.Load(), WriteLen: c.writeLen.Load(), Commit: time.Duration(c.commit.Load()),
		Blocked: c.blocked.Load(), Volumes: c.volumes.Load(), Failovers: c.failovers.Load(), Hung: c.hung.Load(),
	}
	for i := range s.Fill {
		s.Fill[i] = c.fill[i].Load()
	}
	return s
}
