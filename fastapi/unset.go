package fastapi

import "penstock/engine"

// This file answers questions about what can never have been set here: access lists, tags and versions. The true answer is
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

func (r *request) requireObject() error {
	if err := r.requireNullVersion(); err != nil {
		return err
	}
	_, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, engine.CurrentVersion)
	return err
}

// listObjectVersions answers ListObjectVersions: every object has one version, and its id is "null".
func (r *request) listObjectVersions() error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	marker, versionMarker := r.param("key-marker"), r.param("version-id-marker")
	if versionMarker != "" && versionMarker != "null" {
		return invalidArgument("Invalid version id specified", "version-id-marker", versionMarker)
	}
	if versionMarker != "" && marker == "" {
		return invalidArgument("A version-id marker cannot be specified without a key marker.", "version-id-marker", versionMarker)
	}
	page, err := r.listPage(l, marker, l.rollsUp(marker))
	if err != nil {
		return err
	}
	w := newXML("ListVersionsResult", l.sizeOf(&page))
	w.text("Name", r.bucket)
	w.key("Prefix", l.prefix, l.encode)
	w.key("KeyMarker", marker, l.encode)
	w.text("VersionIdMarker", versionMarker)
	if page.Truncated {
		w.key("NextKeyMarker", page.NextAfter, l.encode)
		if !page.NextIsPrefix {
			w.text("NextVersionIdMarker", "null")
		}
	}
	l.writeSettings(&w, &page)
	for i := range page.Objects {
		w.version(&page.Objects[i], l.encode)
	}
	w.prefixes(page.Prefixes, l.encode)
	w.close("ListVersionsResult")
	return r.answerXML(w)
}

func (w *xmlWriter) version(o *engine.ObjectInfo, encode bool) {
	w.open("Version")
	w.key("Key", o.Key, encode)
	w.text("VersionId", "null")
	w.bool("IsLatest", true)
	w.describe(o)
	w.owner("Owner")
	w.text("StorageClass", storageClassOf(o.Attrs))
	w.close("Version")
}
