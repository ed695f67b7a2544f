package meta

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets compactions of one database begin, as many at a time as the database allows, and none before it is open.
//
// The one that Pebble brings lets them begin while the database is being opened, and goes on when that fails: then a compaction
// finds what it needs closed and panics, and that one file could not be written ends the process.
type scheduler struct {
	db   pebble.DBForCompaction // Set before anything else is called.
	poke chan struct{}          // Of capacity 1: something may begin.
	stop chan struct{}
	over sync.WaitGroup // Of the goroutine that grants.

	mu      sync.Mutex // Guards the fields below. Taken after the locks of the database, so not held while that is called, but for the one call that takes none.
	open    bool
	running int
}

// grantEvery is how often the scheduler looks by itself: what the database allows grows with what waits to be compacted.
const grantEvery = 100 * time.Millisecond

func newScheduler() *scheduler {
	return &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{})}
}

// begin is called once the database is open.
func (s *scheduler) begin() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.over.Go(func() {
		tick := time.NewTicker(grantEvery)
		defer tick.Stop()
		for {
			s.grant()
			select {
			case <-tick.C:
			case <-s.poke:
			case <-s.stop:
				return
			}
		}
	})
}

// grant begins the compactions that wait, as long as another is allowed.
func (s *scheduler) grant() {
	for s.take() {
		if waiting, _ := s.db.GetWaitingCompaction(); !waiting || !s.db.Schedule(s) {
			s.giveBack()
			return
		}
	}
}

func (s *scheduler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.running >= s.db.GetAllowedWithoutPermission() {
		return false
	}
	s.running++
	return true
}

func (s *scheduler) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister implements pebble.CompactionScheduler.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
	close(s.stop)
	s.over.Wait()
}

// TrySchedule implements pebble.CompactionScheduler. Refused, the database waits to be asked.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.take() {
		return false, nil
	}
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() { notify(s.poke) }

// Done implements pebble.CompactionGrantHandle.
func (s *scheduler) Done() {
	s.giveBack()
	notify(s.poke)
}

// Started implements pebble.CompactionGrantHandle.
func (s *scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
