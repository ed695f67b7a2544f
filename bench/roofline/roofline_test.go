package roofline

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestMeasure measures this machine, briefly: every figure is there, nothing is left behind, and a file keeps all of it.
func TestMeasure(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	h, err := Measure(t.Context(), Options{CPU: "test", Kernel: "1", Cores: 2, Drives: dirs, DriveLen: 8 << 20, K: 2, M: 1, ColdLen: 8 << 20, Time: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "some", "host.json")
	if err := h.Save(file); err != nil {
		t.Fatal(err)
	}
	back, err := Load(file) // Refuses what is not above zero.
	if err != nil {
		t.Fatal(err)
	}
	if !back.Measured.Equal(h.Measured) {
		t.Errorf("measured at %v, read %v", h.Measured, back.Measured)
	}
	back.Measured = h.Measured
	if !reflect.DeepEqual(back, h) {
		t.Errorf("saved %+v, read %+v", h, back)
	}
	for i, d := range h.Drives {
		if d.Write <= 0 || d.Read <= 0 || d.RandomRead <= 0 || d.SmallWrite <= 0 || d.Lone <= 0 {
			t.Errorf("drive %d: %+v", i, d)
		}
	}
	for _, dir := range dirs {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left %v in a drive, %v", left, err)
		}
	}
	var table bytes.Buffer
	if err := h.WriteTable(&table); err != nil || !strings.Contains(table.String(), "Reed-Solomon 2+1") || !strings.Contains(table.String(), "all at once") {
		t.Errorf("%v\n%s", err, &table)
	}
}

func TestMeasureEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, Options{K: 1, M: 1, Time: time.Hour}); err == nil {
		t.Error("measured although it was told to stop")
	}
	if _, err := Measure(t.Context(), Options{K: 1, M: 1, ColdLen: 8 << 20, Time: time.Millisecond, Drives: []string{filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("measured a drive that is not there")
	}
}

func TestLoadRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "host.json")
	for _, text := range []string{"", "{}", `{"format":"penstock-host-1","copy":1}`, `{"format":"other"}`} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil {
			t.Errorf("%q was read as measurements", text)
		}
	}
}
