package fastapi

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strconv"
	"time"

	"penstock/engine"
)

// The rules of a bucket are kept twice: as the store follows them, and as the document that a client gets back, which says the same in the
// form that it was given.
//
//	lifecycle          the document, written anew, each rule with an ID
//	lifecycle-minimum  x-amz-transition-default-minimum-object-size, if it is not the default
const (
	attrLifecycle        = "lifecycle"
	attrLifecycleMinimum = "lifecycle-minimum"

	headerMinimum  = "x-amz-transition-default-minimum-object-size"
	minimumDefault = "all_storage_classes_128K"
	minimumVaries  = "varies_by_storage_class"
)

// Amazon's limits.
const (
	maxRules      = 1000
	maxRuleID     = 255
	maxRulePrefix = 1024
	maxRuleDays   = 1<<31 - 1
	maxKept       = 100 // NewerNoncurrentVersions.

	maxRulesLen = 384 << 10 // Of a document. It is kept twice, and both fit the attributes of a bucket.
)

var (
	errNoLifecycle  = &apiError{status: 404, code: "NoSuchLifecycleConfiguration", text: "The lifecycle configuration does not exist"}
	errTransition   = errNotImplemented.message("There is one storage class here, so objects cannot be moved to another.")
	errTooManyRules = errInvalidRequest.message("The number of lifecycle rules must not exceed the allowed limit of 1000 rules")
)

// lifecycleRule is a rule as its document has it.
type lifecycleRule struct {
	engine.Rule
	old     bool   // It has a Prefix of its own and no Filter, as documents had it once.
	filter  string // What is in its Filter: "" for nothing, the name of the one condition, or "And".
	expires bool   // It has an Expiration.
	aborts  bool
}

// putBucketLifecycle answers PutBucketLifecycleConfiguration.
func (r *request) putBucketLifecycle() error {
	minimum := cmp.Or(r.head.get(headerMinimum), minimumDefault)
	if minimum != minimumDefault && minimum != minimumVaries {
		return invalidArgument("The transition default minimum object size is not a known one.", headerMinimum, minimum)
	}
	doc, err := r.readConfigOf(maxRulesLen)
	if err != nil {
		return err
	}
	rules, err := parseLifecycle(doc)
	if err != nil {
		return err
	}
	list := make([]engine.Rule, len(rules))
	for i := range rules {
		list[i] = rules[i].Rule
	}
	document, text := string(lifecycleDocument(rules)), engine.EncodeRules(list)
	err = r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		attrs := withAttr(withAttr(b.Attrs, attrLifecycle, document), engine.AttrRules, text)
		if minimum == minimumDefault {
			return withAttr(attrs, attrLifecycleMinimum, ""), nil
		}
		return withAttr(attrs, attrLifecycleMinimum, minimum), nil
	})
	if err == nil {
		r.setHeader(headerMinimum, minimum)
	}
	return err
}

// getBucketLifecycle answers GetBucketLifecycleConfiguration.
func (r *request) getBucketLifecycle() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	document := info.Attr(attrLifecycle)
	if document == "" {
		return errNoLifecycle.with("BucketName", r.bucket)
	}
	r.setHeader(headerMinimum, cmp.Or(info.Attr(attrLifecycleMinimum), minimumDefault))
	return r.answerXML(xmlWriter(document))
}

// deleteBucketLifecycle answers DeleteBucketLifecycle.
func (r *request) deleteBucketLifecycle() error {
	err := r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		return withAttr(withAttr(withAttr(b.Attrs, attrLifecycle, ""), engine.AttrRules, ""), attrLifecycleMinimum, ""), nil
	})
	if err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// parseLifecycle reads a LifecycleConfiguration document.
