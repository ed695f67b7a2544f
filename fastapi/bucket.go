package fastapi

import (
	"strings"

	"penstock/engine"
)

const maxConfigLen = 64 << 10 // Of the document that may come with CreateBucket.

// maxBuckets is Amazon's bound on the buckets of one page.
const maxBuckets = 10_000

// createBucket answers CreateBucket.
func (r *request) createBucket() error {
	if !creatableBucket(r.bucket) {
		return errInvalidBucketName.with("BucketName", r.bucket)
	}
	location, tags, err := r.readCreation()
	if err != nil {
		return err
	}
	attrs, err := r.newBucketAttrs()
	if err != nil {
		return err
	}
	attrs = tags.replaceIn(withAttr(attrs, attrLocation, location))
	if err := r.srv.store.CreateBucket(r.srv.ctx, r.bucket, attrs); err != nil {
		return err
	}
	r.setHeader("Location", "/"+r.bucket)
	return nil
}

// newBucketAttrs returns the configuration that the headers of CreateBucket give.
func (r *request) newBucketAttrs() (attrs []engine.Attr, err error) {
	if r.srv.opts.OpenBuckets {
		attrs = []engine.Attr{{Name: attrOwnership, Value: objectWriter}, {Name: attrPublicBlock, Value: removed}}
	}
	if o, ok := r.head.lookup("x-amz-object-ownership"); ok {
		if !isOwnership(o) {
			return nil, invalidArgument("Invalid x-amz-object-ownership header: "+o, "x-amz-object-ownership", o)
		}
		attrs = withAttr(attrs, attrOwnership, o)
	}
	if strings.EqualFold(r.head.get("x-amz-bucket-object-lock-enabled"), "true") {
		attrs = withAttr(attrs, engine.AttrVersioning, engine.VersioningEnabled)
		attrs = withAttr(attrs, engine.AttrObjectLock, engine.LockConfig{}.Attr())
	}
	list, err := r.newACL(&engine.BucketInfo{Name: r.bucket, Attrs: attrs})
	switch {
	case err == errACLNotSupported:
		err = errACLWithOwnership
	case errAccessDenied.Is(err):
		err = errACLWithBlock
	}
	return withAttr(attrs, attrACL, list), err
}

// readCreation reads what the bucket is to be created with. A LocationConstraint must be the server's region, if that is set.
func (r *request) readCreation() (string, tagSet, error) {
	want, err := readChecksum(&r.head)
	if err != nil {
		return "", nil, err
	}
	data, err := r.readDocument(maxConfigLen, want)
	if err != nil || len(data) == 0 {
		return "", nil, err
	}
	location, tags := "", tagSet(nil)
	x := newXMLReader(data)
	x.root("CreateBucketConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "LocationConstraint":
			location = x.text()
		case "Tags":
			if err := tags.parse(x, maxBucketTags, errTooManyBucketTags); err != nil {
				return "", nil, err
			}
		default:
			return "", nil, notImplemented("Element", name)
		}
	}
	if err := x.end(); err != nil {
		return "", nil, err
	}
	switch region := r.srv.opts.Region; {
	case location == "":
		return "", tags, nil
	case !validRegion(location):
		return "", nil, errInvalidLocation.with("LocationConstraint", location)
	case region != "" && location != region && !(location == "EU" && region == "eu-west-1"):
		return "", nil, errIllegalLocation.message("The " + location + " location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	return location, tags, nil
}

func validRegion(name string) bool {
	if len(name) > 63 {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i] | 0x20; !('a' <= c && c <= 'z' || '0' <= name[i] && name[i] <= '9' || name[i] == '-') {
			return false
		}
	}
	return name != ""
}

// regionOf returns the region that a bucket is in: where it was created, or else the server's.
func (s *Server) regionOf(b *engine.BucketInfo) string {
	for i := range b.Attrs {
		if b.Attrs[i].Name == attrLocation {
			return b.Attrs[i].Value
		}
	}
	return s.region()
}

func (s *Server) region() string {
	if s.opts.Region != "" {
		return s.opts.Region
	}
	return DefaultRegion
}

// headBucket answers HeadBucket.
func (r *request) headBucket() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	r.setHeader("x-amz-bucket-region", r.srv.regionOf(&info))
	r.setHeader("x-amz-access-point-alias", "false")
	return nil
}

// deleteBucket answers DeleteBucket.
func (r *request) deleteBucket() error {
	if err := r.srv.store.DeleteBucket(r.srv.ctx, r.bucket); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// getBucketLocation answers GetBucketLocation. us-east-1 is written as nothing, as ever.
func (r *request) getBucketLocation() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	w := newXML("LocationConstraint", 32)
	if region := r.srv.regionOf(&info); region != DefaultRegion {
		w = appendEscaped(w, region)
	}
	w.close("LocationConstraint")
	return r.answerXML(w)
}

// listBuckets answers ListBuckets.
func (r *request) listBuckets() error {
	limit, err := r.intParam("max-buckets", maxBuckets)
	if err != nil {
		return err
	}
	if limit < 1 || limit > maxBuckets {
		return invalidArgument("Argument max-buckets must be an integer between 1 and 10000", "max-buckets", itoa(limit))
	}
	prefix, after := r.param("prefix"), ""
	if token, ok := r.target.get("continuation-token"); ok && token != "" {
		if after, _, err = decodeToken(token); err != nil {
			return err
		}
	}
	page, err := r.bucketPage(prefix, after, r.param("bucket-region"), limit)
	if err != nil {
		return err
	}
	w := newXML("ListAllMyBucketsResult", 128+160*len(page.Buckets))
	w.owner("Owner")
	w.open("Buckets")
	for i := range page.Buckets {
		b := &page.Buckets[i]
		w.open("Bucket")
		w.text("Name", b.Name)
		w.time("CreationDate", b.Created)
		w.text("BucketRegion", r.srv.regionOf(b))
		w.close("Bucket")
	}
	w.close("Buckets")
	if page.Truncated {
		w.text("ContinuationToken", encodeToken(page.Next, false))
	}
	w.optional("Prefix", prefix)
	w.close("ListAllMyBucketsResult")
	return r.answerXML(w)
}

// bucketPage returns a page of the buckets in a region, or in any.
func (r *request) bucketPage(prefix, after, region string, limit int) (out engine.BucketPage, err error) {
	for more := true; more; {
		page, err := r.srv.store.ListBuckets(r.srv.ctx, prefix, after, maxBuckets)
		if err != nil {
			return out, err
		}
		after, more = page.Next, page.Truncated
		for i := range page.Buckets {
			b := &page.Buckets[i]
			switch {
			case region != "" && !strings.EqualFold(region, r.srv.regionOf(b)):
			case len(out.Buckets) == limit:
				out.Truncated = true
				return out, nil
			default:
				out.Buckets, out.Next = append(out.Buckets, *b), b.Name
			}
		}
	}
	return out, nil
}

// owner writes who owns everything there is.
func (w *xmlWriter) owner(element string) {
	w.open(element)
	w.text("ID", ownerID)
	w.text("DisplayName", ownerName)
	w.close(element)
}
