package fastapi

import (
	"slices"
	"strings"

	"penstock/fastapi/admin"
	"penstock/fastapi/policy"
)

// operation is something that can be asked of this server: a row of a table, and what follows from it.
type operation struct {
	row
	act  policy.Action // The row's action, as policies know it.
	rule rule          // What else needs leave; see actions.go.
}

// newOperation completes a row. It panics on an action that policies do not know, which every test would see.
func newOperation(r row) operation {
	return operation{row: r, act: policy.MustAction(r.action), rule: rules[r.name]}
}

// row is one row of the table of routes. What a request is follows from its method, the level of its resource and
// the query parameter, if any, that selects a sub-resource.
type row struct {
	method   string
	level    level
	selector string // The query parameter, or "name=value", that selects it, or "name&other" for both; "" for the plain operation.
	name     string // As Amazon names it.
	action   string // What the caller must be allowed to do; never empty.
	handle   func(*request) error
	body     bodyKind
	// params are the query parameters, besides the selector, that it understands. They matter when sent without a value:
	// anything else without one would be a sub-resource that is not known here.
	params []string
	copies bool // Selected only with x-amz-copy-source.
}

// bodyKind says what a request's body is to an operation.
type bodyKind uint8

const (
	bodyNone   bodyKind = iota // Ignored.
	bodyXML                    // A document, read whole.
	bodyObject                 // An object's bytes, streamed to the engine.
)

// unavailable marks what S3 has and this server has not; it answers 501 with the operation's name.
func unavailable(r *request) error { return notImplemented("Operation", r.op.name) }

var listParams = []string{"prefix", "delimiter", "encoding-type", "max-keys"}

// operations is the table, completed.
var operations = func() []operation {
	all := make([]operation, len(rows))
	for i := range rows {
		all[i] = newOperation(rows[i])
	}
	return all
}()

