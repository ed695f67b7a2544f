package fastapi

import (
	"crypto/md5"
	"encoding/hex"
	"strconv"
	"strings"

	"penstock/engine"
)

// maxCompleteLen holds 10,000 parts with the longest checksum each.
const maxCompleteLen = 2 << 20

// createUpload answers CreateMultipartUpload.
func (r *request) createUpload() error {
	attrs, err := r.readAttrs()
	if err != nil {
		return err
	}
	alg, kind, err := readUploadChecksum(&r.head)
	if err != nil {
		return err
	}
	if alg != algNone {
		attrs = append(attrs, engine.Attr{Name: attrChecksumAlgorithm, Value: alg.name()}, engine.Attr{Name: attrChecksumType, Value: kind})
	}
	id, err := r.srv.store.CreateUpload(r.srv.ctx, r.bucket, r.key, attrs)
	if err != nil {
		return err
	}
	if err := r.setAbortOf(id); err != nil {
		return err
	}
	if alg != algNone {
		r.setHeader("x-amz-checksum-algorithm", alg.name())
		r.setHeader("x-amz-checksum-type", kind)
	}
	w := newXML("InitiateMultipartUploadResult", 256+len(r.key))
	w.text("Bucket", r.bucket)
	w.text("Key", r.key)
	w.text("UploadId", id)
	w.close("InitiateMultipartUploadResult")
	return r.answerXML(w)
}

