package fastapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock/engine"
	"penstock/fastapi/admin"
)

// fakeAdmin is what the administration API works on, beside a fakeStore, which counts its calls.
type fakeAdmin struct {
	*fakeStore
	*fakeHealth
	*fakeDrives
}

func (a fakeAdmin) Info() engine.Info {
	a.enter("Info", "")
	a.mu.Unlock()
	return engine.Info{Cluster: "c", Geometry: "2+1", Drives: []engine.DriveInfo{{ID: "one", State: "ok"}}}
}

func (a fakeAdmin) BucketUsage(_ context.Context, name string) (engine.BucketUsage, error) {
	a.enter("BucketUsage", name)
	defer a.mu.Unlock()
	if a.buckets[name] == nil {
		return engine.BucketUsage{}, &engine.Error{Op: "BucketUsage", Bucket: name, Kind: engine.KindNoSuchBucket}
	}
	return engine.BucketUsage{Name: name}, nil
}

func (a fakeAdmin) BucketUsages(context.Context) (all []engine.BucketUsage, err error) {
	a.enter("BucketUsages", "")
	defer a.mu.Unlock()
	for name := range a.buckets {
		all = append(all, engine.BucketUsage{Name: name})
	}
	return all, nil
}

func (a fakeAdmin) Forecast(_ context.Context, bucket, key string) ([]engine.Forecast, error) {
	a.enter("Forecast", key)
	defer a.mu.Unlock()
	if a.buckets[bucket] == nil {
		return nil, &engine.Error{Op: "Forecast", Bucket: bucket, Kind: engine.KindNoSuchBucket}
	}
	later, soon := time.Unix(2e9, 0), time.Unix(1.9e9, 0)
	return []engine.Forecast{
		{Rule: "a", Version: 9, Current: true, Action: engine.ActionExpire, At: later}, {Rule: "b", Version: 9, Current: true, Why: "no"},
		{Rule: "a", Version: 7, Why: "no"}, {Rule: "b", Version: 7, Action: engine.ActionRemove, At: soon, Locked: true},
		{Rule: "a", Upload: "u", Why: "no"}, {Rule: "b", Upload: "u", Action: engine.ActionAbort, At: later},
	}, nil
}

func (a fakeAdmin) Stats() engine.Stats {
	a.enter("Stats", "")
	a.mu.Unlock()
	return engine.Stats{RingEnters: 7, DriveWrites: 8}
}

func (a fakeAdmin) Gauges() engine.Gauges {
	a.enter("Gauges", "")
	a.mu.Unlock()
	latency := make([]uint64, 40)
	latency[3], latency[39] = 2, 1
	return engine.Gauges{
		Cells: []engine.CellGauges{{RingReads: 5, JournalLag: 6, K: 2, M: 1}},
		Drives: []engine.DriveGauges{
			{DriveInfo: engine.DriveInfo{ID: "one", Path: "/d1", State: "ok", Free: 9}, ReadOps: engine.DriveOps{Count: 3, Bytes: 4, Latency: latency}},
			{DriveInfo: engine.DriveInfo{ID: "two", State: "missing"}},
		},
	}
}

func (a fakeAdmin) CompactStatus() engine.CompactStatus {
	a.enter("CompactStatus", "")
	defer a.mu.Unlock()
	return engine.CompactStatus{Asked: a.compacting, Waiting: 2, Used: 30, Live: 20, Err: errors.New("a drive is gone")}
}

func (a fakeAdmin) StartCompaction() { a.compact("StartCompaction", true) }
func (a fakeAdmin) StopCompaction()  { a.compact("StopCompaction", false) }

func (a fakeAdmin) compact(call string, asked bool) {
	a.enter(call, "")
	defer a.mu.Unlock()
	a.compacting = asked
}

// failure is the document of a failed call of the administration API.
func (r *reply) failure(t *testing.T) admin.Failure {
	t.Helper()
	var f admin.Failure
	if err := json.Unmarshal([]byte(r.body), &f); err != nil || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v, want an error in JSON", r)
	}
	if f.RequestID == "" || f.RequestID != r.header.Get("x-amz-request-id") || f.Message == "" {
		t.Errorf("got %+v, want the id of the request and a message", f)
	}
	return f
}

func TestAdminCallsAreAnsweredInJSON(t *testing.T) {
	h := newHarness(t)
	r := h.must("GET", admin.Prefix+"/info", "")
	var info admin.Info
	if err := json.Unmarshal([]byte(r.body), &info); err != nil || info.Geometry != "2+1" || len(info.Drives) != 1 {
		t.Errorf("info: %v, %v", r, err)
	}
	for _, c := range []struct {
		name, method, target string
		status               int
		code                 string
	}{
		{"no such route", "GET", admin.Prefix + "/nothing", 404, "NoSuchRoute"},
		{"not the whole path", "GET", admin.Prefix + "/info/x", 404, "NoSuchRoute"},
		{"an empty segment", "GET", admin.Prefix + "//info", 404, "NoSuchRoute"},
		{"another method", "DELETE", admin.Prefix + "/info", 405, "MethodNotAllowed"},
	} {
		r := h.do(c.method, c.target, "")
		if f := r.failure(t); r.status != c.status || f.Code != c.code {
			t.Errorf("%s: got %v, want %d %s", c.name, r, c.status, c.code)
		}
	}
	if r := h.do("POST", admin.Prefix+"/info", ""); r.header.Get("Allow") != "GET" {
		t.Errorf("Allow is %q", r.header.Get("Allow"))
	}
}

