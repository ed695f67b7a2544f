package engine

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/erasure"
	"penstock/meta"
)

// A checkpoint is a copy of the index on another drive: a directory checkpoint/<lsn in hex> with the index's files and origin.json, which
// is written last. A directory without it, or whose files do not match it, is no checkpoint.
//
//	{
//	  "format": 1,
//	  "cluster": "…", "cell": 0,       whose index it is
//	  "identity": "…",                 of the index it is a copy of: within one, a table's name says what is in it
//	  "position": {…},                 the prefix of the journal that it reflects
//	  "files": [{"name": "000123.sst", "size": 4096, "crc64nvme": "…"}]
//	}
type checkpointManifest struct {
	Format   int              `json:"format"`
	Cluster  string           `json:"cluster"`
	Cell     int              `json:"cell"`
	Identity string           `json:"identity"`
	Position meta.Position    `json:"position"`
	Files    []checkpointFile `json:"files"`
}

type checkpointFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Sum  string `json:"crc64nvme"`
}

const (
	checkpointDir    = "checkpoint"
	checkpointName   = "origin.json"
	checkpointFormat = 1
	partialSuffix    = ".partial"
)

// errSource marks a checkpoint that cannot be read.
var errSource = fmt.Errorf("the checkpoint cannot be read: %w", meta.ErrUnusable)

// listCheckpoints returns the checkpoints on a drive that belong to this cell, newest first. What is half-written is left out.
func (c *cell) listCheckpoints(d drive.Drive) []savedIndex {
	fs, top := checkpointTop(d)
	names, err := fs.List(top)
	if err != nil {
		return nil // None yet.
	}
	var out []savedIndex
	for _, name := range names {
		if strings.HasSuffix(name, partialSuffix) {
			continue
		}
		dir := fs.PathJoin(top, name)
		m, err := readManifest(fs, fs.PathJoin(dir, checkpointName))
		if err != nil {
			c.log.Warn("a checkpoint of the index is damaged and left aside", "drive", d.Path(), "checkpoint", name, "error", err)
			continue
		}
		if m.Cluster != c.cluster || m.Cell != c.id {
			continue
		}
		saved := savedIndex{fs: fs, dir: dir, where: "checkpoint " + name + " on " + d.Path(), position: m.Position, files: m.Files}
		if n, err := hex.Decode(saved.identity[:], []byte(m.Identity)); err != nil || n != len(saved.identity) {
			c.log.Warn("a checkpoint of the index is damaged and left aside", "drive", d.Path(), "checkpoint", name, "error", "identity")
			continue
		}
		out = append(out, saved)
	}
	slices.SortFunc(out, newestFirst)
	return out
}

func readManifest(fs vfs.FS, path string) (checkpointManifest, error) {
	var m checkpointManifest
	f, err := fs.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, err
	}
	if m.Format != checkpointFormat {
		return m, fmt.Errorf("format %d, this program knows %d", m.Format, checkpointFormat)
	}
	return m, nil
}

func checkpointTop(d drive.Drive) (fs vfs.FS, dir string) {
	fs, root := d.FS()
	return fs, fs.PathJoin(root, checkpointDir)
}

// checkpointLSN parses the name of a checkpoint.
func checkpointLSN(name string) (meta.LSN, bool) {
	n, err := strconv.ParseUint(name, 16, 64)
	return meta.LSN(n), err == nil && name == checkpointNameOf(meta.LSN(n))
}

func checkpointNameOf(lsn meta.LSN) string { return fmt.Sprintf("%016x", uint64(lsn)) }

// oldestCheckpoint returns the LSN that every checkpoint on a healthy drive has at least; 0 when there is none.
func (c *cell) oldestCheckpoint() meta.LSN {
	oldest := meta.LSN(0)
	answers, _ := askDrives(c.healthyDrives(), c.limits.stall, func(d drive.Drive) []string {
		fs, top := checkpointTop(d)
		names, _ := fs.List(top) // There may be none.
		return names
	})
	for _, a := range answers {
		for _, name := range a.value {
			if lsn, ok := checkpointLSN(name); ok && (oldest == 0 || lsn < oldest) {
				oldest = lsn
			}
		}
	}
	return oldest
}

