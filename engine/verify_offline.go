package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/ioring"
	"penstock/meta"
)

// VerifyDrives reads and verifies everything on the drives of a store that nobody serves, and changes nothing on them. An index is made anew from
// the journals and compared with the one that is there; both are made in a directory of their own below scratch ("" means the system's
// place for such), which is gone afterwards. progress, if it is not nil, is called now and then. An error means that not
// everything was looked at; a *UsageError is one about what was given.
func VerifyDrives(ctx context.Context, opts Options, scratch string, progress func(VerifyProgress)) (VerifyReport, error) {
	began := time.Now()
	var out VerifyReport
	opts.Format = false
	if err := opts.check(); err != nil {
		return out, err
	}
	plans, err := planCells(&opts)
	if err != nil {
		return out, err
	}
	dir, err := os.MkdirTemp(scratch, "penstock-verify-")
	if err != nil {
		return out, usage("scratch directory: %v", err)
	}
	defer os.RemoveAll(dir)
	for _, plan := range plans {
		report, err := verifyDirs(ctx, &opts, plan, filepath.Join(dir, fmt.Sprint(plan.id)), progress)
		out.merge(&report)
		if err != nil {
			return out, fmt.Errorf("cell %d: %w", plan.id, err)
		}
	}
	out.Took = time.Since(began)
	return out, nil
}

// verifyArenaLen is all that verification reads into: the ring pins the whole of its arena at the start, which takes seconds for what a node has.
const verifyArenaLen = 256 << 20