func parseLifecycle(doc string) (rules []lifecycleRule, err error) {
	x := newXMLReader(doc)
	x.root("LifecycleConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		if name != "Rule" {
			return nil, errMalformedXML
		}
		if len(rules) == maxRules {
			return nil, errTooManyRules
		}
		rule, err := parseRule(x)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if err := x.end(); err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		return nil, errMalformedXML
	}
	ids := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		if r.ID == "" {
			r.ID = rand.Text()
		}
		if ids[r.ID] {
			return nil, errInvalidArgument.message("Rule ID must be unique. Found same ID for more than one rule")
		}
		ids[r.ID] = true
	}
	return rules, nil
}

func parseRule(x *xmlReader) (r lifecycleRule, err error) {
	seen := map[string]bool{}
	for name := x.child(); name != ""; name = x.child() {
		if seen[name] {
			return r, errMalformedXML
		}
		seen[name] = true
		switch name {
		case "ID":
			r.ID = x.text()
		case "Status":
			status := x.text()
			if status != "Enabled" && status != "Disabled" {
				return r, errMalformedXML
			}
			r.Off = status == "Disabled"
		case "Prefix":
			r.old, r.Prefix = true, x.text()
		case "Filter":
			err = r.parseFilter(x)
		case "Expiration":
			r.expires, err = true, r.parseExpiration(x)
		case "NoncurrentVersionExpiration":
			err = r.parseNoncurrent(x)
		case "AbortIncompleteMultipartUpload":
			r.aborts, err = true, r.parseAbort(x)
		case "Transition", "NoncurrentVersionTransition":
			err = errTransition
		default:
			err = errMalformedXML
		}
		if err != nil {
			return r, err
		}
	}
	if x.failed || !seen["Status"] || seen["Filter"] == seen["Prefix"] {
		return r, errMalformedXML
	}
	return r, r.check()
}

// check refuses rules whose parts do not go together.
func (r *lifecycleRule) check() error {
	sized := r.Above != nil || r.Below != nil
	switch {
	case len(r.ID) > maxRuleID:
		return errInvalidArgument.message("ID length should not exceed allowed limit of 255")
	case len(r.Prefix) > maxRulePrefix:
		return errInvalidRequest.message("The maximum size of a prefix is 1024.")
	case !r.expires && !r.aborts && r.NoncurrentDays == 0:
		return errInvalidRequest.message("At least one action needs to be specified in a rule.")
	case r.Above != nil && r.Below != nil && *r.Above >= *r.Below:
		return errInvalidRequest.message("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'")
	case r.Markers && len(r.Tags) > 0:
		return errInvalidRequest.message("ExpiredObjectDeleteMarker cannot be specified with Tags.")
	case r.aborts && len(r.Tags) > 0:
		return errInvalidRequest.message("AbortIncompleteMultipartUpload cannot be specified with Tags.")
	case r.aborts && sized:
		return errInvalidRequest.message("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
	}
	return nil
}

func (r *lifecycleRule) parseFilter(x *xmlReader) error {
	for name := x.child(); name != ""; name = x.child() {
		if r.filter != "" {
			return errMalformedXML // More than one is the business of And.
		}
		if r.filter = name; name != "And" {
			if err := r.parseCondition(x, name); err != nil {
				return err
			}
			continue
		}
		seen, n := map[string]bool{}, 0
		for name := x.child(); name != ""; name = x.child() {
			if seen[name] && name != "Tag" || name == "And" {
				return errMalformedXML
			}
			seen[name] = true
			n++
			if err := r.parseCondition(x, name); err != nil {
				return err
			}
		}
		if n == 0 {
			return errMalformedXML
		}
	}
	return nil
}

func (r *lifecycleRule) parseCondition(x *xmlReader, name string) error {
	size := func() (*int64, error) {
		n, err := strconv.ParseInt(x.text(), 10, 64)
		if err != nil {
			return nil, errMalformedXML
		}
		if n < 0 || n > engine.MaxObjectLen {
			return nil, errInvalidRequest.message("'" + name + "' should be between 0 and the largest size of an object.")
		}
		return &n, nil
	}
	var err error
	switch name {
	case "Prefix":
		r.Prefix = x.text()
	case "Tag":
		return r.parseTag(x)
	case "ObjectSizeGreaterThan":
		r.Above, err = size()
	case "ObjectSizeLessThan":
		r.Below, err = size()
	default:
		err = errMalformedXML
	}
	return err
}

func (r *lifecycleRule) parseTag(x *xmlReader) error {
	var tag param
	seen := 0
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Key":
			tag.name = x.text()
		case "Value":
			tag.value = x.text()
		default:
			return errMalformedXML
		}
		seen++
	}
	if x.failed || seen != 2 {
		return errMalformedXML
	}
	if err := (tagSet{tag}).check(); err != nil {
		return err
	}
	if slices.ContainsFunc(r.Tags, func(t engine.Attr) bool { return t.Name == tag.name }) {
		return errInvalidRequest.message("Duplicate Tag Keys are not allowed.")
	}
	r.Tags = append(r.Tags, engine.Attr{Name: tag.name, Value: tag.value})
	return nil
}

