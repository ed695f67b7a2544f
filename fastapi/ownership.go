package fastapi

import "penstock/engine"

// ownership says who owns objects that others write, and with that whether access control lists mean anything. Everything belongs to
// one account, so the owner is the same each time; what differs is the lists.
const (
	ownerEnforced  = "BucketOwnerEnforced" // Lists mean nothing. The default.
	ownerPreferred = "BucketOwnerPreferred"
	objectWriter   = "ObjectWriter"
)

func isOwnership(s string) bool {
	return s == ownerEnforced || s == ownerPreferred || s == objectWriter
}

// listsCount reports whether access control lists mean something in a bucket. Where the rule was removed they do, as they did before there
// was one.
func listsCount(b *engine.BucketInfo) bool {
	o := b.Attr(attrOwnership)
	return o != "" && o != ownerEnforced
}

// putOwnershipControls answers PutBucketOwnershipControls.
func (r *request) putOwnershipControls() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	var found []string
	x := newXMLReader(doc)
	x.root("OwnershipControls")
	for name := x.child(); name != ""; name = x.child() {
		if name != "Rule" {
			return errMalformedXML
		}
		for name := x.child(); name != ""; name = x.child() {
			if name != "ObjectOwnership" {
				return errMalformedXML
			}
			found = append(found, x.text())
		}
	}
	if err := x.end(); err != nil {
		return err
	}
	if len(found) != 1 || !isOwnership(found[0]) {
		return errMalformedXML
	}
	err = r.setBucketAttr(attrOwnership, found[0], func(b *engine.BucketInfo) error {
		if found[0] != ownerEnforced {
			return nil
		}
		list, err := parseACL(b.Attr(attrACL))
		if err == nil && !list.ownersAlone() {
			err = errACLWithOwnership
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.answerEmpty(200)
}

// getOwnershipControls answers GetBucketOwnershipControls.
func (r *request) getOwnershipControls() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	o := b.info.Attr(attrOwnership)
	switch o {
	case removed:
		return errNoOwnershipControls.with("BucketName", r.bucket)
	case "":
		o = ownerEnforced
	}
	w := newXML("OwnershipControls", 128)
	w.open("Rule")
	w.text("ObjectOwnership", o)
	w.close("Rule")
	w.close("OwnershipControls")
	return r.answerXML(w)
}

// deleteOwnershipControls answers DeleteBucketOwnershipControls.
func (r *request) deleteOwnershipControls() error {
	if err := r.setBucketAttr(attrOwnership, removed, nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}
