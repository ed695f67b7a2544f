package fastapi

// This file answers questions about what can never have been set here: access lists and tags. The true answer is
// short, and clients ask before they copy, sync or delete.

// writeACL writes the access list that everything has: its owner may do everything.
func (r *request) writeACL() error {
	w := newXML("AccessControlPolicy", 512)
	w.owner("Owner")
	w = append(w, `<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	w.text("ID", ownerID)
	w.text("DisplayName", ownerName)
	w = append(w, `</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>`...)
	w.close("AccessControlPolicy")
	return r.answerXML(w)
}

// getBucketAcl answers GetBucketAcl.
func (r *request) getBucketAcl() error {
	if _, err := r.srv.store.Bucket(r.srv.ctx, r.bucket); err != nil {
		return err
	}
	return r.writeACL()
}

// getObjectAcl answers GetObjectAcl.
func (r *request) getObjectAcl() error {
	if err := r.requireObject(); err != nil {
		return err
	}
	return r.writeACL()
}

// getObjectTagging answers GetObjectTagging: no object has a tag.
func (r *request) getObjectTagging() error {
	if err := r.requireObject(); err != nil {
		return err
	}
	w := newXML("Tagging", 32)
	w.open("TagSet")
	w.close("TagSet")
	w.close("Tagging")
	return r.answerXML(w)
}

// deleteObjectTagging answers DeleteObjectTagging: there is none to delete.
func (r *request) deleteObjectTagging() error {
	if err := r.requireObject(); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// requireObject reports whether there is the version that the request is about, and names it.
func (r *request) requireObject() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return err
	}
	r.setVersion(&info)
	return nil
}
