package fastapi

// This file answers questions about what can never have been set here: tags. The true answer is
// short, and clients ask before they copy, sync or delete.

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
