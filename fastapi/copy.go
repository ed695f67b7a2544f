package fastapi

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"penstock/engine"
)

// maxCopyLen is Amazon's bound on what one CopyObject copies.
const maxCopyLen = 5 << 30

// copySource is what x-amz-copy-source names.
type copySource struct {
	bucket, key string
	version     engine.VersionID
}

// readCopySource reads the header. Its path is escaped as in a URL, with or without a slash in front; a version may follow.
func readCopySource(header string) (copySource, error) {
	path, version, versioned := header, "", false
	if i := strings.LastIndex(header, "?versionId="); i >= 0 {
		path, version, versioned = header[:i], header[i+len("?versionId="):], true
	}
	path, ok := unescape(path, false)
	if !ok {
		return copySource{}, invalidArgument("Invalid copy source encoding", "x-amz-copy-source", header)
	}
	var src copySource
	src.bucket, src.key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if src.bucket == "" || src.key == "" {
		return copySource{}, invalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", header)
	}
	if !addressableBucket(src.bucket) {
		return copySource{}, errInvalidBucketName.with("BucketName", src.bucket)
	}
	if err := checkKey(src.key); err != nil {
		return copySource{}, err
	}
	if version, ok = unescape(version, false); !ok {
		return copySource{}, invalidArgument("Invalid copy source encoding", "x-amz-copy-source", header)
	}
	var err error
	src.version, err = readVersion(version, versioned, "x-amz-copy-source")
	return src, err
}

// headers are those of an answer that say what was copied.
func (s copySource) headers(copied *engine.ObjectInfo) []detail {
	if !copied.Versioned {
		return nil
	}
	return []detail{{"x-amz-copy-source-version-id", formatVersion(copied.Version)}}
}

// refuse gives a failure to read the source its place.
func (s copySource) refuse(err error) error {
	if s.version != engine.CurrentVersion && engine.KindOf(err) == engine.KindDeleteMarker {
		return errInvalidRequest.message("The source of a copy request may not specifically refer to a delete marker by version id.").because(err)
	}
	return err
}

// copyObject answers CopyObject.
func (r *request) copyObject() error {
	src, err := readCopySource(r.head.get("x-amz-copy-source"))
	if err != nil {
		return err
	}
	plan, err := r.planCopy(src)
	if err != nil {
		return err
	}
	srv, bucket, key := r.srv, r.bucket, r.key
	return r.slowly(func() (document, error) {
		o := engine.CopyOptions{Source: plan.source, Check: plan.check}
		if plan.rehash {
			o.Rehash, o.Finish = plan, plan.finish
		}
		info, err := srv.store.Copy(srv.ctx, src.bucket, src.key, src.version, bucket, key, o)
		if err != nil {
			return document{}, src.refuse(err)
		}
		w := newXML("CopyObjectResult", 256)
		w.time("LastModified", info.Modified)
		w.etag(info.ETag)
		w.checksum(info.Attrs)
		w.close("CopyObjectResult")
		return document{w, append(src.headers(&plan.copied), srv.made(bucket, &info)...)}, nil
	})
}

// copyPlan is what a CopyObject request asks for. It decides, with the source before it, what the copy carries.
type copyPlan struct {
	conds   conditions // On the source.
	check   engine.Check
	self    bool          // Source and destination are the same.
	replace bool          // Take the metadata of the request.
	retag   bool          // Take the tags of the request.
	mayTag  error         // Why the tags of the source cannot be taken along; nil if they can.
	attrs   []engine.Attr // The metadata of the request, with its storage class.
	alg     algorithm     // Asked for; algNone keeps the source's checksum.
	rehash  bool          // The source lacks the checksum asked for.
	sum     hash.Hash     // Of alg; nil when that is the engine's.

	copied engine.ObjectInfo // The source, once the copy is made.
}