// parseDays reads a number of days.
func parseDays(x *xmlReader, name, action string, most int64) (int, error) {
	n, err := strconv.ParseInt(x.text(), 10, 64)
	if err != nil {
		return 0, errMalformedXML
	}
	if n < 1 || n > most {
		return 0, errInvalidArgument.message("'"+name+"' for "+action+" action must be a positive integer").with("ArgumentName", name).with("ArgumentValue", strconv.FormatInt(n, 10))
	}
	return int(n), nil
}

func (r *lifecycleRule) parseExpiration(x *xmlReader) (err error) {
	n := 0
	for name := x.child(); name != ""; name = x.child() {
		switch n++; name {
		case "Days":
			r.Days, err = parseDays(x, name, "Expiration", maxRuleDays)
		case "Date":
			r.Date, err = parseRuleDate(x.text())
		case "ExpiredObjectDeleteMarker":
			switch x.text() {
			case "true":
				r.Markers = true
			case "false": // Such a rule does nothing, and is kept.
			default:
				err = errMalformedXML
			}
		default:
			err = errMalformedXML
		}
		if err != nil {
			return err
		}
	}
	if n != 1 {
		return errMalformedXML
	}
	return nil
}

func parseRuleDate(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		if t, err = time.Parse(time.DateOnly, text); err != nil {
			return t, errMalformedXML
		}
	}
	if t = t.UTC(); !t.Equal(t.Truncate(engine.Day)) {
		return t, errInvalidArgument.message("'Date' must be at midnight GMT").with("ArgumentName", "Date").with("ArgumentValue", text)
	}
	if t.IsZero() {
		return t, errMalformedXML
	}
	return t, nil
}

func (r *lifecycleRule) parseNoncurrent(x *xmlReader) (err error) {
	const action = "NoncurrentVersionExpiration"
	seen := map[string]bool{}
	for name := x.child(); name != ""; name = x.child() {
		if seen[name] {
			return errMalformedXML
		}
		seen[name] = true
		switch name {
		case "NoncurrentDays":
			r.NoncurrentDays, err = parseDays(x, name, action, maxRuleDays)
		case "NewerNoncurrentVersions":
			r.Keep, err = parseDays(x, name, action, maxKept)
		default:
			err = errMalformedXML
		}
		if err != nil {
			return err
		}
	}
	if r.NoncurrentDays == 0 {
		return errMalformedXML
	}
	return nil
}

func (r *lifecycleRule) parseAbort(x *xmlReader) (err error) {
	for name := x.child(); name != ""; name = x.child() {
		if name != "DaysAfterInitiation" || r.AbortDays > 0 {
			return errMalformedXML
		}
		if r.AbortDays, err = parseDays(x, name, "AbortIncompleteMultipartUpload", maxRuleDays); err != nil {
			return err
		}
	}
	if r.AbortDays == 0 {
		return errMalformedXML
	}
	return nil
}

