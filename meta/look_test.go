package meta_test

import (
	"fmt"
	"testing"
	"time"

	"penstock/meta"
)

func TestLooks(t *testing.T) {
	f := newFeed(t)
	x := f.x
	day := time.UnixMilli(1_700_000_000_000).UTC()
	at := func(days int, key string) meta.Look {
		return meta.Look{Bucket: 5, Key: key, At: day.AddDate(0, 0, days)}
	}
	check := func(what string, after *meta.Look, days, limit int, want ...meta.Look) {
		t.Helper()
		got, err := x.DueLooks(after, day.AddDate(0, 0, days), limit)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	check("none", nil, 1000, 10)
	// They come by records, in one batch with others.
	f.apply(&meta.Look{Bucket: 5, Key: "b", At: day.AddDate(0, 0, 2)}, &meta.Look{Bucket: 5, Key: "a\x00", At: day}, &meta.Look{Bucket: 5, Key: "a\x00", At: day})
	if err := x.SetPlan(5, "half", []meta.Look{at(1, "c"), at(1, "a"), at(-20000, "old")}); err != nil {
		t.Fatal(err)
	}
	check("not yet due", nil, -20001, 10)
	check("before 1970", nil, -20000, 10, at(-20000, "old"))
	check("in order", nil, 2, 10, at(-20000, "old"), at(0, "a\x00"), at(1, "a"), at(1, "c"), at(2, "b"))
	after := at(0, "a\x00")
	check("after one", &after, 1, 10, at(1, "a"), at(1, "c"))
	check("a few", nil, 2, 2, at(-20000, "old"), at(0, "a\x00"))
	if plan, err := x.Plan(5); err != nil || plan != "half" {
		t.Errorf("plan %q, %v", plan, err)
	}
	if plan, err := x.Plan(6); err != nil || plan != "" {
		t.Errorf("plan of another bucket %q, %v", plan, err)
	}
	if err := x.SettleLooks([]meta.Look{at(-20000, "old"), at(1, "a"), at(1, "gone")}, []meta.Look{at(3, "a")}); err != nil {
		t.Fatal(err)
	}
	check("settled", nil, 3, 10, at(0, "a\x00"), at(1, "c"), at(2, "b"), at(3, "a"))
}
