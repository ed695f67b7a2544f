package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/tools/harness"
)

// TestDoors serves HTTP and HTTPS side by side, with certificates for two host names, and administers with one more.
func TestDoors(t *testing.T) {
	made := make(map[string]*harness.Certificate)
	for name, hosts := range map[string][]string{"first": nil, "second": {"s3.example.com"}, "boss": {"boss"}} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[name], err = harness.NewCertificate(dir, hosts...); err != nil {
			t.Fatal(err)
		}
	}
	first, second, boss := made["first"], made["second"], made["boss"]
	r := newRig(t, 3, "--tls-cert", first.CertFile, "--tls-key", first.KeyFile, "--tls-cert", second.CertFile, "--tls-key", second.KeyFile,
		"--tls-address", "127.0.0.1:0", "--admin-client-ca", boss.CertFile)
	r.start()
	defer r.stop()
	secure, _ := r.node.Ready["https"].(string)
	if !strings.HasPrefix(r.node.Endpoint, "http://") || !strings.HasPrefix(secure, "https://") {
		t.Fatalf("endpoints %q and %q", r.node.Endpoint, secure)
	}
	response, err := http.Get(r.node.Endpoint + readyPath)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 || response.TLS != nil {
		t.Errorf("over HTTP: %v", response.Status)
	}

	for host, want := range map[string]*harness.Certificate{"localhost": first, "s3.example.com": second, "unknown.example.com": first} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(secure, "https://"), &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(want.Serial) != 0 {
			t.Errorf("%s: another certificate", host)
		}
		conn.Close()
	}
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(secure, "https://"), &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}

	r.refused("show a certificate", "info")
	r.refused("show a certificate", "info", "--server", secure, "--ca", first.CertFile)
	out := r.good("info", "--server", secure, "--ca", first.CertFile, "--client-cert", boss.CertFile, "--client-key", boss.KeyFile, "--json")
	if !json.Valid([]byte(out)) {
		t.Errorf("with a certificate: %s", out)
	}
	// Somebody else's certificate does not get through the handshake.
	code, _, errs := r.admin("info", "--server", secure, "--ca", first.CertFile, "--client-cert", second.CertFile, "--client-key", second.KeyFile)
	if code == exitOK {
		t.Errorf("with another certificate: %s", errs)
	}
}
