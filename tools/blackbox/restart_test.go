package blackbox

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/tools/clients/corpus"
)

var (
	restartObjects = flag.Int("restart.objects", 1000, "TestRestart: objects to store before the first kill")
	restartTimes   = flag.Int("restart.times", 3, "TestRestart: how often to kill the node and start it again")
)

// TestRestart fills a node with small objects, kills it in the middle of more of them, and measures how long it takes to serve again. It
// judges what is there; the time, which depends on what else the machine does, is in its log.
func TestRestart(t *testing.T) {
	const bodyLen = 512
	n := start(t, setup{args: []string{"--journal-segment", "64MiB", "--bulk-segment", "16MiB"}})
	n.must(t, "PUT", "/bkt", nil)
	// put stores objects until there are enough or the node is gone, and returns those that it acknowledged.
	put := func(from, to int, first func()) (stored []int) {
		var mu sync.Mutex
		var next atomic.Int64
		var wait sync.WaitGroup
		var once sync.Once
		next.Store(int64(from))
		for range 64 {
			wait.Go(func() {
				for i := int(next.Add(1)) - 1; i < to; {
					r, err := n.call("PUT", fmt.Sprintf("/bkt/%d", i), corpus.Body(uint64(i), bodyLen))
					switch {
					case err != nil:
						return
					case r.status == 503: // The node asks for patience.
						continue
					case r.status != 200:
						t.Errorf("PUT: %v", r)
						return
					}
					mu.Lock()
					stored = append(stored, i)
					mu.Unlock()
					once.Do(first)
					i = int(next.Add(1)) - 1
				}
			})
		}
		wait.Wait()
		return stored
	}
	stored := put(0, *restartObjects, func() {})
	if len(stored) != *restartObjects {
		t.Fatalf("%d of %d objects were stored", len(stored), *restartObjects)
	}
	var took []time.Duration
	next := *restartObjects
	for range *restartTimes {
		begun, done := make(chan struct{}), make(chan []int)
		go func() { done <- put(next, next+1_000_000, func() { close(begun) }) }()
		<-begun
		n.Kill()
		more := <-done
		next += 1_000_000
		stored = append(stored, more...)
		n.launch(t)
		took = append(took, n.Started)
		for _, i := range append(more, stored[0], stored[len(stored)/2]) {
			if got := n.must(t, "GET", fmt.Sprintf("/bkt/%d", i), nil); string(got.body) != string(corpus.Body(uint64(i), bodyLen)) {
				t.Fatalf("object %d is %d bytes that are not its own", i, len(got.body))
			}
		}
	}
	slices.Sort(took)
	t.Logf("%d objects; ready after %v, median %v", len(stored), took, took[len(took)/2])
}
