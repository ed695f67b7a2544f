package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock/fastapi"
)

// auditIDs returns the request ids in lines of JSON.
func auditIDs(t *testing.T, r io.Reader) (ids []string) {
	t.Helper()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var e fastapi.AuditEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		ids = append(ids, e.RequestID)
	}
	return ids
}

// TestAuditFile: every entry is in some file, in order, and no file is read by others.
func TestAuditFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	a, err := newAudit(&settings{auditLog: path, auditLogSize: 1 << 20, auditLogFiles: unset}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	for i := range n {
		a.record(&fastapi.AuditEntry{RequestID: fmt.Sprint(i), Path: "/" + strings.Repeat("k", 400)})
	}
	a.close()
	a.record(&fastapi.AuditEntry{}) // Too late, and harmless.
	full, err := filepath.Glob(filepath.Join(dir, "audit-*.log"))
	if err != nil || len(full) == 0 {
		t.Fatalf("no file was rotated: %v", err)
	}
	var ids []string
	for _, name := range append(full, path) { // The names of the full ones sort by time.
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 || info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		ids = append(ids, auditIDs(t, file)...)
		file.Close()
	}
	if len(ids) != n || ids[0] != "0" || ids[n-1] != fmt.Sprint(n-1) {
		t.Errorf("%d of %d entries", len(ids), n)
	}
	if _, err := newAudit(&settings{auditLog: filepath.Join(dir, "none", "audit.log")}, nil); err == nil || !strings.Contains(err.Error(), "--audit-log") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// TestAuditWebhook: a webhook that fails is tried again with the same entries, and gets the token.
func TestAuditWebhook(t *testing.T) {
	var mu sync.Mutex
	var got []string
	calls := 0
	all := make(chan bool)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if r.Header.Get("Authorization") != "Bearer token" || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("headers %v", r.Header)
		}
		if got = append(got, auditIDs(t, r.Body)...); len(got) == 3 {
			close(all)
		}
	}))
	defer hook.Close()
	a, err := newAudit(&settings{auditWebhook: hook.URL, auditToken: "token"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		a.record(&fastapi.AuditEntry{RequestID: id})
	}
	<-all
	a.close()
	if fmt.Sprint(got) != "[a b c]" {
		t.Errorf("got %v", got)
	}
}

// TestAuditFull: requests do not wait for a webhook that takes nothing, and what is lost is said.
func TestAuditFull(t *testing.T) {
	free := make(chan bool)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
	defer hook.Close()
	defer close(free)
	var log bytes.Buffer
	a, err := newAudit(&settings{auditWebhook: hook.URL}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range auditQueueLen + 2*auditBatchLen {
		a.record(&fastapi.AuditEntry{})
	}
	a.close() // Does not wait for it either.
	if !strings.Contains(log.String(), "are lost") {
		t.Errorf("the log says %q", log.String())
	}
}
