package main

import (
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"penstock/engine"
	"penstock/numa"
)

// memoryShare is the part of the machine's memory that buffers and caches take unless told: an eighth leaves the rest to
// the work that the machine is there for, and is still gigabytes on any machine whose drives could use them.
const memoryShare = 8

// defaultMemory is the share of what this process may use: of the NUMA node it is bound to, of its control group, or of the machine.
func defaultMemory(root fs.FS, node numa.Node) int64 {
	available := machineMemory(root)
	if node.MemoryBytes > 0 {
		available = min(available, node.MemoryBytes)
	}
	share := available / memoryShare
	share -= share % (2 << 20) // Whole huge pages.
	return max(share, engine.MinMemory)
}

// machineMemory reads the memory of the machine, or of the control group if that is less, from /proc and /sys below root.
// A container sees the whole machine in /proc and is killed when it believes it.
func machineMemory(root fs.FS) int64 {
	const fallback = 1 << 30 // No /proc at all: a machine of a gigabyte does no harm to any.
	available := int64(math.MaxInt64)
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(fields[1], 10, 52); err == nil {
					available = kib << 10
				}
			}
		}
	}
	for _, file := range limitFiles(root) {
		if text, err := fs.ReadFile(root, file); err == nil {
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 { // Else "max".
				available = min(available, limit)
			}
		}
	}
	if available == math.MaxInt64 {
		return fallback
	}
	return available
}

// limitFiles names the files that may limit this process: of its control group and all groups above. Inside a container
// its own group is the root of what it sees.
func limitFiles(root fs.FS) []string {
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/") // The one line of version 2.
		for ; ok && group != "" && group != "."; group = path.Dir(group) {
			files = append(files, path.Join("sys/fs/cgroup", group, "memory.max"))
		}
	}
	return files
}

// runtimeOverhead is what the Go heap may take beside the ceiling for buffers and caches: connections, requests being
// parsed, the index's tables in memory. It is the constant to add to --memory for the size of the whole process.
const runtimeOverhead = 512 << 20

// tuneRuntime sets the garbage collector by the memory budget, unless GOGC or GOMEMLIMIT say otherwise.
//
// Object bytes live in arenas outside of the Go heap, so the heap is small and most of it is young: collecting it each
// time it doubles would run the collector many times a second under load for little gain. GOGC 400 lets it grow
// fivefold instead; the limit bounds that growth, because near it the collector runs as often as it must.
func tuneRuntime(memory int64, getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if getenv("GOMEMLIMIT") == "" {
		// The arenas are not the runtime's, so its limit must not count them: it would let the heap have their share once more.
		debug.SetMemoryLimit(engine.HeapShare(memory) + runtimeOverhead)
	}
}
