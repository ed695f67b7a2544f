package blackbox

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A dripper is a client that begins a large upload and then sends next to nothing. Told to come back later, it does.
type dripper struct {
	*client
	target  string
	bodyLen int
	drip    []byte // Sent every second.

	answers []*reply
	waits   []time.Duration // For each answer, from the last byte of the headers.
	err     error
}

// run uploads until stop is closed. All fields may be read once it has returned.
func (d *dripper) run(stop <-chan struct{}) {
	for d.err == nil {
		again, err := d.upload(stop)
		d.err = err
		if !again {
			return
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Second): // As Retry-After says.
		}
	}
}

func (d *dripper) upload(stop <-chan struct{}) (again bool, err error) {
	q := d.signed("PUT", d.target, nil)
	q.length = d.bodyLen
	w, err := d.dial()
	if err != nil {
		return false, err
	}
	defer w.Close()
	w.SetDeadline(time.Time{})
	if _, err := w.Write(append(q.head(), d.drip...)); err != nil {
		return false, err
	}
	begun := time.Now()
	answered := make(chan *reply, 1)
	go func() {
		r, _ := readReply(w.in, "PUT") // No answer comes when stop ends the upload.
		answered <- r
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.Write(d.drip) // Fails when the answer is on its way.
		case r := <-answered:
			if r == nil {
				return false, fmt.Errorf("%s: the connection ended without an answer", d.target)
			}
			d.answers = append(d.answers, r)
			d.waits = append(d.waits, time.Since(begun))
			return true, nil
		case <-stop:
			w.Close()
			<-answered
			return false, nil
		}
	}
}

// overhead is what a node may take beside --memory: for each connection stacks, and while a request is read a buffer of 16 KiB;
// memory of the index that is being written; and what the garbage collector has not come to yet, which is most of it. With
// 1,000 slow clients the process stays below --memory alone, because its caches are not full; with 10,000 it takes all of this.
const overhead = 512 << 20

// TestMemoryCeiling has a thousand clients begin uploads of 64 MiB and drip. The node must stay under its ceiling, tell
// those it has no room for to come back, and serve others meanwhile.
func TestMemoryCeiling(t *testing.T) {
	testCeiling(t, ceiling{memory: 256 << 20, clients: 1000, bodyLen: 64 << 20, time: 5 * time.Second})
}

// TestMemoryCeilingManyConnections is the same with ten thousand clients and a body that is not much larger than what
// the node takes at a time.
func TestMemoryCeilingManyConnections(t *testing.T) {
	if !*long {
		t.Skip("ten thousand clients take minutes: -long")
	}
	testCeiling(t, ceiling{memory: 512 << 20, clients: 10000, bodyLen: 1 << 20, time: time.Minute})
}

type ceiling struct {
	memory  int64
	clients int
	bodyLen int
	time    time.Duration
}

func testCeiling(t *testing.T, c ceiling) {
	n := start(t, setup{memory: fmt.Sprint(c.memory)})
	n.must(t, "PUT", "/bkt", nil)
	large := bytes.Repeat([]byte("large "), 200_000)
	n.must(t, "PUT", "/bkt/small", []byte("small"))
	n.must(t, "PUT", "/bkt/large", large)
	base := n.usage(t)

	drippers := make([]dripper, c.clients)
	var group sync.WaitGroup
	stop := make(chan struct{})
	for i := range drippers {
		d := &drippers[i]
		*d = dripper{client: n.client, target: fmt.Sprintf("/bkt/slow-%d", i), bodyLen: c.bodyLen, drip: large[:4<<10]}
		group.Go(func() { d.run(stop) })
	}
	// Others, meanwhile.
	counts := map[string]int{}
	var slowest time.Duration
	wanted := []string{"GET small 200", "GET large 200", "PUT other-small 200", "PUT other-large 200", "GET /bkt?list-type=2 200", "DELETE absent 204"}
	served := func() bool {
		return !slices.ContainsFunc(wanted, func(what string) bool { return counts[what] == 0 })
	}
	// A write may be refused now and then: it queues with a thousand others for what those too slow have to give back.
	for begun := time.Now(); time.Since(begun) < c.time || !served() && time.Since(begun) < 5*c.time; {
		for _, q := range []*request{
			n.signed("PUT", "/bkt/other-small", []byte("other")), n.signed("GET", "/bkt/small", nil),
			n.signed("PUT", "/bkt/other-large", large), n.signed("GET", "/bkt/large", nil),
			n.signed("GET", "/bkt?list-type=2", nil), n.signed("DELETE", "/bkt/absent", nil),
		} {
			begun := time.Now()
			r, err := n.do(q)
			slowest = max(slowest, time.Since(begun))
			if err != nil {
				t.Fatal(err)
			}
			counts[fmt.Sprintf("%s %s %d", q.method, strings.TrimPrefix(q.target, "/bkt/"), r.status)]++
		}
	}
	during := n.usage(t)
	close(stop)
	group.Wait()

	var waits []time.Duration
	for i := range drippers {
		if drippers[i].err != nil {
			t.Error(drippers[i].err)
		}
		waits = append(waits, drippers[i].waits...)
		for _, r := range drippers[i].answers {
			if r.status != 503 || r.code() != "SlowDown" || r.header.Get("Retry-After") == "" {
				t.Fatalf("a slow client was told %v", r)
			}
		}
	}
	if len(waits) == 0 {
		t.Fatal("every slow client found room; the test tests nothing")
	}
	slices.Sort(waits)
	t.Logf("before: %v; during: %v", base, during)
	t.Logf("others: %v, slowest %v", counts, slowest)
	t.Logf("%d were told to come back, after %v, 99 of 100 within %v", len(waits), waits[len(waits)/2], waits[len(waits)*99/100])
	if most := c.memory + overhead; during.peak > most {
		t.Errorf("the process took %d MiB; its ceiling is %d MiB", during.peak>>20, most>>20)
	}
	// The node says so within a second, to those who got in and then sent nothing within three; and this machine may be busy.
	if late := waits[len(waits)/2]; late > 3*time.Second {
		t.Errorf("half of them waited %v to be told to come back", late)
	}
	for _, what := range wanted {
		if counts[what] == 0 {
			t.Errorf("not one %s meanwhile", what)
		}
	}
	n.settles(t, base)
	for _, key := range n.keys(t, "bkt") {
		if strings.HasPrefix(key, "slow-") {
			t.Errorf("%s is stored, though its body never ended", key)
		}
	}
	n.must(t, "PUT", "/bkt/after", make([]byte, 16<<20))
}
