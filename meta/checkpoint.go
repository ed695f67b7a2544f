package meta

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// manifestName is the file that makes a directory a checkpoint. It is written last and lists the others, so
// that a copy which was cut short is told from a whole one. Opening a checkpoint as an index ends its being one.
const manifestName = "checkpoint.json"

// maxManifestLen bounds what is read as a manifest: a hundred bytes for each file, and the largest index has tens of thousands.
const maxManifestLen = 64 << 20

// CheckpointFile is a file of a checkpoint. The content of a file that ends in .sst never changes; within one
// Identity, a copy of the same name and size need not be copied again.
type CheckpointFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Checkpoint describes a copy of an index.
type Checkpoint struct {
	Identity Identity
	Position Position // At least this is in it.
	Files    []CheckpointFile
}

// checkpointJSON is the manifest's form.
type checkpointJSON struct {
	Format   int              `json:"format"`
	Identity string           `json:"identity"`
	Position Position         `json:"position"`
	Files    []CheckpointFile `json:"files"`
}

// Checkpoint flushes, then makes dir, which must not exist, a copy of the index: hard links to its tables and copies of
// the few small files. Files lists them all, the manifest last: copied in that order, elsewhere too.
func (x *Index) Checkpoint(ctx context.Context, dir string) (Checkpoint, error) {
	x.open.RLock()
	defer x.open.RUnlock()
	cp := Checkpoint{Identity: x.created, Position: x.Position()}
	if err := x.flushAll(ctx); err != nil {
		return Checkpoint{}, err
	}
	if err := x.db.Checkpoint(dir); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint in %s: %w", dir, readError(err))
	}
	if err := x.finishCheckpoint(dir, &cp); err != nil {
		_ = x.fs.RemoveAll(dir)
		return Checkpoint{}, fmt.Errorf("checkpoint in %s: %w", dir, err)
	}
	return cp, nil
}

func (x *Index) finishCheckpoint(dir string, cp *Checkpoint) error {
	names, err := x.fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := x.fs.Stat(x.fs.PathJoin(dir, name))
		if err != nil {
			return err
		}
		cp.Files = append(cp.Files, CheckpointFile{name, info.Size()})
	}
	encoded, err := json.Marshal(checkpointJSON{formatVersion, hex.EncodeToString(cp.Identity[:]), cp.Position, cp.Files})
	if err != nil {
		return err
	}
	f, err := x.fs.Create(x.fs.PathJoin(dir, manifestName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(encoded); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	cp.Files = append(cp.Files, CheckpointFile{manifestName, int64(len(encoded))})
	d, err := x.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReadCheckpoint tells what the checkpoint in dir is of and checks that its files are there at full length. An error wraps
// ErrUnusable if there is none that could be opened.
func ReadCheckpoint(fs FS, dir string) (Checkpoint, error) {
	if fs == nil {
		fs = vfs.Default
	}
	cp, err := readManifest(fs, dir)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint in %s: %w: %w", dir, ErrUnusable, err)
	}
	return cp, nil
}

func readManifest(fs FS, dir string) (Checkpoint, error) {
	f, err := fs.Open(fs.PathJoin(dir, manifestName))
	if err != nil {
		return Checkpoint{}, err
	}
	defer f.Close()
	encoded, err := io.ReadAll(io.LimitReader(f, maxManifestLen))
	if err != nil {
		return Checkpoint{}, err
	}
	var m checkpointJSON
	if err := json.Unmarshal(encoded, &m); err != nil {
		return Checkpoint{}, err
	}
	cp := Checkpoint{Position: m.Position, Files: m.Files}
	id, err := hex.DecodeString(m.Identity)
	if err != nil || len(id) != len(cp.Identity) || m.Format != formatVersion {
		return Checkpoint{}, fmt.Errorf("manifest of format %d, identity %q", m.Format, m.Identity)
	}
	copy(cp.Identity[:], id)
	for _, file := range m.Files {
		if strings.ContainsAny(file.Name, `/\`) {
			return Checkpoint{}, fmt.Errorf("file name %q", file.Name)
		}
		info, err := fs.Stat(fs.PathJoin(dir, file.Name))
		if err != nil {
			return Checkpoint{}, err
		}
		if info.Size() != file.Size {
			return Checkpoint{}, fmt.Errorf("%s has %d bytes of %d", file.Name, info.Size(), file.Size)
		}
	}
	cp.Files = append(cp.Files, CheckpointFile{manifestName, int64(len(encoded))})
	return cp, nil
}

// checkRestored reports whether the directory to be opened is a checkpoint that was copied into place; one copied in part is unusable.
func (x *Index) checkRestored() (bool, error) {
	if _, err := x.fs.Stat(x.fs.PathJoin(x.dir, manifestName)); oserror.IsNotExist(err) {
		return false, nil
	}
	_, err := ReadCheckpoint(x.fs, x.dir)
	return err == nil, err
}
