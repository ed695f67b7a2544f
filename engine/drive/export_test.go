package drive

// These take the file that lists mount points from the test.
var (
	InspectFstab = inspect
	ScanFstab    = scan
	FormatFstab  = format
	MountPoints  = mountPoints
	BucketOf     = bucketOf
)
