package engine

import (
	"fmt"
	"testing"
	"time"

	"penstock/engine/drive"
)

// TestFullSparse fills the drives, deletes half of the objects at random, so that no volume is wholly dead, and fills them again, over and over. What
// was deleted can be used again each time, without a restart and with no room but the reserve.
func TestFullSparse(t *testing.T) {
	for _, sizes := range [][]int{{120_000}, {30_000, 120_000, 400_000}} {
		t.Run(fmt.Sprintf("sizes=%d", sizes), func(t *testing.T) {
			drives := memDrivesOf(identities(4), drive.MemOptions{Queue: drive.NewMemQueue(0), Size: 56 << 20})
			opts := small(testOptions(t, -1))
			s := mustOpen(t, opts, drives)
			defer func() { closeStore(t, s) }()
			mustBucket(t, s, testBucket)
			rng := newRNG(t)
			objects := map[string][]byte{}
			var stored []int
			for round := range 2 {
				before := total(objects)
				for i := 0; ; i++ {
					key := fmt.Sprintf("%d/%04d", round, i)
					b := payload(uint64(i), sizes[i%len(sizes)])
					_, err := putBytes(t.Context(), s, testBucket, key, b, nil)
					if err != nil && KindOf(err) == KindFull {
						if s.roomComes() {
							continue
						}
						break
					}
					must(t, err)
					objects[key] = b
				}
				if got := total(objects) - before; got < 5<<20 {
					t.Fatalf("round %d: %d bytes fit", round, got)
				}
				stored = append(stored, total(objects))
				checkAll(t, s, testBucket, objects)
				_, reserved := s.cells[0].set.Space()
				deleted := int64(0)
				for _, key := range sortedKeys(objects) {
					if rng.IntN(2) == 0 {
						deleted += int64(len(objects[key]))
						must(t, deleteKey(t.Context(), s, testBucket, key))
						delete(objects, key)
					}
				}
				// Half of it at least, parity included: the rest may be waste as yet.
				eventually(t, "the room of what was deleted is there again", func() bool {
					_, free := s.cells[0].set.Space()
					return free > reserved+deleted && !s.cells[0].full.Load()
				})
			}
			t.Logf("stored %d; %+v", stored, s.CompactStatus())
			checkAll(t, s, testBucket, objects)
		})
	}
}

func total(objects map[string][]byte) (n int) {
	for _, b := range objects {
		n += len(b)
	}
	return n
}

// roomComes waits until a full store has room again, and gives up after two seconds.
func (s *Store) roomComes() bool {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !s.cells[0].full.Load() {
			return true
		}
	}
	return false
}
