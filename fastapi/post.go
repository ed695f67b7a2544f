package fastapi

import (
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"

	"penstock/engine"
	"penstock/fastapi/sigv4"
)

// postObject answers PostObject: an upload by a form. It is a PutObject in another dress, and needs leave as one.
func (r *request) postObject() error {
	if r.auth.Payload.Mode.Streaming() {
		return errInvalidRequest.message("The body of a form is not made of chunks.")
	}
	b := &body{r: r, size: -1}
	b.openWire()
	var wire io.Reader = &b.wire
	if r.auth.Payload.Mode == sigv4.Signed {
		wire = signedForm{sigv4.NewVerifyReader(wire, r.auth.Payload)}
	}
	f, err := r.readForm(wire)
	if err != nil {
		return err
	}
	if err := r.authenticateForm(f); err != nil {
		return err
	}
	if err := r.openForm(f); err != nil {
		return err
	}
	limits, err := r.checkForm(f)
	if err != nil {
		return err
	}
	tags, err := formTags(f)
	if err != nil {
		return err
	}
	r.tags = tags
	var n needs
	r.formNeeds(&n)
	for i := range n.list[:n.n] {
		if err := r.allow(&n.list[i]); err != nil {
			return err
		}
	}
	if err := refuseUnsupported(&f.headers); err != nil {
		return err
	}
	info, err := r.storeForm(b, f, limits, tags)
	if err != nil {
		return err
	}
	// What follows the file is nothing to us, and read so that the connection can go on.
	_, err = io.CopyN(io.Discard, &b.wire, maxDrainLen)
	r.bodyDone = err == io.EOF
	return r.answerForm(f, &info)
}

// signedForm is the body of a form whose digest the request has signed.
type signedForm struct{ *sigv4.VerifyReader }

func (s signedForm) Read(p []byte) (int, error) {
	n, err := s.VerifyReader.Read(p)
	if _, ok := errors.AsType[*sigv4.Error](err); ok {
		err = authError(err)
	}
	return n, err
}

// verify reads the rest of a form whose digest the request has signed, before anything of it counts.
func (f *form) verify() error {
	if _, ok := f.wire.src.(signedForm); !ok {
		return nil
	}
	switch _, err := io.CopyN(io.Discard, f.wire.src, maxDrainLen); err {
	case io.EOF:
		return nil
	case nil:
		return errMalformedPost // More behind the file than anybody sends.
	default:
		return formError(err)
	}
}

// openForm makes the request one about the object that the form names.
func (r *request) openForm(f *form) error {
	if bucket, ok := f.lookup("bucket"); ok && bucket != r.bucket {
		return errAccessDenied.message("The form is for another bucket.")
	}
	key, ok := f.lookup("key")
	if !ok || key == "" {
		return invalidArgument("Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.", "key", "")
	}
	key = strings.ReplaceAll(key, "${filename}", f.name)
	if key == "" {
		return invalidArgument("User key must have a length greater than 0.", "key", "")
	}
	if err := checkKey(key); err != nil {
		return err
	}
	r.form, r.key, r.level = f, key, levelObject
	return nil
}

// checkForm holds the form to its policy, if it has one, and returns the bounds of the file's length.
func (r *request) checkForm(f *form) (formPolicy, error) {
	limits := formPolicy{max: engine.MaxPutLen}
	encoded, ok := f.lookup("policy")
	if !ok {
		return limits, nil
	}
	p, err := parseFormPolicy(encoded)
	if err != nil {
		return limits, err
	}
	if p.max < 0 || p.max > engine.MaxPutLen {
		p.max = engine.MaxPutLen
	}
	return *p, p.check(f, r.bucket, r.key, r.srv.opts.Clock())
}

// formNeeds are what writeNeeds are for a PutObject.
func (r *request) formNeeds(n *needs) {
	n.object(r, actPutObject)
	if r.form.givesACL() {
		n.object(r, actPutObjectACL)
	}
	if r.form.get("tagging") != "" {
		n.object(r, actPutTagging)
	}
	if r.form.get("x-amz-object-lock-mode") != "" || r.form.get("x-amz-object-lock-retain-until-date") != "" {
		n.object(r, actPutRetention)
	}
	if r.form.get("x-amz-object-lock-legal-hold") != "" {
		n.object(r, actPutLegalHold)
	}
}

// givesACL reports whether a form sets an access control list.
func (f *form) givesACL() bool {
	return slices.ContainsFunc(f.fields, func(one field) bool { return one.name == "acl" || strings.HasPrefix(one.name, "x-amz-grant-") })
}

