package policy

import "strings"

// Action is something that can be done, such as s3:GetObject: its position in the table of actions.
type Action uint8

// None is no action; no policy allows it.
const None Action = 0

// Level says what kind of resource an action is done to.
type Level uint8

const (
	OnService Level = iota // Not to a bucket at all; its resource is "".
	OnBucket
	OnObject
)

// actionTable lists every action by name, a line for each level of each service. Policies may name them all, also those whose
// operations a server does not have.
var actionTable = [...]struct {
	service string
	level   Level
	names   string
}{
	{"s3", OnService, `CreateJob GetAccountPublicAccessBlock ListAccessPoints ListAllMyBuckets ListJobs ListMultiRegionAccessPoints
		ListStorageLensConfigurations PutAccountPublicAccessBlock PutStorageLensConfiguration`},
	{"s3", OnBucket, `CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket DeleteBucketMetadataTableConfiguration DeleteBucketPolicy
		DeleteBucketWebsite GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging
		GetBucketMetadataTableConfiguration GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy
		GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite
		GetEncryptionConfiguration GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration
		GetReplicationConfiguration ListBucket ListBucketMultipartUploads ListBucketVersions PutAccelerateConfiguration
		PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration
		PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning
		PutBucketWebsite PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration
		PutMetricsConfiguration PutReplicationConfiguration UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
		UpdateBucketMetadataJournalTableConfiguration ListTagsForResource TagResource UntagResource`},
	{"s3", OnObject, `AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging
		GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion
		GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent
		InitiateReplication ListMultipartUploadParts ObjectOwnerOverrideToBucketOwner PutObject PutObjectAcl PutObjectLegalHold
		PutObjectRetention PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags
		RestoreObject UpdateObjectEncryption`},
	{"s3express", OnBucket, `CreateSession`},
	{"sts", OnService, `AssumeRole AssumeRoleWithWebIdentity GetCallerIdentity GetSessionToken TagSession SetSourceIdentity`},
	// The administration of this server: an action for each route of its API.
	{"admin", OnService, `Other OpenAPI Info Cost Metrics ExplainAccess ExplainLifecycle
		ListBucketUsage BucketUsage GetBucketQuota PutBucketQuota DeleteBucketQuota GetBucketETags SetBucketETags
		HealStatus StartHealing StopHealing ScrubStatus StartScrub StopScrub Verify CompactStatus StartCompaction StopCompaction
		ListDrives AddDrive DrainDrive StopDraining ReplaceDrive RemoveDrive
		WatchRequests GetSettings SetSetting GetLog GetDraining SetDraining StopService RestartService Profile SupportBundle
		ListUsers GetUser PutUser UpdateUser DeleteUser RevokeUserSessions ListGroups GetGroup PutGroup UpdateGroup DeleteGroup
		ListPolicies GetPolicy PutPolicy DeletePolicy ListRoles GetRole PutRole UpdateRole DeleteRole RevokeRoleSessions
		ListProviders GetProvider PutProvider DeleteProvider
		ListOwnKeys CreateOwnKey DeleteOwnKey ListKeys CreateKey GetKey UpdateKey DeleteKey`},
}

type actionInfo struct {
	name    string // As documented, such as "s3:GetObject".
	lower   string
	level   Level
	service service
}

// service is whose resources an action is done to. A resource of one service is never one of another, so that naming
// every bucket allows nothing that is not done to buckets.
type service uint8

const (
	anyService service = iota // Of a resource that a policy gives as "*".
	s3Service
	stsService // Its resources are roles, which have ARNs of iam.
	adminService
)

var services = map[string]service{"s3": s3Service, "s3express": s3Service, "sts": stsService, "iam": stsService, "admin": adminService}

// maxActions bounds the table: an Action is a byte, and a set of them four words.
const maxActions = 256

// actions is the table by Action. The first entry is None.
var actions = func() []actionInfo {
	all := make([]actionInfo, 1, maxActions)
	for _, row := range actionTable {
		for _, name := range strings.Fields(row.names) {
			name = row.service + ":" + name
			all = append(all, actionInfo{name, strings.ToLower(name), row.level, services[row.service]})
		}
	}
	if len(all) > maxActions {
		panic("policy: too many actions")
	}
	return all
}()

var actionsByName = func() map[string]Action {
	m := make(map[string]Action, len(actions))
	for i := range actions[1:] {
		m[actions[i+1].lower] = Action(i + 1)
	}
	return m
}()

// ActionOf finds an action by its name, in any case.
func ActionOf(name string) (Action, bool) {
	a, ok := actionsByName[strings.ToLower(name)]
	return a, ok
}

// MustAction is ActionOf for the names in tables.
func MustAction(name string) Action {
	a, ok := ActionOf(name)
	if !ok {
		panic("policy: no action " + name)
	}
	return a
}

// String returns the name as documented.
func (a Action) String() string {
	if a == None || int(a) >= len(actions) {
		return "none"
	}
	return actions[a].name
}

// Level says what an action is done to.
func (a Action) Level() Level { return actions[a].level }

// Actions returns every action there is.
func Actions() []Action {
	all := make([]Action, 0, len(actions)-1)
	for i := range actions[1:] {
		all = append(all, Action(i+1))
	}
	return all
}

// actionSet is a set of actions.
type actionSet [maxActions / 64]uint64

func (s *actionSet) add(a Action)      { s[a/64] |= 1 << (a % 64) }
func (s *actionSet) has(a Action) bool { return s[a/64]&(1<<(a%64)) != 0 }

// invert makes the set hold what it did not, of the actions there are.
func (s *actionSet) invert() {
	for i := range actions[1:] {
		s[(i+1)/64] ^= 1 << ((i + 1) % 64)
	}
}

// levels returns which levels the set's actions have.
func (s *actionSet) levels() (has [OnObject + 1]bool) {
	for i := range actions[1:] {
		if s.has(Action(i + 1)) {
			has[actions[i+1].level] = true
		}
	}
	return has
}

// addPattern adds the actions that a name with wildcards means. Names of actions have no case.
func (s *actionSet) addPattern(name string) (added actionSet) {
	name = strings.ToLower(name)
	if a, ok := actionsByName[name]; ok {
		added.add(a)
	} else if strings.ContainsAny(name, "*?") {
		p := wildcards(name)
		for i := range actions[1:] {
			if p.match(nil, actions[i+1].lower) == matchYes {
				added.add(Action(i + 1))
			}
		}
	}
	for i := range s {
		s[i] |= added[i]
	}
	return added
}

func (s *actionSet) empty() bool { return *s == actionSet{} }
