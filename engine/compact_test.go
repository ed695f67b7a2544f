package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/meta"
)

// occupied is what volumes take on all drives together. Of those that are still written to, it is what has been.
func occupied(s *Store) (n int64) {
	for _, c := range s.cells {
		ends := map[meta.VolumeID]int64{}
		for _, v := range c.base.Load().journal.Volumes() {
			if v.Open {
				ends[v.ID] = v.End
			}
		}
		for _, w := range []*bulkWriter{c.bulk, c.cold} {
			w.mu.Lock()
			if w.vol != nil {
				ends[w.vol.ID()] = w.tail
			}
			w.mu.Unlock()
		}
		for _, vol := range c.set.Volumes() {
			if end, open := ends[vol.ID()]; open {
				n += end * int64(vol.N())
			} else {
				n += usedBy(vol)
			}
		}
	}
	return n
}

// small has volumes as short as they can be.
func small(o Options) Options {
	o.JournalSegment, o.BulkSegment = 5<<20, MinBulkSegment
	return o
}

// quiet keeps compaction from working by itself.
func quiet(o Options) Options {
	o.CompactGarbage = -1
	return o
}

// TestCompactHalf deletes half of the objects at random: by itself the store comes to take no more than 15 % beyond what the rest needs.
func TestCompactHalf(t *testing.T) {
	for _, test := range []struct{ size, count int }{{9000, 2400}, {100_000, 300}, {150_000, 500}, {600_000, 120}} {
		t.Run(fmt.Sprintf("size=%d", test.size), func(t *testing.T) {
			opts := testOptions(t, -1).tuned(func(c *cell) { c.limits.compact = 10 * time.Millisecond })
			opts = small(opts)
			opts.CompactRate = 1 << 40
			s := mustOpen(t, opts, memDrives(3, 0))
			defer func() { closeStore(t, s) }()
			mustBucket(t, s, testBucket)
			objects := map[string][]byte{}
			for i := range test.count {
				objects[fmt.Sprint(i)] = payload(uint64(i), test.size)
			}
			parallel(32, test.count, func(i int) {
				key := fmt.Sprint(i)
				if _, err := putBytes(t.Context(), s, testBucket, key, objects[key], nil); err != nil {
					t.Error(err)
				}
			})
			before := occupied(s)
			rng := newRNG(t)
			var dead []string
			for _, i := range rng.Perm(test.count)[:test.count/2] {
				dead = append(dead, fmt.Sprint(i))
			}
			parallel(8, len(dead), func(i int) {
				if err := deleteKey(t.Context(), s, testBucket, dead[i]); err != nil {
					t.Error(err)
				}
			})
			for _, key := range dead {
				delete(objects, key)
			}
			live := int64(len(objects)*test.size) * 3 / 2 // Parity included.
			defer func() { t.Logf("%d live, %d taken: %+v", live, occupied(s), s.CompactStatus()) }()
			eventually(t, "the space is back", func() bool { return occupied(s) <= live*115/100 })
			t.Logf("%d bytes live, %d taken before, %d after; %+v", live, before, occupied(s), s.CompactStatus())
			if before < live*3/2 {
				t.Errorf("%d bytes were taken, so little that the test shows nothing", before)
			}
			checkAll(t, s, testBucket, objects)
		})
	}
}

