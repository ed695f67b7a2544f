package fastapi

import (
	"bytes"
	"compress/gzip"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/fastapi/admin"
)

// advisory is something that went wrong in another store. It is tested by a function of its own here, or by tests that say so elsewhere, as
// folder and name; one of these that is gone fails.
type advisory struct {
	ids   string // With spaces between. A case without an identifier has a name.
	wrong string
	tests string // "folder TestName", with commas between.
	run   func(t *testing.T)
}

// advisories are those of MinIO, RustFS, SeaweedFS, versitygw, Ceph, Garage and fasthttp, as published, in the order of their kind.
var advisories = []advisory{
	// Signatures that were not checked.
	{"CVE-2026-41145 CVE-2026-40344 CVE-2025-31489", "a payload mode, or a place for credentials, for which the signature was not checked", "fastapi TestForgedSignaturesReachNothing, tools/blackbox TestForgedRequests", nil},
	{"CVE-2021-21390", "chunk signatures not enforced", "fastapi TestChunksCannotBeTamperedWith, tools/blackbox TestFlippedChunks, tools/blackbox TestRearrangedChunks", nil},
	{"GHSA-c667", "a signature not bound to the method", "fastapi TestSignaturesAreBoundToAll", nil},
	{"GHSA-3p3x", "a comparison that takes as long as it finds equal bytes", "fastapi/sigv4 TestUnknownKeyCostsTheSame", nil},
	{"signature-edges", "each corner of a signature: skew, expiry, signed headers, scope, encoding, tokens, both mechanisms", "fastapi/sigv4 TestEdges, fastapi/sigv4 TestExpiresBounds, fastapi/sigv4 TestExamplesSpoilt, fastapi TestSecondMechanisms, fastapi TestBehaviour20Presigned", nil},
	{"signature-body", "a body that is not what was signed: longer, shorter, trailers wrong, missing, not announced", "fastapi TestBodiesThatAreNotWhatWasSigned, fastapi TestShortBodies, fastapi TestFormDigestIsVerified, tools/blackbox TestUnannouncedTrailers", nil},
	{"revocation", "a key that is refused a while after it was revoked", "fastapi TestRevokedAtOnce, tools/blackbox TestRevokedUnderLoad, fastapi/sigv4 TestRevoked, fastapi/iam TestRevocation", nil},

	// Decisions taken for a route instead of an operation, or not at all.
	{"CVE-2021-21362", "a presigned POST was not authorised as the PutObject that it is", "fastapi TestPostIsAuthorisedAsPut, fastapi TestUploadRoutesAreAuthorisedAsOperations", nil},
	{"names", "what was given to somebody inherited by another of the same name", "fastapi TestNamesAreNotInherited, fastapi/iam TestSameNameIsNotSamePerson", nil},
	{"CVE-2021-41137", "policies not evaluated for some requests", "fastapi TestEveryRouteHasAnAction, fastapi TestAccessMatrix, fastapi TestEachActionAlone", nil},
	{"GHSA-w5fh CVE-2023-43040", "conditions of a form, or its bucket, not enforced", "fastapi TestPostConditions", nil},
	{"GHSA-3ppv", "versions read with the permission to read objects", "fastapi TestVersionsAreAnotherAction", nil},
	{"GHSA-x298", "everybody who may list may list versions", "fastapi TestListingsAreNotVersions", nil},
	{"CVE-2016-7031", "a private bucket listed by nobody", "fastapi TestAccessMatrix", nil},
	{"CVE-2026-39360 GHSA-mx42 GHSA-wfxj", "a copy without leave to read its source", "fastapi TestCopiesNeedTheirSource, fastapi TestCopiedTagsNeedLeave", nil},
	{"GHSA-6r96", "a header taken for a condition key of the same name", "fastapi TestHeadersAreNoConditionKeys", nil},
	{"GHSA-v9cp", "ForAllValues and ForAnyValue negated wrongly", "fastapi/policy TestConditions, fastapi/policy TestAgainstReference", nil},
	{"GHSA-5w8r", "tags of the object not there when a policy asks for them", "fastapi TestConditionsOfRequests, fastapi TestTagLimits", nil},
	{"CVE-2026-21862 GHSA-fc6g", "the address of the client taken from a header that anybody can send", "fastapi TestTrustedProxies", nil},
	{"CVE-2023-25812 GHSA-c8fc", "an explicit Deny of BypassGovernanceRetention ignored", "fastapi TestLockPermissions, engine TestLockMatrix", bypassDenied},
	{"CVE-2024-36107 GHSA-95fr", "whether an object is there told to who may not know", "fastapi TestMissingAndForbidden, fastapi TestDeniedLooksTheSame", nil},
	{"evaluation", "explicit deny, default deny, boundary and session policy, against a slow evaluator", "fastapi/policy TestAgainstReference, fastapi/policy TestDecideFailsClosed", nil},

	// More than the one who asks has.
	{"CVE-2021-43858 CVE-2024-55949 CVE-2024-24747 CVE-2025-62506 CVE-2020-11012 CVE-2022-24842", "credentials that may more than those that made them", "fastapi/iam TestDerivedIsNeverMore, fastapi TestOwnKeys", nil},
	{"CVE-2026-22042 GHSA-vcwh", "identities changed with leave for something else", "fastapi/iam TestWhoMayChangeIdentities, fastapi TestEachActionAlone", nil},
	{"GHSA-566f", "a key whose parent the caller chose", "fastapi TestParentsAreNotChosen", nil},
	{"CVE-2026-22043 GHSA-xgr5", "restricted accounts that make unrestricted ones", "fastapi TestOwnKeys, fastapi TestSessionsAreNotWidened", nil},
	{"CVE-2023-27589 GHSA-9wfv", "a user with the access key of root", "fastapi/iam TestNames, fastapi TestParentsAreNotChosen", nil},
	{"GHSA-ccrv GHSA-48rf GHSA-xvfh", "tokens that somebody else signed, or that never end", "fastapi/iam TestForgedWebIdentities, fastapi/iam TestSessions", nil},
	{"GHSA-5qfg GHSA-3473", "the token service reached by nobody", "fastapi TestSTSRefuses", nil},
	{"GHSA-m477 GHSA-r5qv GHSA-75fx GHSA-68cw", "what seals tokens known to everybody, or made of the root secret", "fastapi/iam TestSecretsAreSealed, fastapi/iam TestParseKeyring", nil},
	{"CVE-2026-33322 GHSA-5cx5 CVE-2024-48916", "an algorithm that the token chooses: none, or HS256 with a public key", "fastapi/iam TestForgedWebIdentities", nil},
	{"CVE-2026-33419 GHSA-jv87", "who there is, told by how a login fails", "fastapi/sigv4 TestUnknownKeyCostsTheSame, fastapi/iam TestForgedWebIdentities", nil},
	{"CVE-2025-27414", "a second protocol that trusts keys that the first does not", "fastapi TestSTSRefuses, fastapi TestAccessMatrix, tools/blackbox TestOneListener", nil},
	{"CVE-2026-34204 GHSA-3rh2", "headers of clients that become what the server keeps for itself", "fastapi TestMetadataIsNotAttributes", nil},

	// Names that are paths.
	{"CVE-2023-28434 CVE-2023-28433 CVE-2026-54917 GHSA-8r6f", "a name that leads out of its bucket", "fastapi TestTraversal, tools/blackbox TestTraversal", nil},
	{"CVE-2026-42600 CVE-2022-35919 GHSA-pq29", "a path from a request opened as a file", "fastapi TestAdminNamesAreNoPaths, tools/blackbox TestTraversal", nil},
	{"CVE-2024-40120", "a query built from a key", "tools/blackbox TestKeysComeBack", nil},
	{"GHSA-f4vq", "an archive taken apart to wherever its names lead", "fastapi TestArchivesAreObjects", nil},

	// What nobody should be told.
	{"CVE-2023-28432", "the environment of the process, to everybody", "fastapi TestNoSecretsAnywhere, tools/blackbox TestSecretStaysSecret", nil},
	{"GHSA-jqmc GHSA-8784 GHSA-f5cv GHSA-796f GHSA-pfcq", "profiles, metrics and targets, to everybody", "fastapi TestStrangersAreToldNothing, fastapi TestMetricsAccess", nil},
	{"GHSA-r54g GHSA-8cm2 GHSA-333v CVE-2018-16889", "secrets in the log", "fastapi TestNoSecretsAnywhere, tools/blackbox TestSecretStaysSecret, tools/blackbox TestSecretsOfOthersStaySecret", nil},
	{"GHSA-3495", "secrets in what lists identities", "fastapi TestIdentitiesByAdministration", nil},
	{"GHSA-j59h", "a root pair that everybody knows", "tools/blackbox TestGeneratedSecret", nil},
	{"GHSA-923g", "a private key in the sources", "", noPrivateKeys},
	{"CVE-2025-68926 GHSA-h956 CVE-2026-73080 CVE-2026-72920 GHSA-3g29 GHSA-g3vq", "another port, with another protocol, that asks nobody who he is", "tools/blackbox TestOneListener, fastapi TestSecondMechanisms", nil},
	{"CVE-2020-1759 CVE-2018-1128 CVE-2020-25660 CVE-2021-20288", "home-made cryptography between nodes", "tools/blackbox TestOneListener", nil},

	// Asking for others.
	{"CVE-2021-21287 GHSA-9pjf GHSA-4x2q GHSA-xvpm GHSA-m479 GHSA-frwq GHSA-q9q8 GHSA-j5c2", "a server made to ask its own network", "fastapi/iam TestOutbound, fastapi/iam TestForgedWebIdentities", nil},

	// Browsers.
	{"GHSA-x5xv CVE-2016-9579", "any origin reflected, with credentials", "fastapi TestCrossOriginAnswers", nil},
	{"GHSA-v9fg GHSA-7gcx CVE-2020-1760", "what somebody stored shown as a page of the server", "fastapi TestBucketPolicy", nil},
	{"CVE-2020-10753 CVE-2021-3524 CVE-2015-5245", "line breaks in an answer's headers", "fastapi TestNoHeaderInjection, fastapi TestCORSConfiguration, fastapi TestBadForms", nil},

	// Promised and not kept.
	{"GHSA-xrrf", "encryption acknowledged, and plain text stored", "fastapi TestUnsupportedHeadersAreRefused, fastapi TestNothingIsStoredButIgnored", nil},
	{"GHSA-j548", "a lock that counts for nothing when it cannot be read", "fastapi TestUnreadableLock, engine TestLockUnreadable, fastapi TestBrokenConfiguration", nil},
	{"lock", "a lock that somebody gets around: by a clock, a bucket, an overwrite, a housekeeper", "engine TestLockMatrix, engine TestLockTime, engine TestLockHistory, fastapi TestRetention", nil},

	// Without bounds.
	{"CVE-2026-39414 GHSA-h749", "a reader of lines without a limit", "fastapi TestDocumentsHaveABudget, fastapi TestXMLReader, tools/blackbox TestOddDocuments", nil},
	{"CVE-2022-31028 GHSA-qrpr", "idle connections that pile up", "fastapi TestIdleConnectionsAreCheap, tools/blackbox TestIdleConnections", nil},
	{"CVE-2018-1000538", "a form read without end", "fastapi TestBadForms", nil},
	{"CVE-2018-16846", "pages as large as anybody wants", "fastapi TestLargePageParameters", nil},
	{"CVE-2019-3821 CVE-2020-1700", "descriptors lost with clients that go away", "tools/blackbox TestDisconnects", nil},
	{"wildcards", "patterns that take exponential time", "fastapi/policy TestWildcardsAreLinear", nil},
	{"decompression", "a body of a request taken apart because it says that it is compressed", "", nothingIsDecompressed},

	// Malformed.
	{"GHSA-gw2x CVE-2018-7262 CVE-2019-10222 CVE-2019-19337 CVE-2020-12059 CVE-2016-8626", "a malformed request that ends the process", "fastapi TestOddHeaderValues, fastapi TestPanicsAreContained, tools/blackbox TestOddHeaders, tools/blackbox TestOddDocuments", nil},
	{"GHSA-v2ch", "chunks within chunks, without a length", "fastapi TestBehaviour02HTTPChunkedAroundAWSChunked, fastapi TestMissingContentLength", nil},
	{"CVE-2024-47866", "an empty x-amz-copy-source", "fastapi TestOddHeaderValues, tools/blackbox TestOddHeaders", nil},
	{"CVE-2022-3854", "a URL of nothing", "fastapi TestParseTarget, tools/blackbox TestOddQueries", nil},
	{"CVE-2022-21221 GO-2026-4950", "a path decoded twice", "fastapi TestTraversal, fastapi TestSignaturesAreBoundToAll", nil},
	{"framing", "two readings of where a request ends", "fastapi TestFraming, tools/blackbox TestFraming, fastapi TestWhatFollowsAFormIsNoRequest", nil},
}

