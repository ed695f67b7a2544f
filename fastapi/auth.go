package fastapi

import (
	"errors"
	"strconv"

	"penstock/fastapi/sigv4"
)

// authenticate stands in front of everything: it turns the request into a verified identity or into an error. No handler sees a
// credential, and none can be reached without passing here.
func (s *Server) authenticate(r *request) (sigv4.Identity, *sigv4.Auth, error) {
	r.signed = sigv4.Request{
		Method:   r.ctx.Method(),
		RawPath:  bytesOf(r.rawPath),
		RawQuery: bytesOf(r.rawQuery),
		Host:     bytesOf(r.host),
		Headers:  r.head.wire,
		TLS:      r.ctx.IsTLS(),
	}
	identity, auth, err := s.verifier.Verify(&r.signed)
	if err != nil {
		return sigv4.Identity{}, nil, authError(err)
	}
	return identity, auth, nil
}

// authCodes gives the status of each reason to refuse a signature.
var authCodes = [sigv4.NumCodes]int{
	sigv4.AccessDenied:                      403,
	sigv4.AuthorizationHeaderMalformed:      400,
	sigv4.AuthorizationQueryParametersError: 400,
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

// authorise decides whether an identity may do an action on a resource. There is one identity, root, which may do everything;
// without a verified identity there is nothing that may be done.
func (s *Server) authorise(id sigv4.Identity, op *operation, _ resource) error {
	if id.AccessKey == "" || op.action == "" {
		return errAccessDenied
	}
	return nil
}

// The one owner of everything.
const (
	ownerID      = "5f0c4e2a6d7b81f3905e6a1c2b4d8e7f60912a3b4c5d6e7f8091a2b3c4d5e6f7" // A canonical user id has 64 hex digits.
	ownerAccount = "000000000000"
	ownerName    = "root"
)
