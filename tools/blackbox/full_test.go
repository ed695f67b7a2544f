package blackbox

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"penstock/tools/clients/corpus"
)

// smallDrives makes file systems of so many bytes each, in files, mounted, and unmounts them when the test has ended. It
// skips the test where that is not possible.
func smallDrives(t *testing.T, count int, size int64) (drives []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting file systems needs root")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	for i := range count {
		image, drive := filepath.Join(dir, fmt.Sprintf("image%d", i)), filepath.Join(dir, fmt.Sprintf("d%d", i+1))
		f, err := os.Create(image)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Truncate(size)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(drive, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
			t.Fatalf("mkfs.ext4: %v\n%s", err, out)
		}
		if out, err := exec.Command("mount", "-o", "loop", image, drive).CombinedOutput(); err != nil {
			t.Skipf("no file system can be mounted from a file here: %v: %s", err, strings.TrimSpace(string(out)))
		}
		t.Cleanup(func() {
			if err := unix.Unmount(drive, 0); err != nil {
				t.Errorf("unmount %s: %v", drive, err)
			}
		})
		if err := os.Remove(filepath.Join(drive, "lost+found")); err != nil {
			t.Fatal(err)
		}
		drives = append(drives, drive)
	}
	return drives
}

// TestFullDrives writes until there is no room. Writes are then refused as full, reads and deletes go on, and of what
// deletes give back, scattered over all volumes, half at least can be written again, without a restart; with large objects and with small ones.
func TestFullDrives(t *testing.T) {
	t.Parallel()
	const driveLen = 128 << 20 // Of which 28 MiB are the reserve: three journal volumes and a bulk volume.
	for _, c := range []struct {
		name  string
		size  int
		least int // Objects that must fit.
	}{
		{"large", 4 << 20, driveLen * 4 / (4 << 20) / 2 / 3},
		// One alone in its batch is on every drive, whatever the geometry.
		{"small", 100 << 10, driveLen / (100 << 10) / 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := start(t, setup{drives: smallDrives(t, 4, driveLen), args: []string{"--bulk-segment", "4MiB", "--journal-segment", "8MiB"}})
			n.must(t, "PUT", "/bkt", nil)
			objects := kept{}
			for refused := 0; refused < 5; {
				key := fmt.Sprintf("fill-%d", len(objects))
				body := corpus.Body(uint64(len(objects)), c.size)
				switch r := n.get(t, "PUT", "/bkt/"+key, body); {
				case r.status == 200:
					objects[key] = body
				case r.status == 507 && r.code() == "InsufficientStorage":
					refused++
				default:
					t.Fatalf("full: %v", r)
				}
				if len(objects)*c.size > 4*driveLen {
					t.Fatal("more was stored than there is room for")
				}
			}
			if len(objects) < c.least {
				t.Errorf("%d objects of %d KiB fit, want at least %d", len(objects), c.size>>10, c.least)
			}
			objects.check(t, n, "when full")
			for i := range 50 { // Deletes are records too, and there must be room for many.
				n.must(t, "DELETE", fmt.Sprintf("/bkt/absent-%d", i), nil)
			}
			// Every other object goes, so that no volume is wholly dead: what they took is there again once the rest has been moved.
			stored := len(objects)
			for i, key := range slices.Sorted(maps.Keys(objects)) {
				if i%2 == 0 {
					n.must(t, "DELETE", "/bkt/"+key, nil)
					delete(objects, key)
				}
			}
			wanted := stored / 4
			for i := range wanted {
				key, body := fmt.Sprintf("again-%d", i), corpus.Body(uint64(i), c.size)
				eventually(t, time.Minute, func() string {
					if r := n.get(t, "PUT", "/bkt/"+key, body); r.status != 200 {
						return fmt.Sprintf("object %d of %d after %d deletes: %v", i, wanted, stored-stored/2, r)
					}
					return ""
				})
				objects[key] = body
			}
			objects.check(t, n, "when half was written again")
			n.Kill()
			n.launch(t)
			objects.check(t, n, "after a kill")
		})
	}
}
