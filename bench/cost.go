package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"penstock/bench/client"
	"penstock/fastapi/admin"
)

// Costs are what a window cost, on the side of the load generator and, where it could be had, of the server.
type Costs struct {
	ClientCPU float64 `json:"client_cpu_s"`

	// Server is where the server's costs come from: "process", "admin endpoint", or "" when they are unknown.
	Server    string             `json:"server,omitempty"`
	ServerCPU float64            `json:"server_cpu_s,omitempty"`
	Counters  map[string]float64 `json:"server_counters,omitempty"` // How much each grew, summed over the hosts.
	Missing   string             `json:"server_missing,omitempty"`  // Why they are unknown.
}

// costs are taken at both ends of a window.
type costs struct {
	run      *run
	client   time.Duration
	server   time.Duration
	counters []map[string]float64 // By host.
	err      error
}

func startCosts(r *run) *costs {
	c := &costs{run: r}
	c.server, c.counters, c.err = r.serverCosts()
	c.client = ownCPU()
	return c
}

func (c *costs) finish(report *Report) {
	report.Costs.ClientCPU = (ownCPU() - c.client).Seconds()
	server, counters, err := c.run.serverCosts()
	if err = errors.Join(c.err, err); err != nil {
		report.Costs.Missing = strings.Join(strings.Fields(err.Error()), " ")
		return
	}
	o := &report.Costs
	if c.run.opts.ServerPID > 0 {
		o.Server, o.ServerCPU = "process", (server - c.server).Seconds()
	}
	if counters == nil {
		return
	}
	o.Counters = make(map[string]float64)
	for host := range counters {
		for name, value := range counters[host] {
			if grown := value - c.counters[host][name]; grown > 0 { // Else it says what is now, not what has been.
				o.Counters[name] += grown
			}
		}
	}
	if o.Server == "" {
		o.Server, o.ServerCPU = "admin endpoint", o.Counters["cpu.user_seconds"]+o.Counters["cpu.system_seconds"]
	}
}

// serverCosts reads what the server has spent so far.
func (r *run) serverCosts() (cpu time.Duration, counters []map[string]float64, err error) {
	if r.opts.ServerPID > 0 {
		if cpu, err = ProcessCPU(r.opts.ServerPID); err != nil {
			return 0, nil, err
		}
	}
	if !r.opts.ServerCost {
		return cpu, nil, nil
	}
	for host := range r.opts.Hosts {
		found, err := r.askCost(host)
		if statusOf(err) != 0 {
			return cpu, nil, nil // Another server: it has no such thing.
		}
		if err != nil {
			return cpu, nil, err
		}
		counters = append(counters, found)
	}
	return cpu, counters, nil
}

// costPath is where a server of this repository tells what it has spent.
const costPath = admin.Prefix + "/cost"

// perRequest are the counters that are worth a look, as shown: how much each grew for a request. The report has the rest.
var perRequest = []struct{ counter, name string }{
	{"rings.enters", "ring enters"}, {"rings.direct", "direct reads and writes"},
	{"drives.reads", "drive reads"}, {"drives.writes", "drive writes"}, {"drives.read_bytes", "drive bytes read"}, {"drives.write_bytes", "written"},
	{"sockets.reads", "socket reads"}, {"sockets.writes", "writes"}, {"journal.batches", "journal batches"},
	{"cache.hits", "cache hits"}, {"cache.misses", "misses"}, {"cpu.context_switches", "context switches"},
	{"go.allocs", "allocations"}, {"go.alloc_bytes", "bytes"}, {"repairs.degraded_reads", "degraded reads"},
}

func (r *run) askCost(host int) (map[string]float64, error) {
	conn := client.New(r.clientOptions(host))
	defer conn.Close()
	q := client.Request{Method: "GET", Path: []byte(costPath), WantLen: client.AnyLength, Keep: true}
	var resp client.Response
	if err := conn.Do(r.ctx, &q, &resp); err != nil {
		return nil, err
	}
	counters := make(map[string]float64)
	var document any
	if err := json.NewDecoder(bytes.NewReader(resp.Body)).Decode(&document); err != nil {
		return nil, fmt.Errorf("the costs of the server: %w", err)
	}
	flatten("", document, counters)
	return counters, nil
}

// flatten collects the numbers of a document, under the names on the way to them.
func flatten(name string, value any, into map[string]float64) {
	switch v := value.(type) {
	case float64:
		into[name] = v
	case map[string]any:
		for key, inner := range v {
			if name != "" {
				key = name + "." + key
			}
			flatten(key, inner, into)
		}
	}
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0 // It has no way to fail with these arguments.
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// ProcessCPU is the CPU time that a process of this machine has used.
func ProcessCPU(pid int) (time.Duration, error) {
	// The id of a process's CPU clock: the complement of its number, and which of its clocks, the one of the scheduler.
	const schedulerClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulerClock), &ts); err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