// verifyDirs verifies a cell on directories.
func verifyDirs(ctx context.Context, opts *Options, plan cellPlan, dir string, progress func(VerifyProgress)) (out VerifyReport, err error) {
	arena, err := ioring.NewArena(ioring.ArenaOptions{Size: min(opts.Memory/2, verifyArenaLen) &^ (2<<20 - 1), Node: plan.node.ID, NoPrefault: true})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, arena.Close()) }()
	ring, err := ioring.Open(ioring.Options{Arena: arena, CPUs: plan.node.CPUs, Force: ioring.Rung(opts.IO), Logger: opts.Logger})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	queue := drive.NewRingQueue(ring)
	var drives []drive.Drive
	defer func() {
		for _, d := range drives {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, path := range plan.paths {
		d, err := drive.OpenDir(path, drive.DirOptions{Queue: queue, Cluster: plan.cluster, Logger: opts.Logger})
		if refused, ok := errors.AsType[*drive.RefusedError](err); ok && refused.Reason == drive.Locked {
			return out, &UsageError{err}
		}
		if err != nil {
			out.add(0, Problem{problemMissing, plan.id, err.Error()})
			continue
		}
		drives = append(drives, d)
	}
	if len(drives) == 0 {
		return out, errors.New("none of its drives can be read")
	}
	o := offline{cell: plan.id, opts: opts, drives: drives, known: plan.roster.Known, cluster: plan.cluster, arena: arena, fs: vfs.Default, scratch: dir, progress: progress}
	report, err := o.verify(ctx)
	out.merge(&report)
	return out, err
}

// offline verifies a cell that nobody serves.
type offline struct {
	cell     int
	opts     *Options
	drives   []drive.Drive
	known    []drive.ID
	cluster  drive.ID
	arena    *ioring.Arena
	fs       vfs.FS // Of the scratch directory.
	scratch  string
	progress func(VerifyProgress)
}

// offlineLimit is how long a drive may take over one read: nobody waits.
const offlineLimit = 30 * time.Second

func (o *offline) verify(ctx context.Context) (out VerifyReport, err error) {
	set, err := volume.Look(ctx, volume.Options{
		Drives: o.drives, Known: o.known, Cluster: o.cluster, Cell: uint16(o.cell), Parity: o.opts.Parity, Timeout: offlineLimit, Logger: o.opts.Logger,
	})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	v := &verifier{cell: o.cell, set: set, limit: offlineLimit, workers: healSteps, rows: 16, progress: o.progress}
	v.drives()

	made, err := o.newIndex("made")
	if err != nil {
		return v.out, err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	there, err := o.copyIndex(ctx, v)
	if err != nil {
		return v.out, err
	}
	if there != nil {
		defer func() { err = errors.Join(err, there.Close()) }()
	}
	examined, err := o.replay(ctx, v, made, there)
	truth := made
	if ctx.Err() == nil && (errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrNoJournal) || errors.Is(err, journal.ErrSplit)) {
		v.add(problemLost, 1, "%v", err)
		if there == nil {
			return v.out, nil // Nothing says what else there should be.
		}
		truth, err = there, nil
	}
	if err != nil {
		return v.out, err
	}
	view := truth.View()
	defer view.Close()
	v.within = func(f func(*meta.View) error) error { return f(view) }
	if err := v.census(ctx); err != nil {
		return v.out, err
	}
	if there != nil && truth == made {
		if err := o.compare(ctx, v, made, there); err != nil {
			return v.out, err
		}
	}
	journals := make(map[meta.VolumeID]bool)
	for _, info := range examined.Volumes {
		journals[info.ID] = true
	}
	err = v.volumes(ctx, journals)
	return v.out, err
}

func (o *offline) newIndex(name string) (*meta.Index, error) {
	return meta.Open(meta.Options{
		FS: o.fs, Dir: o.fs.PathJoin(o.scratch, name), Create: true, Logger: o.opts.Logger, CacheBytes: o.opts.Memory / 8, MemTableBytes: 16 << 20,
	})
}

// replay verifies the journals, makes an index of what they hold, and brings the copy of the one that was there up to date with them.
func (o *offline) replay(ctx context.Context, v *verifier, made, there *meta.Index) (x journal.Examination, err error) {
	v.begin("journals")
	rebuild, err := made.BeginRebuild()
	if err != nil {
		return x, err
	}
	apply := func(batch *journal.Batch) error {
		records := make([]meta.Applied, len(batch.Records))
		n := int64(0)
		for i, r := range batch.Records {
			records[i] = meta.Applied{LSN: r.LSN, Loc: r.Loc, Payload: r.Payload}
			if r.Origin != r.LSN {
				records[i].Origin = r.Origin
			}
			n += int64(len(r.Payload))
			if err := rebuild.Load(records[i]); err != nil {
				return fmt.Errorf("record %d: %w", r.LSN, err)
			}
		}
		if there != nil && batch.Position.LSN > there.Position().LSN {
			if _, err := there.Apply(batch.Position, records); err != nil {
				return fmt.Errorf("the index does not take the batch that ends at LSN %d: %w", batch.Position.LSN, err)
			}
		}
		v.tell(n)
		return ctx.Err()
	}
	x, err = journal.Examine(ctx, journal.Options{
		Volumes: journalSource{v.set}, Arena: o.arena, Apply: apply, MaxShardLen: maxRecordLen, ReadTimeout: offlineLimit, Logger: o.opts.Logger,
	}, func(id meta.VolumeID, batch int64, _, wrong erasure.Set) {
		if wrong != 0 {
			v.add(problemCorrupt, int64(wrong.Count()), "journal volume %s, batch at %d: blocks of shards %v are not what was written",
				volume.Name(id), batch, slices.Collect(wrong.All()))
		}
	})
	if errors.Is(err, journal.ErrNoJournal) && len(v.set.Volumes()) == 0 && !o.everStarted() {
		err = nil // It was formatted and never started.
	}
	if err != nil {
		return x, err
	}
	v.out.Batches, v.out.Records, v.out.Blocks = x.Batches, x.Records, x.Blocks
	for _, damage := range x.Damage {
		v.add(problemLost, 1, "%v", damage)
	}
	report, err := rebuild.Finish(ctx, x.Position)
	if err != nil {
		return x, err
	}
	for _, loss := range report.Lost {
		v.add(problemLost, 0, "bucket %#x, key %q, part %d: blob %#x is in no journal", uint64(loss.Bucket), loss.Key, loss.Part, uint64(loss.Blob))
	}
	return x, nil
}

// everStarted reports whether any of the drives has taken part in a start.
func (o *offline) everStarted() bool {
	for _, d := range o.drives {
		if id, err := drive.ReadIdentity(d); err != nil || id.Epoch() > 0 {
			return true
		}
	}
	return false
}

// copyIndex copies the newest index on the drives to the scratch directory and opens it there. Without one, or with one that cannot be opened, the next start
// makes it anew: that is a problem, and there is nothing to compare with.
func (o *offline) copyIndex(ctx context.Context, v *verifier) (newest *meta.Index, err error) {
	v.begin("index")
	type place struct {
		fs  vfs.FS
		dir string
	}
	var places []place
	if dir := o.opts.IndexDir; dir != "" {
		places = append(places, place{vfs.Default, filepath.Join(dir, fmt.Sprintf("cell-%d", o.cell))})
	} else {
		for _, d := range o.drives {
			fs, root := d.FS()
			places = append(places, place{fs, fs.PathJoin(root, indexName)})
		}
	}
	for i, p := range places {
		names, err := p.fs.List(p.dir)
		if err != nil || len(names) == 0 {
			continue
		}
		to := o.fs.PathJoin(o.scratch, fmt.Sprintf("there-%d", i))
		if err := copyFiles(ctx, p.fs, p.dir, o.fs, to, names); err != nil {
			return newest, fmt.Errorf("copy of the index in %s: %w", p.dir, err)
		}
		x, err := meta.Open(meta.Options{FS: o.fs, Dir: to, Logger: o.opts.Logger, CacheBytes: o.opts.Memory / 8, MemTableBytes: 16 << 20})
		if err != nil {
			v.add(problemCorrupt, 1, "index in %s: %v; the next start makes it anew", p.dir, err)
			continue
		}
		if newest != nil && x.Position().LSN <= newest.Position().LSN {
			x, newest = newest, x
		}
		if newest != nil {
			v.add(problemOrphaned, 1, "there is more than one index; the older ones are removed at the next start")
			if err := newest.Close(); err != nil {
				return x, err
			}
		}
		newest = x
	}
	return newest, nil
}

// copyFiles copies files of one directory to another.
func copyFiles(ctx context.Context, from vfs.FS, dir string, to vfs.FS, into string, names []string) error {
	if err := to.MkdirAll(into, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		src, err := from.Open(from.PathJoin(dir, name))
		if err != nil {
			return err
		}
		dst, err := to.Create(to.PathJoin(into, name), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = io.Copy(dst, src)
			err = errors.Join(err, dst.Close())
		}
		if err := errors.Join(err, src.Close()); err != nil {
			return err
		}
	}
	return nil
}

// compare compares the index made of the journals with the one that was there, brought up to date. Blobs that nothing references are only in that,
// until the next start drops them.
func (o *offline) compare(ctx context.Context, v *verifier, made, there *meta.Index) error {
	lsn := there.Position().LSN
	for {
		ids, err := there.UnreferencedBlobs(0, sweepBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		v.add(problemOrphaned, int64(len(ids)), "%d blobs of uploads that did not end, the first %#x", len(ids), uint64(ids[0]))
		lsn++ // Of a record that no journal has.
		position := there.Position()
		position.LSN, position.Batch = lsn, position.Batch+1
		payload := (&meta.DropBlobs{IDs: ids}).AppendTo(nil)
		if _, err := there.Apply(position, []meta.Applied{{LSN: lsn, Loc: meta.RecordLoc{Volume: position.Volume}, Payload: payload}}); err != nil {
			return err
		}
	}
	a, err := made.Hash()
	if err != nil {
		return err
	}
	b, err := there.Hash()
	if err != nil {
		return err
	}
	if a == b {
		return nil
	}
	want, got := firstDifferentLine(made, there)
	v.add(problemCorrupt, 1, "the index differs from what the journals say, first here: it has %q, and should have %q; start with --rebuild-index", got, want)
	return ctx.Err()
}

// firstDifferentLine returns what two indexes say where they first differ; "" stands for the end.
func firstDifferentLine(a, b *meta.Index) (lineOfA, lineOfB string) {
	read := func(x *meta.Index) (*bufio.Reader, *io.PipeReader) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(x.Dump(w)) }() // Ends when r is closed.
		return bufio.NewReader(r), r
	}
	linesA, pipeA := read(a)
	defer pipeA.Close()
	linesB, pipeB := read(b)
	defer pipeB.Close()
	for {
		x, errX := linesA.ReadString('\n')
		y, errY := linesB.ReadString('\n')
		if x != y || errX != nil || errY != nil {
			return shorten(x), shorten(y)
		}
	}
}

// shorten cuts a line to what fits a message.
func shorten(s string) string {
	const most = 300
	if s = strings.TrimSuffix(s, "\n"); len(s) > most {
		return s[:most] + "…"
	}
	return s
}
