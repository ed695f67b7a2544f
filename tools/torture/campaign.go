package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"penstock/tools/harness"
)

// A layout is a node under test.
type layout struct {
	name   string
	drives int
	parity int
	kind   string // Of the file systems that the drives are in; "" = directories.
	args   []string
}

// layouts are taken in turn.
var layouts = []layout{
	{"4+2 on ext4", 6, 2, "ext4", nil},
	{"4+2 in directories", 6, 2, "", nil},
	{"4+2 on XFS", 6, 2, "xfs", nil},
	{"1+1 in directories", 2, 1, "", nil},
	{"3+2 on ext4, threads", 5, 2, "ext4", []string{"--io", "threads"}},
	{"1+0 on XFS", 1, 0, "xfs", nil},
	{"4+2 in directories, threads", 6, 2, "", []string{"--io", "threads"}},
}

// A campaign is a node on one set of drives, and what is done to it.
type campaign struct {
	layout
	*state
	seed   uint64
	rng    *rand.Rand
	report *report
	dir    string // Holds everything.
	log    string // The node's log, kept when something was found.

	drives  []string      // Directories as given to the node.
	systems []*filesystem // Below them, if any.
	options harness.Options
	node    *harness.Node
	load    *load // nil while no worker runs.

	// ailing: drives that may lack something until healing is over. No more than the parity are at a time.
	ailing map[int]bool
	// rotten: those of them that only stop being it when they are emptied, because damage that nobody reads is not known.
	rotten map[int]bool
}

