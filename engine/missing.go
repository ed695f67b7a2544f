package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
)

// MissingError means that drives are missing without which the store cannot be opened: nobody could say what it holds. It may be opened
// when they are back.
type MissingError struct {
	Err    error
	drives []string // Where they are to be.
	seen   string   // What was there when it failed.
}

func (e *MissingError) Error() string { return e.Err.Error() }
func (e *MissingError) Unwrap() error { return e.Err }

const (
	missingPoll = time.Second
	// missingRetry is when to try again although nothing else is to be seen: a drive that is there may be well again.
	missingRetry = 15 * time.Second
)

// Wait waits until it is worth while to try again. It returns ctx's error if that ends first.
func (e *MissingError) Wait(ctx context.Context) error {
	retry := time.NewTimer(missingRetry)
	defer retry.Stop()
	poll := time.NewTicker(missingPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
			return nil
		case <-poll.C:
			if seen, _ := lookForDrives(e.drives); seen != e.seen {
				return nil
			}
		}
	}
}

// orMissing makes a MissingError of why the store could not be opened, if that may be because drives are missing. seen is what was to be seen before it was
// tried: whatever has come since is a reason to try again.
func orMissing(ctx context.Context, opts *Options, seen string, err error) error {
	if _, mistake := errors.AsType[*UsageError](err); mistake || ctx.Err() != nil || errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrSplit) {
		return err
	}
	_, whole := lookForDrives(opts.Drives)
	if whole && !errors.Is(err, journal.ErrUnavailable) {
		return err
	}
	return &MissingError{Err: err, drives: opts.Drives, seen: seen}
}

// lookForDrives describes what is to be seen where drives should be, and reports whether all that know each other are there.
func lookForDrives(paths []string) (seen string, whole bool) {
	var b strings.Builder
	here, known := make(map[drive.ID]bool), make(map[drive.ID]bool)
	for _, f := range drive.Scan(paths) {
		fmt.Fprintf(&b, "%s: %d %v %v\n", f.Path, f.State, f.Identity.Drive, f.Err != nil)
		if f.Err != nil || f.State != drive.StateFormatted {
			continue
		}
		here[f.Identity.Drive] = true
		for _, id := range f.Identity.Known {
			known[id] = true
		}
	}
	for id := range known {
		if !here[id] {
			return b.String(), false
		}
	}
	return b.String(), true
}
