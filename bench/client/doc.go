// Package client is an S3 client that costs less than the server it is pointed at.
//
// A [Conn] is one HTTP/1.1 connection, over TCP or TLS, that one goroutine uses. It builds each request in memory that it
// keeps, signs it with a signing key that it derives once a day, sends head and body in as few system calls as the
// socket takes, and reads the answer into one buffer. A request allocates nothing.
//
// What is sent comes from a [Body]: a stretch of a pattern that repeats, whose digests are computed before the clock
// runs. So signing a body of any length costs the signature alone, and what a download brings is compared with what
// was uploaded without keeping any of it.
//
// An answer is right or it is an error: a status that was not asked for, a length or bytes that differ, a connection that
// breaks. Nothing is tried again, but for a request on an idle connection that the server had closed meanwhile.
//
// This is no client to store data with: it knows just enough of S3 to measure servers.
package client
