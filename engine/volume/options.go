package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"penstock/engine/drive"
	"penstock/ioring"
)

// Options say which drives a Set is made of and how it uses them.
type Options struct {
	Drives  []drive.Drive // Those present, in any order. At least one. They stay the caller's to close, after the Set.
	Known   []drive.ID    // All drives of the cell, present or not; those that the present ones know are added.
	Cluster drive.ID      // Must be set.
	Cell    uint16
	Parity  int // As for Geometry: -1 chooses by the number of healthy drives.

	// Lengths of new segments, multiples of 4 KiB; 0 chooses by the drives, see defaultLengths.
	JournalLen, BulkLen int64

	// Reserve is how many journal volumes must still find room after a bulk volume was made, and one bulk volume
	// besides: so that on full drives deletes go on, which write records, and compaction, which moves what lives before it
	// frees what does not. Compaction's own bulk volumes leave room for the last of them alone. 0 means 3.
	Reserve int

	// Timeout is when a drive that has not answered is given up: for a header, a new segment or a look
	// at its space. 0 means 30 s: making a segment syncs a directory, which a busy file system
	// may take long over, and giving up a healthy drive costs more than waiting.
	Timeout time.Duration

	// OpenTimeout is the same for Open, where a drive that makes progress may take as long as it likes. 0 means Timeout.
	OpenTimeout time.Duration

	Arena  *ioring.Arena // Memory for headers, as far as it has some free; nil means ordinary memory.
	Logger *slog.Logger  // nil discards.
}

func (o *Options) check() error {
	if len(o.Drives) == 0 {
		return ErrNoDrives
	}
	if o.Cluster.IsZero() {
		return errors.New("volume: no cluster id")
	}
	if o.Parity < -1 || o.Parity >= MaxShards {
		return fmt.Errorf("volume: parity %d is not between -1 and %d", o.Parity, MaxShards-1)
	}
	for _, n := range []int64{o.JournalLen, o.BulkLen} {
		if n != 0 && (n < 2*headerLen || n%drive.BlockLen != 0) {
			return fmt.Errorf("volume: segment length %d is not a multiple of %d, two at least", n, drive.BlockLen)
		}
	}
	for i, d := range o.Drives {
		for _, other := range o.Drives[:i] {
			if d.ID() == other.ID() {
				return &drive.RefusedError{
					Path: d.Path(), Reason: drive.Duplicate, Right: "take the copy away",
					What: fmt.Sprintf("has the same drive id as %s, %v: one is a copy of the other", other.Path(), d.ID()),
				}
			}
		}
	}
	if o.Reserve == 0 {
		o.Reserve = 3
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.OpenTimeout == 0 {
		o.OpenTimeout = o.Timeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Bounds of the lengths that defaultLengths chooses.
const (
	minBulkLen     = 16 << 20
	usualBulkLen   = 1 << 30
	minJournalLen  = 16 << 20
	maxJournalLen  = 256 << 20
	segmentsLeast  = 128  // A small drive is cut into at least so many, lest a few half-empty ones fill it.
	segmentsMost   = 8192 // A large one into at most about so many: each is a file that is kept open.
	indexShare     = 64   // One part in so many of a drive is left to the index and its checkpoints,
	maxIndexShare  = 16 << 30
	journalsPerLen = 4 // A bulk segment is as long as so many of the journal, within the bounds.
)

// defaultLengths chooses the lengths of segments for drives of which the smallest and the largest have so
// many bytes: a power of two, 1 GiB for bulk; less on drives smaller than 128 GiB, down to
// 16 MiB; more on drives larger than 8 TiB. The journal's are a quarter of that, from 16 to 256 MiB.
func defaultLengths(smallest, largest int64) (journalLen, bulkLen int64) {
	bulkLen = min(usualBulkLen, floorPower(smallest/segmentsLeast))
	if bulkLen == usualBulkLen {
		bulkLen = max(bulkLen, floorPower(largest/segmentsMost))
	}
	bulkLen = max(bulkLen, minBulkLen)
	journalLen = min(max(bulkLen/journalsPerLen, minJournalLen), maxJournalLen)
	return journalLen, bulkLen
}

// floorPower returns the largest power of two that is not above n, or 0.
func floorPower(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}
