package fastapi

import (
	"errors"
	"strconv"

	"penstock/fastapi/iam"
	"penstock/fastapi/policy"
	"penstock/fastapi/sigv4"
)

// authenticate stands in front of everything: it turns the request into a verified identity or into an error. No handler sees a
// credential, and none can be reached without passing here. Who has not signed at all is anonymous, and may what policies say.
func (s *Server) authenticate(r *request) (*iam.Identity, *sigv4.Auth, error) {
	r.signed = r.wireRequest()
	verified, auth, err := s.verifier.Verify(&r.signed)
	if err == sigv4.ErrAnonymous {
		payload, err := sigv4.AnonymousPayload(&r.signed)
		if err != nil {
			return nil, nil, authError(err)
		}
		return anonymous, &sigv4.Auth{Payload: payload}, nil
	}
	if err != nil {
		return nil, nil, authError(err)
	}
	return verified.Holder.(*iam.Identity), auth, nil
}

// wireRequest is the request as it came over the wire, for its signature.
func (r *request) wireRequest() sigv4.Request {
	return sigv4.Request{
		Method:   r.ctx.Method(),
		RawPath:  bytesOf(r.rawPath),
		RawQuery: bytesOf(r.rawQuery),
		Host:     bytesOf(r.host),
		Headers:  r.head.wire,
		TLS:      r.ctx.IsTLS(),
	}
}

// setIdentity makes a request that of somebody whose signature was found in its body.
func (r *request) setIdentity(verified sigv4.Identity) { r.identity = verified.Holder.(*iam.Identity) }

// secrets gives the verifier the secrets of a directory.
type secrets struct{ *iam.Directory }

// Lookup implements sigv4.Secrets.
func (s secrets) Lookup(accessKey, token string) (sigv4.Secret, error) {
	c, refusal := s.Credential(accessKey, token)
	switch refusal {
	case iam.Accepted:
		return sigv4.Secret{Text: c.Secret, Version: c.Version, Holder: c.Identity}, nil
	case iam.ExpiredToken:
		return sigv4.Secret{}, sigv4.ErrExpiredToken
	case iam.InvalidToken:
		return sigv4.Secret{}, sigv4.ErrInvalidToken
	}
	return sigv4.Secret{}, sigv4.ErrUnknownKey
}

// authCodes gives the status of each reason to refuse a signature.
var authCodes = [sigv4.NumCodes]int{
	sigv4.AccessDenied:                      403,
	sigv4.AuthorizationHeaderMalformed:      400,
	sigv4.AuthorizationQueryParametersError: 400,
	sigv4.ExpiredToken:                      400,
	sigv4.InvalidAccessKeyID:                403,
	sigv4.InvalidArgument:                   400,
	sigv4.InvalidRequest:                    400,
	sigv4.InvalidToken:                      400,
	sigv4.InvalidURI:                        400,
	sigv4.RequestTimeTooSkewed:              403,
	sigv4.SignatureDoesNotMatch:             403,
	sigv4.XAmzContentSHA256Mismatch:         400,
}

func authError(err error) error {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return errInternal.because(err)
	}
	a := &apiError{status: authCodes[e.Code], code: e.Code.String(), text: e.Message}
	if e.Region != "" {
		a = a.with("Region", e.Region)
	}
	if !e.Expires.IsZero() {
		a = a.with("Expires", string(appendTime(nil, e.Expires)))
	}
	if !e.RequestTime.IsZero() {
		a = a.with("RequestTime", e.RequestTime.UTC().Format("20060102T150405Z"))
	}
	if !e.ServerTime.IsZero() {
		a = a.with("ServerTime", string(appendTime(nil, e.ServerTime)))
	}
	if e.MaxSkew != 0 {
		a = a.with("MaxAllowedSkewMilliseconds", strconv.FormatInt(e.MaxSkew.Milliseconds(), 10))
	}
	return a
}

// The one owner of everything: the account.
const (
	ownerID      = iam.RootCanonicalID
	ownerAccount = policy.Account
	ownerName    = "root"
)
