//go:build linux

package ioring_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"penstock/ioring"
	"penstock/numa"
)

// cpuTime is what this process has used so far. It is the figure to compare: wall time on a shared
// machine is mostly other people's.
func cpuTime(b *testing.B) (ns int64) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkQueue moves aligned pieces of a written file, at random, direct to the drive. cpu-ns/op is the
// process's CPU time; work that the kernel does in threads of its own is not in it.
func BenchmarkQueue(b *testing.B) {
	const fileLen = 256 << 20
	for _, rung := range rungs() {
		for _, kind := range []ioring.Kind{ioring.Read, ioring.Write, ioring.WriteDurable} {
			for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
				for _, callers := range []int{1, 2, 4, 8, 64} {
					op := [...]string{"read", "write", "durable"}[kind]
					for _, path := range []string{"submit", "direct"} { // Direct when the queue agrees.
						name := fmt.Sprintf("backend=%s/op=%s/size=%dKiB/callers=%d/path=%s", rung, op, size>>10, callers, path)
						b.Run(name, func(b *testing.B) {
							benchmarkQueue(b, rung, kind, size, callers, fileLen, path == "direct")
						})
					}
				}
			}
		}
	}
}

func benchmarkQueue(b *testing.B, rung ioring.Rung, kind ioring.Kind, size, callers, fileLen int, direct bool) {
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: int64(max(callers*size, 8<<20)), Node: numa.UnknownNode})
	if err != nil {
		b.Fatal(err)
	}
	q := open(b, rung, ioring.Options{Arena: a})
	f, err := ioring.OpenFile(q, filepath.Join(b.TempDir(), "segment"), ioring.FileFlags{Create: true, Write: true, Direct: true})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	// Write it once: blocks that are only allocated cost a journal commit at their first durable write.
	buf := get(b, a, 1<<20)
	for off := 0; off < fileLen; off += len(buf.Bytes()) {
		if err := ioring.Do(b.Context(), q, &ioring.Op{Kind: ioring.Write, File: f, Off: int64(off), Bufs: [][]byte{buf.Bytes()}}); err != nil {
			b.Fatal(err)
		}
	}
	buf.Release()

	b.SetBytes(int64(size))
	var next atomic.Int64
	before, start := q.Stats(), cpuTime(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			buf, err := a.Get(b.Context(), size)
			if err != nil {
				b.Error(err)
				return
			}
			defer buf.Release()
			rng := rand.New(rand.NewPCG(1, uint64(caller)))
			op := &ioring.Op{Kind: kind, File: f, Bufs: [][]byte{buf.Bytes()}}
			for next.Add(1) <= int64(b.N) {
				op.Off = int64(rng.IntN(fileLen/size) * size)
				g := ioring.NewGroup(1)
				op.Complete = g.Done
				if !direct || !q.TryDirect(op) {
					q.Submit(op)
				}
				if err := g.Wait(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	after := q.Stats()
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(after.Enters-before.Enters)/float64(b.N), "enters/op")
	b.ReportMetric(float64(after.Wakes-before.Wakes)/float64(b.N), "wakes/op")
}

// BenchmarkHandOff is the way to the loop and back with no drive in it: reads at the end of an empty file
// in memory.
func BenchmarkHandOff(b *testing.B) {
	for _, rung := range rungs() {
		for _, group := range []int{1, 6} {
			for _, callers := range []int{1, 2, 4, 8, 64} {
				b.Run(fmt.Sprintf("backend=%s/group=%d/callers=%d", rung, group, callers), func(b *testing.B) {
					a := newArena(b, 8<<20)
					q := open(b, rung, ioring.Options{Arena: a})
					f := create(b, q, ioring.FileFlags{})
					buf := get(b, a, 4096)
					defer buf.Release()
					var next atomic.Int64
					start := cpuTime(b)
					b.ResetTimer()
					var wg sync.WaitGroup
					for range callers {
						wg.Go(func() {
							ops := make([]*ioring.Op, group)
							for i := range ops {
								ops[i] = &ioring.Op{File: f, Bufs: [][]byte{buf.Bytes()}}
							}
							for next.Add(int64(group)) <= int64(b.N) {
								g := ioring.NewGroup(group)
								for _, op := range ops {
									op.Complete = g.Done
								}
								q.Submit(ops...)
								if err := g.Wait(b.Context()); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}

// BenchmarkArena gets and releases, with as many Bufs of the same length held meanwhile as fill half the
// arena, released in random order.
func BenchmarkArena(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 6 << 20} {
		b.Run(fmt.Sprintf("size=%dKiB", size>>10), func(b *testing.B) {
			const arenaLen = 256 << 20
			a := newArena(b, arenaLen)
			held := make([]*ioring.Buf, arenaLen/2/size)
			for i := range held {
				held[i] = get(b, a, size)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				i := rng.IntN(len(held))
				held[i].Release()
				held[i] = get(b, a, size)
			}
			for _, buf := range held {
				buf.Release()
			}
		})
	}
}