// parallel calls f with 0 to n-1 from several goroutines.
func parallel(workers, n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// rebuiltDump is what an index says that is made of the journals alone, as they are now. Nothing else may be writing.
func rebuiltDump(t testing.TB, s *Store) string {
	t.Helper()
	var out bytes.Buffer
	for _, c := range s.cells {
		b := c.base.Load()
		x, err := meta.Open(meta.Options{FS: vfs.NewMem(), Dir: "index", Create: true, MemTableBytes: 4 << 20})
		must(t, err)
		rebuild, err := x.BeginRebuild()
		must(t, err)
		for _, info := range b.journal.Volumes() {
			must(t, b.journal.Scan(t.Context(), info, func(batch *journal.Batch) error {
				for i := range batch.Records {
					if err := rebuild.Load(appliedOf(&batch.Records[i])); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		report, err := rebuild.Finish(t.Context(), b.journal.Position())
		must(t, err)
		if report.LostCount > 0 {
			t.Errorf("a rebuild has lost %+v", report.Lost)
		}
		must(t, x.Dump(&out))
		must(t, x.Close())
	}
	return out.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustRebuild fails unless the journals say what the index says.
func mustRebuild(t testing.TB, s *Store) {
	t.Helper()
	got, want := strings.Split(rebuiltDump(t, s), "\n"), strings.Split(dump(t, s), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("a rebuilt index has %d lines, this one %d; the first difference:\n%.400s\n%.400s", len(got), len(want), append(got, make([]string, i+1)...)[i], append(want, make([]string, i+1)...)[i])
		}
	}
}

// churnHistory is random writes to few keys, small ones mostly, so that records kill each other in every way.
func churnHistory(rng *rand.Rand, n int, versioned bool) []step {
	var steps []step
	for len(steps) < n {
		for _, s := range randomHistory(rng, n, versioned) {
			switch s.op {
			case "get", "get-version", "list", "list-versions", "reopen", "rebuild":
				continue
			}
			if rng.IntN(8) > 0 {
				s.size %= 9000
			}
			steps = append(steps, s)
		}
	}
	return steps[:n]
}

// TestCompactProperty plays random histories while random volumes are compacted, record by record. At every step the index rebuilt from the
// journals is the index that is there, and every answer is the model's.
func TestCompactProperty(t *testing.T) {
	rng := newRNG(t)
	compactRandomly(t, rng, rng.IntN(2) == 0)
}

func compactRandomly(t *testing.T, rng *rand.Rand, versioned bool) {
	n := []int{1, 2, 4, 6}[rng.IntN(4)]
	x := &subject{t: t, drives: memDrives(n, rng.Uint64()), opts: quiet(testOptions(t, -1)).tuned(still).tuned(func(c *cell) {
		c.limits.look, c.limits.flush, c.limits.soonest = 0, 0, 0
	}), uploads: map[string]string{}, parts: map[string]map[int][]byte{}}
	x.opts.BulkSegment = MinBulkSegment
	x.open()
	mustBucket(t, x.s, testBucket)
	m := newModel()
	play := func(steps []step) {
		for i, s := range steps {
			if got, want := x.play(s), m.play(s); got != want {
				t.Fatalf("step %d, %v:\ngot  %q\nwant %q", i, s, got, want)
			}
		}
	}
	moves, checks, freed := 0, 0, 0
	var total CompactStatus
	for i := range 4 {
		play(churnHistory(rng, 60, versioned))
		play([]step{{op: "put", key: fmt.Sprint("large", i), seed: uint64(i), size: 300_000}}) // There is always a bulk volume to move.
		x.play(step{op: "reopen"})                                                             // All volumes are closed now.
		k := newCompactor(x.s.cells[0].base.Load())
		k.pool.room = 20_000
		k.pace.paused = func() {
			moves++
			play(churnHistory(rng, rng.IntN(2), versioned))
			if rng.IntN(20) == 0 {
				checks++
				mustRebuild(t, x.s)
			}
		}
		newest, first := k.newest(), []volume.Class{volume.Bulk, volume.Journal} // One of each, and then any.
		left := len(first) + rng.IntN(3)
		must(t, k.pass(t.Context(), func(s *spaceSurvey) *sparse {
			left--
			for _, i := range rng.Perm(len(s.all)) {
				switch v := s.all[i]; {
				case left < 0 || v.vol.ID() > newest:
				case len(first) == 0:
					return v
				case v.class == first[0]:
					first = first[1:]
					return v
				}
			}
			return nil
		}))
		mustRebuild(t, x.s)
		r := newRecycler(k.b)
		for range 3 {
			must(t, r.round(t.Context()))
			if r.wantCheckpoint {
				must(t, r.checkpoint(t.Context()))
			}
		}
		mustRebuild(t, x.s)
		status := x.s.CompactStatus()
		total.Volumes, total.Records, total.Extents = total.Volumes+status.Volumes, total.Records+status.Records, total.Extents+status.Extents
		freed += int(x.s.Stats().VolumesFreed)
	}
	t.Logf("%d drives: %d steps of compaction, %d volumes, %d records, %d extents; %d volumes freed, %d checks", n, moves, total.Volumes, total.Records, total.Extents, freed, checks)
	if total.Records == 0 || total.Extents == 0 {
		t.Error("nothing was moved")
	}
	ask := []step{{op: "list", list: ListOptions{Max: 7}}, {op: "list-versions", list: ListOptions{Max: 7}}}
	for key := range m.objects {
		ask = append(ask, step{op: "get", key: key, n: 1 << 30})
		for version := range 5 {
			ask = append(ask, step{op: "get-version", key: key, version: version, n: 1 << 30})
		}
	}
	for _, op := range []string{"reopen", "rebuild"} {
		x.play(step{op: op})
		play(ask)
	}
	closeStore(t, x.s)
}
