package fastapi

import (
	"strings"

	"penstock/fastapi/admin"
)

// AuditEntry is made of every request, refused ones included, when the last byte of its answer is sent or the connection is lost.
type AuditEntry = admin.Request

// auditEntry begins the entry of a request whose answer stands, or returns nil where nobody listens.
func (r *request) auditEntry() *AuditEntry {
	if !r.srv.told() {
		return nil
	}
	version, _ := r.target.get("versionId")
	e := &AuditEntry{
		Time: r.began.UTC(), RequestID: string(r.id[:]), Remote: r.ctx.RemoteAddr().String(),
		Operation: "Unknown", Method: string(r.ctx.Method()), Bucket: r.bucket, Key: r.key, Path: r.rawPath, VersionID: version,
		Status: r.ctx.Response.StatusCode(), ErrorCode: r.failure, Received: r.received,
		UserAgent: strings.Clone(r.head.get("user-agent")), TLS: r.ctx.IsTLS(),
	}
	if r.identity != nil && r.identity != anonymous {
		e.AccessKey, e.Identity = r.identity.AccessKey, r.identity.Name
	}
	if r.op != nil {
		e.Operation, e.Action = r.op.name, r.op.action
	}
	return e
}
