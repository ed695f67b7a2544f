package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"penstock/engine"
	"penstock/numa"
)

func machine(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestDefaultMemory(t *testing.T) {
	const (
		meminfo = "MemTotal:       67108864 kB\nMemFree:  1 kB\n" // 64 GiB.
		gib     = 1 << 30
	)
	for _, c := range []struct {
		name  string
		files map[string]string
		node  numa.Node
		want  int64
	}{
		{"machine", map[string]string{"proc/meminfo": meminfo}, numa.Node{}, 8 * gib},
		{"NUMA node", map[string]string{"proc/meminfo": meminfo}, numa.Node{MemoryBytes: 32 * gib}, 4 * gib},
		{"container", map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "17179869184\n"}, numa.Node{}, 2 * gib},
		{"container without limit", map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "max\n"}, numa.Node{}, 8 * gib},
		{"old container", map[string]string{
			"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, numa.Node{}, 8 * gib},
		{"service", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/penstock.service\n",
			"sys/fs/cgroup/system.slice/penstock.service/memory.max": "max\n",
			"sys/fs/cgroup/system.slice/memory.max":                  "8589934592\n", // The limit of a group above holds too.
		}, numa.Node{}, gib},
		{"whole huge pages", map[string]string{"proc/meminfo": "MemTotal: 8388615 kB\n"}, numa.Node{}, gib},
		{"tiny", map[string]string{"proc/meminfo": "MemTotal: 524288 kB\n"}, numa.Node{}, engine.MinMemory},
		{"unknown", nil, numa.Node{}, engine.MinMemory},
	} {
		if got := defaultMemory(machine(c.files), c.node); got != c.want {
			t.Errorf("%s: got %s; want %s", c.name, formatSize(got), formatSize(c.want))
		}
	}
}

func TestTuneRuntime(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}()
	settings := func() (int, int64) {
		percent := debug.SetGCPercent(100)
		return percent, debug.SetMemoryLimit(-1)
	}
	tuneRuntime(1<<30, env{"GOGC": "50", "GOMEMLIMIT": "1GiB"}.get)
	if percent, limit := settings(); percent != 100 || limit != math.MaxInt64 {
		t.Errorf("with both set in the environment: GOGC %d, limit %d; want them left alone", percent, limit)
	}
	tuneRuntime(1<<30, env{}.get)
	if percent, limit := settings(); percent != 400 || limit != engine.HeapShare(1<<30)+runtimeOverhead {
		t.Errorf("GOGC %d, limit %d; want 400 and what of the ceiling is heap plus %d", percent, limit, int64(runtimeOverhead))
	}
}
