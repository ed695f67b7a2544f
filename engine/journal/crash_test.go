package journal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/meta"
)

// history is what is known of a workload at one instant.
type history struct {
	counts map[int]int   // Records of each group that was begun.
	acked  map[int]bool  // Groups acknowledged.
	at     meta.Position // A position that was applied.
	seen   []entry       // What had been applied by then.
	all    []entry       // What had been applied in the end.
}

// check holds what a recovery replayed from the start against the history.
func (h *history) check(replayed []entry) error {
	if err := checkLSNs(replayed); err != nil {
		return err
	}
	found := make(map[int][]meta.LSN)
	for _, e := range replayed {
		if meta.Kind(e.payload[0]) == meta.KindJournalStart {
			continue
		}
		group, index, count := name(e.payload)
		if index != len(found[group]) || count != h.counts[group] {
			return fmt.Errorf("group %d: record %d of %d comes as number %d of %d", group, index, count, len(found[group]), h.counts[group])
		}
		found[group] = append(found[group], e.lsn)
	}
	for group, lsns := range found {
		if len(lsns) != h.counts[group] {
			return fmt.Errorf("group %d: %d records of %d", group, len(lsns), h.counts[group])
		}
		if lsns[len(lsns)-1] != lsns[0]+meta.LSN(len(lsns))-1 {
			return fmt.Errorf("group %d is not in one piece: %v", group, lsns)
		}
	}
	for group := range h.acked {
		if found[group] == nil {
			return fmt.Errorf("group %d was acknowledged and is gone", group)
		}
	}
	// What was applied before the cut was durable, so it is replayed, the same and first.
	if !startsWith(replayed, h.all) {
		return fmt.Errorf("what was applied before the cut is not what is replayed first")
	}
	return nil
}

// workload runs callers that append groups and record what they did, until stop says so.
type workload struct {
	mu     sync.Mutex
	counts map[int]int
	acked  map[int]bool
	next   int
	seed   uint64
	limit  int
}

func (w *workload) caller(j *journal.Journal, i uint64) {
	rng := rand.New(rand.NewPCG(w.seed, i))
	for {
		w.mu.Lock()
		if w.next >= w.limit {
			w.mu.Unlock()
			return
		}
		group := w.next
		w.next++
		count := 1
		if rng.IntN(4) == 0 {
			count = 1 + rng.IntN(5)
		}
		w.counts[group] = count
		w.mu.Unlock()
		var records [][]byte
		for index := range count {
			n := 10 + rng.IntN(300)
			switch rng.IntN(8) {
			case 0:
				n = rng.IntN(6000)
			case 1:
				n = rng.IntN(12000)
			}
			records = append(records, record(rng, group, index, count, n))
		}
		if _, err := j.Append(context.Background(), records...); err != nil {
			return
		}
		w.mu.Lock()
		w.acked[group] = true
		w.mu.Unlock()
	}
}

// domainRig makes a rig on drives that lose power together.
func domainRig(t testing.TB, n, parity int, segLen int64, opts drive.DomainOptions) (*rig, *drive.Domain) {
	cluster, ids := identities(n)
	d := drive.NewDomain(ids, 64<<20, opts)
	r := &rig{t: t, cluster: cluster, parity: parity, segLen: segLen, arena: sharedArena(), drives: d.Drives()}
	r.opts = journal.Options{MaxShardLen: 64<<10 - 512}
	return r, d
}

// on returns the rig on other drives.
func (r *rig) on(drives []drive.Drive) *rig {
	c := *r
	c.drives, c.set, c.log = drives, nil, nil
	return &c
}

// without returns the drives less some of them.
func without(rng *rand.Rand, drives []drive.Drive, lost int) []drive.Drive {
	drives = slices.Clone(drives)
	for range lost {
		i := rng.IntN(len(drives))
		drives = slices.Delete(drives, i, i+1)
	}
	return drives
}

