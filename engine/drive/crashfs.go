package drive

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashFS is the file system of a domain's drives. Every change is an event, so that the power can fail between any two of them.
type crashFS struct {
	vfs.FS
	domain *Domain
}

// changed counts a change, done or failed: one that failed may have happened in part.
func (f crashFS) changed(err error) error {
	f.domain.event()
	return err
}

func (f crashFS) file(file vfs.File, err error) (vfs.File, error) {
	if f.changed(err) != nil {
		return nil, err
	}
	return crashFile{file, f.domain}, nil
}

func (f crashFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(f.FS.Create(name, category))
}

func (f crashFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file(f.FS.OpenReadWrite(name, category, opts...))
}

func (f crashFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(f.FS.ReuseForWrite(from, to, category))
}

// OpenDir changes nothing, but syncing the directory does.
func (f crashFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return crashFile{file, f.domain}, nil
}

func (f crashFS) Link(from, to string) error   { return f.changed(f.FS.Link(from, to)) }
func (f crashFS) Remove(name string) error     { return f.changed(f.FS.Remove(name)) }
func (f crashFS) RemoveAll(name string) error  { return f.changed(f.FS.RemoveAll(name)) }
func (f crashFS) Rename(from, to string) error { return f.changed(f.FS.Rename(from, to)) }

func (f crashFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.changed(f.FS.MkdirAll(dir, perm))
}

// Unwrap implements vfs.FS.
func (f crashFS) Unwrap() vfs.FS { return f.FS }

// crashFile is a file or directory of a crashFS.
type crashFile struct {
	vfs.File
	domain *Domain
}

func (f crashFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.domain.event()
	return n, err
}

func (f crashFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	f.domain.event()
	return n, err
}

func (f crashFile) Sync() error {
	err := f.File.Sync()
	f.domain.event()
	return err
}

func (f crashFile) SyncData() error {
	err := f.File.SyncData()
	f.domain.event()
	return err
}

func (f crashFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	f.domain.event()
	return fullSync, err
}
