package fastapi

import (
	"os"
	"strings"
	"testing"
)

// currentOperations are those of the Amazon S3 API reference, as of the end of 2025, less the two that belong to other endpoints.
const currentOperations = `
AbortMultipartUpload CompleteMultipartUpload CopyObject CreateBucket CreateBucketMetadataConfiguration CreateBucketMetadataTableConfiguration
CreateMultipartUpload CreateSession DeleteBucket DeleteBucketAnalyticsConfiguration DeleteBucketCors DeleteBucketEncryption
DeleteBucketIntelligentTieringConfiguration DeleteBucketInventoryConfiguration DeleteBucketLifecycle DeleteBucketMetadataConfiguration
DeleteBucketMetadataTableConfiguration DeleteBucketMetricsConfiguration DeleteBucketOwnershipControls DeleteBucketPolicy DeleteBucketReplication
DeleteBucketTagging DeleteBucketWebsite DeleteObject DeleteObjectTagging DeleteObjects DeletePublicAccessBlock GetBucketAbac
GetBucketAccelerateConfiguration GetBucketAcl GetBucketAnalyticsConfiguration GetBucketCors GetBucketEncryption
GetBucketIntelligentTieringConfiguration GetBucketInventoryConfiguration GetBucketLifecycleConfiguration GetBucketLocation GetBucketLogging
GetBucketMetadataConfiguration GetBucketMetadataTableConfiguration GetBucketMetricsConfiguration GetBucketNotificationConfiguration
GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketReplication GetBucketRequestPayment GetBucketTagging GetBucketVersioning
GetBucketWebsite GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold GetObjectLockConfiguration GetObjectRetention GetObjectTagging
GetObjectTorrent GetPublicAccessBlock HeadBucket HeadObject ListBucketAnalyticsConfigurations ListBucketIntelligentTieringConfigurations
ListBucketInventoryConfigurations ListBucketMetricsConfigurations ListBuckets ListMultipartUploads ListObjectVersions ListObjects ListObjectsV2
ListParts PostObject PutBucketAbac PutBucketAccelerateConfiguration PutBucketAcl PutBucketAnalyticsConfiguration PutBucketCors PutBucketEncryption
PutBucketIntelligentTieringConfiguration PutBucketInventoryConfiguration PutBucketLifecycleConfiguration PutBucketLogging
PutBucketMetricsConfiguration PutBucketNotificationConfiguration PutBucketOwnershipControls PutBucketPolicy PutBucketReplication
PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite PutObject PutObjectAcl PutObjectLegalHold PutObjectLockConfiguration
PutObjectRetention PutObjectTagging PutPublicAccessBlock RenameObject RestoreObject SelectObjectContent
UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration UpdateObjectEncryption UploadPart UploadPartCopy`

// TestReadmeTable: what README.md says of each operation is what the table of routes says, and no operation that Amazon documents is left out.
func TestReadmeTable(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| Operation | State |")
	if !ok {
		t.Fatal("README.md has no table of operations")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	states := make(map[string]string)
	for _, line := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			t.Fatalf("%q has not three cells", line)
		}
		name, state, note := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])
		if states[name] != "" {
			t.Errorf("%s is there twice", name)
		}
		if state != "works" && state != "partly" && state != "501" || state == "partly" && note == "" {
			t.Errorf("%s: %q, %q is not a state, with what is missing", name, state, note)
		}
		states[name] = state
	}
	routed := make(map[string]bool)
	for i := range operations {
		op := &operations[i]
		routed[op.name] = true
		switch state := states[op.name]; {
		case state == "":
			t.Errorf("README.md lacks %s", op.name)
		case op.there() && state == "501":
			t.Errorf("README.md says that %s is 501, and it is there", op.name)
		case !op.there() && state != "501":
			t.Errorf("README.md says of %s: %s; and it is 501", op.name, state)
		}
	}
	for name := range states {
		if !routed[name] {
			t.Errorf("README.md has %s, which is no route", name)
		}
	}
	for name := range strings.FieldsSeq(currentOperations) {
		if states[name] == "" {
			t.Errorf("README.md lacks %s, which Amazon documents", name)
		}
	}
}
