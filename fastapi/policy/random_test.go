package policy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"penstock/fastapi/policy"
	"penstock/fastapi/policy/policytest"
)

var pairs = flag.Int("pairs", 8_000, "random pairs of policies and requests to compare with the reference evaluator")

// newRNG logs its seed; SEED=n replays it.
func newRNG(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestAgainstReference compares decisions on random policies and requests with those of the specification.
func TestAgainstReference(t *testing.T) {
	rng := newRNG(t)
	allowed := 0
	refused := map[string]int{}
	for n := 0; n < *pairs; {
		const bucket = "bucket"
		p := policytest.Policies{Root: rng.IntN(12) == 0, Granted: rng.IntN(20) == 0, Restricted: rng.IntN(5) == 0}
		set := policy.Set{Root: p.Root, Granted: p.Granted, Restricted: p.Restricted}
		parse := func(use policy.Use) (string, *policy.Policy) {
			for {
				text := policytest.RandomPolicy(rng, use, bucket)
				compiled, err := policy.Parse([]byte(text), use, bucket)
				if err == nil {
					return text, compiled
				}
				refused[err.Error()]++
			}
		}
		for range rng.IntN(3) {
			text, compiled := parse(policy.ForIdentity)
			p.Identity, set.Identity = append(p.Identity, text), append(set.Identity, policy.Named{Policy: compiled})
		}
		if rng.IntN(2) == 0 {
			p.Bucket, set.Bucket = parse(policy.ForBucket)
		}
		if rng.IntN(5) == 0 {
			text, compiled := parse(policy.ForIdentity)
			p.Boundary, set.Boundary = text, &policy.Named{Policy: compiled}
		}
		for range rng.IntN(5) / 3 {
			text, compiled := parse(policy.ForIdentity)
			p.Session, set.Session = append(p.Session, text), append(set.Session, policy.Named{Policy: compiled})
		}
		var r policy.Request
		for range 10 {
			ref := policytest.RandomRequest(rng, bucket)
			want := policytest.Decide(p, ref)
			r.Action, r.Resource = policy.MustAction(ref.Action), strings.TrimPrefix(ref.Resource, policy.ResourcePrefix)
			r.Principal, r.Values = ref.Principal, policytest.Values(ref.Context)
			got := set.Decide(&r)
			if got.Allowed != want || got.Err != nil {
				t.Fatalf("policies %+v\nrequest %+v\ngot %+v, want %v", p, ref, got, want)
			}
			if want {
				allowed++
			}
			n++
		}
	}
	if allowed < *pairs/20 || allowed > *pairs*19/20 {
		t.Errorf("%d of %d requests were allowed; the comparison says little", allowed, *pairs)
	}
	for text, n := range refused {
		switch text {
		case "Policy has invalid action", "Policy has invalid resource", "Action does not apply to any resource(s) in statement":
		default:
			t.Errorf("%d random documents were refused: %s", n, text)
		}
	}
	t.Log(fmt.Sprint(allowed, " allowed; refused documents: ", refused))
}
