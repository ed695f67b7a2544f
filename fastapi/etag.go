package fastapi

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"penstock/engine"
	"penstock/fastapi/admin"
)

// The ETag of an object that is put in one piece is, by default, the MD5 of its bytes, as many clients expect; that hash costs more than all else
// that is done to the bytes. A bucket can have opaque ETags instead, which cost nothing: 128 random bits, another value for every object
// that is written, in a form that no client takes for an MD5:
//
//	32 hexadecimal digits "-1"
//
// The dash is what clients go by, as the ETag of a multipart object, which is no MD5 of its bytes either, ends in one and the number of its parts.

// The values of the bucket's attribute. A bucket without it does as the server's options say.
const (
	etagsMD5    = "md5"
	etagsOpaque = "opaque"
)

// newETag returns what computes the MD5 of the request's body, of size bytes or -1, or nil if nobody needs it: the ETags of the bucket are opaque, and the
// client has not sent a Content-MD5.
func (r *request) newETag(size int64, contentMD5 string) (hash.Hash, error) {
	if contentMD5 == "" {
		b, err := r.stateOf(r.bucket)
		if err != nil {
			return nil, err
		}
		if r.srv.opaqueETags(&b.info) {
			return nil, nil
		}
	}
	return r.srv.newMD5(size), nil
}

// opaqueETags reports whether what is put into a bucket gets an opaque ETag.
func (s *Server) opaqueETags(b *engine.BucketInfo) bool {
	switch b.Attr(attrETags) {
	case etagsMD5:
		return false
	case etagsOpaque:
		return true
	}
	return s.opts.OpaqueETags
}

// opaqueETag returns an ETag that no object had before.
func opaqueETag() string {
	var bits [md5.Size]byte
	rand.Read(bits[:]) // Never fails: crypto/rand ends the process instead.
	return hex.EncodeToString(bits[:]) + "-1"
}

// partDigest returns what the ETag of a part adds to the one of the object.
func partDigest(etag string) ([]byte, error) {
	digits, _ := strings.CutSuffix(etag, "-1")
	return hex.DecodeString(digits)
}

// BucketETags implements admin.Front.
func (s *Server) BucketETags(ctx context.Context, bucket string) (admin.BucketETags, error) {
	b, err := s.store.Bucket(ctx, bucket)
	if err != nil {
		return admin.BucketETags{}, err
	}
	e := admin.BucketETags{ETags: etagsMD5, Default: b.Attr(attrETags) == ""}
	if s.opaqueETags(&b) {
		e.ETags = etagsOpaque
	}
	return e, nil
}

// SetBucketETags implements admin.Front.
func (s *Server) SetBucketETags(ctx context.Context, bucket, etags string) error {
	switch etags {
	case "", etagsMD5, etagsOpaque:
	default:
		return &admin.Error{Status: 400, Code: "InvalidRequest", Message: fmt.Sprintf("ETags are %s or %s, or \"\" for what the server does by default, not %q", etagsMD5, etagsOpaque, etags)}
	}
	return s.store.UpdateBucket(ctx, bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		return withAttr(b.Attrs, attrETags, etags), nil
	})
}
