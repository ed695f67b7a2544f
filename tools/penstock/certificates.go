package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// certificates are all that the node has: one for each set of host names, and the authorities whose clients may administer it.
type certificates struct {
	all []*certificate // The first serves whom none fits.

	clientsFile string // "" is none: nobody is asked for a certificate.
	clientsSeen fileState
	serving     atomic.Pointer[tls.Config]
}

// loadCertificates loads the pairs of files, and the authorities unless their file is "".
func loadCertificates(certs, keys []string, clientsFile string) (*certificates, error) {
	c := &certificates{clientsFile: clientsFile}
	for i := range certs {
		one, err := loadCertificate(certs[i], keys[i])
		if err != nil {
			return nil, err
		}
		c.all = append(c.all, one)
	}
	c.clientsSeen = lookAt(clientsFile)
	clients, err := c.loadClients()
	if err != nil {
		return nil, err
	}
	c.serve(clients)
	return c, nil
}

func (c *certificates) loadClients() (*x509.CertPool, error) {
	if c.clientsFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.clientsFile)
	if err != nil {
		return nil, fmt.Errorf("--admin-client-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--admin-client-ca %s holds no certificate in PEM", c.clientsFile)
	}
	return pool, nil
}

// serve makes the configuration that handshakes use from now on. It offers HTTP/1.1 alone, the only protocol served.
func (c *certificates) serve(clients *x509.CertPool) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.choose}
	if clients != nil {
		config.ClientCAs, config.ClientAuth = clients, tls.VerifyClientCertIfGiven
	}
	c.serving.Store(config)
}

// config is the configuration of the listeners.
func (c *certificates) config() *tls.Config {
	config := c.serving.Load().Clone()
	if c.clientsFile != "" {
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.serving.Load(), nil }
	}
	return config
}

// choose finds the certificate for the host name that the client asked for (RFC 6066, section 3).
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName != "" {
		for _, one := range c.all {
			if loaded := one.loaded.Load(); loaded.Leaf != nil && loaded.Leaf.VerifyHostname(hello.ServerName) == nil {
				return loaded, nil
			}
		}
	}
	return c.all[0].loaded.Load(), nil
}

// watch loads again what tick finds changed, and everything whenever hup asks, until stop.
func (c *certificates) watch(stop <-chan struct{}, tick <-chan time.Time, hup <-chan os.Signal, logger *slog.Logger) {
	for {
		asked := false
		select {
		case <-stop:
			return
		case <-tick:
		case <-hup:
			asked = true
		}
		for _, one := range c.all {
			one.refresh(asked, logger)
		}
		if now := lookAt(c.clientsFile); c.clientsFile != "" && (asked || now != c.clientsSeen) {
			c.clientsSeen = now
			if clients, err := c.loadClients(); err != nil {
				logger.Error("authorities not loaded, those before stay in use", "err", err)
			} else {
				c.serve(clients)
				logger.Info("authorities of administrators loaded", "file", c.clientsFile)
			}
		}
	}
}
