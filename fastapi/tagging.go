package fastapi

import (
	"penstock/engine"
	"penstock/fastapi/policy"
)

// attrTagging is the attribute of an object, an upload or a bucket that holds its tags, as x-amz-tagging has them: a query.
const attrTagging = "tagging"

const maxTaggingLen = 64 << 10 // Of the document.

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

func storedTags(attrs []engine.Attr) ([]param, error) {
	for i := range attrs {
		if attrs[i].Name == attrTagging {
			return parseQuery(attrs[i].Value, nil)
		}
	}
	return nil, nil
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
	want, err := readChecksum(&r.head)
	if err != nil {
		return nil, err
	}
	doc, err := r.readDocument(maxTaggingLen, want)
	if err != nil {
		return nil, err
	}
	r.document = &doc
	return parseTagging(doc)
}

// parseTagging reads a document of tags. It returns a list that is not nil.
func parseTagging(doc string) ([]param, error) {
	tags := []param{}
	x := newXMLReader(doc)
	x.root("Tagging")
	for set := x.child(); set != ""; set = x.child() {
		if set != "TagSet" {
			return nil, errMalformedXML
		}
		for tag := x.child(); tag != ""; tag = x.child() {
			var t param
			for name := x.child(); name != ""; name = x.child() {
				switch name {
				case "Key":
					t.name = x.text()
				case "Value":
					t.value = x.text()
				default:
					return nil, errMalformedXML
				}
			}
			if tag != "Tag" || t.name == "" {
				return nil, errMalformedXML
			}
			tags = append(tags, t)
		}
	}
	return tags, x.end()
}
