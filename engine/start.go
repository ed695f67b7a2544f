package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/erasure"
	"penstock/meta"
)

// driveTimeout is when a drive that has not answered is given up while a volume is made. It is longer than for a write, because
// taking space may wait for other work of the file system.
const driveTimeout = 10 * time.Second

func newCell(opts *Options, id int, cluster drive.ID) *cell {
	return &cell{
		id: id, cluster: cluster.String(), clusterID: cluster, opts: opts,
		log:         opts.Logger.With("cell", id),
		locks:       newKeyLocks(),
		uploads:     &uploadGates{gates: make(map[meta.UploadID]*uploadGate)},
		generations: newGenerations(),
		deaths:      make(chan struct{}, 1),
	}
}

// start brings the cell up on its open drives: volumes, then the best state of the index that there is, then the journal from there on.
func (c *cell) start(ctx context.Context, known []drive.ID, memory int64) error {
	var err error
	c.set, err = volume.Open(ctx, volume.Options{
		Drives: c.drives, Known: known, Cluster: c.clusterID, Cell: uint16(c.id), Parity: c.opts.Parity,
		JournalLen: c.opts.JournalSegment, BulkLen: c.opts.BulkSegment,
		Timeout: driveTimeout, Arena: c.arena, Logger: c.log,
	})
	if err != nil {
		return err
	}
	_, rest := splitMemory(memory)
	c.cache = newBlobCache(rest / 3)
	c.bulk = &bulkWriter{set: c.set, log: c.log}
	if err := c.placeIndex(); err != nil {
		return err
	}
	if err := c.recover(ctx, indexMemory(rest-rest/3)); err != nil {
		return err
	}
	for _, d := range c.drives {
		for _, saved := range c.listCheckpoints(d) {
			if c.oldestCheckpoint == 0 || saved.position.LSN < c.oldestCheckpoint {
				c.oldestCheckpoint = saved.position.LSN
			}
		}
	}
	return c.sweep(ctx)
}

// memories are the shares of the index.
type memories struct{ cache, memTable int64 }

// indexMemory: up to four memtables may be full at once, and they get half.
func indexMemory(n int64) memories {
	return memories{cache: n / 2, memTable: min(max(n/8, 1<<20), 64<<20)}
}

// placeIndex decides where the index lives: where Options say, else on the drive that has one, else on the first healthy drive.
func (c *cell) placeIndex() error {
	if dir := c.opts.IndexDir; dir != "" {
		c.indexFS, c.indexDir = vfs.Default, filepath.Join(dir, fmt.Sprintf("cell-%d", c.id))
		return c.indexFS.MkdirAll(dir, 0o700)
	}
	first := -1
	for i, d := range c.drives {
		if !c.set.Healthy(d.ID()) {
			continue
		}
		if first < 0 {
			first = i
		}
		fs, root := d.FS()
		if names, err := fs.List(fs.PathJoin(root, "index")); err == nil && len(names) > 0 {
			first = i
			break
		}
	}
	if first < 0 {
		return fmt.Errorf("cell %d: no healthy drive for the index", c.id)
	}
	c.indexDrive = c.drives[first]
	fs, root := c.indexDrive.FS()
	c.indexFS, c.indexDir = fs, fs.PathJoin(root, "index")
	return nil
}

func (c *cell) openIndex(mem memories, create bool) (*meta.Index, error) {
	return meta.Open(meta.Options{
		FS: c.indexFS, Dir: c.indexDir, Create: create,
		CacheBytes: mem.cache, MemTableBytes: mem.memTable, Logger: c.log,
	})
}

func (c *cell) journalOptions() journal.Options {
	return journal.Options{
		Volumes: c.journalSource(), Arena: c.arena, Apply: c.apply, Logger: c.log,
		MaxShardLen: maxRecordLen,
	}
}

// maxRecordLen is what one group of records may take. The largest record completes an upload of 10,000 parts, each with checksums.
const maxRecordLen = 2 << 20

// recover opens the newest usable state of the index and replays the journal from there. States that cannot be used are passed over:
// the index itself, then the checkpoints, then nothing at all, which means a rebuild from the journals alone.
func (c *cell) recover(ctx context.Context, mem memories) error {
	if c.opts.RebuildIndex {
		c.log.Info("the index is rebuilt from the journals, as asked")
		return c.rebuildIndex(ctx, mem)
	}
	tries := c.savedIndexes(mem)
	for _, saved := range tries {
		err := c.recoverFrom(ctx, saved, mem)
		if err == nil {
			return nil
		}
		c.dropIndex()
		if !errors.Is(err, journal.ErrGap) && !errors.Is(err, meta.ErrUnusable) && !errors.Is(err, meta.ErrCorrupt) && !errors.Is(err, meta.ErrFailed) {
			return err
		}
		c.log.Warn("a state of the index cannot be used; trying the next", "state", saved.where, "error", err)
	}
	return c.rebuildIndex(ctx, mem)
}

