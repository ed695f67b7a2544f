package policy

import "strings"

// KeyID is a condition key of the table below.
type KeyID uint8

const (
	KeyUnknown KeyID = iota // One that no request has.
	KeyClaim                // A claim of a web identity, such as "accounts.example.com:sub".

	KeyCurrentTime
	KeyEpochTime
	KeyFederatedProvider
	KeyMultiFactorAuthPresent
	KeyPrincipalAccount
	KeyPrincipalArn
	KeyPrincipalTag
	KeyPrincipalType
	KeyPrincipalIsAWSService
	KeyReferer
	KeyRequestedRegion
	KeyRequestTag
	KeyResourceAccount
	KeyResourceTag
	KeySecureTransport
	KeySourceIP
	KeyTagKeys
	KeyTokenIssueTime
	KeyUserAgent
	KeyUserID
	KeyUsername
	KeyViaAWSService

	KeyRoleSessionName
	KeyExternalID

	KeyAuthType
	KeyBucketTag
	KeyDelimiter
	KeyExistingObjectTag
	KeyIfMatch
	KeyIfNoneMatch
	KeyLocationConstraint
	KeyMaxKeys
	KeyObjectCreationOperation
	KeyObjectLockLegalHold
	KeyObjectLockMode
	KeyObjectLockRemainingDays
	KeyObjectLockRetainUntil
	KeyPrefix
	KeyRequestObjectTag
	KeyRequestObjectTagKeys
	KeyS3ResourceAccount
	KeySignatureAge
	KeySignatureVersion
	KeyTLSVersion
	KeyVersionID
	KeyACL
	KeyContentSHA256
	KeyCopySource
	KeyGrantFullControl
	KeyGrantRead
	KeyGrantReadACP
	KeyGrantWrite
	KeyGrantWriteACP
	KeyMetadataDirective
	KeyObjectOwnership
	KeySSE
	KeySSECustomerAlgorithm
	KeySSEKMSKeyID
	KeyStorageClass
	KeyWebsiteRedirect

	numKeys
)

// Key is a condition key as a policy names it.
type Key struct {
	ID KeyID
	// Name is what follows the slash of a key such as s3:ExistingObjectTag/<tag>, and the whole name of a claim.
	Name string
}

// keyInfo describes a key. Its name has no case.
type keyInfo struct {
	name  string
	named bool // A tag's name follows, after a slash.
	multi bool // A request may have several values; such a key cannot be a variable.
	// absent marks what belongs to parts of the service that are not here: networks, access points, jobs. Policies may name it,
	// and no request has it.
	absent bool
	id     KeyID
}