// checkpoint copies the index, as it is now, to m other drives, as many as may be lost beside the index's own, and removes their older
// checkpoints. copies is how many have it now.
func (b *base) checkpoint(ctx context.Context) (copies int, err error) {
	c := b.c
	_, wanted := c.set.Geometry()
	if wanted == 0 {
		return 0, nil
	}
	b.copying.Lock()
	defer b.copying.Unlock()
	aside := b.place.dir + checkpointsSuffix
	if err := b.place.fs.RemoveAll(aside); err != nil {
		return 0, err
	}
	defer b.place.fs.RemoveAll(aside)
	made, err := b.index.Checkpoint(ctx, aside)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, d := range c.presentDrives() {
		if copies == wanted {
			break
		}
		if d.ID() == b.place.id() || c.set.Draining(d.ID()) {
			continue
		}
		if err := b.copyWatched(ctx, aside, made, d); err != nil {
			errs = append(errs, fmt.Errorf("to %s: %w", d.Path(), err))
			continue
		}
		copies++
	}
	c.stats.checkpoints.Add(int64(copies))
	if copies > 0 {
		// Only now the older ones: there is always a complete one.
		c.removeCheckpoints(made.Position.LSN)
	}
	return copies, errors.Join(errs...)
}

// copyWatched copies a checkpoint to a drive and gives the drive up if that makes no progress.
func (b *base) copyWatched(ctx context.Context, dir string, made meta.Checkpoint, d drive.Drive) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var progress atomic.Int64
	done := make(chan error, 1) // Room for one who is late.
	go func() { done <- b.copyCheckpoint(ctx, dir, made, d, &progress) }()
	ticker := time.NewTicker(b.c.limits.stall)
	defer ticker.Stop()
	for last := int64(-1); ; {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
		}
		now := progress.Load()
		if now == last {
			err := fmt.Errorf("a checkpoint makes no progress in %v", b.c.limits.stall)
			b.c.set.FailDrive(d.ID(), err)
			return err
		}
		last = now
	}
}

// copyCheckpoint copies the index in dir to a drive. Tables that an older checkpoint there has already are linked. It counts its
// progress.
func (b *base) copyCheckpoint(ctx context.Context, dir string, made meta.Checkpoint, d drive.Drive, progress *atomic.Int64) (err error) {
	c := b.c
	fs, top := checkpointTop(d)
	name := checkpointNameOf(made.Position.LSN)
	final, partial := fs.PathJoin(top, name), fs.PathJoin(top, name+partialSuffix)
	older := map[string]savedFile{}
	for _, saved := range c.listCheckpoints(d) {
		if saved.identity != made.Identity {
			continue // Names mean other content there.
		}
		if saved.position == made.Position {
			return nil // It is there already.
		}
		for _, f := range saved.files {
			if strings.HasSuffix(f.Name, ".sst") {
				older[f.Name] = savedFile{fs.PathJoin(saved.dir, f.Name), f}
			}
		}
	}
	if err := fs.RemoveAll(partial); err != nil {
		return err
	}
	if err := fs.MkdirAll(partial, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fs.RemoveAll(partial)
		}
	}()
	m := checkpointManifest{Format: checkpointFormat, Cluster: c.cluster, Cell: c.id, Identity: fmt.Sprintf("%x", made.Identity), Position: made.Position}
	for _, f := range made.Files {
		progress.Add(1)
		source, target := b.place.fs.PathJoin(dir, f.Name), fs.PathJoin(partial, f.Name)
		if old, ok := older[f.Name]; ok && old.Size == f.Size && fs.Link(old.path, target) == nil {
			m.Files = append(m.Files, old.checkpointFile)
			continue
		}
		file, err := copyFile(ctx, b.place.fs, source, fs, target, progress)
		if err != nil {
			return err
		}
		file.Name = f.Name
		m.Files = append(m.Files, file)
	}
	encoded, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(fs, fs.PathJoin(partial, checkpointName), encoded); err != nil {
		return err
	}
	if err := syncDir(fs, partial); err != nil {
		return err
	}
	if err := fs.RemoveAll(final); err != nil { // Of another identity, or damaged.
		return err
	}
	if err := fs.Rename(partial, final); err != nil {
		return err
	}
	if err := syncDir(fs, top); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(top)) // It may have been made just now.
}

