package fastapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// The Security Token Service is a second protocol at the same address: forms posted to "/", signed for service sts. It gives out
// temporary credentials.

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsVersion   = "2011-06-15"
	maxSTSLen    = 64 << 10 // A web identity of 20,000 bytes and policies, escaped.
)

// stsOperation is what every call of it is until its body says which. Who calls is verified then, with the body.
var stsOperation = func() *operation {
	op := newOperation(row{method: "POST", level: levelService, name: "SecurityTokenService", action: "sts:AssumeRole", handle: (*request).sts, body: bodyXML})
	return &op
}()

// isSTS reports whether the request is for the token service.
func (r *request) isSTS() bool {
	if string(r.ctx.Method()) != "POST" || r.rawPath != "/" || r.rawQuery != "" {
		return false
	}
	kind, _, _ := strings.Cut(r.head.get("content-type"), ";")
	_, virtual := virtualBucket(r.host, r.srv.domains)
	return !virtual && strings.EqualFold(trimSpace(kind), "application/x-www-form-urlencoded")
}

// stsActions are what can be asked of it. signed says that somebody has to have signed for it.
var stsActions = map[string]struct {
	signed bool
	answer func(*request, *target) (xmlWriter, error)
}{
	"AssumeRole":                {true, (*request).assumeRole},
	"AssumeRoleWithWebIdentity": {false, (*request).assumeRoleWithWebIdentity},
	"GetCallerIdentity":         {true, (*request).callerIdentity},
	"GetSessionToken":           {true, (*request).sessionToken},
}

// sts answers a call of the token service.
func (r *request) sts() error {
	doc, err := r.readDocument(maxSTSLen, checksum{})
	if err != nil {
		return err
	}
	var t target
	if t.params, err = parseQuery(doc, nil); err != nil {
		return errValidation.message("The body is not a form.")
	}
	for i := range t.params {
		for j := range t.params[:i] {
			if t.params[i].name == t.params[j].name {
				return errValidation.message("A parameter comes twice: " + t.params[i].name)
			}
		}
	}
	name, _ := t.get("Action")
	action, ok := stsActions[name]
	if version, given := t.get("Version"); !ok || given && version != stsVersion {
		return errInvalidAction.message("Could not find operation " + printable(name) + " for version " + stsVersion)
	}
	if action.signed {
		if err := r.authenticateSTS(doc); err != nil {
			return err
		}
	}
	w, err := action.answer(r, &t)
	if err != nil {
		return stsError(err)
	}
	w.open("ResponseMetadata")
	w.text("RequestId", string(r.id[:]))
	w.close("ResponseMetadata")
	w.close(name + "Response")
	r.ctx.Response.Header.Set("Cache-Control", "no-store")
	return r.answerXML(w)
}

// authenticateSTS verifies who has signed a call, body included.
func (r *request) authenticateSTS(doc string) error {
	sum := sha256.Sum256([]byte(doc))
	r.signed = r.wireRequest()
	r.signed.BodyDigest = hex.EncodeToString(sum[:])
	verified, auth, err := r.srv.stsVerifier.Verify(&r.signed)
	switch {
	case err == sigv4.ErrAnonymous:
		return errMissingToken
	case err != nil:
		return authError(err)
	}
	r.setIdentity(verified)
	r.auth = auth
	return nil
}

func newSTS(action string) xmlWriter {
	w := make(xmlWriter, 0, 2<<10)
	w = append(w, xmlHeader+"<"+action+`Response xmlns="`+stsNamespace+`">`...)
	w.open(action + "Result")
	return w
}

// readAssume reads the parameters that all ways to assume a role have.
func (r *request) readAssume(t *target) (a iam.AssumeRole, err error) {
	a.Request = &r.asked
	r.asked.Values = r
	for i := range t.params {
		p := &t.params[i]
		switch {
		case p.name == "RoleArn":
			a.RoleARN = p.value
		case p.name == "RoleSessionName":
			if a.Name = p.value; !isSessionName(a.Name) {
				return a, errValidation.message("roleSessionName must have 2 to 64 letters, digits and _=,.@- alone.")
			}
		case p.name == "Policy":
			a.Policy = p.value
		case p.name == "DurationSeconds":
			n, err := strconv.ParseInt(p.value, 10, 32)
			if err != nil || n <= 0 {
				return a, errValidation.message("DurationSeconds must be a number of seconds.")
			}
			a.Duration = time.Duration(n) * time.Second
		case p.name == "ExternalId":
			r.externalID = p.value
		case p.name == "Action", p.name == "Version", p.name == "WebIdentityToken", p.name == "ProviderId" && p.value == "":
		case strings.HasPrefix(p.name, "PolicyArns."), strings.HasPrefix(p.name, "Tags."), strings.HasPrefix(p.name, "TransitiveTagKeys."),
			p.name == "SerialNumber", p.name == "TokenCode", p.name == "SourceIdentity", p.name == "ProviderId":
			// What narrows a session or says more of it must not be left out in silence.
			return a, errValidation.message("The parameter " + p.name + " is not supported.")
		case strings.EqualFold(p.name, "Policy"), strings.EqualFold(p.name, "RoleArn"), strings.EqualFold(p.name, "DurationSeconds"):
			return a, errValidation.message("The parameter " + printable(p.name) + " is not spelt like that.")
		}
	}
	r.sessionName = a.Name
	return a, nil
}

