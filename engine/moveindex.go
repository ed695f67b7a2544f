package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// moveIndex puts a copy of the index on a drive that stays, while the index serves on. Whoever replaces the base next finds it there, as the
// newest state that there is, and has only what came after it to replay.
func (c *cell) moveIndex(ctx context.Context, b *base) error {
	places, err := c.indexPlaces()
	if err != nil {
		return err
	}
	place := places[0]
	if place.drive == b.place.drive || c.set.Draining(place.id()) {
		return errors.New("there is no other drive for it")
	}
	if err := b.enter(); err != nil {
		return err
	}
	defer b.leave()
	b.copying.Lock()
	defer b.copying.Unlock()
	aside := b.place.dir + checkpointsSuffix
	if err := b.place.fs.RemoveAll(aside); err != nil {
		return err
	}
	defer b.place.fs.RemoveAll(aside)
	made, err := b.index.Checkpoint(ctx, aside)
	if err != nil {
		return err
	}
	if err := place.fs.RemoveAll(place.dir); err != nil {
		return err
	}
	if err := place.fs.MkdirAll(place.dir, 0o700); err != nil {
		return err
	}
	var progress atomic.Int64
	for _, f := range made.Files {
		from, to := b.place.fs.PathJoin(aside, f.Name), place.fs.PathJoin(place.dir, f.Name)
		if _, err := copyFile(ctx, b.place.fs, from, place.fs, to, &progress); err != nil {
			return fmt.Errorf("copy to %s: %w", place.dir, err)
		}
	}
	if err := syncDir(place.fs, place.dir); err != nil {
		return err
	}
	return syncDir(place.fs, place.fs.PathDir(place.dir))
}
