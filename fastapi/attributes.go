package fastapi

import (
	"strconv"
	"strings"

	"penstock/engine"
)

// objectAttributes are the names that x-amz-object-attributes may list.
var objectAttributes = [...]string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}

// getObjectAttributes answers GetObjectAttributes.
func (r *request) getObjectAttributes() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	want, err := readAttributeNames(r.head.get("x-amz-object-attributes"))
	if err != nil {
		return err
	}
	limit, err := r.intHeader("x-amz-max-parts", engine.MaxListEntries)
	if err != nil {
		return err
	}
	after, err := r.intHeader("x-amz-part-number-marker", 0)
	if err != nil {
		return err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return err
	}
	conds := readConditions(&r.head, "")
	if err := conds.checkRead(info.ETag, info.Modified); err != nil {
		return err
	}
	r.setTime("Last-Modified", info.Modified)
	r.setVersion(&info)
	w := newXML("GetObjectAttributesResponse", 512)
	alg, value, kind := storedChecksum(info.Attrs)
	if want["ETag"] {
		w.text("ETag", info.ETag) // Alone among all answers without quotes.
	}
	if want["Checksum"] && alg != algNone {
		w.open("Checksum")
		w.text(algorithms[alg].element, value)
		w.text("ChecksumType", kind)
		w.close("Checksum")
	}
	if want["ObjectParts"] && len(info.Parts) > 0 {
		w.objectParts(info.Parts, alg, after, min(limit, engine.MaxListEntries))
	}
	if want["StorageClass"] {
		w.text("StorageClass", storageClassOf(info.Attrs))
	}
	if want["ObjectSize"] {
		w.int("ObjectSize", info.Size)
	}
	w.close("GetObjectAttributesResponse")
	return r.answerXML(w)
}

// readAttributeNames reads the list. The JavaScript SDK puts spaces after its commas.
func readAttributeNames(header string) (map[string]bool, error) {
	want := make(map[string]bool, len(objectAttributes))
	for one := range strings.SplitSeq(header, ",") {
		one = trimSpace(one)
		known := false
		for _, name := range objectAttributes {
			known = known || name == one
		}
		if !known {
			return nil, invalidArgument("Invalid attribute name specified.", "x-amz-object-attributes", header)
		}
		want[one] = true
	}
	return want, nil
}

// intHeader reads a header that must be a number from 0 to 2^31-1.
func (r *request) intHeader(name string, absent int) (int, error) {
	s, ok := r.head.lookup(name)
	if !ok {
		return absent, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || s[0] == '+' {
		return 0, invalidArgument("Provided "+name+" not an integer or within integer range", name, s)
	}
	return int(n), nil
}

// objectParts writes a page of an object's parts.
func (w *xmlWriter) objectParts(parts []engine.PartInfo, alg algorithm, after, limit int) {
	first := 0
	for first < len(parts) && parts[first].Number <= after {
		first++
	}
	page := parts[first:min(first+limit, len(parts))]
	truncated := first+len(page) < len(parts)
	w.open("ObjectParts")
	w.int("PartsCount", int64(len(parts)))
	w.int("PartNumberMarker", int64(after))
	if truncated && len(page) > 0 {
		w.int("NextPartNumberMarker", int64(page[len(page)-1].Number))
	}
	w.int("MaxParts", int64(limit))
	w.bool("IsTruncated", truncated)
	for i := range page {
		w.open("Part")
		w.partChecksum(page[i].Attrs, alg)
		w.int("PartNumber", int64(page[i].Number))
		w.int("Size", page[i].Size)
		w.close("Part")
	}
	w.close("ObjectParts")
}
