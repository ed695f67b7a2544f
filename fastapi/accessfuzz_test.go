package fastapi

import (
	"slices"
	"testing"

	"penstock/fastapi/policy"
)

// FuzzACL reads access control lists as documents, as grants in headers, and as they are kept. What is read is kept and read again as itself, and gives
// nobody anything that no grant of it names.
func FuzzACL(f *testing.F) {
	h := newHarness(f)
	for _, seed := range []string{
		`<AccessControlPolicy><Owner><ID>` + ownerID + `</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`,
		`id="` + ownerID + `", uri="http://acs.amazonaws.com/groups/global/AllUsers"`, "FULL_CONTROL=" + ownerID + " READ=AllUsers", "none", "",
	} {
		f.Add(seed)
	}
	stranger := policy.Principal{Kind: policy.User, ARN: policy.UserARN("x"), CanonicalID: "0000"}
	f.Fuzz(func(t *testing.T, text string) {
		r := &request{srv: h.srv}
		var lists []acl
		if list, err := r.parseACLDocument(text); err == nil {
			lists = append(lists, list)
		}
		if list, err := r.addGrants(nil, permRead, text); err == nil {
			lists = append(lists, list)
		}
		if list, err := parseACL(text); err == nil {
			for _, g := range list {
				if !isPermission(g.permission) || g.grantee == "" {
					t.Errorf("parseACL(%q) has %+v", text, g)
				}
			}
		}
		for _, list := range lists {
			for _, g := range list {
				if !isPermission(g.permission) || g.grantee != ownerID && g.grantee != groupAll && g.grantee != groupAuthenticated && g.grantee != groupLogs {
					t.Errorf("%q gives %+v", text, g)
				}
			}
			again, err := parseACL(list.attr())
			if err != nil || !slices.Equal(again, list) {
				t.Errorf("%q is %v, kept as %q it is %v, %v", text, list, list.attr(), again, err)
			}
			if list.gives(&stranger, permRead, true) {
				t.Errorf("%q gives a stranger leave to read: %v", text, list)
			}
		}
	})
}

// FuzzPrincipals reads the attribute that says whom a policy means.
func FuzzPrincipals(f *testing.F) {
	f.Add("arn:aws:iam::000000000000:user/a=b=AIDAX arn:aws:iam::000000000000:role/r=AROAX")
	f.Add("= =x x= x")
	f.Fuzz(func(t *testing.T, attr string) {
		for arn, id := range parsePrincipals(attr) {
			if arn == "" || slices.Contains([]byte(id), '=') {
				t.Errorf("%q has %q = %q", attr, arn, id)
			}
		}
	})
}
