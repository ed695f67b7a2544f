package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// Verification reads everything there is and compares it with everything that says what it should be. It shares no code with what heals
// and scrubs, beyond what takes formats apart, so that neither vouches for itself. It changes nothing.

// VerifyReport is what a verification has found. All is well if Missing and Corrupt are 0. What is orphaned takes space, and is
// given back when a start or the recycler comes to it.
type VerifyReport struct {
	Missing  int64 `json:"missing"`  // Shards, journals and entries that should be there and are not.
	Corrupt  int64 `json:"corrupt"`  // Units, blocks and entries that are not what was written.
	Lost     int64 `json:"lost"`     // Of what is missing or corrupt, rows, batches and blobs that no combination of shards yields.
	Orphaned int64 `json:"orphaned"` // Segments, volumes and blobs that nothing needs.

	Drives        int   `json:"drives"` // That are here,
	DrivesMissing int   `json:"drives_missing"`
	Segments      int64 `json:"segments"`
	Unused        int64 `json:"segments_unused"`  // Free, to be used again.
	Damaged       int64 `json:"segments_damaged"` // With headers that cannot be trusted.
	Stale         int64 `json:"segments_stale"`   // Whose place others have taken, or that an interrupted start has left.

	Volumes int64  `json:"volumes"`
	Dead    int64  `json:"volumes_dead"` // That hold nothing live.
	Batches uint64 `json:"batches"`
	Records uint64 `json:"records"`
	Blocks  uint64 `json:"blocks"` // Of journals, read or missed.
	Stripes int64  `json:"stripes"`
	Units   int64  `json:"units"` // Of stripes, read or missed.
	Read    int64  `json:"bytes_read"`

	Index meta.Census   `json:"index"`
	Took  time.Duration `json:"took_ns"`

	Problems []Problem `json:"problems"` // The first MaxProblems of them.
}

// OK reports whether nothing is missing or corrupt.
func (r *VerifyReport) OK() bool { return r.Missing == 0 && r.Corrupt == 0 && r.Lost == 0 }

// Problem is one thing that is not as it should be.
type Problem struct {
	Kind string `json:"kind"` // "missing", "corrupt", "lost" or "orphaned".
	Cell int    `json:"cell"`
	What string `json:"what"`
}

// MaxProblems bounds VerifyReport.Problems.
const MaxProblems = 1000

// VerifyProgress says how far a verification is.
type VerifyProgress struct {
	Phase string // What is done now.
	Read  int64  // Bytes.
	Total int64  // Of Read in the end, about.
}

// verifier verifies one cell.
type verifier struct {
	cell    int
	set     *volume.Set
	limit   time.Duration // Of one read.
	workers int           // Stripes at a time.
	rows    int           // Of one stripe at a time.

	// within lets one look at the index as it was when the verification began. Nothing else is done meanwhile.
	within func(func(*meta.View) error) error

	// The others are nil where nothing changes and nobody waits.
	hold     func() (release func())                 // Keeps the segments that are read from being used for something else.
	still    func(id meta.VolumeID, off int64) bool  // Reports that a stripe is still live, or for offset 0 that anything in the volume is.
	spare    func(*volume.Volume) bool               // Reports that a volume is in use though nothing in it is live.
	pause    func(n int64, took time.Duration) error // Called after each read.
	progress func(VerifyProgress)
	telling  sync.Mutex // Held while progress is called: it is called by one at a time.

	mu    sync.Mutex // Guards the fields below.
	out   VerifyReport
	phase string
	total int64
}

// add counts n problems of a kind, and describes them in a line.
func (v *verifier) add(kind string, n int64, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.out.add(n, Problem{Kind: kind, Cell: v.cell, What: fmt.Sprintf(format, args...)})
}

func (r *VerifyReport) add(n int64, p Problem) {
	switch p.Kind {
	case problemMissing:
		r.Missing += n
	case problemCorrupt:
		r.Corrupt += n
	case problemLost:
		r.Lost += n
	case problemOrphaned:
		r.Orphaned += n
	}
	if len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, p)
	}
}

const (
	problemMissing  = "missing"
	problemCorrupt  = "corrupt"
	problemLost     = "lost"
	problemOrphaned = "orphaned"
)

// begin enters a phase.
func (v *verifier) begin(phase string) {
	v.mu.Lock()
	v.phase = phase
	v.mu.Unlock()
	v.tell(0)
}

// tell counts bytes read and says how far the verification is.
func (v *verifier) tell(n int64) {
	v.mu.Lock()
	v.out.Read += n
	p := VerifyProgress{Phase: v.phase, Read: v.out.Read, Total: v.total}
	v.mu.Unlock()
	if v.progress != nil {
		v.telling.Lock()
		defer v.telling.Unlock()
		v.progress(p)
	}
}

