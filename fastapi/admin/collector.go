package admin

import (
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"penstock/engine"
)

// Collector shows the store's counters to Prometheus. It reads them when it is asked and keeps nothing.
type Collector struct{ store Store }

// NewCollector returns the Collector of a store.
func NewCollector(store Store) Collector { return Collector{store} }

// A metric is one series, or one for each drive or cell: how it is described, and how it is read.
type metric[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) float64
}

func counter[T any](name, help string, labels []string, read func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc("penstock_"+name, help, labels, nil), prometheus.CounterValue, read}
}

func gauge[T any](name, help string, labels []string, read func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc("penstock_"+name, help, labels, nil), prometheus.GaugeValue, read}
}

func (m metric[T]) send(ch chan<- prometheus.Metric, from T, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(from), labels...)
}

type (
	stats      = *engine.Stats
	driveGauge = *engine.DriveGauges
	cellGauge  = *engine.CellGauges
	healStatus = *engine.HealStatus
	scrubState = *engine.ScrubStatus
)

var (
	driveLabels = []string{"drive", "path"}
	cellLabels  = []string{"cell"}
	callLabels  = []string{"drive", "path", "call"}
)

var storeMetrics = []metric[stats]{
	counter("journal_batches_total", "Batches written to the journal.", nil, func(s stats) float64 { return float64(s.JournalBatches) }),
	counter("journal_records_total", "Records written to the journal.", nil, func(s stats) float64 { return float64(s.JournalRecords) }),
	counter("journal_record_bytes_total", "Bytes of records written to the journal.", nil, func(s stats) float64 { return float64(s.JournalLen) }),
	counter("journal_writes_total", "Shard blocks of the journal written to drives.", nil, func(s stats) float64 { return float64(s.JournalWrites) }),
	counter("journal_failovers_total", "Journal volumes given up because of a drive.", nil, func(s stats) float64 { return float64(s.JournalFailovers) }),
	counter("cache_hits_total", "Reads of the cache of verified bytes that found what they looked for.", nil, func(s stats) float64 { return float64(s.CacheHits) }),
	counter("cache_misses_total", "Reads of the cache of verified bytes that did not.", nil, func(s stats) float64 { return float64(s.CacheMisses) }),
	gauge("cache_bytes", "Bytes in the cache of verified bytes.", nil, func(s stats) float64 { return float64(s.CacheLen) }),
	counter("arena_waits_total", "Requests for a buffer that waited.", nil, func(s stats) float64 { return float64(s.ArenaWaits) }),
	counter("arena_failures_total", "Requests for a buffer that came to nothing.", nil, func(s stats) float64 { return float64(s.ArenaFailures) }),
	counter("degraded_reads_total", "Reads that had to reconstruct.", nil, func(s stats) float64 { return float64(s.DegradedReads) }),
	counter("parked_reads_total", "Times that a slow reader's memory was given to others.", nil, func(s stats) float64 { return float64(s.ParkedReads) }),
	counter("corrupt_units_total", "Units that a drive returned and that did not match their checksum.", nil, func(s stats) float64 { return float64(s.CorruptUnits) }),
	counter("stripe_retries_total", "Stripes written again because a drive failed under them.", nil, func(s stats) float64 { return float64(s.StripeRetries) }),
	counter("volumes_freed_total", "Volumes whose segments were given up to be used again.", nil, func(s stats) float64 { return float64(s.VolumesFreed) }),
	counter("index_checkpoints_total", "Copies of the index made on other drives.", nil, func(s stats) float64 { return float64(s.Checkpoints) }),
	gauge("ailing_shards", "Shards that are not what they should be: lost, rotten or unreadable.", nil, func(s stats) float64 { return float64(s.MissingShards) }),
	gauge("narrow_volumes", "Volumes with less parity than new ones, because drives were away when they were made.", nil, func(s stats) float64 { return float64(s.NarrowVolumes) }),
	counter("balanced_bytes_total", "Bytes of shards moved to emptier drives.", nil, func(s stats) float64 { return float64(s.BalancedLen) }),
	counter("healed_shards_total", "Shards made anew on other drives, or moved there.", nil, func(s stats) float64 { return float64(s.HealedShards) }),
	counter("healed_bytes_total", "Bytes written for shards that were made anew or moved.", nil, func(s stats) float64 { return float64(s.HealedLen) }),
	counter("mended_bytes_total", "Bytes written again in place because they were not what was written.", nil, func(s stats) float64 { return float64(s.MendedLen) }),
	counter("scrub_bytes_total", "Bytes read by scrubbing.", nil, func(s stats) float64 { return float64(s.ScrubLen) }),
	counter("scrub_findings_total", "Units and blocks that scrubbing found not to be what was written.", nil, func(s stats) float64 { return float64(s.ScrubFound) }),
	counter("compacted_volumes_total", "Volumes that compaction has emptied.", nil, func(s stats) float64 { return float64(s.CompactedVolumes) }),
	counter("compact_read_bytes_total", "Bytes that compaction has read.", nil, func(s stats) float64 { return float64(s.CompactReadLen) }),
	counter("compact_written_bytes_total", "Bytes that compaction has written again, before parity.", nil, func(s stats) float64 { return float64(s.CompactWriteLen) }),
	counter("index_replaced_total", "Times the index was replaced because it, its drive or the journal failed.", nil, func(s stats) float64 { return float64(s.Failovers) }),
}