// TestAdvisories runs what is tested here, and sees that the other tests are there.
func TestAdvisories(t *testing.T) {
	tests := map[string]map[string]bool{}
	for _, a := range advisories {
		for id := range strings.FieldsSeq(a.ids) {
			t.Run(id, func(t *testing.T) {
				if a.run != nil {
					a.run(t)
				}
				for test := range strings.SplitSeq(a.tests, ", ") {
					folder, name, ok := strings.Cut(test, " ")
					if !ok {
						if a.run == nil {
							t.Errorf("%s is not tested", a.wrong)
						}
						continue
					}
					if tests[folder] == nil {
						tests[folder] = testsIn(t, filepath.Join("..", folder))
					}
					if !tests[folder][name] {
						t.Errorf("%s was tested by %s, which is gone", a.wrong, test)
					}
				}
			})
		}
	}
}

// testsIn returns the names of the tests of a package.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// bypassDenied: who is denied the bypass has it from nowhere else, be it an administrator.
func bypassDenied(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/k", "x")
	h.user("allowed", "admin")
	h.user("denied", "admin", h.policy("keep", `{"Effect":"Deny","Action":"s3:BypassGovernanceRetention","Resource":"*"}`))
	h.user("neither", "writeonly")
	for who, want := range map[string]bool{"allowed": true, "denied": false, "neither": false} {
		var e admin.Explanation
		if r := h.call("POST", "/explain/access", `{"as":"user/`+who+`","action":"s3:BypassGovernanceRetention","resource":"bucket/k"}`, &e); r.status != 200 || e.Allowed != want {
			t.Errorf("%s: got %v", who, r)
		}
	}
	h.must("PUT", "/bucket?policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:BypassGovernanceRetention","Resource":"arn:aws:s3:::bucket/*"}]}`)
	for _, who := range []string{"user/allowed", "root"} {
		var e admin.Explanation
		if r := h.call("POST", "/explain/access", `{"as":"`+who+`","action":"s3:BypassGovernanceRetention","resource":"bucket/k"}`, &e); r.status != 200 || e.Allowed {
			t.Errorf("%s, denied by the bucket: got %v", who, r)
		}
	}
}

// noPrivateKeys looks through everything that is shipped for a key that everybody would then have.
func noPrivateKeys(t *testing.T) {
	mark := []byte("PRIVATE KEY" + "-----")
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "dist" || entry.Name() == "data" || entry.Name() == "node_modules" || entry.Name() == "shared"):
			return filepath.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() > 4<<20 {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, mark) {
			t.Errorf("%s holds a private key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// nothingIsDecompressed: Content-Encoding describes what is stored, and is no reason to take it apart.
func nothingIsDecompressed(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, 32<<20))
	w.Close()
	h.must("PUT", "/bucket/bomb", b.String(), "Content-Encoding", "gzip")
	if r := h.must("GET", "/bucket/bomb", ""); r.body != b.String() || r.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %d bytes, %v", len(r.body), r.header)
	}
	for _, encoding := range []string{"gzip", "deflate", "br", "zstd"} {
		h.want(400, "MalformedXML", "POST", "/bucket?delete", b.String(), "Content-Encoding", encoding)
	}
}
