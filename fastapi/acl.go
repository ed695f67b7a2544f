package fastapi

import (
	"strings"

	"penstock/fastapi/policy"
)

// acl is an access control list. Where a bucket's ownership lets them count, they allow what policies have not; they deny nothing.
//
// As an attribute it is a list of grants with a space between, each a permission, an equals sign and a grantee:
//
//	FULL_CONTROL=5f0c… READ=AllUsers
//
// Without the attribute its owner may do everything and nobody else anything.
type acl []grant

type grant struct {
	permission string
	grantee    string // A canonical user id, or the name of a group.
}

// Permissions, as documented.
const (
	permFull     = "FULL_CONTROL"
	permRead     = "READ"
	permWrite    = "WRITE"
	permReadACP  = "READ_ACP"
	permWriteACP = "WRITE_ACP"
)

// Groups that a grant can name, and the URIs that documents name them by.
const (
	groupAll           = "AllUsers"
	groupAuthenticated = "AuthenticatedUsers"
	groupLogs          = "LogDelivery"
)

var groupURIs = map[string]string{
	groupAll:           "http://acs.amazonaws.com/groups/global/AllUsers",
	groupAuthenticated: "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
	groupLogs:          "http://acs.amazonaws.com/groups/s3/LogDelivery",
}

// maxGrants is Amazon's bound on a list.
const maxGrants = 100

// ownersACL is what everything has that nobody gave another.
var ownersACL = acl{{permFull, ownerID}}

func isPermission(s string) bool {
	return s == permFull || s == permRead || s == permWrite || s == permReadACP || s == permWriteACP
}

// parseACL reads the attribute. What cannot be read is an error, so that it lets nobody in.
func parseACL(attr string) (acl, error) {
	if attr == "" {
		return ownersACL, nil
	}
	var list acl
	for one := range strings.SplitSeq(attr, " ") {
		permission, grantee, ok := strings.Cut(one, "=")
		if one == removed {
			continue // An empty list.
		}
		if !ok || !isPermission(permission) || grantee == "" {
			return nil, errInternal
		}
		list = append(list, grant{permission, grantee})
	}
	return list, nil
}

func (a acl) attr() string {
	if len(a) == 0 {
		return removed
	}
	var all []string
	for _, g := range a {
		all = append(all, g.permission+"="+g.grantee)
	}
	return strings.Join(all, " ")
}

// public reports whether a list gives anything to people nobody knows.
func (a acl) public() bool {
	for _, g := range a {
		if g.grantee == groupAll || g.grantee == groupAuthenticated {
			return true
		}
	}
	return false
}

// ownersAlone reports whether a list gives nobody but the owner anything.
func (a acl) ownersAlone() bool {
	for _, g := range a {
		if g.grantee != ownerID {
			return false
		}
	}
	return true
}

// gives reports whether a list gives a permission to a principal. ignorePublic says that what it gives the public does not count.
func (a acl) gives(who *policy.Principal, permission string, ignorePublic bool) bool {
	for _, g := range a {
		if g.permission != permission && g.permission != permFull {
			continue
		}
		switch g.grantee {
		case groupAll:
			if !ignorePublic {
				return true
			}
		case groupAuthenticated:
			if !ignorePublic && who.Kind != policy.Anonymous {
				return true
			}
		default:
			if g.grantee == who.CanonicalID {
				return true
			}
		}
	}
	return false
}

// cannedACL returns a canned list. Everything has one owner, so what Amazon gives the owner of a bucket the owner of an object has.
func cannedACL(name string, bucket bool) (acl, bool) {
	list := acl{{permFull, ownerID}}
	switch name {
	case "private":
	case "public-read":
		list = append(list, grant{permRead, groupAll})
	case "public-read-write":
		list = append(list, grant{permRead, groupAll}, grant{permWrite, groupAll})
	case "authenticated-read":
		list = append(list, grant{permRead, groupAuthenticated})
	case "aws-exec-read":
	case "bucket-owner-read", "bucket-owner-full-control":
	case "log-delivery-write":
		if !bucket {
			return nil, false
		}
		list = append(list, grant{permWrite, groupLogs}, grant{permReadACP, groupLogs})
	default:
		return nil, false
	}
	return list, true
}

// listActions are what the permissions of a list allow: of a bucket's, and of an object's.
var listActions = func() map[policy.Action]struct {
	permission string
	ofObject   bool
} {
	m := make(map[policy.Action]struct {
		permission string
		ofObject   bool
	})
	for _, row := range []struct {
		permission string
		ofObject   bool
		actions    string
	}{
		{permRead, false, "s3:ListBucket s3:ListBucketVersions s3:ListBucketMultipartUploads"},
		{permWrite, false, "s3:PutObject s3:DeleteObject s3:DeleteObjectVersion s3:AbortMultipartUpload s3:ListMultipartUploadParts"},
		{permReadACP, false, "s3:GetBucketAcl"},
		{permWriteACP, false, "s3:PutBucketAcl"},
		{permRead, true, "s3:GetObject s3:GetObjectVersion s3:GetObjectAttributes s3:GetObjectVersionAttributes"},
		{permReadACP, true, "s3:GetObjectAcl s3:GetObjectVersionAcl"},
		{permWriteACP, true, "s3:PutObjectAcl s3:PutObjectVersionAcl"},
	} {
		for name := range strings.FieldsSeq(row.actions) {
			entry := m[policy.MustAction(name)]
			entry.permission, entry.ofObject = row.permission, row.ofObject
			m[policy.MustAction(name)] = entry
		}
	}
	return m
}()

// grantedTo reports whether an access control list allows somebody what a need is about.
func (s *Server) grantedTo(who *policy.Principal, n *need, b *bucketState) (bool, error) {
	row, ok := listActions[n.action]
	if !ok || !b.lists {
		return false, nil
	}
	if !row.ofObject {
		return b.acl.gives(who, row.permission, b.block.ignore), nil
	}
	_, key, _ := strings.Cut(n.resource, "/")
	info, err := s.store.Head(s.ctx, n.bucket, key, n.version)
	if absent(err) {
		// Whoever may list the bucket may know that there is no such object.
		return b.acl.gives(who, permRead, b.block.ignore), nil
	}
	if err != nil {
		return false, err
	}
	list, err := parseACL(info.Attr(attrACL))
	if err != nil {
		return false, err
	}
	return list.gives(who, row.permission, b.block.ignore), nil
}