// rows is the table: every operation of the S3 API, with a handler or with unavailable. The first row that fits is
// the one, so rows with a selector come before the plain one.
var rows = []row{
	{"GET", levelService, "", "ListBuckets", "s3:ListAllMyBuckets", (*request).listBuckets, bodyNone, []string{"prefix", "continuation-token", "max-buckets", "bucket-region"}, false},

	{"PUT", levelBucket, "", "CreateBucket", "s3:CreateBucket", (*request).createBucket, bodyXML, nil, false},
	{"HEAD", levelBucket, "", "HeadBucket", "s3:ListBucket", (*request).headBucket, bodyNone, nil, false},
	{"DELETE", levelBucket, "", "DeleteBucket", "s3:DeleteBucket", (*request).deleteBucket, bodyNone, nil, false},
	{"GET", levelBucket, "location", "GetBucketLocation", "s3:GetBucketLocation", (*request).getBucketLocation, bodyNone, nil, false},
	{"GET", levelBucket, "versioning", "GetBucketVersioning", "s3:GetBucketVersioning", (*request).getBucketVersioning, bodyNone, nil, false},
	{"GET", levelBucket, "uploads", "ListMultipartUploads", "s3:ListBucketMultipartUploads", (*request).listUploads, bodyNone, []string{"prefix", "delimiter", "encoding-type", "max-uploads", "key-marker", "upload-id-marker"}, false},
	{"GET", levelBucket, "list-type=2", "ListObjectsV2", "s3:ListBucket", (*request).listObjectsV2, bodyNone, append([]string{"continuation-token", "fetch-owner", "start-after"}, listParams...), false},
	{"POST", levelBucket, "delete", "DeleteObjects", "s3:DeleteObject", (*request).deleteObjects, bodyXML, nil, false},
	{"GET", levelBucket, "acl", "GetBucketAcl", "s3:GetBucketAcl", (*request).getBucketAcl, bodyNone, nil, false},
	{"GET", levelBucket, "versions", "ListObjectVersions", "s3:ListBucketVersions", (*request).listObjectVersions, bodyNone, append([]string{"key-marker", "version-id-marker"}, listParams...), false},

	{"GET", levelBucket, "abac", "GetBucketAbac", "s3:GetBucketAbac", unavailable, bodyNone, nil, false},
	{"GET", levelBucket, "accelerate", "GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", (*request).getAccelerate, bodyNone, nil, false},
	{"GET", levelBucket, "analytics&id", "GetBucketAnalyticsConfiguration", "s3:GetAnalyticsConfiguration", (*request).getNumbered, bodyNone, []string{"id"}, false},
	{"GET", levelBucket, "analytics", "ListBucketAnalyticsConfigurations", "s3:GetAnalyticsConfiguration", (*request).listAnalytics, bodyNone, []string{"continuation-token"}, false},
	{"GET", levelBucket, "cors", "GetBucketCors", "s3:GetBucketCORS", (*request).getBucketCors, bodyNone, nil, false},
	{"GET", levelBucket, "encryption", "GetBucketEncryption", "s3:GetEncryptionConfiguration", unavailable, bodyNone, nil, false},
	{"GET", levelBucket, "intelligent-tiering&id", "GetBucketIntelligentTieringConfiguration", "s3:GetIntelligentTieringConfiguration", (*request).getNumbered, bodyNone, []string{"id"}, false},
	{"GET", levelBucket, "intelligent-tiering", "ListBucketIntelligentTieringConfigurations", "s3:GetIntelligentTieringConfiguration", (*request).listIntelligentTiering, bodyNone, []string{"continuation-token"}, false},
	{"GET", levelBucket, "inventory&id", "GetBucketInventoryConfiguration", "s3:GetInventoryConfiguration", (*request).getNumbered, bodyNone, []string{"id"}, false},
	{"GET", levelBucket, "inventory", "ListBucketInventoryConfigurations", "s3:GetInventoryConfiguration", (*request).listInventory, bodyNone, []string{"continuation-token"}, false},
	{"GET", levelBucket, "lifecycle", "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", (*request).getBucketLifecycle, bodyNone, nil, false},
	{"GET", levelBucket, "logging", "GetBucketLogging", "s3:GetBucketLogging", (*request).getLogging, bodyNone, nil, false},
	{"GET", levelBucket, "metadataConfiguration", "GetBucketMetadataConfiguration", "s3:GetBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"GET", levelBucket, "metadataTable", "GetBucketMetadataTableConfiguration", "s3:GetBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"GET", levelBucket, "metrics&id", "GetBucketMetricsConfiguration", "s3:GetMetricsConfiguration", (*request).getNumbered, bodyNone, []string{"id"}, false},
	{"GET", levelBucket, "metrics", "ListBucketMetricsConfigurations", "s3:GetMetricsConfiguration", (*request).listMetrics, bodyNone, []string{"continuation-token"}, false},
	{"GET", levelBucket, "notification", "GetBucketNotificationConfiguration", "s3:GetBucketNotification", (*request).getNotification, bodyNone, nil, false},
	{"GET", levelBucket, "object-lock", "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", (*request).getObjectLockConfiguration, bodyNone, nil, false},
	{"GET", levelBucket, "ownershipControls", "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", (*request).getOwnershipControls, bodyNone, nil, false},
	{"GET", levelBucket, "policy", "GetBucketPolicy", "s3:GetBucketPolicy", (*request).getBucketPolicy, bodyNone, nil, false},
	{"GET", levelBucket, "policyStatus", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", (*request).getBucketPolicyStatus, bodyNone, nil, false},
	{"GET", levelBucket, "publicAccessBlock", "GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", (*request).getPublicAccessBlock, bodyNone, nil, false},
	{"GET", levelBucket, "replication", "GetBucketReplication", "s3:GetReplicationConfiguration", (*request).getReplication, bodyNone, nil, false},
	{"GET", levelBucket, "requestPayment", "GetBucketRequestPayment", "s3:GetBucketRequestPayment", (*request).getRequestPayment, bodyNone, nil, false},
	{"GET", levelBucket, "session", "CreateSession", "s3express:CreateSession", unavailable, bodyNone, nil, false},
	{"GET", levelBucket, "tagging", "GetBucketTagging", "s3:GetBucketTagging", (*request).getBucketTagging, bodyNone, nil, false},
	{"GET", levelBucket, "website", "GetBucketWebsite", "s3:GetBucketWebsite", (*request).getWebsite, bodyNone, nil, false},

	{"PUT", levelBucket, "abac", "PutBucketAbac", "s3:PutBucketAbac", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "accelerate", "PutBucketAccelerateConfiguration", "s3:PutAccelerateConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "acl", "PutBucketAcl", "s3:PutBucketAcl", (*request).putBucketAcl, bodyXML, nil, false},
	{"PUT", levelBucket, "analytics", "PutBucketAnalyticsConfiguration", "s3:PutAnalyticsConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "cors", "PutBucketCors", "s3:PutBucketCORS", (*request).putBucketCors, bodyXML, nil, false},
	{"PUT", levelBucket, "encryption", "PutBucketEncryption", "s3:PutEncryptionConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "intelligent-tiering", "PutBucketIntelligentTieringConfiguration", "s3:PutIntelligentTieringConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "inventory", "PutBucketInventoryConfiguration", "s3:PutInventoryConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "lifecycle", "PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration", (*request).putBucketLifecycle, bodyXML, nil, false},
	{"PUT", levelBucket, "logging", "PutBucketLogging", "s3:PutBucketLogging", (*request).putLogging, bodyXML, nil, false},
	{"PUT", levelBucket, "metadataInventoryTable", "UpdateBucketMetadataInventoryTableConfiguration", "s3:UpdateBucketMetadataInventoryTableConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "metadataJournalTable", "UpdateBucketMetadataJournalTableConfiguration", "s3:UpdateBucketMetadataJournalTableConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "metrics", "PutBucketMetricsConfiguration", "s3:PutMetricsConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "notification", "PutBucketNotificationConfiguration", "s3:PutBucketNotification", (*request).putNotification, bodyXML, nil, false},
	{"PUT", levelBucket, "object-lock", "PutObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", (*request).putObjectLockConfiguration, bodyXML, nil, false},
	{"PUT", levelBucket, "ownershipControls", "PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", (*request).putOwnershipControls, bodyXML, nil, false},
	{"PUT", levelBucket, "policy", "PutBucketPolicy", "s3:PutBucketPolicy", (*request).putBucketPolicy, bodyXML, nil, false},
	{"PUT", levelBucket, "publicAccessBlock", "PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock", (*request).putPublicAccessBlock, bodyXML, nil, false},
	{"PUT", levelBucket, "replication", "PutBucketReplication", "s3:PutReplicationConfiguration", unavailable, bodyNone, nil, false},
	{"PUT", levelBucket, "requestPayment", "PutBucketRequestPayment", "s3:PutBucketRequestPayment", (*request).putRequestPayment, bodyXML, nil, false},
	{"PUT", levelBucket, "tagging", "PutBucketTagging", "s3:PutBucketTagging", (*request).putBucketTagging, bodyXML, nil, false},
	{"PUT", levelBucket, "versioning", "PutBucketVersioning", "s3:PutBucketVersioning", (*request).putBucketVersioning, bodyXML, nil, false},
	{"PUT", levelBucket, "website", "PutBucketWebsite", "s3:PutBucketWebsite", unavailable, bodyNone, nil, false},

	{"DELETE", levelBucket, "analytics", "DeleteBucketAnalyticsConfiguration", "s3:PutAnalyticsConfiguration", (*request).deleteNumbered, bodyNone, nil, false},
	{"DELETE", levelBucket, "cors", "DeleteBucketCors", "s3:PutBucketCORS", (*request).deleteBucketCors, bodyNone, nil, false},
	{"DELETE", levelBucket, "encryption", "DeleteBucketEncryption", "s3:PutEncryptionConfiguration", unavailable, bodyNone, nil, false},
	{"DELETE", levelBucket, "intelligent-tiering", "DeleteBucketIntelligentTieringConfiguration", "s3:PutIntelligentTieringConfiguration", (*request).deleteNumbered, bodyNone, nil, false},
	{"DELETE", levelBucket, "inventory", "DeleteBucketInventoryConfiguration", "s3:PutInventoryConfiguration", (*request).deleteNumbered, bodyNone, nil, false},
	{"DELETE", levelBucket, "lifecycle", "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", (*request).deleteBucketLifecycle, bodyNone, nil, false},
	{"DELETE", levelBucket, "metadataConfiguration", "DeleteBucketMetadataConfiguration", "s3:DeleteBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"DELETE", levelBucket, "metadataTable", "DeleteBucketMetadataTableConfiguration", "s3:DeleteBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"DELETE", levelBucket, "metrics", "DeleteBucketMetricsConfiguration", "s3:PutMetricsConfiguration", (*request).deleteNumbered, bodyNone, nil, false},
	{"DELETE", levelBucket, "ownershipControls", "DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", (*request).deleteOwnershipControls, bodyNone, nil, false},
	{"DELETE", levelBucket, "policy", "DeleteBucketPolicy", "s3:DeleteBucketPolicy", (*request).deleteBucketPolicy, bodyNone, nil, false},
	{"DELETE", levelBucket, "publicAccessBlock", "DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", (*request).deletePublicAccessBlock, bodyNone, nil, false},
	{"DELETE", levelBucket, "replication", "DeleteBucketReplication", "s3:PutReplicationConfiguration", (*request).deleteNothing, bodyNone, nil, false},
	{"DELETE", levelBucket, "tagging", "DeleteBucketTagging", "s3:PutBucketTagging", (*request).deleteBucketTagging, bodyNone, nil, false},
	{"DELETE", levelBucket, "website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite", (*request).deleteNothing, bodyNone, nil, false},

	{"POST", levelBucket, "metadataConfiguration", "CreateBucketMetadataConfiguration", "s3:CreateBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"POST", levelBucket, "metadataTable", "CreateBucketMetadataTableConfiguration", "s3:CreateBucketMetadataTableConfiguration", unavailable, bodyNone, nil, false},
	{"POST", levelBucket, "", "PostObject", "s3:PutObject", (*request).postObject, bodyObject, nil, false},

	{"GET", levelBucket, "", "ListObjects", "s3:ListBucket", (*request).listObjects, bodyNone, append([]string{"marker"}, listParams...), false},

	{"GET", levelObject, "acl", "GetObjectAcl", "s3:GetObjectAcl", (*request).getObjectAcl, bodyNone, []string{"versionId"}, false},
	{"GET", levelObject, "attributes", "GetObjectAttributes", "s3:GetObjectAttributes", (*request).getObjectAttributes, bodyNone, []string{"versionId"}, false},
	{"GET", levelObject, "legal-hold", "GetObjectLegalHold", "s3:GetObjectLegalHold", (*request).getObjectLegalHold, bodyNone, []string{"versionId"}, false},
	{"GET", levelObject, "retention", "GetObjectRetention", "s3:GetObjectRetention", (*request).getObjectRetention, bodyNone, []string{"versionId"}, false},
	{"GET", levelObject, "tagging", "GetObjectTagging", "s3:GetObjectTagging", (*request).getObjectTagging, bodyNone, []string{"versionId"}, false},
	{"GET", levelObject, "torrent", "GetObjectTorrent", "s3:GetObjectTorrent", unavailable, bodyNone, nil, false},
	{"GET", levelObject, "uploadId", "ListParts", "s3:ListMultipartUploadParts", (*request).listParts, bodyNone, []string{"max-parts", "part-number-marker"}, false},
	{"GET", levelObject, "", "GetObject", "s3:GetObject", (*request).getObject, bodyNone, append([]string{"versionId", "partNumber"}, overrideParams...), false},
	{"HEAD", levelObject, "", "HeadObject", "s3:GetObject", (*request).getObject, bodyNone, append([]string{"versionId", "partNumber"}, overrideParams...), false},

	{"PUT", levelObject, "acl", "PutObjectAcl", "s3:PutObjectAcl", (*request).putObjectAcl, bodyXML, []string{"versionId"}, false},
	{"PUT", levelObject, "encryption", "UpdateObjectEncryption", "s3:UpdateObjectEncryption", unavailable, bodyNone, []string{"versionId"}, false},
	{"PUT", levelObject, "legal-hold", "PutObjectLegalHold", "s3:PutObjectLegalHold", (*request).putObjectLegalHold, bodyXML, []string{"versionId"}, false},
	{"PUT", levelObject, "renameObject", "RenameObject", "s3:PutObject", unavailable, bodyNone, nil, false},
	{"PUT", levelObject, "retention", "PutObjectRetention", "s3:PutObjectRetention", (*request).putObjectRetention, bodyXML, []string{"versionId"}, false},
	{"PUT", levelObject, "tagging", "PutObjectTagging", "s3:PutObjectTagging", (*request).putObjectTagging, bodyXML, []string{"versionId"}, false},
	{"PUT", levelObject, "uploadId", "UploadPartCopy", "s3:PutObject", (*request).uploadPartCopy, bodyNone, []string{"partNumber"}, true},
	{"PUT", levelObject, "uploadId", "UploadPart", "s3:PutObject", (*request).uploadPart, bodyObject, []string{"partNumber"}, false},
	{"PUT", levelObject, "", "CopyObject", "s3:PutObject", (*request).copyObject, bodyNone, nil, true},
	{"PUT", levelObject, "", "PutObject", "s3:PutObject", (*request).putObject, bodyObject, nil, false},

	{"POST", levelObject, "restore", "RestoreObject", "s3:RestoreObject", unavailable, bodyNone, []string{"versionId"}, false},
	{"POST", levelObject, "select", "SelectObjectContent", "s3:GetObject", unavailable, bodyNone, []string{"select-type"}, false},
	{"POST", levelObject, "uploadId", "CompleteMultipartUpload", "s3:PutObject", (*request).completeUpload, bodyXML, nil, false},
	{"POST", levelObject, "uploads", "CreateMultipartUpload", "s3:PutObject", (*request).createUpload, bodyNone, nil, false},

	{"DELETE", levelObject, "tagging", "DeleteObjectTagging", "s3:DeleteObjectTagging", (*request).deleteObjectTagging, bodyNone, []string{"versionId"}, false},
	{"DELETE", levelObject, "uploadId", "AbortMultipartUpload", "s3:AbortMultipartUpload", (*request).abortUpload, bodyNone, nil, false},
	{"DELETE", levelObject, "", "DeleteObject", "s3:DeleteObject", (*request).deleteObject, bodyNone, []string{"versionId"}, false},
}

// selectors are the parameters that select a sub-resource anywhere in the table. One of them on a request that has no row
// for it is a method that is not allowed, never the plain operation.
var selectors = func() []string {
	var all []string
	for i := range operations {
		if name := operations[i].parameter(); name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}()

// table is operations by level and method.
var table = func() map[string][]*operation {
	m := make(map[string][]*operation)
	for i := range operations {
		op := &operations[i]
		key := routeKey(op.level, op.method)
		m[key] = append(m[key], op)
	}
	// The plain rows, which fit anything, come last.
	for _, rows := range m {
		slices.SortStableFunc(rows, func(a, b *operation) int { return bool2int(a.selector == "") - bool2int(b.selector == "") })
	}
	return m
}()

func bool2int(b bool) int {
	if b {
		return 1
	}
	return 0
}

func routeKey(l level, method string) string { return l.String() + method }

// route finds the operation that a request asks for.
func route(r *request) (*operation, error) {
	rows := rowsOf(r.level, string(r.ctx.Method()))
	if rows == nil {
		return nil, errMethodNotAllowed.with("Method", string(r.ctx.Method())).with("ResourceType", strings.ToUpper(r.level.String()))
	}
	selector, err := r.selector()
	if err != nil {
		return nil, err
	}
	_, copies := r.head.lookup("x-amz-copy-source")
	for _, op := range rows {
		if op.copies && !copies || !op.selects(selector, r) {
			continue
		}
		return op, op.checkParams(r)
	}
	return nil, errMethodNotAllowed.with("Method", string(r.ctx.Method())).with("ResourceType", strings.ToUpper(selector))
}

func rowsOf(l level, method string) []*operation {
	// Concatenating for the lookup alone does not allocate.
	return table[l.String()+method]
}

// selector returns the name of the one parameter that selects a sub-resource, or "". list-type gives way to any other.
func (r *request) selector() (string, error) {
	found := ""
	for i := range r.params {
		name := r.params[i].name
		switch {
		case !slices.Contains(selectors, name) || name == found || name == "list-type" && found != "":
		case found == "" || found == "list-type":
			found = name
		default:
			return "", errInvalidArgument.message("Conflicting query string parameters: "+found+", "+name).with("ArgumentName", "ResourceType").with("ArgumentValue", name)
		}
	}
	if found == "list-type" && r.param(found) != "1" && r.param(found) != "2" {
		return "", invalidArgument("Invalid List Type", found, r.param(found))
	}
	return found, nil
}

// parameter is the query parameter that selects the operation, "" for the plain one.
func (op *operation) parameter() string {
	if i := strings.IndexAny(op.selector, "=&"); i >= 0 {
		return op.selector[:i]
	}
	return op.selector
}

func (op *operation) selects(selector string, r *request) bool {
	name := op.parameter()
	if value, ok := strings.CutPrefix(op.selector[len(name):], "="); ok && name == selector {
		return r.param(name) == value
	}
	if other, ok := strings.CutPrefix(op.selector[len(name):], "&"); ok {
		_, given := r.target.get(other)
		return given && name == selector
	}
	return name == selector || op.selector == "" && selector == "list-type" && r.param(selector) == "1"
}

// checkParams refuses a parameter without a value that the operation does not know: it is a sub-resource of an S3 newer than
// this server. An unknown parameter with a value, such as the x-id of some clients, changes nothing and is let through.
func (op *operation) checkParams(r *request) error {
	selector := op.parameter()
	for i := range r.params {
		p := &r.params[i]
		if p.bare && p.name != selector && !slices.Contains(op.params, p.name) && !slices.Contains(selectors, p.name) &&
			!strings.HasPrefix(p.name, "X-Amz-") {
			return notImplemented("QueryParameter", p.name)
		}
	}
	return nil
}

// allowedMethods lists the methods that the request's resource has, for the Allow header: those of its sub-resource, or of the
// resource itself where there is no such sub-resource.
func allowedMethods(r *request) string {
	if r.rawPath == metricsPath {
		return "GET, HEAD"
	}
	if r.level == levelAdmin {
		_, _, methods := admin.Match("", strings.TrimPrefix(r.rawPath, admin.Prefix))
		return strings.Join(methods, ", ")
	}
	selector, _ := r.selector()
	methods := methodsOf(r.level, selector)
	if len(methods) == 0 {
		methods = methodsOf(r.level, "")
	}
	return strings.Join(methods, ", ")
}

func methodsOf(l level, selector string) (methods []string) {
	for i := range operations {
		op := &operations[i]
		if op.level == l && op.parameter() == selector && !slices.Contains(methods, op.method) {
			methods = append(methods, op.method)
		}
	}
	return methods
}
