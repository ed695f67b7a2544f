package meta

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// The classes of failure. Every error of this package that is none of them is an I/O error of the file system below.
var (
	// ErrUnusable says that the index on the drive cannot be opened. The journal still holds everything:
	// restore a checkpoint or rebuild.
	ErrUnusable = errors.New("meta: index unusable")
	// ErrCorrupt marks bytes that cannot be what was written: of the index, or of a record.
	ErrCorrupt = errors.New("meta: corrupt")
	// ErrFailed says that the index met an error it cannot work past. It answers reads as long as it can, applies nothing
	// more, and its flushed position stands still. Close it and open it again, or a checkpoint of it.
	ErrFailed = errors.New("meta: index failed")
	// ErrUnknownRecord marks a record whose kind or format version this build does not know.
	ErrUnknownRecord = errors.New("meta: unknown record")
	// ErrDangling marks a record that references a blob which is not there.
	ErrDangling = errors.New("meta: dangling reference")
	// ErrInconsistent marks a record that contradicts the index, such as freeing a volume that holds live bytes.
	ErrInconsistent = errors.New("meta: record contradicts the index")
)

// readError classifies what Pebble answers to a read. A file that has gone is damage as much as one that does not verify.
func readError(err error) error {
	if pebble.IsCorruptionError(err) || oserror.IsNotExist(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
