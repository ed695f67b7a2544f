package sigv4

import "time"

// Code is why a request was refused. Its String is the S3 error code of the same name.
type Code uint8

const (
	AccessDenied Code = iota
	AuthorizationHeaderMalformed
	AuthorizationQueryParametersError
	ExpiredToken
	InvalidAccessKeyID
	InvalidArgument
	InvalidRequest
	InvalidToken
	InvalidURI
	RequestTimeTooSkewed
	SignatureDoesNotMatch
	XAmzContentSHA256Mismatch
	NumCodes // Not a code; lets tests walk them all.
)

var codeNames = [NumCodes]string{
	AccessDenied:                      "AccessDenied",
	AuthorizationHeaderMalformed:      "AuthorizationHeaderMalformed",
	AuthorizationQueryParametersError: "AuthorizationQueryParametersError",
	ExpiredToken:                      "ExpiredToken",
	InvalidAccessKeyID:                "InvalidAccessKeyId",
	InvalidArgument:                   "InvalidArgument",
	InvalidRequest:                    "InvalidRequest",
	InvalidToken:                      "InvalidToken",
	InvalidURI:                        "InvalidURI",
	RequestTimeTooSkewed:              "RequestTimeTooSkewed",
	SignatureDoesNotMatch:             "SignatureDoesNotMatch",
	XAmzContentSHA256Mismatch:         "XAmzContentSHA256Mismatch",
}

// String returns the S3 error code.
func (c Code) String() string { return codeNames[c] }

// Error is the one error type of this package. Its message is meant for the client: it holds nothing
// that the client did not send or may not know.
type Error struct {
	Code    Code
	Message string

	// For RequestTimeTooSkewed and for a presigned URL outside its time; zero otherwise.
	RequestTime time.Time     // When the request says it was signed.
	ServerTime  time.Time     // What the clock here says.
	MaxSkew     time.Duration // How far apart they may be.
	Expires     time.Time     // When a presigned URL expired.

	// Region is the region that the credential should have named, when that was wrong.
	Region string
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// ErrAnonymous says that the request carries no credentials at all.
var ErrAnonymous = &Error{Code: AccessDenied, Message: "Access Denied"}

func refuse(code Code, message string) *Error { return &Error{Code: code, Message: message} }
