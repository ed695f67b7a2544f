package doctor

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"penstock/ioring"
)

// System is what a machine can be asked. Tests give answers of their own.
type System struct {
	Proc, Sys fs.FS // /proc and /sys.
	// Ring opens a queue as the node does, and returns its rung.
	Ring func() (string, error)
	// Limit returns a limit of this process (getrlimit(2)); unix.RLIM_INFINITY is none.
	Limit func(resource int) uint64
	// Synchronised reports whether the kernel believes its clock (adjtimex(2)).
	Synchronised func() (bool, error)
	Drive        func(dir string) (Drive, error)
}

// Drive is what a directory lies on.
type Drive struct {
	Major, Minor uint32 // Of its device.
	Mount        bool   // It is the root of a file system.
	Root         bool   // Its device is that of /.
	FS           string // ext4, xfs, …; a number for others.
	Total, Free  int64
	Direct       bool // Files can be opened with O_DIRECT.
}

func (s *System) setDefaults() {
	if s.Proc == nil {
		s.Proc = os.DirFS("/proc")
	}
	if s.Sys == nil {
		s.Sys = os.DirFS("/sys")
	}
	if s.Ring == nil {
		s.Ring = openRing
	}
	if s.Limit == nil {
		s.Limit = limit
	}
	if s.Synchronised == nil {
		s.Synchronised = synchronised
	}
	if s.Drive == nil {
		s.Drive = look
	}
}

func openRing() (string, error) {
	q, err := ioring.Open(ioring.Options{})
	if err != nil {
		return "", err
	}
	rung := q.Rung()
	return string(rung), q.Close()
}

func limit(resource int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil {
		return unix.RLIM_INFINITY // It cannot be asked on no Linux there is.
	}
	return l.Max
}

func synchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR, err
}

// fileSystems are the magic numbers of those that are met (statfs(2)).
var fileSystems = map[int64]string{
	unix.XFS_SUPER_MAGIC: "xfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs", 0x2fc12fc1: "zfs", 0x65735546: "fuse",
	0x0bd00bd0: "lustre", 0x00c36400: "ceph",
}

func look(dir string) (d Drive, err error) {
	var own, parent, root unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Stat(dir, &own), unix.Stat(dir+"/..", &parent), unix.Stat("/", &root), unix.Statfs(dir, &fs)); err != nil {
		return d, err
	}
	d = Drive{
		Major: unix.Major(own.Dev), Minor: unix.Minor(own.Dev), Mount: own.Dev != parent.Dev, Root: own.Dev == root.Dev,
		FS: fileSystems[int64(fs.Type)], Total: int64(fs.Blocks) * fs.Bsize, Free: int64(fs.Bavail) * fs.Bsize,
	}
	// A file without a name leaves nothing behind.
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_DIRECT, 0o600)
	if err == nil {
		d.Direct = true
		unix.Close(fd)
	}
	return d, nil
}
