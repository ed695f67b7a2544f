package killtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/tools/harness"
)

var (
	kills = flag.Int("kills", 200, "how often to kill the node in all")
	seed  = flag.Uint64("seed", 0, "seed of the load; 0 = by the clock")
)

// roundKills is the most kills on the same drives. Drives begin empty again after it, because what partly live volumes waste
// is not given back yet.
const roundKills = 100

// layouts are the nodes under test, in turn.
var layouts = []struct {
	name   string
	drives int
	args   []string
}{
	{"4+2 ring", 6, nil},
	{"1+1 ring", 2, nil},
	{"4+2 threads", 6, []string{"--io", "threads"}},
	{"1+0 ring", 1, nil},
}

// TestKill kills the node *kills times, spread over the layouts.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a real process for minutes; left out by -short")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano()) & 0xffffffff
	}
	binary, err := harness.Build(t.Context(), "invariants")
	if err != nil {
		t.Fatal(err)
	}
	var total totals
	t.Cleanup(func() {
		// Seeds bring back the load; the moment of a kill depends on the machine.
		t.Logf("seed %d: %v", *seed, &total)
	})
	perRound := min(roundKills, max(1, (*kills+len(layouts)-1)/len(layouts)))
	for round := 0; round*perRound < *kills; round++ {
		layout := layouts[round%len(layouts)]
		t.Run(fmt.Sprintf("round %d %s", round, layout.name), func(t *testing.T) {
			t.Parallel() // A node waits for its drives much of the time.
			drives, err := harness.Drives(t.TempDir(), layout.drives)
			if err != nil {
				t.Fatal(err)
			}
			c := &campaign{
				t:     t,
				rng:   rand.New(rand.NewPCG(*seed, uint64(round))),
				state: newState(*seed<<8 | uint64(round)),
				total: &total,
				options: harness.Options{
					Binary:  binary,
					Drives:  drives,
					LogFile: filepath.Join(t.ArtifactDir(), "penstock.log"),
					// Small segments, so that they are sealed, freed and used again all the time.
					Args: append([]string{"--memory", "128MiB", "--journal-segment", "8MiB", "--bulk-segment", "4MiB"}, layout.args...),
				},
			}
			c.run(min(perRound, *kills-round*perRound))
		})
	}
}

// totals count over all rounds.
type totals struct {
	kills, duringStart, acknowledged, unknown atomic.Int64

	mu     sync.Mutex // Guards the fields below.
	start  time.Duration
	starts int
}

func (t *totals) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	mean := time.Duration(0)
	if t.starts > 0 {
		mean = t.start / time.Duration(t.starts)
	}
	return fmt.Sprintf("%d kills (%d of them during start), %d writes acknowledged, %d cut off, mean start %v",
		t.kills.Load(), t.duringStart.Load(), t.acknowledged.Load(), t.unknown.Load(), mean.Round(time.Millisecond))
}

// A campaign is one round: a node on one set of drives, killed again and again.
type campaign struct {
	t       *testing.T
	rng     *rand.Rand
	state   *state
	total   *totals
	options harness.Options
}

func (c *campaign) run(kills int) {
	ctx := c.t.Context()
	node := c.start(ctx)
	if _, err := newClient(node.Endpoint).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		c.t.Fatal(err)
	}
	for range kills {
		c.load(ctx, node)
		c.total.kills.Add(1)
		for c.rng.IntN(10) == 0 {
			c.killDuringStart(node.Started)
		}
		node = c.start(ctx)
		if err := c.state.check(ctx, newClient(node.Endpoint), some(c.rng)); err != nil {
			c.fail(node, err)
		}
	}
	// The end: everything is read, before and after an orderly stop.
	for range 2 {
		if err := c.state.check(ctx, newClient(node.Endpoint), everything); err != nil {
			c.fail(node, err)
		}
		if _, err := node.Stop(); err != nil {
			c.t.Fatal(err)
		}
		node = c.start(ctx)
	}
	node.Kill()
	c.total.acknowledged.Add(c.state.acknowledged.Load())
	c.total.unknown.Add(c.state.unknown.Load())
}

func (c *campaign) start(ctx context.Context) *harness.Node {
	c.t.Helper()
	node, err := harness.Start(ctx, c.options)
	if err != nil {
		c.t.Fatalf("after %d kills: %v", c.total.kills.Load(), err)
	}
	c.t.Cleanup(node.Kill)
	c.total.mu.Lock()
	c.total.start += node.Started
	c.total.starts++
	c.total.mu.Unlock()
	return node
}

func (c *campaign) fail(node *harness.Node, err error) {
	c.t.Helper()
	node.Kill()
	c.t.Fatalf("seed %d, after %d kills: %v\n%s", *seed, c.total.kills.Load(), err, node.Log())
}

// load lets all workers loose on the node and kills it while they are at it.
func (c *campaign) load(ctx context.Context, node *harness.Node) {
	var killed atomic.Bool
	client := newClient(node.Endpoint)
	early := make(chan error, workers)
	var all sync.WaitGroup
	for i := range workers {
		w := &worker{state: c.state, index: i, client: client, rng: rand.New(rand.NewPCG(c.rng.Uint64(), uint64(i)))}
		all.Go(func() {
			err := w.run(ctx)
			if !killed.Load() || errors.Is(err, errWrong) {
				early <- fmt.Errorf("worker %d: %w", w.index, err)
			}
		})
	}
	select {
	case err := <-early:
		c.fail(node, err)
	case <-time.After(time.Duration(c.rng.IntN(300)) * time.Millisecond):
	}
	killed.Store(true)
	node.Kill()
	all.Wait()
	select {
	case err := <-early:
		c.fail(node, err)
	default:
	}
}

// killDuringStart starts the node and kills it at a random moment of its recovery.
func (c *campaign) killDuringStart(typical time.Duration) {
	node, err := harness.Launch(c.options)
	if err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-time.After(time.Duration(c.rng.Int64N(int64(typical) + 1))):
	case <-node.Exited():
		c.t.Fatalf("ended by itself: exit code %d\n%s", node.ExitCode(), node.Log())
	}
	node.Kill()
	c.total.kills.Add(1)
	c.total.duringStart.Add(1)
}
