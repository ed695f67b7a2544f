package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock/engine/drive"
	"penstock/engine/volume"
)

// The life of a drive. It joins by AddDrive, or in the place of another by ReplaceDrive, and from then on new volumes use it. DrainDrive keeps
// new volumes off it and moves what it holds elsewhere. RemoveDrive takes it out for ever. Who belongs to the store,
// where each drive is, and which are being drained is on all drives (drive.Roster), so a start needs to be told of none of this.

// AddDrive makes an empty directory a drive of the store. force takes one that is a plain directory although the other drives are file systems of
// their own, and one where a drive of the store was.
func (s *Store) AddDrive(ctx context.Context, path string, force bool) (DriveInfo, error) {
	const op = "AddDrive"
	if err := checkDrivePath(path); err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	for _, c := range s.cells {
		for _, d := range c.set.Drives() {
			if d.Path == "" || absolute(d.Path) != absolute(path) {
				continue
			}
			if d.State == volume.DriveOK {
				return DriveInfo{}, driveRefused(op, fmt.Errorf("%s is drive %v of this store already", path, d.ID))
			}
			if !force {
				return DriveInfo{}, driveRefused(op, fmt.Errorf("drive %v was at %s and is not there now: replace it, or mount it again", d.ID, path))
			}
		}
	}
	c := s.homeOf(path)
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	d, err := c.addDrive(ctx, path, force)
	if err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	return s.driveInfo(d.ID()), nil
}

// ReplaceDrive makes an empty directory, by default the one where the drive was, a drive of the store in the place of another. What that one held
// is moved if it still answers, or made anew; then it is removed.
func (s *Store) ReplaceDrive(ctx context.Context, name, path string, force bool) (DriveInfo, error) {
	const op = "ReplaceDrive"
	c, old, err := s.findDrive(op, name)
	if err != nil {
		return DriveInfo{}, err
	}
	if path == "" {
		path = old.Path
	}
	if err := checkDrivePath(path); err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	if old.State == volume.DriveOK && absolute(old.Path) == absolute(path) {
		return DriveInfo{}, driveRefused(op, fmt.Errorf("drive %v serves at %s: give its replacement another place, or take it away first", old.ID, path))
	}
	d, err := c.replaceDrive(ctx, old.ID, path, force)
	if err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	return s.driveInfo(d.ID()), nil
}

// DrainDrive begins to empty a drive; leave has it removed when it is empty. It returns at once: DriveInfo says how far it is. A restart does not end it.
func (s *Store) DrainDrive(ctx context.Context, name string, leave bool) (DriveInfo, error) {
	const op = "DrainDrive"
	c, d, err := s.findDrive(op, name)
	if err != nil {
		return DriveInfo{}, err
	}
	if d.State != volume.DriveOK {
		return DriveInfo{}, driveRefused(op, fmt.Errorf("drive %v is %v: there is nothing to move off it; what it held is made anew elsewhere", d.ID, d.State))
	}
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if err := c.set.Drain(ctx, d.ID, true, leave); err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	c.drainer.poke()
	return s.driveInfo(d.ID), nil
}

// StopDraining lets a drive be used again. What was moved stays where it is.
func (s *Store) StopDraining(ctx context.Context, name string) (DriveInfo, error) {
	const op = "StopDraining"
	c, d, err := s.findDrive(op, name)
	if err != nil {
		return DriveInfo{}, err
	}
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if err := c.set.Drain(ctx, d.ID, false, false); err != nil {
		return DriveInfo{}, driveRefused(op, err)
	}
	c.drainer.forget(d.ID)
	c.healer.retry()
	return s.driveInfo(d.ID), nil
}

// RemoveDrive takes a drive out of the store for ever. Without force it must hold nothing: it was drained, or what it held is elsewhere by now.
// With force, shards that are nowhere else are lost and made anew; it is refused if anything could not be read then.
func (s *Store) RemoveDrive(ctx context.Context, name string, force bool) error {
	const op = "RemoveDrive"
	c, d, err := s.findDrive(op, name)
	if err != nil {
		return err
	}
	closed, err := func() (<-chan struct{}, error) {
		c.lifecycle.Lock()
		defer c.lifecycle.Unlock()
		if err := c.mayRemove(d, force); err != nil {
			return nil, err
		}
		return c.removeSoon(ctx, d.ID, force)
	}()
	if err != nil {
		return driveRefused(op, err)
	}
	// When this returns the drive may usually be unmounted.
	select {
	case <-closed:
	case <-time.After(closeWait):
	case <-ctx.Done():
	}
	return nil
}

