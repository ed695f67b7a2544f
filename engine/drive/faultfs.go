package drive

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultFS is the file system of a faulty drive. Its actions are those of OnFiles, by the path of the file.
type faultFS struct {
	vfs.FS
	drive *faultDrive
}

// FS implements Drive.
func (d *faultDrive) FS() (vfs.FS, string) {
	fs, dir := d.Drive.FS()
	return faultFS{fs, d}, dir
}

// do carries out an action. What a fault does with the bytes of a file is the business of faultFile; here those effects count as Fail.
func (f faultFS) do(action Action, name string, carryOut func() error) error {
	return f.drive.do(action, 0, name, carryOut)
}

func (f faultFS) open(action Action, name string, open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.do(action, name, func() (err error) { file, err = open(); return err })
	if err != nil {
		if file != nil { // Opened, but reported as failed.
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultOpenFile{file, f, name}, nil
}

func (f faultFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(OnChangeFile, name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

func (f faultFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(OnReadFile, name, func() (vfs.File, error) { return f.FS.Open(name, opts...) })
}

func (f faultFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(OnChangeFile, name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

func (f faultFS) OpenDir(name string) (vfs.File, error) {
	return f.open(OnReadFile, name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f faultFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(OnChangeFile, to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, category) })
}

func (f faultFS) Link(from, to string) error {
	return f.do(OnChangeFile, to, func() error { return f.FS.Link(from, to) })
}

func (f faultFS) Remove(name string) error {
	return f.do(OnChangeFile, name, func() error { return f.FS.Remove(name) })
}

func (f faultFS) RemoveAll(name string) error {
	return f.do(OnChangeFile, name, func() error { return f.FS.RemoveAll(name) })
}

func (f faultFS) Rename(from, to string) error {
	return f.do(OnChangeFile, to, func() error { return f.FS.Rename(from, to) })
}

func (f faultFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.do(OnChangeFile, dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f faultFS) Lock(name string) (lock io.Closer, err error) {
	err = f.do(OnChangeFile, name, func() error { lock, err = f.FS.Lock(name); return err })
	if err != nil && lock != nil {
		err = errors.Join(err, lock.Close())
		lock = nil
	}
	return lock, err
}

func (f faultFS) List(dir string) (names []string, err error) {
	err = f.do(OnReadFile, dir, func() error { names, err = f.FS.List(dir); return err })
	return names, err
}

func (f faultFS) Stat(name string) (info vfs.FileInfo, err error) {
	err = f.do(OnReadFile, name, func() error { info, err = f.FS.Stat(name); return err })
	return info, err
}

// Unwrap implements vfs.FS.
func (f faultFS) Unwrap() vfs.FS { return f.FS }

// faultOpenFile is an open file or directory of a faultFS. Short, Lose, Tear and Flip do to its bytes what they do to those of an Op.
type faultOpenFile struct {
	vfs.File
	fs   faultFS
	name string
}

func (f *faultOpenFile) Write(b []byte) (int, error) {
	return f.write(b, f.File.Write)
}

func (f *faultOpenFile) WriteAt(b []byte, off int64) (int, error) {
	return f.write(b, func(b []byte) (int, error) { return f.File.WriteAt(b, off) })
}

func (f *faultOpenFile) write(b []byte, write func([]byte) (int, error)) (int, error) {
	r := f.strike(OnChangeFile, len(b))
	if r == nil {
		return write(b)
	}
	switch r.Do {
	case FailAfter:
		n, err := write(b)
		return n, errors.Join(err, r.failure(f.name))
	case Short:
		n, err := write(b[:len(b)/2])
		return n, errors.Join(err, r.failure(f.name))
	case Lose:
		return write(make([]byte, len(b))) // The file is as long as it should be.
	case Tear:
		torn := make([]byte, len(b))
		copy(torn, b[:len(b)/2])
		return write(torn)
	case Flip:
		flipped := append([]byte(nil), b...)
		f.fs.drive.plan.flip(flipped)
		return write(flipped)
	}
	return 0, r.failure(f.name)
}

func (f *faultOpenFile) Read(b []byte) (int, error) {
	return f.read(b, f.File.Read)
}

func (f *faultOpenFile) ReadAt(b []byte, off int64) (int, error) {
	return f.read(b, func(b []byte) (int, error) { return f.File.ReadAt(b, off) })
}

func (f *faultOpenFile) read(b []byte, read func([]byte) (int, error)) (int, error) {
	r := f.strike(OnReadFile, len(b))
	if r == nil {
		return read(b)
	}
	switch r.Do {
	case Short:
		n, err := read(b[:len(b)/2])
		return n, errors.Join(err, r.failure(f.name))
	case Flip:
		n, err := read(b)
		f.fs.drive.plan.flip(b[:n])
		return n, err
	}
	return 0, r.failure(f.name)
}

func (f *faultOpenFile) Sync() error { return f.sync(f.File.Sync) }

func (f *faultOpenFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultOpenFile) SyncTo(length int64) (full bool, err error) {
	err = f.sync(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// sync syncs. A sync that is lost claims success.
func (f *faultOpenFile) sync(sync func() error) error {
	r := f.strike(OnChangeFile, 0)
	switch {
	case r == nil:
		return sync()
	case r.Do == Lose:
		return nil
	case r.Do == FailAfter:
		return errors.Join(sync(), r.failure(f.name))
	}
	return r.failure(f.name)
}

// strike counts an action on the file and returns what strikes it, once what only takes time is over.
func (f *faultOpenFile) strike(action Action, n int) *Rule {
	d := f.fs.drive
	r := d.plan.strike(Event{Drive: d.ID(), Action: action, Len: n, Name: f.name})
	switch {
	case r == nil:
		return nil
	case r.Do == Delay:
		time.Sleep(r.Delay)
		return nil
	case r.Do == Hang:
		d.plan.hang()
		return nil
	}
	return r
}

func (r *Rule) failure(name string) error {
	return &os.PathError{Op: "fault", Path: name, Err: r.Err}
}

// flip turns one bit round.
func (p *Plan) flip(b []byte) {
	if len(b) > 0 {
		bit := p.intN(len(b) * 8)
		b[bit/8] ^= 1 << (bit % 8)
	}
}
