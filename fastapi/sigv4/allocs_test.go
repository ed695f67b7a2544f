//go:build !race

package sigv4_test

import (
	"testing"

	"penstock/fastapi/sigv4"
)

// TestUnknownKeyCostsTheSame compares the work for an unknown access key with that for a known one by
// what it allocates: unlike time, that is exact. BenchmarkRefuse compares the time.
func TestUnknownKeyCostsTheSame(t *testing.T) {
	v := newVerifier(t, exampleOptions())
	cost := func(accessKey string) float64 {
		r := loaderGet()
		signer := sigv4.Signer{AccessKey: accessKey, Secret: "guess", Region: "us-east-1"}
		if _, err := signer.Sign(r, exampleTime, emptySHA256); err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(200, func() {
			if _, _, err := v.Verify(r); err == nil {
				t.Fatal("verified")
			}
		})
	}
	known, unknown := cost(exampleKey), cost("AKIAIOSFODNN7EXAMPLF")
	if known != unknown {
		t.Errorf("a wrong signature costs %v allocations with a known access key, %v with an unknown one", known, unknown)
	}
}

func TestVerifyAllocations(t *testing.T) {
	r := loaderGet()
	if _, err := exampleSigner.Sign(r, exampleTime, emptySHA256); err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, exampleOptions())
	if n := testing.AllocsPerRun(200, func() { v.Verify(r) }); n > 10 {
		t.Errorf("got %v allocations, want at most 10", n)
	}
}
