package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"penstock/numa"
	"penstock/tools/harness"
)

func listenForTest(t *testing.T) net.Listener {
	t.Helper()
	listeners, err := listen(t.Context(), "127.0.0.1:0", numa.Topology{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(listeners) })
	if len(listeners) != 1 {
		t.Fatalf("%d listeners on a machine of one NUMA node", len(listeners))
	}
	return listeners[0]
}

// TestStarting asks while the store opens, over HTTP and TLS, then hands the listener over and asks again.
func TestStarting(t *testing.T) {
	certificate, err := harness.NewCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := loadCertificates([]string{certificate.CertFile}, []string{certificate.KeyFile}, "")
	if err != nil {
		t.Fatal(err)
	}
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": loaded.config()} {
		t.Run(scheme, func(t *testing.T) {
			listener := listenForTest(t)
			s := serveStarting([]door{{listener, config}})
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: certificate.Pool}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for _, c := range []struct {
				method, path string
				status       int
				body         string
			}{
				{"GET", livePath, 200, ""},
				{"GET", readyPath, 503, ""},
				{"GET", "/", 503, "<Code>ServiceUnavailable</Code>"},
				{"PUT", "/bucket/key", 503, "<Code>ServiceUnavailable</Code>"},
				{"HEAD", "/bucket/key", 503, ""},
			} {
				request, err := http.NewRequest(c.method, scheme+"://"+listener.Addr().String()+c.path, strings.NewReader(""))
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != c.status || !strings.Contains(string(body), c.body) || c.body == "" && len(body) > 0 {
					t.Errorf("%s %s: %d %q; want %d with %q", c.method, c.path, response.StatusCode, body, c.status, c.body)
				}
				if c.status == 503 && response.Header.Get("Retry-After") == "" {
					t.Errorf("%s %s: no Retry-After", c.method, c.path)
				}
				if !response.Close {
					t.Errorf("%s %s: the connection stays with a server that is about to go", c.method, c.path)
				}
			}
			if err := s.handOver(); err != nil {
				t.Fatal(err)
			}
			// A client that connects between the two servers waits in the queue for the second.
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			next := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "next") })}
			go next.Serve(listener)
			defer next.Close()
			fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(response.Body); string(body) != "next" {
				t.Errorf("after the hand-over: got %q", body)
			}
		})
	}
}

// TestListenSteered opens a listener for each of two NUMA nodes, both of which take connections.
func TestListenSteered(t *testing.T) {
	topology := numa.Topology{Nodes: []numa.Node{{ID: 0, CPUs: []int{0}}, {ID: 1, CPUs: []int{1}}, {ID: 2}}}
	listeners, err := listen(t.Context(), "127.0.0.1:0", topology)
	if _, ok := err.(*notSteered); err != nil && !ok {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	if len(listeners) != 2 || listeners[0].Addr().String() != listeners[1].Addr().String() {
		t.Fatalf("got %d listeners; want two on one port: the third NUMA node has no CPUs", len(listeners))
	}
	if _, err := listen(t.Context(), listeners[0].Addr().String(), topology); err == nil {
		t.Error("a second server may share the port of the first")
	}
	accepted := make(chan net.Conn)
	for _, l := range listeners {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- conn
			}
		}()
	}
	for range 8 {
		conn, err := net.Dial("tcp", listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		(<-accepted).Close()
		conn.Close()
	}
}