func isSessionName(s string) bool {
	if len(s) < 2 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_+=,.@-", c) >= 0) {
			return false
		}
	}
	return true
}

// assumeRole answers AssumeRole.
func (r *request) assumeRole(t *target) (xmlWriter, error) {
	a, err := r.readAssume(t)
	if err != nil {
		return nil, err
	}
	if a.Name == "" && a.RoleARN != "" {
		return nil, errValidation.message("roleSessionName is required.")
	}
	s, err := r.srv.opts.Identities.Assume(r.identity, a)
	if err != nil {
		return nil, err
	}
	w := newSTS("AssumeRole")
	w.session(&s)
	w.open("AssumedRoleUser")
	w.text("Arn", s.ARN)
	w.text("AssumedRoleId", s.ID)
	w.close("AssumedRoleUser")
	w.close("AssumeRoleResult")
	return w, nil
}

// assumeRoleWithWebIdentity answers AssumeRoleWithWebIdentity.
func (r *request) assumeRoleWithWebIdentity(t *target) (xmlWriter, error) {
	a, err := r.readAssume(t)
	if err != nil {
		return nil, err
	}
	if a.Name == "" || a.RoleARN == "" {
		return nil, errValidation.message("roleArn and roleSessionName are required.")
	}
	token, _ := t.get("WebIdentityToken")
	s, err := r.srv.opts.Identities.AssumeWithWebIdentity(r.srv.ctx, iam.WebToken{AssumeRole: a, Token: token})
	if err != nil {
		return nil, err
	}
	w := newSTS("AssumeRoleWithWebIdentity")
	w.session(&s.Session)
	w.text("SubjectFromWebIdentityToken", s.Subject)
	w.text("Audience", s.Audience)
	w.text("Provider", policy.ProviderARN(s.Provider))
	w.open("AssumedRoleUser")
	w.text("Arn", s.ARN)
	w.text("AssumedRoleId", s.ID)
	w.close("AssumedRoleUser")
	w.close("AssumeRoleWithWebIdentityResult")
	return w, nil
}

// sessionToken answers GetSessionToken: credentials of whoever asks, that end.
func (r *request) sessionToken(t *target) (xmlWriter, error) {
	a, err := r.readAssume(t)
	if err != nil {
		return nil, err
	}
	if a.RoleARN != "" || a.Policy != "" {
		return nil, errValidation.message("GetSessionToken has neither a role nor a policy; AssumeRole has.")
	}
	s, err := r.srv.opts.Identities.Assume(r.identity, a)
	if err != nil {
		return nil, err
	}
	w := newSTS("GetSessionToken")
	w.session(&s)
	w.close("GetSessionTokenResult")
	return w, nil
}

// callerIdentity answers GetCallerIdentity, which everybody may ask.
func (r *request) callerIdentity(*target) (xmlWriter, error) {
	w := newSTS("GetCallerIdentity")
	w.text("Arn", r.identity.Principal.ARN)
	w.text("UserId", r.identity.UserID)
	w.text("Account", policy.Account)
	w.close("GetCallerIdentityResult")
	return w, nil
}

// session writes temporary credentials.
func (w *xmlWriter) session(s *iam.Session) {
	w.open("Credentials")
	w.text("AccessKeyId", s.AccessKey)
	w.text("SecretAccessKey", s.Secret)
	w.text("SessionToken", s.Token)
	w.text("Expiration", s.Expires.UTC().Format("2006-01-02T15:04:05Z"))
	w.close("Credentials")
}

// stsError says what a refusal is called here.
func stsError(err error) error {
	e, ok := errors.AsType[*iam.Error](err)
	switch {
	case !ok:
		return err
	case iam.IsExpired(err):
		return errExpiredWebToken
	case iam.IsWebToken(err):
		return errInvalidWebToken
	case e.Kind == iam.Denied || e.Kind == iam.NotFound:
		return errAccessDenied.message(e.Message)
	}
	return errValidation.message(e.Message)
}

// stsErrorBody writes an error as the token service does.
func stsErrorBody(e *apiError, requestID string) xmlWriter {
	w := make(xmlWriter, 0, 512)
	w = append(w, xmlHeader+`<ErrorResponse xmlns="`+stsNamespace+`">`...)
	w.open("Error")
	side := "Sender"
	if e.status >= 500 {
		side = "Receiver"
	}
	w.text("Type", side)
	code := e.code
	if code == "InvalidAccessKeyId" || code == "InvalidToken" {
		code = "InvalidClientTokenId" // What it calls either.
	}
	w.text("Code", code)
	w.text("Message", e.text)
	w.close("Error")
	w.text("RequestId", requestID)
	w.close("ErrorResponse")
	return w
}