// runAndCut runs a workload and cuts the power at an event. It returns the drives as they come back, and what is known.
func runAndCut(t testing.TB, rng *rand.Rand, n, parity int) (*rig, *drive.Domain, *history) {
	w := &workload{counts: make(map[int]int), acked: make(map[int]bool), seed: rng.Uint64(), limit: 10 + rng.IntN(60)}
	var cut *drive.Domain
	h := &history{}
	r, d := domainRig(t, n, parity, 512<<10, drive.DomainOptions{Seed: rng.Uint64() | 1})
	j := r.format()
	at := d.Events() + 1 + rng.IntN(500)
	choice := rng.Uint64()
	d.SetHook(func(event int) {
		if event != at {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		r.log.mu.Lock()
		defer r.log.mu.Unlock()
		h.counts, h.acked = make(map[int]int), make(map[int]bool)
		for k, v := range w.counts {
			h.counts[k] = v
		}
		for k, v := range w.acked {
			h.acked[k] = v
		}
		h.all = slices.Clone(r.log.records)
		h.at = r.log.position
		cut = d.Cut(drive.RandomChoice(rand.New(rand.NewPCG(choice, 1))))
	})
	var wg sync.WaitGroup
	for i := range 1 + rng.IntN(8) {
		wg.Go(func() { w.caller(j, uint64(i)) })
	}
	wg.Wait()
	d.SetHook(nil)
	if cut == nil { // The workload ended first.
		h.counts, h.acked, h.all, h.at = w.counts, w.acked, slices.Clone(r.log.records), r.log.position
		cut = d.Cut(drive.RandomChoice(rng))
	}
	r.stop(j)
	return r, cut, h
}

// TestPowerCut cuts the power at random, lets drives be missing, and recovers: what was acknowledged is there, groups are whole, and a second
// recovery, with other drives missing, finds the same.
func TestPowerCut(t *testing.T) {
	rng := newRNG(t)
	for round := range 80 {
		n, parity := 6, 2
		switch round % 4 {
		case 1:
			n, parity = 2, 1
		case 2:
			n, parity = 4, 2
		}
		r, cut, h := runAndCut(t, rng, n, parity)

		// From where an index was before the cut, what it lacks is replayed.
		again := r.on(without(rng, cut.Cut(drive.Choice{}).Drives(), rng.IntN(parity+1)))
		j, _, err := again.recover(h.at)
		if err != nil {
			t.Fatalf("round %d, from %+v: %v", round, h.at, err)
		}
		if err := h.check(append(slices.Clone(h.all), again.log.records...)); err != nil {
			t.Fatalf("round %d, from %+v: %v", round, h.at, err)
		}
		again.stop(j)

		again = r.on(without(rng, cut.Drives(), rng.IntN(parity+1)))
		j, _, err = again.recover(meta.Position{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := h.check(again.log.records); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		first := again.log.records
		extra := record(rng, 1e6, 0, 1, 100)
		mustAppend(t, j, extra)
		again.stop(j)

		again = again.on(again.drives)
		j, _, err = again.recover(meta.Position{})
		if err != nil {
			t.Fatalf("round %d, once more: %v", round, err)
		}
		if got := again.log.records; !startsWith(got, first) {
			t.Fatalf("round %d: a second recovery replays %d records, the first one %d", round, len(got), len(first))
		}
		if users := again.log.users(); users[len(users)-1].payload != string(extra) {
			t.Fatalf("round %d: a record appended after the recovery is gone", round)
		}
		again.stop(j)

		// Drives that were missing come back with what they held when the power was cut.
		again = again.on(cut.Drives())
		j, _, err = again.recover(meta.Position{})
		if err != nil {
			t.Fatalf("round %d, with all drives: %v", round, err)
		}
		if got := again.log.records; !startsWith(got, first) {
			t.Fatalf("round %d: a recovery with all drives replays %d records, the first one %d", round, len(got), len(first))
		}
		again.stop(j)
	}
}

// TestPowerCutDuringRecovery cuts the power again and again while the journal is recovered, with drives missing, and in the end with others
// missing: it is what the first cut left. The index is one that is durable at once, so whatever a recovery has applied must be
// there for the next one to go on from.
func TestPowerCutDuringRecovery(t *testing.T) {
	rng := newRNG(t)
	for round := range 50 {
		r, cut, h := runAndCut(t, rng, 6, 2)
		var index []entry
		var from meta.Position
		recover := func(domain *drive.Domain, drives []drive.Drive, at int) (next *drive.Domain) {
			again := r.on(drives)
			again.open()
			again.log.records, again.log.position = slices.Clone(index), from
			seed := rng.Uint64()
			domain.SetHook(func(event int) {
				if event != at {
					return
				}
				again.log.mu.Lock()
				defer again.log.mu.Unlock()
				index, from = slices.Clone(again.log.records), again.log.position
				next = domain.Cut(drive.RandomChoice(rand.New(rand.NewPCG(seed, 2))))
			})
			j, _, err := journal.Recover(context.Background(), again.options(), from)
			if err != nil {
				t.Fatalf("round %d, from %+v: %v", round, from, err)
			}
			domain.SetHook(nil)
			if err := h.check(again.log.records); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			again.stop(j)
			return next
		}
		missing := rng.Perm(6)[:rng.IntN(3)]
		some := func(drives []drive.Drive) []drive.Drive {
			return slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool {
				return slices.ContainsFunc(missing, func(i int) bool { return drives[i] == d })
			})
		}
		for range 3 {
			next := recover(cut, some(cut.Drives()), cut.Events()+1+rng.IntN(50))
			if next == nil {
				break // The recovery had ended by then.
			}
			cut = next
		}
		recover(cut, without(rng, cut.Drives(), rng.IntN(3)), -1)
	}
}

// TestCarry ends a journal with several large batches none of which proves another one durable, and recovers without one
// drive: they may not stay where they lack a shard, so after the recovery any two drives may go.
func TestCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := newRNG(t)
		r, d := domainRig(t, 6, 2, 2<<20, drive.DomainOptions{})
		plan := drive.NewPlan(1)
		r.drives = plan.WrapAll(r.drives)
		r.arena = privateArena(t)
		j := r.format()
		plan.Add(drive.Rule{On: drive.OnWrite, Do: drive.Hang, Times: -1})
		var all []string
		var tickets []*journal.Ticket
		for i := range 1 + 3*4 { // The first goes alone; then each fills a data shard.
			rec := record(rng, i, 0, 1, r.opts.MaxShardLen-16)
			all = append(all, string(rec))
			ticket, err := j.AppendAsync(context.Background(), journal.Entry{Head: rec})
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait() // Until all batches that may be in flight are.
		plan.Clear()
		plan.Release()
		for _, ticket := range tickets {
			if _, err := ticket.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		r.stop(j)
		for lost := range 6 {
			drives := d.Cut(drive.Choice{}).Drives()
			again := r.on(slices.Delete(slices.Clone(drives), lost, lost+1))
			j, did, err := again.recover(meta.Position{})
			if err != nil {
				t.Fatal(err)
			}
			if did.Carried < 3 {
				t.Errorf("%d batches carried over", did.Carried)
			}
			if !slices.Equal(payloads(again.log.records), all) {
				t.Error("other records than were appended")
			}
			again.stop(j)
			again = r.on(slices.DeleteFunc(slices.Clone(drives), func(d drive.Drive) bool {
				return d == drives[(lost+1)%6] || d == drives[(lost+3)%6]
			}))
			j, _, err = again.recover(meta.Position{})
			if err != nil {
				t.Fatalf("without two others: %v", err)
			}
			if !slices.Equal(payloads(again.log.records), all) {
				t.Error("without two others: other records than were appended")
			}
			again.stop(j)
		}
	})
}
