package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"penstock/engine/drive"
	"penstock/ioring"
)

// wantRefusal expects a refusal with a reason, in one line that names the path and says what.
func wantRefusal(t *testing.T, err error, reason drive.Reason, path, what string) {
	t.Helper()
	var refusal *drive.RefusedError
	if !errors.As(err, &refusal) {
		t.Errorf("got %v, want a refusal: %v", err, reason)
		return
	}
	if line := err.Error(); refusal.Reason != reason || refusal.Path != path || strings.Contains(line, "\n") ||
		!strings.HasPrefix(line, "drive "+path+" ") || !strings.Contains(line, what) {
		t.Errorf("refused with %v: %q\nwant %v, path %s, and %q", refusal.Reason, line, reason, path, what)
	}
}

func mustFormat(t testing.TB, path string, id drive.Identity) {
	t.Helper()
	if err := drive.Format(path, id); err != nil {
		t.Fatal(err)
	}
}

// put makes files, and directories where a name ends in a slash.
func put(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInspectUnformatted(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  []string
		state  drive.State
		reason drive.Reason // Where there is a what.
		what   string
	}{
		{name: "empty", state: drive.StateBlank},
		{name: "new file system", files: []string{"lost+found/"}, state: drive.StateBlank},
		{name: "format interrupted", files: []string{"penstock.lock", "segments/", "index/", "checkpoint/", "drive.json.tmp"}, state: drive.StateBlank},
		{name: "foreign", files: []string{"holiday.jpg"}, reason: drive.Foreign, what: "holds files that are not Penstock's: holiday.jpg"},
		{name: "many foreign", files: []string{"a", "b", "c", "d", "e/"}, reason: drive.Foreign, what: "a, b, c and 2 more"},
		{name: "hidden", files: []string{".minio.sys/"}, reason: drive.Foreign, what: ".minio.sys"},
		{name: "identity lost", files: []string{"segments/00000001"}, reason: drive.Damaged, what: "holds segments but no drive.json"},
		{name: "index only", files: []string{"index/MANIFEST-1"}, reason: drive.Damaged, what: "holds index but no drive.json"},
		{name: "keys only", files: []string{"keyring.json"}, reason: drive.Damaged, what: "holds keyring.json but no drive.json"},
		{name: "secrets only", files: []string{"root.json"}, reason: drive.Damaged, what: "holds root.json but no drive.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, c.files...)
			state, _, err := drive.Inspect(dir)
			if c.what != "" {
				wantRefusal(t, err, c.reason, dir, c.what)
				wantRefusal(t, drive.Format(dir, newIdentity()), c.reason, dir, c.what)
				return
			}
			if err != nil || state != c.state {
				t.Errorf("Inspect = %v, %v, want %v", state, err, c.state)
			}
			mustFormat(t, dir, newIdentity())
		})
	}
	dir := t.TempDir()
	if state, _, err := drive.Inspect(filepath.Join(dir, "nothing")); err != nil || state != drive.StateAbsent {
		t.Errorf("Inspect of nothing = %v, %v", state, err)
	}
	put(t, dir, "file")
	_, _, err := drive.Inspect(filepath.Join(dir, "file"))
	wantRefusal(t, err, drive.NotDirectory, filepath.Join(dir, "file"), "is not a directory")
}

func TestFormatAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "drive")
	q := openRing(t, ioring.RungThreads)
	_, err := drive.OpenDir(path, drive.DirOptions{Queue: q})
	wantRefusal(t, err, drive.Missing, path, "does not exist")
	want := newIdentity()
	want.Cell = 3
	mustFormat(t, path, want)
	wantRefusal(t, drive.Format(path, newIdentity()), drive.Formatted, path, "is drive "+want.Drive.String()+" of cluster")

	state, got, err := drive.Inspect(path)
	if err != nil || state != drive.StateFormatted {
		t.Fatalf("Inspect = %v, %v", state, err)
	}
	if got.Drive != want.Drive || got.Cluster != want.Cluster || got.Cell != 3 || !slices.Equal(got.Known, want.Known) || got.Mount ||
		got.FileSystem == "" || got.Created.IsZero() {
		t.Errorf("Inspect = %+v, want %+v", got, want)
	}
	_, err = drive.OpenDir(path, drive.DirOptions{Queue: q, Cluster: drive.NewID()})
	wantRefusal(t, err, drive.OtherCluster, path, "belongs to cluster "+want.Cluster.String())

	d, err := drive.OpenDir(path, drive.DirOptions{Queue: q, Cluster: want.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	_, err = drive.OpenDir(path, drive.DirOptions{Queue: q})
	wantRefusal(t, err, drive.Locked, path, fmt.Sprintf("is in use by process %d", os.Getpid()))
	if err := d.WriteMeta("root.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(path, "root.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root.json: %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, drive.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	for name, err := range map[string]error{
		"Create": second(d.Create(1, 4096)), "Open": second(d.Open(1)), "Remove": d.Remove(1), "Segments": second(d.Segments()),
		"ReadMeta": second(d.ReadMeta("root.json")), "WriteMeta": d.WriteMeta("root.json", nil, 0o600),
	} {
		if !errors.Is(err, drive.ErrClosed) {
			t.Errorf("%s on a closed drive: %v", name, err)
		}
	}
	// Strangers' files do not stop a drive, and are pointed out. What a crash left is not a stranger's.
	put(t, path, "core.1234", "keyring.json", "root.json.tmp", "segments/readme.txt", "segments/7", "segments/00000007/")
	var log bytes.Buffer
	d, err = drive.OpenDir(path, drive.DirOptions{Queue: q, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, "core.1234") || strings.Contains(text, "root.json") || strings.Contains(text, "keyring.json") {
		t.Errorf("log says %q", text)
	}
	if segs, err := d.Segments(); err != nil || len(segs) != 0 {
		t.Errorf("Segments = %v, %v, want none", segs, err)
	}
	if err := d.WriteMeta("root.json", []byte("new"), 0o640); err != nil {
		t.Errorf("WriteMeta over what a crash left: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestLockOfAnotherProcess needs a process that is not this one.
func TestLockOfAnotherProcess(t *testing.T) {
	path := t.TempDir()
	mustFormat(t, path, newIdentity())
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("no flock(1) here")
	}
	cmd := exec.Command("flock", "--nonblock", filepath.Join(path, "penstock.lock"), "sh", "-c", "echo locked; read x")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	q := openRing(t, ioring.RungThreads)
	_, err := drive.OpenDir(path, drive.DirOptions{Queue: q})
	wantRefusal(t, err, drive.Locked, path, "is in use")
	in.Close()
	if err := cmd.Wait(); err != nil && !strings.Contains(err.Error(), "exit status") {
		t.Fatal(err)
	}
	d, err := drive.OpenDir(path, drive.DirOptions{Queue: q})
	if err != nil {
		t.Fatalf("after the other process ended: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedIdentity(t *testing.T) {
	path := t.TempDir()
	mustFormat(t, path, newIdentity())
	name := filepath.Join(path, "drive.json")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text   string
		reason drive.Reason
		what   string
	}{
		{"", drive.Damaged, "has a damaged drive.json"},
		{"{}", drive.Damaged, "has a damaged drive.json"},
		{string(good[:len(good)-1]), drive.Damaged, "checksum mismatch"},
		{string(good) + "\n", drive.Damaged, "checksum mismatch"},
		{strings.Replace(string(good), `"cell": 0`, `"cell": 1`, 1), drive.Damaged, "checksum mismatch"},
		{`{"format": 2, "what": "is this"}`, drive.NewerFormat, "newer format: 2, this program knows 1"},
	} {
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := drive.Inspect(path)
		wantRefusal(t, err, c.reason, path, c.what)
		_, err = drive.OpenDir(path, drive.DirOptions{Queue: openRing(t, ioring.RungThreads)})
		wantRefusal(t, err, c.reason, path, c.what)
	}
}

// TestIdentityFlips flips every bit of drive.json.
func TestIdentityFlips(t *testing.T) {
	id := newIdentity()
	id.Begin(nil, nil, drive.Start{Epoch: 1, Run: drive.NewID()})
	good := id.AppendTo(nil)
	if got, err := drive.ParseIdentity(good); err != nil || got.Drive != id.Drive || got.Epoch() != 1 {
		t.Fatalf("ParseIdentity = %+v, %v", got, err)
	}
	for bit := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := drive.ParseIdentity(bad); err == nil {
			t.Errorf("bit %d (%q): no error", bit, bad[bit/8])
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	id := newIdentity()
	f.Add(id.AppendTo(nil))
	f.Add([]byte(`{"format": 1}`))
	f.Add([]byte(`{"format": 9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := drive.ParseIdentity(b)
		if err == nil && !bytes.Equal(id.AppendTo(nil), b) {
			t.Errorf("%q parses and comes back as %q", b, id.AppendTo(nil))
		}
	})
}

func TestScan(t *testing.T) {
	root := t.TempDir()
	dir := func(name string) string { return filepath.Join(root, name) }
	cluster := drive.NewID()
	for _, name := range []string{"1", "2", "3"} {
		mustFormat(t, dir(name), drive.Identity{Cluster: cluster, Drive: drive.NewID()})
	}
	mustFormat(t, dir("foreign"), newIdentity())
	put(t, root, "blank/", "junk/photo")
	copied, err := os.ReadFile(filepath.Join(dir("2"), "drive.json"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, root, "copy/segments/")
	if err := os.WriteFile(filepath.Join(dir("copy"), "drive.json"), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir("3"), dir("link")); err != nil {
		t.Fatal(err)
	}
	type want struct {
		state  drive.State
		reason drive.Reason
		what   string
	}
	for _, c := range []struct {
		name  string
		paths []string
		want  []want
	}{
		{"all well", []string{"1", "2", "blank", "absent", "3"},
			[]want{{state: drive.StateFormatted}, {state: drive.StateFormatted}, {state: drive.StateBlank}, {state: drive.StateAbsent}, {state: drive.StateFormatted}}},
		{"same path", []string{"1", "1"}, []want{{state: drive.StateFormatted}, {reason: drive.Duplicate, what: "is the same directory as"}}},
		{"absent twice", []string{"absent", "absent/"}, []want{{state: drive.StateAbsent}, {reason: drive.Duplicate, what: "is the same directory as"}}},
		{"through a link", []string{"3", "link"}, []want{{state: drive.StateFormatted}, {reason: drive.Duplicate, what: "is the same directory as"}}},
		{"blank twice", []string{"blank", "./blank"}, []want{{state: drive.StateBlank}, {reason: drive.Duplicate, what: "is the same directory as"}}},
		{"copy", []string{"2", "copy"}, []want{{state: drive.StateFormatted}, {reason: drive.Duplicate, what: "has the same drive id as"}}},
		{"another store", []string{"junk", "1", "foreign", "2"},
			[]want{{reason: drive.Foreign, what: "photo"}, {state: drive.StateFormatted}, {reason: drive.OtherCluster, what: "belongs to cluster"}, {state: drive.StateFormatted}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var paths []string
			for _, p := range c.paths {
				paths = append(paths, root+"/"+p)
			}
			for i, f := range drive.Scan(paths) {
				if w := c.want[i]; w.what != "" {
					wantRefusal(t, f.Err, w.reason, paths[i], w.what)
				} else if f.Err != nil || f.State != w.state || f.Path != paths[i] {
					t.Errorf("%s: %v, %v, want %v", f.Path, f.State, f.Err, w.state)
				}
			}
		})
	}
}

// TestNotMounted has a mount point that fstab knows and nothing is mounted on, and a drive that was a
// mount point when it was formatted.
func TestNotMounted(t *testing.T) {
	root := t.TempDir()
	point := filepath.Join(root, "mnt with space")
	put(t, root, "mnt with space/")
	fstab := filepath.Join(root, "fstab")
	text := "# comment /mnt/x ext4\n\nUUID=1 " + strings.ReplaceAll(point, " ", `\040`) + "/ xfs defaults 0 0\nUUID=2 none swap sw 0 0\n"
	if err := os.WriteFile(fstab, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{point, filepath.Join(point, "penstock"), filepath.Join(point, "a", "b")} {
		_, _, err := drive.InspectFstab(path, fstab)
		wantRefusal(t, err, drive.NotMounted, path, point+" is a mount point in "+fstab)
		wantRefusal(t, drive.FormatFstab(path, newIdentity(), fstab), drive.NotMounted, path, "nothing is mounted there")
		if entries, err := os.ReadDir(point); err != nil || len(entries) > 0 {
			t.Errorf("Format left something below the mount point: %v, %v", entries, err)
		}
	}
	if state, _, err := drive.InspectFstab(filepath.Join(root, "elsewhere"), fstab); err != nil || state != drive.StateAbsent {
		t.Errorf("beside the mount point: %v, %v", state, err)
	}

	path := filepath.Join(root, "drive")
	id := newIdentity()
	mustFormat(t, path, id)
	id.Mount = true // As if it had been mounted then.
	if err := os.WriteFile(filepath.Join(path, "drive.json"), id.AppendTo(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := drive.Inspect(path)
	wantRefusal(t, err, drive.NotMounted, path, "was a file system of its own when it was formatted")
}

// TestMounted does the same with a real mount, where that is allowed.
func TestMounted(t *testing.T) {
	root := t.TempDir()
	point := filepath.Join(root, "mnt")
	put(t, root, "mnt/")
	if err := syscall.Mount("penstock-test", point, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mount is not allowed here: %v", err)
	}
	mounted := true
	t.Cleanup(func() {
		if mounted {
			if err := syscall.Unmount(point, 0); err != nil {
				t.Error(err)
			}
		}
	})
	fstab := filepath.Join(root, "fstab")
	if err := os.WriteFile(fstab, []byte("tmpfs "+point+" tmpfs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := drive.FormatFstab(point, newIdentity(), fstab); err != nil {
		t.Fatal(err)
	}
	state, id, err := drive.InspectFstab(point, fstab)
	if err != nil || state != drive.StateFormatted || !id.Mount || id.FileSystem != "tmpfs" {
		t.Errorf("Inspect = %v, %+v, %v", state, id, err)
	}
	// A real file system that is full.
	d := openDir(t, point, openRing(t, ioring.RungThreads), false)
	if _, err := d.Create(1, 64<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Create of 64 MiB on 8: %v", err)
	}
	f := create(t, d, 2, 1<<20)
	if err := f.Resize(64 << 20); !errors.Is(err, syscall.ENOSPC) || f.Size() != 1<<20 {
		t.Errorf("Resize to 64 MiB of 8: %d bytes, %v", f.Size(), err)
	}
	write(t, f, 0, block(1<<20, 1))
	if _, free, err := d.Space(); err != nil || free < 6<<20 {
		t.Errorf("what failed left only %d bytes, %v", free, err)
	}
	closeFile(t, f)
	if segs, err := d.Segments(); err != nil || !slices.Equal(segs, []uint32{2}) {
		t.Errorf("Segments = %v, %v", segs, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(point, "drive.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Unmount(point, 0); err != nil {
		t.Fatal(err)
	}
	mounted = false
	_, _, err = drive.InspectFstab(point, fstab)
	wantRefusal(t, err, drive.NotMounted, point, "nothing is mounted there")
	// And where fstab does not know of it, but its drive.json was copied to what shows through.
	if err := os.WriteFile(filepath.Join(point, "drive.json"), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = drive.Inspect(point)
	wantRefusal(t, err, drive.NotMounted, point, "is not mounted")
}

func TestMountPoints(t *testing.T) {
	got := drive.MountPoints("/dev/sda1 / ext4 rw 0 1\n#/dev/x /no ext4\n/dev/b\t/data/1/\txfs\nc /a\\040b\\134 ext4\nnone\n/swap none swap\n")
	if want := []string{"/", "/data/1", `/a b\`}; !slices.Equal(got, want) {
		t.Errorf("mount points %q, want %q", got, want)
	}
}

func TestReasonsAndStates(t *testing.T) {
	seen := make(map[string]bool)
	for r := range drive.NumReasons {
		if s := r.String(); s == "" || seen[s] {
			t.Errorf("reason %d is called %q", r, s)
		} else {
			seen[s] = true
		}
	}
	if _, err := drive.ParseID("7D444840-9dc0-11d1-b245-5ffdce74fad2"); err == nil {
		t.Error("an id in capitals parses: it would not come back as it went in")
	}
	if id := drive.NewID(); id.IsZero() {
		t.Error("a new id is zero")
	} else if got, err := drive.ParseID(id.String()); err != nil || got != id {
		t.Errorf("ParseID(%v) = %v, %v", id, got, err)
	}
	var perr *fs.PathError
	if err := error(&drive.RefusedError{Path: "/x", What: "is odd", Err: &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission}}); !errors.As(err, &perr) {
		t.Error("a refusal does not wrap its cause")
	}
}

// TestMetaMode has a umask that takes everything away.
func TestMetaMode(t *testing.T) {
	path := t.TempDir()
	mustFormat(t, path, newIdentity())
	d := openDir(t, path, openRing(t, ioring.RungThreads), false)
	old := syscall.Umask(0o777)
	err := d.WriteMeta("root.json", []byte("secret"), 0o600)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(path, "root.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root.json: %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSegmentCutBehindOurBack reads where somebody has cut a segment's file.
func TestSegmentCutBehindOurBack(t *testing.T) {
	for _, rung := range []ioring.Rung{ioring.RungNoFixed, ioring.RungThreads} {
		path := t.TempDir()
		mustFormat(t, path, newIdentity())
		d := openDir(t, path, openRing(t, rung), false)
		f := create(t, d, 1, segLen)
		if err := os.Truncate(filepath.Join(path, "segments", "00000001"), 8192); err != nil {
			t.Fatal(err)
		}
		op, err := do(f, drive.Read, 4096, drive.Aligned(8192))
		if !errors.Is(err, io.ErrUnexpectedEOF) || op.N != 4096 {
			t.Errorf("%s: read across the cut: %d bytes, %v", rung, op.N, err)
		}
		closeFile(t, f)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
