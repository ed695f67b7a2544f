package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock/engine/drive"
	"penstock/erasure"
)

var (
	// ErrFull says that there is no room for another volume of the class.
	ErrFull = errors.New("the drives are full")
	// ErrNoDrives says that no drive is healthy.
	ErrNoDrives = errors.New("no healthy drive")
	// ErrPinned says that a volume is in use.
	ErrPinned = errors.New("the volume is pinned")
	// ErrFreed says that a volume was freed before.
	ErrFreed = errors.New("the volume was freed before")
	// ErrClosed says that the Set is closed.
	ErrClosed = errors.New("the volumes are closed")
	// ErrTimeout says that a drive did not answer in time.
	ErrTimeout = errors.New("the drive does not answer")
)

// Set is all volumes of a cell. Its methods are safe for concurrent use.
type Set struct {
	opts       Options
	log        *slog.Logger
	epoch      uint32
	journalLen int64
	bulkLen    int64
	members    atomic.Pointer[[]*member] // By drive id. Replaced, never changed, by whoever has the token of changing.
	history    []drive.Start             // Confirmed starts, this one at the end. Set by Confirm.
	confirmed  atomic.Bool

	changing chan struct{} // Holds the token of whoever changes what drives there are, or what they say of themselves.
	plans    atomic.Uint64 // Counts the times that other drives were to be used from then on.

	creating chan struct{} // Holds the token of whoever makes a volume: one at a time, so that two do not plan with the same room.
	tasks    sync.WaitGroup
	space    atomic.Pointer[spaceSample]
	sampling atomic.Bool

	mu       sync.Mutex // Guards the fields below, and those that member names.
	volumes  map[ID]*Volume
	codes    map[[2]int]*erasure.Code
	sequence uint32 // Of the last id given out in this epoch.
	prepared [numClasses]preparedVolume
	retired  map[*Retired]bool // Segments whose place others have taken, and that are not freed yet.
	deferred []func()          // What waits for Confirm.
	roster   drive.Roster      // Replaced, never changed, by whoever has the token of changing.
	closed   bool
	looking  bool          // Made by Look: nothing is ever written. Immutable.
	failure  chan struct{} // Closed, and replaced, when a drive fails.
}

// preparedVolume is a volume made in advance.
type preparedVolume struct {
	volume  *Volume
	plan    uint64    // Set.plans, when the drives of volume were chosen.
	busy    bool      // Somebody makes one.
	notUnto time.Time // Until then it is not tried again, after a failure.
}

// member is one present drive.
type member struct {
	drive  drive.Drive
	shares atomic.Int32          // Drives on the same file system, this one included.
	held   atomic.Int64          // Bytes of its segments, free ones included.
	err    atomic.Pointer[error] // Why it has failed; nil while it is healthy.

	identity drive.Identity // As it is on the drive. Owned by Open, then by whoever has the token of changing.
	draining atomic.Bool    // It takes nothing new.

	behind  atomic.Uint32 // The last start that it knew of, if that was not the last one; until Behind has told.
	damaged atomic.Int32  // Segments whose header cannot be trusted. They are left alone.

	// Guarded by Set.mu.
	segments int
	stale    int    // Segments whose place others have taken that are not here.
	next     uint32 // Number for the next new segment.
	free     []freeSegment
}

// freeSegment is a segment that may be used again.
type freeSegment struct {
	seg  uint32
	size int64
}

func (m *member) failed() bool { return m.err.Load() != nil }

// usable reports whether the drive takes new segments.
func (m *member) usable() bool { return !m.failed() && !m.draining.Load() }

// all returns the members. The caller must not change it.
func (s *Set) all() []*member { return *s.members.Load() }

func (s *Set) member(id drive.ID) *member {
	for _, m := range s.all() {
		if m.drive.ID() == id {
			return m
		}
	}
	return nil
}

// fail marks a drive as failed, for good.
func (s *Set) fail(m *member, err error) {
	if m.err.CompareAndSwap(nil, &err) {
		s.log.Error("a drive has failed and is used no more", "drive", m.drive.Path(), "id", m.drive.ID().String(), "error", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.failure)
		s.failure = make(chan struct{})
	}
}

// NextFailure returns a channel that is closed when another drive fails.
func (s *Set) NextFailure() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// healthy returns the members that have not failed.
func (s *Set) healthy() []*member {
	return slices.DeleteFunc(slices.Clone(s.all()), (*member).failed)
}

