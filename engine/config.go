package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"penstock/meta"
)

// Named values are what the store keeps beside buckets and objects: identities, policies, settings. Each is durable like everything
// else, and there as long as the journals are.

// Limits of a named value.
const (
	MaxConfigNameLen = meta.MaxNameLen
	MaxConfigLen     = 1 << 20 // So that its record fits a batch.
)

// storeConfig begins the names of the values that are the store's own.
const storeConfig = "store/"

var (
	errConfig      = errors.New("a named value has a name of 1 to 255 bytes and at most 1 MiB")
	errStoreConfig = errors.New("the name is one of the store's own")
)

// ConfigValue is a named value.
type ConfigValue struct{ Name, Value string }

// Config returns a named value, "" when it is not set.
func (s *Store) Config(name string) (string, error) {
	const op = "Config"
	b, err := s.cells[0].enter()
	if err != nil {
		return "", storeError(op, "", "", err)
	}
	defer b.leave()
	value, err := b.index.Config(name)
	return value, storeError(op, "", "", err)
}

// Configs returns up to limit named values in order of name, those whose name begins with prefix and comes after after, and whether
// there are more.
func (s *Store) Configs(prefix, after string, limit int) ([]ConfigValue, bool, error) {
	const op = "Configs"
	b, err := s.cells[0].enter()
	if err != nil {
		return nil, false, storeError(op, "", "", err)
	}
	defer b.leave()
	found, more, err := b.index.ListConfig(after, prefix, limit)
	if err != nil {
		return nil, false, storeError(op, "", "", err)
	}
	values := make([]ConfigValue, len(found))
	for i, c := range found {
		values[i] = ConfigValue(c)
	}
	return values, more, nil
}

// SetConfig sets a named value by one record; "" removes it. A caller that makes a value of the one before sees to it that nobody
// comes between.
func (s *Store) SetConfig(ctx context.Context, name, value string) error {
	const op = "SetConfig"
	if err := ctx.Err(); err != nil {
		return storeError(op, "", "", err)
	}
	if name == "" || len(name) > MaxConfigNameLen || len(value) > MaxConfigLen {
		return &Error{Op: op, Kind: KindTooLarge, Err: fmt.Errorf("%q of %d bytes: %w", name, len(value), errConfig)}
	}
	if strings.HasPrefix(name, storeConfig) {
		return &Error{Op: op, Kind: KindPrecondition, Err: fmt.Errorf("%q: %w", name, errStoreConfig)}
	}
	if value != "" {
		if err := s.cells[0].checkFull(); err != nil {
			return storeError(op, "", "", err)
		}
	}
	return storeError(op, "", "", s.setConfig(ctx, name, value))
}

// setConfig sets a value under its lock: compaction must not write one again that is removed meanwhile.
func (s *Store) setConfig(ctx context.Context, name, value string) error {
	c := s.cells[0]
	unlock, err := c.locks.lock(ctx, configLock(name))
	if err != nil {
		return err
	}
	defer unlock()
	return c.commit(&meta.Config{Name: name, Value: value})
}