var healMetrics = []metric[healStatus]{
	gauge("heal_left_bytes", "Bytes of shards that are to be made anew or looked at, at most.", nil, func(h healStatus) float64 { return float64(h.Left) }),
	gauge("heal_ailing_volumes", "Volumes with shards that are not what they should be.", nil, func(h healStatus) float64 { return float64(h.Volumes) }),
	gauge("heal_waiting_volumes", "Of these, volumes that cannot be healed now: there is no drive to heal to, or too few shards are left.", nil, func(h healStatus) float64 { return float64(h.Waiting) }),
	gauge("heal_running_volumes", "Volumes that are being healed.", nil, func(h healStatus) float64 { return float64(h.Healing) }),
	gauge("heal_stopped", "1 while healing is stopped by order.", nil, func(h healStatus) float64 { return oneIf(h.Stopped) }),
	counter("heal_noted_total", "Entries made in the heal ledger.", nil, func(h healStatus) float64 { return float64(h.Noted) }),
	counter("heal_done_total", "Entries of the heal ledger that were done with.", nil, func(h healStatus) float64 { return float64(h.Done) }),
}

var scrubMetrics = []metric[scrubState]{
	gauge("scrub_stopped", "1 while scrubbing is stopped by order.", nil, func(s scrubState) float64 { return oneIf(s.Stopped) }),
	gauge("scrub_round_volumes", "Volumes of the round that verifies all segments.", nil, func(s scrubState) float64 { return float64(s.Volumes) }),
	gauge("scrub_round_done_volumes", "Volumes of that round that are done.", nil, func(s scrubState) float64 { return float64(s.Done) }),
	gauge("scrub_last_end_timestamp_seconds", "When the last round that ended did; 0 if none has.", nil, func(s scrubState) float64 {
		if s.LastEnded.IsZero() {
			return 0
		}
		return float64(s.LastEnded.UnixMilli()) / 1e3
	}),
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var cellMetrics = []metric[cellGauge]{
	counter("ring_enters_total", "System calls of the ring.", cellLabels, func(c cellGauge) float64 { return float64(c.RingEnters) }),
	counter("ring_wakes_total", "Times a submitter had to wake the ring's thread.", cellLabels, func(c cellGauge) float64 { return float64(c.RingWakes) }),
	gauge("ring_max_depth", "Most operations that were with the kernel at once.", cellLabels, func(c cellGauge) float64 { return float64(c.RingMaxDepth) }),
	gauge("arena_bytes", "Bytes of I/O buffers.", cellLabels, func(c cellGauge) float64 { return float64(c.ArenaLen) }),
	gauge("arena_used_bytes", "Bytes of I/O buffers in use.", cellLabels, func(c cellGauge) float64 { return float64(c.ArenaUsed) }),
	gauge("journal_lag_records", "Records that a start would have to apply to the index again.", cellLabels, func(c cellGauge) float64 { return float64(c.JournalLag) }),
	counter("journal_commit_seconds_total", "Time of all batches together, from submission to durable.", cellLabels, func(c cellGauge) float64 { return c.JournalCommit.Seconds() }),
	gauge("volumes", "Volumes that hold something.", cellLabels, func(c cellGauge) float64 { return float64(c.Volumes) }),
	gauge("full", "1 if new bytes are refused because the drives are full, 0 if not.", cellLabels, func(c cellGauge) float64 { return oneIf(c.Full) }),
	gauge("compact_running", "1 while compaction moves a volume, 0 if not.", cellLabels, func(c cellGauge) float64 { return oneIf(c.Compact.Running) }),
	gauge("closed_volume_bytes", "Bytes that volumes take on the drives to which nothing is added any more, when compaction last looked.", cellLabels, func(c cellGauge) float64 { return float64(c.Compact.Used) }),
	gauge("closed_volume_live_bytes", "Bytes that these would take if they held only what lives.", cellLabels, func(c cellGauge) float64 { return float64(c.Compact.Live) }),
	gauge("compact_waiting_volumes", "Volumes that are empty, but that readers, or copies of the index, still hold.", cellLabels, func(c cellGauge) float64 { return float64(c.Compact.Waiting) }),
	gauge("geometry_data_shards", "Data shards of a volume made now.", cellLabels, func(c cellGauge) float64 { return float64(c.K) }),
	gauge("geometry_parity_shards", "Parity shards of a volume made now.", cellLabels, func(c cellGauge) float64 { return float64(c.M) }),
}

var driveMetrics = []metric[driveGauge]{
	gauge("drive_size_bytes", "Bytes of the drive's file system, or its part of one that it shares.", driveLabels, func(d driveGauge) float64 { return float64(d.Total) }),
	gauge("drive_free_bytes", "Bytes of the drive that are neither taken by others nor by volumes.", driveLabels, func(d driveGauge) float64 { return float64(d.Free) }),
	gauge("drive_segments", "Segments on the drive.", driveLabels, func(d driveGauge) float64 { return float64(d.Segments) }),
	gauge("drive_segments_unused", "Segments on the drive that are free to be used again.", driveLabels, func(d driveGauge) float64 { return float64(d.Unused) }),
	gauge("drive_segments_damaged", "Segments on the drive whose headers cannot be trusted.", driveLabels, func(d driveGauge) float64 { return float64(d.Damaged) }),
}

var (
	driveUpDesc      = prometheus.NewDesc("penstock_drive_up", "1 for a drive that is used, 0 for one that has failed or is missing; state says which.", []string{"drive", "path", "state"}, nil)
	driveBytesDesc   = prometheus.NewDesc("penstock_drive_bytes_total", "Bytes read from and written to segments.", callLabels, nil)
	driveErrorsDesc  = prometheus.NewDesc("penstock_drive_errors_total", "Operations on segments that failed.", callLabels, nil)
	driveLatencyDesc = prometheus.NewDesc("penstock_drive_operation_seconds", "Time of operations on segments, from submission to completion.", callLabels, nil)

	ringOpsDesc     = prometheus.NewDesc("penstock_ring_operations_total", "Operations that the ring has done.", []string{"cell", "kind"}, nil)
	journalFillDesc = prometheus.NewDesc("penstock_journal_batch_records", "Records in a batch.", cellLabels, nil)
)

// Describe implements prometheus.Collector.
func (Collector) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, storeMetrics)
	describe(ch, healMetrics)
	describe(ch, scrubMetrics)
	describe(ch, cellMetrics)
	describe(ch, driveMetrics)
	describe(ch, bucketMetrics)
	for _, desc := range []*prometheus.Desc{driveUpDesc, driveBytesDesc, driveErrorsDesc, driveLatencyDesc, ringOpsDesc, journalFillDesc, bucketsDesc} {
		ch <- desc
	}
}

