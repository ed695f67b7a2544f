package iam

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// What this node asks of others it asks of names that somebody has written into its configuration. So that they cannot make it ask
// its own network, or itself, every connection is checked at the address it goes to, after the name was resolved and whatever it
// resolved to before; and nothing is followed to somewhere else.

// WebOptions say how providers are reached.
type WebOptions struct {
	RootCAs *x509.CertPool // nil means the system's.
}

const (
	outboundTimeout = 10 * time.Second
	maxOutboundLen  = 1 << 20 // Of an answer.
	// maxQuestions bounds what an issuer is asked in a minute: a token names the key it was signed with, so whoever sends
	// tokens decides how often keys are asked for.
	maxQuestions = 30
)

// newClient returns a client that talks to public addresses alone, or, if private is set, also to those of private networks and of
// the machine itself.
func (w *web) newClient(private bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: outboundTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !mayDial(addr.Addr(), private) {
				return fmt.Errorf("the address %v is not public", addr.Addr())
			}
			return nil
		},
	}
	transport := &http.Transport{
		DialContext:            dialer.DialContext, // No proxy: it would dial for us, unchecked.
		TLSClientConfig:        &tls.Config{RootCAs: w.options.RootCAs},
		TLSHandshakeTimeout:    outboundTimeout,
		ResponseHeaderTimeout:  outboundTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           4,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
	}
	return &http.Client{
		Transport: &bounded{next: transport, clock: w.clock},
		Timeout:   outboundTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which is not followed")
		},
	}
}

// neverDialled are networks that nothing is asked of: unspecified, link-local with the metadata services of clouds, multicast, reserved, and those
// that carry IPv4 addresses in disguise.
var neverDialled = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "fe80::/10", "ff00::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10", "100::/64")

// privateNetworks are those of a site or of the machine itself.
var privateNetworks = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10", "198.18.0.0/15", "::1/128", "fc00::/7")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func mayDial(addr netip.Addr, private bool) bool {
	addr = addr.Unmap().WithZone("")
	for _, network := range neverDialled {
		if network.Contains(addr) {
			return false
		}
	}
	for _, network := range privateNetworks {
		if network.Contains(addr) {
			return private
		}
	}
	return addr.IsValid()
}

// bounded limits how much is asked and how much is answered.
type bounded struct {
	next  http.RoundTripper
	clock func() time.Time

	mu    sync.Mutex // Guards the fields below.
	since time.Time
	asked int
}

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !b.take() {
		return nil, errors.New("it was asked too often in the last minute")
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxOutboundLen), resp.Body}
	return resp, nil
}

func (b *bounded) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.clock(); now.Sub(b.since).Abs() > time.Minute {
		b.since, b.asked = now, 0
	}
	b.asked++
	return b.asked <= maxQuestions
}
