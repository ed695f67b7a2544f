package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthCommand(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == readyPath {
			w.WriteHeader(http.StatusServiceUnavailable) // As while it starts.
			return
		}
		w.Write([]byte(strings.TrimPrefix(r.URL.Path, "/penstock/health/") + "\n"))
	}))
	defer node.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, test := range []struct {
		args        []string
		code        int
		out, errout string
	}{
		{[]string{"--live", node.URL}, exitOK, "live\n", ""},
		{[]string{"--live", node.URL + "/"}, exitOK, "live\n", ""},
		{[]string{node.URL}, exitFailure, "", "503 Service Unavailable"},
		{[]string{gone.URL}, exitFailure, "", "connection refused"},
		{[]string{"localhost"}, exitMistake, "", `"localhost" is not a URL`},
		{[]string{node.URL, node.URL}, exitMistake, "", "at most 1 arg"},
	} {
		var out, errout bytes.Buffer
		code := run(t.Context(), append([]string{"health"}, test.args...), func(string) string { return "" }, &out, &errout)
		if code != test.code || out.String() != test.out || !strings.Contains(errout.String(), test.errout) {
			t.Errorf("health %q: code %d, %q, %q; want %d, %q, %q", test.args, code, out.String(), errout.String(), test.code, test.out, test.errout)
		}
	}
}
