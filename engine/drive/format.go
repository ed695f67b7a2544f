package drive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Format makes a blank or absent directory a drive. The caller sets Cluster, Drive, Cell and Known; the
// rest of the identity is filled in from what is found. After a crash half-way the directory is
// still blank: drive.json comes last.
func Format(path string, id Identity) error { return format(path, id, fstabPath) }

func format(path string, id Identity, fstab string) error {
	if id.Drive.IsZero() || id.Cluster.IsZero() {
		panic("drive: Format without ids")
	}
	state, old, err := inspect(path, fstab)
	if err != nil {
		return err
	}
	if state == StateFormatted {
		return refuse(path, Formatted, fmt.Sprintf("is drive %v of cluster %v already", old.Drive, old.Cluster), "give it an empty directory", nil)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return refuse(path, Unusable, "cannot be made", "", err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return err
	}
	defer lock.Close()
	if id.Created.IsZero() {
		id.Created = time.Now()
	}
	id.Created = id.Created.UTC().Truncate(time.Second)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return refuse(path, Unusable, "cannot be looked at", "", err)
	}
	id.FileSystem = fileSystemName(st.Type)
	if id.Mount, err = isMountRoot(path); err != nil {
		return refuse(path, Unusable, "cannot be looked at", "", err)
	}
	if err := os.MkdirAll(filepath.Join(path, segmentsDir), 0o700); err != nil {
		return refuse(path, Unusable, "cannot be written to", "", err)
	}
	if err := replaceFile(path, identityName, id.AppendTo(nil), 0o600); err != nil {
		return refuse(path, Unusable, "cannot be written to", "", err)
	}
	if err := syncDir(filepath.Dir(filepath.Clean(path))); err != nil {
		return refuse(path, Unusable, "cannot be made durable", "", err)
	}
	return nil
}

// takeLock takes the lock that a process holds while it serves the drive. The kernel lets go of it when
// the process ends, however it ends; the file stays.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, refuse(path, Unusable, "cannot be written to", "", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, refuse(path, Unusable, "cannot be locked", "", err)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // A courtesy; the lock itself is what counts.
		what := "is in use"
		if pid := strings.TrimSpace(string(holder)); pid != "" {
			what += " by process " + pid
		}
		return nil, refuse(path, Locked, what, "stop that process, or give each drive once", nil)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// shareLock returns another handle of a lock. It is held until both are closed.
func shareLock(lock *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), lock.Name()), nil
}

// replaceFile replaces a file of a directory so that, whatever happens, it is whole: the old one, or the
// new one; after a return without error, durably the new one.
func replaceFile(dir, name string, data []byte, perm os.FileMode) error {
	path := filepath.Join(dir, name)
	tmp := path + tmpSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // Left by a crash, perhaps with other permissions.
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // Whatever the umask says.
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
