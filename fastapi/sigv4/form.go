package sigv4

import (
	"crypto/hmac"
	"time"
)

// Form is what the fields of an upload form say of its signature.
type Form struct {
	Algorithm  string // x-amz-algorithm
	Credential string // x-amz-credential
	Date       string // x-amz-date
	Signature  string // x-amz-signature
	Token      string // x-amz-security-token
	Policy     string // In base64, as sent: that is what is signed.
}

// VerifyForm verifies the signature of an upload form. When the policy ends is for the caller to read in it; here a form is
// valid for as long as a presigned URL can be.
func (v *Verifier) VerifyForm(f *Form) (Identity, error) {
	c := claim{malformed: AuthorizationQueryParametersError, presigned: true, expires: maxExpires, token: []byte(f.Token)}
	if f.Algorithm != algorithm {
		return Identity{}, errMechanism
	}
	if err := c.parseCredential([]byte(f.Credential)); err != nil {
		return Identity{}, err
	}
	if err := c.parseTimestamp([]byte(f.Date)); err != nil {
		return Identity{}, refuse(c.malformed, `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	if err := v.checkScope(&c); err != nil {
		return Identity{}, err
	}
	if err := v.checkTime(&c); err != nil {
		return Identity{}, err
	}
	id, key, unknown := v.lookup(&c)
	signature := key.sign([]byte(f.Policy))
	match := hmac.Equal(signature[:], []byte(f.Signature))
	switch {
	case unknown != nil:
		return Identity{}, unknown
	case !match:
		return Identity{}, errMismatch
	}
	return id, nil
}

// SignForm fills in what VerifyForm reads, but for the policy, which must be there.
func (s Signer) SignForm(f *Form, t time.Time) {
	f.Algorithm, f.Date, f.Token = algorithm, t.UTC().Format(timeFormat), s.Token
	f.Credential = s.AccessKey + "/" + s.scope(f.Date)
	key := deriveKey(s.Secret, f.Date[:dateLen], s.Region, s.service())
	signature := key.sign([]byte(f.Policy))
	f.Signature = string(signature[:])
}
