package meta_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/meta"
)

// gate holds the writing of tables up while it is shut, and fails it once it is broken.
type gate struct {
	shut atomic.Pointer[chan struct{}]
	down atomic.Bool
}

func (g *gate) String() string { return "gate" }

func (g *gate) MaybeError(op errorfs.Op) error {
	if op.Kind != errorfs.OpCreate || !strings.HasSuffix(op.Path, ".sst") {
		return nil
	}
	if c := g.shut.Load(); c != nil {
		<-*c
	}
	if g.down.Load() {
		return errorfs.ErrInjected
	}
	return nil
}

// TestBackPressure lets the drive hang: Apply must wait before memory grows without bound, and go on, or fail, with the drive.
func TestBackPressure(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const memTable, valueLen, count = 64 << 10, 8 << 10, 200
			g := &gate{}
			x, err := meta.Open(meta.Options{FS: errorfs.Wrap(vfs.NewMem(), g), Dir: "index", Create: true, MemTableBytes: memTable})
			mustNot(t, err)
			opened := make(chan struct{})
			g.shut.Store(&opened)
			f := &feed{t: t, x: x, in: 1}
			var applied atomic.Int64
			done := make(chan error, 1)
			go func() {
				for range count {
					if _, err := f.try(&meta.Config{Name: "n", Value: strings.Repeat("v", valueLen)}); err != nil {
						done <- err
						return
					}
					applied.Add(valueLen)
				}
				done <- nil
			}()
			synctest.Wait()
			if n := applied.Load(); n < memTable || n > 6*memTable {
				t.Errorf("%d bytes were applied while the drive hung, memtables take %d", n, memTable)
			}
			g.down.Store(down)
			close(opened)
			if err := <-done; down != errors.Is(err, meta.ErrFailed) || !down && err != nil {
				t.Errorf("drive down %v: %v", down, err)
			}
			if err := x.Close(); err != nil && !down {
				t.Error(err)
			}
		})
	}
}
