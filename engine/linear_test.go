package engine

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var linearRounds = flag.Int("linear.rounds", 2, "TestLinearizable: histories to record and check")

// TestLinearizable records what concurrent clients ask and are told about a few keys, while the index is flushed, checkpointed and
// compacted, and holds that some order of the operations of each key, each at an instant between its call and its answer, explains every
// answer: gets, listings and conditional writes included.
func TestLinearizable(t *testing.T) {
	rng := newRNG(t)
	total := 0
	for range *linearRounds {
		total += linearRound(t, rand.New(rand.NewPCG(rng.Uint64(), 21)))
	}
	t.Logf("%d operations in %d histories", total, *linearRounds)
}

const (
	linearClients = 6
	linearOps     = 60 // Of each client.
)

var linearKeys = []string{"a", "b", "c"}

// question is what a client asks about a key.
type question struct {
	key  string
	what string // get, put, create, replace, delete.
	etag string // Of what a put stores; a replacement also has old.
	old  string // What a replacement or a conditional delete wants to be there.
}

// reply is what it is told: whether it was done, and what a get or a listing saw, "" for nothing.
type reply struct {
	done bool
	etag string
}

// keyModel is one key: its state is the ETag of the object there, "" for none.
var keyModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(question).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, q, r := state.(string), input.(question), output.(reply)
		switch q.what {
		case "get":
			return r.etag == now, now
		case "put":
			return r.done, q.etag
		case "delete":
			return r.done, ""
		}
		// A conditional write is done if and only if its condition holds.
		if r.done != (now == q.old) {
			return false, now
		}
		if r.done {
			return true, q.etag
		}
		return true, now
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// recorder takes down a history.
type recorder struct {
	begun time.Time

	mu      sync.Mutex // Guards history.
	history []porcupine.Operation
}

// ask notes when a question was asked and when it was answered. A listing answers a question about each key.
func (r *recorder) ask(client int, answer func() (map[question]reply, error)) error {
	call := time.Since(r.begun).Nanoseconds()
	replies, err := answer()
	back := time.Since(r.begun).Nanoseconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	for q, a := range replies {
		r.history = append(r.history, porcupine.Operation{ClientId: client, Input: q, Call: call, Output: a, Return: back})
	}
	return err
}

