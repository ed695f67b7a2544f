package fastapi

import (
	"runtime/debug"
	"sync"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

const (
	maxDeleteKeys = 1000
	maxDeletesLen = 2 << 20
	// deleteWorkers is how many keys of one request are deleted at once. Each waits for the journal, and those that wait
	// together share a batch.
	deleteWorkers = 32
)

// deletion is one key of a DeleteObjects request, and what became of it.
type deletion struct {
	key, version string
	hasVersion   bool
	number       engine.VersionID // Of version.
	conds        deleteConditions
	bypass       bool // Governance is overcome.
	deleted      engine.Deleted
	err          error
}

// deleteObjects answers DeleteObjects.
func (r *request) deleteObjects() error {
	want, err := readChecksum(&r.head)
	if err != nil {
		return err
	}
	if want.alg == algNone && !r.hasBodyDigest() {
		return errInvalidRequest.message("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	data, err := r.readDocument(maxDeletesLen, want)
	if err != nil {
		return err
	}
	list, quiet, err := parseDeletes(data)
	if err != nil {
		return err
	}
	if _, err := r.srv.store.Bucket(r.srv.ctx, r.bucket); err != nil {
		return err
	}
	r.authoriseAll(list)
	r.deleteAll(list)
	w := newXML("DeleteResult", 96*len(list))
	for i := range list {
		d := &list[i]
		if d.err != nil {
			e := toAPI(r.mask(d.err))
			if e.status >= 500 {
				r.log().Error("delete failed", "bucket", r.bucket, "key", d.key, "err", d.err)
			}
			w.open("Error")
			w.text("Key", d.key)
			w.optional("VersionId", d.version)
			w.text("Code", e.code)
			w.text("Message", e.text)
			w.close("Error")
		} else if !quiet {
			w.deleted(d)
		}
	}
	w.close("DeleteResult")
	return r.answerXML(w)
}

// deleted writes what became of a key.
func (w *xmlWriter) deleted(d *deletion) {
	w.open("Deleted")
	w.text("Key", d.key)
	w.optional("VersionId", d.version)
	if d.deleted.Marker {
		w.bool("DeleteMarker", true)
		w.text("DeleteMarkerVersionId", formatVersion(d.deleted.Version))
	}
	w.close("Deleted")
}

// hasBodyDigest reports whether Content-MD5 or the signature vouches for the document.
func (r *request) hasBodyDigest() bool {
	if r.auth.Payload.Mode.ChunksSigned() || r.auth.Payload.Mode == sigv4.Signed {
		return true
	}
	_, ok := r.head.lookup("content-md5")
	return ok
}

// parseDeletes reads the document of a DeleteObjects request.
func parseDeletes(doc string) (list []deletion, quiet bool, err error) {
	x := newXMLReader(doc)
	x.root("Delete")
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Quiet":
			quiet = x.text() == "true"
		case "Object":
			if len(list) == maxDeleteKeys {
				return nil, false, errMalformedXML
			}
			d, ok := parseDeletion(x)
			if !ok {
				return nil, false, errMalformedXML
			}
			list = append(list, d)
		default:
			return nil, false, errMalformedXML
		}
	}
	if len(list) == 0 {
		return nil, false, errMalformedXML
	}
	return list, quiet, x.end()
}

func parseDeletion(x *xmlReader) (d deletion, ok bool) {
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Key":
			d.key = x.text()
		case "VersionId":
			d.version, d.hasVersion = x.text(), true
		case "ETag":
			d.conds.etag = x.text()
		case "LastModifiedTime":
			d.conds.modified = x.text()
		case "Size":
			d.conds.size = x.text()
		default:
			return d, false
		}
	}
	if d.hasVersion && d.version == "" {
		d.hasVersion = false
	}
	return d, d.key != ""
}

// deleteAll deletes the keys, a few at a time. A key named twice is deleted twice, in whatever order.
func (r *request) deleteAll(list []deletion) {
	var wg sync.WaitGroup
	next := make(chan *deletion)
	for range min(deleteWorkers, len(list)) {
		wg.Go(func() {
			for d := range next {
				d.err = r.deleteOne(d)
			}
		})
	}
	for i := range list {
		if list[i].err == nil {
			next <- &list[i]
		}
	}
	close(next)
	wg.Wait()
}

// authoriseAll decides about each key before any is touched.
func (r *request) authoriseAll(list []deletion) {
	for i := range list {
		d := &list[i]
		if d.err != nil {
			continue
		}
		if d.err = checkKey(d.key); d.err != nil {
			continue
		}
		if d.number, d.err = readVersion(d.version, d.hasVersion, "versionId"); d.err != nil {
			continue
		}
		d.bypass = r.bypasses(d.key, d.number)
		d.err = r.mayDelete(d.key, d.number, d.conds.etag != "" && d.conds.etag != "*")
	}
}

func (r *request) deleteOne(d *deletion) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log().Error("panic while deleting", "panic", p, "stack", string(debug.Stack()))
			err = errInternal
		}
	}()
	check, err := d.conds.check()
	if err != nil {
		return err
	}
	d.deleted, err = r.srv.store.Delete(r.srv.ctx, r.bucket, d.key, d.number, engine.DeleteOptions{Check: check, Bypass: d.bypass})
	return err
}
