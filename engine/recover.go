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
	"penstock/meta"
)

// indexName is the directory of the index on its drive. Beside it, while they are made, lie:
const (
	indexName         = "index"
	rebuildSuffix     = ".rebuild"    // An index made anew.
	checkpointsSuffix = ".checkpoint" // A checkpoint before it is copied to other drives.
)

// maxRecordLen is what one group of records may take. The largest record completes an upload of 10,000 parts, each with checksums.
const maxRecordLen = 2 << 20

// errPlace marks the failure of the file system on which an index lies or was to be put.
var errPlace = errors.New("the index cannot be kept there")

// savedIndex is a state of the index that a start may begin from: an index, which had to be opened to be asked, or a checkpoint.
type savedIndex struct {
	fs       vfs.FS
	dir      string
	where    string // For messages.
	position meta.Position

	index *meta.Index // Of an index.
	place indexPlace

	identity meta.Identity // Of a checkpoint.
	files    []checkpointFile
}

func newestFirst(a, b savedIndex) int {
	switch {
	case a.position.LSN > b.position.LSN:
		return -1
	case a.position.LSN < b.position.LSN:
		return 1
	}
	return strings.Compare(a.where, b.where)
}

// indexPlaceOn returns where on a drive the index may lie.
func indexPlaceOn(d drive.Drive) indexPlace {
	fs, root := d.FS()
	return indexPlace{fs: fs, dir: fs.PathJoin(root, indexName), drive: d}
}

