package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A filesystem is one in a file, mounted over a loop device, with a drive in it.
type filesystem struct {
	kind    string // "ext4" or "xfs".
	image   string
	mount   string
	drive   string // Directory in it.
	mounted bool
	frozen  bool
}

// imageLen is just above the least that mkfs.xfs takes. The file has holes: it takes what is written.
const imageLen = 320 << 20

// Numbers of <linux/fs.h> and of ext4 and XFS, which share theirs; see ioctl_xfs_goingdown(2).
const (
	ioctlShutdown = 0x8004587d
	ioctlFreeze   = 0xc0045877
	ioctlThaw     = 0xc0045878

	shutdownLogFlush   = 1
	shutdownNoLogFlush = 2
)

// makeFilesystem makes and mounts one below a directory.
func makeFilesystem(dir, kind string, number int) (*filesystem, error) {
	f := &filesystem{kind: kind, image: filepath.Join(dir, fmt.Sprintf("image%d", number)), mount: filepath.Join(dir, fmt.Sprintf("m%d", number))}
	f.drive = filepath.Join(f.mount, "drive")
	file, err := os.Create(f.image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(file.Truncate(imageLen), file.Close(), os.Mkdir(f.mount, 0o755))
	if err != nil {
		return nil, err
	}
	if err := command("mkfs."+kind, "-q", f.image); err != nil {
		return nil, err
	}
	if err := f.up(); err != nil {
		return nil, err
	}
	return f, os.Mkdir(f.drive, 0o755)
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// up mounts it; what the file system did not finish it does now.
func (f *filesystem) up() error {
	if f.mounted {
		return nil
	}
	if err := command("mount", "-o", "loop", f.image, f.mount); err != nil {
		return err
	}
	f.mounted = true
	return nil
}

// unmountLimit is how long the last operations of a process that is gone may keep a file system busy.
const unmountLimit = 60 * time.Second

// down unmounts it.
func (f *filesystem) down() error {
	if !f.mounted {
		return nil
	}
	for end := time.Now().Add(unmountLimit); ; {
		err := unix.Unmount(f.mount, 0)
		if err == nil {
			f.mounted = false
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("unmount %s: %w", f.mount, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// detach takes the file system out of the tree while it is in use, as when a drive is pulled and its files are still open.
func (f *filesystem) detach() error {
	if err := unix.Unmount(f.mount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach %s: %w", f.mount, err)
	}
	f.mounted = false
	return nil
}

// shutdown stops the file system where it is: every operation fails from now on, and nothing more reaches the image.
func (f *filesystem) shutdown(how int) error {
	return f.ioctl(ioctlShutdown, how)
}

// freeze makes every write hang until thaw.
func (f *filesystem) freeze() error {
	err := f.ioctl(ioctlFreeze, 0)
	f.frozen = err == nil
	return err
}

func (f *filesystem) thaw() error {
	f.frozen = false
	return f.ioctl(ioctlThaw, 0)
}

func (f *filesystem) ioctl(request uint, value int) error {
	dir, err := os.Open(f.mount)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), request, value); err != nil {
		return fmt.Errorf("ioctl %x of %s: %w", request, f.mount, err)
	}
	return nil
}

// startRoom is what a start may need on a drive of this size: the index's part, two journal segments, and some for the file system. A
// node leaves that much free, but others may take it.
const startRoom = 32 << 20

// fill takes the file system's room but for a few blocks; spare gives back what a start may need, and empty all of it.
func (f *filesystem) fill() error {
	file, err := os.Create(f.ballast())
	if err != nil {
		return err
	}
	defer file.Close()
	var length int64
	for step := int64(16 << 20); step >= 4096; {
		switch err := unix.Fallocate(int(file.Fd()), 0, length, step); err {
		case nil:
			length += step
		case unix.ENOSPC:
			step /= 4
		case unix.EINTR:
		default:
			return fmt.Errorf("fill %s: %w", f.mount, err)
		}
	}
	return nil
}

func (f *filesystem) spare() error {
	info, err := os.Stat(f.ballast())
	if err != nil {
		return err
	}
	return os.Truncate(f.ballast(), max(0, info.Size()-startRoom))
}

func (f *filesystem) empty() error { return os.Remove(f.ballast()) }

func (f *filesystem) ballast() string { return filepath.Join(f.mount, "ballast") }

// device returns the loop device's number, as control groups want it.
func (f *filesystem) device() (string, error) {
	var s unix.Stat_t
	if err := unix.Stat(f.mount, &s); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev)), nil
}

// A throttle is a control group that can slow the drives of a process down to nothing.
type throttle struct {
	dir     string
	unified bool
}

// newThrottle makes a control group with the process in it, by the first or the second version of their interface.
func newThrottle(pid int) (*throttle, error) {
	for _, t := range []*throttle{
		{dir: "/sys/fs/cgroup/blkio"},
		{dir: "/sys/fs/cgroup", unified: true},
	} {
		file := "blkio.throttle.read_bps_device"
		if t.unified {
			file = "io.max"
		}
		t.dir = filepath.Join(t.dir, fmt.Sprintf("penstock-torture-%d", pid))
		if os.Mkdir(t.dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(t.dir, file)); err != nil {
			os.Remove(t.dir)
			continue
		}
		return t, os.WriteFile(filepath.Join(t.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
	}
	return nil, errors.New("no control group of block devices can be made")
}

// set lets so many bytes a second through to and from a device; 0 is no limit.
func (t *throttle) set(device string, rate int) error {
	if t.unified {
		limit := strconv.Itoa(rate)
		if rate == 0 {
			limit = "max"
		}
		return os.WriteFile(filepath.Join(t.dir, "io.max"), fmt.Appendf(nil, "%s rbps=%s wbps=%s", device, limit, limit), 0o644)
	}
	for _, way := range []string{"read", "write"} {
		file := filepath.Join(t.dir, "blkio.throttle."+way+"_bps_device")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s %d", device, rate), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// close removes the group, whose process is gone.
func (t *throttle) close() error { return os.Remove(t.dir) }
