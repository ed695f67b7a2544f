package engine

import (
	"log/slog"

	"penstock/engine/drive"
)

// driveSource is where drives come from while a cell serves.
type driveSource interface {
	// Inspect looks at what may be a drive, without changing anything.
	Inspect(path string) (drive.State, drive.Identity, error)
	// Mounted reports whether it is a file system of its own.
	Mounted(path string) (bool, error)
	// Format makes a blank one a drive.
	Format(path string, id drive.Identity) error
	// Open serves a formatted one. old is what it was before, if it has failed and is back, else nil. Nothing is in flight on old.
	Open(path string, old drive.Drive) (drive.Drive, error)
}

// dirSource finds drives in directories.
type dirSource struct {
	queue   *drive.RingQueue
	cluster drive.ID
	log     *slog.Logger
}

func (s dirSource) Inspect(path string) (drive.State, drive.Identity, error) {
	return drive.Inspect(path)
}
func (s dirSource) Mounted(path string) (bool, error)           { return drive.Mounted(path) }
func (s dirSource) Format(path string, id drive.Identity) error { return drive.Format(path, id) }

func (s dirSource) Open(path string, old drive.Drive) (drive.Drive, error) {
	opts := drive.DirOptions{Queue: s.queue, Cluster: s.cluster, Logger: s.log}
	if old == nil {
		return drive.OpenDir(path, opts)
	}
	return drive.ReopenDir(path, old, opts)
}
