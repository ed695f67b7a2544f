package blackbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"penstock/tools/clients/corpus"
)

// together runs f in count goroutines that begin at the same time, and waits for them.
func together(count int, f func(i int)) {
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range count {
		group.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	group.Wait()
}

// TestOneCreator has 64 clients create the same object under the condition that it is not there: one wins.
func TestOneCreator(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	for round := range scale(10, 500) {
		size := []int{10, 200 << 10}[round%2] // In the record, and in a stripe.
		target := fmt.Sprintf("/bkt/one-%d", round)
		replies := make([]*reply, 64)
		bodies := make([][]byte, len(replies))
		together(len(replies), func(i int) {
			bodies[i] = corpus.Body(uint64(i), size)
			var err error
			if replies[i], err = n.call("PUT", target, bodies[i], "If-None-Match", "*"); err != nil {
				t.Error(err)
			}
		})
		winner := -1
		for i, r := range replies {
			switch {
			case r == nil:
			case r.status == 200 && winner < 0:
				winner = i
			case r.status == 200:
				t.Errorf("round %d: %d and %d both created it", round, winner, i)
			case r.status != 412 && r.status != 409:
				t.Errorf("round %d: %v", round, r)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody created it", round)
		}
		if r := n.must(t, "GET", target, nil); !bytes.Equal(r.body, bodies[winner]) {
			t.Errorf("round %d: the object is not the winner's", round)
		}
	}
}

// TestOneUpdater has clients replace an object under the condition that it is what they read: no update may be lost.
func TestOneUpdater(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	n.must(t, "PUT", "/bkt/counter", []byte("0"))
	const clients = 16
	each := scale(5, 100)
	together(clients, func(int) {
		for done := 0; done < each; {
			r, err := n.call("GET", "/bkt/counter", nil)
			if err != nil || r.status != 200 {
				t.Errorf("%v, %v", r, err)
				return
			}
			var value int
			fmt.Sscan(string(r.body), &value)
			r, err = n.call("PUT", "/bkt/counter", fmt.Append(nil, value+1), "If-Match", r.header.Get("ETag"))
			switch {
			case err != nil:
				t.Error(err)
				return
			case r.status == 200:
				done++
			case r.status != 412 && r.status != 409:
				t.Error(r)
				return
			}
		}
	})
	if got, want := string(n.must(t, "GET", "/bkt/counter", nil).body), fmt.Sprint(clients*each); got != want {
		t.Errorf("after %s updates the counter is %s", want, got)
	}
}

// TestOwnWrites has 32 clients write, read, list and delete, each its own keys in one bucket: everyone sees at once what it did.
func TestOwnWrites(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	together(32, func(client int) {
		prefix := fmt.Sprintf("c%02d/", client)
		fail := func(step int, what string, r *reply, err error) {
			t.Errorf("client %d, step %d: %s: %v, %v", client, step, what, r, err)
		}
		listed := func(key string) (bool, *reply, error) {
			r, err := n.call("GET", "/bkt?list-type=2&prefix="+queryEscape(prefix), nil)
			return err == nil && slices.Contains(elements(string(r.body), "Key"), key), r, err
		}
		for step := range scale(8, 200) {
			key := fmt.Sprintf("%sk%d", prefix, step%3)
			body := corpus.Body(uint64(client)<<16|uint64(step), []int{0, 5, 5000, 160 << 10}[step%4])
			if r, err := n.call("PUT", "/bkt/"+key, body); err != nil || r.status != 200 {
				fail(step, "write", r, err)
			}
			if r, err := n.call("GET", "/bkt/"+key, nil); err != nil || r.status != 200 || !bytes.Equal(r.body, body) {
				fail(step, "read after write", r, err)
			}
			if there, r, err := listed(key); !there {
				fail(step, "list after write", r, err)
			}
			if step%3 == 2 {
				if r, err := n.call("DELETE", "/bkt/"+key, nil); err != nil || r.status != 204 {
					fail(step, "delete", r, err)
				}
				if r, err := n.call("GET", "/bkt/"+key, nil); err != nil || r.status != 404 {
					fail(step, "read after delete", r, err)
				}
				if there, r, err := listed(key); there || err != nil {
					fail(step, "list after delete", r, err)
				}
			}
		}
	})
}

// TestListDuringChurn lists page by page while others write and delete: keys that stay are listed once each, and no key
// that never was.
func TestListDuringChurn(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	var stay []string
	for i := range 120 {
		key := fmt.Sprintf("k%04d-stays", i*10)
		stay = append(stay, key)
		n.must(t, "PUT", "/bkt/"+key, nil)
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := worker; !stop.Load(); i += 4 {
				target := fmt.Sprintf("/bkt/k%04d-comes-and-goes", i*7%1200)
				for _, method := range []string{"PUT", "DELETE"} {
					if r, err := n.call(method, target, nil); err != nil || r.status >= 300 {
						t.Errorf("%s %s: %v, %v", method, target, r, err)
						return
					}
				}
			}
		})
	}
	defer group.Wait()
	defer stop.Store(true)
	for range scale(10, 500) {
		var keys []string
		for after := ""; ; {
			target := "/bkt?list-type=2&max-keys=17"
			if after != "" {
				target += "&continuation-token=" + queryEscape(after)
			}
			doc := string(n.must(t, "GET", target, nil).body)
			keys = append(keys, elements(doc, "Key")...)
			if element(doc, "IsTruncated") != "true" {
				break
			}
			after = element(doc, "NextContinuationToken")
		}
		if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
			t.Fatalf("not in order, or one twice: %q", keys)
		}
		var stayed []string
		for _, key := range keys {
			switch {
			case strings.HasSuffix(key, "-stays"):
				stayed = append(stayed, key)
			case !strings.HasSuffix(key, "-comes-and-goes"):
				t.Fatalf("%q was never there", key)
			}
		}
		if !slices.Equal(stayed, stay) {
			t.Fatalf("listed %q of those that stay", stayed)
		}
	}
}

