package meta

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// blockSize: 16 KiB halves the block index of the default 4 KiB twice over and still decodes
	// in a few microseconds when a get misses the cache.
	blockSize = 16 << 10
	// l0Compaction: level 0 is what a get pays for most; two sublevels are merged as soon as they appear.
	l0Compaction = 2
	// Past these, Apply waits for flushes and compactions. Pebble's own limits are out of reach, as its
	// waiting cannot be interrupted: with a drive that fails it would hold Apply, and then Close, for ever.
	maxMemTables = 4
	maxSublevels = 20
	noLimit      = math.MaxInt32

	failedBackoff = 100 * time.Millisecond
)

// openPebble opens the database. Pebble meets damage with an error, or in places with a panic.
func (x *Index) openPebble(o Options, lock *pebble.Lock, exists bool) (err error) {
	x.cache = pebble.NewCache(orDefault(o.CacheBytes, defaultCache))
	x.memSize = uint64(orDefault(o.MemTableBytes, defaultMemTable))
	compactions := orDefault(o.Compactions, max(1, runtime.NumCPU()/4))
	opts := &pebble.Options{
		FS:                          guardFS{o.FS, x},
		Lock:                        lock,
		ErrorIfNotExists:            exists,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableWAL:                  true, // The journal is the log.
		Cache:                       x.cache,
		MemTableSize:                x.memSize,
		MemTableStopWritesThreshold: noLimit,
		L0CompactionThreshold:       l0Compaction,
		L0StopWritesThreshold:       noLimit,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
		MaxOpenFiles:                orDefault(o.OpenFiles, defaultOpenFiles),
		CompactionConcurrencyRange:  func() (int, int) { return 1, compactions },
		Logger:                      logger{x},
		EventListener:               x.listener(),
	}
	scheduler := newScheduler()
	opts.Experimental.CompactionScheduler = scheduler
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = blockSize
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("panic: %v", p)
			}
			err = fmt.Errorf("%w: %w", ErrUnusable, cause)
		}
		if err != nil {
			x.cache.Unref()
		}
	}()
	x.db, err = pebble.Open(o.Dir, opts)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	scheduler.begin()
	return nil
}

func orDefault[T int | int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// listener notes what Pebble reports. Its functions may run under Pebble's locks.
func (x *Index) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		FlushEnd: func(pebble.FlushInfo) {
			x.flushSeen.Add(1)
			notify(x.flushed)
			notify(x.progress)
		},
		CompactionEnd:   func(pebble.CompactionInfo) { notify(x.progress) },
		BackgroundError: func(err error) { x.background(err) },
		DataCorruption:  func(info pebble.DataCorruptionInfo) { x.background(info.Details) },
	}
	l.EnsureDefaults(logger{x})
	return l
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// background takes an error that has no caller to go to. Pebble tries again and again, but the index
// ends here: whoever owns it opens it anew, or a checkpoint of it, and the journal brings it up to date.
func (x *Index) background(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		return // A compaction overtaken by another; nothing is wrong.
	}
	if x.Err() == nil {
		x.log.Error("index failed", "dir", x.dir, "err", err.Error()) // Without the stack traces that it carries.
	}
	x.fail(err)
}

// logger takes what Pebble logs. A fatal error must not end the process: the index fails, and Pebble goes on far
// enough to be closed.
type logger struct{ x *Index }

func (l logger) Infof(format string, args ...any) {}

func (l logger) Errorf(format string, args ...any) {
	if l.x.Err() == nil {
		l.x.log.Warn("index: " + fmt.Sprintf(format, args...))
	}
}

func (l logger) Fatalf(format string, args ...any) { l.x.background(fmt.Errorf(format, args...)) }

// guardFS keeps Pebble from spinning and from ending the process. It repeats a failed flush at once and without end, and each try begins
// by creating a file; once the index has failed nothing it writes matters, so the creation fails, slowly. When a
// directory cannot be synced Pebble panics on a goroutine of its own; so it is told that all is well, and the index fails.
type guardFS struct {
	vfs.FS
	x *Index
}

func (g guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	select {
	case <-g.x.failed:
		time.Sleep(failedBackoff)
		return nil, &os.PathError{Op: "create", Path: name, Err: g.x.Err()}
	default:
		return g.FS.Create(name, category)
	}
}

func (g guardFS) OpenDir(name string) (vfs.File, error) {
	dir, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardDir{dir, g.x}, nil
}

type guardDir struct {
	vfs.File
	x *Index
}

// Sync fails the index before it returns, so that nothing takes for durable what rests on it.
func (d guardDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.x.background(err)
	}
	return nil
}

func (g guardFS) Unwrap() vfs.FS { return g.FS }

// admit waits until Pebble can take another write without growing past its bounds.
func (x *Index) admit(n int) error {
	if err := x.Err(); err != nil {
		return err
	}
	x.unchecked += uint64(n)
	if x.unchecked < x.memSize/8 {
		return nil // Asking costs tens of microseconds.
	}
	for {
		m := x.db.Metrics()
		if m.MemTable.Size < maxMemTables*x.memSize && m.Levels[0].Sublevels < maxSublevels {
			x.unchecked = 0
			return nil
		}
		select {
		case <-x.progress:
		case <-x.failed:
			return x.Err()
		}
	}
}

// Flush makes everything applied so far durable.
func (x *Index) Flush(ctx context.Context) error {
	x.open.RLock()
	defer x.open.RUnlock()
	return x.flushAll(ctx)
}

// flushAll flushes and waits. Pebble's own waiting would have no end on a drive that fails.
func (x *Index) flushAll(ctx context.Context) error {
	x.mu.Lock()
	done, err := x.startFlush()
	x.mu.Unlock()
	if err != nil {
		return err
	}
	return x.awaitFlush(ctx, done)
}

// startFlush closes the memtable, which must not hold a batch that readers do not see yet: of two values of a key a flush
// keeps the newer one alone, and if that were not visible when it ends, readers would find neither. A batch is in the
// memtable before it is visible, so this takes mu, which Apply holds until it is; the caller holds it.
func (x *Index) startFlush() (done <-chan struct{}, err error) {
	if err := x.Err(); err != nil {
		return nil, err
	}
	return x.db.AsyncFlush()
}

func (x *Index) awaitFlush(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return x.Err()
	case <-x.failed:
		return x.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
