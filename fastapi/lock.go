package fastapi

import (
	"strconv"
	"strings"
	"time"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// The headers of object lock. The store keeps what they say and holds everybody to it; here is how it is said.
const (
	headerLockMode  = "x-amz-object-lock-mode"
	headerLockUntil = "x-amz-object-lock-retain-until-date"
	headerLegalHold = "x-amz-object-lock-legal-hold"
)

var (
	errLocked          = errAccessDenied.message("Access Denied because object protected by object lock.")
	errNoLock          = errInvalidRequest.message("Bucket is missing Object Lock Configuration")
	errNotInFuture     = errInvalidArgument.message("The retain until date must be in the future!")
	errLockVersioning  = errInvalidBucketState.message("Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
	errLockSuspends    = errInvalidBucketState.message("An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
	errRetentionPeriod = &apiError{status: 400, code: "InvalidRetentionPeriod", text: "Default retention period must be a positive integer value."}
)

// Amazon's bounds on what a bucket gives its new objects.
const (
	maxLockDays  = 36500
	maxLockYears = 100
)

var (
	actGetRetention = policy.MustAction("s3:GetObjectRetention")
	actGetLegalHold = policy.MustAction("s3:GetObjectLegalHold")
)

// readLock reads the lock that headers give a new object.
func readLock(h *headers, now time.Time) (l engine.Lock, err error) {
	mode, hasMode := h.lookup(headerLockMode)
	date, hasDate := h.lookup(headerLockUntil)
	if hasMode != hasDate {
		return l, errInvalidArgument.message(headerLockUntil + " and " + headerLockMode + " must both be supplied")
	}
	if hasMode {
		if mode != engine.LockGovernance && mode != engine.LockCompliance {
			return l, invalidArgument("Unknown wormMode directive.", headerLockMode, mode)
		}
		if l.Until, err = time.Parse(time.RFC3339, date); err != nil {
			return l, invalidArgument("The retain until date must be provided in ISO 8601 format", headerLockUntil, date)
		}
		if !l.Until.After(now) {
			return l, errNotInFuture.with("ArgumentName", headerLockUntil).with("ArgumentValue", date)
		}
		l.Mode = mode
	}
	if hold, ok := h.lookup(headerLegalHold); ok {
		if hold != engine.LegalHoldOn && hold != engine.LegalHoldOff {
			return l, invalidArgument("Legal Hold must be either of 'ON' or 'OFF'", headerLegalHold, hold)
		}
		l.Hold = hold
	}
	return l, nil
}

// withLock returns attributes with the lock that headers give.
func (r *request) withLock(attrs []engine.Attr, h *headers) ([]engine.Attr, error) {
	l, err := readLock(h, r.srv.opts.Clock())
	if err != nil || l == (engine.Lock{}) {
		return attrs, err
	}
	return l.Attrs(attrs), nil
}

// requireDigest refuses an object with a lock of its own whose bytes nothing vouches for.
func (r *request) requireDigest(want checksum) error {
	if r.head.get(headerLockMode) == "" && r.head.get(headerLegalHold) == "" || want.alg != algNone {
		return nil
	}
	if _, ok := r.head.lookup("content-md5"); ok {
		return nil
	}
	return errInvalidRequest.message("Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
}

// setLock shows the lock of an object to whoever may see it.
func (r *request) setLock(info *engine.ObjectInfo) {
	l, err := engine.LockOf(info.Attrs)
	if err != nil || l == (engine.Lock{}) {
		return
	}
	may := func(a policy.Action) bool {
		version, err := r.version()
		return err == nil && r.allow(&need{action: a, resource: r.arnPath(), bucket: r.bucket, version: version}) == nil
	}
	if l.Mode != "" && may(actGetRetention) {
		r.setHeader(headerLockMode, l.Mode)
		r.setHeader(headerLockUntil, string(appendTime(nil, l.Until)))
	}
	if l.Hold != "" && may(actGetLegalHold) {
		r.setHeader(headerLegalHold, l.Hold)
	}
}

// bypasses reports whether the request asks to overcome governance, and may.
func (r *request) bypasses(key string, version engine.VersionID) bool {
	return strings.EqualFold(r.head.get("x-amz-bypass-governance-retention"), "true") && r.mayBypass(key, version) == nil
}

// getObjectLockConfiguration answers GetObjectLockConfiguration.
func (r *request) getObjectLockConfiguration() error {
	info, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return err
	}
	c, ok, err := engine.LockConfigOf(info.Attrs)
	if err != nil {
		return errInternal.because(err)
	}
	if !ok {
		return errNoLockConfig.with("BucketName", r.bucket)
	}
	w := newXML("ObjectLockConfiguration", 192)
	w.text("ObjectLockEnabled", "Enabled")
	if c.Mode != "" {
		w.open("Rule")
		w.open("DefaultRetention")
		w.text("Mode", c.Mode)
		if c.Days > 0 {
			w.int("Days", int64(c.Days))
		} else {
			w.int("Years", int64(c.Years))
		}
		w.close("DefaultRetention")
		w.close("Rule")
	}
	w.close("ObjectLockConfiguration")
	return r.answerXML(w)
}

// putObjectLockConfiguration answers PutObjectLockConfiguration. A bucket with versioning can be given a lock at any time, and not
// without it again.
func (r *request) putObjectLockConfiguration() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	c, err := parseLockConfig(doc)
	if err != nil {
		return err
	}
	return r.srv.store.UpdateBucket(r.srv.ctx, r.bucket, func(b engine.BucketInfo) ([]engine.Attr, error) {
		if b.Attr(engine.AttrVersioning) != engine.VersioningEnabled {
			return nil, errLockVersioning
		}
		return engine.WithAttr(b.Attrs, engine.AttrObjectLock, c.Attr()), nil
	})
}

func parseLockConfig(doc string) (c engine.LockConfig, err error) {
	enabled := false
	x := newXMLReader(doc)
	x.root("ObjectLockConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "ObjectLockEnabled":
			if enabled = x.text() == "Enabled"; !enabled {
				return c, errMalformedXML
			}
		case "Rule":
			if c.Mode != "" {
				return c, errMalformedXML
			}
			for name := x.child(); name != ""; name = x.child() {
				if name != "DefaultRetention" || c.Mode != "" {
					return c, errMalformedXML
				}
				if c, err = parseDefaultRetention(x); err != nil {
					return c, err
				}
			}
			if c.Mode == "" {
				return c, errMalformedXML
			}
		default:
			return c, errMalformedXML
		}
	}
	if err := x.end(); err != nil {
		return c, err
	}
	if !enabled {
		return c, errMalformedXML
	}
	return c, nil
}

func parseDefaultRetention(x *xmlReader) (c engine.LockConfig, err error) {
	number := func(most int) (int, error) {
		n, err := strconv.Atoi(x.text())
		if err != nil {
			return 0, errMalformedXML
		}
		if n < 1 || n > most {
			return 0, errRetentionPeriod
		}
		return n, nil
	}
	periods := 0
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Mode":
			if c.Mode = x.text(); c.Mode != engine.LockGovernance && c.Mode != engine.LockCompliance {
				return c, errMalformedXML
			}
		case "Days":
			c.Days, err = number(maxLockDays)
			periods++
		case "Years":
			c.Years, err = number(maxLockYears)
			periods++
		default:
			err = errMalformedXML
		}
		if err != nil {
			return c, err
		}
	}
	if c.Mode == "" || periods != 1 {
		return c, errMalformedXML
	}
	return c, nil
}

