package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/erasure"
	"penstock/meta"
)

// peek reads n bytes of a segment.
func peek(t testing.TB, f drive.File, off int64, n int) []byte {
	t.Helper()
	b := drive.Aligned(n)
	op := &drive.Op{Kind: drive.Read, File: f, Off: off, Bufs: [][]byte{b}}
	if err := drive.Do(context.Background(), op); err != nil {
		t.Fatal(err)
	}
	return b
}

// poke changes a block of a segment.
func poke(t testing.TB, f drive.File, off int64, change func(block []byte)) {
	t.Helper()
	at := off / 4096 * 4096
	b := peek(t, f, at, 4096)
	change(b)
	op := &drive.Op{Kind: drive.Write, File: f, Off: at, Bufs: [][]byte{b}}
	if err := drive.Do(context.Background(), op); err != nil {
		t.Fatal(err)
	}
}

// filled is a journal with records one to a batch, all of them in its one volume, and stopped.
type filled struct {
	*rig
	domain  *drive.Domain
	info    journal.VolumeInfo
	records []entry
	chains  []uint64 // In front of each user record.
}

func fill(t testing.TB, n, parity, count, size int) *filled {
	t.Helper()
	r, domain := domainRig(t, n, parity, 1<<20, drive.DomainOptions{})
	f := &filled{rig: r, domain: domain}
	j := f.format()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range count {
		f.chains = append(f.chains, j.Position().Chain)
		mustAppend(t, j, record(rng, i, 0, 1, size))
	}
	vols := j.Volumes()
	if len(vols) != 1 {
		t.Fatalf("%d volumes", len(vols))
	}
	f.info, f.records = vols[0], slices.Clone(f.log.records)
	f.stop(j)
	return f
}

// restore puts the drives back to where fill left them.
func (f *filled) restore() { f.drives = f.domain.Cut(drive.Choice{}).Drives() }

// damage opens the volumes, calls change with the segments of the journal's volume, and closes them.
func (f *filled) damage(change func(shards []drive.File)) {
	f.t.Helper()
	f.open()
	v := f.set.Get(f.info.ID)
	var shards []drive.File
	for i := range v.N() {
		shards = append(shards, v.Shard(i))
	}
	change(shards)
	if err := f.set.Close(); err != nil {
		f.t.Fatal(err)
	}
}

// batchOff returns where the batch of a user record lies.
func (f *filled) batchOff(i int) int64 { return f.records[1+i].loc.Batch }