func linearRound(t *testing.T, rng *rand.Rand) int {
	opts := testOptions(t, -1).tuned(func(c *cell) { c.maxRecordLen = 256 << 10 })
	opts.JournalSegment, opts.BulkSegment = 640<<10, MinBulkSegment
	s := mustOpen(t, opts, memDrives(4, rng.Uint64()))
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	r := &recorder{begun: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	var clients, others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			s.cells[0].base.Load().checkpoint(ctx) // It fails when the recycler is at one, too: they are not made to be two.
		}
	})
	for client := range linearClients {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 22))
		clients.Go(func() {
			for n := range linearOps {
				if err := r.ask(client, func() (map[question]reply, error) { return linearStep(t.Context(), s, rng, client, n) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	cancel()
	others.Wait()
	if t.Failed() {
		return 0
	}
	switch result, info := porcupine.CheckOperationsVerbose(keyModel, r.history, time.Minute); result {
	case porcupine.Illegal:
		var longest []int
		for _, part := range info.PartialLinearizations() {
			for _, order := range part {
				longest = append(longest, len(order))
			}
		}
		t.Errorf("no order of the operations explains the answers; partial orders have %v of %d", longest, len(r.history))
	case porcupine.Unknown:
		t.Log("a history was too long to be checked in a minute")
	}
	return len(r.history)
}

// linearStep asks one thing. Bodies are told apart by their ETags, and the bytes of each must be its own.
func linearStep(ctx context.Context, s *Store, rng *rand.Rand, client, n int) (map[question]reply, error) {
	q := question{key: linearKeys[rng.IntN(len(linearKeys))]}
	seed := uint64(client)<<32 | uint64(n)
	body := payload(seed, []int{100, 5000, PackThreshold + 1}[rng.IntN(3)])
	one := func(r reply, err error) (map[question]reply, error) { return map[question]reply{q: r}, err }
	conditional := func(err error) (map[question]reply, error) {
		if err != nil && KindOf(err) == KindPrecondition {
			return one(reply{}, nil)
		}
		return one(reply{done: err == nil}, err)
	}
	switch rng.IntN(8) {
	case 0, 1:
		q.what = "get"
		b, err := getBytes(ctx, s, testBucket, q.key)
		if err != nil && KindOf(err) == KindNoSuchObject {
			return one(reply{}, nil)
		}
		return one(reply{etag: etagOf(b)}, err)
	case 2:
		page, err := s.List(ctx, testBucket, ListOptions{Max: 10})
		all := map[question]reply{}
		for _, key := range linearKeys {
			q := question{key: key, what: "get"}
			all[q] = reply{}
			for _, o := range page.Objects {
				if o.Key == key {
					all[q] = reply{etag: o.ETag}
				}
			}
		}
		return all, err
	case 3:
		q.what = "delete"
		err := deleteKey(ctx, s, testBucket, q.key)
		return one(reply{done: err == nil}, err)
	case 4:
		q.what, q.etag = "create", etagOf(body)
		_, err := putBytes(ctx, s, testBucket, q.key, body, ifNone)
		return conditional(err)
	case 5:
		info, err := s.Head(ctx, testBucket, q.key, CurrentVersion)
		if err != nil {
			return nil, nil // Nothing to replace; a look without an answer is no operation.
		}
		q.what, q.old, q.etag = "replace", info.ETag, etagOf(body)
		_, err = putBytes(ctx, s, testBucket, q.key, body, func(o *ObjectInfo) error {
			if o == nil || o.ETag != q.old {
				return errThere
			}
			return nil
		})
		return conditional(err)
	default:
		q.what, q.etag = "put", etagOf(body)
		_, err := putBytes(ctx, s, testBucket, q.key, body, nil)
		return one(reply{done: err == nil}, err)
	}
}

// TestLinearModel: the checker finds what it is there to find.
func TestLinearModel(t *testing.T) {
	op := func(call, back int64, q question, r reply) porcupine.Operation {
		q.key = "k"
		return porcupine.Operation{Input: q, Call: call, Output: r, Return: back}
	}
	put := func(call, back int64, etag string) porcupine.Operation {
		return op(call, back, question{what: "put", etag: etag}, reply{done: true})
	}
	get := func(call, back int64, etag string) porcupine.Operation {
		return op(call, back, question{what: "get"}, reply{etag: etag})
	}
	create := func(call, back int64, etag string, done bool) porcupine.Operation {
		return op(call, back, question{what: "create", etag: etag}, reply{done: done})
	}
	for _, test := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"a write is seen", []porcupine.Operation{put(0, 1, "x"), get(2, 3, "x")}, true},
		{"a stale read", []porcupine.Operation{put(0, 1, "x"), put(2, 3, "y"), get(4, 5, "x")}, false},
		{"either, while it is under way", []porcupine.Operation{put(0, 1, "x"), put(2, 9, "y"), get(3, 4, "y"), get(5, 6, "y")}, true},
		{"not back again", []porcupine.Operation{put(0, 1, "x"), put(2, 9, "y"), get(3, 4, "y"), get(5, 6, "x")}, false},
		{"one creator", []porcupine.Operation{create(0, 5, "x", true), create(0, 5, "y", false)}, true},
		{"two creators", []porcupine.Operation{create(0, 5, "x", true), create(0, 5, "y", true)}, false},
		{"no creator", []porcupine.Operation{create(0, 5, "x", false)}, false},
	} {
		if got := porcupine.CheckOperations(keyModel, test.history); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
