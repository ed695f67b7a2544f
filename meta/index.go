package meta

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system an index lives on. It has a name here so that callers need not import Pebble.
type FS = vfs.FS

// Options say where and how to open an index.
type Options struct {
	FS     FS     // nil means the operating system's.
	Dir    string // Directory of the index; must be set.
	Create bool   // Make a new index if Dir is absent or empty; otherwise that is ErrUnusable.

	CacheBytes    int64 // Of uncompressed blocks, on the Go heap; 0 means 64 MiB.
	MemTableBytes int64 // Flushed when this full; up to four are in memory. 0 means 64 MiB.
	OpenFiles     int   // Most files held open; 0 means 4096.
	Compactions   int   // Most at a time; 0 means a quarter of the CPUs, at least 1.

	Logger *slog.Logger // nil means none.
}

// Index is the view of the journal that answers every question about names. Everything may be called from any goroutine;
// Apply is meant for one. Nothing may be called once Close is.
type Index struct {
	db      *pebble.DB
	cache   *pebble.Cache
	log     *slog.Logger
	dir     string
	fs      FS
	memSize uint64
	created Identity

	// Set by Pebble's callbacks, which may hold its locks: they must not block nor call back.
	failed    chan struct{} // Closed when failure is set.
	failOnce  sync.Once
	failure   atomic.Pointer[error]
	progress  chan struct{} // A flush or compaction ended. Of capacity 1; taken by the one writer.
	flushed   chan struct{} // A flush ended. Of capacity 1; for callers.
	flushSeen atomic.Int64  // Flushes ended.

	open sync.RWMutex // Held for reading by Flush and Checkpoint, which take long and let Apply go on; Close waits for them.

	mu         sync.Mutex // Serialises Apply, the steps of a rebuild and Close; guards the fields below.
	rebuilding bool
	tx         tx
	unchecked  uint64 // Bytes written since the last look at how full Pebble is.

	position atomic.Pointer[Position] // Changed under mu. Never nil once open.

	durableMu  sync.Mutex // Guards the two fields below.
	durable    Position
	durableSee int64 // The value of flushSeen when durable was read.
}

// Identity is random, made anew when an index is created or restored from a checkpoint. Within one identity a file
// name never comes to mean other content.
type Identity [16]byte

const (
	formatVersion    = 3
	defaultCache     = 64 << 20
	defaultMemTable  = 64 << 20
	defaultOpenFiles = 4096
)

