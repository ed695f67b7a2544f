package fastapi

import (
	"errors"

	"penstock/engine"
)

// apiError is a failure as a client is told of it. The values below are the table of all of them; with, message and
// because derive one that says more. A value is never changed once made.
type apiError struct {
	status  int
	code    string
	text    string
	details []detail // Elements of the XML body that belong to this code, in order.
	headers []detail // Of the answer.
	cause   error    // For the log alone.
}

type detail struct{ name, value string }

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.cause.Error()
	}
	return e.code + ": " + e.text
}

func (e *apiError) Unwrap() error { return e.cause }

// Is makes a derived error equal to the row of the table it came from.
func (e *apiError) Is(target error) bool {
	t, ok := target.(*apiError)
	return ok && t.code == e.code && t.status == e.status
}

// with adds an element to the XML body.
func (e *apiError) with(name, value string) *apiError {
	c := *e
	c.details = append(c.details[:len(c.details):len(c.details)], detail{name, value})
	return &c
}

// header adds a header to the answer.
func (e *apiError) header(name, value string) *apiError {
	c := *e
	c.headers = append(c.headers[:len(c.headers):len(c.headers)], detail{name, value})
	return &c
}

// message replaces the text.
func (e *apiError) message(text string) *apiError {
	c := *e
	c.text = text
	return &c
}

// because keeps err for the log.
func (e *apiError) because(err error) *apiError {
	c := *e
	c.cause = err
	return &c
}

// invalidArgument is the error for a parameter or header whose value makes no sense.
func invalidArgument(text, name, value string) *apiError {
	return errInvalidArgument.message(text).with("ArgumentName", name).with("ArgumentValue", value)
}

// notImplemented names the operation or header that is not there.
func notImplemented(element, name string) *apiError {
	if element == "Header" {
		return errNotImplemented.message("A header you provided implies functionality that is not implemented: "+name+".").with("Header", name)
	}
	return errNotImplemented.message("The operation is not implemented: "+name+".").with(element, name)
}

