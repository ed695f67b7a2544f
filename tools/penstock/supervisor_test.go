package main

import (
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestSupervisor plays systemd: the real binary says when it is ready, that it lives, and that it stops.
func TestSupervisor(t *testing.T) {
	r := newRig(t, 2)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	r.options.Env = append(r.options.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	next := func() string {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	r.start()
	if got := next(); got != "READY=1" {
		t.Errorf("first %q, want READY=1", got)
	}
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("%q, want WATCHDOG=1", got)
		}
	}
	r.stop()
	// What was sent before it stopped is still in the socket.
	var rest []string
	for !slices.Contains(rest, "STOPPING=1") {
		rest = append(rest, next())
	}
}
