package admin

import (
	"context"
	"strconv"

	"penstock/engine"
)

// Buckets is what the API needs of the store to say what buckets hold, and to bound that.
type Buckets interface {
	BucketUsage(ctx context.Context, name string) (engine.BucketUsage, error)
	BucketUsages(ctx context.Context) ([]engine.BucketUsage, error)
	UpdateBucket(ctx context.Context, name string, change func(engine.BucketInfo) ([]engine.Attr, error)) error
}

// BucketUsage is what a bucket holds now.
type BucketUsage struct {
	Bucket    string `json:"bucket"`
	Objects   int64  `json:"objects"`        // Keys whose current version is not a delete marker.
	Versions  int64  `json:"versions"`       // Of all keys but delete markers, the current ones among them.
	Markers   int64  `json:"delete_markers"` // Current ones and others.
	Bytes     int64  `json:"bytes"`          // Of all versions.
	Uploads   int64  `json:"uploads"`        // In progress,
	Parts     int64  `json:"parts"`          // their parts,
	PartBytes int64  `json:"part_bytes"`     // and the bytes of these.
	Quota     int64  `json:"quota_bytes"`    // The most that bytes and part_bytes may be together; 0 is any number.
}

// Quota bounds what a bucket may hold.
type Quota struct {
	Bytes int64 `json:"bytes"` // Of all versions and of the parts of uploads in progress, together.
}

// bucketRoutes are the rows about buckets.
func bucketRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/buckets", Name: "ListBucketUsage", Action: "admin:ListBucketUsage", Summary: "What every bucket holds, in order of name.", Answer: []BucketUsage{}, handle: (*API).listBucketUsage},
		{Method: "GET", Path: "/buckets/{bucket}", Name: "BucketUsage", Action: "admin:BucketUsage", Summary: "What a bucket holds.", Answer: BucketUsage{}, handle: (*API).bucketUsage},
		{Method: "GET", Path: "/buckets/{bucket}/quota", Name: "GetBucketQuota", Action: "admin:GetBucketQuota", Summary: "The quota of a bucket; 0 is none.", Answer: Quota{}, handle: (*API).bucketQuota},
		{Method: "PUT", Path: "/buckets/{bucket}/quota", Name: "PutBucketQuota", Action: "admin:PutBucketQuota", Summary: "Give a bucket a quota. What it holds stays, however much.", Body: Quota{}, Answer: Quota{}, handle: (*API).putBucketQuota},
		{Method: "DELETE", Path: "/buckets/{bucket}/quota", Name: "DeleteBucketQuota", Action: "admin:DeleteBucketQuota", Summary: "Let a bucket hold any number of bytes.", handle: (*API).deleteBucketQuota},
	}
}

func bucketUsage(u *engine.BucketUsage) BucketUsage {
	return BucketUsage{
		Bucket: u.Name, Objects: u.Objects, Versions: u.Versions, Markers: u.Markers, Bytes: u.Bytes,
		Uploads: u.Uploads, Parts: u.Parts, PartBytes: u.PartBytes, Quota: u.Quota,
	}
}

func (a *API) listBucketUsage(c *Call) (any, error) {
	all, err := a.opts.Store.BucketUsages(c.Context)
	if err != nil {
		return nil, err
	}
	out := make([]BucketUsage, len(all))
	for i := range all {
		out[i] = bucketUsage(&all[i])
	}
	return out, nil
}

func (a *API) bucketUsage(c *Call) (any, error) {
	u, err := a.opts.Store.BucketUsage(c.Context, c.Args["bucket"])
	if err != nil {
		return nil, err
	}
	return bucketUsage(&u), nil
}

func (a *API) bucketQuota(c *Call) (any, error) {
	u, err := a.opts.Store.BucketUsage(c.Context, c.Args["bucket"])
	if err != nil {
		return nil, err
	}
	return Quota{u.Quota}, nil
}

func (a *API) putBucketQuota(c *Call) (any, error) {
	var q Quota
	if err := decode(c.Body, &q); err != nil {
		return nil, err
	}
	if q.Bytes < 1 {
		return nil, invalid("a quota is a number of bytes from 1; to have none, delete it")
	}
	return q, a.setQuota(c, strconv.FormatInt(q.Bytes, 10))
}

func (a *API) deleteBucketQuota(c *Call) (any, error) { return nil, a.setQuota(c, "") }

func (a *API) setQuota(c *Call, value string) error {
	return a.opts.Store.UpdateBucket(c.Context, c.Args["bucket"], func(b engine.BucketInfo) ([]engine.Attr, error) {
		return engine.WithAttr(b.Attrs, engine.AttrQuota, value), nil
	})
}
