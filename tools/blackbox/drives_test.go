package blackbox

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/tools/clients/corpus"
)

// kept is what a test has stored and expects back.
type kept map[string][]byte

// store puts objects of every shape: empty, within a record, a stripe, several, and completed from parts.
func (k kept) store(t testing.TB, n *node, prefix string) {
	t.Helper()
	for i, size := range []int{0, 1, 4 << 10, 128 << 10, 128<<10 + 1, 1 << 20, 9<<20 + 5} {
		k.put(t, n, fmt.Sprintf("%s-%d", prefix, size), corpus.Body(uint64(i)<<8|uint64(len(k)), size))
	}
	key := prefix + "-parts"
	id := element(string(n.must(t, "POST", "/bkt/"+key+"?uploads", nil).body), "UploadId")
	var whole []byte
	var list strings.Builder
	for number, size := range []int{5 << 20, 300} {
		part := corpus.Body(uint64(len(k)), size)
		whole = append(whole, part...)
		r := n.must(t, "PUT", fmt.Sprintf("/bkt/%s?partNumber=%d&uploadId=%s", key, number+1, id), part)
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", number+1, r.header.Get("ETag"))
	}
	done := "<CompleteMultipartUpload>" + list.String() + "</CompleteMultipartUpload>"
	for repeat := 0; ; repeat++ {
		r := n.get(t, "POST", "/bkt/"+key+"?uploadId="+id, []byte(done))
		if r.status == 200 && r.code() == "" || r.code() == "NoSuchUpload" && repeat > 0 { // The latter if it was completed before the answer was lost.
			break
		}
		if r.status < 500 && r.status != 200 || repeat == 100 {
			t.Fatal(r)
		}
		time.Sleep(100 * time.Millisecond)
	}
	k[key] = whole
}

func (k kept) put(t testing.TB, n *node, key string, body []byte) {
	t.Helper()
	n.must(t, "PUT", "/bkt/"+key, body)
	k[key] = body
}

// check reads everything back and lists it.
func (k kept) check(t testing.TB, n *node, when string) {
	t.Helper()
	var want []string
	for key, body := range k {
		want = append(want, key)
		if r := n.must(t, "GET", "/bkt/"+key, nil); !bytes.Equal(r.body, body) {
			t.Errorf("%s: %s: status %d, %d bytes that are not the %d stored", when, key, r.status, len(r.body), len(body))
		}
		if len(body) < 1000 {
			continue
		}
		from, to := len(body)/3, len(body)*2/3
		r := n.must(t, "GET", "/bkt/"+key, nil, "Range", fmt.Sprintf("bytes=%d-%d", from, to))
		if r.status != 206 || !bytes.Equal(r.body, body[from:to+1]) {
			t.Errorf("%s: %s, bytes %d to %d: status %d, %d bytes", when, key, from, to, r.status, len(r.body))
		}
	}
	slices.Sort(want)
	if got := n.keys(t, "bkt"); !slices.Equal(got, want) {
		t.Errorf("%s: listed %q, want %q", when, got, want)
	}
}

// TestDrivesGo removes two of six drive directories under a running node, writes on, starts it again without them, and
// writes on. Everything acknowledged reads back, each time.
func TestDrivesGo(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]int{{0, 1}, {2, 5}, {3, 4}}[:scale(2, 3)] {
		t.Run(fmt.Sprintf("%d,%d", pair[0]+1, pair[1]+1), func(t *testing.T) {
			n := start(t, setup{args: []string{"--bulk-segment", "2MiB"}}) // New volumes are needed all the time.
			n.unsure = true
			n.must(t, "PUT", "/bkt", nil)
			objects := kept{}
			objects.store(t, n, "before")
			var stop atomic.Bool
			var others sync.WaitGroup
			others.Go(func() { // A reader that goes on throughout.
				want := objects["before-1048576"]
				for !stop.Load() {
					r, err := n.call("GET", "/bkt/before-1048576", nil)
					if err == nil && r.status == 503 {
						time.Sleep(10 * time.Millisecond) // The drive of the index may be among them.
						continue
					}
					if err != nil || r.status != 200 || !bytes.Equal(r.body, want) {
						t.Errorf("a read meanwhile: %v, %v", r, err)
						return
					}
				}
			})
			for _, i := range pair {
				// Writes go on in it meanwhile.
				eventually(t, 5*time.Second, func() string {
					if err := os.RemoveAll(n.drives[i]); err != nil {
						return err.Error()
					}
					return ""
				})
				objects.store(t, n, fmt.Sprintf("without-%d", i+1))
			}
			stop.Store(true)
			others.Wait()
			objects.check(t, n, "with two drives gone")
			n.end(t)
			n.launch(t)
			objects.check(t, n, "after a start without them")
			objects.store(t, n, "after")
			n.Kill()
			n.launch(t)
			objects.check(t, n, "after a kill without them")
		})
	}
}
