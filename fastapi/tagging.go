package fastapi

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"penstock/engine"
)

// attrTagging is the attribute of an object, an upload or a bucket that holds its tags, in order of key, as x-amz-tagging has them: a query.
const attrTagging = engine.AttrTags

// Amazon's limits. Lengths are in UTF-16 code units.
const (
	maxObjectTags = 10
	maxBucketTags = 50
	maxTagKey     = 128
	maxTagValue   = 256
)

var (
	errTagKey       = errInvalidTag.message("The TagKey you have provided is invalid")
	errTagValue     = errInvalidTag.message("The TagValue you have provided is invalid")
	errDuplicateTag = errInvalidTag.message("Cannot provide multiple Tags with the same key")
	errTagHeader    = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."
)

// tagSet is a set of tags.
type tagSet []param

// storedTags returns the tags among attributes.
func storedTags(attrs []engine.Attr) (tagSet, error) {
	for i := range attrs {
		if attrs[i].Name == attrTagging {
			tags, ok := parseTagQuery(attrs[i].Value)
			if !ok {
				return nil, errInternal.message("The tags could not be read.")
			}
			return tags, nil
		}
	}
	return nil, nil
}

// query is the tags as they are kept, "" for none.
func (t tagSet) query() string {
	var q []byte
	for i, tag := range t {
		if i > 0 {
			q = append(q, '&')
		}
		q = append(appendURLEncoded(q, tag.name), '=')
		q = appendURLEncoded(q, tag.value)
	}
	return string(q)
}

// replaceIn returns attrs with these tags in place of those that are there.
func (t tagSet) replaceIn(attrs []engine.Attr) []engine.Attr {
	return withAttr(attrs, attrTagging, t.query())
}

// check reports whether the tags are valid and their keys differ, and puts them in order.
func (t tagSet) check() error {
	for _, tag := range t {
		switch {
		case !validTag(tag.name, 1, maxTagKey):
			return errTagKey.with("TagKey", tag.name)
		case !validTag(tag.value, 0, maxTagValue):
			return errTagValue.with("TagKey", tag.name).with("TagValue", tag.value)
		case strings.HasPrefix(tag.name, "aws:"):
			return errInvalidTag.message("System tags cannot be added/updated by requester").with("TagKey", tag.name)
		}
	}
	slices.SortFunc(t, func(a, b param) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(t); i++ {
		if t[i].name == t[i-1].name {
			return errDuplicateTag
		}
	}
	return nil
}

// validTag reports whether s has only characters that tags may have, and so many of them.
func validTag(s string, least, most int) bool {
	n := 0
	for _, r := range s {
		if !unicode.In(r, unicode.L, unicode.N, unicode.Z) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
		n += utf16.RuneLen(r)
	}
	return utf8.ValidString(s) && least <= n && n <= most
}

var errTooManyTags = errBadRequest.message("Object tags cannot be greater than 10")

// parseTagQuery takes apart what x-amz-tagging holds. It is no judge of the tags.
func parseTagQuery(query string) (tags tagSet, ok bool) {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if strings.Contains(value, "=") {
			return nil, false
		}
		key, ok := unescape(key, true)
		value, ok2 := unescape(value, true)
		if !ok || !ok2 || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, false
		}
		tags = append(tags, param{name: key, value: value})
	}
	return tags, true
}

// readTags reads the x-amz-tagging header.
func readTags(header string) (tagSet, error) {
	malformed := invalidArgument(errTagHeader, "x-amz-tagging", header)
	tags, ok := parseTagQuery(header)
	if !ok {
		return nil, malformed
	}
	if len(tags) > maxObjectTags {
		return nil, errTooManyTags
	}
	err := tags.check()
	if err == errDuplicateTag {
		err = malformed
	}
	return tags, err
}

// parseTagging reads a Tagging document of at most limit tags.
func parseTagging(doc string, limit int, tooMany error) (tags tagSet, err error) {
	x := newXMLReader(doc)
	x.root("Tagging")
	sets := 0
	for name := x.child(); name != ""; name = x.child() {
		if name != "TagSet" {
			return nil, errMalformedXML
		}
		sets++
		if err := tags.parse(x, limit, tooMany); err != nil {
			return nil, err
		}
	}
	if err := x.end(); err != nil {
		return nil, err
	}
	if sets != 1 {
		return nil, errMalformedXML
	}
	return tags, nil
}

// parse reads the Tag elements of the element at hand.
func (t *tagSet) parse(x *xmlReader, limit int, tooMany error) error {
	for name := x.child(); name != ""; name = x.child() {
		if name != "Tag" {
			return errMalformedXML
		}
		var key, value string
		hasKey, hasValue := false, false
		for name := x.child(); name != ""; name = x.child() {
			switch name {
			case "Key":
				key, hasKey = x.text(), true
			case "Value":
				value, hasValue = x.text(), true
			default:
				return errMalformedXML
			}
		}
		if !hasKey || !hasValue {
			return errMalformedXML
		}
		if len(*t) == limit {
			return tooMany
		}
		*t = append(*t, param{name: key, value: value})
	}
	return t.check()
}

// answerTags answers with a Tagging document.
func (r *request) answerTags(tags tagSet) error {
	w := newXML("Tagging", 64+96*len(tags))
	w.open("TagSet")
	for _, t := range tags {
		w.open("Tag")
		w.text("Key", t.name)
		w.text("Value", t.value)
		w.close("Tag")
	}
	w.close("TagSet")
	w.close("Tagging")
	return r.answerXML(w)
}

// getObjectTagging answers GetObjectTagging.
func (r *request) getObjectTagging() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return err
	}
	tags, err := storedTags(info.Attrs)
	if err != nil {
		return err
	}
	r.setVersion(&info)
	return r.answerTags(tags)
}

// putObjectTagging answers PutObjectTagging.
func (r *request) putObjectTagging() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	tags, err := parseTagging(doc, maxObjectTags, errTooManyTags)
	if err != nil {
		return err
	}
	return r.setTags(tags)
}

// deleteObjectTagging answers DeleteObjectTagging.
func (r *request) deleteObjectTagging() error {
	if err := r.setTags(nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// setTags gives the request's version these tags in place of those it has.
func (r *request) setTags(tags tagSet) error {
	version, err := r.version()
	if err != nil {
		return err
	}
	info, err := r.srv.store.UpdateObjectAttrs(r.srv.ctx, r.bucket, r.key, version, func(o *engine.ObjectInfo) ([]engine.Attr, error) {
		return tags.replaceIn(o.Attrs), nil
	})
	if err != nil {
		return err
	}
	r.setVersion(&info)
	return nil
}

// getBucketTagging answers GetBucketTagging.
func (r *request) getBucketTagging() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	tags, err := storedTags(info.Attrs)
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return errNoSuchTagSet.with("BucketName", r.bucket)
	}
	return r.answerTags(tags)
}

var errTooManyBucketTags = errBadRequest.message("Bucket tag count cannot be greater than 50")

// putBucketTagging answers PutBucketTagging.
func (r *request) putBucketTagging() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	tags, err := parseTagging(doc, maxBucketTags, errTooManyBucketTags)
	if err != nil {
		return err
	}
	return r.setBucketTags(tags)
}

// deleteBucketTagging answers DeleteBucketTagging.
func (r *request) deleteBucketTagging() error {
	if err := r.setBucketTags(nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

func (r *request) setBucketTags(tags tagSet) error {
	return r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		return tags.replaceIn(b.Attrs), nil
	})
}
