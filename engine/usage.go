package engine

import (
	"context"
	"slices"
	"strings"

	"penstock/meta"
)

// Usage is what a bucket holds. It is counted in the index, in the same batch as each change, so it is exact at any time: a write is in it
// when it is acknowledged, and a crash or a rebuild of the index loses nothing of it.
type Usage = meta.BucketUsage

// BucketUsage is the usage of one bucket.
type BucketUsage struct {
	Name string
	Usage
	Quota int64 // The most bytes that it may hold, parts of uploads in progress included; 0 means any number.
}

// BucketUsage returns what a bucket holds.
func (s *Store) BucketUsage(_ context.Context, name string) (BucketUsage, error) {
	const op = "BucketUsage"
	b, err := s.bucketOf(op, name)
	if err != nil {
		return BucketUsage{}, err
	}
	u, err := s.usageOf(b)
	if err != nil {
		return BucketUsage{}, storeError(op, name, "", err)
	}
	return BucketUsage{Name: name, Usage: u, Quota: b.quota()}, nil
}

// usageOf adds up what the cells hold of a bucket.
func (s *Store) usageOf(b *bucket) (Usage, error) { return s.sumUsage(b, (*cell).enter) }

// usageNow is usageOf for callers that have entered a base: it does not wait for one that is being replaced.
func (s *Store) usageNow(b *bucket) (Usage, error) {
	return s.sumUsage(b, func(c *cell) (*base, error) {
		base := c.base.Load()
		return base, base.enter()
	})
}

func (s *Store) sumUsage(b *bucket, enter func(*cell) (*base, error)) (u Usage, err error) {
	for _, c := range s.cells {
		base, err := enter(c)
		if err != nil {
			return Usage{}, err
		}
		one, err := base.index.BucketUsage(b.id)
		base.leave()
		if err != nil {
			return Usage{}, err
		}
		u.Add(one)
	}
	return u, nil
}

// BucketUsages returns what every bucket holds, in order of name.
func (s *Store) BucketUsages(context.Context) ([]BucketUsage, error) {
	const op = "BucketUsages"
	sums := make(map[meta.BucketID]Usage)
	for _, c := range s.cells {
		base, err := c.enter()
		if err != nil {
			return nil, storeError(op, "", "", err)
		}
		err = base.index.BucketUsages(func(id meta.BucketID, u meta.BucketUsage) bool {
			sum := sums[id]
			sum.Add(u)
			sums[id] = sum
			return true
		})
		base.leave()
		if err != nil {
			return nil, storeError(op, "", "", err)
		}
	}
	s.mu.RLock()
	out := make([]BucketUsage, 0, len(s.buckets))
	for name, b := range s.buckets {
		out = append(out, BucketUsage{Name: name, Usage: sums[b.id], Quota: b.quota()})
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b BucketUsage) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