// savedIndexes returns the states to try, newest first.
func (c *cell) savedIndexes(mem memories) []savedIndex {
	var out []savedIndex
	if names, err := c.indexFS.List(c.indexDir); err == nil && len(names) > 0 {
		// Pebble has to be asked for its position.
		x, err := c.openIndex(mem, false)
		if err == nil {
			out = append(out, savedIndex{fs: c.indexFS, dir: c.indexDir, where: "index in " + c.indexDir, position: x.Position(), open: x})
		} else {
			c.log.Warn("the index cannot be opened", "dir", c.indexDir, "error", err)
		}
	}
	var checkpoints []savedIndex
	for _, d := range c.drives {
		checkpoints = append(checkpoints, c.listCheckpoints(d)...)
	}
	slices.SortStableFunc(checkpoints, newestFirst)
	return append(out, checkpoints...)
}

func (c *cell) recoverFrom(ctx context.Context, saved savedIndex, mem memories) (err error) {
	if c.index = saved.open; c.index == nil {
		if err := c.restore(saved); err != nil {
			return err
		}
		c.log.Info("the index was restored", "from", saved.where)
		if c.index, err = c.openIndex(mem, false); err != nil {
			return err
		}
	}
	position := c.index.Position()
	if position == (meta.Position{}) {
		return fmt.Errorf("%w: it has never been written", meta.ErrUnusable)
	}
	var recovery journal.Recovery
	c.journal, recovery, err = journal.Recover(ctx, c.journalOptions(), position)
	if err != nil {
		return err
	}
	c.log.Info("recovered", "from", saved.where, "batches", recovery.Batches, "records", recovery.Records, "repaired", recovery.Repaired)
	return nil
}

// dropIndex closes what recoverFrom left open.
func (c *cell) dropIndex() {
	if c.index != nil {
		c.index.Close()
		c.index = nil
	}
}

// rebuildIndex makes the index anew from every journal, or, in a new store, makes the first journal.
func (c *cell) rebuildIndex(ctx context.Context, mem memories) (err error) {
	if err := c.indexFS.RemoveAll(c.indexDir); err != nil {
		return err
	}
	if c.index, err = c.openIndex(mem, true); err != nil {
		return err
	}
	rebuild, err := c.index.BeginRebuild()
	if err != nil {
		return err
	}
	c.rebuild = rebuild
	var recovery journal.Recovery
	c.journal, recovery, err = journal.Recover(ctx, c.journalOptions(), meta.Position{})
	c.rebuild = nil
	if errors.Is(err, journal.ErrNoJournal) {
		return c.firstStart(ctx, mem)
	}
	if err != nil {
		return err
	}
	report, err := rebuild.Finish(ctx, c.journal.Position())
	if err != nil {
		return err
	}
	for _, loss := range report.Lost {
		c.log.Error("bytes are gone from every journal", "bucket", loss.Bucket, "key", loss.Key, "part", loss.Part, "blob", fmt.Sprintf("%x", loss.Blob))
	}
	c.log.Info("the index was rebuilt from the journals", "batches", recovery.Batches, "records", recovery.Records,
		"objects", report.Objects, "uploads", report.Uploads, "lost", report.LostCount)
	return c.index.Flush(ctx)
}

// firstStart begins the journal of a store that has none.
func (c *cell) firstStart(ctx context.Context, mem memories) (err error) {
	c.dropIndex()
	if err := c.indexFS.RemoveAll(c.indexDir); err != nil {
		return err
	}
	if c.index, err = c.openIndex(mem, true); err != nil {
		return err
	}
	c.journal, err = journal.Format(ctx, c.journalOptions())
	return err
}

// sweep drops what a crash left behind: blobs of uploads that never ended, and the room behind the last stripe of bulk volumes that
// were open.
func (c *cell) sweep(ctx context.Context) error {
	for {
		ids, err := c.index.UnreferencedBlobs(0, sweepBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		if err := c.commit(ctx, &meta.DropBlobs{IDs: ids}); err != nil {
			return err
		}
	}
	for _, vol := range c.set.Volumes() {
		if vol.Class() != volume.Bulk {
			continue
		}
		end, err := c.bulkEnd(vol)
		if err != nil {
			return err
		}
		if end == 0 {
			continue // Nothing live: it will be freed whole.
		}
		if err := vol.Trim(end); err != nil {
			c.log.Warn("unused room of a volume cannot be given back", "volume", fmt.Sprintf("%x", vol.ID()), "error", err)
		}
	}
	return nil
}

// bulkEnd returns the offset behind the last live stripe of a bulk volume, or 0 if there is none.
func (c *cell) bulkEnd(vol *volume.Volume) (end int64, err error) {
	off, id, found, err := c.index.LastExtent(vol.ID())
	if err != nil || !found {
		return 0, err
	}
	blob, found, err := c.index.GetBlob(id)
	if err != nil {
		return 0, err
	}
	for _, ext := range blob.Extents {
		if found && ext.Volume == vol.ID() && ext.Off == off {
			layout := erasure.Layout{K: vol.K(), M: vol.M(), Length: ext.Len}
			if err := layout.Check(); err != nil {
				return 0, err
			}
			return off + layout.ColumnLen(), nil
		}
	}
	return 0, fmt.Errorf("volume %x, offset %d: blob %x has no extent there: %w", vol.ID(), off, id, meta.ErrCorrupt)
}

// sweepBatch is how many blobs one record drops.
const sweepBatch = 1000

func newestFirst(a, b savedIndex) int {
	switch {
	case a.position.LSN > b.position.LSN:
		return -1
	case a.position.LSN < b.position.LSN:
		return 1
	}
	return strings.Compare(a.where, b.where)
}