// The errors of S3, with the status and the text that Amazon gives them.
var (
	errACLNotSupported       = &apiError{status: 400, code: "AccessControlListNotSupported", text: "The bucket does not allow ACLs"}
	errACLWithBlock          = &apiError{status: 400, code: "InvalidBucketAclWithBlockPublicAccessError", text: "Bucket cannot have public ACLs set with BlockPublicAccess enabled"}
	errACLWithOwnership      = &apiError{status: 400, code: "InvalidBucketAclWithObjectOwnership", text: "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"}
	errAccessForbidden       = &apiError{status: 403, code: "AccessForbidden", text: "CORSResponse: This CORS request is not allowed."}
	errAccessDenied          = &apiError{status: 403, code: "AccessDenied", text: "Access Denied"}
	errBadDigest             = &apiError{status: 400, code: "BadDigest", text: "The Content-MD5 you specified did not match what we received."}
	errBadRequest            = &apiError{status: 400, code: "BadRequest", text: "An error occurred when parsing the HTTP request."}
	errBucketExists          = &apiError{status: 409, code: "BucketAlreadyOwnedByYou", text: "Your previous request to create the named bucket succeeded and you already own it."}
	errBucketNotEmpty        = &apiError{status: 409, code: "BucketNotEmpty", text: "The bucket you tried to delete is not empty"}
	errConflict              = &apiError{status: 409, code: "ConditionalRequestConflict", text: "The conditional request cannot succeed due to a conflicting operation against this resource."}
	errEntityTooLarge        = &apiError{status: 400, code: "EntityTooLarge", text: "Your proposed upload exceeds the maximum allowed size"}
	errEntityTooSmall        = &apiError{status: 400, code: "EntityTooSmall", text: "Your proposed upload is smaller than the minimum allowed size"}
	errGrantByEmail          = &apiError{status: 405, code: "MethodNotAllowed", text: "Access control lists cannot name grantees by their e-mail address."}
	errExpiredWebToken       = &apiError{status: 400, code: "ExpiredTokenException", text: "The web identity token that was passed is expired."}
	errFormTooLong           = &apiError{status: 400, code: "MaxPostPreDataLengthExceeded", text: "Your POST request fields preceding the upload file were too large."}
	errInvalidAction         = &apiError{status: 400, code: "InvalidAction", text: "The action or operation requested is not valid."}
	errInvalidPolicy         = &apiError{status: 400, code: "InvalidPolicyDocument", text: "The content of the form does not meet the conditions specified in the policy document."}
	errInvalidWebToken       = &apiError{status: 400, code: "InvalidIdentityToken", text: "The web identity token that was passed could not be validated."}
	errMalformedPost         = &apiError{status: 400, code: "MalformedPOSTRequest", text: "The body of your POST request is not well-formed multipart/form-data."}
	errMissingToken          = &apiError{status: 403, code: "MissingAuthenticationToken", text: "Request is missing Authentication Token"}
	errValidation            = &apiError{status: 400, code: "ValidationError", text: "The input fails to satisfy the constraints specified by the service."}
	errIllegalLocation       = &apiError{status: 400, code: "IllegalLocationConstraintException", text: "The specified location-constraint is incompatible for the region specific endpoint this request was sent to."}
	errIncompleteBody        = &apiError{status: 400, code: "IncompleteBody", text: "You did not provide the number of bytes specified by the Content-Length HTTP header"}
	errInsufficientStorage   = &apiError{status: 507, code: "InsufficientStorage", text: "There is not enough free space to store the object."}
	errIllegalVersioning     = &apiError{status: 400, code: "IllegalVersioningConfigurationException", text: "The Versioning element must be specified"}
	errInternal              = &apiError{status: 500, code: "InternalError", text: "We encountered an internal error. Please try again."}
	errInvalidArgument       = &apiError{status: 400, code: "InvalidArgument", text: "Invalid Argument"}
	errInvalidBucketState    = &apiError{status: 409, code: "InvalidBucketState", text: "The request is not valid for the current state of the bucket."}
	errInvalidBucketName     = &apiError{status: 400, code: "InvalidBucketName", text: "The specified bucket is not valid."}
	errInvalidChunkSize      = &apiError{status: 400, code: "InvalidChunkSizeError", text: "A chunk of the body is longer than S3 allows."}
	errInvalidDigest         = &apiError{status: 400, code: "InvalidDigest", text: "The Content-MD5 you specified was invalid."}
	errInvalidLocation       = &apiError{status: 400, code: "InvalidLocationConstraint", text: "The specified location-constraint is not valid"}
	errInvalidPart           = &apiError{status: 400, code: "InvalidPart", text: "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."}
	errInvalidPartNumber     = &apiError{status: 416, code: "InvalidPartNumber", text: "The requested partnumber is not satisfiable"}
	errInvalidPartOrder      = &apiError{status: 400, code: "InvalidPartOrder", text: "The list of parts was not in ascending order. Parts must be ordered by part number."}
	errInvalidRange          = &apiError{status: 416, code: "InvalidRange", text: "The requested range is not satisfiable"}
	errInvalidRequest        = &apiError{status: 400, code: "InvalidRequest", text: "Invalid Request"}
	errInvalidStorageClass   = &apiError{status: 400, code: "InvalidStorageClass", text: "The storage class you specified is not valid"}
	errInvalidTag            = &apiError{status: 400, code: "InvalidTag", text: "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation."}
	errInvalidURI            = &apiError{status: 400, code: "InvalidURI", text: "Couldn't parse the specified URI."}
	errKeyTooLong            = &apiError{status: 400, code: "KeyTooLongError", text: "Your key is too long"}
	errMalformedACL          = &apiError{status: 400, code: "MalformedACLError", text: "The XML you provided was not well-formed or did not validate against our published schema"}
	errMalformedPolicy       = &apiError{status: 400, code: "MalformedPolicy", text: "Policy has invalid syntax"}
	errMalformedTrailer      = &apiError{status: 400, code: "MalformedTrailerError", text: "The request contained trailing data that was not well-formed or did not conform to our published schema."}
	errMalformedXML          = &apiError{status: 400, code: "MalformedXML", text: "The XML you provided was not well-formed or did not validate against our published schema"}
	errMaxMessageLength      = &apiError{status: 400, code: "MaxMessageLengthExceeded", text: "Your request was too big."}
	errMetadataTooLarge      = &apiError{status: 400, code: "MetadataTooLarge", text: "Your metadata headers exceed the maximum allowed metadata size"}
	errMethodNotAllowed      = &apiError{status: 405, code: "MethodNotAllowed", text: "The specified method is not allowed against this resource."}
	errMissingContentLength  = &apiError{status: 411, code: "MissingContentLength", text: "You must provide the Content-Length HTTP header."}
	errMissingBody           = &apiError{status: 400, code: "MissingRequestBodyError", text: "Request Body is empty"}
	errMissingSecurityHeader = &apiError{status: 400, code: "MissingSecurityHeader", text: "Your request was missing a required header"}
	errNoCORS                = &apiError{status: 404, code: "NoSuchCORSConfiguration", text: "The CORS configuration does not exist"}
	errNoConfiguration       = &apiError{status: 404, code: "NoSuchConfiguration", text: "The specified configuration does not exist."}
	errNoReplication         = &apiError{status: 404, code: "ReplicationConfigurationNotFoundError", text: "The replication configuration was not found"}
	errNoWebsite             = &apiError{status: 404, code: "NoSuchWebsiteConfiguration", text: "The specified bucket does not have a website configuration"}
	errNoOwnershipControls   = &apiError{status: 404, code: "OwnershipControlsNotFoundError", text: "The bucket ownership controls were not found"}
	errNoPublicAccessBlock   = &apiError{status: 404, code: "NoSuchPublicAccessBlockConfiguration", text: "The public access block configuration was not found"}
	errNoSuchBucketPolicy    = &apiError{status: 404, code: "NoSuchBucketPolicy", text: "The bucket policy does not exist"}
	errNoSuchBucket          = &apiError{status: 404, code: "NoSuchBucket", text: "The specified bucket does not exist"}
	errNoSuchKey             = &apiError{status: 404, code: "NoSuchKey", text: "The specified key does not exist."}
	errNoLockConfig          = &apiError{status: 404, code: "ObjectLockConfigurationNotFoundError", text: "Object Lock configuration does not exist for this bucket"}
	errNoObjectLock          = &apiError{status: 404, code: "NoSuchObjectLockConfiguration", text: "The specified object does not have a ObjectLock configuration"}
	errNoSuchTagSet          = &apiError{status: 404, code: "NoSuchTagSet", text: "The TagSet does not exist"}
	errNoSuchUpload          = &apiError{status: 404, code: "NoSuchUpload", text: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	errNoSuchVersion         = &apiError{status: 404, code: "NoSuchVersion", text: "The specified version does not exist."}
	errNotImplemented        = &apiError{status: 501, code: "NotImplemented", text: "A header you provided implies functionality that is not implemented"}
	errNotModified           = &apiError{status: 304, code: "NotModified", text: "Not Modified"}
	errQuotaExceeded         = &apiError{status: 403, code: "QuotaExceeded", text: "The bucket holds as much as its quota allows."}
	errPrecondition          = &apiError{status: 412, code: "PreconditionFailed", text: "At least one of the pre-conditions you specified did not hold"}
	errRequestHeaderTooLarge = &apiError{status: 400, code: "RequestHeaderSectionTooLarge", text: "Your request header and query parameters used to make the request exceed the maximum allowed size."}
	errRequestTimeout        = &apiError{status: 400, code: "RequestTimeout", text: "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."}
	errUnexpectedContent     = &apiError{status: 400, code: "UnexpectedContent", text: "This request does not support content"}
	errServiceUnavailable    = &apiError{status: 503, code: "ServiceUnavailable", text: "Service is unable to handle request."}
	errSignatureMismatch     = &apiError{status: 403, code: "SignatureDoesNotMatch", text: "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	errSlowDown              = &apiError{status: 503, code: "SlowDown", text: "Please reduce your request rate."}
	errChecksumMismatch      = &apiError{status: 400, code: "BadDigest", text: "The checksum you specified did not match the calculated checksum."}
	errContentSHA256Mismatch = &apiError{status: 400, code: "XAmzContentSHA256Mismatch", text: "The provided 'x-amz-content-sha256' header does not match what was computed."}
)

// kindErrors is the only place where a failure of the engine becomes a failure of S3.
var kindErrors = map[engine.Kind]*apiError{
	engine.KindInternal:         errInternal,
	engine.KindUnavailable:      errServiceUnavailable,
	engine.KindUnknownOutcome:   errInternal, // A client repeats a 500, and a repeated write is the same write.
	engine.KindBusy:             errSlowDown,
	engine.KindFull:             errInsufficientStorage,
	engine.KindQuota:            errQuotaExceeded,
	engine.KindCorrupt:          errInternal,
	engine.KindNoSuchBucket:     errNoSuchBucket,
	engine.KindBucketExists:     errBucketExists,
	engine.KindBucketNotEmpty:   errBucketNotEmpty,
	engine.KindNoSuchObject:     errNoSuchKey,
	engine.KindNoSuchVersion:    errNoSuchVersion,
	engine.KindDeleteMarker:     errNoSuchKey, // Unless it was asked for by its version.
	engine.KindLocked:           errLocked,
	engine.KindNoLock:           errNoLock,
	engine.KindNoSuchUpload:     errNoSuchUpload,
	engine.KindInvalidPart:      errInvalidPart,
	engine.KindInvalidPartOrder: errInvalidPartOrder,
	engine.KindPartTooSmall:     errEntityTooSmall,
	engine.KindTooLarge:         errEntityTooLarge,
	engine.KindIncompleteBody:   errIncompleteBody,
	engine.KindBody:             errIncompleteBody, // Unless the body's reader or judge said more, as it always does.
	engine.KindPrecondition:     errPrecondition,   // Unless the check said more, as it always does.
	engine.KindConflict:         errConflict,
	engine.KindInvalidRange:     errInvalidRange,
	engine.KindCanceled:         errServiceUnavailable,
	engine.KindNoSuchDrive:      errInternal, // Only the administration API asks about drives, and has errors of its own.
	engine.KindDrive:            errInternal,
}

// toAPI returns err as a client is told of it. What a callback of this package told the engine comes back out of the
// engine's error unchanged; anything that is neither is an internal error.
func toAPI(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		a := kindErrors[e.Kind]
		switch e.Kind {
		case engine.KindNoSuchBucket, engine.KindBucketExists, engine.KindBucketNotEmpty:
			a = a.with("BucketName", e.Bucket)
		case engine.KindNoSuchObject:
			a = a.with("Key", e.Key)
		case engine.KindNoSuchVersion:
			a = a.with("Key", e.Key).with("VersionId", formatVersion(e.Version))
		case engine.KindDeleteMarker:
			a = markerError(e)
		}
		return a.because(err)
	}
	return errInternal.because(err)
}
