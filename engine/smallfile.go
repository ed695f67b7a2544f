package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"penstock/engine/drive"
)

// A few small files, such as the root credentials, lie on every drive beside the segments, so that they can be had before and
// without the index. They are whole on each drive or not there; of several versions the one on most drives holds.

// smallFileTimeout is when a drive that does not answer is passed over.
const smallFileTimeout = 10 * time.Second

// Meta returns the small file of that name, or nil when no drive has one. Drives that lack it, or have another version, are given it.
func (s *Store) Meta(name string) ([]byte, error) {
	s.small.Store(name, true)
	drives := s.healthyDrives()
	type answer struct {
		data []byte
		err  error
	}
	answers, missing := askDrives(drives, smallFileTimeout, func(d drive.Drive) answer {
		data, err := d.ReadMeta(name)
		return answer{data, err}
	})
	var errs []error
	for _, d := range missing {
		errs = append(errs, fmt.Errorf("%s does not answer", d.Path()))
	}
	// Votes are few: comparing beats hashing secrets into a map.
	var versions [][]byte
	var votes []int
	for _, a := range answers {
		switch {
		case errors.Is(a.value.err, fs.ErrNotExist):
			continue
		case a.value.err != nil:
			errs = append(errs, a.value.err)
			continue
		}
		i := slices.IndexFunc(versions, func(v []byte) bool { return bytes.Equal(v, a.value.data) })
		if i < 0 {
			i = len(versions)
			versions, votes = append(versions, a.value.data), append(votes, 0)
		}
		votes[i]++
	}
	if len(versions) == 0 {
		if len(errs) > 0 {
			// It may be on a drive that does not answer; to say that there is none would have another one made.
			return nil, &Error{Op: "Meta", Kind: KindUnavailable, Err: errors.Join(errs...)}
		}
		return nil, nil
	}
	best := 0
	for i := range votes {
		if votes[i] > votes[best] {
			best = i
		}
	}
	var lacking []drive.Drive
	for _, a := range answers {
		if a.value.err != nil && errors.Is(a.value.err, fs.ErrNotExist) || a.value.err == nil && !bytes.Equal(a.value.data, versions[best]) {
			lacking = append(lacking, a.drive)
		}
	}
	if err := writeSmallFile(lacking, name, versions[best]); err != nil {
		s.log.Warn("a small file is not on every drive", "file", name, "error", err)
	}
	// Never nil: that says that there is none.
	return append([]byte{}, versions[best]...), nil
}

// SetMeta puts a small file, readable by its owner alone, on every healthy drive. It fails if most of them do not take it.
func (s *Store) SetMeta(name string, data []byte) error {
	s.small.Store(name, true)
	drives := s.healthyDrives()
	err := writeSmallFile(drives, name, data)
	if few, ok := errors.AsType[*fewDrives](err); ok && 2*few.took > len(drives) {
		s.log.Warn("a small file is not on every drive", "file", name, "error", err)
		err = nil
	}
	if err != nil {
		return &Error{Op: "SetMeta", Kind: KindUnavailable, Err: err}
	}
	return nil
}

// spreadSmallFiles gives the small files that are in use to the drives that lack them: one has come.
func (s *Store) spreadSmallFiles() {
	s.small.Range(func(name, _ any) bool {
		if _, err := s.Meta(name.(string)); err != nil {
			s.log.Warn("a small file is not on every drive", "file", name, "error", err)
		}
		return true
	})
}

// fewDrives says that not all drives took a small file.
type fewDrives struct {
	took int
	errs error
}

func (e *fewDrives) Error() string { return e.errs.Error() }
func (e *fewDrives) Unwrap() error { return e.errs }

func writeSmallFile(drives []drive.Drive, name string, data []byte) error {
	answers, missing := askDrives(drives, smallFileTimeout, func(d drive.Drive) error { return d.WriteMeta(name, data, 0o600) })
	var errs []error
	for _, a := range answers {
		errs = append(errs, a.value)
	}
	took := 0
	for _, err := range errs {
		if err == nil {
			took++
		}
	}
	for _, d := range missing {
		errs = append(errs, fmt.Errorf("%s does not answer", d.Path()))
	}
	if err := errors.Join(errs...); err != nil {
		return &fewDrives{took, err}
	}
	return nil
}

func (s *Store) healthyDrives() []drive.Drive {
	var out []drive.Drive
	for _, c := range s.cells {
		out = append(out, c.healthyDrives()...)
	}
	return out
}

type driveAnswer[T any] struct {
	drive drive.Drive
	value T
}

// askDrives asks all drives at once. Those that do not answer in time are left behind, for a drive that hangs may hang for ever.
func askDrives[T any](drives []drive.Drive, limit time.Duration, ask func(drive.Drive) T) (answers []driveAnswer[T], missing []drive.Drive) {
	back := make(chan driveAnswer[T], len(drives)) // Room for all, so that nobody who is late blocks.
	for _, d := range drives {
		go func() { back <- driveAnswer[T]{d, ask(d)} }()
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	missing = slices.Clone(drives)
	for len(missing) > 0 {
		select {
		case a := <-back:
			answers = append(answers, a)
			missing = slices.DeleteFunc(missing, func(d drive.Drive) bool { return d == a.drive })
		case <-timer.C:
			return answers, missing
		}
	}
	return answers, nil
}
