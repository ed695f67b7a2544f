package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// benchValues are what an ordinary request has.
type benchValues struct {
	addr netip.Addr
	now  time.Time
}

func (v *benchValues) Lookup(key Key, dst []Value) ([]Value, error) {
	switch key.ID {
	case KeySourceIP:
		dst = append(dst, Addr(v.addr))
	case KeyCurrentTime:
		dst = append(dst, Time(v.now))
	case KeySecureTransport:
		dst = append(dst, Text("true"))
	case KeyUsername:
		dst = append(dst, Text("alice"))
	}
	return dst, nil
}

// twentyStatements is a policy whose statements all speak of the action, whose last one allows it, and of which
// half have a condition.
func twentyStatements() string {
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 19 {
		condition := ""
		if i%2 == 0 {
			condition = `,"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]},"Bool":{"aws:SecureTransport":"true"},"DateGreaterThan":{"aws:CurrentTime":"2031-01-01T00:00:00Z"}}`
		}
		fmt.Fprintf(&b, `{"Effect":"%s","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::bucket/team/*%d","arn:aws:s3:::bucket/home/${aws:username}/*%d"]%s},`, []string{"Allow", "Deny"}[i/2%2], i, i, condition)
	}
	b.WriteString(`{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::bucket/home/${aws:username}/*"}]}`)
	return b.String()
}

func newBenchRequest() *Request {
	return &Request{
		Action: MustAction("s3:GetObject"), Resource: "bucket/home/alice/data/shard-000017.tar",
		Principal: Principal{Kind: User, ARN: UserARN("alice")},
		Values:    &benchValues{netip.MustParseAddr("10.1.2.3"), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
	}
}

// BenchmarkDecide is the cost of a decision. Nothing is kept from one to the next.
func BenchmarkDecide(b *testing.B) {
	readwrite, _ := Canned("readwrite")
	// Every statement is about the object, so that it takes the conditions to tell.
	conditions := strings.NewReplacer("/team/*", "/home/*/data/*").Replace(twentyStatements())
	for name, document := range map[string]string{"statements=20": twentyStatements(), "statements=20/conditions": conditions, "statements=1": readwrite} {
		set := Set{Identity: []Named{{"p", mustParse(b, document, ForIdentity)}}}
		r := newBenchRequest()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !set.Decide(r).Allowed {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	document := []byte(twentyStatements())
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		if _, err := Parse(document, ForIdentity, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecideAllocatesNothing: a decision is made for every request, so it leaves nothing behind for the collector.
func TestDecideAllocatesNothing(t *testing.T) {
	set := Set{Identity: []Named{{"p", mustParse(t, twentyStatements(), ForIdentity)}}}
	r := newBenchRequest()
	if n := testing.AllocsPerRun(100, func() {
		if !set.Decide(r).Allowed {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}
