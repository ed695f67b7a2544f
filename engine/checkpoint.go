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

// savedIndex is a state of the index that a start may begin from.
type savedIndex struct {
	fs       vfs.FS
	dir      string
	where    string // For messages.
	identity meta.Identity
	position meta.Position
	files    []checkpointFile
	open     *meta.Index // Set for the index itself, which had to be opened to be asked.
}

// listCheckpoints returns the checkpoints on a drive that belong to this cell, newest first. What is half-written is left out.
func (c *cell) listCheckpoints(d drive.Drive) []savedIndex {
	fs, root := d.FS()
	top := fs.PathJoin(root, checkpointDir)
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

// checkpoint copies the index, as it is now, to m other drives, and removes their older checkpoints. It returns the LSN that every
// checkpoint left behind has at least.
func (c *cell) checkpoint(ctx context.Context) (meta.LSN, error) {
	tmp := c.indexFS.PathJoin(c.indexFS.PathDir(c.indexDir), "index.checkpoint")
	if err := c.indexFS.RemoveAll(tmp); err != nil {
		return 0, err
	}
	defer c.indexFS.RemoveAll(tmp)
	made, err := c.index.Checkpoint(ctx, tmp)
	if err != nil {
		return 0, err
	}
	copies, tried := 0, 0
	var errs []error
	for _, d := range c.checkpointDrives() {
		if copies == c.checkpointCopies() {
			break
		}
		tried++
		if err := c.copyCheckpoint(ctx, tmp, made, d); err != nil {
			errs = append(errs, fmt.Errorf("to %s: %w", d.Path(), err))
			continue
		}
		copies++
	}
	c.stats.checkpoints.Add(int64(copies))
	// Only now the older ones: there is always a complete one.
	for _, d := range c.drives {
		c.removeCheckpoints(d, made.Position.LSN)
	}
	return made.Position.LSN, errors.Join(errs...)
}

// checkpointCopies is the number of drives that keep a checkpoint: as many as may be lost beside the index's own.
func (c *cell) checkpointCopies() int {
	_, m := c.set.Geometry()
	return m
}

// checkpointDrives lists healthy drives other than the index's own, in an order that stays the same, so that unchanged files
// need not be copied again.
func (c *cell) checkpointDrives() []drive.Drive {
	var out []drive.Drive
	for _, d := range c.drives {
		if !c.set.Healthy(d.ID()) || c.indexDrive != nil && d.ID() == c.indexDrive.ID() {
			continue
		}
		out = append(out, d)
	}
	return out
}

// copyCheckpoint copies the index in dir to a drive. Tables that an older checkpoint there has already are linked.
func (c *cell) copyCheckpoint(ctx context.Context, dir string, made meta.Checkpoint, d drive.Drive) (err error) {
	fs, root := d.FS()
	top := fs.PathJoin(root, checkpointDir)
	name := fmt.Sprintf("%016x", uint64(made.Position.LSN))
	final, partial := fs.PathJoin(top, name), fs.PathJoin(top, name+partialSuffix)
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
	older := map[string]savedFile{}
	for _, saved := range c.listCheckpoints(d) {
		if saved.identity != made.Identity {
			continue // Names mean other content there.
		}
		for _, f := range saved.files {
			if strings.HasSuffix(f.Name, ".sst") {
				older[f.Name] = savedFile{fs.PathJoin(saved.dir, f.Name), f}
			}
		}
	}
	m := checkpointManifest{Format: checkpointFormat, Cluster: c.cluster, Cell: c.id, Identity: fmt.Sprintf("%x", made.Identity), Position: made.Position}
	for _, f := range made.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := f.Name
		source, target := c.indexFS.PathJoin(dir, name), fs.PathJoin(partial, name)
		if old, ok := older[name]; ok && old.Size == f.Size {
			if fs.Link(old.path, target) == nil {
				m.Files = append(m.Files, old.checkpointFile)
				continue
			}
		}
		file, err := copyFile(c.indexFS, source, fs, target)
		if err != nil {
			return err
		}
		file.Name = name
		m.Files = append(m.Files, file)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(fs, fs.PathJoin(partial, checkpointName), b); err != nil {
		return err
	}
	if err := syncDir(fs, partial); err != nil {
		return err
	}
	if err := fs.RemoveAll(final); err != nil {
		return err
	}
	if err := fs.Rename(partial, final); err != nil {
		return err
	}
	return syncDir(fs, top)
}

type savedFile struct {
	path string
	checkpointFile
}

// removeCheckpoints removes the drive's checkpoints before lsn, and what was left half-written.
func (c *cell) removeCheckpoints(d drive.Drive, before meta.LSN) {
	fs, root := d.FS()
	top := fs.PathJoin(root, checkpointDir)
	names, err := fs.List(top)
	if err != nil {
		return
	}
	for _, name := range names {
		lsn, err := strconv.ParseUint(name, 16, 64)
		if err == nil && meta.LSN(lsn) >= before {
			continue
		}
		if err := fs.RemoveAll(fs.PathJoin(top, name)); err != nil {
			c.log.Warn("an old checkpoint cannot be removed", "drive", d.Path(), "checkpoint", name, "error", err)
		}
	}
}

// restore copies a checkpoint to the index directory, verifying every file.
func (c *cell) restore(saved savedIndex) error {
	if err := c.indexFS.RemoveAll(c.indexDir); err != nil {
		return err
	}
	if err := c.indexFS.MkdirAll(c.indexDir, 0o700); err != nil {
		return err
	}
	for _, f := range saved.files {
		got, err := copyFile(saved.fs, saved.fs.PathJoin(saved.dir, f.Name), c.indexFS, c.indexFS.PathJoin(c.indexDir, f.Name))
		if err != nil {
			return err
		}
		if got.Size != f.Size || got.Sum != f.Sum {
			return fmt.Errorf("%s: %s does not match its checksum: %w", saved.where, f.Name, meta.ErrUnusable)
		}
	}
	return syncDir(c.indexFS, c.indexDir)
}

// copyFile copies a file durably and returns its size and checksum.
func copyFile(from vfs.FS, source string, to vfs.FS, target string) (checkpointFile, error) {
	in, err := from.Open(source)
	if err != nil {
		return checkpointFile{}, err
	}
	defer in.Close()
	out, err := to.Create(target, vfs.WriteCategoryUnspecified)
	if err != nil {
		return checkpointFile{}, err
	}
	var file checkpointFile
	var sum uint64
	buf := make([]byte, 1<<20)
	for {
		n, err := in.Read(buf)
		sum = erasure.Update(sum, buf[:n])
		file.Size += int64(n)
		if _, err := out.Write(buf[:n]); err != nil {
			out.Close()
			return checkpointFile{}, err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			out.Close()
			return checkpointFile{}, err
		}
	}
	if err := out.Sync(); err != nil {
		out.Close()
		return checkpointFile{}, err
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
