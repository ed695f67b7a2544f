package fastapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"penstock/engine"
	"penstock/fastapi/admin"
	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
)

// Explain implements admin.Front: it decides a request that nobody has made, as one that somebody had, and says why.
func (s *Server) Explain(q admin.Question) (admin.Explanation, error) {
	act, ok := policy.ActionOf(q.Action)
	if !ok {
		return admin.Explanation{}, &admin.Error{Status: 400, Code: "InvalidRequest", Message: fmt.Sprintf("there is no action %q", q.Action)}
	}
	if strings.HasPrefix(act.String(), "sts:") {
		return admin.Explanation{}, &admin.Error{Status: 400, Code: "InvalidRequest", Message: "who may assume a role is for the trust of the role to say, which is not explained"}
	}
	who, ok := s.whoIs(q.As)
	if !ok {
		return admin.Explanation{}, &admin.Error{Status: 404, Code: "NoSuchEntity", Message: fmt.Sprintf("there is nobody of the name %q", q.As)}
	}
	e := explainer{srv: s, who: who, question: q}
	bucket, _, _ := strings.Cut(q.Resource, "/")
	if act.Level() != policy.OnService && act != policy.MustAction("s3:CreateBucket") {
		var err error
		if e.bucket, err = s.bucketState(bucket); err != nil {
			return admin.Explanation{}, err
		}
	}
	return e.explain(act)
}

// whoIs finds somebody by the name that a question has.
func (s *Server) whoIs(name string) (*iam.Identity, bool) {
	if name == "anonymous" {
		return anonymous, true
	}
	return s.opts.Identities.Named(name)
}

// explainer decides one question.
type explainer struct {
	srv      *Server
	who      *iam.Identity
	question admin.Question
	bucket   *bucketState // nil for what is not about one.
}

func (e *explainer) explain(act policy.Action) (admin.Explanation, error) {
	set := e.who.Set
	if e.bucket != nil {
		set.Bucket, set.Restricted = e.bucket.policy, e.bucket.public && e.bucket.block.restrict
		if e.who.Root() && (act == actGetPolicy || act == actPutPolicy || act == actDeletePolicy) {
			set.Bucket = nil
		}
	}
	r := &policy.Request{Action: act, Resource: e.question.Resource, Principal: e.who.Principal, Values: e}
	d := set.Decide(r)
	if e.bucket != nil && !d.Allowed && !d.Explicit && d.Err == nil && d.Layer == policy.NoLayer {
		granted, err := e.srv.grantedTo(&e.who.Principal, &need{action: act, resource: r.Resource, bucket: e.bucket.info.Name, version: engine.CurrentVersion}, e.bucket)
		if err != nil {
			return admin.Explanation{}, err
		}
		if set.Granted = granted; granted {
			d = set.Decide(r)
		}
	}
	if d.Err != nil {
		return admin.Explanation{}, d.Err
	}
	return e.describe(d), nil
}

// describe puts a decision into words.
func (e *explainer) describe(d policy.Decision) admin.Explanation {
	out := admin.Explanation{Allowed: d.Allowed, Layer: d.Layer.String(), Policy: d.Policy, Sid: d.Sid}
	switch {
	case d.Allowed && d.Layer == policy.RootLayer:
		out.Reason = "root may do whatever nothing denies"
	case d.Allowed && d.Layer == policy.GrantLayer:
		out.Reason = "an access control list allows it"
	case d.Allowed:
		out.Reason = "a statement allows it, and nothing denies it"
	case d.Explicit:
		out.Reason = "a statement denies it, and that wins over whatever allows it"
	case d.Layer == policy.NoLayer && e.bucket != nil && e.bucket.public && e.bucket.block.restrict && e.who == anonymous:
		out.Reason = "no statement allows it; the bucket's policy is public, and RestrictPublicBuckets has it allow strangers nothing"
	case d.Layer == policy.NoLayer:
		out.Reason = "no statement allows it"
	default:
		out.Reason = "the " + d.Layer.String() + " does not allow it, whatever else does"
	}
	if d.Statement >= 0 {
		at := d.Statement
		out.Index = &at
		out.Statement = statementOf(e.document(d), at)
	}
	return out
}

// document is the text of the policy that a decision was made by.
func (e *explainer) document(d policy.Decision) string {
	switch d.Layer {
	case policy.BucketLayer:
		return e.bucket.info.Attr(attrPolicy)
	case policy.SessionLayer:
		for i := range e.who.Set.Session {
			if e.who.Set.Session[i].Name == d.Policy {
				return e.who.Narrowing()[i]
			}
		}
	}
	p, err := e.srv.opts.Identities.Policy(d.Policy)
	if err != nil {
		return ""
	}
	return p.Document
}

// statementOf returns a statement of a document; one that has changed meanwhile has none.
func statementOf(document string, at int) json.RawMessage {
	var doc struct{ Statement json.RawMessage }
	if json.Unmarshal([]byte(document), &doc) != nil {
		return nil
	}
	var all []json.RawMessage
	if json.Unmarshal(doc.Statement, &all) != nil {
		all = []json.RawMessage{doc.Statement}
	}
	if at >= len(all) {
		return nil
	}
	return all[at]
}

// Lookup implements policy.Values: what the question gives, or else what every request has.
func (e *explainer) Lookup(key policy.Key, dst []policy.Value) ([]policy.Value, error) {
	for name, values := range e.question.Conditions {
		if strings.EqualFold(name, key.String()) {
			for _, v := range values {
				dst = append(dst, policy.Text(v))
			}
			return dst, nil
		}
	}
	switch key.ID {
	case policy.KeyCurrentTime, policy.KeyEpochTime:
		return append(dst, policy.Time(e.srv.opts.Clock())), nil
	case policy.KeySecureTransport:
		return append(dst, policy.Bool(e.srv.opts.TLSConfig != nil)), nil
	case policy.KeyRequestedRegion:
		return append(dst, policy.Text(e.srv.region())), nil
	case policy.KeyResourceAccount, policy.KeyS3ResourceAccount:
		return append(dst, policy.Text(policy.Account)), nil
	case policy.KeyViaAWSService, policy.KeyPrincipalIsAWSService:
		return append(dst, policy.Bool(false)), nil
	case policy.KeyExistingObjectTag:
		bucket, object, _ := strings.Cut(e.question.Resource, "/")
		tags, err := e.srv.objectTags(bucket, object, &need{version: engine.CurrentVersion})
		for i := range tags {
			if tags[i].name == key.Name {
				dst = append(dst, policy.Text(tags[i].value))
			}
		}
		return dst, err
	}
	return whoValue(e.who, key, dst), nil
}