// TestBitFlips flips a bit anywhere in the journal's volume, in up to m shards at a time: every record is replayed as it was written.
func TestBitFlips(t *testing.T) {
	rng := newRNG(t)
	f := fill(t, 6, 2, 12, 3000)
	for round := range 90 {
		f.restore()
		f.damage(func(shards []drive.File) {
			for _, i := range rng.Perm(len(shards))[:1+rng.IntN(2)] {
				off := 4096 + rng.Int64N(f.info.End-4096)
				poke(t, shards[i], off, func(b []byte) { b[off%4096] ^= 1 << rng.IntN(8) })
			}
		})
		j, _, err := f.recover(meta.Position{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if !startsWith(f.log.records, f.records) {
			t.Fatalf("round %d: other records than were written", round)
		}
		f.stop(j)
	}
}

// TestEveryByteCounts damages bytes all over a block, with no parity to help: what is read is right or refused.
func TestEveryByteCounts(t *testing.T) {
	f := fill(t, 1, 0, 3, 1000)
	off := f.batchOff(1)
	for at := int64(0); at < 4096; at += 17 {
		f.restore()
		f.damage(func(shards []drive.File) {
			poke(t, shards[0], off, func(b []byte) { b[at] ^= 0x10 })
		})
		if _, _, err := f.recover(meta.Position{}); !errors.Is(err, journal.ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	f.restore()
	j, _ := f.mustRecover(meta.Position{})
	if !startsWith(f.log.records, f.records) {
		t.Error("other records than were written")
	}
	f.stop(j)
}

// TestDamageBelowWatermark destroys a batch on more drives than there is parity. If a later batch proves that it was committed, recovery refuses
// and names it; if it is the last, it cannot be told from one that was never committed.
func TestDamageBelowWatermark(t *testing.T) {
	wipe := func(off int64) func([]drive.File) {
		return func(shards []drive.File) {
			for _, s := range shards {
				poke(t, s, off, func(b []byte) { clear(b) })
			}
		}
	}
	for _, tt := range []struct {
		name    string
		records int
		victim  int
		size    int
	}{
		{"next but one", 8, 6, 1000},
		{"first", 8, 0, 1000},
		{"long ago", 40, 0, 3000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fill(t, 6, 2, tt.records, tt.size)
			f.damage(wipe(f.batchOff(tt.victim)))
			_, _, err := f.recover(meta.Position{})
			if !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("batch %d ", tt.victim+2)) {
				t.Errorf("%v", err)
			}
			if f.log.position.Batch > uint64(tt.victim+1) {
				t.Errorf("applied up to batch %d", f.log.position.Batch)
			}
			if len(source{f.set}.Volumes()) != 1 {
				t.Error("a recovery that refused has made a volume")
			}
		})
	}
	t.Run("start", func(t *testing.T) {
		f := fill(t, 6, 2, 3, 1000)
		f.damage(wipe(4096))
		if _, _, err := f.recover(meta.Position{}); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%v", err)
		}
	})
	t.Run("last", func(t *testing.T) {
		f := fill(t, 6, 2, 8, 1000)
		f.damage(wipe(f.batchOff(7)))
		j, _ := f.mustRecover(meta.Position{})
		if n := len(f.log.users()); n != 7 {
			t.Errorf("%d records", n)
		}
		f.stop(j)
	})
}

// TestForgedHeader puts a header behind the end that says more had been durable: one with the volume's salt is proof of damage, one without
// is what an object's bytes may look like.
func TestForgedHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		salt byte // Difference.
		want error
	}{{"right salt", 0, journal.ErrDamaged}, {"other salt", 1, nil}} {
		f := fill(t, 6, 2, 5, 500)
		f.damage(func(shards []drive.File) {
			le := binary.LittleEndian
			forged := slices.Clone(peek(t, shards[5], f.batchOff(4), 4096))
			off := f.info.End + 20*4096
			forged[16] ^= tt.salt
			le.PutUint64(forged[24:], f.info.LastBatch+20)
			le.PutUint64(forged[32:], uint64(off))
			le.PutUint64(forged[40:], f.info.LastBatch+19)
			le.PutUint64(forged[456:], erasure.Checksum(forged[:456]))
			le.PutUint64(forged[504:], erasure.Checksum(forged[:504]))
			poke(t, shards[5], off, func(b []byte) { copy(b, forged) })
		})
		j, _, err := f.recover(meta.Position{})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			f.stop(j)
		}
	}
}