// drives counts what the drives hold, by the headers of their segments.
func (v *verifier) drives() {
	v.begin("segments")
	for _, d := range v.set.Drives() {
		if d.State != volume.DriveOK {
			v.out.DrivesMissing++
			why := ""
			if d.Err != nil {
				why = ": " + d.Err.Error()
			}
			// What it has is missed if it is nowhere else, and that is told of each shard.
			v.add(problemMissing, 0, "drive %v is %v%s", d.ID, d.State, why)
			continue
		}
		v.out.Drives++
		v.out.Segments += int64(d.Segments)
		v.out.Unused += int64(d.Unused)
		v.out.Damaged += int64(d.Damaged)
		v.out.Stale += int64(d.Stale)
		if d.Damaged > 0 {
			v.add(problemCorrupt, int64(d.Damaged), "drive %s has %d segments whose headers cannot be trusted", d.Path, d.Damaged)
		}
		if d.Stale > 0 {
			v.add(problemOrphaned, int64(d.Stale), "drive %s has %d segments whose place others have taken", d.Path, d.Stale)
		}
	}
	for _, vol := range v.set.Volumes() {
		for i := range vol.N() {
			if f := vol.Shard(i); f != nil {
				v.total += f.Size()
			}
		}
	}
}

// volumes verifies all volumes by an index. journals are those that the journal needs; their batches are verified apart.
func (v *verifier) volumes(ctx context.Context, journals map[meta.VolumeID]bool) error {
	v.begin("stripes")
	live := make(map[meta.VolumeID]int64)
	err := v.within(func(view *meta.View) error {
		return view.VolumeUsages(func(id meta.VolumeID, u meta.VolumeUsage) bool {
			live[id] = u.Live
			return ctx.Err() == nil
		})
	})
	if err != nil {
		return err
	}
	for id, n := range live {
		if n > 0 && v.set.Get(id) == nil && (v.still == nil || v.still(id, 0)) {
			v.add(problemLost, 1, "volume %s is needed, and no drive holds a segment of it", volume.Name(id))
		}
	}
	for _, vol := range v.set.Volumes() {
		v.out.Volumes++
		needed := live[vol.ID()] > 0 || journals[vol.ID()]
		if !needed && v.spare != nil && v.spare(vol) {
			continue
		}
		if !needed {
			v.out.Dead++
			v.add(problemOrphaned, 1, "%v holds nothing that is needed", vol)
			continue
		}
		for i, id := range vol.Drives() {
			if vol.Shard(i) == nil {
				v.add(problemMissing, 1, "%v has no shard %d: it should be on drive %v", vol, i, id)
			}
		}
		if vol.Class() == volume.Bulk {
			if err := v.bulk(ctx, vol); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// extentAt is a stripe as the index has it under its volume.
type extentAt struct {
	off  int64
	blob meta.BlobID
}

// bulk verifies the live stripes of a volume.
func (v *verifier) bulk(ctx context.Context, vol *volume.Volume) error {
	var refs []extentAt
	err := v.within(func(view *meta.View) error {
		return view.VolumeExtents(vol.ID(), func(off int64, blob meta.BlobID) bool {
			refs = append(refs, extentAt{off, blob})
			return ctx.Err() == nil
		})
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan meta.Extent)
	var workers sync.WaitGroup
	for range v.workers {
		workers.Go(func() {
			for ext := range work {
				if err := v.stripe(ctx, vol, ext); err != nil {
					cancel(err)
				}
			}
		})
	}
	end := vol.Start()
	for _, ref := range refs {
		var blob meta.Blob
		var found bool
		err := v.within(func(view *meta.View) (err error) {
			blob, found, err = view.GetBlob(ref.blob)
			return err
		})
		if err != nil {
			cancel(err)
			break
		}
		i := slices.IndexFunc(blob.Extents, func(e meta.Extent) bool { return !e.Inline && e.Volume == vol.ID() && e.Off == ref.off })
		if !found || i < 0 {
			continue // The census has said so.
		}
		ext := blob.Extents[i]
		layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
		if err := layout.Check(); err != nil || len(ext.Units) != layout.UnitCount() || ext.Off < end || ext.Off+layout.ColumnLen() > vol.Capacity() {
			v.add(problemCorrupt, 1, "%v, offset %d: the index describes %d bytes with %d checksums behind offset %d, which cannot be (%v)",
				vol, ext.Off, ext.Len, len(ext.Units), end, err)
			continue
		}
		end = ext.Off + layout.ColumnLen()
		select {
		case work <- ext:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// stripe reads all units of a stripe, data and parity, and compares each with its checksum.
func (v *verifier) stripe(ctx context.Context, vol *volume.Volume, ext meta.Extent) error {
	layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
	v.mu.Lock()
	v.out.Stripes++
	v.mu.Unlock()
	for row := 0; row < layout.Rows(); row += v.rows {
		if err := v.someRows(ctx, vol, &ext, layout, row, min(v.rows, layout.Rows()-row)); err != nil {
			return err
		}
	}
	return nil
}

// finding is a unit that is not what it should be.
type finding struct {
	kind string
	what string
}

func (v *verifier) someRows(ctx context.Context, vol *volume.Volume, ext *meta.Extent, layout erasure.Layout, first, rows int) error {
	if v.hold != nil {
		defer v.hold()()
	}
	began := time.Now()
	n := layout.K + layout.M
	columns := make([][]byte, n) // Ordinary memory: a drive that hangs may keep it.
	errs := make([]error, n)
	var group sync.WaitGroup
	for shard := range n {
		file := vol.Shard(shard)
		if file == nil {
			continue // Was told once for the volume.
		}
		run := layout.RunOf(shard, first, rows)
		columns[shard] = drive.Aligned(int(run.Len))
		group.Go(func() {
			reading, stop := context.WithTimeout(ctx, v.limit)
			defer stop()
			errs[shard] = drive.Do(reading, &drive.Op{Kind: drive.Read, File: file, Off: ext.Off + run.Off, Bufs: [][]byte{columns[shard]}})
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var found []finding
	read := int64(0)
	for shard := range n {
		if errs[shard] != nil {
			found = append(found, finding{problemCorrupt, fmt.Sprintf("%v, shard %d, offset %d: %v", vol, shard, ext.Off, errs[shard])})
		} else {
			read += int64(len(columns[shard]))
		}
	}
	for row := first; row < first+rows; row++ {
		bad := 0
		for shard := range n {
			u := layout.UnitAt(row, shard)
			if columns[shard] == nil || errs[shard] != nil {
				bad++
				continue
			}
			bytes := columns[shard][u.ColumnOff-int64(first)*erasure.UnitLen:]
			if erasure.Checksum(bytes[:u.SumLen()]) != ext.Units[u.Index] {
				bad++
				found = append(found, finding{problemCorrupt, fmt.Sprintf("%v, shard %d, offset %d: is not what was written", vol, shard, ext.Off+u.ColumnOff)})
			}
		}
		if bad > layout.M {
			found = append(found, finding{problemLost, fmt.Sprintf("%v, offset %d, row %d: %d of %d units are missing or wrong, and %d may be", vol, ext.Off, row, bad, n, layout.M)})
		}
	}
	v.mu.Lock()
	v.out.Units += int64(n * rows)
	v.mu.Unlock()
	v.tell(read)
	// While it was read its bytes may have died, and its place may have been given to others.
	if len(found) > 0 && (v.still == nil || v.still(vol.ID(), ext.Off)) {
		for _, f := range found {
			v.add(f.kind, 1, "%s", f.what)
		}
	}
	if v.pause != nil {
		return v.pause(read, time.Since(began))
	}
	return nil
}

// census verifies the index itself.
func (v *verifier) census(ctx context.Context) error {
	v.begin("index")
	var census meta.Census
	err := v.within(func(view *meta.View) (err error) {
		census, err = view.Census(ctx, func(what string) { v.add(problemCorrupt, 1, "index: %s", what) })
		return err
	})
	v.out.Index = census
	if err != nil {
		return err
	}
	if census.Lost > 0 {
		v.add(problemLost, census.Lost, "%d blobs are referenced, and no journal says where they are", census.Lost)
	}
	return nil
}

// merge adds what another cell's verification has found.
func (r *VerifyReport) merge(o *VerifyReport) {
	r.Missing, r.Corrupt, r.Lost, r.Orphaned = r.Missing+o.Missing, r.Corrupt+o.Corrupt, r.Lost+o.Lost, r.Orphaned+o.Orphaned
	r.Drives, r.DrivesMissing, r.Segments = r.Drives+o.Drives, r.DrivesMissing+o.DrivesMissing, r.Segments+o.Segments
	r.Unused, r.Damaged, r.Stale = r.Unused+o.Unused, r.Damaged+o.Damaged, r.Stale+o.Stale
	r.Volumes, r.Dead, r.Batches, r.Records, r.Blocks = r.Volumes+o.Volumes, r.Dead+o.Dead, r.Batches+o.Batches, r.Records+o.Records, r.Blocks+o.Blocks
	r.Stripes, r.Units, r.Read = r.Stripes+o.Stripes, r.Units+o.Units, r.Read+o.Read
	r.Index = r.Index.Plus(o.Index)
	r.Problems = append(r.Problems, o.Problems...)
	r.Problems = r.Problems[:min(len(r.Problems), MaxProblems)]
}
