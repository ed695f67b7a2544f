package fastapi

import (
	"maps"
	"slices"
	"strings"

	"penstock/engine"
	"penstock/fastapi/policy"
)

// putBucketPolicy answers PutBucketPolicy.
func (r *request) putBucketPolicy() error {
	document, err := r.readConfig()
	if err != nil {
		return err
	}
	p, err := policy.Parse([]byte(document), policy.ForBucket, r.bucket)
	if err != nil {
		return errMalformedPolicy.message(err.Error())
	}
	principals, err := r.principalsOf(p)
	if err != nil {
		return err
	}
	if err := r.checkSelf(p); err != nil {
		return err
	}
	err = r.setBucketAttrs([]engine.Attr{{Name: attrPolicy, Value: document}, {Name: attrPrincipals, Value: principals}}, func(b *engine.BucketInfo) error {
		block, err := parsePublicBlock(b.Attr(attrPublicBlock))
		if err == nil && block.policy && p.Public() {
			err = errAccessDenied.message("Public policies are blocked by the BlockPublicPolicy block public access setting.")
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// principalsOf returns the attribute that says whom a policy means by the ARNs that it names, and binds the policy to them: whoever gets such a
// name later is somebody else. It refuses a policy that names somebody who is not there.
func (r *request) principalsOf(p *policy.Policy) (attr string, err error) {
	arns, canonical := p.Identities()
	ids, unknown := r.srv.opts.Identities.Meant(arns)
	if unknown != "" {
		return "", errMalformedPolicy.message("Invalid principal in policy").with("Detail", unknown)
	}
	for _, id := range canonical {
		if _, ok := r.srv.opts.Identities.CanonicalName(id); !ok {
			return "", errMalformedPolicy.message("Invalid principal in policy").with("Detail", id)
		}
	}
	p.Bind(ids)
	var all []string
	for _, arn := range slices.Sorted(maps.Keys(ids)) {
		all = append(all, arn+"="+ids[arn])
	}
	return strings.Join(all, " "), nil
}

// parsePrincipals reads the attribute.
func parsePrincipals(attr string) map[string]string {
	ids := map[string]string{}
	for one := range strings.FieldsSeq(attr) {
		i := strings.LastIndexByte(one, '=') // Names may hold one, ids do not.
		if i > 0 {
			ids[one[:i]] = one[i+1:]
		}
	}
	return ids
}

// checkSelf refuses a policy that would keep its writer from changing it again, unless that is confirmed. Root always can.
func (r *request) checkSelf(p *policy.Policy) error {
	if strings.EqualFold(r.head.get("x-amz-confirm-remove-self-bucket-access"), "true") || r.identity.Root() {
		return nil
	}
	n := &need{action: actPutPolicy, resource: r.bucket, bucket: r.bucket, version: engine.CurrentVersion}
	r.about = n
	r.asked.Action, r.asked.Resource, r.asked.Principal, r.asked.Values = n.action, n.resource, r.identity.Principal, r
	effect, err := p.Evaluate(&r.asked)
	r.about = nil
	if err != nil {
		return toAPI(err)
	}
	if effect == policy.Denies {
		return errAccessDenied.message("The policy would keep you from changing it. Confirm that with x-amz-confirm-remove-self-bucket-access.")
	}
	return nil
}

// getBucketPolicy answers GetBucketPolicy: with the document as it was sent.
func (r *request) getBucketPolicy() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	document := b.info.Attr(attrPolicy)
	if document == "" {
		return errNoSuchBucketPolicy.with("BucketName", r.bucket)
	}
	return r.answerJSON(200, []byte(document))
}

// deleteBucketPolicy answers DeleteBucketPolicy.
func (r *request) deleteBucketPolicy() error {
	if err := r.setBucketAttrs([]engine.Attr{{Name: attrPolicy}, {Name: attrPrincipals}}, nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}

// getBucketPolicyStatus answers GetBucketPolicyStatus.
func (r *request) getBucketPolicyStatus() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if b.policy == nil {
		return errNoSuchBucketPolicy.with("BucketName", r.bucket)
	}
	w := newXML("PolicyStatus", 64)
	w.bool("IsPublic", b.public)
	w.close("PolicyStatus")
	return r.answerXML(w)
}

// publicBlock says what of public access a bucket does not have, whatever its policy and access control lists say.
type publicBlock struct {
	acls     bool // BlockPublicAcls: no list that is public can be set.
	ignore   bool // IgnorePublicAcls: what lists give the public counts for nothing.
	policy   bool // BlockPublicPolicy: no policy that is public can be set.
	restrict bool // RestrictPublicBuckets: a policy that is public gives strangers nothing.
}

// parsePublicBlock reads the attribute. Every bucket blocks all of it unless somebody has said otherwise.
func parsePublicBlock(attr string) (publicBlock, error) {
	switch {
	case attr == "":
		return publicBlock{true, true, true, true}, nil
	case attr == removed:
		return publicBlock{}, nil
	case len(attr) != 4 || strings.Trim(attr, "01") != "":
		return publicBlock{}, errInternal
	}
	return publicBlock{attr[0] == '1', attr[1] == '1', attr[2] == '1', attr[3] == '1'}, nil
}

func (b *publicBlock) attr() string {
	digits := []byte("0000")
	for i, on := range b.flags() {
		if *on {
			digits[i] = '1'
		}
	}
	return string(digits)
}

// blockNames are the elements of the document, in the order of the fields.
var blockNames = [...]string{"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"}

func (b *publicBlock) flags() [4]*bool { return [...]*bool{&b.acls, &b.ignore, &b.policy, &b.restrict} }

// putPublicAccessBlock answers PutPublicAccessBlock.
func (r *request) putPublicAccessBlock() error {
	doc, err := r.readConfig()
	if err != nil {
		return err
	}
	var block publicBlock
	x := newXMLReader(doc)
	x.root("PublicAccessBlockConfiguration")
	for name := x.child(); name != ""; name = x.child() {
		known := false
		text := strings.ToLower(strings.TrimSpace(x.text()))
		for i, flag := range block.flags() {
			if blockNames[i] == name {
				known, *flag = true, text == "true"
			}
		}
		if !known || text != "true" && text != "false" {
			return errMalformedXML
		}
	}
	if err := x.end(); err != nil {
		return err
	}
	if err := r.setBucketAttr(attrPublicBlock, block.attr(), nil); err != nil {
		return err
	}
	return r.answerEmpty(200)
}

// getPublicAccessBlock answers GetPublicAccessBlock.
func (r *request) getPublicAccessBlock() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if b.info.Attr(attrPublicBlock) == removed {
		return errNoPublicAccessBlock.with("BucketName", r.bucket)
	}
	block := b.block
	w := newXML("PublicAccessBlockConfiguration", 256)
	for i, flag := range block.flags() {
		w.bool(blockNames[i], *flag)
	}
	w.close("PublicAccessBlockConfiguration")
	return r.answerXML(w)
}

// deletePublicAccessBlock answers DeletePublicAccessBlock.
func (r *request) deletePublicAccessBlock() error {
	if err := r.setBucketAttr(attrPublicBlock, removed, nil); err != nil {
		return err
	}
	return r.answerEmpty(204)
}
