package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// State is what a directory is to us, when it is not refused.
type State uint8

// The states.
const (
	StateAbsent    State = iota // There is no such directory.
	StateBlank                  // Empty, ready to be formatted.
	StateFormatted              // A drive.
)

func (s State) String() string {
	switch s {
	case StateAbsent:
		return "absent"
	case StateBlank:
		return "blank"
	case StateFormatted:
		return "formatted"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// fstabPath lists the mount points that the administrator intends, mounted or not.
const fstabPath = "/etc/fstab"

// Inspect looks at a directory that is to be a drive, without changing anything. Whatever is neither
// absent, nor blank, nor a sound drive of ours comes back as a *RefusedError.
func Inspect(path string) (State, Identity, error) { return inspect(path, fstabPath) }

func inspect(path, fstab string) (State, Identity, error) {
	if err := checkMounted(path, fstab); err != nil {
		return 0, Identity{}, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return StateAbsent, Identity{}, nil
	case err != nil:
		return 0, Identity{}, refuse(path, Unusable, "cannot be looked at", "", err)
	case !info.IsDir():
		return 0, Identity{}, refuse(path, NotDirectory, "is not a directory", "give a directory on a file system of its own", nil)
	}
	b, err := os.ReadFile(filepath.Join(path, identityName))
	if errors.Is(err, fs.ErrNotExist) {
		return inspectUnformatted(path)
	}
	if err != nil {
		return 0, Identity{}, identityRefused(path, err)
	}
	id, err := ParseIdentity(b)
	if err != nil {
		return 0, Identity{}, identityRefused(path, err)
	}
	mounted, err := isMountRoot(path)
	if err != nil {
		return 0, Identity{}, refuse(path, Unusable, "cannot be looked at", "", err)
	}
	if id.Mount && !mounted {
		return 0, Identity{}, refuse(path, NotMounted,
			"is not mounted: it was a file system of its own when it was formatted, and is a plain directory now",
			"mount the drive's file system there", nil)
	}
	return StateFormatted, id, nil
}

// inspectUnformatted tells an empty directory, and one where Format was interrupted, from one that holds
// something.
func inspectUnformatted(path string) (State, Identity, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return 0, Identity{}, refuse(path, Unusable, "cannot be read", "", err)
	}
	var foreign, ours []string
	for _, e := range entries {
		switch name := e.Name(); name {
		case lostAndFound, lockName, identityName + tmpSuffix:
		case segmentsDir, indexDir, checkpointDir:
			if inner, err := os.ReadDir(filepath.Join(path, name)); err != nil || len(inner) > 0 {
				ours = append(ours, name)
			}
		case rootName, rootName + tmpSuffix, keyringName, keyringName + tmpSuffix:
			ours = append(ours, name)
		default:
			foreign = append(foreign, name)
		}
	}
	switch {
	case len(foreign) > 0:
		return 0, Identity{}, refuse(path, Foreign, "holds files that are not Penstock's: "+some(foreign), "give it an empty directory", nil)
	case len(ours) > 0:
		return 0, Identity{}, refuse(path, Damaged, "holds "+some(ours)+" but no "+identityName+", so nothing says which drive it is",
			"restore the file, or empty the directory if its content is not wanted", nil)
	}
	return StateBlank, Identity{}, nil
}

// some names the first few of a list.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Found is a directory as Scan found it.
type Found struct {
	Path     string
	State    State
	Identity Identity
	Err      error // *RefusedError if it must not be used.
}

// Scan inspects directories that are to serve one store, and refuses each that is given twice, is a copy
// of another, or belongs to another store than the first drive.
func Scan(paths []string) []Found { return scan(paths, fstabPath) }

func scan(paths []string, fstab string) []Found {
	found := make([]Found, len(paths))
	infos := make([]os.FileInfo, len(paths))
	var first *Found
	for i, path := range paths {
		f := &found[i]
		f.Path = path
		f.State, f.Identity, f.Err = inspect(path, fstab)
		infos[i], _ = os.Stat(path) // Inspect has reported what is wrong with it.
		for j := range i {
			if f.Err == nil {
				f.Err = duplicates(f, &found[j], infos[i], infos[j])
			}
		}
		if f.Err != nil || f.State != StateFormatted {
			continue
		}
		if first == nil {
			first = f
		} else if f.Identity.Cluster != first.Identity.Cluster {
			f.Err = refuse(path, OtherCluster,
				fmt.Sprintf("belongs to cluster %v, and %s to cluster %v", f.Identity.Cluster, first.Path, first.Identity.Cluster),
				"give the drives of one store", nil)
		}
	}
	return found
}

func duplicates(f, other *Found, info, otherInfo os.FileInfo) error {
	switch {
	case info != nil && otherInfo != nil && os.SameFile(info, otherInfo),
		filepath.Clean(f.Path) == filepath.Clean(other.Path):
		return refuse(f.Path, Duplicate, "is the same directory as "+other.Path, "give each drive once", nil)
	case f.State == StateFormatted && other.State == StateFormatted && f.Identity.Drive == other.Identity.Drive:
		return refuse(f.Path, Duplicate, fmt.Sprintf("has the same drive id as %s, %v: one is a copy of the other", other.Path, f.Identity.Drive),
			"take the copy away", nil)
	}
	return nil
}

// Mounted reports whether a directory is where a file system is mounted.
func Mounted(path string) (bool, error) {
	mounted, err := isMountRoot(path)
	if err != nil {
		err = refuse(path, Unusable, "cannot be looked at", "", err)
	}
	return mounted, err
}

// isMountRoot reports whether path is where a file system is mounted.
func isMountRoot(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO, &st); err != nil {
		return false, err
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// Kernels before 5.8 do not say. A bind mount of the same file system goes unseen then.
	var up unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, filepath.Join(path, ".."), 0, unix.STATX_INO, &up); err != nil {
		return false, err
	}
	sameDevice := st.Dev_major == up.Dev_major && st.Dev_minor == up.Dev_minor
	return !sameDevice || st.Ino == up.Ino, nil
}

// checkMounted refuses a path at or below a mount point of fstab that nothing is mounted on. An empty
// directory there looks blank, and formatting it would fill the file system that shows through.
func checkMounted(path, fstab string) error {
	b, err := os.ReadFile(fstab)
	if err != nil {
		return nil // Without a list there is nothing to check against.
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return refuse(path, Unusable, "cannot be looked at", "", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	points := mountPoints(string(b))
	for dir := abs; dir != "/"; dir = filepath.Dir(dir) {
		if !slices.Contains(points, dir) {
			continue
		}
		mounted, err := isMountRoot(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !mounted {
			return refuse(path, NotMounted, fmt.Sprintf("is not mounted: %s is a mount point in %s, and nothing is mounted there", dir, fstab),
				"mount "+dir, nil)
		}
		if err != nil {
			return refuse(path, Unusable, "cannot be looked at", "", err)
		}
	}
	return nil
}

// mountPoints parses the second field of each line of fstab(5).
func mountPoints(text string) []string {
	var points []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		points = append(points, filepath.Clean(unescapeOctal(fields[1])))
	}
	return points
}

// unescapeOctal undoes \040 and its like, by which fstab writes spaces in names.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// fileSystemName returns the name of a file system, or its number if we have no name for it.
func fileSystemName(magic int64) string {
	switch uint32(magic) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	}
	return fmt.Sprintf("%#x", uint32(magic))
}
