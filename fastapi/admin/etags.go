package admin

// BucketETags says what ETags of a bucket are.
type BucketETags struct {
	ETags   string `json:"etags"`   // md5, or opaque: random, which saves hashing the bytes.
	Default bool   `json:"default"` // It is what the server does with buckets that were not told otherwise.
}

// NewBucketETags says what they are to be from now on. Objects that are there keep theirs.
type NewBucketETags struct {
	ETags string `json:"etags"` // md5, opaque, or "" for the server's default.
}

// etagRoutes are the rows about ETags.
func etagRoutes() []*Route {
	return []*Route{
		{Method: "GET", Path: "/buckets/{bucket}/etags", Name: "GetBucketETags", Action: "admin:GetBucketETags", Summary: "Whether ETags of a bucket are the MD5 of the bytes.", Answer: BucketETags{}, handle: (*API).bucketETags},
		{Method: "PUT", Path: "/buckets/{bucket}/etags", Name: "SetBucketETags", Action: "admin:SetBucketETags", Summary: "Choose the ETags of what is put into a bucket.", Body: NewBucketETags{}, Answer: BucketETags{}, handle: (*API).setBucketETags},
	}
}

func (a *API) bucketETags(c *Call) (any, error) {
	e, err := a.opts.Front.BucketETags(c.Context, c.Args["bucket"])
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (a *API) setBucketETags(c *Call) (any, error) {
	var e NewBucketETags
	if err := decode(c.Body, &e); err != nil {
		return nil, err
	}
	if err := a.opts.Front.SetBucketETags(c.Context, c.Args["bucket"], e.ETags); err != nil {
		return nil, err
	}
	return a.bucketETags(c)
}
