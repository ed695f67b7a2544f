// Package admin is the administration API of a node: JSON documents over HTTP below /penstock/admin/v1.
//
// One table, [Routes], says what there is: method, path, the action that the caller must be allowed, the documents that go in and
// out, and the method that does it. The front end serves whatever the table has, and authenticates and authorises every call as it does
// those of S3, so a new route is one row. [OpenAPI] describes the same table to machines; every client, the command line among
// them, uses what is described there and nothing else.
//
// The package asks for what it needs by three small interfaces: the [Store], the [Front] end that serves requests, and the
// [Process] around both. It knows no HTTP server: a call comes in as a [Call], and its answer is a document or a [Stream].
//
// Whoever gets here is an administrator, so errors say what is wrong in full, paths and drives included. Secrets are in no
// answer but one: that of an access key, in the answer to its making.
package admin
