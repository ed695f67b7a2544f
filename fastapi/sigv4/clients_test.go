package sigv4_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	minio "github.com/minio/minio-go/v7/pkg/signer"

	"penstock/fastapi/sigv4"
)

// newRNG returns a random source whose seed it logs; SEED=n replays it.
func newRNG(tb testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if env := os.Getenv("SEED"); env != "" {
		n, err := strconv.ParseUint(env, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		seed = n
	}
	tb.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// wire returns the request as an HTTP client writes it.
func wire(t *testing.T, req *http.Request) *sigv4.Request {
	t.Helper()
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(b.String(), "\r\n\r\n")
	return parse(strings.ReplaceAll(head, "\r\n", "\n"))
}

const oddRunes = "abc XYZ019-._~/+&=?#%\"'()*!$,:;@[]{}|\\^`<>äß漢🧀\x7f"

func randomText(rng *rand.Rand, maxLen int) string {
	runes := []rune(oddRunes)
	var b strings.Builder
	for range rng.IntN(maxLen) {
		b.WriteRune(runes[rng.IntN(len(runes))])
	}
	return b.String()
}

// randomRequest returns a request for a random key with random metadata and a random query. The path
// is escaped as the SDKs do it. The query is escaped as net/url does it, with '+' for a space; its
// names are plain and different, as all of S3's are: clients disagree on the order of others.
func randomRequest(t *testing.T, rng *rand.Rand) *http.Request {
	t.Helper()
	u := &url.URL{Scheme: "http", Host: "127.0.0.1:9000", Path: "/bucket/" + randomText(rng, 30)}
	q := url.Values{}
	for range rng.IntN(4) {
		q.Set([]string{"prefix", "x-id", "versionId", "partNumber", "response-content-type"}[rng.IntN(5)], randomText(rng, 10))
	}
	u.RawQuery = q.Encode()
	u.RawPath = strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(u.Path), "%2F", "/"), "+", "%20")
	req := (&http.Request{Method: "GET", URL: u, Header: http.Header{}}).WithContext(t.Context())
	for range rng.IntN(3) {
		value := strings.TrimSpace(strings.ReplaceAll(randomText(rng, 20), "\x7f", ""))
		req.Header.Add(fmt.Sprintf("x-amz-meta-%d", rng.IntN(2)), strings.Join(strings.Fields(value), "  "))
	}
	if rng.IntN(2) == 0 {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	return req
}

// TestClients verifies what the signers of two client libraries make of random requests.
func TestClients(t *testing.T) {
	rng := newRNG(t)
	ctx := context.Background()
	creds := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	sdk := awsv4.NewSigner(func(o *awsv4.SignerOptions) { o.DisableURIPathEscaping = true })
	for name, sign := range map[string]func(req *http.Request, now time.Time) (*http.Request, error){
		"aws-sdk-go-v2": func(req *http.Request, now time.Time) (*http.Request, error) {
			req.Header.Set("x-amz-content-sha256", emptySHA256)
			return req, sdk.SignHTTP(ctx, creds, req, emptySHA256, "s3", "us-east-1", now)
		},
		"aws-sdk-go-v2 presigned": func(req *http.Request, now time.Time) (*http.Request, error) {
			q := req.URL.Query()
			q.Set("X-Amz-Expires", "60")
			req.URL.RawQuery = q.Encode()
			signed, headers, err := sdk.PresignHTTP(ctx, creds, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", now)
			if err != nil {
				return nil, err
			}
			presigned, err := http.NewRequest(req.Method, signed, nil)
			if err != nil {
				return nil, err
			}
			for name, values := range headers {
				presigned.Header[name] = values
			}
			return presigned, nil
		},
		"minio-go": func(req *http.Request, now time.Time) (*http.Request, error) {
			req.Header.Set("x-amz-content-sha256", emptySHA256)
			return minio.SignV4(*req, exampleKey, exampleSecret, "", "us-east-1"), nil
		},
		"minio-go presigned": func(req *http.Request, now time.Time) (*http.Request, error) {
			return minio.PreSignV4(*req, exampleKey, exampleSecret, "", "us-east-1", 60), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := exampleOptions()
			opts.Clock = time.Now // minio-go signs with the time of day.
			v := newVerifier(t, opts)
			for range 300 {
				req, err := sign(randomRequest(t, rng), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				r := wire(t, req)
				if _, _, err := v.Verify(r); err != nil {
					t.Fatalf("%v\n%s %s?%s\n%v", err, r.Method, r.RawPath, r.RawQuery, req.Header)
				}
			}
		})
	}
}