// newCampaign makes the drives. What it makes it removes in close.
func newCampaign(o *options, number int, l layout, r *report) (*campaign, error) {
	seed := o.seed + uint64(number)
	c := &campaign{
		layout: l, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), state: newState(seed), report: r,
		ailing: map[int]bool{}, rotten: map[int]bool{},
	}
	var err error
	if c.dir, err = os.MkdirTemp(o.dir, "penstock-torture-"); err != nil {
		return nil, err
	}
	if l.kind == "" {
		c.drives, err = harness.Drives(c.dir, l.drives)
	}
	for i := 0; i < l.drives && l.kind != "" && err == nil; i++ {
		var f *filesystem
		if f, err = makeFilesystem(c.dir, l.kind, i+1); f != nil {
			c.systems = append(c.systems, f)
			c.drives = append(c.drives, f.drive)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.log = filepath.Join(o.logs, fmt.Sprintf("torture-%d.log", seed))
	c.options = harness.Options{
		Binary:  o.binary,
		LogFile: c.log,
		// Small segments, so that they are sealed, freed and used again all the time.
		Args: append([]string{"--memory", "128MiB", "--journal-segment", "8MiB", "--bulk-segment", "4MiB", "--metrics", "open",
			"--parity", fmt.Sprint(l.parity)}, l.args...),
	}
	if o.refill {
		c.options.Args = append(c.options.Args, refillFlag)
	}
	return c, nil
}

// close ends the node and removes everything.
func (c *campaign) close() error {
	c.kill()
	var errs []error
	for _, f := range c.systems {
		if f.frozen {
			errs = append(errs, f.thaw())
		}
		errs = append(errs, f.down())
	}
	if c.layout.kind == "" || errors.Join(errs...) == nil { // Else files may be in use, and their removal would say nothing but that.
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// roundsPerCampaign is after how many rounds drives begin empty again.
const roundsPerCampaign = 40

// run goes through rounds until the end of the context, which it does not wait for, and then looks at everything twice.
func (c *campaign) run(ctx context.Context, o *options) error {
	work := context.WithoutCancel(ctx)
	if err := c.begin(work); err != nil {
		return err
	}
	for round := 0; round < roundsPerCampaign && ctx.Err() == nil; round++ {
		t := c.choose(o)
		began := time.Now()
		if err := t.run(c, work); err != nil {
			return fmt.Errorf("round %d, %s: %w", round, t.name, err)
		}
		c.report.round(t.name, time.Since(began))
		if o.verbose {
			o.printf("seed %d, round %d: %s took %v", c.seed, round, t.name, time.Since(began).Round(time.Millisecond))
		}
	}
	// The end: everything is read, before and after an orderly stop, and verified at rest.
	for range 2 {
		if err := c.check(work, c.everything); err != nil {
			return err
		}
		if _, err := c.node.Stop(); err != nil {
			return wrong("%v", err)
		}
		if err := c.verify(work); err != nil {
			return err
		}
		if err := c.start(work); err != nil {
			return err
		}
	}
	return nil
}

// verify has everything on the drives verified while no node serves them. Nothing may be lost, and unless drives are rotten, of
// which not all damage was ever read, nothing may be missing or corrupt either.
func (c *campaign) verify(ctx context.Context) error {
	args := append([]string{"verify", "--quiet", "--memory", "128MiB", "--scratch", c.dir}, c.drives...)
	cmd := exec.CommandContext(ctx, c.options.Binary, args...)
	out, err := cmd.CombinedOutput()
	c.report.verified.Add(1)
	const ailing = 3 // The exit code for what healing makes good.
	if err == nil || cmd.ProcessState.ExitCode() == ailing && len(c.rotten)+len(c.ailing) > 0 {
		return nil
	}
	return wrong("penstock verify: %v\n%s", err, tail(string(out), 4<<10))
}

// begin starts the node for the first time, and makes the buckets that there always are.
func (c *campaign) begin(ctx context.Context) error {
	if err := c.start(ctx); err != nil {
		return err
	}
	client := newClient(c.node.Endpoint)
	for _, name := range []string{plainBucket, versionedBucket} {
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
			return err
		}
	}
	_, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: aws.String(versionedBucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	return err
}

// choose picks a trouble that this campaign can have.
func (c *campaign) choose(o *options) *trouble {
	sum := 0
	for i := range troubles {
		if t := &troubles[i]; t.fits(c.layout, o) {
			sum += t.weight
		}
	}
	p := c.rng.IntN(sum)
	for i := range troubles {
		if t := &troubles[i]; t.fits(c.layout, o) {
			if p -= t.weight; p < 0 {
				return t
			}
		}
	}
	panic("torture: the weights do not add up")
}

// start starts the node, with its drives in another order.
func (c *campaign) start(ctx context.Context) error {
	c.options.Drives = slices.Clone(c.drives)
	c.rng.Shuffle(len(c.options.Drives), func(i, j int) {
		c.options.Drives[i], c.options.Drives[j] = c.options.Drives[j], c.options.Drives[i]
	})
	node, err := harness.Start(ctx, c.options)
	if err != nil {
		return wrong("the node does not start: %v", err)
	}
	c.node = node
	c.report.started(node.Started)
	return nil
}

// kill ends the node with SIGKILL, if it runs.
func (c *campaign) kill() {
	if c.node != nil {
		c.node.Kill()
	}
}

// restart kills the node, starts it and checks what is there: nothing can be under way any more.
func (c *campaign) restart(ctx context.Context, chosen func() bool) error {
	c.kill()
	c.report.kills.Add(1)
	if err := c.startAndCheck(ctx, chosen); err != nil {
		return err
	}
	return nil
}

func (c *campaign) startAndCheck(ctx context.Context, chosen func() bool) error {
	if err := c.start(ctx); err != nil {
		return err
	}
	return c.check(ctx, chosen)
}

// settleLimit is how long a node may answer that it cannot tell when it can.
const settleLimit = 60 * time.Second

// check holds the node, which was started after everything that happened, against the oracle.
func (c *campaign) check(ctx context.Context, chosen func() bool) error {
	return c.checked(ctx, &checker{state: c.state, client: newClient(c.node.Endpoint), chosen: chosen, settled: true, patience: settleLimit})
}

// checkLive does so while the node runs on after trouble: what nobody knows the end of may still happen.
func (c *campaign) checkLive(ctx context.Context) error {
	return c.checked(ctx, &checker{state: c.state, client: newClient(c.node.Endpoint), chosen: c.some, patience: settleLimit})
}

// checkDoubt does so while more drives are gone than there is parity: it may not be told, but must not be told what is wrong.
func (c *campaign) checkDoubt(ctx context.Context) error {
	k := &checker{state: c.state, client: newClient(c.node.Endpoint), chosen: c.everything, doubt: true}
	err := c.checked(ctx, k)
	c.report.untold.Add(int64(k.unchecked))
	return err
}

func (c *campaign) checked(ctx context.Context, k *checker) error {
	c.report.checks.Add(1)
	err := k.check(ctx)
	if err != nil && c.exited() {
		return wrong("the node ended by itself: exit code %d; %v", c.node.ExitCode(), err)
	}
	return err
}

func (c *campaign) exited() bool {
	select {
	case <-c.node.Exited():
		return true
	default:
		return false
	}
}

// everything chooses each key; some, about one in eight.
func (c *campaign) everything() bool { return true }
func (c *campaign) some() bool       { return c.rng.IntN(8) == 0 }

// few is how many drives trouble strikes: as many as there is parity, or fewer.
func (c *campaign) few() int { return 1 + c.rng.IntN(c.parity) }

// victims chooses so many drives, those first that ail already, and notes that they do. Only the parity may ail at a time.
func (c *campaign) victims(count int) []int {
	var out []int
	for i := range c.layout.drives {
		if c.ailing[i] || c.rotten[i] {
			out = append(out, i)
		}
	}
	c.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	spare := c.parity - len(out)
	out = out[:min(count, len(out))]
	for _, i := range c.rng.Perm(c.layout.drives) {
		if len(out) < count && spare > 0 && !c.ailing[i] && !c.rotten[i] {
			out = append(out, i)
			spare--
		}
	}
	for _, i := range out {
		c.ailing[i] = true
	}
	c.report.faults.Add(int64(len(out)))
	return out
}

// pause waits for a random time, most often a short one.
func (c *campaign) pause(most time.Duration) {
	time.Sleep(time.Duration(c.rng.Int64N(int64(most))))
}

// healLimit is how long healing may take with clients away. It is seconds.
const healLimit = 5 * time.Minute

// lookTime is how long a node may take to notice what it looks for by itself: it looks at all headers every second.
const lookTime = 1500 * time.Millisecond

// healed waits until nothing is missing any more of what is known to be, for as long as it takes to notice that something is.
func (c *campaign) healed(ctx context.Context) error {
	began := time.Now()
	for whole := began; time.Since(whole) < lookTime; {
		ailing, err := c.metric(ctx, "penstock_ailing_shards")
		if err != nil {
			return err
		}
		narrow, err := c.metric(ctx, "penstock_narrow_volumes")
		if err != nil {
			return err
		}
		if ailing != "0" || narrow != "0" {
			whole = time.Now()
		}
		if time.Since(began) > healLimit {
			return wrong("%s shards still ail after %v, and %s volumes have too little parity", ailing, healLimit, narrow)
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.report.healing(time.Since(began) - lookTime)
	clear(c.ailing)
	return nil
}

// metric returns a value of the node's metrics, as it is written.
func (c *campaign) metric(ctx context.Context, name string) (string, error) {
	text, err := fetch(ctx, c.node.Endpoint+"/penstock/metrics")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("there is no metric %s", name)
}

// signal sends the node a signal.
func (c *campaign) signal(s syscall.Signal) error { return c.node.Signal(s) }
