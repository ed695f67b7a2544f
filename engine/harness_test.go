package engine

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/ioring"
)

// newRNG logs its seed; SEED=n replays it.
func newRNG(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// identities makes up n drives of one cell.
func identities(n int) []drive.Identity { return cellIdentities(n, 1) }

// cellIdentities makes up n drives for each of some cells.
func cellIdentities(n, cells int) []drive.Identity {
	var ids []drive.Identity
	cluster := drive.NewID()
	for cell := range cells {
		var known []drive.ID
		for range n {
			known = append(known, drive.NewID())
		}
		for _, id := range known {
			ids = append(ids, drive.Identity{Cluster: cluster, Drive: id, Cell: uint16(cell), Roster: drive.Roster{Known: known}})
		}
	}
	return ids
}

// memDrives returns n drives in memory that share a queue.
func memDrives(n int, seed uint64) []drive.Drive {
	return memDrivesOf(identities(n), drive.MemOptions{Queue: drive.NewMemQueue(seed)})
}

func memDrivesOf(ids []drive.Identity, opts drive.MemOptions) []drive.Drive {
	drives := make([]drive.Drive, len(ids))
	for i, id := range ids {
		drives[i] = drive.NewMem(id, opts)
	}
	return drives
}

// testOptions are small: volumes roll over within a test.
func testOptions(t testing.TB, parity int) Options {
	o := Options{
		Drives: []string{"memory"}, Parity: parity, Memory: MinMemory,
		JournalSegment: MinJournalSegment, BulkSegment: 8 << 20,
		tune: func(c *cell) {
			c.limits.poll, c.limits.look, c.limits.flush = 10*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
			c.limits.soonest, c.limits.retry = 20*time.Millisecond, 50*time.Millisecond
		},
	}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	o.Parity = -1
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	o.Parity = parity
	return o
}

// tuned returns o with a further change to its cells.
func (o Options) tuned(more func(*cell)) Options {
	before := o.tune
	o.tune = func(c *cell) { before(c); more(c) }
	return o
}

// still keeps the recycler of a cell from doing anything by itself.
func still(c *cell) { c.limits.poll = time.Hour }

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// openOn opens a store on drives that are there already.
func openOn(ctx context.Context, opts Options, drives []drive.Drive) (*Store, error) {
	s := newStore(opts)
	known := map[int][]drive.ID{}
	for _, d := range drives {
		id, err := drive.ReadIdentity(d)
		if err != nil {
			return nil, err
		}
		for len(s.cells) <= int(id.Cell) {
			s.cells = append(s.cells, newCell(&s.opts, len(s.cells), id.Cluster))
		}
		c := s.cells[id.Cell]
		c.drives.put(d)
		known[c.id] = id.Known
	}
	memory := opts.Memory / int64(len(s.cells))
	arenaLen, _ := splitMemory(memory)
	for _, c := range s.cells {
		var err error
		c.arena, err = ioring.NewArena(ioring.ArenaOptions{Size: arenaLen, Node: -1, NoPrefault: true})
		if err == nil {
			err = c.start(ctx, known[c.id], memory)
		}
		if err != nil {
			s.Close(ctx)
			return nil, err
		}
	}
	if err := s.begin(); err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

func mustOpen(t testing.TB, opts Options, drives []drive.Drive) *Store {
	t.Helper()
	s, err := openOn(t.Context(), opts, drives)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newStoreOn opens a store of its own drives and closes it when the test ends.
func newTestStore(t testing.TB, n, parity int) *Store {
	t.Helper()
	s := mustOpen(t, testOptions(t, parity), memDrives(n, 0))
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// payload is size bytes that depend on the seed alone and do not compress.
func payload(seed uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32), 1}).Read(b)
	return b
}

func etagOf(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// putBytes stores b with its MD5 as ETag.
func putBytes(ctx context.Context, s *Store, bucket, key string, b []byte, check Check) (ObjectInfo, error) {
	return s.Put(ctx, bucket, key, bytes.NewReader(b), PutOptions{
		Size: int64(len(b)), Check: check,
		Finish: func(Sums) (Final, error) { return Final{ETag: etagOf(b)}, nil },
	})
}

func getBytes(ctx context.Context, s *Store, bucket, key string) ([]byte, error) {
	return getRange(ctx, s, bucket, key, 0, -1)
}

func getRange(ctx context.Context, s *Store, bucket, key string, off, n int64) ([]byte, error) {
	h, err := s.Open(ctx, bucket, key, CurrentVersion)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if n < 0 {
		n = h.Info().Size - off
	}
	body, err := h.Body(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var out bytes.Buffer
	if _, err := body.WriteTo(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// deleteKey deletes what the key names.
func deleteKey(ctx context.Context, s *Store, bucket, key string) error {
	_, err := s.Delete(ctx, bucket, key, CurrentVersion, DeleteOptions{})
	return err
}

func mustPut(t testing.TB, s *Store, bucket, key string, b []byte) {
	t.Helper()
	if _, err := putBytes(t.Context(), s, bucket, key, b, nil); err != nil {
		t.Fatal(err)
	}
}

func mustGet(t testing.TB, s *Store, bucket, key string, want []byte) {
	t.Helper()
	got, err := getBytes(t.Context(), s, bucket, key)
	if err != nil {
		t.Fatalf("Get %s/%s: %v", bucket, key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get %s/%s: %d bytes that differ from the %d put", bucket, key, len(got), len(want))
	}
}

func mustBucket(t testing.TB, s *Store, name string) {
	t.Helper()
	if err := s.CreateBucket(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
}

// listAll returns every key and prefix of a bucket, page by page.
func listAll(ctx context.Context, s *Store, bucket string, o ListOptions) (keys, prefixes []string, err error) {
	for {
		page, err := s.List(ctx, bucket, o)
		if err != nil {
			return nil, nil, err
		}
		for _, object := range page.Objects {
			keys = append(keys, object.Key)
		}
		prefixes = append(prefixes, page.Prefixes...)
		if !page.Truncated {
			return keys, prefixes, nil
		}
		o.After, o.SkipPrefix = page.NextAfter, page.NextIsPrefix
	}
}

// reader hides everything of a reader but Read.
type reader struct{ io.Reader }

// dump is everything the index says, but for how far it has come.
func dump(t testing.TB, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	for _, c := range s.cells {
		if err := c.base.Load().index.Dump(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// copyObject copies within testBucket and keeps the ETag.
func copyObject(ctx context.Context, s *Store, src, key string) error {
	_, err := s.Copy(ctx, testBucket, src, CurrentVersion, testBucket, key, CopyOptions{
		Source: func(src *ObjectInfo) (Final, error) { return Final{ETag: src.ETag}, nil },
	})
	return err
}

// listen returns a logger that passes on what is logged.
func listen(f func(message string, attrs map[string]string)) *slog.Logger {
	return slog.New(&listener{f: f})
}

type listener struct {
	f     func(string, map[string]string)
	attrs []slog.Attr
}

func (l *listener) Enabled(context.Context, slog.Level) bool { return true }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]string{}
	for _, a := range l.attrs {
		attrs[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.String(); return true })
	l.f(r.Message, attrs)
	return nil
}

func (l *listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &listener{l.f, append(slices.Clone(l.attrs), attrs...)}
}

func (l *listener) WithGroup(string) slog.Handler { return l }