const (
	// closeWait is how long RemoveDrive waits for readers to let go of a drive.
	closeWait = 5 * time.Second
	// removeWait is how long it waits for what is about to let go of it: a volume being made, a move being given up.
	removeWait = 10 * time.Second
	removePoll = 20 * time.Millisecond
)

// mayRemove refuses to remove a drive that is needed.
func (c *cell) mayRemove(d volume.DriveStatus, force bool) error {
	shards, _ := c.set.Holds(d.ID)
	if d.State == volume.DriveOK && !d.Draining && !force {
		return fmt.Errorf("drive %v is in use: drain it first, or lose its shards by force", d.ID)
	}
	if shards == 0 {
		return nil
	}
	if !force {
		how := "they are being moved"
		if d.State != volume.DriveOK {
			how = "they are made anew as far as there are drives for them"
		}
		return fmt.Errorf("drive %v still holds %d shards that are on no other drive: %s; to give them up, use force", d.ID, shards, how)
	}
	lost := 0
	for _, s := range c.shardsOn(d.ID) {
		there := 0
		for i := range s.vol.N() {
			if i != s.shard && s.vol.Shard(i) != nil {
				there++
			}
		}
		if _, needed, err := c.healable(s.vol.ID()); there < s.vol.K() && (needed || err != nil) {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("drive %v holds shards of %d volumes that could not be read without it, for ever: it is not removed", d.ID, lost)
	}
	return nil
}

// removeSoon removes a drive, after a moment if something is about to let go of it. The caller holds lifecycle.
func (c *cell) removeSoon(ctx context.Context, id drive.ID, force bool) (closed <-chan struct{}, err error) {
	if force && c.set.Healthy(id) {
		c.set.FailDrive(id, errors.New("it is removed by force"))
	}
	for waited := time.Duration(0); ; waited += removePoll {
		closed, err = c.remove(ctx, id, force)
		if !errors.Is(err, volume.ErrOccupied) || waited > removeWait {
			return closed, err
		}
		if shards, _ := c.set.Holds(id); shards > 0 && !force {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(removePoll):
		}
	}
}

// remove removes a drive that holds nothing, or, with force, one that has failed. The caller holds lifecycle.
func (c *cell) remove(ctx context.Context, id drive.ID, force bool) (closed <-chan struct{}, err error) {
	if c.indexOn(id) && c.set.Healthy(id) {
		return nil, fmt.Errorf("drive %v holds the index, which is being moved: %w", id, volume.ErrOccupied)
	}
	gone, err := c.set.Remove(ctx, id, force)
	if err != nil {
		return nil, err
	}
	if gone.Drive == nil {
		gone.Drive = c.drives.get(id) // It failed before it was of the set.
	}
	c.drives.remove(id)
	c.drainer.forget(id)
	closed = c.homecomer.leave(gone)
	c.homecomer.closeLeftovers(false)
	c.healer.retry()
	return closed, nil
}

// checkDrivePath refuses what would mean something else to another process.
func checkDrivePath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is not a path from the root", path)
	}
	return nil
}

func driveRefused(op string, err error) error {
	kind := KindDrive
	switch {
	case errors.Is(err, volume.ErrUnknownDrive):
		kind = KindNoSuchDrive
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		kind = KindCanceled
	case errors.Is(err, volume.ErrClosed):
		kind = KindUnavailable
	}
	return &Error{Op: op, Kind: kind, Err: err}
}

// findDrive finds a drive by its id, by the beginning of its id if no other begins so, or by its path.
func (s *Store) findDrive(op, name string) (c *cell, d volume.DriveStatus, err error) {
	found := 0
	for _, cell := range s.cells {
		for _, status := range cell.set.Drives() {
			id := status.ID.String()
			switch {
			case id == name, strings.HasPrefix(name, "/") && status.Path != "" && absolute(status.Path) == absolute(name):
				return cell, status, nil
			case len(name) >= 4 && strings.HasPrefix(id, strings.ToLower(name)):
				found++
				c, d = cell, status
			}
		}
	}
	switch found {
	case 1:
		return c, d, nil
	case 0:
		return nil, d, &Error{Op: op, Kind: KindNoSuchDrive, Err: fmt.Errorf("no drive of this store has the id or the path %s", name)}
	}
	return nil, d, &Error{Op: op, Kind: KindNoSuchDrive, Err: fmt.Errorf("the ids of %d drives begin with %s", found, name)}
}

