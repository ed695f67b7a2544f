package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"penstock/ioring"
)

// TestCrowded: a quota is crowded for a while after somebody waited in vain, and not because somebody waits.
func TestCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arena, err := ioring.NewArena(ioring.ArenaOptions{Size: 8 << 20, Node: -1, NoPrefault: true})
		if err != nil {
			t.Fatal(err)
		}
		q := newQuota(arena, 8)
		held, err := q.get(t.Context(), 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		if q.tryGet(4096) != nil {
			t.Fatal("more than the quota was given")
		}
		if q.crowded() || q.wanted() {
			t.Error("crowded or wanted, though nobody was refused who waited")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := q.get(ctx, 4096); err == nil {
				t.Error("more than the quota was given")
			}
		}()
		synctest.Wait()
		if q.crowded() || !q.wanted() {
			t.Error("crowded, or not wanted, while somebody waits")
		}
		<-ended
		if !q.crowded() || !q.wanted() {
			t.Error("not crowded after a refusal")
		}
		time.Sleep(crowdedFor)
		if q.crowded() || q.wanted() {
			t.Error("crowded for ever")
		}
		held.Release()
		if err := arena.Close(); err != nil {
			t.Error(err)
		}
	})
}
