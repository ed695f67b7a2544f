package engine

import "context"

// What a start after a crash has to apply to the index again is bounded, which bounds how long it takes: Pebble by itself flushes
// when a memtable of up to 64 MiB is full, which is two hundred thousand records. Applying one again takes ten microseconds.
const (
	maxReplayCount = 32 << 10  // Records.
	maxReplayLen   = 256 << 20 // Bytes of records, inline objects included, which are read again.
)

// boundReplay flushes the index when a start would have more to do than it should. Those that write go on meanwhile, so what is
// left after a crash may be a little more: what they do between two looks and during a flush.
func (r *recycler) boundReplay(ctx context.Context) error {
	if err := r.b.enter(); err != nil {
		return nil // The next base has flushed what it has.
	}
	flushed, err := r.b.index.FlushedPosition()
	count := r.b.index.Position().LSN - flushed.LSN
	r.b.leave()
	if err != nil {
		return err
	}
	written := r.b.journal.Stats().Bytes
	if count <= r.c.limits.replay && written-r.replayed <= maxReplayLen {
		return nil
	}
	r.replayed = written
	return r.flush(ctx)
}
