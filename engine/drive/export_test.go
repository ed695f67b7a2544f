package drive

import "time"

// These take the file that lists mount points from the test.
var (
	InspectFstab = inspect
	ScanFstab    = scan
	FormatFstab  = format
	MountPoints  = mountPoints
	BucketOf     = bucketOf
)

// Ended has the watch see an op that took so long.
func (w *Watch) Ended(k Kind, took time.Duration) {
	w.pending[k].Add(1)
	w.ended(k, took)
}
