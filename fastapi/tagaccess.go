package fastapi

import (
	"strings"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// objectTags returns the tags of the object that a need is about.
func (s *Server) objectTags(bucket, key string, n *need) ([]param, error) {
	info, err := s.store.Head(s.ctx, bucket, key, n.version)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return storedTags(info.Attrs)
}

// setTagCount tells how many tags there are to whoever may read them. query is how they are kept.
func (r *request) setTagCount(query string) {
	d := need{action: actGetTagging, resource: r.arnPath(), bucket: r.bucket, version: engine.CurrentVersion}
	if version, err := r.version(); err == nil && version != engine.CurrentVersion {
		d.action, d.version = actGetVersionTagging, version
	}
	if r.allow(&d) == nil {
		r.setHeader("x-amz-tagging-count", itoa(1+strings.Count(query, "&")))
	}
}

// mayTakeTags decides whether a copy may have the tags of its source: whoever copies must be allowed to read and to write them. It is asked before
// the source is looked at, and counts if that has tags.
func (r *request) mayTakeTags(src *copySource) error {
	d := src.need(actGetTagging, actGetVersionTagging)
	if err := r.allow(&d); err != nil {
		return err
	}
	return r.allow(&need{action: actPutTagging, resource: r.arnPath(), bucket: r.bucket, version: engine.CurrentVersion})
}

// bucketTag tells a tag of the bucket that the need at hand is about.
func (r *request) bucketTag(name string, dst []policy.Value) ([]policy.Value, error) {
	if r.about == nil || r.about.bucket == "" {
		return dst, nil
	}
	b, err := r.stateOf(r.about.bucket)
	if err != nil {
		return dst, err
	}
	tags, err := storedTags(b.info.Attrs)
	for i := range tags {
		if tags[i].name == name {
			dst = append(dst, policy.Text(tags[i].value))
		}
	}
	return dst, err
}

// readTagging reads the tags in the body, and keeps the body for the handler.
func (r *request) readTagging() ([]param, error) {
	doc, err := r.readConfig()
	if err != nil {
		return nil, err
	}
	r.document = &doc
	tags, err := parseTagging(doc, maxBucketTags, errTooManyBucketTags)
	if tags == nil {
		tags = tagSet{}
	}
	return tags, err
}
