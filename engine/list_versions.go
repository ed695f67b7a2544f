package engine

import (
	"context"

	"penstock/meta"
)

// VersionListOptions select a page of a bucket's versions.
type VersionListOptions struct {
	Prefix    string
	Delimiter string // Keys that have it after Prefix are rolled up to one prefix.
	After     string // Only versions of keys after this one, exclusive, and those of the key that AfterVersion admits.
	// AfterVersion, if HasVersion, admits the versions of After that are older than it, whether it is still there or not.
	AfterVersion VersionID
	HasVersion   bool
	SkipPrefix   bool // After is a rolled-up prefix that a former page returned: skip every key below it.
	Max          int  // At most this many versions and prefixes together, 0 to MaxListEntries.
}

// VersionPage is a page of versions, in order of key and from the newest to the oldest of each, and of prefixes in byte order.
type VersionPage struct {
	Versions  []ObjectInfo // Delete markers among them.
	Prefixes  []string
	Truncated bool
	// Next continues the listing after the page's last entry.
	NextAfter    string
	NextVersion  VersionID
	NextIsPrefix bool
}

// ListVersions returns a page of all versions of a bucket's objects.
func (s *Store) ListVersions(_ context.Context, bucket string, o VersionListOptions) (VersionPage, error) {
	const op = "ListVersions"
	b, err := s.bucketOf(op, bucket)
	if err != nil {
		return VersionPage{}, err
	}
	if o.Max = min(o.Max, MaxListEntries); o.Max <= 0 {
		return VersionPage{}, nil
	}
	options := meta.VersionListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter, KeyMarker: o.After, AfterPrefix: o.SkipPrefix, Max: o.Max}
	if o.HasVersion && o.After != "" {
		if options.Before, err = s.cellOf(b, o.After).versionNumber(b, o.After, o.AfterVersion); err != nil {
			return VersionPage{}, storeError(op, bucket, o.After, err)
		}
	}
	pages := make([]meta.VersionPage, len(s.cells))
	for i, c := range s.cells {
		if pages[i], err = c.listVersions(b.id, options); err != nil {
			return VersionPage{}, storeError(op, bucket, "", err)
		}
	}
	return mergeVersions(b, pages, o.Max), nil
}

// versionNumber returns the place of a version among those of its key. That of a null version is in the index alone; if it is gone,
// the place is before all others: better a version twice than left out.
func (c *cell) versionNumber(b *bucket, key string, version VersionID) (VersionID, error) {
	if !version.IsNull() {
		return version, nil
	}
	base, err := c.enter()
	if err != nil {
		return 0, err
	}
	defer base.leave()
	object, found, err := base.index.GetObjectHead(b.id, key, NullVersion)
	if err != nil || !found {
		return CurrentVersion, err
	}
	return object.Version, nil
}

func (c *cell) listVersions(bucket meta.BucketID, o meta.VersionListOptions) (meta.VersionPage, error) {
	b, err := c.enter()
	if err != nil {
		return meta.VersionPage{}, err
	}
	defer b.leave()
	return b.index.ListVersions(bucket, o)
}

// mergeVersions merges pages of the same listing that hold different keys. Each has up to max entries and is complete up to its last one.
func mergeVersions(b *bucket, pages []meta.VersionPage, max int) VersionPage {
	var out VersionPage
	version, prefix := make([]int, len(pages)), make([]int, len(pages))
	for count := 0; ; count++ {
		best, bestIsPrefix, bestPage := "", false, -1
		for i := range pages {
			if j := version[i]; j < len(pages[i].Versions) {
				if key := pages[i].Versions[j].Key; bestPage < 0 || key < best {
					best, bestIsPrefix, bestPage = key, false, i
				}
			}
			if j := prefix[i]; j < len(pages[i].Prefixes) {
				if p := pages[i].Prefixes[j]; bestPage < 0 || p < best {
					best, bestIsPrefix, bestPage = p, true, i
				}
			}
		}
		if bestPage < 0 {
			break
		}
		if count == max {
			out.Truncated = true
			return out
		}
		out.NextAfter, out.NextVersion, out.NextIsPrefix = best, NullVersion, bestIsPrefix
		if !bestIsPrefix {
			v := &pages[bestPage].Versions[version[bestPage]]
			info := b.infoOf(&v.Object)
			info.Current = v.Current
			out.Versions = append(out.Versions, info)
			out.NextVersion = info.Version
			version[bestPage]++
			continue
		}
		out.Prefixes = append(out.Prefixes, best)
		for i := range pages { // Several cells have keys below the same prefix.
			if j := prefix[i]; j < len(pages[i].Prefixes) && pages[i].Prefixes[j] == best {
				prefix[i]++
			}
		}
	}
	for i := range pages {
		out.Truncated = out.Truncated || pages[i].Truncated
	}
	return out
}
