// Package fastapi serves S3 over HTTP/1.1: it authenticates, parses, calls the store and answers.
//
// A request passes the same stations in the same order, whatever it asks for, and each may end it:
//
//	headers in    fasthttp frames the request; its view of target and headers is not used further
//	begin         headers and target are read from the bytes on the wire (header.go, target.go)
//	authenticate  one place turns a signature into an identity; handlers see no credentials (auth.go)
//	resolve       host and path name a bucket and a key (target.go)
//	route         one table: every S3 operation, its handler or 501, the action it needs (route.go)
//	authorise     may this identity do that
//	admit         lengths and limits, before a body is asked for (body.go)
//	handle        object.go, copy.go, multipart.go, list.go, …
//	answer        or an error, from one table (errors.go, respond.go)
//
// A client that sends "Expect: 100-continue" is told to go on only after all but the last two.
//
// An uploaded body streams from the socket through the aws-chunked decoder, where there is one, and past the hashes that
// this request needs into the buffer that the store gives; the store calls back with its own sums before anything is
// committed, so a digest that does not match leaves nothing behind. A downloaded body is written to the socket from the
// buffers that the drives filled.
//
// The package keeps no state but connections in progress. It holds no drive, shard or volume; what it stores with an
// object are attributes whose meaning is its own (metadata.go).
//
// What HTTP allows and this server does not, because two readers could disagree about it: a request with both
// Content-Length and Transfer-Encoding, folded headers, lines that end in a bare line feed.
package fastapi
