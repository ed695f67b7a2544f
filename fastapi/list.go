package fastapi

import (
	"strings"
	"unicode/utf8"

	"penstock/engine"
)

// listing is what the two versions of ListObjects have in common.
type listing struct {
	prefix, delimiter string
	encode            bool // encoding-type=url
	max               int
}

// readListing reads the common parameters.
func (r *request) readListing() (l listing, err error) {
	l.prefix, l.delimiter = r.param("prefix"), r.param("delimiter")
	if l.encode, err = r.encodingType(); err != nil {
		return l, err
	}
	l.max, err = r.intParam("max-keys", engine.MaxListEntries)
	l.max = min(l.max, engine.MaxListEntries)
	if err == nil && !(utf8.ValidString(l.prefix) && utf8.ValidString(l.delimiter)) {
		err = errInvalidURI
	}
	return l, err
}

// encodingType reads encoding-type, whose one value is url.
func (r *request) encodingType() (bool, error) {
	switch v := r.param("encoding-type"); v {
	case "":
		return false, nil
	case "url":
		return true, nil
	default:
		return false, invalidArgument("Invalid Encoding Method specified in Request", "encoding-type", v)
	}
}

// options returns the engine's options for a listing that goes on after a key or a rolled-up prefix.
func (l *listing) options(after string, isPrefix bool) engine.ListOptions {
	return engine.ListOptions{Prefix: l.prefix, Delimiter: l.delimiter, After: after, SkipPrefix: isPrefix, Max: l.max}
}

// rollsUp reports whether a marker that a client gives is itself a prefix that this listing rolls up. Nothing below it
// comes after it then.
func (l *listing) rollsUp(marker string) bool {
	if l.delimiter == "" || !strings.HasPrefix(marker, l.prefix) {
		return false
	}
	rest := marker[len(l.prefix):]
	return strings.Index(rest, l.delimiter) == len(rest)-len(l.delimiter) && strings.HasSuffix(rest, l.delimiter)
}

// listObjectsV2 answers ListObjectsV2.
func (r *request) listObjectsV2() error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	startAfter, token := r.param("start-after"), r.param("continuation-token")
	after, isPrefix := startAfter, l.rollsUp(startAfter)
	if _, given := r.target.get("continuation-token"); given {
		if after, isPrefix, err = decodeToken(token); err != nil {
			return err
		}
	}
	page, err := r.listPage(l, after, isPrefix)
	if err != nil {
		return err
	}
	w := newXML("ListBucketResult", l.sizeOf(&page))
	w.text("Name", r.bucket)
	w.key("Prefix", l.prefix, l.encode)
	if startAfter != "" && token == "" {
		w.key("StartAfter", startAfter, l.encode)
	}
	w.optional("ContinuationToken", token)
	if page.Truncated {
		w.text("NextContinuationToken", encodeToken(page.NextAfter, page.NextIsPrefix))
	}
	w.int("KeyCount", int64(len(page.Objects)+len(page.Prefixes)))
	l.writeTail(&w, &page, r.param("fetch-owner") == "true")
	w.close("ListBucketResult")
	return r.answerXML(w)
}

// listObjects answers ListObjects, the first version.
func (r *request) listObjects() error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	marker := r.param("marker")
	page, err := r.listPage(l, marker, l.rollsUp(marker))
	if err != nil {
		return err
	}
	w := newXML("ListBucketResult", l.sizeOf(&page))
	w.text("Name", r.bucket)
	w.key("Prefix", l.prefix, l.encode)
	w.key("Marker", marker, l.encode)
	if page.Truncated && l.delimiter != "" {
		w.key("NextMarker", page.NextAfter, l.encode)
	}
	l.writeTail(&w, &page, true)
	w.close("ListBucketResult")
	return r.answerXML(w)
}

func (r *request) listPage(l listing, after string, isPrefix bool) (engine.ListPage, error) {
	if l.max > 0 {
		return r.srv.store.List(r.srv.ctx, r.bucket, l.options(after, isPrefix))
	}
	_, err := r.srv.store.Bucket(r.srv.ctx, r.bucket) // A page of nothing, if there is a bucket.
	return engine.ListPage{}, err
}

// sizeOf guesses the length of a page's document.
func (l *listing) sizeOf(page *engine.ListPage) int {
	return 512 + 512*len(page.Objects) + 128*len(page.Prefixes)
}

// writeTail writes what is the same in both versions.
func (l *listing) writeTail(w *xmlWriter, page *engine.ListPage, owner bool) {
	l.writeSettings(w, page.Truncated)
	for i := range page.Objects {
		o := &page.Objects[i]
		w.open("Contents")
		w.key("Key", o.Key, l.encode)
		w.describe(o)
		if owner {
			w.owner("Owner")
		}
		w.text("StorageClass", storageClassOf(o.Attrs))
		w.close("Contents")
	}
	w.prefixes(page.Prefixes, l.encode)
}

// writeSettings writes how the listing was asked for, and whether there is more of it.
func (l *listing) writeSettings(w *xmlWriter, truncated bool) {
	w.int("MaxKeys", int64(l.max))
	if l.delimiter != "" {
		w.key("Delimiter", l.delimiter, l.encode)
	}
	w.bool("IsTruncated", truncated)
	if l.encode {
		w.text("EncodingType", "url")
	}
}

// describe writes what a listing says of an object.
func (w *xmlWriter) describe(o *engine.ObjectInfo) {
	w.time("LastModified", o.Modified)
	w.etag(o.ETag)
	if alg, _, kind := storedChecksum(o.Attrs); alg != algNone {
		w.text("ChecksumAlgorithm", alg.name())
		w.text("ChecksumType", kind)
	}
	w.int("Size", o.Size)
}

func (w *xmlWriter) prefixes(prefixes []string, encode bool) {
	for _, p := range prefixes {
		w.open("CommonPrefixes")
		w.key("Prefix", p, encode)
		w.close("CommonPrefixes")
	}
}

// key writes an element with a key or a piece of one, URL-encoded if the client asked for that.
func (w *xmlWriter) key(name, value string, encode bool) {
	if !encode {
		w.text(name, value)
		return
	}
	w.open(name)
	*w = appendURLEncoded(*w, value)
	w.close(name)
}
