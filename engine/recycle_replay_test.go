package engine

import (
	"fmt"
	"testing"

	"penstock/engine/drive"
)

// TestReplayBounded writes more records than a start may have to apply again: the index is flushed in between, so that after a power cut
// there are no more, though its memtable would hold them all.
func TestReplayBounded(t *testing.T) {
	domain := drive.NewDomain(identities(3), 0, drive.DomainOptions{})
	opts := quiet(testOptions(t, -1)).tuned(func(c *cell) { c.limits.replay = 100 })
	s := mustOpen(t, opts, domain.Drives())
	mustBucket(t, s, testBucket)
	objects := map[string][]byte{}
	for i := range 500 {
		key := fmt.Sprint(i)
		objects[key] = payload(uint64(i), 100)
		mustPut(t, s, testBucket, key, objects[key])
	}
	eventually(t, "a start would have little to do", func() bool { return s.Gauges().Cells[0].JournalLag <= 100 })
	domain = domain.Cut(drive.RandomChoice(newRNG(t)))
	closeStore(t, s)
	s = mustOpen(t, opts, domain.Drives())
	defer func() { closeStore(t, s) }()
	checkAll(t, s, testBucket, objects)
}
