package fastapi

import (
	"penstock/engine"
)

// listParts answers ListParts.
func (r *request) listParts() error {
	limit, err := r.intParam("max-parts", engine.MaxListEntries)
	if err != nil {
		return err
	}
	limit = min(limit, engine.MaxListEntries)
	after, err := r.intParam("part-number-marker", 0)
	if err != nil {
		return err
	}
	encode, err := r.encodingType()
	if err != nil {
		return err
	}
	id := r.param("uploadId")
	page, err := r.partPage(id, after, limit)
	if err != nil {
		return err
	}
	r.setAbort(&page.Upload)
	w := newXML("ListPartsResult", 1024+300*len(page.Parts))
	w.text("Bucket", r.bucket)
	w.key("Key", r.key, encode)
	w.text("UploadId", id)
	w.owner("Initiator")
	w.owner("Owner")
	w.text("StorageClass", storageClassOf(page.Upload.Attrs))
	w.int("PartNumberMarker", int64(after))
	w.int("NextPartNumberMarker", int64(page.Next)) // Of the last part that is listed, also where there are no more.
	w.int("MaxParts", int64(limit))
	w.bool("IsTruncated", page.Truncated)
	alg, kind := uploadChecksum(page.Upload.Attrs)
	if alg != algNone {
		w.text("ChecksumAlgorithm", alg.name())
		w.text("ChecksumType", kind)
	}
	for i := range page.Parts {
		p := &page.Parts[i]
		w.open("Part")
		w.int("PartNumber", int64(p.Number))
		w.time("LastModified", p.Modified)
		w.etag(p.ETag)
		w.int("Size", p.Size)
		w.partChecksum(p.Attrs, alg)
		w.close("Part")
	}
	w.close("ListPartsResult")
	return r.answerXML(w)
}

func (r *request) partPage(id string, after, limit int) (engine.PartPage, error) {
	if limit > 0 {
		return r.srv.store.ListParts(r.srv.ctx, r.bucket, r.key, id, after, limit)
	}
	upload, err := r.srv.store.Upload(r.srv.ctx, r.bucket, r.key, id)
	return engine.PartPage{Upload: upload}, err
}

// partChecksum writes a part's checksum: of alg, or, without one, the first that it has.
func (w *xmlWriter) partChecksum(attrs []engine.Attr, alg algorithm) {
	for i := range attrs {
		a := algorithmOfAttr(attrs[i].Name)
		if a != algNone && (alg == algNone || alg == a) {
			w.text(algorithms[a].element, attrs[i].Value)
			return
		}
	}
}

// listUploads answers ListMultipartUploads.
func (r *request) listUploads() error {
	limit, err := r.intParam("max-uploads", engine.MaxListEntries)
	if err != nil {
		return err
	}
	limit = min(limit, engine.MaxListEntries)
	encode, err := r.encodingType()
	if err != nil {
		return err
	}
	o := engine.UploadListOptions{
		Prefix: r.param("prefix"), Delimiter: r.param("delimiter"),
		KeyMarker: r.param("key-marker"), IDMarker: r.param("upload-id-marker"), Max: limit,
	}
	if o.KeyMarker == "" {
		o.IDMarker = "" // As Amazon has it: the id marker counts only together with the key marker.
	}
	page, err := r.uploadPage(o)
	if err != nil {
		return err
	}
	w := newXML("ListMultipartUploadsResult", 512+700*len(page.Uploads))
	w.text("Bucket", r.bucket)
	w.key("KeyMarker", o.KeyMarker, encode)
	w.text("UploadIdMarker", o.IDMarker)
	if o.Prefix != "" {
		w.key("Prefix", o.Prefix, encode)
	}
	if o.Delimiter != "" {
		w.key("Delimiter", o.Delimiter, encode)
	}
	// Of the last upload that is listed, also where there are no more.
	if n := len(page.Uploads); !page.Truncated && n > 0 {
		page.NextKey, page.NextID = page.Uploads[n-1].Key, page.Uploads[n-1].ID
	}
	w.key("NextKeyMarker", page.NextKey, encode)
	w.text("NextUploadIdMarker", page.NextID)
	w.int("MaxUploads", int64(limit))
	w.bool("IsTruncated", page.Truncated)
	if encode {
		w.text("EncodingType", "url")
	}
	for i := range page.Uploads {
		u := &page.Uploads[i]
		w.open("Upload")
		w.key("Key", u.Key, encode)
		w.text("UploadId", u.ID)
		w.owner("Initiator")
		w.owner("Owner")
		w.text("StorageClass", storageClassOf(u.Attrs))
		w.time("Initiated", u.Initiated)
		if alg, kind := uploadChecksum(u.Attrs); alg != algNone {
			w.text("ChecksumAlgorithm", alg.name())
			w.text("ChecksumType", kind)
		}
		w.close("Upload")
	}
	w.prefixes(page.Prefixes, encode)
	w.close("ListMultipartUploadsResult")
	return r.answerXML(w)
}

func (r *request) uploadPage(o engine.UploadListOptions) (engine.UploadPage, error) {
	if o.Max == 0 {
		_, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
		return engine.UploadPage{}, err
	}
	page, err := r.srv.store.ListUploads(r.srv.ctx, r.bucket, o)
	if engine.KindOf(err) == engine.KindNoSuchUpload {
		return page, invalidArgument("Invalid uploadId marker", "upload-id-marker", o.IDMarker)
	}
	return page, err
}