// indexPlaces returns where the index may lie, best first: where Options say, else on any healthy drive, though not where one has failed before.
func (c *cell) indexPlaces() ([]indexPlace, error) {
	if dir := c.opts.IndexDir; dir != "" {
		if err := vfs.Default.MkdirAll(dir, 0o700); err != nil {
			return nil, &UsageError{fmt.Errorf("index directory: %w", err)}
		}
		return []indexPlace{{fs: vfs.Default, dir: filepath.Join(dir, fmt.Sprintf("cell-%d", c.id))}}, nil
	}
	var places, shunned, leaving []indexPlace
	for _, d := range c.presentDrives() {
		place := indexPlaceOn(d)
		if c.set.Draining(d.ID()) {
			leaving = append(leaving, place) // An index that is there is moved once the cell serves.
		} else if c.shunned[d.ID()] {
			shunned = append(shunned, place)
		} else {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		places = shunned
	}
	if len(places) == 0 || !c.moving.Load() {
		places = append(places, leaving...)
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("cell %d: no healthy drive for the index", c.id)
	}
	return places, nil
}

func (c *cell) openIndex(fs meta.FS, dir string, create bool) (*meta.Index, error) {
	return meta.Open(meta.Options{
		FS: fs, Dir: dir, Create: create, CacheBytes: c.memory.cache, MemTableBytes: c.memory.memTable, Logger: c.log,
	})
}

func (b *base) journalOptions() journal.Options {
	c := b.c
	return journal.Options{
		Volumes: c.journalSource(), Arena: c.arena, Apply: b.apply, Needed: b.needed, Logger: c.log,
		Hedger: c.hedger, MaxShardLen: c.maxRecordLen, WriteTimeout: c.limits.write, ReadTimeout: c.limits.read,
	}
}

// recover opens the newest usable state of the index and replays the journal from there. States that cannot be used are passed over:
// the newest index, then the checkpoints, then nothing at all, which means a rebuild from the journals alone. An index in the directory
// spoilt is none of them.
func (c *cell) recover(ctx context.Context, rebuild bool, spoilt string) (*base, error) {
	places, err := c.indexPlaces()
	if err != nil {
		return nil, err
	}
	if rebuild {
		c.log.Info("the index is rebuilt from the journals, as asked")
		return c.rebuildIndex(ctx, places)
	}
	tries := c.savedIndexes(places, spoilt)
	for i, saved := range tries {
		b, err := c.recoverFrom(ctx, saved, places)
		if err == nil {
			c.removeIndexes(places, b.place)
			return b, nil
		}
		if !isIndexTrouble(err) {
			for _, other := range tries[i+1:] {
				other.close()
			}
			return nil, err
		}
		c.log.Warn("a state of the index cannot be used; trying the next", "state", saved.where, "error", err)
	}
	b, err := c.rebuildIndex(ctx, places)
	if err == nil {
		c.removeIndexes(places, b.place)
	}
	return b, err
}

// isIndexTrouble tells a state of the index that cannot be used from a journal that cannot be read.
func isIndexTrouble(err error) bool {
	for _, trouble := range []error{
		journal.ErrGap, meta.ErrUnusable, meta.ErrCorrupt, meta.ErrFailed, meta.ErrDangling, meta.ErrInconsistent, errPlace,
	} {
		if errors.Is(err, trouble) {
			return true
		}
	}
	return false
}

// savedIndexes returns the states to try, newest first. Usually there is one index; a drive that comes back may have an old one.
func (c *cell) savedIndexes(places []indexPlace, spoilt string) []savedIndex {
	var newest *savedIndex
	for _, place := range places {
		if place.dir == spoilt {
			continue
		}
		x, err := c.openPlace(place, func() (*meta.Index, error) {
			if names, err := place.fs.List(place.dir); err != nil || len(names) == 0 {
				return nil, nil // There is none.
			}
			return c.openIndex(place.fs, place.dir, false)
		})
		if err != nil {
			c.log.Warn("the index cannot be opened", "dir", place.dir, "error", err)
		}
		if x == nil {
			continue
		}
		saved := &savedIndex{where: "index in " + place.dir, position: x.Position(), index: x, place: place}
		if newest == nil || saved.position.LSN > newest.position.LSN {
			newest, saved = saved, newest
		}
		saved.close()
	}
	var out []savedIndex
	answers, _ := askDrives(c.healthyDrives(), c.limits.stall, c.listCheckpoints)
	for _, a := range answers {
		out = append(out, a.value...)
	}
	slices.SortFunc(out, newestFirst)
	if newest != nil {
		out = slices.Insert(out, 0, *newest)
	}
	return out
}

// close closes the index of a state that is not used.
func (s *savedIndex) close() {
	if s != nil && s.index != nil {
		s.index.Close() // It was only read.
	}
}

func (c *cell) healthyDrives() []drive.Drive {
	return slices.DeleteFunc(slices.Clone(c.drives.all()), func(d drive.Drive) bool { return !c.set.Healthy(d.ID()) })
}

// recoverFrom makes a base of a saved state.
func (c *cell) recoverFrom(ctx context.Context, saved savedIndex, places []indexPlace) (*base, error) {
	b := c.newBase(saved.place, saved.index)
	if saved.index == nil {
		var err error
		if b.place, b.index, err = c.restoreAnywhere(saved, places); err != nil {
			return nil, err
		}
		c.log.Info("the index was restored", "from", saved.where)
	}
	did, err := b.replay(ctx)
	if err != nil {
		return nil, errors.Join(err, b.index.Err(), b.index.Close())
	}
	c.log.Info("recovered", "from", saved.where, "batches", did.Batches, "records", did.Records, "repaired", did.Repaired)
	return b, nil
}

// replay opens the journal behind the index.
func (b *base) replay(ctx context.Context) (did journal.Recovery, err error) {
	position := b.index.Position()
	if position == (meta.Position{}) {
		return did, fmt.Errorf("%w: it has never been written", meta.ErrUnusable)
	}
	b.journal, did, err = journal.Recover(ctx, b.journalOptions(), position)
	b.c.noteTail(did.Tail)
	return did, err
}

// restoreAnywhere copies a checkpoint to the first place that takes it and opens it there.
func (c *cell) restoreAnywhere(saved savedIndex, places []indexPlace) (place indexPlace, x *meta.Index, err error) {
	for _, place = range places {
		x, err = c.openPlace(place, func() (*meta.Index, error) {
			if err := restore(saved, place); err != nil {
				return nil, err
			}
			return c.openIndex(place.fs, place.dir, false)
		})
		if err == nil {
			return place, x, nil
		}
		if !errors.Is(err, errPlace) {
			break
		}
		c.log.Warn("the index cannot be put there", "dir", place.dir, "error", err)
	}
	return place, nil, err
}

// removeIndexes removes the indexes that an earlier life of the cell has left elsewhere: they would never be the newest again.
func (c *cell) removeIndexes(places []indexPlace, but indexPlace) {
	for _, place := range places {
		if place.dir == but.dir && place.drive == but.drive {
			continue
		}
		if _, err := c.openPlace(place, func() (*meta.Index, error) {
			if names, err := place.fs.List(place.dir); err != nil || len(names) == 0 {
				return nil, nil
			}
			return nil, place.fs.RemoveAll(place.dir)
		}); err != nil {
			c.log.Warn("an old index cannot be removed", "dir", place.dir, "error", err)
		}
	}
}

// openPlace does something at a place, which may hang with its drive. Then it is left behind, and so is an index that it opens late; the
// place is not tried again, so that it is waited for once.
func (c *cell) openPlace(place indexPlace, open func() (*meta.Index, error)) (*meta.Index, error) {
	if c.hung[place.id()] {
		return nil, fmt.Errorf("%w: %w", errPlace, errHangs)
	}
	type opened struct {
		x   *meta.Index
		err error
	}
	back := make(chan opened)
	late := make(chan struct{})
	go func() {
		var o opened
		o.x, o.err = open()
		select {
		case back <- o:
		case <-late:
			if o.x != nil {
				o.x.Close() // Nobody has used it.
			}
		}
	}()
	timer := time.NewTimer(c.limits.stall)
	defer timer.Stop()
	select {
	case o := <-back:
		return o.x, o.err
	case <-timer.C:
		close(late)
		c.hung[place.id()] = true
		return nil, fmt.Errorf("%w: %w", errPlace, errHangs)
	}
}

var errHangs = errors.New("its file system does not answer")

// rebuildIndex makes the index anew from every journal, or, in a new store, makes the first journal.
func (c *cell) rebuildIndex(ctx context.Context, places []indexPlace) (b *base, err error) {
	for _, place := range places {
		b = c.newBase(place, nil)
		err = b.remake(ctx)
		if err == nil || !errors.Is(err, errPlace) && !errors.Is(err, meta.ErrFailed) {
			break
		}
		c.log.Warn("the index cannot be made there", "dir", place.dir, "error", err)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// remake makes a new index, and the journal that feeds it, from what the journals hold. An index that is there is replaced
// only when the new one is whole.
func (b *base) remake(ctx context.Context) (err error) {
	c, fs := b.c, b.place.fs
	aside := b.place.dir + rebuildSuffix
	b.index, err = c.openPlace(b.place, func() (*meta.Index, error) {
		if err := fs.RemoveAll(aside); err != nil {
			return nil, err
		}
		return c.openIndex(fs, aside, true)
	})
	if err != nil {
		return errors.Join(errPlace, err)
	}
	defer func() {
		if err != nil {
			if b.journal != nil {
				b.journal.Close(ctx)
			}
			if b.index != nil {
				b.index.Close()
			}
			if !c.hung[b.place.id()] {
				fs.RemoveAll(aside) // The next attempt begins with this, too.
			}
		}
	}()
	if err := b.fill(ctx); err != nil {
		return err
	}
	// Nothing is applied before somebody appends.
	whole := b.index
	b.index, err = c.openPlace(b.place, func() (*meta.Index, error) {
		if err := whole.Close(); err != nil {
			return nil, err
		}
		if err := fs.RemoveAll(b.place.dir); err != nil {
			return nil, err
		}
		if err := fs.Rename(aside, b.place.dir); err != nil {
			return nil, err
		}
		if err := syncDir(fs, fs.PathDir(b.place.dir)); err != nil {
			return nil, err
		}
		return c.openIndex(fs, b.place.dir, false)
	})
	if err != nil {
		return errors.Join(errPlace, err)
	}
	return nil
}

// fill brings all that the journals hold into a new index.
func (b *base) fill(ctx context.Context) (err error) {
	if b.rebuild, err = b.index.BeginRebuild(); err != nil {
		return errors.Join(errPlace, err)
	}
	var did journal.Recovery
	options := b.journalOptions()
	options.Needed = nil // The new index does not know yet.
	b.journal, did, err = journal.Recover(ctx, options, meta.Position{})
	b.c.noteTail(did.Tail)
	if errors.Is(err, journal.ErrNoJournal) {
		if err := b.c.mayBeNew(err); err != nil {
			return err
		}
		// An empty rebuild is an empty index, and the first journal's start record the first thing in it.
		b.journal, err = journal.Format(ctx, options)
	}
	if err != nil {
		return err
	}
	report, err := b.rebuild.Finish(ctx, b.journal.Position())
	if err != nil {
		return errors.Join(errPlace, err)
	}
	b.rebuild = nil
	for _, loss := range report.Lost {
		b.c.log.Error("bytes are gone from every journal", "bucket", loss.Bucket, "key", loss.Key, "part", loss.Part, "blob", fmt.Sprintf("%x", loss.Blob))
	}
	if did.Records > 0 {
		b.c.log.Info("the index was rebuilt from the journals", "batches", did.Batches, "records", did.Records,
			"objects", report.Objects, "uploads", report.Uploads, "lost", report.LostCount)
	}
	return nil
}

// mayBeNew returns nil if a cell without any journal can be one whose first start is under way. A drive that is not there
// might hold the journal, and to say that nothing is stored would be the worst answer of all.
func (c *cell) mayBeNew(cause error) error {
	if c.set.Epoch() == 1 {
		return nil // Nobody has ever started it.
	}
	for _, d := range c.set.Drives() {
		if d.State.String() != "ok" {
			return fmt.Errorf("cell %d: %w: it may be on drive %v, which is %v", c.id, cause, d.ID, d.State)
		}
		if d.Damaged > 0 {
			return fmt.Errorf("cell %d: %w: it may be in a damaged segment of drive %s", c.id, cause, d.Path)
		}
	}
	return nil
}
