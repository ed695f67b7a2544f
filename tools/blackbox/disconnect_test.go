package blackbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"penstock/fastapi/sigv4"
	"penstock/tools/clients/corpus"
)

// newRNG returns a source of random numbers and logs its seed.
func newRNG(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// A vanishing client sends a request up to some byte, then is gone.
type vanishing struct {
	key  string // "" unless the request, had it been sent whole, would have made this object.
	wire []byte
	body []byte // Of the object.
	cut  int    // How many bytes of wire are sent.
	read int    // How many bytes of the answer are read first.
	hard bool   // The connection is reset, not closed.
}

// run sends what is to be sent. Errors are for the server to make: here they are part of being gone.
func (v *vanishing) run(c *client) error {
	w, err := c.dial()
	if err != nil {
		return err
	}
	defer w.Close()
	if v.hard {
		w.Conn.(*net.TCPConn).SetLinger(0)
	}
	w.Write(v.wire[:v.cut])
	for left := v.read; left > 0; {
		n, err := w.in.Discard(min(left, 4096))
		if left -= n; err != nil {
			break
		}
	}
	return nil
}

// vanishingBodies are the lengths of the bodies: within the record, one stripe, several.
var vanishingBodies = []int{1, 3000, 100 << 10, 300 << 10, 1<<20 + 4097, 9 << 20}

// newVanishing builds one of each kind of request in turn, cut at a random byte.
func newVanishing(c *client, rng *rand.Rand, i int, upload string) *vanishing {
	v := &vanishing{body: corpus.Body(uint64(i), vanishingBodies[rng.IntN(len(vanishingBodies))]), hard: i%2 == 0}
	if rng.IntN(4) > 0 {
		v.body = v.body[:min(len(v.body), 300<<10)] // Mostly small, for time's sake.
	}
	key := fmt.Sprintf("cut-%d", i)
	var q *request
	switch i % 5 {
	case 0:
		q = c.signed("PUT", "/bkt/"+key, v.body)
		v.key = key
	case 1:
		q = c.chunked("PUT", "/bkt/"+key, v.body, 64<<10, sigv4.StreamingSigned)
		v.key = key
	case 2:
		q = c.chunked("PUT", "/bkt/"+key, v.body, 64<<10, sigv4.StreamingUnsignedTrailer)
		v.key = key
	case 3:
		q = c.signed("PUT", fmt.Sprintf("/bkt/upload?partNumber=%d&uploadId=%s", 1+i%100, upload), v.body)
	case 4:
		q = c.signed("GET", "/bkt/whole", nil)
		v.read = 1 + rng.IntN(4<<20)
	}
	v.wire = q.bytes()
	head := len(v.wire) - len(q.body)
	switch {
	case v.read > 0, rng.IntN(8) == 0:
		v.cut = len(v.wire) // Gone after the body, before the answer.
	case rng.IntN(4) == 0:
		v.cut = rng.IntN(head)
	default:
		v.cut = head + rng.IntN(len(q.body)+1)
	}
	return v
}

// TestDisconnects has clients vanish at any byte of what they send and read. Nothing partial may be seen afterwards, and
// everything they held is given back.
func TestDisconnects(t *testing.T) {
	t.Parallel()
	n := start(t, setup{args: []string{"--bulk-segment", "8MiB"}})
	n.must(t, "PUT", "/bkt", nil)
	rng := newRNG(t)
	count := scale(150, 5000)
	n.disconnects(t, rng, 0, count)
	n.end(t) // Orderly: every buffer is back.
	n.launch(t)
	n.disconnects(t, rng, count, 2*count)
	if left := n.census(t); len(left) > 0 {
		t.Errorf("an idle node has goroutines in requests:\n%s", strings.Join(left, "\n\n"))
	}
}

// disconnects lets clients number from to up to vanish, and looks at what is left.
func (n *node) disconnects(t *testing.T, rng *rand.Rand, from, to int) {
	whole := corpus.Body(1, 8<<20)
	n.must(t, "PUT", "/bkt/whole", whole)
	upload := element(string(n.must(t, "POST", "/bkt/upload?uploads", nil).body), "UploadId")
	base := n.usage(t)
	const workers = 16
	work := make(chan *vanishing, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for v := range work {
				if err := v.run(n.client); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var sent []*vanishing // Those that might have made an object, without what they sent.
	for i := from; i < to; i++ {
		v := newVanishing(n.client, rng, i, upload)
		if v.key != "" {
			sent = append(sent, &vanishing{key: v.key, body: v.body, cut: v.cut - len(v.wire)})
		}
		work <- v
	}
	close(work)
	group.Wait()
	n.settles(t, base)

	keys := n.keys(t, "bkt")
	for _, v := range sent {
		there := slices.Contains(keys, v.key)
		switch r := n.get(t, "GET", "/bkt/"+v.key, nil); {
		case there != (r.status == 200):
			t.Errorf("%s: listed: %v, read: %v", v.key, there, r)
		case there && v.cut < 0:
			t.Errorf("%s is there, though its last %d bytes were never sent", v.key, -v.cut)
		case there && !bytes.Equal(r.body, v.body):
			t.Errorf("%s: %d bytes differ from the %d sent", v.key, len(r.body), len(v.body))
		}
	}
	if r := n.must(t, "GET", "/bkt/whole", nil); !bytes.Equal(r.body, whole) {
		t.Error("what was there before has changed")
	}
	n.must(t, "PUT", "/bkt/good", whole)
	if r := n.must(t, "GET", "/bkt/good", nil); !bytes.Equal(r.body, whole) {
		t.Error("a good upload afterwards reads otherwise")
	}
	n.must(t, "DELETE", "/bkt/upload?uploadId="+upload, nil)
	for _, key := range n.keys(t, "bkt") {
		n.must(t, "DELETE", "/bkt/"+key, nil)
	}
	n.settles(t, base)
	// Space of uploads that came to nothing is used again, or these files would become more with every client.
	if count := n.segments(t); count > maxSegments {
		t.Errorf("%d segment files", count)
	}
}

// maxSegments is what six drives may hold after some hundred uploads that came to nothing, with volumes of 32 MiB.
const maxSegments = 6 * 24

// segments counts the segment files on all drives.
func (n *node) segments(t testing.TB) (count int) {
	t.Helper()
	for _, drive := range n.drives {
		files, err := os.ReadDir(filepath.Join(drive, "segments"))
		if err != nil {
			t.Fatal(err)
		}
		count += len(files)
	}
	return count
}

// census ends the process with SIGQUIT, at which Go's runtime writes out every goroutine, and returns those that serve a
// request. It is the one way to count them from outside.
func (n *node) census(t testing.TB) (serving []string) {
	t.Helper()
	n.ended = true
	n.closeIdle()
	if err := n.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-n.Exited()
	_, dump, ok := strings.Cut(n.Log(), "SIGQUIT: quit")
	if !ok {
		t.Fatalf("no list of goroutines: %s", n.Log())
	}
	for _, g := range strings.Split(dump, "\n\n") {
		if strings.Contains(g, "fasthttp.(*Server).serveConn(") || strings.Contains(g, "fastapi.(*request)") || strings.Contains(g, "engine.(*body)") {
			serving = append(serving, g)
		}
	}
	return serving
}
