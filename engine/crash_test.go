package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
)

// value is what a key may hold: nothing, or a payload.
type value struct {
	present bool
	seed    uint64
	size    int
}

func (v value) String() string {
	if !v.present {
		return "absent"
	}
	return fmt.Sprintf("seed %d, %d bytes", v.seed, v.size)
}

// oracle knows what each key must hold: what was last acknowledged, or what a write in flight would make it.
type oracle struct {
	mu      sync.Mutex // Guards the fields below.
	acked   map[string]value
	pending map[string]value
	writes  int
}

func (o *oracle) begin(key string, v value) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending[key] = v
}

func (o *oracle) end(key string, v value, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.acked[key] = v
		delete(o.pending, key)
		o.writes++
	}
}

// churn writes objects of such sizes to keys of its own until ctx ends.
func churn(ctx context.Context, t *testing.T, s *Store, o *oracle, rng *rand.Rand, worker int, sizes []int) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("w%d/k%d", worker, rng.IntN(6))
		v := value{present: true, seed: rng.Uint64N(1 << 20), size: sizes[rng.IntN(len(sizes))]}
		var err error
		switch r := rng.IntN(10); {
		case r < 6:
			o.begin(key, v)
			_, err = putBytes(ctx, s, testBucket, key, payload(v.seed, v.size), nil)
		case r < 8:
			v = value{}
			o.begin(key, v)
			err = deleteKey(ctx, s, testBucket, key)
		case r < 9:
			src := fmt.Sprintf("w%d/k%d", worker, rng.IntN(6))
			o.mu.Lock()
			v = o.acked[src]
			_, busy := o.pending[src]
			o.mu.Unlock()
			if busy || !v.present {
				continue
			}
			o.begin(key, v)
			_, err = s.Copy(ctx, testBucket, src, CurrentVersion, testBucket, key, CopyOptions{
				Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
			})
		default:
			err = multipart(ctx, s, o, key, v)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", key, err)
			return
		}
		o.end(key, v, err)
	}
}

// multipart stores the value in two parts.
func multipart(ctx context.Context, s *Store, o *oracle, key string, v value) error {
	b := payload(v.seed, v.size)
	id, err := s.CreateUpload(ctx, testBucket, key, nil)
	if err != nil {
		return err
	}
	var complete CompleteOptions
	for i, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		info, err := s.PutPart(ctx, testBucket, key, id, i+1, bytes.NewReader(part), PutOptions{
			Size: int64(len(part)), Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(part)}, nil },
		})
		if err != nil {
			return err
		}
		complete.Parts = append(complete.Parts, CompletePart{Number: i + 1, ETag: info.ETag})
	}
	complete.Finish = func([]PartInfo, []Attr) (Final, error) { return Final{ETag: etagOf(b)}, nil }
	o.begin(key, v)
	_, err = s.CompleteUpload(ctx, testBucket, key, id, complete)
	return err
}

// check compares every key with the oracle, and settles what was pending: from now on it stays so.
func (o *oracle) check(t *testing.T, s *Store) {
	t.Helper()
	if err := o.compare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// compare is check for a caller that goes on after a failure.
func (o *oracle) compare(ctx context.Context, s *Store) error {
	keys := map[string]bool{}
	for key := range o.acked {
		keys[key] = true
	}
	for key := range o.pending {
		keys[key] = true
	}
	var present []string
	for _, key := range sortedKeys(keys) {
		allowed := []value{o.acked[key]}
		if v, ok := o.pending[key]; ok {
			allowed = append(allowed, v)
		}
		got, err := getBytes(ctx, s, testBucket, key)
		if err != nil && KindOf(err) != KindNoSuchObject {
			return fmt.Errorf("%s: %w", key, err)
		}
		i := slices.IndexFunc(allowed, func(v value) bool {
			if err != nil {
				return !v.present
			}
			return v.present && len(got) == v.size && bytes.Equal(got, payload(v.seed, v.size))
		})
		if i < 0 {
			return fmt.Errorf("%s: got %d bytes, %v; allowed %v", key, len(got), err, allowed)
		}
		o.acked[key] = allowed[i]
		delete(o.pending, key)
		if err == nil {
			present = append(present, key)
		}
	}
	listed, _, err := listAll(ctx, s, testBucket, ListOptions{Max: 7})
	if err != nil {
		return err
	}
	if !slices.Equal(listed, present) {
		return fmt.Errorf("listing has\n%q\nand these keys answer\n%q", listed, present)
	}
	return nil
}

// TestPowerCut cuts the power of all drives at random instants under concurrent writes, again and again, and also while the store
// recovers. What was acknowledged must be there, what was not may be there as a whole, and what is there stays.
func TestPowerCut(t *testing.T) {
	rng := newRNG(t)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		n := []int{1, 2, 4, 6}[rng.IntN(4)]
		t.Run(fmt.Sprintf("drives=%d", n), func(t *testing.T) { powerCut(t, rng, n, testOptions(t, -1)) })
	}
}

func powerCut(t *testing.T, rng *rand.Rand, n int, opts Options) {
	domain := drive.NewDomain(identities(n), 0, drive.DomainOptions{Seed: rng.Uint64()})
	o := &oracle{acked: map[string]value{}, pending: map[string]value{}}
	for life := range 4 {
		s, err := openOn(t.Context(), opts, domain.Drives())
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		s.minPart = 0
		if life == 0 {
			mustBucket(t, s, testBucket)
		} else {
			o.check(t, s)
			o.check(t, s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for worker := range 4 {
			workerRNG := rand.New(rand.NewPCG(rng.Uint64(), 2))
			workers.Go(func() { churn(ctx, t, s, o, workerRNG, worker, sizes[:len(sizes)-1]) })
		}
		until := 20 + rng.IntN(400)
		start := domain.Events()
		for deadline := time.Now().Add(10 * time.Second); domain.Events()-start < until && time.Now().Before(deadline); {
			time.Sleep(200 * time.Microsecond)
		}
		// While the oracle is locked no write begins or is acknowledged.
		o.mu.Lock()
		after := domain.Cut(drive.RandomChoice(rng))
		image := &oracle{acked: maps.Clone(o.acked), pending: maps.Clone(o.pending)}
		o.mu.Unlock()
		cancel()
		workers.Wait()
		closeStore(t, s)

		// Power fails again while the store recovers.
		for range rng.IntN(3) {
			half := make(chan *drive.Domain, 1)
			at := after.Events() + 1 + rng.IntN(60)
			again := after
			again.SetHook(func(event int) {
				if event == at {
					select {
					case half <- again.Cut(drive.RandomChoice(rng)):
					default:
					}
				}
			})
			s, err := openOn(t.Context(), opts, again.Drives())
			if err != nil {
				t.Fatalf("life %d, recovery: %v", life, err)
			}
			again.SetHook(nil)
			closeStore(t, s)
			select {
			case after = <-half:
			default:
				after = again.Cut(drive.RandomChoice(rng)) // Recovery was over before the instant came.
			}
		}
		domain, o = after, image
	}
	s, err := openOn(t.Context(), opts, domain.Drives())
	if err != nil {
		t.Fatal(err)
	}
	o.check(t, s)
	closeStore(t, s)
}
