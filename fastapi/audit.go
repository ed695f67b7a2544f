package fastapi

import (
	"strings"
	"time"
)

// AuditEntry says who did what, from where, and how it ended. One is made of every request, refused ones included, when the last byte of
// its answer is sent or the connection is lost. It holds no credential: of a presigned target only the path is kept.
type AuditEntry struct {
	Time      time.Time `json:"time"`       // When the request began.
	RequestID string    `json:"request_id"` // The answer's x-amz-request-id, and the server log's.
	Remote    string    `json:"remote"`
	AccessKey string    `json:"access_key,omitempty"` // Whose signature was right; empty for nobody's.
	Identity  string    `json:"identity,omitempty"`   // Whom that key speaks for: "root", a user, or a role and its session.
	Operation string    `json:"operation"`
	Action    string    `json:"action,omitempty"`
	Method    string    `json:"method"`
	Bucket    string    `json:"bucket,omitempty"`
	Key       string    `json:"key,omitempty"`
	Path      string    `json:"path"` // As it came, without the query.
	VersionID string    `json:"version_id,omitempty"`
	Status    int       `json:"status"`
	ErrorCode string    `json:"error_code,omitempty"`
	Received  int64     `json:"received_bytes"`
	Sent      int64     `json:"sent_bytes"`
	Seconds   float64   `json:"seconds"`
	UserAgent string    `json:"user_agent,omitempty"`
	TLS       bool      `json:"tls"`
}

// auditEntry begins the entry of a request whose answer stands, or returns nil where nobody listens.
func (r *request) auditEntry() *AuditEntry {
	if r.srv.opts.Audit == nil {
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