// lifecycleDocument writes rules as a client gets them.
func lifecycleDocument(rules []lifecycleRule) xmlWriter {
	w := newXML("LifecycleConfiguration", 256*len(rules))
	for i := range rules {
		rules[i].write(&w)
	}
	w.close("LifecycleConfiguration")
	return w
}

func (r *lifecycleRule) write(w *xmlWriter) {
	number := func(name string, n int) {
		if n > 0 {
			w.int(name, int64(n))
		}
	}
	w.open("Rule")
	w.text("ID", r.ID)
	if r.old {
		w.text("Prefix", r.Prefix)
	} else {
		r.writeFilter(w)
	}
	if r.Off {
		w.text("Status", "Disabled")
	} else {
		w.text("Status", "Enabled")
	}
	if r.expires {
		w.open("Expiration")
		switch {
		case r.Days > 0:
			number("Days", r.Days)
		case !r.Date.IsZero():
			w.time("Date", r.Date)
		default:
			w.bool("ExpiredObjectDeleteMarker", r.Markers)
		}
		w.close("Expiration")
	}
	if r.NoncurrentDays > 0 {
		w.open("NoncurrentVersionExpiration")
		number("NoncurrentDays", r.NoncurrentDays)
		number("NewerNoncurrentVersions", r.Keep)
		w.close("NoncurrentVersionExpiration")
	}
	if r.aborts {
		w.open("AbortIncompleteMultipartUpload")
		number("DaysAfterInitiation", r.AbortDays)
		w.close("AbortIncompleteMultipartUpload")
	}
	w.close("Rule")
}

func (r *lifecycleRule) writeFilter(w *xmlWriter) {
	w.open("Filter")
	if r.filter == "And" {
		w.open("And")
	}
	if r.filter == "Prefix" || r.filter == "And" && r.Prefix != "" {
		w.text("Prefix", r.Prefix)
	}
	for _, t := range r.Tags {
		w.open("Tag")
		w.text("Key", t.Name)
		w.text("Value", t.Value)
		w.close("Tag")
	}
	if r.Above != nil {
		w.int("ObjectSizeGreaterThan", *r.Above)
	}
	if r.Below != nil {
		w.int("ObjectSizeLessThan", *r.Below)
	}
	if r.filter == "And" {
		w.close("And")
	}
	w.close("Filter")
}

// expiry returns x-amz-expiration of the current version of a key, "" if it does not expire.
func (s *Server) expiry(bucket string, info *engine.ObjectInfo) string {
	b, err := s.bucketState(bucket)
	if err != nil || b.rules == nil {
		return ""
	}
	d := b.rules.Expiry(info, s.opts.Day)
	if d.Action == 0 {
		return ""
	}
	value := append([]byte(`expiry-date="`), d.At.UTC().Format(httpDate)...)
	value = append(value, `", rule-id="`...)
	return string(append(appendURLEncoded(value, d.Rule), '"'))
}

// setExpiry says when what the request has put, or asks for, expires.
func (r *request) setExpiry(info *engine.ObjectInfo) {
	if value := r.srv.expiry(r.bucket, info); value != "" {
		r.setHeader(headerExpiration, value)
	}
}

const headerExpiration = "x-amz-expiration"

// setAbort says when an upload is aborted.
func (r *request) setAbort(upload *engine.UploadInfo) {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return
	}
	if d := b.rules.Abort(r.key, upload.Initiated, r.srv.opts.Day); d.Action != 0 {
		r.setHeader("x-amz-abort-date", d.At.UTC().Format(httpDate))
		r.setHeader("x-amz-abort-rule-id", d.Rule)
	}
}

// setAbortOf is setAbort for an upload that was just begun.
func (r *request) setAbortOf(id string) error {
	if b, err := r.stateOf(r.bucket); err != nil || b.rules == nil {
		return err
	}
	upload, err := r.srv.store.Upload(r.srv.ctx, r.bucket, r.key, id)
	if err != nil {
		return err
	}
	r.setAbort(&upload)
	return nil
}