var keyTable = [...]keyInfo{
	{name: "aws:CurrentTime", id: KeyCurrentTime},
	{name: "aws:EpochTime", id: KeyEpochTime},
	{name: "aws:FederatedProvider", id: KeyFederatedProvider},
	{name: "aws:MultiFactorAuthPresent", id: KeyMultiFactorAuthPresent},
	{name: "aws:PrincipalAccount", id: KeyPrincipalAccount},
	{name: "aws:PrincipalArn", id: KeyPrincipalArn},
	{name: "aws:PrincipalTag", named: true, id: KeyPrincipalTag},
	{name: "aws:PrincipalType", id: KeyPrincipalType},
	{name: "aws:PrincipalIsAWSService", id: KeyPrincipalIsAWSService},
	{name: "aws:Referer", id: KeyReferer},
	{name: "aws:RequestedRegion", id: KeyRequestedRegion},
	{name: "aws:RequestTag", named: true, id: KeyRequestTag},
	{name: "aws:ResourceAccount", id: KeyResourceAccount},
	{name: "aws:ResourceTag", named: true, id: KeyResourceTag},
	{name: "aws:SecureTransport", id: KeySecureTransport},
	{name: "aws:SourceIp", id: KeySourceIP},
	{name: "aws:TagKeys", multi: true, id: KeyTagKeys},
	{name: "aws:TokenIssueTime", id: KeyTokenIssueTime},
	{name: "aws:UserAgent", id: KeyUserAgent},
	{name: "aws:userid", id: KeyUserID},
	{name: "aws:username", id: KeyUsername},
	{name: "aws:ViaAWSService", id: KeyViaAWSService},
	{name: "aws:CalledVia", multi: true, absent: true},
	{name: "aws:CalledViaFirst", absent: true},
	{name: "aws:CalledViaLast", absent: true},
	{name: "aws:MultiFactorAuthAge", absent: true},
	{name: "aws:PrincipalOrgID", absent: true},
	{name: "aws:PrincipalOrgPaths", multi: true, absent: true},
	{name: "aws:PrincipalServiceName", absent: true},
	{name: "aws:PrincipalServiceNamesList", multi: true, absent: true},
	{name: "aws:ResourceOrgID", absent: true},
	{name: "aws:ResourceOrgPaths", multi: true, absent: true},
	{name: "aws:SourceAccount", absent: true},
	{name: "aws:SourceArn", absent: true},
	{name: "aws:SourceIdentity", absent: true},
	{name: "aws:SourceOrgID", absent: true},
	{name: "aws:SourceOrgPaths", multi: true, absent: true},
	{name: "aws:SourceOwner", absent: true},
	{name: "aws:SourceVpc", absent: true},
	{name: "aws:SourceVpcArn", absent: true},
	{name: "aws:SourceVpce", absent: true},
	{name: "aws:VpcSourceIp", absent: true},
	{name: "aws:VpceAccount", absent: true},
	{name: "aws:VpceOrgID", absent: true},
	{name: "aws:VpceOrgPaths", multi: true, absent: true},

	{name: "sts:RoleSessionName", id: KeyRoleSessionName},
	{name: "sts:ExternalId", id: KeyExternalID},

	{name: "s3:authType", id: KeyAuthType},
	{name: "s3:BucketTag", named: true, id: KeyBucketTag},
	{name: "s3:delimiter", id: KeyDelimiter},
	{name: "s3:ExistingObjectTag", named: true, id: KeyExistingObjectTag},
	{name: "s3:if-match", id: KeyIfMatch},
	{name: "s3:if-none-match", id: KeyIfNoneMatch},
	{name: "s3:LocationConstraint", id: KeyLocationConstraint},
	{name: "s3:max-keys", id: KeyMaxKeys},
	{name: "s3:ObjectCreationOperation", id: KeyObjectCreationOperation},
	{name: "s3:object-lock-legal-hold", id: KeyObjectLockLegalHold},
	{name: "s3:object-lock-mode", id: KeyObjectLockMode},
	{name: "s3:object-lock-remaining-retention-days", id: KeyObjectLockRemainingDays},
	{name: "s3:object-lock-retain-until-date", id: KeyObjectLockRetainUntil},
	{name: "s3:prefix", id: KeyPrefix},
	{name: "s3:RequestObjectTag", named: true, id: KeyRequestObjectTag},
	{name: "s3:RequestObjectTagKeys", multi: true, id: KeyRequestObjectTagKeys},
	{name: "s3:ResourceAccount", id: KeyS3ResourceAccount},
	{name: "s3:signatureAge", id: KeySignatureAge},
	{name: "s3:signatureversion", id: KeySignatureVersion},
	{name: "s3:TlsVersion", id: KeyTLSVersion},
	{name: "s3:VersionId", id: KeyVersionID},
	{name: "s3:x-amz-acl", id: KeyACL},
	{name: "s3:x-amz-content-sha256", id: KeyContentSHA256},
	{name: "s3:x-amz-copy-source", id: KeyCopySource},
	{name: "s3:x-amz-grant-full-control", id: KeyGrantFullControl},
	{name: "s3:x-amz-grant-read", id: KeyGrantRead},
	{name: "s3:x-amz-grant-read-acp", id: KeyGrantReadACP},
	{name: "s3:x-amz-grant-write", id: KeyGrantWrite},
	{name: "s3:x-amz-grant-write-acp", id: KeyGrantWriteACP},
	{name: "s3:x-amz-metadata-directive", id: KeyMetadataDirective},
	{name: "s3:x-amz-object-ownership", id: KeyObjectOwnership},
	{name: "s3:x-amz-server-side-encryption", id: KeySSE},
	{name: "s3:x-amz-server-side-encryption-aws-kms-key-id", id: KeySSEKMSKeyID},
	{name: "s3:x-amz-server-side-encryption-customer-algorithm", id: KeySSECustomerAlgorithm},
	{name: "s3:x-amz-storage-class", id: KeyStorageClass},
	{name: "s3:x-amz-website-redirect-location", id: KeyWebsiteRedirect},
	{name: "s3:AccessGrantsInstanceArn", absent: true},
	{name: "s3:AccessPointNetworkOrigin", absent: true},
	{name: "s3:AccessPointTag", named: true, absent: true},
	{name: "s3:DataAccessPointAccount", absent: true},
	{name: "s3:DataAccessPointArn", absent: true},
	{name: "s3:destinationRegion", absent: true},
	{name: "s3:ExistingJobOperation", absent: true},
	{name: "s3:ExistingJobPriority", absent: true},
	{name: "s3:InventoryAccessibleOptionalFields", multi: true, absent: true},
	{name: "s3:isReplicationPauseRequest", absent: true},
	{name: "s3:JobSuspendedCause", absent: true},
	{name: "s3:RequestJobOperation", absent: true},
	{name: "s3:RequestJobPriority", absent: true},
}

var keysByName = func() map[string]*keyInfo {
	m := make(map[string]*keyInfo, len(keyTable))
	for i := range keyTable {
		m[strings.ToLower(keyTable[i].name)] = &keyTable[i]
	}
	return m
}()

// parseKey finds a key by its name, in any case. Unknown ones of Amazon's are KeyUnknown with known false; those of other
// issuers are claims.
func parseKey(text string) (key Key, info keyInfo, known bool) {
	name, tag, named := strings.Cut(text, "/")
	if k, ok := keysByName[strings.ToLower(name)]; ok && k.named == named && named == (tag != "") {
		return Key{k.id, tag}, *k, true
	}
	service, claim, ok := lastCut(text, ':')
	switch {
	case !ok || service == "" || claim == "", strings.EqualFold(service, "aws"), strings.EqualFold(service, "s3"), strings.EqualFold(service, "sts"):
		return Key{}, keyInfo{}, false
	}
	return Key{KeyClaim, text}, keyInfo{name: text, id: KeyClaim}, true
}

func lastCut(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// String returns the key's name.
func (k Key) String() string {
	if k.ID == KeyClaim {
		return k.Name
	}
	for i := range keyTable {
		if keyTable[i].id == k.ID && k.ID != KeyUnknown {
			if k.Name != "" {
				return keyTable[i].name + "/" + k.Name
			}
			return keyTable[i].name
		}
	}
	return "unknown"
}