// Open opens the index in o.Dir. An error wraps ErrUnusable when the index must be replaced.
func Open(o Options) (*Index, error) {
	if o.Dir == "" {
		return nil, errors.New("meta: Options.Dir is empty")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	x := &Index{
		log: o.Logger, dir: o.Dir, fs: o.FS,
		failed: make(chan struct{}), progress: make(chan struct{}, 1), flushed: make(chan struct{}, 1),
	}
	x.position.Store(&Position{})
	x.tx.init(x)
	if err := x.openDir(o); err != nil {
		return nil, fmt.Errorf("index in %s: %w", o.Dir, err)
	}
	return x, nil
}

func (x *Index) openDir(o Options) error {
	restored, err := x.checkRestored()
	if err != nil {
		return err
	}
	names, err := o.FS.List(o.Dir)
	if err != nil && !oserror.IsNotExist(err) {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	fresh := len(names) == 0
	if fresh && !o.Create {
		return fmt.Errorf("%w: none there", ErrUnusable)
	}
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer lock.Close() // Pebble holds a reference of its own while it is open.

	if err := x.openPebble(o, lock, !fresh); err != nil {
		return err
	}
	err = x.begin(fresh, restored)
	if err == nil {
		// Now, while whoever opens the index reckons with a file system that hangs.
		if err = x.tx.counted.load(x.db); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	if err != nil {
		x.Close()
		if errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		return err
	}
	return nil
}

// begin reads, or for a new index writes, what the index says of itself.
func (x *Index) begin(fresh, restored bool) error {
	if fresh {
		if err := x.writeFormat(); err != nil {
			return err
		}
	}
	if err := x.readFormat(); err != nil {
		return err
	}
	if restored {
		// From here on file names mean other content than in the index the checkpoint was taken of.
		if err := x.writeFormat(); err != nil {
			return err
		}
		if err := x.fs.Remove(x.fs.PathJoin(x.dir, manifestName)); err != nil {
			return err
		}
	}
	if _, found, err := x.get([]byte(keyRebuild)); err != nil {
		return err
	} else if found {
		return fmt.Errorf("%w: a rebuild was begun and not finished", ErrUnusable)
	}
	p, err := x.readPosition(nil)
	x.position.Store(&p)
	return err
}

// The format entry: u8 format version | 16 bytes identity.

func (x *Index) writeFormat() error {
	rand.Read(x.created[:])
	value := append([]byte{formatVersion}, x.created[:]...)
	if err := x.db.Set([]byte(keyFormat), value, pebble.NoSync); err != nil {
		return err
	}
	return x.flushAll(context.Background())
}

func (x *Index) readFormat() error {
	value, found, err := x.get([]byte(keyFormat))
	switch {
	case err != nil:
		return fmt.Errorf("%w: format: %w", ErrUnusable, err)
	case !found || len(value) == 0:
		return fmt.Errorf("%w: format entry missing", ErrUnusable)
	case value[0] != formatVersion:
		return fmt.Errorf("%w: format %d, this build knows %d", ErrUnusable, value[0], formatVersion)
	case len(value) != 1+len(x.created):
		return fmt.Errorf("%w: format entry of %d bytes", ErrUnusable, len(value))
	}
	copy(x.created[:], value[1:])
	return nil
}

// Close waits for work in progress and releases the index. What was not flushed is lost; the journal has it.
func (x *Index) Close() error {
	x.fail(errors.New("closed")) // Ends the waiting of whoever holds a lock.
	x.open.Lock()
	defer x.open.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.db.Close()
	x.cache.Unref()
	return err
}

// Err returns what made the index fail, wrapped in ErrFailed, or nil.
func (x *Index) Err() error {
	if cause := x.failure.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *cause)
	}
	return nil
}

// Failed is closed when the index fails.
func (x *Index) Failed() <-chan struct{} { return x.failed }

func (x *Index) fail(cause error) {
	x.failOnce.Do(func() {
		x.failure.Store(&cause)
		close(x.failed)
	})
}

// Position returns what the index reflects.
func (x *Index) Position() Position { return *x.position.Load() }

// FlushedPosition returns what of it is durable: after a crash the index reflects at least this.
// It is zero as long as nothing was flushed.
func (x *Index) FlushedPosition() (Position, error) {
	x.durableMu.Lock()
	defer x.durableMu.Unlock()
	seen := x.flushSeen.Load()
	if seen == x.durableSee || x.Err() != nil {
		return x.durable, nil
	}
	// What an iterator sees that leaves the memtables out is what the tables named in the manifest hold,
	// and both were synced before the flush was installed.
	p, err := x.readPosition(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return x.durable, err
	}
	x.durable, x.durableSee = p, seen
	return p, nil
}

// Flushed receives after a flush, when FlushedPosition may have moved on. Several flushes may be told of once.
func (x *Index) Flushed() <-chan struct{} { return x.flushed }

// A position: uvarint volume | uvarint batch | uvarint next | uvarint LSN | u64 chain.

func appendPosition(dst []byte, p Position) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Volume))
	dst = binary.AppendUvarint(dst, p.Batch)
	dst = binary.AppendUvarint(dst, uint64(p.Next))
	dst = binary.AppendUvarint(dst, uint64(p.LSN))
	return binary.LittleEndian.AppendUint64(dst, p.Chain)
}

// readPosition reads the position that an iterator with these options sees.
func (x *Index) readPosition(o *pebble.IterOptions) (Position, error) {
	it, err := x.db.NewIter(o)
	if err != nil {
		return Position{}, readError(err)
	}
	defer it.Close()
	if !it.SeekGE([]byte(keyPosition)) || string(it.Key()) != keyPosition {
		return Position{}, readError(it.Error())
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return Position{}, readError(err)
	}
	r := view(value)
	p := Position{
		Volume: VolumeID(r.uvarint()), Batch: r.uvarint(), Next: r.size(), LSN: LSN(r.uvarint()), Chain: r.u64(),
	}
	if !r.done() {
		return Position{}, fmt.Errorf("%w: position entry", ErrCorrupt)
	}
	return p, nil
}

// get returns a copy of the value of key.
func (x *Index) get(key []byte) (value []byte, found bool, err error) {
	v, closer, err := x.db.Get(key)
	if err == pebble.ErrNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError(err)
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}
