package fastapi

import (
	"penstock/engine"
)

// getBucketVersioning answers GetBucketVersioning. That versioning was never set is written as nothing.
func (r *request) getBucketVersioning() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	w := newXML("VersioningConfiguration", 64)
	w.optional("Status", info.Attr(engine.AttrVersioning))
	w.close("VersioningConfiguration")
	return r.answerXML(w)
}

// putBucketVersioning answers PutBucketVersioning.
func (r *request) putBucketVersioning() error {
	status, err := r.readVersioning()
	if err != nil {
		return err
	}
	return r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		if b.Attr(engine.AttrObjectLock) != "" && status != engine.VersioningEnabled {
			return nil, errLockSuspends
		}
		return engine.WithAttr(b.Attrs, engine.AttrVersioning, status), nil
	})
}

// readVersioning reads the document of PutBucketVersioning. Deletion that takes a second factor is not to be had here.
func (r *request) readVersioning() (status string, err error) {
	doc, err := r.readConfig()
	if err != nil {
		return "", err
	}
	x := newXMLReader(doc)
	x.root("VersioningConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Status":
			status = x.text()
			if status != engine.VersioningEnabled && status != engine.VersioningSuspended {
				return "", errMalformedXML
			}
		case "MfaDelete":
			switch x.text() {
			case "Disabled":
			case "Enabled":
				return "", notImplemented("Element", "MfaDelete")
			default:
				return "", errMalformedXML
			}
		default:
			return "", errMalformedXML
		}
	}
	if err := x.end(); err != nil {
		return "", err
	}
	if status == "" {
		return "", errIllegalVersioning
	}
	return status, nil
}

// readConfig reads the document by which a client configures something.
func (r *request) readConfig() (string, error) { return r.readConfigOf(maxConfigLen) }

// readConfigOf is readConfig for a document of another size.
func (r *request) readConfigOf(limit int64) (string, error) {
	want, err := readChecksum(&r.head)
	if err != nil {
		return "", err
	}
	doc, err := r.readDocument(limit, want)
	if err == nil && doc == "" {
		err = errMissingBody
	}
	return doc, err
}

// listObjectVersions answers ListObjectVersions.
func (r *request) listObjectVersions() error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	o := engine.VersionListOptions{Prefix: l.prefix, Delimiter: l.delimiter, After: r.param("key-marker"), Max: l.max}
	marker, given := r.target.get("version-id-marker")
	if given {
		if o.After == "" {
			return invalidArgument("A version-id marker cannot be specified without a key marker.", "version-id-marker", marker)
		}
		if marker == "" {
			return invalidArgument("A version-id marker cannot be empty.", "version-id-marker", "")
		}
		if o.AfterVersion, err = readVersion(marker, true, "version-id-marker"); err != nil {
			return err
		}
		o.HasVersion = true
	} else {
		o.SkipPrefix = l.rollsUp(o.After)
	}
	page, err := r.versionPage(o)
	if err != nil {
		return err
	}
	w := newXML("ListVersionsResult", 512+512*len(page.Versions)+128*len(page.Prefixes))
	w.text("Name", r.bucket)
	w.key("Prefix", l.prefix, l.encode)
	w.key("KeyMarker", o.After, l.encode)
	w.text("VersionIdMarker", marker)
	if page.Truncated {
		w.key("NextKeyMarker", page.NextAfter, l.encode)
		if !page.NextIsPrefix {
			w.text("NextVersionIdMarker", formatVersion(page.NextVersion))
		}
	}
	l.writeSettings(&w, page.Truncated)
	for i := range page.Versions {
		w.version(&page.Versions[i], l.encode)
	}
	w.prefixes(page.Prefixes, l.encode)
	w.close("ListVersionsResult")
	return r.answerXML(w)
}

func (r *request) versionPage(o engine.VersionListOptions) (engine.VersionPage, error) {
	if o.Max > 0 {
		return r.srv.store.ListVersions(r.srv.ctx, r.bucket, o)
	}
	_, err := r.srv.store.Bucket(r.srv.ctx, r.bucket) // A page of nothing, if there is a bucket.
	return engine.VersionPage{}, err
}

func (w *xmlWriter) version(o *engine.ObjectInfo, encode bool) {
	element := "Version"
	if o.Marker {
		element = "DeleteMarker"
	}
	w.open(element)
	w.key("Key", o.Key, encode)
	w.text("VersionId", formatVersion(o.Version))
	w.bool("IsLatest", o.Current)
	if o.Marker {
		w.time("LastModified", o.Modified)
		w.owner("Owner")
	} else {
		w.describe(o)
		w.owner("Owner")
		w.text("StorageClass", storageClassOf(o.Attrs))
	}
	w.close(element)
}
