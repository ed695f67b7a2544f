package engine

import (
	"testing"

	"penstock/engine/drive"
)

func TestInfo(t *testing.T) {
	drives := memDrives(6, 0)
	s := mustOpen(t, testOptions(t, -1), drives[1:])
	defer closeStore(t, s)
	mustBucket(t, s, testBucket)
	mustPut(t, s, testBucket, "k", payload(1, 300_000))
	info := s.Info()
	if info.Geometry != "3+2" || info.Cells != 1 || len(info.Drives) != 6 || info.Rung != "memory" || info.Cluster == "" {
		t.Errorf("%+v", info)
	}
	states := map[string]int{}
	for _, d := range info.Drives {
		states[d.State]++
		if d.State == "ok" && (d.Path == "" || d.Total == 0 || d.Free == 0 || d.Writes == 0 || d.WriteLen == 0) {
			t.Errorf("%+v", d)
		}
		if d.State == "missing" && (d.ID != drives[0].ID().String() || d.Reason == "") {
			t.Errorf("%+v", d)
		}
	}
	if states["ok"] != 5 || states["missing"] != 1 {
		t.Errorf("states %v", states)
	}
	stats := s.Stats()
	if stats.JournalRecords < 3 || stats.DriveWrites == 0 || stats.ArenaLen == 0 || stats.ArenaUsed == 0 {
		t.Errorf("%+v", stats)
	}
}

// TestSmallFile keeps a small file through lost, blank, stale and failing drives.
func TestSmallFile(t *testing.T) {
	const name = "root.json"
	drives := memDrives(6, 0)
	plan := drive.NewPlan(1)
	s := mustOpen(t, testOptions(t, -1), plan.WrapAll(drives))
	defer closeStore(t, s)

	want := func(b string) {
		t.Helper()
		if got, err := s.Meta(name); err != nil || string(got) != b {
			t.Fatalf("Meta: %q, %v, want %q", got, err, b)
		}
	}
	if got, err := s.Meta(name); got != nil || err != nil {
		t.Fatalf("Meta of nothing: %q, %v", got, err)
	}
	plan.Add(drive.Rule{On: drive.OnReadMeta, Drive: drives[3].ID(), Times: -1})
	if got, err := s.Meta(name); KindOf(err) != KindUnavailable {
		t.Errorf("Meta that no drive has and one cannot tell: %q, %v", got, err)
	}
	plan.Clear()

	if err := s.SetMeta(name, []byte("first")); err != nil {
		t.Fatal(err)
	}
	for _, d := range drives {
		if b, err := d.ReadMeta(name); err != nil || string(b) != "first" {
			t.Errorf("%s: %q, %v", d.Path(), b, err)
		}
	}
	// Two drives were away when it changed: what they have is outvoted, and mended.
	for _, d := range drives[:4] {
		if err := d.WriteMeta(name, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want("second")
	for _, d := range drives {
		if b, err := d.ReadMeta(name); err != nil || string(b) != "second" {
			t.Errorf("%s: %q, %v", d.Path(), b, err)
		}
	}
	// An empty file is a file.
	if err := s.SetMeta(name, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Meta(name); got == nil || len(got) != 0 || err != nil {
		t.Errorf("Meta of an empty file: %v, %v", got, err)
	}
	if err := s.SetMeta(name, []byte("third")); err != nil {
		t.Fatal(err)
	}
	// Two drives do not take it: it holds all the same. Three of six: it does not.
	for i := range 2 {
		plan.Add(drive.Rule{On: drive.OnWriteMeta, Drive: drives[i].ID(), Times: -1})
	}
	if err := s.SetMeta(name, []byte("fourth")); err != nil {
		t.Error(err)
	}
	want("fourth")
	plan.Add(drive.Rule{On: drive.OnWriteMeta, Drive: drives[2].ID(), Times: -1})
	if err := s.SetMeta(name, []byte("fifth")); KindOf(err) != KindUnavailable {
		t.Errorf("SetMeta that half of the drives refuse: %v", err)
	}
	plan.Clear()
	// One copy is enough to find it again.
	for i, d := range drives {
		if i != 5 {
			fs, root := d.FS()
			if err := fs.Remove(fs.PathJoin(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := drives[5].ReadMeta(name)
	if err != nil {
		t.Fatal(err)
	}
	want(string(b))
	if b, err := drives[0].ReadMeta(name); err != nil || len(b) == 0 {
		t.Errorf("the copy was not spread: %v", err)
	}
}
