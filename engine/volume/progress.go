package volume

import (
	"sync/atomic"
	"time"
)

// waitProgress waits for a result as long as tick moves: it gives up with ErrTimeout when it has not
// moved for a whole limit.
func waitProgress(result <-chan error, tick *atomic.Int64, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for last := tick.Load(); ; {
		select {
		case err := <-result:
			return err
		case <-timer.C:
			now := tick.Load()
			if now == last {
				return ErrTimeout
			}
			last = now
			timer.Reset(limit)
		}
	}
}
