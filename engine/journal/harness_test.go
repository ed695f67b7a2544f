package journal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/engine/volume"
	"penstock/ioring"
	"penstock/meta"
)

// source lets a journal use a volume.Set, as the engine does.
type source struct{ *volume.Set }

func (s source) Create(ctx context.Context) (journal.Volume, error) {
	v, err := s.Set.Create(ctx, volume.Journal)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (s source) Prepare() { s.Set.Prepare(volume.Journal) }

func (s source) Get(id meta.VolumeID) journal.Volume {
	if v := s.Set.Get(id); v != nil {
		return v
	}
	return nil
}

func (s source) Volumes() []journal.Volume {
	var out []journal.Volume
	for _, v := range s.Set.Volumes() {
		out = append(out, v)
	}
	return out
}

func (s source) Free(id meta.VolumeID) {
	if v := s.Set.Get(id); v != nil {
		_ = s.Set.Free(v) // As the engine does: what cannot be freed now is freed at the next start.
	}
}

// rig is the part of a store that a journal needs, on drives in memory.
type rig struct {
	t       testing.TB
	drives  []drive.Drive
	cluster drive.ID
	parity  int
	segLen  int64
	arena   *ioring.Arena
	opts    journal.Options // Template.

	set *volume.Set
	log *applied
}

// applied is an index that remembers everything it was given.
type applied struct {
	mu       sync.Mutex
	records  []entry
	position meta.Position
	fail     error
}

type entry struct {
	lsn, origin meta.LSN
	loc         meta.RecordLoc
	payload     string
}

func (a *applied) apply(b *journal.Batch) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	for _, r := range b.Records {
		a.records = append(a.records, entry{r.LSN, r.Origin, r.Loc, string(r.Payload)})
	}
	a.position = b.Position
	return nil
}

// users returns the applied records that tests appended, without the journal's own.
func (a *applied) users() []entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return users(a.records)
}

// users is what is left of records without the journal's own.
func users(records []entry) []entry {
	return slices.DeleteFunc(slices.Clone(records), func(e entry) bool { return meta.Kind(e.payload[0]) == meta.KindJournalStart })
}

// payloads returns what the records say, without where they are: a recovery with drives missing may move the last ones.
func payloads(records []entry) []string {
	var out []string
	for _, e := range users(records) {
		out = append(out, e.payload)
	}
	return out
}

// startsWith reports whether all begins with what first says.
func startsWith(all, first []entry) bool {
	a, f := payloads(all), payloads(first)
	return len(a) >= len(f) && slices.Equal(a[:len(f)], f)
}

func identities(n int) (cluster drive.ID, ids []drive.Identity) {
	cluster = drive.NewID()
	var known []drive.ID
	for range n {
		known = append(known, drive.NewID())
	}
	for _, id := range known {
		ids = append(ids, drive.Identity{Format: 1, Cluster: cluster, Drive: id, Roster: drive.Roster{Known: known}, Created: time.Unix(1, 0).UTC()})
	}
	return cluster, ids
}

var sharedArena = sync.OnceValue(func() *ioring.Arena {
	a, err := ioring.NewArena(ioring.ArenaOptions{Size: 256 << 20, NoPrefault: true})
	if err != nil {
		panic(err)
	}
	return a
})

// newRig makes a rig of n plain memory drives.
func newRig(t testing.TB, n, parity int, segLen int64) *rig {
	cluster, ids := identities(n)
	r := &rig{t: t, cluster: cluster, parity: parity, segLen: segLen, arena: sharedArena()}
	for _, id := range ids {
		r.drives = append(r.drives, drive.NewMem(id, drive.MemOptions{}))
	}
	r.opts = journal.Options{MaxShardLen: 64<<10 - 512}
	return r
}

