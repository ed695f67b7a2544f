package harness

import (
	"crypto/tls"
	"net/http"
	"os"
	"testing"
)

// A Server is where a test finds the node.
type Server struct {
	Endpoint string
	HTTP     *http.Client // Trusts its certificate.
	Node     *Node        // nil when the endpoint is somebody else's.
}

// endpointEnv names a server to test instead of the binary, with the root pair of Start: to see how another S3
// server answers the same client.
const endpointEnv = "TEST_ENDPOINT"

// Serve starts the binary on six fresh drives for a test, over TLS if secure, and stops it when the test ends; the stop
// must be an orderly one.
func Serve(t testing.TB, secure bool) Server {
	t.Helper()
	if endpoint := os.Getenv(endpointEnv); endpoint != "" {
		if secure {
			t.Skipf("%s is set, and is not asked for TLS", endpointEnv)
		}
		return Server{Endpoint: endpoint, HTTP: http.DefaultClient}
	}
	binary, err := Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	drives, err := Drives(t.TempDir(), 6)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Binary: binary, Drives: drives, Args: []string{"--memory", "256MiB"}}
	client := http.DefaultClient
	if secure {
		certificate, err := NewCertificate(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		o.Args = append(o.Args, "--tls-cert", certificate.CertFile, "--tls-key", certificate.KeyFile)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: certificate.Pool}
		t.Cleanup(transport.CloseIdleConnections)
		client = &http.Client{Transport: transport}
	}
	node, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := node.Stop(); err != nil {
			t.Error(err)
		} else if t.Failed() {
			t.Log(node.Log())
		}
	})
	return Server{Endpoint: node.Endpoint, HTTP: client, Node: node}
}