// TestDamageInSealedVolume destroys a batch of a volume whose end is recorded.
func TestDamageInSealedVolume(t *testing.T) {
	f := fill(t, 6, 2, 8, 1000)
	j, _ := f.mustRecover(meta.Position{}) // Seals it.
	f.stop(j)
	f.damage(func(shards []drive.File) {
		for _, s := range shards {
			poke(t, s, f.batchOff(7), func(b []byte) { clear(b) })
		}
	})
	if _, _, err := f.recover(meta.Position{}); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// TestHalfWrittenBatchIsRepaired takes the blocks of the last batch away from as many drives as parity allows: it counts, and is put
// back everywhere before it is applied.
func TestHalfWrittenBatchIsRepaired(t *testing.T) {
	f := fill(t, 6, 2, 5, 6000)
	last := f.records[5].loc
	f.damage(func(shards []drive.File) {
		poke(t, shards[last.Shard], last.Batch, func(b []byte) { clear(b) })
		poke(t, shards[4], last.Batch+4096, func(b []byte) { b[17]++ })
	})
	j, did := f.mustRecover(meta.Position{})
	if did.Repaired != 2 || len(f.log.users()) != 5 {
		t.Errorf("%+v, %d records", did, len(f.log.users()))
	}
	f.stop(j)
	// Now it is whole again: any two drives may go, the one that holds the data among them.
	f.open()
	v := f.set.Get(f.info.ID)
	gone := []drive.ID{v.Drives()[last.Shard], v.Drives()[5]}
	if err := f.set.Close(); err != nil {
		t.Fatal(err)
	}
	f.drives = slices.DeleteFunc(f.drives, func(d drive.Drive) bool { return slices.Contains(gone, d.ID()) })
	j, _ = f.mustRecover(meta.Position{})
	if !startsWith(f.log.records, f.records) {
		t.Error("other records than were written")
	}
	f.stop(j)
}

// TestMissingDrives recovers with every combination of m drives missing, and refuses with more.
func TestMissingDrives(t *testing.T) {
	f := fill(t, 6, 2, 20, 5000)
	all := f.drives
	rng := newRNG(t)
	for a := range all {
		for b := range a {
			f.drives = slices.Delete(slices.Delete(slices.Clone(all), a, a+1), b, b+1)
			j, _, err := f.recover(meta.Position{})
			if err != nil {
				t.Fatalf("without drives %d and %d: %v", a, b, err)
			}
			if !startsWith(f.log.records, f.records) {
				t.Fatalf("without drives %d and %d: other records than were written", a, b)
			}
			mustAppend(t, j, record(rng, 1000, 0, 1, 100))
			f.stop(j)
		}
	}
	f.drives = all
	j, _ := f.mustRecover(meta.Position{})
	if n := len(f.log.users()); n != 20+15 {
		t.Errorf("%d records", n)
	}
	wide := record(rng, 1001, 0, 1, 5000)
	mustAppend(t, j, wide, wide, wide, wide) // One on each data shard, so any four drives are needed.
	f.stop(j)
	f.drives = all[:3]
	if _, _, err := f.recover(meta.Position{}); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("with half of the drives missing: %v", err)
	}
	if err := f.set.Close(); err != nil {
		t.Fatal(err)
	}
	f.drives = all
	j, _ = f.mustRecover(meta.Position{})
	if n := len(f.log.users()); n != 20+15+4 {
		t.Errorf("%d records", n)
	}
	f.stop(j)
}

// TestRead reads parts of records, healthy and with drives missing or lying.
func TestRead(t *testing.T) {
	rng := newRNG(t)
	r, plan := faultyRig(t, 6, 2, 2<<20)
	j := r.format()
	var tickets []*journal.Ticket
	for i := range 200 {
		ticket, err := j.AppendAsync(context.Background(), journal.Entry{Head: record(rng, i, 0, 1, 10+rng.IntN(10000))})
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	for _, ticket := range tickets {
		if _, err := ticket.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	records := r.log.users()
	read := func(wantDegraded bool, wantReads int) {
		t.Helper()
		for _, e := range records {
			off := rng.IntN(len(e.payload))
			n := 1 + rng.IntN(len(e.payload)-off)
			sum := erasure.Checksum([]byte(e.payload[off : off+n]))
			before := plan.Count(drive.ID{}, drive.OnRead)
			buf, got, degraded, err := j.Read(context.Background(), e.loc, off, n, func(b []byte) bool { return erasure.Checksum(b) == sum })
			if err != nil {
				t.Fatalf("record %+v: %v", e.loc, err)
			}
			if string(got) != e.payload[off:off+n] || degraded && !wantDegraded {
				t.Fatalf("record %+v: other bytes than were written, degraded %v", e.loc, degraded)
			}
			if reads := plan.Count(drive.ID{}, drive.OnRead) - before; wantReads != 0 && reads != wantReads {
				t.Fatalf("%d drive reads for a healthy read", reads)
			}
			buf.Release()
		}
	}
	read(false, 1)
	plan.Kill(r.drives[1].ID())
	plan.Kill(r.drives[4].ID())
	read(true, 0)
	plan.Revive(r.drives[1].ID())
	plan.Revive(r.drives[4].ID())
	// Two drives that lie: which ones, only the checksums of whole blocks tell.
	v := r.set.Get(records[0].loc.Volume)
	for _, i := range []int{0, 4} {
		plan.Add(drive.Rule{On: drive.OnRead, Drive: v.Drives()[i], Do: drive.Flip, Times: -1})
	}
	read(true, 0)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: v.Drives()[1], Do: drive.Flip, Times: -1})
	plan.Add(drive.Rule{On: drive.OnRead, Drive: v.Drives()[2], Do: drive.Flip, Times: -1})
	e := records[3]
	buf, _, _, err := j.Read(context.Background(), e.loc, 0, len(e.payload), func(b []byte) bool { return string(b) == e.payload })
	switch {
	case err == nil: // They lie elsewhere in their blocks.
		buf.Release()
	case !errors.Is(err, journal.ErrDamaged):
		t.Errorf("with four drives that lie: %v", err)
	}
	plan.Clear()
	if _, _, _, err := j.Read(context.Background(), e.loc, 0, 1, func([]byte) bool { return false }); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a read whose bytes are refused: %v", err)
	}
	if _, _, _, err := j.Read(context.Background(), e.loc, 1, len(e.payload), func([]byte) bool { return true }); err == nil {
		t.Error("a read beyond the record was taken")
	}
	r.stop(j)
}

