package policy

import "slices"

// canned are the policies that every store has. Nobody can change them.
var canned = map[string]string{
	"admin":       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	"readwrite":   `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","admin:ListOwnKeys","admin:CreateOwnKey","admin:DeleteOwnKey","sts:AssumeRole"],"Resource":"*"}]}`,
	"readonly":    `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}]}`,
	"writeonly":   `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"],"Resource":"*"}]}`,
	"diagnostics": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["admin:Info","admin:Cost","admin:HealStatus","admin:ScrubStatus","admin:ListDrives","admin:ListBucketUsage","admin:BucketUsage","admin:OpenAPI","admin:Metrics"],"Resource":"*"}]}`,
}

// Canned returns the document of a policy that every store has.
func Canned(name string) (document string, ok bool) {
	document, ok = canned[name]
	return document, ok
}

// CannedNames returns their names, sorted.
func CannedNames() []string {
	var names []string
	for name := range canned {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