type savedFile struct {
	path string
	checkpointFile
}

// removeCheckpoints removes the checkpoints before lsn from all healthy drives, and what was left half-written.
func (c *cell) removeCheckpoints(before meta.LSN) {
	askDrives(c.healthyDrives(), c.limits.stall, func(d drive.Drive) struct{} {
		fs, top := checkpointTop(d)
		names, _ := fs.List(top) // There may be none.
		for _, name := range names {
			if lsn, ok := checkpointLSN(name); ok && lsn >= before {
				continue
			}
			if err := fs.RemoveAll(fs.PathJoin(top, name)); err != nil {
				c.log.Warn("an old checkpoint cannot be removed", "drive", d.Path(), "checkpoint", name, "error", err)
			}
		}
		return struct{}{}
	})
}

// restore copies a checkpoint to where the index is to be, verifying every file.
func restore(saved savedIndex, place indexPlace) error {
	if err := place.fs.RemoveAll(place.dir); err != nil {
		return errors.Join(errPlace, err)
	}
	if err := place.fs.MkdirAll(place.dir, 0o700); err != nil {
		return errors.Join(errPlace, err)
	}
	var progress atomic.Int64
	for _, f := range saved.files {
		if strings.ContainsAny(f.Name, `/\`) {
			return fmt.Errorf("%w: file %q", errSource, f.Name)
		}
		got, err := copyFile(context.Background(), saved.fs, saved.fs.PathJoin(saved.dir, f.Name), place.fs, place.fs.PathJoin(place.dir, f.Name), &progress)
		if err != nil {
			if !errors.Is(err, errSource) {
				err = errors.Join(errPlace, err)
			}
			return err
		}
		if got.Size != f.Size || got.Sum != f.Sum {
			return fmt.Errorf("%w: %s does not match its checksum", errSource, f.Name)
		}
	}
	if err := syncDir(place.fs, place.dir); err != nil {
		return errors.Join(errPlace, err)
	}
	return nil
}

// copyFile copies a file durably and returns its size and checksum. Failures to read it are errSource.
func copyFile(ctx context.Context, from vfs.FS, source string, to vfs.FS, target string, progress *atomic.Int64) (file checkpointFile, err error) {
	in, err := from.Open(source)
	if err != nil {
		return file, errors.Join(errSource, err)
	}
	defer in.Close()
	out, err := to.Create(target, vfs.WriteCategoryUnspecified)
	if err != nil {
		return file, err
	}
	var sum uint64
	buf := make([]byte, 1<<20)
	for {
		n, rerr := in.Read(buf)
		if rerr != nil && rerr != io.EOF {
			return file, errors.Join(errSource, rerr, out.Close())
		}
		sum = erasure.Update(sum, buf[:n])
		file.Size += int64(n)
		if _, err := out.Write(buf[:n]); err != nil {
			return file, errors.Join(err, out.Close())
		}
		if rerr == io.EOF {
			break
		}
		progress.Add(1)
		if err := ctx.Err(); err != nil {
			return file, errors.Join(err, out.Close())
		}
	}
	if err := out.Sync(); err != nil {
		return file, errors.Join(err, out.Close())
	}
	file.Sum = fmt.Sprintf("%016x", sum)
	return file, out.Close()
}

func writeFile(fs vfs.FS, path string, b []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
