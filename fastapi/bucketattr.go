package fastapi

import (
	"slices"

	"penstock/engine"
)

// The configuration of a bucket is kept as attributes of it:
//
//	policy               the document of its policy, as sent
//	policy-principals    the ids of those whom the policy names: ARN=ID, with spaces between
//	public-access-block  four digits, 1 or 0, in the order of publicBlock's fields; "none" when it was removed; by default all are 1
//	ownership            of its objects; "none" when the rule was removed; by default BucketOwnerEnforced
//	cors                 the document of its CORS configuration, as sent
//	etags                md5 or opaque; by default as the server's options say; see etag.go
//	acl                  its access control list; by default its owner may do everything and nobody else anything; see acl.go
const (
	attrPolicy      = "policy"
	attrPrincipals  = "policy-principals"
	attrPublicBlock = "public-access-block"
	attrOwnership   = "ownership"
	attrACL         = "acl"
	attrCORS        = "cors"
	attrETags       = "etags"

	removed = "none" // What was removed differs from what was never set.
)

// setBucketAttr sets an attribute of the request's bucket, or with "" removes it. check, if given, sees the bucket as it is at that
// moment, between all other changes of it.
func (r *request) setBucketAttr(name, value string, check func(*engine.BucketInfo) error) error {
	return r.setBucketAttrs([]engine.Attr{{Name: name, Value: value}}, check)
}

// setBucketAttrs is setBucketAttr for several.
func (r *request) setBucketAttrs(change []engine.Attr, check func(*engine.BucketInfo) error) error {
	return r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		if check != nil {
			if err := check(&b); err != nil {
				return nil, err
			}
		}
		attrs := b.Attrs
		for _, a := range change {
			attrs = withAttr(attrs, a.Name, a.Value)
		}
		return attrs, nil
	})
}

// withAttr returns attributes with one of them set, or with "" removed.
func withAttr(attrs []engine.Attr, name, value string) []engine.Attr {
	attrs = slices.DeleteFunc(slices.Clone(attrs), func(a engine.Attr) bool { return a.Name == name })
	if value != "" {
		attrs = append(attrs, engine.Attr{Name: name, Value: value})
	}
	return attrs
}
