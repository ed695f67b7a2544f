package fastapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"penstock/engine"
	"penstock/fastapi/admin"
)

// fakeDrives is the drives of a fakeStore: one, whose path is /d1 and whose id is one. It notes what is asked of it.
type fakeDrives struct {
	asking sync.Mutex // Guards asked.
	asked  string
}

func (f *fakeDrives) ask(name, format string, args ...any) (engine.DriveInfo, error) {
	f.asking.Lock()
	defer f.asking.Unlock()
	f.asked = fmt.Sprintf(format, args...)
	switch name {
	case "", "one", "/d1":
		return engine.DriveInfo{ID: "one", Path: "/d1", State: "ok", Draining: true, Shards: 3}, nil
	case "busy":
		return engine.DriveInfo{}, &engine.Error{Op: "X", Kind: engine.KindDrive, Err: errors.New("it holds 3 shards")}
	}
	return engine.DriveInfo{}, &engine.Error{Op: "X", Kind: engine.KindNoSuchDrive, Err: errors.New("no drive " + name)}
}

func (f *fakeDrives) AddDrive(_ context.Context, path string, force bool) (engine.DriveInfo, error) {
	return f.ask("", "add %s %v", path, force)
}

func (f *fakeDrives) ReplaceDrive(_ context.Context, name, path string, force bool) (engine.DriveInfo, error) {
	return f.ask(name, "replace %s %s %v", name, path, force)
}

func (f *fakeDrives) DrainDrive(_ context.Context, name string, leave bool) (engine.DriveInfo, error) {
	return f.ask(name, "drain %s %v", name, leave)
}

func (f *fakeDrives) StopDraining(_ context.Context, name string) (engine.DriveInfo, error) {
	return f.ask(name, "stay %s", name)
}

func (f *fakeDrives) RemoveDrive(_ context.Context, name string, force bool) error {
	_, err := f.ask(name, "remove %s %v", name, force)
	return err
}

func TestAdminDrives(t *testing.T) {
	h := newHarness(t)
	var list admin.DriveList
	r := h.must("GET", admin.Prefix+"/drives", "")
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list.Drives) != 1 || list.Drives[0].ID != "one" {
		t.Errorf("got %v, %v", r, err)
	}
	path := url.PathEscape("/d1")
	for _, c := range []struct {
		method, path, body string
		status             int
		asked              string // Or the code of the failure.
	}{
		{"POST", "/drives", `{"path":"/new"}`, 200, "add /new false"},
		{"POST", "/drives", `{"path":"/new","force":true}`, 200, "add /new true"},
		{"POST", "/drives", `{}`, 400, "InvalidRequest"},
		{"POST", "/drives", `no`, 400, "InvalidRequest"},
		{"POST", "/drives/one/drain", "", 200, "drain one false"},
		{"POST", "/drives/" + path + "/drain?remove=true", "", 200, "drain /d1 true"},
		{"POST", "/drives/one/drain?remove=perhaps", "", 400, "InvalidRequest"},
		{"DELETE", "/drives/one/drain", "", 200, "stay one"},
		{"POST", "/drives/one/replace", `{}`, 200, "replace one  false"},
		{"POST", "/drives/one/replace", `{"path":"/new"}`, 200, "replace one /new false"},
		{"DELETE", "/drives/one", "", 204, "remove one false"},
		{"DELETE", "/drives/one?force=true", "", 204, "remove one true"},
		{"DELETE", "/drives/busy", "", 409, "DriveRefused"},
		{"DELETE", "/drives/two", "", 404, "NoSuchDrive"},
	} {
		r := h.do(c.method, admin.Prefix+c.path, c.body)
		switch {
		case r.status != c.status:
			t.Errorf("%s %s: got %v, want %d", c.method, c.path, r, c.status)
		case r.status >= 400:
			if f := r.failure(t); f.Code != c.asked {
				t.Errorf("%s %s: got %v, want %s", c.method, c.path, r, c.asked)
			}
		default:
			if h.drives.asked != c.asked {
				t.Errorf("%s %s: asked for %q, want %q", c.method, c.path, h.drives.asked, c.asked)
			}
			var d admin.Drive
			if err := json.Unmarshal([]byte(r.body), &d); r.status == 200 && (err != nil || d.Path != "/d1" || !d.Draining || d.Shards != 3) {
				t.Errorf("%s %s: got %v, %v", c.method, c.path, r, err)
			}
		}
	}
}
