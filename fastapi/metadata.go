package fastapi

import (
	"strings"

	"penstock/engine"
)

// The attributes that this package gives the engine to keep with an object, an upload or a part:
//
//	content-type, cache-control, content-disposition, content-encoding, content-language, expires
//	                     system metadata, as sent; content-encoding without "aws-chunked"
//	x-amz-meta-…         user metadata, the name in lower case as Amazon returns it, the value's bytes as sent
//	storage-class        when it is not STANDARD
//	acl                  the access control list, when it is not the one that everything has; see acl.go
//	tagging              tags
//	crc32, crc32c, crc64nvme, sha1, sha256
//	                     the checksum, in base64; of a multipart object COMPOSITE ones end in "-" and the part count
//	checksum-type        COMPOSITE or FULL_OBJECT; of multipart objects and uploads
//	checksum-algorithm   of an upload: what its parts must carry
//
// and with a bucket: location, the LocationConstraint it was created with, and its configuration (bucketattr.go).
const (
	attrStorageClass      = "storage-class"
	attrChecksumType      = "checksum-type"
	attrChecksumAlgorithm = "checksum-algorithm"
	attrLocation          = "location"
	metaPrefix            = "x-amz-meta-"
)

// maxMetadataLen is Amazon's bound on user metadata: the bytes of names, without prefix, and values.
const maxMetadataLen = 2 << 10

// defaultContentType is what an object has whose writer said nothing.
const defaultContentType = "binary/octet-stream"

// systemHeaders are the headers stored with an object, by the attribute of the same name.
var systemHeaders = [...]string{"content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"}

// storageClasses are accepted and echoed; all of them are stored alike.
var storageClasses = [...]string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING",
	"GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE"}

// readMetadata collects the attributes of an object from the headers of the request that writes it.
func readMetadata(h *headers) ([]engine.Attr, error) {
	attrs := make([]engine.Attr, 0, 8)
	userLen := 0
	for i := range h.fields {
		name, value := h.fields[i].name, h.fields[i].value
		switch {
		case strings.HasPrefix(name, metaPrefix):
			userLen += len(name) - len(metaPrefix) + len(value)
			attrs = append(attrs, engine.Attr{Name: name, Value: value})
		case isSystemHeader(name):
			if name == "content-encoding" {
				value = withoutAWSChunked(value)
			}
			if value != "" {
				attrs = append(attrs, engine.Attr{Name: name, Value: value})
			}
		case name == "x-amz-storage-class":
			if !isStorageClass(value) {
				return nil, errInvalidStorageClass.with("StorageClassRequested", value)
			}
			if value != "STANDARD" {
				attrs = append(attrs, engine.Attr{Name: attrStorageClass, Value: value})
			}
		}
	}
	if userLen > maxMetadataLen {
		return nil, errMetadataTooLarge.with("Size", itoa(userLen)).with("MaxSizeAllowed", itoa(maxMetadataLen))
	}
	if header := h.get("x-amz-tagging"); header != "" {
		tags, err := readTags(header)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, engine.Attr{Name: attrTagging, Value: tags.query()})
	}
	return attrs, nil
}

// readAttrs collects the attributes that the request gives an object: metadata, access list and lock.
func (r *request) readAttrs() ([]engine.Attr, error) {
	attrs, err := readMetadata(&r.head)
	if err != nil {
		return nil, err
	}
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return nil, err
	}
	list, err := r.newACL(&b.info)
	if err != nil {
		return nil, err
	}
	return r.withLock(withAttr(attrs, attrACL, list), &r.head)
}

func isSystemHeader(name string) bool {
	for _, s := range systemHeaders {
		if s == name {
			return true
		}
	}
	return false
}

func isStorageClass(name string) bool {
	for _, s := range storageClasses {
		if s == name {
			return true
		}
	}
	return false
}

// withoutAWSChunked takes aws-chunked, which describes the request and not the object, out of a Content-Encoding.
func withoutAWSChunked(encoding string) string {
	if !listHas(encoding, "aws-chunked") {
		return encoding
	}
	var kept []string
	for one := range strings.SplitSeq(encoding, ",") {
		if one = trimSpace(one); one != "" && !strings.EqualFold(one, "aws-chunked") {
			kept = append(kept, one)
		}
	}
	return strings.Join(kept, ",")
}

// storageClassOf returns the storage class among attributes.
func storageClassOf(attrs []engine.Attr) string {
	for i := range attrs {
		if attrs[i].Name == attrStorageClass {
			return attrs[i].Value
		}
	}
	return "STANDARD"
}

// refuseUnsupported answers 501 to headers that ask for what is not there, so that nothing is silently left undone:
// above all, no one may believe that bytes were encrypted or locked. Harmless forms of the same headers pass.
func refuseUnsupported(h *headers) error {
	for i := range h.fields {
		name := h.fields[i].name
		if !strings.HasPrefix(name, "x-amz-") {
			continue
		}
		switch name {
		case "x-amz-website-redirect-location", "x-amz-write-offset-bytes", "x-amz-rename-source", "x-amz-mfa":
		default:
			if !hasAnyPrefix(name, "x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption") {
				continue
			}
		}
		return notImplemented("Header", name)
	}
	return nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
