package fastapi

import (
	"errors"

	"penstock/engine"
	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
)

// authorise decides, once and before anything else is looked at, whether the request may be carried out. What is refused is refused
// in the same words whether or not there is such an object. Operations whose body says what they do ask again for each thing in it.
func (r *request) authorise() error {
	if r.level == levelAdmin {
		return r.authoriseAdmin()
	}
	if r.op.rule.later {
		return r.authoriseLater()
	}
	var n needs
	if err := r.needsOf(&n); err != nil {
		return err
	}
	for i := range n.list[:n.n] {
		if err := r.allow(&n.list[i]); err != nil {
			return err
		}
	}
	return nil
}

// allow decides about one need, and returns an error unless it is allowed.
func (r *request) allow(n *need) error {
	d, err := r.decide(n)
	switch {
	case err != nil:
		return err
	case d.Err == errTagsLater:
		r.deferred = true
		return nil
	case d.Err != nil:
		return toAPI(d.Err)
	case !d.Allowed:
		return errAccessDenied
	}
	return nil
}

// decide asks the policies.
func (r *request) decide(n *need) (policy.Decision, error) {
	set := r.identity.Set
	var b *bucketState
	if n.bucket != "" {
		var err error
		if b, err = r.stateOf(n.bucket); err != nil {
			return policy.Decision{}, err
		}
		set.Bucket, set.Restricted = b.policy, b.public && b.block.restrict
		if r.identity.Root() && (n.action == actGetPolicy || n.action == actPutPolicy || n.action == actDeletePolicy) {
			set.Bucket = nil // So that nobody locks everybody out for good.
		}
	}
	r.about = n
	r.asked.Action, r.asked.Resource, r.asked.Principal, r.asked.Values = n.action, n.resource, r.identity.Principal, r
	d := set.Decide(&r.asked)
	if b != nil && !d.Allowed && !d.Explicit && d.Err == nil && d.Layer == policy.NoLayer {
		var err error
		if set.Granted, err = r.srv.grantedTo(&r.identity.Principal, n, b); err != nil {
			return policy.Decision{}, err
		}
		if set.Granted {
			d = set.Decide(&r.asked)
		}
	}
	r.about = nil
	return d, nil
}

// stateOf returns the state of a bucket, the same one for all of a request: it is judged by the policies that were there when it began.
func (r *request) stateOf(bucket string) (*bucketState, error) {
	for _, b := range r.states {
		if b != nil && b.info.Name == bucket {
			return b, nil
		}
	}
	b, err := r.srv.bucketState(bucket)
	if err != nil {
		return nil, err
	}
	if r.states[0] == nil {
		r.states[0] = b
	} else {
		r.states[1] = b
	}
	return b, nil
}

// authoriseLater lets an operation begin whose body says what it does. Nobody's need not even be read where nothing can allow it.
func (r *request) authoriseLater() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if r.identity == anonymous && r.op.name != "PostObject" && b.policy == nil && !b.lists {
		return errAccessDenied
	}
	return nil
}

// authoriseAdmin decides about a call of the administration API.
func (r *request) authoriseAdmin() error {
	if r.identity.Principal.Kind == policy.Anonymous {
		return errAccessDenied
	}
	return r.allow(&need{action: r.op.act, version: engine.CurrentVersion})
}

// authoriseTags is authorise for an operation whose policies ask for the tags in its body: it reads them, and decides then. It runs after a
// client that waits for leave to send its body was given it.
func (r *request) authoriseTags() error {
	tags, err := r.readTagging()
	if err != nil {
		return err
	}
	r.tags, r.deferred = tags, false
	if err := r.authorise(); err != nil {
		return err
	}
	if r.deferred {
		return errInternal
	}
	return nil
}

// mayDelete decides about one key of a DeleteObjects request.
func (r *request) mayDelete(key string, version engine.VersionID, ifMatch bool) error {
	d := need{action: actDeleteObject, resource: r.bucket + "/" + key, bucket: r.bucket, version: version}
	if d.named() {
		d.action = actDeleteVersion
	}
	if err := r.allow(&d); err != nil || !ifMatch {
		return err
	}
	return r.allow(&need{action: actGetObject, resource: d.resource, bucket: r.bucket, version: engine.CurrentVersion})
}

// mayBypass decides whether a request that asks to bypass governance mode may.
func (r *request) mayBypass(key string, version engine.VersionID) error {
	return r.allow(&need{action: actBypassGovernance, resource: r.bucket + "/" + key, bucket: r.bucket, version: version})
}

// mask hides that an object or version is not there from whoever may not list the buckets that the request is about, as Amazon does.
func (r *request) mask(err error) error {
	if r.identity == nil || r.level != levelObject && (r.op == nil || !r.op.rule.later) {
		return err
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = toAPI(err)
	}
	if e.code != errNoSuchKey.code && e.code != errNoSuchVersion.code {
		return err
	}
	if r.states[0] == nil {
		return errAccessDenied
	}
	for _, b := range r.states {
		if b == nil {
			continue
		}
		if d, err := r.decide(&need{action: actListBucket, resource: b.info.Name, bucket: b.info.Name, version: engine.CurrentVersion}); err != nil || !d.Allowed {
			return errAccessDenied
		}
	}
	return err
}

// anonymous is who has not signed.
var anonymous = &iam.Identity{Principal: policy.Principal{Kind: policy.Anonymous}, Name: "anonymous", UserID: "anonymous"}