// dirRig is a rig on directories, through a rung of the I/O ladder; "" is the best there is.
func dirRig(t testing.TB, rung ioring.Rung, n, parity int) *rig {
	cluster, ids := identities(n)
	r := &rig{t: t, cluster: cluster, parity: parity, segLen: 64 << 20, arena: sharedArena()}
	q, err := ioring.Open(ioring.Options{Arena: r.arena, Force: rung})
	if err != nil {
		t.Skipf("no %q here: %v", rung, err)
	}
	queue := drive.NewRingQueue(q)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, id := range ids {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := drive.Format(path, id); err != nil {
			t.Fatal(err)
		}
		d, err := drive.OpenDir(path, drive.DirOptions{Queue: queue})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		r.drives = append(r.drives, d)
	}
	return r
}

// open opens the volumes on those drives that are there.
func (r *rig) open() {
	r.t.Helper()
	set, err := volume.Open(context.Background(), volume.Options{
		Drives: r.drives, Cluster: r.cluster, Parity: r.parity, JournalLen: r.segLen, BulkLen: 4 * r.segLen, Timeout: 5 * time.Second,
	})
	if err != nil {
		r.t.Fatalf("volumes: %v", err)
	}
	r.set = set
	r.log = &applied{}
}

func (r *rig) options() journal.Options {
	o := r.opts
	o.Volumes, o.Arena, o.Apply = source{r.set}, r.arena, r.log.apply
	return o
}

// format starts a journal on empty drives.
func (r *rig) format() *journal.Journal {
	r.t.Helper()
	r.open()
	j, err := journal.Format(context.Background(), r.options())
	if err != nil {
		r.t.Fatalf("format: %v", err)
	}
	r.confirm()
	return j
}

// confirm says that the start has succeeded.
func (r *rig) confirm() {
	r.t.Helper()
	if err := r.set.Confirm(); err != nil {
		r.t.Fatalf("volumes: %v", err)
	}
}

// recover opens the volumes again and recovers the journal from a position.
func (r *rig) recover(from meta.Position) (*journal.Journal, journal.Recovery, error) {
	r.t.Helper()
	r.open()
	j, did, err := journal.Recover(context.Background(), r.options(), from)
	if err == nil {
		r.confirm()
	}
	return j, did, err
}

func (r *rig) mustRecover(from meta.Position) (*journal.Journal, journal.Recovery) {
	r.t.Helper()
	j, did, err := r.recover(from)
	if err != nil {
		r.t.Fatalf("recover: %v", err)
	}
	return j, did
}

// stop closes journal and volumes; the drives stay as they are.
func (r *rig) stop(j *journal.Journal) {
	r.t.Helper()
	if err := j.Close(context.Background()); err != nil {
		r.t.Fatalf("close: %v", err)
	}
	if err := r.set.Close(); err != nil {
		r.t.Fatalf("close volumes: %v", err)
	}
}

// record returns a record of n bytes that names its group, and cannot be taken for one of the journal's own.
func record(rng *rand.Rand, group, index, count, n int) []byte {
	b := []byte{0xf0}
	b = binary.AppendUvarint(b, uint64(group))
	b = binary.AppendUvarint(b, uint64(index))
	b = binary.AppendUvarint(b, uint64(count))
	for len(b) < n {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

// name returns what record put into a payload.
func name(payload string) (group, index, count int) {
	b := []byte(payload[1:])
	var v [3]uint64
	for i := range v {
		x, n := binary.Uvarint(b)
		v[i], b = x, b[n:]
	}
	return int(v[0]), int(v[1]), int(v[2])
}

// newRNG returns a random source whose seed is logged; SEED=n replays it.
func newRNG(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// mustAppend appends one record.
func mustAppend(t testing.TB, j *journal.Journal, records ...[]byte) meta.LSN {
	t.Helper()
	lsn, err := j.Append(context.Background(), records...)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return lsn
}

// checkLSNs checks that LSNs follow each other.
func checkLSNs(records []entry) error {
	for i := 1; i < len(records); i++ {
		if records[i].lsn != records[i-1].lsn+1 {
			return fmt.Errorf("LSN %d after %d", records[i].lsn, records[i-1].lsn)
		}
	}
	return nil
}

var errTest = errors.New("test")