// formTags reads the tags that a form gives its file. It returns a set that is not nil.
func formTags(f *form) (tagSet, error) {
	doc := f.get("tagging")
	if doc == "" {
		return tagSet{}, nil
	}
	tags, err := parseTagging(doc, maxObjectTags, errTooManyTags)
	if tags == nil {
		tags = tagSet{}
	}
	return tags, err
}

// storeForm puts the file.
func (r *request) storeForm(b *body, f *form, limits formPolicy, tags tagSet) (engine.ObjectInfo, error) {
	want, err := readChecksum(&f.headers)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	if want.trailer {
		return engine.ObjectInfo{}, errInvalidRequest.message("A form has no trailers.")
	}
	if want.alg == algNone {
		want.alg = algCRC64NVME
	}
	attrs, err := readMetadata(&f.headers)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	state, err := r.stateOf(r.bucket)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	list, err := r.newACL(&state.info)
	if err != nil {
		return engine.ObjectInfo{}, err
	}
	attrs = tags.replaceIn(withAttr(attrs, attrACL, list)) // The tags are those judged, whatever else the form has.
	if attrs, err = r.withLock(attrs, &f.headers); err != nil {
		return engine.ObjectInfo{}, err
	}
	b.want, b.src = want, &formFile{src: f.file, limits: limits}
	b.sum = want.alg.newHash()
	if b.md5, err = r.newETag(-1, b.contentMD5); err != nil {
		return engine.ObjectInfo{}, err
	}
	defer b.close()
	return r.srv.store.Put(r.srv.ctx, r.bucket, r.key, b, engine.PutOptions{Size: -1, Attrs: attrs, Finish: func(sums engine.Sums) (engine.Final, error) {
		if err := f.verify(); err != nil {
			return engine.Final{}, err
		}
		return b.finish(sums)
	}})
}

// formFile reads the file of a form, and refuses one that is not as long as its policy wants.
type formFile struct {
	src    io.Reader
	limits formPolicy
	n      int64
}

func (f *formFile) Read(p []byte) (int, error) {
	n, err := f.src.Read(p)
	f.n += int64(n)
	switch {
	case f.n > f.limits.max:
		return 0, errEntityTooLarge.with("ProposedSize", itoa64(f.n)).with("MaxSizeAllowed", itoa64(f.limits.max))
	case err == io.EOF && f.n < f.limits.min:
		return 0, errEntityTooSmall.with("ProposedSize", itoa64(f.n)).with("MinSizeAllowed", itoa64(f.limits.min))
	case err != nil && err != io.EOF:
		err = formError(err)
	}
	return n, err
}

// answerForm answers as the form asks: with a redirection, a document, or next to nothing.
func (r *request) answerForm(f *form, info *engine.ObjectInfo) error {
	r.setETag(info.ETag)
	for _, h := range r.srv.made(r.bucket, info) {
		r.setHeader(h.name, h.value)
	}
	location := r.objectURL()
	r.setHeader("Location", location)
	target := f.get("success_action_redirect")
	if target == "" {
		target = f.get("redirect")
	}
	if u, err := url.Parse(target); err == nil && target != "" && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		query := "bucket=" + url.QueryEscape(r.bucket) + "&key=" + url.QueryEscape(r.key) + "&etag=" + url.QueryEscape(`"`+info.ETag+`"`)
		if u.RawQuery != "" {
			query = u.RawQuery + "&" + query
		}
		u.RawQuery = query
		r.setHeader("Location", u.String())
		return r.answerEmpty(303)
	}
	switch f.get("success_action_status") {
	case "200":
		return r.answerEmpty(200)
	case "201":
		w := newXML("PostResponse", 256+2*len(r.key))
		w.text("Location", location)
		w.text("Bucket", r.bucket)
		w.text("Key", r.key)
		w.etag(info.ETag)
		w.close("PostResponse")
		err := r.answerXML(w)
		r.ctx.Response.SetStatusCode(201)
		return err
	}
	return r.answerEmpty(204)
}

// objectURL is the URL of the object that a form has put.
func (r *request) objectURL() string {
	scheme := "http://"
	if r.secure() {
		scheme = "https://"
	}
	path := "/"
	if _, virtual := virtualBucket(r.host, r.srv.domains); !virtual {
		path += r.bucket + "/"
	}
	return string(appendURLEncoded([]byte(scheme+r.host+path), r.key))
}
