package fastapi

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"penstock/engine"
	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
)

// errTagsLater says that a policy asks for tags that are in a body not yet read.
var errTagsLater = errors.New("the tags are in the body")

// headerKeys are condition keys whose value is that of a header, as sent.
var headerKeys = map[policy.KeyID]string{
	policy.KeyReferer:               "referer",
	policy.KeyUserAgent:             "user-agent",
	policy.KeyIfMatch:               "if-match",
	policy.KeyIfNoneMatch:           "if-none-match",
	policy.KeyACL:                   "x-amz-acl",
	policy.KeyContentSHA256:         "x-amz-content-sha256",
	policy.KeyGrantFullControl:      "x-amz-grant-full-control",
	policy.KeyGrantRead:             "x-amz-grant-read",
	policy.KeyGrantReadACP:          "x-amz-grant-read-acp",
	policy.KeyGrantWrite:            "x-amz-grant-write",
	policy.KeyGrantWriteACP:         "x-amz-grant-write-acp",
	policy.KeyMetadataDirective:     "x-amz-metadata-directive",
	policy.KeyObjectOwnership:       "x-amz-object-ownership",
	policy.KeyObjectLockLegalHold:   "x-amz-object-lock-legal-hold",
	policy.KeyObjectLockMode:        "x-amz-object-lock-mode",
	policy.KeyObjectLockRetainUntil: "x-amz-object-lock-retain-until-date",
	policy.KeySSE:                   "x-amz-server-side-encryption",
	policy.KeySSECustomerAlgorithm:  "x-amz-server-side-encryption-customer-algorithm",
	policy.KeySSEKMSKeyID:           "x-amz-server-side-encryption-aws-kms-key-id",
	policy.KeyStorageClass:          "x-amz-storage-class",
	policy.KeyWebsiteRedirect:       "x-amz-website-redirect-location",
}

// paramKeys are condition keys whose value is that of a query parameter of a listing.
var paramKeys = map[policy.KeyID]string{
	policy.KeyPrefix:    "prefix",
	policy.KeyDelimiter: "delimiter",
	policy.KeyMaxKeys:   "max-keys",
}

