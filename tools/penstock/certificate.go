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
	seen   [2]fileState // Owned by certificates.watch, once it runs.
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

// refresh loads the certificate again if its files changed, or if somebody asked. A pair that does not load, because half of it is
// written so far or because it is wrong, is reported and the old one stays.
func (c *certificate) refresh(asked bool, logger *slog.Logger) {
	now := c.look()
	if now == c.seen && !asked {
		return
	}
	c.seen = now
	if err := c.load(); err != nil {
		logger.Error("certificate not loaded, the one before stays in use", "err", err)
		return
	}
	logger.Info("certificate loaded", "file", c.certFile)
}

// look describes both files as they are now.
func (c *certificate) look() [2]fileState { return [2]fileState{lookAt(c.certFile), lookAt(c.keyFile)} }

// lookAt describes a file as it is now; one that cannot be seen is all zero.
func lookAt(name string) fileState {
	info, err := os.Stat(name)
	if err != nil {
		return fileState{}
	}
	return fileState{info.Size(), inode(info), info.ModTime()}
}

func inode(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(stat.Ino)
	}
	return 0
}
