package fastapi

import (
	"strings"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// What a request needs leave for follows from its row in the table of operations, which names the action, and from the rules here,
// which say what else: another action when a version is named, the source of a copy, and each header that does what has a
// permission of its own. A row needs no rule when the one action is all.

// rule adds to a row of the table.
type rule struct {
	versioned policy.Action // In place of the row's action, when a version is named.
	also      func(*request, *needs) error
	unbound   bool // The bucket need not be there.
	later     bool // The handler asks for leave, for each thing that it finds in the body.
	tags      bool // The body holds tags, which policies may ask for.
}

// need is one thing that must be allowed. All needs of a request must be.
type need struct {
	action   policy.Action
	resource string
	bucket   string
	version  engine.VersionID // CurrentVersion unless one is named.
}

// named reports whether a version is named, be it "null".
func (n *need) named() bool { return n.version != engine.CurrentVersion }

// maxNeeds is how many a request can have: those of CopyObject, all headers given.
const maxNeeds = 10

type needs struct {
	list [maxNeeds]need
	n    int
}

func (n *needs) add(d need) {
	n.list[n.n] = d
	n.n++
}

// object adds an action on the request's own object.
func (n *needs) object(r *request, a policy.Action) {
	n.add(need{action: a, resource: r.arnPath(), bucket: r.bucket, version: engine.CurrentVersion})
}

var (
	actBypassGovernance  = policy.MustAction("s3:BypassGovernanceRetention")
	actDeleteObject      = policy.MustAction("s3:DeleteObject")
	actDeleteVersion     = policy.MustAction("s3:DeleteObjectVersion")
	actDeletePolicy      = policy.MustAction("s3:DeleteBucketPolicy")
	actGetObject         = policy.MustAction("s3:GetObject")
	actGetPolicy         = policy.MustAction("s3:GetBucketPolicy")
	actGetTagging        = policy.MustAction("s3:GetObjectTagging")
	actGetVersion        = policy.MustAction("s3:GetObjectVersion")
	actGetVersionTagging = policy.MustAction("s3:GetObjectVersionTagging")
	actListBucket        = policy.MustAction("s3:ListBucket")
	actPutBucketACL      = policy.MustAction("s3:PutBucketAcl")
	actPutBucketLock     = policy.MustAction("s3:PutBucketObjectLockConfiguration")
	actPutLegalHold      = policy.MustAction("s3:PutObjectLegalHold")
	actPutObject         = policy.MustAction("s3:PutObject")
	actPutObjectACL      = policy.MustAction("s3:PutObjectAcl")
	actPutOwnership      = policy.MustAction("s3:PutBucketOwnershipControls")
	actPutPolicy         = policy.MustAction("s3:PutBucketPolicy")
	actPutRetention      = policy.MustAction("s3:PutObjectRetention")
	actPutTagging        = policy.MustAction("s3:PutObjectTagging")
	actPutVersioning     = policy.MustAction("s3:PutBucketVersioning")
)

// rules are by the name of the operation. A test fails on a name that no row has.
var rules = map[string]rule{
	"CreateBucket": {unbound: true, also: (*request).bucketHeaderNeeds},

	"GetObject":           {versioned: actGetVersion},
	"HeadObject":          {versioned: actGetVersion},
	"GetObjectAcl":        {versioned: policy.MustAction("s3:GetObjectVersionAcl")},
	"GetObjectAttributes": {versioned: policy.MustAction("s3:GetObjectVersionAttributes"), also: (*request).readNeeds},
	"GetObjectTagging":    {versioned: actGetVersionTagging},
	"PutObjectAcl":        {versioned: policy.MustAction("s3:PutObjectVersionAcl")},
	"PutObjectTagging":    {versioned: policy.MustAction("s3:PutObjectVersionTagging"), tags: true},
	"DeleteObjectTagging": {versioned: policy.MustAction("s3:DeleteObjectVersionTagging")},
	"DeleteObject":        {versioned: actDeleteVersion, also: (*request).ifMatchNeeds},
	"DeleteObjects":       {later: true},
	"SelectObjectContent": {versioned: actGetVersion},
	"GetObjectTorrent":    {versioned: policy.MustAction("s3:GetObjectVersionTorrent")},

	"PutObject":               {also: (*request).writeNeeds},
	"PostObject":              {later: true},
	"CreateMultipartUpload":   {also: (*request).writeNeeds},
	"CompleteMultipartUpload": {also: (*request).ifMatchNeeds},
	"CopyObject":              {also: (*request).copyNeeds},
	"UploadPartCopy":          {also: (*request).sourceNeeds},
}

// needsOf collects what a request needs leave for.
func (r *request) needsOf(n *needs) error {
	rule := r.op.rule
	d := need{action: r.op.act, resource: r.arnPath(), bucket: r.bucket, version: engine.CurrentVersion}
	if rule.unbound {
		d.bucket = ""
	}
	if r.level == levelObject {
		var err error
		if d.version, err = r.version(); err != nil {
			return err
		}
		if d.named() && rule.versioned != policy.None {
			d.action = rule.versioned
		}
	}
	n.add(d)
	if rule.also != nil {
		return rule.also(r, n)
	}
	return nil
}

// arnPath is the resource as policies name it, without the part that all ARNs of S3 begin with.
func (r *request) arnPath() string {
	switch r.level {
	case levelBucket:
		return r.bucket
	case levelObject:
		if r.pathName == "" {
			r.pathName = r.bucket + "/" + r.key
		}
		return r.pathName
	}
	return ""
}

// readNeeds: what describes an object in full asks for what reads it too.
func (r *request) readNeeds(n *needs) error {
	d := n.list[0] // Of the same version.
	if d.action = actGetObject; d.named() {
		d.action = actGetVersion
	}
	n.add(d)
	return nil
}

// ifMatchNeeds: whoever asks whether an object has an ETag learns something of it.
func (r *request) ifMatchNeeds(n *needs) error {
	if value, ok := r.head.lookup("if-match"); ok && value != "*" {
		n.object(r, actGetObject)
	}
	return nil
}

// writeNeeds: tags, access lists and locks that come with an object have permissions of their own.
func (r *request) writeNeeds(n *needs) error {
	if r.head.get("x-amz-tagging") != "" {
		n.object(r, actPutTagging)
	}
	if r.hasACLHeader() {
		n.object(r, actPutObjectACL)
	}
	if r.head.get("x-amz-object-lock-mode") != "" || r.head.get("x-amz-object-lock-retain-until-date") != "" {
		n.object(r, actPutRetention)
	}
	if r.head.get("x-amz-object-lock-legal-hold") != "" {
		n.object(r, actPutLegalHold)
	}
	return r.ifMatchNeeds(n)
}

// hasACLHeader reports whether the request sets an access control list.
func (r *request) hasACLHeader() bool {
	for i := range r.head.fields {
		if name := r.head.fields[i].name; name == "x-amz-acl" || strings.HasPrefix(name, "x-amz-grant-") {
			return true
		}
	}
	return false
}

// sourceNeeds: whoever copies reads.
func (r *request) sourceNeeds(n *needs) error {
	src, err := readCopySource(r.head.get("x-amz-copy-source"))
	if err != nil {
		return err
	}
	n.add(src.need(actGetObject, actGetVersion))
	return nil
}

func (src *copySource) need(plain, versioned policy.Action) need {
	d := need{action: plain, resource: src.bucket + "/" + src.key, bucket: src.bucket, version: src.version}
	if d.named() {
		d.action = versioned
	}
	return d
}

// copyNeeds: whoever copies reads and writes. That the source's tags go along has needs of its own; see mayTakeTags.
func (r *request) copyNeeds(n *needs) error {
	if err := r.writeNeeds(n); err != nil {
		return err
	}
	return r.sourceNeeds(n)
}

// bucketHeaderNeeds: what comes with a new bucket has permissions of its own.
func (r *request) bucketHeaderNeeds(n *needs) error {
	add := func(a policy.Action) { n.add(need{action: a, resource: r.bucket, version: engine.CurrentVersion}) }
	if r.hasACLHeader() {
		add(actPutBucketACL)
	}
	if r.head.get("x-amz-object-ownership") != "" {
		add(actPutOwnership)
	}
	if strings.EqualFold(r.head.get("x-amz-bucket-object-lock-enabled"), "true") {
		add(actPutBucketLock)
		add(actPutVersioning)
	}
	return nil
}