// Lookup implements policy.Values: it tells what the request has under a condition key. Each key has one place that it comes from,
// so that nothing a client sends can stand for anything else.
func (r *request) Lookup(key policy.Key, dst []policy.Value) ([]policy.Value, error) {
	if header, ok := headerKeys[key.ID]; ok {
		if value, ok := r.field(header); ok {
			dst = append(dst, policy.Text(value))
		}
		return dst, nil
	}
	if param, ok := paramKeys[key.ID]; ok {
		if value, ok := r.target.get(param); ok && r.level == levelBucket && r.op.method == "GET" {
			dst = append(dst, policy.Text(value))
		}
		return dst, nil
	}
	switch key.ID {
	case policy.KeyCurrentTime, policy.KeyEpochTime:
		return append(dst, policy.Time(r.srv.opts.Clock())), nil
	case policy.KeySecureTransport:
		return append(dst, policy.Bool(r.secure())), nil
	case policy.KeySourceIP:
		if addr := r.sourceAddr(); addr.IsValid() {
			dst = append(dst, policy.Addr(addr))
		}
		return dst, nil
	case policy.KeyTLSVersion:
		if state := r.ctx.TLSConnectionState(); state != nil {
			dst = append(dst, policy.Text(strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")))
		}
		return dst, nil
	case policy.KeyRequestedRegion:
		return append(dst, policy.Text(r.srv.region())), nil
	case policy.KeyResourceAccount, policy.KeyS3ResourceAccount:
		return append(dst, policy.Text(policy.Account)), nil
	case policy.KeyViaAWSService, policy.KeyPrincipalIsAWSService:
		return append(dst, policy.Bool(false)), nil
	case policy.KeyVersionID:
		if r.about != nil && r.about.named() {
			dst = append(dst, policy.Text(formatVersion(r.about.version)))
		}
		return dst, nil
	case policy.KeyCopySource:
		return r.copySourceValue(dst), nil
	case policy.KeyLocationConstraint, policy.KeyObjectCreationOperation:
		return dst, nil
	case policy.KeyObjectLockRemainingDays:
		return r.remainingDays(dst), nil
	case policy.KeyRequestObjectTag, policy.KeyRequestObjectTagKeys:
		return r.requestTags(key, dst)
	case policy.KeyExistingObjectTag:
		return r.existingTag(key.Name, dst)
	case policy.KeyBucketTag, policy.KeyResourceTag:
		return r.bucketTag(key.Name, dst)
	}
	return r.principalValue(key, dst), nil
}

// field returns a header, or the field of an upload form that stands in its place.
func (r *request) field(name string) (string, bool) {
	switch {
	case r.form == nil || !strings.HasPrefix(name, "x-amz-") || name == "x-amz-content-sha256":
		return r.head.lookup(name)
	case name == "x-amz-acl":
		name = "acl"
	}
	return r.form.lookup(name)
}

// principalValue tells what a request has under the keys that are about who sent it, and how it was signed.
func (r *request) principalValue(key policy.Key, dst []policy.Value) []policy.Value {
	switch key.ID {
	case policy.KeyRoleSessionName:
		return appendText(dst, r.sessionName)
	case policy.KeyExternalID:
		return appendText(dst, r.externalID)
	case policy.KeyAuthType, policy.KeySignatureVersion, policy.KeySignatureAge:
		if r.identity == anonymous {
			return dst
		}
		return r.signatureValue(key.ID, dst)
	}
	return whoValue(r.identity, key, dst)
}

func appendText(dst []policy.Value, text string) []policy.Value {
	if text == "" {
		return dst
	}
	return append(dst, policy.Text(text))
}

// whoValue tells what somebody's requests have under the keys that are about who sent them.
func whoValue(id *iam.Identity, key policy.Key, dst []policy.Value) []policy.Value {
	switch key.ID {
	case policy.KeyUserID:
		return appendText(dst, id.UserID)
	case policy.KeyUsername:
		return appendText(dst, id.User)
	case policy.KeyPrincipalType:
		return appendText(dst, id.Principal.Kind.String())
	case policy.KeyPrincipalArn:
		if id.Principal.Role != "" {
			return appendText(dst, id.Principal.Role)
		}
		return appendText(dst, id.Principal.ARN)
	case policy.KeyPrincipalAccount:
		if id != anonymous {
			return appendText(dst, policy.Account)
		}
	case policy.KeyFederatedProvider:
		return appendText(dst, id.Provider)
	case policy.KeyTokenIssueTime:
		if !id.Issued.IsZero() {
			return append(dst, policy.Time(id.Issued))
		}
	case policy.KeyMultiFactorAuthPresent:
		if !id.Issued.IsZero() {
			return append(dst, policy.Bool(false))
		}
	case policy.KeyClaim:
		return iam.AppendClaim(id.Claims, key.Name, dst)
	}
	return dst
}

func (r *request) signatureValue(key policy.KeyID, dst []policy.Value) []policy.Value {
	switch {
	case key == policy.KeySignatureVersion:
		return append(dst, policy.Text("AWS4-HMAC-SHA256"))
	case key == policy.KeySignatureAge:
		return append(dst, policy.Int(r.srv.opts.Clock().Sub(r.auth.Time).Milliseconds()))
	case r.form != nil:
		return append(dst, policy.Text("POST"))
	case r.auth.Presigned:
		return append(dst, policy.Text("REST-QUERY-STRING"))
	}
	return append(dst, policy.Text("REST-HEADER"))
}

// copySourceValue is the source as policies name it: bucket, slash, key.
func (r *request) copySourceValue(dst []policy.Value) []policy.Value {
	if header, ok := r.head.lookup("x-amz-copy-source"); ok {
		if src, err := readCopySource(header); err == nil {
			dst = append(dst, policy.Text(src.bucket+"/"+src.key))
		}
	}
	return dst
}

// remainingDays is how long a lock that the request asks for would hold.
func (r *request) remainingDays(dst []policy.Value) []policy.Value {
	if until, err := time.Parse(time.RFC3339, r.head.get("x-amz-object-lock-retain-until-date")); err == nil {
		days := until.Sub(r.srv.opts.Clock()).Hours() / 24
		dst = append(dst, policy.Text(strconv.FormatFloat(days, 'f', -1, 64)))
	}
	return dst
}

// requestTags tells the tags that the request gives an object, or their names.
func (r *request) requestTags(key policy.Key, dst []policy.Value) ([]policy.Value, error) {
	if r.op != nil && r.op.rule.tags && r.tags == nil {
		return dst, errTagsLater
	}
	tags := r.tags
	if tags == nil {
		if r.op != nil && r.op.name == "CopyObject" && r.head.get("x-amz-tagging-directive") != "REPLACE" {
			return dst, nil // The copy has the tags of the source, whatever the header says.
		}
		value, ok := r.field("x-amz-tagging")
		if !ok || value == "" {
			return dst, nil
		}
		// What is judged is what will be kept.
		set, err := readTags(value)
		if err != nil {
			return dst, err
		}
		tags = set
	}
	for i := range tags {
		switch {
		case key.ID == policy.KeyRequestObjectTagKeys:
			dst = append(dst, policy.Text(tags[i].name))
		case tags[i].name == key.Name:
			return append(dst, policy.Text(tags[i].value)), nil
		}
	}
	return dst, nil
}

// existingTag tells a tag of the object that the need at hand is about. An object that is not there has none.
func (r *request) existingTag(name string, dst []policy.Value) ([]policy.Value, error) {
	if r.about == nil {
		return dst, nil
	}
	bucket, key, ok := strings.Cut(r.about.resource, "/")
	if !ok {
		return dst, nil
	}
	tags, err := r.srv.objectTags(bucket, key, r.about)
	for i := range tags {
		if tags[i].name == name {
			dst = append(dst, policy.Text(tags[i].value))
		}
	}
	return dst, err
}

// absent reports whether an error says that there is no such object.
func absent(err error) bool {
	return engine.KindOf(err) == engine.KindNoSuchObject || engine.KindOf(err) == engine.KindDeleteMarker || engine.KindOf(err) == engine.KindNoSuchVersion
}

// sourceAddr is the address that the request came from: that of the connection, or, where the other end of that is a proxy that is
// trusted, the last address in X-Forwarded-For that is not one itself.
func (r *request) sourceAddr() netip.Addr {
	addr := remoteAddr(r.ctx.RemoteAddr())
	if !r.srv.trusted(addr) {
		return addr
	}
	list := r.head.get("x-forwarded-for")
	for list != "" {
		i := strings.LastIndexByte(list, ',')
		hop, err := netip.ParseAddr(trimSpace(list[i+1:]))
		if err != nil {
			return addr // What a proxy does not vouch for is worth nothing.
		}
		if addr = hop.Unmap(); !r.srv.trusted(addr) {
			return addr
		}
		list = list[:max(i, 0)]
	}
	return addr
}

func remoteAddr(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	if a == nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

// trusted reports whether an address is one of a proxy that is believed.
func (s *Server) trusted(addr netip.Addr) bool {
	for _, network := range s.opts.TrustedProxies {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// secure reports whether the client's connection is encrypted, here or at a proxy that is believed.
func (r *request) secure() bool {
	if r.ctx.IsTLS() {
		return true
	}
	return r.srv.trusted(remoteAddr(r.ctx.RemoteAddr())) && strings.EqualFold(r.head.get("x-forwarded-proto"), "https")
}
