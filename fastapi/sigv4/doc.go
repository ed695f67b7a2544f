// Package sigv4 authenticates S3 requests signed with AWS Signature Version 4, in the Authorization
// header or in the query string (presigned URLs).
//
// A [Verifier] takes the request as it came over the wire and answers with a verified [Identity] and
// an [Auth], which says how the body is protected and signs on for a chunked one, or with an [*Error]
// whose [Code] is the S3 error code. There is no third outcome and no mode in which less is checked:
// a request without credentials is an error too ([ErrAnonymous]), for the caller to allow where a
// policy says so.
//
// What is signed, what is authorised and what is stored must be the same bytes. The rules here, which
// whoever parses the request further has to share:
//
//   - Path: percent-decoded once, as a whole, before it is split into bucket and key
//     ([AppendDecodedPath]). '+' is a plus. "//", "." and ".." are ordinary bytes.
//   - Query: split at '&', then at the first '=', then decoded; '+' is a space, as some clients send
//     it while signing %20, and as S3 reads it. A name without '=' has an empty value.
//   - A percent sign not followed by two hex digits is an error in both.
//
// Names are signed in order and once; host and every x-amz-* header there is must be among them.
//
// The package knows nothing of HTTP servers: [Request] is plain bytes. It does no I/O and its only
// state is a bounded cache of signing keys.
package sigv4
