package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// certificateCheck is how often the files of a certificate are looked at. Renewals happen weeks before expiry; ten
// seconds is soon, and two stat calls are nothing.
const certificateCheck = 10 * time.Second

// A certificate serves the newest certificate that its files held whole.
type certificate struct {
	certFile, keyFile string

	loaded atomic.Pointer[tls.Certificate]
	seen   [2]fileState // Owned by watch, once it runs.
}

// fileState tells whether a file is still the one that was read. The inode is part of it: a renewed certificate is
// often a symbolic link that moved to another file, with a date of its own.
type fileState struct {
	size, inode int64
	modified    time.Time
}

func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	c.seen = c.look()
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.loaded.Store(&pair)
	return nil
}

// config is the TLS configuration of the listeners. It offers HTTP/1.1 alone, the only protocol served.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.loaded.Load(), nil
		},
	}
}

// watch loads the certificate again whenever tick finds its files changed, and whenever hup asks, until stop. A pair
// that does not load, because half of it is written so far or because it is wrong, is reported and the old one stays.
func (c *certificate) watch(stop <-chan struct{}, tick <-chan time.Time, hup <-chan os.Signal, logger *slog.Logger) {
	for {
		asked := false
		select {
		case <-stop:
			return
		case <-tick:
		case <-hup:
			asked = true
		}
		now := c.look()
		if now == c.seen && !asked {
			continue
		}
		c.seen = now
		if err := c.load(); err != nil {
			logger.Error("certificate not loaded, the one before stays in use", "err", err)
			continue
		}
		logger.Info("certificate loaded", "file", c.certFile)
	}
}

// look describes both files as they are now; one that cannot be seen is all zero.
func (c *certificate) look() (states [2]fileState) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			states[i] = fileState{info.Size(), inode(info), info.ModTime()}
		}
	}
	return states
}

func inode(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(stat.Ino)
	}
	return 0
}
