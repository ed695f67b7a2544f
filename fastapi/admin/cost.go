package admin

import (
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// Cost counts what serving has cost since the start of the process. Two readings give the cost of what happened in between: every number
// but those named otherwise only grows.
type Cost struct {
	Time     time.Time            `json:"time"`
	Uptime   float64              `json:"uptime_seconds"`
	CPU      CPU                  `json:"cpu"`
	Go       Runtime              `json:"go"`
	Rings    Rings                `json:"rings"`
	Drives   DriveTotals          `json:"drives"`
	Sockets  Sockets              `json:"sockets"`
	Arena    Arena                `json:"arena"`
	Cache    Cache                `json:"cache"`
	Journal  Journal              `json:"journal"`
	Repairs  Repairs              `json:"repairs"`
	Requests map[string]Operation `json:"requests"` // By operation, those called at least once.
}

// CPU is the processor time of the whole process, as the kernel counts it.
type CPU struct {
	User     float64 `json:"user_seconds"`
	System   float64 `json:"system_seconds"`
	Switches int64   `json:"context_switches"`
	Faults   int64   `json:"page_faults"`
}

// Runtime is what the Go runtime counts. It brings its processor times up to date at the end of each garbage collection.
type Runtime struct {
	Allocs     uint64  `json:"allocs"`
	AllocBytes uint64  `json:"alloc_bytes"`
	Cycles     uint64  `json:"gc_cycles"`
	GC         float64 `json:"gc_cpu_seconds"`
	Share      float64 `json:"gc_cpu_share"`        // Now: of all the processor time that the process might have had.
	Goroutines uint64  `json:"goroutines"`          // Now.
	Heap       uint64  `json:"heap_bytes"`          // Now: live objects, and dead ones not yet collected.
	Memory     uint64  `json:"runtime_bytes"`       // Now: what the runtime has from the system. Arenas are not part of it.
	Resident   int64   `json:"peak_resident_bytes"` // The most that the process had in memory, arenas included.
}

// Rings counts the system calls of the rings.
type Rings struct {
	Enters uint64 `json:"enters"`
	Direct uint64 `json:"direct"` // Operations that were done by a plain read or write instead.
}

// DriveTotals counts the operations on segments, all drives together. Those of the index and its checkpoints are not among them.
type DriveTotals struct {
	Reads    uint64 `json:"reads"`
	Writes   uint64 `json:"writes"`
	ReadLen  uint64 `json:"read_bytes"`
	WriteLen uint64 `json:"write_bytes"`
	Errors   uint64 `json:"errors"`
}

// Sockets counts what connections have done.
type Sockets struct {
	Accepted uint64 `json:"accepted"`
	Refused  uint64 `json:"refused"` // At the limit of connections or files.
	Open     uint64 `json:"open"`    // Now.
	Reads    uint64 `json:"reads"`   // Calls, each at least one system call.
	Writes   uint64 `json:"writes"`
	ReadLen  uint64 `json:"read_bytes"` // On the wire, TLS included.
	WriteLen uint64 `json:"write_bytes"`
}

// Arena is the state of the buffers.
type Arena struct {
	Length   int64  `json:"bytes"`
	Used     int64  `json:"used_bytes"` // Now.
	Peak     int64  `json:"peak_bytes"`
	Waits    uint64 `json:"waits"`
	Failures uint64 `json:"failures"`
}

// Cache is the cache of verified reads.
type Cache struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Length int64  `json:"bytes"` // Now.
}

// Journal counts what went into the journals since each was opened.
type Journal struct {
	Batches   uint64 `json:"batches"`
	Groups    uint64 `json:"groups"` // One for each request that committed something.
	Records   uint64 `json:"records"`
	Length    uint64 `json:"record_bytes"`
	Writes    uint64 `json:"shard_writes"`
	Failovers uint64 `json:"failovers"`
}

// Repairs counts what went wrong and was made good without anybody noticing.
type Repairs struct {
	DegradedReads uint64 `json:"degraded_reads"`
	CorruptUnits  uint64 `json:"corrupt_units"`
	StripeRetries uint64 `json:"stripe_retries"`
	IndexReplaced uint64 `json:"index_replaced"`
	VolumesFreed  uint64 `json:"volumes_freed"`
	Checkpoints   uint64 `json:"checkpoints"`
}

// Operation counts the calls of one operation.
type Operation struct {
	Name         string  `json:"name"`
	Calls        uint64  `json:"calls"`
	ClientErrors uint64  `json:"client_errors"` // Answered 4xx.
	ServerErrors uint64  `json:"server_errors"` // Answered 5xx.
	Received     uint64  `json:"received_bytes"`
	Sent         uint64  `json:"sent_bytes"`
	Seconds      float64 `json:"seconds"` // Sum over all calls, from their headers to the last byte of their answers.
	P50          float64 `json:"p50_seconds"`
	P99          float64 `json:"p99_seconds"` // Over all calls since the start, within 19 %.
}

func (a *API) uptime() float64 { return time.Since(a.began).Seconds() }

func (a *API) cost(*Call) (any, error) {
	s := a.opts.Store.Stats()
	c := Cost{
		Time: time.Now().UTC(), Uptime: a.uptime(),
		Go:       readRuntime(),
		Rings:    Rings{s.RingEnters, s.RingDirect},
		Drives:   DriveTotals{s.DriveReads, s.DriveWrites, s.DriveReadLen, s.DriveWriteLen, s.DriveErrors},
		Sockets:  a.opts.Front.Sockets(),
		Arena:    Arena{s.ArenaLen, s.ArenaUsed, s.ArenaPeak, s.ArenaWaits, s.ArenaFailures},
		Cache:    Cache{s.CacheHits, s.CacheMisses, s.CacheLen},
		Journal:  Journal{s.JournalBatches, s.JournalGroups, s.JournalRecords, s.JournalLen, s.JournalWrites, s.JournalFailovers},
		Repairs:  Repairs{s.DegradedReads, s.CorruptUnits, s.StripeRetries, s.Failovers, s.VolumesFreed, s.Checkpoints},
		Requests: make(map[string]Operation),
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return nil, err
	}
	c.CPU = CPU{
		User: time.Duration(usage.Utime.Nano()).Seconds(), System: time.Duration(usage.Stime.Nano()).Seconds(),
		Switches: usage.Nvcsw + usage.Nivcsw, Faults: usage.Minflt + usage.Majflt,
	}
	c.Go.Resident = usage.Maxrss << 10
	for _, op := range a.opts.Front.Operations() {
		c.Requests[op.Name] = op
	}
	return c, nil
}

// readRuntime reads the runtime's own counters, none of which stops the world.
func readRuntime() Runtime {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(samples)
	count := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0 // A later runtime may count otherwise.
		}
		return samples[i].Value.Uint64()
	}
	seconds := func(i int) float64 {
		if samples[i].Value.Kind() != metrics.KindFloat64 {
			return 0
		}
		return samples[i].Value.Float64()
	}
	r := Runtime{
		Allocs: count(0), AllocBytes: count(1), Cycles: count(2), GC: seconds(3),
		Goroutines: count(5), Heap: count(6), Memory: count(7),
	}
	if total := seconds(4); total > 0 {
		r.Share = r.GC / total
	}
	return r
}
