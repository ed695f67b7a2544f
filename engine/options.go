package engine

import (
	"log/slog"
	"time"

	"penstock/numa"
)

// Options say which drives make up the store and what it may use.
type Options struct {
	Drives   []string // Directories, one for each drive. At least one.
	Parity   int      // Parity shards of new volumes; -1 chooses by the number of healthy drives.
	Memory   int64    // Bytes for the buffer arenas and caches together; 0 means DefaultMemory.
	IndexDir string   // Directory for the index; "" keeps it on the first drive of the cell.

	// Format lets blank drives join: all blank starts a new store. Without it a blank drive is an error.
	Format bool

	// ReplaceEmpty takes an empty directory where a drive of the store was as its replacement. Without it such a directory, which
	// may be a file system that is not mounted, is left alone.
	ReplaceEmpty bool

	// RebuildIndex makes the index anew from the journals, whatever state it is in.
	RebuildIndex bool

	Topology numa.Topology // Zero means one NUMA node.
	IO       string        // Rung of the I/O ladder to start from: "" (the best), "ring", "ring-nofixed", "ring-plain", "threads".

	JournalSegment int64 // Bytes of a journal segment; 0 chooses by the size of the drives.
	BulkSegment    int64 // Bytes of a bulk segment; 0 chooses by the size of the drives.

	// HealRate is how many bytes a second healing and moving shards may write in a cell; reading takes up to k times as many. 0 means no
	// limit but that clients go first.
	HealRate int64

	// Balancing begins when the fullest drive of a cell is fuller than the emptiest by more than this share of what a drive can hold; 0 means
	// DefaultBalanceSpread, and negative that it never does. It is held to HealRate.
	BalanceSpread float64

	// ScrubPeriod is the time in which every segment is verified; 0 means 14 days, less than 0 that none is unless that is asked for.
	ScrubPeriod time.Duration
	// ScrubRate is how many bytes a second scrubbing may read in a cell; 0 means 100 MiB.
	ScrubRate int64

	// Compaction begins by itself when the waste in closed volumes is more than this share of what lives in them; 0 means
	// DefaultCompactGarbage, and negative that it waits until the drives are full, or somebody asks. It reads and writes up to so many bytes a second
	// of each cell, and less while requests use the drives; 0 means DefaultCompactRate. On full drives there is no limit.
	CompactGarbage float64
	CompactRate    int64

	Logger *slog.Logger     // nil discards.
	Clock  func() time.Time // nil means time.Now.

	// Day is what rules count in; 0 means Day, and anything else is for tests. Midnights are its multiples.
	Day time.Duration

	tune func(*cell) // For tests: changes limits of a new cell.
}
