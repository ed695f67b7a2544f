package sigv4_test

import (
	"testing"

	"penstock/fastapi/sigv4"
)

// loaderGet is a ranged GET as the Go SDK sends it.
func loaderGet() *sigv4.Request {
	return parse(`GET /training-data/imagenet/train/shard-000123.tar?x-id=GetObject HTTP/1.1
Host: storage.example.com:9000
User-Agent: aws-sdk-go-v2/1.48.0 ua/2.1 os/linux lang/go#1.26 md/GOARCH#amd64 api/s3#1.114.0
Accept-Encoding: identity
Amz-Sdk-Invocation-Id: 0a1b2c3d-0000-4000-8000-000000000000
Amz-Sdk-Request: attempt=1; max=3
Range: bytes=8388608-16777215`)
}

func BenchmarkVerify(b *testing.B) {
	for _, f := range []form{headerForm, queryForm} {
		b.Run("form="+f.name, func(b *testing.B) {
			r := loaderGet()
			if _, err := f.sign(exampleSigner, r, exampleTime); err != nil {
				b.Fatal(err)
			}
			v := newVerifier(b, exampleOptions())
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse compares refusals, which must cost the same whether the access key exists or not.
func BenchmarkRefuse(b *testing.B) {
	for _, c := range []struct {
		name   string
		signer sigv4.Signer
	}{
		{"wrong-secret", sigv4.Signer{AccessKey: exampleKey, Secret: "guess", Region: "us-east-1"}},
		{"unknown-key", sigv4.Signer{AccessKey: "AKIAIOSFODNN7EXAMPLF", Secret: "guess", Region: "us-east-1"}},
	} {
		b.Run("reason="+c.name, func(b *testing.B) {
			r := loaderGet()
			if _, err := c.signer.Sign(r, exampleTime, emptySHA256); err != nil {
				b.Fatal(err)
			}
			v := newVerifier(b, exampleOptions())
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := v.Verify(r); err == nil {
					b.Fatal("verified")
				}
			}
		})
	}
}

func BenchmarkChainChunk(b *testing.B) {
	auth, err := exampleSigner.Sign(loaderGet(), exampleTime, sigv4.StreamingSigned.HeaderValue())
	if err != nil {
		b.Fatal(err)
	}
	chain := auth.Chain()
	var sum [32]byte
	b.ReportAllocs()
	for b.Loop() {
		chain.Chunk(&sum)
	}
}
