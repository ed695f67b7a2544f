package engine

import (
	"time"

	"penstock/engine/volume"
	"penstock/meta"
)

// HealStatus is what the heal ledger says, and what healing makes of it, all cells together.
type HealStatus struct {
	Stopped  bool  // By StopHealing.
	Shards   int   // That are not what they should be.
	Volumes  int   // That have such shards.
	Healing  int   // Volumes being healed now.
	Waiting  int   // Volumes that cannot be healed now: Ailing says why.
	Narrow   int   // Volumes with less parity than new ones, because drives were away when they were made; compaction writes them again.
	Left     int64 // Bytes of Shards to be looked at or made anew, at most.
	Noted    int64 // Since start: what was entered,
	Done     int64 // shards that are whole again or not needed any more,
	Moved    int64 // shards made anew on another drive, or moved there,
	MovedLen int64 // bytes written to them,
	MendLen  int64 // and bytes written again in place.

	Ailing []AilingShard // The first MaxAiling of Shards, by cell, volume and shard.
}

// MaxAiling bounds HealStatus.Ailing.
const MaxAiling = 1000

// AilingShard is a shard that is not what it should be.
type AilingShard struct {
	Cell   int
	Volume string
	Class  string // "journal" or "bulk"; empty if no drive holds a segment of the volume.
	Shard  int
	Causes string    // Such as "lost".
	Since  time.Time // When that was noticed.
	Drive  string    // Id of the drive that has the shard, or had it.
	Ranges int       // Parts of the segment that are in doubt; 0 means all of it.
	State  string    // "queued", "healing", "waiting", "failing".
	Reason string    // Why it waits or fails.
}

// HealStatus returns what the heal ledger says now.
func (s *Store) HealStatus() HealStatus {
	var t HealStatus
	for _, c := range s.cells {
		c.addHealStatus(&t)
	}
	return t
}

func (c *cell) addHealStatus(t *HealStatus) {
	all := c.ledger.all()
	_, noted, closed := c.ledger.counts()
	t.Shards += len(all)
	t.Narrow += c.narrowCount()
	t.Noted, t.Done = t.Noted+noted, t.Done+closed
	t.Moved += c.stats.healedShards.Load()
	t.MovedLen += c.stats.healedLen.Load()
	t.MendLen += c.stats.mendedLen.Load()
	h := c.healer
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Stopped = t.Stopped || h.stopped
	t.Healing += len(h.running)
	for i, m := range all {
		later, held := h.later[m.Volume]
		held = held && !h.running[m.Volume]
		if i == 0 || all[i-1].Volume != m.Volume {
			t.Volumes++
			if held {
				t.Waiting++
			}
		}
		vol := c.set.Get(m.Volume)
		if vol != nil && m.Shard >= vol.N() {
			vol = nil
		}
		t.Left += doubtful(vol, &m)
		if len(t.Ailing) == MaxAiling {
			continue
		}
		a := AilingShard{
			Cell: c.id, Volume: volume.Name(m.Volume), Shard: m.Shard, Causes: m.Causes.String(), Since: m.Since, Ranges: len(m.Ranges), State: "queued",
		}
		if vol != nil {
			a.Class, a.Drive = vol.Class().String(), vol.Drives()[m.Shard].String()
		}
		switch {
		case h.running[m.Volume]:
			a.State = "healing"
		case held:
			a.State, a.Reason = later.state(), later.err.Error()
		}
		t.Ailing = append(t.Ailing, a)
	}
}

// doubtful is how many bytes of a shard are in doubt, at most.
func doubtful(vol *volume.Volume, m *meta.Missing) (n int64) {
	if vol == nil {
		return 0
	}
	if len(m.Ranges) == 0 || vol.Shard(m.Shard) == nil {
		return vol.Capacity() - vol.Start()
	}
	for _, r := range m.Ranges {
		n += r.Len
	}
	return n
}

// StopHealing ends the healing that goes on and begins no more until StartHealing. The ledger is kept meanwhile.
func (s *Store) StopHealing() {
	for _, c := range s.cells {
		c.healer.setStopped(true)
	}
}

// StartHealing takes back StopHealing. What waits is tried at once.
func (s *Store) StartHealing() {
	for _, c := range s.cells {
		c.healer.setStopped(false)
	}
}