// TestCompleteOrAbort has clients complete and abort the same upload, and put a part of it again, all at once: it is there
// whole, or it is gone.
func TestCompleteOrAbort(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	n.must(t, "PUT", "/bkt", nil)
	first, last := corpus.Body(1, 5<<20), corpus.Body(2, 1000)
	for round := range scale(12, 500) {
		target := fmt.Sprintf("/bkt/upload-%d", round)
		id := element(string(n.must(t, "POST", target+"?uploads", nil).body), "UploadId")
		var list strings.Builder
		list.WriteString("<CompleteMultipartUpload>")
		for i, body := range [][]byte{first, last} {
			r := n.must(t, "PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", target, i+1, id), body)
			fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, r.header.Get("ETag"))
		}
		list.WriteString("</CompleteMultipartUpload>")
		var completed, aborted atomic.Int32
		order := rand.Perm(9)
		together(len(order), func(i int) {
			switch order[i] % 3 {
			case 0:
				r, err := n.call("POST", target+"?uploadId="+id, []byte(list.String()))
				switch {
				case err != nil:
					t.Error(err)
				case r.status == 200 && r.code() == "":
					completed.Add(1)
				case r.code() != "NoSuchUpload":
					t.Errorf("round %d: complete: %v", round, r)
				}
			case 1:
				r, err := n.call("DELETE", target+"?uploadId="+id, nil)
				switch {
				case err != nil:
					t.Error(err)
				case r.status == 204:
					aborted.Add(1)
				case r.code() != "NoSuchUpload":
					t.Errorf("round %d: abort: %v", round, r)
				}
			case 2: // The same bytes, so that the list of parts stays true.
				r, err := n.call("PUT", target+"?partNumber=2&uploadId="+id, last)
				if err != nil || r.status != 200 && r.code() != "NoSuchUpload" {
					t.Errorf("round %d: part: %v, %v", round, r, err)
				}
			}
		})
		r := n.get(t, "GET", target, nil)
		switch {
		case r.status == 200 && !bytes.Equal(r.body, append(slices.Clone(first), last...)):
			t.Errorf("round %d: the object has %d other bytes", round, len(r.body))
		case r.status == 200 && completed.Load() == 0, r.status == 404 && completed.Load() > 0, r.status != 200 && r.status != 404:
			t.Errorf("round %d: completed %d times, aborted %d times: %d", round, completed.Load(), aborted.Load(), r.status)
		case r.status == 404 && aborted.Load() == 0:
			t.Errorf("round %d: neither completed nor aborted", round)
		}
		if r := n.get(t, "GET", target+"?uploadId="+id, nil); r.code() != "NoSuchUpload" {
			t.Errorf("round %d: the upload is still there: %v", round, r)
		}
	}
}
