package meta

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
)

// backlog is a database in which compactions wait.
type backlog struct {
	allowed int

	mu      sync.Mutex // Guards the fields below.
	waiting int
	begun   []pebble.CompactionGrantHandle
}

func (b *backlog) GetAllowedWithoutPermission() int { return b.allowed }

func (b *backlog) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting > 0, pebble.WaitingCompaction{}
}

func (b *backlog) Schedule(h pebble.CompactionGrantHandle) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting--
	b.begun = append(b.begun, h)
	return true
}

func (b *backlog) state() (waiting, begun int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting, len(b.begun)
}

// TestScheduler: no compaction begins before the database is open, as it might not come to that, nor after it is closed; in between
// as many run as are allowed.
func TestScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &backlog{allowed: 2, waiting: 5}
		s := newScheduler()
		s.Register(1, db)
		s.UpdateGetAllowedWithoutPermission()
		if ok, _ := s.TrySchedule(); ok {
			t.Error("a compaction began before the database was open")
		}
		synctest.Wait()
		if _, begun := db.state(); begun != 0 {
			t.Errorf("%d compactions began before the database was open", begun)
		}
		s.begin()
		synctest.Wait()
		if waiting, begun := db.state(); waiting != 3 || begun != 2 {
			t.Errorf("%d wait, %d have begun, 2 are allowed", waiting, begun)
		}
		if ok, _ := s.TrySchedule(); ok {
			t.Error("more began than are allowed")
		}
		db.begun[0].Done()
		synctest.Wait()
		if waiting, begun := db.state(); waiting != 2 || begun != 3 {
			t.Errorf("when one is done %d wait and %d have begun", waiting, begun)
		}
		db.mu.Lock()
		db.waiting = 0
		db.mu.Unlock()
		db.begun[1].Done()
		ok, h := s.TrySchedule()
		if !ok {
			t.Fatal("refused, though one less runs than is allowed")
		}
		h.Done()
		db.begun[2].Done()
		s.Unregister()
		db.mu.Lock()
		db.waiting = 1
		db.mu.Unlock()
		s.UpdateGetAllowedWithoutPermission()
		synctest.Wait()
		if ok, _ := s.TrySchedule(); ok {
			t.Error("a compaction began after the end")
		}
		if _, begun := db.state(); begun != 3 {
			t.Error("a compaction began after the end")
		}
	})
}