// TestScan reads volumes from their start, and stops where info says.
func TestScan(t *testing.T) {
	r := newRig(t, 6, 2, 1<<20)
	j := r.format()
	appendAll(t, j, 8, 40)
	var got []entry
	for _, info := range j.Volumes() {
		last := meta.Position{}
		err := j.Scan(context.Background(), info, func(b *journal.Batch) error {
			for _, rec := range b.Records {
				got = append(got, entry{rec.LSN, rec.Origin, rec.Loc, string(rec.Payload)})
			}
			last = b.Position
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if last.Batch != info.LastBatch || last.Next != info.End || last.LSN != info.EndLSN {
			t.Errorf("scan of %+v ends at %+v", info, last)
		}
	}
	if !slices.Equal(got, r.log.records) {
		t.Errorf("%d records, %d were applied", len(got), len(r.log.records))
	}
	if err := j.Scan(context.Background(), j.Volumes()[0], func(*journal.Batch) error { return errTest }); !errors.Is(err, errTest) {
		t.Errorf("scan whose callback fails: %v", err)
	}
	r.stop(j)
}

// TestFreed frees volumes: they are listed no more, replay from before them is a gap, and a replay of everything does without them.
func TestFreed(t *testing.T) {
	r := newRig(t, 6, 2, 512<<10)
	j := r.format()
	start := j.Position()
	rec := bytes.Repeat([]byte{0xf0}, 20000)
	for len(j.Volumes()) < 4 {
		mustAppend(t, j, rec)
	}
	vols := j.Volumes()
	freed := []meta.VolumeID{vols[0].ID, vols[2].ID}
	mustAppend(t, j, (&meta.JournalFreed{Volumes: freed}).AppendTo(nil))
	j.Freed(freed...)
	at := j.Position()
	if got := j.Volumes(); len(got) != 2 || got[0].ID != vols[1].ID {
		t.Fatalf("volumes %+v", got)
	}
	all := slices.Clone(r.log.records)
	r.stop(j)

	check := func(step string, wantLive int) {
		t.Helper()
		// From where the index is.
		again := r.on(r.drives)
		again.opts.Needed = func(id meta.VolumeID) bool { return !slices.Contains(freed, id) }
		j, _ := again.mustRecover(at)
		if got := j.Volumes(); len(got) != wantLive {
			t.Errorf("%s: from the index: volumes %+v, want %d", step, got, wantLive)
		}
		at = j.Position()
		again.stop(j)
		// Everything.
		j, _ = again.mustRecover(meta.Position{})
		for _, e := range again.log.records {
			if slices.Contains(freed, e.loc.Volume) {
				t.Fatalf("%s: a record of a freed volume is replayed", step)
			}
		}
		for _, info := range j.Volumes() {
			if slices.Contains(freed, info.ID) {
				t.Errorf("%s: everything: %x is listed", step, info.ID)
			}
		}
		n := 0
		for _, e := range all {
			if !slices.Contains(freed, e.loc.Volume) {
				n++
			}
		}
		if len(again.log.records) < n {
			t.Errorf("%s: %d records of %d", step, len(again.log.records), n)
		}
		at = j.Position()
		again.stop(j)
		// From before the freed volumes.
		if _, _, err := again.recover(start); !errors.Is(err, journal.ErrGap) {
			t.Errorf("%s: from before: %v", step, err)
		}
		if err := again.set.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A crash came before the segments were recycled: the volumes are still there, and nobody asked for them.
	check("still there", 3)
	r.open()
	for _, id := range freed {
		source{r.set}.Free(id)
	}
	if err := r.set.Close(); err != nil {
		t.Fatal(err)
	}
	check("recycled", 5)
}
