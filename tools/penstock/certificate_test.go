package main

import (
	"crypto/tls"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"penstock/tools/harness"
)

// TestCertificateReload replaces the files in the ways in which they are replaced, and looks at what is served.
func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	renew := func() *big.Int {
		t.Helper()
		made, err := harness.NewCertificate(dir)
		if err != nil {
			t.Fatal(err)
		}
		return made.Serial
	}
	first := renew()
	c, err := loadCertificates([]string{dir + "/tls.crt"}, []string{dir + "/tls.key"}, "")
	if err != nil {
		t.Fatal(err)
	}
	serial := func() *big.Int {
		served, err := c.config().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return served.Leaf.SerialNumber
	}
	// The channels have no buffer: a second send returns once the first has been dealt with.
	stop, tick, hup := make(chan struct{}), make(chan time.Time), make(chan os.Signal)
	var log strings.Builder
	go c.watch(stop, tick, hup, slog.New(slog.NewTextHandler(&log, nil)))
	look := func() { tick <- time.Time{}; tick <- time.Time{} }
	if serial().Cmp(first) != 0 {
		t.Fatal("another certificate than the one in the file")
	}
	second := renew()
	if serial().Cmp(first) != 0 {
		t.Error("changed before anybody looked")
	}
	if look(); serial().Cmp(second) != 0 {
		t.Error("a changed certificate is not loaded at the next look")
	}
	if err := os.WriteFile(dir+"/tls.key", []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if look(); serial().Cmp(second) != 0 {
		t.Error("a broken key replaced a certificate that works")
	}
	third := renew()
	hup <- os.Interrupt
	look()
	if serial().Cmp(third) != 0 {
		t.Error("not loaded when asked to")
	}
	close(stop)
	if !strings.Contains(log.String(), "not loaded") {
		t.Errorf("a broken key is not in the log: %s", log.String())
	}
	if strings.Contains(log.String(), "half a key") {
		t.Error("the log shows the key")
	}
}