func (s *Set) code(k, m int) (*erasure.Code, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.codes[[2]int{k, m}]; c != nil {
		return c, nil
	}
	c, err := erasure.New(k, m)
	if err == nil {
		s.codes[[2]int{k, m}] = c
	}
	return c, err
}

// Epoch returns the epoch of this start.
func (s *Set) Epoch() uint32 { return s.epoch }

// Geometry returns what a volume made now would have, were no drive full.
func (s *Set) Geometry() (k, m int) {
	usable := 0
	for _, m := range s.all() {
		if m.usable() {
			usable++
		}
	}
	return Geometry(usable, s.opts.Parity)
}

// Healthy reports whether a drive is present and has not failed.
func (s *Set) Healthy(id drive.ID) bool {
	m := s.member(id)
	return m != nil && !m.failed()
}

// FailDrive gives up a drive for good, as [Volume.Fail] does.
func (s *Set) FailDrive(id drive.ID, err error) {
	if m := s.member(id); m != nil {
		s.fail(m, err)
	}
}

// Get returns a volume, or nil if there is none with this id.
func (s *Set) Get(id ID) *Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumes[id]
}

// Volumes returns all volumes by id. Those prepared and not yet given out are not among them.
func (s *Set) Volumes() []*Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.volumes), func(a, b *Volume) int {
		if a.ID() < b.ID() {
			return -1
		}
		return 1
	})
}

// DriveState is what a Set makes of a drive.
type DriveState uint8

// The states.
const (
	DriveOK DriveState = iota
	DriveFailed
	DriveMissing
)

func (s DriveState) String() string {
	switch s {
	case DriveOK:
		return "ok"
	case DriveFailed:
		return "failed"
	case DriveMissing:
		return "missing"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// DriveStatus is the state of one drive of the cell.
type DriveStatus struct {
	ID       drive.ID
	Path     string // Where it is, or was last; empty if nobody knows.
	State    DriveState
	Draining bool  // It takes nothing new, and is to be emptied,
	Leaving  bool  // and then to be removed.
	Err      error // Why it failed.
	Total    int64 // Bytes of its file system, or its part of one that it shares.
	Free     int64 // Of these, neither taken by others nor by volumes.
	Segments int   // All of them; the fields below are parts of this.
	Unused   int   // Free, to be used again.
	Damaged  int   // Left alone because their headers cannot be trusted.
	Stale    int   // Left alone because their place was given to segments that are not here now.
}

// Drives returns the state of every drive of the cell, present or not. What it says of space may be
// a second old.
func (s *Set) Drives() []DriveStatus {
	space := s.sampled()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []DriveStatus
	for _, m := range s.all() {
		room := space.of(m)
		d := DriveStatus{
			ID: m.drive.ID(), Path: m.drive.Path(), Total: room.total, Free: room.raw + m.freeLen(), Draining: m.draining.Load(),
			Segments: m.segments, Unused: len(m.free), Damaged: int(m.damaged.Load()),
			Stale: m.stale,
		}
		if err := m.err.Load(); err != nil {
			d.State, d.Err = DriveFailed, *err
		}
		list = append(list, d)
	}
	for _, id := range s.roster.Known {
		if s.member(id) == nil {
			list = append(list, DriveStatus{
				ID: id, Path: s.roster.Paths[id], State: DriveMissing, Draining: slices.Contains(s.roster.Draining, id),
			})
		}
	}
	for i := range list {
		list[i].Leaving = slices.Contains(s.roster.Leaving, list[i].ID)
	}
	return list
}

// Close waits for what goes on in the background and closes all segments. The drives stay open.
func (s *Set) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	s.tasks.Wait()
	s.mu.Lock()
	spare := s.prepared
	s.prepared = [numClasses]preparedVolume{}
	volumes := slices.Collect(maps.Values(s.volumes))
	retired := slices.Collect(maps.Keys(s.retired))
	s.retired = nil
	s.mu.Unlock()
	for _, p := range spare {
		if p.volume != nil {
			s.release(p.volume)
		}
	}
	var errs []error
	for _, v := range volumes {
		p := v.seats.Load()
		for i, f := range p.files {
			if f == nil {
				continue
			}
			if err := f.Close(); err != nil && !p.members[i].failed() {
				errs = append(errs, err)
			}
		}
	}
	for _, r := range retired {
		if err := r.file.Close(); err != nil && !r.member.failed() {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