// homeOf returns the cell that a new drive belongs to: that of its NUMA node, or else the one with the fewest drives.
func (s *Store) homeOf(path string) *cell {
	node := deviceNode(s.opts.Topology, path)
	best := s.cells[0]
	for _, c := range s.cells {
		if c.node == node {
			return c
		}
		if len(c.drives.all()) < len(best.drives.all()) {
			best = c
		}
	}
	return best
}

// addDrive formats a directory for the cell and has it serve. The caller holds lifecycle.
func (c *cell) addDrive(ctx context.Context, path string, force bool) (drive.Drive, error) {
	if c.source == nil {
		return nil, errors.New("this store takes no other drives")
	}
	state, id, err := c.source.Inspect(path)
	roster := c.set.Roster()
	switch {
	case err != nil:
		return nil, err
	case state == drive.StateAbsent:
		return nil, fmt.Errorf("drive %s does not exist: make the directory, or mount the drive there", path)
	case state == drive.StateFormatted && id.Cluster != c.clusterID:
		return nil, fmt.Errorf("drive %s belongs to another store, cluster %v: give an empty directory", path, id.Cluster)
	case state == drive.StateFormatted && slices.Contains(roster.Removed, id.Drive):
		return nil, volume.RemovedError(path, id.Drive)
	case state == drive.StateFormatted && slices.Contains(roster.Known, id.Drive):
		return nil, fmt.Errorf("drive %s is drive %v of this store already; if it was away, it is taken back by itself", path, id.Drive)
	case state == drive.StateFormatted && (id.Epoch() > 0 || int(id.Cell) != c.id):
		return nil, fmt.Errorf("drive %s is drive %v of this cluster, and not one of this store's drives: give an empty directory", path, id.Drive)
	}
	if err := c.checkMount(path, force); err != nil {
		return nil, err
	}
	if state == drive.StateBlank {
		id = drive.Identity{Cluster: c.clusterID, Drive: drive.NewID(), Cell: uint16(c.id)}
		if err := c.source.Format(path, id); err != nil {
			return nil, err
		}
		c.log.Info("formatted a blank drive", "drive", path, "id", id.Drive.String())
	}
	d, err := c.source.Open(path, nil)
	if err != nil {
		return nil, err
	}
	if err := c.set.Add(ctx, d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	c.drives.put(d)
	c.welcome(d)
	return d, nil
}

// checkMount refuses a plain directory where the other drives are file systems of their own: most likely its own is not mounted.
func (c *cell) checkMount(path string, force bool) error {
	mounted, err := c.source.Mounted(path)
	if err != nil || mounted || force {
		return err
	}
	answers, _ := askDrives(c.healthyDrives(), smallFileTimeout, func(d drive.Drive) bool {
		id, err := drive.ReadIdentity(d)
		return err == nil && id.Mount
	})
	mounts := 0
	for _, a := range answers {
		if a.value {
			mounts++
		}
	}
	if mounts > 0 && mounts == len(answers) {
		return fmt.Errorf("drive %s is a plain directory, and all other drives are file systems of their own: mount one there, or use force", path)
	}
	return nil
}

// replaceDrive has a directory take the place of a drive, which is removed when nothing of it is needed any more.
func (c *cell) replaceDrive(ctx context.Context, old drive.ID, path string, force bool) (drive.Drive, error) {
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	d, err := c.addDrive(ctx, path, force)
	if err != nil {
		return nil, err
	}
	c.log.Info("a drive is replaced", "old", old.String(), "new", d.ID().String(), "drive", path)
	if err := c.set.Drain(ctx, old, true, true); err != nil {
		return nil, fmt.Errorf("drive %v has joined, but drive %v cannot be taken out: %w", d.ID(), old, err)
	}
	c.drainer.poke()
	return d, nil
}

// driveInfo describes a drive as it is now.
func (s *Store) driveInfo(id drive.ID) DriveInfo {
	for _, c := range s.cells {
		for _, info := range c.driveInfos() {
			if info.ID == id.String() {
				return info
			}
		}
	}
	return DriveInfo{ID: id.String()}
}