// lockedObject returns the version that a request about its lock is about, and its lock. Its bucket must have one.
func (r *request) lockedObject() (l engine.Lock, err error) {
	bucket, err := r.srv.store.Bucket(r.srv.ctx, r.bucket)
	if err != nil {
		return l, err
	}
	if _, ok, err := engine.LockConfigOf(bucket.Attrs); err != nil {
		return l, errInternal.because(err)
	} else if !ok {
		return l, errNoLock
	}
	version, err := r.version()
	if err != nil {
		return l, err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return l, err
	}
	if l, err = engine.LockOf(info.Attrs); err != nil {
		return l, errInternal.because(err)
	}
	r.setVersion(&info)
	return l, nil
}

// changeLock gives the request's version another lock.
func (r *request) changeLock(change func(engine.Lock) engine.Lock) error {
	version, err := r.version()
	if err != nil {
		return err
	}
	_, err = r.srv.store.SetLock(r.srv.ctx, r.bucket, r.key, version, r.bypasses(r.key, version), func(l engine.Lock) (engine.Lock, error) {
		return change(l), nil
	})
	return err
}

// getObjectRetention answers GetObjectRetention.
func (r *request) getObjectRetention() error {
	l, err := r.lockedObject()
	if err != nil {
		return err
	}
	if l.Mode == "" {
		return errNoObjectLock
	}
	w := newXML("Retention", 96)
	w.text("Mode", l.Mode)
	w.text("RetainUntilDate", string(appendTime(nil, l.Until)))
	w.close("Retention")
	return r.answerXML(w)
}

// putObjectRetention answers PutObjectRetention. An empty document takes the retention away, where that may be.
func (r *request) putObjectRetention() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	mode, until, err := parseRetention(doc)
	if err != nil {
		return err
	}
	if mode != "" && !until.After(r.srv.opts.Clock()) {
		return errNotInFuture
	}
	return r.changeLock(func(l engine.Lock) engine.Lock {
		l.Mode, l.Until = mode, until
		return l
	})
}

func parseRetention(doc string) (mode string, until time.Time, err error) {
	x := newXMLReader(doc)
	x.root("Retention")
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Mode":
			if mode = x.text(); mode != engine.LockGovernance && mode != engine.LockCompliance {
				return "", until, errMalformedXML
			}
		case "RetainUntilDate":
			if until, err = time.Parse(time.RFC3339, x.text()); err != nil || until.IsZero() {
				return "", until, errMalformedXML
			}
		default:
			return "", until, errMalformedXML
		}
	}
	if err := x.end(); err != nil {
		return "", until, err
	}
	if (mode == "") != until.IsZero() {
		return "", until, errMalformedXML
	}
	return mode, until, nil
}

// getObjectLegalHold answers GetObjectLegalHold.
func (r *request) getObjectLegalHold() error {
	l, err := r.lockedObject()
	if err != nil {
		return err
	}
	if l.Hold == "" {
		return errNoObjectLock
	}
	w := newXML("LegalHold", 32)
	w.text("Status", l.Hold)
	w.close("LegalHold")
	return r.answerXML(w)
}

// putObjectLegalHold answers PutObjectLegalHold.
func (r *request) putObjectLegalHold() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	status := ""
	x := newXMLReader(doc)
	x.root("LegalHold")
	for name := x.child(); name != ""; name = x.child() {
		if name != "Status" {
			return errMalformedXML
		}
		status = x.text()
	}
	if err := x.end(); err != nil {
		return err
	}
	if status != engine.LegalHoldOn && status != engine.LegalHoldOff {
		return errMalformedXML
	}
	return r.changeLock(func(l engine.Lock) engine.Lock {
		l.Hold = status
		return l
	})
}
