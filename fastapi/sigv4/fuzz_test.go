package sigv4_test

import (
	"bytes"
	"errors"
	"testing"

	"penstock/fastapi/sigv4"
)

// FuzzVerify gives a Verifier whatever it likes. There are two outcomes: an *Error, or a request that
// is one of the seeds, as nobody else knows the secret.
func FuzzVerify(f *testing.F) {
	for _, e := range examples {
		f.Add([]byte(e.request))
	}
	v := newVerifier(f, exampleOptions())
	f.Fuzz(func(t *testing.T, text []byte) {
		r := parse(string(text))
		id, auth, err := v.Verify(r)
		if err != nil {
			var e *sigv4.Error
			if !errors.As(err, &e) || e.Code >= sigv4.NumCodes {
				t.Fatalf("error %#v is no *Error", err)
			}
			if auth != nil || id != (sigv4.Identity{}) {
				t.Fatalf("refused, and yet got %+v, %+v", id, auth)
			}
			return
		}
		if id.AccessKey != exampleKey {
			t.Fatalf("verified as %+v", id)
		}
		for _, e := range examples {
			if seed := parse(e.request); bytes.Equal(seed.Method, r.Method) && bytes.Equal(trim(seed.Host), trim(r.Host)) {
				a, errA := sigv4.AppendDecodedPath(nil, seed.RawPath)
				b, errB := sigv4.AppendDecodedPath(nil, r.RawPath)
				if errA == nil && errB == nil && bytes.Equal(a, b) {
					return
				}
			}
		}
		t.Fatalf("verified a request that nobody signed:\n%s", text)
	})
}

func trim(b []byte) []byte { return bytes.Join(bytes.Fields(b), []byte{' '}) }

// FuzzSign checks that what the Signer signs, the Verifier verifies, in both forms, and that the
// canonical form does not depend on how the path and query were escaped.
func FuzzSign(f *testing.F) {
	f.Add([]byte("/b/k"), []byte("a=b&c"), []byte("x-amz-meta-a"), []byte("v"))
	f.Add([]byte("/%41//../%ff+"), []byte("+=%20&&=&a=b=c"), []byte("If-Match"), []byte(" a \t b "))
	f.Fuzz(func(t *testing.T, path, query, name, value []byte) {
		for _, form := range []form{headerForm, queryForm} {
			r := &sigv4.Request{Method: []byte("PUT"), RawPath: bytes.Clone(path), RawQuery: bytes.Clone(query), Host: []byte("h"), TLS: true}
			if len(name) > 0 && bytes.IndexByte(value, '\n') < 0 {
				r.Headers = append(r.Headers, sigv4.Header{Name: name, Value: value})
			}
			if _, err := form.sign(exampleSigner, r, exampleTime); err != nil {
				var e *sigv4.Error
				if !errors.As(err, &e) {
					t.Fatalf("error %#v is no *Error", err)
				}
				continue
			}
			_, _, err := newVerifier(t, exampleOptions()).Verify(r)
			var e *sigv4.Error
			if errors.As(err, &e) && e.Code == sigv4.SignatureDoesNotMatch {
				t.Fatalf("%s form: %v", form.name, err)
			}
		}
	})
}

// FuzzPayload checks that a payload parses to what it says.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(emptySHA256))
	for mode := range sigv4.NumModes {
		f.Add([]byte(mode.HeaderValue()))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := sigv4.ParsePayload(value)
		switch {
		case err != nil:
		case p.Mode == sigv4.Signed:
			if len(value) != 64 {
				t.Errorf("%q is taken for a digest", value)
			}
		case p.Mode.HeaderValue() != string(value):
			t.Errorf("%q is taken for %s", value, p.Mode.HeaderValue())
		}
	})
}