// TestAdminNeedsASignatureInTheHeader: nothing is told to strangers, not even what there is, and no link carries an administrator's rights.
func TestAdminNeedsASignatureInTheHeader(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/info", "/cost", "/nothing"} {
		resp, err := http.Get("http://" + h.addr + admin.Prefix + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s without a signature: %v", path, resp.Status)
		}
	}
	q := &wireRequest{method: "GET", target: h.presign("GET", admin.Prefix+"/info"), host: h.host}
	if r := h.send(q); r.status != 403 || r.failure(t).Code != "AccessDenied" {
		t.Errorf("presigned: %v", r)
	}
	if h.store.callCount() != 0 {
		t.Error("the store was asked for somebody who may not know")
	}
}

// TestAdminIsNoBucket: below a virtual host the path is a key, and the API is where the whole path says so.
func TestAdminIsNoBucket(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Domains = []string{"s3.test"} })
	h.must("PUT", "/bucket", "")
	h.must("PUT", admin.Prefix+"/info", "an object", "Host", "bucket.s3.test")
	if r := h.must("GET", admin.Prefix+"/info", "", "Host", "bucket.s3.test"); r.body != "an object" {
		t.Errorf("got %v", r)
	}
}

func TestCostCountsRequests(t *testing.T) {
	h := newHarness(t)
	s := &session{h: h}
	h.must("PUT", "/bucket", "")
	large := strings.Repeat("x", 100_000) // Sent from where it is, after the handler has returned.
	for _, key := range []string{"a", "b", "c"} {
		if r := s.send(h.build("PUT", "/bucket/"+key, []byte(large))); r.status != 200 {
			t.Fatal(r)
		}
	}
	for range 2 {
		if r := s.send(h.build("GET", "/bucket/a", nil)); len(r.body) != len(large) {
			t.Fatal(r)
		}
	}
	s.send(h.build("GET", "/bucket/none", nil))
	h.store.setFail(func(op, _ string) error {
		if op == "Head" {
			return &engine.Error{Op: op, Kind: engine.KindUnavailable}
		}
		return nil
	})
	s.send(h.build("HEAD", "/bucket/a", nil))

	r := s.send(h.build("GET", admin.Prefix+"/cost", nil))
	var cost admin.Cost
	if err := json.Unmarshal([]byte(r.body), &cost); err != nil {
		t.Fatal(err)
	}
	put, get, head := cost.Requests["PutObject"], cost.Requests["GetObject"], cost.Requests["HeadObject"]
	if put.Calls != 3 || put.Received != 300_000 || put.ClientErrors != 0 || put.Seconds <= 0 || put.P99 < put.P50 || put.P50 <= 0 {
		t.Errorf("PutObject: %+v", put)
	}
	if get.Calls != 3 || get.Sent < 200_000 || get.Sent > 201_000 || get.ClientErrors != 1 || get.ServerErrors != 0 {
		t.Errorf("GetObject: %+v", get)
	}
	if head.Calls != 1 || head.ServerErrors != 1 {
		t.Errorf("HeadObject: %+v", head)
	}
	if cost.Sockets.ReadLen < 300_000 || cost.Sockets.WriteLen < 200_000 || cost.Sockets.Accepted < 2 || cost.Sockets.Open < 1 || cost.Sockets.Reads == 0 {
		t.Errorf("sockets: %+v", cost.Sockets)
	}
	if cost.Rings.Enters != 7 || cost.Drives.Writes != 8 || cost.CPU.User+cost.CPU.System <= 0 || cost.Go.Allocs == 0 {
		t.Errorf("got %+v", cost)
	}
}

// TestSocketsOutliveConnections: what a connection did stays counted when it is gone.
func TestSocketsOutliveConnections(t *testing.T) {
	h := newHarness(t)
	for range 3 {
		h.must("GET", "/", "")
	}
	c := h.dial()
	q := h.build("GET", "/", nil)
	c.Write(q.head())
	if _, err := tryRead(bufio.NewReader(c), "GET"); err != nil {
		t.Fatal(err)
	}
	// A client may read an answer before the write that sent it has returned and is counted.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s := h.srv.Sockets()
		if s.Accepted == 4 && s.Reads >= 4 && s.Writes >= 4 && s.ReadLen >= uint64(4*len(q.head())-100) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %+v", s)
		}
	}
}

// TestOpenAPIDescribesTheServer holds the description to what the server does.
func TestOpenAPIDescribesTheServer(t *testing.T) {
	h := newHarness(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Action string `json:"x-penstock-action"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(h.must("GET", admin.Prefix+"/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	described := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			described++
			r := request{srv: h.srv, admin: admin.Call{}}
			r.rawPath = (&url.URL{Path: strings.NewReplacer("{", "", "}", "").Replace(path)}).EscapedPath()
			route, _, _ := admin.Match(strings.ToUpper(method), strings.TrimPrefix(r.rawPath, admin.Prefix))
			if !r.isAdmin() || route == nil || route.Action != op.Action {
				t.Errorf("%s %s is described, and is not served as %s", method, path, op.Action)
			}
		}
	}
	if routes := admin.Routes(); described != len(routes) {
		t.Errorf("%d routes are described, and there are %d", described, len(routes))
	}
}

func TestLatencyBuckets(t *testing.T) {
	for i := range latencyBuckets - 1 {
		bound := bucketBound(i)
		if latencyBucket(bound-1) > i || latencyBucket(bound) != i+1 {
			t.Errorf("bucket %d ends at %v, which is in %d", i, bound, latencyBucket(bound))
		}
	}
}