func (r *request) planCopy(src copySource) (*copyPlan, error) {
	p := &copyPlan{self: src.bucket == r.bucket && src.key == r.key && src.version == engine.CurrentVersion}
	switch directive := r.head.get("x-amz-metadata-directive"); directive {
	case "", "COPY":
	case "REPLACE":
		p.replace = true
	default:
		return nil, invalidArgument("Unknown metadata directive.", "x-amz-metadata-directive", directive)
	}
	switch directive := r.head.get("x-amz-tagging-directive"); directive {
	case "", "COPY":
	case "REPLACE":
		p.retag = true
	default:
		return nil, invalidArgument("Unknown tagging directive.", "x-amz-tagging-directive", directive)
	}
	if !p.retag {
		p.mayTag = r.mayTakeTags(&src)
	}
	var err error
	if p.attrs, err = r.readAttrs(); err != nil {
		return nil, err
	}
	if name := r.head.get("x-amz-checksum-algorithm"); name != "" {
		var ok bool
		if p.alg, ok = parseAlgorithm(name); !ok {
			return nil, errInvalidRequest.message("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
		}
	}
	// Another version of the source becomes the current one by being copied onto it.
	if p.self && !p.replace && p.alg == algNone && r.head.get("x-amz-storage-class") == "" {
		return nil, errInvalidRequest.message("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	p.conds = readConditions(&r.head, "x-amz-copy-source-")
	if p.check, err = r.earlyCheck(); err != nil {
		return nil, err
	}
	if p.alg != algNone {
		info, err := r.srv.store.Head(r.srv.ctx, src.bucket, src.key, src.version)
		if err != nil {
			return nil, src.refuse(err)
		}
		have, _, kind := storedChecksum(info.Attrs)
		p.rehash = have != p.alg || kind == typeComposite
		p.sum = p.alg.newHash()
	}
	return p, nil
}

// source judges the source and says what the copy starts with.
func (p *copyPlan) source(src *engine.ObjectInfo) (engine.Final, error) {
	if p.sum != nil {
		p.sum.Reset() // The engine starts over when the source is replaced under it.
	}
	p.copied = *src
	if err := p.conds.checkSource(src); err != nil {
		return engine.Final{}, err
	}
	if src.Size > maxCopyLen {
		return engine.Final{}, errInvalidRequest.message("The specified copy source is larger than the maximum allowable size for a copy source: " + itoa64(maxCopyLen))
	}
	final := engine.Final{ETag: src.ETag}
	for _, a := range p.attrs {
		if p.takes(a) {
			final.Attrs = append(final.Attrs, a)
		}
	}
	for _, a := range src.Attrs {
		if a.Name == attrTagging && p.mayTag != nil {
			return engine.Final{}, p.mayTag
		}
		switch isSum := algorithmOfAttr(a.Name) != algNone || a.Name == attrChecksumType; {
		case a.Name == attrChecksumAlgorithm:
		case isSum && !p.rehash, !isSum && !p.takes(a):
			final.Attrs = append(final.Attrs, a)
		}
	}
	return final, nil
}

// takes reports whether attributes such as a come from the request and not from the source.
func (p *copyPlan) takes(a engine.Attr) bool {
	switch a.Name {
	case attrStorageClass, attrACL, engine.AttrLockMode, engine.AttrLockUntil, engine.AttrLegalHold:
		return true // These are never the source's.
	case attrTagging:
		return p.retag
	}
	return p.replace
}

// Write hashes the source's bytes for the checksum asked for.
func (p *copyPlan) Write(b []byte) (int, error) {
	if p.sum != nil {
		p.sum.Write(b)
	}
	return len(b), nil
}

func (p *copyPlan) finish(sums engine.Sums) (engine.Final, error) {
	value := encodeCRC64(sums.CRC64NVME)
	if p.sum != nil {
		value = base64.StdEncoding.EncodeToString(p.sum.Sum(nil))
	}
	return engine.Final{Attrs: []engine.Attr{{Name: p.alg.attr(), Value: value}}}, nil
}

// uploadPartCopy answers UploadPartCopy.
func (r *request) uploadPartCopy() error {
	src, err := readCopySource(r.head.get("x-amz-copy-source"))
	if err != nil {
		return err
	}
	number, err := r.requirePartNumber()
	if err != nil {
		return err
	}
	id := r.param("uploadId")
	upload, err := r.srv.store.Upload(r.srv.ctx, r.bucket, r.key, id)
	if err != nil {
		return err
	}
	alg, _ := uploadChecksum(upload.Attrs)
	p := &partCopy{conds: readConditions(&r.head, "x-amz-copy-source-"), len: -1, alg: alg, sum: alg.newHash()}
	if header, ok := r.head.lookup("x-amz-copy-source-range"); ok {
		if p.off, p.len, err = parseCopyRange(header); err != nil {
			return err
		}
	}
	srv, bucket, key := r.srv, r.bucket, r.key
	return r.slowly(func() (document, error) {
		part, err := srv.store.CopyPart(srv.ctx, src.bucket, src.key, src.version, bucket, key, id, number, engine.CopyPartOptions{
			Off: p.off, Len: p.len, Source: p.source, Hash: p.hash(), Finish: p.finish,
		})
		if err != nil {
			return document{}, src.refuse(err)
		}
		w := newXML("CopyPartResult", 256)
		w.time("LastModified", part.Modified)
		w.etag(part.ETag)
		w.partChecksum(part.Attrs, alg)
		w.close("CopyPartResult")
		return document{w, src.headers(&p.copied)}, nil
	})
}

// partCopy is what an UploadPartCopy request asks for. The bytes are not read, unless the upload wants a checksum of
// them: a part by reference costs one record. So the part's ETag is the source's, which is the MD5 where the source was put whole
// and is copied whole, and otherwise a tag that names source and range; Amazon promises no more of it than that it is a tag.
type partCopy struct {
	conds    conditions
	off, len int64 // len -1 is to the end.
	alg      algorithm
	sum      hash.Hash // Of alg; nil when there is none or it is the engine's.
	etag     string    // Of the part, once the source is known.
	copied   engine.ObjectInfo
}

func (p *partCopy) source(src *engine.ObjectInfo) error {
	if p.sum != nil {
		p.sum.Reset()
	}
	p.copied = *src
	if err := p.conds.checkSource(src); err != nil {
		return err
	}
	n := p.len
	if n < 0 {
		n = src.Size
	} else if p.off+n > src.Size {
		return invalidArgument("Range specified is not valid for source object of size: "+itoa64(src.Size), "x-amz-copy-source-range",
			"bytes="+itoa64(p.off)+"-"+itoa64(p.off+n-1))
	}
	if n > engine.MaxPutLen {
		return errInvalidRequest.message("The specified copy source is larger than the maximum allowable size for a copy source: " + itoa64(engine.MaxPutLen))
	}
	p.etag = partETag(src, p.off, n)
	return nil
}

// partETag names n bytes of an object from off on.
func partETag(src *engine.ObjectInfo, off, n int64) string {
	if off == 0 && n >= src.Size && len(src.ETag) == 2*md5.Size {
		return src.ETag
	}
	tag := md5.New()
	fmt.Fprintf(tag, "%s %d %d %d", src.ETag, src.Modified.UnixNano(), off, n)
	return hex.EncodeToString(tag.Sum(nil))
}

// hash returns where the bytes must go for the upload's checksum, or nil if it needs none of them.
func (p *partCopy) hash() io.Writer {
	switch {
	case p.sum != nil:
		return p.sum
	case p.alg == algCRC64NVME:
		return io.Discard // The engine computes it of what it reads.
	}
	return nil
}

func (p *partCopy) finish(sums engine.Sums) (engine.Final, error) {
	final := engine.Final{ETag: p.etag}
	if p.sum != nil {
		final.Attrs = append(final.Attrs, engine.Attr{Name: p.alg.attr(), Value: base64.StdEncoding.EncodeToString(p.sum.Sum(nil))})
	}
	if sums.HasCRC {
		final.Attrs = append(final.Attrs, engine.Attr{Name: algCRC64NVME.attr(), Value: encodeCRC64(sums.CRC64NVME)})
	}
	return final, nil
}