func describe[T any](ch chan<- *prometheus.Desc, metrics []metric[T]) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	s, g := c.store.Stats(), c.store.Gauges()
	for _, m := range storeMetrics {
		m.send(ch, &s)
	}
	heal, scrub := c.store.HealStatus(), c.store.ScrubStatus()
	for _, m := range healMetrics {
		m.send(ch, &heal)
	}
	for _, m := range scrubMetrics {
		m.send(ch, &scrub)
	}
	for i := range g.Cells {
		collectCell(ch, &g.Cells[i])
	}
	for i := range g.Drives {
		collectDrive(ch, &g.Drives[i])
	}
	c.collectBuckets(ch)
}

func collectCell(ch chan<- prometheus.Metric, c cellGauge) {
	cell := strconv.Itoa(c.Cell)
	for _, m := range cellMetrics {
		m.send(ch, c, cell)
	}
	for kind, n := range map[string]uint64{"read": c.RingReads, "write": c.RingWrites, "sync": c.RingSyncs} {
		ch <- prometheus.MustNewConstMetric(ringOpsDesc, prometheus.CounterValue, float64(n), cell, kind)
	}
	buckets, total, sum := make(map[float64]uint64), uint64(0), 0.0
	for i, n := range c.JournalFill {
		total += n
		sum += float64(n) * 1.5 * math.Exp2(float64(i)) // Of the class's middle: what is counted is the class.
		if i < len(c.JournalFill)-1 {
			buckets[math.Exp2(float64(i+1))-1] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(journalFillDesc, total, sum, buckets, cell)
}

func collectDrive(ch chan<- prometheus.Metric, d driveGauge) {
	ch <- prometheus.MustNewConstMetric(driveUpDesc, prometheus.GaugeValue, oneIf(d.State == "ok"), d.ID, d.Path, d.State)
	for _, m := range driveMetrics {
		m.send(ch, d, d.ID, d.Path)
	}
	for call, ops := range map[string]*engine.DriveOps{"read": &d.ReadOps, "write": &d.WriteOps} {
		ch <- prometheus.MustNewConstMetric(driveBytesDesc, prometheus.CounterValue, float64(ops.Bytes), d.ID, d.Path, call)
		ch <- prometheus.MustNewConstMetric(driveErrorsDesc, prometheus.CounterValue, float64(ops.Errors), d.ID, d.Path, call)
		ch <- latencyHistogram(ops, d.ID, d.Path, call)
	}
}

// latencyHistogram shows the octaves from 16 µs to 8 s: finer classes would cost a series each.
func latencyHistogram(ops *engine.DriveOps, labels ...string) prometheus.Metric {
	buckets, total := make(map[float64]uint64), uint64(0)
	for i, n := range ops.Latency {
		total += n
		if bound := engine.LatencyBound(i); i%4 == 3 && bound >= 16*time.Microsecond && bound <= 10*time.Second {
			buckets[bound.Seconds()] = total
		}
	}
	return prometheus.MustNewConstHistogram(driveLatencyDesc, total, ops.Time.Seconds(), buckets, labels...)
}
