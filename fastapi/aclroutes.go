package fastapi

import (
	"strings"

	"penstock/engine"
)

// grantHeaders are the headers that give a permission each.
var grantHeaders = [...]struct{ name, permission string }{
	{"x-amz-grant-full-control", permFull},
	{"x-amz-grant-read", permRead},
	{"x-amz-grant-write", permWrite},
	{"x-amz-grant-read-acp", permReadACP},
	{"x-amz-grant-write-acp", permWriteACP},
}

// readACL returns the access control list that the request's headers, or the fields of its form, give. given is false if they give none.
func (r *request) readACL() (list acl, given bool, err error) {
	name, canned := r.field("x-amz-acl")
	if canned {
		var ok bool
		if list, ok = cannedACL(name, r.level == levelBucket && r.form == nil); !ok {
			return nil, false, errInvalidArgument.with("ArgumentName", "x-amz-acl").with("ArgumentValue", name)
		}
	}
	for _, h := range grantHeaders {
		value, ok := r.field(h.name)
		if !ok {
			continue
		}
		if canned {
			return nil, false, errInvalidRequest.message("Specifying both Canned ACLs and Header Grants is not allowed")
		}
		given = true
		if list, err = r.addGrants(list, h.permission, value); err != nil {
			return nil, false, err
		}
	}
	return list, given || canned, nil
}

// addGrants reads the value of a header that grants: id="…", uri="…", emailAddress="…", with commas between.
func (r *request) addGrants(list acl, permission, value string) (acl, error) {
	for one := range strings.SplitSeq(value, ",") {
		kind, text, ok := strings.Cut(trimSpace(one), "=")
		text = strings.Trim(text, `"`)
		if !ok {
			return nil, invalidArgument("Argument format not recognized", "x-amz-grant-"+strings.ToLower(strings.ReplaceAll(permission, "_", "-")), value)
		}
		var grantee string
		var err error
		switch strings.ToLower(kind) {
		case "id":
			grantee, err = r.granteeID(text)
		case "uri":
			grantee, err = granteeURI(text)
		case "emailaddress":
			err = errGrantByEmail
		default:
			err = invalidArgument("Argument format not recognized", "x-amz-grant", value)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, grant{permission, grantee})
	}
	return list, checkGrantCount(list)
}

func checkGrantCount(list acl) error {
	if len(list) > maxGrants {
		return errInvalidRequest.message("An access control list has at most 100 grants.")
	}
	return nil
}

// granteeID checks that a canonical user id is somebody's.
func (r *request) granteeID(id string) (string, error) {
	if _, ok := r.srv.opts.Identities.CanonicalName(id); !ok {
		return "", invalidArgument("Invalid id", "CanonicalUser/ID", id)
	}
	return id, nil
}

func granteeURI(uri string) (string, error) {
	for name, known := range groupURIs {
		if uri == known {
			return name, nil
		}
	}
	return "", invalidArgument("Invalid group uri", "Group/URI", uri)
}

// newACL returns the attribute for the list that a request gives what it creates, "" if that is what everything has. It refuses what the
// bucket does not allow.
func (r *request) newACL(b *engine.BucketInfo) (string, error) {
	list, given, err := r.readACL()
	if err != nil || !given {
		return "", err
	}
	if err := checkACL(list, b); err != nil {
		return "", err
	}
	if len(list) == 1 && list[0] == ownersACL[0] {
		return "", nil
	}
	return list.attr(), nil
}

// checkACL refuses a list that a bucket does not allow, its own or that of an object in it.
func checkACL(list acl, b *engine.BucketInfo) error {
	if !listsCount(b) {
		if len(list) == 1 && list[0] == ownersACL[0] {
			return nil // It changes nothing.
		}
		return errACLNotSupported
	}
	block, err := parsePublicBlock(b.Attr(attrPublicBlock))
	if err == nil && block.acls && list.public() {
		err = errAccessDenied.message("Public access control lists are blocked by the BlockPublicAcls block public access setting.")
	}
	return err
}

// bodyACL returns the list that a PutBucketAcl or PutObjectAcl request gives: in its headers or in its body.
func (r *request) bodyACL() (acl, error) {
	list, given, err := r.readACL()
	if err != nil {
		return nil, err
	}
	want, err := readChecksum(&r.head)
	if err != nil {
		return nil, err
	}
	doc, err := r.readDocument(maxConfigLen, want)
	if err != nil {
		return nil, err
	}
	switch {
	case given && doc != "":
		return nil, errUnexpectedContent
	case given:
		return list, nil
	case doc == "":
		return nil, errMissingSecurityHeader
	}
	return r.parseACLDocument(doc)
}