// readUploadChecksum reads which checksum an upload is to have.
func readUploadChecksum(h *headers) (algorithm, string, error) {
	name, kind := h.get("x-amz-checksum-algorithm"), strings.ToUpper(h.get("x-amz-checksum-type"))
	if name == "" {
		if kind != "" {
			return algNone, "", errInvalidRequest.message("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return algNone, "", nil
	}
	alg, ok := parseAlgorithm(name)
	if !ok {
		return algNone, "", errInvalidRequest.message("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	if kind == "" {
		kind = typeComposite
		if !algorithms[alg].composite {
			kind = typeFull
		}
	}
	switch {
	case kind == typeFull && !algorithms[alg].full, kind == typeComposite && !algorithms[alg].composite:
		return algNone, "", errInvalidRequest.message("The " + kind + " checksum type cannot be used with the " + strings.ToLower(alg.name()) + " checksum algorithm.")
	case kind != typeFull && kind != typeComposite:
		return algNone, "", errInvalidRequest.message("Value for x-amz-checksum-type header is invalid.")
	}
	return alg, kind, nil
}

// uploadChecksum returns what an upload was created with.
func uploadChecksum(attrs []engine.Attr) (algorithm, string) {
	alg, kind := algNone, ""
	for i := range attrs {
		switch attrs[i].Name {
		case attrChecksumAlgorithm:
			alg, _ = parseAlgorithm(attrs[i].Value)
		case attrChecksumType:
			kind = attrs[i].Value
		}
	}
	return alg, kind
}

// requirePartNumber is partNumber where there must be one.
func (r *request) requirePartNumber() (int, error) {
	n, err := r.partNumber()
	if err == nil && n == 0 {
		err = invalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", "")
	}
	return n, err
}

// uploadPart answers UploadPart.
func (r *request) uploadPart() error {
	number, err := r.requirePartNumber()
	if err != nil {
		return err
	}
	id := r.param("uploadId")
	upload, err := r.srv.store.Upload(r.srv.ctx, r.bucket, r.key, id)
	if err != nil {
		return err
	}
	size, err := r.bodyLen()
	if err != nil {
		return err
	}
	want, err := readChecksum(&r.head)
	if err != nil {
		return err
	}
	switch alg, _ := uploadChecksum(upload.Attrs); {
	case want.alg == algNone:
		want.alg = alg // Amazon insists that the client sends it; older clients do not.
	case alg != algNone && want.alg != alg:
		return errInvalidRequest.message("Checksum Type mismatch occurred, expected checksum Type: " + strings.ToLower(alg.name()) + ", actual checksum Type: " + strings.ToLower(want.alg.name()))
	}
	b, err := r.openBody(size, want)
	if err != nil {
		return err
	}
	defer b.close()
	part, err := r.srv.store.PutPart(r.srv.ctx, r.bucket, r.key, id, number, b, engine.PutOptions{Size: size, Finish: b.finishPart})
	if err != nil {
		return err
	}
	r.setETag(part.ETag)
	if b.want.alg != algNone {
		r.setHeader(b.want.alg.header(), partChecksum(part.Attrs, b.want.alg))
	}
	return nil
}

// finishPart is finish for a part: its CRC64NVME is kept too, since the object's follows from its parts'.
func (b *body) finishPart(sums engine.Sums) (engine.Final, error) {
	final, err := b.finish(sums)
	if err == nil && b.want.alg != algCRC64NVME {
		final.Attrs = append(final.Attrs, engine.Attr{Name: algCRC64NVME.attr(), Value: encodeCRC64(sums.CRC64NVME)})
	}
	return final, err
}

// abortUpload answers AbortMultipartUpload.
func (r *request) abortUpload() error {
	if err := r.srv.store.AbortUpload(r.srv.ctx, r.bucket, r.key, r.param("uploadId")); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// completion is the document of a CompleteMultipartUpload request, and what its headers expect of the object.
type completion struct {
	parts     []engine.CompletePart
	checksums []checksum // Of each part, as the client has it; alg is algNone if it says nothing.
	whole     checksum   // Of the object.
	kind      string     // x-amz-checksum-type, "" if not given.
	size      int64      // x-amz-mp-object-size, -1 if not given.
}

// completeUpload answers CompleteMultipartUpload.
func (r *request) completeUpload() error {
	c, err := r.readCompletion()
	if err != nil {
		return err
	}
	conds := readConditions(&r.head, "")
	check, err := conds.writeCheck()
	if err != nil {
		return err
	}
	srv, bucket, key, id := r.srv, r.bucket, r.key, r.param("uploadId")
	location := r.location()
	return r.slowly(func() (document, error) {
		info, err := srv.store.CompleteUpload(srv.ctx, bucket, key, id, engine.CompleteOptions{Parts: c.parts, Check: check, Finish: c.finish})
		if err != nil {
			return document{}, err
		}
		w := newXML("CompleteMultipartUploadResult", 512+2*len(key))
		w.text("Location", location)
		w.text("Bucket", bucket)
		w.text("Key", key)
		w.etag(info.ETag)
		w.checksum(info.Attrs)
		w.close("CompleteMultipartUploadResult")
		return document{w, srv.made(bucket, &info)}, nil
	})
}

// location is the URL of the request's object.
func (r *request) location() string {
	scheme := "http://"
	if r.ctx.IsTLS() {
		scheme = "https://"
	}
	return scheme + r.host + r.rawPath
}

// checksum writes the elements for a stored checksum, if there is one.
func (w *xmlWriter) checksum(attrs []engine.Attr) {
	if alg, value, kind := storedChecksum(attrs); alg != algNone {
		w.text(algorithms[alg].element, value)
		w.text("ChecksumType", kind)
	}
}

func (r *request) readCompletion() (*completion, error) {
	c := &completion{kind: strings.ToUpper(r.head.get("x-amz-checksum-type")), size: -1}
	if s, ok := r.head.lookup("x-amz-mp-object-size"); ok {
		if c.size, ok = parseOffset(s); !ok {
			return nil, errInvalidRequest.message("Value for x-amz-mp-object-size header is invalid.")
		}
	}
	// Here, and only here, the checksum headers are about the object and not about the request's body.
	var err error
	if c.whole, err = readObjectChecksum(&r.head); err != nil {
		return nil, err
	}
	data, err := r.readDocument(maxCompleteLen, checksum{})
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errInvalidRequest.message("You must specify at least one part")
	}
	return c, c.parse(data)
}

// readObjectChecksum reads a checksum of the object that a completion makes. A composite one ends in "-" and the part count.
func readObjectChecksum(h *headers) (checksum, error) {
	var c checksum
	for i := range h.fields {
		a := algorithmOfHeader(h.fields[i].name)
		if a == algNone {
			continue
		}
		if c.alg != algNone {
			return c, errInvalidRequest.message("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		c.alg, c.value = a, h.fields[i].value
		sum, _, _ := strings.Cut(c.value, "-")
		if !a.valid(sum) {
			return c, errInvalidRequest.message("Value for " + a.header() + " header is invalid.")
		}
	}
	return c, nil
}

// parse reads the document.
func (c *completion) parse(doc string) error {
	x := newXMLReader(doc)
	x.root("CompleteMultipartUpload")
	for name := x.child(); name != ""; name = x.child() {
		if name != "Part" || len(c.parts) == engine.MaxPartNumber {
			return errMalformedXML
		}
		if err := c.parsePart(x); err != nil {
			return err
		}
	}
	if err := x.end(); err != nil {
		return err
	}
	if len(c.parts) == 0 {
		return errMalformedXML
	}
	return nil
}

func (c *completion) parsePart(x *xmlReader) error {
	var part engine.CompletePart
	var sum checksum
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "PartNumber":
			n, err := strconv.Atoi(x.text())
			if err != nil {
				return errMalformedXML
			}
			if n < 1 || n > engine.MaxPartNumber {
				return invalidArgument("PartNumber must be >= 1 and <= 10000", "partNumber", itoa(n))
			}
			part.Number = n
		case "ETag":
			part.ETag = unquote(x.text())
		default:
			a := algorithmOfElement(name)
			if a == algNone {
				return errMalformedXML
			}
			value := x.text()
			if sum.alg != algNone {
				return errInvalidRequest.message("Expecting a single checksum for each part.")
			}
			sum = checksum{alg: a, value: value}
		}
	}
	if part.Number == 0 || part.ETag == "" {
		return errMalformedXML
	}
	c.parts = append(c.parts, part)
	c.checksums = append(c.checksums, sum)
	return nil
}

func algorithmOfElement(name string) algorithm {
	for a := algNone + 1; a < numAlgorithms; a++ {
		if algorithms[a].element == name {
			return a
		}
	}
	return algNone
}

// finish judges the parts that will make up the object, and says what it is to be known by.
func (c *completion) finish(parts []engine.PartInfo, attrs []engine.Attr) (engine.Final, error) {
	size := int64(0)
	digests := md5.New()
	for i := range parts {
		size += parts[i].Size
		if want := c.checksums[i]; want.alg != algNone && partChecksum(parts[i].Attrs, want.alg) != want.value {
			return engine.Final{}, errInvalidPart.with("PartNumber", itoa(parts[i].Number))
		}
		digest, err := partDigest(parts[i].ETag)
		if err != nil {
			return engine.Final{}, errInternal.because(err)
		}
		digests.Write(digest)
	}
	if c.size >= 0 && c.size != size {
		return engine.Final{}, errInvalidRequest.message("The provided 'x-amz-mp-object-size' header value " + itoa64(c.size) + " does not match what was computed: " + itoa64(size))
	}
	final := engine.Final{ETag: hex.EncodeToString(digests.Sum(nil)) + "-" + itoa(len(parts))}
	return final, c.finishChecksum(&final, parts, attrs)
}

// finishChecksum adds the checksum that the upload was created for, or CRC64NVME of the whole object.
func (c *completion) finishChecksum(final *engine.Final, parts []engine.PartInfo, attrs []engine.Attr) error {
	alg, kind := uploadChecksum(attrs)
	if alg == algNone {
		alg, kind = algCRC64NVME, typeFull
		if _, ok := combineParts(alg, kind, parts); !ok && c.whole.alg == algNone {
			return nil // A part was copied by reference, of a range whose checksum nobody has. Nobody asked for one either.
		}
		final.Attrs = append(final.Attrs, engine.Attr{Name: attrChecksumType, Value: kind})
	} else if c.kind != "" && c.kind != kind {
		return errInvalidRequest.message("The upload was created using the " + kind + " checksum mode. The complete request must use the same checksum mode.")
	}
	value, ok := combineParts(alg, kind, parts)
	if !ok {
		return errInvalidRequest.message("The upload was created using a " + strings.ToLower(alg.name()) + " checksum. A part is without one.")
	}
	if c.whole.alg != algNone {
		// A client may ask for the bare value of a composite checksum.
		want, got := c.whole.value, value
		if !strings.Contains(want, "-") {
			got, _, _ = strings.Cut(got, "-")
		}
		if c.whole.alg != alg || want != got {
			return c.whole.alg.mismatch()
		}
	}
	final.Attrs = append(final.Attrs, engine.Attr{Name: alg.attr(), Value: value})
	return nil
}