// parseACLDocument reads an AccessControlPolicy. Who a grantee is follows from the element that names it.
func (r *request) parseACLDocument(doc string) (list acl, err error) {
	x := newXMLReader(doc)
	x.root("AccessControlPolicy")
	owner, lists := "", 0
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Owner":
			owner = readOwner(x)
		case "AccessControlList":
			lists++
			for name := x.child(); name != ""; name = x.child() {
				g, grantErr := r.readGrant(x, name)
				if grantErr != nil {
					return nil, grantErr
				}
				list = append(list, g)
			}
		default:
			return nil, errMalformedACL
		}
	}
	if err := x.end(); err != nil || lists != 1 {
		return nil, errMalformedACL
	}
	if owner != "" && owner != ownerID {
		return nil, errAccessDenied
	}
	return list, checkGrantCount(list)
}

func readOwner(x *xmlReader) (id string) {
	for name := x.child(); name != ""; name = x.child() {
		if name == "ID" {
			id = x.text()
		} else {
			x.skip()
		}
	}
	return id
}

func (r *request) readGrant(x *xmlReader, name string) (g grant, err error) {
	if name != "Grant" {
		return g, errMalformedACL
	}
	for name := x.child(); name != ""; name = x.child() {
		switch name {
		case "Grantee":
			for name := x.child(); name != ""; name = x.child() {
				switch text := x.text(); name {
				case "ID":
					g.grantee, err = r.granteeID(text)
				case "URI":
					g.grantee, err = granteeURI(text)
				case "EmailAddress":
					err = errGrantByEmail
				}
				if err != nil {
					return g, err
				}
			}
		case "Permission":
			g.permission = x.text()
		default:
			return g, errMalformedACL
		}
	}
	if g.grantee == "" || !isPermission(g.permission) {
		return g, errMalformedACL
	}
	return g, nil
}

// putBucketAcl answers PutBucketAcl.
func (r *request) putBucketAcl() error {
	list, err := r.bodyACL()
	if err != nil {
		return err
	}
	if err := r.setBucketAttr(attrACL, list.attr(), func(b *engine.BucketInfo) error { return checkACL(list, b) }); err != nil {
		return err
	}
	return r.answerEmpty(200)
}

// getBucketAcl answers GetBucketAcl.
func (r *request) getBucketAcl() error {
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if !b.lists {
		return r.writeACL(ownersACL)
	}
	return r.writeACL(b.acl)
}

// putObjectAcl answers PutObjectAcl.
func (r *request) putObjectAcl() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	list, err := r.bodyACL()
	if err != nil {
		return err
	}
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	if err := checkACL(list, &b.info); err != nil {
		return err
	}
	info, err := r.srv.store.UpdateObjectAttrs(r.srv.ctx, r.bucket, r.key, version, func(o *engine.ObjectInfo) ([]engine.Attr, error) {
		return withAttr(o.Attrs, attrACL, list.attr()), nil
	})
	if err != nil {
		return err
	}
	r.setVersion(&info)
	return r.answerEmpty(200)
}

// getObjectAcl answers GetObjectAcl.
func (r *request) getObjectAcl() error {
	version, err := r.version()
	if err != nil {
		return err
	}
	info, err := r.srv.store.Head(r.srv.ctx, r.bucket, r.key, version)
	if err != nil {
		return err
	}
	b, err := r.stateOf(r.bucket)
	if err != nil {
		return err
	}
	r.setVersion(&info)
	list := ownersACL
	if b.lists {
		if list, err = parseACL(info.Attr(attrACL)); err != nil {
			return err
		}
	}
	return r.writeACL(list)
}

// writeACL answers with an access control list.
func (r *request) writeACL(list acl) error {
	w := newXML("AccessControlPolicy", 256+256*len(list))
	w.owner("Owner")
	w.open("AccessControlList")
	for _, g := range list {
		w.open("Grant")
		uri, group := groupURIs[g.grantee]
		kind := "CanonicalUser"
		if group {
			kind = "Group"
		}
		w = append(w, `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="`+kind+`">`...)
		if group {
			w.text("URI", uri)
		} else {
			w.text("ID", g.grantee)
			if name, ok := r.srv.opts.Identities.CanonicalName(g.grantee); ok {
				w.text("DisplayName", name)
			}
		}
		w.close("Grantee")
		w.text("Permission", g.permission)
		w.close("Grant")
	}
	w.close("AccessControlList")
	w.close("AccessControlPolicy")
	return r.answerXML(w)
}
